//! Leaves names out of an inventory that has been read: orders for them are stopped, though nothing is wrong with their rows.

use super::Inventory;

/// Hostnames left out for one reason.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Withheld {
    /// Why.
    pub reason: String,
    /// How many distinct ones.
    pub hostnames: u64,
}

/// A name that may be left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate<'a> {
    /// Its group.
    pub group: u32,
    /// Its registered domain.
    pub domain: u32,
    /// Its text.
    pub name: &'a str,
    /// The certificate held that it is on.
    pub certificate: Option<&'a str>,
}

impl Inventory {
    /// Leaves out every name for which `why` gives a place in `reasons`, as if its row were not ready, and counts it. A certificate held
    /// stays whole: if one of its names is left out all are, and it is not renewed.
    pub fn withhold(&mut self, reasons: Vec<String>, why: &dyn Fn(Candidate<'_>) -> Option<usize>) {
        let mut counts = vec![0; reasons.len()];
        let (mut wanted, mut starts) = (Vec::with_capacity(self.wanted.len()), Vec::with_capacity(self.starts.len()));
        for domain in 0..self.domain_count() {
            starts.push(wanted.len());
            for place in self.wanted_of(domain) {
                let of = self.wanted[place];
                let name = self.text(of.name);
                match why(Candidate { group: self.group_of(of), domain: super::dense(domain), name, certificate: None })
                {
                    Some(reason) => counts[reason] += 1,
                    None => wanted.push(of),
                }
            }
        }
        starts.push(wanted.len());
        let (mut held, mut held_names, mut held_starts) = (Vec::new(), Vec::new(), vec![0]);
        for (place, terms) in self.held.iter().enumerate() {
            let names = self.held_names(place);
            let candidate = |name: &super::HeldName| Candidate {
                group: terms.group,
                domain: name.domain,
                name: self.text(name.name),
                certificate: Some(&terms.certificate),
            };
            match names.iter().find_map(|name| why(candidate(name))) {
                Some(reason) => counts[reason] += names.len() as u64,
                None => {
                    let certificate = super::dense(held.len());
                    held_names.extend(names.iter().map(|name| super::HeldName { certificate, ..*name }));
                    held_starts.push(held_names.len());
                    held.push(terms.clone());
                }
            }
        }
        (self.wanted, self.starts) = (wanted, starts);
        (self.held, self.held_names, self.held_starts) = (held, held_names, held_starts);
        self.counts.hostnames = self.counts.hostnames.saturating_sub(counts.iter().sum());
        let withheld = reasons.into_iter().zip(counts).filter(|(_, hostnames)| *hostnames > 0);
        self.counts.withheld.extend(withheld.map(|(reason, hostnames)| Withheld { reason, hostnames }));
    }
}

//! From parsed chunks to the inventory: rows by domain, duplicates folded, contradictions refused, certificates held put together.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rayon::prelude::*;
use rustc_hash::FxHashSet;

use super::attributes::{self, Attribute, Attributes, BadValue};
use super::chunk::{ChunkRow, Parsed};
use super::layout::{Layout, read_record};
use super::number::{Numbering, number};
use super::reject::{Column, Reason, Reject, locate};
use super::source::Source;
use super::text::{Text, TextRef};
use super::{Challenge, Counts, HeldName, Inventory, InventoryError, Settings, Wanted};
use crate::dense::dense;

/// Why a row does not stay among the names wanted.
enum Fate {
    Duplicate,
    Differs,
    NotReady,
    Held(u32),
    Bad(Column, String, String),
}

/// Puts the chunks together.
pub(super) fn gather(
    sources: Vec<Source>,
    layouts: &[Layout],
    mut parsed: Vec<Parsed>,
    settings: &Settings<'_>,
) -> Result<Inventory, InventoryError> {
    let mut text = Text { arenas: Vec::with_capacity(parsed.len()) };
    let has_addresses = parsed.iter().any(|chunk| chunk.has_addresses);
    let mut counts = Counts::default();
    let mut rejects = Vec::new();
    let (mut keys, mut attribute_texts, mut domain_texts) = (Vec::new(), Vec::new(), Vec::new());
    for chunk in &mut parsed {
        keys.push(std::mem::take(&mut chunk.keys));
        attribute_texts.push(std::mem::take(&mut chunk.attributes).items);
        domain_texts.push(std::mem::take(&mut chunk.domains).items);
        text.arenas.push(std::mem::take(&mut chunk.arena));
        rejects.append(&mut chunk.rejects);
        counts.converted += chunk.converted;
        counts.rows += chunk.records;
    }
    let key = |at: TextRef| &keys[at.arena()][at.offset()..at.offset() + at.len()];
    let read_attributes = || {
        let combinations = number(attribute_texts, key);
        let attributes = attributes::read(&combinations.items, key, settings);
        (combinations, attributes)
    };
    let ((combinations, attributes), domains) =
        rayon::join(read_attributes, || number(domain_texts, |at| text.get(at)));
    drop(keys);
    let (mut rows, mut starts) = by_domain(&parsed, &domains, &combinations);
    drop(parsed);
    drop(combinations);
    let is_block = |domain: usize| has_addresses && text.get(domains.items[domain]).contains(&b'/');
    let fates = judge(&mut rows, &starts, is_block, &text, &attributes, settings);
    let mut held_names = Vec::new();
    if !fates.is_empty() {
        let mut gone = fates.iter().map(|(row, _)| *row).peekable();
        let kept = |row: usize| {
            let is_gone = gone.next_if_eq(&row).is_some();
            !is_gone
        };
        for (row, fate) in &fates {
            let domain = starts.partition_point(|start| start <= row) - 1;
            let Wanted { name, .. } = rows[*row];
            match fate {
                Fate::Duplicate => counts.duplicates += 1,
                Fate::NotReady => counts.not_ready += 1,
                Fate::Held(certificate) => {
                    held_names.push(HeldName { certificate: *certificate, domain: dense(domain), name });
                }
                Fate::Differs => rejects.push(reject(&text, name, Reason::Differs)),
                Fate::Bad(column, value, reason) => {
                    rejects.push(reject(&text, name, Reason::Value(reason.clone())).in_column(*column, value));
                }
            }
        }
        compact(&mut rows, &mut starts, kept);
    }
    let numbers = attributes.of.iter().map(|of| of.as_ref().map_or((u32::MAX, u32::MAX), |of| (of.group, of.urgency)));
    let numbers = numbers.collect();
    let mut inventory = Inventory {
        sources,
        text,
        domains: domains.items,
        domains_by_place: domains.by_place,
        domain_places: domains.places,
        wanted: rows,
        attributes: numbers,
        starts,
        accounts: attributes.accounts,
        tenants: attributes.tenants,
        groups: attributes.groups,
        urgencies: attributes.urgencies,
        held: attributes.held,
        counts,
        rejects,
        ..Inventory::default()
    };
    locate(&mut inventory.rejects, &inventory.sources, layouts)?;
    if inventory.hold(held_names, layouts, settings) {
        locate(&mut inventory.rejects, &inventory.sources, layouts)?;
    }
    inventory.counts.hostnames = (inventory.wanted.len() + inventory.held_names.len()) as u64;
    let mut names: Vec<&str> = inventory.rejects.iter().map(|reject| reject.hostname.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    inventory.counts.rejected = names.len() as u64;
    Ok(inventory)
}

/// A counting sort: rows by domain, in parts which each thread fills alone.
fn by_domain(parsed: &[Parsed], domains: &Numbering, combinations: &Numbering) -> (Vec<Wanted>, Vec<usize>) {
    // First where each domain's rows start, one place later; when they are filled in, where they end: where the next one's start.
    let mut starts = vec![0_usize; domains.items.len() + 2];
    for (chunk, parsed) in parsed.iter().enumerate() {
        for (domain, rows) in domains.of_chunk(chunk).iter().zip(&parsed.domain_rows) {
            starts[*domain as usize + 2] += *rows as usize;
        }
    }
    for domain in 1..starts.len() {
        starts[domain] += starts[domain - 1];
    }
    starts.pop();
    let ranges: Vec<Range<u32>> = (0..parsed.len()).map(|chunk| range_of(domains.of_chunk(chunk))).collect();
    let total: usize = parsed.iter().map(|chunk| chunk.rows.len()).sum();
    let nothing = Wanted { name: TextRef::default(), attributes: 0 };
    let mut rows: Vec<Wanted> = (0..total).into_par_iter().map(|_| nothing).collect();
    let mut parts = Vec::new();
    let (mut rest, mut next, mut from, mut base) = (&mut rows[..], &mut starts[1..], 0, 0);
    let threads = rayon::current_num_threads();
    for part in 1..=threads {
        let end =
            if part == threads { next.len() } else { next.partition_point(|start| *start < total * part / threads) };
        let (my_next, others_next) = next.split_at_mut(end);
        let to = others_next.first().copied().unwrap_or(total);
        let (mine, others) = rest.split_at_mut(to - base);
        parts.push((from, base, my_next, mine));
        (rest, next, from, base) = (others, others_next, from + dense(end), to);
    }
    parts.into_par_iter().for_each(|(from, base, next, mine)| {
        let to = from + dense(next.len());
        for (chunk, parsed) in parsed.iter().enumerate() {
            // What stands together has numbers that stand together: most chunks have none in most parts.
            if ranges[chunk].start >= to || ranges[chunk].end <= from {
                continue;
            }
            let (domains, combinations) = (domains.of_chunk(chunk), combinations.of_chunk(chunk));
            for ChunkRow { name, domain, attributes } in &parsed.rows {
                let domain = domains[*domain as usize];
                if (from..to).contains(&domain) {
                    let slot = &mut next[(domain - from) as usize];
                    mine[*slot - base] = Wanted { name: *name, attributes: combinations[*attributes as usize] };
                    *slot += 1;
                }
            }
        }
    });
    (rows, starts)
}

/// The range in which all of `numbers` lie.
fn range_of(numbers: &[u32]) -> Range<u32> {
    let (min, max) = numbers.iter().fold((u32::MAX, 0), |(min, max), number| (min.min(*number), max.max(*number + 1)));
    min..max
}

/// Sorts each domain's rows by name and says which do not stay, by their place in the sorted rows. `is_block`: of that number is no domain
/// but a block of addresses.
fn judge(
    rows: &mut [Wanted],
    starts: &[usize],
    is_block: impl Fn(usize) -> bool + Sync,
    text: &Text,
    attributes: &Attributes,
    settings: &Settings<'_>,
) -> Vec<(usize, Fate)> {
    let ordinary: Vec<bool> = attributes.of.iter().map(|of| is_ordinary(of, attributes, settings)).collect();
    let count = starts.len() - 1;
    let mut slices = Vec::with_capacity(count / 1024 + 1);
    let (mut rest, mut from) = (rows, 0);
    while from < count {
        let to = (from + 1024).min(count);
        let (mine, others) = rest.split_at_mut(starts[to] - starts[from]);
        slices.push((from..to, mine));
        (rest, from) = (others, to);
    }
    let judged: Vec<Vec<(usize, Fate)>> = slices
        .into_par_iter()
        .map(|(range, mine)| {
            let mut fates = Vec::new();
            let base = starts[range.start];
            for domain in range {
                let rows = &mut mine[starts[domain] - base..starts[domain + 1] - base];
                let distinct = sort(rows, text);
                let is_block = is_block(domain);
                if distinct && !is_block && rows.iter().all(|row| ordinary[row.attributes as usize]) {
                    continue;
                }
                let mut at = starts[domain];
                for same in rows.chunk_by(|a, b| text.get(a.name) == text.get(b.name)) {
                    let of = |row: &Wanted| &attributes.of[row.attributes as usize];
                    let differ = same[1..].iter().any(|row| of(row) != of(&same[0]));
                    for (index, row) in same.iter().enumerate() {
                        let fate = match of(row) {
                            Err(bad) => Some(Fate::Bad(bad.column, bad.value.clone(), bad.reason.clone())),
                            Ok(_) if differ => Some(Fate::Differs),
                            Ok(_) if index > 0 => Some(Fate::Duplicate),
                            Ok(attribute) => fate_of(text.get(row.name), is_block, attribute, attributes, settings),
                        };
                        fates.extend(fate.map(|fate| (at, fate)));
                        at += 1;
                    }
                }
            }
            fates
        })
        .collect();
    judged.into_iter().flatten().collect()
}

/// So many names of one domain are worth all threads.
const MANY: usize = 16 * 1024;

/// Sorts rows by name, and those of one name by where they stand. Says whether all names are different.
fn sort(rows: &mut [Wanted], text: &Text) -> bool {
    if rows.len() < 2 {
        return true;
    }
    let distinct = AtomicBool::new(true);
    let order = |a: &Wanted, b: &Wanted| {
        text.get(a.name).cmp(text.get(b.name)).then_with(|| {
            // What ends up side by side was compared.
            distinct.store(false, Relaxed);
            a.name.cmp(&b.name)
        })
    };
    if rows.len() < MANY {
        rows.sort_unstable_by(order);
    } else {
        rows.par_sort_unstable_by(order);
    }
    distinct.into_inner()
}

/// Whether [`fate_of`] leaves every DNS name with these attributes where it is.
fn is_ordinary(of: &Result<Attribute, BadValue>, attributes: &Attributes, settings: &Settings<'_>) -> bool {
    let Ok(attribute) = of else { return false };
    [&b"a.example"[..], b"*.example"].iter().all(|name| fate_of(name, false, attribute, attributes, settings).is_none())
}

/// What becomes of a row whose values make sense by themselves.
fn fate_of(
    name: &[u8],
    is_block: bool,
    attribute: &Attribute,
    attributes: &Attributes,
    settings: &Settings<'_>,
) -> Option<Fate> {
    let group = &attributes.groups[attribute.group as usize];
    let profile = &settings.policy.profiles[group.profile as usize];
    let bad = |column, value: &str, reason: String| Some(Fate::Bad(column, value.to_owned(), reason));
    let challenge = group.challenge.map_or("", Challenge::as_str);
    if is_block && !profile.ip {
        let takers: Vec<&str> =
            settings.policy.profiles.iter().filter(|profile| profile.ip).map(|profile| profile.name.as_str()).collect();
        return bad(
            Column::Profile,
            &profile.name,
            format!("takes no IP addresses; the profiles that do: {}", takers.join(", ")),
        );
    }
    if !is_block && !profile.dns {
        return bad(Column::Profile, &profile.name, "takes no DNS names".to_owned());
    }
    if is_block && group.challenge == Some(Challenge::Dns01) {
        return bad(
            Column::Challenge,
            challenge,
            "an IP address can't be validated by dns-01; use http-01 or tls-alpn-01".to_owned(),
        );
    }
    if name.starts_with(b"*.") && group.challenge.is_some_and(|challenge| challenge != Challenge::Dns01) {
        return bad(Column::Challenge, challenge, "a wildcard can be validated by dns-01 only".to_owned());
    }
    if !attribute.ready {
        return Some(Fate::NotReady);
    }
    attribute.held.map(Fate::Held)
}

/// The reject of the record that `name` stands in.
fn reject(text: &Text, name: TextRef, reason: Reason) -> Reject {
    let (source, start) = text.origin(name);
    Reject::new(source, start, text.get(name), reason)
}

/// Drops the rows that `kept` says no to, which is asked once a row, in order.
fn compact(rows: &mut Vec<Wanted>, starts: &mut [usize], mut kept: impl FnMut(usize) -> bool) {
    let (mut to, mut from) = (0, 0);
    for end in starts.iter_mut().skip(1) {
        while from < *end {
            if kept(from) {
                rows[to] = rows[from];
                to += 1;
            }
            from += 1;
        }
        *end = to;
    }
    rows.truncate(to);
}

impl Inventory {
    /// Takes the names of certificates held in, and drops certificates that can't be renewed as they are. Whether there are such.
    fn hold(&mut self, mut names: Vec<HeldName>, layouts: &[Layout], settings: &Settings<'_>) -> bool {
        names.par_sort_unstable();
        let torn = if names.is_empty() { FxHashSet::default() } else { self.certificates_of_rejects(layouts) };
        let before = self.rejects.len();
        let mut kept = Vec::with_capacity(self.held.len());
        let mut kept_names = Vec::with_capacity(names.len());
        self.held_starts.push(0);
        for of_one in names.chunk_by(|a, b| a.certificate == b.certificate) {
            let terms = &self.held[of_one[0].certificate as usize];
            let profile = &settings.policy.profiles[self.groups[terms.group as usize].profile as usize];
            let reason = if torn.contains(terms.certificate.as_bytes()) {
                Some(
                    "another row of this certificate can't be planned, and without that name it is no renewal"
                        .to_owned(),
                )
            } else if of_one.len() > profile.names_max {
                Some(format!(
                    "the certificate holds {} names, but the profile `{}` takes {}: empty this column and the dates to plan its names anew",
                    of_one.len(),
                    profile.name,
                    profile.names_max
                ))
            } else {
                None
            };
            if let Some(reason) = reason {
                for held in of_one {
                    let reason = reason.clone();
                    let reject = reject(&self.text, held.name, Reason::Value(reason));
                    self.rejects.push(reject.in_column(Column::Certificate, &terms.certificate));
                }
                continue;
            }
            let certificate = dense(kept.len());
            kept.push(terms.clone());
            kept_names.extend(of_one.iter().map(|held| HeldName { certificate, ..*held }));
            self.held_starts.push(kept_names.len());
        }
        (self.held, self.held_names) = (kept, kept_names);
        self.rejects.len() > before
    }

    /// The certificates that stand in rejected rows: none of them can be renewed as it is.
    fn certificates_of_rejects(&self, layouts: &[Layout]) -> FxHashSet<Vec<u8>> {
        let mut certificates = FxHashSet::default();
        for reject in &self.rejects {
            let Layout { delimiter, columns, .. } = &layouts[reject.source];
            let Some(column) = columns[Column::Certificate as usize] else { continue };
            let fields = read_record(reject.record(), *delimiter);
            let certificate = fields.get(column).unwrap_or_default().trim_ascii();
            if !certificate.is_empty() {
                certificates.insert(certificate.to_vec());
            }
        }
        certificates
    }
}

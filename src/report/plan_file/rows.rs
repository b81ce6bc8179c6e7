//! Whether the rows that a plan's orders were made of are still what they were: an order whose rows changed is *stale*.

use std::fmt;

use rustc_hash::FxHashMap;

use super::PlanOrder;
use crate::dense::dense;
use crate::inventory::Inventory;
use crate::limits::Policy;

/// Where a name stands in an inventory.
#[derive(Clone, Copy)]
enum Place {
    /// Among the names wanted.
    Wanted(u32),
    /// On a certificate held.
    Held(u32),
}

/// The rows as they are now.
pub struct Rows<'a> {
    inventory: &'a Inventory,
    policy: &'a Policy,
    places: FxHashMap<&'a str, Place>,
    /// By place among the names wanted: whether the plan has it.
    planned: Vec<bool>,
}

/// What has changed of an order's rows: the first of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RowChange {
    /// Which name.
    pub name: String,
    /// What of it.
    pub what: String,
}

impl fmt::Display for RowChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.what)
    }
}

impl<'a> Rows<'a> {
    /// Those of an inventory that was read for `policy`.
    #[must_use]
    pub fn new(inventory: &'a Inventory, policy: &'a Policy) -> Self {
        let wanted =
            inventory.wanted().iter().zip(0..).map(|(of, place)| (inventory.text(of.name), Place::Wanted(place)));
        let held = (0..inventory.held.len()).flat_map(|held| {
            inventory.held_names(held).iter().map(move |of| (inventory.text(of.name), Place::Held(dense(held))))
        });
        let planned = vec![false; inventory.wanted().len()];
        Self { inventory, policy, places: wanted.chain(held).collect(), planned }
    }

    /// What has changed of an order; `None`: nothing.
    pub fn change(&mut self, order: &PlanOrder<'_>) -> Option<RowChange> {
        let mut first = None;
        for name in &order.names {
            let place = self.places.get(&**name).copied();
            if let Some(Place::Wanted(place)) = place {
                self.planned[place as usize] = true;
            }
            if first.is_none() {
                let what = self.changed(order, place);
                first = what.map(|what| RowChange { name: name.to_string(), what });
            }
        }
        let fewer = order.replaces.as_ref().filter(|_| first.is_none()).and_then(|certificate| {
            let held = self.inventory.held.binary_search_by(|of| (*of.certificate).cmp(certificate)).ok()?;
            let more = self.inventory.held_names(held).len() > order.names.len();
            more.then(|| RowChange { name: certificate.to_string(), what: "is held with other names".to_owned() })
        });
        first.or(fewer)
    }

    fn changed(&self, order: &PlanOrder<'_>, place: Option<Place>) -> Option<String> {
        let group = match (place, order.replaces.as_deref()) {
            (None, _) => return Some("is gone, or not ready".to_owned()),
            (Some(Place::Held(held)), None) => {
                return Some(format!("is held on the certificate {}", self.inventory.held[held as usize].certificate));
            }
            (Some(Place::Wanted(_)), Some(certificate)) => {
                return Some(format!("is not held on {certificate} any more"));
            }
            (Some(Place::Wanted(place)), None) => self.inventory.group_of(self.inventory.wanted()[place as usize]),
            (Some(Place::Held(held)), Some(certificate)) => {
                let held = &self.inventory.held[held as usize];
                if held.certificate != certificate {
                    return Some(format!("is held on {}, and was on {certificate}", held.certificate));
                }
                if order.held.is_some_and(|was| (was.issued_at, was.expires_at) != (held.issued_at, held.expires_at)) {
                    return Some(format!("is held on {certificate} with other dates"));
                }
                held.group
            }
        };
        let group = &self.inventory.groups[group as usize];
        let differs = |what: &str, was: Option<&str>, is: Option<&str>| {
            let (was, is) = (was.unwrap_or_default(), is.unwrap_or_default());
            let shown = |text: &str| if text.is_empty() { "none".to_owned() } else { text.to_owned() };
            (was != is).then(|| format!("had {what} {}, and has {}", shown(was), shown(is)))
        };
        let account = &self.inventory.accounts[group.account as usize];
        let tenant = &self.inventory.tenants[group.tenant as usize];
        let profile = &self.policy.profiles[group.profile as usize].name;
        differs("account", Some(&order.account), Some(account))
            .or_else(|| differs("profile", Some(&order.profile), Some(profile)))
            .or_else(|| differs("tenant", order.tenant.as_deref(), Some(tenant)))
            .or_else(|| differs("challenge", order.challenge.as_deref(), group.challenge.map(|of| of.as_str())))
    }

    /// The names wanted that no order so far has; without those below a wildcard that is wanted, if these are `folded`.
    pub fn unplanned(&self, folded: bool) -> impl Iterator<Item = &'a str> {
        let left = self.inventory.wanted().iter().zip(&self.planned).filter(|(_, planned)| !**planned);
        left.map(|(of, _)| self.inventory.text(of.name)).filter(move |name| {
            let wildcard =
                name.split_once('.').filter(|(label, _)| *label != "*").map(|(_, parent)| format!("*.{parent}"));
            !folded || wildcard.is_none_or(|wildcard| !self.places.contains_key(&*wildcard))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::{Settings, Source, read};
    use crate::limits::Policy;
    use crate::psl::SuffixList;
    use crate::report::plan_file::read_order;
    use crate::time::Timestamp;

    const HEADER: &str = "hostname,account,tenant,profile,challenge,certificate,issued_at,expires_at,ready";
    const NEW: &str = r#"{"order":1,"at":"2026-12-01T00:00:00Z","account":"a","profile":"classic","tenant":"t","names":["x.example.com"],
        "registered_domains":["example.com"],"exemption":"none","replaces":null,"bound_by":null,"deadline":null}"#;
    const RENEWAL: &str = r#"{"order":1,"at":"2026-12-01T00:00:00Z","account":"a","profile":"classic","names":["x.example.com"],
        "registered_domains":["example.com"],"exemption":"ari","replaces":"c1","held":{"issued_at":"2026-10-01T00:00:00Z",
        "expires_at":"2026-12-30T00:00:00Z"},"bound_by":null,"deadline":null}"#;

    /// What of `order` has changed where these are the rows, and which names are in no order.
    fn check(order: &str, rows: &[&str], expected: Option<&str>, unplanned: &[&str]) {
        let policy = Policy::built_in("letsencrypt").unwrap();
        let suffixes = SuffixList::embedded();
        let start = Timestamp::parse("2026-12-01").unwrap();
        let settings =
            Settings { account: "a", profile: "classic", deadline: None, start, policy: &policy, suffixes: &suffixes };
        let bytes = format!("{HEADER}\n{}\n", rows.join("\n")).into_bytes();
        let inventory = read(vec![Source::new("rows", bytes)], &settings, &|_| ()).unwrap();
        assert!(inventory.rejects.is_empty(), "{:?}", inventory.rejects);
        let mut rows = Rows::new(&inventory, &policy);
        let change = rows.change(&read_order(order.as_bytes(), 2).unwrap());
        assert_eq!(change.map(|change| change.to_string()).as_deref(), expected);
        assert_eq!(rows.unplanned(true).collect::<Vec<_>>(), unplanned);
    }

    #[test]
    fn what_has_not_changed() {
        check(NEW, &["x.example.com,a,t,classic,,,,,"], None, &[]);
        check(RENEWAL, &["x.example.com,a,,classic,,c1,2026-10-01,2026-12-30,"], None, &[]);
    }

    #[test]
    fn names_that_are_gone() {
        check(NEW, &["y.example.com,a,t,,,,,,"], Some("x.example.com is gone, or not ready"), &["y.example.com"]);
        check(NEW, &["x.example.com,a,t,,,,,,no"], Some("x.example.com is gone, or not ready"), &[]);
    }

    #[test]
    fn names_that_are_ordered_another_way() {
        check(NEW, &["x.example.com,b,t,,,,,,"], Some("x.example.com had account a, and has b"), &[]);
        check(NEW, &["x.example.com,a,,,,,,,"], Some("x.example.com had tenant t, and has none"), &[]);
        let profile = Some("x.example.com had profile classic, and has tlsserver");
        check(NEW, &["x.example.com,a,t,tlsserver,,,,,"], profile, &[]);
        let challenge = Some("x.example.com had challenge none, and has dns-01");
        check(NEW, &["x.example.com,a,t,,dns-01,,,,"], challenge, &[]);
    }

    #[test]
    fn certificates_that_are_held_or_not() {
        let held = "x.example.com,a,t,,,c1,2026-10-01,2026-12-30,";
        check(NEW, &[held], Some("x.example.com is held on the certificate c1"), &[]);
        check(RENEWAL, &["x.example.com,a,,,,,,,"], Some("x.example.com is not held on c1 any more"), &[]);
        let other = "x.example.com,a,,,,c2,2026-10-01,2026-12-30,";
        check(RENEWAL, &[other], Some("x.example.com is held on c2, and was on c1"), &[]);
        let dates = "x.example.com,a,,,,c1,2026-10-02,2026-12-31,";
        check(RENEWAL, &[dates], Some("x.example.com is held on c1 with other dates"), &[]);
        let one = "x.example.com,a,,,,c1,2026-10-01,2026-12-30,";
        check(
            RENEWAL,
            &[one, "y.example.com,a,,,,c1,2026-10-01,2026-12-30,"],
            Some("c1 is held with other names"),
            &[],
        );
    }

    #[test]
    fn new_names_are_no_change() {
        let rows = [
            "x.example.com,a,t,,,,,,",
            "new.example.com,a,t,,,,,,",
            "*.example.org,a,t,,,,,,",
            "w.example.org,a,t,,,,,,",
        ];
        check(NEW, &rows, None, &["new.example.com", "*.example.org"]);
    }
}

//! Overrides: more (or less) of a limit for certain ids, from a TOML file.
//!
//! ```toml
//! [[override]]
//! limit = "NewOrdersPerAccount"
//! burst = 25000
//! count = 25000
//! period = "7d"
//! ids = ["https://acme-v02.api.letsencrypt.org/acme/acct/1234567"]
//! ```
//!
//! An id is an account for `NewOrdersPerAccount`, the failures, pending authorizations and `CertificatesPerDomainPerAccount`; a registered domain or an IP
//! address for `CertificatesPerDomain`; names joined by commas for `CertificatesPerFQDNSet`; an IP address or an IPv6 `/48` for the
//! registrations. Of two overrides for one id, the file's reader is told.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use serde::Deserialize;

use super::policy::{all_limits, positive_span};
use super::{Algorithm, Limit, LimitName, OverrideScope, Policy, PolicyError};
use crate::digest;
use crate::name::{Identifier, NameSet, address};
use crate::psl::SuffixList;

/// What is granted beyond a policy, by limit and canonical id.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Overrides {
    by_limit: [BTreeMap<Box<str>, Limit>; LimitName::COUNT],
    /// SHA-256 of the text they were read from; `None` where there are none.
    pub sha256: Option<String>,
    /// What is odd, if no error: for the reader of the file.
    pub notes: Vec<String>,
}

/// One override, as listed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Override<'a> {
    /// The limit.
    pub name: LimitName,
    /// Whose bucket, in canonical text.
    pub id: &'a str,
    /// What it allows instead.
    pub limit: &'a Limit,
}

/// Why a text is no list of overrides.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OverrideError {
    /// No TOML, or not of this shape.
    #[error("{0}")]
    Shape(String),
    /// One entry makes no sense.
    #[error("override {number} ({limit}): {reason}")]
    Entry {
        /// Which one in the file, from 1.
        number: usize,
        /// The limit it names.
        limit: String,
        /// Why.
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default, rename = "override")]
    overrides: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    limit: String,
    burst: u64,
    count: u64,
    period: String,
    ids: Vec<String>,
    #[serde(default, rename = "comment")]
    _comment: Option<String>,
}

impl Overrides {
    /// None at all.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads overrides of `policy`; registered domains by `suffixes`.
    ///
    /// # Errors
    /// [`OverrideError`] with the entry and the reason.
    pub fn parse(text: &str, policy: &Policy, suffixes: &SuffixList) -> Result<Self, OverrideError> {
        let file: File =
            toml::from_str(text).map_err(|error| OverrideError::Shape(error.to_string().trim_end().to_owned()))?;
        let mut overrides = Self { sha256: Some(digest::sha256([text.as_bytes()])), ..Self::default() };
        if file.overrides.is_empty() {
            overrides.notes.push("the file holds no `[[override]]`".to_owned());
        }
        for (index, entry) in file.overrides.iter().enumerate() {
            overrides.read(entry, policy, suffixes).map_err(|reason| OverrideError::Entry {
                number: index + 1,
                limit: entry.limit.clone(),
                reason,
            })?;
        }
        Ok(overrides)
    }

    fn read(&mut self, entry: &Entry, policy: &Policy, suffixes: &SuffixList) -> Result<(), String> {
        let name = LimitName::parse(&entry.limit)
            .ok_or_else(|| format!("there is no limit of that name; there are {}", all_limits()))?;
        let period = positive_span("period", &entry.period).map_err(|error: PolicyError| error.to_string())?;
        let limit = Limit::new(entry.burst, entry.count, period).map_err(|error| error.to_string())?;
        if entry.ids.is_empty() {
            return Err("ids is empty: it names nobody it holds for".to_owned());
        }
        self.note(name, &limit, policy);
        for id in &entry.ids {
            let canonical = canonical_id(name, id, suffixes).map_err(|reason| format!("id `{id}`: {reason}"))?;
            if self.by_limit[name.index()].insert(canonical.into(), limit.clone()).is_some() {
                return Err(format!("id `{id}` has an override already; there can be one"));
            }
        }
        Ok(())
    }

    /// What the reader of the file should know about an override of `limit`.
    fn note(&mut self, name: LimitName, limit: &Limit, policy: &Policy) {
        let ungranted = policy.policy_limit(name).is_some_and(|known| known.scope == OverrideScope::None);
        if ungranted {
            self.notes.push(format!("{name}: {} grants no overrides of this limit; taken all the same", policy.name));
        }
        let slower =
            policy.limit(name).filter(|default| default.algorithm == Algorithm::TokenBucket).filter(|default| {
                // count / period < default.count / default.period, without division.
                i128::from(limit.count) * i128::from(default.period.nanos())
                    < i128::from(default.count) * i128::from(limit.period.nanos())
            });
        let Some(default) = slower else { return };
        let after = policy.tiers_of(name).filter(|tiers| tiers.period == limit.period && limit.burst == limit.count);
        let after =
            after.and_then(|tiers| tiers.falls_behind_after(limit.count, default)).map_or_else(String::new, |after| {
                format!(", under steady demand after {:.2} days", after.seconds_f64() / 86_400.0)
            });
        self.notes.push(format!(
            "{name}: {} in {} is slower than the default of {} in {}{after}",
            limit.count, limit.period, default.count, default.period
        ));
    }

    /// The override of `limit` for the bucket of the canonical `id`.
    #[must_use]
    pub fn find(&self, limit: LimitName, id: &str) -> Option<&Limit> {
        let by_id = &self.by_limit[limit.index()];
        if by_id.is_empty() { None } else { by_id.get(id) }
    }

    /// Sets the override of `name` for the canonical `id`: for a plan that is tried with one.
    pub fn set(&mut self, name: LimitName, id: &str, limit: Limit) {
        self.by_limit[name.index()].insert(id.into(), limit);
    }

    /// All of them, by limit and id.
    pub fn iter(&self) -> impl Iterator<Item = Override<'_>> {
        LimitName::ALL
            .into_iter()
            .flat_map(|name| self.by_limit[name.index()].iter().map(move |(id, limit)| Override { name, id, limit }))
    }

    /// Whether there is any override of `name`.
    #[must_use]
    pub fn has_any(&self, name: LimitName) -> bool {
        !self.by_limit[name.index()].is_empty()
    }
}

/// The text under which the override of `name` for `id`, as people write it, is looked up.
///
/// # Errors
/// Why `id` names no bucket of that limit.
pub fn canonical_id(name: LimitName, id: &str, suffixes: &SuffixList) -> Result<String, String> {
    match name {
        LimitName::NewRegistrationsPerIpAddress => {
            id.parse::<IpAddr>().map(|ip| ip.to_string()).map_err(|_not_an_address| "is no IP address".to_owned())
        }
        LimitName::NewRegistrationsPerIpv6Range => {
            let range = id.strip_suffix("/48").and_then(|base| base.parse::<Ipv6Addr>().ok());
            range.map(ipv6_range).ok_or_else(|| "is no IPv6 /48 such as 2602:80a:6000::/48".to_owned())
        }
        LimitName::CertificatesPerDomain => domain_id(id, suffixes),
        LimitName::CertificatesPerFqdnSet => NameSet::parse(id.split(',').map(str::trim))
            .map(|set| set.key().to_string())
            .map_err(|error| error.to_string()),
        LimitName::NewOrdersPerAccount
        | LimitName::CertificatesPerDomainPerAccount
        | LimitName::FailedAuthorizationsPerDomainPerAccount
        | LimitName::FailedAuthorizationsForPausingPerDomainPerAccount
        | LimitName::PendingAuthorizationsPerAccount => {
            if id.trim().is_empty() {
                Err("is empty; it is an account".to_owned())
            } else {
                Ok(id.trim().to_owned())
            }
        }
    }
}

/// The IPv6 `/48` that an address lies in, as text.
#[must_use]
pub fn ipv6_range(address: Ipv6Addr) -> String {
    format!("{}/48", address::masked(address, 48))
}

fn domain_id(id: &str, suffixes: &SuffixList) -> Result<String, String> {
    let without_block = id.strip_suffix("/32").or_else(|| id.strip_suffix("/64")).unwrap_or(id);
    // A public suffix of one label has a bucket of its own as well.
    let identifier = Identifier::parse(without_block).map_err(|error| error.to_string())?;
    let domain = suffixes.domain_of(&identifier);
    if matches!(identifier, Identifier::Dns(_)) && domain != identifier.to_string() {
        return Err(format!("is no registered domain; its registered domain is {domain}"));
    }
    Ok(domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(limit: &str, numbers: &str, ids: &str) -> Result<Overrides, OverrideError> {
        let text = format!("[[override]]\nlimit = \"{limit}\"\n{numbers}\nids = [{ids}]\n");
        Overrides::parse(&text, &Policy::built_in("letsencrypt").unwrap(), &SuffixList::embedded())
    }

    fn check_id(limit: LimitName, id: &str, canonical: &str) {
        let found = read(limit.as_str(), "burst = 9\ncount = 9\nperiod = \"3h\"", &format!("{id:?}")).unwrap();
        assert!(found.find(limit, canonical).is_some(), "{:?}", found.iter().collect::<Vec<_>>());
    }

    #[test]
    fn ids_are_made_canonical() {
        check_id(LimitName::CertificatesPerDomain, "Example.CO.UK", "example.co.uk");
        check_id(LimitName::CertificatesPerDomain, "8.8.4.4", "8.8.4.4/32");
        check_id(LimitName::CertificatesPerDomain, "2606:4700:10:20::", "2606:4700:10:20::/64");
        check_id(LimitName::NewRegistrationsPerIpv6Range, "2602:80a:6000::/48", "2602:80a:6000::/48");
        let set = "a379a6f6eeafb9a55e378c118034e2751e682fab9f2d30ab13d2125586ce1947";
        check_id(LimitName::CertificatesPerFqdnSet, "Example.com, example.com", set);
    }

    fn check_refused(limit: &str, numbers: &str, ids: &str, reason: &str) {
        let error = read(limit, numbers, ids).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let fine = "burst = 9\ncount = 9\nperiod = \"3h\"";
        check_refused("NewOrders", fine, "\"1\"", "there is no limit of that name");
        check_refused("NewOrdersPerAccount", "burst = 0\ncount = 9\nperiod = \"3h\"", "\"1\"", "burst is 0");
        check_refused(
            "NewOrdersPerAccount",
            "burst = 9\ncount = 9\nperiod = \"3 moons\"",
            "\"1\"",
            "no length of time",
        );
        check_refused("NewOrdersPerAccount", fine, "", "ids is empty");
        check_refused("NewOrdersPerAccount", fine, "\"1\", \"1\"", "already");
        check_refused("CertificatesPerDomain", fine, "\"www.example.com\"", "its registered domain is example.com");
        check_refused("NewRegistrationsPerIPAddress", fine, "\"1.2.3\"", "no IP address");
    }

    #[test]
    fn a_slower_override_is_noted() {
        let tier = "burst = 1000\ncount = 1000\nperiod = \"7d\"";
        let notes = read("NewOrdersPerAccount", tier, "\"1\"").unwrap().notes;
        assert!(notes.iter().any(|note| note.contains("after 0.31 days")), "{notes:?}");
    }
}

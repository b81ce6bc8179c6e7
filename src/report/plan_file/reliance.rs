//! What of the limits a plan relies on, and what of that has got stricter since: a plan whose limits have is *stale*, since the CA, or the
//! gate, may refuse its orders at their times.
//!
//! A plan's times rest on the buckets of accounts and domains and on nothing else; its orders' sizes on the profiles. A limit is stricter if
//! its burst is smaller or its emission interval longer: whichever it is, some order that fitted does not. An override that is gone is judged
//! by what holds without it; one that is new by what held without it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::gcra::Quota;
use crate::inventory::Inventory;
use crate::limits::{LimitName, Limits};
use crate::time::Span;

/// The limits that decide when a plan's orders go out.
const DECISIVE: [LimitName; 3] =
    [LimitName::NewOrdersPerAccount, LimitName::CertificatesPerDomain, LimitName::CertificatesPerDomainPerAccount];

/// A limit that a plan relies on.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub struct Relied {
    /// Which.
    pub limit: LimitName,
    /// Whose, where it is an override.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Tokens of a full bucket.
    pub burst: u32,
    /// How long a token takes to come back; in the file as the command line takes it.
    #[serde(with = "compact")]
    pub emission_interval: Span,
}

/// A span as text.
mod compact {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    use crate::time::Span;

    pub(super) fn serialize<S: Serializer>(span: &Span, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&span.compact())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        Span::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// All that a plan relies on. A limit that is not here was off.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
pub struct Reliance {
    /// The policy's limits, then the overrides of accounts and domains in the plan.
    pub limits: Vec<Relied>,
    /// The most names in a certificate, by profile in the plan.
    pub names_max: BTreeMap<String, usize>,
}

/// What a limit allows; `None`: as much as one likes.
type Rate = Option<(u32, Span)>;

/// Something that is stricter than when the plan was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stricter {
    /// A limit.
    Limit {
        /// Which.
        limit: LimitName,
        /// Whose; `None`: everybody's.
        id: Option<String>,
        /// What it allowed.
        was: Rate,
        /// What it allows.
        is: Rate,
    },
    /// A profile takes fewer names; none, if it is gone.
    Profile {
        /// Which.
        name: String,
        /// How many it took.
        was: usize,
        /// How many it takes.
        is: usize,
    },
}

fn rate(quota: Option<Quota>) -> Rate {
    quota.map(|quota| (quota.burst(), quota.emission()))
}

fn is_stricter(is: Rate, was: Rate) -> bool {
    match (is, was) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some((burst, emission)), Some((burst_was, emission_was))) => burst < burst_was || emission > emission_was,
    }
}

/// What holds for `limit` where nobody has an override: without buckets of an account's own, the domain's are asked.
fn without_override(limit: LimitName, of: impl Fn(LimitName) -> Rate) -> Rate {
    match limit {
        LimitName::CertificatesPerDomainPerAccount => of(limit).or_else(|| of(LimitName::CertificatesPerDomain)),
        _ => of(limit),
    }
}

impl Reliance {
    /// What a plan of `inventory` under `limits` relies on.
    #[must_use]
    pub fn of(inventory: &Inventory, limits: &Limits) -> Self {
        let relied = |limit, id: Option<&str>, quota: Quota| Relied {
            limit,
            id: id.map(str::to_owned),
            burst: quota.burst(),
            emission_interval: quota.emission(),
        };
        let everybodys =
            DECISIVE.into_iter().filter_map(|limit| limits.policy.limit(limit).map(|of| relied(limit, None, of.quota)));
        let is_here = |limit, id: &str| match limit {
            LimitName::CertificatesPerDomain => inventory.domain_named(id).is_some(),
            _ => inventory.accounts.iter().any(|account| account == id),
        };
        let overrides = limits.overrides.iter().filter(|of| DECISIVE.contains(&of.name) && is_here(of.name, of.id));
        let overrides = overrides.map(|of| relied(of.name, Some(of.id), of.limit.quota));
        let profiles = inventory.groups.iter().map(|group| &limits.policy.profiles[group.profile as usize]);
        Self {
            limits: everybodys.chain(overrides).collect(),
            names_max: profiles.map(|profile| (profile.name.clone(), profile.names_max)).collect(),
        }
    }

    /// What is stricter under the limits `now`. `uses` says whether the plan has orders of an account, or of a registered domain; it is
    /// asked only about overrides that are new and stricter.
    ///
    /// # Errors
    /// That of `uses`.
    pub fn stricter<E>(
        &self,
        now: &Limits,
        mut uses: impl FnMut(LimitName, &str) -> Result<bool, E>,
    ) -> Result<Vec<Stricter>, E> {
        let was_of = |limit, id: Option<&str>| {
            let found = self.limits.iter().find(|of| of.limit == limit && of.id.as_deref() == id);
            found.map(|of| (of.burst, of.emission_interval))
        };
        let was_policy = |limit| was_of(limit, None);
        let is_policy = |limit| rate(now.policy.limit(limit).map(|of| of.quota));
        let mut found = Vec::new();
        for limit in DECISIVE {
            let (was, is) = (was_policy(limit), is_policy(limit));
            // An account's own buckets come instead of the domains': that limit's being on is judged by theirs.
            let was = if is.is_some() { without_override(limit, was_policy) } else { was };
            if is_stricter(is, was) {
                found.push(Stricter::Limit { limit, id: None, was, is });
            }
        }
        for Relied { limit, id, .. } in &self.limits {
            let Some(id) = id else { continue };
            let was = was_of(*limit, Some(id));
            let is = rate(now.overrides.find(*limit, id).map(|of| of.quota));
            let is = is.or_else(|| without_override(*limit, is_policy));
            if is_stricter(is, was) {
                found.push(Stricter::Limit { limit: *limit, id: Some(id.clone()), was, is });
            }
        }
        for of in now.overrides.iter().filter(|of| DECISIVE.contains(&of.name)) {
            let is_new = was_of(of.name, Some(of.id)).is_none();
            let (was, is) = (without_override(of.name, was_policy), rate(Some(of.limit.quota)));
            if is_new && is_stricter(is, was) && uses(of.name, of.id)? {
                found.push(Stricter::Limit { limit: of.name, id: Some(of.id.to_owned()), was, is });
            }
        }
        for (name, was) in &self.names_max {
            let is = now.policy.profile(name).map_or(0, |(_, profile)| profile.names_max);
            if is < *was {
                found.push(Stricter::Profile { name: name.clone(), was: *was, is });
            }
        }
        Ok(found)
    }
}

/// A rate for people; `exact`: to the nanosecond.
fn shown(rate: Rate, exact: bool) -> String {
    match rate {
        None => "no limit".to_owned(),
        Some((burst, emission)) if exact => format!("{burst} at once and one more every {}", emission.compact()),
        Some((burst, emission)) => format!("{burst} at once and one more every {emission}"),
    }
}

impl fmt::Display for Stricter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit { limit, id, was, is } => {
                let whose = id.as_ref().map(|id| format!(" for {id}")).unwrap_or_default();
                // A small change would not be seen in what is rounded for people.
                let exact = shown(*was, false) == shown(*is, false);
                write!(f, "{limit}{whose} was {}, and is {}", shown(*was, exact), shown(*is, exact))
            }
            Self::Profile { name, is: 0, .. } => write!(f, "the profile {name} is gone"),
            Self::Profile { name, was, is } => {
                write!(f, "the profile {name} took {was} names in a certificate, and takes {is}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::limits::{Limit, Overrides, Policy};

    fn limits() -> Limits {
        Limits { policy: Policy::built_in("letsencrypt").unwrap(), overrides: Overrides::none() }
    }

    fn tokens(count: u64) -> Limit {
        Limit::new(count, count, Span::from_days(7)).unwrap()
    }

    fn with(limit: LimitName, id: &str, count: u64) -> Limits {
        let mut limits = limits();
        limits.overrides.set(limit, id, tokens(count));
        limits
    }

    /// What a plan under `was` that has orders of the account `a` and names of example.com relies on.
    fn relied(was: &Limits) -> Reliance {
        let everybodys = DECISIVE.into_iter().filter_map(|limit| Some((limit, None, was.policy.limit(limit)?)));
        let overrides = was.overrides.iter().map(|of| (of.name, Some(of.id.to_owned()), of.limit));
        let relied = |(limit, id, of): (_, _, &Limit)| Relied {
            limit,
            id,
            burst: of.quota.burst(),
            emission_interval: of.quota.emission(),
        };
        Reliance {
            limits: everybodys.chain(overrides).map(relied).collect(),
            names_max: BTreeMap::from([("classic".to_owned(), 100)]),
        }
    }

    fn check(was: &Limits, is: &Limits, expected: &[&str]) {
        let uses = |_, id: &str| Ok::<_, Infallible>(["a", "example.com"].contains(&id));
        let Ok(found) = relied(was).stricter(is, uses);
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
    }

    const ORDERS: LimitName = LimitName::NewOrdersPerAccount;
    const DOMAIN: LimitName = LimitName::CertificatesPerDomain;
    const OWN: LimitName = LimitName::CertificatesPerDomainPerAccount;

    fn with_policy(limit: LimitName, of: Option<Limit>) -> Limits {
        let mut limits = limits();
        limits.policy.set_limit(limit, of);
        limits
    }

    #[test]
    fn the_same_or_looser_is_not_stricter() {
        check(&limits(), &limits(), &[]);
        check(&limits(), &with_policy(DOMAIN, Some(tokens(51))), &[]);
        check(&limits(), &with_policy(DOMAIN, None), &[]);
        check(&limits(), &with(ORDERS, "a", 25_000), &[]);
        check(&with(DOMAIN, "example.com", 40), &limits(), &[]);
    }

    #[test]
    fn a_smaller_burst_is_stricter_and_so_is_a_slower_refill() {
        let was = "CertificatesPerDomain was 50 at once and one more every 3 h 21 min, and is";
        let smaller = Limit::new(49, 50, Span::from_days(7)).unwrap();
        check(
            &limits(),
            &with_policy(DOMAIN, Some(smaller)),
            &[&format!("{was} 49 at once and one more every 3 h 21 min")],
        );
        let slower = Limit::new(60, 50, Span::from_days(14)).unwrap();
        check(
            &limits(),
            &with_policy(DOMAIN, Some(slower)),
            &[&format!("{was} 60 at once and one more every 6 h 43 min")],
        );
    }

    #[test]
    fn an_override_that_is_gone_is_judged_by_what_holds_for_everybody() {
        let gone = "CertificatesPerDomain for example.com was 300 at once and one more every 33 min 36 s, and is 50 at once and one \
                    more every 3 h 21 min";
        check(&with(DOMAIN, "example.com", 300), &limits(), &[gone]);
        let own = "CertificatesPerDomainPerAccount for a was 300 at once and one more every 33 min 36 s, and is 50 at once and one \
                   more every 3 h 21 min";
        check(&with(OWN, "a", 300), &limits(), &[own]);
    }

    #[test]
    fn a_new_override_that_is_stricter_counts_if_the_plan_has_such_orders() {
        let new = "CertificatesPerDomain for example.com was 50 at once and one more every 3 h 21 min, and is 7 at once and one \
                   more every 1 d";
        check(&limits(), &with(DOMAIN, "example.com", 7), &[new]);
        check(&limits(), &with(DOMAIN, "example.org", 7), &[]);
        check(&limits(), &with(OWN, "a", 300), &[]);
    }

    #[test]
    fn profiles_that_take_fewer_names_are_stricter() {
        let mut fewer = limits();
        fewer.policy.profiles.iter_mut().for_each(|profile| profile.names_max = 25);
        check(&limits(), &fewer, &["the profile classic took 100 names in a certificate, and takes 25"]);
        fewer.policy.profiles.clear();
        check(&limits(), &fewer, &["the profile classic is gone"]);
    }
}

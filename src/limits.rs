//! The limits of one CA and what is excepted from them: which there are, how much each allows, for whom more.
//!
//! A limit's number stands in `data/*.toml` alone, with its source and the day it was read. Names are Boulder's
//! (`ratelimits/names.go`), in policy files, messages, JSON and everywhere else.

pub mod overrides;
pub mod policy;
pub mod profile;

use std::borrow::Cow;
use std::fmt;

use crate::counts::{Capacity, Window};
use crate::gcra::{Quota, QuotaError};
use crate::time::Span;

pub use overrides::{Override, OverrideError, Overrides};
pub use policy::{EndpointLimit, OverrideScope, OverrideTiers, Policy, PolicyError, RenewalTerms, SameSetExempt};
pub use profile::{Profile, ProfileTerms};

/// One of the limits of ACME that Boulder knows or knew.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[expect(missing_docs, reason = "`Self::counts` says what each counts")]
pub enum LimitName {
    #[serde(rename = "NewRegistrationsPerIPAddress")]
    NewRegistrationsPerIpAddress,
    #[serde(rename = "NewRegistrationsPerIPv6Range")]
    NewRegistrationsPerIpv6Range,
    NewOrdersPerAccount,
    CertificatesPerDomain,
    CertificatesPerDomainPerAccount,
    #[serde(rename = "CertificatesPerFQDNSet")]
    CertificatesPerFqdnSet,
    FailedAuthorizationsPerDomainPerAccount,
    FailedAuthorizationsForPausingPerDomainPerAccount,
    PendingAuthorizationsPerAccount,
}

impl LimitName {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// All of them; last one that Boulder has no more. Ledgers in Redis hold their places: a new one goes to the end.
    pub const ALL: [Self; 9] = [
        Self::NewRegistrationsPerIpAddress,
        Self::NewRegistrationsPerIpv6Range,
        Self::NewOrdersPerAccount,
        Self::CertificatesPerDomain,
        Self::CertificatesPerDomainPerAccount,
        Self::CertificatesPerFqdnSet,
        Self::FailedAuthorizationsPerDomainPerAccount,
        Self::FailedAuthorizationsForPausingPerDomainPerAccount,
        Self::PendingAuthorizationsPerAccount,
    ];

    /// Boulder's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NewRegistrationsPerIpAddress => "NewRegistrationsPerIPAddress",
            Self::NewRegistrationsPerIpv6Range => "NewRegistrationsPerIPv6Range",
            Self::NewOrdersPerAccount => "NewOrdersPerAccount",
            Self::CertificatesPerDomain => "CertificatesPerDomain",
            Self::CertificatesPerDomainPerAccount => "CertificatesPerDomainPerAccount",
            Self::CertificatesPerFqdnSet => "CertificatesPerFQDNSet",
            Self::FailedAuthorizationsPerDomainPerAccount => "FailedAuthorizationsPerDomainPerAccount",
            Self::FailedAuthorizationsForPausingPerDomainPerAccount => {
                "FailedAuthorizationsForPausingPerDomainPerAccount"
            }
            Self::PendingAuthorizationsPerAccount => "PendingAuthorizationsPerAccount",
        }
    }

    /// What it counts, and by what.
    #[must_use]
    pub const fn counts(self) -> &'static str {
        match self {
            Self::NewRegistrationsPerIpAddress => "new accounts, by IP address",
            Self::NewRegistrationsPerIpv6Range => "new accounts, by IPv6 /48",
            Self::NewOrdersPerAccount => "new orders that are no renewal, by account",
            Self::CertificatesPerDomain => "certificates, by registered domain or address block, over all accounts",
            Self::CertificatesPerDomainPerAccount => "certificates, by account and registered domain; by override only",
            Self::CertificatesPerFqdnSet => "certificates, renewals too, by exact set of names, over all accounts",
            Self::FailedAuthorizationsPerDomainPerAccount => "failed validations, by account and name",
            Self::FailedAuthorizationsForPausingPerDomainPerAccount => {
                "failed validations without a success between, by account and name; the first one denied pauses the pair"
            }
            Self::PendingAuthorizationsPerAccount => "authorizations that are pending at a time, by account",
        }
    }

    /// Which events ask it and which take from it: [`crate::rules`] in words.
    #[must_use]
    pub const fn asked(self) -> &'static str {
        match self {
            Self::NewRegistrationsPerIpAddress | Self::NewRegistrationsPerIpv6Range => {
                "A new account asks and takes a token; it comes back if the account can't be made."
            }
            Self::NewOrdersPerAccount => {
                "A new order asks and takes a token, which comes back only if the CA refuses the order itself. A renewal does \
                 neither, if its names are exactly those of an earlier certificate or the CA suggests it just now (ARI)."
            }
            Self::CertificatesPerDomain => {
                "A new order asks it; the certificate takes a token when it is issued, for each registered domain in it. A renewal \
                 of exactly the same names does neither; one by ARI with other names takes tokens without asking."
            }
            Self::CertificatesPerDomainPerAccount => {
                "Where an account has such an override, its orders ask this one instead of CertificatesPerDomain; its certificates \
                 take tokens of both."
            }
            Self::CertificatesPerFqdnSet => {
                "A new order asks it, a renewal of the same names too; every certificate takes a token when it is issued, also a \
                 renewal by ARI, which does not ask."
            }
            Self::FailedAuthorizationsPerDomainPerAccount => {
                "A new order asks it for each of its names, unless it is a renewal by ARI; each failed validation takes a token, \
                 and so does each pending authorization that is deactivated."
            }
            Self::FailedAuthorizationsForPausingPerDomainPerAccount => {
                "Each failed validation asks and takes a token, and so does each pending authorization that is deactivated; a success \
                 fills the bucket. Once it is empty the next failure pauses the account for that name until a person lifts it."
            }
            Self::PendingAuthorizationsPerAccount => {
                "A new order asks it, a renewal too, for each of its names that has neither a valid authorization nor a pending one. \
                 An authorization is pending until it is validated, fails, is deactivated or expires."
            }
        }
    }

    /// The limit of that name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.as_str() == text)
    }

    /// Its place in [`Self::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for LimitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How a limit counts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// Tokens come back evenly into a bucket that holds some ([`crate::gcra`]).
    #[default]
    TokenBucket,
    /// So many in any stretch as long as the period ([`crate::counts::Events`]).
    SlidingWindow,
    /// So many at a time, whenever they began ([`crate::counts::Open`]).
    Concurrent,
}

/// How much a limit allows, as documented: `count` in `period`, in a bucket of `burst`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limit {
    /// How it counts.
    pub algorithm: Algorithm,
    /// Tokens of a full bucket; without buckets, the count.
    pub burst: u64,
    /// Tokens that come back in a period; events in a window; how many at a time.
    pub count: u64,
    /// The period; nothing where it counts what is there at a time.
    pub period: Span,
    /// The same as a token bucket, to compute with. Nothing decides by it where [`Self::algorithm`] is another.
    pub quota: Quota,
}

impl Limit {
    /// A limit of `count` in `period` with a bucket of `burst`.
    ///
    /// # Errors
    /// [`QuotaError`] where that is no bucket.
    pub fn new(burst: u64, count: u64, period: Span) -> Result<Self, QuotaError> {
        Ok(Self { algorithm: Algorithm::TokenBucket, burst, count, period, quota: Quota::new(burst, count, period)? })
    }

    /// A limit of `count` in any stretch of `period`.
    ///
    /// # Errors
    /// [`QuotaError`] where that would be no bucket either.
    pub fn sliding_window(count: u64, period: Span) -> Result<Self, QuotaError> {
        Ok(Self { algorithm: Algorithm::SlidingWindow, ..Self::new(count, count, period)? })
    }

    /// A limit of `count` at a time.
    ///
    /// # Errors
    /// [`QuotaError`] where that is none, or more than 32 bits hold.
    pub fn concurrent(count: u64) -> Result<Self, QuotaError> {
        let quota = Quota::new(count, 1, Span::from_nanos(1))?;
        Ok(Self { algorithm: Algorithm::Concurrent, burst: count, count, period: Span::ZERO, quota })
    }
}

/// The policy of a CA together with one organisation's overrides: all that decides how much is allowed.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The CA's limits for everyone.
    pub policy: Policy,
    /// What is granted beyond them.
    pub overrides: Overrides,
}

impl Limits {
    /// The quota of the bucket of `limit` whose override, if there is one, goes by `id` (an account, registered domain or address
    /// block, set key, address or range, in canonical text). `None`: the limit is off.
    #[must_use]
    pub fn quota(&self, limit: LimitName, id: &str) -> Option<Quota> {
        self.overrides.find(limit, id).or_else(|| self.policy.limit(limit)).map(|limit| limit.quota)
    }

    /// The same with how the limit counts, which is the policy's to say: under a sliding window an override is its count in its period,
    /// under a limit on what is there at a time its count.
    #[must_use]
    pub fn capacity(&self, limit: LimitName, id: &str) -> Option<Capacity> {
        let default = self.policy.limit(limit);
        let holds = self.overrides.find(limit, id).or(default)?;
        let (quota, most) = (holds.quota, u32::try_from(holds.count).unwrap_or(u32::MAX));
        Some(match default.map_or(Algorithm::TokenBucket, |default| default.algorithm) {
            Algorithm::TokenBucket => Capacity::Tokens(quota),
            Algorithm::SlidingWindow => Capacity::Window(Window { most, period: holds.period }),
            Algorithm::Concurrent => Capacity::Concurrent(most),
        })
    }

    /// That every limit is a token bucket, which all that looks ahead computes with.
    ///
    /// # Errors
    /// [`NotTokenBuckets`], naming a limit that is not.
    pub fn check_token_buckets(&self) -> Result<(), NotTokenBuckets> {
        let is_other = |limit: &LimitName| {
            self.policy.limit(*limit).is_some_and(|limit| limit.algorithm != Algorithm::TokenBucket)
        };
        match LimitName::ALL.into_iter().find(is_other) {
            Some(limit) => Err(NotTokenBuckets { policy: self.policy.name.clone(), limit }),
            None => Ok(()),
        }
    }

    /// The same numbers, all as token buckets: for one who groups names and computes no time.
    #[must_use]
    pub fn as_token_buckets(&self) -> Cow<'_, Self> {
        if self.check_token_buckets().is_ok() {
            return Cow::Borrowed(self);
        }
        let mut same = self.clone();
        for name in LimitName::ALL {
            let limit = self.policy.limit(name);
            same.policy
                .set_limit(name, limit.map(|limit| Limit { algorithm: Algorithm::TokenBucket, ..limit.clone() }));
        }
        Cow::Owned(same)
    }

    /// Whether `account` has a bucket of its own for each registered domain, which its orders check instead of the global one.
    #[must_use]
    pub fn own_domain_buckets(&self, account: &str) -> bool {
        self.quota(LimitName::CertificatesPerDomainPerAccount, account).is_some()
    }
}

/// Why nothing can be planned under a policy.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the policy {policy} counts in sliding windows ({limit}, for one), under which nothing can be planned")]
pub struct NotTokenBuckets {
    /// The policy's name.
    pub policy: String,
    /// A limit that is no token bucket.
    pub limit: LimitName,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for (index, name) in LimitName::ALL.into_iter().enumerate() {
            assert_eq!(LimitName::parse(name.as_str()), Some(name));
            assert_eq!(serde_json::to_string(&name).unwrap(), format!("\"{name}\""));
            assert_eq!(name.index(), index);
        }
    }
}

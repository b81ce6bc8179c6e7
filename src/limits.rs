//! The limits of one CA and what is excepted from them: which there are, how much each allows, for whom more.
//!
//! A limit's number stands in `data/*.toml` alone, with its source and the day it was read. Names are Boulder's
//! (`ratelimits/names.go`), in policy files, messages, JSON and everywhere else.

pub mod overrides;
pub mod policy;
pub mod profile;

use std::fmt;

use crate::gcra::Quota;
use crate::time::Span;

pub use overrides::{Override, OverrideError, Overrides};
pub use policy::{EndpointLimit, OverrideScope, OverrideTiers, Policy, PolicyError, RenewalTerms};
pub use profile::{Profile, ProfileTerms};

/// One of the eight limits of ACME that Boulder knows.
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
}

impl LimitName {
    /// All of them, in Boulder's order.
    pub const ALL: [Self; 8] = [
        Self::NewRegistrationsPerIpAddress,
        Self::NewRegistrationsPerIpv6Range,
        Self::NewOrdersPerAccount,
        Self::CertificatesPerDomain,
        Self::CertificatesPerDomainPerAccount,
        Self::CertificatesPerFqdnSet,
        Self::FailedAuthorizationsPerDomainPerAccount,
        Self::FailedAuthorizationsForPausingPerDomainPerAccount,
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

/// How much a limit allows, as documented: `count` in `period`, in a bucket of `burst`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limit {
    /// Tokens of a full bucket.
    pub burst: u64,
    /// Tokens that come back in a period.
    pub count: u64,
    /// The period.
    pub period: Span,
    /// The same, to compute with.
    pub quota: Quota,
}

impl Limit {
    /// A limit of `count` in `period` with a bucket of `burst`.
    ///
    /// # Errors
    /// [`crate::gcra::QuotaError`] where that is no bucket.
    pub fn new(burst: u64, count: u64, period: Span) -> Result<Self, crate::gcra::QuotaError> {
        Ok(Self { burst, count, period, quota: Quota::new(burst, count, period)? })
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

    /// Whether `account` has a bucket of its own for each registered domain, which its orders check instead of the global one.
    #[must_use]
    pub fn own_domain_buckets(&self, account: &str) -> bool {
        self.quota(LimitName::CertificatesPerDomainPerAccount, account).is_some()
    }
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

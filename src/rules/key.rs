//! Whose bucket it is.

use std::net::IpAddr;

use crate::limits::LimitName;

/// Whose bucket it is. The numbers are dense ids: [`super::Model::describe`] has the text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BucketKey {
    /// By IP address.
    NewRegistrationsPerIpAddress(IpAddr),
    /// By the first 48 bits of an IPv6 address.
    NewRegistrationsPerIpv6Range(u128),
    /// By account.
    NewOrdersPerAccount(u32),
    /// By registered domain.
    CertificatesPerDomain(u32),
    /// By account and registered domain.
    CertificatesPerDomainPerAccount(u32, u32),
    /// By exact set.
    CertificatesPerFqdnSet(u32),
    /// By account and name.
    FailedAuthorizationsPerDomainPerAccount(u32, u32),
    /// By account and name.
    FailedAuthorizationsForPausingPerDomainPerAccount(u32, u32),
    /// By account.
    PendingAuthorizationsPerAccount(u32),
}

impl BucketKey {
    /// The limit that it is a bucket of.
    #[must_use]
    pub const fn limit(self) -> LimitName {
        match self {
            Self::NewRegistrationsPerIpAddress(_) => LimitName::NewRegistrationsPerIpAddress,
            Self::NewRegistrationsPerIpv6Range(_) => LimitName::NewRegistrationsPerIpv6Range,
            Self::NewOrdersPerAccount(_) => LimitName::NewOrdersPerAccount,
            Self::CertificatesPerDomain(_) => LimitName::CertificatesPerDomain,
            Self::CertificatesPerDomainPerAccount(..) => LimitName::CertificatesPerDomainPerAccount,
            Self::CertificatesPerFqdnSet(_) => LimitName::CertificatesPerFqdnSet,
            Self::FailedAuthorizationsPerDomainPerAccount(..) => LimitName::FailedAuthorizationsPerDomainPerAccount,
            Self::FailedAuthorizationsForPausingPerDomainPerAccount(..) => {
                LimitName::FailedAuthorizationsForPausingPerDomainPerAccount
            }
            Self::PendingAuthorizationsPerAccount(_) => LimitName::PendingAuthorizationsPerAccount,
        }
    }
}

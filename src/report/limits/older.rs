//! The words for limits that count one by one: other events asked them, and there were no tokens to take.

use crate::limits::{LimitName, SameSetExempt};

/// What `name` counts where a renewal is exempt from `same_set`.
pub(super) const fn counts(name: LimitName, same_set: SameSetExempt) -> &'static str {
    match (name, same_set) {
        (LimitName::NewOrdersPerAccount, SameSetExempt::Domains) => "new orders, renewals too, by account",
        _ => name.counts(),
    }
}

/// Which events ask `name`, and which it counts.
pub(super) const fn asked(name: LimitName) -> &'static str {
    match name {
        LimitName::NewRegistrationsPerIpAddress | LimitName::NewRegistrationsPerIpv6Range => {
            "A new account asks it and is counted, unless the account can't be made."
        }
        LimitName::NewOrdersPerAccount => {
            "A new order asks it and is counted, unless the CA refuses the order itself; a renewal is no exception."
        }
        LimitName::CertificatesPerDomain | LimitName::CertificatesPerDomainPerAccount => {
            "A new order asks it; the certificate is counted when it is issued, for each registered domain in it. A renewal of \
             exactly the same names does neither."
        }
        LimitName::CertificatesPerFqdnSet => {
            "A new order asks it, a renewal too; every certificate is counted when it is issued."
        }
        LimitName::FailedAuthorizationsPerDomainPerAccount
        | LimitName::FailedAuthorizationsForPausingPerDomainPerAccount => {
            "A new order asks it for each of its names; each failed validation is counted."
        }
        LimitName::PendingAuthorizationsPerAccount => name.asked(),
    }
}

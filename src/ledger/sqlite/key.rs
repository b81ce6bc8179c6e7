//! Under which key a bucket's cell stands in its table: what the bucket is about comes first, labels from the last to the first. So
//! `FailedAuthorizationsPerDomainPerAccount ACCOUNT www.example.com` is `com.example.www FailedAuthorizationsPerDomainPerAccount ACCOUNT`.
//! The cells of a registered domain and of its names change together, and thus mostly in one page of the file, not in one for each limit
//! and account.

/// The key of the bucket of that name.
pub(super) fn key_of(name: &str) -> String {
    match name.rsplit_once(' ') {
        Some((limit, subject)) => [&turned(subject), " ", limit].concat(),
        None => turned(name),
    }
}

/// The name of the bucket with that key.
pub(super) fn name_of(key: &str) -> String {
    match key.split_once(' ') {
        Some((subject, limit)) => [limit, " ", &turned(subject)].concat(),
        None => turned(key),
    }
}

/// Its labels from the last to the first; turned twice it is what it was.
fn turned(subject: &str) -> String {
    subject.rsplit('.').collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::bucket_name;
    use crate::limits::LimitName;

    #[test]
    fn a_domain_and_its_names_are_neighbours() {
        let domain = |domain| bucket_name(LimitName::CertificatesPerDomain, domain);
        let failures = |account, name| {
            bucket_name(
                LimitName::FailedAuthorizationsPerDomainPerAccount,
                &format!("https://ca.example/{account} {name}"),
            )
        };
        let (apex, www) = (failures(1, "example.com"), failures(2, "www.example.com"));
        let mut names = [domain("another.com"), apex, domain("example.net"), www, domain("example.com")];
        names.sort_by_key(|name| key_of(name));
        let subjects = names.each_ref().map(|name| name.rsplit(' ').next().unwrap_or_default());
        assert_eq!(subjects, ["another.com", "example.com", "example.com", "www.example.com", "example.net"]);
    }

    proptest! {
        #[test]
        fn a_key_tells_its_name(name in "[a-c. ]{0,12}", any in ".*") {
            for name in [name, any] {
                prop_assert_eq!(name_of(&key_of(&name)), name);
            }
        }
    }
}

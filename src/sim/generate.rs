//! Inventories made up from a few numbers, as the CSV that [`crate::inventory`] reads: a scenario needs no file for a hundred thousand
//! names.

use std::fmt::Write as _;

use super::scenario::Generated;
use crate::limits::ProfileTerms;
use crate::time::{Span, Timestamp};

/// The rows: hostnames spread evenly over domains, domains over tenants and accounts. A domain's hostnames beyond the first are `h1`,
/// `h2`, …. Certificates held have ages spread evenly over the time after which they are due.
pub(super) fn csv(of: &Generated, start: Timestamp, terms: ProfileTerms, before_expiry: Span) -> Vec<u8> {
    let mut text = "hostname,account,tenant,certificate,issued_at,expires_at\n".to_owned();
    let held_domains = u64::from(of.domains) * u64::from(of.held.parts()) / 1_000_000;
    let life = terms.validity.minus(before_expiry).nanos();
    for index in 0..of.hostnames {
        let (domain, host) = (index % of.domains, index / of.domains);
        let label = if host == 0 { String::new() } else { format!("h{host}.") };
        let account = if of.accounts > 1 { format!("account-{}", domain % of.accounts) } else { String::new() };
        let tenant = domain.checked_rem(of.tenants).map_or_else(String::new, |tenant| format!("tenant-{tenant}"));
        let _infallible = write!(text, "{label}d{domain}.com,{account},{tenant},");
        if u64::from(domain) < held_domains {
            // The certificate of a domain's hostnames by hundreds, so that none is larger than any profile takes.
            let age = i128::from(life) * i128::from(domain) / i128::from(held_domains);
            let issued_at = start.minus(Span::from_nanos(i64::try_from(age).unwrap_or(life)));
            let (part, expires_at) = (host / 25, issued_at.plus(terms.validity));
            let _infallible = writeln!(text, "c{domain}-{part},{issued_at},{expires_at}");
        } else {
            text.push_str(",,\n");
        }
    }
    text.into_bytes()
}

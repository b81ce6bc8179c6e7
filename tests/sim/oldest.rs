//! History as it was documented before token buckets: `policy = "letsencrypt-2021"`.

use certpace::limits::{LimitName, Limits, Overrides, Policy};
use certpace::sim::trace::{Entry, Step};
use certpace::sim::{Measure, Measures, Seed, Setup, SetupError, Surroundings};
use certpace::time::{Span, Timestamp};

use super::world::{SUFFIXES, client, event, scenario, set_up_under, traced};

fn replay(days: u32, inventory: &str, more: &str) -> (Measures, Vec<Entry>) {
    let limits = Limits { policy: Policy::built_in("letsencrypt-2021").unwrap(), overrides: Overrides::none() };
    traced(&set_up_under(&scenario(days, inventory, more), &limits), Seed(1))
}

fn issued(entries: &[Entry]) -> Vec<Timestamp> {
    entries.iter().filter(|entry| matches!(entry.step, Step::Issued(_))).map(|entry| entry.at).collect()
}

/// A client that orders one after the other, and looks again every minute, is let through when the first certificate is a week old, not a
/// bit before. (One that orders all at once gets more than fifty: what is in flight is not issued yet.)
#[test]
fn fifty_certificates_at_once_and_the_next_a_week_after_the_first() {
    let lego = client("lego", "tick = \"1m\"\nnames_per_cert = 1");
    let (measures, entries) = replay(8, "hostnames = 60\ndomains = 1", &lego);
    let issued = issued(&entries);
    assert_eq!(issued.len(), 60, "{measures:?}");
    assert!(issued[49].since(issued[0]) < Span::from_hours(1), "fifty at once");
    let week = issued[0].plus(Span::from_days(7));
    assert!(issued[50] > week && issued[50] < week.plus(Span::from_hours(1)), "{} {}", issued[50], week);
    assert!(measures.count(Measure::RefusalsBy(LimitName::CertificatesPerDomain)) > 0);
    assert_eq!(measures.count(Measure::TokensLeft(LimitName::CertificatesPerDomain)), 0);
}

#[test]
fn five_duplicates_a_week() {
    let redeployed = |times: usize| {
        let events: String = (1..=times).map(|time| event("lose-storage", &format!("{time}h"), "")).collect();
        let (measures, entries) = replay(9, "hostnames = 1", &(client("naive", "tick = \"1m\"") + &events));
        (measures.count(Measure::RefusalsBy(LimitName::CertificatesPerFqdnSet)), issued(&entries))
    };
    assert_eq!(redeployed(4).0, 0, "five certificates in all");
    let (refusals, issued) = redeployed(5);
    assert!(refusals > 0, "the sixth");
    let week = issued[0].plus(Span::from_days(7));
    assert!(issued[5] > week && issued[5] < week.plus(Span::from_hours(1)), "{} {}", issued[5], week);
}

/// A client that makes authorizations and never answers their challenges: the 300 it has pending stop it, until it takes
/// them up again.
#[test]
fn three_hundred_pending_authorizations_stop_an_account() {
    let more = client("naive", "tick = \"1m\"\nnames_per_cert = 100")
        + &event("crash", "0s", "downtime = \"1h\"")
        + &event("slow-validation", "0s", "delay = \"4h\"\nuntil = \"2d\"")
        + &event("crash", "1h30m", "downtime = \"5m\"");
    let (measures, entries) = replay(10, "hostnames = 400\ndomains = 4", &more);
    let by_pending = Measure::RefusalsBy(LimitName::PendingAuthorizationsPerAccount);
    assert!(measures.count(by_pending) > 0, "{measures:?}");
    assert_eq!(measures.count(Measure::TokensLeft(LimitName::PendingAuthorizationsPerAccount)), 0);
    let refused =
        |entry: &&Entry| matches!(&entry.step, Step::Refused { limit: LimitName::PendingAuthorizationsPerAccount, .. });
    assert!(entries.iter().filter(refused).count() > 0);
    assert_eq!(measures.count(Measure::HostnamesCovered), 400, "in the end all get theirs");
}

#[test]
fn there_is_no_ari() {
    let revoked = |policy| {
        let events = event("revocation", "10d", "deadline = \"24h\"");
        let scenario = scenario(40, "hostnames = 5", &(client("caddy", "") + &events));
        let limits = Limits { policy: Policy::built_in(policy).unwrap(), overrides: Overrides::none() };
        traced(&set_up_under(&scenario, &limits), Seed(1)).0.count(Measure::HostnameHoursLapsed)
    };
    assert_eq!(revoked("letsencrypt"), 0);
    assert!(revoked("letsencrypt-2021") > 0, "nobody tells the client");
}

/// A plan, and a client with a ledger, compute with tokens.
#[test]
fn clients_that_look_ahead_are_told_that_they_cannot() {
    let refused = |policy, more: &str| {
        let limits = Limits { policy: Policy::built_in(policy).unwrap(), overrides: Overrides::none() };
        let around = Surroundings { limits: &limits, suffixes: &SUFFIXES, sources: Vec::new() };
        Setup::new(&scenario(2, "hostnames = 5", more), &around)
            .is_err_and(|error| matches!(error, SetupError::Plan(_)))
    };
    assert!(refused("letsencrypt-2021", &client("plan", "")));
    assert!(refused("letsencrypt-2021", &client("certpace", "")));
    assert!(!refused("letsencrypt-2021", &client("certbot", "")));
    let change = event("policy", "1d", "name = \"letsencrypt-2021\"");
    assert!(refused("letsencrypt", &(client("certpace", "") + &change)));
    assert!(!refused("letsencrypt", &(client("certbot", "") + &change)));
}

use super::*;
use crate::clock::{FixedClock, Timescale};
use crate::gate::record::{Done, Entry};
use crate::gate::request::Replaces;
use crate::ledger::{MemoryStore, Move, Realm};
use crate::limits::{Limit, LimitName, Limits, Overrides, Policy};
use crate::psl::SuffixList;

const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

fn gate(limits: Limits) -> Gate {
    let store = Box::new(MemoryStore::new(FixedClock(NOW)));
    Gate::new(store, Realm::new("https://ca/dir"), limits, SuffixList::embedded(), Timescale::REAL, [1; 32]).unwrap()
}

fn limits() -> Limits {
    Limits { policy: Policy::built_in("letsencrypt").unwrap(), overrides: Overrides::none() }
}

fn request(window: Option<(Timestamp, Timestamp)>) -> Request {
    let names = NameSet::parse(["a.example.com", "b.example.com", "*.example.org"]).unwrap();
    let replaces = window.map(|window| Replaces { certificate: "c".to_owned(), window: Some(window) });
    Request { replaces, ..Request::of("1", names, "me") }
}

/// What is done for `request` if its set was seen then, and what the record's line says was done.
fn both(limits: Limits, request: &Request, mode: Mode<'_>, seen: Option<Timestamp>) -> [Vec<Done>; 2] {
    let mut gate = gate(limits);
    let state = SetState { seen, ..SetState::default() };
    let set = Document { name: "set x".to_owned(), version: Version::Written(1), body: text(&state) };
    let documents = [(set.name.clone(), set)].into_iter().collect();
    let (step, made) = gate.draft(request, mode, "set x", "p", &View { at: NOW, documents: &documents }).unwrap();
    let Made::Asked(exemption, Some(permit)) = made else { panic!("nothing is in the way") };
    let done = |made: &Move| {
        let bucket = &step.buckets[made.bucket];
        Done { bucket: bucket.name.clone(), quota: bucket.quota, motion: made.motion }
    };
    let line = step.record.as_deref().unwrap();
    assert_eq!(step.writes[0].body.as_deref(), Some(line), "said once");
    let entry = Entry::read(line).unwrap();
    assert_eq!((entry.what.as_str(), entry.permit.as_deref(), entry.by.as_str()), ("reserve", Some("p"), "me"));
    assert_eq!(entry.detail["names"], serde_json::to_value(&permit.names).unwrap());
    let exempt = (exemption != Exemption::None).then(|| serde_json::to_value(exemption).unwrap());
    assert_eq!(entry.detail.get("exemption"), exempt.as_ref());
    [step.moves.iter().map(done).collect(), entry.moves]
}

/// How many moves there are, which the line tells as they are made.
fn check(limits: Limits, window: Option<(Timestamp, Timestamp)>, seen: Option<Timestamp>, moves: usize) {
    let shadowed = Shadowed { verdict: "later".to_owned(), retry_at: None, blocking: Vec::new() };
    for mode in [Mode::Take(None), Mode::Take(Some("t")), Mode::LetPass(&shadowed), Mode::Replay] {
        let [made, told] = both(limits.clone(), &request(window), mode, seen);
        assert_eq!((made.len(), &made), (moves, &told), "{mode:?}");
    }
}

fn open_window() -> Option<(Timestamp, Timestamp)> {
    Some((NOW, NOW.plus(Span::from_days(1))))
}

fn seen() -> Option<Timestamp> {
    Some(NOW.minus(Span::from_days(1)))
}

#[test]
fn an_order_without_an_exemption_holds_of_all() {
    // The account, three names, two domains, the set.
    check(limits(), None, None, 7);
}

#[test]
fn a_same_set_renewal_holds_of_names_and_set() {
    check(limits(), None, seen(), 4);
}

#[test]
fn a_renewal_inside_its_window_holds_of_domains_as_well() {
    check(limits(), open_window(), None, 6);
}

#[test]
fn one_of_exactly_the_set_inside_its_window_does_not() {
    check(limits(), open_window(), seen(), 4);
}

#[test]
fn a_limit_that_is_off_holds_nothing() {
    let mut limits = limits();
    limits.policy.set_limit(LimitName::CertificatesPerFqdnSet, None);
    check(limits, None, None, 6);
}

#[test]
fn an_override_is_told() {
    let mut limits = limits();
    let limit = |burst| Limit::new(burst, burst, Span::from_hours(7)).unwrap();
    limits.overrides.set(LimitName::NewOrdersPerAccount, "1", limit(10));
    limits.overrides.set(LimitName::CertificatesPerDomainPerAccount, "1", limit(20));
    // Beside the domains' buckets there are the account's own of them.
    check(limits.clone(), None, None, 9);
    let [_, told] = both(limits, &request(None), Mode::Take(None), None);
    let burst = |name: &str| told.iter().find(|done| done.bucket == name).map(|done| done.quota.burst());
    assert_eq!(burst("NewOrdersPerAccount 1"), Some(10));
    assert_eq!(burst("CertificatesPerDomainPerAccount 1 example.com"), Some(20));
}

//! What is conserved: orders, tokens, authorizations, time; and the model CA against the rules, event by event.

use std::collections::BTreeMap;

use certpace::buckets::Batch;
use certpace::name::NameSet;
use certpace::rules::{Decision, Exemption, Model};
use certpace::sim::trace::{Entry, Step};
use certpace::sim::{Measure, Seed, Setup};
use certpace::time::Timestamp;

use super::world::{SUFFIXES, client, documented, event, names_of, scenario, set_up, traced};

fn busy() -> Setup {
    let clients = client("naive", "tick = \"10m\"\nshare = \"50%\"") + &client("caddy", "share = \"50%\"");
    let events = event("failing-names", "1h", "share = \"10%\"\nuntil = \"3d\"")
        + &event("crash", "10m", "downtime = \"10m\"")
        + &event("outage", "2h", "until = \"5h\"\nendpoint = \"others\"")
        + &event("slow-validation", "6h", "delay = \"2h\"\nuntil = \"8h\"")
        + &event("lose-storage", "1d", "");
    set_up(&scenario(10, "hostnames = 400\ndomains = 20", &(clients + &events)))
}

/// Every order that is let through ends in one way, or is under way at the end.
#[test]
fn every_order_ends_in_one_state() {
    let (measures, entries) = traced(&busy(), Seed(3));
    let (mut open, mut ended, mut ordered) = (0_u64, 0_u64, 0_u64);
    for entry in &entries {
        match entry.step {
            Step::Ordered(_) => (open, ordered) = (open + 1, ordered + 1),
            Step::Issued(_) | Step::Lost(_) | Step::Invalid(_) | Step::Expired | Step::Abandoned => {
                open = open.checked_sub(1).unwrap();
                ended += 1;
            }
            Step::Refused { .. }
            | Step::Paused
            | Step::AlreadyReplaced
            | Step::Busy(_)
            | Step::Unreachable
            | Step::Validated
            | Step::Permitted(_)
            | Step::Waits { .. }
            | Step::Split
            | Step::Forgotten
            | Step::Stranger(_)
            | Step::Event { .. } => {}
        }
    }
    assert_eq!(ended + open, ordered);
    assert_eq!(ended, measures.count(Measure::Certificates) + measures.count(Measure::FailedOrders));
    assert!(measures.count(Measure::FailedOrders) > 0 && measures.count(Measure::Refusals) > 0, "{measures:?}");
}

#[test]
fn time_never_goes_back_and_nothing_is_issued_unvalidated() {
    let setup = busy();
    let (_, entries) = traced(&setup, Seed(4));
    let mut last = Timestamp::default();
    let mut validated: BTreeMap<&str, Timestamp> = BTreeMap::new();
    for entry in &entries {
        assert!(entry.at >= last);
        last = entry.at;
        match entry.step {
            Step::Validated => validated.extend(names_of(&setup, entry).into_iter().map(|name| (name, entry.at))),
            Step::Issued(_) | Step::Lost(_) => {
                let names = names_of(&setup, entry);
                // An authorization of the classic profile can be used for 30 days.
                assert!(names.iter().all(|name| entry.at.since(validated[name]).nanos() < 30 * 86_400_000_000_000));
            }
            _ => {}
        }
    }
}

/// A model of its own, told the same events, decides the same; with what it has spent at the end.
fn replay(setup: &Setup, entries: &[Entry]) -> u64 {
    let mut model = Model::new(documented(), SUFFIXES.clone());
    let mut batch = Batch::default();
    let mut refused = 0;
    for entry in entries {
        if entry.lineage.is_none() {
            continue;
        }
        let names = NameSet::parse(names_of(setup, entry)).unwrap();
        let order = model.order("default", &names);
        match &entry.step {
            Step::Ordered(exemption) => {
                assert_eq!(*exemption, model.exemption(order, *exemption == Exemption::Ari, entry.at));
                assert_eq!(model.new_order(order, *exemption, entry.at, &mut batch), Decision::Allow);
            }
            Step::Refused { limit, key, retry_after } => {
                let exemption = model.exemption(order, false, entry.at);
                let Decision::Wait(until) = model.new_order(order, exemption, entry.at, &mut batch) else { panic!() };
                let (denied, _) = batch.strictest().unwrap();
                assert_eq!(model.describe(denied.bucket().unwrap()), (*limit, key.clone()));
                let (wait, told) = (until.since(entry.at).seconds_f64(), retry_after.unwrap_or_default().seconds_f64());
                assert!(wait - 0.5 <= told && told <= wait * 1.03 + 0.5, "{wait} {told}");
                refused += 1;
            }
            Step::Issued(_) | Step::Lost(_) => {
                let renewal = model.exemption(order, false, entry.at) == Exemption::SameSet;
                model.issued(order, renewal, entry.at, &mut batch);
            }
            _ => {}
        }
    }
    refused
}

#[test]
fn the_model_ca_and_the_rules_agree() {
    let clients = client("naive", "tick = \"1h\"\nshare = \"40%\"")
        + &client("caddy", "share = \"30%\"")
        + &client("certbot", "share = \"30%\"\nreplicas = 3");
    let events = event("lose-storage", "1d", "") + &event("lose-storage", "2d", "") + &event("crash", "60h", "");
    let setup = set_up(&scenario(120, "hostnames = 600\ndomains = 5", &(clients + &events)));
    for seed in 0..3 {
        let (measures, entries) = traced(&setup, Seed(seed));
        let refused = replay(&setup, &entries);
        assert_eq!(refused, measures.count(Measure::Refusals));
        assert!(refused > 100, "{refused}");
    }
}

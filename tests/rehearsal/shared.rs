//! Several who issue: they share a ledger, or don't know of each other.

use std::collections::BTreeMap;
use std::fs::{self, DirEntry};
use std::time::Duration;

use crate::certificates::check;
use crate::postgres::Postgres;
use crate::redis::Redis;
use crate::servers::process::wait_until;
use crate::world::{FILE, World, hosts, numbers, report};

const WITHIN: Duration = Duration::from_secs(240);

/// Four processes, each with a store of its own, share a plan over `ledger`.
fn check_four(ledger: &str) {
    let mut world = World::start(&[("NewOrdersPerAccount", 60, "6m")], 3_000);
    let domains = ["one.com", "two.com", "three.com", "four.com", "five.com"];
    let hostnames: Vec<_> = domains.iter().flat_map(|domain| hosts(domain, 52)).collect();
    world.plan("plan.jsonl", &hostnames, &["--names-per-cert", "1", "--margin", "3h"]);
    let stores = ["first", "second", "third", "fourth"];
    world.account(&stores);
    world.init(ledger);
    let processes = stores.map(|store| world.issue(["plan.jsonl", store, ledger], &["--lease", "2d"]));
    let reports = processes.map(|process| report(process, WITHIN));
    let mut issued = 0;
    for report in &reports {
        let [own, elsewhere, left @ ..] =
            numbers(report, ["issued", "issued_elsewhere", "open_count", "refused", "failed", "lost"]);
        assert_eq!((&report["ended"], own + elsewhere, left), (&"done".into(), 260, [0; 4]), "{report}");
        assert!(own > 0, "{report}");
        issued += own;
    }
    assert_eq!(issued, 260);
    check(&world, &stores, &hostnames);
    let (_, verdict) = world.enforced.end();
    assert_eq!(verdict["passed"], true, "{}", verdict["refusals"]);
    assert_eq!(numbers(&verdict["counts"], ["orders", "certificates"]), [260, 260]);
}

#[test]
fn four_processes_share_a_plan_over_redis() {
    check_four(&Redis::shared().url());
}

#[test]
fn four_processes_share_a_plan_over_postgresql() {
    check_four(&Postgres::shared().url());
}

#[test]
fn a_bucket_that_somebody_else_has_spent_costs_one_refusal() {
    let limits = [("CertificatesPerDomain", 10, "6h"), ("NewOrdersPerAccount", 20, "1h")];
    let mut world = World::start_idle(&limits, 3_000);
    world.account(&["store", "theirs"]);
    // They take all certificates of the domain, and all orders of the account; our ledger does not know.
    let theirs: Vec<_> = hosts("shared.com", 10).chain(hosts("theirs.com", 10)).collect();
    world.plan("theirs.jsonl", &theirs, &["--names-per-cert", "1", "--headroom", "0%"]);
    let done = report(world.issue(["theirs.jsonl", "theirs", "sqlite:theirs.sqlite"], &["--lease", "2d"]), WITHIN);
    assert_eq!(numbers(&done, ["issued", "refused"]), [20, 0], "{done}");

    let ours: Vec<_> =
        hosts("shared.com", 15).skip(10).chain(hosts("ours.com", 8)).chain(hosts("more.com", 10)).collect();
    world.plan("ours.jsonl", &ours, &["--names-per-cert", "1"]);
    let done = report(world.issue(["ours.jsonl", "store", FILE], &["--lease", "2d"]), WITHIN);
    assert_eq!((&done["ended"], numbers(&done, ["issued", "open_count"])), (&"done".into(), [ours.len() as u64, 0]));
    check(&world, &["store", "theirs"], &[ours, theirs].concat());

    let (_, verdict) = world.enforced.end();
    let mut refused = BTreeMap::<_, u32>::new();
    for entry in verdict["refusals"].as_array().unwrap() {
        *refused.entry(entry["refused"]["limit"].as_str().unwrap()).or_default() += 1;
    }
    assert_eq!(refused, BTreeMap::from([("CertificatesPerDomain", 1), ("NewOrdersPerAccount", 1)]));
    assert_eq!(numbers(&verdict["counts"], ["too_early", "busy", "paused"]), [0; 3]);
    assert_eq!(numbers(&done, ["refused"]), [2]);
}

#[test]
fn a_ledger_that_was_away_when_a_certificate_came_learns_of_it() {
    let mut redis = Redis::start(&[]);
    // Leases last a minute and a half by the clock, so that one which is not settled is ordered again.
    let world = World::start_idle(&[], 20);
    world.account(&["store", "other"]);
    world.init(&redis.url());
    world.plan("plan.jsonl", &["www.example.com".to_owned()], &[]);
    let process = world.issue(["plan.jsonl", "store", &redis.url()], &["--lease", "30m"]);
    // The key is on disk just before the CA is asked for the certificate, which takes it a second.
    let order = world.folder().join("store/orders/1");
    let is_key = |entry: std::io::Result<DirEntry>| entry.unwrap().file_name().to_str().unwrap().ends_with(".key.pem");
    wait_until("no key is kept", || fs::read_dir(&order).is_ok_and(|mut files| files.any(is_key)));
    redis.kill();
    wait_until("it is told all the same", || process.said().contains("it did not learn of a certificate"));
    assert_eq!(world.held("store").len(), 1);
    redis.go_on();
    let done = report(process, WITHIN);
    assert_eq!((&done["ended"], numbers(&done, ["issued", "open_count"])), (&"done".into(), [1, 0]), "{done}");
    let other = report(world.issue(["plan.jsonl", "other", &redis.url()], &[]), WITHIN);
    assert_eq!(numbers(&other, ["issued", "issued_elsewhere"]), [0, 1], "{other}");
}

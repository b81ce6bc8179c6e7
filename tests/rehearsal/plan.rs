//! A plan of thousands of orders comes out as planned, whatever happens to the process.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use serde_json::Value;

use crate::certificates::check;
use crate::servers::process::wait;
use crate::world::{FILE, World, hosts, numbers, report, time};

/// Three domains with more names than a week allows, and others that are held back by the account alone.
fn hostnames(busy: usize, others: usize) -> Vec<String> {
    let busy = (0..3).flat_map(|number| hosts(&format!("busy{number}.com"), busy).collect::<Vec<_>>());
    busy.chain((0..others).map(|name| format!("n{name}.other{}.com", name / 20))).collect()
}

fn seconds(from: &Value, to: &Value) -> i64 {
    time(to).since(time(from)).nanos() / 1_000_000_000
}

/// Nobody was refused, and this came of it.
fn check_verdict(world: &mut World, certificates: u64, lost_max: u64) {
    let (_, verdict) = world.enforced.end();
    assert_eq!(verdict["passed"], true, "{}", verdict["refusals"]);
    let [orders, issued] = numbers(&verdict["counts"], ["orders", "certificates"]);
    assert_eq!(issued, certificates);
    assert!((certificates..=certificates + lost_max).contains(&orders), "{orders} orders");
}

#[test]
fn two_thousand_orders_come_as_planned_and_none_is_refused() {
    // An order each 6 min, eight days of it in three minutes; and domains that take a bit longer than that.
    let mut world = World::start(&[("NewOrdersPerAccount", 100, "6m")], 5_000);
    let hostnames = hostnames(105, 1_685);
    let head = world.plan("plan.jsonl", &hostnames, &["--names-per-cert", "1", "--margin", "9h"]);
    assert_eq!(head["summary"]["orders"], 2_000);
    let bound_by = |limit: &str| head["summary"]["bottlenecks"].to_string().contains(limit);
    assert!(bound_by("NewOrdersPerAccount") && bound_by("CertificatesPerDomain"), "{}", head["summary"]);
    world.account(&["store"]);
    // Leases are in the limits' time.
    let options = ["--concurrency", "40", "--lease", "2d"];
    let report = report(world.issue(["plan.jsonl", "store", FILE], &options), Duration::from_secs(480));
    assert_eq!(report["ended"], "done");
    let outcome = numbers(&report, ["issued", "open_count", "refused", "failed", "lost"]);
    assert_eq!(outcome, [2_000, 0, 0, 0, 0], "{report}");
    let planned = seconds(&head["start"], &head["summary"]["last_at"]);
    let took = seconds(&head["start"], &report["last_issued_at"]);
    assert!(planned > 7 * 86_400 && took * 20 <= planned * 21, "{took} s instead of {planned} s: {report}");
    check(&world, &["store"], &hostnames);
    check_verdict(&mut world, 2_000, 0);
}

#[test]
fn killed_ten_times_it_orders_nothing_twice_and_loses_at_most_an_order_each_time() {
    const KILLS: u64 = 10;
    let mut world = World::start(&[("NewOrdersPerAccount", 100, "6m")], 3_000);
    let hostnames = hostnames(60, 220);
    world.plan("plan.jsonl", &hostnames, &["--names-per-cert", "1", "--margin", "6h"]);
    world.account(&["store"]);
    let options = ["--concurrency", "40", "--lease", "2d"];
    let start = |world: &World| world.issue(["plan.jsonl", "store", FILE], &options);
    let mut random = ChaCha8Rng::seed_from_u64(7);
    for _ in 0..KILLS {
        let mut process = start(&world);
        wait(Duration::from_millis(700 + random.next_u64() % 4_000));
        assert!(process.runs(), "{}", process.said());
        // SIGKILL.
        drop(process);
    }
    let report = report(start(&world), Duration::from_secs(240));
    assert_eq!((&report["ended"], numbers(&report, ["open_count", "refused", "failed"])), (&"done".into(), [0; 3]));
    check(&world, &["store"], &hostnames);
    check_verdict(&mut world, 400, KILLS);
}

//! A name that never validates.

use std::time::Duration;

use certpace::time::{Span, Timestamp};

use crate::world::{FILE, World, numbers, report, time};

/// What is left of a bucket of 5 that gets one back each 12 min, at the least of the time: counted step by step, without our own model.
fn least_left(failures: &[Timestamp]) -> f64 {
    let (mut left, mut least, mut last) = (5.0_f64, 5.0_f64, None);
    for at in failures {
        let minutes = last.map_or(0.0, |last| at.since(last).nanos() as f64 / 60e9);
        left = (left + minutes / 12.0).min(5.0) - 1.0;
        (least, last) = (least.min(left), Some(*at));
    }
    least
}

#[test]
fn a_name_that_never_validates_is_tried_for_two_days_and_its_bucket_never_empties() {
    let mut world = World::start_idle(&[], 2_000);
    let good: Vec<_> = (0..4).map(|number| format!("good{number}.example.com")).collect();
    let hostnames = [&good[..], &["bad.example.com".to_owned()]].concat();
    let head = world.plan("plan.jsonl", &hostnames, &["--names-per-cert", "5"]);
    assert_eq!(head["summary"]["orders"], 1);
    world.account(&["store"]);
    let until = time(&head["start"]).plus(Span::from_hours(48)).to_string();
    // Nothing is looked up first: only the CA says that the name is bad.
    let options = ["--precheck", "off", "--split-failing", "--keep-trying", "--lease", "2d", "--until", &until];
    let report = report(world.issue(["plan.jsonl", "store", FILE], &options), Duration::from_secs(180));
    assert_eq!((&report["ended"], numbers(&report, ["issued", "refused", "lost"])), (&"until".into(), [1, 0, 0]));
    assert_eq!(report["open"][0]["names"], serde_json::json!(["bad.example.com"]));
    assert_eq!(world.issued(), [good.join(" ")]);

    let mut failures = Vec::new();
    for entry in world.log() {
        for event in
            entry["events"].as_array().into_iter().flatten().filter(|event| event["what"] == "validation-failed")
        {
            assert_eq!(event["name"], "bad.example.com");
            failures.push(time(&entry["at"]));
        }
    }
    // The first, after 1 min, 10 min and 100 min, and after a day.
    assert!((5..=7).contains(&failures.len()), "{failures:?}");
    assert!(least_left(&failures) >= 1.0, "{failures:?}");
    let (_, verdict) = world.enforced.end();
    assert_eq!(verdict["passed"], true, "{}", verdict["refusals"]);
}

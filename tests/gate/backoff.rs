//! Names that failed wait before they are tried again, in whatever order: 1 minute, 10, 100, then a day.

use std::collections::BTreeMap;

use certpace::agent::RETRIES;
use certpace::gate::{Request, Verdict};
use certpace::limits::{LimitName, Limits};
use certpace::time::{Span, Timestamp};
use proptest::prelude::*;

use super::world::{Place, World, after, letsencrypt, limit, limits_of, of, over_every_store};

fn fail(world: &mut World, request: &Request, failed: &[&str]) -> String {
    let permit = world.allowed(request);
    let _go = world.gate().sent(&permit).unwrap();
    let failed: Vec<_> = failed.iter().map(|name| (*name).to_owned()).collect();
    world.gate().fail(&permit, &failed).unwrap();
    permit
}

#[test]
fn a_name_that_failed_waits_in_every_order_of_its_account() {
    over_every_store(&letsencrypt(), |world| {
        let both = of(&["a.example.com", "b.example.com"]);
        let permit = fail(world, &both, &["a.example.com"]);
        for request in [&both, &of(&["a.example.com"])] {
            let (at, blocking) = world.later(request);
            assert_eq!((at, limits_of(&blocking)), (after(60), vec![None]));
            assert_eq!(blocking[0].limit_and_key().1, "1 a.example.com");
        }
        // A reply that was lost is asked for again: it failed once.
        let names = ["a.example.com".to_owned()];
        world.at(30).gate().fail(&permit, &names).unwrap();
        assert_eq!(world.later(&both).0, after(60));
        world.allowed(&of(&["b.example.com"]));
        world.allowed(&Request { account: "2".to_owned(), ..of(&["a.example.com"]) });
        let mut now = 60;
        for wait in [600, 6_000, 86_400, 86_400] {
            fail(world.at(now), &both, &["a.example.com"]);
            assert_eq!(world.later(&both).0, after(now + wait));
            now += wait;
        }
        // An operator who has mended it need not wait.
        fail(world.at(now), &both, &["a.example.com"]);
        world.allowed(&Request { retry_now: true, ..both.clone() });
    });
}

#[test]
fn names_wait_even_where_the_ca_counts_no_failures() {
    let mut limits = letsencrypt();
    limits.policy.set_limit(LimitName::FailedAuthorizationsPerDomainPerAccount, None);
    over_every_store(&limits, |world| {
        fail(world, &of(&["a.example.com"]), &["a.example.com"]);
        assert_eq!(world.later(&of(&["a.example.com"])).0, after(60));
    });
}

/// Buckets of which nothing is ever short.
fn wide() -> Limits {
    let mut limits = letsencrypt();
    for name in LimitName::ALL {
        if limits.policy.limit(name).is_some() {
            limits.policy.set_limit(name, limit(100_000, 1));
        }
    }
    limits
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Failures of three names at random times, by orders for random ones of them, against the rule in plain words.
    #[test]
    fn the_ladder_is_climbed_by_name(attempts in prop::collection::vec((0..300_000_i64, 1..8_u8, 0..8_u8), 1..40)) {
        let all = ["a.example.com", "b.example.com", "c.example.com"];
        let chosen = |bits: u8| (0..3).filter(move |bit| bits & 1 << bit != 0).map(|bit| all[bit]);
        let mut world = World::new(Place::memory(), wide());
        // Of each name that failed: how often in a row, when last, and until when it waits.
        let mut waits: BTreeMap<&str, (usize, Timestamp, Timestamp)> = BTreeMap::new();
        for (gap, names, failed) in attempts {
            world.set_now(world.now.plus(Span::from_seconds(gap / 10)));
            let now = world.now;
            let request = of(&chosen(names).collect::<Vec<_>>());
            let until = chosen(names).filter_map(|name| waits.get(name)).map(|(.., until)| *until).max();
            match world.ask(&request).verdict {
                Verdict::Later { at, .. } => prop_assert_eq!(Some(at), until.filter(|until| *until > now)),
                Verdict::Allow { permit: Some(permit), .. } => {
                    prop_assert!(until.is_none_or(|until| until <= now));
                    let failed: Vec<_> = chosen(names & failed).collect();
                    for name in &failed {
                        let before = waits.get(name).filter(|(_, last, _)| now.since(*last) <= Span::from_days(3));
                        let count = before.map_or(0, |(count, ..)| *count);
                        waits.insert(name, (count + 1, now, now.plus(RETRIES[count.min(3)])));
                    }
                    let failed: Vec<_> = failed.into_iter().map(ToOwned::to_owned).collect();
                    world.gate().fail(&permit.permit, &failed).unwrap();
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}

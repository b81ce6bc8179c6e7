//! The `certpace` client: never refused where nobody else spends from its buckets, whatever goes wrong; and where strangers do, each
//! refusal teaches.

use std::collections::BTreeMap;

use certpace::limits::{LimitName, Limits};
use certpace::rules::Exemption;
use certpace::sim::trace::{Entry, Step};
use certpace::sim::{Measure, Seed, Setup, Value};
use certpace::time::{Span, Timestamp};
use proptest::prelude::*;

use super::world::{client, event, names_of, scenario, set_up_under, simulate, tight, traced};

/// Something that goes wrong between the hours 0 and 900.
fn trouble() -> impl Strategy<Value = String> {
    let at = || 0..900_u32;
    prop_oneof![
        (at(), 1..100_u32, 1..=100_u32, 1..300_u32).prop_map(|(at, share, probability, hours)| {
            let until = at + hours;
            let keys = format!("share = \"{share}%\"\nprobability = \"{probability}%\"\nuntil = \"{until}h\"");
            event("failing-names", &format!("{at}h"), &keys)
        }),
        (at(), 1..80_u32, prop_oneof![Just(""), Just("endpoint = \"new-order\""), Just("endpoint = \"others\"")])
            .prop_map(|(at, hours, endpoint)| {
                event("outage", &format!("{at}h"), &format!("{endpoint}\nuntil = \"{}h\"", at + hours))
            }),
        (at(), 1..30_u32).prop_map(|(at, hours)| {
            event("slow-validation", &format!("{at}h"), &format!("delay = \"{hours}h\"\nuntil = \"{}h\"", at + 40))
        }),
        (at(), 0..20_000_u32).prop_map(|(at, seconds)| {
            event("crash", &format!("{}s", at * 600), &format!("downtime = \"{seconds}s\""))
        }),
        at().prop_map(|at| event("lose-storage", &format!("{}m", at * 60 + 7), "")),
        at().prop_map(|at| event("lose-ledger", &format!("{at}m"), "")),
        (at(), 1..20_u32)
            .prop_map(|(at, hours)| { event("restore-ledger", &format!("{at}h"), &format!("age = \"{hours}h\"")) }),
        (at(), 1..=100_u32).prop_map(|(at, share)| {
            event("revocation", &format!("{at}h"), &format!("share = \"{share}%\"\ndeadline = \"24h\""))
        }),
        (at(), 0..50_u32)
            .prop_map(|(at, hours)| { event("clock-skew", &format!("{at}h"), &format!("ahead = \"{hours}h\"")) }),
        (at(), 1..30_u32).prop_map(|(at, hostnames)| {
            event("add-hostnames", &format!("{at}h"), &format!("hostnames = {hostnames}"))
        }),
        (at(), 1..60_u32)
            .prop_map(|(at, share)| { event("remove-hostnames", &format!("{at}h"), &format!("share = \"{share}%\"")) }),
        at().prop_map(|at| event("policy", &format!("{at}h"), "name = \"letsencrypt\"")),
        (at(), 1..20_u64).prop_map(|(at, burst)| {
            let keys = format!(
                "limit = \"NewOrdersPerAccount\"\nid = \"default\"\nburst = {burst}\ncount = 1\nperiod = \"1h\""
            );
            event("override", &format!("{at}h"), &keys)
        }),
        at().prop_map(|at| event("repair", &format!("{at}h"), "")),
        at().prop_map(|at| event("unpause", &format!("{at}h"), "")),
    ]
}

#[derive(Clone, Debug)]
struct World {
    inventory: String,
    clients: String,
    events: Vec<String>,
    limits: ((u64, i64), (u64, i64)),
    seed: u64,
}

fn world() -> impl Strategy<Value = World> {
    let inventory = (1..60_u32).prop_flat_map(|most| (Just(most), 1..=most, 1..4_u32, 0..5_u32, 0..100_u32)).prop_map(
        |(hostnames, domains, accounts, tenants, held)| {
            format!("hostnames = {hostnames}\ndomains = {domains}\naccounts = {accounts}\ntenants = {tenants}\nheld = \"{held}%\"")
        },
    );
    let profile = prop_oneof![Just("classic"), Just("shortlived")];
    let clients = (1..4_u32, 1..6_u32, profile, any::<bool>(), any::<bool>()).prop_map(
        |(replicas, names, profile, two, deactivates)| {
            let keys = format!("names_per_cert = {names}\nprofile = \"{profile}\"\ndeactivates = {deactivates}");
            let first = client("certpace", &format!("name = \"a\"\nreplicas = {replicas}\n{keys}"));
            let second = client("certpace", &format!("name = \"b\"\nshare = \"40%\"\n{keys}"));
            if two { first + &second } else { first }
        },
    );
    let limits = ((1..6_u64, 1..4_000_i64), (1..6_u64, 1..20_000_i64));
    (inventory, clients, proptest::collection::vec(trouble(), 0..7), limits, any::<u64>())
        .prop_map(|(inventory, clients, events, limits, seed)| World { inventory, clients, events, limits, seed })
}

fn set_up(world: &World, more: &str) -> Setup {
    let scenario = scenario(45, &world.inventory, &(world.clients.clone() + &world.events.concat() + more));
    let limits: Limits = tight(world.limits.0, world.limits.1);
    set_up_under(&scenario, &limits)
}

/// After its outcome was unknown a set is exempt only once a certificate for it was seen.
fn nothing_unknown_exempts(setup: &Setup, entries: &[Entry]) -> Result<(), TestCaseError> {
    let mut seen: BTreeMap<Vec<&str>, Timestamp> = BTreeMap::new();
    let of = |entry: &Entry| {
        let mut names = names_of(setup, entry);
        names.sort_unstable();
        names
    };
    for entry in entries {
        match entry.step {
            Step::Issued(_) => _ = seen.insert(of(entry), entry.at),
            // Held from the start.
            Step::Ordered(Exemption::Ari) => {}
            Step::Permitted(Exemption::SameSet) => {
                let known = seen.get(&of(entry)).is_some_and(|at| entry.at.since(*at) < Span::from_days(120));
                prop_assert!(known, "{entry:?}");
            }
            _ => {}
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(20_261_203),
        ..ProptestConfig::default()
    })]

    #[test]
    fn it_is_never_refused(world in world()) {
        let setup = set_up(&world, "");
        let (measures, entries) = traced(&setup, Seed(world.seed));
        // Replicas behind one address pace their requests each by itself.
        let alone = world.clients.contains("replicas = 1\n");
        let paced = if alone { Measure::Overloads } else { Measure::Refusals };
        for measure in [Measure::Refusals, paced, Measure::PausedNames, Measure::StepBoundHit] {
            let first = entries.iter().find(|entry| matches!(entry.step, Step::Refused { .. } | Step::Busy(_)));
            prop_assert_eq!(measures.value(measure), Value::Count(0), "{}: {:?}", measure, first);
        }
        if !world.inventory.contains("held = \"0%\"") {
            return Ok(());
        }
        nothing_unknown_exempts(&setup, &entries)?;
    }

    #[test]
    fn of_strangers_each_refusal_teaches(world in world(), certificates in 1..40_u32, hours in 1..200_u32) {
        let strangers = event("strangers", "3h", &format!("certificates = {certificates}\nevery = \"{hours}h\""));
        let (_, entries) = traced(&set_up(&world, &strangers), Seed(world.seed));
        let mut until: BTreeMap<(LimitName, String), Timestamp> = BTreeMap::new();
        for entry in &entries {
            // What was learned is lost with the ledger, and other limits are other buckets.
            if let Step::Event { begins: true, .. } = entry.step {
                until.clear();
            }
            if let Step::Refused { limit, key, retry_after } = &entry.step {
                // It is rounded, and up to 3 % too long.
                let least = retry_after.map_or(0, |wait| (wait.nanos() / 103 * 100) - 1_000_000_000);
                let refills = entry.at.plus(Span::from_nanos(least));
                let before = until.insert((*limit, key.clone()), refills);
                prop_assert!(before.is_none_or(|before| entry.at >= before), "{entry:?} {before:?}");
            }
        }
    }
}

#[test]
fn it_covers_what_can_be_covered_as_fast_as_the_limits_let_it() {
    let measures = simulate(&scenario(40, "hostnames = 1000", &client("certpace", "")));
    assert_eq!((measures.count(Measure::HostnamesCovered), measures.count(Measure::Refusals)), (1_000, 0));
    // 270 at once, with a tenth of the burst left alone, and one each 36 seconds.
    let Value::Span(full) = measures.value(Measure::FullCoverageAfter) else { panic!() };
    let least = Span::from_seconds(730 * 36);
    assert!(full >= least && full < least.plus(Span::from_seconds(400)), "{full}");
}

#[test]
fn it_renews_in_time_and_for_free() {
    let measures = simulate(&scenario(365, "hostnames = 400\ndomains = 4", &client("certpace", "names_per_cert = 10")));
    assert_eq!((measures.count(Measure::Refusals), measures.count(Measure::HostnameHoursLapsed)), (0, 0));
    assert!(measures.count(Measure::Renewals) >= 40 * 4, "{measures:?}");
}

#[test]
fn a_dead_name_is_split_off_and_the_others_get_their_certificate() {
    let events = event("failing-names", "0s", "share = \"3%\"");
    let measures = simulate(&scenario(30, "hostnames = 100\ndomains = 1", &(client("certpace", "") + &events)));
    let never = measures.count(Measure::HostnamesNeverCovered);
    assert!((1..10).contains(&never), "{never}");
    assert_eq!(measures.count(Measure::HostnamesCovered), 100 - never);
    assert_eq!((measures.count(Measure::Refusals), measures.count(Measure::PausedNames)), (0, 0));
}

/// Ten replicas that want the same: with one ledger nobody is refused, with ten the set's bucket refuses.
#[test]
fn replicas_with_one_ledger_are_never_refused_and_with_ten_they_are() {
    let refused = |ledger: &str| {
        let keys = format!("replicas = 10\nledger = \"{ledger}\"");
        let scenario = scenario(2, "hostnames = 3", &(client("certpace", &keys) + &event("lose-storage", "1d", "")));
        simulate(&scenario).count(Measure::Refusals)
    };
    assert_eq!(refused("shared"), 0);
    assert!(refused("own") > 0);
}

#[test]
fn clients_that_share_an_account_share_a_ledger_or_are_refused() {
    let refused = |ledger: &str| {
        let one =
            |name: &str| client("certpace", &format!("name = \"{name}\"\nshare = \"50%\"\nledger = \"{ledger}\""));
        simulate(&scenario(1, "hostnames = 1200", &(one("a") + &one("b")))).count(Measure::Refusals)
    };
    assert_eq!((refused("shared"), refused("own") > 0), (0, true));
}

/// What was spent is unknown, so it counts as all there was: it takes longer, and nothing is refused.
#[test]
fn a_lost_ledger_costs_time_and_no_refusal() {
    let run = |more: &str| {
        simulate(&scenario(60, "hostnames = 300\ndomains = 3", &(client("certpace", "names_per_cert = 2") + more)))
    };
    let (kept, lost) = (run(""), run(&event("lose-ledger", "1h", "")));
    let restored = run(&event("restore-ledger", "7h", "age = \"6h\""));
    for measures in [&kept, &lost, &restored] {
        assert_eq!((measures.count(Measure::Refusals), measures.count(Measure::HostnamesCovered)), (0, 300));
    }
    let full = |measures: &certpace::sim::Measures| {
        let Value::Span(full) = measures.value(Measure::FullCoverageAfter) else { panic!() };
        full
    };
    assert!(full(&lost) > full(&kept), "{} {}", full(&lost), full(&kept));
}

/// Orders of before the crash are found again, or nobody knows what came of them; either way nothing is lost for long.
#[test]
fn a_crash_in_the_middle_of_an_issuance() {
    let events = event("crash", "7s", "downtime = \"2h\"") + &event("crash", "3h", "downtime = \"1m\"");
    let scenario = scenario(9, "hostnames = 200", &(client("certpace", "") + &events));
    let (measures, entries) = traced(&super::world::set_up(&scenario), Seed(1));
    assert_eq!((measures.count(Measure::HostnamesCovered), measures.count(Measure::Refusals)), (200, 0));
    assert!(entries.iter().any(|entry| entry.step == Step::Forgotten));
}

//! What a plan promises: within its margin nothing is refused, and what it holds back could not go sooner.

use std::borrow::Cow;

use certpace::inventory::{self, Inventory, Settings, Source};
use certpace::limits::Limits;
use certpace::plan::{Options, Plan, Share, Subject, plan};
use certpace::psl::SuffixList;
use certpace::sim::setup::PlannedOrder;
use certpace::sim::{Measure, Seed, Setup, Value, run};
use certpace::time::{Span, Timestamp};
use proptest::prelude::*;

use super::world::{SUFFIXES, client, documented, scenario, set_up_under, tight};

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(20_261_201),
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_order_within_its_margin_is_refused(
        (hostnames, domains) in (1..200_u32).prop_flat_map(|most| (Just(most), 1..=most)),
        (accounts, tenants, held) in (1..4_u32, 0..5_u32, 0..100_u32),
        (account, domain) in ((1..6_u64, 1..4_000_i64), (1..6_u64, 1..20_000_i64)),
        (margin, headroom, names) in (0..4_000_u32, 0..30_u32, 1..5_u32),
        seed in any::<u64>(),
    ) {
        let inventory = format!(
            "hostnames = {hostnames}\ndomains = {domains}\naccounts = {accounts}\ntenants = {tenants}\nheld = \"{held}%\"",
        );
        let keys = format!("margin = \"{margin}s\"\nheadroom = \"{headroom}%\"\nnames_per_cert = {names}");
        let scenario = scenario(60, &inventory, &client("plan", &keys));
        let setup = set_up_under(&scenario, &tight(account, domain));
        let measures = run(&setup, Seed(seed));
        for measure in [Measure::Refusals, Measure::Overloads, Measure::FailedOrders, Measure::StepBoundHit] {
            prop_assert_eq!(measures.value(measure), Value::Count(0), "{}", measure);
        }
        let Value::Span(slip) = measures.value(Measure::SlipMax) else { panic!() };
        prop_assert!(slip <= Span::from_seconds(margin.into()), "{slip}");
    }
}

/// A plan's orders, as its file has them.
fn orders(plan: &Plan<'_>) -> Vec<PlannedOrder> {
    let (mut names, mut domains) = (Vec::new(), Vec::new());
    let mut orders = Vec::new();
    for order in &plan.orders {
        plan.names_of(order, &mut names, &mut domains);
        let group = &plan.inventory.groups[plan.group_of(order) as usize];
        let held = match order.subject {
            Subject::New(_) => None,
            Subject::Renewal(held) => Some(&plan.inventory.held[held as usize]),
        };
        orders.push(PlannedOrder {
            at: order.at,
            account: plan.inventory.accounts[group.account as usize].clone(),
            profile: plan.limits.policy.profiles[group.profile as usize].name.clone(),
            names: names.iter().map(|name| String::from_utf8_lossy(name)).map(Cow::into_owned).collect(),
            held: held.map(|held| (held.issued_at, held.expires_at)),
        });
    }
    orders
}

fn refusals(orders: &[PlannedOrder], start: Timestamp, limits: &Limits) -> u64 {
    let setup = Setup::of_plan(orders.iter().cloned(), start, Span::ZERO, limits, &SUFFIXES).unwrap();
    run(&setup, Seed(1)).count(Measure::Refusals)
}

/// An inventory of rows that are all good.
fn read(text: Vec<u8>, start: Timestamp, limits: &Limits, suffixes: &SuffixList) -> Inventory {
    let source = Source::new("rows", text);
    let settings =
        Settings { account: "default", profile: "classic", deadline: None, start, policy: &limits.policy, suffixes };
    let inventory = inventory::read(vec![source], &settings, &|_| ()).unwrap();
    assert!(inventory.rejects.is_empty(), "{:?}", inventory.rejects);
    inventory
}

/// Without headroom and margin, an order that a bucket holds back is refused a nanosecond sooner.
#[test]
fn what_is_held_back_could_not_go_sooner() {
    let start = Timestamp::parse("2026-12-01").unwrap();
    let mut held_back = 0;
    for (account, domain) in [((3, 600), (2, 3_000)), ((5, 100), (1, 1_000)), ((2, 2_000), (4, 2_500))] {
        let limits = tight(account, domain);
        let rows: String = (0..40).map(|index| format!("h{index}.d{}.com\n", index % 7)).collect();
        let inventory = read(rows.into_bytes(), start, &limits, &SUFFIXES);
        let options = Options {
            margin: Some(Span::ZERO),
            headroom: Share::default(),
            names_per_certificate: certpace::plan::NamesPerCertificate::AtMost(1),
            ..Options::starting(start)
        };
        let plan = plan(&inventory, &limits, options).unwrap();
        let orders = orders(&plan);
        assert_eq!(refusals(&orders, start, &limits), 0);
        for (place, order) in plan.orders.iter().enumerate().filter(|(_, order)| plan.bound_by(order).is_some()) {
            let mut sooner = orders.clone();
            sooner[place].at = order.at.minus(Span::from_nanos(1));
            assert!(refusals(&sooner, start, &limits) > 0, "{order:?}");
            held_back += 1;
        }
    }
    assert!(held_back > 60, "{held_back}");
}

/// Plans an inventory and performs it under some seeds: how many orders there were, of which none was refused.
fn performed(text: Vec<u8>, options: impl Fn(Options) -> Options, limits: &Limits, suffixes: &SuffixList) -> usize {
    let start = Timestamp::parse("2026-12-01").unwrap();
    let inventory = read(text, start, limits, suffixes);
    let plan = plan(&inventory, limits, options(Options::starting(start))).unwrap();
    let setup = Setup::of_plan(orders(&plan), start, plan.margin(), limits, suffixes).unwrap();
    for seed in 0..4 {
        let measures = run(&setup, Seed(seed));
        assert_eq!(measures.count(Measure::Refusals) + measures.count(Measure::FailedOrders), 0, "{measures:?}");
        assert_eq!(measures.count(Measure::Certificates), plan.orders.len() as u64);
    }
    plan.orders.len()
}

#[test]
fn the_sample_inventory_is_performed_without_a_refusal() {
    let text = std::fs::read("data/organisations.csv").unwrap();
    let (limits, suffixes) = (documented(), SuffixList::embedded());
    assert_eq!(performed(text.clone(), |options| options, &limits, &suffixes), 22_758);
    let mixed = |options| Options { mix: certpace::plan::Mix::Tenant, ..options };
    assert!(performed(text, mixed, &limits, &suffixes) < 10_000);
}

/// Wildcards, names below them, several accounts, profiles and tenants, and certificates held of all ages.
#[test]
fn inventories_of_all_kinds_are_performed_without_a_refusal() {
    let mut rows = "hostname,account,tenant,profile,challenge,certificate,issued_at,expires_at\n".to_owned();
    for index in 0..900 {
        let (domain, account, tenant) = (index % 40, index % 3, index % 11);
        let profile = if account == 1 { "tlsserver" } else { "classic" };
        let (name, challenge) = match index % 9 {
            0 => (format!("*.w{index}.d{domain}.com"), "dns-01"),
            1 => (format!("a.w{}.d{}.com", index - 1, (index - 1) % 40), ""),
            _ => (format!("h{index}.d{domain}.com"), ""),
        };
        let held = if index % 9 > 5 {
            format!("c{index},2026-{:02}-{:02},2027-{:02}-01", 9 + index % 3, 1 + index % 28, 1 + index % 2)
        } else {
            ",,".to_owned()
        };
        rows.push_str(&format!("{name},account-{account},tenant-{tenant},{profile},{challenge},{held}\n"));
    }
    let text = rows.into_bytes();
    for limits in [documented(), tight((5, 60), (3, 2_000))] {
        let orders = performed(text.clone(), |options| options, &limits, &SUFFIXES);
        assert!(orders > 300, "{orders}");
        performed(text.clone(), |options| Options { fold_wildcards: true, ..options }, &limits, &SUFFIXES);
    }
}

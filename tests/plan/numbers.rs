//! The numbers of the CA's documentation come out.

use certpace::inventory::Inventory;
use certpace::limits::{Limit, LimitName, Limits};
use certpace::plan::advise::{Advice, Asked, Change, Step, advise};
use certpace::plan::{Mix, NamesPerCertificate, Options, Plan, Share, plan};
use certpace::time::{Span, Timestamp};

use super::world::{Quotas, Row, START, Tokens, at_most, inventory};

/// How long after the start each order goes out.
fn times(plan: &Plan<'_>) -> Vec<Span> {
    plan.orders.iter().map(|order| order.at.since(START)).collect()
}

fn check_times(rows: &[Row], at_once: usize, then: &[i64]) {
    let inventory = inventory(rows);
    let limits = Quotas::documented().limits();
    let times = times(&plan(&inventory, &limits, at_most(100)).unwrap());
    let mut expected = vec![Span::ZERO; at_once];
    expected.extend(then.iter().map(|seconds| Span::from_seconds(*seconds)));
    assert_eq!(times, expected);
}

#[test]
fn five_thousand_subdomains_go_at_once_and_the_next_certificate_after_201_6_minutes() {
    let rows =
        |count: usize| -> Vec<Row> { (0..count).map(|index| Row::named(format!("h{index}.example.com"))).collect() };
    check_times(&rows(5_000), 50, &[]);
    check_times(&rows(5_001), 50, &[12_096]);
    check_times(&rows(5_201), 50, &[12_096, 2 * 12_096, 3 * 12_096]);
    assert_eq!(12_096 * 10, 2_016 * 60, "201.6 minutes");
}

#[test]
fn three_hundred_orders_go_at_once_and_then_one_every_36_seconds() {
    let rows: Vec<Row> = (0..304).map(|index| Row::named(format!("d{index}.com"))).collect();
    check_times(&rows, 300, &[36, 72, 108, 144]);
}

fn half_a_million(deadline: Option<Timestamp>) -> Inventory {
    let row = |index: usize| Row { tenant: format!("t{index}"), deadline, ..Row::named(format!("d{index}.com")) };
    inventory(&(0..500_000).map(row).collect::<Vec<_>>())
}

/// The limits with the overrides that an advice asks for.
fn granted(limits: &Limits, overrides: &[Asked]) -> Limits {
    let mut limits = limits.clone();
    for Asked { limit, key, tier, period_seconds, .. } in overrides {
        let granted = Limit::new(*tier, *tier, Span::from_seconds(*period_seconds)).unwrap();
        limits.overrides.set(*limit, key, granted);
    }
    limits
}

/// Plans with the change that a step names, and holds it to what it says.
fn check_step(today: &Plan<'_>, step: &Step) {
    let mut options = today.options.clone();
    let mut limits = today.limits.clone();
    match &step.change {
        Change::LargerCertificates => options.names_per_certificate = NamesPerCertificate::Auto,
        Change::FoldWildcards => options.fold_wildcards = true,
        Change::MixTenant => options.mix = Mix::Tenant,
        Change::NoHeadroom => options.headroom = Share::default(),
        Change::NoReserve => options.reserve_rate = Share::default(),
        Change::Overrides { overrides } => limits = granted(today.limits, overrides),
    }
    let changed = plan(today.inventory, &limits, options).unwrap();
    let late =
        changed.orders.iter().any(|order| changed.deadline_of(order).is_some_and(|deadline| order.at > deadline));
    let has_deadline = changed.orders.iter().any(|order| changed.deadline_of(order).is_some());
    assert_eq!(step.meets_deadlines, has_deadline && !late, "{step:?}");
    assert_eq!(Some(step.finish_at), changed.summary.last_at, "{step:?}");
}

fn check_advice(today: &Plan<'_>) -> Advice {
    let advice = advise(today);
    advice.steps.iter().chain(&advice.smallest).for_each(|step| check_step(today, step));
    if let Some(smallest) = &advice.smallest {
        assert!(smallest.meets_deadlines);
    }
    advice
}

#[test]
fn half_a_million_domains_take_208_days_and_the_50000_tier_is_the_smallest_that_makes_92() {
    let days = |plan: &Plan<'_>| plan.summary.last_at.unwrap().since(START).nanos() / Span::from_days(1).nanos();
    let exactly = |seconds: i64| START.plus(Span::from_nanos(seconds * 1_000_000));
    let mut limits = Quotas::documented().limits();
    let deadline = START.plus(Span::from_days(92));
    let inventory = half_a_million(Some(deadline));
    let today = plan(&inventory, &limits, at_most(100)).unwrap();
    assert_eq!((days(&today), today.summary.last_at), (208, Some(exactly(499_700 * 36_000))));
    assert_eq!(today.summary.lateness, Some(exactly(499_700 * 36_000).since(deadline)));

    let smallest = check_advice(&today).smallest.unwrap();
    let Change::Overrides { overrides } = &smallest.change else { panic!("{smallest:?}") };
    let [asked] = &overrides[..] else { panic!("{overrides:?}") };
    assert_eq!((asked.limit, asked.key.as_str(), asked.tier), (LimitName::NewOrdersPerAccount, "main", 50_000));
    assert_eq!((asked.period_seconds, asked.falls_behind_after_seconds), (7 * 86_400, None));
    assert_eq!(smallest.finish_at, exactly(450_000 * 12_096));

    for (tier, expected, finish) in [(25_000, 133, exactly(475_000 * 24_192)), (50_000, 63, exactly(450_000 * 12_096))]
    {
        let week = Limit::new(tier, tier, Span::from_days(7)).unwrap();
        limits.overrides.set(LimitName::NewOrdersPerAccount, "main", week);
        let faster = plan(&inventory, &limits, at_most(100)).unwrap();
        assert_eq!((days(&faster), faster.summary.last_at), (expected, Some(finish)));
    }
}

/// What is advised is what helps, whatever it is that is in the way.
#[test]
fn every_change_that_is_advised_does_what_it_says() {
    let soon = START.plus(Span::from_days(2));
    let due = |hostname: String| Row { tenant: "t".to_owned(), deadline: Some(soon), ..Row::named(hostname) };
    let documented = || Quotas::documented().limits();
    let check = |rows: Vec<Row>, options: Options, limits: Limits| {
        let inventory = inventory(&rows);
        let today = plan(&inventory, &limits, options).unwrap();
        check_advice(&today).smallest.map(|step| step.change)
    };
    // One domain with too many certificates: larger ones will do.
    let many = || (0..200).map(|index| due(format!("h{index}.example.com"))).collect::<Vec<_>>();
    assert_eq!(check(many(), at_most(1), documented()), Some(Change::LargerCertificates));
    // All but the domain's own limit is in order: its smallest override.
    let many = (0..20_000).map(|index| due(format!("h{index}.example.com"))).collect();
    let Some(Change::Overrides { overrides }) = check(many, at_most(100), documented()) else { panic!() };
    let asked: Vec<_> = overrides.iter().map(|of| (of.limit, of.key.as_str(), of.tier)).collect();
    assert_eq!(asked, [(LimitName::CertificatesPerDomain, "example.com", 300)]);
    // Names that a wildcard covers.
    let mut covered: Vec<Row> = (0..7_000).map(|index| due(format!("h{index}.example.com"))).collect();
    covered.push(due("*.example.com".to_owned()));
    assert_eq!(check(covered, at_most(100), documented()), Some(Change::FoldWildcards));
    // Domains of one tenant that could share certificates.
    let single: Vec<Row> = (0..9_000).map(|index| due(format!("d{index}.com"))).collect();
    assert_eq!(check(single, at_most(100), documented()), Some(Change::MixTenant));
    // The headroom alone.
    let slow = || Quotas::new(Tokens::new(10, 86_400), Tokens::new(50, 12_096)).limits();
    let few: Vec<Row> =
        (0..12).map(|index| Row { tenant: format!("t{index}"), ..due(format!("d{index}.com")) }).collect();
    let headroom = Options { headroom: Share::parts_per_million(200_000), ..at_most(100) };
    assert_eq!(check(few, headroom, slow()), Some(Change::NoHeadroom));
}

/// Two buckets in the way at once: an override for each, and no larger one than it takes.
#[test]
fn each_bucket_in_the_way_gets_the_smallest_tier_that_does() {
    let row = |deadline: i64, hostname: String| Row {
        deadline: Some(START.plus(Span::from_days(deadline))),
        tenant: hostname.clone(),
        ..Row::named(hostname)
    };
    let mut rows: Vec<Row> = (0..50_000).map(|index| row(5, format!("d{index}.com"))).collect();
    rows.extend((0..2_000).map(|index| Row { tenant: "large".to_owned(), ..row(2, format!("h{index}.example.com")) }));
    let inventory = inventory(&rows);
    let limits = Quotas::documented().limits();
    let today = plan(&inventory, &limits, at_most(1)).unwrap();
    let advice = check_advice(&today);
    let smallest = advice.smallest.unwrap();
    let Change::Overrides { overrides } = &smallest.change else { panic!("{smallest:?}") };
    assert_eq!(overrides.len(), 2, "{overrides:?}");
    for place in 0..overrides.len() {
        let mut smaller = overrides.clone();
        let tiers = &limits.policy.tiers_of(smaller[place].limit).unwrap().tiers;
        let Some(tier) = tiers.iter().rev().find(|tier| **tier < smaller[place].tier) else { continue };
        smaller[place].tier = *tier;
        let limits = granted(&limits, &smaller);
        let late = plan(&inventory, &limits, at_most(1)).unwrap().summary.lateness;
        assert!(late > Some(Span::ZERO), "{smaller:?} would do");
    }
}

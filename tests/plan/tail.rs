//! Who goes first: the longest tail, then what is urgent, then everybody's first one.

use std::collections::BTreeMap;

use certpace::plan::{Options, plan};
use certpace::time::{Span, Timestamp};

use super::search::Bucket;
use super::world::{Ordered, Quotas, Row, START, Tokens, at_most, finish, inventory, orders};

/// Takes orders by domain, by name: each as soon as its buckets allow, the first in the alphabet that can go.
fn by_name(counts: &BTreeMap<String, usize>, quotas: &Quotas) -> Timestamp {
    let mut account = Bucket::new(quotas.account);
    let mut left: Vec<(Bucket, usize)> = counts.values().map(|count| (Bucket::new(quotas.domain), *count)).collect();
    let (mut now, mut first) = (START.unix_nanos(), 0);
    while first < left.len() {
        let at = account.free_at(now);
        let open = || first..left.len();
        // Nearly always the first one can go; if none can, the next that will.
        let chosen = open().find(|of| left[*of].1 > 0 && left[*of].0.free_at(at) == at);
        let chosen = chosen.or_else(|| open().filter(|of| left[*of].1 > 0).min_by_key(|of| left[*of].0.free_at(at)));
        let (bucket, count) = &mut left[chosen.unwrap()];
        now = bucket.free_at(at);
        bucket.spend(now);
        account.spend(now);
        *count -= 1;
        while left.get(first).is_some_and(|(_, count)| *count == 0) {
            first += 1;
        }
    }
    Timestamp::from_unix_nanos(now)
}

/// 20,000 domains of one certificate, and one of 100 whose bucket takes a week to let them all go.
fn check_tail(names: usize, size: usize) {
    let mut rows: Vec<Row> = (0..20_000).map(|index| Row::named(format!("d{index:05}.com"))).collect();
    rows.extend((0..names).map(|index| Row::named(format!("h{index}.zzz.com"))));
    let inventory = inventory(&rows);
    let quotas = Quotas::documented();
    let limits = quotas.limits();
    let plan = plan(&inventory, &limits, at_most(size)).unwrap();
    // 20,100 orders less the first 300, every 36 s: longer than the week of the one domain.
    let bound = START.plus(Span::from_seconds(19_800 * 36));
    assert_eq!(plan.summary.bound_at, Some(bound));
    assert_eq!((finish(&orders(&plan)), plan.summary.gap), (bound, Span::ZERO));
    let mut counts: BTreeMap<String, usize> = (0..20_000).map(|index| (format!("d{index:05}.com"), 1)).collect();
    counts.insert("zzz.com".to_owned(), 100);
    // The tail starts when all else is done.
    assert!(by_name(&counts, &quotas) >= bound.plus(Span::from_days(6)));
}

#[test]
fn the_longest_tail_goes_first() {
    check_tail(100, 1);
    check_tail(10_000, 100);
}

/// 5,000 domains of one name, and one of 100 certificates that need not wait for them.
fn tail_beside(urgent: &Row) -> (Vec<Ordered>, bool, Option<Span>) {
    let mut rows: Vec<Row> =
        (0..5_000).map(|index| Row { hostname: format!("d{index}.com"), ..urgent.clone() }).collect();
    rows.extend((0..100).map(|index| Row::named(format!("h{index}.tail.com"))));
    let inventory = inventory(&rows);
    let limits = Quotas::documented().limits();
    let plan = plan(&inventory, &limits, at_most(1)).unwrap();
    (orders(&plan), plan.summary.finish_moved_by_urgency, plan.summary.lateness)
}

#[test]
fn a_priority_that_moves_the_finish_is_honoured_and_told() {
    let week = START.plus(Span::from_seconds(50 * 12_096));
    let (orders, moved, _) = tail_beside(&Row::default());
    assert_eq!((finish(&orders), moved), (week, false));
    let (orders, moved, _) = tail_beside(&Row { priority: 1, ..Row::default() });
    assert!(orders[..5_000].iter().all(|order| order.domains[0] != "tail.com"), "the higher priority goes first");
    assert!(finish(&orders) > week && moved);
    // The other way round it moves nothing.
    let (orders, moved, _) = tail_beside(&Row { priority: -1, ..Row::default() });
    assert_eq!((finish(&orders), moved), (week, false));
}

#[test]
fn a_deadline_that_moves_the_finish_is_honoured_and_told() {
    let week = START.plus(Span::from_seconds(50 * 12_096));
    let last = START.plus(Span::from_seconds(4_700 * 36));
    let row = Row { deadline: Some(last), ..Row::default() };
    let (orders, moved, lateness) = tail_beside(&row);
    assert_eq!((lateness, moved), (Some(Span::ZERO), true));
    assert!(orders.iter().all(|order| order.deadline.is_none_or(|deadline| order.at <= deadline)));
    assert!(finish(&orders) > week);
    // With half a day more there is room for both.
    let row = Row { deadline: Some(last.plus(Span::from_hours(12))), ..Row::default() };
    let (orders, moved, lateness) = tail_beside(&row);
    assert!(lateness.is_some_and(|late| late <= Span::ZERO) && !moved);
    assert_eq!(finish(&orders), week);
}

/// At which place each tenant's first order goes out.
fn first_places(rows: &[Row], account: Tokens) -> BTreeMap<String, usize> {
    let tenants: BTreeMap<&str, &str> = rows.iter().map(|row| (row.hostname.as_str(), row.tenant.as_str())).collect();
    let inventory = inventory(rows);
    let limits = Quotas::new(account, Tokens::new(50, 12_096)).limits();
    let plan = plan(&inventory, &limits, at_most(100)).unwrap();
    let mut places = BTreeMap::new();
    for (place, order) in orders(&plan).iter().enumerate() {
        places.entry(tenants[order.names[0].as_str()].to_owned()).or_insert(place);
    }
    places
}

/// 500 tenants of one domain and one tenant of 3,000; `name` says what the tenant of a number is called.
fn many_and_one(name: &dyn Fn(usize) -> String) -> Vec<Row> {
    let owned = |tenant: String, hostname: String| Row { tenant, ..Row::named(hostname) };
    let mut rows: Vec<Row> = (0..500).map(|index| owned(name(index), format!("{}.com", name(index)))).collect();
    rows.extend((0..3_000).map(|index| owned("large".to_owned(), format!("large{index}.com"))));
    rows
}

#[test]
fn every_tenants_first_order_goes_before_anyones_second() {
    for account in [Tokens::new(300, 36), Tokens::new(1, 36)] {
        let places = first_places(&many_and_one(&|index| format!("t{index:03}")), account);
        assert_eq!(places.len(), 501);
        assert!(places.values().all(|place| *place < 501), "{:?}", places.iter().max_by_key(|(_, place)| **place));
    }
}

/// The same, and everybody's second one goes before anyone's third, whoever has how many domains.
#[test]
fn turns_are_taken_by_tenant() {
    let counts = [1, 2, 3, 5, 8, 40];
    let rows: Vec<Row> = counts
        .iter()
        .enumerate()
        .flat_map(|(tenant, count)| {
            (0..*count)
                .map(move |index| Row { tenant: format!("t{tenant}"), ..Row::named(format!("t{tenant}x{index}.com")) })
        })
        .collect();
    let inventory = inventory(&rows);
    let limits = Quotas::new(Tokens::new(1, 36), Tokens::new(50, 12_096)).limits();
    let plan = plan(&inventory, &limits, at_most(1)).unwrap();
    let mut sent = [0; 6];
    for order in orders(&plan) {
        let tenant = usize::from(order.names[0].as_bytes()[1] - b'0');
        let waiting = (0..6).filter(|other| sent[*other] < counts[*other]);
        assert!(waiting.map(|other| sent[other]).min() == Some(sent[tenant]), "{sent:?}, then {tenant}");
        sent[tenant] += 1;
    }
}

/// The alphabet decides nothing: neither its start nor its end waits longer, and other names bring another order.
#[test]
fn nobody_waits_for_the_end_of_the_alphabet() {
    let account = Tokens::new(1, 36);
    let forward = first_places(&many_and_one(&|index| format!("t{index:03}")), account);
    let backward = first_places(&many_and_one(&|index| format!("t{:03}", 499 - index)), account);
    assert_eq!(forward, backward, "only the set of rows matters");
    let renamed = first_places(&many_and_one(&|index| format!("customer-{index:03}")), account);
    for places in [forward, renamed] {
        let places: Vec<usize> = places.into_iter().filter(|(tenant, _)| tenant != "large").map(|(_, at)| at).collect();
        let mean = |of: &[usize]| of.iter().sum::<usize>() / of.len();
        let quarters: Vec<usize> = places.chunks(125).map(mean).collect();
        // A quarter's mean place is about 250, with a standard deviation of 13.
        assert!(quarters.iter().all(|mean| (200..300).contains(mean)), "{quarters:?}");
        assert!(!places.is_sorted() && !places.iter().rev().is_sorted());
    }
}

/// Nor does it decide between the domains of one tenant, or where there are no tenants.
#[test]
fn nor_does_it_decide_between_domains() {
    let rows: Vec<Row> = (0..1_000).map(|index| Row::named(format!("d{index:03}.com"))).collect();
    let inventory = inventory(&rows);
    let limits = Quotas::new(Tokens::new(1, 36), Tokens::new(50, 12_096)).limits();
    let plan = plan(&inventory, &limits, Options { ..at_most(1) }).unwrap();
    let mut places: Vec<(String, usize)> =
        orders(&plan).into_iter().enumerate().map(|(place, order)| (order.names[0].clone(), place)).collect();
    places.sort_unstable();
    let means: Vec<usize> =
        places.chunks(250).map(|of| of.iter().map(|(_, place)| place).sum::<usize>() / 250).collect();
    assert!(means.iter().all(|mean| (430..570).contains(mean)), "{means:?}");
}

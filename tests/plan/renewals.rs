//! Renewals of certificates held: when each may go, and how even the hours are.

use std::collections::BTreeMap;

use certpace::plan::{Options, plan};
use certpace::time::{NS_PER_S, Span, Timestamp};
use proptest::prelude::*;

use super::world::{HOUR, Held, Quotas, Row, START, config, exact, inventory, orders};

/// A certificate held by its validity in hours and its age in seconds.
type Age = (i64, i64);

fn rows(ages: &[Age]) -> Vec<Row> {
    let row = |(index, (validity, age)): (usize, &Age)| {
        let issued_at = START.minus(Span::from_seconds(*age));
        let expires_at = issued_at.plus(Span::from_hours(*validity));
        let held = Held { certificate: format!("c{index:04}"), issued_at, expires_at };
        Row { held: Some(held), ..Row::named(format!("h{index}.d{}.com", index % 7)) }
    };
    ages.iter().enumerate().map(row).collect()
}

/// Half-open: when a renewal may go out, written down from the CA's integration guide and RFC 9773.
fn allowed(held: &Held, options: &Options, margin: Span) -> Option<(Timestamp, Timestamp, &'static str)> {
    let validity = held.expires_at.since(held.issued_at);
    let third = if validity < Span::from_days(10) { 2 } else { 3 };
    let centre = held.expires_at.minus(Span::from_nanos(validity.nanos() / third));
    let half = Span::from_nanos(validity.nanos() / 100);
    let (from, to) = (centre.minus(half).max(START), centre.plus(half).minus(margin));
    if options.ari && from < to {
        return Some((from, to, "ari"));
    }
    // Past its time it is renewed soon: how soon is the planner's to say.
    (centre > START).then(|| (centre.minus(options.spread).max(START), centre, "same-set"))
}

fn hour(at: Timestamp) -> i64 {
    at.unix_nanos().div_euclid(HOUR.nanos())
}

/// The least number an hour that will do, by Hall's theorem: over all spans of hours, what must go inside by the hours there are.
fn least_peak(windows: &[(i64, i64)]) -> u64 {
    let starts = windows.iter().map(|(from, _)| *from);
    let peak_from = |from: i64| {
        windows.iter().map(move |(_, to)| {
            let inside = windows.iter().filter(|(a, b)| from <= *a && b <= to).count() as u64;
            inside.div_ceil(u64::try_from(to - from + 1).unwrap_or(1).max(1))
        })
    };
    starts.flat_map(peak_from).max().unwrap_or(1).max(1)
}

fn check(ages: &[Age], options: Options) -> Result<(), TestCaseError> {
    let rows = rows(ages);
    let inventory = inventory(&rows);
    let limits = Quotas::documented().limits();
    let margin = options.margin.unwrap();
    let plan = plan(&inventory, &limits, options.clone()).unwrap();
    let orders = orders(&plan);
    let by_id: BTreeMap<&str, &Held> =
        rows.iter().map(|row| row.held.as_ref().unwrap()).map(|held| (held.certificate.as_str(), held)).collect();
    let horizon = START.plus(options.horizon);
    let due = by_id.values().filter(|held| allowed(held, &options, margin).map_or(START, |(from, ..)| from) < horizon);
    prop_assert_eq!(orders.len(), due.count(), "what falls due within the horizon, and nothing else");
    let mut windows = Vec::new();
    let mut by_hour: BTreeMap<i64, u64> = BTreeMap::new();
    let mut all_known = true;
    for order in &orders {
        let held = by_id[inventory.held[order.held.unwrap()].certificate.as_str()];
        *by_hour.entry(hour(order.at)).or_default() += 1;
        prop_assert!(order.at >= START);
        if let Some((from, to, exemption)) = allowed(held, &options, margin) {
            prop_assert_eq!(order.exemption, exemption, "{:?}", held);
            prop_assert!(from <= order.at && order.at < to, "{} is not from {} to {}", order.at, from, to);
            windows.push((hour(from), hour(to.minus(Span::from_nanos(1)))));
        } else {
            all_known = false;
            prop_assert!(held.expires_at <= START || order.at < held.expires_at);
        }
        if order.exemption == "same-set" {
            let forgotten = held.issued_at.plus(Span::from_days(120));
            prop_assert!(order.at.plus(margin) < forgotten, "{} is past {}", order.at, forgotten);
        }
    }
    let Some(renewals) = &plan.summary.renewals else { return Ok(()) };
    let peak = by_hour.values().copied().max().unwrap_or_default();
    prop_assert_eq!(renewals.orders, orders.len() as u64);
    prop_assert!(renewals.mean_hour <= renewals.peak_hour);
    if all_known {
        prop_assert_eq!((renewals.peak_hour, peak), (least_peak(&windows), least_peak(&windows)));
    }
    Ok(())
}

fn ages() -> impl Strategy<Value = Vec<Age>> {
    let one = (proptest::sample::select(vec![90 * 24, 64 * 24, 45 * 24, 160_i64]), 0..1_000_i64, 0..3_600_i64)
        .prop_map(|(validity, part, seconds)| (validity, validity * 36 * part / 10 + seconds));
    // Certificates come in batches of one day.
    let batch = (one, 1..25_usize, 1..9_000_i64).prop_map(|((validity, age), count, apart)| -> Vec<Age> {
        (0..i64::try_from(count).unwrap()).map(|index| (validity, (age - index * apart).max(0))).collect()
    });
    proptest::collection::vec(batch, 1..8).prop_map(|batches| batches.concat())
}

proptest! {
    #![proptest_config(config(500))]

    #[test]
    fn the_busiest_hour_is_as_low_as_can_be(
        ages in ages(),
        ari in any::<bool>(),
        margin in prop_oneof![Just(0), 1..7_200_i64],
        horizon in 0..60_i64,
        spread in 1..200_i64,
    ) {
        let (margin, spread) = (Some(Span::from_seconds(margin)), Span::from_hours(spread));
        check(&ages, Options { ari, margin, horizon: Span::from_days(horizon), spread, ..exact() })?;
    }
}

/// 10,000 certificates issued within one hour have 43.2 hours to go in.
#[test]
fn a_large_batch_is_spread_over_its_window() {
    let ages: Vec<Age> = (0..10_000).map(|index| (90 * 24, 50 * 86_400 + index % 3_600)).collect();
    let rows = rows(&ages);
    let inventory = inventory(&rows);
    let limits = Quotas::documented().limits();
    let plan = plan(&inventory, &limits, exact()).unwrap();
    let renewals = plan.summary.renewals.clone().unwrap();
    assert_eq!((renewals.orders, renewals.ari), (10_000, 10_000));
    let hours = renewals.last_at.since(renewals.first_at).nanos() / (3_600 * NS_PER_S);
    assert!((42..=44).contains(&hours), "{hours}");
    assert!(renewals.peak_hour <= 10_000_u64.div_ceil(42), "{}", renewals.peak_hour);
}

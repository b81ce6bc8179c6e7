//! No order of a plan is ever refused: plans are replayed through the model with every order sent and issued late.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use certpace::buckets::Batch;
use certpace::gcra::Cost;
use certpace::inventory::Inventory;
use certpace::limits::Limits;
use certpace::name::NameSet;
use certpace::plan::{Mix, Options, Plan, Share, plan};
use certpace::rules::{Decision, Exemption, Model};
use certpace::time::{Span, Timestamp};
use proptest::prelude::*;

use super::opening::Past;
use super::world::{
    Held, Ordered, Quotas, Row, START, SUFFIXES, Tokens, World, at_most, config, inventory, orders, worlds,
};

/// Numbers from a seed (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Between 0 and `most`, often one of them.
    fn delay(&mut self, most: i64) -> i64 {
        match self.next() % 4 {
            0 => 0,
            1 => most,
            _ => i64::try_from(self.next() % (most.unsigned_abs() + 1)).unwrap(),
        }
    }
}

/// Who is late.
#[derive(Clone, Copy, Debug)]
enum Delays {
    /// Sent at once, issued as late as can be.
    IssuedLate,
    /// The first half in all things late, the second in none.
    FirstHalf,
    /// The other way round.
    SecondHalf,
    /// This one is sent late, all others at once.
    One(usize),
    /// This one is sent late and the others are issued late.
    OneAndIssues(usize),
    /// Each as it comes.
    Any,
}

impl Delays {
    fn of(self, place: usize, count: usize, most: i64, random: &mut Random) -> (i64, i64) {
        let late = |is: bool| if is { (most, most) } else { (0, 0) };
        match self {
            Self::IssuedLate => (0, most),
            Self::FirstHalf => late(place * 2 < count),
            Self::SecondHalf => late(place * 2 >= count),
            Self::One(one) => late(place == one),
            Self::OneAndIssues(one) => (if place == one { most } else { 0 }, most),
            Self::Any => {
                let (a, b) = (random.delay(most), random.delay(most));
                (a.min(b), a.max(b))
            }
        }
    }
}

/// Sends and issues all orders late, and says which one is refused.
fn refused(
    orders: &[Ordered],
    inventory: &Inventory,
    limits: Limits,
    margin: Span,
    past: &Past,
    delays: Delays,
    seed: u64,
) -> Option<String> {
    let mut random = Random(seed);
    let mut model = Model::new(limits, SUFFIXES.clone());
    let mut batch = Batch::default();
    let mut ids = Vec::with_capacity(orders.len());
    for order in orders {
        let names = NameSet::parse(order.names.iter().map(String::as_str)).unwrap();
        ids.push(model.order(&order.account, &names));
        if let Some(held) = order.held {
            model.issued(ids[ids.len() - 1], true, inventory.held[held].issued_at, &mut batch);
        }
    }
    let held = past.begin(&mut model);
    // Of events at one instant any may be the first, but an order is sent before it is issued.
    let mut events = BinaryHeap::new();
    for (place, order) in orders.iter().enumerate() {
        let (x, y) = delays.of(place, orders.len(), margin.nanos(), &mut random);
        let sent = (order.at.plus(Span::from_nanos(x)), random.next() >> 1);
        let issued = (order.at.plus(Span::from_nanos(y)), sent.1 + random.next() % 1_000 + 1);
        events.push(Reverse((sent, place, false)));
        events.push(Reverse((issued, place, true)));
    }
    // What is set aside is spent at any time that an order at the start could be.
    for (place, _) in held.iter().enumerate() {
        let at = START.plus(Span::from_nanos(random.delay(margin.nanos())));
        events.push(Reverse(((at, random.next() >> 1), orders.len() + place, true)));
    }
    while let Some(Reverse(((now, _), place, is_issue))) = events.pop() {
        if let Some(bucket) = place.checked_sub(orders.len()).map(|place| held[place]) {
            let (quota, tat) = (model.buckets().quota(bucket), model.buckets().tat(bucket));
            model.set_tat(bucket, quota.spend(tat, now, Cost::ONE).tat_after);
            continue;
        }
        let (order, id) = (&orders[place], ids[place]);
        if is_issue {
            let renewal = model.exemption(id, false, now) == Exemption::SameSet;
            model.issued(id, renewal && order.exemption != "none", now, &mut batch);
            continue;
        }
        let exemption = match order.exemption {
            "ari" => Exemption::Ari,
            "same-set" => Exemption::SameSet,
            _ => Exemption::None,
        };
        let in_window = order.held.is_some_and(|held| in_window(inventory, held, now));
        let is_exempt = match exemption {
            Exemption::None => true,
            Exemption::Ari => in_window,
            Exemption::SameSet => model.exemption(id, false, now) == Exemption::SameSet,
        };
        if !is_exempt {
            return Some(format!("{order:?} is not exempt when it goes out at {now}"));
        }
        let decision = model.new_order(id, exemption, now, &mut batch);
        if decision != Decision::Allow {
            let denials: Vec<_> = batch.denials().map(|(denied, _)| model.describe(denied.bucket().unwrap())).collect();
            return Some(format!("{delays:?}: {order:?}, sent at {now}, is refused: {decision:?} {denials:?}"));
        }
    }
    None
}

/// The window of the CA's integration guide: validity / 100 to either side of a third (of short-lived ones: half) before the expiry.
fn in_window(inventory: &Inventory, held: usize, now: Timestamp) -> bool {
    let of = &inventory.held[held];
    let validity = of.expires_at.since(of.issued_at).nanos();
    let part = if validity < Span::from_days(10).nanos() { 2 } else { 3 };
    let centre = of.expires_at.minus(Span::from_nanos(validity / part));
    let half = Span::from_nanos(validity / 100);
    centre.minus(half) <= now && now < centre.plus(half)
}

/// What is left for others stays theirs: the replay has the limits without it.
fn check(world: &World, seed: u64) -> Result<(), TestCaseError> {
    let inventory = inventory(&world.rows);
    let limits = world.quotas.limits();
    never_refused(&plan(&inventory, &limits, world.options.clone()).unwrap(), &world.quotas, &Past::default(), seed)
}

/// Replays a plan made under `quotas` after `past` with all kinds of delays.
pub(super) fn never_refused(plan: &Plan<'_>, quotas: &Quotas, past: &Past, seed: u64) -> Result<(), TestCaseError> {
    let (orders, options) = (orders(plan), &plan.options);
    let left = quotas.less(options.headroom.parts(), options.reserve_rate.parts());
    let slower = past.slowed(options.reserve_rate.parts());
    let mut random = Random(seed);
    let mut one = || usize::try_from(random.next() % (orders.len() as u64).max(1)).unwrap();
    let (a, b, c) = (one(), one(), one());
    let all = [Delays::IssuedLate, Delays::FirstHalf, Delays::SecondHalf, Delays::One(0), Delays::One(a)];
    let others = [Delays::OneAndIssues(b), Delays::One(c), Delays::Any, Delays::Any];
    for (round, delays) in all.into_iter().chain(others).enumerate() {
        let refused =
            refused(&orders, plan.inventory, left.limits(), plan.margin(), &slower, delays, seed ^ round as u64);
        prop_assert!(refused.is_none(), "{}", refused.unwrap_or_default());
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(1_500))]

    #[test]
    fn no_order_is_ever_refused(world in worlds(), seed in any::<u64>()) {
        check(&world, seed)?;
    }
}

/// Several accounts, one of which has domain buckets of its own and spends the others' unasked.
#[test]
fn an_account_with_its_own_buckets_does_not_get_in_the_way_of_others() {
    let row =
        |account: &str, index: usize| Row { account: account.into(), ..Row::named(format!("{account}{index}.d.com")) };
    let mut rows: Vec<Row> = (0..20).map(|index| row("own", index)).collect();
    rows.extend((0..3).map(|index| row("other", index)));
    let mut quotas = Quotas::new(Tokens::new(50, 1), Tokens::new(5, 1_000));
    quotas.own.insert("own".into(), Tokens::new(100, 10));
    for mix in [Mix::None, Mix::Tenant] {
        let options = Options { margin: Some(Span::from_seconds(600)), mix, ..at_most(1) };
        let world = World { rows: rows.clone(), quotas: quotas.clone(), options };
        (0..50).for_each(|seed| check(&world, seed).unwrap());
    }
}

/// Certificates valid for longer than the CA remembers their sets: inside their windows they are ordered for nothing, but issuing them
/// takes domain tokens.
#[test]
fn renewals_of_forgotten_sets_take_their_tokens() {
    let issued_at = START.minus(Span::from_days(200));
    let held = |index: usize| Row {
        held: Some(Held {
            certificate: format!("c{index}"),
            issued_at,
            expires_at: issued_at.plus(Span::from_days(300)),
        }),
        ..Row::named(format!("held{index}.d.com"))
    };
    let mut rows: Vec<Row> = (0..40).map(held).collect();
    rows.extend((0..60).map(|index| Row::named(format!("new{index}.d.com"))));
    let quotas = Quotas::new(Tokens::new(300, 36), Tokens::new(3, 3_600));
    let options = Options { margin: Some(Span::from_seconds(600)), ..at_most(1) };
    let world = World { rows, quotas, options };
    (0..20).for_each(|seed| check(&world, seed).unwrap());
}

/// The real limits with thousands of orders, several accounts and shared domains.
#[test]
fn a_large_plan_is_never_refused() {
    let mut rows = Vec::new();
    for index in 0..6_000 {
        let account = ["main", "second"][index % 2].to_owned();
        rows.push(Row { account, ..Row::named(format!("h{index}.d{}.com", index % 40)) });
    }
    rows.extend((0..3_000).map(|index| Row::named(format!("single{index}.org"))));
    for (margin, headroom) in [(0, 0), (600, 100_000), (3_600, 0)] {
        let mut world = World { rows: rows.clone(), quotas: Quotas::documented(), options: at_most(2) };
        world.options.margin = Some(Span::from_seconds(margin));
        world.options.headroom = Share::parts_per_million(headroom);
        check(&world, 1).unwrap();
    }
}

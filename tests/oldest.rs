//! The policy from before token buckets: what its pages promise, step by step; windows and counts against naive lists of all that happened.
#![expect(clippy::unwrap_used, reason = "a case that can't be built is a failure")]

use certpace::buckets::{Batch, BucketId, Buckets, Mode, Transaction};
use certpace::counts::{Capacity, Window};
use certpace::gcra::{Cost, Outcome};
use certpace::limits::{LimitName, Limits, Overrides, Policy};
use certpace::name::{Identifier, NameSet};
use certpace::psl::SuffixList;
use certpace::rules::{Decision, Exemption, Model, OrderId, Pair};
use certpace::time::{Span, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;

const START: Timestamp = Timestamp::from_unix_seconds(1_600_000_000);
const NANOSECOND: Span = Span::from_nanos(1);

fn days(days: i64) -> Timestamp {
    START.plus(Span::from_days(days))
}

/// The CA and a batch.
struct World {
    model: Model,
    batch: Batch,
}

impl World {
    fn new() -> Self {
        Self::under("letsencrypt-2021", "")
    }

    fn under(policy: &str, overrides: &str) -> Self {
        let (policy, suffixes) = (Policy::built_in(policy).unwrap(), SuffixList::embedded());
        let overrides = if overrides.is_empty() {
            Overrides::none()
        } else {
            Overrides::parse(overrides, &policy, &suffixes).unwrap()
        };
        Self { model: Model::new(Limits { policy, overrides }, suffixes), batch: Batch::default() }
    }

    fn order(&mut self, account: &str, names: &str) -> OrderId {
        self.model.order(account, &NameSet::parse(names.split(',')).unwrap())
    }

    /// Orders, without a need of authorizations.
    fn ask(&mut self, order: OrderId, now: Timestamp) -> Decision {
        let exemption = self.model.exemption(order, false, now);
        self.model.new_order(order, exemption, now, &mut self.batch)
    }

    /// Orders, and gets a certificate.
    fn issue(&mut self, order: OrderId, now: Timestamp) {
        assert_eq!(self.ask(order, now), Decision::Allow);
        let renewal = self.model.exemption(order, false, now) == Exemption::SameSet;
        self.model.issued(order, renewal, now, &mut self.batch);
    }

    /// Orders with an authorization to be made for each of the names.
    fn ask_needing(&mut self, order: OrderId, now: Timestamp) -> Decision {
        let pairs: Vec<Pair> = self.model.pairs(order).collect();
        let until = now.plus(Span::from_days(7));
        self.model.new_order_needing(order, Exemption::None, (&pairs, until), now, &mut self.batch)
    }

    fn in_the_way(&self) -> Vec<LimitName> {
        self.batch.denials().map(|(of, _)| self.model.limit_of(of.bucket().unwrap())).collect()
    }
}

/// "If you issued 25 certificates on Monday and 25 more certificates on Friday, you'll be able to issue again starting Monday."
#[test]
fn what_was_issued_on_monday_comes_back_on_monday() {
    let mut world = World::new();
    for index in 0..50 {
        let order = world.order(&(index % 3).to_string(), &format!("n{index}.example.com"));
        world.issue(order, days(if index < 25 { 0 } else { 4 }));
    }
    let next = world.order("1", "next.example.com");
    assert_eq!(world.ask(next, days(4)), Decision::Wait(days(7)));
    assert_eq!(world.in_the_way(), [LimitName::CertificatesPerDomain]);
    assert_eq!(world.ask(next, days(7).minus(NANOSECOND)), Decision::Wait(days(7)));
    for index in 0..25 {
        let order = world.order("1", &format!("m{index}.example.com"));
        world.issue(order, days(7));
    }
    assert_eq!(world.ask(next, days(7)), Decision::Wait(days(11)), "those of Friday are still in the window");
}

#[test]
fn a_renewal_is_exempt_from_the_domain_alone() {
    let mut world = World::new();
    let kept = world.order("1", "kept.example.com");
    world.issue(kept, START);
    for index in 0..50 {
        let order = world.order("2", &format!("n{index}.example.com"));
        world.issue(order, days(1_000));
    }
    // Years later, with the domain's window full: exactly those names, and five times a week.
    for _ in 0..5 {
        world.issue(kept, days(1_000));
    }
    assert_eq!(world.ask(kept, days(1_000)), Decision::Wait(days(1_007)));
    assert_eq!(world.in_the_way(), [LimitName::CertificatesPerFqdnSet]);
    // Each was an order of its account.
    for index in 0..295 {
        let order = world.order("1", &format!("customer{index}.com"));
        assert_eq!(world.ask(order, days(1_000)), Decision::Allow, "{index}");
    }
    let orders_again = days(1_000).plus(Span::from_hours(3));
    let other = world.order("1", "other.com");
    assert_eq!(world.ask(other, days(1_000)), Decision::Wait(orders_again));
    assert_eq!(world.in_the_way(), [LimitName::NewOrdersPerAccount]);
    assert_eq!(world.ask(kept, days(1_000)), Decision::Wait(days(1_007)));
    assert_eq!(world.in_the_way(), [LimitName::NewOrdersPerAccount, LimitName::CertificatesPerFqdnSet]);
}

#[test]
fn five_failures_an_hour_and_no_pausing() {
    let mut world = World::new();
    let order = world.order("1", "dead.example.com,www.example.com");
    let name = Identifier::parse("dead.example.com").unwrap();
    let mut second = Batch::default();
    for minute in 0..5 {
        let now = START.plus(Span::from_seconds(60 * minute));
        assert_eq!(world.ask(order, now), Decision::Allow);
        assert!(!world.model.validation_failed("1", &name, now, [&mut world.batch, &mut second]));
    }
    let now = START.plus(Span::from_seconds(300));
    assert_eq!(world.ask(order, now), Decision::Wait(START.plus(Span::from_hours(1))));
    assert_eq!(world.in_the_way(), [LimitName::FailedAuthorizationsPerDomainPerAccount]);
    let other = world.order("2", "dead.example.com");
    assert_eq!(world.ask(other, now), Decision::Allow, "another account");
    assert_eq!(world.model.paused_count(), 0);
}

#[test]
fn three_hundred_authorizations_are_pending_at_a_time() {
    let mut world = World::new();
    let hundred = |of: &str| (0..100).map(|index| format!("n{index}.{of}.com")).collect::<Vec<_>>().join(",");
    for (day, of) in ["a", "b", "c"].into_iter().enumerate() {
        let order = world.order("1", &hundred(of));
        assert_eq!(world.ask_needing(order, days(day as i64)), Decision::Allow);
    }
    let one = world.order("1", "one.com");
    assert_eq!(world.ask_needing(one, days(2)), Decision::Wait(days(7)), "the first hundred expire");
    assert_eq!(world.in_the_way(), [LimitName::PendingAuthorizationsPerAccount]);
    let described = world.model.describe(world.batch.denials().next().unwrap().0.bucket().unwrap());
    assert_eq!(described, (LimitName::PendingAuthorizationsPerAccount, "1".to_owned()));
    let two_hundred = [hundred("d"), hundred("e")].join(",");
    let large = world.order("1", &two_hundred);
    assert_eq!(world.ask_needing(large, days(2)), Decision::Wait(days(8)), "all have to fit");
    let again = world.order("1", "n0.a.com,n1.a.com");
    assert_eq!(world.ask_needing(again, days(2)), Decision::Allow, "those pending are used again");
    let stranger = world.order("2", "one.com");
    assert_eq!(world.ask_needing(stranger, days(2)), Decision::Allow, "another account");

    // One that ends makes room for one: valid, failed or deactivated.
    let pairs: Vec<Pair> = world.model.pairs(again).collect();
    let mut second = Batch::default();
    world.model.pair_succeeded(pairs[0], days(2), &mut world.batch);
    assert_eq!(world.ask_needing(one, days(2)), Decision::Allow);
    let other = world.order("1", "other.com");
    assert_eq!(world.ask_needing(other, days(2)), Decision::Wait(days(7)));
    let counted = world.model.pair_deactivated(pairs[1], days(2), [&mut world.batch, &mut second]);
    assert_eq!(counted, None, "no failure");
    assert_eq!(world.ask_needing(other, days(2)), Decision::Allow);
    let third = world.order("1", "third.com");
    assert_eq!(world.ask_needing(third, days(7).minus(NANOSECOND)), Decision::Wait(days(7)));
    assert_eq!(world.ask_needing(third, days(7)), Decision::Allow);
}

#[test]
fn accounts_by_address_and_what_comes_back() {
    let mut world = World::new();
    let ip = "192.0.2.1".parse().unwrap();
    for _ in 0..10 {
        assert_eq!(world.model.new_registration(ip, START, &mut world.batch), Decision::Allow);
    }
    let later = START.plus(Span::from_hours(1));
    let again = START.plus(Span::from_hours(3));
    assert_eq!(world.model.new_registration(ip, later, &mut world.batch), Decision::Wait(again));
    world.model.refund_registration(ip, later, &mut world.batch);
    assert_eq!(world.model.new_registration(ip, later, &mut world.batch), Decision::Allow);
    assert_eq!(world.model.new_registration(ip, later, &mut world.batch), Decision::Wait(again));
}

#[test]
fn an_override_is_counted_as_its_limit_is() {
    let overrides = "[[override]]\nlimit = \"CertificatesPerDomain\"\nburst = 2\ncount = 2\nperiod = \"1d\"\nids = [\"example.com\"]\n";
    let mut world = World::under("letsencrypt-2021", overrides);
    for index in 0..2 {
        let order = world.order("1", &format!("n{index}.example.com"));
        world.issue(order, START);
    }
    let next = world.order("1", "next.example.com");
    assert_eq!(world.ask(next, START), Decision::Wait(days(1)));
}

#[test]
fn a_change_of_policy_keeps_what_was_counted() {
    let mut world = World::new();
    for index in 0..50 {
        let order = world.order("1", &format!("n{index}.example.com"));
        world.issue(order, START);
    }
    let next = world.order("1", "next.example.com");
    let limits = |name| Limits { policy: Policy::built_in(name).unwrap(), overrides: Overrides::none() };
    let orders = world.model.change_limits(limits("letsencrypt-2021"));
    assert_eq!(world.ask(orders[next.index()], START), Decision::Wait(days(7)));
    let orders = world.model.change_limits(limits("letsencrypt"));
    assert_eq!(world.ask(orders[next.index()], START), Decision::Wait(START.plus(Span::from_seconds(12_096))));
    assert_eq!(world.in_the_way(), [LimitName::CertificatesPerDomain]);
}

#[test]
fn nothing_is_planned_under_windows() {
    let limits = |name| Limits { policy: Policy::built_in(name).unwrap(), overrides: Overrides::none() };
    for name in Policy::built_in_names() {
        assert_eq!(limits(name).check_token_buckets().is_ok(), name != "letsencrypt-2021", "{name}");
    }
}

/// What happens to a window: after how long, how many, and what is asked.
fn happenings() -> impl Strategy<Value = Vec<(i64, u32, Mode)>> {
    let modes = prop_oneof![
        6 => Just(Mode::CheckAndSpend), 2 => Just(Mode::CheckOnly), 2 => Just(Mode::SpendOnly), 1 => Just(Mode::Reset)
    ];
    vec((prop_oneof![Just(0), 1..30_i64, 30..300_i64], 0..4_u32, modes), 1..80)
}

fn one(bucket: BucketId, mode: Mode, cost: u32) -> Batch {
    let mut batch = Batch::default();
    batch.push(Transaction::of(Some(bucket), mode).with_cost(Cost::new(cost)));
    batch
}

fn outcome(batch: &Batch) -> Outcome {
    batch.results().next().unwrap().1
}

proptest! {
    /// Against a list of all events.
    #[test]
    fn a_window_counts_as_a_list_of_all_events_does(most in 1..8_u32, period in 1..200_i64, happenings in happenings()) {
        let period = Span::from_nanos(period);
        let mut buckets = Buckets::default();
        let bucket = buckets.add_any(Capacity::Window(Window { most, period }));
        let (mut all, mut now) = (Vec::<Timestamp>::new(), START);
        for (after, cost, mode) in happenings {
            now = now.plus(Span::from_nanos(after));
            let in_window = |all: &[Timestamp], at: Timestamp| all.iter().filter(|event| **event > at.minus(period)).count();
            let fits = |at| in_window(&all, at) + cost as usize <= most as usize;
            let has_a_say = matches!(mode, Mode::CheckAndSpend | Mode::CheckOnly);
            // More than the window allows need not be remembered.
            prop_assert_eq!(buckets.used(bucket, now), in_window(&all, now).min(most as usize) as i64);
            let mut batch = one(bucket, mode, cost);
            let allowed = buckets.decide(&mut batch, now);
            let told = outcome(&batch);
            if has_a_say && cost > 0 {
                prop_assert_eq!(allowed, fits(now));
                if !allowed && cost <= most {
                    let then = now.plus(told.retry_in);
                    prop_assert!(told.retry_in > Span::ZERO);
                    prop_assert!(!fits(then.minus(NANOSECOND)) && fits(then), "{:?}", told);
                    let refused = buckets.decide(&mut one(bucket, Mode::CheckOnly, cost), then.minus(NANOSECOND));
                    let let_through = buckets.decide(&mut one(bucket, Mode::CheckOnly, cost), then);
                    prop_assert!(!refused && let_through);
                }
            } else {
                prop_assert!(allowed);
            }
            match mode {
                Mode::Reset => all.clear(),
                Mode::CheckAndSpend if !allowed => {}
                Mode::CheckAndSpend | Mode::SpendOnly => all.extend((0..cost).map(|_| now)),
                Mode::CheckOnly | Mode::AllowOnly => {}
            }
            if mode == Mode::CheckAndSpend && allowed && cost > 0 {
                // When the same fits once more, if nothing else comes between.
                let once_more = |at| in_window(&all, at) + cost as usize <= most as usize;
                let then = now.plus(told.retry_in);
                prop_assert!(once_more(then));
                prop_assert!(told.retry_in == Span::ZERO || !once_more(then.minus(NANOSECOND)));
                prop_assert_eq!(told.remaining, i64::from(most) - in_window(&all, now) as i64);
            }
            let empty_at = now.plus(told.reset_in);
            if mode == Mode::CheckAndSpend {
                prop_assert_eq!(in_window(&all, empty_at), 0);
                prop_assert!(told.reset_in == Span::ZERO || in_window(&all, empty_at.minus(NANOSECOND)) > 0);
            }
        }
    }

    /// Against a list of all that was ever opened.
    #[test]
    fn what_is_open_counts_as_in_a_list(
        most in 1..8_u32,
        happenings in vec((0..30_i64, 0..12_u32, 1..60_i64, 0..3_u8), 1..80),
    ) {
        let mut buckets = Buckets::default();
        let bucket = buckets.add_any(Capacity::Concurrent(most));
        let (mut all, mut now) = (Vec::<(u32, Timestamp)>::new(), START);
        for (after, item, life, what) in happenings {
            now = now.plus(Span::from_nanos(after));
            let open = |at: Timestamp| all.iter().filter(|(_, end)| *end > at).count();
            prop_assert_eq!(buckets.used(bucket, now), open(now) as i64);
            prop_assert_eq!(buckets.left(bucket, open(now) as i64), i64::from(most).saturating_sub(open(now) as i64).max(0));
            if what == 0 {
                buckets.close(bucket, item);
                all.retain(|(known, _)| *known != item);
                continue;
            }
            let cost = u32::from(what);
            let fits = |at| open(at) + cost as usize <= most as usize;
            let mut batch = one(bucket, Mode::CheckOnly, cost);
            let allowed = buckets.decide(&mut batch, now);
            prop_assert_eq!(allowed, fits(now));
            if !allowed && cost <= most {
                let then = now.plus(outcome(&batch).retry_in);
                prop_assert!(!fits(then.minus(NANOSECOND)) && fits(then));
                prop_assert!(!buckets.clone().decide(&mut one(bucket, Mode::CheckOnly, cost), then.minus(NANOSECOND)));
                prop_assert!(buckets.clone().decide(&mut one(bucket, Mode::CheckOnly, cost), then));
            }
            // Even where it does not fit: an override may have become smaller.
            let is_open = all.iter().any(|(known, end)| *known == item && *end > now);
            prop_assert_eq!(buckets.is_open(bucket, item, now), is_open);
            let end = now.plus(Span::from_nanos(life));
            buckets.open(bucket, item, end, now);
            if !is_open {
                all.push((item, end));
            }
        }
    }
}

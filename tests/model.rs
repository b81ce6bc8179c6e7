//! Properties of the model: waits are exact, batches are all or nothing, no window passes more than it may, and a second opinion
//! agrees. Whatever is read never panics, and what is printed reads back.
#![expect(clippy::unwrap_used, reason = "a case that can't be built is a failure")]

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::LazyLock;
use std::time::Duration;

use certpace::buckets::{Batch, BucketId, Buckets, Mode, Transaction};
use certpace::gcra::{Cost, Quota};
use certpace::limits::{Limits, Overrides, Policy};
use certpace::name::{Hostname, Identifier, NameSet, canonical};
use certpace::psl::SuffixList;
use certpace::rules::{Decision, Model};
use certpace::time::{Span, Timestamp};
use governor::RateLimiter;
use governor::clock::{Clock, FakeRelativeClock};
use proptest::collection::vec;
use proptest::prelude::*;

const START: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);
const NANOSECOND: Span = Span::from_nanos(1);
/// One parse serves all cases.
static SUFFIXES: LazyLock<SuffixList> = LazyLock::new(SuffixList::embedded);

fn quota() -> impl Strategy<Value = Quota> {
    let period = prop_oneof![1..1_000_i64, 1_000_000_000..3_600_000_000_000_i64, Just(604_800_000_000_000)];
    let numbers = (1..40_u64, 1..1_000_u64, period);
    numbers.prop_filter_map("no bucket", |(burst, count, ns)| Quota::new(burst, count, Span::from_nanos(ns)).ok())
}

/// How long after the one before something is asked, in emission intervals of 1,000 parts, and for how much.
fn requests() -> impl Strategy<Value = Vec<(i64, u32)>> {
    vec((prop_oneof![Just(0), 0..3_000_i64, 0..60_000_i64], 1..6_u32), 1..60)
}

fn later(now: Timestamp, quota: Quota, parts: i64) -> Timestamp {
    now.plus(Span::from_nanos(i64::try_from(i128::from(quota.emission().nanos()) * i128::from(parts) / 1_000).unwrap()))
}

proptest! {
    #[test]
    fn a_wait_of_one_bucket_is_exact(quota in quota(), requests in requests()) {
        let (mut tat, mut now) = (None, START);
        for (parts, tokens) in requests {
            now = later(now, quota, parts);
            let cost = Cost::new(tokens.min(quota.burst()));
            let asked = quota.spend(tat, now, cost);
            prop_assert_eq!(asked.allowed, quota.allows(tat, now, cost));
            if !asked.allowed {
                let then = now.plus(asked.retry_in);
                prop_assert!(!quota.spend(tat, then.minus(NANOSECOND), cost).allowed);
                prop_assert!(quota.spend(tat, then, cost).allowed);
            }
            tat = asked.tat_after;
        }
    }

    #[test]
    fn no_window_passes_more_than_burst_and_refill(quota in quota(), requests in requests()) {
        let (mut tat, mut now, mut passed) = (None, START, Vec::new());
        for (parts, tokens) in requests {
            now = later(now, quota, parts);
            let asked = quota.spend(tat, now, Cost::new(tokens));
            if asked.allowed {
                passed.push((now, i64::from(tokens)));
            }
            tat = asked.tat_after;
        }
        for (first, (from, _)) in passed.iter().enumerate() {
            let mut tokens = 0;
            for (until, more) in &passed[first..] {
                tokens += more;
                let refill = until.since(*from).nanos() / quota.emission().nanos();
                prop_assert!(tokens <= i64::from(quota.burst()) + refill);
            }
        }
    }

    /// `governor` computes the same algorithm from another formula. (It knows neither refunds nor a cost of 0.)
    #[test]
    fn governor_agrees(quota in quota(), requests in requests()) {
        let emission = Duration::from_nanos(quota.emission().nanos().unsigned_abs());
        let burst = NonZeroU32::new(quota.burst()).unwrap();
        let clock = FakeRelativeClock::default();
        let theirs = governor::Quota::with_period(emission).unwrap().allow_burst(burst);
        let theirs = RateLimiter::direct_with_clock(theirs, clock.clone());
        let (mut tat, mut now) = (None, START);
        for (parts, tokens) in requests {
            let next = later(now, quota, parts);
            clock.advance(Duration::from_nanos(next.since(now).nanos().unsigned_abs()));
            now = next;
            let tokens = tokens.min(quota.burst());
            let asked = quota.spend(tat, now, Cost::new(tokens));
            let waited = match theirs.check_n(NonZeroU32::new(tokens).unwrap()).unwrap() {
                Ok(()) => None,
                Err(not_until) => Some(not_until.wait_time_from(clock.now()).as_nanos()),
            };
            let ours = (!asked.allowed).then(|| u128::from(asked.retry_in.nanos().unsigned_abs()));
            prop_assert_eq!(ours, waited);
            tat = asked.tat_after;
        }
    }

    #[test]
    fn a_refund_undoes_a_spend(quota in quota(), requests in requests()) {
        let (mut tat, mut now) = (None, START);
        for (parts, tokens) in requests {
            now = later(now, quota, parts);
            let asked = quota.spend(tat, now, Cost::new(tokens));
            let refunded = quota.refund(asked.tat_after, now, Cost::new(tokens));
            if asked.allowed {
                prop_assert_eq!(refunded.tat_after, Some(asked.tat_before.unwrap_or(now).max(now)));
            }
            tat = asked.tat_after;
        }
    }

    #[test]
    fn batches_are_all_or_nothing_and_their_waits_exact(
        quotas in vec(quota(), 1..6),
        batches in vec((0..2_000_i64, vec((any::<prop::sample::Index>(), 0..3_u32, 1..4_u32), 1..5)), 1..40),
    ) {
        let mut buckets = Buckets::default();
        let ids: Vec<BucketId> = quotas.iter().map(|quota| buckets.add(*quota)).collect();
        let mut now = START;
        for (parts, asked) in batches {
            now = later(now, quotas[0], parts);
            let mut batch = Batch::default();
            for (index, (bucket, mode, tokens)) in asked.into_iter().enumerate() {
                // A batch holds a bucket once.
                let Some(id) = ids.get(index).filter(|_| bucket.index(3) > 0) else { continue };
                let mode = [Mode::CheckAndSpend, Mode::CheckOnly, Mode::SpendOnly][mode as usize];
                let cost = Cost::new(tokens.min(buckets.quota(*id).burst()));
                batch.push(Transaction::of(Some(*id), mode).with_cost(cost));
            }
            let before: Vec<_> = ids.iter().map(|id| buckets.tat(*id)).collect();
            if buckets.decide(&mut batch, now) {
                for (transaction, outcome) in batch.results() {
                    let spends = transaction.mode() != Mode::CheckOnly && outcome.allowed;
                    let after = buckets.tat(transaction.bucket().unwrap());
                    prop_assert_eq!(after, outcome.tat_after);
                    prop_assert_eq!(after != outcome.tat_before, spends);
                }
                continue;
            }
            prop_assert_eq!(&before, &ids.iter().map(|id| buckets.tat(*id)).collect::<Vec<_>>());
            let wait = batch.denials().map(|(_, outcome)| outcome.retry_in).max().unwrap();
            prop_assert_eq!(batch.strictest().unwrap().1.retry_in, wait);
            let mut again = buckets.clone();
            prop_assert!(!again.decide(&mut batch.clone(), now.plus(wait).minus(NANOSECOND)));
            prop_assert!(again.decide(&mut batch, now.plus(wait)));
        }
    }

    /// Through the whole model: orders, issues and failures of few names by few accounts.
    #[test]
    fn a_wait_of_an_order_is_exact(events in vec((0..40_000_i64, 0..2_u8, 0..4_u8, 0..6_u8), 1..120)) {
        let limits = Limits { policy: Policy::built_in("letsencrypt").unwrap(), overrides: Overrides::none() };
        let mut model = Model::new(limits, SUFFIXES.clone());
        let (mut a, mut b) = (Batch::default(), Batch::default());
        let mut now = START;
        for (seconds, account, name, event) in events {
            now = now.plus(Span::from_seconds(seconds / 40));
            let (account, name) = (account.to_string(), Identifier::parse(&format!("n{name}.example.com")).unwrap());
            let order = model.order(&account, &NameSet::new([name.clone()]).unwrap());
            match event {
                0 => {
                    model.validation_failed(&account, &name, now, [&mut a, &mut b]);
                }
                1 => model.issued(order, false, now, &mut a),
                _ => {
                    let exemption = model.exemption(order, false, now);
                    if let Decision::Wait(until) = model.new_order(order, exemption, now, &mut a) {
                        prop_assert_eq!(model.new_order(order, exemption, until.minus(NANOSECOND), &mut a), Decision::Wait(until));
                        prop_assert_eq!(model.new_order(order, exemption, until, &mut a), Decision::Allow);
                        model.refund_order(order, exemption, until, &mut a);
                    }
                }
            }
        }
    }
}

fn hostname() -> impl Strategy<Value = String> {
    "(\\*\\.)?([a-z0-9]([a-z0-9]{0,8}[a-z0-9])?\\.){1,5}[a-z]{2,6}"
}

fn name() -> impl Strategy<Value = String> {
    let address = any::<IpAddr>().prop_map(|ip| ip.to_string());
    prop_oneof![8 => hostname(), 1 => address]
}

/// A built-in policy, damaged in one place.
fn damaged(text: &'static str) -> impl Strategy<Value = String> {
    (any::<prop::sample::Index>(), 0..12_usize, "[ -~\\n]{0,6}").prop_map(|(at, len, with)| {
        let at = at.index(text.len());
        let end = (at + len).min(text.len());
        format!("{}{with}{}", text.get(..at).unwrap_or_default(), text.get(end..).unwrap_or_default())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_name_makes_it_panic(bytes in vec(any::<u8>(), 0..300), text in "\\PC*", mixed in "[a-zA-Z0-9.*:_äß。点xn-]{0,80}") {
        let mut scratch = Vec::new();
        for name in [bytes.as_slice(), text.as_bytes(), mixed.as_bytes()] {
            if let Ok(found) = canonical(name, &mut scratch) {
                // What is canonical stays as it is.
                let found = found.text(name, &scratch).to_vec();
                let again = canonical(&found, &mut scratch).unwrap();
                prop_assert_eq!(again.text(&found, &scratch), found.as_slice());
            }
            let _domain = SUFFIXES.covering(name);
        }
        for text in [text.as_str(), mixed.as_str()] {
            let _hostname = Hostname::parse(text);
            let _set = NameSet::parse(text.split(','));
        }
    }

    #[test]
    fn no_time_makes_it_panic(text in "\\PC*", mixed in "[0-9a-zµ.:+ TZ-]{0,30}") {
        for text in [text.as_str(), mixed.as_str()] {
            let (_span, _at) = (Span::parse(text), Timestamp::parse(text));
        }
    }

    #[test]
    fn no_file_makes_it_panic(text in "\\PC*", policy in damaged(include_str!("../data/letsencrypt.toml")), numbers in any::<(u64, u64)>()) {
        let known = Policy::built_in("letsencrypt").unwrap();
        let (burst, count) = numbers;
        let entry = format!("[[override]]\nlimit = \"NewOrdersPerAccount\"\nburst = {burst}\ncount = {count}\nperiod = \"7d\"\nids = [{text:?}]");
        for text in [text, policy, entry] {
            let _policy = Policy::parse(&text);
            let _overrides = Overrides::parse(&text, &known, &SUFFIXES);
            let _suffixes = SuffixList::parse(&text);
        }
    }

    #[test]
    fn names_read_back(names in vec(name(), 1..8)) {
        let Ok(set) = NameSet::parse(names.iter().map(String::as_str)) else { return Ok(()) };
        let printed: Vec<String> = set.identifiers().iter().map(ToString::to_string).collect();
        let shouted: Vec<String> = printed.iter().rev().map(|name| name.to_uppercase()).collect();
        prop_assert_eq!(&NameSet::parse(printed.iter().map(String::as_str)).unwrap(), &set);
        prop_assert_eq!(NameSet::parse(shouted.iter().map(String::as_str)).unwrap().key(), set.key());
        for name in &printed {
            prop_assert_eq!(&Identifier::parse(name).unwrap().to_string(), name);
        }
    }

    #[test]
    fn times_read_back(seconds in 0..7_258_118_400_i64, nanos in prop_oneof![Just(0), 0..1_000_000_000_i64]) {
        let at = Timestamp::from_unix_seconds(seconds).plus(Span::from_nanos(nanos));
        prop_assert_eq!(Timestamp::parse(&at.to_string()), Ok(at));
    }
}

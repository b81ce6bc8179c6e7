//! How long the model takes for one name and for one order, beside the libraries that do the nearest thing.
//!
//! An order of one name asks four buckets: the account's orders, the name's failures, its registered domain, its set. Beside it
//! stands ONE keyed check of `governor`, with the same numbers, over as many keys as there are buckets, asked for in random order.
//! Each benchmark prints which share of its decisions was allowed: one that mostly denies measures nothing.
#![expect(clippy::disallowed_macros, reason = "the share of allowed decisions is printed")]

use std::cell::{LazyCell, RefCell};
use std::hash::BuildHasherDefault;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::time::Duration;

use certpace::buckets::Batch;
use certpace::limits::{Limit, LimitName, Limits, Overrides, Policy};
use certpace::name::{Identifier, NameSet};
use certpace::psl::SuffixList;
use certpace::rules::{Decision, Exemption, Model, OrderId};
use certpace::time::{Span, Timestamp};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use governor::clock::FakeRelativeClock;
use governor::{Quota, RateLimiter};
use rustc_hash::FxHasher;

/// How many buckets there are.
const SIZES: [usize; 3] = [1_000, 1_000_000, 10_000_000];
/// The buckets which an order of one name asks.
const BUCKETS_PER_ORDER: usize = 4;
/// All limits have these numbers here, so that many orders a bucket are allowed: 300 in 3 hours, one in 36 seconds.
const BURST: u32 = 300;
const PERIOD: Span = Span::from_hours(3);
/// Between two decisions.
const STEP: Span = Span::from_seconds(1);
const START: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

/// `SplitMix64`: random enough to defeat the caches, and in the same order in every run.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Four million places below `len`, in random order.
fn places(len: usize) -> Vec<u32> {
    let mut state = 1;
    let len = len as u64;
    (0..1_u64 << 22).map(|_| u32::try_from(random(&mut state) % len).unwrap_or_default()).collect()
}

fn names(count: usize) -> Vec<String> {
    let suffixes = ["com", "net", "org", "de", "co.uk", "com.au", "github.io", "app", "xn--p1ai", "s3.amazonaws.com"];
    let labels = ["www", "shop", "mail.eu", "*", "api"];
    let mut state = 2;
    let pick = |state: &mut u64, of: &[&'static str]| of[usize::try_from(random(state)).unwrap_or(0) % of.len()];
    let name = |index| {
        let (label, suffix) = (pick(&mut state, &labels), pick(&mut state, &suffixes));
        format!("{label}.customer-{index}.{suffix}")
    };
    (0..count).map(name).collect()
}

/// Prints which share of `asked` was allowed; nothing where the benchmark was left out.
fn tell(benchmark: &str, allowed: u64, asked: u64) {
    if asked == 0 {
        return;
    }
    #[expect(clippy::cast_precision_loss, reason = "for output only")]
    let share = 100.0 * allowed as f64 / asked as f64;
    println!("{benchmark}: {share:.2} % of {asked} decisions allowed");
}

fn registered_domain(criterion: &mut Criterion) {
    let (suffixes, names) = (SuffixList::embedded(), names(100_000));
    let psl_domain = |name: &str| psl::domain(name.as_bytes()).map(|domain| domain.as_bytes().len());
    let agreed =
        names.iter().filter(|name| Some(suffixes.registered_domain(name.as_bytes()).len()) == psl_domain(name)).count();
    println!("registered domain: the psl crate agrees on {agreed} of {} names", names.len());
    let mut group = criterion.benchmark_group("registered domain");
    group.throughput(Throughput::Elements(1));
    group.bench_function("certpace", |bencher| {
        let mut names = names.iter().cycle();
        bencher.iter(|| suffixes.covering(names.next().map_or(b"", |name| name.as_bytes())).is_ok());
    });
    group.bench_function("psl", |bencher| {
        let mut names = names.iter().cycle();
        bencher.iter(|| names.next().map(|name| psl_domain(name)));
    });
    group.bench_function("the loop alone", |bencher| {
        let mut names = names.iter().cycle();
        bencher.iter(|| names.next().map(|name| black_box(name).len()));
    });
    group.finish();
    criterion.bench_function("read the built-in list", |bencher| bencher.iter(SuffixList::embedded));
}

/// A model that knows `count` orders of one name each, every one of an account of its own.
fn model(count: usize) -> (Model, Vec<OrderId>) {
    let mut policy = Policy::built_in("letsencrypt").unwrap_or_else(|error| panic!("{error}"));
    let limit = Limit::new(BURST.into(), BURST.into(), PERIOD).unwrap_or_else(|error| panic!("{error}"));
    for name in LimitName::ALL {
        let on = name != LimitName::CertificatesPerDomainPerAccount;
        policy.set_limit(name, on.then(|| limit.clone()));
    }
    let mut model = Model::new(Limits { policy, overrides: Overrides::none() }, SuffixList::embedded());
    let order = |index: usize| {
        let name = Identifier::parse(&format!("www.customer-{index}.com")).unwrap_or_else(|error| panic!("{error}"));
        let names = NameSet::new([name]).unwrap_or_else(|| unreachable!("it holds one name"));
        model.order(&index.to_string(), &names)
    };
    let orders = (0..count).map(order).collect();
    assert_eq!(model.buckets().len(), count * BUCKETS_PER_ORDER);
    (model, orders)
}

fn decisions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decision");
    group.throughput(Throughput::Elements(1));
    for size in SIZES {
        // Made when the first benchmark that was asked for needs it: ten million buckets take their time.
        let world = LazyCell::new(|| {
            let (model, orders) = model(size / BUCKETS_PER_ORDER);
            let orders: Vec<OrderId> = places(orders.len()).into_iter().map(|place| orders[place as usize]).collect();
            (RefCell::new(model), orders)
        });
        let (mut batch, mut now) = (Batch::default(), START);
        for issued in [false, true] {
            let what = if issued { "order and issue" } else { "order" };
            let (mut allowed, mut asked) = (0, 0);
            group.bench_function(BenchmarkId::new(what, size), |bencher| {
                let (model, orders) = &*world;
                let (mut model, mut orders) = (model.borrow_mut(), orders.iter().cycle());
                bencher.iter(|| {
                    let Some(&order) = orders.next() else { return };
                    now = now.plus(STEP);
                    let decision = model.new_order(order, Exemption::None, now, &mut batch);
                    if issued && decision == Decision::Allow {
                        model.issued(order, false, now, &mut batch);
                    }
                    asked += 1;
                    allowed += u64::from(decision == Decision::Allow);
                });
            });
            tell(&format!("{what}, {size} buckets"), allowed, asked);
        }
        drop(world);
        governor_checks(&mut group, size);
    }
    group.finish();
}

fn governor_checks(group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>, size: usize) {
    let emission = Duration::from_nanos(PERIOD.nanos().unsigned_abs() / u64::from(BURST));
    let burst = NonZeroU32::new(BURST).unwrap_or(NonZeroU32::MIN);
    let quota = Quota::with_period(emission).unwrap_or_else(|| unreachable!("36 s")).allow_burst(burst);
    let clock = FakeRelativeClock::default();
    let hasher = BuildHasherDefault::<FxHasher>::default();
    let world = LazyCell::new(|| {
        let limiter = RateLimiter::dashmap_with_clock_and_hasher(quota, clock.clone(), hasher.clone());
        for key in 0..u32::try_from(size).unwrap_or(u32::MAX) {
            let _first_check = limiter.check_key(&key);
        }
        (limiter, places(size))
    });
    let step = Duration::from_nanos(STEP.nanos().unsigned_abs());
    let (mut allowed, mut asked) = (0, 0);
    group.bench_function(BenchmarkId::new("one governor check", size), |bencher| {
        let (limiter, keys) = &*world;
        let mut keys = keys.iter().cycle();
        bencher.iter(|| {
            let Some(key) = keys.next() else { return };
            clock.advance(step);
            asked += 1;
            allowed += u64::from(limiter.check_key(key).is_ok());
        });
    });
    tell(&format!("one governor check, {size} keys"), allowed, asked);
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    targets = registered_domain, decisions
}
criterion_main!(benches);

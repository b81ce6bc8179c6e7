//! How fast plans are simulated, and how much two cores bring.
//!
//! A plan of many orders runs through the whole model: order, validation, issue. What is printed beside the times is what came of it: a
//! simulation that mostly refuses measures nothing.
#![expect(clippy::disallowed_macros, reason = "what came of a run is printed")]

use std::time::Duration;

use certpace::limits::{Limits, Overrides, Policy};
use certpace::psl::SuffixList;
use certpace::sim::{Measure, Scenario, Seed, Setup, Surroundings, run};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rayon::prelude::*;

/// A plan for this many registered domains with one certificate each.
fn set_up(domains: u32, days: u32) -> Setup {
    let text = format!(
        "title = \"bench\"\nstart = \"2026-12-01\"\nduration = \"{days}d\"\n[inventory]\nhostnames = {domains}\n\
         [[client]]\nbehaviour = \"plan\"\n"
    );
    let scenario = Scenario::parse(&text).unwrap_or_else(|error| panic!("{error}"));
    let policy = Policy::built_in("letsencrypt").unwrap_or_else(|error| panic!("{error}"));
    let limits = Limits { policy, overrides: Overrides::none() };
    let around = Surroundings { limits: &limits, suffixes: &SuffixList::embedded(), sources: Vec::new() };
    Setup::new(&scenario, &around).unwrap_or_else(|error| panic!("{error}"))
}

/// Prints what came of a run.
fn tell(name: &str, setup: &Setup) {
    let measures = run(setup, Seed(1));
    let count = |measure| measures.count(measure);
    println!(
        "{name}: {} orders, {} certificates, {} refusals, {} steps",
        count(Measure::Orders),
        count(Measure::Certificates),
        count(Measure::Refusals),
        count(Measure::Steps)
    );
}

fn plans(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("simulate a plan");
    for domains in [10_000, 500_000] {
        let setup = set_up(domains, 365);
        tell(&format!("{domains} domains"), &setup);
        group.throughput(Throughput::Elements(u64::from(domains)));
        group.bench_with_input(BenchmarkId::from_parameter(domains), &setup, |bencher, setup| {
            bencher.iter(|| run(setup, Seed(1)));
        });
    }
    group.finish();
}

fn runs(criterion: &mut Criterion) {
    let setup = set_up(10_000, 365);
    let mut group = criterion.benchmark_group("64 runs");
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.unwrap_or_else(|error| panic!("{error}"));
        group.bench_function(BenchmarkId::new("threads", threads), |bencher| {
            bencher.iter(|| pool.install(|| (0..64).into_par_iter().map(|seed| run(&setup, Seed(seed))).count()));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5));
    targets = plans, runs
}
criterion_main!(benches);

//! How long a plan takes, part by part and whole, beside the `csv` crate parsing the same bytes on one thread.
//!
//! `benches/compare` measures the whole as processes, with files; here everything stays in memory.

#[path = "plan/inventory.rs"]
mod inventory;

use std::ops::Range;
use std::time::Duration;

use certpace::inventory::{Inventory, Settings, Source, read};
use certpace::limits::{Limits, Overrides, Policy};
use certpace::plan::{Options, Plan, plan};
use certpace::psl::SuffixList;
use certpace::report::plan_file::{self, Lines, Origin};
use certpace::time::Timestamp;
use criterion::{BatchSize, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use rayon::prelude::*;

/// How many names there are.
const SIZES: [usize; 3] = [10_000, 100_000, 1_000_000];
const START: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);
/// Orders that are rendered in one go, as the command does.
const ORDERS_A_PART: usize = 8 * 1024;

/// What an inventory is planned with.
struct Terms {
    limits: Limits,
    suffixes: SuffixList,
}

impl Terms {
    fn new() -> Self {
        let policy = Policy::built_in("letsencrypt").unwrap_or_else(|error| panic!("{error}"));
        Self { limits: Limits { policy, overrides: Overrides::none() }, suffixes: SuffixList::embedded() }
    }

    fn read(&self, sources: Vec<Source>) -> Inventory {
        let settings = Settings {
            account: "default",
            profile: "classic",
            deadline: None,
            start: START,
            policy: &self.limits.policy,
            suffixes: &self.suffixes,
        };
        let inventory = read(sources, &settings, &|_bytes| ()).unwrap_or_else(|error| panic!("{error}"));
        assert!(inventory.rejects.is_empty(), "all rows are good");
        inventory
    }

    fn plan<'a>(&'a self, inventory: &'a Inventory) -> Plan<'a> {
        plan(inventory, &self.limits, Options::starting(START)).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The plan file, part by part.
    fn render(&self, plan: &Plan<'_>) -> Vec<Vec<u8>> {
        let count = plan.orders.len();
        let part = |from: usize| -> Range<usize> { from..count.min(from + ORDERS_A_PART) };
        let starts: Vec<usize> = (0..count).step_by(ORDERS_A_PART).collect();
        let (mut parts, lines) = (vec![plan_file::head(plan, &self.suffixes, &Origin::default())], Lines::new(plan));
        parts.par_extend(starts.into_par_iter().map(|from| lines.render(part(from))));
        parts
    }
}

fn csv_alone(bytes: &[u8]) -> usize {
    let (mut reader, mut record) = (csv::Reader::from_reader(bytes), csv::ByteRecord::new());
    let mut records = 0;
    while reader.read_byte_record(&mut record).unwrap_or_else(|error| panic!("{error}")) {
        records += 1;
    }
    records
}

fn pipeline(criterion: &mut Criterion) {
    let terms = Terms::new();
    for size in SIZES {
        let mut bytes = Vec::new();
        inventory::Inventory::of(size).write(&mut bytes).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(csv_alone(&bytes), size);
        let sources = || vec![Source::new("names.csv", bytes.clone())];
        let inventory = terms.read(sources());
        let planned = terms.plan(&inventory);

        let mut group = criterion.benchmark_group("plan");
        group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(size as u64));
        group.bench_function(BenchmarkId::new("the csv crate, parse alone", size), |bencher| {
            bencher.iter(|| csv_alone(&bytes));
        });
        group.bench_function(BenchmarkId::new("read the inventory", size), |bencher| {
            bencher.iter_batched(sources, |sources| terms.read(sources), BatchSize::PerIteration);
        });
        group.bench_function(BenchmarkId::new("group and schedule", size), |bencher| {
            bencher.iter_with_large_drop(|| terms.plan(&inventory));
        });
        group.bench_function(BenchmarkId::new("render the plan file", size), |bencher| {
            bencher.iter_with_large_drop(|| terms.render(&planned));
        });
        group.bench_function(BenchmarkId::new("all of it", size), |bencher| {
            let all = |sources| {
                let inventory = terms.read(sources);
                terms.render(&terms.plan(&inventory))
            };
            bencher.iter_batched(sources, all, BatchSize::PerIteration);
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_secs(1));
    targets = pipeline
}
criterion_main!(benches);

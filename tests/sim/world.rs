//! Scenarios made up in a line or two, and what comes of them.

use std::sync::LazyLock;

use certpace::limits::{Limit, LimitName, Limits, Overrides, Policy};
use certpace::psl::SuffixList;
use certpace::sim::trace::Entry;
use certpace::sim::{Measures, Scenario, Seed, Setup, Surroundings, run, run_traced};
use certpace::time::Span;

pub(super) static SUFFIXES: LazyLock<SuffixList> = LazyLock::new(|| {
    SuffixList::parse("// ===BEGIN ICANN DOMAINS===\ncom\norg\n// ===END ICANN DOMAINS===\n").unwrap()
});

pub(super) fn documented() -> Limits {
    Limits { policy: Policy::built_in("letsencrypt").unwrap(), overrides: Overrides::none() }
}

/// A scenario of `days` days: `inventory` and `more` are TOML.
pub(super) fn scenario(days: u32, inventory: &str, more: &str) -> Scenario {
    let head = format!("title = \"test\"\nstart = \"2026-12-01\"\nduration = \"{days}d\"\n[inventory]\n");
    Scenario::parse(&format!("{head}{inventory}\n{more}")).unwrap_or_else(|error| panic!("{error}"))
}

pub(super) fn set_up_under(scenario: &Scenario, limits: &Limits) -> Setup {
    let around = Surroundings { limits, suffixes: &SUFFIXES, sources: Vec::new() };
    Setup::new(scenario, &around).unwrap_or_else(|error| panic!("{error}"))
}

pub(super) fn set_up(scenario: &Scenario) -> Setup {
    set_up_under(scenario, &documented())
}

pub(super) fn simulate(scenario: &Scenario) -> Measures {
    run(&set_up(scenario), Seed(1))
}

pub(super) fn traced(setup: &Setup, seed: Seed) -> (Measures, Vec<Entry>) {
    let mut entries = Vec::new();
    let measures = run_traced(setup, seed, &mut |entry| entries.push(entry.clone()));
    (measures, entries)
}

/// The names that a step is about.
pub(super) fn names_of<'a>(setup: &'a Setup, entry: &Entry) -> Vec<&'a str> {
    entry.names.iter().map(|name| setup.name(*name)).collect()
}

/// Limits with few tokens, so that small inventories empty buckets: burst and seconds a token of the account and of a domain.
pub(super) fn tight(account: (u64, i64), domain: (u64, i64)) -> Limits {
    let mut limits = documented();
    for (name, (burst, seconds)) in
        [(LimitName::NewOrdersPerAccount, account), (LimitName::CertificatesPerDomain, domain)]
    {
        limits.policy.set_limit(name, Some(Limit::new(burst, 1, Span::from_seconds(seconds)).unwrap()));
    }
    limits
}

/// A client and its other keys.
pub(super) fn client(behaviour: &str, keys: &str) -> String {
    format!("[[client]]\nbehaviour = \"{behaviour}\"\n{keys}\n")
}

/// An event and its other keys.
pub(super) fn event(kind: &str, at: &str, keys: &str) -> String {
    format!("[[event]]\nkind = \"{kind}\"\nat = \"{at}\"\n{keys}\n")
}

//! `certpace test`: how scenarios stand to what they expect.

pub mod github;
pub mod junit;
pub mod text;

use serde::Serialize;

use super::simulation::order;
use super::words::{exact, grouped};
use crate::sim::measures::Json;
use crate::sim::scenario::Expect;
use crate::sim::{Measures, Seed, Value};

/// What came of a test run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct TestReport {
    /// The version of this shape.
    pub certpace_test: u32,
    /// Scenarios of which everything is as expected.
    pub passed: usize,
    /// Scenarios of which something is not.
    pub failed: usize,
    /// Scenarios that could not be run.
    pub broken: usize,
    /// In the order in which they were asked for.
    pub scenarios: Vec<Tested>,
}

/// A scenario, and what came of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Tested {
    /// Its file.
    pub file: String,
    /// Its title; none where it can't be read.
    pub title: Option<String>,
    /// How it ended.
    pub verdict: Verdict,
    /// The seed of the first run; none where it can't be read.
    pub first_seed: Option<Seed>,
    /// How many runs there were, each with the seed after that of the one before.
    pub runs: u64,
    /// In the order of the file.
    pub expectations: Vec<Expected>,
    /// Whether two runs of each seed were the same; none where nobody asked.
    pub determinism: Option<Determinism>,
    /// Why it could not be run.
    pub error: Option<Broken>,
}

/// How a scenario ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Everything is as expected.
    Passed,
    /// Something is not.
    Failed,
    /// It could not be run.
    Broken,
}

/// An expectation, and what came.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Expected {
    /// The line of the scenario's file on which it starts.
    pub line: usize,
    /// The measure's name.
    pub measure: String,
    /// The comparison.
    pub op: &'static str,
    /// What the measure is compared with; spans are seconds, `null` is "never".
    pub expected: Json,
    /// Whether every run is as expected.
    pub holds: bool,
    /// The measure in the first run that is not as expected, else in the first of all.
    pub value: Json,
    /// The seed of that run.
    pub seed: Seed,
    /// The least of all runs.
    pub least: Json,
    /// The most of all runs.
    pub most: Json,
    /// The seeds of all runs that are not as expected.
    pub failed_seeds: Vec<Seed>,
}

/// Whether a scenario's seeds give the same steps each time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Determinism {
    /// How many threads the second run of each seed could use; the first had one.
    pub threads: usize,
    /// The first difference that was found.
    pub difference: Option<Difference>,
}

/// Where two runs of one seed part.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Difference {
    /// The seed.
    pub seed: Seed,
    /// The line of the trace, from 1.
    pub line: u64,
    /// That line of the run with one thread; empty beyond its end.
    pub first: String,
    /// That line of the other run.
    pub second: String,
}

/// Why a scenario could not be run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Broken {
    /// The line of the scenario's file that is to blame, where one is.
    pub line: Option<usize>,
    /// What is wrong, and why: an error and its causes.
    pub messages: Vec<String>,
}

impl TestReport {
    /// The report on these scenarios.
    #[must_use]
    pub fn new(scenarios: Vec<Tested>) -> Self {
        let count = |verdict| scenarios.iter().filter(|tested| tested.verdict == verdict).count();
        let (passed, failed, broken) = (count(Verdict::Passed), count(Verdict::Failed), count(Verdict::Broken));
        Self { certpace_test: 1, passed, failed, broken, scenarios }
    }

    /// How many scenarios there are, and how they ended.
    #[must_use]
    pub fn sum(&self) -> String {
        let all = self.scenarios.len();
        let parts = [(self.passed, "passed"), (self.failed, "failed"), (self.broken, "broken")];
        let told = parts.into_iter().filter(|(count, _)| *count > 0);
        let told: Vec<String> = told.map(|(count, what)| format!("{count} {what}")).collect();
        format!("{all} {}: {}", if all == 1 { "scenario" } else { "scenarios" }, told.join(", "))
    }
}

impl Tested {
    /// One that ran, with the measures of all its runs.
    #[must_use]
    pub fn ran(
        file: String,
        title: String,
        expects: &[Expect],
        runs: &[Measures],
        determinism: Option<Determinism>,
    ) -> Self {
        let expectations: Vec<_> = expects.iter().filter_map(|expect| Expected::new(expect, runs)).collect();
        let same = determinism.as_ref().is_none_or(|determinism| determinism.difference.is_none());
        let good = same && expectations.iter().all(|expected| expected.holds);
        Self {
            file,
            title: Some(title),
            verdict: if good { Verdict::Passed } else { Verdict::Failed },
            first_seed: runs.first().map(|run| run.seed),
            runs: runs.len() as u64,
            expectations,
            determinism,
            error: None,
        }
    }

    /// One that could not be run.
    #[must_use]
    pub const fn broken(file: String, title: Option<String>, error: Broken) -> Self {
        Self {
            file,
            title,
            verdict: Verdict::Broken,
            first_seed: None,
            runs: 0,
            expectations: Vec::new(),
            determinism: None,
            error: Some(error),
        }
    }

    /// The command that repeats the run of a seed.
    fn repeat(&self, seed: Seed) -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
        let file = &self.file;
        if file.chars().all(plain) {
            return format!("certpace simulate {file} --seed {seed}");
        }
        format!("certpace simulate '{}' --seed {seed}", file.replace('\'', r"'\''"))
    }
}

impl Expected {
    /// How the runs stand to an expectation; nothing without any run.
    fn new(expect: &Expect, runs: &[Measures]) -> Option<Self> {
        let outcome = |run: &Measures| (run.seed, run.value(expect.measure));
        let outcomes: Vec<(Seed, Value)> = runs.iter().map(outcome).collect();
        let fails = |(_, value): &&(Seed, Value)| !expect.op.holds(*value, expect.value);
        let (seed, value) = *outcomes.iter().find(fails).or_else(|| outcomes.first())?;
        let failed_seeds: Vec<Seed> = outcomes.iter().filter(fails).map(|(seed, _)| *seed).collect();
        let values = || outcomes.iter().map(|(_, value)| *value);
        Some(Self {
            line: expect.line,
            measure: expect.measure.to_string(),
            op: expect.op.as_str(),
            expected: Json(expect.value),
            holds: failed_seeds.is_empty(),
            value: Json(value),
            seed,
            least: Json(values().min_by_key(|value| order(*value))?),
            most: Json(values().max_by_key(|value| order(*value))?),
            failed_seeds,
        })
    }

    /// What is expected, as in `refusals == 0`.
    fn condition(&self) -> String {
        format!("{} {} {}", self.measure, self.op, told(self.expected.0))
    }

    /// What came: exactly of the first run that fails, else roughly of all runs.
    fn came(&self) -> String {
        let roughly = |value: Json| match value.0 {
            Value::Count(count) => grouped(count),
            Value::Span(_) | Value::Never => value.0.to_string(),
        };
        match (self.holds, self.least == self.most) {
            (false, _) => told(self.value.0),
            (true, true) => roughly(self.value),
            (true, false) => format!("{} to {}", roughly(self.least), roughly(self.most)),
        }
    }

    /// Which of several runs fail, by seed: the first ten of them.
    fn failing(&self, runs: u64) -> Option<String> {
        let failed = self.failed_seeds.len();
        if runs < 2 || failed == 0 {
            return None;
        }
        let mut seeds: Vec<String> = self.failed_seeds.iter().take(10).map(ToString::to_string).collect();
        if failed > seeds.len() {
            seeds.push("…".to_owned());
        }
        Some(format!("{} of {} seeds: {}", grouped(failed as u64), grouped(runs), seeds.join(", ")))
    }
}

/// A value to its last digit: what differs must look different.
fn told(value: Value) -> String {
    match value {
        Value::Count(count) => grouped(count),
        Value::Span(span) => exact(span),
        Value::Never => "never".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_pasted_into_a_shell() {
        let repeat = |file: &str| {
            Tested::broken(file.to_owned(), None, Broken { line: None, messages: Vec::new() }).repeat(Seed(3))
        };
        assert_eq!(repeat("scenarios/a-b.toml"), "certpace simulate scenarios/a-b.toml --seed 3");
        assert_eq!(repeat("it's.toml"), r"certpace simulate 'it'\''s.toml' --seed 3");
    }
}

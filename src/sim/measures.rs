//! What a run measures, as plain data.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::measure::{Measure, Quantile, Value};
use super::random::Seed;
use super::scenario::Expect;
use crate::limits::LimitName;
use crate::time::{Span, Timestamp};

/// What a run measured. Each number's meaning: [`Measure::meaning`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Measures {
    /// The seed it ran with.
    pub seed: Seed,
    /// When it started.
    pub start: Timestamp,
    /// When it ended: as asked for, or when the bound on steps was hit.
    pub end: Timestamp,
    /// By name.
    #[serde(serialize_with = "by_name")]
    pub values: BTreeMap<Measure, Value>,
    /// The bucket of each limit that came closest to empty.
    pub tightest: Vec<Tightest>,
    /// How it went on, in even steps from start to end.
    pub series: Vec<Point>,
}

/// The bucket of a limit that came closest to empty.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Tightest {
    /// The limit.
    pub limit: LimitName,
    /// Whose bucket.
    pub key: String,
    /// How many whole tokens were left.
    pub tokens_left: u64,
}

/// One step of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Point {
    /// When it begins.
    pub at: Timestamp,
    /// Hostnames with a valid certificate at its end.
    pub covered: u64,
    /// Certificates issued in it.
    pub certificates: u64,
    /// Orders refused in it, 503s included.
    pub refusals: u64,
}

/// How a run stands to an expectation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// What was expected.
    pub expect: Expect,
    /// What came.
    pub value: Value,
    /// Whether that is as expected.
    pub holds: bool,
}

impl Measures {
    /// The value of a measure.
    #[must_use]
    pub fn value(&self, measure: Measure) -> Value {
        self.values.get(&measure).copied().unwrap_or(Value::Never)
    }

    /// A measure that counts, as a number.
    #[must_use]
    pub fn count(&self, measure: Measure) -> u64 {
        match self.value(measure) {
            Value::Count(count) => count,
            Value::Span(_) | Value::Never => 0,
        }
    }

    /// How the run stands to each expectation.
    pub fn check(&self, expects: &[Expect]) -> Vec<Outcome> {
        let check = |expect: &Expect| {
            let value = self.value(expect.measure);
            Outcome { expect: *expect, value, holds: expect.op.holds(value, expect.value) }
        };
        expects.iter().map(check).collect()
    }
}

/// Counts as numbers, spans as seconds rounded up, `null` for what it did not come to.
fn by_name<S: Serializer>(values: &BTreeMap<Measure, Value>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(values.iter().map(|(measure, value)| (measure.to_string(), Json(*value))))
}

/// A value as JSON has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Json(pub Value);

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Count(count) => serializer.serialize_u64(count),
            Value::Span(span) => serializer.serialize_i64(seconds_up(span)),
            Value::Never => serializer.serialize_none(),
        }
    }
}

fn seconds_up(span: Span) -> i64 {
    let second = crate::time::NS_PER_S;
    span.nanos().div_euclid(second) + i64::from(span.nanos().rem_euclid(second) > 0)
}

/// The value that so many percent of `count` values are not above, of which `sorted` are those that there are and the others never came.
pub(super) fn quantile(sorted: &[Span], count: usize, quantile: Quantile) -> Value {
    if count == 0 {
        return Value::Span(Span::ZERO);
    }
    let place = (count * quantile.percent()).div_ceil(100).max(1) - 1;
    sorted.get(place).map_or(Value::Never, |span| Value::Span(*span))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_count_those_that_never_came() {
        let spans: Vec<Span> = (1..=50).map(Span::from_seconds).collect();
        assert_eq!(quantile(&spans, 50, Quantile::P50), Value::Span(Span::from_seconds(25)));
        assert_eq!(quantile(&spans, 100, Quantile::P50), Value::Span(Span::from_seconds(50)));
        assert_eq!(quantile(&spans, 100, Quantile::P90), Value::Never);
        assert_eq!(quantile(&[], 0, Quantile::Max), Value::Span(Span::ZERO));
    }
}

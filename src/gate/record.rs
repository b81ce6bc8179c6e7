//! Lines of the ledger's record: what was done, by whom, and to which buckets, so that these can be computed again from it.

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::gcra::Quota;
use crate::ledger::{Bucket, Motion, Move, Step};
use crate::time::{NS_PER_US, Span, Timestamp};

/// A line of the record.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Entry {
    /// What was done, in a word.
    pub what: String,
    /// The permit, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permit: Option<String>,
    /// By whom.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// What else there is to say.
    #[serde(flatten)]
    pub detail: Map<String, Value>,
    /// What it did to buckets, each as [`line_of`] writes it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moves: Vec<String>,
}

impl Entry {
    /// A line that says what was done.
    pub(super) fn new(what: &str, permit: Option<&str>, by: &str) -> Self {
        Self { what: what.to_owned(), permit: permit.map(ToOwned::to_owned), by: by.to_owned(), ..Self::default() }
    }

    /// The same with one thing more to say; `None` says nothing.
    #[must_use]
    pub(super) fn with(mut self, key: &str, value: Option<impl Serialize>) -> Self {
        if let Some(value) = value {
            self.detail.insert(key.to_owned(), serde_json::to_value(value).unwrap_or_default());
        }
        self
    }

    /// The line's text, with what `step` does.
    pub(super) fn text_with(mut self, step: &Step) -> String {
        self.moves = step.moves.iter().map(|made| line_of(&step.buckets[made.bucket], made.motion)).collect();
        super::document::text(&self)
    }

    /// Puts the entry's moves into `step`, which has no buckets yet. Floors are the caller's.
    ///
    /// # Errors
    /// The line that makes no sense.
    pub fn into_step(self, step: &mut Step, floor: impl Fn(&str, Quota) -> Option<Timestamp>) -> Result<(), String> {
        let mut places = FxHashMap::default();
        for line in &self.moves {
            let (name, quota, motion) = read_line(line).ok_or_else(|| line.clone())?;
            let bucket = *places.entry(name).or_insert_with(|| {
                step.buckets.push(Bucket { name: name.to_owned(), quota, floor: floor(name, quota) });
                step.buckets.len() - 1
            });
            step.moves.push(Move { bucket, motion });
        }
        Ok(())
    }
}

/// How many bytes a move's text has at most beside the bucket's name, mostly.
const WITHOUT_NAME: usize = 64;

/// A move as text: what, emission interval in microseconds, burst, when in microseconds, bucket: `charge 36000000 300 - NewOrdersPerAccount 1`.
fn line_of(bucket: &Bucket, motion: Motion) -> String {
    let (what, at) = match motion {
        Motion::Hold { asked: true } => ("hold", None),
        Motion::Hold { asked: false } => ("hold-unasked", None),
        Motion::Spend { asked: true } => ("spend", None),
        Motion::Spend { asked: false } => ("spend-unasked", None),
        Motion::Release { asked: true } => ("release", None),
        Motion::Release { asked: false } => ("release-unasked", None),
        Motion::Charge { at } => ("charge", at),
        Motion::Try => ("try", None),
        Motion::Raise { until } => ("raise", Some(until)),
    };
    let emission = bucket.quota.emission().nanos() / NS_PER_US;
    let mut numbers = itoa::Buffer::new();
    let mut line = String::with_capacity(WITHOUT_NAME + bucket.name.len());
    line.push_str(what);
    for number in [Some(emission), Some(bucket.quota.burst().into()), at.map(|at| at.unix_micros())] {
        line.push(' ');
        line.push_str(number.map_or("-", |number| numbers.format(number)));
    }
    line.push(' ');
    line.push_str(&bucket.name);
    line
}

fn read_line(line: &str) -> Option<(&str, Quota, Motion)> {
    let mut parts = line.splitn(5, ' ');
    let mut next = || parts.next();
    let (what, emission, burst, at, name) = (next()?, next()?, next()?, next()?, next()?);
    let at = if at == "-" { None } else { Some(Timestamp::from_unix_micros(at.parse().ok()?)) };
    let motion = match what {
        "hold" => Motion::Hold { asked: true },
        "hold-unasked" => Motion::Hold { asked: false },
        "spend" => Motion::Spend { asked: true },
        "spend-unasked" => Motion::Spend { asked: false },
        "release" => Motion::Release { asked: true },
        "release-unasked" => Motion::Release { asked: false },
        "charge" => Motion::Charge { at },
        "try" => Motion::Try,
        "raise" => Motion::Raise { until: at? },
        _ => return None,
    };
    let emission = Span::from_nanos(emission.parse::<i64>().ok()?.checked_mul(NS_PER_US)?);
    Some((name, Quota::new(burst.parse().ok()?, 1, emission).ok()?, motion))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Mark;

    #[test]
    fn what_was_done_can_be_done_again() {
        let mut step = Step::new("r".to_owned(), Mark::default());
        let quota = Quota::new(300, 300, Span::from_hours(3)).unwrap();
        let name = "NewOrdersPerAccount https://ca/acct/1".to_owned();
        step.buckets.push(Bucket { name, quota, floor: None });
        let at = Timestamp::from_unix_seconds(1_800_000_000);
        let mut motions = vec![Motion::Charge { at: None }, Motion::Charge { at: Some(at) }, Motion::Try];
        motions.push(Motion::Raise { until: at });
        for asked in [true, false] {
            motions.extend([Motion::Hold { asked }, Motion::Spend { asked }, Motion::Release { asked }]);
        }
        step.moves = motions.into_iter().map(|motion| Move { bucket: 0, motion }).collect();
        let text = Entry::new("test", Some("p"), "me").with("names", Some(["a"])).text_with(&step);
        let entry: Entry = serde_json::from_str(&text).unwrap();
        assert_eq!(entry.detail["names"][0], "a");
        let mut again = Step::new("r".to_owned(), Mark::default());
        entry.into_step(&mut again, |_, _| None).unwrap();
        assert_eq!((again.buckets, again.moves), (step.buckets, step.moves));
    }
}

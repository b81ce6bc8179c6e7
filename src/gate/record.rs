//! Lines of the ledger's record: what was done, by whom, and to which buckets, so that these can be computed again from it.
//!
//! A line is an [`Entry`] in JSON, which begins by saying what was done; or, of a reservation, the permit as it was reserved
//! ([`Permitted`]), which says all that an entry would. So the permit's document and the line are one text, and a ledger far away is sent
//! it once.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use rustc_hash::FxHashMap;
use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::permitted::Permitted;
use crate::gcra::Quota;
use crate::ledger::{Bucket, Motion, Move, Step};
use crate::rules::Exemption;
use crate::time::{NS_PER_US, Span, Timestamp};

/// The word for a reservation.
const RESERVE: &str = "reserve";

/// What a line of the record says.
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
    /// What it did to buckets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moves: Vec<Done>,
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
        let done = |made: &Move| {
            let Bucket { name, quota, .. } = &step.buckets[made.bucket];
            Done { bucket: name.clone(), quota: *quota, motion: made.motion }
        };
        self.moves = step.moves.iter().map(done).collect();
        super::document::text(&self)
    }

    /// What a line of the record says.
    ///
    /// # Errors
    /// Why it can't be read.
    pub fn read(line: &str) -> Result<Self, String> {
        if !is_permit(line).map_err(|error| error.to_string())? {
            return serde_json::from_str(line).map_err(|error| error.to_string());
        }
        let permit: Permitted = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let moves = permit.reservation().map_err(|error| error.to_string())?;
        let exemption = permit.claim.exemption();
        let entry = Self::new(RESERVE, Some(&permit.permit), &permit.holder)
            .with("account", Some(&permit.account))
            .with("names", Some(&permit.names))
            .with("exemption", Some(exemption).filter(|exemption| *exemption != Exemption::None));
        Ok(Self { moves, ..entry })
    }

    /// A line of the record as people are shown it: an object with sequence number and time, that says what was done.
    #[must_use]
    pub fn shown(sequence: u64, at: Timestamp, line: &str) -> String {
        let what = if is_permit(line).unwrap_or(false) { format!("\"what\":\"{RESERVE}\",") } else { String::new() };
        let rest = line.strip_prefix('{').unwrap_or(line);
        format!("{{\"sequence\":{sequence},\"at\":\"{at}\",{what}{rest}")
    }

    /// Puts the entry's moves into `step`, which has no buckets yet. Floors are the caller's.
    pub fn into_step(self, step: &mut Step, floor: impl Fn(&str, Quota) -> Option<Timestamp>) {
        let mut places = FxHashMap::default();
        for Done { bucket: name, quota, motion } in self.moves {
            let bucket = *places.entry(name).or_insert_with_key(|name| {
                step.buckets.push(Bucket { name: name.clone(), quota, floor: floor(name, quota) });
                step.buckets.len() - 1
            });
            step.moves.push(Move { bucket, motion });
        }
    }
}

/// Whether a line is a permit as it was reserved: an entry says what was done, and a permit has no such key.
fn is_permit(line: &str) -> serde_json::Result<bool> {
    #[derive(Deserialize)]
    struct Says {
        what: Option<IgnoredAny>,
    }
    serde_json::from_str(line).map(|Says { what }| what.is_none())
}

/// Something that was done to a bucket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Done {
    /// The bucket's name.
    pub bucket: String,
    /// How much it held and how fast it filled then.
    pub quota: Quota,
    /// What was done.
    pub motion: Motion,
}

/// What, emission interval in microseconds, burst, when in microseconds, bucket: `charge 36000000 300 - NewOrdersPerAccount 1`.
impl Display for Done {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let (what, at) = match self.motion {
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
        let mut numbers = itoa::Buffer::new();
        formatter.write_str(what)?;
        let emission = self.quota.emission().nanos() / NS_PER_US;
        for number in [Some(emission), Some(self.quota.burst().into()), at.map(|at| at.unix_micros())] {
            formatter.write_str(" ")?;
            formatter.write_str(number.map_or("-", |number| numbers.format(number)))?;
        }
        formatter.write_str(" ")?;
        formatter.write_str(&self.bucket)
    }
}

impl FromStr for Done {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        Self::read(line).ok_or_else(|| format!("`{line}` is nothing that can be done to a bucket"))
    }
}

impl Done {
    fn read(line: &str) -> Option<Self> {
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
        Some(Self { bucket: name.to_owned(), quota: quota_from(emission, burst)?, motion })
    }
}

/// A quota from the texts of its emission interval in microseconds and its burst.
pub(super) fn quota_from(emission: &str, burst: &str) -> Option<Quota> {
    let emission = Span::from_nanos(emission.parse::<i64>().ok()?.checked_mul(NS_PER_US)?);
    Quota::new(burst.parse().ok()?, 1, emission).ok()
}

impl Serialize for Done {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Done {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <std::borrow::Cow<'_, str>>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
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
        let entry = Entry::read(&text).unwrap();
        assert_eq!(entry.detail["names"][0], "a");
        let mut again = Step::new("r".to_owned(), Mark::default());
        entry.into_step(&mut again, |_, _| None);
        assert_eq!((again.buckets, again.moves), (step.buckets, step.moves));
    }

    const PERMIT: &str = r#"{"permit":"p","account":"1","names":["a.example"],"holder":"me","claim":"none","sending":"silent","life":{"state":"reserved","reserved-at":"2026-01-01T00:00:00Z","lease-end":"2026-01-01T00:30:00Z"},"stakes":["order 36000000 300","failures 0 720000000 5","unasked set 120960000000 5"]}"#;

    #[test]
    fn a_permit_is_a_reservation() {
        let entry = Entry::read(PERMIT).unwrap();
        let moves = [
            "hold 36000000 300 - NewOrdersPerAccount 1",
            "hold 720000000 5 - FailedAuthorizationsPerDomainPerAccount 1 a.example",
            "hold-unasked 120960000000 5 - CertificatesPerFQDNSet b8e7453371a024daae06f3164492c0afcde134c7747c155b3d83c20de341e855",
        ];
        assert_eq!(entry.moves.iter().map(Done::to_string).collect::<Vec<_>>(), moves);
        assert_eq!((entry.what.as_str(), entry.permit.as_deref(), entry.by.as_str()), ("reserve", Some("p"), "me"));
        assert_eq!(serde_json::to_string(&entry.detail).unwrap(), r#"{"account":"1","names":["a.example"]}"#);
    }

    /// What is said of a permit that has `wrong` in place of `right`.
    fn damaged(right: &str, wrong: &str) -> String {
        assert!(PERMIT.contains(right));
        Entry::read(&PERMIT.replace(right, wrong)).unwrap_err()
    }

    #[test]
    fn a_permit_that_is_damaged_is_told() {
        assert!(
            damaged("failures 0", "failures 1")
                .contains("`failures 1 720000000 5` is at stake, and it has no such name")
        );
        assert!(damaged("order 36000000 300", "order").contains("`order` is no stake"));
        assert!(damaged("order 36000000 300", "order 36000000 0").contains("`order 36000000 0` is no stake"));
        assert!(damaged("\"claim\":\"none\",", "").contains("missing field `claim`"));
        assert!(damaged("]}", "]").contains("EOF"));
        assert!(damaged(PERMIT, "{}").contains("missing field `permit`"));
    }

    #[test]
    fn people_are_shown_what_was_done() {
        let check = |line, expected| assert_eq!(Entry::shown(7, Timestamp::default(), line), expected);
        check(
            r#"{"what":"sent","permit":"p"}"#,
            r#"{"sequence":7,"at":"1970-01-01T00:00:00Z","what":"sent","permit":"p"}"#,
        );
        check(r#"{"permit":"p"}"#, r#"{"sequence":7,"at":"1970-01-01T00:00:00Z","what":"reserve","permit":"p"}"#);
    }
}

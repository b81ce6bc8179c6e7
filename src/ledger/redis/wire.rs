//! A step as the arguments of decide.lua, and what that answers as a reply.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use redis::{Cmd, Value};

use super::Keys;
use crate::clock::Timescale;
use crate::ledger::page::whole;
use crate::ledger::{
    Ask, Document, LedgerError, Mark, Motion, Move, Outcome, Reply, SCHEMA, Step, Version, Versions, Write,
};
use crate::time::{NS_PER_US, Timestamp};

/// The last instant of which a double still holds the microseconds: in the year 2255.
const LAST: i64 = (1 << 53) - 1;

/// A whole number of microseconds that the script computes with exactly.
fn micros(at: Timestamp) -> i64 {
    whole(at).unix_micros().clamp(-LAST, LAST)
}

/// A JSON array that is filled value by value.
#[derive(Default)]
struct Array(String);

impl Array {
    /// One value more; what it is displayed as has to be JSON.
    fn add(&mut self, value: impl Display) -> &mut Self {
        self.0.push(if self.0.is_empty() { '[' } else { ',' });
        // Writing to a string can't fail.
        _ = write!(self.0, "{value}");
        self
    }

    /// One instant more, or `false`.
    fn add_instant(&mut self, at: Option<Timestamp>) {
        match at {
            Some(at) => self.add(micros(at)),
            None => self.add(false),
        };
    }

    fn text(mut self) -> String {
        self.0.push(']');
        self.0
    }
}

/// `EVALSHA` of the script for that step.
pub(super) fn command(sha: &str, keys: &Keys, step: &Step, timescale: Timescale) -> Cmd {
    let (mut values, mut texts) = (Array::default(), Vec::new());
    let (from, to, speed) = timescale.in_micros();
    values.add(SCHEMA).add(from).add(to).add(speed).add(step.known.epoch).add(step.known.sequence);
    values.add(micros(step.valid.0)).add(micros(step.valid.1));
    values.add(u8::from(step.settled)).add(u8::from(step.opens_epoch)).add(step.expect.len());
    for (name, version) in &step.expect {
        texts.push(name.as_str());
        match version {
            Version::Unknown => values.add(-1),
            Version::Absent => values.add(0),
            Version::Written(sequence) => values.add(*sequence),
        };
    }
    buckets(&mut values, &mut texts, step);
    values.add(step.asks.len());
    for Ask { bucket, burst, tokens, asked, beside } in &step.asks {
        let usable = step.buckets[*bucket].quota.with_burst_at_most(*burst).burst();
        values
            .add(bucket + 1)
            .add(usable)
            .add(*tokens)
            .add(u8::from(*asked))
            .add(beside.map_or(0, |beside| beside + 1));
    }
    values.add(step.moves.len());
    for Move { bucket, motion } in &step.moves {
        values.add(bucket + 1);
        match *motion {
            Motion::Hold { asked } => _ = values.add("\"hold\"").add(u8::from(asked)),
            Motion::Spend { asked } => _ = values.add("\"spend\"").add(u8::from(asked)),
            Motion::Release { asked } => _ = values.add("\"release\"").add(u8::from(asked)),
            Motion::Charge { at } => values.add("\"charge\"").add_instant(at),
            Motion::Try => _ = values.add("\"try\"").add(false),
            Motion::Raise { until } => values.add("\"raise\"").add_instant(Some(until)),
        }
    }
    writes(&mut values, &mut texts, step);
    if let Some(record) = &step.record {
        texts.extend([step.realm.as_str(), record]);
    }
    let mut cmd = redis::cmd("EVALSHA");
    let of = |kind| keys.of(kind, &step.realm);
    cmd.arg(sha).arg(5).arg(&keys.marker).arg(&keys.record).arg(of("cells")).arg(of("documents")).arg(of("leases"));
    cmd.arg(values.text()).arg(texts);
    cmd
}

/// The cells, each once, and the buckets by the places of their cells.
fn buckets<'a>(values: &mut Array, texts: &mut Vec<&'a str>, step: &'a Step) {
    let before = texts.len();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for bucket in &step.buckets {
        places.entry(&bucket.name).or_insert_with(|| {
            texts.push(&bucket.name);
            texts.len() - before
        });
    }
    values.add(places.len()).add(step.buckets.len());
    for bucket in &step.buckets {
        let quota = bucket.quota.in_micros();
        values.add(places[bucket.name.as_str()]).add(quota.emission().nanos() / NS_PER_US).add(quota.burst());
        values.add_instant(bucket.floor);
    }
}

/// What is written, each document once: of two writes the later holds. And whether there is a line of the record.
fn writes<'a>(values: &mut Array, texts: &mut Vec<&'a str>, step: &'a Step) {
    let last: BTreeMap<&str, &Write> = step.writes.iter().map(|write| (write.name.as_str(), write)).collect();
    values.add(last.len()).add(u8::from(step.record.is_some()));
    for (name, write) in last {
        texts.extend([name, write.body.as_deref().unwrap_or_default()]);
        values.add(u8::from(write.body.is_some())).add_instant(write.lease.filter(|_| write.body.is_some()));
    }
}

/// What the script answered to that step. `url` is for errors.
pub(super) fn reply(step: &Step, value: Value, url: &str) -> Result<Reply, LedgerError> {
    let unexpected =
        || LedgerError::Row { what: "script".to_owned(), reason: "it gave an unexpected answer".to_owned() };
    let Value::Array(values) = value else { return Err(unexpected()) };
    let mut values = Values(values.into_iter());
    let code = values.number().ok_or_else(unexpected)?;
    match code {
        4 => return Err(LedgerError::NotInitialised { url: url.to_owned() }),
        5 => {
            let found = values.number().ok_or_else(unexpected)?;
            return Err(Versions { schema: found, writable_from: found }.refused(url.to_owned()));
        }
        6 => {
            let (what, row) = (values.text().ok_or_else(unexpected)?, values.text().ok_or_else(unexpected)?);
            return Err(LedgerError::Row { what, reason: format!("it is `{row}`") });
        }
        _ => {}
    }
    let mut read = || {
        let at = Timestamp::from_unix_micros(values.number()?);
        let mark = Mark { epoch: values.number()?, sequence: values.number()? };
        let outcome = outcome(code, step, &mut values)?;
        Some(Reply { at, mark, outcome })
    };
    read().ok_or_else(unexpected)
}

fn outcome(code: u8, step: &Step, values: &mut Values) -> Option<Outcome> {
    Some(match code {
        0 => Outcome::Done { denied: values.rest(Values::number)? },
        1 => Outcome::Blocked(
            values.rest(|values| Some((values.number()?, Timestamp::from_unix_micros(values.number()?))))?,
        ),
        2 => {
            let mut documents = Vec::new();
            for _ in 0..values.number::<usize>()? {
                let name = step.expect.get(values.number::<usize>()?)?.0.clone();
                let version = match values.number()? {
                    0 => Version::Absent,
                    sequence => Version::Written(sequence),
                };
                documents.push(Document { name, version, body: values.text()? });
            }
            let mut overdue = values.rest(Values::text)?;
            overdue.sort_unstable();
            Outcome::Moved { documents, overdue }
        }
        3 => Outcome::WentBack,
        _ => return None,
    })
}

/// The values of an answer, one after the other.
struct Values(std::vec::IntoIter<Value>);

impl Values {
    fn number<T: TryFrom<i64>>(&mut self) -> Option<T> {
        match self.0.next()? {
            Value::Int(number) => T::try_from(number).ok(),
            _ => None,
        }
    }

    fn text(&mut self) -> Option<String> {
        match self.0.next()? {
            Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// What `read` makes of all that is left.
    fn rest<T>(&mut self, read: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut all = Vec::new();
        while self.0.len() > 0 {
            all.push(read(self)?);
        }
        Some(all)
    }
}

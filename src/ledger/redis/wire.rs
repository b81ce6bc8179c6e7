//! A step as the arguments of decide.lua, and what that answers as a reply.

use std::collections::BTreeMap;

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

fn optional(cmd: &mut Cmd, at: Option<Timestamp>) {
    match at {
        Some(at) => cmd.arg(micros(at)),
        None => cmd.arg(""),
    };
}

/// `EVALSHA` of the script for that step.
pub(super) fn command(sha: &str, keys: &Keys, step: &Step, timescale: Timescale) -> Cmd {
    let mut cmd = redis::cmd("EVALSHA");
    let of = |kind| keys.of(kind, &step.realm);
    cmd.arg(sha).arg(5).arg(&keys.marker).arg(&keys.record).arg(of("cells")).arg(of("documents")).arg(of("leases"));
    cmd.arg(SCHEMA);
    let (from, to, speed) = timescale.in_micros();
    cmd.arg(from).arg(to).arg(speed);
    cmd.arg(step.known.epoch).arg(step.known.sequence);
    cmd.arg(micros(step.valid.0)).arg(micros(step.valid.1));
    cmd.arg(u8::from(step.settled)).arg(u8::from(step.opens_epoch));
    cmd.arg(step.expect.len());
    step.expect.iter().for_each(|(name, _)| _ = cmd.arg(name));
    for (_, version) in &step.expect {
        match version {
            Version::Unknown => cmd.arg("?"),
            Version::Absent => cmd.arg(0),
            Version::Written(sequence) => cmd.arg(*sequence),
        };
    }
    buckets(&mut cmd, step);
    cmd.arg(step.asks.len());
    for Ask { bucket, burst, tokens, asked, beside } in &step.asks {
        let usable = step.buckets[*bucket].quota.with_burst_at_most(*burst).burst();
        cmd.arg(bucket + 1).arg(usable).arg(*tokens).arg(u8::from(*asked)).arg(beside.map_or(0, |beside| beside + 1));
    }
    cmd.arg(step.moves.len());
    for Move { bucket, motion } in &step.moves {
        cmd.arg(bucket + 1);
        match *motion {
            Motion::Hold { asked } => cmd.arg("hold").arg(u8::from(asked)),
            Motion::Spend { asked } => cmd.arg("spend").arg(u8::from(asked)),
            Motion::Release { asked } => cmd.arg("release").arg(u8::from(asked)),
            Motion::Charge { at: None } => cmd.arg("charge").arg(""),
            Motion::Charge { at: Some(at) } => cmd.arg("charge").arg(micros(at)),
            Motion::Try => cmd.arg("try").arg(""),
            Motion::Raise { until } => cmd.arg("raise").arg(micros(until)),
        };
    }
    writes(&mut cmd, step);
    cmd.arg(u8::from(step.record.is_some()));
    if let Some(record) = &step.record {
        cmd.arg(&step.realm).arg(record);
    }
    cmd
}

/// The cells, each once, and the buckets by the places of their cells.
fn buckets(cmd: &mut Cmd, step: &Step) {
    let mut cells: Vec<&str> = Vec::with_capacity(step.buckets.len());
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for bucket in &step.buckets {
        places.entry(&bucket.name).or_insert_with(|| {
            cells.push(&bucket.name);
            cells.len()
        });
    }
    cmd.arg(cells.len());
    cells.iter().for_each(|name| _ = cmd.arg(*name));
    cmd.arg(step.buckets.len());
    for bucket in &step.buckets {
        let quota = bucket.quota.in_micros();
        cmd.arg(places[bucket.name.as_str()]).arg(quota.emission().nanos() / NS_PER_US).arg(quota.burst());
        optional(cmd, bucket.floor);
    }
}

/// What is written, each document once: of two writes the later holds.
fn writes(cmd: &mut Cmd, step: &Step) {
    let last: BTreeMap<&str, &Write> = step.writes.iter().map(|write| (write.name.as_str(), write)).collect();
    cmd.arg(last.len());
    for (name, write) in last {
        cmd.arg(name).arg(u8::from(write.body.is_some())).arg(write.body.as_deref().unwrap_or_default());
        optional(cmd, write.lease.filter(|_| write.body.is_some()));
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

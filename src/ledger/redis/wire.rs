//! A step as the arguments of decide.lua, and what that answers as a reply.

use std::collections::BTreeMap;
use std::io;

use redis::{Cmd, Value};
use rmp::encode;
use rustc_hash::FxHashMap;

use super::Keys;
use crate::clock::Timescale;
use crate::ledger::page::whole;
use crate::ledger::{
    Ask, Bucket, Document, LedgerError, Mark, Motion, Move, Outcome, Reply, SCHEMA, Step, Version, Versions, Write,
};
use crate::time::{NS_PER_US, Timestamp};

/// The last instant of which a double still holds the microseconds: in the year 2255.
const LAST: i64 = (1 << 53) - 1;

/// A whole number of microseconds that the script computes with exactly.
fn micros(at: Timestamp) -> i64 {
    whole(at).unix_micros().clamp(-LAST, LAST)
}

/// Arrays of numbers and words in MessagePack, filled value by value.
struct Packed(Vec<u8>);

impl Packed {
    /// Only memory can refuse to be written to, and it doesn't.
    fn put(&mut self, write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> &mut Self {
        write(&mut self.0).unwrap_or_else(|error| unreachable!("a vector takes all bytes: {error}"));
        self
    }

    /// What follows is an array of so many values.
    fn array(&mut self, length: usize) -> &mut Self {
        let length = u32::try_from(length).unwrap_or_else(|_| unreachable!("a step is no four billion values long"));
        self.put(|bytes| encode::write_array_len(bytes, length).map(drop).map_err(io::Error::from))
    }

    /// One number more.
    fn add(&mut self, number: impl TryInto<i64>) -> &mut Self {
        // More than the script could compute with.
        let number = number.try_into().unwrap_or(i64::MAX);
        self.put(|bytes| encode::write_sint(bytes, number).map(drop).map_err(io::Error::from))
    }

    /// One word more.
    fn add_word(&mut self, word: &str) -> &mut Self {
        self.put(|bytes| encode::write_str(bytes, word).map_err(io::Error::from))
    }

    /// One number more, or `false` where there is none.
    fn add_if(&mut self, number: Option<impl TryInto<i64>>) -> &mut Self {
        match number {
            Some(number) => self.add(number),
            None => self.put(|bytes| encode::write_bool(bytes, false)),
        }
    }
}

/// How many values decide.lua has of a bucket. It knows each by the place of the first.
const OF_BUCKET: usize = 4;

/// By what decide.lua knows the bucket at that place of the step.
const fn known_as(bucket: usize) -> usize {
    OF_BUCKET * bucket + 1
}

/// `EVALSHA` of the script for that step.
pub(super) fn command(sha: &str, keys: &Keys, step: &Step, timescale: Timescale) -> Cmd {
    let mut values = Packed(Vec::with_capacity(512));
    let (from, to, speed) = timescale.in_micros();
    let (cells, places) = cells(step);
    values.array(6);
    values.array(12).add(SCHEMA).add(from).add(to).add(speed).add(step.known.epoch).add(step.known.sequence);
    values.add(micros(step.valid.0)).add(micros(step.valid.1));
    values.add(u8::from(step.settled)).add(u8::from(step.opens_epoch));
    values.add(cells.len()).add(u8::from(step.record.is_some()));
    values.array(step.expect.len());
    for (_, version) in &step.expect {
        match version {
            Version::Unknown => values.add(-1),
            Version::Absent => values.add(0),
            Version::Written(sequence) => values.add(*sequence),
        };
    }
    values.array(OF_BUCKET * step.buckets.len());
    for (bucket, place) in step.buckets.iter().zip(places) {
        let quota = bucket.quota.in_micros();
        values.add(place + 1).add(quota.emission().nanos() / NS_PER_US).add(quota.burst());
        values.add_if(bucket.floor.map(micros));
    }
    values.array(5 * step.asks.len());
    for Ask { bucket, burst, tokens, asked, beside } in &step.asks {
        let usable = step.buckets[*bucket].quota.with_burst_at_most(*burst).burst();
        values.add(known_as(*bucket)).add(usable).add(*tokens).add(u8::from(*asked)).add_if(beside.map(known_as));
    }
    moves(values.array(3 * step.moves.len()), step);
    // Each document once: of two writes the later holds.
    let last: BTreeMap<&str, &Write> = step.writes.iter().map(|write| (write.name.as_str(), write)).collect();
    let expected = |name: &str| step.expect.iter().position(|(expected, _)| expected == name);
    values.array(2 * last.len());
    for (name, write) in &last {
        values.add(u8::from(write.body.is_some())).add_if(expected(name).map(|place| place + 1));
    }

    let mut cmd = redis::cmd("EVALSHA");
    let of = |kind| keys.of(kind, &step.realm);
    cmd.arg(sha).arg(5).arg(&keys.marker).arg(&keys.record).arg(of("cells")).arg(of("documents")).arg(of("leases"));
    cmd.arg(values.0);
    step.expect.iter().for_each(|(name, _)| _ = cmd.arg(name));
    cmd.arg(cells);
    if let Some(record) = &step.record {
        cmd.arg(&step.realm).arg(record);
    }
    for (name, write) in last {
        if expected(name).is_none() {
            cmd.arg(name);
        }
        cmd.arg(write.body.as_deref().unwrap_or_default());
        match write.lease.filter(|_| write.body.is_some()) {
            Some(lease) => cmd.arg(micros(lease)),
            None => cmd.arg(""),
        };
    }
    cmd
}

/// The names of the step's cells, each once, and for each bucket the place of its cell.
fn cells(step: &Step) -> (Vec<&str>, Vec<usize>) {
    let (mut names, mut known) = (Vec::with_capacity(step.buckets.len()), FxHashMap::default());
    let mut places = Vec::with_capacity(step.buckets.len());
    for Bucket { name, .. } in &step.buckets {
        places.push(*known.entry(name.as_str()).or_insert_with(|| {
            names.push(name.as_str());
            names.len() - 1
        }));
    }
    (names, places)
}

fn moves(values: &mut Packed, step: &Step) {
    for Move { bucket, motion } in &step.moves {
        values.add(known_as(*bucket));
        match *motion {
            Motion::Hold { asked } => values.add_word("hold").add(u8::from(asked)),
            Motion::Spend { asked } => values.add_word("spend").add(u8::from(asked)),
            Motion::Release { asked } => values.add_word("release").add(u8::from(asked)),
            Motion::Charge { at } => values.add_word("charge").add_if(at.map(micros)),
            Motion::Try => values.add_word("try").add_if(None::<i64>),
            Motion::Raise { until } => values.add_word("raise").add(micros(until)),
        };
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

//! A step as the arguments of decide.lua, and what that answers as a reply.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;

use redis::{Cmd, Value};
use rmp::encode;
use rustc_hash::{FxBuildHasher, FxHashMap};

use super::{Keys, rows};
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

/// Numbers in MessagePack, one after the other.
struct Packed(Vec<u8>);

impl Packed {
    /// Only memory can refuse to be written to, and it doesn't.
    fn put(&mut self, write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> &mut Self {
        write(&mut self.0).unwrap_or_else(|error| unreachable!("a vector takes all bytes: {error}"));
        self
    }

    /// One number more.
    fn add(&mut self, number: impl TryInto<i64>) -> &mut Self {
        // More than the script could compute with.
        let number = number.try_into().unwrap_or(i64::MAX);
        self.put(|bytes| encode::write_sint(bytes, number).map(drop).map_err(io::Error::from))
    }

    /// One `true` or `false` more.
    fn add_bool(&mut self, value: bool) -> &mut Self {
        self.put(|bytes| encode::write_bool(bytes, value))
    }

    /// One number more, or `false` where there is none.
    fn add_if(&mut self, number: Option<impl TryInto<i64>>) -> &mut Self {
        match number {
            Some(number) => self.add(number),
            None => self.add_bool(false),
        }
    }
}

/// How many arguments decide.lua has before the names: numbers and realm.
const OF_TEXTS: usize = 2;
/// How many values decide.lua has of a step beside those of its parts.
const OF_STEP: usize = 16;
/// How many it has of a bucket, an ask and a move.
const OF_BUCKET: usize = 4;
const OF_ASK: usize = 5;
const OF_MOVE: usize = 3;

/// Makes `cmd` the `EVALSHA` of the script for that step.
pub(super) fn command(cmd: &mut Cmd, sha: &str, keys: &Keys, step: &Step, timescale: Timescale) {
    // Each document once: of two writes the later holds.
    let last: BTreeMap<&str, &Write> = step.writes.iter().map(|write| (write.name.as_str(), write)).collect();
    let expected: FxHashMap<&str, usize> =
        (0..).zip(&step.expect).map(|(place, (name, _))| (name.as_str(), place)).collect();
    let (cells, places) = cells(step);
    let (texts, said) = texts(step, &last, &expected, OF_TEXTS + step.expect.len() + cells.len());

    let mut values = Packed(Vec::with_capacity(512));
    let (from, to, speed) = timescale.in_micros();
    values.add(SCHEMA).add(from).add(to).add(speed).add(step.known.epoch).add(step.known.sequence);
    values.add(micros(step.valid.0)).add(micros(step.valid.1));
    values.add_bool(step.settled).add_bool(step.opens_epoch).add_if(said);
    // Where the parts begin; Lua counts from 1.
    let buckets_at = 1 + OF_STEP + step.expect.len();
    let asks_at = buckets_at + OF_BUCKET * step.buckets.len();
    let moves_at = asks_at + OF_ASK * step.asks.len();
    let writes_at = moves_at + OF_MOVE * step.moves.len();
    values.add(cells.len()).add(step.expect.len()).add(asks_at).add(moves_at).add(writes_at);
    for (_, version) in &step.expect {
        match version {
            Version::Unknown => values.add(-1),
            Version::Absent => values.add(0),
            Version::Written(sequence) => values.add(*sequence),
        };
    }
    for (bucket, place) in step.buckets.iter().zip(places) {
        let quota = bucket.quota.in_micros();
        values.add(place + 1).add(quota.emission().nanos() / NS_PER_US).add(quota.burst());
        values.add_if(bucket.floor.map(micros));
    }
    let known_as = |bucket: usize| buckets_at + OF_BUCKET * bucket;
    for Ask { bucket, burst, tokens, asked, beside } in &step.asks {
        let usable = step.buckets[*bucket].quota.with_burst_at_most(*burst).burst();
        values.add(known_as(*bucket)).add(usable).add(*tokens).add_bool(*asked).add_if(beside.map(known_as));
    }
    for Move { bucket, motion } in &step.moves {
        add_motion(values.add(known_as(*bucket)), *motion);
    }
    for (name, write) in &last {
        let lease = write.lease.filter(|_| write.body.is_some());
        let among = expected.get(name).map(|place| place + 1);
        values.add_bool(write.body.is_some()).add_if(among).add_if(lease.map(micros));
    }

    cmd.clear();
    cmd.arg("EVALSHA").arg(sha).arg(4).arg(&keys.marker).arg(&keys.record);
    cmd.arg(keys.of("rows", &step.realm)).arg(keys.of("leases", &step.realm));
    cmd.arg(values.0).arg(&step.realm);
    step.expect.iter().for_each(|(name, _)| _ = cmd.arg(rows::document_field(name)));
    cells.iter().for_each(|name| _ = cmd.arg(rows::cell_field(name)));
    cmd.arg(texts);
}

/// The texts that end the arguments, behind `before` others: names of documents that the caller need not know, bodies, and the record's line.
/// Which argument, from 1, that line is: a body where it says the same.
fn texts<'a>(
    step: &'a Step,
    writes: &BTreeMap<&str, &'a Write>,
    expected: &FxHashMap<&str, usize>,
    before: usize,
) -> (Vec<Cow<'a, str>>, Option<usize>) {
    let (mut texts, mut said) = (Vec::with_capacity(2 * writes.len() + 1), None);
    for (name, write) in writes {
        if !expected.contains_key(name) {
            texts.push(rows::document_field(name).into());
        }
        if let Some(body) = &write.body {
            texts.push(body.into());
            if write.body == step.record {
                said = Some(before + texts.len());
            }
        }
    }
    if let (Some(record), None) = (&step.record, said) {
        texts.push(record.into());
        said = Some(before + texts.len());
    }
    (texts, said)
}

/// The names of the step's cells, each once, and for each bucket the place of its cell.
fn cells(step: &Step) -> (Vec<&str>, Vec<usize>) {
    let count = step.buckets.len();
    let (mut names, mut places) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let mut known = FxHashMap::with_capacity_and_hasher(count, FxBuildHasher);
    for Bucket { name, .. } in &step.buckets {
        places.push(*known.entry(name.as_str()).or_insert_with(|| {
            names.push(name.as_str());
            names.len() - 1
        }));
    }
    (names, places)
}

/// By its number in decide.lua, and what belongs to it.
fn add_motion(values: &mut Packed, motion: Motion) {
    match motion {
        Motion::Hold { asked } => values.add(0).add(u8::from(asked)),
        Motion::Spend { asked } => values.add(1).add(u8::from(asked)),
        Motion::Release { asked } => values.add(2).add(u8::from(asked)),
        Motion::Charge { at } => values.add(3).add_if(at.map(micros)),
        Motion::Try => values.add(4).add_if(None::<i64>),
        Motion::Raise { until } => values.add(5).add(micros(until)),
    };
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
            let (field, row) = (values.text().ok_or_else(unexpected)?, values.text().ok_or_else(unexpected)?);
            return Err(rows::senseless(&field, &row));
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
            let name = |values: &mut Values| Some(rows::document_of(&values.text()?)?.to_owned());
            let mut overdue = values.rest(name)?;
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

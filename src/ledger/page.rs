//! The rows that steps touch, in memory: a store loads them, lets [`Page::carry_out`] decide, and writes back what changed. This is the
//! contract's one definition in Rust; the script for Redis is held equal to it by the tests.

use std::collections::{BTreeMap, BTreeSet};

use super::step::{Ask, Bucket, Document, Mark, Motion, Outcome, Reply, Step, Version};
use crate::clock::{Clock, Timescale};
use crate::permits::Tally;
use crate::time::{Span, Timestamp};

/// When to ask again where an order that asks stands in the way of one that takes without asking.
const ASK_AGAIN: Span = Span::from_seconds(60);
/// How many overdue leases are told at once.
pub(super) const OVERDUE_MAX: usize = 64;

/// A bucket's row. None is a full one that holds nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cell {
    /// TAT and tokens held.
    pub tally: Tally,
    /// How many of them the CA is still to be asked for, or may be.
    pub asked: u32,
}

/// A document's row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Row {
    pub(super) version: u64,
    pub(super) body: String,
    pub(super) lease: Option<Timestamp>,
}

/// A line of the record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// The sequence number of the change.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// Whose: [`super::Realm::code`].
    pub realm: String,
    /// What was done.
    pub body: String,
}

/// A value, and whether it differs from what the store has.
#[derive(Clone, Debug, Default)]
struct Held<T> {
    value: T,
    changed: bool,
}

/// Rows loaded.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) mark: Mark,
    pub(super) records: Vec<Record>,
    /// Mostly one.
    realms: Vec<(String, Rows)>,
}

/// A realm's, by name.
#[derive(Debug, Default)]
struct Rows {
    cells: BTreeMap<String, Held<Cell>>,
    documents: BTreeMap<String, Held<Option<Row>>>,
    overdue: BTreeSet<String>,
}

/// The first whole microsecond that is no earlier. What a step tells a bucket is rounded so; what the clock says is rounded down: neither
/// ever gives a token sooner.
pub(super) fn whole(at: Timestamp) -> Timestamp {
    let down = Timestamp::from_unix_micros(at.unix_micros());
    if down == at { at } else { Timestamp::from_unix_micros(at.unix_micros() + 1) }
}

/// What the clock says, in whole microseconds.
pub(super) fn now(clock: &impl Clock, timescale: Timescale) -> Timestamp {
    Timestamp::from_unix_micros(timescale.at(clock.now()).unix_micros())
}

/// The second in which an epoch opens: so one that was made anew is above one that was lost.
fn seconds(at: Timestamp) -> u64 {
    u64::try_from(at.unix_micros() / 1_000_000).unwrap_or(0)
}

/// The realm's rows.
fn rows_of<'a>(realms: &'a mut Vec<(String, Rows)>, realm: &str) -> &'a mut Rows {
    let known = realms.iter().position(|(of, _)| of == realm);
    let place = known.unwrap_or_else(|| {
        realms.push((realm.to_owned(), Rows::default()));
        realms.len() - 1
    });
    &mut realms[place].1
}

/// Puts the row there, loaded by `load`, unless it is there.
fn load_unless_there<T, E>(
    rows: &mut BTreeMap<String, Held<T>>,
    name: &str,
    load: impl FnOnce() -> Result<T, E>,
) -> Result<(), E> {
    if !rows.contains_key(name) {
        rows.insert(name.to_owned(), Held { value: load()?, changed: false });
    }
    Ok(())
}

/// The rows that changed.
fn changed<'a, T>(
    realm: &'a str,
    rows: &'a BTreeMap<String, Held<T>>,
) -> impl Iterator<Item = (&'a str, &'a str, &'a T)> {
    rows.iter().filter(|(_, held)| held.changed).map(move |(name, held)| (realm, name.as_str(), &held.value))
}

impl Page {
    pub(super) fn new(mark: Mark) -> Self {
        Self { mark, ..Self::default() }
    }

    /// The bucket's row, loaded by `load` unless it is there.
    pub(super) fn cell_or<E>(
        &mut self,
        realm: &str,
        name: &str,
        load: impl FnOnce() -> Result<Cell, E>,
    ) -> Result<(), E> {
        load_unless_there(&mut rows_of(&mut self.realms, realm).cells, name, load)
    }

    /// The document's row, loaded by `load` unless it is there.
    pub(super) fn row_or<E>(
        &mut self,
        realm: &str,
        name: &str,
        load: impl FnOnce() -> Result<Option<Row>, E>,
    ) -> Result<(), E> {
        load_unless_there(&mut rows_of(&mut self.realms, realm).documents, name, load)
    }

    /// The lease of that document has ended, as the store has it; a step before may have dealt with it.
    pub(super) fn overdue(&mut self, realm: &str, name: String) {
        let Rows { documents, overdue, .. } = rows_of(&mut self.realms, realm);
        if documents.get(&name).is_none_or(|row| !row.changed) {
            overdue.insert(name);
        }
    }

    /// The buckets' rows that changed: realm, name, and what stands there now.
    pub(super) fn changed_cells(&self) -> impl Iterator<Item = (&str, &str, Cell)> {
        let cells = self.realms.iter().flat_map(|(realm, rows)| changed(realm, &rows.cells));
        cells.map(|(realm, name, cell)| (realm, name, *cell))
    }

    /// The documents that changed.
    pub(super) fn changed_rows(&self) -> impl Iterator<Item = (&str, &str, Option<&Row>)> {
        let rows = self.realms.iter().flat_map(|(realm, rows)| changed(realm, &rows.documents));
        rows.map(|(realm, name, row)| (realm, name, row.as_ref()))
    }

    /// Decides one step at `at` and carries it out. All rows that it names have been loaded.
    pub(super) fn carry_out(&mut self, step: &Step, at: Timestamp) -> Reply {
        let outcome = self.decide(step, at);
        Reply { at, mark: self.mark, outcome }
    }

    fn decide(&mut self, step: &Step, at: Timestamp) -> Outcome {
        if step.known > self.mark {
            return Outcome::WentBack;
        }
        let rows = rows_of(&mut self.realms, &step.realm);
        // Sequence numbers may begin anew with an epoch, so that another document has the version of one that the caller knows.
        let of_old = step.known.epoch > 0 && step.known.epoch < self.mark.epoch;
        let known = |version| if of_old { Version::Unknown } else { version };
        let documents: Vec<_> =
            step.expect.iter().filter_map(|(name, version)| rows.news(name, known(*version))).collect();
        let overdue: Vec<_> = if step.settled { rows.overdue_at(at) } else { Vec::new() };
        let timely = step.valid.0 <= at && at < step.valid.1;
        if !timely || !documents.is_empty() || !overdue.is_empty() {
            return Outcome::Moved { documents, overdue };
        }
        let blocked: Vec<_> =
            step.asks.iter().filter_map(|ask| Some((ask.bucket, rows.blocked(step, ask, at)?))).collect();
        if !blocked.is_empty() {
            return Outcome::Blocked(blocked);
        }
        if step.changes() {
            self.mark.sequence += 1;
            if step.opens_epoch {
                self.mark.epoch = self.mark.epoch.saturating_add(1).max(seconds(at));
            }
        }
        let denied = (0..step.moves.len()).filter(|&place| !rows.make(step, place, at)).collect::<Vec<_>>();
        let denied = denied.into_iter().map(|place| step.moves[place].bucket).collect();
        for write in &step.writes {
            rows.overdue.remove(&write.name);
            let lease = write.lease.map(whole);
            let row = |body: &String| Row { version: self.mark.sequence, body: body.clone(), lease };
            let value = write.body.as_ref().map(row);
            rows.documents.insert(write.name.clone(), Held { value, changed: true });
        }
        if let Some(body) = &step.record {
            let sequence = self.mark.sequence;
            self.records.push(Record { sequence, at, realm: step.realm.clone(), body: body.clone() });
        }
        Outcome::Done { denied }
    }
}

impl Rows {
    /// The document, if the caller knows another version of it.
    fn news(&self, name: &str, known: Version) -> Option<Document> {
        let row = self.documents.get(name).and_then(|held| held.value.as_ref());
        let version = row.map_or(Version::Absent, |row| Version::Written(row.version));
        (version != known).then(|| Document {
            name: name.to_owned(),
            version,
            body: row.map(|row| row.body.clone()).unwrap_or_default(),
        })
    }

    /// The documents whose lease has ended: those that the store told, and those that a step before this one wrote.
    fn overdue_at(&self, at: Timestamp) -> Vec<String> {
        let ended = |held: &Held<Option<Row>>| {
            let lease = held.value.as_ref().and_then(|row| row.lease);
            held.changed && lease.is_some_and(|lease| lease <= at)
        };
        let written = self.documents.iter().filter(|(_, held)| ended(held)).map(|(name, _)| name);
        let names: BTreeSet<_> = self.overdue.iter().chain(written).collect();
        names.into_iter().take(OVERDUE_MAX).cloned().collect()
    }

    fn cell(&self, step: &Step, bucket: usize) -> Cell {
        let Bucket { name, floor, .. } = &step.buckets[bucket];
        let mut cell = self.cells.get(name).map(|held| held.value).unwrap_or_default();
        cell.tally.tat = cell.tally.tat.max(floor.map(whole));
        cell
    }

    /// When the bucket has what is asked of it, if that is not now.
    fn blocked(&self, step: &Step, ask: &Ask, at: Timestamp) -> Option<Timestamp> {
        let cell = self.cell(step, ask.bucket);
        let quota = step.buckets[ask.bucket].quota;
        let tokens = match ask.beside {
            Some(beside) => ask.tokens.saturating_add(self.cell(step, beside).tally.held).min(quota.burst()),
            None => ask.tokens,
        };
        let fits_at = cell.tally.fits_at(quota.with_burst_at_most(ask.burst), tokens, at);
        if fits_at <= at {
            None
        } else if ask.asked {
            Some(fits_at)
        } else if cell.asked > 0 {
            // It would take, unasked, what another order was let go for. That one is soon over.
            Some(fits_at.min(at.plus(ASK_AGAIN)))
        } else {
            None
        }
    }

    /// Makes the move of that place; whether the token was there.
    fn make(&mut self, step: &Step, place: usize, at: Timestamp) -> bool {
        let made = step.moves[place];
        let quota = step.buckets[made.bucket].quota;
        let mut cell = self.cell(step, made.bucket);
        let Tally { held, .. } = cell.tally;
        let there = match made.motion {
            Motion::Hold { asked } => {
                cell.tally.held = held.saturating_add(1);
                cell.asked = cell.asked.saturating_add(u32::from(asked));
                true
            }
            Motion::Spend { asked } | Motion::Release { asked } => {
                cell.tally.held = held.saturating_sub(1);
                cell.asked = cell.asked.saturating_sub(u32::from(asked));
                if matches!(made.motion, Motion::Spend { .. }) {
                    cell.tally = cell.tally.spent(quota, at);
                }
                true
            }
            Motion::Charge { at: then } => {
                cell.tally = cell.tally.spent(quota, then.map_or(at, whole));
                true
            }
            Motion::Try => {
                let there = cell.tally.fits_at(quota, 1, at) <= at;
                if there {
                    cell.tally = cell.tally.spent(quota, at);
                }
                there
            }
            Motion::Raise { until } => {
                cell.tally = cell.tally.raised(quota, whole(until));
                true
            }
        };
        let changed = Held { value: cell, changed: true };
        match self.cells.get_mut(&step.buckets[made.bucket].name) {
            Some(held) => *held = changed,
            None => _ = self.cells.insert(step.buckets[made.bucket].name.clone(), changed),
        }
        there
    }
}

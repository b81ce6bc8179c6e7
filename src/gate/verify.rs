//! The buckets computed again from the record, to hold against what the ledger says they are.

use std::collections::{BTreeMap, BTreeSet};

use super::Gate;
use super::document::Board;
use super::record::Entry;
use super::request::GateError;
use super::stakes::{at_once, floor};
use crate::clock::{FixedClock, Timescale};
use crate::ledger::{Bucket, Cell, LedgerError, Mark, MemoryStore, Motion, Move, Record, Step, Store};
use crate::time::Timestamp;

/// How many lines of the record are read at a time.
const LINES: usize = 1_000;

/// How often a ledger that is being written to is looked at again.
const STANDSTILLS: u32 = 10;

/// Where the record begins: what was known before its first line. By default nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Base {
    /// The buckets, by name.
    pub cells: BTreeMap<String, Cell>,
    /// What held for the whole realm: whether buckets were assumed to be empty.
    pub board: Board,
    /// The sequence number of the first line that is not in [`Self::cells`].
    pub from: u64,
}

/// What the realm's cells are by the record: all that was done since `base` is done again. Nothing is written to `store`. A cell that is
/// full and holds nothing may be missing in the ledger, where it was swept.
///
/// # Errors
/// [`LedgerError`] where the record can't be read, or a line of it makes no sense.
pub fn rebuild(store: &mut dyn Store, realm: &str, base: Base) -> Result<BTreeMap<String, Cell>, LedgerError> {
    replayed(store, realm, base, u64::MAX).map(|base| base.cells)
}

/// The same up to the line before the sequence number `until`, with all that is needed to go on from there.
pub(super) fn replayed(store: &mut dyn Store, realm: &str, base: Base, until: u64) -> Result<Base, LedgerError> {
    let Base { cells, mut board, from: mut next } = base;
    let mut again = MemoryStore::new(FixedClock(Timestamp::default()));
    lay(&mut again, realm, &cells)?;
    let mut more = true;
    while more && next < until {
        let mut lines = Vec::new();
        more = store.records(next, LINES, &mut |record| lines.push(record))?;
        for record in lines.into_iter().filter(|record| record.sequence < until) {
            next = record.sequence + 1;
            if record.realm == realm {
                redo(&mut again, record, &mut board)?;
            }
        }
        more &= next < until;
    }
    let mut cells = BTreeMap::new();
    again.cells(realm, &mut |name, cell| _ = cells.insert(name, cell))?;
    Ok(Base { cells, board, from: next })
}

/// What of a ledger differs from its record.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Verified {
    /// Buckets that were compared: all that are not full, or hold something.
    pub buckets: usize,
    /// Those that differ: what the ledger has, and what the record makes of it.
    pub differences: Vec<(String, Cell, Cell)>,
}

impl Gate {
    /// Computes all buckets of the realm again from the record, and compares.
    ///
    /// # Errors
    /// [`GateError`] where the store is not whole or can't be read, or [`GateError::Busy`] where it never stands still.
    pub fn verify(&mut self) -> Result<Verified, GateError> {
        let code = self.realm().code();
        let now = self.now()?;
        for _ in 0..STANDSTILLS {
            let base = self.base()?;
            let (verified, still) = self.with_store(|store| {
                store.check()?;
                let before = store.mark()?;
                let mut cells = BTreeMap::new();
                store.cells(&code, &mut |name, cell| _ = cells.insert(name, cell))?;
                let rebuilt = rebuild(store, &code, base)?;
                Ok((compare(&cells, &rebuilt, now), store.mark()? == before))
            })?;
            if still || verified.differences.is_empty() {
                return Ok(verified);
            }
        }
        Err(GateError::Busy(STANDSTILLS))
    }
}

fn compare(ledger: &BTreeMap<String, Cell>, record: &BTreeMap<String, Cell>, now: Timestamp) -> Verified {
    // One that is full and holds nothing is as good as none.
    let matters = |cell: &Cell| cell.tally.held > 0 || cell.asked > 0 || cell.tally.tat.is_some_and(|tat| tat > now);
    let of = |cells: &BTreeMap<String, Cell>, name: &str| cells.get(name).copied().filter(matters).unwrap_or_default();
    let names: BTreeSet<&String> = ledger.keys().chain(record.keys()).collect();
    let mut verified = Verified::default();
    for name in names {
        let (has, should) = (of(ledger, name), of(record, name));
        verified.buckets += usize::from(has != Cell::default() || should != Cell::default());
        if has != should {
            verified.differences.push((name.clone(), has, should));
        }
    }
    verified
}

/// Does again what a line says.
fn redo(again: &mut dyn Store, record: Record, board: &mut Board) -> Result<(), LedgerError> {
    let bad = |reason: String| LedgerError::Row { what: format!("record, line {}", record.sequence), reason };
    let entry = Entry::read(&record.body).map_err(bad)?;
    if let Some(written) = entry.detail.get("board") {
        *board = serde_json::from_value(written.clone()).map_err(|error| bad(error.to_string()))?;
    }
    let mut step = Step::new(record.realm.clone(), Mark::default());
    entry.into_step(&mut step, |bucket, quota| floor(board, bucket, quota));
    again.transact(&[step], Timescale::stopped(record.at)).map(|_done| ())
}

/// Gives the cells to an empty store.
fn lay(again: &mut dyn Store, realm: &str, cells: &BTreeMap<String, Cell>) -> Result<(), LedgerError> {
    // Such a bucket, raised to an instant, has it as its TAT.
    let quota = at_once();
    for (name, Cell { tally, asked }) in cells {
        let mut step = Step::new(realm.to_owned(), Mark::default());
        step.buckets.push(Bucket { name: name.clone(), quota, floor: None });
        let holds = (0..tally.held).map(|token| Motion::Hold { asked: token < *asked });
        let raise = tally.tat.map(|until| Motion::Raise { until });
        step.moves = raise.into_iter().chain(holds).map(|motion| Move { bucket: 0, motion }).collect();
        again.transact(&[step], Timescale::stopped(Timestamp::default()))?;
    }
    Ok(())
}

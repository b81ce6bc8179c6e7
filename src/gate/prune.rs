//! What nobody remembers any more: taken away, with a base put in its place from which the buckets can still be computed.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Gate;
use super::document::{Board, Failures, PERMIT, SET, SetState, read, text};
use super::permitted::Permitted;
use super::request::GateError;
use super::verify::{Base, replayed};
use crate::ledger::{Cell, Document, LedgerError, Mark, Outcome, Step, Store, Version, Write};
use crate::permits::{State, Tally};
use crate::time::{Span, Timestamp};

/// The name of the document that says where the record begins.
const BASE: &str = "base";
/// How the names of failures' documents begin.
const FAILURES: &str = "failures ";
/// Failures are forgotten after this: later ones are not in a row with them.
const FAILURES_KEPT: Span = Span::from_days(3);
/// Documents that are taken away in one call, and cells in one document.
const TOGETHER: usize = 256;
/// Lines of the record that are read at a time.
const LINES: usize = 10_000;

/// How much was taken away.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Pruned {
    /// Name sets that no exemption remembers.
    pub sets: u64,
    /// Permits that are over.
    pub permits: u64,
    /// Names' failures that lie far back.
    pub failures: u64,
    /// Buckets that are full and hold nothing.
    pub buckets: u64,
    /// Lines of the record, of all realms.
    pub records: u64,
}

/// Where the record begins.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Head {
    /// The sequence number of its first line.
    from: u64,
    board: Board,
    /// How many documents hold the cells as they were before it.
    parts: usize,
}

/// Cells: name, TAT in microseconds, tokens held, and asked for.
type Row = (String, Option<i64>, u32, u32);

impl Gate {
    /// Takes away what is older than `keep` and that nothing remembers; sets and the record are kept for as long as the CA remembers a set.
    ///
    /// # Errors
    /// [`GateError`] where the ledger can't be used. What was taken away until then is; nothing that is needed ever is.
    pub fn prune(&mut self, keep: Span) -> Result<Pruned, GateError> {
        let now = self.now()?;
        let cutoff = now.minus(keep.max(self.limits().policy.renewal.same_set_memory));
        let sets = self.take_away(SET, |document| {
            let state = read::<SetState>(document)?.unwrap_or_default();
            let last = state.counted.iter().map(|counted| counted.at).max().max(state.seen);
            Ok(state.hand.is_none() && last.is_none_or(|last| last < cutoff))
        })?;
        let permits = self.take_away(PERMIT, |document| {
            let over = |permit: Permitted| {
                !permit.life.state.is_live() && permit.life.state != State::Unknown && permit.life.last_at() < cutoff
            };
            Ok(read::<Permitted>(document)?.is_some_and(over))
        })?;
        let failures = self.take_away(FAILURES, |document| {
            Ok(read::<Failures>(document)?.is_some_and(|failures| now.since(failures.last) > FAILURES_KEPT))
        })?;
        let (first_kept, realms) = self.with_store(|store| begins(store, cutoff))?;
        for realm in &realms {
            self.lay_base(realm, first_kept)?;
        }
        let code = self.realm().code();
        let (buckets, records) = self.with_store(|store| store.sweep(&code, now, first_kept))?;
        Ok(Pruned { sets, permits, failures, buckets, records })
    }

    /// Where the realm's record begins.
    pub(super) fn base(&mut self) -> Result<Base, GateError> {
        let code = self.realm().code();
        self.with_store(|store| base_of(store, &code))
    }

    /// Takes away the documents of that prefix that are not needed. One that changes in the meantime is left.
    fn take_away(
        &mut self,
        prefix: &str,
        is_over: impl Fn(&Document) -> Result<bool, LedgerError>,
    ) -> Result<u64, GateError> {
        let (code, known, timescale) = (self.realm().code(), self.mark(), self.timescale);
        let gone = self.with_store(|store| {
            let mut over = Vec::new();
            let mut failed = Ok(());
            store.documents(&code, prefix, &mut |document| match is_over(&document) {
                Ok(true) => over.push((document.name, document.version)),
                Ok(false) => {}
                Err(error) => failed = Err(error),
            })?;
            failed?;
            let mut gone = 0;
            for names in over.chunks(TOGETHER) {
                let steps: Vec<_> = names.iter().map(|(name, version)| taking(&code, known, name, *version)).collect();
                let replies = store.transact(&steps, timescale)?;
                gone += replies.iter().filter(|reply| matches!(reply.outcome, Outcome::Done { .. })).count() as u64;
            }
            Ok(gone)
        })?;
        self.documents.retain(|name, _| !name.starts_with(prefix));
        Ok(gone)
    }

    /// Writes down what the realm's buckets were before the line `first_kept`. Until the last document is written the old base holds.
    fn lay_base(&mut self, realm: &str, first_kept: u64) -> Result<(), GateError> {
        let (known, timescale) = (self.mark(), self.timescale);
        self.with_store(|store| {
            let before = base_of(store, realm)?;
            if before.from >= first_kept {
                return Ok(());
            }
            let Base { cells, board, .. } = replayed(store, realm, before, first_kept)?;
            let rows: Vec<Row> = cells.into_iter().map(row).collect();
            let parts: Vec<_> = rows.chunks(TOGETHER).collect();
            let mut old = Vec::new();
            store.documents(realm, BASE, &mut |document| old.push((document.name, document.version)))?;
            for (index, part) in parts.iter().enumerate() {
                let name = part_name(first_kept, index);
                write(store, realm, known, timescale, Write { name, body: Some(text(part)), lease: None })?;
            }
            let head = Head { from: first_kept, board, parts: parts.len() };
            write(
                store,
                realm,
                known,
                timescale,
                Write { name: BASE.to_owned(), body: Some(text(&head)), lease: None },
            )?;
            let gone: Vec<_> = old.iter().filter(|(name, _)| name != BASE).collect();
            for (name, version) in gone {
                store.transact(&[taking(realm, known, name, *version)], timescale)?;
            }
            Ok(())
        })
    }
}

fn part_name(from: u64, index: usize) -> String {
    format!("{BASE} {from} {index}")
}

fn row((name, cell): (String, Cell)) -> Row {
    (name, cell.tally.tat.map(Timestamp::unix_micros), cell.tally.held, cell.asked)
}

fn taking(realm: &str, known: Mark, name: &str, version: Version) -> Step {
    let mut step = Step::new(realm.to_owned(), known);
    step.expect.push((name.to_owned(), version));
    step.writes.push(Write { name: name.to_owned(), body: None, lease: None });
    step
}

fn write(
    store: &mut dyn Store,
    realm: &str,
    known: Mark,
    timescale: crate::clock::Timescale,
    write: Write,
) -> Result<(), LedgerError> {
    let mut step = Step::new(realm.to_owned(), known);
    step.writes.push(write);
    store.transact(&[step], timescale).map(|_| ())
}

/// The first line of the record that is not before `cutoff`, and whose lines stand before it.
fn begins(store: &mut dyn Store, cutoff: Timestamp) -> Result<(u64, BTreeSet<String>), LedgerError> {
    let (mut next, mut realms) = (0, BTreeSet::new());
    loop {
        let mut first_kept = None;
        let more = store.records(next, LINES, &mut |record| {
            if first_kept.is_none() && record.at >= cutoff {
                first_kept = Some(record.sequence);
            }
            if first_kept.is_none() {
                next = record.sequence + 1;
                realms.insert(record.realm);
            }
        })?;
        if let Some(first_kept) = first_kept {
            return Ok((first_kept, realms));
        }
        if !more {
            return Ok((next, realms));
        }
    }
}

fn base_of(store: &mut dyn Store, realm: &str) -> Result<Base, LedgerError> {
    let mut documents = BTreeMap::new();
    store.documents(realm, BASE, &mut |document| _ = documents.insert(document.name.clone(), document))?;
    let Some(head) = documents.get(BASE).map_or(Ok(None), read::<Head>)? else { return Ok(Base::default()) };
    let mut cells = BTreeMap::new();
    for index in 0..head.parts {
        let name = part_name(head.from, index);
        let missing = || LedgerError::Row { what: format!("document `{name}`"), reason: "it is not there".to_owned() };
        let rows = documents.get(&name).map_or(Ok(None), read::<Vec<Row>>)?.ok_or_else(missing)?;
        for (bucket, tat, held, asked) in rows {
            let tally = Tally { tat: tat.map(Timestamp::from_unix_micros), held };
            cells.insert(bucket, Cell { tally, asked });
        }
    }
    Ok(Base { cells, board: head.board, from: head.from })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{FixedClock, Timescale};
    use crate::gate::{Request, Verdict};
    use crate::ledger::{MemoryStore, Realm};
    use crate::limits::{Limits, Overrides, Policy};
    use crate::name::NameSet;
    use crate::psl::SuffixList;

    const START: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

    fn issue(gate: &mut Gate, name: &str, at: Timestamp) {
        gate.set_timescale(Timescale::stopped(at));
        let request = Request::of("1", NameSet::parse([name]).unwrap(), "me");
        let Verdict::Allow { permit: Some(permit), .. } = gate.reserve(&request).unwrap().verdict else {
            panic!("full")
        };
        gate.commit(&permit.permit).unwrap();
    }

    #[test]
    fn what_is_left_says_the_same_of_the_buckets() {
        let limits = Limits { policy: Policy::built_in("letsencrypt").unwrap(), overrides: Overrides::none() };
        let store = Box::new(MemoryStore::new(FixedClock(START)));
        let realm = Realm::new("https://ca/dir");
        let mut gate = Gate::new(store, realm, limits, SuffixList::embedded(), Timescale::REAL, [3; 32]).unwrap();
        for day in 0..140 {
            issue(&mut gate, &format!("d{day}.example.com"), START.plus(Span::from_days(day)));
        }
        let before = gate.verify().unwrap();
        assert_eq!(before.differences, []);
        // The last 120 days are kept; what stands before is in the base.
        let pruned = gate.prune(Span::from_days(1)).unwrap();
        assert_eq!((pruned.sets, pruned.permits), (19, 19));
        assert!(pruned.records > 0, "{pruned:?}");
        assert_eq!(gate.verify().unwrap(), before);
        // Again, from a base; and with what has come since.
        issue(&mut gate, "late.example.com", START.plus(Span::from_days(150)));
        let pruned = gate.prune(Span::from_days(1)).unwrap();
        assert_eq!(pruned.sets, 11);
        assert_eq!(gate.verify().unwrap().differences, []);
        // Somebody changes a bucket by hand.
        let mut step = Step::new(gate.realm().code(), gate.mark());
        let quota = crate::gcra::Quota::new(50, 50, Span::from_days(7)).unwrap().in_micros();
        let name = "CertificatesPerDomain example.com".to_owned();
        step.buckets.push(crate::ledger::Bucket { name: name.clone(), quota, floor: None });
        step.moves.push(crate::ledger::Move { bucket: 0, motion: crate::ledger::Motion::Charge { at: None } });
        let timescale = gate.timescale;
        gate.with_store(|store| store.transact(&[step], timescale)).unwrap();
        let differences = gate.verify().unwrap().differences;
        assert_eq!(differences.iter().map(|(bucket, ..)| bucket).collect::<Vec<_>>(), [&name]);
    }
}

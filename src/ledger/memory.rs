//! A ledger in memory: for tests, and for questions to a ledger that there is not yet.

use std::collections::BTreeMap;
use std::convert::Infallible;

use super::page::{self, Page, Row, whole};
use super::{Cell, Document, LedgerError, Mark, Record, Reply, Step, Store, Version};
use crate::clock::{Clock, Timescale};
use crate::time::Timestamp;

/// A row's key: realm and name.
type Key = (String, String);

/// A ledger that is gone with its process.
pub struct MemoryStore<C> {
    clock: C,
    mark: Mark,
    cells: BTreeMap<Key, Cell>,
    rows: BTreeMap<Key, Row>,
    records: Vec<Record>,
}

impl<C> MemoryStore<C> {
    /// An empty ledger with that clock.
    #[must_use]
    pub const fn new(clock: C) -> Self {
        let mark = Mark { epoch: 1, sequence: 0 };
        Self { clock, mark, cells: BTreeMap::new(), rows: BTreeMap::new(), records: Vec::new() }
    }

    fn load(&self, page: &mut Page, step: &Step, at: Timestamp) -> Result<(), Infallible> {
        for bucket in &step.buckets {
            let key = (step.realm.clone(), bucket.name.clone());
            let cell = || Ok::<_, Infallible>(self.cells.get(&key).copied().unwrap_or_default());
            page.cell_or(&key.0, &key.1, cell)?;
        }
        for (name, _) in &step.expect {
            let key = (step.realm.clone(), name.clone());
            page.row_or(&key.0, &key.1, || Ok::<_, Infallible>(self.rows.get(&key).cloned()))?;
        }
        let due = |row: &Row| row.lease.is_some_and(|lease| lease <= at);
        self.rows.iter().filter(|(_, row)| due(row)).for_each(|((realm, name), _)| page.overdue(realm, name.clone()));
        Ok(())
    }
}

impl<C: Clock + Send> Store for MemoryStore<C> {
    fn transact(&mut self, steps: &[Step], timescale: Timescale) -> Result<Vec<Reply>, LedgerError> {
        let mut replies = Vec::with_capacity(steps.len());
        for step in steps {
            let at = page::now(&self.clock, timescale);
            let mut page = Page::new(self.mark);
            let Ok(()) = self.load(&mut page, step, at);
            replies.push(page.carry_out(step, at));
            let key = |realm: &str, name: &str| (realm.to_owned(), name.to_owned());
            self.cells.extend(page.changed_cells().map(|(realm, name, cell)| (key(realm, name), cell)));
            for (realm, name, row) in page.changed_rows() {
                match row {
                    Some(row) => _ = self.rows.insert(key(realm, name), row.clone()),
                    None => _ = self.rows.remove(&key(realm, name)),
                }
            }
            self.mark = page.mark;
            self.records.append(&mut page.records);
        }
        Ok(replies)
    }

    fn init(&mut self) -> Result<bool, LedgerError> {
        Ok(false)
    }

    fn cells(&mut self, realm: &str, show: &mut dyn FnMut(String, Cell)) -> Result<(), LedgerError> {
        self.cells.iter().filter(|((of, _), _)| of == realm).for_each(|((_, name), cell)| show(name.clone(), *cell));
        Ok(())
    }

    fn documents(&mut self, realm: &str, prefix: &str, show: &mut dyn FnMut(Document)) -> Result<(), LedgerError> {
        for ((of, name), row) in &self.rows {
            if of == realm && name.starts_with(prefix) {
                let version = Version::Written(row.version);
                show(Document { name: name.clone(), version, body: row.body.clone() });
            }
        }
        Ok(())
    }

    fn records(&mut self, from: u64, most: usize, show: &mut dyn FnMut(Record)) -> Result<bool, LedgerError> {
        let start = self.records.partition_point(|record| record.sequence < from);
        self.records[start..].iter().take(most).for_each(|record| show(record.clone()));
        Ok(self.records.len() - start > most)
    }

    fn sweep(&mut self, realm: &str, full: Timestamp, record: u64) -> Result<(u64, u64), LedgerError> {
        let before = (self.cells.len(), self.records.len());
        let idle = |cell: &Cell| cell.tally.held == 0 && cell.tally.tat.is_none_or(|tat| tat < whole(full));
        self.cells.retain(|(of, _), cell| of != realm || !idle(cell));
        self.records.retain(|line| line.sequence >= record);
        Ok(((before.0 - self.cells.len()) as u64, (before.1 - self.records.len()) as u64))
    }

    fn mark(&mut self) -> Result<Mark, LedgerError> {
        Ok(self.mark)
    }

    fn check(&mut self) -> Result<(), LedgerError> {
        Ok(())
    }

    fn notes(&mut self) -> Vec<String> {
        vec!["this ledger is in memory, and gone with its process".to_owned()]
    }
}

//! Where ledgers are made for a test, and short ways to ask them.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use certpace::clock::{SystemClock, Timescale};
use certpace::ledger::{
    Access, Cell, Document, LedgerUrl, Mark, MemoryStore, Outcome, Record, Reply, Step, Store, Version, open,
};
use certpace::time::{Span, Timestamp};

use crate::postgres::Postgres;
use crate::redis::Redis;

pub(super) const REALM: &str = "0123456789abcdef";
pub(super) const START: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

/// A ledger of its own for one test, gone with it.
pub(super) struct Place {
    pub(super) url: LedgerUrl,
    _folder: Option<tempfile::TempDir>,
    _redis: Option<Arc<Redis>>,
    _postgres: Option<Arc<Postgres>>,
}

impl Place {
    pub(super) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("ledger.sqlite").display());
        Self { _folder: Some(folder), ..Self::at(&url) }
    }

    pub(super) fn redis() -> Self {
        let server = Redis::shared();
        Self { _redis: Some(Arc::clone(&server)), ..Self::at(&named(&server.url())) }
    }

    pub(super) fn postgres() -> Self {
        let server = Postgres::shared();
        Self { _postgres: Some(Arc::clone(&server)), ..Self::at(&named(&server.url())) }
    }

    pub(super) fn at(url: &str) -> Self {
        Self { url: url.parse().unwrap(), _folder: None, _redis: None, _postgres: None }
    }

    /// One of each store that keeps what it is given.
    pub(super) fn all() -> Vec<Self> {
        vec![Self::sqlite(), Self::redis(), Self::postgres()]
    }

    /// A connection to the ledger, which is made if it is not there.
    pub(super) fn open(&self) -> Box<dyn Store> {
        open(&self.url, Access::Init, SystemClock).unwrap().0
    }
}

/// The URL with the name of a ledger that nobody else uses.
fn named(url: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{url}#test_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Says in which store a test failed.
struct Told(String);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            _ = writeln!(std::io::stderr(), "that was in {}", self.0);
        }
    }
}

/// Runs a test over an empty ledger of each kind.
pub(super) fn over_all_stores(test: impl Fn(&mut dyn Store)) {
    let told = Told("memory".to_owned());
    test(&mut MemoryStore::new(SystemClock));
    drop(told);
    for place in Place::all() {
        let _told = Told(place.url.to_string());
        test(place.open().as_mut());
    }
}

pub(super) fn at(seconds: i64) -> Timestamp {
    START.plus(Span::from_seconds(seconds))
}

/// Asks for one step when it is `at`.
pub(super) fn ask(store: &mut dyn Store, step: &Step, at: Timestamp) -> Reply {
    let mut replies = store.transact(std::slice::from_ref(step), Timescale::stopped(at)).unwrap();
    assert_eq!(replies.len(), 1);
    let reply = replies.remove(0);
    assert_eq!(reply.at, at);
    reply
}

/// The same, and what came of it.
pub(super) fn outcome(store: &mut dyn Store, step: &Step, at: Timestamp) -> Outcome {
    ask(store, step, at).outcome
}

pub(super) const DONE: Outcome = Outcome::Done { denied: Vec::new() };

pub(super) fn blocked<const N: usize>(buckets: [(usize, Timestamp); N]) -> Outcome {
    Outcome::Blocked(buckets.to_vec())
}

/// That the caller did not know these documents: name, version (0: there is none) and body.
pub(super) fn moved<const N: usize>(documents: [(&str, u64, &str); N]) -> Outcome {
    let document = |(name, version, body): (&str, u64, &str)| Document {
        name: name.to_owned(),
        version: if version == 0 { Version::Absent } else { Version::Written(version) },
        body: body.to_owned(),
    };
    Outcome::Moved { documents: documents.map(document).to_vec(), overdue: Vec::new() }
}

pub(super) fn overdue<const N: usize>(names: [&str; N]) -> Outcome {
    Outcome::Moved { documents: Vec::new(), overdue: names.map(str::to_owned).to_vec() }
}

pub(super) fn mark(epoch: u64, sequence: u64) -> Mark {
    Mark { epoch, sequence }
}

/// All cells of a realm by name.
pub(super) fn cells(store: &mut dyn Store, realm: &str) -> Vec<(String, Cell)> {
    let mut cells = Vec::new();
    store.cells(realm, &mut |name, cell| cells.push((name, cell))).unwrap();
    cells.sort_by(|a, b| a.0.cmp(&b.0));
    cells
}

/// All documents of a realm whose names begin with `prefix`, by name.
pub(super) fn documents(store: &mut dyn Store, realm: &str, prefix: &str) -> Vec<Document> {
    let mut documents = Vec::new();
    store.documents(realm, prefix, &mut |document| documents.push(document)).unwrap();
    documents.sort_by(|a, b| a.name.cmp(&b.name));
    documents
}

/// The record from `from` on, read a few lines at a time.
pub(super) fn records(store: &mut dyn Store, from: u64) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    loop {
        let next = records.last().map_or(from, |last| last.sequence + 1);
        if !store.records(next, 100, &mut |record| records.push(record)).unwrap() {
            return records;
        }
    }
}

//! The ledger: what an organisation has spent and reserved at a CA, in a store that any number of processes share.
//!
//! It decides nothing that the model does not: the gate ([`crate::gate`]) turns rules and permits into [`Step`]s, plain data, and a store
//! carries each out whole or not at all. There are four stores behind the one contract: SQLite, Redis, PostgreSQL, and memory for tests.
//!
//! # The contract of a store
//!
//! *Rows.* Of every [`Realm`] (the CA's directory URL, and whether it is the shadow's) a store keeps *cells*, *documents* and leases; and of
//! all together one *mark* and one append-only *record*.
//! - A cell is a bucket: its TAT, the tokens held, and how many of those the CA is still to be asked for. A missing cell is a full bucket
//!   that holds nothing.
//! - A document is text under a name, with the sequence number of the change that wrote it as its version, and perhaps a lease: an instant
//!   at which somebody has to look after it. A missing document has the version [`Version::Absent`].
//! - The record has a line for each change: when, whose, what. Sequence numbers rise; there may be gaps.
//!
//! *Atomic* is a step ([`Store::transact`]): checks, decision, moves, writes, record and mark in one, as [`Step`] has it, with the time
//! read after the rows are held. Two steps never see half of each other, wherever they come from. Steps of one call are decided one after
//! the other, each by itself; other callers' may come between them or not.
//!
//! *Time* is the store's clock where machines share it (Redis, PostgreSQL), else the machine's. It may be set back: a permit's time never
//! goes back, and a bucket then waits longer, never shorter.
//!
//! *Numbers* are whole microseconds: emission intervals are rounded up ([`Quota::in_micros`](crate::gcra::Quota::in_micros)), the clock's time down, the
//! instants that a step tells up: none of it ever gives a token sooner. Redis computes exactly up to the year 2255. Names and bodies have no
//! NUL character, which PostgreSQL does not take, and no cell's name begins with a full stop, as documents' do in Redis.
//!
//! *Durable* is all that is done when the call returns, as far as the store can promise: SQLite syncs its log, PostgreSQL commits
//! synchronously, Redis does what it is set to, and [`Store::notes`] says where that is less than one may think. (A [`Writer`] syncs SQLite's
//! log itself before it answers. Until then others may see what it did; what they do on top of it is synced after it.)
//!
//! *A crash* before the call returns leaves a step done or not done, never in between; the caller may do it again, since the gate's steps
//! expect versions, and find that it was done. A *mark* that has become lower, a missing marker of [`Store::init`], a file that is cut off: the
//! store has lost something, and refuses ([`LedgerError`]) until a person says what happened.

mod memory;
mod page;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
mod sqlite;
mod step;
mod url;
mod writer;

pub use memory::MemoryStore;
pub use page::{Cell, Record};
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
#[cfg(feature = "redis")]
pub use redis::RedisStore;
pub use sqlite::SqliteStore;
pub use step::{Ask, Bucket, Document, Mark, Motion, Move, Outcome, Reply, Step, Version, Write};
pub use url::{Access, LedgerUrl};
pub use writer::Writer;

use std::fmt;
use std::fs::File;

use crate::clock::{Clock, Timescale};
use crate::digest::sha256;
use crate::limits::LimitName;
use crate::time::Timestamp;

/// The schema that this version writes. A store tells which is the oldest that may write it.
pub const SCHEMA: u32 = 1;

/// A place where steps are carried out.
pub trait Store: Send {
    /// Carries out each step by itself, one after the other. All that was done is durable when it returns; on an error some may be
    /// done. The time is the store's, on `timescale`.
    ///
    /// # Errors
    /// [`LedgerError`] where the store can't be used.
    fn transact(&mut self, steps: &[Step], timescale: Timescale) -> Result<Vec<Reply>, LedgerError>;

    /// Leaves it to the caller to make durable what is done: from here on [`Self::transact`] is done when a [`Log::sync`] has returned that
    /// was called after it. So one can go on deciding in the meantime. `None`: it does so itself.
    fn log(&mut self) -> Option<Log> {
        None
    }

    /// Makes the store a ledger if it is none: tables, and the marker without which it is refused. Whether it was none.
    ///
    /// # Errors
    /// [`LedgerError`] where that can't be done.
    fn init(&mut self) -> Result<bool, LedgerError>;

    /// Shows every cell of a realm, in no order.
    ///
    /// # Errors
    /// [`LedgerError`] where the store can't be read.
    fn cells(&mut self, realm: &str, show: &mut dyn FnMut(String, Cell)) -> Result<(), LedgerError>;

    /// Shows every document of a realm whose name begins with `prefix`, in no order.
    ///
    /// # Errors
    /// [`LedgerError`] where the store can't be read.
    fn documents(&mut self, realm: &str, prefix: &str, show: &mut dyn FnMut(Document)) -> Result<(), LedgerError>;

    /// Shows the record from the sequence number `from` on, in order, at most `most` lines. Whether there may be more.
    ///
    /// # Errors
    /// [`LedgerError`] where the store can't be read.
    fn records(&mut self, from: u64, most: usize, show: &mut dyn FnMut(Record)) -> Result<bool, LedgerError>;

    /// Takes away cells of a realm that are full before `full` and hold nothing, and the record before the sequence number `record`.
    /// Returns how many of each.
    ///
    /// # Errors
    /// [`LedgerError`] where the store can't be written.
    fn sweep(&mut self, realm: &str, full: Timestamp, record: u64) -> Result<(u64, u64), LedgerError>;

    /// How far it has come.
    ///
    /// # Errors
    /// [`LedgerError`] where the store can't be read.
    fn mark(&mut self) -> Result<Mark, LedgerError>;

    /// That the store is whole, as far as it can tell itself.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] where it is not.
    fn check(&mut self) -> Result<(), LedgerError>;

    /// Brings the store's schema up to [`SCHEMA`]: from which, and to which; `None` if there is nothing to do, as long as there is one schema
    /// only. No other call changes it, and versions that write the one before can go on.
    ///
    /// # Errors
    /// [`LedgerError`] where the store can't be read or written.
    fn migrate(&mut self) -> Result<Option<(u32, u32)>, LedgerError> {
        self.mark().map(|_so_far| None)
    }

    /// What a careful owner should know about how it is kept, sentence by sentence.
    fn notes(&mut self) -> Vec<String>;
}

/// The file that has to be synced for what was done to be durable.
#[derive(Debug)]
pub struct Log {
    /// Whose it is, for errors.
    url: String,
    file: File,
}

impl Log {
    /// Makes durable all that was done before.
    ///
    /// # Errors
    /// [`LedgerError::Unreachable`]: then nobody knows what the disk has, and will have after another try.
    pub fn sync(&self) -> Result<(), LedgerError> {
        let failed =
            |error: std::io::Error| LedgerError::Unreachable { url: self.url.clone(), reason: error.to_string() };
        self.file.sync_data().map_err(failed)
    }
}

/// What a store tells of how its rows are written.
#[derive(Clone, Copy, Debug)]
struct Versions {
    /// The schema.
    schema: u32,
    /// The oldest schema whose versions may write beside it.
    writable_from: u32,
}

impl Versions {
    /// Whether this version must leave the ledger alone.
    const fn are_newer(self) -> bool {
        self.writable_from > SCHEMA
    }

    const fn refused(self, url: String) -> LedgerError {
        LedgerError::Schema { url, found: self.schema }
    }
}

/// Opens the ledger at `url`. Also tells whether it was made by that. The clock is for a store that has none of its own.
///
/// # Errors
/// [`LedgerError`] where it can't be used, or is none and may not be made.
pub fn open<C: Clock + Send + 'static>(
    url: &LedgerUrl,
    access: Access,
    clock: C,
) -> Result<(Box<dyn Store>, bool), LedgerError> {
    match url {
        LedgerUrl::Sqlite(path) => {
            let (store, created) = SqliteStore::open(path, access, clock)?;
            Ok((Box::new(store), created))
        }
        #[cfg(feature = "redis")]
        LedgerUrl::Redis { url: address, name } => {
            shared(Box::new(RedisStore::connect(address, name, url.to_string())?), access)
        }
        #[cfg(feature = "postgres")]
        LedgerUrl::Postgres { url: address, name } => {
            shared(Box::new(PostgresStore::connect(address, name, url.to_string())?), access)
        }
        #[cfg(not(feature = "redis"))]
        LedgerUrl::Redis { .. } => Err(left_out(url, "redis")),
        #[cfg(not(feature = "postgres"))]
        LedgerUrl::Postgres { .. } => Err(left_out(url, "postgres")),
    }
}

#[cfg(not(all(feature = "postgres", feature = "redis")))]
fn left_out(url: &LedgerUrl, feature: &str) -> LedgerError {
    let reason = format!("this certpace was built without that store, which is its feature `{feature}`");
    LedgerError::Url { url: url.to_string(), reason }
}

/// A store that others use too is a ledger already, or made one where that is asked for.
#[cfg(any(feature = "postgres", feature = "redis"))]
fn shared(mut store: Box<dyn Store>, access: Access) -> Result<(Box<dyn Store>, bool), LedgerError> {
    let created = match access {
        Access::Init => store.init()?,
        Access::Create | Access::MustExist => false,
    };
    // Without a marker it is none.
    store.mark()?;
    Ok((store, created))
}

/// TLS needs somebody who does its arithmetic. A library that has chosen another before is left alone.
#[cfg(any(feature = "postgres", feature = "redis"))]
fn choose_cryptography() {
    _ = rustls::crypto::ring::default_provider().install_default();
}

/// Why a ledger can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The text is no ledger's URL.
    #[error("`{url}` is no ledger: {reason}")]
    Url {
        /// The text, without a password.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It does not answer.
    #[error("the ledger {url} can't be reached: {reason}")]
    Unreachable {
        /// Which, without a password.
        url: String,
        /// What the system or the store says.
        reason: String,
    },
    /// There is a store, and no ledger in it.
    #[error("there is no ledger in {url}")]
    NotInitialised {
        /// Which.
        url: String,
    },
    /// The store is not whole.
    #[error("the ledger {url} is damaged: {reason}")]
    Damaged {
        /// Which.
        url: String,
        /// What was found.
        reason: String,
    },
    /// It has lost something that was seen of it.
    #[error("the ledger went back: it stands at epoch {}, change {}, and epoch {}, change {} had been seen", found.epoch, found.sequence, seen.epoch, seen.sequence)]
    WentBack {
        /// The highest that was seen.
        seen: Mark,
        /// What it shows.
        found: Mark,
    },
    /// It was written by a version that this one must not write beside.
    #[error("the ledger {url} has schema {found}, which needs a newer certpace than this one, which knows {SCHEMA}")]
    Schema {
        /// Which.
        url: String,
        /// Its schema.
        found: u32,
    },
    /// The store may throw away what it is given.
    #[error("the ledger {url} may lose what it holds: {reason}")]
    Unsafe {
        /// Which.
        url: String,
        /// Why.
        reason: String,
    },
    /// What stands in a row makes no sense.
    #[error("the ledger's {what} can't be read: {reason}")]
    Row {
        /// Which row.
        what: String,
        /// Why.
        reason: String,
    },
}

/// What a ledger's rows belong to: one CA, in earnest or in shadow mode. Staging never spends production's tokens.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Realm {
    directory: String,
    shadow: bool,
}

impl Realm {
    /// The realm of a CA's directory URL.
    #[must_use]
    pub fn new(directory: &str) -> Self {
        Self { directory: directory.to_owned(), shadow: false }
    }

    /// The same, for what is decided in shadow mode.
    #[must_use]
    pub fn shadow(&self) -> Self {
        Self { shadow: true, ..self.clone() }
    }

    /// The CA's directory URL.
    #[must_use]
    pub fn directory(&self) -> &str {
        &self.directory
    }

    /// Whether it is shadow mode's.
    #[must_use]
    pub const fn is_shadow(&self) -> bool {
        self.shadow
    }

    /// A short text that stands for it in keys: the first 8 bytes of its SHA-256 in hexadecimal.
    #[must_use]
    pub fn code(&self) -> String {
        let mut code = sha256([self.to_string().as_bytes()]);
        code.truncate(16);
        code
    }
}

impl fmt::Display for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.directory, if self.shadow { "#shadow" } else { "" })
    }
}

/// A bucket's name in a ledger: its limit and its key, as people know them.
#[must_use]
pub fn bucket_name(limit: LimitName, key: &str) -> String {
    [limit.as_str(), " ", key].concat()
}

/// Limit and key of a bucket's name; `None` if it is none.
#[must_use]
pub fn limit_and_key(name: &str) -> Option<(LimitName, &str)> {
    let (limit, key) = name.split_once(' ')?;
    LimitName::parse(limit).map(|limit| (limit, key))
}

//! A ledger in an SQLite file, for the processes of one machine: embedded, durable, and nobody has to run it.
//!
//! The file is in WAL mode and every change is synced before it is told of (`synchronous = FULL`). It must not lie on a network file system:
//! its locks, and WAL's shared memory, hold on one machine only.

mod key;

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, Transaction, TransactionBehavior};

use self::key::{key_of, name_of};
use super::page::{self, OVERDUE_MAX, Page, Row, whole};
use super::{Access, Cell, Document, LedgerError, Log, Mark, Record, Reply, SCHEMA, Step, Store, Version, Versions};
use crate::clock::{Clock, Timescale};
use crate::permits::Tally;
use crate::time::Timestamp;

/// How long to wait for other writers.
const BUSY: Duration = Duration::from_secs(30);
/// How many KiB of the file are kept in memory at most: an import goes all over it.
const CACHE: i32 = 65_536;
/// How many pages the log grows to before it is written back into the file, which stops all decisions for milliseconds: 16 MiB.
const LOG_PAGES: i32 = 4_096;
/// What tells the file from other SQLite files: `cplg`.
const APPLICATION: i32 = 0x6370_6c67;
const TABLES: &str = "
    CREATE TABLE ledger (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        schema INTEGER NOT NULL,
        writable_from INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        sequence INTEGER NOT NULL
    );
    CREATE TABLE cells (
        realm TEXT NOT NULL, key TEXT NOT NULL,
        tat INTEGER, held INTEGER NOT NULL, asked INTEGER NOT NULL,
        PRIMARY KEY (realm, key)
    ) WITHOUT ROWID;
    CREATE TABLE documents (
        realm TEXT NOT NULL, name TEXT NOT NULL,
        version INTEGER NOT NULL, body TEXT NOT NULL, lease INTEGER,
        PRIMARY KEY (realm, name)
    );
    CREATE INDEX leases ON documents (realm, lease) WHERE lease IS NOT NULL;
    CREATE TABLE record (sequence INTEGER PRIMARY KEY, at INTEGER NOT NULL, realm TEXT NOT NULL, body TEXT NOT NULL);
";

/// A ledger in a file.
pub struct SqliteStore<C> {
    path: PathBuf,
    connection: Connection,
    clock: C,
}

impl<C> SqliteStore<C> {
    /// Opens the file, or makes it where `access` allows. Also tells whether it was made. A file that is there is never started afresh.
    ///
    /// # Errors
    /// [`LedgerError`] where it can't be opened or is not whole.
    pub fn open(path: &Path, access: Access, clock: C) -> Result<(Self, bool), LedgerError> {
        let created = match (fs::metadata(path), access) {
            (Err(error), Access::Init | Access::Create) if error.kind() == ErrorKind::NotFound => create(path)?,
            (Err(error), Access::MustExist) if error.kind() == ErrorKind::NotFound => {
                return Err(LedgerError::NotInitialised { url: url(path) });
            }
            (Err(error), _) => return Err(unreachable(path, &error)),
            (Ok(_), _) => false,
        };
        check_length(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || {
            let connection = Connection::open_with_flags(path, flags)?;
            settings(&connection)?;
            let is_ledger = connection.pragma_query_value(None, "application_id", |row| row.get::<_, i32>(0))?;
            let state = (is_ledger == APPLICATION).then(|| mark_of(&connection)).transpose()?;
            Ok((connection, state))
        };
        let (connection, state) = open().map_err(|error| failed(path, &error))?;
        match state {
            None => Err(LedgerError::Damaged {
                url: url(path),
                reason: "it is an SQLite file of something else".to_owned(),
            }),
            Some((_, versions)) if versions.are_newer() => Err(versions.refused(url(path))),
            Some(_) => Ok((Self { path: path.to_owned(), connection, clock }, created)),
        }
    }

    fn failed(&self, error: &rusqlite::Error) -> LedgerError {
        failed(&self.path, error)
    }
}

fn url(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

fn unreachable(path: &Path, error: &io::Error) -> LedgerError {
    LedgerError::Unreachable { url: url(path), reason: error.to_string() }
}

fn failed(path: &Path, error: &rusqlite::Error) -> LedgerError {
    let (url, reason) = (url(path), error.to_string());
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => LedgerError::Damaged { url, reason },
        _ if matches!(
            error,
            rusqlite::Error::QueryReturnedNoRows
                | rusqlite::Error::SqlInputError { .. }
                | rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::Utf8Error(..)
        ) =>
        {
            LedgerError::Damaged { url, reason }
        }
        _ => LedgerError::Unreachable { url, reason },
    }
}

fn settings(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Less than nothing is not in pages.
    connection.pragma_update(None, "cache_size", -CACHE)?;
    connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
    // Statements are planned once. Otherwise some are planned anew whenever another value is bound: a fifth of a decision's time.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "cell_size_check", true)
}

/// Makes a ledger at `path`: aside, and then given its name, so that there is never half of one. Whether it was made here, and not by
/// somebody else in the meantime.
fn create(path: &Path) -> Result<bool, LedgerError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(folder).map_err(|error| unreachable(path, &error))?;
    let aside = tempfile::NamedTempFile::new_in(folder).map_err(|error| unreachable(path, &error))?;
    fill(aside.path()).map_err(|error| failed(path, &error))?;
    aside.as_file().sync_all().map_err(|error| unreachable(path, &error))?;
    match aside.persist_noclobber(path) {
        Ok(_) => File::open(folder).and_then(|folder| folder.sync_all()).map(|()| true),
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error.error),
    }
    .map_err(|error| unreachable(path, &error))
}

fn fill(path: &Path) -> rusqlite::Result<()> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    settings(&connection)?;
    let transaction = connection.unchecked_transaction()?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.execute_batch(TABLES)?;
    transaction.execute("INSERT INTO ledger VALUES (1, ?1, ?1, 1, 0)", [SCHEMA])?;
    transaction.commit()?;
    connection.close().map_err(|(_, error)| error)
}

/// That the file has the length which its first page tells. SQLite itself notices a missing page only when it needs it.
fn check_length(path: &Path) -> Result<(), LedgerError> {
    let damaged = |reason: String| LedgerError::Damaged { url: url(path), reason };
    let mut header = [0; 100];
    let mut file = File::open(path).map_err(|error| unreachable(path, &error))?;
    file.read_exact(&mut header).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => damaged("it is cut off within its first 100 bytes".to_owned()),
        _ => unreachable(path, &error),
    })?;
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(damaged("it is no SQLite file".to_owned()));
    }
    let word = |at: usize| u64::from(u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]));
    let page = match u64::from(u16::from_be_bytes([header[16], header[17]])) {
        1 => 65_536,
        size => size,
    };
    let told = word(28) * page;
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    // With changes still in the log the file itself may be shorter.
    let settled = fs::metadata(log).map_or(true, |log| log.len() == 0);
    let length = file.metadata().map_err(|error| unreachable(path, &error))?.len();
    if settled && word(24) == word(92) && length < told {
        return Err(damaged(format!("it has {length} bytes, and should have {told}: it was cut off")));
    }
    Ok(())
}

fn mark_of(connection: &Connection) -> rusqlite::Result<(Mark, Versions)> {
    let mut mark = connection.prepare_cached("SELECT epoch, sequence, schema, writable_from FROM ledger")?;
    mark.query_row([], |row| {
        let versions = Versions { schema: row.get(2)?, writable_from: row.get(3)? };
        Ok((Mark { epoch: row.get(0)?, sequence: row.get(1)? }, versions))
    })
}

fn micros(at: Option<i64>) -> Option<Timestamp> {
    at.map(Timestamp::from_unix_micros)
}

fn cell_from(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Cell> {
    let tally = Tally { tat: micros(row.get(first)?), held: row.get(first + 1)? };
    Ok(Cell { tally, asked: row.get(first + 2)? })
}

/// Loads what the step names, as far as it is not there.
fn load(connection: &Connection, page: &mut Page, step: &Step) -> rusqlite::Result<()> {
    let mut cells = connection.prepare_cached("SELECT tat, held, asked FROM cells WHERE realm = ?1 AND key = ?2")?;
    for bucket in &step.buckets {
        page.cell_or(&step.realm, &bucket.name, || {
            let cell = cells.query_row((&step.realm, key_of(&bucket.name)), |row| cell_from(row, 0)).optional()?;
            Ok::<_, rusqlite::Error>(cell.unwrap_or_default())
        })?;
    }
    let mut rows =
        connection.prepare_cached("SELECT version, body, lease FROM documents WHERE realm = ?1 AND name = ?2")?;
    for (name, _) in &step.expect {
        page.row_or(&step.realm, name, || {
            rows.query_row((&step.realm, name), |row| {
                Ok(Row { version: row.get(0)?, body: row.get(1)?, lease: micros(row.get(2)?) })
            })
            .optional()
        })?;
    }
    Ok(())
}

/// Loads the leases that have ended at `at`, of each realm in which a step asks for them: so many that enough are left when the steps before
/// have dealt with theirs.
fn load_overdue(connection: &Connection, page: &mut Page, steps: &[Step], at: Timestamp) -> rusqlite::Result<()> {
    let most = OVERDUE_MAX + steps.iter().map(|step| step.writes.len()).sum::<usize>();
    let realms: BTreeSet<&str> = steps.iter().filter(|step| step.settled).map(|step| step.realm.as_str()).collect();
    // A `LIMIT ?` would be planned anew for every value that is bound to it.
    let mut overdue =
        connection.prepare_cached("SELECT name FROM documents WHERE realm = ?1 AND lease <= ?2 ORDER BY lease")?;
    for realm in realms {
        let names = overdue.query_map((realm, at.unix_micros()), |row| row.get::<_, String>(0))?;
        for name in names.take(most) {
            page.overdue(realm, name?);
        }
    }
    Ok(())
}

/// Writes back what has changed.
fn save(connection: &Connection, page: &Page) -> rusqlite::Result<()> {
    let mut cells = connection
        .prepare_cached("INSERT OR REPLACE INTO cells (realm, key, tat, held, asked) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for (realm, name, cell) in page.changed_cells() {
        let tat = cell.tally.tat.map(Timestamp::unix_micros);
        cells.execute((realm, key_of(name), tat, cell.tally.held, cell.asked))?;
    }
    let mut rows = connection.prepare_cached(
        "INSERT INTO documents (realm, name, version, body, lease) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO UPDATE SET version = excluded.version, body = excluded.body, lease = excluded.lease",
    )?;
    let mut gone = connection.prepare_cached("DELETE FROM documents WHERE realm = ?1 AND name = ?2")?;
    for (realm, name, row) in page.changed_rows() {
        match row {
            Some(row) => rows.execute((realm, name, row.version, &row.body, row.lease.map(Timestamp::unix_micros)))?,
            None => gone.execute((realm, name))?,
        };
    }
    let mut records =
        connection.prepare_cached("INSERT INTO record (sequence, at, realm, body) VALUES (?1, ?2, ?3, ?4)")?;
    for record in &page.records {
        records.execute((record.sequence, record.at.unix_micros(), &record.realm, &record.body))?;
    }
    let mut mark = connection.prepare_cached("UPDATE ledger SET epoch = ?1, sequence = ?2")?;
    mark.execute((page.mark.epoch, page.mark.sequence))?;
    Ok(())
}

impl<C: Clock + Send> Store for SqliteStore<C> {
    fn transact(&mut self, steps: &[Step], timescale: Timescale) -> Result<Vec<Reply>, LedgerError> {
        let changes = steps.iter().any(Step::changes);
        let behavior = if changes { TransactionBehavior::Immediate } else { TransactionBehavior::Deferred };
        let run = || {
            let transaction = Transaction::new_unchecked(&self.connection, behavior)?;
            let (before, versions) = mark_of(&transaction)?;
            if versions.are_newer() {
                return Ok(Err(versions));
            }
            let mut page = Page::new(before);
            let mut replies = Vec::with_capacity(steps.len());
            // What is one transaction happens in one instant: nobody else writes in between.
            let at = page::now(&self.clock, timescale);
            load_overdue(&transaction, &mut page, steps, at)?;
            for step in steps {
                load(&transaction, &mut page, step)?;
                replies.push(page.carry_out(step, at));
            }
            if page.mark != before {
                save(&transaction, &page)?;
                transaction.commit()?;
            }
            Ok(Ok(replies))
        };
        run().map_err(|error| self.failed(&error))?.map_err(|versions| versions.refused(url(&self.path)))
    }

    fn log(&mut self) -> Option<Log> {
        // As SQLite itself has the path, which may have been a link. The log is there since the ledger was read, and as long as it is
        // open here; SQLite locks nothing in it, so that it may be closed. (Closing the file itself would give up all locks of this process.)
        let path = format!("{}-wal", self.connection.path()?);
        let file = OpenOptions::new().write(true).open(path).ok()?;
        // The log is still synced before a checkpoint, and when it begins anew.
        self.connection.pragma_update(None, "synchronous", "NORMAL").ok()?;
        Some(Log { url: url(&self.path), file })
    }

    fn init(&mut self) -> Result<bool, LedgerError> {
        // One that is open is a ledger.
        Ok(false)
    }

    fn cells(&mut self, realm: &str, show: &mut dyn FnMut(String, Cell)) -> Result<(), LedgerError> {
        let mut run = || {
            let mut cells = self.connection.prepare("SELECT key, tat, held, asked FROM cells WHERE realm = ?1")?;
            let mut rows = cells.query([realm])?;
            while let Some(row) = rows.next()? {
                show(name_of(row.get_ref(0)?.as_str()?), cell_from(row, 1)?);
            }
            Ok(())
        };
        run().map_err(|error| self.failed(&error))
    }

    fn documents(&mut self, realm: &str, prefix: &str, show: &mut dyn FnMut(Document)) -> Result<(), LedgerError> {
        let mut run = || {
            // The last of all names that begin with `prefix`.
            let end = format!("{prefix}{}", char::MAX);
            let mut documents = self
                .connection
                .prepare("SELECT name, version, body FROM documents WHERE realm = ?1 AND name >= ?2 AND name <= ?3")?;
            let mut rows = documents.query((realm, prefix, end))?;
            while let Some(row) = rows.next()? {
                let version = Version::Written(row.get(1)?);
                show(Document { name: row.get(0)?, version, body: row.get(2)? });
            }
            Ok(())
        };
        run().map_err(|error| self.failed(&error))
    }

    fn records(&mut self, from: u64, most: usize, show: &mut dyn FnMut(Record)) -> Result<bool, LedgerError> {
        let mut run = || {
            let query = "SELECT sequence, at, realm, body FROM record WHERE sequence >= ?1 ORDER BY sequence LIMIT ?2";
            let mut records = self.connection.prepare_cached(query)?;
            let mut rows = records.query((from, most))?;
            let mut shown = 0;
            while let Some(row) = rows.next()? {
                let at = Timestamp::from_unix_micros(row.get(1)?);
                show(Record { sequence: row.get(0)?, at, realm: row.get(2)?, body: row.get(3)? });
                shown += 1;
            }
            Ok(shown == most)
        };
        run().map_err(|error| self.failed(&error))
    }

    fn sweep(&mut self, realm: &str, full: Timestamp, record: u64) -> Result<(u64, u64), LedgerError> {
        let run = || {
            let transaction = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
            let idle = "DELETE FROM cells WHERE realm = ?1 AND held = 0 AND (tat IS NULL OR tat < ?2)";
            let cells = transaction.execute(idle, (realm, whole(full).unix_micros()))?;
            let records = transaction.execute("DELETE FROM record WHERE sequence < ?1", [record])?;
            transaction.commit()?;
            Ok((cells as u64, records as u64))
        };
        run().map_err(|error| self.failed(&error))
    }

    fn mark(&mut self) -> Result<Mark, LedgerError> {
        mark_of(&self.connection).map(|(mark, _)| mark).map_err(|error| self.failed(&error))
    }

    fn check(&mut self) -> Result<(), LedgerError> {
        let told: String = self
            .connection
            .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
            .map_err(|error| self.failed(&error))?;
        if told == "ok" { Ok(()) } else { Err(LedgerError::Damaged { url: url(&self.path), reason: told }) }
    }

    fn notes(&mut self) -> Vec<String> {
        Vec::new()
    }
}

//! A ledger in a PostgreSQL database, for processes on many machines. Nothing here needs more than CockroachDB and YugabyteDB have: no
//! stored code, no advisory locks, no notifications.
//!
//! All steps of a call go in one transaction, which holds the ledger's one row: decisions are made one after the other, whatever the
//! isolation level. The rows that steps name, and the time, are read by a statement that begins when that row is held. Such a call takes
//! two journeys, since requests are sent without waiting for the answers before them (`tokio-postgres` can do that, its blocking wrapper
//! `postgres` can't). Questions take one, and no lock. A transaction that the database gives up for another's sake is tried again.

mod connection;
mod rows;
mod sql;

use futures_util::{TryStreamExt as _, pin_mut};
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use self::connection::{Connection, Session};
use self::rows::{cell, number};
use self::sql::Sql;
use super::page::whole;
use super::{Cell, Document, LedgerError, Mark, Record, Reply, SCHEMA, Step, Store, Version, Versions};
use crate::clock::Timescale;
use crate::time::Timestamp;

/// A ledger in a PostgreSQL database.
///
/// It waits in its own way for answers, and must not be used from async code (a [`super::Writer`] has a thread of its own).
pub struct PostgresStore {
    connection: Connection,
    sql: Sql,
}

/// What went wrong: with the database, or with what it holds.
enum Trouble {
    Database(tokio_postgres::Error),
    Ledger(LedgerError),
    Silent,
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error)
    }
}

impl From<LedgerError> for Trouble {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

impl PostgresStore {
    /// Connects to the database at `url`; `name` is the ledger's and `shown` the URL without a password. Whether there is a ledger is
    /// seen by the first call.
    ///
    /// # Errors
    /// [`LedgerError`] where it does not answer.
    pub fn connect(url: &str, name: &str, shown: String) -> Result<Self, LedgerError> {
        let mut store = Self { connection: Connection::new(url, shown)?, sql: Sql::new(name) };
        store.connection.run(async |_| Ok(()))?;
        Ok(store)
    }

    /// Runs one statement, and shows its rows one by one.
    fn query(
        &mut self,
        statement: &str,
        values: &[&(dyn ToSql + Sync)],
        show: &mut dyn FnMut(&Row) -> Result<(), Trouble>,
    ) -> Result<(), LedgerError> {
        self.connection.run(async |session| {
            let rows = session.client.query_raw(statement, values.iter().copied()).await?;
            pin_mut!(rows);
            while let Some(row) = rows.try_next().await? {
                show(&row)?;
            }
            Ok(())
        })
    }

    /// Runs a statement that takes rows away part by part, until nothing is left. How many.
    fn delete(&mut self, statement: &str, values: &[&(dyn ToSql + Sync)]) -> Result<u64, LedgerError> {
        let mut all = 0;
        loop {
            let gone = self.connection.run(async |session| Ok(session.client.execute(statement, values).await?))?;
            if gone == 0 {
                return Ok(all);
            }
            all += gone;
        }
    }

    /// A setting of the database, if it has it and tells it.
    fn setting(&mut self, query: &str) -> Option<String> {
        let told = async |session: &mut Session| Ok(session.client.query_one(query, &[]).await?.try_get(0)?);
        self.connection.run(told).ok().flatten()
    }
}

impl Store for PostgresStore {
    fn transact(&mut self, steps: &[Step], timescale: Timescale) -> Result<Vec<Reply>, LedgerError> {
        if steps.is_empty() {
            return Ok(Vec::new());
        }
        let url = self.connection.url.clone();
        let sql = &self.sql;
        self.connection.run(async |session| {
            let (client, decisions) = session.decisions(sql).await?;
            rows::decide(client, decisions, &url, steps, timescale).await
        })
    }

    fn init(&mut self) -> Result<bool, LedgerError> {
        match self.mark() {
            Err(LedgerError::NotInitialised { .. }) => {}
            Ok(_) => return Ok(false),
            Err(error) => return Err(error),
        }
        let sql = &self.sql;
        let made = self.connection.run(async |session| {
            let client = &session.client;
            // Somebody who may use a schema need not be allowed to make one.
            if client.query_one(&sql.has_schema(), &[]).await?.try_get::<_, i64>(0)? == 0 {
                meanwhile(client.batch_execute(&sql.make_schema()).await)?;
            }
            for table in sql.tables() {
                meanwhile(client.batch_execute(&table).await)?;
            }
            Ok(client.execute(&sql.marker(SCHEMA), &[]).await? == 1)
        })?;
        match self.mark() {
            Err(LedgerError::NotInitialised { url }) => {
                Err(LedgerError::Damaged { url, reason: "it has rows and no marker: it has lost something".to_owned() })
            }
            mark => mark.map(|_| made),
        }
    }

    fn cells(&mut self, realm: &str, show: &mut dyn FnMut(String, Cell)) -> Result<(), LedgerError> {
        self.query(&self.sql.cells(), &[&realm], &mut |row| {
            show(row.try_get(0)?, cell(row, 1)?);
            Ok(())
        })
    }

    fn documents(&mut self, realm: &str, prefix: &str, show: &mut dyn FnMut(Document)) -> Result<(), LedgerError> {
        self.query(&self.sql.documents(), &[&realm, &prefix], &mut |row| {
            show(Document { name: row.try_get(0)?, version: Version::Written(number(row, 1)?), body: row.try_get(2)? });
            Ok(())
        })
    }

    fn records(&mut self, from: u64, most: usize, show: &mut dyn FnMut(Record)) -> Result<bool, LedgerError> {
        let from = i64::try_from(from).unwrap_or(i64::MAX);
        let (most, mut shown) = (i64::try_from(most).unwrap_or(i64::MAX), 0);
        self.query(&self.sql.records(), &[&from, &most], &mut |row| {
            let at = Timestamp::from_unix_micros(row.try_get(1)?);
            show(Record { sequence: number(row, 0)?, at, realm: row.try_get(2)?, body: row.try_get(3)? });
            shown += 1;
            Ok(())
        })?;
        Ok(shown == most)
    }

    fn sweep(&mut self, realm: &str, full: Timestamp, record: u64) -> Result<(u64, u64), LedgerError> {
        self.mark()?;
        let (full, record) = (whole(full).unix_micros(), i64::try_from(record).unwrap_or(i64::MAX));
        let cells = self.delete(&self.sql.sweep_cells(), &[&realm, &full])?;
        Ok((cells, self.delete(&self.sql.sweep_record(), &[&record])?))
    }

    fn mark(&mut self) -> Result<Mark, LedgerError> {
        let mut found = None;
        self.query(&self.sql.mark(), &[], &mut |row| {
            let versions = Versions { schema: number(row, 2)?, writable_from: number(row, 3)? };
            found = Some((Mark { epoch: number(row, 0)?, sequence: number(row, 1)? }, versions));
            Ok(())
        })?;
        let url = self.connection.url.clone();
        match found {
            None => Err(LedgerError::NotInitialised { url }),
            Some((_, versions)) if versions.are_newer() => Err(versions.refused(url)),
            Some((mark, _)) => Ok(mark),
        }
    }

    fn check(&mut self) -> Result<(), LedgerError> {
        self.mark()?;
        let url = self.connection.url.clone();
        self.query(&self.sql.check(), &[], &mut |row| {
            let reason = format!("{} can't be", row.try_get::<_, String>(0)?);
            Err(LedgerError::Damaged { url: url.clone(), reason }.into())
        })
    }

    fn notes(&mut self) -> Vec<String> {
        let before = async |session: &mut Session| Ok(session.synchronous_commit.clone());
        let synchronous_commit = match self.connection.run(before) {
            Ok(setting) => setting,
            Err(error) => return vec![error.to_string()],
        };
        let mut notes = Vec::new();
        let mut note = |text: &str| notes.push(text.to_owned());
        match synchronous_commit.as_str() {
            "off" => note("synchronous_commit is off in this database: certpace sets it to on for its own changes"),
            "local" | "remote_write" => {
                note("synchronous_commit is weaker than on: a failover may lose the last changes");
            }
            _ => {}
        }
        if self.setting("SELECT current_setting('fsync', true)").as_deref() == Some("off") {
            note("fsync is off: a crash of the machine may lose changes, or the whole database");
        }
        let replicas = "SELECT CAST(count(*) AS TEXT) FROM pg_stat_replication WHERE sync_state = 'async'";
        if self.setting(replicas).is_some_and(|replicas| replicas != "0") {
            note(
                "a replica follows a moment later: a failover to it may lose the last changes; who has seen them is told that the ledger went back",
            );
        }
        let encrypted = "SELECT CAST(ssl AS TEXT) FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        if self.connection.is_remote() && self.setting(encrypted).is_some_and(|ssl| ssl == "false") {
            note("the connection is not encrypted; sslmode=require in the URL makes it so");
        }
        notes
    }
}

/// What two who make the same at the same time tell each other is no error.
fn meanwhile(made: Result<(), tokio_postgres::Error>) -> Result<(), tokio_postgres::Error> {
    match &made {
        Err(error) => match error.code() {
            Some(
                &(SqlState::UNIQUE_VIOLATION
                | SqlState::DUPLICATE_SCHEMA
                | SqlState::DUPLICATE_TABLE
                | SqlState::DUPLICATE_OBJECT),
            ) => Ok(()),
            _ => made,
        },
        Ok(()) => Ok(()),
    }
}

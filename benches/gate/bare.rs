//! Decisions by hand, as one would write them who needs only this: a Lua script, a PL/pgSQL function. They check as many buckets as the
//! gate does, hold as many, write as many documents and lines of the record with as many bytes, number their changes without gaps, and
//! take the time from the server: one journey a decision, on the same kind of connection.
//!
//! What they do not do: find out what is at stake (it is told them, ready made); notice that what the decision rests on has changed, that
//! leases have run out, or that the ledger has lost something; know a set, a queue, a freeze; tell which buckets are in the way and until
//! when; do the same as the other store does.

use certpace::time::{NS_PER_US, Span};
use redis::{Client, Connection};
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{NoTls, Statement};

use super::crowd::{Caller, timed};
use super::orders::{Bare, Orders};

const LUA: &str = include_str!("bare.lua");
const SQL: &str = include_str!("bare.sql");

/// When a lease ends, in microseconds: never.
fn lease_end() -> i64 {
    Span::from_days(36_500).nanos() / NS_PER_US
}

/// A connection to Redis, and the name of the script there.
pub(crate) struct BareRedis {
    connection: Connection,
    script: String,
    keys: [String; 5],
}

impl BareRedis {
    pub(crate) fn connect(url: &str, ledger: &str) -> Self {
        let client = Client::open(url).unwrap_or_else(|error| panic!("{error}"));
        let mut connection = client.get_connection().unwrap_or_else(|error| panic!("{error}"));
        let script = redis::cmd("SCRIPT").arg("LOAD").arg(LUA).query(&mut connection);
        let script = script.unwrap_or_else(|error| panic!("{error}"));
        let keys = ["marker", "record", "cells", "documents", "leases"].map(|kind| format!("{{{ledger}}}:{kind}"));
        Self { connection, script, keys }
    }

    pub(crate) fn caller(mut self, orders: &Orders) -> Caller<'_> {
        Box::new(move |order, times| timed(times, || self.decide(orders.bare(order))))
    }

    fn decide(&mut self, bare: &Bare) -> bool {
        let mut cmd = redis::cmd("EVALSHA");
        cmd.arg(&self.script).arg(self.keys.len()).arg(&self.keys).arg(bare.asked.len()).arg(bare.held);
        bare.asked.iter().for_each(|asked| _ = cmd.arg(&asked.name));
        bare.asked.iter().for_each(|asked| _ = cmd.arg(asked.emission).arg(asked.burst));
        cmd.arg(lease_end());
        bare.documents.iter().for_each(|(name, body)| _ = cmd.arg(name).arg(body));
        cmd.arg(&bare.record);
        cmd.query::<u64>(&mut self.connection).unwrap_or_else(|error| panic!("{error}")) > 0
    }
}

/// A session with PostgreSQL.
pub(crate) struct BarePostgres {
    runtime: Runtime,
    client: tokio_postgres::Client,
    statement: Option<Statement>,
}

impl BarePostgres {
    /// Makes the tables and the function.
    pub(crate) fn init(url: &str, ledger: &str) {
        let ledger = format!("bare_{ledger}");
        let session = Self::session(url);
        let sql = format!("CREATE SCHEMA {ledger}; SET search_path TO {ledger}; {SQL}");
        session.runtime.block_on(session.client.batch_execute(&sql)).unwrap_or_else(|error| panic!("{error:?}"));
    }

    pub(crate) fn connect(url: &str, ledger: &str) -> Self {
        let session = Self::session(url);
        let prepared = session.runtime.block_on(async {
            session.client.batch_execute(&format!("SET search_path TO bare_{ledger}")).await?;
            session.client.prepare("SELECT reserve($1, $2, $3, $4, $5, $6, $7, $8)").await
        });
        Self { statement: Some(prepared.unwrap_or_else(|error| panic!("{error:?}"))), ..session }
    }

    fn session(url: &str) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap_or_else(|error| panic!("{error}"));
        let client = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
            tokio::spawn(connection);
            Ok::<_, tokio_postgres::Error>(client)
        });
        Self { runtime, client: client.unwrap_or_else(|error| panic!("{error}")), statement: None }
    }

    pub(crate) fn caller(self, orders: &Orders) -> Caller<'_> {
        Box::new(move |order, times| timed(times, || self.decide(orders.bare(order))))
    }

    fn decide(&self, bare: &Bare) -> bool {
        let Some(statement) = &self.statement else { return false };
        let names: Vec<_> = bare.asked.iter().map(|asked| asked.name.as_str()).collect();
        let emissions: Vec<_> = bare.asked.iter().map(|asked| asked.emission).collect();
        let bursts: Vec<_> = bare.asked.iter().map(|asked| asked.burst).collect();
        let held = i64::try_from(bare.held).unwrap_or_default();
        let (written, bodies): (Vec<_>, Vec<_>) =
            bare.documents.iter().map(|(name, body)| (name.as_str(), body.as_str())).unzip();
        let row = self.runtime.block_on(self.client.query_one(
            statement,
            &[&names, &emissions, &bursts, &held, &written, &bodies, &lease_end(), &bare.record],
        ));
        row.and_then(|row| row.try_get(0)).unwrap_or_else(|error| panic!("{error:?}"))
    }
}

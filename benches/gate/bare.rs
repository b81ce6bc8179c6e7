//! Decisions by hand, as one would write them who needs only this: a Lua script, a PL/pgSQL function; one journey a decision, on the same
//! kind of connection, with the time from the server. There are two of each:
//!
//! - *Four buckets alone* (`buckets.lua`, `buckets.sql`): has each of the four buckets room, then each holds one more. Which they are is told
//!   them, ready made. No such ledger can do with so little: it is what the arithmetic and the journey take.
//! - *The same work* (`work.lua`, `work.sql`): from an account and names to a permit. It finds out what is at stake, notices that the set is
//!   in somebody's hand, that a lease has run out, that the realm is frozen or somebody waits, that the ledger has lost something; asks six
//!   buckets, tells those in the way and until when; holds four; and writes the permit, the hand, a line of the record and the sequence number,
//!   as plain fields.
//!
//! What neither does: orders of several names, renewals and what exempts them, other limits than today's, a queue that is fair, leases that run
//! out, what becomes of a permit, a ledger that can be computed again from its record, a format that may change; the same on every store.

use certpace::name::NameSet;
use certpace::time::{NS_PER_US, Span};
use redis::{Client, Connection};
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::types::ToSql;
use tokio_postgres::{NoTls, Statement};

use super::crowd::{Caller, timed};
use super::orders::{Bucket, Orders, SUFFIXES};

const KEYS: [&str; 6] = ["ledger", "record", "cells", "permits", "hands", "leases"];

/// How much is done by hand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Extent {
    Buckets,
    Work,
}

/// When a lease ends, in microseconds: never.
fn lease_end() -> i64 {
    Span::from_days(36_500).nanos() / NS_PER_US
}

/// What is at stake for an order of one name.
struct Stake {
    name: String,
    domain: String,
    set: String,
    permit: String,
}

impl Stake {
    fn of(order: usize, names: &NameSet) -> Self {
        let name = &names.identifiers()[0];
        SUFFIXES.check(name).unwrap_or_else(|error| panic!("{error}"));
        Self {
            name: name.to_string(),
            domain: SUFFIXES.domain_of(name),
            set: names.key().to_string(),
            permit: format!("{order:016x}"),
        }
    }
}

/// A connection to Redis, and the name of the script there.
pub(crate) struct BareRedis {
    connection: Connection,
    extent: Extent,
    script: String,
    keys: [String; 6],
    seen: u64,
}

impl BareRedis {
    pub(crate) fn init(url: &str, ledger: &str) {
        let mut connection = Self::connection(url);
        let made = redis::cmd("HSET").arg(format!("{{{ledger}}}:ledger")).arg("sequence").arg(0).exec(&mut connection);
        made.unwrap_or_else(|error| panic!("{error}"));
    }

    fn connection(url: &str) -> Connection {
        let client = Client::open(url).unwrap_or_else(|error| panic!("{error}"));
        client.get_connection().unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn connect(url: &str, ledger: &str, extent: Extent) -> Self {
        let mut connection = Self::connection(url);
        let text = match extent {
            Extent::Buckets => include_str!("buckets.lua"),
            Extent::Work => include_str!("work.lua"),
        };
        let script = redis::cmd("SCRIPT").arg("LOAD").arg(text).query(&mut connection);
        let script = script.unwrap_or_else(|error| panic!("{error}"));
        Self { connection, extent, script, keys: KEYS.map(|kind| format!("{{{ledger}}}:{kind}")), seen: 0 }
    }

    pub(crate) fn caller(mut self, orders: &Orders) -> Caller<'_> {
        Box::new(move |order, times| timed(times, || self.decide(orders, order)))
    }

    fn decide(&mut self, orders: &Orders, order: usize) -> bool {
        let mut cmd = redis::cmd("EVALSHA");
        cmd.arg(&self.script);
        match self.extent {
            Extent::Buckets => {
                cmd.arg(1).arg(&self.keys[2]);
                for Bucket { name, emission, burst } in orders.buckets(order) {
                    cmd.arg(name).arg(*emission).arg(*burst);
                }
            }
            Extent::Work => {
                let request = orders.request(order);
                let Stake { name, domain, set, permit } = Stake::of(order, &request.names);
                cmd.arg(self.keys.len())
                    .arg(&self.keys)
                    .arg(self.seen)
                    .arg(&request.account)
                    .arg(name)
                    .arg(domain)
                    .arg(set);
                cmd.arg(permit).arg(&request.holder).arg(lease_end());
                orders.quotas().for_each(|(emission, burst)| _ = cmd.arg(emission).arg(burst));
            }
        }
        let number: u64 = cmd.query(&mut self.connection).unwrap_or_else(|error| panic!("{error}"));
        self.seen = number;
        number > 0
    }
}

/// A session with PostgreSQL.
pub(crate) struct BarePostgres {
    runtime: Runtime,
    client: tokio_postgres::Client,
    prepared: Option<(Extent, Statement)>,
}

impl BarePostgres {
    /// Makes the tables and the function.
    pub(crate) fn init(url: &str, ledger: &str, extent: Extent) {
        let text = match extent {
            Extent::Buckets => include_str!("buckets.sql"),
            Extent::Work => include_str!("work.sql"),
        };
        let session = Self::session(url);
        let sql = format!("CREATE SCHEMA bare_{ledger}; SET search_path TO bare_{ledger}; {text}");
        session.runtime.block_on(session.client.batch_execute(&sql)).unwrap_or_else(|error| panic!("{error:?}"));
    }

    pub(crate) fn connect(url: &str, ledger: &str, extent: Extent) -> Self {
        let call = match extent {
            Extent::Buckets => "SELECT take($1, $2, $3)",
            Extent::Work => "SELECT reserve($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) IS NULL",
        };
        let session = Self::session(url);
        let prepared = session.runtime.block_on(async {
            // Plans are made for tables that are still empty, and would read them whole ever after.
            let settings = format!("SET search_path TO bare_{ledger}; SET enable_seqscan = off; SET enable_sort = off");
            session.client.batch_execute(&settings).await?;
            session.client.prepare(call).await
        });
        Self { prepared: Some((extent, prepared.unwrap_or_else(|error| panic!("{error:?}")))), ..session }
    }

    fn session(url: &str) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap_or_else(|error| panic!("{error}"));
        let client = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
            tokio::spawn(connection);
            Ok::<_, tokio_postgres::Error>(client)
        });
        Self { runtime, client: client.unwrap_or_else(|error| panic!("{error}")), prepared: None }
    }

    pub(crate) fn caller(self, orders: &Orders) -> Caller<'_> {
        Box::new(move |order, times| timed(times, || self.decide(orders, order)))
    }

    fn decide(&self, orders: &Orders, order: usize) -> bool {
        match &self.prepared {
            Some((Extent::Buckets, take)) => {
                let buckets = orders.buckets(order);
                let names = buckets.each_ref().map(|bucket| bucket.name.as_str());
                let emissions = buckets.each_ref().map(|bucket| bucket.emission);
                let bursts = buckets.each_ref().map(|bucket| bucket.burst);
                self.ask(take, &[&names.as_slice(), &emissions.as_slice(), &bursts.as_slice()])
            }
            Some((Extent::Work, reserve)) => {
                let request = orders.request(order);
                let Stake { name, domain, set, permit } = Stake::of(order, &request.names);
                let (emissions, bursts): (Vec<i64>, Vec<i64>) = orders.quotas().chain([(1, 1)]).unzip();
                let values: [&(dyn ToSql + Sync); 10] = [
                    &0_i64,
                    &request.account,
                    &name,
                    &domain,
                    &set,
                    &permit,
                    &request.holder,
                    &lease_end(),
                    &emissions,
                    &bursts,
                ];
                self.ask(reserve, &values)
            }
            None => false,
        }
    }

    fn ask(&self, statement: &Statement, values: &[&(dyn ToSql + Sync)]) -> bool {
        let row = self.runtime.block_on(self.client.query_one(statement, values));
        row.and_then(|row| row.try_get(0)).unwrap_or_else(|error| panic!("{error:?}"))
    }
}

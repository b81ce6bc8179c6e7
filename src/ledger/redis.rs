//! A ledger in a Redis server (or Valkey), for processes on many machines.
//!
//! A step is one call of a script, which the server carries out alone: `redis/decide.lua`. The time is the server's. All keys have one hash
//! tag, so in a cluster they lie on one node, which is followed when it moves. A server that may evict keys is refused whenever it is
//! connected to, and one without the marker of [`Store::init`] at every call, in the script itself: one that was restarted empty between
//! two calls is not taken for a full ledger. How durable a change is depends on how the server is set; [`Store::notes`] says it.

mod notes;
mod rows;
mod wire;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use redis::{
    Client, Cmd, Connection, ConnectionAddr, ConnectionLike as _, ErrorKind, FromRedisValue, IntoConnectionInfo as _,
};
use redis::{RedisError, RedisResult, ServerErrorKind, Value};

use self::rows::{CELLS, cell, cell_name, document, document_of, documents_matching, record};
use super::page::whole;
use super::{
    Cell, Document, LedgerError, Mark, Record, Reply, SCHEMA, Step, Store, Version, Versions, choose_cryptography,
};
use crate::clock::Timescale;
use crate::permits::Tally;
use crate::time::Timestamp;

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How long to wait for an answer.
const ANSWER: Duration = Duration::from_secs(10);
/// How many rows to ask for at once.
const ROWS: usize = 1_000;
/// How often to connect or to ask within one call: a ledger may be said to lie on another node, and that again.
const TURNS: usize = 8;

const DECIDE: &str = include_str!("redis/decide.lua");
const SWEEP: &str = include_str!("redis/sweep.lua");
const INIT: &str = include_str!("redis/init.lua");

/// The names of a ledger's keys.
struct Keys {
    /// The marker, and how far the ledger has come.
    marker: String,
    /// The record, a stream whose ids are the sequence numbers.
    record: String,
}

impl Keys {
    fn new(name: &str) -> Self {
        let marker = format!("{{certpace:{name}}}");
        Self { record: format!("{marker}:record"), marker }
    }

    /// A realm's `rows`, a hash of its cells and documents, or its `leases`, a sorted set.
    fn of(&self, kind: &str, realm: &str) -> String {
        [&self.marker, ":", kind, ":", realm].concat()
    }
}

/// A ledger in a Redis server.
pub struct RedisStore {
    url: String,
    /// What the URL names.
    entrance: Client,
    /// Where the ledger lies: in a cluster perhaps another node.
    client: Client,
    keys: Keys,
    connected: Option<Connected>,
}

struct Connected {
    connection: Connection,
    /// The name under which the server knows [`DECIDE`].
    sha: String,
    /// Room for a command and for all that go together, kept from call to call: a decision's take a while to come by.
    cmd: Cmd,
    packed: Vec<u8>,
}

/// What went wrong: with the server, or with what it holds.
enum Trouble {
    Redis(RedisError),
    Ledger(LedgerError),
}

impl From<RedisError> for Trouble {
    fn from(error: RedisError) -> Self {
        Self::Redis(error)
    }
}

impl From<LedgerError> for Trouble {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

impl RedisStore {
    /// Connects to the server at `url`; `name` is the ledger's and `shown` the URL without a password. Whether there is a ledger is seen
    /// by the first call.
    ///
    /// # Errors
    /// [`LedgerError`] where it does not answer or may throw keys away.
    pub fn connect(url: &str, name: &str, shown: String) -> Result<Self, LedgerError> {
        choose_cryptography();
        let client =
            Client::open(url).map_err(|error| LedgerError::Url { url: shown.clone(), reason: error.to_string() })?;
        let mut store = Self { url: shown, entrance: client.clone(), client, keys: Keys::new(name), connected: None };
        store.ask(|_, _, _| Ok(()))?;
        Ok(store)
    }

    /// Asks the server something, after connecting where that has to be. In a cluster it is asked again where the ledger lies.
    fn ask<T>(
        &mut self,
        mut question: impl FnMut(&mut Connected, &Keys, &str) -> Result<T, Trouble>,
    ) -> Result<T, LedgerError> {
        for _ in 0..TURNS {
            let trouble = match &mut self.connected {
                Some(connected) => match question(connected, &self.keys, &self.url) {
                    Ok(answer) => return Ok(answer),
                    Err(trouble) => trouble,
                },
                None => match connect(&self.client, &self.url) {
                    Ok(connected) => {
                        self.connected = Some(connected);
                        continue;
                    }
                    Err(trouble) => trouble,
                },
            };
            match trouble {
                Trouble::Ledger(error) => return Err(error),
                Trouble::Redis(error) if error.kind() == ErrorKind::Server(ServerErrorKind::Moved) => {
                    self.connected = None;
                    self.client = redirected(&self.client, &error).map_err(|error| self.failed(&error))?;
                }
                Trouble::Redis(error) => {
                    // An answer may still come on this connection, or it leads to a server that is a replica by now.
                    self.connected = None;
                    self.client = self.entrance.clone();
                    return Err(self.failed(&error));
                }
            }
        }
        let reason = "its nodes send us from one to the other".to_owned();
        Err(LedgerError::Unreachable { url: self.url.clone(), reason })
    }

    fn query<T: FromRedisValue>(&mut self, cmd: &Cmd) -> Result<T, LedgerError> {
        self.ask(|connected, _, _| Ok(cmd.query(&mut connected.connection)?))
    }

    fn failed(&self, error: &RedisError) -> LedgerError {
        let url = self.url.clone();
        let reason = match (error.code(), error.detail()) {
            (Some("WRONGTYPE"), _) => return LedgerError::Damaged { url, reason: error.to_string() },
            (Some(code), Some(detail)) => format!("{code} {detail}"),
            _ if error.is_timeout() => "it did not answer in time".to_owned(),
            _ => error.to_string(),
        };
        LedgerError::Unreachable { url, reason }
    }

    fn scan(&mut self, command: &str, key: &str, matching: &str, show: &mut Show<'_>) -> Result<(), LedgerError> {
        let mut cursor = 0_u64;
        // A server may show a row twice.
        let mut seen = HashSet::new();
        loop {
            let mut cmd = redis::cmd(command);
            cmd.arg(key).arg(cursor).arg("MATCH").arg(matching).arg("COUNT").arg(ROWS);
            let (next, rows): (u64, Vec<(String, String)>) = self.query(&cmd)?;
            for (name, row) in rows {
                if seen.insert(name.clone()) {
                    show(name, row)?;
                }
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }

    /// All keys of the ledger.
    fn all_keys(&mut self) -> Result<Vec<String>, LedgerError> {
        let (mut cursor, mut all, matching) = (0_u64, Vec::new(), format!("{}*", self.keys.marker));
        loop {
            let mut cmd = redis::cmd("SCAN");
            cmd.arg(cursor).arg("MATCH").arg(&matching).arg("COUNT").arg(ROWS);
            let (next, keys): (u64, Vec<String>) = self.query(&cmd)?;
            all.extend(keys);
            if next == 0 {
                all.sort_unstable();
                all.dedup();
                return Ok(all);
            }
            cursor = next;
        }
    }
}

type Show<'a> = dyn FnMut(String, String) -> Result<(), LedgerError> + 'a;

/// Connects, and makes sure that the server keeps what it is given and knows the script.
fn connect(client: &Client, url: &str) -> Result<Connected, Trouble> {
    let mut connection = client.get_connection_with_timeout(CONNECT)?;
    connection.set_read_timeout(Some(ANSWER))?;
    connection.set_write_timeout(Some(ANSWER))?;
    let info = info(&mut connection)?;
    let policy = info.get("maxmemory_policy").map(String::as_str);
    if policy != Some("noeviction") {
        let reason = format!(
            "its maxmemory-policy is {}: keys may be thrown away when memory is short; it has to be noeviction",
            policy.unwrap_or("not known")
        );
        return Err(LedgerError::Unsafe { url: url.to_owned(), reason }.into());
    }
    let sha = redis::cmd("SCRIPT").arg("LOAD").arg(DECIDE).query(&mut connection)?;
    Ok(Connected { connection, sha, cmd: Cmd::new(), packed: Vec::new() })
}

/// What the server says of itself.
fn info(connection: &mut Connection) -> RedisResult<BTreeMap<String, String>> {
    let text: String = redis::cmd("INFO").query(connection)?;
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    Ok(pairs.map(|(name, value)| (name.to_owned(), value.trim_end().to_owned())).collect())
}

/// The node to which the ledger has moved, with the same login.
fn redirected(client: &Client, moved: &RedisError) -> RedisResult<Client> {
    let info = client.get_connection_info().clone();
    let node = moved.redirect_node().and_then(|(node, _slot)| node.rsplit_once(':'));
    let Some((host, Ok(port))) = node.map(|(host, port)| (host, port.parse())) else { return Err(moved.clone()) };
    let host = host.to_owned();
    let addr = match info.addr().clone() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host, port, insecure, tls_params }
        }
        _ => ConnectionAddr::Tcp(host, port),
    };
    Client::open(info.set_addr(addr).into_connection_info()?)
}

/// Sends the steps together; each is decided by itself, in order.
fn decide(
    connected: &mut Connected,
    keys: &Keys,
    url: &str,
    steps: &[Step],
    timescale: Timescale,
) -> Result<Vec<Reply>, Trouble> {
    let Connected { connection, sha, cmd, packed } = connected;
    packed.clear();
    for step in steps {
        wire::command(cmd, sha, keys, step, timescale);
        cmd.write_packed_command(packed);
    }
    let mut values = connection.req_packed_commands(packed, 0, steps.len())?;
    let forgotten = |value: &Value| match value {
        Value::ServerError(error) => error.kind() == Some(ServerErrorKind::NoScript),
        _ => false,
    };
    let done = values.iter().position(forgotten).unwrap_or(values.len());
    if !values[done..].iter().all(forgotten) {
        // Its order is lost: somebody else taught it the script again in between.
        let reason = "it forgot the script while it was at work; ask again".to_owned();
        return Err(LedgerError::Unreachable { url: url.to_owned(), reason }.into());
    }
    values.truncate(done);
    let mut replies = Vec::with_capacity(steps.len());
    for (step, value) in steps.iter().zip(values) {
        match value.extract_error() {
            Ok(value) => replies.push(wire::reply(step, value, url)?),
            Err(error) if replies.is_empty() => return Err(error.into()),
            // What was done must not be done again, whatever this one could be asked again for.
            Err(error) => {
                let reason = format!("it stopped midway: {error}");
                return Err(LedgerError::Unreachable { url: url.to_owned(), reason }.into());
            }
        }
    }
    Ok(replies)
}

impl Store for RedisStore {
    fn transact(&mut self, steps: &[Step], timescale: Timescale) -> Result<Vec<Reply>, LedgerError> {
        let mut replies = Vec::with_capacity(steps.len());
        while replies.len() < steps.len() {
            let rest = &steps[replies.len()..];
            let done = self.ask(|connected, keys, url| decide(connected, keys, url, rest, timescale))?;
            if done.is_empty() {
                // It has forgotten the script, and learns it again.
                let sha = self.query(redis::cmd("SCRIPT").arg("LOAD").arg(DECIDE))?;
                self.connected.iter_mut().for_each(|connected| connected.sha.clone_from(&sha));
            }
            replies.extend(done);
        }
        Ok(replies)
    }

    fn init(&mut self) -> Result<bool, LedgerError> {
        let keys = self.all_keys()?;
        if let Some(key) = keys.first().filter(|_| !keys.contains(&self.keys.marker)) {
            let reason = format!("it has rows, in {key}, and no marker: it has lost something");
            return Err(LedgerError::Damaged { url: self.url.clone(), reason });
        }
        let mut cmd = redis::cmd("EVAL");
        cmd.arg(INIT).arg(1).arg(&self.keys.marker).arg(SCHEMA);
        self.query(&cmd)
    }

    fn cells(&mut self, realm: &str, show: &mut dyn FnMut(String, Cell)) -> Result<(), LedgerError> {
        self.mark()?;
        let key = self.keys.of("rows", realm);
        self.scan("HSCAN", &key, CELLS, &mut |field, row| {
            show(cell_name(&field), cell(&field, &row)?);
            Ok(())
        })
    }

    fn documents(&mut self, realm: &str, prefix: &str, show: &mut dyn FnMut(Document)) -> Result<(), LedgerError> {
        self.mark()?;
        let key = self.keys.of("rows", realm);
        self.scan("HSCAN", &key, &documents_matching(prefix), &mut |field, row| {
            show(document(&field, &row)?);
            Ok(())
        })
    }

    fn records(&mut self, from: u64, most: usize, show: &mut dyn FnMut(Record)) -> Result<bool, LedgerError> {
        self.mark()?;
        let mut cmd = redis::cmd("XRANGE");
        cmd.arg(&self.keys.record).arg(from).arg("+").arg("COUNT").arg(most);
        let lines: Vec<(String, [(String, String); 1])> = self.query(&cmd)?;
        let more = lines.len() == most;
        for (id, [(field, body)]) in lines {
            show(record(&id, &field, body)?);
        }
        Ok(more)
    }

    fn sweep(&mut self, realm: &str, full: Timestamp, record: u64) -> Result<(u64, u64), LedgerError> {
        self.mark()?;
        let (key, full) = (self.keys.of("rows", realm), whole(full));
        let mut idle = Vec::new();
        self.scan("HSCAN", &key, CELLS, &mut |field, row| {
            let Tally { tat, held } = cell(&field, &row)?.tally;
            idle.extend((held == 0 && tat.is_none_or(|tat| tat < full)).then_some(field));
            Ok(())
        })?;
        let mut cells = 0;
        for fields in idle.chunks(ROWS) {
            let mut cmd = redis::cmd("EVAL");
            cmd.arg(SWEEP).arg(1).arg(&key).arg(full.unix_micros()).arg(fields);
            cells += self.query::<u64>(&cmd)?;
        }
        let records = self.query(redis::cmd("XTRIM").arg(&self.keys.record).arg("MINID").arg(record))?;
        Ok((cells, records))
    }

    fn mark(&mut self) -> Result<Mark, LedgerError> {
        let mut cmd = redis::cmd("HMGET");
        cmd.arg(&self.keys.marker).arg("epoch").arg("sequence").arg("schema").arg("writable_from");
        let values: [Option<u64>; 4] = self.query(&cmd)?;
        let [Some(epoch), Some(sequence), Some(schema), Some(writable_from)] = values else {
            return Err(LedgerError::NotInitialised { url: self.url.clone() });
        };
        let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let versions = Versions { schema: number(schema), writable_from: number(writable_from) };
        if versions.are_newer() { Err(versions.refused(self.url.clone())) } else { Ok(Mark { epoch, sequence }) }
    }

    fn check(&mut self) -> Result<(), LedgerError> {
        let damaged = |url: &str, reason: String| Err(LedgerError::Damaged { url: url.to_owned(), reason });
        let sequence = self.mark()?.sequence;
        let last: Vec<(String, Vec<String>)> =
            self.query(redis::cmd("XREVRANGE").arg(&self.keys.record).arg("+").arg("-").arg("COUNT").arg(1))?;
        if let Some((id, _)) =
            last.first().filter(|(id, _)| id.split('-').next().and_then(|id| id.parse().ok()) > Some(sequence))
        {
            return damaged(&self.url, format!("its record has come to {id}, and its marker only to {sequence}"));
        }
        let (rows, mut newest) = (self.keys.of("rows", ""), 0);
        for key in self.all_keys()?.iter().filter(|key| key.starts_with(&rows)) {
            self.scan("HSCAN", key, "*", &mut |field, row| {
                if document_of(&field).is_none() {
                    return cell(&field, &row).map(drop);
                }
                match document(&field, &row)?.version {
                    Version::Written(version) => newest = newest.max(version),
                    Version::Unknown | Version::Absent => {}
                }
                Ok(())
            })?;
        }
        if newest > sequence {
            return damaged(
                &self.url,
                format!("a document was written by change {newest}, and its marker stands at {sequence}"),
            );
        }
        Ok(())
    }

    fn notes(&mut self) -> Vec<String> {
        notes::notes(self)
    }
}

//! One session with the database, made again when it is lost.

use std::error::Error as _;
use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Error, NoTls, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::Trouble;
use super::sql::Sql;
use crate::ledger::{LedgerError, choose_cryptography};

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How long to wait for all of an answer. The database gives up before, and lets go of its locks.
const ANSWER: Duration = Duration::from_secs(40);
/// How often a transaction is tried that the database gives up for another's sake.
const TRIES: u32 = 10;
/// The pause before it is tried again; each is twice as long as the one before.
const PAUSE: Duration = Duration::from_millis(4);
/// A client that is cut off holds the ledger for no longer than this.
const LIMITS: &str =
    "SET statement_timeout = '20s'; SET lock_timeout = '15s'; SET idle_in_transaction_session_timeout = '15s'";

/// The way to the database.
pub(super) struct Connection {
    /// The URL without a password.
    pub(super) url: String,
    config: Config,
    runtime: Runtime,
    session: Option<Session>,
}

/// A session, and what it has prepared.
pub(super) struct Session {
    pub(super) client: Client,
    decisions: Option<Decisions>,
    /// What `synchronous_commit` was before it was set.
    pub(super) synchronous_commit: String,
}

/// The statements that a decision needs.
pub(super) struct Decisions {
    pub(super) lock: Statement,
    pub(super) read: Statement,
    pub(super) save: Statement,
    pub(super) remove: Statement,
}

impl Connection {
    /// For the database at `url`; nothing is connected yet.
    pub(super) fn new(url: &str, shown: String) -> Result<Self, LedgerError> {
        choose_cryptography();
        // A certificate is always checked in full, where one is asked for.
        let text =
            url.replace("sslmode=verify-full", "sslmode=require").replace("sslmode=verify-ca", "sslmode=require");
        let refuse = |error: &Error| LedgerError::Url { url: shown.clone(), reason: told(error) };
        let mut config = text.parse::<Config>().map_err(|error| refuse(&error))?;
        config.application_name("certpace");
        config.connect_timeout(config.get_connect_timeout().copied().unwrap_or(CONNECT));
        config.tcp_user_timeout(ANSWER).keepalives_idle(ANSWER);
        let runtime = Builder::new_current_thread().enable_io().enable_time().build();
        let runtime =
            runtime.map_err(|error| LedgerError::Unreachable { url: shown.clone(), reason: error.to_string() })?;
        Ok(Self { url: shown, config, runtime, session: None })
    }

    /// Whether the way to the database is one that others may listen on.
    pub(super) fn is_remote(&self) -> bool {
        let remote = |host: &Host| match host {
            Host::Tcp(host) => host != "localhost" && !host.parse().is_ok_and(|at: IpAddr| at.is_loopback()),
            #[cfg(unix)]
            Host::Unix(_) => false,
        };
        self.config.get_hosts().iter().any(remote)
    }

    /// Does `work` in a session. It is done again from the start, after a pause, where the database gave it up for another's sake.
    pub(super) fn run<T>(
        &mut self,
        mut work: impl AsyncFnMut(&mut Session) -> Result<T, Trouble>,
    ) -> Result<T, LedgerError> {
        let (runtime, config, session) = (&self.runtime, &self.config, &mut self.session);
        let trouble = runtime.block_on(async {
            let mut pause = PAUSE;
            for tried in 1.. {
                if session.as_ref().is_none_or(|session| session.client.is_closed()) {
                    *session = Some(in_time(ANSWER, connect(config)).await?);
                }
                let Some(session) = session else { break };
                match in_time(ANSWER, work(session)).await {
                    Err(Trouble::Database(error)) if tried < TRIES && is_given_up(&error) => {
                        in_time(ANSWER, roll_back(session)).await?;
                        sleep(pause).await;
                        pause *= 2;
                    }
                    Err(Trouble::Ledger(error)) => {
                        in_time(ANSWER, roll_back(session)).await?;
                        return Err(Trouble::Ledger(error));
                    }
                    done => return done,
                }
            }
            Err(Trouble::Silent)
        });
        trouble.map_err(|trouble| {
            // Nobody knows what is still under way there; tables may have been made.
            self.session = None;
            self.failed(trouble)
        })
    }

    fn failed(&self, trouble: Trouble) -> LedgerError {
        let url = self.url.clone();
        let error = match trouble {
            Trouble::Ledger(error) => return error,
            Trouble::Silent => {
                return LedgerError::Unreachable { url, reason: "it did not answer in time".to_owned() };
            }
            Trouble::Database(error) => error,
        };
        let reason = told(&error);
        match error.code() {
            Some(&(SqlState::UNDEFINED_TABLE | SqlState::INVALID_SCHEMA_NAME)) => LedgerError::NotInitialised { url },
            Some(&(SqlState::DATA_CORRUPTED | SqlState::INDEX_CORRUPTED)) => LedgerError::Damaged { url, reason },
            _ => LedgerError::Unreachable { url, reason },
        }
    }
}

/// What the error says, with what the database says.
fn told(error: &Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(error), _) => format!("{} ({})", error.message(), error.code().code()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

/// Whether the transaction was undone, and may be done again.
fn is_given_up(error: &Error) -> bool {
    matches!(error.code(), Some(&(SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED)))
}

async fn in_time<T>(limit: Duration, work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    timeout(limit, work).await.unwrap_or(Err(Trouble::Silent))
}

async fn roll_back(session: &Session) -> Result<(), Trouble> {
    Ok(session.client.batch_execute("ROLLBACK").await?)
}

async fn connect(config: &Config) -> Result<Session, Trouble> {
    let client = match config.get_ssl_mode() {
        SslMode::Disable => plain(config).await?,
        SslMode::Prefer => match encrypted(config).await {
            // As everywhere, `prefer` goes without where it can't be had: `require` is for those who need it.
            Err(error) if error.as_db_error().is_none() => plain(config.clone().ssl_mode(SslMode::Disable)).await?,
            client => client?,
        },
        _ => encrypted(config).await?,
    };
    client.batch_execute(LIMITS).await?;
    // Rows are always found by their keys: planning that anew for each decision would take longer than doing it. Not all databases know it.
    _ = client.batch_execute("SET plan_cache_mode = 'force_generic_plan'").await;
    let synchronous_commit: String = client.query_one("SHOW synchronous_commit", &[]).await?.try_get(0)?;
    if synchronous_commit == "off" {
        client.batch_execute("SET synchronous_commit = 'on'").await?;
    }
    Ok(Session { client, decisions: None, synchronous_commit })
}

impl Session {
    /// What a decision needs; it is prepared when the first is made, since before that there may be no tables.
    pub(super) async fn decisions(&mut self, sql: &Sql) -> Result<(&Client, &Decisions), Trouble> {
        let client = &self.client;
        let decisions = match self.decisions.take() {
            Some(decisions) => decisions,
            None => Decisions {
                lock: client.prepare(&sql.lock()).await?,
                read: client.prepare(&sql.read()).await?,
                save: client.prepare(&sql.save()).await?,
                remove: client.prepare(&sql.remove()).await?,
            },
        };
        Ok((client, self.decisions.insert(decisions)))
    }
}

async fn plain(config: &Config) -> Result<Client, Error> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Encrypted, with a server whose certificate one of the system's authorities has issued (`SSL_CERT_FILE` names others).
async fn encrypted(config: &Config) -> Result<Client, Error> {
    let Ok((tls, _unreadable)) = MakeRustlsConnect::with_native_certs() else {
        // No authority is known, so no certificate would be good.
        return plain(config).await;
    };
    let (client, connection) = config.connect(tls).await?;
    tokio::spawn(connection);
    Ok(client)
}

//! Listening, TLS, and an end that lets open requests finish.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{HOST, HeaderMap, HeaderValue, USER_AGENT};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_rustls::TlsAcceptor;

use super::enforcer::Enforcer;
use super::journal::Verdict;
use super::proxy::Proxy;
use super::upstream::{Upstream, UpstreamError};
use crate::clock::{Clock as _, FastClock, SystemClock};
use crate::issuer::endpoints::{self, DirectoryError, Endpoints};
use crate::limits::{Limits, Policy};
use crate::psl::SuffixList;
use crate::time::Timestamp;
use crate::tls::{self, TlsError, Trust};

/// What to enforce, where.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The directory of the CA behind the proxy, an URL.
    pub upstream: String,
    /// Whom to trust as that CA.
    pub trust: Trust,
    /// Where to listen, as `host:port`; port 0 is a free one.
    pub listen: String,
    /// Names by which clients reach the proxy, beside those of `listen`, `localhost` and the loopback addresses.
    pub hostnames: Vec<String>,
    /// Whether the proxy itself speaks plain HTTP.
    pub plain: bool,
    /// How much faster than the clock the limits' time runs; at least 1.
    pub speed: u32,
    /// When the limits' time begins.
    pub start: Timestamp,
    /// What is enforced.
    pub limits: Limits,
    /// Public suffixes.
    pub suffixes: SuffixList,
}

/// What clients need to know, once the proxy listens.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Ready {
    /// The directory to give to clients.
    pub directory: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// The root that clients have to trust, as PEM; `None` without TLS.
    #[serde(skip)]
    pub root_pem: Option<String>,
    /// What is odd.
    pub notes: Vec<String>,
}

/// Why nothing is enforced.
#[derive(Debug, thiserror::Error)]
pub enum EnforceError {
    /// Nobody can listen there.
    #[error("can't listen at {listen}")]
    Listen {
        /// Where.
        listen: String,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// The system gives no threads or signals.
    #[error("can't start")]
    Start(#[source] io::Error),
    /// The CA can't be asked.
    #[error("can't read the directory {url}")]
    Upstream {
        /// Its directory.
        url: String,
        /// Why not.
        #[source]
        error: UpstreamError,
    },
    /// It answers with something else.
    #[error("{url} is no ACME directory")]
    Directory {
        /// Its directory.
        url: String,
        /// Why not.
        #[source]
        error: DirectoryError,
    },
    /// No TLS for the proxy itself.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Whoever was told that it is ready could not take it.
    #[error("{0}")]
    Told(Box<dyn std::error::Error + Send + Sync>),
}

/// How long to ask for a CA that is just starting.
const STARTING: Duration = Duration::from_secs(10);
/// How long open requests may take at the end.
const FINISHING: Duration = Duration::from_secs(10);

/// Enforces until a signal ends it (Ctrl-C, SIGTERM, SIGHUP), and says what came of it. `tell` is called once clients can come.
///
/// # Errors
/// [`EnforceError`] where it can't begin.
pub fn run(
    settings: Settings,
    tell: impl FnOnce(&Ready) -> Result<(), Box<dyn std::error::Error + Send + Sync>>,
) -> Result<Verdict, EnforceError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(EnforceError::Start)?.block_on(enforce(settings, tell))
}

async fn enforce(
    settings: Settings,
    tell: impl FnOnce(&Ready) -> Result<(), Box<dyn std::error::Error + Send + Sync>>,
) -> Result<Verdict, EnforceError> {
    let mut signals = Signals::watch().map_err(EnforceError::Start)?;
    let Settings { upstream: url, trust, listen, hostnames, plain, speed, start, limits, suffixes } = settings;
    let cannot_ask = |error| EnforceError::Upstream { url: url.clone(), error };
    let upstream = Upstream::new(&url, &trust).map_err(cannot_ask)?;
    let fail = |error| EnforceError::Listen { listen: listen.clone(), error };
    let listener = TcpListener::bind(&listen).await.map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    let host = host_of(&listen, &hostnames, address);
    let scheme = if plain { "http" } else { "https" };
    let authority = format!("{host}:{}", address.port());

    let body = ask(&upstream, &authority, scheme).await.map_err(cannot_ask)?;
    let endpoints = Endpoints::parse(&upstream.directory, &body)
        .map_err(|error| EnforceError::Directory { url: url.clone(), error })?;
    let notes = notes(&url, &limits, &endpoints, endpoints::other_host(&body, &authority));
    let tls = if plain { None } else { Some(tls::own(names(&host, hostnames), SystemClock.now())?) };
    let (root_pem, acceptor) = tls.map(|own| (own.root_pem, TlsAcceptor::from(own.config))).unzip();
    let ready = Ready { directory: format!("{scheme}://{authority}{}", upstream.directory), address, root_pem, notes };

    let unpause = format!("{scheme}://{authority}/-/unpause");
    let clock = FastClock::new(SystemClock, start, speed.max(1));
    let enforcer = Mutex::new(Enforcer::new(limits.clone(), suffixes, speed.max(1), unpause));
    let proxy = Arc::new(Proxy { enforcer, upstream, endpoints, clock, speed, scheme });
    tell(&ready).map_err(EnforceError::Told)?;
    serve(listener, acceptor, &proxy, &mut signals).await;
    let times = (start, clock.now());
    Ok(proxy.enforcer().journal().verdict(&url, &limits, speed, times))
}

/// The signals that end it.
struct Signals([Signal; 3]);

impl Signals {
    fn watch() -> io::Result<Self> {
        let watch = |kind| signal(kind);
        Ok(Self([watch(SignalKind::interrupt())?, watch(SignalKind::terminate())?, watch(SignalKind::hangup())?]))
    }

    async fn one(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

async fn serve(listener: TcpListener, acceptor: Option<TlsAcceptor>, proxy: &Arc<Proxy>, signals: &mut Signals) {
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = signals.one() => break,
        };
        let Ok((stream, peer)) = accepted else {
            // Out of file descriptors, mostly: others have to finish first.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (acceptor, proxy, watcher) = (acceptor.clone(), Arc::clone(proxy), graceful.watcher());
        tokio::spawn(async move {
            let _nodelay_is_for_speed = stream.set_nodelay(true);
            match acceptor {
                None => converse(stream, peer, proxy, watcher).await,
                Some(acceptor) => {
                    if let Some(stream) = handshake(acceptor, stream).await {
                        converse(stream, peer, proxy, watcher).await;
                    }
                }
            }
        });
    }
    drop(listener);
    // What is not finished by then is cut off.
    let _in_time = tokio::time::timeout(FINISHING, graceful.shutdown()).await;
}

/// A client that does not trust the proxy, or speaks no TLS, has gone again.
async fn handshake(acceptor: TlsAcceptor, stream: TcpStream) -> Option<tokio_rustls::server::TlsStream<TcpStream>> {
    tokio::time::timeout(Duration::from_secs(30), acceptor.accept(stream)).await.ok()?.ok()
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    proxy: Arc<Proxy>,
    watcher: hyper_util::server::graceful::Watcher,
) {
    let address = peer.ip().to_canonical();
    // Headers are written as Go writes them: not all clients know that their case does not matter.
    let service = service_fn(move |request| Arc::clone(&proxy).answer(address, request));
    let connection = http1::Builder::new()
        .title_case_headers(true)
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    // A connection that breaks is the client's affair.
    let _broken = watcher.watch(connection).await;
}

/// The directory, from a CA that may be just starting.
async fn ask(upstream: &Upstream, host: &str, scheme: &'static str) -> Result<Bytes, UpstreamError> {
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static("certpace"));
    headers.insert("x-forwarded-proto", HeaderValue::from_static(scheme));
    headers.extend(HeaderValue::from_str(host).ok().map(|host| (HOST, host)));
    let once = || upstream.send(Method::GET, &upstream.directory, headers.clone(), Bytes::new());
    let until_it_answers = async {
        loop {
            match once().await {
                Err(UpstreamError::NobodyThere(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
                answered => return answered,
            }
        }
    };
    let answered = match tokio::time::timeout(STARTING, until_it_answers).await {
        Ok(answered) => answered,
        Err(_still_starting) => once().await,
    };
    Ok(answered?.into_body())
}

/// The name by which clients are told to come.
fn host_of(listen: &str, hostnames: &[String], address: SocketAddr) -> String {
    let host = listen.rsplit_once(':').map_or(listen, |(host, _port)| host);
    match hostnames.first() {
        Some(host) => host.clone(),
        None if address.ip().is_unspecified() || host.is_empty() => "localhost".to_owned(),
        None => host.to_owned(),
    }
}

/// The names on the proxy's certificate.
fn names(host: &str, hostnames: Vec<String>) -> Vec<String> {
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let mut names = vec![host];
    names.extend(hostnames);
    names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    names.sort();
    names.dedup();
    names
}

/// What whoever starts it should know.
fn notes(url: &str, limits: &Limits, endpoints: &Endpoints, other_host: Option<String>) -> Vec<String> {
    let mut notes = Vec::new();
    let is_real = |name: &str| Policy::built_in(name).is_ok_and(|policy| policy.directories.iter().any(|of| of == url));
    if limits.policy.directories.iter().any(|of| of == url) || Policy::built_in_names().any(is_real) {
        notes.push(format!("{url} is a real CA, which counts as well: what passes here is spent there"));
    }
    if let Some(other) = other_host {
        notes.push(format!(
            "the CA's URLs name {other} whatever `Host` it is asked by: clients will go past the proxy unless they reach it by that name"
        ));
    }
    if limits.policy.renewal.ari && !endpoints.has_renewal_info() {
        notes.push("the CA offers no renewal information (ARI): no order is exempt by it".to_owned());
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(listen: &str, hostnames: &[&str], address: &str, host: &str) {
        let hostnames: Vec<String> = hostnames.iter().map(ToString::to_string).collect();
        assert_eq!(host_of(listen, &hostnames, address.parse().unwrap()), host);
    }

    #[test]
    fn clients_are_told_a_name_that_they_can_reach() {
        check("127.0.0.1:0", &[], "127.0.0.1:4711", "127.0.0.1");
        check("localhost:0", &[], "127.0.0.1:4711", "localhost");
        check("0.0.0.0:443", &[], "0.0.0.0:443", "localhost");
        check("0.0.0.0:443", &["acme.test"], "0.0.0.0:443", "acme.test");
        check("[::1]:0", &[], "[::1]:4711", "[::1]");
        assert_eq!(names("[::1]", vec!["acme.test".to_owned()]), ["127.0.0.1", "::1", "acme.test", "localhost"]);
    }
}

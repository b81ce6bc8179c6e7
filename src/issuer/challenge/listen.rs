//! Listeners for challenges, and the answers to http-01.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};

use super::{ChallengeError, Kind, Proof, WELL_KNOWN};

/// Connections that are open at a time; others wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 256;
/// How long a connection may last: the CA's requests take a moment.
const PATIENCE: Duration = Duration::from_secs(15);
/// A request line and headers.
const REQUEST_BYTES_MAX: usize = 16 << 10;
const BACKLOG: u32 = 1024;

/// A listener, which ends with its owner together with all its connections.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) address: SocketAddr,
    accepting: AbortHandle,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Listener {
    /// Listens at `address`, one of `all`, and hands each connection to `converse`.
    pub(super) fn start<F: Future<Output = ()> + Send + 'static>(
        address: SocketAddr,
        all: &[SocketAddr],
        kind: Kind,
        converse: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> Result<Self, ChallengeError> {
        let fail = |error| ChallengeError::Listen { address, kind, error };
        let listener = bind(address, all).map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        let accepting = tokio::spawn(accept(listener, converse)).abort_handle();
        Ok(Self { address, accepting })
    }
}

/// `[::]:80` is IPv4 as well, whatever the system's default, unless IPv4 has a listener of its own there.
fn bind(address: SocketAddr, all: &[SocketAddr]) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    if address.is_ipv6() {
        let beside = all.iter().any(|other| other.is_ipv4() && other.port() == address.port() && other.port() != 0);
        rustix::net::sockopt::set_ipv6_v6only(&socket, beside)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn accept<F: Future<Output = ()> + Send + 'static>(listener: TcpListener, converse: impl Fn(TcpStream) -> F) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut open = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _peer)) = listener.accept().await else {
            // Out of file descriptors, mostly: others have to finish first.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        while open.try_join_next().is_some() {}
        let conversation = converse(stream);
        open.spawn(async move {
            // What takes too long is cut off.
            let _in_time = tokio::time::timeout(PATIENCE, conversation).await;
            drop(place);
        });
    }
}

/// The answers to http-01 by token, of all orders.
#[derive(Debug, Default)]
pub(super) struct Tokens(Mutex<BTreeMap<String, String>>);

impl Tokens {
    pub(super) fn set(&self, proof: &Proof) {
        self.lock().insert(proof.token.clone(), proof.key_authorization.clone());
    }

    pub(super) fn clear(&self, proof: &Proof) {
        self.lock().remove(&proof.token);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers at `address`, one of `all`.
    pub(super) fn listen(
        tokens: &Arc<Self>,
        address: SocketAddr,
        all: &[SocketAddr],
    ) -> Result<Listener, ChallengeError> {
        let tokens = Arc::clone(tokens);
        Listener::start(address, all, Kind::Http01, move |stream| {
            let tokens = Arc::clone(&tokens);
            async move {
                let service = service_fn(move |request| {
                    let response = tokens.answer(&request);
                    async { Ok::<_, Infallible>(response) }
                });
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .max_buf_size(REQUEST_BYTES_MAX)
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), service);
                // A connection that breaks is the other side's affair.
                let _broken = connection.await;
            }
        })
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::default());
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let path = request.uri().path().strip_prefix('/').and_then(|path| path.strip_prefix(WELL_KNOWN));
        let token = path.and_then(|path| path.strip_prefix('/'));
        match token.and_then(|token| self.lock().get(token).cloned()) {
            None => *response.status_mut() = StatusCode::NOT_FOUND,
            Some(answer) => {
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
                *response.body_mut() = Full::from(answer);
            }
        }
        response
    }
}

//! Requests to a CA over HTTP, with or without TLS, and what is known of a request that was not answered.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::{Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::tls::{self, TlsError, Trust};

/// The longest answer that is read: a chain of certificates is a few kilobytes.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// Connections are not used again after that long. Servers close idle ones after a minute or so; a request that goes out at just that moment
/// may or may not arrive.
const IDLE: Duration = Duration::from_secs(20);

/// Connections to servers, kept open between requests. Copies share them.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Watched>,
    patience: Duration,
}

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub(crate) struct HttpError {
    pub(crate) why: Why,
    /// Whether any of its body may have left this machine. A server can't have acted on a request of which it has no body.
    pub(crate) sent: bool,
}

/// The reasons.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Why {
    #[error("nobody listens there")]
    NobodyThere,
    #[error("{0}")]
    Broken(String),
    #[error("no answer within {} s", .0.as_secs())]
    Slow(Duration),
}

impl Http {
    /// No connection is made yet. A request may take `patience` until its answer has been read.
    pub(crate) fn new(trust: &Trust, patience: Duration) -> Result<Self, TlsError> {
        let mut http = HttpConnector::new();
        // Small requests one after the other: with Nagle's algorithm each waits for the last one's acknowledgement.
        http.set_nodelay(true);
        http.enforce_http(false);
        let https = HttpsConnectorBuilder::new().with_tls_config(tls::client(trust)?);
        let https = https.https_or_http().enable_http1().wrap_connector(http);
        let mut client = Client::builder(TokioExecutor::new());
        client.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE);
        Ok(Self { client: client.build(https), patience })
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let polled = Arc::new(AtomicBool::new(false));
        let request = request.map(|bytes| Watched { bytes: Full::new(bytes), polled: Arc::clone(&polled) });
        let exchange = async {
            let response = self
                .client
                .request(request)
                .await
                .map_err(|error| if is_refused(&error) { Why::NobodyThere } else { Why::Broken(chain(&error)) })?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| Why::Broken(chain(&*error)))?;
            Ok(Response::from_parts(parts, body.to_bytes()))
        };
        let answer = tokio::time::timeout(self.patience, exchange).await;
        let answer = answer.unwrap_or(Err(Why::Slow(self.patience)));
        answer.map_err(|why| HttpError { why, sent: polled.load(Ordering::Relaxed) })
    }
}

/// A body that notes whether anyone has begun to read it: hyper does that with an open connection at hand, and not before.
#[derive(Debug)]
struct Watched {
    bytes: Full<Bytes>,
    polled: Arc<AtomicBool>,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.polled.store(true, Ordering::Relaxed);
        Pin::new(&mut self.bytes).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.bytes.size_hint()
    }
}

/// Whether the other side's machine has said that nobody listens there.
fn is_refused(error: &(dyn std::error::Error + 'static)) -> bool {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut kinds = causes.filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    kinds.any(|kind| kind == io::ErrorKind::ConnectionRefused)
}

/// An error and its causes in one line: hyper's own says little.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

//! The CA behind the proxy.

use std::io;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::header::HeaderMap;
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{Method, Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;

use crate::tls::{self, TlsError, Trust};

/// The longest answer that is read: a chain of certificates is a few kilobytes.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// How long the CA may take. Pebble gives up on its own after a minute.
const PATIENCE: Duration = Duration::from_secs(100);

/// Where the CA is, and the connections to it.
#[derive(Clone, Debug)]
pub(super) struct Upstream {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    scheme: Scheme,
    pub(super) authority: Authority,
    /// Where its directory is.
    pub(super) directory: String,
}

/// Why the CA could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// There is no such URL.
    #[error("`{url}` is no URL of an ACME directory such as https://localhost:14000/dir")]
    Url {
        /// What was given.
        url: String,
    },
    /// Nobody listens there, or not yet.
    #[error("nobody listens at {0}")]
    NobodyThere(Authority),
    /// It can't be spoken to.
    #[error("{0}")]
    Connect(String),
    /// It takes too long.
    #[error("it did not answer within {} s", PATIENCE.as_secs())]
    Slow,
    /// There is no TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Upstream {
    pub(super) fn new(url: &str, trust: &Trust) -> Result<Self, UpstreamError> {
        let bad = || UpstreamError::Url { url: url.to_owned() };
        let uri: Uri = url.parse().map_err(|_no_url| bad())?;
        let scheme = uri.scheme().filter(|scheme| **scheme == Scheme::HTTPS || **scheme == Scheme::HTTP);
        let scheme = scheme.ok_or_else(bad)?.clone();
        let authority = uri.authority().ok_or_else(bad)?.clone();
        let directory = uri.path().to_owned();
        let tls = if scheme == Scheme::HTTPS { tls::client(trust)? } else { no_tls()? };
        let mut http = HttpConnector::new();
        // Small requests one after the other: with Nagle's algorithm each waits for the last one's acknowledgement.
        http.set_nodelay(true);
        http.enforce_http(false);
        let https =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(http);
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(https), scheme, authority, directory })
    }

    /// Sends a request and reads the whole answer.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Bytes>, UpstreamError> {
        let connect = |error: &dyn std::error::Error| UpstreamError::Connect(chain(error));
        let path: PathAndQuery = path.parse().map_err(|error: hyper::http::uri::InvalidUri| connect(&error))?;
        let uri = Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone()).path_and_query(path);
        let uri = uri.build().map_err(|error| connect(&error))?;
        let mut request = Request::new(Full::new(body));
        (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (method, uri, headers);
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| {
                if is_refused(&error) { UpstreamError::NobodyThere(self.authority.clone()) } else { connect(&error) }
            })?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| UpstreamError::Connect(chain(&*error)))?;
            Ok(Response::from_parts(parts, body.to_bytes()))
        };
        tokio::time::timeout(PATIENCE, exchange).await.unwrap_or(Err(UpstreamError::Slow))
    }
}

/// The connector wants one even where it is never used.
fn no_tls() -> Result<ClientConfig, UpstreamError> {
    Ok(tls::client(&Trust::Anyone)?)
}

/// Whether the other side's machine has said that nobody listens there.
fn is_refused(error: &(dyn std::error::Error + 'static)) -> bool {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut kinds = causes.filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    kinds.any(|kind| kind == io::ErrorKind::ConnectionRefused)
}

/// An error and its causes in one line: hyper's own says little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

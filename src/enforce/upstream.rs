//! The CA behind the proxy.

use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::HeaderMap;
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{Method, Request, Response, Uri};

use crate::http::{Http, HttpError, Why};
use crate::tls::{TlsError, Trust};

/// How long the CA may take. Pebble gives up on its own after a minute.
const PATIENCE: Duration = Duration::from_secs(100);

/// Where the CA is, and the connections to it.
#[derive(Clone, Debug)]
pub(super) struct Upstream {
    http: Http,
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
        Ok(Self { http: Http::new(trust, PATIENCE)?, scheme, authority, directory })
    }

    /// Sends a request and reads the whole answer.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Bytes>, UpstreamError> {
        let connect = |error: &dyn std::error::Error| UpstreamError::Connect(error.to_string());
        let path: PathAndQuery = path.parse().map_err(|error: hyper::http::uri::InvalidUri| connect(&error))?;
        let uri = Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone()).path_and_query(path);
        let uri = uri.build().map_err(|error| connect(&error))?;
        let mut request = Request::new(body);
        (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (method, uri, headers);
        self.http.send(request).await.map_err(|HttpError { why, .. }| match why {
            Why::NobodyThere => UpstreamError::NobodyThere(self.authority.clone()),
            Why::Broken(what) => UpstreamError::Connect(what),
            Why::Slow(_) => UpstreamError::Slow,
        })
    }
}

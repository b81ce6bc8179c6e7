//! Requests to a CA: one pool of connections, below the CA's endpoint limits, with errors that say what came.
//!
//! instant-acme speaks ACME over a [`Session`]. What it leaves out is made up for here: `Retry-After` is kept for each request, an answer
//! that is no problem document is told as what it is, nonces are pooled, and account keys may be of kinds that it does not know: it signs
//! with a throw-away key then, and its messages are signed anew. Each order has a session of its own, so that what was seen last was this
//! order's.

mod directory;
mod error;
mod nonces;
mod pace;
mod renewal;
mod signed;
#[cfg(test)]
mod tests;

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Method, Response, StatusCode, Uri};
use instant_acme::{Account, AccountCredentials, BodyWrapper, BytesResponse, HttpClient};
use serde_json::json;

use super::key::AccountKey;
use crate::clock::{Clock as _, SystemClock};
use crate::http::Http;
use crate::limits::Policy;
use crate::rules::Request;
use crate::time::Span;
use crate::tls::Trust;
pub use directory::Directory;
use error::Answered;
pub use error::{AcmeError, PROBLEM, Subproblem};
use nonces::Nonces;
use pace::Pace;
pub use renewal::RenewalAnswer;

/// How long a request may take. A CA answers within seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a CA's logs know us by.
const AGENT: &str = concat!("certpace/", env!("CARGO_PKG_VERSION"));

const JOSE: &str = "application/jose+json";

type InstantError = instant_acme::Error;

/// What goes to one CA. Copies share connections, pace and nonces: a process has one for each CA.
#[derive(Clone, Debug)]
pub struct Wire(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    link: Link,
    directory: Directory,
}

/// The way to a CA, its directory known or not.
#[derive(Debug)]
struct Link {
    http: Http,
    pace: Pace,
    nonces: Nonces,
}

/// What was seen of a session's last request, other than one for a nonce.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Seen {
    /// The answer's status; `None` where there was no answer.
    pub status: Option<u16>,
    /// When the CA wants to be asked again. The clock's time: no speed makes it shorter.
    pub retry_after: Option<Span>,
    /// Where what the request made is.
    pub location: Option<String>,
    /// Whether the request may have reached the CA.
    pub may_have_reached: bool,
}

/// What is noted of a session's requests.
#[derive(Debug, Default)]
struct Notes {
    seen: Mutex<(Seen, String)>,
    requests: AtomicU64,
}

/// One order's, or one other caller's, use of an account.
pub struct Session {
    account: Account,
    notes: Arc<Notes>,
    thumbprint: String,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("account", &self.account.id()).field("notes", &self.notes).finish()
    }
}

/// Sends what instant-acme asks for.
struct Sender {
    wire: Wire,
    notes: Arc<Notes>,
    /// The account's key, where instant-acme does not know its kind.
    signer: Option<Arc<AccountKey>>,
}

/// A request on its way.
struct Outgoing {
    request: Request,
    method: Method,
    uri: Uri,
    body: Bytes,
}

impl Wire {
    /// Fetches the directory. `speed` is how much faster than in earnest the CA's limits refill: 1, but for rehearsals.
    ///
    /// # Errors
    /// [`AcmeError`] where there is no CA, or none that can be trusted.
    pub async fn open(directory: &str, trust: &Trust, policy: &Policy, speed: u32) -> Result<Self, AcmeError> {
        let local = |what: String| AcmeError::Local { what };
        let uri: Uri = directory.parse().ok().filter(is_http).ok_or_else(|| {
            local(format!("`{directory}` is no URL of an ACME directory such as https://acme.example/directory"))
        })?;
        let http = Http::new(trust, PATIENCE).map_err(|error| local(told(&error)))?;
        let link = Link { http, pace: Pace::new(policy, speed), nonces: Nonces::default() };
        let path = uri.path().to_owned();
        let outgoing = Outgoing { request: Request::Directory, method: Method::GET, uri, body: Bytes::new() };
        let answer = link.send(outgoing, &Notes::default()).await?;
        let directory = Directory::parse(directory, &path, answer.body());
        let directory = directory.map_err(|error| local(format!("{}: {}", told(&error), describe(&answer))))?;
        Ok(Self(Arc::new(Inner { link, directory })))
    }

    /// What the CA says of itself.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.0.directory
    }

    /// An account of the CA for one caller: one order, or a lookup. `url` is the account's. No request is made.
    ///
    /// # Errors
    /// [`AcmeError::Local`] where the key can't be used.
    pub async fn session(&self, url: &str, key: &Arc<AccountKey>) -> Result<Session, AcmeError> {
        let local = |error: &dyn std::error::Error| AcmeError::Local { what: told(error) };
        let notes = Arc::<Notes>::default();
        let signer = (!key.is_native()).then(|| Arc::clone(key));
        let sender = Sender { wire: self.clone(), notes: Arc::clone(&notes), signer };
        let credentials = json!({
            "id": url, "key_pkcs8": BASE64URL_NOPAD.encode(key.stand_in()), "urls": self.directory().raw,
        });
        let credentials: AccountCredentials = serde_json::from_value(credentials).map_err(|error| local(&error))?;
        let account = Account::builder_with_http(Box::new(sender)).from_credentials(credentials).await;
        let account = account.map_err(|error| local(&error))?;
        Ok(Session { account, notes, thumbprint: key.thumbprint() })
    }

    /// Which class of endpoint an URL is of.
    fn request(&self, uri: &Uri) -> Request {
        self.directory().request(uri.path())
    }

    /// Sends a request and returns its answer: one that is not an error, or says that the nonce is bad.
    async fn send(&self, method: Method, uri: Uri, body: Bytes, notes: &Notes) -> Result<Response<Bytes>, AcmeError> {
        let outgoing = Outgoing { request: self.request(&uri), method, uri, body };
        self.0.link.send(outgoing, notes).await
    }

    /// A nonce: one that is left over, or a new one.
    async fn nonce(&self, notes: &Notes) -> Result<String, AcmeError> {
        let nonces = &self.0.link.nonces;
        if let Some(nonce) = nonces.take() {
            return Ok(nonce);
        }
        let uri = self.directory().new_nonce.parse::<Uri>();
        let uri = uri.map_err(|error| AcmeError::Local { what: format!("newNonce: {error}") })?;
        self.send(Method::HEAD, uri, Bytes::new(), notes).await?;
        let none = || AcmeError::Unavailable { what: "the CA gives no nonce".to_owned(), retry_after: None };
        nonces.take().ok_or_else(none)
    }
}

impl Link {
    async fn send(&self, outgoing: Outgoing, notes: &Notes) -> Result<Response<Bytes>, AcmeError> {
        let Outgoing { request, method, uri, body } = outgoing;
        let is_post = method == Method::POST;
        let place = place(&uri);
        if let Err(wait) = self.pace.ready(request).await {
            let what = format!("{place} wants no requests for another {wait}");
            return Err(AcmeError::Unavailable { what, retry_after: Some(wait) });
        }
        let mut sent = hyper::Request::new(body);
        (*sent.method_mut(), *sent.uri_mut()) = (method, uri);
        sent.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
        if is_post {
            sent.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JOSE));
        }
        // Whoever stops waiting for the answer does not know either whether there will be one.
        notes.sending(request, is_post);
        let mut answer = match self.http.send(sent).await {
            Ok(answer) => answer,
            Err(error) => {
                notes.unanswered(request, error.sent);
                return Err(AcmeError::unanswered(&error).at(&place));
            }
        };
        let retry_after = error::retry_after(answer.headers(), SystemClock.now());
        notes.answered(request, &answer, retry_after);
        let answered = answered(&answer, retry_after);
        if answered.is_bad_nonce() {
            return Ok(answer);
        }
        let error = (!answer.status().is_success()).then(|| AcmeError::of(request, &answered));
        self.nonces.keep(answer.headers_mut());
        if answer.status() == StatusCode::SERVICE_UNAVAILABLE
            && let Some(wait) = retry_after
        {
            self.pace.hold(request, wait);
        }
        error.map_or(Ok(answer), |error| Err(error.at(&place)))
    }
}

impl AcmeError {
    /// The same with the server's name, where the CA does not speak for itself.
    fn at(self, place: &str) -> Self {
        let at = |what: String| format!("{place}: {what}");
        match self {
            Self::Unavailable { what, retry_after } => Self::Unavailable { what: at(what), retry_after },
            Self::Lost { what } => Self::Lost { what: at(what) },
            Self::RateLimited { .. } | Self::Problem { .. } | Self::Local { .. } => self,
        }
    }
}

impl Notes {
    fn note(&self, request: Request, seen: Seen, told: String) {
        if request != Request::NewNonce {
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = (seen, told);
        }
    }

    fn sending(&self, request: Request, is_post: bool) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.note(request, Seen { may_have_reached: is_post, ..Seen::default() }, String::new());
    }

    fn unanswered(&self, request: Request, sent: bool) {
        self.note(request, Seen { may_have_reached: sent, ..Seen::default() }, String::new());
    }

    fn answered(&self, request: Request, answer: &Response<Bytes>, retry_after: Option<Span>) {
        let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let seen = Seen { status: Some(answer.status().as_u16()), retry_after, location, may_have_reached: true };
        self.note(request, seen, describe(answer));
    }
}

impl Session {
    /// The library's account, over this session.
    // Whatever sends an order with it takes a permit: the library's `new_order` does not.
    #[must_use]
    pub(in crate::issuer) fn account(&self) -> &Account {
        &self.account
    }

    /// What was seen of the last request.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.notes.seen.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// How many requests were sent, those for nonces included.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.notes.requests.load(Ordering::Relaxed)
    }

    /// What proves control of a name to the CA, for a challenge's token (RFC 8555, section 8.1).
    #[must_use]
    pub fn key_authorization(&self, token: &str) -> String {
        format!("{token}.{}", self.thumbprint)
    }

    /// What the library's error means.
    #[must_use]
    pub fn error(&self, error: InstantError) -> AcmeError {
        let last = || self.notes.seen.lock().unwrap_or_else(PoisonError::into_inner).1.clone();
        match error {
            InstantError::Other(error) => match error.downcast::<AcmeError>() {
                Ok(own) => *own,
                // An answer that is not what was asked for, such as an order without the `replaces` that it was made with.
                Err(other) => AcmeError::odd(&other.to_string(), &last()),
            },
            InstantError::Api(problem) => AcmeError::told(problem),
            InstantError::Json(error) => AcmeError::odd(&error.to_string(), &last()),
            InstantError::Str(what) => AcmeError::odd(what, &last()),
            InstantError::Timeout(_) => {
                let what = "the CA did not finish in time".to_owned();
                AcmeError::Unavailable { what, retry_after: self.seen().retry_after }
            }
            other => AcmeError::Local { what: told(&other) },
        }
    }
}

impl Sender {
    async fn send(self, request: hyper::Request<BodyWrapper<Bytes>>) -> Result<Response<Bytes>, AcmeError> {
        let Self { wire, notes, signer } = self;
        let (parts, body) = request.into_parts();
        if parts.uri == *wire.directory().new_nonce && parts.method == Method::HEAD {
            let nonce = wire.nonce(&notes).await?;
            let answer = Response::builder().header(nonces::REPLAY_NONCE, nonce).body(Bytes::new());
            return answer.map_err(|error| AcmeError::Local { what: told(&error) });
        }
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let body = match signer {
            Some(key) => signed::anew(&body, &key)?,
            None => body,
        };
        let is_new_order = wire.request(&parts.uri) == Request::NewOrder;
        let answer = wire.send(parts.method, parts.uri, body, &notes).await?;
        if is_new_order && answer.status().is_success() && !answer.headers().contains_key(LOCATION) {
            return Err(AcmeError::odd("the new order has no URL", &describe(&answer)));
        }
        Ok(answer)
    }
}

impl HttpClient for Sender {
    fn request(
        &self,
        request: hyper::Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, InstantError>> + Send>> {
        let Self { wire, notes, signer } = self;
        let sender = Self { wire: wire.clone(), notes: Arc::clone(notes), signer: signer.clone() };
        Box::pin(async move {
            let answer = sender.send(request).await.map_err(|error| InstantError::Other(Box::new(error)))?;
            Ok(BytesResponse::from(answer.map(Full::new)))
        })
    }
}

fn answered(answer: &Response<Bytes>, retry_after: Option<Span>) -> Answered<'_> {
    Answered { status: answer.status(), headers: answer.headers(), retry_after, body: answer.body() }
}

fn describe(answer: &Response<Bytes>) -> String {
    answered(answer, None).describe()
}

fn is_http(uri: &Uri) -> bool {
    matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some()
}

/// A server's name, for people.
fn place(uri: &Uri) -> String {
    uri.authority().map(ToString::to_string).unwrap_or_default()
}

/// An error and its causes in one line.
fn told(error: &dyn std::error::Error) -> String {
    crate::http::chain(error)
}

//! One request after the other: read, decided, sent on or answered.

use std::borrow::Cow;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, LINK,
    RETRY_AFTER, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use hyper::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;

use super::answer::Answer;
use super::bodies::RenewalInfoBody;
use super::call::Call;
use super::enforcer::{Enforcer, Moment, Pending, Reply, Step, Window};
use super::journal::Client;
use super::pages;
use super::upstream::Upstream;
use crate::clock::{Clock as _, FastClock, SystemClock};
use crate::issuer::endpoints::Endpoints;
use crate::time::NS_PER_S;

/// The longest request that is read: an order of a hundred names takes ten kilobytes.
const REQUEST_BYTES_MAX: usize = 1 << 20;
const REPLAY_NONCE: HeaderName = HeaderName::from_static("replay-nonce");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
/// What is between two neighbours, and not passed on (RFC 9110, section 7.6.1). The length is set anew.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    CONTENT_LENGTH,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// What all requests share.
#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) enforcer: Mutex<Enforcer>,
    pub(super) upstream: Upstream,
    pub(super) endpoints: Endpoints,
    pub(super) clock: FastClock<SystemClock>,
    pub(super) speed: u32,
    /// By which clients reach the proxy.
    pub(super) scheme: &'static str,
}

type Answered = Response<Full<Bytes>>;

impl Proxy {
    /// What is decided is decided at once: a thread that panics can't leave it half done.
    pub(super) fn enforcer(&self) -> MutexGuard<'_, Enforcer> {
        self.enforcer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Moment {
        Moment { limits: self.clock.now(), wall: SystemClock.now() }
    }

    /// Answers a request from `address`.
    pub(super) async fn answer(
        self: Arc<Self>,
        address: IpAddr,
        request: Request<Incoming>,
    ) -> Result<Answered, Infallible> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        if let Some(page) = path.strip_prefix("/-/") {
            return Ok(self.page(page, &parts.method, parts.uri.query().unwrap_or_default()));
        }
        let body = match Limited::new(body, REQUEST_BYTES_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => return Ok(render(&Answer::too_long(), None)),
            // The client has gone: nobody reads the answer.
            Err(_gone) => return Ok(render(&Answer::no_answer("the request broke off"), None)),
        };
        let user_agent =
            parts.headers.get(USER_AGENT).map(|name| String::from_utf8_lossy(name.as_bytes()).into_owned());
        let client = Client { address, user_agent: user_agent.unwrap_or_default() };
        let call = Call::read(&self.endpoints, parts.method.as_str(), &path, &body);
        let headers = self.headers(parts.headers, address);
        let target = parts.uri.path_and_query().map_or(path, ToString::to_string);
        // To the end, even if the client goes away: what the CA accepts is counted.
        let worked = tokio::spawn(async move {
            let window = self.window(&call, &headers).await;
            let step = self.enforcer().request(self.now(), client, call, window);
            match step {
                Step::Answer(answer) => {
                    let nonce = if answer.has_nonce { self.nonce(&headers).await } else { None };
                    self.with_links(render(&answer, nonce), &headers)
                }
                Step::Forward(pending) => self.forward(*pending, parts.method, &target, headers, body).await,
            }
        });
        Ok(worked.await.unwrap_or_else(|_panicked| render(&Answer::no_answer("an error of certpace's own"), None)))
    }

    async fn forward(
        &self,
        pending: Pending,
        method: Method,
        target: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Answered {
        let sent = self.upstream.send(method, target, headers, body).await;
        let response = match sent {
            Ok(response) => response,
            Err(error) => {
                self.enforcer().response(self.now(), pending, None);
                let why = format!("the CA behind the proxy, {}, can't be asked: {error}", self.upstream.authority);
                return render(&Answer::no_answer(&why), None);
            }
        };
        let (mut parts, body) = response.into_parts();
        let content_type = parts.headers.get(CONTENT_TYPE).and_then(|of| of.to_str().ok()).unwrap_or_default();
        let reply = Reply { status: parts.status.as_u16(), content_type, body: &body };
        self.enforcer().response(self.now(), pending, Some(reply));
        strip(&mut parts.headers);
        Response::from_parts(parts, Full::new(body))
    }

    /// The headers for the CA: the client's, with its `Host`, so that the CA's URLs lead back to the proxy.
    fn headers(&self, mut headers: HeaderMap, address: IpAddr) -> HeaderMap {
        strip(&mut headers);
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(self.scheme));
        if let Ok(address) = HeaderValue::from_str(&address.to_string()) {
            headers.insert(REAL_IP, address);
        }
        headers
    }

    /// When the CA suggests to renew the certificate that an order replaces. Boulder looks at the time of the order, too.
    async fn window(&self, call: &Call, headers: &HeaderMap) -> Option<Window> {
        let path = self.endpoints.renewal_info(call.replaces()?)?;
        let response = self.upstream.send(Method::GET, &path, asking(headers), Bytes::new()).await.ok()?;
        let body: RenewalInfoBody = serde_json::from_slice(response.body()).ok()?;
        Some((body.suggested_window.start, body.suggested_window.end))
    }

    /// A nonce that the CA takes: the one that came with a refused request is still good, but clients want a new one.
    async fn nonce(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let sent = self.upstream.send(Method::HEAD, self.endpoints.new_nonce(), asking(headers), Bytes::new()).await;
        sent.ok()?.headers().get(REPLAY_NONCE).cloned()
    }

    /// Boulder's links: to the directory, and to what explains limits.
    fn with_links(&self, mut answered: Answered, headers: &HeaderMap) -> Answered {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let index = format!("<{}://{host}{}>;rel=\"index\"", self.scheme, self.upstream.directory);
        let help = "<https://letsencrypt.org/docs/rate-limits>;rel=\"help\"";
        let limited =
            answered.status() == StatusCode::TOO_MANY_REQUESTS && answered.headers().contains_key(RETRY_AFTER);
        for link in [Some(index.as_str()), limited.then_some(help)].into_iter().flatten() {
            if let Ok(link) = HeaderValue::from_str(link) {
                answered.headers_mut().append(LINK, link);
            }
        }
        answered
    }

    /// The proxy's own pages. They count against no limit.
    fn page(&self, page: &str, method: &Method, query: &str) -> Answered {
        const JSON: &str = "application/json";
        const TEXT: &str = "text/plain; charset=utf-8";
        let ok = StatusCode::OK;
        let account = account_of(query);
        let (status, content_type, body) = match (page, account.as_deref(), method == Method::POST) {
            ("health", ..) => (ok, JSON, "{\"status\":\"ok\"}\n".to_owned()),
            ("buckets", ..) => (ok, JSON, pages::buckets(&self.enforcer(), self.speed, self.clock.now())),
            ("log", ..) => (ok, "application/jsonl", pages::log(&self.enforcer())),
            ("unpause", Some(account), true) => {
                (ok, JSON, format!("{{\"unpaused\":{}}}\n", self.enforcer().unpause(account)))
            }
            ("unpause", ..) => (ok, TEXT, "POST to /-/unpause?account=URL lifts the account's pauses.\n".to_owned()),
            _ => (StatusCode::NOT_FOUND, TEXT, "There are /-/health, /-/buckets, /-/log and /-/unpause.\n".to_owned()),
        };
        let mut answered = Response::new(Full::new(Bytes::from(body)));
        *answered.status_mut() = status;
        answered.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        answered
    }
}

/// The account that a query names, with or without `%XX` for its slashes.
fn account_of(query: &str) -> Option<Cow<'_, str>> {
    Some(percent_decode_str(query.strip_prefix("account=")?).decode_utf8_lossy())
}

/// Takes out what is not passed on.
fn strip(headers: &mut HeaderMap) {
    HOP_BY_HOP.iter().for_each(|name| drop(headers.remove(name)));
}

/// The headers of a question of the proxy's own: as if the client asked.
fn asking(headers: &HeaderMap) -> HeaderMap {
    let kept = [HOST, FORWARDED_PROTO, REAL_IP, USER_AGENT].into_iter();
    let mut asking: HeaderMap = kept.filter_map(|name| Some((name.clone(), headers.get(&name)?.clone()))).collect();
    // RFC 8555 demands one.
    asking.entry(USER_AGENT).or_insert(HeaderValue::from_static("certpace"));
    asking
}

fn render(answer: &Answer, nonce: Option<HeaderValue>) -> Answered {
    let mut answered = Response::new(Full::new(Bytes::from(answer.body())));
    *answered.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let headers = answered.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=0, no-cache"));
    headers.extend(answer.retry_after.map(|wait| (RETRY_AFTER, HeaderValue::from(wait.nanos() / NS_PER_S))));
    headers.extend(nonce.map(|nonce| (REPLAY_NONCE, nonce)));
    answered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_named_as_it_is_or_encoded() {
        let named = |query| account_of(query).map(Cow::into_owned);
        assert_eq!(named("account=https://ca/acct/1?a+b").as_deref(), Some("https://ca/acct/1?a+b"));
        assert_eq!(named("account=https%3A%2F%2Fca%2facct%2F1").as_deref(), Some("https://ca/acct/1"));
        assert_eq!((named(""), named("name=x")), (None, None));
    }
}

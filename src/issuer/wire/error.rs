//! What became of a request that did not do what it was meant to, and what of that is known.

use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER};
use serde::Deserialize;
use serde_json::Value;

use crate::http::HttpError;
use crate::rules::Request;
use crate::time::{Span, Timestamp};

/// What the problem types of ACME begin with (RFC 8555, section 6.7).
pub const PROBLEM: &str = "urn:ietf:params:acme:error:";

/// How much of an answer that nobody expects is shown.
const SHOWN_CHARS: usize = 120;

/// Why a request to a CA did not do what it was meant to. Times to wait are the clock's: no speed makes them shorter.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AcmeError {
    /// A limit of the CA: 429, or a problem `rateLimited`.
    #[error("{detail}")]
    RateLimited {
        /// What the CA says.
        detail: String,
        /// When it may be tried again.
        retry_after: Option<Span>,
    },
    /// The request was surely not processed: nobody listens, no TLS, a load balancer that is busy.
    #[error("{what}")]
    Unavailable {
        /// What came instead of an answer.
        what: String,
        /// When it may be tried again.
        retry_after: Option<Span>,
    },
    /// Nobody knows whether it was processed: the connection broke or took too long, or the answer can't be understood.
    #[error("{what}")]
    Lost {
        /// What came instead of an answer.
        what: String,
    },
    /// The CA refuses.
    #[error("{detail}{}", Subproblem::list(subproblems))]
    Problem {
        /// Its type, without [`PROBLEM`] where it is one of ACME's: `malformed`. Where the answer was no problem document, `about:blank`.
        kind: String,
        /// What the CA says.
        detail: String,
        /// The HTTP status.
        status: u16,
        /// What is wrong with single identifiers.
        subproblems: Vec<Subproblem>,
    },
    /// It could not even be sent, by our own fault.
    #[error("{what}")]
    Local {
        /// What is wrong.
        what: String,
    },
}

/// What is wrong with one identifier (RFC 8555, section 6.7.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subproblem {
    /// Which.
    pub identifier: Option<String>,
    /// The problem's type, as in [`AcmeError::Problem`].
    pub kind: String,
    /// What the CA says.
    pub detail: String,
}

impl Subproblem {
    fn list(all: &[Self]) -> String {
        let told = |of: &Self| format!("; {}: {}", of.identifier.as_deref().unwrap_or(&of.kind), of.detail);
        all.iter().map(told).collect()
    }
}

impl AcmeError {
    /// The request was not answered.
    pub(super) fn unanswered(error: &HttpError) -> Self {
        let what = error.to_string();
        if error.sent { Self::Lost { what } } else { Self::Unavailable { what, retry_after: None } }
    }

    /// The answer is not what was asked for, whatever its status says.
    pub(super) fn odd(why: &str, what: &str) -> Self {
        Self::Lost { what: format!("{why}: {what}") }
    }

    /// The CA says so in an answer that the library has read: that the nonce was bad, once more, or within a challenge why it failed.
    pub(super) fn told(problem: instant_acme::Problem) -> Self {
        let kind = kind(problem.r#type.as_deref());
        let detail = problem.detail.unwrap_or_default();
        if kind == "badNonce" {
            return Self::Unavailable {
                what: format!("the CA took none of several nonces: {detail}"),
                retry_after: None,
            };
        }
        Self::Problem { kind, detail, status: problem.status.unwrap_or(400), subproblems: Vec::new() }
    }

    /// The answer to a request is an error.
    pub(super) fn of(request: Request, answer: &Answered<'_>) -> Self {
        let (status, retry_after) = (answer.status.as_u16(), answer.retry_after);
        let problem = Document::read(answer.body);
        let kind = problem.as_ref().map_or_else(|| "about:blank".to_owned(), |problem| kind(problem.kind.as_deref()));
        let detail = problem.as_ref().and_then(Document::text).unwrap_or_else(|| answer.describe());
        // A load balancer answers 503 before anything is made. What stands behind it may have failed after that. Elsewhere it does not
        // matter: nothing that is limited is made.
        let unknown = matches!(request, Request::NewOrder | Request::NewAccount) && status != 503;
        match status {
            500.. if unknown => Self::Lost { what: detail },
            500.. => Self::Unavailable { what: detail, retry_after },
            429 => Self::RateLimited { detail, retry_after },
            _ if kind == "rateLimited" => Self::RateLimited { detail, retry_after },
            _ => {
                let subproblems = problem.map(|problem| problem.subproblems).unwrap_or_default();
                let subproblems = subproblems.into_iter().map(Document::into_subproblem).collect();
                Self::Problem { kind, detail, status, subproblems }
            }
        }
    }
}

/// An answer, as far as errors go by it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered<'a> {
    pub(super) status: StatusCode,
    pub(super) headers: &'a HeaderMap,
    pub(super) retry_after: Option<Span>,
    pub(super) body: &'a [u8],
}

impl Answered<'_> {
    /// What came, in one line.
    pub(super) fn describe(&self) -> String {
        let kind = self.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("no content type");
        let body = String::from_utf8_lossy(self.body);
        let mut words = body.split_whitespace().collect::<Vec<_>>().join(" ");
        if words.is_empty() {
            return format!("the answer is {} without a body", self.status);
        }
        if let Some((end, _)) = words.char_indices().nth(SHOWN_CHARS) {
            words.truncate(end);
            words.push('…');
        }
        format!("the answer is {} ({kind}): {}", self.status, words.escape_debug())
    }

    /// Whether the nonce was not taken: such a request is simply sent again.
    pub(super) fn is_bad_nonce(&self) -> bool {
        let problem = || Document::read(self.body);
        self.status == StatusCode::BAD_REQUEST && problem().is_some_and(|of| kind(of.kind.as_deref()) == "badNonce")
    }
}

/// A problem document (RFC 9457).
#[derive(Deserialize)]
struct Document {
    #[serde(rename = "type")]
    kind: Option<String>,
    title: Option<String>,
    detail: Option<String>,
    identifier: Option<Value>,
    #[serde(default)]
    subproblems: Vec<Self>,
}

impl Document {
    fn read(body: &[u8]) -> Option<Self> {
        let document: Self = serde_json::from_slice(body).ok()?;
        (document.kind.is_some() || document.detail.is_some()).then_some(document)
    }

    fn text(&self) -> Option<String> {
        self.detail.clone().or_else(|| self.title.clone()).or_else(|| self.kind.clone())
    }

    fn into_subproblem(self) -> Subproblem {
        let detail = self.text().unwrap_or_default();
        let identifier = self.identifier.and_then(|of| of["value"].as_str().map(str::to_owned));
        Subproblem { identifier, kind: kind(self.kind.as_deref()), detail }
    }
}

fn kind(of: Option<&str>) -> String {
    let of = of.unwrap_or("about:blank");
    of.strip_prefix(PROBLEM).unwrap_or(of).to_owned()
}

/// The wait that an answer asks for: seconds, or a date, which is later than the answer's own by so much (RFC 9110, section 10.2.3).
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Span> {
    let text = |name| headers.get(name).and_then(|value: &hyper::header::HeaderValue| value.to_str().ok());
    let asked = text(RETRY_AFTER)?.trim();
    if let Ok(seconds) = asked.parse::<u32>() {
        return Some(Span::from_seconds(i64::from(seconds)));
    }
    let until = date(asked)?;
    let from = text(DATE).and_then(date).unwrap_or(now);
    Some(until.since(from).max(Span::default()))
}

fn date(text: &str) -> Option<Timestamp> {
    let since = httpdate::parse_http_date(text.trim()).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Timestamp::from_unix_seconds(i64::try_from(since.as_secs()).ok()?))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn check(request: Request, status: u16, body: &str, expected: &AcmeError) {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("text/html"))]);
        let retry_after = Some(Span::from_seconds(7));
        let status = StatusCode::from_u16(status).unwrap();
        let answered = Answered { status, headers: &headers, retry_after, body: body.as_bytes() };
        assert_eq!(AcmeError::of(request, &answered), *expected);
    }

    fn limited(detail: &str) -> AcmeError {
        AcmeError::RateLimited { detail: detail.to_owned(), retry_after: Some(Span::from_seconds(7)) }
    }

    fn busy(what: &str) -> AcmeError {
        AcmeError::Unavailable { what: what.to_owned(), retry_after: Some(Span::from_seconds(7)) }
    }

    #[test]
    fn limits_are_limits_with_and_without_a_document() {
        let document = r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many"}"#;
        check(Request::NewOrder, 429, document, &limited("too many"));
        check(Request::NewOrder, 403, document, &limited("too many"));
        check(Request::NewOrder, 429, "", &limited("the answer is 429 Too Many Requests without a body"));
        check(Request::NewOrder, 503, document, &busy("too many"));
    }

    #[test]
    fn what_failed_may_have_made_an_order_or_an_account() {
        let html = "<html>\n <h1>Bad";
        let what = "the answer is 502 Bad Gateway (text/html): <html> <h1>Bad";
        check(Request::Other, 502, html, &busy(what));
        check(Request::NewOrder, 502, html, &AcmeError::Lost { what: what.to_owned() });
    }

    #[test]
    fn a_problem_keeps_its_parts() {
        let body = r#"{"type":"urn:ietf:params:acme:error:rejectedIdentifier","detail":"no","subproblems":[
            {"type":"urn:ietf:params:acme:error:caa","detail":"forbidden","identifier":{"type":"dns","value":"a.example"}}]}"#;
        let part = Subproblem {
            identifier: Some("a.example".to_owned()),
            kind: "caa".to_owned(),
            detail: "forbidden".to_owned(),
        };
        let error = AcmeError::Problem {
            kind: "rejectedIdentifier".to_owned(),
            detail: "no".to_owned(),
            status: 403,
            subproblems: vec![part],
        };
        check(Request::NewOrder, 403, body, &error);
        assert_eq!(error.to_string(), "no; a.example: forbidden");
        let what = "the answer is 403 Forbidden (text/html): [1]";
        let blank = AcmeError::Problem {
            kind: "about:blank".to_owned(),
            detail: what.to_owned(),
            status: 403,
            subproblems: Vec::new(),
        };
        check(Request::NewOrder, 403, "[1]", &blank);
    }

    #[test]
    fn waits_are_seconds_or_dates() {
        let check = |asked: &str, date: Option<&str>, expected: Option<i64>| {
            let now = Timestamp::parse("1994-11-06T08:49:00Z").unwrap();
            let mut headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(asked).unwrap())]);
            headers.extend(date.map(|date| (DATE, HeaderValue::from_str(date).unwrap())));
            assert_eq!(retry_after(&headers, now), expected.map(Span::from_seconds), "{asked}");
        };
        check("120", None, Some(120));
        check("Sun, 06 Nov 1994 08:49:37 GMT", None, Some(37));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some("Sun, 06 Nov 1994 08:49:30 GMT"), Some(7));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some("Sun, 06 Nov 1994 09:49:30 GMT"), Some(0));
        check("-1", None, None);
        check("soon", None, None);
        assert_eq!(retry_after(&HeaderMap::new(), Timestamp::default()), None);
    }
}

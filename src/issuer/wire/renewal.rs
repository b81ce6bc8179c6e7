//! When the CA wants a certificate to be renewed (RFC 9773). The library asks too, but takes every error for a missing header.

use hyper::Method;
use hyper::body::Bytes;
use serde::Deserialize;

use super::{AcmeError, Notes, Wire};
use crate::agent::Window;
use crate::time::{Span, Timestamp};

/// What the CA suggests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RenewalAnswer {
    /// Renew at a random instant in it.
    pub window: Window,
    /// When the CA wants to be asked again. The clock's time.
    pub retry_after: Option<Span>,
    /// A page that says why.
    pub explanation: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    suggested_window: Suggested,
    #[serde(rename = "explanationURL")]
    explanation: Option<String>,
}

#[derive(Deserialize)]
struct Suggested {
    start: String,
    end: String,
}

impl Wire {
    /// Asks when to renew the certificate of that id.
    ///
    /// # Errors
    /// [`AcmeError::Local`] where the CA gives no such information, [`AcmeError::Problem`] for an answer that makes no sense, such as a
    /// window that ends before it starts: to ask again at once would not help (RFC 9773, section 4.3.3). Nothing is changed by asking, so
    /// nothing is ever lost.
    pub async fn renewal_info(&self, certificate_id: &str) -> Result<RenewalAnswer, AcmeError> {
        let none = || AcmeError::Local { what: format!("{} gives no renewal information", self.directory().url) };
        let uri = self.directory().renewal_info_of(certificate_id).and_then(|url| url.parse().ok()).ok_or_else(none)?;
        let notes = Notes::default();
        let answer = self.send(Method::GET, uri, Bytes::new(), &notes).await?;
        let (seen, told) = notes.seen.into_inner().unwrap_or_default();
        let odd = || AcmeError::Problem {
            kind: "about:blank".to_owned(),
            detail: format!("renewal information makes no sense: {told}"),
            status: answer.status().as_u16(),
            subproblems: Vec::new(),
        };
        let body: Body = serde_json::from_slice(answer.body()).map_err(|_no_json| odd())?;
        let time = |text: &str| Timestamp::parse(text).map_err(|_no_time| odd());
        let window = Window { start: time(&body.suggested_window.start)?, end: time(&body.suggested_window.end)? };
        if window.end <= window.start {
            return Err(odd());
        }
        Ok(RenewalAnswer { window, retry_after: seen.retry_after, explanation: body.explanation })
    }
}

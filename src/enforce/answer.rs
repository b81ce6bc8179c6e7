//! What the proxy answers itself: problem documents (RFC 8555, section 6.7) as Boulder and Let's Encrypt's load balancer write them.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde_json::json;

use crate::name::Identifier;
use crate::rules::refusal::{self, Refusal};
use crate::time::{NS_PER_S, Span};

/// An answer that does not come from the CA.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The problem's type, behind `urn:ietf:params:acme:error:`.
    pub kind: &'static str,
    /// The sentence for people.
    pub detail: String,
    /// Whole seconds of the client's time to wait.
    pub retry_after: Option<Span>,
    /// Whether it comes from the CA's own front end, which hands out nonces; not so from a load balancer.
    pub has_nonce: bool,
}

impl Answer {
    /// A limit is in the way. `wait`, jitter included, is in the limits' time, which runs `speed` times faster than the client's.
    pub(super) fn refused(refusal: &Refusal, wait: Span, speed: u32) -> Self {
        let retry_after = if speed == 1 { refusal::retry_after(wait) } else { Some(rounded_up(wait, speed)) };
        Self { status: 429, kind: "rateLimited", detail: refusal.to_string(), retry_after, has_nonce: true }
    }

    /// Names are paused. `unpause` is where a person lifts that.
    pub(super) fn paused<'a>(names: impl Iterator<Item = &'a Identifier>, unpause: &str) -> Self {
        let names = names.map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let detail = format!(
            "Your account is temporarily prevented from requesting certificates for {names} and possibly others. Please visit: {unpause}"
        );
        Self { status: 429, kind: "rateLimited", detail, retry_after: None, has_nonce: true }
    }

    /// Too many requests at once.
    pub(super) fn busy(wait: Span, speed: u32) -> Self {
        let detail = "Service busy; retry later.".to_owned();
        Self { status: 503, kind: "rateLimited", detail, retry_after: Some(rounded_up(wait, speed)), has_nonce: false }
    }

    /// The certificate that an order replaces is replaced already.
    pub(super) fn already_replaced(certificate: &str) -> Self {
        let serial = certificate.split_once('.').and_then(|(_, serial)| BASE64URL_NOPAD.decode(serial.as_bytes()).ok());
        let serial = serial.map_or_else(|| certificate.to_owned(), |bytes| HEXLOWER.encode(&bytes));
        let detail = format!(
            "cannot indicate an order replaces certificate with serial \"{serial}\", which already has a replacement order"
        );
        Self { status: 409, kind: "alreadyReplaced", detail, retry_after: None, has_nonce: true }
    }

    /// The CA behind the proxy does not answer, or not as it should.
    pub(super) fn no_answer(why: &str) -> Self {
        let detail = format!("certpace enforce: {why}");
        Self { status: 502, kind: "serverInternal", detail, retry_after: None, has_nonce: false }
    }

    /// The request is longer than any that a client has reason to send.
    pub(super) fn too_long() -> Self {
        let detail = "certpace enforce: the request is too long".to_owned();
        Self { status: 413, kind: "malformed", detail, retry_after: None, has_nonce: false }
    }

    /// The document.
    #[must_use]
    pub fn body(&self) -> String {
        let kind = format!("urn:ietf:params:acme:error:{}", self.kind);
        json!({ "type": kind, "detail": self.detail, "status": self.status }).to_string()
    }
}

/// A wait of the limits' time in whole seconds of the client's, never too short; at least 1.
fn rounded_up(wait: Span, speed: u32) -> Span {
    let second = i64::from(speed.max(1)).saturating_mul(NS_PER_S);
    Span::from_seconds((wait.nanos() / second + i64::from(wait.nanos() % second > 0)).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(wait: &str, speed: u32, seconds: i64) {
        assert_eq!(rounded_up(Span::parse(wait).unwrap(), speed), Span::from_seconds(seconds), "{wait} at {speed}");
    }

    #[test]
    fn waits_are_the_clients_and_never_too_short() {
        check("50ms", 1, 1);
        check("36s", 1, 36);
        check("12096s", 1_000, 13);
        check("12000s", 1_000, 12);
        check("0", 5, 1);
    }
}

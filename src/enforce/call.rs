//! A request, as far as the limits look at it: who signed it (RFC 8555, section 6.2) and what it asks for.

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use serde_json::Value;

use super::bodies::Payload;
use crate::issuer::endpoints::{Endpoints, path_of};
use crate::rules::Request;

/// A request that was read.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its method.
    pub(super) method: String,
    /// The path it is for.
    pub(super) path: String,
    /// What that is.
    pub(super) request: Request,
    pub(super) signer: Signer,
    pub(super) payload: Payload,
}

/// Who signed a request. The CA checks the signature; a forged one is refused there, and costs nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) enum Signer {
    /// Nobody, or it can't be told.
    #[default]
    Nobody,
    /// An account.
    Account(Account),
    /// A key that may have no account yet, as text.
    Key(String),
}

/// An account: its URL as the client writes it, and the path of that, by which it is known under every name that the proxy has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Account {
    pub(super) url: String,
    pub(super) path: String,
}

impl Account {
    pub(super) fn new(url: &str) -> Self {
        Self { path: path_of(url).unwrap_or_else(|| url.to_owned()), url: url.to_owned() }
    }
}

#[derive(Deserialize)]
struct Jws {
    protected: String,
    payload: String,
}

#[derive(Deserialize)]
struct Header {
    kid: Option<String>,
    jwk: Option<Value>,
}

impl Call {
    /// Reads a request for `path`. What can't be read is nobody's and asks for nothing: it is the CA's to refuse.
    #[must_use]
    pub fn read(endpoints: &Endpoints, method: &str, path: &str, body: &[u8]) -> Self {
        let (signer, payload) = if method == "POST" { read(body) } else { None }.unwrap_or_default();
        Self { method: method.to_owned(), path: path.to_owned(), request: endpoints.request(path), signer, payload }
    }

    /// The certificate that a new order replaces.
    #[must_use]
    pub fn replaces(&self) -> Option<&str> {
        let replaces = self.payload.replaces.as_deref();
        replaces.filter(|replaces| self.request == Request::NewOrder && !replaces.is_empty())
    }

    /// The account that signed it.
    pub(super) const fn account(&self) -> Option<&Account> {
        match &self.signer {
            Signer::Account(account) => Some(account),
            Signer::Nobody | Signer::Key(_) => None,
        }
    }
}

fn read(body: &[u8]) -> Option<(Signer, Payload)> {
    let jws: Jws = serde_json::from_slice(body).ok()?;
    let decoded = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).ok();
    let header: Header = serde_json::from_slice(&decoded(&jws.protected)?).ok()?;
    let signer = match header {
        Header { kid: Some(kid), .. } => Signer::Account(Account::new(&kid)),
        // The keys of a JSON object are sorted here: one key has one text.
        Header { jwk: Some(jwk), .. } => Signer::Key(jwk.to_string()),
        Header { kid: None, jwk: None } => Signer::Nobody,
    };
    // A POST-as-GET has no payload.
    Some((signer, serde_json::from_slice(&decoded(&jws.payload)?).unwrap_or_default()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A signed request, but for its signature.
    pub(in crate::enforce) fn signed(header: &str, payload: &str) -> Vec<u8> {
        let encode = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
        format!(r#"{{"protected":"{}","payload":"{}","signature":""}}"#, encode(header), encode(payload)).into_bytes()
    }

    pub(in crate::enforce) fn endpoints() -> Endpoints {
        let body = r#"{"newNonce": "https://ca/nonce", "newAccount": "https://ca/account", "newOrder": "https://ca/order",
            "revokeCert": "https://ca/revoke", "renewalInfo": "https://ca/ari"}"#;
        Endpoints::parse("/directory", body.as_bytes()).unwrap()
    }

    #[test]
    fn an_order_names_its_account_and_what_it_replaces() {
        let body = signed(
            r#"{"kid":"https://ca:1/acct/7"}"#,
            r#"{"identifiers":[{"type":"dns","value":"a.example.com"}],"replaces":"x.y"}"#,
        );
        let call = Call::read(&endpoints(), "POST", "/order", &body);
        assert_eq!(call.request, Request::NewOrder);
        assert_eq!(
            call.account().map(|account| (&*account.url, &*account.path)),
            Some(("https://ca:1/acct/7", "/acct/7"))
        );
        assert_eq!((call.payload.identifiers.len(), call.replaces()), (1, Some("x.y")));
    }

    #[test]
    fn one_key_has_one_text() {
        let of = |header: &str| Call::read(&endpoints(), "POST", "/account", &signed(header, "{}")).signer;
        assert_eq!(of(r#"{"jwk":{"kty":"EC","x":"1"}}"#), of(r#"{"jwk":{"x":"1", "kty":"EC"},"alg":"ES256"}"#));
    }

    #[test]
    fn what_cannot_be_read_is_nobodys() {
        for body in [
            &b""[..],
            b"{}",
            b"\xff",
            b"[1]",
            br#"{"protected":"!","payload":""}"#,
            br#"{"protected":"e30","payload":7}"#,
        ] {
            let call = Call::read(&endpoints(), "POST", "/order", body);
            assert_eq!((call.signer, call.payload.identifiers.len()), (Signer::Nobody, 0));
        }
    }
}

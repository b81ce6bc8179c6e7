//! Signed messages (RFC 8555, section 6.2): of our own, and the library's, signed with the account's real key.

use data_encoding::BASE64URL_NOPAD;
use hyper::body::Bytes;
use hyper::{Method, Response, Uri};
use serde_json::{Map, Value, json};

use super::{AcmeError, Notes, Wire, nonces};
use crate::issuer::key::AccountKey;

/// A nonce may be bad that often: some CAs refuse a few at random.
const ATTEMPTS_MAX: usize = 4;

/// A message of the library, which has a throw-away key, signed by the account's.
pub(super) fn anew(body: &[u8], key: &AccountKey) -> Result<Bytes, AcmeError> {
    if body.is_empty() {
        return Ok(Bytes::new());
    }
    let odd = || AcmeError::Local { what: "the library's message can't be signed anew".to_owned() };
    let message: Value = serde_json::from_slice(body).map_err(|_no_json| odd())?;
    let of = |name: &str| message[name].as_str().ok_or_else(odd);
    let header = BASE64URL_NOPAD.decode(of("protected")?.as_bytes()).map_err(|_no_base64| odd())?;
    let mut header: Map<String, Value> = serde_json::from_slice(&header).map_err(|_no_json| odd())?;
    header.insert("alg".to_owned(), json!(key.algorithm()));
    if let Some(jwk) = header.get_mut("jwk") {
        *jwk = key.jwk();
    }
    sign(&header.into(), of("payload")?, key)
}

/// A message. The payload is base64 already; an empty one makes it a question.
fn sign(header: &Value, payload: &str, key: &AccountKey) -> Result<Bytes, AcmeError> {
    let protected = BASE64URL_NOPAD.encode(header.to_string().as_bytes());
    let signature = key.sign(format!("{protected}.{payload}").as_bytes());
    let signature = signature.map_err(|error| AcmeError::Local { what: error.to_string() })?;
    let message =
        json!({ "protected": protected, "payload": payload, "signature": BASE64URL_NOPAD.encode(&signature) });
    Ok(Bytes::from(message.to_string()))
}

impl Wire {
    /// Sends a message of `key` that is no account's yet: the key itself stands in it.
    pub(in crate::issuer) async fn post_as_key(
        &self,
        url: &str,
        payload: &Value,
        key: &AccountKey,
    ) -> Result<Response<Bytes>, AcmeError> {
        let uri: Uri = url.parse().map_err(|_no_url| AcmeError::Local { what: format!("`{url}` is no URL") })?;
        let payload = BASE64URL_NOPAD.encode(payload.to_string().as_bytes());
        let notes = Notes::default();
        let mut nonce = self.nonce(&notes).await?;
        for _attempt in 0..ATTEMPTS_MAX {
            let header = json!({ "alg": key.algorithm(), "jwk": key.jwk(), "nonce": nonce, "url": url });
            let body = sign(&header, &payload, key)?;
            let answer = self.send(Method::POST, uri.clone(), body, &notes).await?;
            if answer.status().is_success() {
                return Ok(answer);
            }
            // The nonce was bad: the answer has a new one.
            let next = answer.headers().get(nonces::REPLAY_NONCE).and_then(|nonce| nonce.to_str().ok());
            nonce = match next {
                Some(next) => next.to_owned(),
                None => self.nonce(&notes).await?,
            };
        }
        let what = format!("{url}: each of {ATTEMPTS_MAX} nonces was bad");
        Err(AcmeError::Unavailable { what, retry_after: None })
    }
}

//! What the CA is asked: for a new account, or which account a key has (RFC 8555, section 7.3).

use data_encoding::BASE64URL_NOPAD;
use hyper::Response;
use hyper::body::Bytes;
use hyper::header::LOCATION;
use ring::hmac;
use serde_json::{Value, json};

use super::AccountError;
use crate::issuer::key::AccountKey;
use crate::issuer::wire::{AcmeError, Wire};

/// An account that the CA's owner knows otherwise, with the key that proves it (RFC 8555, section 7.3.4).
#[derive(Clone, PartialEq, Eq)]
pub struct ExternalAccount {
    /// Its id.
    pub id: String,
    /// The key of its HMAC.
    pub key: Vec<u8>,
}

/// What the CA knows of an account.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Registered {
    pub(super) url: String,
    pub(super) contact: Vec<String>,
}

/// Makes the key's account.
pub(super) async fn register(
    wire: &Wire,
    key: &AccountKey,
    contact: &[String],
    external: Option<&ExternalAccount>,
) -> Result<Registered, AccountError> {
    let url = &wire.directory().new_account;
    let mut payload = json!({ "termsOfServiceAgreed": true });
    if !contact.is_empty() {
        payload["contact"] = json!(contact);
    }
    if let Some(external) = external {
        payload["externalAccountBinding"] = bound(key, external, url);
    }
    let answer = wire.post_as_key(url, &payload, key).await?;
    read(&answer)
}

/// The account that the CA has for the key; `None` where it has none.
pub(super) async fn existing(wire: &Wire, key: &AccountKey) -> Result<Option<Registered>, AccountError> {
    let payload = json!({ "onlyReturnExisting": true });
    match wire.post_as_key(&wire.directory().new_account, &payload, key).await {
        Ok(answer) => read(&answer).map(Some),
        Err(AcmeError::Problem { kind, .. }) if kind == "accountDoesNotExist" => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The key as that of the external account, signed by that one's.
fn bound(key: &AccountKey, external: &ExternalAccount, url: &str) -> Value {
    let base64 = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let protected = base64(&json!({ "alg": "HS256", "kid": external.id, "url": url }));
    let payload = base64(&key.jwk());
    let secret = hmac::Key::new(hmac::HMAC_SHA256, &external.key);
    let signature = hmac::sign(&secret, format!("{protected}.{payload}").as_bytes());
    json!({ "protected": protected, "payload": payload, "signature": BASE64URL_NOPAD.encode(signature.as_ref()) })
}

fn read(answer: &Response<Bytes>) -> Result<Registered, AccountError> {
    let url = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let body: Option<Value> = serde_json::from_slice(answer.body()).ok();
    let (Some(url), Some(body)) = (url, body) else {
        let what = format!("the answer ({}) does not say which account it is", answer.status());
        return Err(AcmeError::Lost { what }.into());
    };
    let status = body["status"].as_str().unwrap_or("valid");
    if status != "valid" {
        return Err(AccountError::NotValid { url: url.to_owned(), status: status.to_owned() });
    }
    let contact = body["contact"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    Ok(Registered { url: url.to_owned(), contact: contact.collect() })
}

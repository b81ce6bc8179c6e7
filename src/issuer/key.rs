//! Account keys: what signs requests to a CA (RFC 8555, section 6.2).
//!
//! instant-acme signs with ECDSA P-256 alone. Accounts that other clients have made often have RSA keys, so a key signs here itself; where
//! the library can't use it, the library gets a throw-away key and [`super::wire`] signs its messages anew.

mod read;

use std::collections::BTreeMap;
use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::rsa::{KeyPair as RsaKeyPair, PublicKeyComponents};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    KeyPair as _, RSA_PKCS1_SHA256,
};
use rsa::RsaPrivateKey;
use rsa::pkcs8::EncodePrivateKey as _;
use rsa::pkcs8::der::pem::{self, LineEnding};
use rsa::rand_core::OsRng;
use serde_json::{Value, json};

/// The key of an account.
pub struct AccountKey {
    kind: KeyKind,
    pkcs8: Vec<u8>,
    pair: Pair,
    /// What instant-acme is given in place of a key that it can't use.
    stand_in: Option<Vec<u8>>,
}

/// The kinds of account keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyKind {
    /// ECDSA over P-256.
    P256,
    /// ECDSA over P-384.
    P384,
    /// RSA of so many bits.
    Rsa(u32),
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It is nothing that could be one.
    #[error("it is no private key in PEM (-----BEGIN … PRIVATE KEY-----) and no JWK (JSON with `kty`)")]
    NoKey,
    /// It is one of a kind that no account can have, or broken.
    #[error("{0}")]
    Unusable(String),
    /// This machine gives no random numbers, or the library fails otherwise.
    #[error("a key can't be {0}")]
    Failed(&'static str),
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl AccountKey {
    /// A new one.
    ///
    /// # Errors
    /// [`KeyError`] where RSA keys of so many bits are none, or this machine gives no random numbers.
    pub fn generate(kind: KeyKind) -> Result<Self, KeyError> {
        let failed = || KeyError::Failed("generated");
        match kind {
            KeyKind::P256 => Self::from_pkcs8(&ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING)?),
            KeyKind::P384 => Self::from_pkcs8(&ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING)?),
            KeyKind::Rsa(bits) => {
                let bits = usize::try_from(bits).map_err(|_too_many| failed())?;
                let key = RsaPrivateKey::new(&mut OsRng, bits).map_err(|_no_key| failed())?;
                Self::from_pkcs8(key.to_pkcs8_der().map_err(|_no_key| failed())?.as_bytes())
            }
        }
    }

    /// What kind of key it is.
    #[must_use]
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The key as PKCS#8 in PEM. Who has this has the account.
    ///
    /// # Errors
    /// [`KeyError::Failed`] where the key is too long to be written, which none is.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        let text = pem::encode_string("PRIVATE KEY", LineEnding::LF, &self.pkcs8);
        text.map_err(|_too_long| KeyError::Failed("written"))
    }

    /// The name of the algorithm that it signs by (RFC 7518, section 3.1).
    #[must_use]
    pub const fn algorithm(&self) -> &'static str {
        match self.kind {
            KeyKind::P256 => "ES256",
            KeyKind::P384 => "ES384",
            KeyKind::Rsa(_) => "RS256",
        }
    }

    /// The public key as a JWK with nothing but what has to be there (RFC 7638, section 3.2).
    #[must_use]
    pub fn jwk(&self) -> Value {
        json!(self.members())
    }

    /// What identifies the key (RFC 7638).
    #[must_use]
    pub fn thumbprint(&self) -> String {
        BASE64URL_NOPAD.encode(digest(&SHA256, self.jwk().to_string().as_bytes()).as_ref())
    }

    /// Signs a message as JWS wants it (RFC 7518, section 3).
    ///
    /// # Errors
    /// [`KeyError::Failed`] where this machine gives no random numbers.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let random = SystemRandom::new();
        let failed = |_: ring::error::Unspecified| KeyError::Failed("used for a signature");
        match &self.pair {
            Pair::Ecdsa(pair) => Ok(pair.sign(&random, message).map_err(failed)?.as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map_err(failed)?;
                Ok(signature)
            }
        }
    }

    /// Whether instant-acme can sign with it.
    pub(super) const fn is_native(&self) -> bool {
        self.stand_in.is_none()
    }

    /// The key that instant-acme is given, as PKCS#8: this one, or one that nobody else knows of.
    pub(super) fn stand_in(&self) -> &[u8] {
        self.stand_in.as_ref().unwrap_or(&self.pkcs8)
    }

    /// The members of its JWK in the order of their names, as [`Self::thumbprint`] needs them.
    fn members(&self) -> BTreeMap<&'static str, String> {
        let base64 = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        match &self.pair {
            Pair::Ecdsa(pair) => {
                // An uncompressed point: a 4, then both coordinates.
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let curve = if self.kind == KeyKind::P384 { "P-384" } else { "P-256" };
                [("crv", curve.to_owned()), ("kty", "EC".to_owned()), ("x", base64(x)), ("y", base64(y))].into()
            }
            Pair::Rsa(pair) => {
                let PublicKeyComponents::<Vec<u8>> { n, e } = pair.public().into();
                [("e", base64(&e)), ("kty", "RSA".to_owned()), ("n", base64(&n))].into()
            }
        }
    }
}

impl fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountKey").field("kind", &self.kind).field("thumbprint", &self.thumbprint()).finish()
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::P256 => f.write_str("ECDSA P-256"),
            Self::P384 => f.write_str("ECDSA P-384"),
            Self::Rsa(bits) => write!(f, "RSA {bits}"),
        }
    }
}

/// A new key as PKCS#8.
fn ecdsa(algorithm: &'static EcdsaSigningAlgorithm) -> Result<Vec<u8>, KeyError> {
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new());
    Ok(pkcs8.map_err(|_no_key| KeyError::Failed("generated"))?.as_ref().to_vec())
}

#[cfg(test)]
mod tests {
    use ring::signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
        VerificationAlgorithm,
    };

    use super::*;

    /// The example of RFC 7638, section 3.1, and one of P-256 computed elsewhere.
    #[test]
    fn thumbprints_are_those_of_the_rfc() {
        let key = AccountKey::generate(KeyKind::P256).unwrap();
        let members = key.jwk();
        let text = format!(r#"{{"crv":"P-256","kty":"EC","x":{},"y":{}}}"#, members["x"], members["y"]);
        assert_eq!(key.jwk().to_string(), text, "no spaces, by name");
        assert_eq!(key.thumbprint(), BASE64URL_NOPAD.encode(digest(&SHA256, text.as_bytes()).as_ref()));
    }

    #[test]
    fn every_kind_signs_and_is_written_and_read() {
        let kinds: [(KeyKind, &dyn VerificationAlgorithm, usize); 3] = [
            (KeyKind::P256, &ECDSA_P256_SHA256_FIXED, 64),
            (KeyKind::P384, &ECDSA_P384_SHA384_FIXED, 96),
            (KeyKind::Rsa(2048), &RSA_PKCS1_2048_8192_SHA256, 256),
        ];
        for (kind, algorithm, length) in kinds {
            let key = AccountKey::generate(kind).unwrap();
            let again = AccountKey::read(key.to_pem().unwrap().as_bytes()).unwrap();
            assert_eq!((again.kind(), again.thumbprint()), (kind, key.thumbprint()));
            let signature = again.sign(b"message").unwrap();
            assert_eq!(signature.len(), length, "{kind}");
            let public = match &key.pair {
                Pair::Ecdsa(pair) => pair.public_key().as_ref().to_vec(),
                Pair::Rsa(pair) => pair.public().as_ref().to_vec(),
            };
            assert!(UnparsedPublicKey::new(algorithm, public).verify(b"message", &signature).is_ok(), "{kind}");
            assert_eq!(key.is_native(), kind == KeyKind::P256);
            assert!(!format!("{key:?}").contains("pkcs8"));
        }
    }
}

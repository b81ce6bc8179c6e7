//! Keys as other programs keep them: PKCS#8, SEC1 and PKCS#1 in PEM, and JWK. All become PKCS#8.

use data_encoding::BASE64URL_NOPAD;
use ring::rand::SystemRandom;
use ring::rsa::KeyPair as RsaKeyPair;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
};
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::pkcs8::der::asn1::AnyRef;
use rsa::pkcs8::der::{Decode as _, Encode as _};
use rsa::pkcs8::{AlgorithmIdentifierRef, EncodePrivateKey as _, ObjectIdentifier, PrivateKeyInfo};
use rsa::{BigUint, RsaPrivateKey};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use sec1::EcPrivateKey;
use serde::Deserialize;

use super::{AccountKey, KeyError, KeyKind, Pair, ecdsa};

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// A curve that accounts' keys are on.
struct Curve {
    name: &'static str,
    kind: KeyKind,
    id: ObjectIdentifier,
    algorithm: &'static EcdsaSigningAlgorithm,
    /// How long a coordinate is.
    bytes: usize,
}

const CURVES: [Curve; 2] = [
    Curve {
        name: "P-256",
        kind: KeyKind::P256,
        id: ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"),
        algorithm: &ECDSA_P256_SHA256_FIXED_SIGNING,
        bytes: 32,
    },
    Curve {
        name: "P-384",
        kind: KeyKind::P384,
        id: ObjectIdentifier::new_unwrap("1.3.132.0.34"),
        algorithm: &ECDSA_P384_SHA384_FIXED_SIGNING,
        bytes: 48,
    },
];

/// A private key as JSON (RFC 7517).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<String>,
    n: Option<String>,
    e: Option<String>,
    p: Option<String>,
    q: Option<String>,
}

impl AccountKey {
    /// Reads a key in PEM or as a JWK.
    ///
    /// # Errors
    /// [`KeyError`] where it is none, or one that no account can have.
    pub fn read(bytes: &[u8]) -> Result<Self, KeyError> {
        if let Ok(jwk) = serde_json::from_slice::<Jwk>(bytes) {
            return Self::from_jwk(&jwk);
        }
        if bytes.windows(b"ENCRYPTED".len()).any(|part| part == b"ENCRYPTED") {
            let decrypt = "the key is encrypted: decrypt it with `openssl pkey -in FILE -out PLAIN`";
            return Err(unusable(decrypt));
        }
        match PrivateKeyDer::from_pem_slice(bytes).map_err(|_no_pem| KeyError::NoKey)? {
            PrivateKeyDer::Pkcs8(key) => Self::from_pkcs8(key.secret_pkcs8_der()),
            PrivateKeyDer::Sec1(key) => Self::from_sec1(key.secret_sec1_der()),
            PrivateKeyDer::Pkcs1(key) => Self::from_rsa(RsaPrivateKey::from_pkcs1_der(key.secret_pkcs1_der())),
            _ => Err(KeyError::NoKey),
        }
    }

    /// Reads a key that is PKCS#8.
    pub(super) fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let info = PrivateKeyInfo::from_der(pkcs8).map_err(|error| unusable(&format!("no PKCS#8: {error}")))?;
        let (kind, pair) = match info.algorithm.oid {
            EC_PUBLIC_KEY => {
                let id = info.algorithm.parameters_oid().map_err(|error| unusable(&format!("no PKCS#8: {error}")))?;
                let curve = CURVES.iter().find(|curve| curve.id == id).ok_or_else(|| no_curve(&id.to_string()))?;
                let pair = EcdsaKeyPair::from_pkcs8(curve.algorithm, pkcs8, &SystemRandom::new());
                let pair = pair.map_err(|error| {
                    unusable(&format!("no {} key that can be used: {error}; is the public key in it?", curve.name))
                })?;
                (curve.kind, Pair::Ecdsa(pair))
            }
            RSA_ENCRYPTION => {
                let pair = RsaKeyPair::from_pkcs8(pkcs8);
                let pair = pair.map_err(|error| {
                    unusable(&format!("no RSA key that can be used (2048, 3072 or 4096 bits): {error}"))
                })?;
                (KeyKind::Rsa(bits(&pair)), Pair::Rsa(pair))
            }
            other => return Err(no_curve(&other.to_string())),
        };
        let stand_in = if kind == KeyKind::P256 { None } else { Some(ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING)?) };
        Ok(Self { kind, pkcs8: pkcs8.to_vec(), pair, stand_in })
    }

    fn from_rsa<E: std::fmt::Display>(key: Result<RsaPrivateKey, E>) -> Result<Self, KeyError> {
        let key = key.map_err(|error| unusable(&format!("no RSA key: {error}")))?;
        let pkcs8 = key.to_pkcs8_der().map_err(|_no_der| KeyError::Failed("written"))?;
        Self::from_pkcs8(pkcs8.as_bytes())
    }

    /// Reads what OpenSSL calls an EC private key (RFC 5915).
    fn from_sec1(der: &[u8]) -> Result<Self, KeyError> {
        let key = EcPrivateKey::from_der(der).map_err(|error| unusable(&format!("no EC key: {error}")))?;
        let named = key.parameters.and_then(sec1::EcParameters::named_curve);
        let of_length = || CURVES.iter().find(|curve| curve.bytes == key.private_key.len());
        let curve = named.map_or_else(of_length, |id| CURVES.iter().find(|curve| curve.id == id));
        let curve = curve.ok_or_else(|| no_curve("another"))?;
        Self::from_ec(curve, &key)
    }

    fn from_ec(curve: &Curve, key: &EcPrivateKey<'_>) -> Result<Self, KeyError> {
        let failed = |_no_der| KeyError::Failed("written");
        // What stands around it names the curve.
        let key = EcPrivateKey { parameters: None, ..*key }.to_der().map_err(failed)?;
        let algorithm = AlgorithmIdentifierRef { oid: EC_PUBLIC_KEY, parameters: Some(AnyRef::from(&curve.id)) };
        Self::from_pkcs8(&PrivateKeyInfo::new(algorithm, &key).to_der().map_err(failed)?)
    }

    fn from_jwk(jwk: &Jwk) -> Result<Self, KeyError> {
        match jwk.kty.as_str() {
            "EC" => {
                let name = jwk.crv.as_deref().unwrap_or_default();
                let curve = CURVES.iter().find(|curve| curve.name == name).ok_or_else(|| no_curve(name))?;
                let number = |name, text| {
                    let number = member(name, text)?;
                    // Zeros in front may be left out by careless writers, and may not be in a point.
                    let missing = curve.bytes.checked_sub(number.len());
                    let missing = missing.ok_or_else(|| unusable(&format!("JWK: `{name}` is too long")))?;
                    Ok::<_, KeyError>([vec![0; missing], number].concat())
                };
                let point = [vec![4], number("x", &jwk.x)?, number("y", &jwk.y)?].concat();
                let secret = number("d", &jwk.d)?;
                Self::from_ec(curve, &EcPrivateKey { private_key: &secret, parameters: None, public_key: Some(&point) })
            }
            "RSA" => {
                let number = |name, text| Ok::<_, KeyError>(BigUint::from_bytes_be(&member(name, text)?));
                let primes = match (&jwk.p, &jwk.q) {
                    (Some(_), Some(_)) => vec![number("p", &jwk.p)?, number("q", &jwk.q)?],
                    _ => Vec::new(),
                };
                let (n, e, d) = (number("n", &jwk.n)?, number("e", &jwk.e)?, number("d", &jwk.d)?);
                Self::from_rsa(RsaPrivateKey::from_components(n, e, d, primes))
            }
            other => Err(unusable(&format!("JWK: a key of type `{other}` can't be an account's: EC or RSA can"))),
        }
    }
}

/// The bytes of a JWK's member.
fn member(name: &str, text: &Option<String>) -> Result<Vec<u8>, KeyError> {
    let text = text.as_ref().ok_or_else(|| unusable(&format!("JWK: there is no `{name}`: is it a public key?")))?;
    let bytes = BASE64URL_NOPAD.decode(text.trim_end_matches('=').as_bytes());
    bytes.map_err(|_no_base64| unusable(&format!("JWK: `{name}` is no base64url")))
}

fn bits(pair: &RsaKeyPair) -> u32 {
    u32::try_from(pair.public().modulus_len() * 8).unwrap_or(u32::MAX)
}

fn no_curve(found: &str) -> KeyError {
    unusable(&format!("its kind or curve ({found}) is none that accounts have here: P-256, P-384 or RSA"))
}

fn unusable(what: &str) -> KeyError {
    KeyError::Unusable(what.to_owned())
}

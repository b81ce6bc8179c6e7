//! A certificate's private key, and the request (CSR) that is signed with it.

use std::fmt;
use std::str::FromStr;

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PublicKeyData as _};
use rsa::pkcs8::EncodePrivateKey as _;

use crate::name::NameSet;

/// The kind of a certificate's private key, as CAs take them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum KeyType {
    /// ECDSA on the curve P-256: the smallest and fastest.
    #[default]
    P256,
    /// ECDSA on the curve P-384.
    P384,
    /// RSA of 2048 bits.
    Rsa2048,
    /// RSA of 3072 bits.
    Rsa3072,
    /// RSA of 4096 bits.
    Rsa4096,
}

/// Why there is no key or no request.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RequestError {
    /// It is no kind of key.
    #[error("`{0}` is no kind of key: there are ecdsa-p256, ecdsa-p384, rsa-2048, rsa-3072 and rsa-4096")]
    Unknown(String),
    /// The key can't be read.
    #[error("the private key can't be used; it has to be unencrypted PKCS#8 in PEM (-----BEGIN PRIVATE KEY-----)")]
    Key(#[source] rcgen::Error),
    /// No ECDSA key comes of it.
    #[error("no private key can be made")]
    Ecdsa(#[source] rcgen::Error),
    /// No RSA key comes of it.
    #[error("no private key can be made: {0}")]
    Rsa(String),
    /// No request comes of it.
    #[error("no certificate request can be made")]
    Request(#[source] rcgen::Error),
}

impl KeyType {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::P256, Self::P384, Self::Rsa2048, Self::Rsa3072, Self::Rsa4096];

    /// What it is called on the command line and in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::P256 => "ecdsa-p256",
            Self::P384 => "ecdsa-p384",
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa4096 => "rsa-4096",
        }
    }

    pub(super) const fn rsa(bits: usize) -> Option<Self> {
        match bits {
            2048 => Some(Self::Rsa2048),
            3072 => Some(Self::Rsa3072),
            4096 => Some(Self::Rsa4096),
            _ => None,
        }
    }

    pub(super) const fn ecdsa(bits: usize) -> Option<Self> {
        match bits {
            256 => Some(Self::P256),
            384 => Some(Self::P384),
            _ => None,
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for KeyType {
    type Err = RequestError;
    fn from_str(text: &str) -> Result<Self, RequestError> {
        let unknown = || RequestError::Unknown(text.to_owned());
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(unknown)
    }
}

impl serde::Serialize for KeyType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> serde::Deserialize<'de> for KeyType {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A new private key: PKCS#8 in PEM. An RSA key takes from tenths of a second to some seconds.
///
/// # Errors
/// Where the system gives no randomness.
pub fn key(kind: KeyType) -> Result<String, RequestError> {
    let ecdsa = |algorithm| KeyPair::generate_for(algorithm).map_err(RequestError::Ecdsa);
    let key = match kind {
        KeyType::P256 => ecdsa(&rcgen::PKCS_ECDSA_P256_SHA256)?,
        KeyType::P384 => ecdsa(&rcgen::PKCS_ECDSA_P384_SHA384)?,
        KeyType::Rsa2048 => rsa(2048)?,
        KeyType::Rsa3072 => rsa(3072)?,
        KeyType::Rsa4096 => rsa(4096)?,
    };
    Ok(key.serialize_pem())
}

/// ring, which signs, makes no RSA keys.
fn rsa(bits: usize) -> Result<KeyPair, RequestError> {
    let key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, bits)
        .map_err(|error| RequestError::Rsa(error.to_string()))?;
    let der = key.to_pkcs8_der().map_err(|error| RequestError::Rsa(error.to_string()))?;
    KeyPair::try_from(der.as_bytes()).map_err(RequestError::Ecdsa)
}

/// A request for a certificate of `names` with the private key `key_pem`, in DER: the names stand among the alternative names alone, and
/// its subject is empty, since CAs choose a common name themselves or go without one.
///
/// # Errors
/// Where the key can't be read.
pub fn csr(key_pem: &str, names: &NameSet) -> Result<Vec<u8>, RequestError> {
    let key = KeyPair::from_pem(key_pem).map_err(RequestError::Key)?;
    let names: Vec<_> = names.identifiers().iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).map_err(RequestError::Request)?;
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(&key).map_err(RequestError::Request)?.der().to_vec())
}

/// The public key of a private one, as it stands in certificates (`SubjectPublicKeyInfo`, DER).
pub(super) fn public_key(key_pem: &str) -> Result<Vec<u8>, RequestError> {
    Ok(KeyPair::from_pem(key_pem).map_err(RequestError::Key)?.subject_public_key_info())
}

#[cfg(test)]
mod tests {
    use x509_parser::certification_request::X509CertificationRequest;
    use x509_parser::extensions::{GeneralName, ParsedExtension};
    use x509_parser::prelude::FromDer as _;

    use super::*;

    fn check(kind: KeyType) {
        let pem = key(kind).unwrap();
        assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----"));
        let names = NameSet::parse(["*.example.com", "example.com", "8.8.4.4", "2606:4700::1111"]).unwrap();
        let der = csr(&pem, &names).unwrap();
        let (rest, request) = X509CertificationRequest::from_der(&der).unwrap();
        assert!(rest.is_empty());
        let info = &request.certification_request_info;
        assert_eq!(info.subject.iter().count(), 0);
        assert_eq!(info.subject_pki.raw, public_key(&pem).unwrap());
        let extensions: Vec<_> = request.requested_extensions().unwrap().collect();
        let [ParsedExtension::SubjectAlternativeName(found)] = &extensions[..] else { panic!("{extensions:?}") };
        let wanted = [
            GeneralName::DNSName("*.example.com"),
            GeneralName::DNSName("example.com"),
            GeneralName::IPAddress(&[0x26, 0x06, 0x47, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x11, 0x11]),
            GeneralName::IPAddress(&[8, 8, 4, 4]),
        ];
        assert_eq!(found.general_names, wanted);
    }

    #[test]
    fn every_kind_of_key_signs_requests() {
        check(KeyType::P256);
        check(KeyType::P384);
        check(KeyType::Rsa2048);
    }

    #[test]
    fn kinds_are_read_as_they_are_shown() {
        for kind in KeyType::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert_eq!("ed25519".parse::<KeyType>(), Err(RequestError::Unknown("ed25519".to_owned())));
        assert_eq!(KeyType::default().name(), "ecdsa-p256");
    }

    #[test]
    fn what_is_no_key_signs_nothing() {
        let names = NameSet::parse(["example.com"]).unwrap();
        assert!(matches!(
            csr("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", &names),
            Err(RequestError::Key(_))
        ));
    }
}

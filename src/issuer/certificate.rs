//! A certificate: what it says of itself, and its id in renewal information (RFC 9773, section 4.1).

use data_encoding::BASE64URL_NOPAD;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::pem::Pem;
use x509_parser::public_key::PublicKey;
use x509_parser::time::ASN1Time;

use super::request::KeyType;
use crate::import::Serial;
use crate::name::{Identifier, NameSet};
use crate::time::Timestamp;

/// The last second of 2199.
const LAST_SECOND: i64 = 7_258_118_399;

/// The first certificate of a PEM chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate {
    /// Its names.
    pub names: NameSet,
    /// Its serial number.
    pub serial: Serial,
    /// Its id in renewal information; `None` where it does not say who has signed it.
    pub ari_id: Option<String>,
    /// The first second of its validity.
    pub not_before: Timestamp,
    /// The last second of its validity.
    pub not_after: Timestamp,
    /// What kind of key it is for; `None`: none that certpace makes.
    pub key_type: Option<KeyType>,
    /// Its public key as it stands in it, in DER (`SubjectPublicKeyInfo`).
    pub public_key: Vec<u8>,
}

impl Certificate {
    /// Reads the first certificate of a PEM chain; `None` where there is none, or one without names. A time outside of the years that are
    /// computed with is the nearest inside: test CAs issue for ever.
    #[must_use]
    pub fn parse(chain: &[u8]) -> Option<Self> {
        let pem = Pem::iter_from_buffer(chain).next()?.ok()?;
        let certificate = pem.parse_x509().ok()?;
        Some(Self {
            names: names(&certificate)?,
            serial: Serial::new(certificate.raw_serial())?,
            ari_id: ari_id(&certificate),
            not_before: timestamp(certificate.validity().not_before),
            not_after: timestamp(certificate.validity().not_after),
            key_type: key_type(&certificate),
            public_key: certificate.public_key().raw.to_vec(),
        })
    }
}

/// The id and the names of the first certificate of a PEM chain; `None` where there is none that has both.
pub(crate) fn read(chain: &[u8]) -> Option<(String, NameSet)> {
    let certificate = Certificate::parse(chain)?;
    Some((certificate.ari_id?, certificate.names))
}

/// A PEM chain as its first certificate and the rest, each as it stands there; the rest is empty where there is none.
pub(crate) fn split(chain: &str) -> Option<(&str, &str)> {
    const END: &str = "-----END CERTIFICATE-----";
    let end = chain.find(END)? + END.len();
    let line = chain[end..].find('\n').map_or(chain.len(), |feed| end + feed + 1);
    let (leaf, rest) = chain.split_at(line);
    Some((leaf, rest.trim_start()))
}

fn names(certificate: &X509Certificate<'_>) -> Option<NameSet> {
    let names = certificate.subject_alternative_name().ok()??;
    let names = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Identifier::parse(name).ok(),
        GeneralName::IPAddress([a, b, c, d]) => Some(Identifier::Ip([*a, *b, *c, *d].into())),
        GeneralName::IPAddress(bytes) => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| Identifier::Ip(bytes.into())),
        _ => None,
    });
    NameSet::new(names)
}

fn ari_id(certificate: &X509Certificate<'_>) -> Option<String> {
    let issuer = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(of) => of.key_identifier.as_ref().map(|id| id.0),
        _ => None,
    })?;
    Some(format!("{}.{}", BASE64URL_NOPAD.encode(issuer), BASE64URL_NOPAD.encode(certificate.raw_serial())))
}

fn timestamp(time: ASN1Time) -> Timestamp {
    Timestamp::from_unix_seconds(time.timestamp().clamp(0, LAST_SECOND))
}

fn key_type(certificate: &X509Certificate<'_>) -> Option<KeyType> {
    match certificate.public_key().parsed().ok()? {
        PublicKey::RSA(key) => KeyType::rsa(key.key_size()),
        PublicKey::EC(key) => KeyType::ecdsa(key.key_size()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, Issuer, KeyIdMethod, KeyPair, SerialNumber};

    use super::*;

    /// The example of RFC 9773.
    #[test]
    fn ids_are_those_of_the_rfc() {
        let issuer_key = KeyPair::generate().unwrap();
        let mut issuer = CertificateParams::new(Vec::new()).unwrap();
        let key_id = [
            0x69, 0x88, 0x5b, 0x6b, 0x87, 0x46, 0x40, 0x41, 0xe1, 0xb3, 0x7b, 0x84, 0x7b, 0xa0, 0xae, 0x2c, 0xde, 0x01,
            0xc8, 0xd4,
        ];
        issuer.key_identifier_method = KeyIdMethod::PreSpecified(key_id.to_vec());
        let names = ["b.example.com", "a.example.com", "192.0.2.7", "2001:db8::7"].map(str::to_owned);
        let mut params = CertificateParams::new(names).unwrap();
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(SerialNumber::from_slice(&[0x00, 0x87, 0x65, 0x43, 0x21]));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &Issuer::new(issuer, issuer_key)).unwrap();
        let (id, names) = read(certificate.pem().as_bytes()).unwrap();
        assert_eq!(id, "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE");
        assert_eq!(names, NameSet::parse(["a.example.com", "b.example.com", "192.0.2.7", "2001:db8::7"]).unwrap());
        assert_eq!(read(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), None);
        assert_eq!(read(b""), None);
        // rcgen's own validity ends in 4096.
        let certificate = Certificate::parse(certificate.pem().as_bytes()).unwrap();
        assert_eq!(certificate.not_after.to_string(), "2199-12-31T23:59:59Z");
    }

    #[test]
    fn it_says_what_it_is() {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let mut params = CertificateParams::new(["*.example.com".to_owned()]).unwrap();
        params.serial_number = Some(SerialNumber::from_slice(&[0x00, 0x87, 0x65]));
        params.not_before = rcgen::date_time_ymd(2026, 11, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 30);
        let pem = params.self_signed(&key).unwrap().pem();
        let certificate = Certificate::parse(pem.as_bytes()).unwrap();
        assert_eq!(certificate.names, NameSet::parse(["*.example.com"]).unwrap());
        assert_eq!(certificate.serial.to_string(), "8765");
        assert_eq!(certificate.ari_id, None);
        assert_eq!(certificate.not_before, Timestamp::parse("2026-11-01").unwrap());
        assert_eq!(certificate.not_after, Timestamp::parse("2027-01-30").unwrap());
        assert_eq!(certificate.key_type, Some(KeyType::P384));
        assert_eq!(certificate.public_key, rcgen::PublicKeyData::subject_public_key_info(&key));
    }

    #[test]
    fn chains_are_split_after_the_first() {
        let one = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let two = "-----BEGIN CERTIFICATE-----\nBBBB\n-----END CERTIFICATE-----\n";
        assert_eq!(split(&format!("{one}{two}{one}")), Some((one, &*format!("{two}{one}"))));
        assert_eq!(split(&format!("{one}\n\n{two}")), Some((one, two)));
        assert_eq!(split(one), Some((one, "")));
        assert_eq!(split(one.trim_end()), Some((one.trim_end(), "")));
        assert_eq!(split("AAAA"), None);
    }
}

//! A certificate: its id in renewal information (RFC 9773, section 4.1) and its names.

use data_encoding::BASE64URL_NOPAD;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::pem::Pem;

use crate::name::{Identifier, NameSet};

/// The id and the names of the first certificate of a PEM chain; `None` where there is none that has both.
pub(crate) fn read(chain: &[u8]) -> Option<(String, NameSet)> {
    let pem = Pem::iter_from_buffer(chain).next()?.ok()?;
    let certificate = pem.parse_x509().ok()?;
    let issuer = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(of) => of.key_identifier.as_ref().map(|id| id.0),
        _ => None,
    })?;
    let id = format!("{}.{}", BASE64URL_NOPAD.encode(issuer), BASE64URL_NOPAD.encode(certificate.raw_serial()));
    let names = certificate.subject_alternative_name().ok()??;
    let names = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Identifier::parse(name).ok(),
        GeneralName::IPAddress([a, b, c, d]) => Some(Identifier::Ip([*a, *b, *c, *d].into())),
        GeneralName::IPAddress(bytes) => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| Identifier::Ip(bytes.into())),
        _ => None,
    });
    Some((id, NameSet::new(names)?))
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
    }
}

//! A CA that makes certificates as Let's Encrypt's look: with the logs' timestamps, with poison, in chains.

use certpace::time::{Span, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    SerialNumber,
};
use time::OffsetDateTime;

/// SCT lists and poison (RFC 6962, 3.3 and 3.1).
const SCT_LIST: [u64; 10] = [1, 3, 6, 1, 4, 1, 11_129, 2, 4, 2];
const POISON: [u64; 10] = [1, 3, 6, 1, 4, 1, 11_129, 2, 4, 3];

/// A CA with one intermediate, which is all that anybody sees of it.
pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    /// The intermediate's certificate.
    pub(crate) pem: String,
    key: KeyPair,
}

/// What a certificate is made of.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) names: Vec<&'static str>,
    pub(crate) serial: Vec<u8>,
    /// When it was issued; its validity starts an hour earlier.
    pub(crate) issued_at: Timestamp,
    pub(crate) days: i64,
    /// What the logs said, after the issue; no list if empty.
    pub(crate) scts: Vec<Span>,
    pub(crate) precertificate: bool,
}

/// A certificate.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) der: Vec<u8>,
    pub(crate) pem: String,
}

impl Ca {
    pub(crate) fn new(organisation: &str, common_name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CountryName, "US");
        params.distinguished_name.push(DnType::OrganizationName, organisation);
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem, key: KeyPair::generate().unwrap() }
    }

    pub(crate) fn issue(&self, wanted: &Wanted) -> Made {
        let names: Vec<String> = wanted.names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.serial_number = Some(SerialNumber::from_slice(&wanted.serial));
        let not_before = wanted.issued_at.minus(Span::from_hours(1));
        params.not_before = calendar(not_before);
        params.not_after = calendar(not_before.plus(Span::from_days(wanted.days)).minus(Span::from_seconds(1)));
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        if !wanted.scts.is_empty() {
            let at: Vec<_> = wanted.scts.iter().map(|later| wanted.issued_at.plus(*later)).collect();
            params.custom_extensions.push(CustomExtension::from_oid_content(&SCT_LIST, sct_list(&at)));
        }
        if wanted.precertificate {
            let mut poison = CustomExtension::from_oid_content(&POISON, vec![5, 0]);
            poison.set_criticality(true);
            params.custom_extensions.push(poison);
        }
        let made = params.signed_by(&self.key, &self.issuer).unwrap();
        Made { der: made.der().to_vec(), pem: made.pem() }
    }
}

fn calendar(at: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at.unix_nanos() / 1_000_000_000).unwrap()
}

/// A list of timestamps of one log each (RFC 6962, 3.3): an octet string of what TLS would write.
fn sct_list(at: &[Timestamp]) -> Vec<u8> {
    let mut list = Vec::new();
    for (log, at) in (0_u8..).zip(at) {
        let mut sct = vec![0];
        sct.extend([log; 32]);
        sct.extend(u64::try_from(at.unix_nanos() / 1_000_000).unwrap().to_be_bytes());
        sct.extend([0, 0]);
        // SHA-256, ECDSA, and a signature that nobody looks at.
        sct.extend([4, 3, 0, 8]);
        sct.extend([0xaa; 8]);
        list.extend(u16::try_from(sct.len()).unwrap().to_be_bytes());
        list.extend(sct);
    }
    let mut content = u16::try_from(list.len()).unwrap().to_be_bytes().to_vec();
    content.extend(list);
    let mut octets = vec![4];
    match u8::try_from(content.len()).unwrap() {
        length @ ..0x80 => octets.push(length),
        length => octets.extend([0x81, length]),
    }
    octets.extend(content);
    octets
}

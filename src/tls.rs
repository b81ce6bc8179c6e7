//! TLS: whom to trust as a CA, and the certificate that a proxy of our own makes anew at each start.

use std::io;
use std::sync::Arc;

use chrono::{DateTime, Datelike, Days, NaiveDate};
use hyper_rustls::ConfigBuilderExt as _;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};

use crate::time::Timestamp;

/// Whom to trust as the CA behind the proxy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trust {
    /// Whoever this machine trusts.
    System,
    /// Whoever has a certificate of these roots, as PEM.
    Roots(Vec<u8>),
    /// Anyone: for a test CA whose certificate nobody can check.
    Anyone,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The roots can't be read.
    #[error("the root certificates can't be read")]
    Pem(#[source] pem::Error),
    /// There are none.
    #[error("the file holds no certificate in PEM (-----BEGIN CERTIFICATE-----)")]
    NoRoot,
    /// This machine trusts nobody.
    #[error("this machine's root certificates can't be loaded")]
    System(#[source] io::Error),
    /// The proxy's own certificate can't be made, such as for a name that is none.
    #[error("no certificate can be made for the proxy")]
    Own(#[source] rcgen::Error),
    /// Rustls does not take what it was given.
    #[error("TLS can't be set up")]
    Setup(#[source] rustls::Error),
}

/// The proxy's side of TLS.
#[derive(Debug)]
pub(crate) struct Own {
    /// The root that clients have to trust.
    pub(crate) root_pem: String,
    pub(crate) config: Arc<ServerConfig>,
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// A root and a certificate of it for `names`, valid from the day before `now` for a year.
pub(crate) fn own(names: Vec<String>, now: Timestamp) -> Result<Own, TlsError> {
    let today = DateTime::from_timestamp_nanos(now.unix_nanos()).date_naive();
    let day = |date: Option<NaiveDate>| {
        let date = date.unwrap_or(today);
        date_time_ymd(date.year(), u8::try_from(date.month()).unwrap_or(1), u8::try_from(date.day()).unwrap_or(1))
    };
    let dated = |mut params: CertificateParams, name: &str| {
        params.not_before = day(today.checked_sub_days(Days::new(1)));
        params.not_after = day(today.checked_add_days(Days::new(365)));
        params.distinguished_name.push(DnType::CommonName, name);
        params
    };
    let mut root = dated(CertificateParams::default(), "certpace enforce: a root for tests");
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    let root_key = KeyPair::generate().map_err(TlsError::Own)?;
    let root_pem = root.self_signed(&root_key).map_err(TlsError::Own)?.pem();

    let mut leaf = dated(CertificateParams::new(names).map_err(TlsError::Own)?, "certpace enforce");
    leaf.use_authority_key_identifier_extension = true;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let leaf_key = KeyPair::generate().map_err(TlsError::Own)?;
    let leaf = leaf.signed_by(&leaf_key, &Issuer::new(root, root_key)).map_err(TlsError::Own)?;

    let key = PrivatePkcs8KeyDer::from(leaf_key.serialize_der());
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let mut config = builder
        .map_err(TlsError::Setup)?
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key.into())
        .map_err(TlsError::Setup)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Own { root_pem, config: Arc::new(config) })
}

/// How to speak to the CA behind.
pub(crate) fn client(trust: &Trust) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(TlsError::Setup)?;
    Ok(match trust {
        Trust::System => builder.with_native_roots().map_err(TlsError::System)?.with_no_client_auth(),
        Trust::Roots(pem) => {
            let mut roots = RootCertStore::empty();
            for root in CertificateDer::pem_slice_iter(pem) {
                roots.add(root.map_err(TlsError::Pem)?).map_err(TlsError::Setup)?;
            }
            if roots.is_empty() {
                return Err(TlsError::NoRoot);
            }
            builder.with_root_certificates(roots).with_no_client_auth()
        }
        Trust::Anyone => {
            let anyone = Anyone::with(Signatures::Checked);
            builder.dangerous().with_custom_certificate_verifier(Arc::new(anyone)).with_no_client_auth()
        }
    })
}

/// What is checked of whoever shows a certificate that nobody checks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Signatures {
    /// That he has its key.
    Checked,
    /// Nothing: webpki can't read every certificate, such as one with a critical extension that it does not know.
    Unchecked,
}

/// Takes any certificate.
#[derive(Debug)]
pub(crate) struct Anyone {
    signatures: Signatures,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Anyone {
    pub(crate) fn with(signatures: Signatures) -> Self {
        Self { signatures, algorithms: provider().signature_verification_algorithms }
    }
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match self.signatures {
            Signatures::Checked => verify_tls12_signature(message, cert, dss, &self.algorithms),
            Signatures::Unchecked => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match self.signatures {
            Signatures::Checked => verify_tls13_signature(message, cert, dss, &self.algorithms),
            Signatures::Unchecked => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_read_and_what_is_none_is_told() {
        let own = own(vec!["localhost".to_owned()], Timestamp::from_unix_seconds(1_800_000_000)).unwrap();
        assert!(client(&Trust::Roots(own.root_pem.into_bytes())).is_ok());
        assert!(client(&Trust::Anyone).is_ok());
        assert!(matches!(client(&Trust::Roots(b"no PEM".to_vec())), Err(TlsError::NoRoot)));
        let broken = b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n".to_vec();
        assert!(matches!(client(&Trust::Roots(broken)), Err(TlsError::Pem(_))));
    }
}

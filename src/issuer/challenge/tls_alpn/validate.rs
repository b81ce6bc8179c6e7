//! Looks at a tls-alpn-01 answer as the CA does.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use super::{PROTOCOL, server_name};
use crate::issuer::challenge::Proof;
use crate::name::Identifier;
use crate::tls::{self, Anyone, Signatures};

/// The extension that holds the proof (RFC 8737, section 3).
const ACME_IDENTIFIER: &str = "1.3.6.1.5.5.7.1.31";

/// Says what is shown instead of the proof.
pub(in crate::issuer::challenge) async fn run(stream: TcpStream, proof: &Proof) -> Result<(), String> {
    let builder = ClientConfig::builder_with_provider(tls::provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?.dangerous();
    // Nothing secret is said, and the proof is a critical extension that webpki does not know.
    let anyone = Arc::new(Anyone::with(Signatures::Unchecked));
    let mut config = builder.with_custom_certificate_verifier(anyone).with_no_client_auth();
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    let name = ServerName::try_from(server_name(&proof.identifier)).map_err(|error| error.to_string())?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let stream = stream.map_err(|error| format!("does not speak acme-tls/1: {error}"))?;
    let (_, connection) = stream.get_ref();
    if connection.alpn_protocol() != Some(PROTOCOL) {
        return Err("speaks TLS, but not acme-tls/1".to_owned());
    }
    let certificate = connection.peer_certificates().and_then(|chain| chain.first());
    shows(certificate.map_or(&[], |certificate| certificate.as_ref()), proof)
}

fn shows(certificate: &[u8], proof: &Proof) -> Result<(), String> {
    let (_, certificate) = parse_x509_certificate(certificate)
        .map_err(|error| format!("shows a certificate that can't be read: {error}"))?;
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    if !matches!(names, [name] if is(name, &proof.identifier)) {
        return Err(format!("shows a certificate of {names:?}, not of {} alone", proof.identifier));
    }
    let extension = certificate.extensions().iter().find(|extension| extension.oid.to_id_string() == ACME_IDENTIFIER);
    // An OCTET STRING of 32 bytes in DER.
    let wanted = [&[0x04, 0x20][..], &proof.digest()].concat();
    match extension {
        None => Err("shows a certificate without a proof".to_owned()),
        Some(extension) if extension.value != wanted || !extension.critical => Err("shows another proof".to_owned()),
        Some(_) => Ok(()),
    }
}

fn is(name: &GeneralName<'_>, identifier: &Identifier) -> bool {
    match (name, identifier) {
        (GeneralName::DNSName(name), Identifier::Dns(wanted)) => name.eq_ignore_ascii_case(wanted.as_str()),
        (GeneralName::IPAddress(octets), Identifier::Ip(std::net::IpAddr::V4(wanted))) => *octets == wanted.octets(),
        (GeneralName::IPAddress(octets), Identifier::Ip(std::net::IpAddr::V6(wanted))) => *octets == wanted.octets(),
        _ => false,
    }
}

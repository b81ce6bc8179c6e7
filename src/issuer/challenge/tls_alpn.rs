//! tls-alpn-01 (RFC 8737): a self-signed certificate that holds the proof, shown to whoever speaks `acme-tls/1`.

pub(super) mod validate;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::TlsAcceptor;

use super::listen::Listener;
use super::{ChallengeError, Kind, Proof};
use crate::name::Identifier;
use crate::tls::{self, TlsError};

/// What the CA speaks when it validates.
const PROTOCOL: &[u8] = b"acme-tls/1";

/// Listens for the CA, with the certificates of all orders.
#[derive(Debug)]
pub(super) struct Responder {
    listener: Listener,
    certificates: Arc<Certificates>,
}

/// Certificates by the name that the CA asks for, with whose proof each is.
#[derive(Debug, Default)]
struct Certificates(Mutex<BTreeMap<String, (String, Arc<CertifiedKey>)>>);

impl Responder {
    pub(super) fn listen(address: SocketAddr) -> Result<Self, ChallengeError> {
        let certificates = Arc::new(Certificates::default());
        let builder = ServerConfig::builder_with_provider(tls::provider()).with_safe_default_protocol_versions();
        let builder = builder.map_err(TlsError::Setup)?.with_no_client_auth();
        let mut config = builder.with_cert_resolver(Arc::<Certificates>::clone(&certificates));
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = Listener::start(address, &[address], Kind::TlsAlpn01, move |stream| {
            let acceptor = acceptor.clone();
            async move {
                // The handshake is the answer; nothing is said after it.
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _gone_already = stream.shutdown().await;
                }
            }
        })?;
        Ok(Self { listener, certificates })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.listener.address
    }

    /// Of two proofs of one name at a time, such as two accounts', the later one is shown.
    pub(super) fn set(&self, proof: &Proof) -> Result<(), ChallengeError> {
        let certificate = certificate(proof);
        let certificate = certificate.map_err(|error| ChallengeError::Certificate { name: proof.ordered(), error })?;
        let value = (proof.key_authorization.clone(), Arc::new(certificate));
        self.certificates.lock().insert(server_name(&proof.identifier), value);
        Ok(())
    }

    pub(super) fn clear(&self, proof: &Proof) {
        let mut certificates = self.certificates.lock();
        let name = server_name(&proof.identifier);
        if certificates.get(&name).is_some_and(|(whose, _)| *whose == proof.key_authorization) {
            certificates.remove(&name);
        }
    }
}

impl Certificates {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, (String, Arc<CertifiedKey>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolvesServerCert for Certificates {
    /// Whoever offers no protocol is no CA either, and rustls would let it pass.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        hello.alpn()?.find(|protocol| *protocol == PROTOCOL)?;
        let (_, certificate) = self.lock().get(hello.server_name()?)?.clone();
        Some(certificate)
    }
}

fn certificate(proof: &Proof) -> Result<CertifiedKey, rcgen::Error> {
    let mut params = CertificateParams::new([proof.identifier.to_string()])?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(&proof.digest())];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let signing = ring::sign::any_ecdsa_type(&PrivatePkcs8KeyDer::from(key.serialize_der()).into());
    let signing = signing.map_err(|_other_kind| rcgen::Error::CouldNotParseKeyPair)?;
    Ok(CertifiedKey::new(vec![certificate.der().clone()], signing))
}

/// What the CA asks for: the name, or for an address the name of its reverse lookup (RFC 8738, section 6).
fn server_name(identifier: &Identifier) -> String {
    match identifier {
        Identifier::Dns(name) => name.as_str().to_owned(),
        Identifier::Ip(IpAddr::V4(address)) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        Identifier::Ip(IpAddr::V6(address)) => {
            let nibbles = address.octets().into_iter().rev().flat_map(|byte| [byte & 0xf, byte >> 4]);
            nibbles.map(|nibble| format!("{nibble:x}.")).collect::<String>() + "ip6.arpa"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(identifier: &str, name: &str) {
        assert_eq!(server_name(&Identifier::parse(identifier).unwrap()), name);
    }

    #[test]
    fn addresses_are_asked_for_by_their_reverse_names() {
        check("www.example.com", "www.example.com");
        check("93.184.216.34", "34.216.184.93.in-addr.arpa");
        check("2606:4700::1111", "1.1.1.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.7.4.6.0.6.2.ip6.arpa");
    }
}

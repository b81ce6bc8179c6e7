//! Whether what is in stores are the certificates that were wanted, by rustls and x509-parser rather than by our own code.

use std::fs;
use std::sync::Arc;

use rcgen::{KeyPair, PublicKeyData as _};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::world::World;

/// That the stores hold a certificate for each of the hostnames, once among them all, and nothing else; that each holds for its name alone, is
/// signed by the CA, and has the key that lies beside it; that nothing is open; and that the CA has issued nothing else.
pub(crate) fn check(world: &World, stores: &[&str], hostnames: &[String]) {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(world.issuer_root()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let mut held = Vec::new();
    for lineage in stores.iter().flat_map(|store| world.held(store)) {
        assert_eq!(lineage.version, 1, "{}: there is a second one", lineage.folder.display());
        let live = lineage.live();
        let chain: Vec<_> =
            CertificateDer::pem_file_iter(live.join("fullchain.pem")).unwrap().map(Result::unwrap).collect();
        let (_, leaf) = X509Certificate::from_der(&chain[0]).unwrap();
        let names: Vec<_> = leaf.subject_alternative_name().unwrap().unwrap().value.general_names.iter().collect();
        let [GeneralName::DNSName(name)] = names[..] else { panic!("{names:?}") };
        let server = ServerName::try_from((*name).to_owned()).unwrap();
        verifier.verify_server_cert(&chain[0], &chain[1..], &server, &[], UnixTime::now()).unwrap();
        let key = KeyPair::from_pem(&fs::read_to_string(live.join("privkey.pem")).unwrap()).unwrap();
        assert_eq!(leaf.public_key().subject_public_key.data, key.der_bytes());
        held.push((*name).to_owned());
    }
    let mut wanted = hostnames.to_vec();
    wanted.sort();
    held.sort();
    assert!(held == wanted, "{} held, {} wanted", held.len(), wanted.len());
    assert!(world.issued() == wanted, "the CA has issued others, or one twice");
    for store in stores {
        let store = certpace::issuer::store::Store::find(&world.folder().join(store)).unwrap().unwrap();
        assert_eq!(store.open_orders().unwrap(), []);
    }
}

//! Whole orders at Pebble, by instant-acme alone: it finds the answers where it looks.

use std::fs;
use std::pin::Pin;
use std::time::Duration;

use certpace::issuer::challenge::{Challenges, DnsHooks, Http01, Kind, Proof, Settings};
use certpace::name::Identifier;
use hyper::Request;
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use instant_acme::{
    Account, BodyWrapper, BytesResponse, ChallengeType, Error, HttpClient, Identifier as Asked, NewAccount, NewOrder,
    OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;

use super::servers::pebble::Pebble;
use super::world::well;

struct Plain(Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>);

impl Plain {
    /// Trusts that Pebble.
    fn new(pebble: &Pebble) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&pebble.root).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into());
        let config = config.with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let https = HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1().build();
        Self(Client::builder(TokioExecutor::new()).build(https))
    }
}

impl HttpClient for Plain {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let answer = self.0.request(request);
        Box::pin(async move { Ok(answer.await.map_err(|error| Error::Other(Box::new(error)))?.into()) })
    }
}

/// Takes a certificate of `names`, each validated by `kind`.
async fn certificate(pebble: &Pebble, settings: Settings, kind: Kind, names: &[&str]) {
    let ports = Settings { http_port: pebble.http_port, tls_port: pebble.tls_port, ..settings };
    let settings = Settings { dns_server: Some(pebble.dns.address), propagation: Duration::from_secs(20), ..ports };
    let challenges = Challenges::start(settings).await.unwrap();
    let new = NewAccount { contact: &[], terms_of_service_agreed: true, only_return_existing: false };
    let builder = Account::builder_with_http(Box::new(Plain::new(pebble)));
    let (account, _) = builder.create(&new, pebble.directory.clone(), None).await.unwrap();
    let asked = |name: &&str| name.parse().map_or_else(|_| Asked::Dns((*name).to_owned()), Asked::Ip);
    let asked: Vec<_> = names.iter().map(asked).collect();
    let mut order = account.new_order(&NewOrder::new(&asked)).await.unwrap();

    let of = match kind {
        Kind::Http01 => ChallengeType::Http01,
        Kind::Dns01 => ChallengeType::Dns01,
        Kind::TlsAlpn01 => ChallengeType::TlsAlpn01,
    };
    let mut proofs = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.unwrap();
        let challenge = authorization.challenge(of.clone()).unwrap();
        let identifier = match challenge.identifier().identifier {
            Asked::Dns(name) => Identifier::parse(name).unwrap(),
            Asked::Ip(address) => Identifier::Ip(*address),
            other => panic!("{other:?}"),
        };
        let wildcard = challenge.identifier().wildcard;
        assert_eq!(challenges.choose(&identifier, wildcard, None, &[kind]).unwrap(), kind);
        let key_authorization = challenge.key_authorization().as_str().to_owned();
        let account_uri = Some(account.id().to_owned());
        proofs.push(Proof {
            identifier,
            wildcard,
            kind,
            token: challenge.token.clone(),
            key_authorization,
            account_uri,
        });
    }
    assert_eq!(proofs.len(), names.len());
    well(challenges.set(&proofs).await);
    for proof in &proofs {
        well(vec![challenges.precheck(proof).await]);
    }
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        authorization.unwrap().challenge(of.clone()).unwrap().set_ready().await.unwrap();
    }
    let status = order.poll_ready(&RetryPolicy::new()).await.unwrap();
    assert_eq!(status, OrderStatus::Ready, "{}", pebble.server.said());
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    let key = KeyPair::generate().unwrap();
    let csr = CertificateParams::new(names).unwrap().serialize_request(&key).unwrap();
    order.finalize_csr(csr.der()).await.unwrap();
    let chain = order.poll_certificate(&RetryPolicy::new()).await.unwrap();
    assert!(chain.starts_with("-----BEGIN CERTIFICATE-----"));
    well(challenges.clear(&proofs).await);
}

fn start() -> (Pebble, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Pebble::start(folder.path()), folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn pebble_finds_answers_over_http() {
    let (pebble, folder) = start();
    let listen = Http01::Listen(vec![([127, 0, 0, 1], pebble.http_port).into()]);
    let settings = Settings { http01: Some(listen), ..Settings::default() };
    certificate(&pebble, settings, Kind::Http01, &["a.example.com", "b.example.com", "127.0.0.1"]).await;
    drop(folder);
}

#[tokio::test(flavor = "multi_thread")]
async fn pebble_finds_answers_over_tls() {
    let (pebble, folder) = start();
    let listen = Some(([127, 0, 0, 1], pebble.tls_port).into());
    let settings = Settings { tls_alpn01: listen, ..Settings::default() };
    certificate(&pebble, settings, Kind::TlsAlpn01, &["a.example.com", "b.example.com", "127.0.0.1"]).await;
    drop(folder);
}

/// With the script of docs/challenges.md, for which the DNS server's interface stands in for a provider's.
#[tokio::test(flavor = "multi_thread")]
async fn pebble_finds_answers_in_dns() {
    let (pebble, folder) = start();
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/challenges.md")).unwrap();
    let script = text.split("```sh\n#!/bin/sh\n").nth(1).unwrap().split("```").next().unwrap();
    let path = folder.path().join("dns-hook");
    fs::write(&path, script).unwrap();
    let command = format!("DNS_API=http://{} sh {}", pebble.dns.management, path.display());
    let timeout = Duration::from_secs(20);
    let hooks = DnsHooks { set: command.clone(), clear: command, batch: false, timeout, parallel: 4 };
    let settings = Settings { dns01: Some(hooks), ..Settings::default() };
    certificate(&pebble, settings, Kind::Dns01, &["example.com", "*.example.com", "www.example.org"]).await;
}

//! Orders certificates by instant-acme and nothing else, so many at once: no limits, nothing on disk. What `benches/issue` measures `certpace issue`
//! against. The CA has to take every validation for good (`PEBBLE_VA_ALWAYS_VALID=1`).
#![expect(clippy::disallowed_macros, clippy::disallowed_methods, reason = "an example may print, and measure")]

use std::error::Error;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use hyper::Request;
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use instant_acme::{
    Account, BodyWrapper, BytesResponse, ChallengeType, HttpClient, Identifier, NewAccount, NewOrder, RetryPolicy,
};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

type Failure = Box<dyn Error + Send + Sync>;

/// As the library's own client, but for the root that is trusted.
struct Http(Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>);

impl Http {
    fn new(root: &str) -> Result<Self, Failure> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(root)?)?;
        let config = ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into());
        let config = config.with_safe_default_protocol_versions()?.with_root_certificates(roots).with_no_client_auth();
        let https = HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1().build();
        Ok(Self(Client::builder(TokioExecutor::new()).build(https)))
    }
}

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let answer = self.0.request(request);
        Box::pin(async move { Ok(answer.await.map_err(|error| instant_acme::Error::Other(Box::new(error)))?.into()) })
    }
}

async fn certificate(account: &Account, name: String) -> Result<String, Failure> {
    let mut order = account.new_order(&NewOrder::new(&[Identifier::Dns(name.clone())])).await?;
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        authorization.challenge(ChallengeType::Http01).ok_or("no http-01")?.set_ready().await?;
    }
    order.poll_ready(&RetryPolicy::new()).await?;
    let key = KeyPair::generate()?;
    let csr = CertificateParams::new([name])?.serialize_request(&key)?;
    order.finalize_csr(csr.der()).await?;
    Ok(order.poll_certificate(&RetryPolicy::new()).await?)
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [directory, root, prefix, orders, at_once] = &arguments[..] else {
        return Err("usage: bare-issue DIRECTORY ROOT PREFIX ORDERS AT-ONCE".into());
    };
    let new = NewAccount { contact: &[], terms_of_service_agreed: true, only_return_existing: false };
    let builder = Account::builder_with_http(Box::new(Http::new(root)?));
    let (account, _) = builder.create(&new, directory.clone(), None).await?;
    let names = (0..orders.parse::<u32>()?).map(|number| format!("www.{prefix}{number}.com"));
    let names = Arc::new(Mutex::new(names.collect::<Vec<_>>()));
    let began = Instant::now();
    let workers = (0..at_once.parse::<u32>()?).map(|_| {
        let (names, account) = (Arc::clone(&names), account.clone());
        tokio::spawn(async move {
            loop {
                let name = names.lock().map_err(|error| error.to_string())?.pop();
                let Some(name) = name else { return Ok::<_, Failure>(()) };
                certificate(&account, name).await?;
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await??;
    }
    println!("{}", began.elapsed().as_secs_f64());
    Ok(())
}

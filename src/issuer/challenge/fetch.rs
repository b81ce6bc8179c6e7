//! Fetches an http-01 answer as Boulder does (`va/http.go`): IPv6 first, redirects followed, any certificate taken.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, LOCATION, USER_AGENT};
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use super::dns::Dns;
use crate::tls::{self, Trust};

/// How long a host may take to answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Redirects that are followed.
const REDIRECTS_MAX: usize = 10;
/// What is read of an answer, at least: a key authorization has less than a hundred bytes.
const BODY_BYTES_MAX: usize = 1 << 10;
const AGENT: &str = concat!("certpace/", env!("CARGO_PKG_VERSION"), " (precheck)");

/// How hosts are reached.
pub(super) struct Reach<'a> {
    pub(super) dns: &'a Dns,
    /// Where redirects may lead: 80 and 443 but in tests.
    pub(super) ports: [u16; 2],
}

/// What was found at the end of redirects.
pub(super) struct Answer {
    pub(super) url: String,
    pub(super) status: u16,
    /// Its first bytes.
    pub(super) body: Vec<u8>,
}

/// Where it failed, and how.
type Failed = (String, String);

pub(super) async fn get(url: &str, reach: &Reach<'_>) -> Result<Answer, Failed> {
    let mut url = Url::parse(url).map_err(|error| (url.to_owned(), format!("is no URL: {error}")))?;
    for _ in 0..=REDIRECTS_MAX {
        let at = |why| (url.to_string(), why);
        let answered = tokio::time::timeout(PATIENCE, reach.get(&url)).await.unwrap_or_else(|_elapsed| Err(slow()));
        let response = answered.map_err(at)?;
        if !response.status().is_redirection() {
            let status = response.status().as_u16();
            let body = tokio::time::timeout(PATIENCE, first_bytes(response.into_body())).await;
            let body = body.map_err(|_elapsed| at(slow()))?;
            let body = body.map_err(|error| at(format!("answers {status} with a body that can't be read: {error}")))?;
            return Ok(Answer { url: url.to_string(), status, body });
        }
        let location = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
        let location = location.ok_or_else(|| at(format!("answers {} without Location", response.status())))?;
        let to = url.join(location).map_err(|_no_url| at(format!("redirects to `{location}`, which is no URL")))?;
        let port = to.port_or_known_default();
        if !matches!(to.scheme(), "http" | "https") || !port.is_some_and(|port| reach.allows(port)) {
            return Err(at(format!("redirects to {to}, where the CA does not follow: to ports 80 and 443 only")));
        }
        url = to;
    }
    Err((url.to_string(), format!("is reached by more than {REDIRECTS_MAX} redirects")))
}

async fn first_bytes(mut body: Incoming) -> hyper::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while bytes.len() < BODY_BYTES_MAX
        && let Some(frame) = body.frame().await
    {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes)
}

pub(super) fn slow() -> String {
    format!("does not answer within {} s", PATIENCE.as_secs())
}

impl Reach<'_> {
    fn allows(&self, port: u16) -> bool {
        self.ports.contains(&port) || [80, 443].contains(&port)
    }

    async fn get(&self, url: &Url) -> Result<Response<Incoming>, String> {
        let host = url.host().ok_or("names no host")?;
        let port = url.port_or_known_default().unwrap_or(80);
        let stream = self.connect(&host, port).await?;
        if url.scheme() == "http" {
            return exchange(stream, url).await;
        }
        let name = match &host {
            Host::Domain(name) => ServerName::try_from((*name).to_owned()).map_err(|error| error.to_string())?,
            Host::Ipv4(address) => ServerName::from(IpAddr::V4(*address)),
            Host::Ipv6(address) => ServerName::from(IpAddr::V6(*address)),
        };
        let config = tls::client(&Trust::Anyone).map_err(|error| error.to_string())?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        exchange(stream.map_err(|error| format!("does not speak TLS: {error}"))?, url).await
    }

    /// A connection to the first IPv6 address, or else to the first IPv4 one.
    pub(super) async fn connect(&self, host: &Host<&str>, port: u16) -> Result<TcpStream, String> {
        let addresses = match host {
            Host::Domain(name) => {
                let unknown =
                    |error| format!("can't be reached: {name} can't be looked up at {}: {error}", self.dns.asked());
                self.dns.addresses(name).await.map_err(unknown)?
            }
            Host::Ipv4(address) => vec![IpAddr::V4(*address)],
            Host::Ipv6(address) => vec![IpAddr::V6(*address)],
        };
        let first = |is: fn(&IpAddr) -> bool| addresses.iter().find(|address| is(address));
        let mut failed = format!("can't be reached: {} knows no address of {host}", self.dns.asked());
        for address in [first(IpAddr::is_ipv6), first(IpAddr::is_ipv4)].into_iter().flatten() {
            match TcpStream::connect((*address, port)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = format!("can't be reached at {address}: {error}"),
            }
        }
        Err(failed)
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    url: &Url,
) -> Result<Response<Incoming>, String> {
    let unanswered = |error: hyper::Error| format!("does not answer: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(unanswered)?;
    // It ends with the answer's body.
    tokio::spawn(connection);
    let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let request = Request::get(path).header(HOST, &url[url::Position::BeforeHost..url::Position::AfterPort]);
    let request = request.header(USER_AGENT, AGENT).header(ACCEPT, "*/*").header(CONNECTION, "close");
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    sender.send_request(request).await.map_err(unanswered)
}

//! Looks answers up as the CA would.

use std::net::IpAddr;
use std::time::Duration;

use url::Host;

use super::dns::Dns;
use super::fetch::{self, Reach};
use super::tls_alpn::validate;
use super::{ChallengeError, Kind, Proof, Settings, WELL_KNOWN, caa};
use crate::clock::Stopwatch;
use crate::name::Identifier;

/// How long an answer by http-01 or tls-alpn-01 is looked for: a shared folder or a load balancer may need a moment.
const SOON: Duration = Duration::from_secs(10);
/// The pause after the first look, which grows by half with each.
const PAUSE: Duration = Duration::from_secs(2);
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// Until the answer is there or it takes too long.
pub(super) async fn run(proof: &Proof, settings: &Settings, dns: &Dns) -> Result<(), ChallengeError> {
    caa::check(proof, &settings.ca_identities, dns).await?;
    let patience = match proof.kind {
        Kind::Dns01 => settings.propagation,
        Kind::Http01 | Kind::TlsAlpn01 => SOON.min(settings.propagation),
    };
    let (begun, mut pause) = (Stopwatch::start(), PAUSE);
    loop {
        let seen = look(proof, settings, dns).await;
        let Err(error) = seen else { return Ok(()) };
        let passed = Duration::from_nanos(u64::try_from(begun.elapsed().nanos()).unwrap_or(0));
        if passed + pause > patience {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(PAUSE_MAX);
    }
}

async fn look(proof: &Proof, settings: &Settings, dns: &Dns) -> Result<(), ChallengeError> {
    match proof.kind {
        Kind::Dns01 => txt(proof, dns).await,
        Kind::Http01 => http(proof, settings, dns).await,
        Kind::TlsAlpn01 => tls_alpn(proof, settings, dns).await,
    }
}

fn unseen(proof: &Proof, place: String, found: String) -> ChallengeError {
    ChallengeError::Unseen { name: proof.ordered(), kind: proof.kind, place, found }
}

/// All servers that answer must have the value: the CA may ask any of them.
async fn txt(proof: &Proof, dns: &Dns) -> Result<(), ChallengeError> {
    let (record, value) = (proof.txt_record(), proof.txt_value());
    let answers = dns.txt(&record).await.map_err(|error| ChallengeError::Lookup {
        name: proof.ordered(),
        place: format!("TXT of {record} at {}", dns.asked()),
        error,
    })?;
    match answers.into_iter().find(|answer| !answer.values.contains(&value)) {
        None => Ok(()),
        Some(answer) => {
            let found = match answer.values.as_slice() {
                [] => format!("is no TXT record at {}", answer.server),
                values => {
                    format!("has other TXT values at {}: {}", answer.server, excerpt(values.join(", ").as_bytes()))
                }
            };
            Err(unseen(proof, record, format!("{found}; wanted is {value}")))
        }
    }
}

async fn http(proof: &Proof, settings: &Settings, dns: &Dns) -> Result<(), ChallengeError> {
    let host = match &proof.identifier {
        Identifier::Ip(IpAddr::V6(address)) => format!("[{address}]"),
        other => other.to_string(),
    };
    let port = if settings.http_port == 80 { String::new() } else { format!(":{}", settings.http_port) };
    let url = format!("http://{host}{port}/{WELL_KNOWN}/{}", proof.token);
    let reach = Reach { dns, ports: [settings.http_port, settings.tls_port] };
    let answer = fetch::get(&url, &reach).await.map_err(|(place, why)| unseen(proof, place, why))?;
    let is_proof = answer.body.trim_ascii_end() == proof.key_authorization.as_bytes();
    if answer.status == 200 && is_proof {
        return Ok(());
    }
    let found = format!("answers {} {}", answer.status, excerpt(&answer.body));
    Err(unseen(proof, answer.url, format!("{found}; wanted is 200 {:?}", proof.key_authorization)))
}

async fn tls_alpn(proof: &Proof, settings: &Settings, dns: &Dns) -> Result<(), ChallengeError> {
    let port = settings.tls_port;
    let place = format!("{} port {port}", proof.identifier);
    let reach = Reach { dns, ports: [settings.http_port, port] };
    let host = match &proof.identifier {
        Identifier::Dns(name) => Host::Domain(name.as_str()),
        Identifier::Ip(IpAddr::V4(address)) => Host::Ipv4(*address),
        Identifier::Ip(IpAddr::V6(address)) => Host::Ipv6(*address),
    };
    let looked = async {
        let stream = reach.connect(&host, port).await?;
        validate::run(stream, proof).await
    };
    let looked = tokio::time::timeout(fetch::PATIENCE, looked).await.unwrap_or_else(|_elapsed| Err(fetch::slow()));
    looked.map_err(|why| unseen(proof, place, why))
}

/// The first bytes of what was found.
fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(100)]).into_owned();
    format!("{text:?}{}", if bytes.len() > 100 { "…" } else { "" })
}

//! Asks DNS as a CA's resolver would.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::rdata::CAA;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Resolver, TokioResolver};

use super::ChallengeError;

/// How long an answer is kept, such as where a zone's name servers are: no longer than Let's Encrypt does.
const KEPT: Duration = Duration::from_secs(60);
/// How long a server may take, and how often it is asked.
const PATIENCE: Duration = Duration::from_secs(5);
const ATTEMPTS: usize = 2;
/// Aliases that are followed.
const ALIASES_MAX: usize = 8;
/// Name servers of a zone that are asked.
const SERVERS_MAX: usize = 8;

/// Whom to ask.
#[derive(Debug)]
pub(super) struct Dns {
    /// The server given, or the system's.
    recursive: TokioResolver,
    /// The same, remembering nothing: for what has just been set.
    forgetful: TokioResolver,
    /// The server given; without one, zones' own servers are asked for TXT records.
    server: Option<SocketAddr>,
    /// Where zones' own servers listen: 53 but in tests.
    port: u16,
}

/// The values of a TXT record at one server.
#[derive(Debug)]
pub(super) struct Txt {
    /// Whose answer it is.
    pub(super) server: String,
    /// What it says.
    pub(super) values: Vec<String>,
}

impl Dns {
    pub(super) fn new(server: Option<SocketAddr>) -> Result<Self, ChallengeError> {
        let unusable = |error: NetError| ChallengeError::Resolver(error.to_string());
        let config = match server {
            Some(server) => at(&[server.ip()], server.port()),
            None => hickory_resolver::system_conf::read_system_conf().map_err(unusable)?.0,
        };
        let recursive = resolver(config.clone(), 8192, true).map_err(unusable)?;
        let forgetful = resolver(config, 0, true).map_err(unusable)?;
        Ok(Self { recursive, forgetful, server, port: 53 })
    }

    /// Who is asked where it is not a zone's own server.
    pub(super) fn asked(&self) -> String {
        self.server.map_or_else(|| "this machine's DNS server".to_owned(), |server| format!("DNS server {server}"))
    }

    /// The addresses of a host, IPv6 first, as the CA tries them.
    pub(super) async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        let (v6, v4) = futures_util::future::join(
            self.look_up(&self.recursive, host, RecordType::AAAA),
            self.look_up(&self.recursive, host, RecordType::A),
        )
        .await;
        let address = |data: &RData| match data {
            RData::A(address) => Some(IpAddr::V4(address.0)),
            RData::AAAA(address) => Some(IpAddr::V6(address.0)),
            _ => None,
        };
        match (v6, v4) {
            (Err(error), Err(_)) => Err(error),
            (v6, v4) => Ok(v6.iter().chain(&v4).flatten().filter_map(address).collect()),
        }
    }

    /// The CAA records at a name.
    pub(super) async fn caa(&self, name: &str) -> Result<Vec<CAA>, String> {
        let records = self.look_up(&self.recursive, name, RecordType::CAA).await?;
        let caa = |data| if let RData::CAA(caa) = data { Some(caa) } else { None };
        Ok(records.into_iter().filter_map(caa).collect())
    }

    /// What each server says that can be asked: the zone's own, since the CA may get to any of them; or else the recursive one.
    pub(super) async fn txt(&self, record: &str) -> Result<Vec<Txt>, String> {
        if self.server.is_none() {
            let answers = self.txt_of_zone(record).await.unwrap_or_default();
            if !answers.is_empty() {
                return Ok(answers);
            }
        }
        let values = texts(self.look_up(&self.forgetful, record, RecordType::TXT).await?);
        Ok(vec![Txt { server: self.asked(), values }])
    }

    /// Answers of the zone's servers, without those that don't answer: a resolver goes to another one then, too.
    async fn txt_of_zone(&self, record: &str) -> Result<Vec<Txt>, String> {
        let record = self.canonical(record).await?;
        let ask = async |server: String| {
            let addresses = self.addresses(&server).await.ok()?;
            let resolver = resolver(at(&addresses, self.port), 0, false).ok()?;
            let values = texts(self.look_up(&resolver, &record, RecordType::TXT).await.ok()?);
            Some(Txt { server: format!("the zone's name server {server}"), values })
        };
        let servers = self.name_servers(&record).await?;
        Ok(join_all(servers.into_iter().take(SERVERS_MAX).map(ask)).await.into_iter().flatten().collect())
    }

    /// Where aliases lead.
    async fn canonical(&self, record: &str) -> Result<String, String> {
        let mut name = record.to_owned();
        for _ in 0..ALIASES_MAX {
            let found = self.look_up(&self.recursive, &name, RecordType::CNAME).await?;
            match found.into_iter().find_map(|data| if let RData::CNAME(to) = data { Some(to) } else { None }) {
                Some(alias) => name = alias.0.to_ascii(),
                None => return Ok(name),
            }
        }
        Err(format!("{record} is an alias of more than {ALIASES_MAX} others"))
    }

    /// The name servers of the zone in which a name lies.
    async fn name_servers(&self, name: &str) -> Result<Vec<String>, String> {
        for zone in upwards(name) {
            let found = self.look_up(&self.recursive, zone, RecordType::NS).await?;
            let server = |data| if let RData::NS(server) = data { Some(server.0.to_ascii()) } else { None };
            let mut servers: Vec<_> = found.into_iter().filter_map(server).collect();
            if !servers.is_empty() {
                servers.sort();
                return Ok(servers);
            }
        }
        Err(format!("no zone of {name} is known"))
    }

    /// Records of a name; none where there is no such name.
    async fn look_up(&self, resolver: &TokioResolver, name: &str, of: RecordType) -> Result<Vec<RData>, String> {
        let mut name = Name::from_ascii(name).map_err(|error| error.to_string())?;
        name.set_fqdn(true);
        match resolver.lookup(name, of).await {
            Ok(found) => Ok(found.answers().iter().map(|record| record.data.clone()).collect()),
            Err(NetError::Dns(DnsError::NoRecordsFound(_))) => Ok(Vec::new()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The name and those above it, without the root.
pub(super) fn upwards(name: &str) -> impl Iterator<Item = &str> {
    let name = name.trim_end_matches('.');
    std::iter::successors(Some(name).filter(|name| !name.is_empty()), |name| name.split_once('.').map(|(_, rest)| rest))
}

fn texts(records: Vec<RData>) -> Vec<String> {
    let text = |data| {
        let RData::TXT(text) = data else { return None };
        Some(String::from_utf8_lossy(&text.txt_data.concat()).into_owned())
    };
    records.into_iter().filter_map(text).collect()
}

fn at(addresses: &[IpAddr], port: u16) -> ResolverConfig {
    let connection = |mut connection: ConnectionConfig| {
        connection.port = port;
        connection
    };
    let connections = || vec![connection(ConnectionConfig::udp()), connection(ConnectionConfig::tcp())];
    let servers = addresses.iter().map(|address| NameServerConfig::new(*address, true, connections()));
    ResolverConfig::from_parts(None, Vec::new(), servers.collect())
}

/// The CA does not know this machine's `/etc/hosts` either.
fn resolver(config: ResolverConfig, kept: u64, recursion: bool) -> Result<TokioResolver, NetError> {
    let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
    let mut options = ResolverOpts::default();
    options.timeout = PATIENCE;
    options.attempts = ATTEMPTS;
    options.cache_size = kept;
    options.positive_max_ttl = Some(KEPT);
    options.negative_max_ttl = Some(KEPT);
    options.use_hosts_file = ResolveHosts::Never;
    options.recursion_desired = recursion;
    *builder.options_mut() = options;
    builder.build()
}

//! Asks DNS as a CA's resolver would.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::rdata::CAA;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
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
        let address = |record: &Record| match &record.data {
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
        let caa = |record: Record| if let RData::CAA(caa) = record.data { Some(caa) } else { None };
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
        let mut name = record.to_owned();
        for _ in 0..=ALIASES_MAX {
            let servers = self.name_servers(&name).await?;
            let answers = join_all(servers.iter().take(SERVERS_MAX).map(|server| self.ask(server, &name))).await;
            let answers: Vec<_> = answers.into_iter().flatten().collect();
            match answers.iter().find_map(|(_, alias)| alias.clone()) {
                Some(alias) => name = alias,
                None => return Ok(answers.into_iter().map(|(txt, _)| txt).collect()),
            }
        }
        Err(format!("{record} is an alias of an alias, and so on"))
    }

    /// What one of the zone's servers says of a name, and of what that is an alias there. A resolver may still remember what a wildcard said
    /// before the record was set, and so is not asked.
    async fn ask(&self, server: &str, name: &str) -> Option<(Txt, Option<String>)> {
        let addresses = self.addresses(server).await.ok()?;
        let resolver = resolver(at(&addresses, self.port), 0, false).ok()?;
        let alias = |record: Record| if let RData::CNAME(to) = record.data { Some(to.0.to_ascii()) } else { None };
        let alias = self.look_up(&resolver, name, RecordType::CNAME).await.ok()?.into_iter().find_map(alias);
        let values = match alias {
            Some(_) => Vec::new(),
            None => texts(self.look_up(&resolver, name, RecordType::TXT).await.ok()?),
        };
        Some((Txt { server: format!("the zone's name server {server}"), values }, alias))
    }

    /// The name servers of the zone in which a name lies.
    async fn name_servers(&self, name: &str) -> Result<Vec<String>, String> {
        for zone in upwards(name) {
            let found = self.look_up(&self.recursive, zone, RecordType::NS).await?;
            // An alias has the name servers of what it leads to.
            let own = |record: &Record| record.name.to_ascii().trim_end_matches('.').eq_ignore_ascii_case(zone);
            let server = |record: Record| if let RData::NS(to) = record.data { Some(to.0.to_ascii()) } else { None };
            let mut servers: Vec<_> = found.into_iter().filter(own).filter_map(server).collect();
            if !servers.is_empty() {
                servers.sort();
                return Ok(servers);
            }
        }
        Err(format!("no zone of {name} is known"))
    }

    /// Records of a name; none where there is no such name.
    async fn look_up(&self, resolver: &TokioResolver, name: &str, of: RecordType) -> Result<Vec<Record>, String> {
        let mut name = Name::from_ascii(name).map_err(|error| error.to_string())?;
        name.set_fqdn(true);
        match resolver.lookup(name, of).await {
            Ok(found) => Ok(found.answers().to_vec()),
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

fn texts(records: Vec<Record>) -> Vec<String> {
    let text = |record: Record| {
        let RData::TXT(text) = record.data else { return None };
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

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
    use hickory_resolver::proto::rr::rdata::{A, CNAME, NS, TXT};
    use tokio::net::UdpSocket;

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    /// A server that knows these records, and refuses names of other zones than `zones`.
    async fn serve(socket: UdpSocket, zones: &'static [&'static str], records: Vec<(&'static str, RData)>) {
        let mut bytes = [0; 2048];
        while let Ok((length, peer)) = socket.recv_from(&mut bytes).await {
            let asked = Message::from_vec(&bytes[..length]).unwrap();
            let query = asked.queries[0].clone();
            let mut answer = Message::response(asked.metadata.id, OpCode::Query);
            answer.metadata.authoritative = true;
            if !zones.iter().any(|zone| name(zone).zone_of(&query.name)) {
                answer.metadata.response_code = ResponseCode::Refused;
            }
            let known = records.iter().filter(|(owner, data)| {
                name(owner) == query.name && [query.query_type, RecordType::CNAME].contains(&data.record_type())
            });
            for (_, data) in known {
                answer.add_answer(Record::from_rdata(query.name.clone(), 60, data.clone()));
            }
            answer.add_query(query);
            socket.send_to(&answer.to_vec().unwrap(), peer).await.unwrap();
        }
    }

    fn txt(text: &str) -> RData {
        RData::TXT(TXT::new(vec![text.to_owned()]))
    }

    /// `example.com` with two servers, one of which is late, and an alias into `example.net` on a third.
    async fn world() -> Dns {
        let sockets = [1, 2, 3].map(|host| format!("127.0.0.{host}"));
        let resolver_socket = UdpSocket::bind((sockets[0].as_str(), 0)).await.unwrap();
        let port = resolver_socket.local_addr().unwrap().port();
        let [first, second, third] = [1, 2, 3].map(|host| RData::A(A::new(127, 0, 0, host)));
        let ns = |to: &str| RData::NS(NS(name(to)));
        let records = vec![
            ("example.com.", ns("ns1.example.com.")),
            ("example.com.", ns("ns2.example.com.")),
            ("example.net.", ns("ns3.example.net.")),
            ("ns1.example.com.", first),
            ("ns2.example.com.", second),
            ("ns3.example.net.", third),
            ("_acme-challenge.example.com.", txt("early")),
            ("_acme-challenge.example.com.", txt("late")),
            ("_acme-challenge.www.example.com.", RData::CNAME(CNAME(name("www.example.net.")))),
        ];
        tokio::spawn(serve(resolver_socket, &["."], records));
        let late = vec![
            ("_acme-challenge.example.com.", txt("early")),
            ("_acme-challenge.www.example.com.", RData::CNAME(CNAME(name("www.example.net.")))),
        ];
        let second = UdpSocket::bind((sockets[1].as_str(), port)).await.unwrap();
        tokio::spawn(serve(second, &["example.com."], late));
        let third = UdpSocket::bind((sockets[2].as_str(), port)).await.unwrap();
        tokio::spawn(serve(third, &["example.net."], vec![("www.example.net.", txt("aliased"))]));
        let server = at(&[IpAddr::from([127, 0, 0, 1])], port);
        let recursive = resolver(server.clone(), 100, true).unwrap();
        Dns { recursive, forgetful: resolver(server, 0, true).unwrap(), server: None, port }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn each_server_of_the_zone_is_asked() {
        let dns = world().await;
        let told = |answers: Vec<Txt>| answers.into_iter().map(|txt| (txt.server, txt.values)).collect::<Vec<_>>();
        let values = |values: &[&str]| values.iter().map(ToString::to_string).collect::<Vec<_>>();
        let server = |name: &str| format!("the zone's name server {name}");
        let two = told(dns.txt("_acme-challenge.example.com").await.unwrap());
        let first = (server("ns1.example.com."), values(&["early", "late"]));
        assert_eq!(two, [first, (server("ns2.example.com."), values(&["early"]))]);
        let none = told(dns.txt("_acme-challenge.other.example.com").await.unwrap());
        assert_eq!(none, [(server("ns1.example.com."), vec![]), (server("ns2.example.com."), vec![])]);
        let alias = told(dns.txt("_acme-challenge.www.example.com").await.unwrap());
        assert_eq!(alias, [(server("ns3.example.net."), values(&["aliased"]))]);
        // No zone is known: the resolver knows best.
        let unknown = told(dns.txt("_acme-challenge.example.org").await.unwrap());
        assert_eq!(unknown, [("this machine's DNS server".to_owned(), vec![])]);
    }

    #[test]
    fn names_are_climbed_up_to_the_top() {
        assert_eq!(upwards("a.example.com.").collect::<Vec<_>>(), ["a.example.com", "example.com", "com"]);
        assert_eq!(upwards(".").count(), 0);
    }
}

//! Answers the CA's challenges (RFC 8555, section 8; RFC 8737; RFC 8738), for many names and orders at once.
//!
//! An answer is set, looked up as the CA would look it up, since failed validations are rationed, and cleared again whatever came of it.

mod caa;
mod dns;
mod error;
mod fetch;
mod files;
mod hooks;
mod listen;
mod precheck;
mod tls_alpn;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use futures_util::future::join_all;

use crate::digest::Hasher;
pub use crate::inventory::Challenge as Kind;
use crate::name::Identifier;
pub use error::{ChallengeError, HookError};
pub use hooks::{Action, DnsHooks};

use dns::Dns;
use files::Folder;
use hooks::Hooks;
use listen::{Listener, Tokens};
use tls_alpn::Responder;

/// Where http-01 answers lie on a web server.
const WELL_KNOWN: &str = ".well-known/acme-challenge";

/// What the CA will look for, of one name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proof {
    /// The name, without `*.`.
    pub identifier: Identifier,
    /// Whether it is the base of a wildcard that the order is for.
    pub wildcard: bool,
    /// How it is to be validated.
    pub kind: Kind,
    /// The challenge's token.
    pub token: String,
    /// The token with the account key's thumbprint (RFC 8555, section 8.1).
    pub key_authorization: String,
    /// The URL of the account, which a CAA record may be bound to (RFC 8657); `None`: such a record is not compared.
    pub account_uri: Option<String>,
}

impl Proof {
    /// The SHA-256 of the key authorization, which tls-alpn-01 shows.
    fn digest(&self) -> [u8; 32] {
        let mut hasher = Hasher::new();
        hasher.update(self.key_authorization.as_bytes());
        hasher.finish()
    }

    /// What a TXT record of dns-01 holds.
    #[must_use]
    pub fn txt_value(&self) -> String {
        BASE64URL_NOPAD.encode(&self.digest())
    }

    /// Where that TXT record stands.
    #[must_use]
    pub fn txt_record(&self) -> String {
        format!("_acme-challenge.{}", self.identifier)
    }

    /// The name as the order has it.
    fn ordered(&self) -> String {
        ordered(&self.identifier, self.wildcard)
    }
}

fn ordered(identifier: &Identifier, wildcard: bool) -> String {
    if wildcard { format!("*.{identifier}") } else { identifier.to_string() }
}

/// How challenges are answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// How http-01 is.
    pub http01: Option<Http01>,
    /// How dns-01 is.
    pub dns01: Option<DnsHooks>,
    /// Where to listen for tls-alpn-01, which the CA validates at port 443.
    pub tls_alpn01: Option<SocketAddr>,
    /// Whether an answer is looked up before the CA is asked to.
    pub precheck: Precheck,
    /// How long a TXT record may take until the zone's name servers have it.
    pub propagation: Duration,
    /// The DNS server to ask in place of the system's and the zones' own.
    pub dns_server: Option<SocketAddr>,
    /// Where the CA looks for http-01 answers: 80 but in tests.
    pub http_port: u16,
    /// Where the CA looks for tls-alpn-01 answers: 443 but in tests.
    pub tls_port: u16,
    /// What CAA records call the CA (`caaIdentities` of its directory). Without any, CAA is not looked at.
    pub ca_identities: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            http01: None,
            dns01: None,
            tls_alpn01: None,
            precheck: Precheck::On,
            propagation: Duration::from_secs(120),
            dns_server: None,
            http_port: 80,
            tls_port: 443,
            ca_identities: Vec::new(),
        }
    }
}

impl Settings {
    /// The kinds that are set up, those first that are tried first.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> {
        let http = self.http01.is_some().then_some(Kind::Http01);
        let dns = self.dns01.is_some().then_some(Kind::Dns01);
        let tls = self.tls_alpn01.is_some().then_some(Kind::TlsAlpn01);
        [http, dns, tls].into_iter().flatten()
    }
}

/// How http-01 is answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Http01 {
    /// By listening here: port 80 of the names' addresses, or what is forwarded there.
    Listen(Vec<SocketAddr>),
    /// By files below `.well-known/acme-challenge` in the folder that a web server serves as `/`.
    Webroot(PathBuf),
    /// By files in the folder that web servers serve as `/.well-known/acme-challenge`; machines may share it.
    Folder(PathBuf),
}

/// Whether an answer is looked up before the CA is asked to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Precheck {
    /// It is: a validation that would fail is not asked for.
    On,
    /// It is not, such as where this machine can't reach the names, but the CA can.
    Off,
}

/// What answers challenges. Its listeners end when it is dropped.
#[derive(Debug)]
pub struct Challenges {
    settings: Settings,
    http: Option<HttpResponder>,
    hooks: Option<Hooks>,
    tls: Option<Responder>,
    dns: Option<Dns>,
}

#[derive(Debug)]
enum HttpResponder {
    Listening { tokens: Arc<Tokens>, listeners: Vec<Listener> },
    Writing(Folder),
}

impl Challenges {
    /// Starts the listeners.
    ///
    /// # Errors
    /// [`ChallengeError`] where an address is taken, or this machine's DNS configuration can't be read.
    pub async fn start(settings: Settings) -> Result<Self, ChallengeError> {
        let http = match &settings.http01 {
            None => None,
            Some(Http01::Listen(addresses)) => {
                let tokens = Arc::new(Tokens::default());
                let listeners = addresses.iter().map(|address| Tokens::listen(&tokens, *address, addresses));
                Some(HttpResponder::Listening { listeners: listeners.collect::<Result<_, _>>()?, tokens })
            }
            Some(Http01::Webroot(path)) => Some(HttpResponder::Writing(Folder(path.join(WELL_KNOWN)))),
            Some(Http01::Folder(path)) => Some(HttpResponder::Writing(Folder(path.clone()))),
        };
        let tls = settings.tls_alpn01.map(Responder::listen).transpose()?;
        let hooks = settings.dns01.clone().map(Hooks::new);
        let dns = match settings.precheck {
            Precheck::On => Some(Dns::new(settings.dns_server)?),
            Precheck::Off => None,
        };
        Ok(Self { settings, http, hooks, tls, dns })
    }

    /// Where it listens for http-01: port 0 has become a free one.
    #[must_use]
    pub fn http_addresses(&self) -> Vec<SocketAddr> {
        match &self.http {
            Some(HttpResponder::Listening { listeners, .. }) => listeners.iter().map(|one| one.address).collect(),
            Some(HttpResponder::Writing(_)) | None => Vec::new(),
        }
    }

    /// Where it listens for tls-alpn-01.
    #[must_use]
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls.as_ref().map(Responder::address)
    }

    /// Which of the kinds that the CA offers for a name is used: the one asked for if there is one, else the first that is set up and fits:
    /// a wildcard takes dns-01 only, an IP address http-01 or tls-alpn-01.
    ///
    /// # Errors
    /// [`ChallengeError::NoWay`] where there is none.
    pub fn choose(
        &self,
        identifier: &Identifier,
        wildcard: bool,
        asked: Option<Kind>,
        offered: &[Kind],
    ) -> Result<Kind, ChallengeError> {
        let fits = |kind: &Kind| match identifier {
            Identifier::Dns(_) => !wildcard || *kind == Kind::Dns01,
            Identifier::Ip(_) => *kind != Kind::Dns01,
        };
        let wanted = |kind: &Kind| asked.is_none_or(|asked| asked == *kind);
        let chosen = self.settings.kinds().filter(wanted).filter(fits).find(|kind| offered.contains(kind));
        chosen.ok_or_else(|| {
            let why = match (identifier, asked) {
                (_, Some(asked)) => format!("{} is asked for it", asked.as_str()),
                (Identifier::Ip(_), None) => "an IP address takes http-01 or tls-alpn-01".to_owned(),
                (Identifier::Dns(_), None) if wildcard => "a wildcard takes dns-01".to_owned(),
                (Identifier::Dns(_), None) => "a name takes any challenge".to_owned(),
            };
            ChallengeError::NoWay {
                name: ordered(identifier, wildcard),
                why,
                offered: listed(offered.iter().copied()),
                set_up: listed(self.settings.kinds()),
            }
        })
    }

    /// Makes the answers be there. There is one result a proof, in their order: one bad name does not spoil others.
    pub async fn set(&self, proofs: &[Proof]) -> Vec<Result<(), ChallengeError>> {
        self.act(Action::Set, proofs).await
    }

    /// Takes the answers away, also those that were never there. There is one result a proof, in their order.
    pub async fn clear(&self, proofs: &[Proof]) -> Vec<Result<(), ChallengeError>> {
        self.act(Action::Clear, proofs).await
    }

    async fn act(&self, action: Action, proofs: &[Proof]) -> Vec<Result<(), ChallengeError>> {
        let by_dns = async {
            match &self.hooks {
                Some(hooks) => hooks.run(action, proofs.iter().filter(|proof| proof.kind == Kind::Dns01)).await,
                None => Vec::new(),
            }
        };
        let others = join_all(proofs.iter().map(|proof| self.act_on(action, proof)));
        let (by_dns, others) = futures_util::future::join(by_dns, others).await;
        let mut by_dns = by_dns.into_iter();
        let result = |(proof, other): (&Proof, _)| match proof.kind {
            Kind::Dns01 => by_dns.next().unwrap_or(other),
            Kind::Http01 | Kind::TlsAlpn01 => other,
        };
        proofs.iter().zip(others).map(result).collect()
    }

    /// Sets or clears what is not the hooks' to do.
    async fn act_on(&self, action: Action, proof: &Proof) -> Result<(), ChallengeError> {
        match (proof.kind, &self.http, &self.tls) {
            (Kind::Http01, Some(HttpResponder::Listening { tokens, .. }), _) => match action {
                Action::Set => tokens.set(proof),
                Action::Clear => tokens.clear(proof),
            },
            (Kind::Http01, Some(HttpResponder::Writing(folder)), _) => folder.run(action, proof).await?,
            (Kind::TlsAlpn01, _, Some(responder)) => match action {
                Action::Set => responder.set(proof)?,
                Action::Clear => responder.clear(proof),
            },
            (Kind::Dns01, ..) if self.hooks.is_some() => {}
            (Kind::Http01, None, _) | (Kind::TlsAlpn01, _, None) | (Kind::Dns01, ..) => {
                return Err(ChallengeError::NotSetUp { name: proof.ordered(), kind: proof.kind });
            }
        }
        Ok(())
    }

    /// Looks the answer up as the CA would, and what CAA records say, before a validation is asked for. A TXT record is waited for as
    /// long as [`Settings::propagation`].
    ///
    /// # Errors
    /// What was found where, if it is not the answer, or the CA may not issue. Also where it could not be looked up at all: the CA may
    /// fare better, but a failed validation would be counted; [`Precheck::Off`] takes the risk.
    pub async fn precheck(&self, proof: &Proof) -> Result<(), ChallengeError> {
        let Some(dns) = &self.dns else { return Ok(()) };
        precheck::run(proof, &self.settings, dns).await
    }
}

/// `http-01, dns-01`.
fn listed(kinds: impl Iterator<Item = Kind>) -> String {
    let names: Vec<_> = kinds.map(Kind::as_str).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

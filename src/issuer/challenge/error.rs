//! Why a challenge can't be answered, or the answer was not found.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use super::Kind;
use super::hooks::Action;
use crate::tls::TlsError;

/// Why a challenge can't be answered, or the answer was not found.
#[derive(Debug, thiserror::Error)]
pub enum ChallengeError {
    /// Nobody can listen there.
    #[error("can't listen at {address} for {}", kind.as_str())]
    Listen {
        /// Where.
        address: SocketAddr,
        /// For which challenges.
        kind: Kind,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// There is no TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// This machine's `resolv.conf` can't be used.
    #[error("this machine's DNS configuration can't be read: {0}")]
    Resolver(String),
    /// No challenge serves for a name.
    #[error("{name} can't be validated: {why}; the CA offers {offered}, and {set_up} is set up")]
    NoWay {
        /// The name as the order has it.
        name: String,
        /// What it takes.
        why: String,
        /// What the CA offers for it.
        offered: String,
        /// What is set up here.
        set_up: String,
    },
    /// A proof is of a kind that is not set up.
    #[error("{name}: {} is not set up", kind.as_str())]
    NotSetUp {
        /// The name as the order has it.
        name: String,
        /// The challenge.
        kind: Kind,
    },
    /// A token that could name another file.
    #[error("{name}: the CA's token {token:?} has other characters than base64url's")]
    Token {
        /// The name as the order has it.
        name: String,
        /// The token.
        token: String,
    },
    /// A file can't be written or removed.
    #[error("{name}: can't {action} {path}")]
    File {
        /// The name as the order has it.
        name: String,
        /// What was to be done.
        action: Action,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// No certificate can be made for tls-alpn-01.
    #[error("{name}: no certificate can be made for tls-alpn-01")]
    Certificate {
        /// The name as the order has it.
        name: String,
        /// Why not.
        #[source]
        error: rcgen::Error,
    },
    /// A command for dns-01 failed.
    #[error("{name}: the command to {action} its TXT record failed")]
    Hook {
        /// The name as the order has it, or the first and how many more.
        name: String,
        /// What was to be done.
        action: Action,
        /// How.
        #[source]
        error: HookError,
    },
    /// The answer is not where the CA will look.
    #[error("{name}: {place} {found}")]
    Unseen {
        /// The name as the order has it.
        name: String,
        /// How it was to be validated.
        kind: Kind,
        /// Where the answer was looked for.
        place: String,
        /// What was there instead.
        found: String,
    },
    /// DNS does not answer, as little as it may answer the CA.
    #[error("{name}: {place} can't be looked up: {error}")]
    Lookup {
        /// The name as the order has it.
        name: String,
        /// What was asked whom.
        place: String,
        /// What came of it.
        error: String,
    },
    /// CAA records keep the CA from issuing.
    #[error("{name}: the CAA records of {domain} ({records}) don't let {ours} issue: {why}")]
    Caa {
        /// The name as the order has it.
        name: String,
        /// Where the records stand.
        domain: String,
        /// Their text.
        records: String,
        /// What they would have to name.
        ours: String,
        /// What they lack.
        why: String,
    },
}

impl ChallengeError {
    /// What its reader can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Listen { error, .. } if error.kind() == io::ErrorKind::AddrInUse => {
                "who listens there already? `ss -ltnp` tells; a web server can serve answers from --webroot or --http-folder"
            }
            Self::Listen { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => {
                "ports below 1024 take root or CAP_NET_BIND_SERVICE; or listen elsewhere and forward the port there"
            }
            Self::Listen { .. } => "an address of this machine and a port, such as [::]:80",
            Self::Tls(_) | Self::Certificate { .. } => "this is a fault of certpace: please tell its authors",
            Self::Resolver(_) => "--dns-server ADDRESS names a DNS server; --precheck off looks nothing up",
            Self::NoWay { .. } | Self::NotSetUp { .. } => {
                "--http-listen, --webroot or --http-folder set up http-01; --dns-set and --dns-clear dns-01; --tls-alpn-listen tls-alpn-01"
            }
            Self::Token { .. } => "is that CA to be trusted?",
            Self::File { .. } => "may this user write there?",
            Self::Hook { error: HookError::Slow(_), .. } => "--dns-timeout gives it longer",
            Self::Hook { .. } => "run it by hand with the CERTPACE_… variables of docs/challenges.md",
            Self::Unseen { kind: Kind::Dns01, .. } => {
                "--propagation waits longer; --precheck off asks the CA all the same, where this machine sees another DNS than the world"
            }
            Self::Unseen { .. } => {
                "the CA would most likely see the same; --precheck off asks it all the same, where it can reach what this machine can't"
            }
            Self::Lookup { .. } => {
                "--dns-server ADDRESS asks another DNS server; --precheck off asks the CA without looking"
            }
            Self::Caa { .. } => "change the CAA records, or ask another CA",
        }
    }
}

/// How a command for dns-01 failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HookError {
    /// It can't be run.
    #[error("`sh` can't be run: {0}")]
    Start(String),
    /// It ended with another code than 0.
    #[error("it ended with {status}{}", said(complaint))]
    Failed {
        /// How it ended.
        status: ExitStatus,
        /// The last lines that it wrote to its standard error.
        complaint: String,
    },
    /// It was ended for taking too long.
    #[error("it was killed after {0:?}")]
    Slow(Duration),
}

fn said(complaint: &str) -> String {
    if complaint.is_empty() { " and said nothing on stderr".to_owned() } else { format!(":\n{complaint}") }
}

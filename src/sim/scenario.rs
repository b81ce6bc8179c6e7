//! A scenario: an inventory, clients, what happens to them, and what is expected to come of it.
//!
//! ```toml
//! title = "Redeployed without its storage, six times in a day"
//! start = "2026-12-01"
//! duration = "14d"
//!
//! [inventory]
//! hostnames = 3
//!
//! [[client]]
//! behaviour = "caddy"
//!
//! [[event]]
//! kind = "lose-storage"
//! at = "2h"
//!
//! [[expect]]
//! measure = "refusals.CertificatesPerFQDNSet"
//! op = "=="
//! value = 0
//! ```

mod file;

use std::net::IpAddr;

use super::behaviour::Behaviour;
use super::measure::{Measure, Op, Value};
use super::random::Seed;
use crate::limits::{Limit, LimitName};
use crate::plan::Share;
use crate::time::{Span, Timestamp};

/// A scenario, read and checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scenario {
    /// What happens, in a line.
    pub title: String,
    /// Whose story it is and what it shows; may be empty.
    pub story: String,
    /// When it starts.
    pub start: Timestamp,
    /// How long it goes on.
    pub duration: Span,
    /// The seed where nobody asks for another.
    pub seed: Seed,
    /// After so many events the run ends, and says so.
    pub steps_max: u64,
    /// The CA's policy by name, or a file beside the scenario.
    pub policy: String,
    /// A file with overrides, relative to the scenario.
    pub overrides: Option<String>,
    /// The longest that the CA takes from an order to its certificate on an ordinary day.
    pub latency: Span,
    /// Which hostnames there are.
    pub inventory: InventorySource,
    /// Who orders.
    pub clients: Vec<Client>,
    /// What happens, by time.
    pub events: Vec<Event>,
    /// What is expected.
    pub expects: Vec<Expect>,
}

/// Where a scenario's hostnames come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum InventorySource {
    /// A file as `certpace plan` takes it, relative to the scenario.
    File(String),
    /// Made up.
    Generated(Generated),
}

/// An inventory made up from a few numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Generated {
    /// How many hostnames.
    pub hostnames: u32,
    /// Under how many registered domains.
    pub domains: u32,
    /// Of how many tenants; 0: none is named.
    pub tenants: u32,
    /// Over how many accounts; 1: that of the client.
    pub accounts: u32,
    /// The share of registered domains whose names are on certificates held, with ages spread evenly.
    pub held: Share,
}

/// The name of a ledger that nobody shares.
pub const OWN_LEDGER: &str = "own";

/// A client of the CA.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Client {
    /// What events call it.
    pub name: String,
    /// How it behaves.
    pub behaviour: Behaviour,
    /// The account of hostnames that name none.
    pub account: String,
    /// The address it comes from.
    pub ip: IpAddr,
    /// How many there are of it, each with a storage of its own, all wanting the same certificates.
    pub replicas: u32,
    /// The profile of hostnames that name none.
    pub profile: String,
    /// Its share of the certificates; clients take theirs one after the other.
    pub share: Share,
    /// The most names in a certificate; `None`: as the behaviour has it.
    pub names_per_certificate: Option<usize>,
    /// The delay that a plan withstands; `None`: as `certpace plan` has it.
    pub margin: Option<Span>,
    /// The share of the bursts that a plan leaves alone.
    pub headroom: Share,
    /// Between two looks; `None`: as the behaviour has it.
    pub tick: Option<Span>,
    /// Whether it deactivates the pending authorizations of an order that failed.
    pub deactivates: bool,
    /// Which ledger a `certpace` client has: those of one name share one, [`OWN_LEDGER`] gives each replica its own.
    pub ledger: String,
}

/// Something that happens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// Until when, for what lasts; `None`: for ever.
    pub until: Option<Timestamp>,
    /// What.
    pub what: What,
}

/// What happens. Clients are named by their place in [`Scenario::clients`]; `None` means all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// The CA can't be reached, or one endpoint alone.
    Outage(Option<Endpoint>),
    /// Orders take this much longer.
    SlowValidation(Span),
    /// A share of the hostnames fails validation with this probability.
    FailingNames {
        /// How many of the hostnames.
        share: Share,
        /// How often each of them fails.
        probability: Share,
    },
    /// Names that fail are mended.
    Repair,
    /// A person unpauses all pairs that are paused.
    Unpause,
    /// Other people's certificates on registered domains of ours.
    Strangers {
        /// On which share of them.
        share: Share,
        /// How many certificates for each domain …
        certificates: u32,
        /// … in this time, evenly.
        every: Span,
    },
    /// A client starts again without the certificates it had.
    LoseStorage(Option<usize>),
    /// The CA revokes certificates; they are worth nothing from the deadline on.
    Revocation {
        /// How many of those that are valid.
        share: Share,
        /// From the announcement.
        deadline: Span,
    },
    /// A client's clock is wrong.
    ClockSkew {
        /// Whose.
        client: Option<usize>,
        /// How far it is ahead; negative: behind.
        ahead: Span,
    },
    /// A client ends in the middle of what it does, and starts again.
    Crash {
        /// Which.
        client: Option<usize>,
        /// After how long it is back.
        downtime: Span,
    },
    /// New hostnames, one registered domain each.
    AddHostnames {
        /// How many at a time.
        hostnames: u32,
        /// Between two times, from the event until its end; without an end it happens once.
        every: Span,
    },
    /// A share of the hostnames is not wanted any more, and points elsewhere.
    RemoveHostnames(Share),
    /// The CA changes to another policy, a built-in one.
    Policy(String),
    /// The CA grants an override.
    Override {
        /// Of which limit.
        limit: LimitName,
        /// For whose bucket, in canonical text.
        id: String,
        /// What it allows.
        allows: Limit,
    },
    /// The ledger of a `certpace` client is gone.
    LoseLedger(Option<usize>),
    /// The ledger of a `certpace` client is as it was some time ago.
    RestoreLedger {
        /// Whose.
        client: Option<usize>,
        /// From how long ago.
        age: Span,
    },
}

/// A part of the CA that can be out of order by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Endpoint {
    /// `/acme/new-order`.
    NewOrder,
    /// Everything that comes after an order: authorizations, challenges, finalize.
    Others,
}

/// What a run is held to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expect {
    /// What is measured.
    pub measure: Measure,
    /// How it is to stand …
    pub op: Op,
    /// … to this.
    pub value: Value,
    /// The line of the scenario's file on which it starts.
    pub line: usize,
}

/// Why a text is no scenario.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ScenarioError {
    /// No TOML, not of this shape, or a value that makes no sense by itself.
    #[error("{text}")]
    Shape {
        /// Where it stands, from 1.
        line: usize,
        /// What is wrong, with line and column and the line itself.
        text: String,
    },
    /// A value makes no sense beside the others.
    #[error("line {line}: {key}: {reason}")]
    Value {
        /// Where it stands, from 1.
        line: usize,
        /// Its key.
        key: String,
        /// Why.
        reason: String,
    },
}

impl ScenarioError {
    /// The line of the scenario's file that is wrong, from 1.
    #[must_use]
    pub const fn line(&self) -> usize {
        match self {
            Self::Shape { line, .. } | Self::Value { line, .. } => *line,
        }
    }
}

impl Scenario {
    /// The same with all clients behaving so.
    #[must_use]
    pub fn with_behaviour(&self, behaviour: Behaviour) -> Self {
        let mut scenario = self.clone();
        scenario.clients.iter_mut().for_each(|client| client.behaviour = behaviour);
        scenario
    }

    /// When it ends.
    #[must_use]
    pub const fn end(&self) -> Timestamp {
        self.start.plus(self.duration)
    }

    /// Reads a scenario.
    ///
    /// # Errors
    /// [`ScenarioError`] with line and key.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        file::read(text)
    }
}

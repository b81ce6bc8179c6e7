//! A scenario made ready to run: everything that has a name gets a number here, so that a run handles numbers alone. One set-up serves
//! any number of runs, side by side.

mod builder;
mod fill;

use std::net::IpAddr;
use std::ops::Range;

use super::behaviour::Parameters;
use super::random::Seed;
use super::scenario::{Event, What};
use crate::inventory::{InventoryError, Source};
use crate::plan::{PlanError, Share};
use crate::psl::SuffixList;
use crate::rules::{Model, OrderId, Pair};
use crate::time::{Span, Timestamp};

pub use fill::PlannedOrder;
pub(super) use fill::STRANGER_NAMES;

/// A scenario, ready to run.
#[derive(Debug)]
pub struct Setup {
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    pub(super) seed: Seed,
    pub(super) steps_max: u64,
    pub(super) latency: Span,
    pub(super) model: Model,
    pub(super) clients: Vec<Actor>,
    pub(super) lineages: Vec<Lineage>,
    /// The names of lineages, one after the other.
    pub(super) slots: Vec<Slot>,
    pub(super) names: Vec<Name>,
    pub(super) texts: Vec<Box<str>>,
    pub(super) tenants: u32,
    pub(super) authorizations: u32,
    /// Until when authorizations are valid at the start, by number.
    pub(super) authorized: Vec<(u32, Timestamp)>,
    /// How many ledgers `certpace` clients have.
    pub(super) ledgers: u32,
    pub(super) events: Vec<Event>,
    /// By event: the orders of strangers.
    pub(super) strangers: Vec<Vec<OrderId>>,
}

/// A client, or one of its replicas.
#[derive(Clone, Debug)]
pub(super) struct Actor {
    pub(super) name: Box<str>,
    /// Its place in the scenario's clients: replicas have the same.
    pub(super) client: u32,
    pub(super) parameters: Parameters,
    /// How late a plan may be performed.
    pub(super) margin: Span,
    /// A number for its address.
    pub(super) address: u32,
    /// The number of its ledger, where it has one.
    pub(super) ledger: u32,
    /// The share of the bursts that it leaves alone.
    pub(super) headroom: Share,
    /// Its certificates: places in [`Setup::lineages`].
    pub(super) lineages: Range<u32>,
}

/// A certificate that a client wants and keeps fresh.
#[derive(Clone, Debug)]
pub(super) struct Lineage {
    pub(super) order: OrderId,
    pub(super) actor: u32,
    pub(super) profile: u16,
    /// Its names: places in [`Setup::slots`].
    pub(super) slots: Range<u32>,
    /// From when on it is wanted, or when it is planned.
    pub(super) at: Timestamp,
    /// Issue and expiry of the certificate held at the start.
    pub(super) held: Option<(Timestamp, Timestamp)>,
}

impl Lineage {
    /// Its order, by the ids that orders have now: `renumbered` has them by the place of the set-up's, where limits have changed.
    pub(super) fn order_in(&self, renumbered: &[OrderId]) -> OrderId {
        renumbered.get(self.order.index()).copied().unwrap_or(self.order)
    }
}

/// A name of a lineage.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// A place in [`Setup::names`].
    pub(super) name: u32,
    /// Its authorization: account, name and profile.
    pub(super) authorization: u32,
    pub(super) pair: Pair,
}

/// A hostname.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name {
    pub(super) wanted_from: Timestamp,
    pub(super) tenant: u32,
}

/// Why a scenario can't be made ready.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SetupError {
    /// The inventory is none.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    /// Rows of the inventory are bad.
    #[error("{count} rows of the inventory can't be used; the first is line {line} of {source_name}: {reason}")]
    Rows {
        /// How many.
        count: usize,
        /// Where the first is.
        source_name: String,
        /// Its line.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// There can be no plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The policy has no such profile.
    #[error("the policy has no profile `{0}`")]
    Profile(String),
    /// A plan's order has a name that is none.
    #[error("`{name}` {reason}")]
    Name {
        /// The name.
        name: String,
        /// Why.
        reason: crate::name::NameError,
    },
}

/// What the making ready of a scenario needs beside it.
#[derive(Clone, Debug)]
pub struct Surroundings<'a> {
    /// The policy and the overrides in force at the start.
    pub limits: &'a crate::limits::Limits,
    /// Where registered domains end.
    pub suffixes: &'a SuffixList,
    /// The inventory's files, where the scenario names some.
    pub sources: Vec<Source>,
}

impl Setup {
    /// The seed where nobody asks for another.
    #[must_use]
    pub const fn seed(&self) -> Seed {
        self.seed
    }

    /// The limits in force at the start.
    #[must_use]
    pub const fn limits(&self) -> &crate::limits::Limits {
        self.model.limits()
    }

    /// How many certificates are wanted, over all clients.
    #[must_use]
    pub fn certificates(&self) -> usize {
        self.lineages.len()
    }

    /// How many hostnames there are.
    #[must_use]
    pub fn hostnames(&self) -> usize {
        self.names.len()
    }

    /// A hostname by its number.
    #[must_use]
    pub fn name(&self, number: u32) -> &str {
        &self.texts[number as usize]
    }

    /// A client, or one of its replicas, by its number.
    #[must_use]
    pub fn client(&self, number: u32) -> &str {
        &self.clients[number as usize].name
    }

    pub(super) fn slots_of(&self, lineage: u32) -> &[Slot] {
        let range = &self.lineages[lineage as usize].slots;
        &self.slots[range.start as usize..range.end as usize]
    }

    /// The clients and replicas that an event is about.
    pub(super) fn actors(&self, client: Option<usize>) -> Vec<u32> {
        let of = |actor: &Actor| client.is_none_or(|client| actor.client as usize == client);
        (0..).zip(&self.clients).filter(|(_, actor)| of(actor)).map(|(place, _)| place).collect()
    }

    /// The addresses that clients come from.
    pub(super) fn address_number(addresses: &mut Vec<IpAddr>, ip: IpAddr) -> u32 {
        let place = addresses.iter().position(|known| *known == ip).unwrap_or_else(|| {
            addresses.push(ip);
            addresses.len() - 1
        });
        u32::try_from(place).unwrap_or(u32::MAX)
    }

    /// Whether anything of the scenario makes names fail.
    pub(super) fn has_failures(&self) -> bool {
        self.events.iter().any(|event| matches!(event.what, What::FailingNames { .. } | What::RemoveHostnames(_)))
    }
}

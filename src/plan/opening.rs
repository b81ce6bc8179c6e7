//! What a plan starts from where buckets are not full: what a ledger knows, as plain data.
//!
//! It is true at the plan's start. Tokens set aside for orders under way count as orders that go out at the start, and may be as late
//! as the plan's own: up to the margin. What no bucket of an account or a domain says is a [`Delay`]: the set of an order is spent or in
//! somebody's hand, or one of its names has failed and waits to be tried again.

use std::fmt;

use rustc_hash::FxHashMap;

use super::jobs::Lane;
use crate::inventory::Inventory;
use crate::limits::{LimitName, Limits};
use crate::name::{NameSet, SetKey};
use crate::time::Timestamp;

/// What was spent from a bucket, and what is set aside in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Spent {
    /// When it were full if nothing was set aside; `None`: nobody has spent from it.
    pub full_at: Option<Timestamp>,
    /// Tokens set aside for orders under way.
    pub held: u32,
}

/// What an order waits for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Cause {
    /// A limit.
    Limit(LimitName),
    /// One of its names failed, and is not tried again before its time.
    Backoff,
    /// Somebody else has its name set in hand.
    InHand,
}

impl Cause {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Limit(limit) => limit.as_str(),
            Self::Backoff => "Backoff",
            Self::InHand => "InHand",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl serde::Serialize for Cause {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for Cause {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let limits = LimitName::ALL.into_iter().map(Self::Limit);
        let found = limits.chain([Self::Backoff, Self::InHand]).find(|cause| cause.as_str() == text);
        found.ok_or_else(|| serde::de::Error::custom(format_args!("`{text}` is nothing that an order waits for")))
    }
}

/// An order that it is about goes out no earlier.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Delay {
    /// Not before.
    pub until: Timestamp,
    /// Why.
    pub cause: Cause,
    /// Of what: a set's key, an account and a name, or a holder.
    pub key: String,
}

/// Which orders a delay is about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Whose {
    /// All.
    All,
    /// Those for exactly this set.
    Set(SetKey),
    /// Those of an account for a name.
    Name {
        /// The account.
        account: String,
        /// The name.
        name: String,
    },
}

/// The state of all buckets that a plan may take from, at its start.
#[derive(Clone, Debug)]
pub struct Opening {
    start: Timestamp,
    /// By these the buckets were counted: overrides that a plan tries out change no time that has passed.
    limits: Limits,
    empty_at: Vec<(LimitName, Timestamp)>,
    accounts: FxHashMap<u32, Spent>,
    lanes: FxHashMap<Lane, Spent>,
    /// By time.
    delays: Vec<Delay>,
    by_set: FxHashMap<SetKey, u32>,
    by_account: FxHashMap<String, FxHashMap<String, u32>>,
    all: Option<u32>,
}

impl Opening {
    /// Full buckets at `start`, under `limits`, and no delays.
    #[must_use]
    pub fn new(start: Timestamp, limits: &Limits) -> Self {
        Self {
            start,
            limits: limits.clone(),
            empty_at: Vec::new(),
            accounts: FxHashMap::default(),
            lanes: FxHashMap::default(),
            delays: Vec::new(),
            by_set: FxHashMap::default(),
            by_account: FxHashMap::default(),
            all: None,
        }
    }

    /// The same with `delays`, in any order, instead of those that it had.
    #[must_use]
    pub fn delayed(self, mut delays: Vec<(Delay, Whose)>) -> Self {
        delays.retain(|(delay, _)| delay.until > self.start);
        delays.sort_unstable();
        let mut opening = Self {
            delays: Vec::with_capacity(delays.len()),
            by_set: FxHashMap::default(),
            by_account: FxHashMap::default(),
            all: None,
            ..self
        };
        // Of several delays for the same the last one counts.
        for (place, (delay, whose)) in (0..).zip(delays) {
            opening.delays.push(delay);
            match whose {
                Whose::All => opening.all = Some(place),
                Whose::Set(set) => _ = opening.by_set.insert(set, place),
                Whose::Name { account, name } => {
                    opening.by_account.entry(account).or_default().insert(name, place);
                }
            }
        }
        opening
    }

    /// What is known of the bucket of that limit and key, as a ledger names them. It is kept only where orders for `inventory` may take
    /// from it, and it has anything to say.
    pub fn spent(&mut self, inventory: &Inventory, limit: LimitName, key: &str, spent: Spent) {
        if spent.held == 0 && spent.full_at.is_none_or(|at| at <= self.start) {
            return;
        }
        let account_named = |name: &str| {
            let place = inventory.accounts.binary_search_by(|account| account.as_str().cmp(name)).ok()?;
            u32::try_from(place).ok()
        };
        match limit {
            LimitName::NewOrdersPerAccount => {
                if let Some(account) = account_named(key) {
                    self.accounts.insert(account, spent);
                }
            }
            LimitName::CertificatesPerDomain => {
                if let Some(domain) = inventory.domain_named(key) {
                    self.lanes.insert(Lane::global(domain), spent);
                }
            }
            LimitName::CertificatesPerDomainPerAccount => {
                let both = key.rsplit_once(' ');
                let both = both.and_then(|(account, domain)| {
                    Some(Lane::own(account_named(account)?, inventory.domain_named(domain)?))
                });
                if let Some(lane) = both {
                    self.lanes.insert(lane, spent);
                }
            }
            // What these hold back is a delay.
            LimitName::CertificatesPerFqdnSet
            | LimitName::FailedAuthorizationsPerDomainPerAccount
            | LimitName::FailedAuthorizationsForPausingPerDomainPerAccount
            | LimitName::NewRegistrationsPerIpAddress
            | LimitName::NewRegistrationsPerIpv6Range
            | LimitName::PendingAuthorizationsPerAccount => {}
        }
    }

    /// Every bucket of a limit was empty at that time, whatever else is known.
    pub fn was_empty(&mut self, limit: LimitName, at: Timestamp) {
        self.empty_at.push((limit, at));
    }

    /// The same as for a bucket that is known, with what holds for all of its limit.
    fn at_least_empty(&self, limit: LimitName, id: impl FnOnce() -> String, spent: Option<Spent>) -> Spent {
        let spent = spent.unwrap_or_default();
        let empty_at = self.empty_at.iter().filter(|(of, _)| *of == limit).map(|(_, at)| *at).max();
        let Some(empty_at) = empty_at else { return spent };
        let full_at = self.limits.quota(limit, &id()).map(|quota| empty_at.plus(quota.offset()));
        Spent { full_at: spent.full_at.max(full_at), ..spent }
    }

    pub(super) fn of_account(&self, inventory: &Inventory, account: u32) -> Spent {
        let id = || inventory.accounts[account as usize].clone();
        self.at_least_empty(LimitName::NewOrdersPerAccount, id, self.accounts.get(&account).copied())
    }

    pub(super) fn of_lane(&self, inventory: &Inventory, lane: Lane) -> Spent {
        let (limit, id) = match lane.account() {
            None => (LimitName::CertificatesPerDomain, None),
            Some(account) => (LimitName::CertificatesPerDomainPerAccount, Some(account)),
        };
        let id = || match id {
            None => inventory.domain(lane.domain).to_owned(),
            Some(account) => inventory.accounts[account as usize].clone(),
        };
        self.at_least_empty(limit, id, self.lanes.get(&lane).copied())
    }

    /// The delay of that place.
    pub(super) fn delay(&self, place: u32) -> &Delay {
        &self.delays[place as usize]
    }

    /// All delays, by time.
    pub(super) fn delays(&self) -> &[Delay] {
        &self.delays
    }

    /// Whether any order is delayed at all.
    pub(super) fn has_delays(&self) -> bool {
        !self.delays.is_empty()
    }

    /// The place of the last delay that an order of `account` for `names` has; later places are no earlier. Without `limited` those
    /// that limits make are left out: a renewal inside the window that the CA suggests has none.
    pub(super) fn delay_of(&self, account: &str, names: &[&str], limited: bool) -> Option<u32> {
        let counts = |place: &u32| limited || !matches!(self.delay(*place).cause, Cause::Limit(_));
        let of_set = || {
            let set = NameSet::parse(names.iter().copied()).ok()?.key();
            self.by_set.get(&set).copied()
        };
        let of_set = if self.by_set.is_empty() { None } else { of_set() };
        let of_names = self.by_account.get(account).map(|of| names.iter().filter_map(|name| of.get(*name).copied()));
        self.all.into_iter().chain(of_set).chain(of_names.into_iter().flatten()).filter(counts).max()
    }
}

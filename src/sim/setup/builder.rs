//! Numbers for names, authorizations, tenants and lineages.

use rustc_hash::FxHashMap;

use super::{Lineage, Name, SetupError, Slot};
use crate::buckets::Batch;
use crate::limits::Limits;
use crate::name::{Identifier, NameSet};
use crate::psl::SuffixList;
use crate::rules::{Model, OrderId, Pair};
use crate::time::Timestamp;

/// What is numbered while a scenario is made ready.
#[derive(Debug)]
pub(super) struct Builder {
    pub(super) model: Model,
    pub(super) lineages: Vec<Lineage>,
    pub(super) slots: Vec<Slot>,
    pub(super) names: Vec<Name>,
    pub(super) texts: Vec<Box<str>>,
    pub(super) authorized: Vec<(u32, Timestamp)>,
    name_numbers: FxHashMap<Box<str>, u32>,
    authorization_numbers: FxHashMap<(Pair, u16), u32>,
    tenant_numbers: FxHashMap<Box<str>, u32>,
    batch: Batch,
}

/// A certificate to be wanted.
#[derive(Clone, Debug)]
pub(super) struct Wish<'a> {
    pub(super) actor: u32,
    pub(super) account: &'a str,
    pub(super) profile: u16,
    pub(super) tenant: &'a str,
    pub(super) names: &'a [&'a str],
    pub(super) at: Timestamp,
    /// From when on its hostnames are wanted.
    pub(super) wanted_from: Timestamp,
    pub(super) held: Option<(Timestamp, Timestamp)>,
}

fn number(len: usize) -> u32 {
    u32::try_from(len).unwrap_or_else(|_too_many| unreachable!("32 bits outlast memory"))
}

impl Builder {
    pub(super) fn new(limits: Limits, suffixes: SuffixList) -> Self {
        Self {
            model: Model::new(limits, suffixes),
            lineages: Vec::new(),
            slots: Vec::new(),
            names: Vec::new(),
            texts: Vec::new(),
            authorized: Vec::new(),
            name_numbers: FxHashMap::default(),
            authorization_numbers: FxHashMap::default(),
            tenant_numbers: FxHashMap::default(),
            batch: Batch::default(),
        }
    }

    pub(super) fn tenants(&self) -> u32 {
        number(self.tenant_numbers.len())
    }

    pub(super) fn authorizations(&self) -> u32 {
        number(self.authorization_numbers.len())
    }

    /// The number of a hostname.
    pub(super) fn name(&mut self, text: &str, tenant: &str, wanted_from: Timestamp) -> u32 {
        if let Some(known) = self.name_numbers.get(text) {
            return *known;
        }
        let tenants = self.tenants();
        let tenant = match self.tenant_numbers.get(tenant) {
            Some(known) => *known,
            None => *self.tenant_numbers.entry(tenant.into()).or_insert(tenants),
        };
        let name = number(self.names.len());
        self.names.push(Name { wanted_from, tenant });
        self.texts.push(text.into());
        self.name_numbers.insert(text.into(), name);
        name
    }

    /// An order that is no lineage of ours.
    pub(super) fn order(&mut self, account: &str, name: &str) -> Result<OrderId, SetupError> {
        Ok(self.model.order(account, &set(&[name])?))
    }

    pub(super) fn add(&mut self, wish: &Wish<'_>) -> Result<(), SetupError> {
        let set = set(wish.names)?;
        let order = self.model.order(wish.account, &set);
        if let Some((issued_at, _)) = wish.held {
            self.model.issued(order, true, issued_at, &mut self.batch);
        }
        let first = number(self.slots.len());
        let pairs: Vec<Pair> = self.model.pairs(order).collect();
        for (identifier, pair) in set.identifiers().iter().zip(pairs) {
            let name = match identifier {
                Identifier::Dns(name) => self.name(name.as_str(), wish.tenant, wish.wanted_from),
                Identifier::Ip(ip) => self.name(&ip.to_string(), wish.tenant, wish.wanted_from),
            };
            let next = self.authorizations();
            let authorization = *self.authorization_numbers.entry((pair, wish.profile)).or_insert(next);
            if let Some((issued_at, _)) = wish.held {
                let terms = self.model.limits().policy.profiles[usize::from(wish.profile)].terms_at(issued_at);
                self.authorized.push((authorization, issued_at.plus(terms.authorization_reuse)));
            }
            self.slots.push(Slot { name, authorization, pair });
        }
        self.lineages.push(Lineage {
            order,
            actor: wish.actor,
            profile: wish.profile,
            slots: first..number(self.slots.len()),
            at: wish.at,
            held: wish.held,
        });
        Ok(())
    }
}

fn set(names: &[&str]) -> Result<NameSet, SetupError> {
    let parse =
        |name: &&str| Identifier::parse(name).map_err(|reason| SetupError::Name { name: (*name).to_owned(), reason });
    let identifiers = names.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    let none = || SetupError::Name { name: String::new(), reason: crate::name::NameError::Empty };
    NameSet::new(identifiers).ok_or_else(none)
}

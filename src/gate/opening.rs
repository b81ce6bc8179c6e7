//! What a ledger tells a plan: where every bucket stands, which sets and names have to wait, and what is stopped.

use std::collections::{BTreeMap, BTreeSet};

use super::Gate;
use super::document::{Board, Freeze, SET, Scope, SetState, read};
use super::request::GateError;
use super::stakes::{backoff_of, empty_at, floor, quota_of};
use crate::inventory::{Candidate, Inventory};
use crate::ledger::{Cell, limit_and_key};
use crate::limits::{LimitName, Limits};
use crate::name::SetKey;
use crate::permits::Tally;
use crate::plan::opening::{Cause, Delay, Opening, Spent, Whose};
use crate::time::Timestamp;

/// What an order can be kept from by a bucket that no other order of a plan takes from.
const ALONE: [LimitName; 3] = [
    LimitName::CertificatesPerFqdnSet,
    LimitName::FailedAuthorizationsPerDomainPerAccount,
    LimitName::FailedAuthorizationsForPausingPerDomainPerAccount,
];

impl Gate {
    /// The ledger as a plan for `inventory` finds it that starts at `start`. Nothing changes. Tokens of leases that have run out count
    /// as held: what becomes of them is not decided here.
    ///
    /// # Errors
    /// [`GateError`] where the ledger can't be read, or is shared within the process.
    pub fn opening(&mut self, inventory: &Inventory, start: Timestamp) -> Result<Opening, GateError> {
        let board = self.board()?;
        let (code, limits) = (self.code.clone(), self.limits.clone());
        let mut opening = Opening::new(start, &limits);
        let mut delays = Vec::new();
        for limit in [
            LimitName::NewOrdersPerAccount,
            LimitName::CertificatesPerDomain,
            LimitName::CertificatesPerDomainPerAccount,
        ] {
            empty_at(&board, limit).into_iter().for_each(|at| opening.was_empty(limit, at));
        }
        for limit in ALONE {
            let quota = limits.policy.limit(limit).map(|limit| limit.quota.in_micros());
            if let Some((at, quota)) = empty_at(&board, limit).zip(quota) {
                let tally = Tally { tat: Some(at.plus(quota.offset())), held: 0 };
                let until = tally.fits_at(quota, 1, start);
                delays.push((Delay { until, cause: Cause::Limit(limit), key: "*".to_owned() }, Whose::All));
            }
        }
        let mut hands = Ok(());
        self.with_store(|store| {
            store.cells(&code, &mut |name, cell| {
                delays.extend(delay(&name, cell, &limits, &board, start));
                if let Some((limit, key)) = limit_and_key(&name) {
                    let Tally { tat: full_at, held } = cell.tally;
                    opening.spent(inventory, limit, key, Spent { full_at, held });
                }
            })?;
            // Most sets are in nobody's hand, and there may be a million: only the others are read.
            let in_hand = memchr::memmem::Finder::new("\"hand\"");
            store.documents(&code, SET, &mut |document| {
                if hands.is_err() || in_hand.find(document.body.as_bytes()).is_none() {
                    return;
                }
                match read::<SetState>(&document) {
                    Ok(state) => {
                        let set = document.name.strip_prefix(SET).and_then(SetKey::parse);
                        if let Some((set, hand)) = set.zip(state.and_then(|state| state.hand)) {
                            let delay = Delay { until: hand.until, cause: Cause::InHand, key: hand.holder };
                            delays.push((delay, Whose::Set(set)));
                        }
                    }
                    Err(error) => hands = Err(error),
                }
            })
        })?;
        hands?;
        Ok(opening.delayed(delays))
    }
}

/// What a bucket that only orders for one set or name take from has to say at `start`, if that is more than nothing.
fn delay(name: &str, cell: Cell, limits: &Limits, board: &Board, start: Timestamp) -> Option<(Delay, Whose)> {
    let whose_name = |(account, name): (&str, &str)| Whose::Name { account: account.to_owned(), name: name.to_owned() };
    let (cause, key, whose) = match limit_and_key(name) {
        Some((limit, key)) if ALONE.contains(&limit) => {
            let whose = match limit {
                LimitName::CertificatesPerFqdnSet => Whose::Set(SetKey::parse(key)?),
                _ => whose_name(key.rsplit_once(' ')?),
            };
            (Cause::Limit(limit), key.to_owned(), whose)
        }
        Some(_) => return None,
        None => {
            let (account, name) = backoff_of(name)?;
            (Cause::Backoff, format!("{account} {name}"), whose_name((account, name)))
        }
    };
    let quota = quota_of(limits, name)?;
    let tally = Tally { tat: cell.tally.tat.max(floor(board, name, quota)), ..cell.tally };
    let until = tally.fits_at(quota, 1, start);
    (until > start).then_some((Delay { until, cause, key }, whose))
}

impl Board {
    /// Leaves out of `inventory` what is frozen and what is paused, with the reasons.
    pub fn withhold(&self, inventory: &mut Inventory) {
        if self.frozen.is_empty() && self.paused.is_empty() {
            return;
        }
        let mut reasons: Vec<String> = self.frozen.iter().map(frozen_text).collect();
        let mut paused: BTreeMap<&str, (usize, BTreeSet<&str>)> = BTreeMap::new();
        for of in &self.paused {
            let (_, names) = paused.entry(&of.account).or_insert_with(|| {
                reasons.push(format!("paused at the CA for account {}", of.account));
                (reasons.len() - 1, BTreeSet::new())
            });
            names.insert(&of.name);
        }
        let of_group = |group: &crate::inventory::Group| {
            let (account, tenant) =
                (&inventory.accounts[group.account as usize], &inventory.tenants[group.tenant as usize]);
            let freeze = self.frozen.iter().position(|freeze| match &freeze.scope {
                Scope::Everything => true,
                Scope::Account(of) => of == account,
                Scope::Tenant(of) => !tenant.is_empty() && of == tenant,
                Scope::Domain(_) => false,
            });
            (freeze, paused.get(account.as_str()))
        };
        let groups: Vec<_> = inventory.groups.iter().map(of_group).collect();
        let of_domain = |(place, freeze): (usize, &Freeze)| match &freeze.scope {
            Scope::Domain(of) => Some((inventory.domain_named(of)?, place)),
            Scope::Everything | Scope::Account(_) | Scope::Tenant(_) => None,
        };
        let domains: BTreeMap<u32, usize> = self.frozen.iter().enumerate().filter_map(of_domain).collect();
        inventory.withhold(reasons, &|Candidate { group, domain, name, .. }| {
            let (frozen, paused) = &groups[group as usize];
            let paused = || paused.filter(|(_, names)| names.contains(name)).map(|(reason, _)| *reason);
            frozen.or_else(|| domains.get(&domain).copied()).or_else(paused)
        });
    }
}

fn frozen_text(freeze: &Freeze) -> String {
    let what = match &freeze.scope {
        Scope::Everything => "everything".to_owned(),
        Scope::Account(account) => format!("account {account}"),
        Scope::Tenant(tenant) => format!("tenant {tenant}"),
        Scope::Domain(domain) => domain.clone(),
    };
    format!("frozen since {}, {what}, by {}: {}", freeze.since, freeze.by, freeze.reason)
}

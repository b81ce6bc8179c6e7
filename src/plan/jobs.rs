//! The orders to schedule, and which domain buckets each takes from.

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use super::group::Grouping;
use crate::gcra::Quota;
use crate::inventory::{Inventory, Urgency};
use crate::limits::Limits;

/// A bucket of certificates: of a registered domain, or of an account and a registered domain.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Lane {
    /// `u32::MAX` for the bucket over all accounts.
    account: u32,
    pub(super) domain: u32,
}

impl Lane {
    /// No bucket.
    pub(super) const NONE: Self = Self { account: u32::MAX, domain: u32::MAX };

    pub(super) const fn global(domain: u32) -> Self {
        Self { account: u32::MAX, domain }
    }

    pub(super) const fn own(account: u32, domain: u32) -> Self {
        Self { account, domain }
    }

    /// The account, if it is an account's own bucket.
    pub(super) fn account(self) -> Option<u32> {
        (self.account != u32::MAX).then_some(self.account)
    }
}

/// An order that takes tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Job {
    pub(super) account: u32,
    pub(super) tenant: u32,
    /// A place in [`Inventory::urgencies`].
    pub(super) urgency: u32,
}

/// All orders that take tokens: new certificates, then certificates held whose renewal is exempt from nothing.
#[derive(Debug)]
pub(super) struct Jobs<'a> {
    inventory: &'a Inventory,
    grouping: &'a Grouping,
    /// Places in [`Inventory::held`].
    unexempt: Vec<u32>,
    jobs: Vec<Job>,
    /// By account: whether its orders check a domain bucket of its own.
    own_buckets: Vec<bool>,
    /// By tenant: its place among them, which has nothing to do with the alphabet.
    tenant_places: Vec<u32>,
}

impl<'a> Jobs<'a> {
    pub(super) fn new(inventory: &'a Inventory, grouping: &'a Grouping, unexempt: Vec<u32>, limits: &Limits) -> Self {
        let job = |group: u32, urgency: u32| {
            let group = &inventory.groups[group as usize];
            Job { account: group.account, tenant: group.tenant, urgency }
        };
        let mut jobs: Vec<Job> = grouping.certificates.par_iter().map(|of| job(of.group, of.urgency)).collect();
        jobs.extend(unexempt.iter().map(|held| {
            let terms = &inventory.held[*held as usize];
            job(terms.group, terms.urgency)
        }));
        let own_buckets = inventory.accounts.iter().map(|account| limits.own_domain_buckets(account)).collect();
        Self { inventory, grouping, unexempt, jobs, own_buckets, tenant_places: inventory.tenant_places() }
    }

    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    pub(super) fn job(&self, job: u32) -> &Job {
        &self.jobs[job as usize]
    }

    pub(super) fn all(&self) -> &[Job] {
        &self.jobs
    }

    pub(super) fn account_count(&self) -> usize {
        self.inventory.accounts.len()
    }

    pub(super) fn urgency(&self, job: &Job) -> Urgency {
        self.inventory.urgencies[job.urgency as usize]
    }

    pub(super) fn tenant_place(&self, job: &Job) -> u32 {
        self.tenant_places[job.tenant as usize]
    }

    /// The certificate held that a job renews; `None`: it orders a new one, whose place is the job's.
    pub(super) fn held(&self, job: u32) -> Option<u32> {
        (job as usize).checked_sub(self.grouping.certificates.len()).map(|place| self.unexempt[place])
    }

    /// For each job: how many of its tenant stand before it.
    pub(super) fn ranks(&self) -> Vec<u32> {
        let mut counts = vec![0_u32; self.tenant_places.len()];
        let rank = |job: &Job| {
            let count = &mut counts[job.tenant as usize];
            *count += 1;
            *count - 1
        };
        self.jobs.iter().map(rank).collect()
    }

    /// The buckets that the job's certificate is counted in, and whether its order checks them.
    pub(super) fn lanes(&self, job: u32) -> impl Iterator<Item = (Lane, bool)> + '_ {
        let account = self.jobs[job as usize].account;
        let own = self.own_buckets[account as usize];
        self.domains(job).flat_map(move |domain| {
            let first = if own { Lane::own(account, domain) } else { Lane::global(domain) };
            let second = own.then_some((Lane::global(domain), false));
            std::iter::once((first, true)).chain(second)
        })
    }

    fn domains(&self, job: u32) -> impl Iterator<Item = u32> + '_ {
        let held = self.held(job);
        let pieces = if held.is_none() { self.grouping.pieces(job as usize) } else { &[] };
        let names = held.map_or(&[][..], |held| self.inventory.held_names(held as usize));
        // The names of a certificate held are sorted by domain.
        let of_held = names.chunk_by(|a, b| a.domain == b.domain).map(|same| same[0].domain);
        pieces.iter().map(|piece| piece.domain).chain(of_held)
    }

    /// How often each bucket is taken from.
    pub(super) fn usage(&self) -> (Vec<u32>, FxHashMap<Lane, u32>) {
        let mut global = vec![0_u32; self.inventory.domain_count()];
        let mut own: FxHashMap<Lane, u32> = FxHashMap::default();
        for job in (0..).take(self.len()) {
            for (lane, _) in self.lanes(job) {
                match lane.account() {
                    None => global[lane.domain as usize] += 1,
                    Some(_) => *own.entry(lane).or_default() += 1,
                }
            }
        }
        (global, own)
    }

    /// The buckets which hold fewer tokens than are taken from them: only these can ever hold an order back. Sorted.
    pub(super) fn tight_lanes(&self, quota: &dyn Fn(Lane) -> Option<Quota>) -> Vec<(Lane, Quota)> {
        let (global, own) = self.usage();
        let global = (0..).zip(global).map(|(domain, count)| (Lane::global(domain), count));
        let mut tight: Vec<(Lane, Quota)> = Vec::new();
        let mut own: Vec<(Lane, u32)> = own.into_iter().collect();
        own.sort_unstable();
        for (lane, count) in global.filter(|(_, count)| *count > 0).chain(own) {
            tight.extend(quota(lane).filter(|quota| count > quota.burst()).map(|quota| (lane, quota)));
        }
        tight
    }
}

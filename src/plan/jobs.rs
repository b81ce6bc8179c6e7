//! The orders to schedule, and which domain buckets each takes from.

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use super::gate::Gate;
use super::group::Grouping;
use crate::gcra::Quota;
use crate::inventory::{Inventory, Urgency};
use crate::limits::Limits;
use crate::time::Span;

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
    ranks: Vec<u32>,
    /// By domain: how many certificates its bucket over all accounts counts.
    usage: Vec<u32>,
    /// The same for accounts' own buckets; sorted.
    own_usage: Vec<(Lane, u32)>,
}

/// The buckets which hold fewer tokens than are taken from them: only these can ever hold an order back.
#[derive(Clone, Debug, Default)]
pub(super) struct TightLanes {
    quotas: FxHashMap<Lane, Quota>,
    /// By domain: whether any of its buckets is tight. Empty where none is.
    domains: Vec<bool>,
}

impl TightLanes {
    pub(super) fn is_empty(&self) -> bool {
        self.quotas.is_empty()
    }

    pub(super) fn get(&self, lane: Lane) -> Option<Quota> {
        self.quotas.get(&lane).copied()
    }

    pub(super) fn gates(&self, margin: Span) -> FxHashMap<Lane, Gate> {
        self.quotas.iter().map(|(lane, quota)| (*lane, Gate::new(*quota, margin))).collect()
    }
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
        let tenant_places = inventory.tenant_places();
        let (usage, own_usage) = (vec![0; inventory.domain_count()], Vec::new());
        let ranks = ranks(&jobs, inventory.tenants.len());
        let mut jobs =
            Self { inventory, grouping, unexempt, jobs, own_buckets, tenant_places, ranks, usage, own_usage };
        jobs.count_usage();
        jobs
    }

    fn count_usage(&mut self) {
        let mut usage = std::mem::take(&mut self.usage);
        let mut own: FxHashMap<Lane, u32> = FxHashMap::default();
        let any_own = self.own_buckets.contains(&true);
        for job in (0..).take(self.len()) {
            self.domains(job, |domain| usage[domain as usize] += 1);
            if any_own {
                let lanes = self.lanes(job).into_iter().filter(|(lane, _)| lane.account().is_some());
                lanes.for_each(|(lane, _)| *own.entry(lane).or_default() += 1);
            }
        }
        self.usage = usage;
        self.own_usage = own.into_iter().collect();
        self.own_usage.sort_unstable();
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

    pub(super) fn urgencies(&self) -> &[Urgency] {
        &self.inventory.urgencies
    }

    pub(super) fn tenant_place(&self, job: &Job) -> u32 {
        self.tenant_places[job.tenant as usize]
    }

    /// The certificate held that a job renews; `None`: it orders a new one, whose place is the job's.
    pub(super) fn held(&self, job: u32) -> Option<u32> {
        (job as usize).checked_sub(self.grouping.certificates.len()).map(|place| self.unexempt[place])
    }

    /// How many jobs of its tenant stand before a job.
    pub(super) fn rank(&self, job: u32) -> u32 {
        self.ranks[job as usize]
    }

    /// The buckets that the job's certificate is counted in, and whether its order checks them.
    pub(super) fn lanes(&self, job: u32) -> Vec<(Lane, bool)> {
        let account = self.jobs[job as usize].account;
        let own = self.own_buckets[account as usize];
        let mut lanes = Vec::with_capacity(2);
        self.domains(job, |domain| {
            if own {
                lanes.push((Lane::own(account, domain), true));
            }
            lanes.push((Lane::global(domain), !own));
        });
        lanes
    }

    #[inline]
    fn domains(&self, job: u32, mut with: impl FnMut(u32)) {
        match self.held(job) {
            None => self.grouping.pieces(job as usize).iter().for_each(|piece| with(piece.domain)),
            // The names of a certificate held are sorted by domain.
            Some(held) => {
                let names = self.inventory.held_names(held as usize);
                names.chunk_by(|a, b| a.domain == b.domain).for_each(|same| with(same[0].domain));
            }
        }
    }

    /// Whether a tight bucket may hold the job back.
    #[inline]
    pub(super) fn is_tight(&self, job: u32, tight: &TightLanes) -> bool {
        let mut found = false;
        if !tight.domains.is_empty() {
            self.domains(job, |domain| found |= tight.domains[domain as usize]);
        }
        found
    }

    /// The buckets which hold fewer tokens than are taken from them.
    pub(super) fn tight_lanes(&self, quota: &dyn Fn(Lane) -> Option<Quota>) -> TightLanes {
        let mut tight = TightLanes::default();
        let global = (0..).zip(&self.usage).map(|(domain, count)| (Lane::global(domain), *count));
        for (lane, count) in global.filter(|(_, count)| *count > 0).chain(self.own_usage.iter().copied()) {
            if let Some(quota) = quota(lane).filter(|quota| count > quota.burst()) {
                tight.quotas.insert(lane, quota);
                tight.domains.resize(self.usage.len(), false);
                tight.domains[lane.domain as usize] = true;
            }
        }
        tight
    }
}

/// For each job: how many of its tenant stand before it.
fn ranks(jobs: &[Job], tenants: usize) -> Vec<u32> {
    let mut counts = vec![0_u32; tenants];
    let rank = |job: &Job| {
        let count = &mut counts[job.tenant as usize];
        *count += 1;
        *count - 1
    };
    jobs.iter().map(rank).collect()
}

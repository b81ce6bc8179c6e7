//! The orders to schedule, and which domain buckets each takes from.

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use super::group::Grouping;
use super::stock::Stock;
use super::usable::Usable;
use crate::dense::{counting_sort, dense};
use crate::inventory::{Inventory, Urgency};
use crate::time::Timestamp;

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
    /// A place in [`Inventory::urgencies`].
    pub(super) urgency: u32,
}

/// All orders that take tokens: new certificates, then certificates held whose renewal is exempt from nothing.
#[derive(Debug)]
pub(super) struct Jobs<'a> {
    inventory: &'a Inventory,
    /// The new certificates.
    pub(super) grouping: Grouping,
    /// Places in [`Inventory::held`].
    unexempt: Vec<u32>,
    jobs: Vec<Job>,
    by_account: Vec<u64>,
    /// By account: whether its orders check a domain bucket of its own.
    own_buckets: Vec<bool>,
    /// All jobs, such that each tenant's first one comes before anyone's second.
    fair_order: Vec<u32>,
    /// By place in that order: the job itself, since there may be millions, and they are gone through again and again.
    in_fair_order: Vec<Job>,
    /// By domain: how many certificates its bucket over all accounts counts.
    usage: Vec<u32>,
    /// The same for accounts' own buckets; sorted.
    own_usage: Vec<(Lane, u32)>,
    delays: Delays,
}

/// What orders wait for beside buckets.
#[derive(Debug, Default)]
struct Delays {
    /// By job: which, from 1; 0: none. Empty where no job has any.
    of_job: Vec<u32>,
    /// The times of all delays that there are.
    until: Vec<Timestamp>,
}

/// The buckets which can't give at the start all that is taken from them: only these can ever hold an order back.
#[derive(Clone, Debug, Default)]
pub(super) struct TightLanes {
    /// In an order that depends on contents alone.
    pub(super) lanes: Vec<(Lane, Stock)>,
    places: FxHashMap<Lane, usize>,
    /// The jobs that one of them, or a delay, may hold back.
    pub(super) jobs: Vec<u32>,
}

impl TightLanes {
    /// The place of a lane, if it is tight.
    pub(super) fn place(&self, lane: Lane) -> Option<usize> {
        self.places.get(&lane).copied()
    }
}

impl<'a> Jobs<'a> {
    pub(super) fn new(usable: &Usable<'a>, grouping: Grouping, unexempt: Vec<u32>) -> Self {
        let Usable { inventory, limits, .. } = *usable;
        let job = |group: u32, urgency: u32| Job { account: inventory.groups[group as usize].account, urgency };
        let mut jobs: Vec<Job> = grouping.certificates.par_iter().map(|of| job(of.group, of.urgency)).collect();
        jobs.extend(unexempt.iter().map(|held| {
            let terms = &inventory.held[*held as usize];
            job(terms.group, terms.urgency)
        }));
        let mut by_account = vec![0; inventory.accounts.len()];
        jobs.iter().for_each(|job| by_account[job.account as usize] += 1);
        let own_buckets = inventory.accounts.iter().map(|account| limits.own_domain_buckets(account)).collect();
        let mut jobs = Self {
            inventory,
            grouping,
            unexempt,
            jobs,
            by_account,
            own_buckets,
            fair_order: Vec::new(),
            in_fair_order: Vec::new(),
            usage: Vec::new(),
            own_usage: Vec::new(),
            delays: Delays::default(),
        };
        jobs.delays = jobs.find_delays(usable);
        let (usage, fair_order) = rayon::join(|| jobs.count_usage(), || jobs.find_fair_order());
        (jobs.usage, jobs.own_usage) = usage;
        jobs.in_fair_order = fair_order.par_iter().map(|job| *jobs.job(*job)).collect();
        jobs.fair_order = fair_order;
        jobs
    }

    /// The jobs in this order: in each account each tenant's first one, then each one's second, and so on; else, and within a tenant,
    /// in an order of domains that has nothing to do with the alphabet. A domain's certificates keep the order of their contents.
    fn find_fair_order(&self) -> Vec<u32> {
        let groups = &self.inventory.groups;
        // The groups are sorted by account and tenant.
        let mut owners = Vec::with_capacity(groups.len());
        let mut owner = 0_u32;
        for (place, group) in groups.iter().enumerate() {
            let before = place.checked_sub(1).map(|before| &groups[before]);
            owner += u32::from(before.is_some_and(|of| (of.account, of.tenant) != (group.account, group.tenant)));
            owners.push(owner);
        }
        let place = |job: u32| {
            let mut place = u32::MAX;
            self.domains(job, |domain| place = place.min(self.inventory.domain_place(domain)));
            place
        };
        let places: Vec<u32> = (0..dense(self.len())).into_par_iter().map(place).collect();
        let by_domain = counting_sort(0.., &places, self.inventory.domain_count());
        let of_job: Vec<u32> = by_domain.par_iter().map(|job| owners[self.group(*job) as usize]).collect();
        let mut counts = vec![0_u32; owner as usize + 1];
        let rank = |owner: u32| {
            let count = &mut counts[owner as usize];
            *count += 1;
            *count - 1
        };
        let ranks: Vec<u32> = of_job.into_iter().map(rank).collect();
        let most = counts.iter().max().map_or(0, |most| *most as usize);
        counting_sort(by_domain.into_iter(), &ranks, most)
    }

    fn group(&self, job: u32) -> u32 {
        match self.held(job) {
            None => self.grouping.certificates[job as usize].group,
            Some(held) => self.inventory.held[held as usize].group,
        }
    }

    /// How many certificates each domain's bucket counts, and each account's own.
    fn count_usage(&self) -> (Vec<u32>, Vec<(Lane, u32)>) {
        let mut usage = vec![0; self.inventory.domain_count()];
        let mut own: FxHashMap<Lane, u32> = FxHashMap::default();
        let any_own = self.own_buckets.contains(&true);
        for job in (0..).take(self.len()) {
            self.domains(job, |domain| usage[domain as usize] += 1);
            if any_own {
                let lanes = self.lanes(job).into_iter().filter(|(lane, _)| lane.account().is_some());
                lanes.for_each(|(lane, _)| *own.entry(lane).or_default() += 1);
            }
        }
        let mut own: Vec<(Lane, u32)> = own.into_iter().collect();
        own.sort_unstable();
        (usage, own)
    }

    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    pub(super) fn job(&self, job: u32) -> &Job {
        &self.jobs[job as usize]
    }

    /// By account: how many jobs it has.
    pub(super) fn by_account(&self) -> &[u64] {
        &self.by_account
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

    /// All jobs, such that each tenant's first one comes before anyone's second.
    pub(super) fn fair_order(&self) -> &[u32] {
        &self.fair_order
    }

    /// The same: each job's number, and the job itself.
    pub(super) fn in_fair_order(&self) -> impl Iterator<Item = (u32, &Job)> {
        self.fair_order.iter().copied().zip(&self.in_fair_order)
    }

    /// All jobs, the most urgent first, and fair among equals.
    pub(super) fn by_urgency(&self) -> Vec<u32> {
        let mut order = self.fair_order.clone();
        order.sort_by_key(|job| self.jobs[*job as usize].urgency);
        order
    }

    /// The certificate held that a job renews; `None`: it orders a new one, whose place is the job's.
    pub(super) fn held(&self, job: u32) -> Option<u32> {
        (job as usize).checked_sub(self.grouping.certificates.len()).map(|place| self.unexempt[place])
    }

    /// What delays a job, and until when: a place among the opening's delays.
    #[inline]
    pub(super) fn delay(&self, job: u32) -> Option<(usize, Timestamp)> {
        let place = self.delays.of_job.get(job as usize)?.checked_sub(1)? as usize;
        Some((place, self.delays.until[place]))
    }

    fn find_delays(&self, usable: &Usable<'_>) -> Delays {
        let Some(opening) = usable.opening.filter(|opening| opening.has_delays()) else { return Delays::default() };
        let of_job = |job: u32| {
            let names = self.names(job);
            let account = &self.inventory.accounts[self.jobs[job as usize].account as usize];
            opening.delay_of(account, &names, true).map_or(0, |place| place + 1)
        };
        let of_job: Vec<u32> = (0..dense(self.len())).into_par_iter().map(of_job).collect();
        let until = opening.delays().iter().map(|delay| delay.until).collect();
        if of_job.iter().all(|delay| *delay == 0) { Delays::default() } else { Delays { of_job, until } }
    }

    fn names(&self, job: u32) -> Vec<&'a str> {
        let inventory = self.inventory;
        match self.held(job) {
            None => {
                let pieces = self.grouping.pieces(job as usize);
                let members = pieces.flat_map(|piece| self.grouping.members(piece).iter().collect::<Vec<_>>());
                members.map(|member| inventory.text(inventory.wanted()[member as usize].name)).collect()
            }
            Some(held) => inventory.held_names(held as usize).iter().map(|held| inventory.text(held.name)).collect(),
        }
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
            None => self.grouping.pieces(job as usize).for_each(|piece| with(piece.domain)),
            // The names of a certificate held are sorted by domain.
            Some(held) => {
                let names = self.inventory.held_names(held as usize);
                names.chunk_by(|a, b| a.domain == b.domain).for_each(|same| with(same[0].domain));
            }
        }
    }

    /// The buckets which can't give at the start all that is taken from them, in an order that depends on contents alone.
    pub(super) fn tight_lanes(&self, usable: &Usable<'_>) -> TightLanes {
        // Nearly all domains have less than any bucket of theirs can give.
        let ample = usable.ample();
        let global = (0..).zip(&self.usage).map(|(domain, count)| (Lane::global(domain), *count));
        let used = global.filter(|(_, count)| *count > ample).chain(self.own_usage.iter().copied());
        let is_tight =
            |(lane, count)| usable.lane(lane).filter(|stock| stock.is_short_of(count)).map(|stock| (lane, stock));
        let mut lanes: Vec<(Lane, Stock)> = used.filter_map(is_tight).collect();
        lanes.sort_by_key(|(lane, _)| (self.inventory.domain_place(lane.domain), lane.account));
        let mut is_tight = vec![false; if lanes.is_empty() { 0 } else { self.usage.len() }];
        lanes.iter().for_each(|(lane, _)| is_tight[lane.domain as usize] = true);
        let any = !lanes.is_empty() || !self.delays.of_job.is_empty();
        let count = if any { dense(self.len()) } else { 0 };
        let is_held_back = |job: &u32| {
            let mut found = self.delay(*job).is_some();
            self.domains(*job, |domain| found |= is_tight.get(domain as usize).copied().unwrap_or_default());
            found
        };
        let jobs = (0..count).into_par_iter().filter(is_held_back).collect();
        let places = lanes.iter().enumerate().map(|(place, (lane, _))| (*lane, place)).collect();
        TightLanes { lanes, places, jobs }
    }
}

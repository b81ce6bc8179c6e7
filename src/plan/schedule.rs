//! Schedules orders over two levels of buckets, the account's and each registered domain's, as early as the limits allow.
//!
//! Every order has a due time: its deadline, or the finish that is aimed at, less its *tail*, the time that its domain's bucket will
//! still force after it. Of the orders that can go, the one that is due first goes; of equals each tenant's first one, then each
//! one's second, in an order of tenants that has nothing to do with the alphabet. O(n log n).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use super::gate::Gate;
use super::jobs::{Job, Jobs, Lane};
use crate::gcra::Quota;
use crate::inventory::Urgency;
use crate::time::{Span, Timestamp};

/// What the order of choice aims at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Aim {
    /// The higher priority first; then deadlines, and this finish for all that have none.
    Finish(Timestamp),
    /// Deadlines first, whatever the priority, and this finish for all that have none.
    Deadlines(Timestamp),
}

/// What an order waited for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Bound {
    /// Nothing: it goes at the start.
    Nothing,
    /// A token of its account.
    Account(u32),
    /// A token of a domain.
    Lane(Lane),
}

/// An order with its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Placed {
    pub(super) at: Timestamp,
    pub(super) job: u32,
    pub(super) bound: Bound,
}

/// What the limits leave to a plan: usable bursts, the account's refill less the reserve.
pub(super) struct Terms<'a> {
    pub(super) start: Timestamp,
    pub(super) margin: Span,
    pub(super) account: &'a dyn Fn(u32) -> Option<Quota>,
    pub(super) lane: &'a dyn Fn(Lane) -> Option<Quota>,
}

/// What decides between orders that can go; the smaller one goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Key {
    first: i64,
    second: i64,
    rank: u32,
    tenant: u32,
    job: u32,
}

/// Orders of one account which take from the same buckets and go one after the other.
struct Stream {
    account: u32,
    jobs: Range<usize>,
}

/// Orders that no domain holds back, and orders that one may.
struct Sorted {
    free: Vec<Vec<Key>>,
    streams: Vec<Stream>,
    queue: Vec<Key>,
}

/// One account's part of the schedule.
struct Account {
    gate: Option<Gate>,
    free: std::vec::IntoIter<Key>,
    ready: BinaryHeap<Reverse<(Key, usize)>>,
    waiting: BinaryHeap<Reverse<(Timestamp, usize)>>,
}

/// Schedules all jobs; they come back in the order of their times.
pub(super) fn schedule(jobs: &Jobs<'_>, terms: &Terms<'_>, aim: Aim) -> Vec<Placed> {
    let mut lanes: FxHashMap<Lane, Gate> = FxHashMap::default();
    for (lane, quota) in jobs.tight_lanes(terms.lane) {
        lanes.insert(lane, Gate::new(quota, terms.margin));
    }
    let sorted = sort(jobs, terms, aim, &lanes);
    let mut scheduler = Scheduler { jobs, start: terms.start, lanes, streams: sorted.streams, queue: sorted.queue };
    let mut accounts: Vec<Account> = (0..)
        .zip(sorted.free)
        .map(|(account, free)| Account {
            gate: (terms.account)(account).map(|quota| Gate::new(quota, terms.margin)),
            free: free.into_iter(),
            ready: BinaryHeap::new(),
            waiting: BinaryHeap::new(),
        })
        .collect();
    for (stream, of) in scheduler.streams.iter().enumerate() {
        accounts[of.account as usize].waiting.push(Reverse((terms.start, stream)));
    }
    let mut placed = Vec::with_capacity(jobs.len());
    let times = (0..).zip(&accounts).filter_map(|(account, of)| Some(Reverse((of.next_time(terms.start)?, account))));
    let mut next: BinaryHeap<Reverse<(Timestamp, usize)>> = times.collect();
    while let Some(Reverse((at, account))) = next.pop() {
        let of = &mut accounts[account];
        placed.extend(scheduler.step(of, account, at));
        // Nothing goes before what has gone: another account may be at an earlier time, but never at one that is past.
        next.extend(of.next_time(terms.start).map(|time| Reverse((time.max(at), account))));
    }
    placed
}

struct Scheduler<'a> {
    jobs: &'a Jobs<'a>,
    start: Timestamp,
    lanes: FxHashMap<Lane, Gate>,
    streams: Vec<Stream>,
    queue: Vec<Key>,
}

impl Account {
    fn next_token(&self, start: Timestamp) -> Timestamp {
        self.gate.as_ref().map_or(start, |gate| gate.next(start))
    }

    /// When the account may have something to send; `None`: it is done.
    fn next_time(&self, start: Timestamp) -> Option<Timestamp> {
        let token = self.next_token(start);
        if !self.ready.is_empty() || !self.free.as_slice().is_empty() {
            return Some(token);
        }
        self.waiting.peek().map(|Reverse((release, _))| token.max(*release))
    }
}

impl Scheduler<'_> {
    /// When a job's domains let it go, and which of them is the last to.
    fn release(&self, job: u32) -> (Timestamp, Option<Lane>) {
        let held_back = self.jobs.lanes(job).filter_map(|(lane, checked)| {
            let gate = self.lanes.get(&lane)?;
            let release = if checked { gate.next(self.start) } else { gate.next_unasked(self.start) };
            (release > self.start).then_some((release, Some(lane)))
        });
        held_back.max().unwrap_or((self.start, None))
    }

    fn head(&self, stream: usize) -> Option<Key> {
        let jobs = self.streams[stream].jobs.clone();
        self.queue[jobs].first().copied()
    }

    /// Sends the best order that `account` can send at `at`, if there is one after all.
    fn step(&mut self, of: &mut Account, account: usize, at: Timestamp) -> Option<Placed> {
        while let Some(Reverse((release, stream))) = of.waiting.peek().copied()
            && release <= at
        {
            of.waiting.pop();
            if let Some(head) = self.head(stream) {
                match self.release(head.job).0 {
                    // Another account has taken the token.
                    later if later > at => of.waiting.push(Reverse((later, stream))),
                    _ => of.ready.push(Reverse((head, stream))),
                }
            }
        }
        let (key, stream) = loop {
            let ready = of.ready.peek().map(|Reverse((key, stream))| (*key, *stream));
            match (ready, of.free.as_slice().first()) {
                (Some((key, stream)), free) if free.is_none_or(|free| key < *free) => {
                    of.ready.pop();
                    match self.release(key.job).0 {
                        later if later > at => of.waiting.push(Reverse((later, stream))),
                        _ => break (key, Some(stream)),
                    }
                }
                (_, Some(_)) => break (of.free.next()?, None),
                _ => return None,
            }
        };
        let bound = if at == self.start {
            Bound::Nothing
        } else {
            let (release, lane) = self.release(key.job);
            match lane {
                Some(lane) if release > of.next_token(self.start) => Bound::Lane(lane),
                _ => Bound::Account(u32::try_from(account).unwrap_or(u32::MAX)),
            }
        };
        if let Some(gate) = &mut of.gate {
            gate.take(at, true);
        }
        for (lane, checked) in self.jobs.lanes(key.job) {
            if let Some(gate) = self.lanes.get_mut(&lane) {
                gate.take(at, checked);
            }
        }
        if let Some(stream) = stream {
            self.streams[stream].jobs.start += 1;
            if let Some(head) = self.head(stream) {
                of.waiting.push(Reverse((self.release(head.job).0, stream)));
            }
        }
        Some(Placed { at, job: key.job, bound })
    }
}

/// Gives every job its key, and sorts those that only wait for their account; the rest go into streams.
fn sort(jobs: &Jobs<'_>, terms: &Terms<'_>, aim: Aim, lanes: &FxHashMap<Lane, Gate>) -> Sorted {
    let ranks = jobs.ranks();
    let key = |job: u32, due: Timestamp| {
        let of = jobs.job(job);
        let priority = i64::from(jobs.urgency(of).priority.0).wrapping_neg();
        let (first, second) = match aim {
            Aim::Finish(_) => (priority, due.unix_nanos()),
            Aim::Deadlines(_) => (due.unix_nanos(), priority),
        };
        Key { first, second, rank: ranks[job as usize], tenant: jobs.tenant_place(of), job }
    };
    let own_due = |of: &Job| {
        let (Aim::Finish(finish) | Aim::Deadlines(finish)) = aim;
        jobs.urgency(of).deadline.min(finish)
    };
    let is_tight = |job: u32| !lanes.is_empty() && jobs.lanes(job).any(|(lane, _)| lanes.contains_key(&lane));
    let (tight, free): (Vec<u32>, Vec<u32>) =
        (0..jobs.len()).into_par_iter().map(index).partition(|job| is_tight(*job));
    let mut by_account: Vec<Vec<Key>> = vec![Vec::new(); jobs.account_count()];
    for job in free {
        let of = jobs.job(job);
        by_account[of.account as usize].push(key(job, own_due(of)));
    }
    by_account.par_iter_mut().for_each(|keys| keys.par_sort_unstable());
    let dues = due_in_lanes(jobs, terms, &tight, lanes, &own_due, &|job| {
        let of = jobs.job(job);
        (of.urgency, ranks[job as usize], jobs.tenant_place(of), job)
    });
    // One stream for each account and set of domains; its jobs in the order in which the domain takes them.
    let mut in_streams: Vec<(u32, Lane, u32, Key)> = Vec::with_capacity(tight.len());
    for job in tight {
        let of = jobs.job(job);
        let mut checked = jobs.lanes(job).filter(|(_, checked)| *checked);
        let lane = checked.next().map_or(Lane::NONE, |(lane, _)| lane);
        let alone = if checked.next().is_some() { job + 1 } else { 0 };
        in_streams.push((of.account, lane, alone, key(job, dues[&job])));
    }
    in_streams.par_sort_unstable();
    let mut streams = Vec::new();
    let mut queue = Vec::with_capacity(in_streams.len());
    for same in in_streams.chunk_by(|a, b| (a.0, a.1, a.2) == (b.0, b.1, b.2)) {
        let start = queue.len();
        queue.extend(same.iter().map(|(.., key)| *key));
        streams.push(Stream { account: same[0].0, jobs: start..queue.len() });
    }
    Sorted { free: by_account, streams, queue }
}

/// When each tight job is due: so early that those behind it in its domains can still be in time.
fn due_in_lanes(
    jobs: &Jobs<'_>,
    terms: &Terms<'_>,
    tight: &[u32],
    lanes: &FxHashMap<Lane, Gate>,
    own_due: &dyn Fn(&Job) -> Timestamp,
    order: &dyn Fn(u32) -> (u32, u32, u32, u32),
) -> FxHashMap<u32, Timestamp> {
    let mut in_lane: Vec<(Lane, bool, (u32, u32, u32, u32))> = Vec::new();
    for &job in tight {
        let several = jobs.lanes(job).filter(|(_, checked)| *checked).count() > 1;
        for (lane, _) in jobs.lanes(job).filter(|(lane, _)| lanes.contains_key(lane)) {
            // An order of several domains goes before those of one: it would hold all its domains up.
            in_lane.push((lane, !several, order(job)));
        }
    }
    in_lane.sort_unstable();
    let mut dues: FxHashMap<u32, Timestamp> = FxHashMap::default();
    for same in in_lane.chunk_by(|a, b| a.0 == b.0) {
        let Some(quota) = (terms.lane)(same[0].0) else { continue };
        let burst = quota.burst() as usize;
        let due_of = |place: usize| same.get(place).map(|(.., key)| own_due(jobs.job(key.3)));
        let (mut after, mut behind) = (Urgency::NEVER, Urgency::NEVER);
        for place in (0..same.len()).rev() {
            // What is a burst or more behind this one has to wait for its token: one emission interval for each place.
            let forced = due_of(place + burst).unwrap_or(Urgency::NEVER).min(after);
            after = if forced == Urgency::NEVER { forced } else { forced.minus(quota.emission()) };
            behind = own_due(jobs.job(same[place].2.3)).min(after).min(behind);
            dues.entry(same[place].2.3).and_modify(|due| *due = behind.min(*due)).or_insert(behind);
        }
    }
    dues
}

fn index(index: usize) -> u32 {
    u32::try_from(index).unwrap_or_else(|_too_many| unreachable!("4 billion orders outlast memory"))
}

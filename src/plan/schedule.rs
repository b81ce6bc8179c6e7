//! Schedules orders over two levels of buckets, the account's and each registered domain's, as early as the limits allow.
//!
//! Time jumps to the next instant at which an account has a token and something to send; of what can go, [`super::choice`] says which
//! does. O(n log n).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::choice::{Aim, Choice, Key};
use super::gate::Gate;
use super::jobs::{Jobs, TightLanes};
use crate::gcra::Quota;
use crate::time::{Span, Timestamp};

/// What an order waited for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Bound(u32);

impl Bound {
    /// Nothing: it goes at the start.
    pub(super) const NOTHING: Self = Self(u32::MAX);

    pub(super) fn account(account: usize) -> Self {
        Self(u32::try_from(account).unwrap_or(u32::MAX))
    }

    pub(super) fn lane(accounts: usize, place: usize) -> Self {
        Self::account(accounts + place)
    }

    /// The account, or the place of the tight lane.
    pub(super) fn bucket(self, accounts: usize) -> Option<Result<usize, usize>> {
        match self.0 as usize {
            _ if self == Self::NOTHING => None,
            account if account < accounts => Some(Ok(account)),
            lane => Some(Err(lane - accounts)),
        }
    }
}

/// An order with its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Placed {
    pub(super) at: Timestamp,
    pub(super) job: u32,
    pub(super) bound: Bound,
}

/// What the limits leave to a plan: usable bursts, the account's refill less the reserve.
#[derive(Clone, Copy)]
pub(super) struct Terms<'a> {
    pub(super) start: Timestamp,
    pub(super) margin: Span,
    pub(super) account: &'a dyn Fn(usize) -> Option<Quota>,
}

/// One account's part of the schedule.
struct Account {
    number: usize,
    gate: Option<Gate>,
    /// Orders that no domain holds back; the last one goes next.
    free: Vec<u32>,
    /// The first orders of streams whose domains let them go.
    ready: BinaryHeap<Reverse<(Key, usize)>>,
    /// Streams whose domains let their first order go later.
    waiting: BinaryHeap<Reverse<(Timestamp, usize)>>,
}

/// Schedules all jobs; they come back in the order of their times.
pub(super) fn schedule(jobs: &Jobs<'_>, tight: &TightLanes, terms: &Terms<'_>, aim: Aim) -> Vec<Placed> {
    let choice = Choice { jobs, aim };
    let is_tight = jobs.tight_jobs(tight);
    let account = |(number, mut free): (usize, Vec<u32>)| {
        free.reverse();
        let gate = (terms.account)(number).map(|quota| Gate::new(quota, terms.margin));
        Account { number, gate, free, ready: BinaryHeap::new(), waiting: BinaryHeap::new() }
    };
    let mut accounts: Vec<Account> = choice.free(&is_tight).into_iter().enumerate().map(account).collect();
    let mut streams = Vec::new();
    for (account, mut keys) in choice.streams(tight, &is_tight) {
        accounts[account as usize].waiting.push(Reverse((terms.start, streams.len())));
        keys.reverse();
        streams.push(keys);
    }
    let lanes = tight.lanes.iter().map(|(_, quota)| Gate::new(*quota, terms.margin)).collect();
    let mut scheduler = Scheduler { choice, start: terms.start, tight, lanes, streams };
    let mut placed = Vec::with_capacity(jobs.len());
    let times =
        accounts.iter().enumerate().filter_map(|(account, of)| Some(Reverse((of.next_time(terms.start)?, account))));
    let mut next: BinaryHeap<Reverse<(Timestamp, usize)>> = times.collect();
    while let Some(Reverse((mut at, account))) = next.pop() {
        let of = &mut accounts[account];
        // The account goes on while it is its turn.
        loop {
            placed.extend(scheduler.step(of, at));
            // Nothing goes before what has gone, since what has gone may have taken its token.
            let Some(time) = of.next_time(terms.start) else { break };
            at = time.max(at);
            if next.peek().is_some_and(|Reverse(other)| *other < (at, account)) {
                next.push(Reverse((at, account)));
                break;
            }
        }
    }
    placed
}

impl Account {
    fn next_token(&self, start: Timestamp) -> Timestamp {
        self.gate.as_ref().map_or(start, |gate| gate.next(start))
    }

    /// When the account may have something to send; `None`: it is done.
    fn next_time(&self, start: Timestamp) -> Option<Timestamp> {
        let token = self.next_token(start);
        if !self.ready.is_empty() || !self.free.is_empty() {
            return Some(token);
        }
        self.waiting.peek().map(|Reverse((release, _))| token.max(*release))
    }
}

struct Scheduler<'a> {
    choice: Choice<'a>,
    start: Timestamp,
    tight: &'a TightLanes,
    /// Buckets that may hold orders back, by their places.
    lanes: Vec<Gate>,
    /// By account and domain, orders that one of these may hold back; the last one goes next.
    streams: Vec<Vec<Key>>,
}

impl Scheduler<'_> {
    /// When a job's domains let it go, and which of them is the last to.
    fn release(&self, job: u32) -> (Timestamp, Option<usize>) {
        let held_back = self.choice.jobs.lanes(job).into_iter().filter_map(|(lane, checked)| {
            let place = self.tight.place(lane)?;
            let gate = &self.lanes[place];
            let release = if checked { gate.next(self.start) } else { gate.next_unasked(self.start) };
            (release > self.start).then_some((release, Some(place)))
        });
        held_back.max().unwrap_or((self.start, None))
    }

    /// Moves streams whose time has come among the ready ones.
    fn wake(&self, of: &mut Account, at: Timestamp) {
        while let Some(Reverse((release, stream))) = of.waiting.peek().copied()
            && release <= at
        {
            of.waiting.pop();
            if let Some(head) = self.streams[stream].last() {
                match self.release(head.job).0 {
                    // Another account has taken the token.
                    later if later > at => of.waiting.push(Reverse((later, stream))),
                    _ => of.ready.push(Reverse((*head, stream))),
                }
            }
        }
    }

    /// The best order that `of` can send at `at`, and its stream.
    fn choose(&self, of: &mut Account, at: Timestamp) -> Option<(u32, Option<usize>)> {
        while let Some(Reverse((key, stream))) = of.ready.peek().copied() {
            if of.free.last().is_some_and(|free| self.choice.free_key(*free) < key) {
                break;
            }
            of.ready.pop();
            match self.release(key.job).0 {
                later if later > at => of.waiting.push(Reverse((later, stream))),
                _ => return Some((key.job, Some(stream))),
            }
        }
        of.free.pop().map(|job| (job, None))
    }

    /// Sends the best order that an account can send at `at`, if there is one after all.
    fn step(&mut self, of: &mut Account, at: Timestamp) -> Option<Placed> {
        self.wake(of, at);
        let (job, stream) = self.choose(of, at)?;
        let release = stream.map_or((self.start, None), |_| self.release(job));
        let bound = match release {
            _ if at == self.start => Bound::NOTHING,
            (release, Some(lane)) if release > of.next_token(self.start) => {
                Bound::lane(self.choice.jobs.account_count(), lane)
            }
            _ => Bound::account(of.number),
        };
        if let Some(gate) = &mut of.gate {
            gate.take(at, true);
        }
        if let Some(stream) = stream {
            for (lane, checked) in self.choice.jobs.lanes(job) {
                if let Some(place) = self.tight.place(lane) {
                    self.lanes[place].take(at, checked);
                }
            }
            self.streams[stream].pop();
            if let Some(head) = self.streams[stream].last() {
                of.waiting.push(Reverse((self.release(head.job).0, stream)));
            }
        }
        Some(Placed { at, job, bound })
    }
}

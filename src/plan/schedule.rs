//! Schedules orders over two levels of buckets, the account's and each registered domain's, as early as the limits allow.
//!
//! Time jumps to the next instant at which an account has a token and something to send; of what can go, [`super::choice`] says which
//! does. O(n log n).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::slice;

use rayon::prelude::*;

use super::choice::{Aim, Choice, Classes, Free, Key};
use super::gate::Gate;
use super::jobs::{Jobs, TightLanes};
use super::stock::Stock;
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

    /// The account; or the place of the tight lane, and beyond these of the delay.
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

/// What the limits leave to a plan: usable bursts, the account's refill less the reserve, what was spent before.
#[derive(Clone, Copy)]
pub(super) struct Terms<'a> {
    pub(super) start: Timestamp,
    pub(super) margin: Span,
    pub(super) account: &'a dyn Fn(usize) -> Option<Stock>,
}

/// One account's part of the schedule.
struct Account {
    number: usize,
    gate: Option<Gate>,
    /// Orders that no domain holds back; the last one goes next.
    free: Vec<Free>,
    /// The first orders of streams whose domains let them go.
    ready: BinaryHeap<Reverse<(Key, usize)>>,
    /// Streams whose domains let their first order go later.
    waiting: BinaryHeap<Reverse<(Timestamp, usize)>>,
}

/// Accounts that share tight lanes, directly or through others: what one of them sends can hold the others back.
#[derive(Default)]
struct Circle {
    accounts: Vec<Account>,
    /// The places of its lanes.
    lanes: Vec<usize>,
    /// By account and domain, orders that one of these may hold back; the last one goes next.
    streams: Vec<Vec<Key>>,
}

impl Circle {
    /// How many orders it has.
    fn len(&self) -> usize {
        let free: usize = self.accounts.iter().map(|of| of.free.len()).sum();
        free + self.streams.iter().map(Vec::len).sum::<usize>()
    }
}

/// Schedules all jobs; they come back in the order of their times. Accounts that have nothing to do with each other are scheduled
/// side by side.
pub(super) fn schedule(jobs: &Jobs<'_>, tight: &TightLanes, terms: &Terms<'_>, aim: Aim) -> Vec<Placed> {
    let choice = Choice { jobs, aim };
    let classes = choice.classes();
    let (circles, local) = circles(&choice, &classes, tight, terms);
    let Terms { start, margin, .. } = *terms;
    let schedule = |(circle, placed): (Circle, &mut [Placed])| {
        let lanes = circle.lanes.iter().map(|place| Gate::new(tight.lanes[*place].1, start, margin)).collect();
        let scheduler = Scheduler {
            jobs,
            classes: &classes,
            start,
            tight,
            local: &local,
            lanes,
            streams: circle.streams,
            placed: placed.iter_mut(),
        };
        scheduler.run(circle.accounts);
    };
    let nothing = Placed { at: start, job: u32::MAX, bound: Bound::NOTHING };
    let mut all: Vec<Placed> = (0..jobs.len()).into_par_iter().map(|_| nothing).collect();
    let (mut parts, mut rest) = (Vec::with_capacity(circles.len()), &mut all[..]);
    for circle in circles {
        let (mine, others) = rest.split_at_mut(circle.len());
        parts.push((circle, mine));
        rest = others;
    }
    parts.into_par_iter().for_each(schedule);
    // Stable, and each circle is in order.
    all.par_sort_by_key(|placed| placed.at);
    all
}

/// The circles, by their first accounts; and each lane's place in its circle.
fn circles(choice: &Choice<'_>, classes: &Classes, tight: &TightLanes, terms: &Terms<'_>) -> (Vec<Circle>, Vec<usize>) {
    let mut is_tight = vec![false; if tight.jobs.is_empty() { 0 } else { choice.jobs.len() }];
    tight.jobs.iter().for_each(|job| is_tight[*job as usize] = true);
    let streams = choice.streams(tight, &is_tight);
    // Each account points to one before it of its circle, the first one to itself.
    let mut before: Vec<usize> = (0..choice.jobs.account_count()).collect();
    let first = |before: &mut [usize], mut account: usize| {
        while before[account] != account {
            before[account] = before[before[account]];
            account = before[account];
        }
        account
    };
    let mut owners: Vec<Option<usize>> = vec![None; tight.lanes.len()];
    for (account, keys) in &streams {
        let account = *account as usize;
        for place in keys.iter().flat_map(|key| choice.jobs.lanes(key.job)).filter_map(|(lane, _)| tight.place(lane)) {
            let owner = *owners[place].get_or_insert(account);
            let (one, other) = (first(&mut before, account), first(&mut before, owner));
            before[one.max(other)] = one.min(other);
        }
    }
    let mut circles: Vec<Circle> = Vec::new();
    // By account: its circle, and its place there.
    let mut places: Vec<(usize, usize)> = Vec::with_capacity(before.len());
    for (number, mut free) in choice.free(classes, &is_tight).into_iter().enumerate() {
        free.reverse();
        let gate = (terms.account)(number).map(|stock| Gate::new(stock, terms.start, terms.margin));
        let circle = match first(&mut before, number) {
            own if own == number => {
                circles.push(Circle::default());
                circles.len() - 1
            }
            other => places[other].0,
        };
        places.push((circle, circles[circle].accounts.len()));
        circles[circle].accounts.push(Account {
            number,
            gate,
            free,
            ready: BinaryHeap::new(),
            waiting: BinaryHeap::new(),
        });
    }
    let mut local = vec![0; owners.len()];
    for (place, owner) in owners.into_iter().enumerate() {
        if let Some(account) = owner {
            let of = &mut circles[places[account].0];
            local[place] = of.lanes.len();
            of.lanes.push(place);
        }
    }
    for (account, mut keys) in streams {
        keys.reverse();
        let (circle, account) = places[account as usize];
        let Circle { accounts, streams, .. } = &mut circles[circle];
        accounts[account].waiting.push(Reverse((terms.start, streams.len())));
        streams.push(keys);
    }
    (circles, local)
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

/// The schedule of one circle.
struct Scheduler<'a> {
    jobs: &'a Jobs<'a>,
    classes: &'a Classes,
    start: Timestamp,
    tight: &'a TightLanes,
    /// By lane: its place in `lanes`.
    local: &'a [usize],
    /// The circle's buckets that may hold orders back.
    lanes: Vec<Gate>,
    /// By account and domain, orders that one of these may hold back; the last one goes next.
    streams: Vec<Vec<Key>>,
    /// Where the next order comes to stand: there is a place for each.
    placed: slice::IterMut<'a, Placed>,
}

impl Scheduler<'_> {
    /// Sends everything.
    fn run(mut self, mut accounts: Vec<Account>) {
        let start = self.start;
        let times = accounts.iter().enumerate();
        let times = times.filter_map(|(account, of)| Some(Reverse((of.next_time(start)?, account))));
        let mut next: BinaryHeap<Reverse<(Timestamp, usize)>> = times.collect();
        while let Some(Reverse((mut at, account))) = next.pop() {
            let of = &mut accounts[account];
            // The account goes on while it is its turn.
            loop {
                self.step(of, at);
                // Nothing goes before what has gone, since what has gone may have taken its token.
                let Some(time) = of.next_time(start) else { break };
                at = time.max(at);
                if next.peek().is_some_and(|Reverse(other)| *other < (at, account)) {
                    next.push(Reverse((at, account)));
                    break;
                }
            }
        }
    }

    /// When a job's domains and delays let it go, and which of them is the last to.
    fn release(&self, job: u32) -> (Timestamp, Option<usize>) {
        let held_back = self.jobs.lanes(job).into_iter().filter_map(|(lane, checked)| {
            let place = self.tight.place(lane)?;
            let gate = &self.lanes[self.local[place]];
            let release = if checked { gate.next(self.start) } else { gate.next_unasked(self.start) };
            (release > self.start).then_some((release, Some(place)))
        });
        let delayed = self.jobs.delay(job).map(|(place, until)| (until, Some(self.tight.lanes.len() + place)));
        held_back.chain(delayed).max().unwrap_or((self.start, None))
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
            if of.free.last().is_some_and(|free| self.classes.goes_before(*free, &key)) {
                break;
            }
            of.ready.pop();
            match self.release(key.job).0 {
                later if later > at => of.waiting.push(Reverse((later, stream))),
                _ => return Some((key.job, Some(stream))),
            }
        }
        of.free.pop().map(|free| (self.jobs.fair_order()[free.fair_place as usize], None))
    }

    /// Sends the best order that an account can send at `at`, if there is one after all.
    fn step(&mut self, of: &mut Account, at: Timestamp) {
        self.wake(of, at);
        let Some((job, stream)) = self.choose(of, at) else { return };
        let release = stream.map_or((self.start, None), |_| self.release(job));
        let bound = match release {
            _ if at == self.start => Bound::NOTHING,
            (release, Some(lane)) if release > of.next_token(self.start) => {
                Bound::lane(self.jobs.account_count(), lane)
            }
            _ => Bound::account(of.number),
        };
        if let Some(gate) = &mut of.gate {
            gate.take(at, true);
        }
        if let Some(stream) = stream {
            for (lane, checked) in self.jobs.lanes(job) {
                if let Some(place) = self.tight.place(lane) {
                    self.lanes[self.local[place]].take(at, checked);
                }
            }
            self.streams[stream].pop();
            if let Some(head) = self.streams[stream].last() {
                of.waiting.push(Reverse((self.release(head.job).0, stream)));
            }
        }
        let Some(place) = self.placed.next() else { unreachable!("an order is sent once") };
        *place = Placed { at, job, bound };
    }
}

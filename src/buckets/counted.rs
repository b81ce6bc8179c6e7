//! The buckets of limits that count one by one: where there are any, a batch is decided here. What comes of it is told at once, not
//! computed when it is read.
//!
//! A sliding window counts all that happens: a spend-only transaction leaves its event there even where it does not fit, since the CA
//! counted the certificates it had issued. What is open at a time is told by [`Buckets::open`] and [`Buckets::close`], not spent.

use super::{Batch, BucketId, Buckets, Mode, NO_BUCKET, Transaction, has_a_say, number, writes};
use crate::counts::{Capacity, Events, Open, Window};
use crate::gcra::{Cost, Outcome};
use crate::time::Timestamp;

/// What a bucket without tokens counts.
#[derive(Clone, Debug)]
pub(super) enum Counter {
    Window(Window, Events),
    Concurrent(u32, Open),
}

/// In the number of a bucket's quota: it is the place of a counter.
const COUNTED: u32 = 1 << 31;

impl BucketId {
    const fn counter(self) -> Option<usize> {
        if self.quota & COUNTED == 0 { None } else { Some((self.quota & !COUNTED) as usize) }
    }
}

impl Buckets {
    /// Adds a bucket that is full, or a counter that has counted nothing.
    pub fn add_any(&mut self, capacity: Capacity) -> BucketId {
        let counter = match capacity {
            Capacity::Tokens(quota) => return self.add(quota),
            Capacity::Window(window) => Counter::Window(window, Events::default()),
            Capacity::Concurrent(most) => Counter::Concurrent(most, Open::default()),
        };
        let place = COUNTED | number(self.counters.len());
        self.counters.push(counter);
        self.place(place)
    }

    /// How much of the bucket is used at `now`: of tokens, the nanoseconds until it is full; else how many it counts. More is closer to
    /// empty.
    #[must_use]
    pub fn used(&self, bucket: BucketId, now: Timestamp) -> i64 {
        let count = match self.counter(bucket) {
            None => return self.tat(bucket).map_or(0, |tat| tat.since(now).nanos()),
            Some(Counter::Window(window, events)) => events.count(*window, now),
            Some(Counter::Concurrent(_, open)) => open.count(now),
        };
        i64::try_from(count).unwrap_or(i64::MAX)
    }

    /// How many whole tokens, or how much room, the bucket has where so much is used.
    #[must_use]
    pub fn left(&self, bucket: BucketId, used: i64) -> i64 {
        let most = match self.counter(bucket) {
            None => {
                let quota = self.quota(bucket);
                return quota.offset().nanos().saturating_sub(used).div_euclid(quota.emission().nanos()).max(0);
            }
            Some(Counter::Window(window, _)) => window.most,
            Some(Counter::Concurrent(most, _)) => *most,
        };
        i64::from(most).saturating_sub(used).max(0)
    }

    /// Whether the bucket counts what is open, which no transaction takes from it.
    #[must_use]
    pub fn counts_open(&self, bucket: BucketId) -> bool {
        matches!(self.counter(bucket), Some(Counter::Concurrent(..)))
    }

    /// Counts `item` as open from `now` until `end`, unless it is already; only in a bucket that counts what is open.
    pub fn open(&mut self, bucket: BucketId, item: u32, end: Timestamp, now: Timestamp) {
        if let Some(Counter::Concurrent(_, open)) = self.counter_mut(bucket) {
            open.open(item, end, now);
        }
    }

    /// `item` is not open any more.
    pub fn close(&mut self, bucket: BucketId, item: u32) {
        if let Some(Counter::Concurrent(_, open)) = self.counter_mut(bucket) {
            open.close(item);
        }
    }

    /// Whether `item` is open at `now`.
    #[must_use]
    pub fn is_open(&self, bucket: BucketId, item: u32, now: Timestamp) -> bool {
        matches!(self.counter(bucket), Some(Counter::Concurrent(_, open)) if open.is_open(item, now))
    }

    /// Gives `bucket` what `old` of `before` has counted. Between two algorithms events become tokens spent; tokens, which have no
    /// times, become nothing.
    pub fn carry_over(&mut self, bucket: BucketId, before: &Self, old: BucketId) {
        let Some(counted) = before.counter(old) else { return self.set_tat(bucket, before.tat(old)) };
        match (self.counter_mut(bucket), counted) {
            (Some(Counter::Window(window, events)), Counter::Window(_, old)) => {
                old.iter().for_each(|at| events.add(*window, at, Cost::ONE));
            }
            (Some(Counter::Concurrent(_, open)), Counter::Concurrent(_, old)) => *open = old.clone(),
            (None, Counter::Window(_, old)) => {
                let quota = self.quota(bucket);
                self.set_tat(bucket, old.iter().fold(None, |tat, at| Some(quota.spent(tat, at, Cost::ONE))));
            }
            (Some(Counter::Window(..)) | None, Counter::Concurrent(..))
            | (Some(Counter::Concurrent(..)), Counter::Window(..)) => {}
        }
    }

    fn counter(&self, bucket: BucketId) -> Option<&Counter> {
        bucket.counter().map(|place| &self.counters[place])
    }

    fn counter_mut(&mut self, bucket: BucketId) -> Option<&mut Counter> {
        bucket.counter().map(|place| &mut self.counters[place])
    }

    /// [`Self::decide`] where something else than tokens is counted.
    #[cold]
    pub(super) fn decide_counted(&mut self, batch: &mut Batch, now: Timestamp) -> bool {
        let Batch { transactions, told, action, .. } = batch;
        told.clear();
        told.extend(transactions.iter().map(|transaction| self.ask(transaction, now)));
        let asked = transactions.iter().zip(&*told);
        let allowed = asked.into_iter().all(|(of, outcome)| outcome.allowed || !has_a_say(of.mode()));
        *action = super::Action::Told;
        for (transaction, outcome) in transactions.iter().zip(told) {
            if allowed && writes(transaction.mode()) {
                self.carry_out_counted(transaction, now);
            } else {
                outcome.tat_after = outcome.tat_before;
            }
        }
        allowed
    }

    fn ask(&mut self, transaction: &Transaction, now: Timestamp) -> Outcome {
        let &Transaction { bucket: Some(id), cost, mode } = transaction else { return NO_BUCKET };
        let tat_before = self.tat(id);
        match (mode, self.counter_mut(id)) {
            (Mode::AllowOnly, _) => NO_BUCKET,
            (Mode::Reset, _) => Outcome { tat_before, ..NO_BUCKET },
            (_, None) => self.quota(id).spend(tat_before, now, cost),
            (_, Some(Counter::Window(window, events))) => events.ask(*window, now, cost),
            (_, Some(Counter::Concurrent(most, open))) => open.ask(*most, now, cost),
        }
    }

    fn carry_out_counted(&mut self, transaction: &Transaction, now: Timestamp) {
        let &Transaction { bucket: Some(id), cost, mode } = transaction else { return };
        match (mode, self.counter_mut(id)) {
            (_, None) => self.carry_out(transaction, now),
            (Mode::Reset, Some(Counter::Window(_, events))) => *events = Events::default(),
            (Mode::Reset, Some(Counter::Concurrent(_, open))) => *open = Open::default(),
            (_, Some(Counter::Window(window, events))) => events.add(*window, now, cost),
            (_, Some(Counter::Concurrent(..))) => {}
        }
    }

    /// [`Self::refund`] where something else than tokens is counted.
    #[cold]
    pub(super) fn refund_counted(&mut self, batch: &mut Batch, now: Timestamp) {
        let Batch { transactions, told, action, .. } = batch;
        told.clear();
        *action = super::Action::Told;
        for transaction in transactions {
            let Some(id) = transaction.bucket else {
                told.push(NO_BUCKET);
                continue;
            };
            let (cost, taken) = (transaction.cost, transaction.mode == Mode::CheckAndSpend);
            told.push(match self.counter_mut(id) {
                Some(Counter::Window(_, events)) if taken => {
                    Outcome { allowed: events.take_back(cost) > 0, ..NO_BUCKET }
                }
                None if taken => {
                    let outcome = self.quota(id).refund(self.tat(id), now, cost);
                    self.set_tat(id, outcome.tat_after);
                    outcome
                }
                Some(_) | None => Outcome { allowed: false, ..NO_BUCKET },
            });
        }
    }
}

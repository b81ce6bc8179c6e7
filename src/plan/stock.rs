//! A bucket as a plan finds it.

use super::opening::Spent;
use crate::gcra::{Cost, Quota};
use crate::time::{Span, Timestamp};

/// What a plan may take from a bucket: its usable burst and refill, less what was spent and set aside before the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stock {
    pub(super) quota: Quota,
    start: Timestamp,
    /// When the bucket is full again from what was spent, later than the start; `None`: it is full.
    full_at: Option<Timestamp>,
    /// Tokens set aside for orders under way; no more than the burst.
    pub(super) held: u32,
}

impl Stock {
    /// What is `usable` of a bucket that holds `full` in all. It lacks as many tokens of the one as of the other: where a reserve slows
    /// the refill, they take longer to come back.
    pub(super) fn new(full: Quota, usable: Quota, spent: Spent, start: Timestamp) -> Self {
        let (fast, slow) = (full.emission().nanos(), usable.emission().nanos());
        let lacks = spent.full_at.map_or(Span::ZERO, |full_at| full_at.since(start)).max(Span::ZERO);
        let lacks = if slow == fast {
            lacks
        } else {
            let scaled = i128::from(lacks.nanos()) * i128::from(slow) + i128::from(fast - 1);
            Span::from_nanos(i64::try_from(scaled / i128::from(fast)).unwrap_or(i64::MAX))
        };
        // More than it can hold is not there to be spent late.
        let held = spent.held.min(usable.burst());
        let lacks = lacks.plus(usable.time_of(Cost::new(spent.held - held)));
        let full_at = (lacks > Span::ZERO).then(|| start.plus(lacks));
        Self { quota: usable, start, full_at, held }
    }

    /// The earliest time at which what was spent before the start leaves a token to the `count`-th taken since, from 1, counting those
    /// set aside; the start where nothing was spent.
    #[inline]
    pub(super) fn leaves(&self, count: usize) -> Timestamp {
        let Some(full_at) = self.full_at else { return self.start };
        let count = Cost::new(u32::try_from(count).unwrap_or(u32::MAX));
        full_at.plus(self.quota.time_of(count)).minus(self.quota.offset()).max(self.start)
    }

    /// Whether what was spent before the start is as nothing to a bucket that has seen `count` tokens since, and is full at `tat` by
    /// these alone: then it stays so.
    pub(super) fn is_outlived(&self, count: usize, tat: Timestamp) -> bool {
        let count = Cost::new(u32::try_from(count).unwrap_or(u32::MAX));
        self.full_at.is_none_or(|full_at| full_at.plus(self.quota.time_of(count)) <= tat)
    }

    /// When it is full if all that is set aside is spent at the start.
    pub(super) fn spent_at_start(&self) -> Timestamp {
        self.full_at.unwrap_or(self.start).plus(self.quota.time_of(Cost::new(self.held)))
    }

    /// Whether it can't give `count` tokens at the start.
    #[inline]
    pub(super) fn is_short_of(&self, count: u32) -> bool {
        if self.full_at.is_none() && self.held == 0 {
            return count > self.quota.burst();
        }
        self.spent_at_start().plus(self.quota.time_of(Cost::new(count))) > self.start.plus(self.quota.offset())
    }

    /// How many tokens of a full one it lacks at the start, begun ones as whole.
    pub(super) fn lacking(&self) -> usize {
        let lacks = self.spent_at_start().since(self.start).nanos();
        let emission = self.quota.emission().nanos();
        usize::try_from(lacks / emission + i64::from(lacks % emission > 0)).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

    fn second(seconds: i64) -> Timestamp {
        START.plus(Span::from_seconds(seconds))
    }

    /// 5 tokens, one every 10 seconds; full again after `full` seconds, with `held` set aside.
    fn stock(full: i64, held: u32) -> Stock {
        let quota = Quota::new(5, 1, Span::from_seconds(10)).unwrap();
        Stock::new(quota, quota, Spent { full_at: Some(second(full)), held }, START)
    }

    #[test]
    fn what_was_spent_leaves_tokens_one_by_one() {
        let at = |stock: Stock| [1, 2, 3, 7].map(|count| stock.leaves(count));
        assert_eq!(at(stock(-5, 0)), [START; 4]);
        assert_eq!(at(stock(35, 0)), [0, 5, 15, 55].map(second));
        assert_eq!(at(stock(1_000, 0)), [960, 970, 980, 1_020].map(second));
    }

    #[test]
    fn what_is_set_aside_is_lacking_and_never_more_than_it_holds() {
        assert_eq!([stock(-5, 0), stock(5, 0), stock(-5, 2), stock(12, 2)].map(|of| of.lacking()), [0, 1, 2, 4]);
        assert!(!stock(12, 2).is_short_of(1) && stock(12, 2).is_short_of(2));
        assert_eq!((stock(0, 8).held, stock(0, 8).spent_at_start()), (5, second(80)));
    }

    #[test]
    fn a_slower_refill_brings_the_same_tokens_back_later() {
        let full = Quota::new(5, 1, Span::from_seconds(10)).unwrap();
        let slow = full.slowed(500_000).unwrap();
        let stock = Stock::new(full, slow, Spent { full_at: Some(second(30)), held: 0 }, START);
        assert_eq!((stock.lacking(), stock.spent_at_start()), (3, second(60)));
    }
}

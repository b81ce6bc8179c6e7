//! The orders that a bucket has planned, and where one more fits between them without moving any.
//!
//! The rule is that of [`super::gate`]; here every order's state is kept, so that an insertion can be tried: it holds for those behind
//! it, up to where the bucket has forgotten that there was one more.

use super::stock::Stock;
use crate::gcra::Cost;
use crate::time::{Span, Timestamp};

/// The orders of one bucket, by time.
#[derive(Clone, Debug)]
pub(super) struct Timeline {
    stock: Stock,
    margin: Span,
    times: Vec<Timestamp>,
    /// The bucket's TAT once it has seen each of them.
    tats: Vec<Timestamp>,
}

impl Timeline {
    /// What is set aside stands in it as orders at `start`.
    pub(super) fn new(stock: Stock, start: Timestamp, margin: Span) -> Self {
        let mut timeline = Self { stock, margin, times: Vec::new(), tats: Vec::new() };
        (0..stock.held).for_each(|_| timeline.insert(start));
        timeline
    }

    /// How many orders may follow each other unhindered.
    fn burst(&self) -> usize {
        self.stock.quota.burst() as usize
    }

    /// The earliest time from `from` on that does not move any order.
    pub(super) fn earliest(&self, mut from: Timestamp) -> Timestamp {
        loop {
            let place = self.times.partition_point(|time| *time <= from);
            let needed = place.checked_sub(self.burst()).map(|seen| self.tats[seen].plus(self.margin));
            let needed = needed.max(Some(self.stock.leaves(place + 1)));
            from = match needed.filter(|needed| *needed > from).or_else(|| self.conflict(place, from)) {
                None => return from,
                Some(later) => later,
            };
        }
    }

    /// The first order that one more at `at`, to stand at `place`, would move.
    fn conflict(&self, place: usize, at: Timestamp) -> Option<Timestamp> {
        // The states from the new order on; from `forgotten` on they are as they were, a place later.
        let mut states =
            vec![self.stock.quota.spent(place.checked_sub(1).map(|before| self.tats[before]), at, Cost::ONE)];
        let mut forgotten = None;
        for (index, time) in self.times.iter().enumerate().skip(place) {
            if self.stock.leaves(index + 2) > *time {
                return Some(*time);
            }
            if let Some(seen) = (index + 1).checked_sub(self.burst()) {
                // What follows waits for states that are as they were.
                if forgotten.is_some_and(|forgotten| seen > forgotten)
                    && self.stock.is_outlived(seen + 1, self.tats[seen - 1])
                {
                    return None;
                }
                let tat = if seen < place { self.tats[seen] } else { states[seen - place] };
                if tat.plus(self.margin) > *time {
                    return Some(*time);
                }
            }
            if forgotten.is_none() {
                let state = self.stock.quota.spent(states.last().copied(), *time, Cost::ONE);
                forgotten = (state == self.tats[index]).then_some(index + 1);
                states.push(state);
            } else {
                states.push(self.tats[index]);
            }
        }
        None
    }

    /// Takes an order in at `at`.
    pub(super) fn insert(&mut self, at: Timestamp) {
        let place = self.times.partition_point(|time| *time <= at);
        self.times.insert(place, at);
        self.tats.insert(place, at);
        for index in place..self.times.len() {
            let before = index.checked_sub(1).map(|before| self.tats[before]);
            let state = self.stock.quota.spent(before, self.times[index], Cost::ONE);
            if index > place && state == self.tats[index] {
                break;
            }
            self.tats[index] = state;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gcra::Quota;
    use crate::plan::gate::Gate;
    use crate::plan::opening::Spent;

    const START: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

    fn keeps_the_rule(times: &[Timestamp], stock: Stock, margin: Span) -> bool {
        let mut gate = Gate::new(stock, START, margin);
        times.iter().all(|time| {
            let free = gate.next(START) <= *time;
            gate.take(*time, true);
            free
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// What is inserted goes as early as it can with nothing moved, by trying every second.
        #[test]
        fn an_insertion_is_the_earliest_that_moves_nothing(
            burst in 1_u64..4, margin in 0_i64..8, full in -9_i64..60, held in 0_u32..5,
            wishes in prop::collection::vec(0_i64..60, 0..12), from in 0_i64..60,
        ) {
            let (quota, margin) = (Quota::new(burst, 1, Span::from_seconds(5)).unwrap(), Span::from_seconds(margin));
            let second = |seconds: i64| START.plus(Span::from_seconds(seconds));
            let stock = Stock::new(quota, quota, Spent { full_at: Some(second(full)), held }, START);
            let mut timeline = Timeline::new(stock, START, margin);
            let mut times = Vec::new();
            for wish in wishes {
                let at = timeline.earliest(second(wish));
                timeline.insert(at);
                times.push(at);
                times.sort();
                prop_assert!(keeps_the_rule(&times, stock, margin));
            }
            let with = |at: Timestamp| {
                let mut with = times.clone();
                with.push(at);
                with.sort();
                with
            };
            let found = timeline.earliest(second(from));
            let tried = (from..).map(second).find(|at| keeps_the_rule(&with(*at), stock, margin));
            prop_assert_eq!(Some(found), tried);
        }
    }
}

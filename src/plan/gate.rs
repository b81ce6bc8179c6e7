//! A bucket as a plan sees it: when can the next order go out, if every order before it may be late?
//!
//! An order planned for *t* goes out at *t + x* and its certificate is issued at *t + y*, 0 ≤ x ≤ y ≤ margin, differently for each;
//! the server counts it somewhere in between. The order *k* of a bucket with a burst of *B* is never refused if it waits until the
//! bucket would be full again that has seen all orders but the last *B*, each as late as it may be: then a token is back for each
//! order which the server may have counted by then. For a margin of 0 that is the bucket's own rule; a margin that fits into the
//! time in which the burst comes back is paid for once.
//!
//! What was spent before the start is known, and can't be late: it leaves a token to the order *k* when the bucket would have it if all
//! before had followed each other without a gap. What is set aside for orders under way counts as orders at the start.
//!
//! An account with domain buckets of its own spends from the domain's common one *without asking*. Such an order could take the token
//! that an earlier order of another account was let go for and, being late, has not used; so it keeps to the rule as well as long as
//! an order that asks may be under way. What it takes from an empty bucket is no debt.

use std::collections::VecDeque;

use super::stock::Stock;
use crate::gcra::Cost;
use crate::time::{Span, Timestamp};

/// The orders which a plan takes from one bucket, in the order of their times.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    stock: Stock,
    margin: Span,
    /// How many tokens were taken, with those set aside, as far as what was spent before the start counts them.
    count: usize,
    /// The TAT of the bucket that has seen all orders since the start but the last `quota.burst()`.
    tat: Option<Timestamp>,
    last: VecDeque<Timestamp>,
    /// When the last order that asked was planned.
    asked: Option<Timestamp>,
}

impl Gate {
    pub(super) fn new(stock: Stock, start: Timestamp, margin: Span) -> Self {
        let count = stock.held as usize;
        let last = std::iter::repeat_n(start, count).collect();
        Self { stock, margin, count, tat: None, last, asked: (count > 0).then_some(start) }
    }

    /// The earliest time for the next order; `start` if nothing is in its way.
    pub(super) fn next(&self, start: Timestamp) -> Timestamp {
        let left = self.stock.leaves(self.count + 1).max(start);
        if self.last.len() < self.stock.quota.burst() as usize {
            return left;
        }
        let oldest = self.last.front().copied().unwrap_or(start);
        self.stock.quota.spent(self.tat, oldest, Cost::ONE).plus(self.margin).max(left)
    }

    /// The same for an order that spends without asking: at the latest when none that has asked can be under way.
    pub(super) fn next_unasked(&self, start: Timestamp) -> Timestamp {
        let alone = self.asked.map_or(start, |asked| asked.plus(self.margin).plus(Span::from_nanos(1)));
        self.next(start).min(alone).max(start)
    }

    /// An order goes out at `at`, which is not before any earlier one.
    pub(super) fn take(&mut self, at: Timestamp, asks: bool) {
        let burst = self.stock.quota.burst() as usize;
        if self.last.len() == burst
            && let Some(oldest) = self.last.pop_front()
        {
            self.tat = Some(self.stock.quota.spent(self.tat, oldest, Cost::ONE));
        }
        self.last.push_back(at);
        self.count += 1;
        if asks {
            self.asked = Some(at);
        } else if self.next(at) > at.plus(self.stock.quota.emission()).plus(self.margin) {
            // More than the bucket held: it is empty, as if it had been emptied just now.
            self.count -= 1;
            self.tat = None;
            self.last.clear();
            self.last.resize(burst, at);
        }
    }
}

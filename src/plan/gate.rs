//! A bucket as a plan sees it: when can the next order go out, if every order before it may be late?
//!
//! An order planned for *t* goes out at *t + x* and its certificate is issued at *t + y*, 0 ≤ x ≤ y ≤ margin, differently for each;
//! the server counts it somewhere in between. The order *k* of a bucket with a burst of *B* is never refused if it waits until the
//! bucket would be full again that has seen all orders but the last *B*, each as late as it may be: then a token is back for each
//! order which the server may have counted by then. For a margin of 0 that is the bucket's own rule; a margin that fits into the
//! time in which the burst comes back is paid for once.

use std::collections::VecDeque;

use crate::gcra::{Cost, Quota};
use crate::time::{Span, Timestamp};

/// The orders which a plan takes from one bucket, in the order of their times.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    quota: Quota,
    margin: Span,
    /// The TAT of the bucket that has seen all orders but the last `quota.burst()`.
    tat: Option<Timestamp>,
    last: VecDeque<Timestamp>,
}

impl Gate {
    pub(super) fn new(quota: Quota, margin: Span) -> Self {
        Self { quota, margin, tat: None, last: VecDeque::new() }
    }

    /// The earliest time for the next order; `start` if nothing is in its way.
    pub(super) fn next(&self, start: Timestamp) -> Timestamp {
        if self.last.len() < self.quota.burst() as usize {
            return start;
        }
        let oldest = self.last.front().copied().unwrap_or(start);
        self.quota.spent(self.tat, oldest, Cost::ONE).plus(self.margin).max(start)
    }

    /// An order goes out at `at`, which is not before any earlier one.
    pub(super) fn take(&mut self, at: Timestamp) {
        if self.last.len() == self.quota.burst() as usize
            && let Some(oldest) = self.last.pop_front()
        {
            self.tat = Some(self.quota.spent(self.tat, oldest, Cost::ONE));
        }
        self.last.push_back(at);
    }
}

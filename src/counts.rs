//! Limits that count one by one, as the CA did before it had token buckets: events in a sliding window, and things open at a time.
//!
//! # The window's boundary
//!
//! An event at `t` counts at every instant from `t` on and before `t + period`: the window at `now` is `(now - period, now]`, as
//! Boulder's `sa/rate_limits.go` asked for it (`time > earliest AND time <= latest`). Boulder rounded the time of a certificate down
//! to the hour and that of an order to the minute, and so let some go that much earlier; here a window is exact, which is stricter.
//!
//! What is open until `u` counts at every instant before `u`.
//!
//! ```
//! use certpace::counts::{Events, Window};
//! use certpace::gcra::Cost;
//! use certpace::time::{Span, Timestamp};
//!
//! // 2 a week: the third waits until the first is a week old.
//! let window = Window { most: 2, period: Span::from_days(7) };
//! let monday = Timestamp::from_unix_seconds(1_800_000_000);
//! let friday = monday.plus(Span::from_days(4));
//! let mut events = Events::default();
//! events.add(window, monday, Cost::ONE);
//! events.add(window, friday, Cost::ONE);
//! let third = events.ask(window, friday, Cost::ONE);
//! assert!(!third.allowed);
//! assert_eq!(third.retry_in, Span::from_days(3));
//! ```

use std::collections::{BTreeSet, VecDeque};

use rustc_hash::FxHashMap;

use crate::gcra::{Cost, Outcome, Quota};
use crate::time::{Span, Timestamp};

/// How a limit counts, and how much it allows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Capacity {
    /// A token bucket.
    Tokens(Quota),
    /// A sliding window.
    Window(Window),
    /// So many open at a time.
    Concurrent(u32),
}

/// So many events in any stretch of a length.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Window {
    /// The most events.
    pub most: u32,
    /// The length of the window.
    pub period: Span,
}

/// What a sliding window has to remember: its last events. It holds no more of them than the window allows, since only the oldest of
/// those decides when the next one fits.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Events(VecDeque<Timestamp>);

/// Things that are open, each until a time of its own unless it is closed before.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Open {
    until: FxHashMap<u32, Timestamp>,
    /// The same, the earliest end first.
    by_end: BTreeSet<(Timestamp, u32)>,
}

/// A wait that never ends: more was asked for than is ever allowed.
const FOR_EVER: Span = Span::from_nanos(i64::MAX);

/// An answer without a TAT, which only token buckets have.
fn outcome(allowed: bool, remaining: usize, retry_in: Span, reset_in: Span) -> Outcome {
    let remaining = i64::try_from(remaining).unwrap_or(i64::MAX);
    Outcome { allowed, remaining, retry_in, reset_in, tat_before: None, tat_after: None }
}

/// From `now` until `at`, or nothing if that is past.
fn until(at: Timestamp, now: Timestamp) -> Span {
    at.since(now).max(Span::ZERO)
}

impl Events {
    /// Whether `cost` more events fit into the window at `now`, as [`Quota::spend`] tells it. Events later than `now` count as well.
    #[must_use]
    pub fn ask(&self, window: Window, now: Timestamp, cost: Cost) -> Outcome {
        let Window { most, period } = window;
        let leaves = |at: &Timestamp| until(at.plus(period), now);
        let counted = self.0.len() - self.0.partition_point(|at| leaves(at) == Span::ZERO);
        let most = most as usize;
        let cost = cost.tokens() as usize;
        let last = self.0.back().map_or(Span::ZERO, leaves);
        let Some(others) = most.checked_sub(cost) else {
            return outcome(false, most - counted, FOR_EVER, last);
        };
        // As many as `others` may be in the window beside the new ones: the last one before those has to have left it.
        let wait = |len: usize| len.checked_sub(others + 1);
        let retry_in = wait(self.0.len()).map_or(Span::ZERO, |place| leaves(&self.0[place]));
        if retry_in > Span::ZERO {
            return outcome(false, most - counted, retry_in, last);
        }
        let again = wait(self.0.len() + cost).map_or(Span::ZERO, |place| self.0.get(place).map_or(period, leaves));
        outcome(true, others - counted, again, if cost > 0 { period.max(last) } else { last })
    }

    /// `cost` events have happened at `now`, whether or not they were allowed.
    pub fn add(&mut self, window: Window, now: Timestamp, cost: Cost) {
        let most = window.most as usize;
        let place = self.0.partition_point(|at| *at <= now);
        (0..most.min(cost.tokens() as usize)).for_each(|_| self.0.insert(place, now));
        self.0.drain(..self.0.len().saturating_sub(most));
    }

    /// The last `cost` events have not happened after all. Returns how many there were.
    pub fn take_back(&mut self, cost: Cost) -> usize {
        let kept = self.0.len().saturating_sub(cost.tokens() as usize);
        self.0.drain(kept..).count()
    }

    /// How many are in the window at `now`.
    #[must_use]
    pub fn count(&self, window: Window, now: Timestamp) -> usize {
        self.0.len() - self.0.partition_point(|at| at.plus(window.period) <= now)
    }

    /// All that are remembered, the earliest first.
    pub fn iter(&self) -> impl Iterator<Item = Timestamp> + '_ {
        self.0.iter().copied()
    }
}

impl Open {
    /// Whether `cost` more may be open at `now` beside those that are, where `most` may. What has ended is forgotten.
    #[must_use]
    pub fn ask(&mut self, most: u32, now: Timestamp, cost: Cost) -> Outcome {
        while let Some((_, item)) = self.by_end.first().filter(|(end, _)| *end <= now) {
            self.close(*item);
        }
        let (most, cost, open) = (most as usize, cost.tokens() as usize, self.by_end.len());
        let last = self.by_end.last().map_or(Span::ZERO, |(end, _)| until(*end, now));
        // When so many have ended.
        let ended = |count: usize| match count.checked_sub(1) {
            None => Some(Span::ZERO),
            Some(before) => self.by_end.iter().nth(before).map(|(end, _)| until(*end, now)),
        };
        let excess = (open + cost).saturating_sub(most);
        if excess > 0 && cost > 0 {
            return outcome(false, most.saturating_sub(open), ended(excess).unwrap_or(FOR_EVER), last);
        }
        // Those about to be opened end at a time that is not known here, but hardly before the others.
        let again = ended((open + 2 * cost).saturating_sub(most)).unwrap_or(last);
        outcome(true, most.saturating_sub(open + cost), again, last)
    }

    /// From `now` on `item` is open until `end`; one that is open already keeps its own end.
    pub fn open(&mut self, item: u32, end: Timestamp, now: Timestamp) {
        if !self.is_open(item, now) {
            self.close(item);
            self.until.insert(item, end);
            self.by_end.insert((end, item));
        }
    }

    /// `item` is not open any more.
    pub fn close(&mut self, item: u32) {
        if let Some(end) = self.until.remove(&item) {
            self.by_end.remove(&(end, item));
        }
    }

    /// Whether `item` is open at `now`.
    #[must_use]
    pub fn is_open(&self, item: u32, now: Timestamp) -> bool {
        self.until.get(&item).is_some_and(|end| *end > now)
    }

    /// How many are open at `now`.
    #[must_use]
    pub fn count(&self, now: Timestamp) -> usize {
        self.by_end.iter().rev().take_while(|(end, _)| *end > now).count()
    }
}

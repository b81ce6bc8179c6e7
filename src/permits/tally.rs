//! One bucket with tokens set aside: what a store keeps for each key, and the arithmetic on it.
//!
//! A bucket is asked as if all that is held were spent now; so each token held can be spent at any later time, whatever the CA counts
//! in between. That holds as an invariant: once `max(now, TAT) + held × emission ≤ now + burst offset` was true after asking, it stays
//! true, since a spend moves the TAT by one emission interval and takes one from what is held.

use crate::gcra::{Cost, Quota};
use crate::time::{Span, Timestamp};

/// The state of a bucket in a ledger.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// When the bucket were full if nothing was held; `None`: nobody has spent from it.
    pub tat: Option<Timestamp>,
    /// Tokens set aside.
    pub held: u32,
}

impl Tally {
    /// When `tokens` more fit beside those that are held; `now` if they fit now. If tokens are held that is an estimate, as if they were
    /// spent now: they may be released, or spent later.
    #[must_use]
    pub fn fits_at(self, quota: Quota, tokens: u32, now: Timestamp) -> Timestamp {
        // As many as the bucket may be short of full; less than nothing where more is asked than it ever holds.
        let spare = i64::from(quota.burst()) - i64::from(tokens) - i64::from(self.held);
        let short = Span::from_nanos(quota.emission().nanos().saturating_mul(spare));
        self.full_at(now).minus(short).max(now)
    }

    /// Whole tokens that are neither spent nor held at `now`.
    #[must_use]
    pub fn left(self, quota: Quota, now: Timestamp) -> u32 {
        let spare = now.plus(quota.offset()).since(self.full_at(now)).nanos().max(0);
        u32::try_from(spare / quota.emission().nanos()).unwrap_or(u32::MAX).saturating_sub(self.held)
    }

    /// One token is spent at `now`. An empty bucket stays empty, as the CA drops what does not fit; but for its last fraction of a token:
    /// where that stands at the CA is not known, so it counts as gone.
    #[must_use]
    pub fn spent(self, quota: Quota, now: Timestamp) -> Self {
        let empty = now.plus(quota.offset());
        let full_at = self.full_at(now);
        let spent = quota.spent(self.tat, now, Cost::ONE);
        Self { tat: Some(spent.min(empty).max(full_at)), ..self }
    }

    /// The CA has refused: it gives one token no earlier than `retry_at`.
    #[must_use]
    pub fn raised(self, quota: Quota, retry_at: Timestamp) -> Self {
        let told = retry_at.plus(quota.offset()).minus(quota.emission());
        Self { tat: Some(self.tat.map_or(told, |tat| tat.max(told))), ..self }
    }

    fn full_at(self, now: Timestamp) -> Timestamp {
        self.tat.map_or(now, |tat| tat.max(now))
    }
}

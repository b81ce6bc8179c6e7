//! As of when a certificate is charged to its buckets, and whether it still makes a difference there.
//!
//! A token spent longer ago than a whole bucket takes to fill has flowed back, unless the bucket has been short of full ever since: at a
//! domain that is always used as much as its limit allows, what was spent months ago still counts. So what is older is followed
//! through, bucket by bucket, up to where it would flow back by itself.
//!
//! A bucket that the ledger knows to have been short of full until some time later than a certificate is charged as of that later time:
//! the store takes an empty bucket to drop what does not fit, and as of the earlier time it could not know what was spent in between.
//!
//! What an import that was broken off has counted may have been left out since it had flowed back, as far as was known then: so an old
//! certificate is charged to a bucket that is at least as short of full as those before it have made it.

use std::hash::{Hash as _, Hasher as _};

use rustc_hash::{FxHashMap, FxHasher};

use crate::gcra::Quota;
use crate::permits::Tally;
use crate::time::Timestamp;

/// What is known of the buckets of certificates before they are charged.
#[derive(Debug)]
pub(super) struct Charges {
    now: Timestamp,
    /// When each bucket was full, as the ledger had it before.
    full_at: FxHashMap<String, Timestamp>,
    /// What was followed through, by the hash of a bucket's name: two that share one are followed as one, so that more is charged than
    /// need be, which flows back by itself.
    short: FxHashMap<u64, Short>,
}

/// A bucket that has been short of full for a time.
#[derive(Debug)]
struct Short {
    /// Until when.
    until: Timestamp,
    /// The places of its certificates since that began, in order, and until when it was short before each.
    since: Vec<(usize, Timestamp)>,
}

/// How a certificate is charged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Charge {
    /// As of when.
    pub(super) at: Timestamp,
    /// Until when the bucket was short of full before it, at least.
    pub(super) short_until: Timestamp,
}

impl Charges {
    /// Of buckets that are full by then as the ledger has it.
    pub(super) fn new(now: Timestamp, full_at: FxHashMap<String, Timestamp>) -> Self {
        Self { now, full_at, short: FxHashMap::default() }
    }

    /// Follows an old certificate through, which was issued at that time, no earlier than the one before.
    pub(super) fn follow(&mut self, bucket: &str, quota: Quota, place: usize, at: Timestamp) {
        if self.still_counts(quota, at) {
            return;
        }
        let short = self.short.entry(hash(bucket)).or_insert(Short { until: at, since: Vec::new() });
        if short.until <= at {
            short.since.clear();
        }
        let before = short.until.max(at);
        short.since.push((place, before));
        let tally = Tally { tat: Some(before), held: 0 };
        short.until = tally.spent(quota, at).tat.unwrap_or(before);
    }

    /// How the certificate of that place, issued at that time, is charged; `None`: that has flowed back.
    pub(super) fn charge(&self, bucket: &str, quota: Quota, place: usize, at: Timestamp) -> Option<Charge> {
        let mut short_until = at;
        if !self.still_counts(quota, at) {
            let short = self.short.get(&hash(bucket)).filter(|short| self.still_counts(quota, short.until))?;
            let found = short.since.binary_search_by_key(&place, |(place, _)| *place).ok()?;
            short_until = short.since[found].1;
        }
        let full_at = self.full_at.get(bucket).map_or(at, |full_at| (*full_at).min(self.now));
        Some(Charge { at: at.max(full_at), short_until })
    }

    /// Whether a token that was spent then has not surely flowed back.
    fn still_counts(&self, quota: Quota, at: Timestamp) -> bool {
        at.plus(quota.offset()) > self.now
    }
}

fn hash(bucket: &str) -> u64 {
    let mut hasher = FxHasher::default();
    bucket.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(1_800_000_000 + seconds)
    }

    /// Which of the certificates issued then count at second 0, in a bucket of three tokens of which one comes back in ten seconds.
    fn check(issued: &[i64], full_at: Option<i64>, expected: &[i64]) {
        let quota = Quota::new(3, 1, Span::from_seconds(10)).unwrap();
        let known = full_at.map(|seconds| ("b".to_owned(), at(seconds)));
        let mut charges = Charges::new(at(0), known.into_iter().collect());
        issued.iter().enumerate().for_each(|(place, seconds)| charges.follow("b", quota, place, at(*seconds)));
        let charged = |(place, seconds): (usize, &i64)| charges.charge("b", quota, place, at(*seconds));
        let told: Vec<_> = issued.iter().enumerate().filter_map(charged).map(|charge| charge.at).collect();
        assert_eq!(told, expected.iter().map(|seconds| at(*seconds)).collect::<Vec<_>>(), "{issued:?}");
    }

    #[test]
    fn what_has_flowed_back_is_left_out() {
        check(&[-100, -50, -41, -29], None, &[-29]);
    }

    #[test]
    fn a_bucket_that_was_never_full_since_remembers_all() {
        check(&[-100, -60, -60, -55, -45, -35, -25], None, &[-60, -60, -55, -45, -35, -25]);
        check(&[-60, -60, -30], None, &[-30]);
    }

    #[test]
    fn what_the_ledger_knows_to_be_spent_later_comes_before() {
        check(&[-25, -12, -5], Some(-10), &[-10, -10, -5]);
        check(&[-25], Some(15), &[0]);
    }
}

//! How close each bucket came to empty: the farthest that its TAT has been ahead of the time, or the most that it has counted.

use crate::buckets::{Batch, BucketId, Mode};
use crate::limits::LimitName;
use crate::rules::Model;
use crate::time::Timestamp;

#[derive(Clone, Debug)]
pub(in crate::sim) struct Leads {
    /// By bucket; [`UNTOUCHED`] where nobody has spent.
    by_bucket: Vec<i64>,
    /// What came of the buckets of limits that do not hold any more.
    closed: [Option<(i64, String)>; LimitName::COUNT],
}

const UNTOUCHED: i64 = -1;

impl Leads {
    pub(super) fn new(model: &Model) -> Self {
        Self { by_bucket: vec![UNTOUCHED; model.buckets().len()], closed: Default::default() }
    }

    /// Notes what a batch has spent, which was decided at `now`.
    #[inline]
    pub(super) fn note(&mut self, model: &Model, batch: &Batch, now: Timestamp) {
        let buckets = model.buckets();
        for transaction in batch.transactions() {
            let spends = matches!(transaction.mode(), Mode::CheckAndSpend | Mode::SpendOnly);
            let takes = |bucket: &BucketId| spends || buckets.counts_open(*bucket);
            let Some(bucket) = transaction.bucket().filter(takes) else { continue };
            if bucket.index() >= self.by_bucket.len() {
                self.by_bucket.resize(buckets.len(), UNTOUCHED);
            }
            let lead = buckets.used(bucket, now);
            let known = &mut self.by_bucket[bucket.index()];
            *known = lead.max(*known);
        }
    }

    /// By limit: the fewest whole tokens that were left in any of its buckets, and in which; of equals the first by key.
    pub(in crate::sim) fn tightest(&self, model: &Model) -> [Option<(i64, String)>; LimitName::COUNT] {
        let mut tightest = self.closed.clone();
        let mut candidates: [Vec<_>; LimitName::COUNT] = Default::default();
        let mut least = [i64::MAX; LimitName::COUNT];
        for bucket in model.all_buckets() {
            let lead = self.by_bucket.get(bucket.index()).copied().unwrap_or(UNTOUCHED);
            if lead == UNTOUCHED {
                continue;
            }
            let (limit, left) = (model.limit_of(bucket).index(), model.buckets().left(bucket, lead));
            if left < least[limit] {
                least[limit] = left;
                candidates[limit].clear();
            }
            // A few are enough to name one.
            if left == least[limit] && candidates[limit].len() < 100 {
                candidates[limit].push(bucket);
            }
        }
        for limit in LimitName::ALL {
            let of = limit.index();
            let first = candidates[of].iter().map(|bucket| model.describe(*bucket).1).min();
            let found = first.map(|key| (least[of], key));
            let better = tightest[of].as_ref().is_none_or(|(left, _)| least[of] < *left);
            if let Some(found) = found.filter(|_| better) {
                tightest[of] = Some(found);
            }
        }
        tightest
    }

    /// The model's limits are about to change.
    pub(super) fn close(&mut self, model: &Model) {
        self.closed = self.tightest(model);
    }

    /// The model's limits have changed.
    pub(super) fn open(&mut self, model: &Model) {
        self.by_bucket = vec![UNTOUCHED; model.buckets().len()];
    }
}

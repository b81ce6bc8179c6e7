//! Buckets and batches of transactions over them, each batch decided whole, as Boulder's `ratelimits/limiter.go` does.
//!
//! A bucket is named by a dense [`BucketId`], so that a decision is a few loads by index; [`crate::rules`] hands the ids out.
//! A batch holds a bucket at most once. Every transaction is evaluated against its own bucket; the answer is the *strictest* of
//! all but the spend-only ones. If that is a denial nothing at all is spent; else each spending transaction that is allowed by
//! itself is spent. A spend-only transaction that does not fit is dropped: no debt.

use crate::gcra::{Cost, Outcome, Quota};
use crate::time::{Span, Timestamp};

/// The place of a bucket in its [`Buckets`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BucketId(u32);

/// What a transaction does to its bucket.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mode {
    /// Asks for tokens and takes them.
    CheckAndSpend,
    /// Asks for tokens and leaves them.
    CheckOnly,
    /// Takes tokens if they are there, and never stands in the way.
    SpendOnly,
    /// Fills the bucket up.
    Reset,
    /// The limit is off: nothing is asked, there is no bucket.
    AllowOnly,
}

/// One bucket's part in a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transaction {
    bucket: BucketId,
    cost: Cost,
    mode: Mode,
}

/// A batch of transactions and what came of each: give one in, read it afterwards. Its memory is used again.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    transactions: Vec<Transaction>,
    outcomes: Vec<Outcome>,
}

/// What a batch came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Whether it was carried out.
    pub allowed: bool,
    /// Which transaction was the strictest, by its place in the batch; `None` where none could stand in the way.
    pub strictest: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    tat: Option<Timestamp>,
    quota: Quota,
}

/// The state of all buckets of one CA, as far as they are known.
#[derive(Clone, Debug, Default)]
pub struct Buckets {
    slots: Vec<Slot>,
}

impl BucketId {
    /// Stands where a limit is off.
    const OFF: Self = Self(u32::MAX);

    /// Its place, from 0.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl Transaction {
    /// `mode` on `bucket` with a cost of one token; [`Mode::AllowOnly`] where the limit is off.
    #[must_use]
    pub fn of(bucket: Option<BucketId>, mode: Mode) -> Self {
        bucket.map_or(Self { bucket: BucketId::OFF, cost: Cost::new(0), mode: Mode::AllowOnly }, |bucket| Self {
            bucket,
            cost: Cost::ONE,
            mode,
        })
    }

    /// The bucket; `None` where the limit is off.
    #[must_use]
    pub fn bucket(self) -> Option<BucketId> {
        (self.bucket != BucketId::OFF).then_some(self.bucket)
    }

    /// The tokens it takes or asks for.
    #[must_use]
    pub const fn cost(self) -> Cost {
        self.cost
    }

    /// What it does.
    #[must_use]
    pub const fn mode(self) -> Mode {
        self.mode
    }

    /// The same transaction on the same bucket for `cost` tokens.
    #[must_use]
    pub fn with_cost(self, cost: Cost) -> Self {
        Self { cost, ..self }
    }
}

impl Batch {
    /// Empties it, for the next one.
    pub fn clear(&mut self) {
        self.transactions.clear();
        self.outcomes.clear();
    }

    /// Adds a transaction.
    pub fn push(&mut self, transaction: Transaction) {
        self.transactions.push(transaction);
    }

    /// Each transaction with what came of it; nothing before it was decided.
    pub fn results(&self) -> impl ExactSizeIterator<Item = (Transaction, Outcome)> + '_ {
        self.transactions.iter().copied().zip(self.outcomes.iter().copied())
    }

    /// *Every* transaction that stands in the way, with its own time: for people, whom the strictest alone would send round in circles.
    pub fn denials(&self) -> impl Iterator<Item = (Transaction, Outcome)> + '_ {
        self.results().filter(|(transaction, outcome)| !outcome.allowed && decides(transaction.mode))
    }
}

/// Whether transactions of `mode` have a say in the answer.
const fn decides(mode: Mode) -> bool {
    match mode {
        Mode::CheckAndSpend | Mode::CheckOnly => true,
        Mode::SpendOnly | Mode::Reset | Mode::AllowOnly => false,
    }
}

/// What comes of a transaction where the limit is off, and of a refund to a bucket that nobody has spent from.
const NO_BUCKET: Outcome = Outcome {
    allowed: true,
    remaining: 0,
    retry_in: Span::ZERO,
    reset_in: Span::ZERO,
    tat_before: None,
    tat_after: None,
};

impl Buckets {
    /// Adds a full bucket.
    ///
    /// # Panics
    /// With more than 4,294,967,294 buckets: memory is gone long before.
    pub fn add(&mut self, quota: Quota) -> BucketId {
        let id = u32::try_from(self.slots.len()).ok().filter(|id| *id != u32::MAX);
        let id = id.unwrap_or_else(|| unreachable!("ids of 32 bits outlast memory at 32 bytes a bucket"));
        self.slots.push(Slot { tat: None, quota });
        BucketId(id)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// When the bucket is full again; `None`: nobody has spent from it.
    #[must_use]
    pub fn tat(&self, bucket: BucketId) -> Option<Timestamp> {
        self.slots[bucket.index()].tat
    }

    /// What the bucket holds.
    #[must_use]
    pub fn quota(&self, bucket: BucketId) -> Quota {
        self.slots[bucket.index()].quota
    }

    /// Sets what the bucket holds, as a new override does: the stored TAT is read anew with it.
    pub fn set_quota(&mut self, bucket: BucketId, quota: Quota) {
        self.slots[bucket.index()].quota = quota;
    }

    /// Sets the bucket's TAT, as a refusal's `Retry-After` or a ledger tells it.
    pub fn set_tat(&mut self, bucket: BucketId, tat: Option<Timestamp>) {
        self.slots[bucket.index()].tat = tat;
    }

    /// Decides a batch at `now` and carries it out if it is allowed; the outcomes stand in it afterwards.
    pub fn decide(&mut self, batch: &mut Batch, now: Timestamp) -> Verdict {
        let Batch { transactions, outcomes } = batch;
        outcomes.clear();
        let mut strictest: Option<usize> = None;
        for (index, transaction) in transactions.iter().enumerate() {
            outcomes.push(self.evaluate(*transaction, now));
            if decides(transaction.mode) && strictest.is_none_or(|so_far| stricter(&outcomes[index], &outcomes[so_far]))
            {
                strictest = Some(index);
            }
        }
        let allowed = strictest.is_none_or(|index| outcomes[index].allowed);
        for (transaction, outcome) in transactions.iter().zip(outcomes) {
            let carried_out = match transaction.mode {
                Mode::CheckAndSpend | Mode::SpendOnly => allowed && outcome.allowed,
                Mode::Reset => allowed,
                Mode::CheckOnly | Mode::AllowOnly => false,
            };
            if carried_out {
                self.slots[transaction.bucket.index()].tat = outcome.tat_after;
            } else {
                outcome.tat_after = outcome.tat_before;
            }
        }
        Verdict { allowed, strictest }
    }

    fn evaluate(&self, transaction: Transaction, now: Timestamp) -> Outcome {
        if transaction.mode == Mode::AllowOnly {
            return NO_BUCKET;
        }
        let Slot { tat, quota } = self.slots[transaction.bucket.index()];
        if transaction.mode == Mode::Reset {
            let remaining = i64::from(quota.burst());
            return Outcome { remaining, tat_before: tat, tat_after: None, ..NO_BUCKET };
        }
        quota.spend(tat, now, transaction.cost)
    }

    /// Gives back what the batch has spent; the outcomes stand in it afterwards. Only tokens that were asked for *and* taken come back.
    pub fn refund(&mut self, batch: &mut Batch, now: Timestamp) {
        let Batch { transactions, outcomes } = batch;
        outcomes.clear();
        for transaction in transactions.iter_mut() {
            let slot = transaction.bucket().map(|bucket| &mut self.slots[bucket.index()]);
            let Some((slot, tat)) = slot.and_then(|slot| slot.tat.map(|tat| (slot, tat))) else {
                outcomes.push(NO_BUCKET);
                continue;
            };
            if transaction.mode == Mode::CheckOnly {
                *transaction = transaction.with_cost(Cost::new(0));
            }
            let outcome = slot.quota.refund(Some(tat), now, transaction.cost);
            slot.tat = outcome.tat_after;
            outcomes.push(outcome);
        }
    }
}

/// Denied before allowed, then the longer retry, then the fewer remaining; of equals the earlier one stands.
fn stricter(a: &Outcome, b: &Outcome) -> bool {
    let rank = |outcome: &Outcome| (!outcome.allowed, outcome.retry_in, -outcome.remaining);
    rank(a) > rank(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

    fn batch(transactions: &[Transaction]) -> Batch {
        let mut batch = Batch::default();
        transactions.iter().for_each(|transaction| batch.push(*transaction));
        batch
    }

    #[test]
    fn a_denial_spends_nothing() {
        let mut buckets = Buckets::default();
        let wide = buckets.add(Quota::new(10, 10, Span::from_hours(1)).unwrap());
        let narrow = buckets.add(Quota::new(1, 1, Span::from_hours(1)).unwrap());
        let mut order = batch(&[wide, narrow].map(|bucket| Transaction::of(Some(bucket), Mode::CheckAndSpend)));
        assert!(buckets.decide(&mut order, NOW).allowed);
        let before = buckets.tat(wide);
        let verdict = buckets.decide(&mut order, NOW);
        assert_eq!(verdict, Verdict { allowed: false, strictest: Some(1) });
        assert_eq!(buckets.tat(wide), before);
        assert_eq!(order.denials().count(), 1);
    }

    #[test]
    fn what_only_spends_never_stands_in_the_way() {
        let mut buckets = Buckets::default();
        let bucket = buckets.add(Quota::new(1, 1, Span::from_hours(1)).unwrap());
        let mut issue = batch(&[Transaction::of(Some(bucket), Mode::SpendOnly)]);
        assert!(buckets.decide(&mut issue, NOW).allowed);
        let full_at = buckets.tat(bucket);
        assert!(buckets.decide(&mut issue, NOW).allowed);
        assert_eq!(buckets.tat(bucket), full_at, "no debt");
    }
}

//! Buckets and batches of transactions over them, each batch decided whole, as Boulder's `ratelimits/limiter.go` does.
//!
//! A bucket is named by a dense [`BucketId`], so that a decision is a few loads by index; [`crate::rules`] hands the ids out.
//! A batch holds a bucket at most once. Every transaction is evaluated against its own bucket. If one that has a say is denied
//! nothing at all is spent; else each spending transaction that is allowed by itself is spent. A spend-only transaction has no
//! say, and one that does not fit is dropped: no debt. The CA names the *strictest* of all that have a say.
//!
//! Some buckets are none: those of limits that count one by one ([`crate::counts`]), as the oldest policy has them. They have ids like
//! the others and a store of their own, and where there is none a decision knows nothing of them.

mod counted;

use std::num::NonZeroU32;

use rustc_hash::FxHashMap;

use crate::gcra::{Cost, Outcome, Quota};
use crate::time::{Span, Timestamp};

use counted::Counter;

/// A bucket of some [`Buckets`]: its place in them, and which of their quotas is its. Few buckets have quotas of their own, so that
/// a bucket itself is no more than its TAT, in 8 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BucketId {
    /// Counted from 1, so that an `Option` takes no more room.
    place: NonZeroU32,
    quota: u32,
}

/// What a transaction does to its bucket.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u32)]
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
    bucket: Option<BucketId>,
    cost: Cost,
    mode: Mode,
}

/// A batch of transactions and what came of each: give one in, read it afterwards. Its memory is used again.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    transactions: Vec<Transaction>,
    /// Each one's bucket as it was before: an outcome is computed when it is read, which few callers do.
    before: Vec<Bucket>,
    /// The outcomes themselves, where something else than tokens is counted.
    told: Vec<Outcome>,
    action: Action,
}

/// What was done with a batch.
#[derive(Clone, Copy, Debug, Default)]
enum Action {
    #[default]
    Nothing,
    /// [`Batch::told`] has the outcomes.
    Told,
    Decide {
        now: Timestamp,
        allowed: bool,
    },
    Refund {
        now: Timestamp,
    },
}

/// A bucket as it was when a batch was decided.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    tat: Timestamp,
    quota: Quota,
}

/// The state of all buckets of one CA, as far as they are known.
#[derive(Clone, Debug, Default)]
pub struct Buckets {
    tats: Vec<Timestamp>,
    quotas: Vec<Quota>,
    quota_numbers: FxHashMap<Quota, u32>,
    counters: Vec<Counter>,
}

impl BucketId {
    /// Its place, from 0.
    #[must_use]
    #[inline]
    pub const fn index(self) -> usize {
        self.place.get() as usize - 1
    }
}

impl Transaction {
    /// `mode` on `bucket`: a reset costs nothing, all else one token. [`Mode::AllowOnly`] where the limit is off.
    #[must_use]
    #[inline]
    pub const fn of(bucket: Option<BucketId>, mode: Mode) -> Self {
        let cost = match mode {
            Mode::CheckAndSpend | Mode::CheckOnly | Mode::SpendOnly => Cost::ONE,
            Mode::Reset | Mode::AllowOnly => Cost::new(0),
        };
        Self { bucket, cost, mode }
    }

    /// The bucket; `None` where the limit is off.
    #[must_use]
    pub const fn bucket(self) -> Option<BucketId> {
        self.bucket
    }

    /// The tokens it takes or asks for.
    #[must_use]
    pub const fn cost(self) -> Cost {
        if self.bucket.is_some() { self.cost } else { Cost::new(0) }
    }

    /// What it does.
    #[must_use]
    pub const fn mode(self) -> Mode {
        if self.bucket.is_some() { self.mode } else { Mode::AllowOnly }
    }

    /// The same transaction on the same bucket for `cost` tokens.
    #[must_use]
    pub fn with_cost(self, cost: Cost) -> Self {
        Self { cost, ..self }
    }
}

impl Batch {
    /// Empties it, for the next one.
    #[inline]
    pub fn clear(&mut self) {
        self.transactions.clear();
        self.action = Action::Nothing;
    }

    /// Adds a transaction. A batch is filled before it is decided.
    #[inline]
    pub fn push(&mut self, transaction: Transaction) {
        self.transactions.push(transaction);
    }

    /// Adds several.
    #[inline]
    pub fn extend(&mut self, transactions: impl IntoIterator<Item = Transaction>) {
        self.transactions.extend(transactions);
    }

    /// The transactions, without what came of them.
    #[must_use]
    pub fn transactions(&self) -> &[Transaction] {
        &self.transactions
    }

    /// Each transaction with what came of it; nothing before it was decided.
    pub fn results(&self) -> impl ExactSizeIterator<Item = (Transaction, Outcome)> + '_ {
        let decided = if matches!(self.action, Action::Nothing) { 0 } else { self.transactions.len() };
        self.transactions[..decided].iter().enumerate().map(|(place, &transaction)| match self.action {
            Action::Told => (transaction, self.told[place]),
            action => (transaction, action.outcome(transaction, &self.before[place])),
        })
    }

    /// The strictest transaction, which is the one that the CA names: denied before allowed, then the longer retry, then the
    /// fewer remaining; of equals the last. `None` where none has a say.
    #[must_use]
    pub fn strictest(&self) -> Option<(Transaction, Outcome)> {
        let rank = |outcome: &Outcome| (!outcome.allowed, outcome.retry_in, -outcome.remaining);
        self.results().filter(|(transaction, _)| has_a_say(transaction.mode())).max_by_key(|(_, outcome)| rank(outcome))
    }

    /// *Every* transaction that stands in the way, with its own time: for people, whom the strictest alone would send round in circles.
    pub fn denials(&self) -> impl Iterator<Item = (Transaction, Outcome)> + '_ {
        self.results().filter(|(transaction, outcome)| !outcome.allowed && has_a_say(transaction.mode()))
    }
}

/// Whether transactions of `mode` have a say in the answer.
const fn has_a_say(mode: Mode) -> bool {
    match mode {
        Mode::CheckAndSpend | Mode::CheckOnly => true,
        Mode::SpendOnly | Mode::Reset | Mode::AllowOnly => false,
    }
}

/// Whether transactions of `mode` leave their bucket other than it was.
const fn writes(mode: Mode) -> bool {
    match mode {
        Mode::CheckAndSpend | Mode::SpendOnly | Mode::Reset => true,
        Mode::CheckOnly | Mode::AllowOnly => false,
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

impl Action {
    fn outcome(self, transaction: Transaction, bucket: &Bucket) -> Outcome {
        let (cost, mode) = (transaction.cost(), transaction.mode());
        let tat_before = known(bucket.tat);
        match self {
            Self::Refund { now } if tat_before.is_some() => bucket.quota.refund(tat_before, now, cost),
            Self::Nothing | Self::Told | Self::Refund { .. } => NO_BUCKET,
            Self::Decide { now, allowed } => {
                let asked = match mode {
                    Mode::AllowOnly => NO_BUCKET,
                    Mode::Reset => Outcome { tat_before, ..NO_BUCKET },
                    Mode::CheckAndSpend | Mode::CheckOnly | Mode::SpendOnly => {
                        bucket.quota.spend(tat_before, now, cost)
                    }
                };
                let tat_after = if allowed && writes(mode) { asked.tat_after } else { tat_before };
                Outcome { tat_after, ..asked }
            }
        }
    }
}

/// The TAT of a bucket that nobody has spent from. It lies in the past, so that a decision needs no case of its own for it.
const UNSPENT: Timestamp = Timestamp::from_unix_nanos(i64::MIN);

fn known(tat: Timestamp) -> Option<Timestamp> {
    (tat != UNSPENT).then_some(tat)
}

fn number(len: usize) -> u32 {
    u32::try_from(len).unwrap_or_else(|_too_many| unreachable!("32 bits outlast memory"))
}

impl Bucket {
    /// Stands where a limit is off.
    const OFF: Self = Self { tat: UNSPENT, quota: Quota::LEAST };

    #[inline]
    fn allows(&self, now: Timestamp, cost: Cost) -> bool {
        self.quota.allows(Some(self.tat), now, cost)
    }
}

impl Buckets {
    /// Forgets all of them. The room that they took is kept.
    pub fn clear(&mut self) {
        let Self { tats, quotas, quota_numbers, counters } = self;
        tats.clear();
        quotas.clear();
        quota_numbers.clear();
        counters.clear();
    }

    /// Adds a full bucket.
    ///
    /// # Panics
    /// With more than 4,294,967,295 buckets: memory is gone long before.
    pub fn add(&mut self, quota: Quota) -> BucketId {
        let quota = *self.quota_numbers.entry(quota).or_insert_with(|| {
            self.quotas.push(quota);
            number(self.quotas.len() - 1)
        });
        self.place(quota)
    }

    fn place(&mut self, quota: u32) -> BucketId {
        self.tats.push(UNSPENT);
        let place = NonZeroU32::new(number(self.tats.len())).unwrap_or_else(|| unreachable!("one was just added"));
        BucketId { place, quota }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tats.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tats.is_empty()
    }

    /// When the bucket is full again; `None`: nobody has spent from it, or it is none of tokens.
    #[must_use]
    pub fn tat(&self, bucket: BucketId) -> Option<Timestamp> {
        known(self.tats[bucket.index()])
    }

    /// What the bucket holds.
    ///
    /// # Panics
    /// For a bucket of a limit that does not count tokens.
    #[must_use]
    #[inline]
    pub fn quota(&self, bucket: BucketId) -> Quota {
        self.quotas[bucket.quota as usize]
    }

    /// Sets the bucket's TAT, as a refusal's `Retry-After` or a ledger tells it.
    pub fn set_tat(&mut self, bucket: BucketId, tat: Option<Timestamp>) {
        self.tats[bucket.index()] = tat.unwrap_or(UNSPENT);
    }

    /// Asks memory for a bucket that will be needed, so that it comes while its batch is put together: with millions of buckets that is
    /// most of the time which a decision takes.
    #[inline]
    pub(crate) fn foresee(&self, bucket: Option<BucketId>) {
        std::hint::black_box(bucket.and_then(|bucket| self.tats.get(bucket.index())).copied());
    }

    /// Decides a batch at `now`, and carries it out if it is allowed, which is returned; the outcomes stand in it afterwards.
    #[inline]
    pub fn decide(&mut self, batch: &mut Batch, now: Timestamp) -> bool {
        if !self.counters.is_empty() {
            return self.decide_counted(batch, now);
        }
        let Batch { transactions, before, action, .. } = batch;
        let mut allowed = true;
        before.resize(transactions.len(), Bucket::OFF);
        for (transaction, before) in transactions.iter().zip(before) {
            let Some(id) = transaction.bucket else {
                *before = Bucket::OFF;
                continue;
            };
            let bucket = Bucket { tat: self.tats[id.index()], quota: self.quota(id) };
            *before = bucket;
            allowed &= bucket.allows(now, transaction.cost) || !has_a_say(transaction.mode);
        }
        *action = Action::Decide { now, allowed };
        if allowed {
            for transaction in transactions.iter().filter(|transaction| writes(transaction.mode())) {
                self.carry_out(transaction, now);
            }
        }
        allowed
    }

    #[inline]
    fn carry_out(&mut self, transaction: &Transaction, now: Timestamp) {
        let &Transaction { bucket: Some(id), cost, mode } = transaction else { return };
        let quota = self.quota(id);
        let tat = &mut self.tats[id.index()];
        match mode {
            Mode::CheckAndSpend | Mode::SpendOnly if quota.allows(Some(*tat), now, cost) => {
                *tat = quota.spent(Some(*tat), now, cost);
            }
            Mode::Reset => *tat = UNSPENT,
            Mode::CheckAndSpend | Mode::SpendOnly | Mode::CheckOnly | Mode::AllowOnly => {}
        }
    }

    /// Gives back what the batch has spent; the outcomes stand in it afterwards. Only tokens that were asked for *and* taken come back.
    pub fn refund(&mut self, batch: &mut Batch, now: Timestamp) {
        if !self.counters.is_empty() {
            return self.refund_counted(batch, now);
        }
        let Batch { transactions, before, action, .. } = batch;
        before.clear();
        *action = Action::Refund { now };
        for transaction in transactions {
            let Some(id) = transaction.bucket else {
                before.push(Bucket::OFF);
                continue;
            };
            let (tat, quota) = (self.tat(id), self.quota(id));
            before.push(Bucket { tat: self.tats[id.index()], quota });
            if transaction.mode == Mode::CheckOnly && tat.is_some() {
                *transaction = transaction.with_cost(Cost::new(0));
            }
            self.set_tat(id, quota.refund(tat, now, transaction.cost).tat_after);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

    fn batch(buckets: &[BucketId], mode: Mode) -> Batch {
        let mut batch = Batch::default();
        buckets.iter().for_each(|bucket| batch.push(Transaction::of(Some(*bucket), mode)));
        batch
    }

    #[test]
    fn a_denial_spends_nothing() {
        let mut buckets = Buckets::default();
        let wide = buckets.add(Quota::new(10, 10, Span::from_hours(1)).unwrap());
        let narrow = buckets.add(Quota::new(1, 1, Span::from_hours(1)).unwrap());
        let mut order = batch(&[wide, narrow], Mode::CheckAndSpend);
        assert!(buckets.decide(&mut order, NOW));
        let before = buckets.tat(wide);
        assert!(!buckets.decide(&mut order, NOW));
        assert_eq!(order.strictest().unwrap().0.bucket(), Some(narrow));
        assert_eq!(buckets.tat(wide), before);
        assert_eq!(order.denials().count(), 1);
    }

    #[test]
    fn what_only_spends_never_stands_in_the_way() {
        let mut buckets = Buckets::default();
        let bucket = buckets.add(Quota::new(1, 1, Span::from_hours(1)).unwrap());
        let mut issue = batch(&[bucket], Mode::SpendOnly);
        assert!(buckets.decide(&mut issue, NOW));
        let full_at = buckets.tat(bucket);
        assert!(buckets.decide(&mut issue, NOW));
        assert_eq!(buckets.tat(bucket), full_at, "no debt");
    }
}

//! What an event costs: which buckets an order, an issue, a validation or a registration checks and spends, and which renewals are
//! exempt. The transactions are those of Boulder's `ratelimits/transaction.go` and `ra/ra.go`.
//!
//! | event | transactions |
//! |---|---|
//! | registration | check-and-spend by IP address, from IPv6 by /48 too |
//! | new order | check-and-spend the account's orders; check-only each name's failures, each registered domain, the set |
//! | …, same-set renewal | check-only each name's failures and the set |
//! | …, ARI inside its window | none |
//! | issue | spend-only each registered domain unless it was a renewal of exactly this set; spend-only the set, always |
//! | failed validation, deactivated pending authorization | spend-only the name's failures; check-and-spend its pausing, whose denial pauses |
//! | successful validation | reset the name's pausing |
//!
//! Under the oldest policy a same-set renewal takes an order token as well, and an order asks for room among the account's pending
//! authorizations; a deactivated one is no failure.

mod authorizations;
pub mod door;
mod interner;
mod key;
pub mod refusal;
mod registry;
mod stakes;

use std::net::IpAddr;

use std::sync::Arc;

use rustc_hash::FxHashSet;

use crate::buckets::{Batch, BucketId, Buckets, Mode, Transaction};
use crate::gcra::Cost;
use crate::limits::{LimitName, Limits};
use crate::name::{Identifier, NameSet};
use crate::psl::SuffixList;
use crate::time::Timestamp;

pub use door::{Door, Request};
pub use key::BucketKey;
pub use refusal::Refusal;
use registry::Registry;
pub use registry::{OrderId, Pair};
pub use stakes::{Part, Stake};

/// Why an order does not count, or counts less.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exemption {
    /// It counts in full.
    None,
    /// Exactly this set was issued within the policy's memory (120 days): no order token, no domain token.
    SameSet,
    /// `replaces` names a certificate whose suggested window is open: nothing is checked.
    Ari,
}

/// The answer to an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// It goes out.
    Allow,
    /// Not before this instant. The batch holds *every* bucket in the way.
    Wait(Timestamp),
    /// An identifier is paused: not until a person unpauses it.
    Paused,
}

/// All that one CA counts: limits, buckets, sets issued lately, paused pairs. Names are dense ids inside.
#[derive(Clone, Debug)]
pub struct Model {
    limits: Limits,
    suffixes: Arc<SuffixList>,
    /// Shared between copies of a model until one of them learns something new.
    registry: Arc<Registry>,
    buckets: Buckets,
    /// By set: when it was issued last; [`NEVER`], or beyond the end: never.
    issued: Vec<Timestamp>,
    paused: FxHashSet<Pair>,
}

/// When a set was issued that never was. It lies so far in the past that no memory reaches it.
const NEVER: Timestamp = Timestamp::from_unix_nanos(i64::MIN);

impl Model {
    /// A CA that has counted nothing yet: all buckets are full.
    #[must_use]
    pub fn new(limits: Limits, suffixes: SuffixList) -> Self {
        Self {
            limits,
            suffixes: Arc::new(suffixes),
            registry: Arc::default(),
            buckets: Buckets::default(),
            issued: Vec::new(),
            paused: FxHashSet::default(),
        }
    }

    /// Forgets every order, name and bucket; ids that were given are worth nothing any more. The room that they took is kept.
    pub fn forget(&mut self) {
        Arc::make_mut(&mut self.registry).clear();
        self.buckets.clear();
        self.issued.clear();
        self.paused.clear();
    }

    /// The limits in force.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The list that tells registered domains.
    #[must_use]
    pub fn suffixes(&self) -> &SuffixList {
        &self.suffixes
    }

    /// The buckets' state.
    #[must_use]
    pub const fn buckets(&self) -> &Buckets {
        &self.buckets
    }

    /// Whose bucket that is.
    #[must_use]
    pub fn key(&self, bucket: BucketId) -> BucketKey {
        self.registry.key(bucket)
    }

    /// The limit of a bucket and its key as text, for people.
    #[must_use]
    pub fn describe(&self, bucket: BucketId) -> (LimitName, String) {
        self.registry.describe(bucket)
    }

    /// Which limit's bucket that is.
    #[must_use]
    pub fn limit_of(&self, bucket: BucketId) -> LimitName {
        self.registry.key(bucket).limit()
    }

    /// The bucket of that key, if anything has asked for it.
    #[must_use]
    pub fn bucket_of(&self, key: BucketKey) -> Option<BucketId> {
        self.registry.known(key)
    }

    /// How many accounts and how many registered domains there are: they are numbered from 0 in [`BucketKey`].
    #[must_use]
    pub fn counts(&self) -> (u32, u32) {
        self.registry.counts()
    }

    /// The account of an order.
    #[must_use]
    pub fn account_of(&self, order: OrderId) -> &str {
        self.registry.account_of(order)
    }

    /// The names of an order.
    pub fn names_of(&self, order: OrderId) -> impl Iterator<Item = &Identifier> + '_ {
        self.registry.names_of(order)
    }

    /// No certificate is known to have been issued, but for those that `other` knows of, a copy made earlier.
    pub fn forget_issued(&mut self, other: Option<&Self>) {
        self.issued = other.map(|other| other.issued.clone()).unwrap_or_default();
    }

    /// All buckets that anything has asked for.
    pub fn all_buckets(&self) -> impl Iterator<Item = BucketId> + '_ {
        self.registry.known_buckets().map(|(_, bucket)| bucket)
    }

    /// Whether the bucket's quota is an override.
    #[must_use]
    pub fn is_overridden(&self, bucket: BucketId) -> bool {
        self.registry.is_overridden(bucket, &self.limits)
    }

    /// Makes an order of `account` for `names` known. The same order has the same id.
    ///
    /// # Panics
    /// With more than 60,000 names, far above what any CA takes.
    pub fn order(&mut self, account: &str, names: &NameSet) -> OrderId {
        Arc::make_mut(&mut self.registry).order(account, names, &self.limits, &self.suffixes, &mut self.buckets)
    }

    /// What exempts the order at `now`, given whether it `replaces` a certificate whose suggested window is open.
    #[must_use]
    pub fn exemption(&self, order: OrderId, inside_window: bool, now: Timestamp) -> Exemption {
        let memory = self.limits.policy.renewal.same_set_memory;
        if inside_window {
            Exemption::Ari
        } else if self.seen(order).is_some_and(|at| now.since(at) < memory) {
            Exemption::SameSet
        } else {
            Exemption::None
        }
    }

    /// May the order go out at `now`? If so its tokens are spent.
    pub fn new_order(&mut self, order: OrderId, exemption: Exemption, now: Timestamp, batch: &mut Batch) -> Decision {
        batch.clear();
        if self.is_paused(order) {
            return Decision::Paused;
        }
        self.buckets.foresee(order.near);
        self.registry.check(order, exemption, self.limits.policy.renewal.same_set_exempt, batch);
        let allowed = self.buckets.decide(batch, now);
        decision(allowed, batch, now)
    }

    /// The same as [`Self::new_order`] for an order which has no valid authorization for `missing`, some of its pairs: each gets one that
    /// is pending until `until`, unless it has one already. All of them have to fit.
    pub fn new_order_needing(
        &mut self,
        order: OrderId,
        exemption: Exemption,
        (missing, until): (&[Pair], Timestamp),
        now: Timestamp,
        batch: &mut Batch,
    ) -> Decision {
        let key = self.registry.pending_key(order);
        let Some(pending) = self.bucket(key) else { return self.new_order(order, exemption, now, batch) };
        batch.clear();
        if self.is_paused(order) {
            return Decision::Paused;
        }
        let new = missing.iter().filter(|pair| !self.buckets.is_open(pending, pair.name, now)).count();
        if new > 0 && exemption != Exemption::Ari {
            let cost = Cost::new(u32::try_from(new).unwrap_or(u32::MAX));
            batch.push(Transaction::of(Some(pending), Mode::CheckOnly).with_cost(cost));
        }
        self.registry.check(order, exemption, self.limits.policy.renewal.same_set_exempt, batch);
        let allowed = self.buckets.decide(batch, now);
        if allowed {
            missing.iter().for_each(|pair| self.buckets.open(pending, pair.name, until, now));
        }
        decision(allowed, batch, now)
    }

    /// The order was let through and then refused for another reason: its tokens come back.
    pub fn refund_order(&mut self, order: OrderId, exemption: Exemption, now: Timestamp, batch: &mut Batch) {
        batch.clear();
        self.registry.check(order, exemption, self.limits.policy.renewal.same_set_exempt, batch);
        self.buckets.refund(batch, now);
    }

    /// The order's certificate was issued at `now`; `renewal`: exactly this set had been issued within the policy's memory.
    pub fn issued(&mut self, order: OrderId, renewal: bool, now: Timestamp, batch: &mut Batch) {
        batch.clear();
        self.registry.issue(order, renewal, batch);
        self.buckets.decide(batch, now);
        *self.issued_at(order) = now;
    }

    /// When the order's set was issued last.
    fn issued_at(&mut self, order: OrderId) -> &mut Timestamp {
        let set = self.registry.set_of(order) as usize;
        if set >= self.issued.len() {
            self.issued.resize(set + 1, NEVER);
        }
        &mut self.issued[set]
    }

    /// May an account be registered from `ip` at `now`? If so the token is spent.
    pub fn new_registration(&mut self, ip: IpAddr, now: Timestamp, batch: &mut Batch) -> Decision {
        self.registration(ip, batch);
        let allowed = self.buckets.decide(batch, now);
        decision(allowed, batch, now)
    }

    /// The registration was let through and then failed: its tokens come back.
    pub fn refund_registration(&mut self, ip: IpAddr, now: Timestamp, batch: &mut Batch) {
        self.registration(ip, batch);
        self.buckets.refund(batch, now);
    }

    fn registration(&mut self, ip: IpAddr, batch: &mut Batch) {
        batch.clear();
        self.push(BucketKey::NewRegistrationsPerIpAddress(ip), Mode::CheckAndSpend, batch);
        if let IpAddr::V6(v6) = ip {
            self.push(BucketKey::NewRegistrationsPerIpv6Range(v6.to_bits() >> 80), Mode::CheckAndSpend, batch);
        }
    }

    /// The bucket of `key`. A registry that is shared with a copy stays so if the bucket is known.
    fn bucket(&mut self, key: BucketKey) -> Option<BucketId> {
        match self.registry.asked(key) {
            Some(known) => known,
            None => Arc::make_mut(&mut self.registry).bucket(key, &self.limits, &mut self.buckets),
        }
    }

    fn push(&mut self, key: BucketKey, mode: Mode, batch: &mut Batch) {
        batch.push(Transaction::of(self.bucket(key), mode));
    }

    /// From now on `limits` hold. What was counted stays: a bucket's TAT is read anew with its new quota, and what was counted
    /// otherwise is by [`Buckets::carry_over`]. Orders get new ids, which are
    /// returned by the place of the old ones ([`OrderId::index`]).
    pub fn change_limits(&mut self, limits: Limits) -> Vec<OrderId> {
        let mut buckets = Buckets::default();
        let (registry, orders) = self.registry.under(&limits, &self.suffixes, &mut buckets);
        for (key, old) in self.registry.known_buckets() {
            if let Some(new) = registry.known(key) {
                buckets.carry_over(new, &self.buckets, old);
            }
        }
        (self.registry, self.buckets, self.limits) = (Arc::new(registry), buckets, limits);
        orders
    }
}

fn decision(allowed: bool, batch: &Batch, now: Timestamp) -> Decision {
    if allowed {
        return Decision::Allow;
    }
    let wait = batch.denials().map(|(_, outcome)| outcome.retry_in).max().unwrap_or_default();
    Decision::Wait(now.plus(wait))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{Overrides, Policy};
    use crate::time::Span;

    /// The CA's own example, step by step: 50 certificates for one registered domain at once, the next after 201.6 minutes.
    #[test]
    fn fifty_at_once_and_then_one_every_201_minutes() {
        let limits = Limits { policy: Policy::built_in("letsencrypt").unwrap(), overrides: Overrides::none() };
        let mut model = Model::new(limits, SuffixList::embedded());
        let mut batch = Batch::default();
        let now = Timestamp::from_unix_seconds(1_800_000_000);
        for index in 0..50 {
            let name = format!("h{index}.example.com");
            let order = model.order("1", &NameSet::parse([name.as_str()]).unwrap());
            assert_eq!(model.new_order(order, Exemption::None, now, &mut batch), Decision::Allow);
            model.issued(order, false, now, &mut batch);
        }
        let next = model.order("2", &NameSet::parse(["next.example.com"]).unwrap());
        let free = now.plus(Span::from_seconds(12_096));
        assert_eq!(model.new_order(next, Exemption::None, now, &mut batch), Decision::Wait(free));
        let (denied, _) = batch.denials().next().unwrap();
        let described = model.describe(denied.bucket().unwrap());
        assert_eq!(described, (LimitName::CertificatesPerDomain, "example.com".to_owned()));
        assert_eq!(model.new_order(next, Exemption::Ari, now, &mut batch), Decision::Allow);
        assert_eq!(model.new_order(next, Exemption::None, free, &mut batch), Decision::Allow);
    }
}

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

mod registry;
mod stakes;

use std::net::IpAddr;

use std::sync::Arc;

use rustc_hash::FxHashSet;

use crate::buckets::{Batch, BucketId, Buckets, Mode, Transaction};
use crate::limits::{LimitName, Limits};
use crate::name::{Identifier, NameSet};
use crate::psl::SuffixList;
use crate::time::Timestamp;

use registry::Registry;
pub use registry::{BucketKey, OrderId, Pair};
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

    /// The limits in force.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
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
        registry::limit_of(self.registry.key(bucket))
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
        let issued = self.issued.get(self.registry.set_of(order) as usize);
        if inside_window {
            Exemption::Ari
        } else if issued.is_some_and(|at| now.since(*at) < memory) {
            Exemption::SameSet
        } else {
            Exemption::None
        }
    }

    /// May the order go out at `now`? If so its tokens are spent.
    pub fn new_order(&mut self, order: OrderId, exemption: Exemption, now: Timestamp, batch: &mut Batch) -> Decision {
        batch.clear();
        if !self.paused.is_empty() && self.registry.pairs_of(order).any(|pair| self.paused.contains(&pair)) {
            return Decision::Paused;
        }
        self.registry.check(order, exemption, batch);
        let allowed = self.buckets.decide(batch, now);
        decision(allowed, batch, now)
    }

    /// The order was let through and then refused for another reason: its tokens come back.
    pub fn refund_order(&mut self, order: OrderId, exemption: Exemption, now: Timestamp, batch: &mut Batch) {
        batch.clear();
        self.registry.check(order, exemption, batch);
        self.buckets.refund(batch, now);
    }

    /// The order's certificate was issued at `now`; `renewal`: exactly this set had been issued within the policy's memory.
    pub fn issued(&mut self, order: OrderId, renewal: bool, now: Timestamp, batch: &mut Batch) {
        batch.clear();
        self.registry.issue(order, renewal, batch);
        self.buckets.decide(batch, now);
        let set = self.registry.set_of(order) as usize;
        if set >= self.issued.len() {
            self.issued.resize(set + 1, NEVER);
        }
        self.issued[set] = now;
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

    fn push(&mut self, key: BucketKey, mode: Mode, batch: &mut Batch) {
        let bucket = match self.registry.asked(key) {
            Some(known) => known,
            None => Arc::make_mut(&mut self.registry).bucket(key, &self.limits, &mut self.buckets),
        };
        batch.push(Transaction::of(bucket, mode));
    }

    /// A validation of `identifier` for `account` failed at `now`, or its pending authorization was deactivated.
    /// Returns whether that pauses the pair. `failures` and `pausing` are two batches.
    pub fn validation_failed(
        &mut self,
        account: &str,
        identifier: &Identifier,
        now: Timestamp,
        [failures, pausing]: [&mut Batch; 2],
    ) -> bool {
        let pair = Arc::make_mut(&mut self.registry).pair(account, identifier);
        self.pair_failed(pair, now, [failures, pausing])
    }

    /// The same for a pair that is known.
    pub fn pair_failed(&mut self, pair: Pair, now: Timestamp, [failures, pausing]: [&mut Batch; 2]) -> bool {
        let Pair { account, name } = pair;
        let key = BucketKey::FailedAuthorizationsPerDomainPerAccount(account, name);
        failures.clear();
        self.push(key, Mode::SpendOnly, failures);
        self.buckets.decide(failures, now);
        let key = BucketKey::FailedAuthorizationsForPausingPerDomainPerAccount(account, name);
        pausing.clear();
        self.push(key, Mode::CheckAndSpend, pausing);
        let pauses = !self.buckets.decide(pausing, now);
        if pauses {
            self.paused.insert(pair);
        }
        pauses
    }

    /// A validation of `identifier` for `account` succeeded at `now`.
    pub fn validation_succeeded(&mut self, account: &str, identifier: &Identifier, now: Timestamp, batch: &mut Batch) {
        let Pair { account, name } = Arc::make_mut(&mut self.registry).pair(account, identifier);
        let key = BucketKey::FailedAuthorizationsForPausingPerDomainPerAccount(account, name);
        batch.clear();
        self.push(key, Mode::Reset, batch);
        self.buckets.decide(batch, now);
    }

    /// The same for a pair that is known. A bucket that no failure has asked for is full, and stays unmade.
    #[inline]
    pub fn pair_succeeded(&mut self, pair: Pair, now: Timestamp, batch: &mut Batch) {
        batch.clear();
        if let Some(bucket) = self.registry.pausing_of(pair) {
            batch.push(Transaction::of(Some(bucket), Mode::Reset));
            self.buckets.decide(batch, now);
        }
    }

    /// Account and name of each authorization that the order needs, in the order of its names.
    pub fn pairs(&self, order: OrderId) -> impl Iterator<Item = Pair> + '_ {
        self.registry.pairs_of(order)
    }

    /// A person unpaused the pair. Returns whether it was paused.
    pub fn unpause(&mut self, account: &str, identifier: &Identifier) -> bool {
        let pair = Arc::make_mut(&mut self.registry).pair(account, identifier);
        self.unpause_pair(pair)
    }

    /// The same for a pair that is known.
    pub fn unpause_pair(&mut self, pair: Pair) -> bool {
        self.paused.remove(&pair)
    }

    /// Whether the pair is paused.
    #[must_use]
    pub fn is_pair_paused(&self, pair: Pair) -> bool {
        self.paused.contains(&pair)
    }

    /// How many pairs are paused.
    #[must_use]
    pub fn paused_count(&self) -> usize {
        self.paused.len()
    }

    /// From now on `limits` hold. What was counted stays: a bucket's TAT is read anew with its new quota. Orders get new ids, which are
    /// returned by the place of the old ones ([`OrderId::index`]).
    pub fn change_limits(&mut self, limits: Limits) -> Vec<OrderId> {
        let mut buckets = Buckets::default();
        let (registry, orders) = self.registry.under(&limits, &self.suffixes, &mut buckets);
        for (key, old) in self.registry.known_buckets() {
            if let Some(new) = registry.known(key) {
                buckets.set_tat(new, self.buckets.tat(old));
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

    #[test]
    fn a_paused_name_stops_its_orders_until_a_person_unpauses_it() {
        let limits = Limits { policy: Policy::built_in("letsencrypt").unwrap(), overrides: Overrides::none() };
        let mut model = Model::new(limits, SuffixList::embedded());
        let (mut a, mut b) = (Batch::default(), Batch::default());
        let now = Timestamp::from_unix_seconds(1_800_000_000);
        let name = Identifier::parse("dead.example.com").unwrap();
        let failures = (0..).position(|_| model.validation_failed("1", &name, now, [&mut a, &mut b]));
        assert_eq!(failures, Some(1_152));
        let order = model.order("1", &NameSet::new([name.clone()]).unwrap());
        assert_eq!(model.new_order(order, Exemption::Ari, now, &mut a), Decision::Paused);
        assert!(model.unpause("1", &name));
        assert_eq!(model.new_order(order, Exemption::Ari, now, &mut a), Decision::Allow);
    }
}

//! What comes of authorizations: failed and successful validations, deactivation, what is pending, and pairs of account and name that
//! are paused.

use std::sync::Arc;

use super::{BucketKey, Model, OrderId, Pair};
use crate::buckets::{Batch, Mode, Transaction};
use crate::limits::LimitName;
use crate::name::Identifier;
use crate::time::Timestamp;

impl Model {
    /// Whether the policy limits how many authorizations are pending. Where it does, orders ask by [`Self::new_order_needing`].
    #[must_use]
    pub fn limits_pending(&self) -> bool {
        self.limits.policy.limit(LimitName::PendingAuthorizationsPerAccount).is_some()
    }

    /// Account and name, as a pair.
    pub fn pair(&mut self, account: &str, identifier: &Identifier) -> Pair {
        Arc::make_mut(&mut self.registry).pair(account, identifier)
    }

    /// The pair's authorization is not pending any more.
    #[inline]
    pub fn settle(&mut self, pair: Pair) {
        if let Some(pending) = self.registry.pending_of(pair.account) {
            self.buckets.close(pending, pair.name);
        }
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
        let pair = self.pair(account, identifier);
        self.pair_failed(pair, now, [failures, pausing])
    }

    /// The same for a pair that is known.
    pub fn pair_failed(&mut self, pair: Pair, now: Timestamp, [failures, pausing]: [&mut Batch; 2]) -> bool {
        self.settle(pair);
        let Pair { account, name } = pair;
        let key = BucketKey::FailedAuthorizationsPerDomainPerAccount(account, name);
        failures.clear();
        self.push(key, Mode::SpendOnly, failures);
        self.buckets.decide(failures, now);
        self.ask_for_pausing(pair, now, pausing)
    }

    /// Asks and spends a failed pair's pausing bucket, whose denial pauses the pair. Returns whether it does.
    pub(super) fn ask_for_pausing(&mut self, pair: Pair, now: Timestamp, batch: &mut Batch) -> bool {
        let Pair { account, name } = pair;
        let key = BucketKey::FailedAuthorizationsForPausingPerDomainPerAccount(account, name);
        batch.clear();
        self.push(key, Mode::CheckAndSpend, batch);
        let pauses = !self.buckets.decide(batch, now);
        if pauses {
            self.paused.insert(pair);
        }
        pauses
    }

    /// A validation of `identifier` for `account` succeeded at `now`.
    pub fn validation_succeeded(&mut self, account: &str, identifier: &Identifier, now: Timestamp, batch: &mut Batch) {
        let pair = self.pair(account, identifier);
        self.settle(pair);
        let Pair { account, name } = pair;
        let key = BucketKey::FailedAuthorizationsForPausingPerDomainPerAccount(account, name);
        batch.clear();
        self.push(key, Mode::Reset, batch);
        self.buckets.decide(batch, now);
    }

    /// The same for a pair that is known. A bucket that no failure has asked for is full, and stays unmade.
    #[inline]
    pub fn pair_succeeded(&mut self, pair: Pair, now: Timestamp, batch: &mut Batch) {
        batch.clear();
        self.settle(pair);
        if let Some(bucket) = self.registry.pausing_of(pair) {
            batch.push(Transaction::of(Some(bucket), Mode::Reset));
            self.buckets.decide(batch, now);
        }
    }

    /// A pending authorization of the pair was deactivated at `now`. Returns whether that counts as a failure, as
    /// [`Self::pair_failed`] would have it, and if so whether it pauses the pair.
    pub fn pair_deactivated(&mut self, pair: Pair, now: Timestamp, batches: [&mut Batch; 2]) -> Option<bool> {
        if self.limits.policy.deactivation_fails {
            return Some(self.pair_failed(pair, now, batches));
        }
        batches.into_iter().for_each(Batch::clear);
        self.settle(pair);
        None
    }

    /// Account and name of each authorization that the order needs, in the order of its names.
    pub fn pairs(&self, order: OrderId) -> impl Iterator<Item = Pair> + '_ {
        self.registry.pairs_of(order)
    }

    /// A person unpaused the pair. Returns whether it was paused.
    pub fn unpause(&mut self, account: &str, identifier: &Identifier) -> bool {
        let pair = self.pair(account, identifier);
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

    /// Whether a name of the order is paused for its account.
    #[must_use]
    pub fn is_paused(&self, order: OrderId) -> bool {
        !self.paused.is_empty() && self.registry.pairs_of(order).any(|pair| self.paused.contains(&pair))
    }
}

#[cfg(test)]
mod tests {
    use crate::limits::{Limits, Overrides, Policy};
    use crate::name::NameSet;
    use crate::psl::SuffixList;
    use crate::rules::{Decision, Exemption};

    use super::*;

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

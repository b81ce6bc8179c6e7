//! What an order has at stake: every bucket that it, its validations or its certificate may take a token from, for those who have to
//! set tokens aside before the CA counts them ([`crate::permits`]).

use super::registry::Runs;
use super::{BucketKey, Exemption, Model, NEVER, OrderId};
use crate::buckets::{Batch, BucketId};
use crate::gcra::Cost;
use crate::time::Timestamp;

/// Which of an order's buckets one is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The account's orders.
    Order,
    /// The failures of a name: its place among the order's names.
    Failures(u16),
    /// The certificates of a registered domain.
    Domain,
    /// The certificates of the exact set.
    Set,
}

/// A bucket that an order may take a token from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stake {
    /// The bucket.
    pub bucket: BucketId,
    /// What of the order takes the token.
    pub part: Part,
    /// Whether the CA asks it when the order comes. The others lose tokens without being asked.
    pub asked: bool,
}

impl Model {
    /// All that `order` has at stake if `exemption` holds. Limits that are off are left out.
    pub fn stakes(&self, order: OrderId, exemption: Exemption) -> impl Iterator<Item = Stake> + '_ {
        let Runs { asked, domains, spent, own_domain_buckets } = self.registry.runs(order);
        let checks = exemption != Exemption::Ari;
        let counts = exemption == Exemption::None;
        let stake = |bucket: &Option<BucketId>, part, asked| bucket.map(|bucket| Stake { bucket, part, asked });
        let failures = (0..).zip(&asked[1..domains]);
        stake(&asked[0], Part::Order, counts)
            .into_iter()
            .chain(failures.filter_map(move |(name, bucket)| stake(bucket, Part::Failures(name), checks)))
            .chain(spent[..spent.len() - 1].iter().flatten().map(move |&bucket| {
                let own = matches!(self.key(bucket), BucketKey::CertificatesPerDomainPerAccount(..));
                Stake { bucket, part: Part::Domain, asked: counts && own == own_domain_buckets }
            }))
            .chain(spent.last().and_then(|set| stake(set, Part::Set, checks)))
    }

    /// The number of the order's name set: the same for orders of several accounts.
    #[must_use]
    pub fn set_number(&self, order: OrderId) -> u32 {
        self.registry.set_of(order)
    }

    /// When a certificate for exactly the order's names is known to have been issued last.
    #[must_use]
    pub fn seen(&self, order: OrderId) -> Option<Timestamp> {
        self.issued.get(self.registry.set_of(order) as usize).copied().filter(|at| *at != NEVER)
    }

    /// A certificate for exactly the order's names, issued at `at`, has been seen: nothing is spent, a later renewal is exempt.
    pub fn see(&mut self, order: OrderId, at: Timestamp) {
        let issued_at = self.issued_at(order);
        *issued_at = at.max(*issued_at);
    }

    /// Sets a bucket's TAT to what is known of it.
    pub fn set_tat(&mut self, bucket: BucketId, tat: Option<Timestamp>) {
        self.buckets.set_tat(bucket, tat);
    }

    /// When `failures` more failed validations of the order's name number `name` would not pause it; `None`: they would not now.
    #[must_use]
    pub fn pausing_until(
        &self,
        order: OrderId,
        name: u16,
        failures: u32,
        now: Timestamp,
    ) -> Option<(BucketId, Timestamp)> {
        let pair = self.registry.pairs_of(order).nth(usize::from(name))?;
        let bucket = self.registry.pausing_of(pair)?;
        let quota = self.buckets.quota(bucket);
        let outcome = quota.spend(self.buckets.tat(bucket), now, Cost::new(failures.min(quota.burst())));
        (!outcome.allowed).then(|| (bucket, now.plus(outcome.retry_in)))
    }

    /// A validation of the order's name number `name` failed at `now`: its pausing bucket is asked and spent. Returns whether that
    /// pauses it. (The token of [`Part::Failures`] is the caller's to spend.)
    pub fn spend_pausing(&mut self, order: OrderId, name: u16, now: Timestamp) -> bool {
        let Some(pair) = self.registry.pairs_of(order).nth(usize::from(name)) else { return false };
        self.ask_for_pausing(pair, now, &mut Batch::default())
    }
}

//! Dense ids: accounts, names, registered domains and sets become numbers once, and an order the list of its buckets.

use std::fmt;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};

use rustc_hash::FxHashMap;

use super::Exemption;
use crate::buckets::{Batch, BucketId, Buckets, Mode, Transaction};
use crate::limits::overrides::ipv6_range;
use crate::limits::{LimitName, Limits};
use crate::name::{Identifier, NameSet, SetKey};
use crate::psl::SuffixList;

/// Whose bucket it is. The numbers are dense ids: [`super::Model::describe`] has the text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BucketKey {
    /// By IP address.
    NewRegistrationsPerIpAddress(IpAddr),
    /// By the first 48 bits of an IPv6 address.
    NewRegistrationsPerIpv6Range(u128),
    /// By account.
    NewOrdersPerAccount(u32),
    /// By registered domain.
    CertificatesPerDomain(u32),
    /// By account and registered domain.
    CertificatesPerDomainPerAccount(u32, u32),
    /// By exact set.
    CertificatesPerFqdnSet(u32),
    /// By account and name.
    FailedAuthorizationsPerDomainPerAccount(u32, u32),
    /// By account and name.
    FailedAuthorizationsForPausingPerDomainPerAccount(u32, u32),
}

/// An order that the model knows: an account and a name set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OrderId(u32);

impl OrderId {
    /// Its place among the orders, from 0.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Numbers for things, in the order in which they come.
#[derive(Clone, Debug)]
struct Interner<T> {
    ids: FxHashMap<T, u32>,
    things: Vec<T>,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self { ids: FxHashMap::default(), things: Vec::new() }
    }
}

impl<T: Clone + Eq + Hash> Interner<T> {
    fn intern(&mut self, thing: T) -> u32 {
        let next = dense(self.things.len());
        *self.ids.entry(thing).or_insert_with_key(|thing| {
            self.things.push(thing.clone());
            next
        })
    }
}

fn dense(len: usize) -> u32 {
    u32::try_from(len).unwrap_or_else(|_too_many| unreachable!("ids of 32 bits outlast memory"))
}

/// The buckets of an order, as ranges of [`Registry::order_buckets`]: orders of the account, then failures, then the domains
/// that are checked, then those that are spent, then the set.
#[derive(Clone, Copy, Debug)]
struct OrderBuckets {
    account: u32,
    set: u32,
    start: u32,
    failures: u32,
    checked: u32,
    spent: u32,
    names: u32,
}

#[derive(Debug, Default)]
pub(super) struct Registry {
    accounts: Interner<Box<str>>,
    names: Interner<Identifier>,
    domains: Interner<Box<str>>,
    sets: Interner<SetKey>,
    by_key: FxHashMap<BucketKey, Option<BucketId>>,
    keys: Vec<BucketKey>,
    orders: Vec<OrderBuckets>,
    order_ids: FxHashMap<(u32, u32), OrderId>,
    order_buckets: Vec<Option<BucketId>>,
    order_names: Vec<u32>,
}

impl Registry {
    pub(super) fn pair(&mut self, account: &str, name: &Identifier) -> (u32, u32) {
        (self.accounts.intern(account.into()), self.names.intern(name.clone()))
    }

    pub(super) fn key(&self, bucket: BucketId) -> BucketKey {
        self.keys[bucket.index()]
    }

    /// The bucket of `key`; `None` where its limit is off for it.
    pub(super) fn bucket(&mut self, key: BucketKey, limits: &Limits, buckets: &mut Buckets) -> Option<BucketId> {
        if let Some(known) = self.by_key.get(&key) {
            return *known;
        }
        let quota = limits.quota(limit_of(key), &self.override_id(key));
        let bucket = quota.map(|quota| {
            self.keys.push(key);
            buckets.add(quota)
        });
        self.by_key.insert(key, bucket);
        bucket
    }

    /// The id by which an override for the bucket is looked up.
    fn override_id(&self, key: BucketKey) -> String {
        match key {
            BucketKey::NewRegistrationsPerIpAddress(ip) => ip.to_string(),
            BucketKey::NewRegistrationsPerIpv6Range(bits) => ipv6_range(Ipv6Addr::from_bits(bits << 80)),
            BucketKey::CertificatesPerDomain(domain) => self.domains.things[domain as usize].to_string(),
            BucketKey::CertificatesPerFqdnSet(set) => self.sets.things[set as usize].to_string(),
            BucketKey::NewOrdersPerAccount(account)
            | BucketKey::CertificatesPerDomainPerAccount(account, _)
            | BucketKey::FailedAuthorizationsPerDomainPerAccount(account, _)
            | BucketKey::FailedAuthorizationsForPausingPerDomainPerAccount(account, _) => {
                self.accounts.things[account as usize].to_string()
            }
        }
    }

    pub(super) fn describe(&self, bucket: BucketId) -> (LimitName, String) {
        let key = self.key(bucket);
        let pair = |account: u32, of: &dyn fmt::Display| format!("{} {of}", self.accounts.things[account as usize]);
        let text = match key {
            BucketKey::CertificatesPerDomainPerAccount(account, domain) => {
                pair(account, &self.domains.things[domain as usize])
            }
            BucketKey::FailedAuthorizationsPerDomainPerAccount(account, name)
            | BucketKey::FailedAuthorizationsForPausingPerDomainPerAccount(account, name) => {
                pair(account, &self.names.things[name as usize])
            }
            BucketKey::NewRegistrationsPerIpAddress(_)
            | BucketKey::NewRegistrationsPerIpv6Range(_)
            | BucketKey::NewOrdersPerAccount(_)
            | BucketKey::CertificatesPerDomain(_)
            | BucketKey::CertificatesPerFqdnSet(_) => self.override_id(key),
        };
        (limit_of(key), text)
    }

    pub(super) fn order(
        &mut self,
        account: &str,
        names: &NameSet,
        limits: &Limits,
        suffixes: &SuffixList,
        buckets: &mut Buckets,
    ) -> OrderId {
        let own_domain_buckets = limits.own_domain_buckets(account);
        let account = self.accounts.intern(account.into());
        let set = self.sets.intern(names.key());
        if let Some(known) = self.order_ids.get(&(account, set)) {
            return *known;
        }
        let start = dense(self.order_buckets.len());
        let mut domains: Vec<String> = names.identifiers().iter().map(|name| suffixes.domain_of(name)).collect();
        domains.sort_unstable();
        domains.dedup();
        self.push(BucketKey::NewOrdersPerAccount(account), limits, buckets);
        let first_name = dense(self.order_names.len());
        for name in names.identifiers() {
            let name = self.names.intern(name.clone());
            self.order_names.push(name);
            self.push(BucketKey::FailedAuthorizationsPerDomainPerAccount(account, name), limits, buckets);
        }
        let domains: Vec<u32> = domains.into_iter().map(|domain| self.domains.intern(domain.into())).collect();
        for &domain in &domains {
            let own = BucketKey::CertificatesPerDomainPerAccount(account, domain);
            let global = BucketKey::CertificatesPerDomain(domain);
            self.push(if own_domain_buckets { own } else { global }, limits, buckets);
        }
        let spent_from = self.order_buckets.len();
        for &domain in &domains {
            if own_domain_buckets {
                self.push(BucketKey::CertificatesPerDomainPerAccount(account, domain), limits, buckets);
            }
            self.push(BucketKey::CertificatesPerDomain(domain), limits, buckets);
        }
        let spent = dense(self.order_buckets.len() - spent_from);
        self.push(BucketKey::CertificatesPerFqdnSet(set), limits, buckets);
        let order = OrderId(dense(self.orders.len()));
        let (failures, checked) = (dense(names.identifiers().len()), dense(domains.len()));
        self.orders.push(OrderBuckets { account, set, start, failures, checked, spent, names: first_name });
        self.order_ids.insert((account, set), order);
        order
    }

    fn push(&mut self, key: BucketKey, limits: &Limits, buckets: &mut Buckets) {
        let bucket = self.bucket(key, limits, buckets);
        self.order_buckets.push(bucket);
    }

    pub(super) fn set_of(&self, order: OrderId) -> u32 {
        self.orders[order.index()].set
    }

    /// Account and name of each authorization the order needs.
    pub(super) fn pairs_of(&self, order: OrderId) -> impl Iterator<Item = (u32, u32)> + '_ {
        let of = self.orders[order.index()];
        let names = &self.order_names[of.names as usize..(of.names + of.failures) as usize];
        names.iter().map(move |&name| (of.account, name))
    }

    /// What a new order checks and spends.
    #[inline]
    pub(super) fn check(&self, order: OrderId, exemption: Exemption, batch: &mut Batch) {
        let of = self.orders[order.index()];
        let buckets = &self.order_buckets[of.start as usize..];
        let (failures, checked, spent) = (of.failures as usize, of.checked as usize, of.spent as usize);
        let in_full = match exemption {
            Exemption::Ari => return,
            Exemption::SameSet => false,
            Exemption::None => true,
        };
        if in_full {
            batch.push(Transaction::of(buckets[0], Mode::CheckAndSpend));
        }
        for &bucket in &buckets[1..=failures] {
            batch.push(Transaction::of(bucket, Mode::CheckOnly));
        }
        if in_full {
            for &bucket in &buckets[1 + failures..1 + failures + checked] {
                batch.push(Transaction::of(bucket, Mode::CheckOnly));
            }
        }
        batch.push(Transaction::of(buckets[1 + failures + checked + spent], Mode::CheckOnly));
    }

    /// What an issue spends.
    #[inline]
    pub(super) fn issue(&self, order: OrderId, renewal: bool, batch: &mut Batch) {
        let of = self.orders[order.index()];
        let first = (of.start + 1 + of.failures + of.checked) as usize;
        let set = first + of.spent as usize;
        if !renewal {
            for &bucket in &self.order_buckets[first..set] {
                batch.push(Transaction::of(bucket, Mode::SpendOnly));
            }
        }
        batch.push(Transaction::of(self.order_buckets[set], Mode::SpendOnly));
    }
}

const fn limit_of(key: BucketKey) -> LimitName {
    match key {
        BucketKey::NewRegistrationsPerIpAddress(_) => LimitName::NewRegistrationsPerIpAddress,
        BucketKey::NewRegistrationsPerIpv6Range(_) => LimitName::NewRegistrationsPerIpv6Range,
        BucketKey::NewOrdersPerAccount(_) => LimitName::NewOrdersPerAccount,
        BucketKey::CertificatesPerDomain(_) => LimitName::CertificatesPerDomain,
        BucketKey::CertificatesPerDomainPerAccount(..) => LimitName::CertificatesPerDomainPerAccount,
        BucketKey::CertificatesPerFqdnSet(_) => LimitName::CertificatesPerFqdnSet,
        BucketKey::FailedAuthorizationsPerDomainPerAccount(..) => LimitName::FailedAuthorizationsPerDomainPerAccount,
        BucketKey::FailedAuthorizationsForPausingPerDomainPerAccount(..) => {
            LimitName::FailedAuthorizationsForPausingPerDomainPerAccount
        }
    }
}

//! Dense ids: accounts, names, registered domains and sets become numbers once, and an order the list of its buckets.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};
use std::net::Ipv6Addr;

use rustc_hash::FxHashMap;

use super::interner::Interner;
use super::{BucketKey, Exemption};
use crate::buckets::{Batch, BucketId, Buckets, Mode, Transaction};
use crate::dense::dense;
use crate::limits::overrides::ipv6_range;
use crate::limits::{Limit, LimitName, Limits, SameSetExempt};
use crate::name::{Identifier, NameSet, SetKey};
use crate::psl::SuffixList;

/// An order that the model knows: an account and a name set. It says itself where the buckets stand that a new order asks, so that a
/// decision has nothing to look up on its way to them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OrderId {
    index: u32,
    /// Where its run in [`Registry::order_buckets`] starts: the account's orders, the names' failures, the domains, the set.
    start: u32,
    /// Where in the run the domains start.
    domains: u16,
    /// Where in the run the set's bucket stands.
    set: u16,
    /// A bucket near which most of them stand, since they became known together.
    pub(super) near: Option<BucketId>,
}

impl OrderId {
    /// Its place among the orders, from 0.
    #[must_use]
    pub const fn index(self) -> usize {
        self.index as usize
    }
}

/// How many buckets of a kind an order has.
fn short(len: usize) -> u16 {
    u16::try_from(len).unwrap_or_else(|_too_many| unreachable!("no certificate has tens of thousands of names"))
}

/// What else is known of an order.
#[derive(Clone, Copy, Debug)]
struct Order {
    account: u32,
    set: u32,
    /// Where the buckets that an issue spends start and end in [`Registry::order_buckets`]; the set's is the last.
    issue: u32,
    issue_end: u32,
    /// Where its names start and end in [`Registry::order_names`].
    names: u32,
    names_end: u32,
}

/// The buckets of an order. Of both runs the last is the set's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Runs<'a> {
    /// Those that a new order asks: the account's orders, the names' failures, the domains, the set.
    pub(super) asked: &'a [Option<BucketId>],
    /// Where among them the domains start.
    pub(super) domains: usize,
    /// Those that an issue spends: the domains, the set.
    pub(super) spent: &'a [Option<BucketId>],
    /// Whether the account has domain buckets of its own, and spends from the common ones without asking.
    pub(super) own_domain_buckets: bool,
}

/// An account and a name: whose authorization it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Pair {
    pub(super) account: u32,
    pub(super) name: u32,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Registry {
    accounts: Interner<Box<str>>,
    names: Interner<Identifier>,
    domains: Interner<Box<str>>,
    sets: Interner<SetKey>,
    by_key: FxHashMap<BucketKey, Option<BucketId>>,
    /// By place: whose bucket it is, and its id.
    keys: Vec<(BucketKey, BucketId)>,
    order_ids: FxHashMap<(u32, u32), OrderId>,
    order_buckets: Vec<Option<BucketId>>,
    orders: Vec<Order>,
    order_names: Vec<u32>,
    /// How many buckets there are of the pausing limit: mostly none.
    pausing: usize,
    /// How many there are that count pending authorizations: none but under the oldest policy.
    pending: usize,
}

/// The parts of an order, as numbers.
struct Parts {
    account: u32,
    set: u32,
    domains: Vec<u32>,
    names: Vec<u32>,
}

impl Registry {
    /// Forgets all. The room that it took is kept.
    pub(super) fn clear(&mut self) {
        let Self {
            accounts,
            names,
            domains,
            sets,
            by_key,
            keys,
            order_ids,
            order_buckets,
            orders,
            order_names,
            pausing,
            pending,
        } = self;
        accounts.clear();
        names.clear();
        domains.clear();
        sets.clear();
        by_key.clear();
        keys.clear();
        order_ids.clear();
        order_buckets.clear();
        orders.clear();
        order_names.clear();
        (*pausing, *pending) = (0, 0);
    }

    pub(super) fn pair(&mut self, account: &str, name: &Identifier) -> Pair {
        Pair { account: self.accounts.intern_text(account), name: self.names.intern(name.clone()) }
    }

    /// The bucket of the pair's failures in a row, if anything has asked for it.
    #[inline]
    pub(super) fn pausing_of(&self, Pair { account, name }: Pair) -> Option<BucketId> {
        if self.pausing == 0 {
            return None;
        }
        self.known(BucketKey::FailedAuthorizationsForPausingPerDomainPerAccount(account, name))
    }

    /// Whose pending authorizations an order asks about.
    pub(super) fn pending_key(&self, order: OrderId) -> BucketKey {
        BucketKey::PendingAuthorizationsPerAccount(self.orders[order.index()].account)
    }

    /// What counts the account's pending authorizations, if anything has asked for it.
    #[inline]
    pub(super) fn pending_of(&self, account: u32) -> Option<BucketId> {
        if self.pending == 0 {
            return None;
        }
        self.known(BucketKey::PendingAuthorizationsPerAccount(account))
    }

    /// The bucket of `key`, if anything has asked for it and its limit is on.
    pub(super) fn known(&self, key: BucketKey) -> Option<BucketId> {
        self.by_key.get(&key).copied().flatten()
    }

    /// The bucket of `key`, or that its limit is off, if anything has asked.
    pub(super) fn asked(&self, key: BucketKey) -> Option<Option<BucketId>> {
        self.by_key.get(&key).copied()
    }

    /// All buckets, by place, with their keys.
    pub(super) fn known_buckets(&self) -> impl Iterator<Item = (BucketKey, BucketId)> + '_ {
        self.keys.iter().copied()
    }

    /// The same orders under other limits, and their ids by place.
    pub(super) fn under(&self, limits: &Limits, suffixes: &SuffixList, buckets: &mut Buckets) -> (Self, Vec<OrderId>) {
        let mut new = Self {
            accounts: self.accounts.clone(),
            names: self.names.clone(),
            domains: self.domains.clone(),
            sets: self.sets.clone(),
            ..Self::default()
        };
        let orders = self.orders.iter().map(|of| {
            let names = self.order_names[of.names as usize..of.names_end as usize].to_vec();
            let identifiers = names.iter().map(|&name| &self.names.things[name as usize]);
            let domains = new.domains_of(identifiers, suffixes);
            new.add(Parts { account: of.account, set: of.set, domains, names }, limits, buckets)
        });
        let orders = orders.collect();
        for &(key, _) in &self.keys {
            new.bucket(key, limits, buckets);
        }
        (new, orders)
    }

    fn domains_of<'a>(&mut self, names: impl Iterator<Item = &'a Identifier>, suffixes: &SuffixList) -> Vec<u32> {
        let mut domains: Vec<String> = names.map(|name| suffixes.domain_of(name)).collect();
        domains.sort_unstable();
        domains.dedup();
        domains.into_iter().map(|domain| self.domains.intern_text(&domain)).collect()
    }

    pub(super) fn key(&self, bucket: BucketId) -> BucketKey {
        self.keys[bucket.index()].0
    }

    /// The bucket of `key`; `None` where its limit is off for it.
    pub(super) fn bucket(&mut self, key: BucketKey, limits: &Limits, buckets: &mut Buckets) -> Option<BucketId> {
        if let Some(known) = self.by_key.get(&key) {
            return *known;
        }
        let capacity = limits.capacity(key.limit(), &self.override_id(key));
        let bucket = capacity.map(|capacity| {
            let pauses = matches!(key, BucketKey::FailedAuthorizationsForPausingPerDomainPerAccount(..));
            self.pausing += usize::from(pauses);
            self.pending += usize::from(matches!(key, BucketKey::PendingAuthorizationsPerAccount(_)));
            let bucket = buckets.add_any(capacity);
            self.keys.push((key, bucket));
            bucket
        });
        self.by_key.insert(key, bucket);
        bucket
    }

    pub(super) fn is_overridden(&self, bucket: BucketId, limits: &Limits) -> bool {
        self.override_of(bucket, limits).is_some()
    }

    fn override_of<'a>(&self, bucket: BucketId, limits: &'a Limits) -> Option<&'a Limit> {
        let key = self.key(bucket);
        limits.overrides.find(key.limit(), &self.override_id(key))
    }

    /// What the bucket allows: its override, else what the policy has for everyone.
    pub(super) fn limit_in_force<'a>(&self, bucket: BucketId, limits: &'a Limits) -> &'a Limit {
        let default = || limits.policy.limit(self.key(bucket).limit());
        let holds = self.override_of(bucket, limits).or_else(default);
        holds.unwrap_or_else(|| unreachable!("a bucket was made by a limit"))
    }

    /// The id by which an override for the bucket is looked up.
    fn override_id(&self, key: BucketKey) -> Cow<'_, str> {
        match key {
            BucketKey::NewRegistrationsPerIpAddress(ip) => ip.to_string().into(),
            BucketKey::NewRegistrationsPerIpv6Range(bits) => ipv6_range(Ipv6Addr::from_bits(bits << 80)).into(),
            BucketKey::CertificatesPerDomain(domain) => self.domains.things[domain as usize].as_ref().into(),
            BucketKey::CertificatesPerFqdnSet(set) => self.sets.things[set as usize].to_string().into(),
            BucketKey::NewOrdersPerAccount(account)
            | BucketKey::PendingAuthorizationsPerAccount(account)
            | BucketKey::CertificatesPerDomainPerAccount(account, _)
            | BucketKey::FailedAuthorizationsPerDomainPerAccount(account, _)
            | BucketKey::FailedAuthorizationsForPausingPerDomainPerAccount(account, _) => {
                self.accounts.things[account as usize].as_ref().into()
            }
        }
    }

    pub(super) fn describe(&self, bucket: BucketId) -> (LimitName, String) {
        let key = self.key(bucket);
        let pair = |account: u32, of: &dyn Display| {
            // Names have 253 characters at most, and mostly far less.
            let account = &self.accounts.things[account as usize];
            let mut text = String::with_capacity(account.len() + 64);
            text.push_str(account);
            write!(text, " {of}").unwrap_or_else(|error| unreachable!("a text takes all: {error}"));
            text
        };
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
            | BucketKey::PendingAuthorizationsPerAccount(_)
            | BucketKey::CertificatesPerDomain(_)
            | BucketKey::CertificatesPerFqdnSet(_) => self.override_id(key).into_owned(),
        };
        (key.limit(), text)
    }

    pub(super) fn order(
        &mut self,
        account: &str,
        names: &NameSet,
        limits: &Limits,
        suffixes: &SuffixList,
        buckets: &mut Buckets,
    ) -> OrderId {
        let account = self.accounts.intern_text(account);
        let set = self.sets.intern(names.key());
        if let Some(known) = self.order_ids.get(&(account, set)) {
            return *known;
        }
        let domains = self.domains_of(names.identifiers().iter(), suffixes);
        let names = names.identifiers().iter().map(|name| self.names.intern(name.clone())).collect();
        self.add(Parts { account, set, domains, names }, limits, buckets)
    }

    /// Adds an order that is not known yet.
    fn add(&mut self, parts: Parts, limits: &Limits, buckets: &mut Buckets) -> OrderId {
        let Parts { account, set, domains, names: order_names } = parts;
        let own_domain_buckets = limits.own_domain_buckets(&self.accounts.things[account as usize]);
        let start = self.order_buckets.len();
        self.push(BucketKey::NewOrdersPerAccount(account), limits, buckets);
        for &name in &order_names {
            self.push(BucketKey::FailedAuthorizationsPerDomainPerAccount(account, name), limits, buckets);
            if self.order_buckets.last() == Some(&None) {
                // It is off for the account: Boulder then makes one transaction for all names, which asks for nothing.
                break;
            }
        }
        let own = |domain| BucketKey::CertificatesPerDomainPerAccount(account, domain);
        let global = |domain| BucketKey::CertificatesPerDomain(domain);
        let domains_at = self.order_buckets.len();
        for &domain in &domains {
            self.push_if_on(if own_domain_buckets { own(domain) } else { global(domain) }, limits, buckets);
        }
        let set_at = self.order_buckets.len();
        self.push(BucketKey::CertificatesPerFqdnSet(set), limits, buckets);
        let mut issue = domains_at;
        if own_domain_buckets {
            issue = self.order_buckets.len();
            for &domain in &domains {
                self.push_if_on(own(domain), limits, buckets);
                self.push_if_on(global(domain), limits, buckets);
            }
            self.push(BucketKey::CertificatesPerFqdnSet(set), limits, buckets);
        }

        let (names, names_end) = (self.order_names.len(), self.order_names.len() + order_names.len());
        self.order_names.extend(order_names);
        let order = OrderId {
            index: dense(self.orders.len()),
            start: dense(start),
            domains: short(domains_at - start),
            set: short(set_at - start),
            near: self.order_buckets[set_at],
        };
        self.orders.push(Order {
            account,
            set,
            issue: dense(issue),
            issue_end: dense(self.order_buckets.len()),
            names: dense(names),
            names_end: dense(names_end),
        });
        self.order_ids.insert((account, set), order);
        order
    }

    fn push(&mut self, key: BucketKey, limits: &Limits, buckets: &mut Buckets) {
        let bucket = self.bucket(key, limits, buckets);
        self.order_buckets.push(bucket);
    }

    /// Boulder makes no transaction for a domain whose limit is off.
    fn push_if_on(&mut self, key: BucketKey, limits: &Limits, buckets: &mut Buckets) {
        let bucket = self.bucket(key, limits, buckets);
        self.order_buckets.extend(bucket.map(Some));
    }

    pub(super) fn counts(&self) -> (u32, u32) {
        (dense(self.accounts.things.len()), dense(self.domains.things.len()))
    }

    pub(super) fn names_of(&self, order: OrderId) -> impl Iterator<Item = &Identifier> + '_ {
        self.pairs_of(order).map(|pair| &self.names.things[pair.name as usize])
    }

    pub(super) fn account_of(&self, order: OrderId) -> &str {
        &self.accounts.things[self.orders[order.index()].account as usize]
    }

    pub(super) fn set_of(&self, order: OrderId) -> u32 {
        self.orders[order.index()].set
    }

    /// Account and name of each authorization the order needs.
    pub(super) fn pairs_of(&self, order: OrderId) -> impl Iterator<Item = Pair> + '_ {
        let Order { account, names, names_end, .. } = self.orders[order.index()];
        self.order_names[names as usize..names_end as usize].iter().map(move |&name| Pair { account, name })
    }

    /// What an order asks and what its certificate spends.
    pub(super) fn runs(&self, order: OrderId) -> Runs<'_> {
        let Order { issue, issue_end, .. } = self.orders[order.index()];
        Runs {
            asked: &self.order_buckets[order.start as usize..][..=usize::from(order.set)],
            domains: usize::from(order.domains),
            spent: &self.order_buckets[issue as usize..issue_end as usize],
            own_domain_buckets: issue != order.start + u32::from(order.domains),
        }
    }

    /// What a new order checks and spends, where a renewal is exempt from `same_set`.
    #[inline]
    pub(super) fn check(&self, order: OrderId, exemption: Exemption, same_set: SameSetExempt, batch: &mut Batch) {
        let buckets = &self.order_buckets[order.start as usize..][..=usize::from(order.set)];
        let check = |&bucket: &Option<BucketId>| Transaction::of(bucket, Mode::CheckOnly);
        match exemption {
            Exemption::Ari => {}
            Exemption::SameSet => {
                if same_set == SameSetExempt::Domains {
                    batch.push(Transaction::of(buckets[0], Mode::CheckAndSpend));
                }
                batch.extend(buckets[1..usize::from(order.domains)].iter().map(check));
                batch.extend(buckets.last().map(check));
            }
            Exemption::None => {
                batch.push(Transaction::of(buckets[0], Mode::CheckAndSpend));
                batch.extend(buckets[1..].iter().map(check));
            }
        }
    }

    /// What an issue spends.
    #[inline]
    pub(super) fn issue(&self, order: OrderId, renewal: bool, batch: &mut Batch) {
        let Order { issue, issue_end, .. } = self.orders[order.index()];
        let buckets = &self.order_buckets[issue as usize..issue_end as usize];
        let spent = if renewal { &buckets[buckets.len() - 1..] } else { buckets };
        batch.extend(spent.iter().map(|&bucket| Transaction::of(bucket, Mode::SpendOnly)));
    }
}

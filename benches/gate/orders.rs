//! Orders that are all different and all allowed, and what a decision about each writes.

use std::sync::LazyLock;

use certpace::clock::{SystemClock, Timescale};
use certpace::gate::{Gate, Request, Verdict, quota_of};
use certpace::ledger::{MemoryStore, Realm, bucket_name};
use certpace::limits::{Limit, LimitName, Limits, Overrides, Policy};
use certpace::name::NameSet;
use certpace::psl::SuffixList;
use certpace::time::{NS_PER_US, Span};

const ACCOUNTS: usize = 8;

pub(crate) static SUFFIXES: LazyLock<SuffixList> = LazyLock::new(SuffixList::embedded);

pub(crate) fn realm() -> Realm {
    Realm::new("https://ca.example/directory")
}

fn account(order: usize) -> String {
    format!("https://ca.example/acme/acct/{:08}", order % ACCOUNTS)
}

fn name(order: usize) -> String {
    format!("www.customer-{order:08}.com")
}

/// Let's Encrypt's, with an override for the accounts.
pub(crate) fn limits() -> Limits {
    let policy = Policy::built_in("letsencrypt").unwrap_or_else(|error| panic!("{error}"));
    let limit = Limit::new(1_000_000, 1_000_000, Span::from_hours(3)).unwrap_or_else(|error| panic!("{error}"));
    let mut overrides = Overrides::none();
    (0..ACCOUNTS).for_each(|number| overrides.set(LimitName::NewOrdersPerAccount, &account(number), limit.clone()));
    Limits { policy, overrides }
}

/// A bucket that an order takes from, as plain values.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    pub(crate) name: String,
    /// In microseconds.
    pub(crate) emission: i64,
    pub(crate) burst: i64,
}

/// Orders, and the four buckets that each takes from.
pub(crate) struct Orders {
    requests: Vec<Request>,
    buckets: Vec<[Bucket; 4]>,
    /// Of failures in a row, of which an order takes none.
    pausing: (i64, i64),
}

impl Orders {
    pub(crate) fn new(count: usize) -> Self {
        let request = |order| {
            let names = NameSet::parse([name(order).as_str()]).unwrap_or_else(|error| panic!("{error}"));
            Request::of(&account(order), names, "bench")
        };
        let requests: Vec<_> = (0..count).map(request).collect();
        let limits = limits();
        let buckets: Vec<_> = requests.iter().map(|request| buckets(request, &limits)).collect();
        if let (Some(request), Some(buckets)) = (requests.first(), buckets.first()) {
            check(request, buckets);
        }
        let limit = LimitName::FailedAuthorizationsForPausingPerDomainPerAccount;
        let pausing = bucket(limit, &format!("{} {}", account(0), name(0)), &limits);
        Self { requests, buckets, pausing: (pausing.emission, pausing.burst) }
    }

    pub(crate) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(crate) fn request(&self, order: usize) -> &Request {
        &self.requests[order]
    }

    /// In the order in which the rules name them: orders, failures, certificates of the domain, of the set.
    pub(crate) fn buckets(&self, order: usize) -> &[Bucket; 4] {
        &self.buckets[order]
    }

    /// Emission interval and burst of every order's buckets, and of failures in a row.
    pub(crate) fn quotas(&self) -> impl Iterator<Item = (i64, i64)> + '_ {
        self.buckets[0].iter().map(|bucket| (bucket.emission, bucket.burst)).chain([self.pausing])
    }
}

fn bucket(limit: LimitName, key: &str, limits: &Limits) -> Bucket {
    let name = bucket_name(limit, key);
    let quota = quota_of(limits, &name).unwrap_or_else(|| panic!("{name} has a quota"));
    Bucket { name, emission: quota.emission().nanos() / NS_PER_US, burst: quota.burst().into() }
}

fn buckets(request: &Request, limits: &Limits) -> [Bucket; 4] {
    let Request { account, names, .. } = request;
    let name = &names.identifiers()[0];
    [
        bucket(LimitName::NewOrdersPerAccount, account, limits),
        bucket(LimitName::FailedAuthorizationsPerDomainPerAccount, &format!("{account} {name}"), limits),
        bucket(LimitName::CertificatesPerDomain, &SUFFIXES.domain_of(name), limits),
        bucket(LimitName::CertificatesPerFqdnSet, &names.key().to_string(), limits),
    ]
}

/// That these are the buckets which the gate holds, and that it writes what is written by hand.
fn check(request: &Request, buckets: &[Bucket; 4]) {
    let store = Box::new(MemoryStore::new(SystemClock));
    let gate = Gate::new(store, realm(), limits(), SUFFIXES.clone(), Timescale::REAL, [0; 32]);
    let mut gate = gate.unwrap_or_else(|error| panic!("{error}"));
    let answer = gate.reserve(request).unwrap_or_else(|error| panic!("{error}"));
    assert!(matches!(answer.verdict, Verdict::Allow { permit: Some(_), .. }), "it is allowed");
    let (mut held, mut documents, mut lines) = (Vec::new(), 0, 0);
    let looked = gate.with_store(|store| {
        store.cells(&realm().code(), &mut |name, _| held.push(name))?;
        store.documents(&realm().code(), "", &mut |_| documents += 1)?;
        store.records(0, 9, &mut |_| lines += 1)
    });
    looked.unwrap_or_else(|error| panic!("{error}"));
    let mut own = buckets.each_ref().map(|bucket| bucket.name.as_str());
    held.sort_unstable();
    own.sort_unstable();
    assert_eq!(
        (held.as_slice(), documents, lines),
        (own.map(str::to_owned).as_slice(), 2, 1),
        "what a decision consists of"
    );
}

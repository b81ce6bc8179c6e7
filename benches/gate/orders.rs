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

/// A bucket that is asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) name: String,
    /// In microseconds.
    pub(crate) emission: i64,
    pub(crate) burst: i64,
}

/// What is checked and written for one order, as plain values.
#[derive(Clone, Debug)]
pub(crate) struct Bare {
    /// The buckets; those that are held first.
    pub(crate) asked: Vec<Asked>,
    /// How many are held.
    pub(crate) held: usize,
    /// Names and texts of documents; the first, the permit's, has a lease.
    pub(crate) documents: Vec<(String, String)>,
    /// The line of the record.
    pub(crate) record: String,
}

/// Orders, and what a bare decision about each is told. All is made beforehand: no side is measured with it.
pub(crate) struct Orders {
    requests: Vec<Request>,
    bare: Vec<Bare>,
}

impl Orders {
    pub(crate) fn new(count: usize) -> Self {
        let request = |order| {
            let names = NameSet::parse([name(order).as_str()]).unwrap_or_else(|error| panic!("{error}"));
            Request::of(&account(order), names, "bench")
        };
        let requests: Vec<_> = (0..count).map(request).collect();
        let sample = Sample::new();
        let bare = (0..count).map(|order| sample.of(order, &requests[order])).collect();
        Self { requests, bare }
    }

    pub(crate) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(crate) fn request(&self, order: usize) -> &Request {
        &self.requests[order]
    }

    pub(crate) fn bare(&self, order: usize) -> &Bare {
        &self.bare[order]
    }
}

/// What the gate has written for one order, so that a bare decision writes as many rows with as many bytes.
struct Sample {
    bare: Bare,
    account: String,
    name: String,
    set: String,
    permit: String,
}

impl Sample {
    fn new() -> Self {
        let (account, name) = (account(0), name(99_999_999));
        let names = NameSet::parse([name.as_str()]).unwrap_or_else(|error| panic!("{error}"));
        let store = Box::new(MemoryStore::new(SystemClock));
        let gate = Gate::new(store, realm(), limits(), SUFFIXES.clone(), Timescale::REAL, [0; 32]);
        let mut gate = gate.unwrap_or_else(|error| panic!("{error}"));
        let request = Request::of(&account, names, "bench");
        let answer = gate.reserve(&request).unwrap_or_else(|error| panic!("{error}"));
        let Verdict::Allow { permit: Some(permit), .. } = answer.verdict else { panic!("it is allowed") };
        let (mut held, mut documents, mut record) = (Vec::new(), Vec::new(), String::new());
        let looked = gate.with_store(|store| {
            store.cells(&realm().code(), &mut |name, _| held.push(name))?;
            store.documents(&realm().code(), "", &mut |document| documents.push((document.name, document.body)))?;
            store.records(0, 1, &mut |line| record = line.body)
        });
        looked.unwrap_or_else(|error| panic!("{error}"));
        documents.sort_by_key(|(name, _)| !name.starts_with("permit"));
        let count = held.len();
        // Beside those that it holds it asks whether a failure would pause the name, and whether the name failed lately.
        let key = format!("{account} {name}");
        let pausing = bucket_name(LimitName::FailedAuthorizationsForPausingPerDomainPerAccount, &key);
        let asked = held.into_iter().chain([pausing, format!("Backoff {key}")]).map(|name| {
            let quota = quota_of(&limits(), &name).unwrap_or_else(|| panic!("{name} has a quota"));
            Asked { name, emission: quota.emission().nanos() / NS_PER_US, burst: quota.burst().into() }
        });
        let bare = Bare { asked: asked.collect(), held: count, documents, record };
        assert_eq!((bare.asked.len(), bare.held, bare.documents.len()), (6, 4, 2), "what a decision consists of");
        Self { bare, account, name, set: request.names.key().to_string(), permit: permit.permit }
    }

    /// The same for another order.
    fn of(&self, order: usize, request: &Request) -> Bare {
        let set = request.names.key().to_string();
        let (domain, own) = (self.name.trim_start_matches("www."), name(order));
        let (permit, own_domain) = (format!("{order:016x}"), own.trim_start_matches("www."));
        let of = |text: &String| {
            let text = text.replace(&self.account, &account(order)).replace(domain, own_domain);
            text.replace(&self.set, &set).replace(&self.permit, &permit)
        };
        Bare {
            asked: self.bare.asked.iter().map(|asked| Asked { name: of(&asked.name), ..asked.clone() }).collect(),
            held: self.bare.held,
            documents: self.bare.documents.iter().map(|(name, body)| (of(name), of(body))).collect(),
            record: of(&self.bare.record),
        }
    }
}

//! The load balancer in front of the CA: limits on requests by client IP address, over which it answers 503.

use crate::buckets::{Batch, BucketId, Buckets, Mode, Transaction};
use crate::gcra::{Cost, Quota};
use crate::limits::Policy;
use crate::time::{Span, Timestamp};

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// The directory.
    Directory,
    /// A nonce.
    NewNonce,
    /// A new account, or which account a key has.
    NewAccount,
    /// A new order.
    NewOrder,
    /// A revocation.
    RevokeCert,
    /// When to renew a certificate.
    RenewalInfo,
    /// Authorizations, challenges, finalize, certificates, accounts.
    Other,
}

impl Request {
    /// How many kinds there are.
    const COUNT: usize = Self::ALL.len();

    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Directory,
        Self::NewNonce,
        Self::NewAccount,
        Self::NewOrder,
        Self::RevokeCert,
        Self::RenewalInfo,
        Self::Other,
    ];

    /// The path under which Let's Encrypt has it, by which a policy's endpoint limits go.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Directory => "/directory",
            Self::NewNonce => "/acme/new-nonce",
            Self::NewAccount => "/acme/new-account",
            Self::NewOrder => "/acme/new-order",
            Self::RevokeCert => "/acme/revoke-cert",
            Self::RenewalInfo => "/acme/renewal-info",
            Self::Other => "/acme/authz",
        }
    }
}

/// The endpoint limits of a policy, and what each address has used of them. Addresses are numbers, counted from 0.
#[derive(Clone, Debug)]
pub struct Door {
    quotas: [Option<Quota>; Request::COUNT],
    buckets: Buckets,
    /// By address and kind of request.
    ids: Vec<[Option<BucketId>; Request::COUNT]>,
    batch: Batch,
}

impl Door {
    /// Nobody has come yet.
    #[must_use]
    pub fn new(policy: &Policy) -> Self {
        let quotas = Request::ALL.map(|request| quota(policy, request.path()));
        Self { quotas, buckets: Buckets::default(), ids: Vec::new(), batch: Batch::default() }
    }

    /// Lets `requests` through, or says after which time it would. More than a full bucket count as a full one: a client sends them one
    /// after the other.
    ///
    /// # Errors
    /// The time to wait.
    pub fn pass(&mut self, address: u32, request: Request, requests: u32, now: Timestamp) -> Result<(), Span> {
        let Some(bucket) = self.bucket(address, request) else { return Ok(()) };
        let cost = Cost::new(requests.min(self.buckets.quota(bucket).burst()));
        self.batch.clear();
        self.batch.push(Transaction::of(Some(bucket), Mode::CheckAndSpend).with_cost(cost));
        if self.buckets.decide(&mut self.batch, now) {
            return Ok(());
        }
        Err(self.batch.denials().map(|(_, outcome)| outcome.retry_in).max().unwrap_or_default())
    }

    fn bucket(&mut self, address: u32, request: Request) -> Option<BucketId> {
        let Self { quotas, buckets, ids, .. } = self;
        while ids.len() <= address as usize {
            ids.push(quotas.map(|quota| quota.map(|quota| buckets.add(quota))));
        }
        ids[address as usize][request as usize]
    }

    /// What of its buckets `address` has used, if it has ever come: the whole requests that are left, and when all are back.
    pub fn used(&self, address: u32, now: Timestamp) -> impl Iterator<Item = (Request, i64, Timestamp)> + '_ {
        let of = self.ids.get(address as usize).into_iter().flatten();
        Request::ALL.into_iter().zip(of).filter_map(move |(request, bucket)| {
            let bucket = (*bucket)?;
            let full_at = self.buckets.tat(bucket)?;
            let used = self.buckets.used(bucket, now).max(0);
            Some((request, self.buckets.left(bucket, used), full_at.max(now)))
        })
    }
}

/// The quota of requests for `path` by one address: that of the longest path of `policy` that matches. Where no burst is documented it is
/// taken to be what a second brings.
#[must_use]
pub fn quota(policy: &Policy, path: &str) -> Option<Quota> {
    let matches = |pattern: &str| match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => path == pattern,
    };
    let endpoint = policy.endpoints.iter().filter(|of| matches(&of.path)).max_by_key(|of| of.path.len())?;
    let burst = endpoint.burst.unwrap_or(endpoint.rate_per_second);
    Quota::new(u64::from(burst), u64::from(endpoint.rate_per_second), Span::from_seconds(1)).ok()
}

#[cfg(test)]
mod tests {
    use crate::time::NS_PER_S;

    use super::*;

    #[test]
    fn ten_nonces_at_once_and_twenty_a_second() {
        let mut door = Door::new(&Policy::built_in("letsencrypt").unwrap());
        let now = Timestamp::from_unix_seconds(1_800_000_000);
        let twentieth = Span::from_nanos(NS_PER_S / 20);
        assert!((0..10).all(|_| door.pass(0, Request::NewNonce, 1, now).is_ok()));
        assert_eq!(door.pass(0, Request::NewNonce, 1, now), Err(twentieth));
        assert_eq!(door.pass(1, Request::NewNonce, 1, now), Ok(()), "another address");
        assert_eq!(door.pass(0, Request::NewNonce, 1, now.plus(twentieth)), Ok(()));
        assert_eq!(door.pass(0, Request::Other, 200, now), Ok(()), "as many as a full bucket has");
        let used: Vec<_> = door.used(0, now).map(|(request, left, _)| (request, left)).collect();
        assert_eq!(used, [(Request::NewNonce, 0), (Request::Other, 0)]);
        assert_eq!(door.used(2, now).count(), 0);
    }

    #[test]
    fn every_kind_of_request_has_the_limit_of_its_path() {
        let policy = Policy::built_in("letsencrypt").unwrap();
        let bursts = Request::ALL.map(|request| quota(&policy, request.path()).unwrap().burst());
        let documented = ["/directory", "/acme/new-nonce", "/acme/new-account", "/acme/new-order", "/acme/revoke-cert"];
        let of = |path: &str| policy.endpoints.iter().find(|of| of.path == path).and_then(|of| of.burst).unwrap();
        assert_eq!(bursts[..5], documented.map(of));
        assert_eq!(bursts[5..], [of("/acme/renewal-info"), of("/acme/*")]);
    }
}

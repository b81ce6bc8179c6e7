//! The load balancer in front of the CA: limits on requests by client IP address, over which it answers 503.

use crate::buckets::{Batch, BucketId, Buckets, Mode, Transaction};
use crate::gcra::{Cost, Quota};
use crate::limits::Policy;
use crate::time::{NS_PER_S, Span, Timestamp};

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Request {
    Nonce,
    Order,
    /// Authorizations, challenges, finalize, certificates.
    Other,
}

impl Request {
    const ALL: [Self; 3] = [Self::Nonce, Self::Order, Self::Other];

    const fn path(self) -> &'static str {
        match self {
            Self::Nonce => "/acme/new-nonce",
            Self::Order => "/acme/new-order",
            Self::Other => "/acme/authz",
        }
    }
}

#[derive(Debug)]
pub(super) struct Door {
    buckets: Buckets,
    /// By address and kind of request.
    ids: Vec<[Option<BucketId>; 3]>,
    batch: Batch,
}

impl Door {
    pub(super) fn new(policy: &Policy, addresses: u32) -> Self {
        let mut buckets = Buckets::default();
        let quotas = Request::ALL.map(|request| quota(policy, request.path()));
        let ids = (0..addresses).map(|_| quotas.map(|quota| quota.map(|quota| buckets.add(quota)))).collect();
        Self { buckets, ids, batch: Batch::default() }
    }

    /// Lets `requests` through, or says after which time it would. More than a full bucket count as a full one: a client sends them one
    /// after the other.
    pub(super) fn pass(&mut self, address: u32, request: Request, requests: u32, now: Timestamp) -> Result<(), Span> {
        let Some(bucket) = self.ids[address as usize][request as usize] else { return Ok(()) };
        let cost = Cost::new(requests.min(self.buckets.quota(bucket).burst()));
        self.batch.clear();
        self.batch.push(Transaction::of(Some(bucket), Mode::CheckAndSpend).with_cost(cost));
        if self.buckets.decide(&mut self.batch, now) {
            return Ok(());
        }
        let wait = self.batch.denials().map(|(_, outcome)| outcome.retry_in).max().unwrap_or_default();
        // Whole seconds, as `Retry-After` has them.
        Err(Span::from_seconds(wait.nanos().saturating_add(NS_PER_S - 1) / NS_PER_S))
    }
}

/// The quota of the longest path that matches. Where no burst is documented it is taken to be what a second brings.
fn quota(policy: &Policy, path: &str) -> Option<Quota> {
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
    use super::*;

    #[test]
    fn ten_nonces_at_once_and_twenty_a_second() {
        let mut door = Door::new(&Policy::built_in("letsencrypt").unwrap(), 2);
        let now = Timestamp::from_unix_seconds(1_800_000_000);
        assert!((0..10).all(|_| door.pass(0, Request::Nonce, 1, now).is_ok()));
        assert_eq!(door.pass(0, Request::Nonce, 1, now), Err(Span::from_seconds(1)));
        assert_eq!(door.pass(1, Request::Nonce, 1, now), Ok(()), "another address");
        assert_eq!(door.pass(0, Request::Nonce, 1, now.plus(Span::from_nanos(NS_PER_S / 20))), Ok(()));
        assert_eq!(door.pass(0, Request::Other, 200, now), Ok(()), "as many as a full bucket has");
    }
}

//! How fast requests go out: below the endpoint limits of the CA's load balancer, by class of endpoint.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, RateLimiter};

use crate::clock::Stopwatch;
use crate::gcra;
use crate::limits::Policy;
use crate::rules::{Request, door};
use crate::time::Span;

/// A request waits that long at most where the CA wants to be left alone. It is refused at once where that takes longer: whoever sends it
/// has better things to do meanwhile.
const WAIT_MAX: Span = Span::from_seconds(60);

/// One for each class of endpoint.
#[derive(Debug)]
pub(super) struct Pace(BTreeMap<Request, Lane>);

#[derive(Debug)]
struct Lane {
    limiter: Option<DefaultDirectRateLimiter>,
    /// Since when the CA wants no requests, and for how long.
    hold: Mutex<Option<(Stopwatch, Span)>>,
}

impl Pace {
    /// That of `policy`, `speed` times faster.
    pub(super) fn new(policy: &Policy, speed: u32) -> Self {
        let lane = |request: Request| {
            let limiter = door::quota(policy, request.path()).map(|quota| RateLimiter::direct(below(quota, speed)));
            (request, Lane { limiter, hold: Mutex::default() })
        };
        Self(Request::ALL.into_iter().map(lane).collect())
    }

    /// Returns when a request may go out.
    ///
    /// # Errors
    /// How long the CA still wants none, where that is too long to wait.
    pub(super) async fn ready(&self, request: Request) -> Result<(), Span> {
        let Some(lane) = self.0.get(&request) else { return Ok(()) };
        while let Some(wait) = lane.held() {
            if wait > WAIT_MAX {
                return Err(wait);
            }
            tokio::time::sleep(Duration::from_nanos(wait.nanos().unsigned_abs())).await;
        }
        if let Some(limiter) = &lane.limiter {
            limiter.until_ready().await;
        }
        Ok(())
    }

    /// The CA wants no such requests for so long.
    pub(super) fn hold(&self, request: Request, wait: Span) {
        if let Some(lane) = self.0.get(&request) {
            *lane.hold.lock().unwrap_or_else(PoisonError::into_inner) = Some((Stopwatch::start(), wait));
        }
    }
}

impl Lane {
    /// How much longer it is held.
    fn held(&self) -> Option<Span> {
        let mut hold = self.hold.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, wait) = (*hold)?;
        let left = wait.minus(since.elapsed());
        if left.nanos() > 0 {
            return Some(left);
        }
        *hold = None;
        None
    }
}

/// Nine tenths of the rate and half of the burst: the CA counts when requests arrive, and they don't travel equally fast.
fn below(quota: gcra::Quota, speed: u32) -> governor::Quota {
    let interval = i128::from(quota.emission().nanos()) * 10;
    let nine_tenths = 9 * i128::from(speed.max(1));
    let interval = ((interval + nine_tenths - 1) / nine_tenths).max(1);
    let interval = Duration::from_nanos(u64::try_from(interval).unwrap_or(u64::MAX));
    let burst = NonZeroU32::new(quota.burst() / 2).unwrap_or(NonZeroU32::MIN);
    // An interval is never zero, so there is always a quota.
    governor::Quota::with_period(interval).unwrap_or(governor::Quota::per_second(NonZeroU32::MIN)).allow_burst(burst)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_stays_below_the_limits() {
        let policy = Policy::built_in("letsencrypt").unwrap();
        let quota = door::quota(&policy, Request::NewNonce.path()).unwrap();
        let own = below(quota, 1);
        assert_eq!(own.burst_size().get(), quota.burst() / 2);
        let faster = |own: governor::Quota, speed: i64| {
            i64::try_from(own.replenish_interval().as_nanos()).unwrap() * speed * 9 / 10 - quota.emission().nanos()
        };
        assert!((0..10).contains(&faster(own, 1)), "{own:?}");
        assert!((0..10_000).contains(&faster(below(quota, 1_000), 1_000)));
        let one = gcra::Quota::new(1, 1, Span::from_seconds(1)).unwrap();
        assert_eq!(below(one, u32::MAX).burst_size().get(), 1);
    }

    #[tokio::test]
    async fn a_class_is_held_for_as_long_as_the_ca_says_and_no_other() {
        let pace = Pace::new(&Policy::built_in("letsencrypt").unwrap(), 1);
        pace.hold(Request::NewOrder, Span::from_hours(1));
        assert!(pace.ready(Request::NewOrder).await.is_err_and(|left| left > Span::from_seconds(3_500)));
        assert_eq!(pace.ready(Request::Other).await, Ok(()));
        pace.hold(Request::NewOrder, Span::default());
        assert_eq!(pace.ready(Request::NewOrder).await, Ok(()));
    }
}

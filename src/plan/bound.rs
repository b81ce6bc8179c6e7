//! A time before which no plan can finish, computed on its own path.
//!
//! Each registered domain's *k*-th order can't go before its bucket lets it, even if the first one went at once; these releases, in
//! order, can't all go before the account's bucket lets them. Real orders may be late, so a plan's last order may lie up to the margin
//! behind it; up to two of them where a domain's first order has to wait for its account, since both buckets are then waited for. It
//! is reached (but for that) with one account, one domain a certificate, and usable bursts of 2 or more.

use rustc_hash::FxHashMap;

use super::jobs::{Jobs, Lane, TightLanes};
use crate::gcra::{Cost, Quota};
use crate::time::{Span, Timestamp};

/// The bound for `jobs`. `orders_least`: where certificates of several domains are allowed, the fewest orders each account can do with,
/// however the names are grouped; each domain's bucket then bounds by itself.
pub(super) fn bound(
    jobs: &Jobs<'_>,
    tight: &TightLanes,
    start: Timestamp,
    account_quota: &dyn Fn(usize) -> Option<Quota>,
    orders_least: Option<&[u64]>,
) -> Timestamp {
    let accounts = jobs.account_count();
    let mut finish = start;
    let mut releases: Vec<Vec<Timestamp>> = vec![Vec::new(); accounts];
    if !tight.lanes.is_empty() {
        let mut sent: FxHashMap<(Lane, u32), u32> = FxHashMap::default();
        let mut checked: FxHashMap<Lane, u32> = FxHashMap::default();
        for &job in &tight.jobs {
            let of = jobs.job(job);
            let mut release = start;
            for (lane, quota) in jobs
                .lanes(job)
                .into_iter()
                .filter(|(_, checked)| *checked)
                .filter_map(|(lane, _)| Some((lane, tight.lanes[tight.place(lane)?].1)))
            {
                let of_account = sent.entry((lane, of.account)).or_default();
                *of_account += 1;
                release = release.max(release_of(quota, start, *of_account));
                let of_all = checked.entry(lane).or_default();
                *of_all += 1;
                finish = finish.max(release_of(quota, start, *of_all));
            }
            if release > start {
                releases[of.account as usize].push(release);
            }
        }
    }
    for (account, releases) in releases.iter_mut().enumerate() {
        let Some(quota) = account_quota(account) else { continue };
        let at_once = match orders_least {
            Some(least) => {
                releases.clear();
                least[account]
            }
            None => jobs.by_account()[account] - releases.len() as u64,
        };
        finish = finish.max(through(quota, start, at_once, releases));
    }
    finish
}

/// When a bucket lets its `k`-th token go, `k` from 1, if the first ones went at once.
fn release_of(quota: Quota, start: Timestamp, k: u32) -> Timestamp {
    let beyond = i64::from(k.saturating_sub(quota.burst()));
    start.plus(Span::from_nanos(quota.emission().nanos().saturating_mul(beyond)))
}

/// When the last order has gone through an account's bucket: `at_once` of them wanting to go at the start, the others later.
fn through(quota: Quota, start: Timestamp, at_once: u64, later: &mut [Timestamp]) -> Timestamp {
    later.sort_unstable();
    let at_once = u32::try_from(at_once).unwrap_or(u32::MAX);
    let mut finish = release_of(quota, start, at_once);
    let mut tat = Some(quota.spent(None, start, Cost::new(at_once)));
    for release in later {
        let asked = quota.spend(tat, *release, Cost::ONE);
        let at = if asked.allowed { *release } else { release.plus(asked.retry_in) };
        tat = quota.spend(tat, at, Cost::ONE).tat_after;
        finish = finish.max(at);
    }
    finish
}

//! A time before which no plan can finish, computed on its own path.
//!
//! Each registered domain's *k*-th order can't go before its bucket lets it, even if the first one went at once; these releases, in
//! order, can't all go before the account's bucket lets them. Real orders may be late, so a plan's last order may lie up to the margin
//! behind it; up to two of them where a domain's first order has to wait for its account, since both buckets are then waited for. It
//! is reached (but for that) with one account whose bucket lacks nothing at the start, one domain a certificate, and usable bursts of 2 or
//! more. Where the account has spent its tokens before the start it is a bound still, but may lie before the best there is.

use rustc_hash::FxHashMap;

use super::jobs::{Jobs, Lane, TightLanes};
use super::stock::Stock;
use crate::gcra::Cost;
use crate::time::Timestamp;

/// A bucket that lets orders go in the order of their releases, each as soon as it can.
struct Flow {
    stock: Stock,
    tat: Timestamp,
}

impl Flow {
    fn new(stock: Stock) -> Self {
        Self { stock, tat: stock.spent_at_start() }
    }

    /// When it has a token for the next order, released at `release`, and takes it.
    fn next(&mut self, release: Timestamp) -> Timestamp {
        let quota = self.stock.quota;
        let at = self.tat.plus(quota.emission()).minus(quota.offset()).max(release);
        self.tat = quota.spent(Some(self.tat), at, Cost::ONE);
        at
    }
}

/// The bound for `jobs`. `orders_least`: where certificates of several domains are allowed, the fewest orders each account can do with,
/// however the names are grouped; each domain's bucket then bounds by itself.
pub(super) fn bound(
    jobs: &Jobs<'_>,
    tight: &TightLanes,
    start: Timestamp,
    account_stock: &dyn Fn(usize) -> Option<Stock>,
    orders_least: Option<&[u64]>,
) -> Timestamp {
    let accounts = jobs.account_count();
    let mut finish = start;
    let mut releases: Vec<Vec<Timestamp>> = vec![Vec::new(); accounts];
    if !tight.jobs.is_empty() {
        let mut of_accounts: FxHashMap<(Lane, u32), Flow> = FxHashMap::default();
        let mut of_all: FxHashMap<Lane, Flow> = FxHashMap::default();
        // An account that has spent what it had before the start lets nothing go before its first token is back.
        let first = |account| account_stock(account).map_or(start, |stock| Flow::new(stock).next(start));
        let first: Vec<Timestamp> = (0..accounts).map(first).collect();
        let earliest = |job: u32| {
            let first = first[jobs.job(job).account as usize];
            jobs.delay(job).map_or(first, |(_, until)| until.max(first))
        };
        // A bucket lets those go first that can go first: then none of its times could be earlier.
        let mut in_order = tight.jobs.clone();
        in_order.sort_by_key(|job| earliest(*job));
        for job in in_order {
            let of = jobs.job(job);
            let earliest = earliest(job);
            let mut release = earliest;
            let checked = jobs.lanes(job).into_iter().filter(|(_, checked)| *checked);
            for (lane, stock) in checked.filter_map(|(lane, _)| Some((lane, tight.lanes[tight.place(lane)?].1))) {
                let of_account = of_accounts.entry((lane, of.account)).or_insert_with(|| Flow::new(stock));
                release = release.max(of_account.next(earliest));
                finish = finish.max(of_all.entry(lane).or_insert_with(|| Flow::new(stock)).next(earliest));
            }
            finish = finish.max(release);
            if release > start {
                releases[of.account as usize].push(release);
            }
        }
    }
    for (account, releases) in releases.iter_mut().enumerate() {
        let Some(stock) = account_stock(account) else { continue };
        let at_once = match orders_least {
            Some(least) => {
                releases.clear();
                least[account]
            }
            None => jobs.by_account()[account] - releases.len() as u64,
        };
        finish = finish.max(through(stock, start, at_once, releases));
    }
    finish
}

/// When the last order has gone through an account's bucket: `at_once` of them wanting to go at the start, the others later.
fn through(stock: Stock, start: Timestamp, at_once: u64, later: &mut [Timestamp]) -> Timestamp {
    later.sort_unstable();
    let mut flow = Flow::new(stock);
    let mut finish = start;
    if at_once > 0 {
        let but_one = Cost::new(u32::try_from(at_once - 1).unwrap_or(u32::MAX));
        flow.tat = stock.quota.spent(Some(flow.tat), start, but_one);
        finish = flow.next(start);
    }
    later.iter().fold(finish, |finish, release| flow.next(*release).max(finish))
}

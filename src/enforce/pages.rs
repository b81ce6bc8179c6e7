//! The proxy's own pages, below `/-/`: how it stands, as JSON.

use std::net::IpAddr;

use serde::Serialize;

use super::enforcer::Enforcer;
use super::journal::Counts;
use crate::limits::LimitName;
use crate::rules::Request;
use crate::time::Timestamp;

/// `/-/buckets`: what is left of everything that anybody has used.
#[derive(Serialize)]
struct Buckets {
    /// In the limits' time, as all times here.
    now: Timestamp,
    speed: u32,
    counts: Counts,
    buckets: Vec<Bucket>,
    paused: Vec<Paused>,
    requests: Vec<Requests>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Bucket {
    limit: LimitName,
    key: String,
    remaining: i64,
    burst: u64,
    /// When all tokens are back; `null` where no tokens are counted.
    full_at: Option<Timestamp>,
    overridden: bool,
}

#[derive(Serialize)]
struct Paused {
    account: String,
    name: String,
}

#[derive(Serialize)]
struct Requests {
    address: IpAddr,
    path: &'static str,
    request: Request,
    remaining: i64,
    full_at: Timestamp,
}

/// The page as JSON.
pub(super) fn buckets(enforcer: &Enforcer, speed: u32, now: Timestamp) -> String {
    let model = enforcer.model();
    let states = model.buckets();
    let mut buckets: Vec<Bucket> = model
        .all_buckets()
        .filter(|bucket| states.tat(*bucket).is_some() || states.used(*bucket, now) > 0)
        .map(|bucket| {
            let (limit, key) = model.describe(bucket);
            let remaining = states.left(bucket, states.used(bucket, now).max(0));
            let burst = model.refusal(bucket, now).burst;
            Bucket {
                limit,
                key,
                remaining,
                burst,
                full_at: states.tat(bucket).map(|tat| tat.max(now)),
                overridden: model.is_overridden(bucket),
            }
        })
        .collect();
    buckets.sort();
    let paused = enforcer.paused().iter();
    let paused = paused.map(|(account, name)| Paused { account: account.clone(), name: name.to_string() }).collect();
    let requests = enforcer.requests(now).map(|(address, request, remaining, full_at)| Requests {
        address,
        path: request.path(),
        request,
        remaining,
        full_at,
    });
    let page =
        Buckets { now, speed, counts: enforcer.journal().counts(), buckets, paused, requests: requests.collect() };
    json(&page)
}

/// `/-/log`: every decision, one a line, oldest first.
pub(super) fn log(enforcer: &Enforcer) -> String {
    enforcer.journal().lines().map(|line| format!("{}\n", json(line))).collect()
}

fn json(page: &impl Serialize) -> String {
    serde_json::to_string(page).unwrap_or_else(|error| unreachable!("our own pages have text for keys: {error}"))
}

//! From an order to a ledger's buckets: what it has at stake by the rules, under the names and with the quotas that a store is told.

use std::hash::BuildHasher as _;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

use super::document::Board;
use crate::counts::Capacity;
use crate::gcra::Quota;
use crate::ledger::{Ask, Bucket, Motion, Move, Step, bucket_name, limit_and_key};
use crate::limits::{LimitName, Limits};
use crate::permits::Moves;
use crate::plan::Share;
use crate::rules::{Exemption, Model, OrderId, Part};
use crate::time::{Span, Timestamp};

/// How the buckets begin in which names that failed wait before they are tried again. They are no limit of the CA's.
const BACKOFF: &str = "Backoff";

/// Fills a step's buckets, asks and moves, by name.
pub(super) struct Draft<'a> {
    pub(super) step: Step,
    limits: &'a Limits,
    board: &'a Board,
    /// Where in the step each bucket stands, by the hash of its name.
    places: HashTable<usize>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(step: Step, limits: &'a Limits, board: &'a Board) -> Self {
        Self { step, limits, board, places: HashTable::with_capacity(8) }
    }

    /// The place of that bucket among the step's; `None` where its limit is off.
    pub(super) fn bucket(&mut self, name: &str) -> Option<usize> {
        let buckets = &self.step.buckets;
        if let Some(place) = self.places.find(FxBuildHasher.hash_one(name), |place| buckets[*place].name == name) {
            return Some(*place);
        }
        let quota = quota_of(self.limits, name)?;
        Some(self.add(name, quota))
    }

    /// How much the bucket of that name holds; `None` where its limit is off.
    pub(super) fn quota(&mut self, name: &str) -> Option<Quota> {
        self.bucket(name).map(|place| self.step.buckets[place].quota)
    }

    fn add(&mut self, name: &str, quota: Quota) -> usize {
        let floor = floor(self.board, name, quota);
        let place = self.step.buckets.len();
        self.step.buckets.push(Bucket { name: name.to_owned(), quota, floor });
        let buckets = &self.step.buckets;
        let hash = |place: &usize| FxBuildHasher.hash_one(buckets[*place].name.as_str());
        self.places.insert_unique(FxBuildHasher.hash_one(name), place, hash);
        place
    }

    /// One token more of it has to fit, beside `ahead` for those who came before.
    pub(super) fn ask(&mut self, name: &str, headroom: Share, ahead: u32, asked: bool) {
        let Some(bucket) = self.bucket(name) else { return };
        let burst = headroom.leaves(self.step.buckets[bucket].quota.burst());
        self.step.asks.push(Ask { bucket, burst, tokens: ahead.saturating_add(1), asked, beside: None });
    }

    /// What is held of it has to fit still.
    pub(super) fn ask_for_held(&mut self, name: &str) {
        let Some(bucket) = self.bucket(name) else { return };
        let burst = self.step.buckets[bucket].quota.burst();
        self.step.asks.push(Ask { bucket, burst, tokens: 0, asked: true, beside: None });
    }

    /// A failure more of that bucket's name must not pause it.
    pub(super) fn ask_for_pausing(&mut self, failures: &str) {
        let Some(beside) = self.bucket(failures) else { return };
        let Some(bucket) = self.bucket(&pausing_bucket(failures)) else { return };
        let burst = self.step.buckets[bucket].quota.burst();
        self.step.asks.push(Ask { bucket, burst, tokens: 1, asked: true, beside: Some(beside) });
    }

    /// Something happens to a token of it. Where its limit is off by now, what was held is given back, and nothing else happens.
    pub(super) fn move_token(&mut self, name: &str, motion: Motion) {
        let (bucket, motion) = match (self.bucket(name), motion) {
            (Some(bucket), motion) => (bucket, motion),
            (None, Motion::Spend { asked } | Motion::Release { asked }) => {
                (self.add(name, at_once()), Motion::Release { asked })
            }
            (None, Motion::Hold { .. } | Motion::Charge { .. } | Motion::Try | Motion::Raise { .. }) => return,
        };
        self.step.moves.push(Move { bucket, motion });
    }

    /// What `moves` says for `stakes`. Names whose places are in `failed` failed.
    pub(super) fn move_stakes(&mut self, stakes: &[(String, Part, bool)], moves: &Moves, failed: &[u16]) {
        for (bucket, part, asked) in stakes {
            let has_failed = matches!(part, Part::Failures(name) if failed.contains(name));
            let Some(motion) = Motion::of(moves.act(*part, has_failed), *asked) else { continue };
            self.move_token(bucket, motion);
            // What is unknown may have failed, and counts so here too.
            if matches!(part, Part::Failures(_)) && matches!(motion, Motion::Spend { .. } | Motion::Charge { .. }) {
                self.move_token(&pausing_bucket(bucket), Motion::Try);
            }
        }
    }
}

/// The TAT that a bucket of that name has at least, since it was empty once.
pub(super) fn floor(board: &Board, name: &str, quota: Quota) -> Option<Timestamp> {
    if board.empty_at.is_none() && board.limits_empty_at.is_empty() {
        // Mostly nothing is lost.
        return None;
    }
    let (limit, _) = limit_and_key(name)?;
    empty_at(board, limit).map(|empty_at| empty_at.plus(quota.offset()))
}

/// When all buckets of that limit were empty.
pub(super) fn empty_at(board: &Board, limit: LimitName) -> Option<Timestamp> {
    let of_limit = board.limits_empty_at.get(limit.as_str()).copied();
    // More failures in a row than the bucket of failures lets through in a gap would take weeks: nobody loses a thousand of them.
    let of_all = board.empty_at.filter(|_| limit != LimitName::FailedAuthorizationsForPausingPerDomainPerAccount);
    of_all.max(of_limit)
}

/// The account and the name of a bucket in which a name waits before it is tried again; `None` if it is another one.
pub(super) fn backoff_of(bucket: &str) -> Option<(&str, &str)> {
    bucket.strip_prefix(BACKOFF)?.strip_prefix(' ')?.rsplit_once(' ')
}

/// All that `order` has at stake if `exemption` holds.
pub(super) fn stakes_of(model: &Model, order: OrderId, exemption: Exemption) -> Vec<(String, Part, bool)> {
    let named = |stake: crate::rules::Stake| {
        let (limit, key) = model.describe(stake.bucket);
        (bucket_name(limit, &key), stake.part, stake.asked)
    };
    model.stakes(order, exemption).map(named).collect()
}

/// The bucket in which a name of an account waits before it is tried again.
pub(super) fn backoff_bucket(account: &str, name: &str) -> String {
    [BACKOFF, " ", account, " ", name].concat()
}

/// The bucket of failures in a row beside that of failures.
fn pausing_bucket(failures: &str) -> String {
    let key = limit_and_key(failures).map_or("", |(_, key)| key);
    bucket_name(LimitName::FailedAuthorizationsForPausingPerDomainPerAccount, key)
}

/// One token that is back at once: for a bucket that is only ever raised, or only gives back.
pub(super) fn at_once() -> Quota {
    Quota::new(1, 1, Span::from_nanos(1_000)).unwrap_or_else(|_| unreachable!("one token in a microsecond is a quota"))
}

/// How much a bucket of that name holds, in a store's microseconds; `None` where its limit is off.
#[must_use]
pub fn quota_of(limits: &Limits, name: &str) -> Option<Quota> {
    if name.starts_with(BACKOFF) {
        return Some(at_once());
    }
    let (limit, key) = limit_and_key(name)?;
    // Buckets of an account and something else have the account's override.
    let id = match limit {
        LimitName::CertificatesPerDomainPerAccount
        | LimitName::FailedAuthorizationsPerDomainPerAccount
        | LimitName::FailedAuthorizationsForPausingPerDomainPerAccount => {
            key.rsplit_once(' ').map_or(key, |(account, _)| account)
        }
        LimitName::NewRegistrationsPerIpAddress
        | LimitName::NewRegistrationsPerIpv6Range
        | LimitName::NewOrdersPerAccount
        | LimitName::CertificatesPerDomain
        | LimitName::CertificatesPerFqdnSet
        | LimitName::PendingAuthorizationsPerAccount => key,
    };
    match limits.capacity(limit, id)? {
        Capacity::Tokens(quota) => Some(quota.in_micros()),
        Capacity::Window(_) | Capacity::Concurrent(_) => None,
    }
}

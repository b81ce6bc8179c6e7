//! What happened: every decision for the log, the refusals and the counts for the verdict.

use std::collections::VecDeque;
use std::net::IpAddr;

use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::limits::{LimitName, Limits};
use crate::rules::{Exemption, Request};
use crate::time::{Span, Timestamp};

/// Who asks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Client {
    /// Where the request came from.
    pub address: IpAddr,
    /// What the client calls itself.
    pub user_agent: String,
}

/// What was done with a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Done {
    /// The CA has answered it.
    Forwarded,
    /// The CA did not answer.
    Unanswered,
    /// A limit was in the way: 429.
    Refused,
    /// A name was paused: 429 without `Retry-After`.
    Paused,
    /// An endpoint limit was in the way: 503.
    Busy,
    /// The certificate that it replaces was replaced before: 409.
    AlreadyReplaced,
}

/// What came of a request for the limits.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Event {
    /// An account was made, and took its token.
    AccountMade,
    /// The CA made no account: the token is back.
    AccountRefunded,
    /// An order was made.
    OrderMade {
        /// What exempted it.
        exemption: Exemption,
    },
    /// The CA made no order: the token is back.
    OrderRefunded,
    /// A certificate was issued.
    Issued {
        /// Its names.
        names: Vec<String>,
        /// Whether exactly this set had been issued before.
        renewal: bool,
    },
    /// A validation failed.
    ValidationFailed {
        /// Of which name.
        name: String,
    },
    /// A pending authorization was deactivated, which counts as a failure under today's policy.
    Deactivated {
        /// Of which name.
        name: String,
    },
    /// A validation succeeded.
    ValidationSucceeded {
        /// Of which name.
        name: String,
    },
    /// The account is paused for a name.
    Paused {
        /// For which.
        name: String,
    },
    /// The model can't count this: it was let through.
    NotCounted {
        /// Why.
        why: String,
    },
}

/// Which limit was in the way of a request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Refused {
    /// The limit, or the path that has one.
    pub limit: String,
    /// Whose bucket.
    pub key: String,
    /// What the client was told.
    pub detail: String,
    /// Seconds it was told to wait, of its own time; `null`: for ever, or less than one.
    pub retry_after_seconds: Option<i64>,
    /// Whether it had been told to wait for the same bucket, and came too early all the same.
    pub too_early: bool,
}

/// A line of the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Entry {
    /// When it came, in the limits' time.
    pub at: Timestamp,
    /// The same in the client's.
    pub client_at: Timestamp,
    /// Who asked.
    #[serde(flatten)]
    pub client: Client,
    /// The HTTP method.
    pub method: String,
    /// The path.
    pub path: String,
    /// What that is.
    pub request: Request,
    /// The account that signed it.
    pub account: Option<String>,
    /// The names of a new order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// What was done.
    pub done: Done,
    /// The HTTP status of the answer.
    pub status: u16,
    /// Which limit was in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// What came of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Event>,
}

/// How often what happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[expect(missing_docs, reason = "their names say it")]
pub struct Counts {
    pub requests: u64,
    pub accounts: u64,
    pub orders: u64,
    pub orders_same_set: u64,
    pub orders_ari: u64,
    pub certificates: u64,
    pub failed_validations: u64,
    pub refused: u64,
    pub paused: u64,
    pub busy: u64,
    pub too_early: u64,
    pub unanswered: u64,
    pub not_counted: u64,
}

/// What the proxy says at its end: was a client ever refused?
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Verdict {
    /// The version of this format.
    pub certpace_enforce: u32,
    /// No limit was ever in the way.
    pub passed: bool,
    /// The CA's directory.
    pub upstream: String,
    /// The policy enforced.
    pub policy: String,
    /// SHA-256 of its text.
    pub policy_sha256: String,
    /// SHA-256 of the overrides' text.
    pub overrides_sha256: Option<String>,
    /// How much faster than the client's time that of the limits ran.
    pub speed: u32,
    /// Begin and end in the limits' time.
    pub started_at: Timestamp,
    /// The end.
    pub ended_at: Timestamp,
    /// The limits of the policy.
    pub limits: Vec<LimitName>,
    /// How often what happened.
    pub counts: Counts,
    /// What was refused: the first [`REFUSALS_MAX`].
    pub refusals: Vec<Entry>,
}

/// Lines of the log that are kept: the last ones.
pub const LINES_MAX: usize = 100_000;
/// Refusals that a verdict lists: the first ones. All are counted.
pub const REFUSALS_MAX: usize = 10_000;

/// The log and the counts.
#[derive(Debug, Default)]
pub struct Journal {
    lines: VecDeque<Entry>,
    counts: Counts,
    refusals: Vec<Entry>,
    /// Until when who was told to wait for what.
    told: FxHashMap<(String, String, String), Timestamp>,
}

impl Journal {
    /// Adds a line.
    pub(super) fn add(&mut self, entry: Entry) {
        self.count(&entry);
        if entry.refused.is_some() && self.refusals.len() < REFUSALS_MAX {
            self.refusals.push(entry.clone());
        }
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(entry);
    }

    fn count(&mut self, entry: &Entry) {
        let Counts { requests, refused, paused, busy, too_early, unanswered, .. } = &mut self.counts;
        *requests += 1;
        match entry.done {
            Done::Forwarded | Done::AlreadyReplaced => {}
            Done::Unanswered => *unanswered += 1,
            Done::Refused => *refused += 1,
            Done::Paused => *paused += 1,
            Done::Busy => *busy += 1,
        }
        *too_early += u64::from(entry.refused.as_ref().is_some_and(|refused| refused.too_early));
        for event in &entry.events {
            let counts = &mut self.counts;
            match event {
                Event::AccountMade => counts.accounts += 1,
                Event::OrderMade { exemption } => {
                    counts.orders += 1;
                    counts.orders_same_set += u64::from(*exemption == Exemption::SameSet);
                    counts.orders_ari += u64::from(*exemption == Exemption::Ari);
                }
                Event::Issued { .. } => counts.certificates += 1,
                Event::ValidationFailed { .. } | Event::Deactivated { .. } => counts.failed_validations += 1,
                Event::NotCounted { .. } => counts.not_counted += 1,
                Event::AccountRefunded
                | Event::OrderRefunded
                | Event::ValidationSucceeded { .. }
                | Event::Paused { .. } => {}
            }
        }
    }

    /// A client is told at `now` to wait so long for a bucket (`None`: until a person helps). Returns whether it had been told so before,
    /// and came too early.
    pub(super) fn tell(&mut self, who: &str, limit: &str, key: &str, now: Timestamp, wait: Option<Span>) -> bool {
        let until = wait.map_or(Timestamp::from_unix_nanos(i64::MAX), |wait| now.plus(wait));
        let told = self.told.insert((who.to_owned(), limit.to_owned(), key.to_owned()), until);
        told.is_some_and(|until| now < until)
    }

    /// The log.
    pub fn lines(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.lines.iter()
    }

    /// How often what happened so far.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// What to say of it all.
    #[must_use]
    pub fn verdict(
        &self,
        upstream: &str,
        limits: &Limits,
        speed: u32,
        (started_at, ended_at): (Timestamp, Timestamp),
    ) -> Verdict {
        let Counts { refused, paused, busy, .. } = self.counts;
        Verdict {
            certpace_enforce: 1,
            passed: refused + paused + busy == 0,
            upstream: upstream.to_owned(),
            policy: limits.policy.name.clone(),
            policy_sha256: limits.policy.sha256.clone(),
            overrides_sha256: limits.overrides.sha256.clone(),
            speed,
            started_at,
            ended_at,
            limits: LimitName::ALL.into_iter().filter(|limit| limits.policy.limit(*limit).is_some()).collect(),
            counts: self.counts,
            refusals: self.refusals.clone(),
        }
    }
}

//! `certpace limits`: the policy in force, with sources and dates.
//!
//! The data is its JSON, of which `certpace_limits` is the version: it grows when a key changes its meaning or goes away; new keys
//! may come at any time. Spans are seconds. With one limit asked for, `limits` holds that one, and `renewal`, `endpoints` and
//! `profiles` are left out.
//!
//! ```json
//! { "certpace_limits": 1, "now": "2026-12-01T00:00:00Z",
//!   "policy": {"name", "title", "directories", "source", "read", "sha256"},
//!   "overrides_sha256": null,
//!   "limits": [{"name", "counts", "asked",
//!     "algorithm": "token-bucket" or "sliding-window" or "concurrent",
//!     "allows": {"burst", "count", "period_seconds", "emission_interval_seconds"} or null where it is off; the first and the last are
//!       null where there is no bucket, the period also where it counts what is there at a time,
//!     "override_scope": "none" or "account" or "registered domain", or null where it is off,
//!     "override_tiers": {"period_seconds", "tiers": [{"tier", "emission_interval_seconds", "falls_behind_after_seconds"}], "source", "read"} or null,
//!     "overrides": [{"id", "allows": {…}}], "source", "read"}],
//!   "renewal": {"same_set_memory_seconds" or null where a set is never forgotten, "same_set_exempt", "ari", "short_lived_below_seconds", …},
//!   "endpoints": [{"path", "rate_per_second", "burst", "source", "read"}],
//!   "profiles": [{"name", "names_max", "identifiers", "terms": [{"from", "validity_seconds", "authorization_reuse_seconds", "in_force"}],
//!     "pending_authorization_seconds", "pending_order_seconds", "source", "read"}] }
//! ```

mod older;
pub mod text;

use serde::Serialize;

use super::json::{seconds, seconds_or_null};
use crate::limits::{
    Algorithm, EndpointLimit, Limit, LimitName, Limits, OverrideScope, OverrideTiers, Profile, RenewalTerms,
    SameSetExempt,
};
use crate::time::{Span, Timestamp};

/// The policy in force.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct LimitsReport<'a> {
    /// The version of this shape.
    pub certpace_limits: u32,
    /// When it is asked: profiles change by date.
    pub now: Timestamp,
    /// Which policy.
    pub policy: PolicyHead<'a>,
    /// SHA-256 of the overrides in force; `None` without any.
    pub overrides_sha256: Option<&'a str>,
    /// All limits, or the one asked for.
    pub limits: Vec<LimitEntry<'a>>,
    /// What makes an order a renewal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewal: Option<RenewalEntry>,
    /// Limits per client IP address.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointEntry<'a>>,
    /// Profiles, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<ProfileEntry<'a>>,
}

/// Which policy it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[expect(missing_docs, reason = "as in `Policy`")]
pub struct PolicyHead<'a> {
    pub name: &'a str,
    pub title: &'a str,
    pub directories: &'a [String],
    pub source: &'a str,
    pub read: &'a str,
    pub sha256: &'a str,
}

/// One limit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LimitEntry<'a> {
    /// Its name.
    pub name: LimitName,
    /// What it counts, by what.
    pub counts: &'static str,
    /// Which events ask it and which take from it.
    pub asked: &'static str,
    /// How it counts.
    pub algorithm: Algorithm,
    /// What it allows without an override; `None`: it is off.
    pub allows: Option<Allowance>,
    /// For what an override can be had.
    pub override_scope: Option<OverrideScope>,
    /// In which sizes.
    pub override_tiers: Option<TiersEntry<'a>>,
    /// Overrides in force, by id.
    pub overrides: Vec<OverrideEntry<'a>>,
    /// Where it is documented.
    pub source: Option<&'a str>,
    /// The day it was read there.
    pub read: Option<&'a str>,
}

/// How much a limit allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Allowance {
    /// Tokens of a full bucket; `None`: there is no bucket.
    pub burst: Option<u64>,
    /// Tokens that come back in a period, events in any period, or how many at a time.
    pub count: u64,
    /// The period; `None`: it is no rate.
    #[serde(rename = "period_seconds", serialize_with = "seconds_or_null")]
    pub period: Option<Span>,
    /// The time that brings one token back, rounded down to whole nanoseconds as the CA does; `None`: there is no bucket.
    #[serde(rename = "emission_interval_seconds", serialize_with = "seconds_or_null")]
    pub emission_interval: Option<Span>,
}

/// The sizes in which overrides of a limit are given.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct TiersEntry<'a> {
    /// Their period.
    #[serde(rename = "period_seconds", serialize_with = "seconds")]
    pub period: Span,
    /// Smallest first.
    pub tiers: Vec<TierEntry>,
    /// Where they are documented.
    pub source: &'a str,
    /// The day they were read there.
    pub read: &'a str,
}

/// One size: burst = count = tier.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct TierEntry {
    /// Burst and count.
    pub tier: u64,
    /// The time that brings one token back.
    #[serde(rename = "emission_interval_seconds", serialize_with = "seconds")]
    pub emission_interval: Span,
    /// After how long of steady demand it has let less through than the default; `None`: never.
    #[serde(rename = "falls_behind_after_seconds", serialize_with = "seconds_or_null")]
    pub falls_behind_after: Option<Span>,
}

/// An override in force.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct OverrideEntry<'a> {
    /// Whose bucket.
    pub id: &'a str,
    /// What it allows instead.
    pub allows: Allowance,
}

/// What makes an order a renewal, and when the CA suggests one: `RenewalTerms`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[expect(missing_docs, reason = "as in `RenewalTerms`")]
pub struct RenewalEntry {
    #[serde(rename = "same_set_memory_seconds", serialize_with = "seconds_or_null")]
    pub same_set_memory: Option<Span>,
    pub same_set_exempt: SameSetExempt,
    pub ari: bool,
    #[serde(rename = "short_lived_below_seconds", serialize_with = "seconds")]
    pub short_lived_below: Span,
    pub centre_divisor: i64,
    pub centre_divisor_short_lived: i64,
    pub half_width_divisor: i64,
}

/// A limit on requests per client IP address: `EndpointLimit`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[expect(missing_docs, reason = "as in `EndpointLimit`")]
pub struct EndpointEntry<'a> {
    pub path: &'a str,
    pub rate_per_second: u32,
    pub burst: Option<u32>,
    pub source: &'a str,
    pub read: &'a str,
}

/// A profile.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[expect(missing_docs, reason = "as in `Profile`")]
pub struct ProfileEntry<'a> {
    pub name: &'a str,
    pub names_max: usize,
    /// `dns`, `ip` or both.
    pub identifiers: Vec<&'static str>,
    /// What changes by date, earliest first.
    pub terms: Vec<TermsEntry>,
    #[serde(rename = "pending_authorization_seconds", serialize_with = "seconds")]
    pub pending_authorization: Span,
    #[serde(rename = "pending_order_seconds", serialize_with = "seconds")]
    pub pending_order: Span,
    pub source: &'a str,
    pub read: &'a str,
}

/// What of a profile holds from a date on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[expect(missing_docs, reason = "as in `ProfileTerms`")]
pub struct TermsEntry {
    pub from: Timestamp,
    #[serde(rename = "validity_seconds", serialize_with = "seconds")]
    pub validity: Span,
    #[serde(rename = "authorization_reuse_seconds", serialize_with = "seconds")]
    pub authorization_reuse: Span,
    /// Whether these are the terms now.
    pub in_force: bool,
}

impl<'a> LimitsReport<'a> {
    /// All that `limits` says at `now`.
    #[must_use]
    pub fn all(limits: &'a Limits, now: Timestamp) -> Self {
        let policy = &limits.policy;
        Self {
            limits: shown(limits).map(|name| LimitEntry::new(limits, name)).collect(),
            renewal: Some(policy.renewal.into()),
            endpoints: policy.endpoints.iter().map(Into::into).collect(),
            profiles: policy.profiles.iter().map(|profile| ProfileEntry::new(profile, now)).collect(),
            ..Self::one(limits, now, LimitName::NewOrdersPerAccount)
        }
    }

    /// What `limits` says about `name`.
    #[must_use]
    pub fn one(limits: &'a Limits, now: Timestamp, name: LimitName) -> Self {
        let policy = &limits.policy;
        Self {
            certpace_limits: 1,
            now,
            policy: PolicyHead {
                name: &policy.name,
                title: &policy.title,
                directories: &policy.directories,
                source: &policy.source,
                read: &policy.read,
                sha256: &policy.sha256,
            },
            overrides_sha256: limits.overrides.sha256.as_deref(),
            limits: vec![LimitEntry::new(limits, name)],
            renewal: None,
            endpoints: Vec::new(),
            profiles: Vec::new(),
        }
    }
}

/// The limits that `limits` has or could have: a count of pending authorizations is no policy's but the oldest one's.
fn shown(limits: &Limits) -> impl Iterator<Item = LimitName> + '_ {
    let bygone = |name| name == LimitName::PendingAuthorizationsPerAccount;
    let in_force = |name| limits.policy.limit(name).is_some() || limits.overrides.has_any(name);
    LimitName::ALL.into_iter().filter(move |&name| !bygone(name) || in_force(name))
}

impl<'a> LimitEntry<'a> {
    fn new(limits: &'a Limits, name: LimitName) -> Self {
        let known = limits.policy.policy_limit(name);
        let overrides = limits.overrides.iter().filter(|entry| entry.name == name);
        let tiers = limits.policy.tiers_of(name);
        let algorithm = known.map_or(Algorithm::TokenBucket, |known| known.limit.algorithm);
        let allows = |limit| Allowance::new(limit, algorithm);
        let has_buckets = algorithm == Algorithm::TokenBucket;
        Self {
            name,
            counts: older::counts(name, limits.policy.renewal.same_set_exempt),
            asked: if has_buckets { name.asked() } else { older::asked(name) },
            algorithm,
            allows: known.map(|known| allows(&known.limit)),
            override_scope: known.map(|known| known.scope),
            override_tiers: tiers.map(|tiers| TiersEntry::new(tiers, known.map(|known| &known.limit))),
            overrides: overrides.map(|entry| OverrideEntry { id: entry.id, allows: allows(entry.limit) }).collect(),
            source: known.map(|known| known.source.as_str()),
            read: known.map(|known| known.read.as_str()),
        }
    }
}

impl Allowance {
    /// `limit`, counted by `algorithm`.
    fn new(limit: &Limit, algorithm: Algorithm) -> Self {
        let &Limit { burst, count, period, quota, .. } = limit;
        let has_buckets = algorithm == Algorithm::TokenBucket;
        Self {
            burst: has_buckets.then_some(burst),
            count,
            period: (algorithm != Algorithm::Concurrent).then_some(period),
            emission_interval: has_buckets.then(|| quota.emission()),
        }
    }
}

impl<'a> TiersEntry<'a> {
    fn new(tiers: &'a OverrideTiers, default: Option<&Limit>) -> Self {
        let entry = |tier: u64| {
            // A policy holds no tier that makes no bucket.
            let limit = tiers.limit_of(tier).ok()?;
            let falls_behind_after = default.and_then(|default| tiers.falls_behind_after(tier, default));
            Some(TierEntry { tier, emission_interval: limit.quota.emission(), falls_behind_after })
        };
        let sizes = tiers.tiers.iter().filter_map(|&tier| entry(tier)).collect();
        Self { period: tiers.period, tiers: sizes, source: &tiers.source, read: &tiers.read }
    }
}

impl From<RenewalTerms> for RenewalEntry {
    fn from(terms: RenewalTerms) -> Self {
        let RenewalTerms {
            same_set_memory,
            same_set_exempt,
            ari,
            short_lived_below,
            centre_divisor,
            centre_divisor_short_lived,
            half_width_divisor,
        } = terms;
        Self {
            same_set_memory: (same_set_memory != RenewalTerms::EVER).then_some(same_set_memory),
            same_set_exempt,
            ari,
            short_lived_below,
            centre_divisor,
            centre_divisor_short_lived,
            half_width_divisor,
        }
    }
}

impl<'a> From<&'a EndpointLimit> for EndpointEntry<'a> {
    fn from(limit: &'a EndpointLimit) -> Self {
        let EndpointLimit { path, rate_per_second, burst, source, read } = limit;
        Self { path, rate_per_second: *rate_per_second, burst: *burst, source, read }
    }
}

impl<'a> ProfileEntry<'a> {
    fn new(profile: &'a Profile, now: Timestamp) -> Self {
        let current = profile.terms_at(now);
        let terms = profile.terms().iter().map(|terms| TermsEntry {
            from: terms.from,
            validity: terms.validity,
            authorization_reuse: terms.authorization_reuse,
            in_force: *terms == current,
        });
        let kinds = [(profile.dns, "dns"), (profile.ip, "ip")];
        Self {
            name: &profile.name,
            names_max: profile.names_max,
            identifiers: kinds.into_iter().filter_map(|(takes, kind)| takes.then_some(kind)).collect(),
            terms: terms.collect(),
            pending_authorization: profile.pending_authorization,
            pending_order: profile.pending_order,
            source: &profile.source,
            read: &profile.read,
        }
    }
}

//! The shape of a policy's file, and what of it makes sense.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    EndpointLimit, OverrideScope, OverrideTiers, Policy, PolicyError, PolicyLimit, RenewalTerms, SameSetExempt,
    all_limits, value_error,
};
use crate::digest;
use crate::limits::{Algorithm, Limit, LimitName, Profile, ProfileTerms};
use crate::time::{Span, Timestamp};

/// Reads a policy.
pub(super) fn read(text: &str) -> Result<Policy, PolicyError> {
    let file: PolicyFile =
        toml::from_str(text).map_err(|error| PolicyError::Shape(error.to_string().trim_end().to_owned()))?;
    let mut limits: [Option<PolicyLimit>; LimitName::COUNT] = Default::default();
    for (name, limit) in file.limits {
        let key = format!("limits.{name}");
        let known = LimitName::parse(&name).ok_or_else(|| {
            value_error(&key, format_args!("there is no limit of that name; there are {}", all_limits()))
        })?;
        limits[known.index()] = Some(limit.read(known, &key)?);
    }
    let profiles =
        file.profiles.into_iter().map(|(name, profile)| profile.read(name)).collect::<Result<Vec<_>, _>>()?;
    if profiles.is_empty() {
        return Err(value_error("profiles", "there is none; an order needs one"));
    }
    Ok(Policy {
        name: file.name,
        title: file.title,
        directories: file.directories,
        source: file.source,
        read: file.read,
        issuers: file.issuers.map_or_else(Vec::new, |issuers| issuers.organisations),
        sha256: digest::sha256([text.as_bytes()]),
        renewal: file.renewal.read()?,
        deactivation_fails: file.deactivation_fails,
        endpoints: file.endpoints.into_iter().map(Into::into).collect(),
        profiles,
        tiers: file.override_tiers.into_iter().map(TiersFile::read).collect::<Result<Vec<_>, _>>()?,
        limits,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyFile {
    name: String,
    title: String,
    directories: Vec<String>,
    source: String,
    read: String,
    issuers: Option<IssuersFile>,
    renewal: RenewalFile,
    #[serde(default = "yes")]
    deactivation_fails: bool,
    limits: BTreeMap<String, LimitFile>,
    #[serde(default)]
    endpoints: Vec<EndpointFile>,
    profiles: BTreeMap<String, ProfileFile>,
    #[serde(default)]
    override_tiers: Vec<TiersFile>,
}

const fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssuersFile {
    organisations: Vec<String>,
    #[serde(rename = "source")]
    _source: String,
    #[serde(rename = "read")]
    _read: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RenewalFile {
    same_set_memory: String,
    #[serde(default)]
    same_set_exempt: SameSetExempt,
    #[serde(default = "yes")]
    ari: bool,
    short_lived_below: String,
    centre_divisor: u16,
    centre_divisor_short_lived: u16,
    half_width_divisor: u16,
    #[serde(rename = "source")]
    _source: String,
    #[serde(rename = "read")]
    _read: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitFile {
    #[serde(default)]
    algorithm: Algorithm,
    burst: Option<u64>,
    count: u64,
    period: Option<String>,
    #[serde(rename = "override")]
    scope: OverrideScope,
    source: String,
    read: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EndpointFile {
    path: String,
    rate_per_second: u32,
    burst: Option<u32>,
    source: String,
    read: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileFile {
    names_max: usize,
    identifiers: Vec<String>,
    pending_authorization: String,
    pending_order: String,
    since: Vec<TermsFile>,
    source: String,
    read: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TermsFile {
    from: String,
    validity: String,
    authorization_reuse: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TiersFile {
    limit: LimitName,
    period: String,
    tiers: Vec<u64>,
    source: String,
    read: String,
}

/// A length of time that is longer than none.
pub(in crate::limits) fn positive_span(key: &str, text: &str) -> Result<Span, PolicyError> {
    match Span::parse(text) {
        Ok(span) if span > Span::ZERO => Ok(span),
        Ok(_) => Err(value_error(key, "is no time at all")),
        Err(error) => Err(value_error(key, error)),
    }
}

/// How long the CA remembers a set; `ever`: no time is longer.
fn memory(text: &str) -> Result<Span, PolicyError> {
    if text == "ever" { Ok(RenewalTerms::EVER) } else { positive_span("renewal.same_set_memory", text) }
}

impl RenewalFile {
    fn read(self) -> Result<RenewalTerms, PolicyError> {
        let divisors = [self.centre_divisor, self.centre_divisor_short_lived, self.half_width_divisor];
        if divisors.contains(&0) {
            return Err(value_error("renewal", "a divisor is 0"));
        }
        Ok(RenewalTerms {
            same_set_memory: memory(&self.same_set_memory)?,
            same_set_exempt: self.same_set_exempt,
            ari: self.ari,
            short_lived_below: positive_span("renewal.short_lived_below", &self.short_lived_below)?,
            centre_divisor: self.centre_divisor.into(),
            centre_divisor_short_lived: self.centre_divisor_short_lived.into(),
            half_width_divisor: self.half_width_divisor.into(),
        })
    }
}

impl LimitFile {
    fn read(self, name: LimitName, key: &str) -> Result<PolicyLimit, PolicyError> {
        let limit = match (self.algorithm, self.burst, &self.period) {
            (Algorithm::TokenBucket, Some(burst), Some(period)) => {
                Limit::new(burst, self.count, positive_span(&format!("{key}.period"), period)?)
            }
            (Algorithm::SlidingWindow, None, Some(period)) => {
                Limit::sliding_window(self.count, positive_span(&format!("{key}.period"), period)?)
            }
            (Algorithm::Concurrent, None, None) => Limit::concurrent(self.count),
            (Algorithm::TokenBucket, ..) => return Err(value_error(key, "a token bucket has burst, count and period")),
            (Algorithm::SlidingWindow, ..) => {
                return Err(value_error(key, "a sliding window has count and period, and no burst"));
            }
            (Algorithm::Concurrent, ..) => {
                return Err(value_error(key, "what is counted at a time has a count, and neither burst nor period"));
            }
        };
        let limit = limit.map_err(|error| value_error(key, error))?;
        let at_a_time = name == LimitName::PendingAuthorizationsPerAccount;
        if at_a_time != (limit.algorithm == Algorithm::Concurrent) {
            return Err(value_error(key, "pending authorizations, and nothing else, are counted as `concurrent`"));
        }
        Ok(PolicyLimit { limit, scope: self.scope, source: self.source, read: self.read })
    }
}

impl From<EndpointFile> for EndpointLimit {
    fn from(file: EndpointFile) -> Self {
        let EndpointFile { path, rate_per_second, burst, source, read } = file;
        Self { path, rate_per_second, burst, source, read }
    }
}

impl ProfileFile {
    fn read(self, name: String) -> Result<Profile, PolicyError> {
        let key = format!("profiles.{name}");
        let span = |field: &str, text: &str| positive_span(&format!("{key}.{field}"), text);
        let mut since = Vec::new();
        for terms in &self.since {
            since.push(ProfileTerms {
                from: Timestamp::parse(&terms.from).map_err(|error| value_error(format!("{key}.since.from"), error))?,
                validity: span("since.validity", &terms.validity)?,
                authorization_reuse: span("since.authorization_reuse", &terms.authorization_reuse)?,
            });
        }
        since.sort_by_key(|terms| terms.from);
        if since.is_empty() || self.names_max == 0 {
            return Err(value_error(&key, "needs names_max of at least 1, and terms since some date"));
        }
        let allows = |kind: &str| self.identifiers.iter().any(|allowed| allowed == kind);
        if let Some(other) = self.identifiers.iter().find(|kind| !["dns", "ip"].contains(&kind.as_str())) {
            return Err(value_error(format!("{key}.identifiers"), format_args!("`{other}` is neither `dns` nor `ip`")));
        }
        Ok(Profile {
            names_max: self.names_max,
            dns: allows("dns"),
            ip: allows("ip"),
            pending_authorization: span("pending_authorization", &self.pending_authorization)?,
            pending_order: span("pending_order", &self.pending_order)?,
            source: self.source,
            read: self.read,
            since,
            name,
        })
    }
}

impl TiersFile {
    fn read(mut self) -> Result<OverrideTiers, PolicyError> {
        self.tiers.sort_unstable();
        let key = format!("override_tiers ({})", self.limit);
        let period = positive_span(&key, &self.period)?;
        let tiers =
            OverrideTiers { limit: self.limit, period, tiers: self.tiers, source: self.source, read: self.read };
        for &tier in &tiers.tiers {
            tiers.limit_of(tier).map_err(|error| value_error(&key, error))?;
        }
        Ok(tiers)
    }
}

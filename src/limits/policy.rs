//! The policy of one CA: limits, endpoint limits, profiles, terms of renewal, override tiers.

mod file;

use serde::{Deserialize, Serialize};

use super::{Limit, LimitName, Profile};
use crate::time::{Span, Timestamp};

pub(super) use file::positive_span;

/// The policies that are built in, by name.
const BUILT_IN: [(&str, &str); 4] = [
    ("letsencrypt", include_str!("../../data/letsencrypt.toml")),
    ("letsencrypt-staging", include_str!("../../data/letsencrypt-staging.toml")),
    ("letsencrypt-2025", include_str!("../../data/letsencrypt-2025.toml")),
    ("letsencrypt-2021", include_str!("../../data/letsencrypt-2021.toml")),
];

/// What one CA allows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Its name, as given on the command line.
    pub name: String,
    /// What it is.
    pub title: String,
    /// The ACME directories it holds for.
    pub directories: Vec<String>,
    /// Where it is documented.
    pub source: String,
    /// The day it was read there.
    pub read: String,
    /// The organisations in whose name its certificates are issued; none where the policy doesn't say.
    pub issuers: Vec<String>,
    /// SHA-256 of its text, in hexadecimal.
    pub sha256: String,
    /// What makes an order a renewal, and when the CA suggests one.
    pub renewal: RenewalTerms,
    /// Whether a pending authorization that is deactivated counts as a failed validation.
    pub deactivation_fails: bool,
    /// Limits per client IP address, for requests.
    pub endpoints: Vec<EndpointLimit>,
    /// Profiles, by name.
    pub profiles: Vec<Profile>,
    /// The sizes in which overrides are given.
    pub tiers: Vec<OverrideTiers>,
    limits: [Option<PolicyLimit>; LimitName::COUNT],
}

/// A limit of a policy, with its source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PolicyLimit {
    /// What it allows.
    pub limit: Limit,
    /// For what an override can be had.
    pub scope: OverrideScope,
    /// Where it is documented.
    pub source: String,
    /// The day it was read there.
    pub read: String,
}

/// What an override of a limit is given for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum OverrideScope {
    /// The CA grants none.
    #[serde(rename = "none")]
    None,
    /// An account.
    #[serde(rename = "account")]
    Account,
    /// A registered domain.
    #[serde(rename = "registered domain")]
    RegisteredDomain,
}

/// What makes an order a renewal, and when the CA suggests one (ARI).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RenewalTerms {
    /// An order for a name set that was issued within this time is a same-set renewal.
    pub same_set_memory: Span,
    /// What a same-set renewal is exempt from.
    pub same_set_exempt: SameSetExempt,
    /// Whether the CA suggests a window to renew in, and exempts what replaces a certificate in it. Without, the window below is no
    /// more than the time at which clients renew by themselves.
    pub ari: bool,
    /// Certificates with a shorter validity are short-lived.
    pub short_lived_below: Span,
    /// The suggested window's centre lies validity / this before the expiry.
    pub centre_divisor: i64,
    /// The same for short-lived certificates.
    pub centre_divisor_short_lived: i64,
    /// The window reaches validity / this to either side of its centre.
    pub half_width_divisor: i64,
}

/// From which limits a same-set renewal is exempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SameSetExempt {
    /// From those on new orders and on certificates for a registered domain.
    #[default]
    OrdersAndDomains,
    /// From that on certificates for a registered domain.
    Domains,
}

/// A limit on requests per client IP address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndpointLimit {
    /// The path; `*` at its end stands for the rest. The longest path that matches holds.
    pub path: String,
    /// Requests a second.
    pub rate_per_second: u32,
    /// Requests at once, where documented.
    pub burst: Option<u32>,
    /// Where it is documented.
    pub source: String,
    /// The day it was read there.
    pub read: String,
}

/// The sizes in which overrides of a limit are given: burst = count = tier, in `period`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OverrideTiers {
    /// The limit.
    pub limit: LimitName,
    /// Their period.
    pub period: Span,
    /// The sizes, smallest first.
    pub tiers: Vec<u64>,
    /// Where they are documented.
    pub source: String,
    /// The day it was read there.
    pub read: String,
}

/// Why a text is no policy.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PolicyError {
    /// There is none of that name.
    #[error(
        "there is no policy `{0}`; built in are: letsencrypt, letsencrypt-staging, letsencrypt-2025, letsencrypt-2021; or name a TOML file"
    )]
    Unknown(String),
    /// The text is no TOML, or not of this shape.
    #[error("{0}")]
    Shape(String),
    /// One of its values makes no sense.
    #[error("{key}: {reason}")]
    Value {
        /// Where it stands, such as `limits.NewOrdersPerAccount`.
        key: String,
        /// Why.
        reason: String,
    },
}

fn value_error(key: impl Into<String>, reason: impl ToString) -> PolicyError {
    PolicyError::Value { key: key.into(), reason: reason.to_string() }
}

impl RenewalTerms {
    /// The memory of a CA that forgets no set.
    pub const EVER: Span = Span::from_nanos(i64::MAX);

    /// The window in which the CA suggests to renew a certificate valid from `issued_at` to `expires_at`: start (inside) and end (outside).
    #[must_use]
    pub fn window(&self, issued_at: Timestamp, expires_at: Timestamp) -> (Timestamp, Timestamp) {
        let validity = expires_at.since(issued_at);
        let half = Span::from_nanos(validity.nanos() / self.half_width_divisor);
        let centre = expires_at.minus(self.before_expiry(validity));
        (centre.minus(half), centre.plus(half))
    }

    /// How long before its expiry a certificate is to be renewed where the CA suggests no window: the same instant, the window's centre.
    #[must_use]
    pub fn before_expiry(&self, validity: Span) -> Span {
        let short_lived = validity < self.short_lived_below;
        let divisor = if short_lived { self.centre_divisor_short_lived } else { self.centre_divisor };
        Span::from_nanos(validity.nanos() / divisor)
    }
}

impl OverrideTiers {
    /// The limit of one tier.
    ///
    /// # Errors
    /// [`crate::gcra::QuotaError`] where the tier makes no bucket.
    pub fn limit_of(&self, tier: u64) -> Result<Limit, crate::gcra::QuotaError> {
        Limit::new(tier, tier, self.period)
    }

    /// After how long of steady demand a bucket of `tier` has let less through than `default`: for tiers which raise the burst and
    /// lower the rate. `None` where the tier never falls behind.
    #[must_use]
    pub fn falls_behind_after(&self, tier: u64, default: &Limit) -> Option<Span> {
        // tier + t·tier/period = burst + t·count/default.period, solved for t in integers of nanoseconds.
        let (tier, burst, count) = (i128::from(tier), i128::from(default.burst), i128::from(default.count));
        let (period, default_period) = (i128::from(self.period.nanos()), i128::from(default.period.nanos()));
        let gain = count * period - tier * default_period;
        if gain <= 0 {
            return None;
        }
        let after = (tier - burst).max(0) * period * default_period / gain;
        i64::try_from(after).ok().map(Span::from_nanos)
    }
}

impl Policy {
    /// The names of the policies that are built in.
    pub fn built_in_names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.into_iter().map(|(name, _text)| name)
    }

    /// The built-in policy of that name.
    ///
    /// # Errors
    /// [`PolicyError::Unknown`].
    pub fn built_in(name: &str) -> Result<Self, PolicyError> {
        let (_, text) = BUILT_IN
            .into_iter()
            .find(|(known, _)| *known == name)
            .ok_or_else(|| PolicyError::Unknown(name.to_owned()))?;
        Self::parse(text)
    }

    /// Reads a policy.
    ///
    /// # Errors
    /// [`PolicyError`] with the line or the key, and the reason.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        file::read(text)
    }

    /// What `name` allows to those who have no override; `None`: it is off.
    #[must_use]
    pub fn limit(&self, name: LimitName) -> Option<&Limit> {
        self.policy_limit(name).map(|limit| &limit.limit)
    }

    /// The same, with its source.
    #[must_use]
    pub fn policy_limit(&self, name: LimitName) -> Option<&PolicyLimit> {
        self.limits[name.index()].as_ref()
    }

    /// Sets or switches off a limit: for policies made in a program.
    pub fn set_limit(&mut self, name: LimitName, limit: Option<Limit>) {
        self.limits[name.index()] = limit.map(|limit| PolicyLimit {
            limit,
            scope: OverrideScope::None,
            source: self.source.clone(),
            read: self.read.clone(),
        });
    }

    /// The profile of that name, and its place in [`Self::profiles`].
    #[must_use]
    pub fn profile(&self, name: &str) -> Option<(usize, &Profile)> {
        self.profiles.iter().enumerate().find(|(_, profile)| profile.name == name)
    }

    /// The tiers in which overrides of `limit` are given.
    #[must_use]
    pub fn tiers_of(&self, limit: LimitName) -> Option<&OverrideTiers> {
        self.tiers.iter().find(|tiers| tiers.limit == limit)
    }
}

/// The names of all limits, for messages.
pub(super) fn all_limits() -> String {
    LimitName::ALL.map(LimitName::as_str).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_policy_reads() {
        for name in Policy::built_in_names() {
            let policy = Policy::built_in(name).unwrap();
            assert_eq!(policy.name, name);
            assert!(policy.limit(LimitName::NewOrdersPerAccount).is_some());
            assert!(policy.limit(LimitName::CertificatesPerDomainPerAccount).is_none());
        }
    }

    #[test]
    fn the_pausing_burst_was_larger_in_2025() {
        let burst = |name| {
            let limit = LimitName::FailedAuthorizationsForPausingPerDomainPerAccount;
            Policy::built_in(name).unwrap().limit(limit).unwrap().burst
        };
        assert_eq!((burst("letsencrypt"), burst("letsencrypt-2025")), (1_152, 3_600));
    }

    #[test]
    fn lifetimes_change_on_their_dates() {
        let policy = Policy::built_in("letsencrypt").unwrap();
        let (_, classic) = policy.profile("classic").unwrap();
        let validity = |day: &str| classic.terms_at(Timestamp::parse(day).unwrap()).validity;
        assert_eq!(validity("2027-02-09T23:59:59Z"), Span::from_days(90));
        assert_eq!(validity("2027-02-10"), Span::from_days(64));
        assert_eq!(validity("2028-02-16"), Span::from_days(45));
    }

    #[test]
    fn windows_are_as_wide_as_the_ca_makes_them() {
        let renewal = Policy::built_in("letsencrypt").unwrap().renewal;
        let width = |hours: i64| {
            let issued = Timestamp::from_unix_seconds(1_800_000_000);
            let (start, end) = renewal.window(issued, issued.plus(Span::from_hours(hours)));
            end.since(start)
        };
        assert_eq!(width(90 * 24), Span::parse("43.2h").unwrap());
        assert_eq!(width(64 * 24), Span::parse("30.72h").unwrap());
        assert_eq!(width(45 * 24), Span::parse("21.6h").unwrap());
        assert_eq!(width(160), Span::parse("3.2h").unwrap());
    }

    #[test]
    fn some_tiers_lower_the_rate() {
        let policy = Policy::built_in("letsencrypt").unwrap();
        let limit = LimitName::NewOrdersPerAccount;
        let days = |tier| {
            let tiers = policy.tiers_of(limit).unwrap();
            tiers
                .falls_behind_after(tier, policy.limit(limit).unwrap())
                .map(|span| format!("{:.2}", span.seconds_f64() / 86_400.0))
        };
        assert_eq!(
            [1_000, 5_000, 10_000, 25_000].map(days),
            [Some("0.31".into()), Some("2.79".into()), Some("9.99".into()), None]
        );
    }
}

//! Measures by name: what an expectation can be about, its unit, and how two values compare.

use std::cmp::Ordering;
use std::fmt;

use crate::limits::LimitName;
use crate::time::Span;

/// Something that a run measures.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[expect(missing_docs, reason = "`Self::meaning` says what each is")]
pub enum Measure {
    Orders,
    Certificates,
    Renewals,
    Refusals,
    RefusalsBy(LimitName),
    RefusalsPaused,
    Overloads,
    Unreachable,
    FailedOrders,
    FailedValidations,
    PausedNames,
    Hostnames,
    HostnamesCovered,
    HostnamesNeverCovered,
    FullCoverageAfter,
    FirstCertificate(Quantile),
    HostnameHoursUncovered,
    HostnameHoursLapsed,
    ExpiredCertificates,
    TokensLeft(LimitName),
    RenewalsPerHourPeak,
    RenewalsPerHourMean,
    SlipMax,
    TenantWaitWorst,
    TenantWaitMean,
    LostCertificates,
    Steps,
    StepBoundHit,
}

/// Which of many sorted values.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[expect(missing_docs, reason = "named as everywhere")]
pub enum Quantile {
    P50,
    P90,
    P99,
    Max,
}

/// A value of a measure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value {
    /// So many.
    Count(u64),
    /// So long.
    Span(Span),
    /// It did not come to it: later and more than everything.
    Never,
}

/// What values a measure has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// A whole number.
    Count,
    /// A length of time.
    Span,
}

/// How a value is to stand to the one expected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// `==`
    Equal,
    /// `!=`
    Unequal,
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    Greater,
    /// `>=`
    AtLeast,
}

impl Quantile {
    /// All of them, smallest first.
    pub const ALL: [Self; 4] = [Self::P50, Self::P90, Self::P99, Self::Max];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P99 => "p99",
            Self::Max => "max",
        }
    }

    /// How many of a hundred values are not above it.
    pub(super) const fn percent(self) -> usize {
        match self {
            Self::P50 => 50,
            Self::P90 => 90,
            Self::P99 => 99,
            Self::Max => 100,
        }
    }
}

impl Measure {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        let plain = [Self::Orders, Self::Certificates, Self::Renewals, Self::Refusals, Self::RefusalsPaused];
        let errors = [Self::Overloads, Self::Unreachable, Self::FailedOrders, Self::FailedValidations];
        let names = [Self::PausedNames, Self::Hostnames, Self::HostnamesCovered, Self::HostnamesNeverCovered];
        let cover = [Self::FullCoverageAfter, Self::HostnameHoursUncovered, Self::HostnameHoursLapsed];
        let rest = [
            Self::ExpiredCertificates,
            Self::RenewalsPerHourPeak,
            Self::RenewalsPerHourMean,
            Self::SlipMax,
            Self::TenantWaitWorst,
            Self::TenantWaitMean,
            Self::LostCertificates,
            Self::Steps,
            Self::StepBoundHit,
        ];
        let by_limit = LimitName::ALL.into_iter().flat_map(|limit| [Self::RefusalsBy(limit), Self::TokensLeft(limit)]);
        let first = Quantile::ALL.into_iter().map(Self::FirstCertificate);
        plain.into_iter().chain(errors).chain(names).chain(cover).chain(rest).chain(by_limit).chain(first)
    }

    /// The measure of that name, such as `refusals.CertificatesPerDomain` or `first_certificate.p99`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::all().find(|measure| measure.to_string() == text)
    }

    /// What values it has.
    #[must_use]
    pub const fn unit(self) -> Unit {
        match self {
            Self::FullCoverageAfter
            | Self::FirstCertificate(_)
            | Self::SlipMax
            | Self::TenantWaitWorst
            | Self::TenantWaitMean => Unit::Span,
            Self::Orders
            | Self::Certificates
            | Self::Renewals
            | Self::Refusals
            | Self::RefusalsBy(_)
            | Self::RefusalsPaused
            | Self::Overloads
            | Self::Unreachable
            | Self::FailedOrders
            | Self::FailedValidations
            | Self::PausedNames
            | Self::Hostnames
            | Self::HostnamesCovered
            | Self::HostnamesNeverCovered
            | Self::HostnameHoursUncovered
            | Self::HostnameHoursLapsed
            | Self::ExpiredCertificates
            | Self::TokensLeft(_)
            | Self::RenewalsPerHourPeak
            | Self::RenewalsPerHourMean
            | Self::LostCertificates
            | Self::Steps
            | Self::StepBoundHit => Unit::Count,
        }
    }

    /// What it is, in a sentence.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Orders => "new-order requests that reached the CA, refused ones too",
            Self::Certificates => "certificates issued",
            Self::Renewals => "certificates issued for a set that the client had one for already",
            Self::Refusals => "orders refused with a 429, for whatever reason",
            Self::RefusalsBy(_) => "orders refused with a 429 that names this limit",
            Self::RefusalsPaused => "orders refused because a name in them is paused",
            Self::Overloads => "requests answered with a 503 by an endpoint limit",
            Self::Unreachable => "requests that an outage swallowed",
            Self::FailedOrders => "orders that were let through and came to nothing",
            Self::FailedValidations => "validations that failed, and pending authorizations deactivated",
            Self::PausedNames => "pairs of account and name that are paused at the end",
            Self::Hostnames => "hostnames wanted at one time or another",
            Self::HostnamesCovered => "hostnames wanted and with a valid certificate at the end",
            Self::HostnamesNeverCovered => "hostnames that never had a certificate",
            Self::FullCoverageAfter => "from the start until every hostname had had a certificate",
            Self::FirstCertificate(_) => "from when a hostname was wanted until its first certificate",
            Self::HostnameHoursUncovered => "hours without a valid certificate, over all hostnames, rounded up",
            Self::HostnameHoursLapsed => "the same, after the first certificate",
            Self::ExpiredCertificates => "certificates that expired or were revoked before they were replaced",
            Self::TokensLeft(_) => "whole tokens in the bucket of this limit that came closest to empty, when it did",
            Self::RenewalsPerHourPeak => "renewals in the busiest hour",
            Self::RenewalsPerHourMean => "renewals an hour, on average, rounded up",
            Self::SlipMax => "the longest that a planned order came after its time",
            Self::TenantWaitWorst => "the mean wait for first certificates of the tenant who waited longest",
            Self::TenantWaitMean => "the mean wait for first certificates over all tenants",
            Self::LostCertificates => "certificates issued that no client got: it had crashed or was redeployed",
            Self::Steps => "events in the run",
            Self::StepBoundHit => "1 where the run ended because of `steps_max`, else 0",
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::RefusalsBy(limit) => return write!(f, "refusals.{limit}"),
            Self::TokensLeft(limit) => return write!(f, "tokens_left.{limit}"),
            Self::FirstCertificate(quantile) => return write!(f, "first_certificate.{}", quantile.as_str()),
            Self::Orders => "orders",
            Self::Certificates => "certificates",
            Self::Renewals => "renewals",
            Self::Refusals => "refusals",
            Self::RefusalsPaused => "refusals.paused",
            Self::Overloads => "overloads",
            Self::Unreachable => "unreachable",
            Self::FailedOrders => "failed_orders",
            Self::FailedValidations => "failed_validations",
            Self::PausedNames => "paused_names",
            Self::Hostnames => "hostnames",
            Self::HostnamesCovered => "hostnames_covered",
            Self::HostnamesNeverCovered => "hostnames_never_covered",
            Self::FullCoverageAfter => "full_coverage_after",
            Self::HostnameHoursUncovered => "hostname_hours_uncovered",
            Self::HostnameHoursLapsed => "hostname_hours_lapsed",
            Self::ExpiredCertificates => "expired_certificates",
            Self::RenewalsPerHourPeak => "renewals_per_hour.peak",
            Self::RenewalsPerHourMean => "renewals_per_hour.mean",
            Self::SlipMax => "slip.max",
            Self::TenantWaitWorst => "tenant_wait.worst",
            Self::TenantWaitMean => "tenant_wait.mean",
            Self::LostCertificates => "lost_certificates",
            Self::Steps => "steps",
            Self::StepBoundHit => "step_bound_hit",
        };
        f.write_str(name)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Span(span) => span.fmt(f),
            Self::Never => f.write_str("never"),
        }
    }
}

impl Op {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Equal, Self::Unequal, Self::Less, Self::AtMost, Self::Greater, Self::AtLeast];

    /// As written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::Unequal => "!=",
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::Greater => ">",
            Self::AtLeast => ">=",
        }
    }

    /// Whether `value` stands so to `expected`. Values of different units compare as nothing does.
    #[must_use]
    pub fn holds(self, value: Value, expected: Value) -> bool {
        let order = match (value, expected) {
            (Value::Count(value), Value::Count(expected)) => value.cmp(&expected),
            (Value::Span(value), Value::Span(expected)) => value.cmp(&expected),
            (Value::Never, Value::Never) => Ordering::Equal,
            (Value::Never, _) => Ordering::Greater,
            (_, Value::Never) => Ordering::Less,
            (Value::Count(_), Value::Span(_)) | (Value::Span(_), Value::Count(_)) => return false,
        };
        match self {
            Self::Equal => order.is_eq(),
            Self::Unequal => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::AtLeast => order.is_ge(),
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_differ() {
        let mut names: Vec<String> = Measure::all().map(|measure| measure.to_string()).collect();
        assert!(Measure::all().all(|measure| Measure::parse(&measure.to_string()) == Some(measure)));
        names.sort();
        names.dedup();
        assert_eq!(names.len(), Measure::all().count());
    }

    #[test]
    fn never_is_later_than_everything() {
        let day = Value::Span(Span::from_days(1));
        assert!(Op::Greater.holds(Value::Never, day) && !Op::AtMost.holds(Value::Never, day));
        assert!(Op::AtLeast.holds(day, day) && !Op::Less.holds(day, day));
        assert!(!Op::Equal.holds(Value::Count(1), day) && !Op::Unequal.holds(Value::Count(1), day));
    }
}

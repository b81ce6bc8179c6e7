//! What a plan is to be like.

use crate::limits::Profile;
use crate::time::{Span, Timestamp};

/// Parts per million of a whole.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Share(u32);

/// How many names go into a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NamesPerCertificate {
    /// As many as the profile allows, fewer where tokens are to spare.
    Auto,
    /// At most this many, and as many as the profile allows.
    AtMost(usize),
}

impl NamesPerCertificate {
    /// The most names in a certificate of `profile`; at least 1.
    pub(super) fn capacity(self, profile: &Profile) -> usize {
        match self {
            Self::Auto => profile.names_max,
            Self::AtMost(names) => names.clamp(1, profile.names_max),
        }
    }
}

/// Which registered domains may share a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mix {
    /// One registered domain a certificate.
    None,
    /// Those of one tenant.
    Tenant,
}

/// What a plan is to be like.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// The first instant at which an order may go out.
    pub start: Timestamp,
    /// How late orders and issues may be; `None`: 10 minutes, or 60 where a name is validated by dns-01.
    pub margin: Option<Span>,
    /// The share of the burst of order and domain buckets that is left for what nobody planned.
    pub headroom: Share,
    /// The share of the order bucket's refill that is left as well.
    pub reserve_rate: Share,
    /// How many names go into a certificate.
    pub names_per_certificate: NamesPerCertificate,
    /// The most certificates that names are split into for the sake of size.
    pub certificates_max: usize,
    /// Which registered domains may share a certificate.
    pub mix: Mix,
    /// Whether names covered by a wildcard of the same owner are left out.
    pub fold_wildcards: bool,
    /// Whether renewals use ARI.
    pub ari: bool,
    /// Renewals that fall due within it are planned.
    pub horizon: Span,
    /// How far back from their usual time renewals without ARI are spread.
    pub spread: Span,
}

impl Options {
    /// What `certpace plan` does without any option.
    #[must_use]
    pub fn starting(start: Timestamp) -> Self {
        Self {
            start,
            margin: None,
            headroom: Share(100_000),
            reserve_rate: Share(0),
            names_per_certificate: NamesPerCertificate::Auto,
            certificates_max: usize::MAX,
            mix: Mix::None,
            fold_wildcards: false,
            ari: true,
            horizon: Span::from_days(30),
            spread: Span::from_days(3),
        }
    }
}

impl Share {
    /// `parts` of a million; more than a million counts as the whole.
    #[must_use]
    pub fn parts_per_million(parts: u32) -> Self {
        Self(parts.min(1_000_000))
    }

    /// Reads `10%`, `2.5 %` or `10`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = text.strip_suffix('%').unwrap_or(text).trim_end();
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || fraction.len() > 4 || !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return None;
        }
        let parts = whole.parse::<u32>().ok()?.checked_mul(10_000)? + format!("{fraction:0<4}").parse::<u32>().ok()?;
        (parts <= 1_000_000).then_some(Self(parts))
    }

    /// How many of a million.
    #[must_use]
    pub const fn parts(self) -> u32 {
        self.0
    }

    /// What is left of a burst without this share: the share is rounded up to whole tokens, but never takes the last one.
    pub(crate) fn leaves(self, burst: u32) -> u32 {
        let kept = (u64::from(burst) * u64::from(self.0)).div_ceil(1_000_000);
        burst.saturating_sub(u32::try_from(kept).unwrap_or(burst)).max(1)
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, fraction) = (self.0 / 10_000, self.0 % 10_000);
        let digits = format!("{fraction:04}");
        let digits = digits.trim_end_matches('0');
        if digits.is_empty() { write!(f, "{whole}%") } else { write!(f, "{whole}.{digits}%") }
    }
}

/// Why there can be no plan.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PlanError {
    /// Even full certificates are more than allowed.
    #[error("the names need {needed} certificates, and --max-certificates allows {allowed}")]
    TooManyCertificates {
        /// With as many names as fit into each.
        needed: usize,
        /// What was asked for.
        allowed: usize,
    },
    /// A reserve of everything.
    #[error("a reserve rate of {0} leaves nothing")]
    Reserve(Share),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_and_shown() {
        for (text, shown) in [("10%", "10%"), ("0", "0%"), ("2.5 %", "2.5%"), ("100%", "100%")] {
            assert_eq!(Share::parse(text).unwrap().to_string(), shown);
        }
        for text in ["", "%", "101%", "-1", "1e2", "1.23456", "ten"] {
            assert_eq!(Share::parse(text), None, "{text}");
        }
    }

    #[test]
    fn headroom_is_whole_tokens_and_never_the_last() {
        let leaves = |percent: u32, burst| Share::parts_per_million(percent * 10_000).leaves(burst);
        assert_eq!(
            [leaves(10, 300), leaves(10, 50), leaves(10, 5), leaves(10, 1), leaves(100, 50), leaves(0, 7)],
            [270, 45, 4, 1, 1, 7]
        );
    }
}

//! What the CA says when a limit is in the way: its sentence, written and read back, and its `Retry-After`. The words are those of Boulder's
//! `ratelimits/limiter.go` and `errors/errors.go`, for all policies alike.

use std::fmt;

use super::{BucketKey, Model};
use crate::buckets::{Batch, BucketId};
use crate::limits::{Limit, LimitName};
use crate::time::{NS_PER_S, Span, Timestamp};

/// A refusal as its sentence tells it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The limit. A sentence read back does not tell [`LimitName::CertificatesPerDomainPerAccount`] from
    /// [`LimitName::CertificatesPerDomain`], and gives the latter.
    pub limit: LimitName,
    /// The identifier or registered domain, where the sentence names one. Boulder cuts it at its last colon, so that of an IPv6 address the
    /// end alone is left.
    pub of: Option<Box<str>>,
    /// Tokens of a full bucket.
    pub burst: u64,
    /// The period in which they come back.
    pub period: Span,
    /// When to come again, in whole seconds; jitter included.
    pub retry_at: Timestamp,
}

/// The most that the CA adds to a wait: 3 %, so that not all who wait come back at once.
#[must_use]
pub const fn jitter_max(wait: Span) -> Span {
    Span::from_nanos(wait.nanos() / 100 * 3)
}

/// The `Retry-After` for a wait with its jitter: rounded to whole seconds; none where that is 0.
#[must_use]
pub const fn retry_after(wait: Span) -> Option<Span> {
    let seconds = wait.nanos().saturating_add(NS_PER_S / 2) / NS_PER_S;
    if seconds > 0 { Some(Span::from_seconds(seconds)) } else { None }
}

impl Model {
    /// The bucket that the CA names of those in the way of a batch, and the true wait for it. `None` where the batch was not denied.
    #[must_use]
    pub fn named(batch: &Batch) -> Option<(BucketId, Span)> {
        let (denied, outcome) = batch.strictest().filter(|(_, outcome)| !outcome.allowed)?;
        Some((denied.bucket()?, outcome.retry_in))
    }

    /// What the CA says of a bucket that is in the way until `retry_at`.
    #[must_use]
    pub fn refusal(&self, bucket: BucketId, retry_at: Timestamp) -> Refusal {
        let Limit { burst, period, .. } = *self.registry.limit_in_force(bucket, &self.limits);
        let of = match self.registry.key(bucket) {
            BucketKey::CertificatesPerDomain(_)
            | BucketKey::CertificatesPerDomainPerAccount(..)
            | BucketKey::FailedAuthorizationsPerDomainPerAccount(..)
            | BucketKey::FailedAuthorizationsForPausingPerDomainPerAccount(..) => {
                let (_, key) = self.describe(bucket);
                // Behind the account, as Boulder does it.
                let name = key.rsplit([':', ' ']).next().unwrap_or_default();
                Some(name.into())
            }
            BucketKey::NewRegistrationsPerIpAddress(_)
            | BucketKey::NewRegistrationsPerIpv6Range(_)
            | BucketKey::NewOrdersPerAccount(_)
            | BucketKey::PendingAuthorizationsPerAccount(_)
            | BucketKey::CertificatesPerFqdnSet(_) => None,
        };
        Refusal { limit: self.limit_of(bucket), of, burst, period, retry_at }
    }
}

/// What stands before and behind the burst, up to the name in quotes where there is one, and the page that explains it.
struct Words {
    what: &'static str,
    whose: &'static str,
    anchor: &'static str,
}

const PAGE: &str = "https://letsencrypt.org/docs/rate-limits/";

const fn words(limit: LimitName) -> Words {
    match limit {
        LimitName::NewRegistrationsPerIpAddress => Words {
            what: "new registrations",
            whose: "from this IP address",
            anchor: "#new-registrations-per-ip-address",
        },
        LimitName::NewRegistrationsPerIpv6Range => Words {
            what: "new registrations",
            whose: "from this /48 subnet of IPv6 addresses",
            anchor: "#new-registrations-per-ipv6-range",
        },
        LimitName::NewOrdersPerAccount => {
            Words { what: "new orders", whose: "from this account", anchor: "#new-orders-per-account" }
        }
        LimitName::CertificatesPerDomain | LimitName::CertificatesPerDomainPerAccount => Words {
            what: "certificates",
            whose: "already issued for",
            anchor: "#new-certificates-per-registered-domain",
        },
        LimitName::CertificatesPerFqdnSet => Words {
            what: "certificates",
            whose: "already issued for this exact set of identifiers",
            anchor: "#new-certificates-per-exact-set-of-identifiers",
        },
        LimitName::FailedAuthorizationsPerDomainPerAccount => Words {
            what: "failed authorizations",
            whose: "for",
            anchor: "#authorization-failures-per-identifier-per-account",
        },
        // Boulder has no sentence for it, since it pauses instead. This one is like the others.
        LimitName::FailedAuthorizationsForPausingPerDomainPerAccount => {
            Words { what: "failed authorizations in a row", whose: "for", anchor: "" }
        }
        // It is gone from Boulder; what it said had no numbers.
        LimitName::PendingAuthorizationsPerAccount => {
            Words { what: "currently pending authorizations", whose: "from this account", anchor: "" }
        }
    }
}

/// The sentence, as a problem document's `detail` has it.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Words { what, whose, anchor } = words(self.limit);
        write!(f, "too many {what} ({}) {whose}", self.burst)?;
        if let Some(name) = &self.of {
            write!(f, " \"{name}\"")?;
        }
        let (period, at) = (as_go(self.period), self.retry_at.second());
        write!(f, " in the last {period}, retry after {at} UTC: see {PAGE}{anchor}")
    }
}

impl Refusal {
    /// Reads the sentence, which may stand behind others (older servers put `Error creating new order :: ` before it); `None` where there is
    /// none that Boulder writes today.
    #[must_use]
    pub fn parse(detail: &str) -> Option<Self> {
        let start = detail.find("too many ")?;
        let (what, rest) = detail[start + "too many ".len()..].split_once(" (")?;
        let (burst, rest) = rest.split_once(") ")?;
        let (whose, rest) = rest.split_once(" in the last ")?;
        let (period, rest) = rest.split_once(", retry after ")?;
        let (at, _link) = rest.split_once(" UTC")?;
        let (whose, of) = match whose.strip_suffix('"').and_then(|whose| whose.split_once(" \"")) {
            Some((whose, name)) => (whose, Some(name.into())),
            None => (whose, None),
        };
        let says = |limit: &LimitName| {
            let words = words(*limit);
            words.what == what && words.whose == whose
        };
        Some(Self {
            limit: LimitName::ALL.into_iter().find(says)?,
            of,
            burst: burst.parse().ok()?,
            period: Span::parse(period).ok()?,
            retry_at: Timestamp::parse(at).ok()?,
        })
    }
}

/// A span as Go's `time.Duration` prints it: `168h0m0s`, `1m30s`, `1.5s`, `250ms`.
fn as_go(span: Span) -> String {
    let ns = span.nanos().max(0);
    let of = |unit: i64| {
        let digits = unit.ilog10() as usize;
        let text = format!("{}.{:0digits$}", ns % (60 * NS_PER_S) / unit, ns % unit);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let (hours, minutes) = (ns / (3_600 * NS_PER_S), ns / (60 * NS_PER_S) % 60);
    match ns {
        0 => "0s".to_owned(),
        1..1_000 => format!("{ns}ns"),
        1_000..1_000_000 => format!("{}µs", of(1_000)),
        1_000_000..NS_PER_S => format!("{}ms", of(1_000_000)),
        _ if hours > 0 => format!("{hours}h{minutes}m{}s", of(NS_PER_S)),
        _ if minutes > 0 => format!("{minutes}m{}s", of(NS_PER_S)),
        _ => format!("{}s", of(NS_PER_S)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::{Limits, Overrides, Policy};
    use crate::name::NameSet;
    use crate::psl::SuffixList;
    use crate::rules::{Decision, Exemption};

    fn check(limit: LimitName, of: Option<&str>, burst: u64, period: &str, sentence: &str) {
        let period = Span::parse(period).unwrap();
        let retry_at = Timestamp::from_unix_seconds(1_095);
        let refusal = Refusal { limit, of: of.map(Into::into), burst, period, retry_at };
        assert_eq!(refusal.to_string(), sentence);
        assert_eq!(Refusal::parse(sentence), Some(refusal));
    }

    #[test]
    fn sentences_are_boulders() {
        check(
            LimitName::NewRegistrationsPerIpAddress,
            None,
            10,
            "3h",
            "too many new registrations (10) from this IP address in the last 3h0m0s, retry after 1970-01-01 00:18:15 UTC: \
             see https://letsencrypt.org/docs/rate-limits/#new-registrations-per-ip-address",
        );
        check(
            LimitName::FailedAuthorizationsPerDomainPerAccount,
            Some("*.example.com"),
            5,
            "1h",
            "too many failed authorizations (5) for \"*.example.com\" in the last 1h0m0s, retry after 1970-01-01 00:18:15 UTC: \
             see https://letsencrypt.org/docs/rate-limits/#authorization-failures-per-identifier-per-account",
        );
        check(
            LimitName::CertificatesPerDomain,
            Some("example.com"),
            50,
            "7d",
            "too many certificates (50) already issued for \"example.com\" in the last 168h0m0s, retry after 1970-01-01 00:18:15 \
             UTC: see https://letsencrypt.org/docs/rate-limits/#new-certificates-per-registered-domain",
        );
        check(
            LimitName::CertificatesPerFqdnSet,
            None,
            5,
            "7d",
            "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s, retry after \
             1970-01-01 00:18:15 UTC: see https://letsencrypt.org/docs/rate-limits/#new-certificates-per-exact-set-of-identifiers",
        );
    }

    #[test]
    fn what_older_servers_put_before_it_does_not_matter_and_what_is_no_sentence_is_none() {
        let sentence = "too many new orders (300) from this account in the last 3h0m0s, retry after 2026-12-01 08:00:00 UTC: see x";
        assert!(Refusal::parse(&format!("Error creating new order :: {sentence}")).is_some());
        for other in [
            "",
            "too many ",
            "Service busy; retry later.",
            "too many new orders recently: see https://letsencrypt.org/docs/rate-limits/",
            "too many new lunches (300) from this account in the last 3h0m0s, retry after 2026-12-01 08:00:00 UTC",
            "too many new orders (many) from this account in the last 3h0m0s, retry after 2026-12-01 08:00:00 UTC",
            "too many new orders (300) from this account in the last 3h0m0s, retry after tomorrow UTC",
        ] {
            assert_eq!(Refusal::parse(other), None, "{other}");
        }
    }

    #[test]
    fn spans_are_told_as_go_tells_them() {
        let shown = ["7d", "90s", "1h1ns", "1500ms", "250ms", "1500ns", "7ns", "0"]
            .map(|text| as_go(Span::parse(text).unwrap()));
        assert_eq!(shown, ["168h0m0s", "1m30s", "1h0m0.000000001s", "1.5s", "250ms", "1.5µs", "7ns", "0s"]);
    }

    #[test]
    fn waits_are_rounded_and_left_out_below_half_a_second() {
        let after = |text: &str| retry_after(Span::parse(text).unwrap()).map(Span::compact);
        assert_eq!(
            ["0", "499ms", "500ms", "36s", "36.5s"].map(after),
            [None, None, Some("1s".into()), Some("36s".into()), Some("37s".into())]
        );
    }

    #[test]
    fn the_bucket_that_is_named_is_the_strictest_with_its_override() {
        let policy = Policy::built_in("letsencrypt").unwrap();
        let suffixes = SuffixList::embedded();
        let text = "[[override]]\nlimit = \"CertificatesPerDomain\"\nburst = 1\ncount = 1\nperiod = \"1d\"\nids = [\"example.com\"]";
        let overrides = Overrides::parse(text, &policy, &suffixes).unwrap();
        let mut model = Model::new(Limits { policy, overrides }, suffixes);
        let (mut batch, now) = (Batch::default(), Timestamp::from_unix_seconds(1_800_000_000));
        let order = model.order("1", &NameSet::parse(["www.example.com"]).unwrap());
        assert_eq!(model.new_order(order, Exemption::None, now, &mut batch), Decision::Allow);
        assert_eq!(Model::named(&batch), None);
        model.issued(order, false, now, &mut batch);
        let other = model.order("1", &NameSet::parse(["mail.example.com"]).unwrap());
        model.new_order(other, Exemption::None, now, &mut batch);
        let (bucket, wait) = Model::named(&batch).unwrap();
        assert_eq!(wait, Span::from_days(1));
        let refusal = model.refusal(bucket, now.plus(wait));
        assert!(
            refusal
                .to_string()
                .starts_with("too many certificates (1) already issued for \"example.com\" in the last 24h0m0s")
        );
    }

    proptest! {
        /// What is written is read back, all limits and numbers alike.
        #[test]
        fn sentences_read_back(
            limit in prop::sample::select(LimitName::ALL.to_vec()),
            name in "[a-z0-9.*/-]{0,40}",
            burst: u64,
            period_ns in 1..i64::MAX / 4,
            seconds in 0..7_000_000_000_i64,
        ) {
            let of = words(limit).whose.ends_with("for").then(|| name.into());
            let (period, retry_at) = (Span::from_nanos(period_ns), Timestamp::from_unix_seconds(seconds));
            let told = Refusal { limit, of, burst, period, retry_at };
            let mut expected = told.clone();
            if limit == LimitName::CertificatesPerDomainPerAccount {
                expected.limit = LimitName::CertificatesPerDomain;
            }
            prop_assert_eq!(Refusal::parse(&told.to_string()), Some(expected));
        }

        /// No text makes the reader fail.
        #[test]
        fn any_text_is_read(text in "(too many )?.{0,20}( \\()?.{0,9}(\\) )?.{0,20}( in the last )?.{0,9}(, retry after )?.{0,9}( UTC)?") {
            let _none_or_some = Refusal::parse(&text);
        }
    }
}

//! How ACME clients behave: a few parameters each over one mechanism ([`super::client`]).
//!
//! Read in their sources in mid-2026. What they do on a 429 was seen with a test CA in front of which the limits were enforced.

use crate::time::{NS_PER_S, Span};

/// A client as people run it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Behaviour {
    /// Performs a plan: each order at its time, or up to the margin later.
    Plan,
    /// certpace's own client: permits for every order, and the agent that decides what comes next.
    Certpace,
    /// certbot's timer: twice a day, one after the other, ARI.
    Certbot,
    /// cert-manager: as soon as something is due, up to 60 at a time, hours of backoff.
    CertManager,
    /// Caddy: as soon as something is due, 10 in 10 seconds, backoff from a minute to 6 hours.
    Caddy,
    /// Traefik: daily, one after the other, no backoff, 30 days before the end.
    Traefik,
    /// lego from cron: daily, one after the other, ARI.
    Lego,
    /// acme.sh from cron: daily, one after the other, waits for `Retry-After` up to 10 minutes.
    AcmeSh,
    /// A loop that orders everything it lacks at once, and again each minute.
    Naive,
}

/// When a certificate is renewed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Renewal {
    /// At a random time in the window that the CA suggests, naming the certificate it replaces.
    Ari,
    /// When this many thirds of its life are over.
    Thirds(i64),
    /// This long before its end; at each look where its whole life is shorter.
    Before(Span),
}

/// What a client makes of `Retry-After`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RetryAfter {
    /// It does not look at it.
    Ignored,
    /// It waits if that is not longer than this, else it does as if there were none.
    UpTo(Span),
}

/// What drives a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// It looks every `every`, after a random sleep of up to `jitter`, at what is due then.
    Tick {
        /// Between two looks.
        every: Span,
        /// The longest sleep before it begins.
        jitter: Span,
    },
    /// It acts as soon as something is due.
    AtOnce,
    /// It performs a plan.
    Planned,
    /// It does what [`crate::agent`] says, with permits from a ledger.
    Agent,
}

/// The parameters of a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parameters {
    /// What drives it.
    pub pace: Pace,
    /// How many orders it has under way at a time; at least 1.
    pub concurrency: u32,
    /// The least time between two orders.
    pub spacing: Span,
    /// How long it waits after the first, second, … failure of one certificate; the last holds on. None: until it looks again.
    pub backoff: &'static [Span],
    /// What it makes of `Retry-After`.
    pub retry_after: RetryAfter,
    /// When it renews.
    pub renewal: Renewal,
    /// How many names it puts into a certificate where the scenario does not say.
    pub names_per_certificate: usize,
    /// Whether it deactivates the pending authorizations of an order that failed.
    pub deactivates: bool,
}

const fn minutes(minutes: i64) -> Span {
    Span::from_seconds(minutes * 60)
}

/// cert-manager: 1 h, doubling to 32 h.
const CERT_MANAGER: [Span; 6] = [
    Span::from_hours(1),
    Span::from_hours(2),
    Span::from_hours(4),
    Span::from_hours(8),
    Span::from_hours(16),
    Span::from_hours(32),
];

/// Caddy: from a minute to 6 hours (certmagic, `async.go`; its repetitions of one step are left out).
const CADDY: [Span; 11] = [
    minutes(1),
    minutes(2),
    minutes(2),
    minutes(5),
    minutes(10),
    minutes(20),
    minutes(30),
    Span::from_hours(1),
    Span::from_hours(2),
    Span::from_hours(3),
    Span::from_hours(6),
];

/// The CA's own advice: 1 min, 10 min, 100 min, then once a day.
const ADVISED: [Span; 4] = [minutes(1), minutes(10), minutes(100), Span::from_days(1)];

impl Behaviour {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Plan,
        Self::Certpace,
        Self::Certbot,
        Self::CertManager,
        Self::Caddy,
        Self::Traefik,
        Self::Lego,
        Self::AcmeSh,
        Self::Naive,
    ];

    /// Its name in scenarios.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Certpace => "certpace",
            Self::Certbot => "certbot",
            Self::CertManager => "cert-manager",
            Self::Caddy => "caddy",
            Self::Traefik => "traefik",
            Self::Lego => "lego",
            Self::AcmeSh => "acme.sh",
            Self::Naive => "naive",
        }
    }

    /// The behaviour of that name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|behaviour| behaviour.as_str() == text)
    }

    /// Its parameters.
    #[must_use]
    pub const fn parameters(self) -> Parameters {
        let daily = Parameters {
            pace: Pace::Tick { every: Span::from_days(1), jitter: Span::ZERO },
            concurrency: 1,
            spacing: ROUND_TRIP,
            backoff: &[],
            retry_after: RetryAfter::Ignored,
            renewal: Renewal::Ari,
            names_per_certificate: 1,
            deactivates: false,
        };
        match self {
            Self::Certpace => Parameters { pace: Pace::Agent, concurrency: 100, spacing: TWENTIETH, ..daily },
            Self::Plan => Parameters {
                pace: Pace::Planned,
                concurrency: u32::MAX,
                backoff: &ADVISED,
                retry_after: RetryAfter::UpTo(Span::from_days(400)),
                ..daily
            },
            Self::Certbot => {
                Parameters { pace: Pace::Tick { every: Span::from_hours(12), jitter: minutes(8) }, ..daily }
            }
            Self::CertManager => Parameters {
                pace: Pace::AtOnce,
                concurrency: 60,
                backoff: &CERT_MANAGER,
                renewal: Renewal::Thirds(2),
                ..daily
            },
            Self::Caddy => {
                Parameters { pace: Pace::AtOnce, concurrency: 1_000, spacing: SECOND, backoff: &CADDY, ..daily }
            }
            Self::Traefik => Parameters { renewal: Renewal::Before(Span::from_days(30)), ..daily },
            Self::Lego => Parameters { pace: Pace::Tick { every: Span::from_days(1), jitter: minutes(8) }, ..daily },
            Self::AcmeSh => Parameters { retry_after: RetryAfter::UpTo(Span::from_seconds(600)), ..daily },
            Self::Naive => Parameters {
                pace: Pace::Tick { every: minutes(1), jitter: Span::ZERO },
                concurrency: u32::MAX,
                spacing: Span::ZERO,
                renewal: Renewal::Thirds(2),
                ..daily
            },
        }
    }
}

/// certpace: one nonce at a time, as fast as the CA gives them.
const TWENTIETH: Span = Span::from_nanos(NS_PER_S / 20);
/// An order takes a nonce and a request, a refused one too: on one connection nobody sends more than ten a second.
const ROUND_TRIP: Span = Span::from_nanos(NS_PER_S / 10);
const SECOND: Span = Span::from_nanos(NS_PER_S);

impl std::fmt::Display for Behaviour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for behaviour in Behaviour::ALL {
            assert_eq!(Behaviour::parse(behaviour.as_str()), Some(behaviour));
        }
        assert_eq!(Behaviour::parse("certbots"), None);
    }
}

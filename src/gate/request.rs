//! What the gate is asked, and what it answers.

use crate::ledger::{LedgerError, Mark, limit_and_key};
use crate::limits::{LimitName, NotTokenBuckets};
use crate::name::NameSet;
use crate::permits::{PermitError, Sending, State};
use crate::plan::Share;
use crate::rules::Exemption;
use crate::time::{Span, Timestamp};

use super::document::{Freeze, Task};
use super::leave::Permit;
use super::permitted::Permitted;

/// May this order go out?
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// The account that orders: its URL, or what else you always call it.
    pub account: String,
    /// The names.
    pub names: NameSet,
    /// Who asks. Whoever has a permit for the set gets it again by the same name.
    pub holder: String,
    /// The profile that the order asks for; `None`: the CA's choice.
    pub profile: Option<String>,
    /// Whose certificate it is: tenants that wait take turns.
    pub tenant: Option<String>,
    /// Among those that wait, the larger goes first.
    pub priority: i32,
    /// The certificate that the order replaces.
    pub replaces: Option<Replaces>,
    /// The order of a plan that it is for: once that is issued, there is no permit for it any more.
    pub task: Option<Task>,
    /// How long the permit holds.
    pub lease: Span,
    /// Whether the holder says when it sends.
    pub sending: Sending,
    /// The share of the burst of order and domain buckets that is left for urgent orders.
    pub headroom: Share,
    /// Whether it may use that share, and goes before all who wait.
    pub urgent: bool,
    /// Whether names that failed lately are tried all the same, before their time.
    pub retry_now: bool,
}

/// A certificate that is replaced, and when its CA suggests doing so (RFC 9773).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replaces {
    /// Its id, as `replaces` in the order has it.
    pub certificate: String,
    /// The suggested window: its start and end.
    pub window: Option<(Timestamp, Timestamp)>,
}

/// The answer to a request.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub struct Answer {
    /// When it was decided, by the ledger's clock.
    pub at: Timestamp,
    /// How far the ledger had come then.
    pub mark: Mark,
    /// What was decided.
    pub verdict: Verdict,
}

/// What was decided.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum Verdict {
    /// The order may go out.
    Allow {
        /// What it is exempt from.
        exemption: Exemption,
        /// The permit; a question has none.
        permit: Option<Box<Permitted>>,
    },
    /// Not now.
    Later {
        /// When it fits. Tokens that others hold count as spent now, so it is an estimate where some are held.
        at: Timestamp,
        /// Every bucket in the way with its own time, the latest last.
        blocking: Vec<Blocking>,
    },
    /// Not until a person does something.
    Never(Never),
    /// Another holder has the permit for this set.
    InHand {
        /// Who.
        holder: String,
        /// Its permit.
        permit: String,
        /// When its lease ends.
        until: Timestamp,
    },
}

/// A bucket in the way.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Blocking {
    /// When it has the tokens.
    pub at: Timestamp,
    /// Its name in the ledger.
    pub bucket: String,
}

impl Blocking {
    /// Limit and key. No limit: a name that failed, which waits before it is tried again.
    #[must_use]
    pub fn limit_and_key(&self) -> (Option<LimitName>, &str) {
        match limit_and_key(&self.bucket) {
            Some((limit, key)) => (Some(limit), key),
            None => (None, self.bucket.split_once(' ').map_or(self.bucket.as_str(), |(_, key)| key)),
        }
    }
}

/// Why an order never goes out.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Never {
    /// The CA takes no such name.
    #[error("the CA refuses `{name}`: {reason}")]
    Name {
        /// As it was given.
        name: String,
        /// Why.
        reason: String,
    },
    /// The CA refuses a name beside a wildcard that covers it.
    #[error("the CA refuses `{name}` beside `{wildcard}`, which covers it")]
    Redundant {
        /// The name.
        name: String,
        /// What covers it.
        wildcard: String,
    },
    /// More than fit in a certificate.
    #[error("{count} names are too many: the profile `{profile}` takes {most}")]
    TooManyNames {
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
        /// In which profile.
        profile: String,
    },
    /// The profile takes no such identifiers.
    #[error("the profile `{profile}` takes no {what}")]
    WrongKind {
        /// Which.
        profile: String,
        /// `IP addresses` or `DNS names`.
        what: &'static str,
    },
    /// The policy has no such profile.
    #[error("the CA has no profile `{profile}`; it has {known}")]
    NoProfile {
        /// Which.
        profile: String,
        /// Those that there are.
        known: String,
    },
    /// The CA has paused names for the account.
    #[error("the CA has paused {} for this account since {since}; a person has to unpause it there", .names.join(", "))]
    Paused {
        /// Which.
        names: Vec<String>,
        /// Since when.
        since: Timestamp,
    },
    /// The order of the plan has been issued, by whomever.
    #[error("order {} of the plan has been issued already", .0.order)]
    Done(Task),
    /// An operator has stopped it.
    #[error("frozen by {} since {}: {}", .0.by, .0.since, .0.reason)]
    Frozen(Freeze),
}

/// What came of an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    /// When it was noted, by the ledger's clock.
    pub at: Timestamp,
    /// How far the ledger has come.
    pub mark: Mark,
    /// Where the permit is now.
    pub permit: Permitted,
}

impl Verdict {
    /// In a word: `allow`, `later`, `never`, `in-hand`.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Allow { .. } => "allow",
            Self::Later { .. } => "later",
            Self::Never(_) => "never",
            Self::InHand { .. } => "in-hand",
        }
    }
}

impl Told {
    /// Where the permit is now.
    #[must_use]
    pub const fn state(&self) -> State {
        self.permit.life.state
    }
}

/// Whether a permit that was reserved may be used.
#[derive(Debug)]
#[must_use]
pub enum Dispatch {
    /// The order may go out now: here is leave to send it.
    Go(Permit),
    /// It was told before that it goes out, and whoever was answered then has the leave.
    Gone(Box<Told>),
    /// A bucket has been raised since: not before then. The permit stays reserved; it can be cancelled.
    Later {
        /// When it fits.
        at: Timestamp,
        /// Every bucket in the way, the latest last.
        blocking: Vec<Blocking>,
    },
    /// An operator has stopped it since. The permit stays reserved.
    Frozen(Freeze),
}

/// Why the gate could not answer.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The ledger can't be used: in doubt the answer is no.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The ledger can't be used, as its thread in this process was told.
    #[error("{0}")]
    Shared(std::sync::Arc<LedgerError>),
    /// There is no such permit.
    #[error("there is no permit {0} in this ledger")]
    NoPermit(String),
    /// The event makes no sense for the permit.
    #[error("permit {permit}: {error}")]
    Permit {
        /// Which.
        permit: String,
        /// Why.
        error: PermitError,
    },
    /// A name that is none of the permit's.
    #[error("permit {permit} has no name `{name}`; it has {names}")]
    NoName {
        /// Which.
        permit: String,
        /// The name.
        name: String,
        /// Those that it has.
        names: String,
    },
    /// The policy counts otherwise.
    #[error(transparent)]
    Policy(#[from] NotTokenBuckets),
    /// The time of the realm runs otherwise.
    #[error("the time of {realm} runs {speed} times as fast as the clock in this ledger, for a rehearsal")]
    Rehearsal {
        /// Which.
        realm: String,
        /// How fast.
        speed: u32,
    },
    /// Others kept changing what the decision rests on.
    #[error("the ledger was too busy to decide: {0} attempts")]
    Busy(u32),
}

impl GateError {
    /// The ledger's error, if it is one.
    #[must_use]
    pub fn ledger(&self) -> Option<&LedgerError> {
        match self {
            Self::Ledger(error) => Some(error),
            Self::Shared(error) => Some(error),
            Self::NoPermit(_)
            | Self::Permit { .. }
            | Self::NoName { .. }
            | Self::Policy(_)
            | Self::Rehearsal { .. }
            | Self::Busy(_) => None,
        }
    }
}

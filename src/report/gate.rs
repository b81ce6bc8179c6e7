//! What the gate answers, as text and JSON.
//!
//! ```text
//! {"certpace_gate":1,"verdict":"allow|later|never|in-hand","at","retry_at","blocking":[{"limit","key","retry_at"}],
//!  "reason","exemption":"none|same-set|ari","permit":{…},"local_permit","holder","until","would","epoch","sequence"}
//! ```
//!
//! What does not apply is left out. `blocking` has every bucket in the way; its `limit` is null for a name that failed and waits before it
//! is tried again. `certpace_gate` is the version of this shape: it grows when a key changes its meaning or goes away.

use std::fmt::Write as _;

use serde::Serialize;

use super::style::{BAD, FAINT, GOOD, NAME, WARN, paint};
use super::table::{Align, Table};
use crate::gate::{Answer, Blocking, Dispatch, Permitted, Told, Verdict};
use crate::ledger::Mark;
use crate::limits::LimitName;
use crate::permits::State;
use crate::rules::Exemption;
use crate::time::Timestamp;

/// The version of the shape.
const VERSION: u32 = 1;

/// An answer.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct GateReport {
    /// The version of this shape.
    pub certpace_gate: u32,
    /// `allow`, `later`, `never` or `in-hand`; of an event: `allow` if it was taken.
    pub verdict: &'static str,
    /// When it was decided, by the ledger's clock.
    pub at: Timestamp,
    /// When it fits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// Every bucket in the way, the latest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blocking: Vec<BlockingReport>,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the order is exempt from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exemption: Option<Exemption>,
    /// The permit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permit: Option<PermitReport>,
    /// The number of a permit that was given without a ledger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_permit: Option<String>,
    /// Who has the set in hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// When that lease ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// In shadow mode: what would have been said in earnest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would: Option<Box<Self>>,
    /// Which life of the ledger it is: [`Mark::epoch`].
    pub epoch: u64,
    /// How many changes there were to it.
    pub sequence: u64,
}

/// A bucket in the way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct BlockingReport {
    /// The limit; null for a name that failed.
    pub limit: Option<LimitName>,
    /// Whose bucket.
    pub key: String,
    /// When it has the tokens.
    pub retry_at: Timestamp,
}

/// A permit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PermitReport {
    /// Its number.
    pub permit: String,
    /// Where it is in its life.
    pub state: State,
    /// The account that orders.
    pub account: String,
    /// The names.
    pub names: Vec<String>,
    /// To whom it was given.
    pub holder: String,
    /// Whose certificate it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// What it is exempt from.
    pub exemption: Exemption,
    /// When it was reserved.
    pub reserved_at: Timestamp,
    /// When its lease ends.
    pub lease_end: Timestamp,
    /// When something happened to it last.
    pub changed_at: Timestamp,
    /// Names whose validation failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<String>,
    /// What the CA said when it refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
}

impl PermitReport {
    /// The permit as it stands.
    #[must_use]
    pub fn of(permit: &Permitted) -> Self {
        Self {
            permit: permit.permit.clone(),
            state: permit.life.state,
            account: permit.account.clone(),
            names: permit.names.clone(),
            holder: permit.holder.clone(),
            tenant: permit.tenant.clone(),
            exemption: permit.claim.exemption(),
            reserved_at: permit.life.reserved_at,
            lease_end: permit.life.lease_end,
            changed_at: permit.life.last_at(),
            failed: permit.failed.clone(),
            refusal: permit.refusal.clone().filter(|text| !text.is_empty()),
        }
    }
}

impl GateReport {
    fn new(verdict: &'static str, at: Timestamp, mark: Mark) -> Self {
        Self {
            certpace_gate: VERSION,
            verdict,
            at,
            retry_at: None,
            blocking: Vec::new(),
            reason: None,
            exemption: None,
            permit: None,
            local_permit: None,
            holder: None,
            until: None,
            would: None,
            epoch: mark.epoch,
            sequence: mark.sequence,
        }
    }

    /// The answer to a request.
    #[must_use]
    pub fn of(answer: &Answer) -> Self {
        let report = Self::new(answer.verdict.word(), answer.at, answer.mark);
        match &answer.verdict {
            Verdict::Allow { exemption, permit } => {
                Self { exemption: Some(*exemption), permit: permit.as_deref().map(PermitReport::of), ..report }
            }
            Verdict::Later { at, blocking } => Self { retry_at: Some(*at), blocking: reports(blocking), ..report },
            Verdict::Never(never) => Self { reason: Some(never.to_string()), ..report },
            Verdict::InHand { holder, until, .. } => {
                Self { holder: Some(holder.clone()), until: Some(*until), ..report }
            }
        }
    }

    /// The answer to an event.
    #[must_use]
    pub fn of_told(told: &Told) -> Self {
        let permit = Some(PermitReport::of(&told.permit));
        Self { permit, ..Self::new("allow", told.at, told.mark) }
    }

    /// The answer where the ledger is gone, and the order is exempt.
    #[must_use]
    pub fn local(permit: &str, at: Timestamp, until: Option<Timestamp>) -> Self {
        let report = Self::new("allow", at, Mark::default());
        Self { local_permit: Some(permit.to_owned()), until, exemption: Some(Exemption::Ari), ..report }
    }

    /// The answer to one who is about to send.
    #[must_use]
    pub fn of_dispatch(dispatch: &Dispatch, at: Timestamp, mark: Mark) -> Self {
        match dispatch {
            Dispatch::Go(permit) => Self::of_told(permit.told()),
            Dispatch::Gone(told) => Self::of_told(told),
            Dispatch::Later { at: retry_at, blocking } => {
                Self { retry_at: Some(*retry_at), blocking: reports(blocking), ..Self::new("later", at, mark) }
            }
            Dispatch::Frozen(freeze) => {
                let reason = crate::gate::Never::Frozen(freeze.clone()).to_string();
                Self { reason: Some(reason), ..Self::new("never", at, mark) }
            }
        }
    }

    /// The answer for people. Of a permit given, the first line is its number alone, for scripts.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        match (self.verdict, self.permit.as_ref().map(|permit| &permit.permit).or(self.local_permit.as_ref())) {
            ("allow", Some(permit)) => {
                let _infallible = writeln!(out, "{permit}");
            }
            ("allow", None) => {
                let exempt = match self.exemption {
                    Some(Exemption::SameSet) => ", exempt as the same set",
                    Some(Exemption::Ari) => ", exempt by ARI",
                    Some(Exemption::None) | None => "",
                };
                let _infallible = writeln!(out, "{}: the order may go out now{exempt}", paint(GOOD, "allow"));
            }
            ("later", _) => self.later(&mut out),
            ("in-hand", _) => {
                let holder = self.holder.as_deref().unwrap_or_default();
                let until = self.until.map(|until| until.whole_second().to_string()).unwrap_or_default();
                let _infallible = writeln!(
                    out,
                    "{}: {} has the permit for this set until {until}",
                    paint(WARN, "in-hand"),
                    paint(NAME, holder)
                );
            }
            _ => {
                let reason = self.reason.as_deref().unwrap_or_default();
                let _infallible = writeln!(out, "{}: {reason}", paint(BAD, "never"));
            }
        }
        out
    }

    fn later(&self, out: &mut String) {
        let retry_at = self.retry_at.unwrap_or(self.at);
        let told = (retry_at.whole_second(), retry_at.since(self.at));
        let _infallible = writeln!(out, "{}: not before {} (in {})", paint(WARN, "later"), told.0, told.1);
        for blocking in &self.blocking {
            let what = match blocking.limit {
                // Nobody knows a set by its hash.
                Some(LimitName::CertificatesPerFqdnSet) => {
                    format!("{} of exactly these names", paint(NAME, LimitName::CertificatesPerFqdnSet.as_str()))
                }
                Some(limit) => format!("{} of {}", paint(NAME, limit.as_str()), blocking.key),
                None => format!("{} failed lately and is not tried again yet", paint(NAME, &blocking.key)),
            };
            let _infallible =
                writeln!(out, "  {what}: {}", paint(FAINT, &blocking.retry_at.whole_second().to_string()));
        }
    }
}

fn reports(blocking: &[Blocking]) -> Vec<BlockingReport> {
    let report = |of: &Blocking| {
        let (limit, key) = of.limit_and_key();
        BlockingReport { limit, key: key.to_owned(), retry_at: of.at }
    };
    blocking.iter().map(report).collect()
}

/// Permits.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ListReport {
    /// The version of this shape.
    pub certpace_permits: u32,
    /// The permits, in the order in which they were reserved.
    pub permits: Vec<PermitReport>,
}

impl ListReport {
    /// These permits.
    #[must_use]
    pub fn of<'a>(permits: impl IntoIterator<Item = &'a Permitted>) -> Self {
        Self { certpace_permits: VERSION, permits: permits.into_iter().map(PermitReport::of).collect() }
    }

    /// A table for people.
    #[must_use]
    pub fn text(&self) -> String {
        if self.permits.is_empty() {
            return "no permits\n".to_owned();
        }
        let left = Align::Left;
        let head = [("permit", left), ("state", left), ("lease until", left), ("holder", left), ("names", left)];
        let mut table = Table::new(head);
        for permit in &self.permits {
            let style = match permit.state {
                State::Reserved | State::Sent => WARN,
                State::Issued => GOOD,
                State::Failed | State::Unknown => BAD,
                State::Cancelled | State::Expired => FAINT,
            };
            let names = match permit.names.as_slice() {
                [first, _, ..] => format!("{first} and {} more", permit.names.len() - 1),
                names => names.concat(),
            };
            table.row([
                (NAME, permit.permit.clone()),
                (style, word(permit.state).to_owned()),
                (FAINT, permit.lease_end.whole_second().to_string()),
                (super::style::PLAIN, permit.holder.clone()),
                (super::style::PLAIN, names),
            ]);
        }
        table.render()
    }
}

/// A permit's state in a word.
#[must_use]
pub const fn word(state: State) -> &'static str {
    match state {
        State::Reserved => "reserved",
        State::Sent => "sent",
        State::Issued => "issued",
        State::Failed => "failed",
        State::Cancelled => "cancelled",
        State::Expired => "expired",
        State::Unknown => "unknown",
    }
}

//! What a ledger says of itself, as text and JSON.

use std::fmt::Write as _;

use serde::Serialize;

use super::style::{BAD, FAINT, GOOD, HEAD, NAME, PLAIN, WARN, paint};
use super::table::{Align, Table};
use super::words::grouped;
use crate::gate::{Freeze, Paused};
use crate::limits::LimitName;
use crate::time::{Span, Timestamp};

/// Rows of the table for people.
const ROWS_MAX: usize = 30;

/// `certpace ledger status`.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct StatusReport {
    /// The version of this shape.
    pub certpace_ledger: u32,
    /// Where the ledger is, without a password.
    pub ledger: String,
    /// The CA's directory URL.
    pub directory: String,
    /// Which life of the ledger it is: [`crate::ledger::Mark::epoch`].
    pub epoch: u64,
    /// How many changes there were.
    pub sequence: u64,
    /// The ledger's time.
    pub at: Timestamp,
    /// What a careful owner should know.
    pub notes: Vec<String>,
    /// All buckets were empty then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty_at: Option<Timestamp>,
    /// Limits whose buckets were empty at some time, whatever else is known, and are not full again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limits_empty: Vec<LimitEmpty>,
    /// What is stopped.
    pub frozen: Vec<Freeze>,
    /// Names that the CA has paused.
    pub paused: Vec<Paused>,
    /// Permits that hold tokens.
    pub permits_live: usize,
    /// Permits of which nobody knows what came of them.
    pub permits_unknown: usize,
    /// Buckets that are not full or hold something, the tightest first.
    pub buckets: Vec<BucketReport>,
}

/// A limit of which nobody knows what was spent before.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LimitEmpty {
    /// The limit.
    pub limit: LimitName,
    /// All its buckets count as empty then.
    pub empty_at: Timestamp,
    /// They are full again, unless something is spent.
    pub full_at: Timestamp,
}

/// A bucket.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct BucketReport {
    /// The limit; null for a name that failed and waits.
    pub limit: Option<LimitName>,
    /// Whose bucket.
    pub key: String,
    /// The names of the set, where they are known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Tokens that are neither spent nor held.
    pub left: u32,
    /// Tokens that are set aside.
    pub held: u32,
    /// Tokens of a full bucket.
    pub burst: u32,
    /// The time that brings one token back.
    #[serde(serialize_with = "super::json::seconds", rename = "refill_seconds")]
    pub refill: Span,
    /// When one more token is there, if none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_at: Option<Timestamp>,
    /// When it is full, if nothing held is spent.
    pub full_at: Timestamp,
    /// The permits that hold its tokens, with their holders.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub held_by: Vec<HeldBy>,
}

impl BucketReport {
    /// Whose it is, for people: a set by its names.
    fn title(&self) -> String {
        match self.names.as_slice() {
            [] => self.key.clone(),
            [name] => format!("exactly {name}"),
            [name, others @ ..] => format!("exactly {name} and {} more", others.len()),
        }
    }
}

/// Who holds a token.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct HeldBy {
    /// The permit.
    pub permit: String,
    /// Its holder.
    pub holder: String,
}

impl StatusReport {
    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        let _infallible = writeln!(
            out,
            "{}  {}\n{}",
            paint(HEAD, &self.ledger),
            self.directory,
            paint(FAINT, &format!("epoch {}, {} changes, {}", self.epoch, grouped(self.sequence), self.at))
        );
        self.notes.iter().for_each(|note| _ = writeln!(out, "{} {note}", paint(WARN, "note:")));
        if let Some(empty_at) = self.empty_at {
            let _infallible =
                writeln!(out, "{} all buckets were taken to be empty at {empty_at}", paint(WARN, "note:"));
        }
        for limit in &self.limits_empty {
            let told = format!(
                "every bucket of {} counts as empty at {}, full again {}",
                limit.limit,
                limit.empty_at.minute(),
                limit.full_at.minute()
            );
            let _infallible = writeln!(out, "{} {told}", paint(WARN, "note:"));
        }
        for freeze in &self.frozen {
            let what = serde_json::to_string(&freeze.scope).unwrap_or_default();
            let told = format!("{what} by {} since {}: {}", freeze.by, freeze.since, freeze.reason);
            let _infallible = writeln!(out, "{} {told}", paint(BAD, "frozen:"));
        }
        for paused in &self.paused {
            let _infallible = writeln!(
                out,
                "{} {} for {} since {}",
                paint(BAD, "paused:"),
                paused.name,
                paused.account,
                paused.since
            );
        }
        let permits = match self.permits_live {
            1 => "1 permit holds tokens".to_owned(),
            live => format!("{} permits hold tokens", grouped(live as u64)),
        };
        let _infallible =
            writeln!(out, "{permits}; of {} nobody knows what came of them\n", grouped(self.permits_unknown as u64));
        if self.buckets.is_empty() {
            out.push_str("every bucket is full\n");
            return out;
        }
        let (left, right) = (Align::Left, Align::Right);
        let head = [
            ("left", right),
            ("held", right),
            ("of", right),
            ("limit", left),
            ("key", left),
            ("next token", left),
            ("full", left),
        ];
        let mut table = Table::new(head);
        for bucket in self.buckets.iter().take(ROWS_MAX) {
            let style = match bucket.left {
                0 => BAD,
                left if left * 4 < bucket.burst => WARN,
                _ => GOOD,
            };
            let limit = bucket.limit.map_or("failed lately", LimitName::as_str);
            table.row([
                (style, grouped(bucket.left)),
                (PLAIN, grouped(bucket.held)),
                (FAINT, grouped(bucket.burst)),
                (NAME, limit.to_owned()),
                (PLAIN, bucket.title()),
                (PLAIN, bucket.next_at.map_or_else(|| "now".to_owned(), Timestamp::minute)),
                (FAINT, bucket.full_at.minute()),
            ]);
            for held in &bucket.held_by {
                table.line(format!(
                    "      {}",
                    paint(FAINT, &format!("held by {}, permit {}", held.holder, held.permit))
                ));
            }
        }
        out.push_str(&table.render());
        if self.buckets.len() > ROWS_MAX {
            let more = grouped((self.buckets.len() - ROWS_MAX) as u64);
            let _infallible = writeln!(out, "… and {more} more: --format json has all");
        }
        out
    }
}

/// `certpace ledger agreement`: what the shadow would have said, and what the CA did.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct AgreementReport {
    /// The version of this shape.
    pub certpace_agreement: u32,
    /// From when on.
    pub since: Option<Timestamp>,
    /// It would have allowed them, and the CA took them.
    pub allowed_taken: usize,
    /// It would have allowed them, and the CA refused: the ledger knows too little.
    pub allowed_refused: usize,
    /// It would have said later or never, and the CA took them: the ledger is stricter than need be.
    pub denied_taken: usize,
    /// It would have said later or never, and the CA refused.
    pub denied_refused: usize,
    /// Nobody has told yet what came of them.
    pub open: usize,
    /// Where the two differ.
    pub differences: Vec<Difference>,
}

/// Where the shadow and the CA differ.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Difference {
    /// The permit.
    pub permit: String,
    /// When it was asked for.
    pub at: Timestamp,
    /// The first name, and how many there are.
    pub names: Vec<String>,
    /// What would have been said.
    pub would: String,
    /// Because of what.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blocking: Vec<String>,
    /// What the CA did: `taken` or `refused`.
    pub ca: &'static str,
    /// What it said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl AgreementReport {
    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let right = Align::Right;
        let mut table = Table::new([("the gate would have", Align::Left), ("CA took", right), ("CA refused", right)]);
        let row = |taken: usize, refused: usize| [(PLAIN, grouped(taken as u64)), (PLAIN, grouped(refused as u64))];
        let [taken, refused] = row(self.allowed_taken, self.allowed_refused);
        table.row([(NAME, "allowed".to_owned()), taken, refused]);
        let [taken, refused] = row(self.denied_taken, self.denied_refused);
        table.row([(NAME, "denied".to_owned()), taken, refused]);
        let mut out = table.render();
        let agree = self.allowed_taken + self.denied_refused;
        let told = agree + self.allowed_refused + self.denied_taken;
        let _infallible = writeln!(
            out,
            "\nthey agree on {} of {}; {} are still open",
            grouped(agree as u64),
            grouped(told as u64),
            grouped(self.open as u64)
        );
        for of in &self.differences {
            let names = of.names.first().map_or("", String::as_str);
            let why = if of.blocking.is_empty() { String::new() } else { format!(" ({})", of.blocking.join(", ")) };
            let detail = of.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
            let _infallible =
                writeln!(out, "  {} {names}: would be {}{why}, the CA has {} it{detail}", of.at, of.would, of.ca);
        }
        out
    }
}

//! What the gate keeps in a ledger beside the buckets, as JSON. New keys may come at any time; what a version does not know it leaves
//! out of account, so that the version before can go on writing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ledger::{Document, LedgerError, Version};
use crate::time::Timestamp;

/// The name of the document with what holds for the whole realm.
pub(super) const BOARD: &str = "board";
/// The name of the document with those who wait.
pub(super) const QUEUE: &str = "queue";
/// How the names of permits' documents begin.
pub(super) const PERMIT: &str = "permit ";
/// How the names of sets' documents begin.
pub(super) const SET: &str = "set ";

/// What holds for the whole realm.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Board {
    /// The CA's directory URL, and `#shadow` in shadow mode: for people who look into the store.
    pub realm: String,
    /// Every bucket was empty then, whatever else is known: after a loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty_at: Option<Timestamp>,
    /// From when until then nobody knows what happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_since: Option<Timestamp>,
    /// When the buckets of one limit were empty, likewise.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits_empty_at: BTreeMap<String, Timestamp>,
    /// The realm is a test CA's, and its time runs faster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rehearsal: Option<Rehearsal>,
    /// What an operator has stopped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub frozen: Vec<Freeze>,
    /// Names which the CA takes no order for before a person has unpaused them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paused: Vec<Paused>,
}

/// How the time of a realm runs in which a week is to pass in minutes: the same for all who use it, and after a restart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rehearsal {
    /// When it began, by the ledger's clock.
    pub from: Timestamp,
    /// What time it was then in the rehearsal.
    pub to: Timestamp,
    /// How many times faster it runs.
    pub speed: u32,
}

/// What a freeze stops.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// All orders.
    Everything,
    /// An account's.
    Account(String),
    /// A tenant's.
    Tenant(String),
    /// Those with a name of a registered domain.
    Domain(String),
}

/// A freeze.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Freeze {
    /// What it stops.
    pub scope: Scope,
    /// Why, for those who are stopped.
    pub reason: String,
    /// Who did it.
    pub by: String,
    /// When.
    pub since: Timestamp,
}

/// A name that the CA has paused for an account.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Paused {
    /// The account.
    pub account: String,
    /// The name.
    pub name: String,
    /// When that was learned.
    pub since: Timestamp,
}

/// What is known of a name set.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SetState {
    /// When a certificate for exactly it was seen to have been issued last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen: Option<Timestamp>,
    /// Who has it in hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hand: Option<Hand>,
    /// The order of a plan by which it was issued last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<Task>,
    /// Serial numbers of certificates that were counted already: imports can be repeated.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub counted: Vec<Counted>,
}

/// An order of a plan: whoever performs the plan, it is issued once.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Task {
    /// The plan's hash.
    pub plan: String,
    /// The order's number in it.
    pub order: u64,
}

/// Who has a set in hand.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hand {
    /// The permit.
    pub permit: String,
    /// Whose it is.
    pub holder: String,
    /// For which account.
    pub account: String,
    /// When its lease ends.
    pub until: Timestamp,
}

/// A certificate that was counted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Counted {
    /// Its serial number, in hexadecimal; `None`: it came of a permit, and nobody has told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// When it was issued; of one that came of a permit: when that was told.
    pub at: Timestamp,
    /// When the permit was reserved: it was not issued before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// How often in a row a name failed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Failures {
    pub(super) count: u32,
    pub(super) last: Timestamp,
}

pub(super) fn permit_document(permit: &str) -> String {
    [PERMIT, permit].concat()
}

pub(super) fn set_document(set: &str) -> String {
    [SET, set].concat()
}

pub(super) fn failures_document(account: &str, name: &str) -> String {
    ["failures ", account, " ", name].concat()
}

/// What a document says; `None` if there is none.
pub(super) fn read<'a, T: Deserialize<'a>>(document: &'a Document) -> Result<Option<T>, LedgerError> {
    if !matches!(document.version, Version::Written(_)) {
        return Ok(None);
    }
    serde_json::from_str(&document.body)
        .map(Some)
        .map_err(|error| LedgerError::Row { what: format!("document `{}`", document.name), reason: error.to_string() })
}

/// How many bytes most documents and lines of the record have at most.
const USUAL: usize = 768;

/// A document's text.
pub(super) fn text<T: Serialize>(value: &T) -> String {
    // Every decision writes three: a text that grows as it is written is moved again and again.
    let mut text = Vec::with_capacity(USUAL);
    serde_json::to_writer(&mut text, value)
        .unwrap_or_else(|error| unreachable!("plain data with text as keys: {error}"));
    // Documents are kept at hand.
    text.shrink_to_fit();
    String::from_utf8(text).unwrap_or_else(|error| unreachable!("JSON is UTF-8: {error}"))
}

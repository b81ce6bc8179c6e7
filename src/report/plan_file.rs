//! The plan file: JSON Lines, first what the plan rests on and its summary, then an order a line, by time.
//!
//! ```json
//! {"certpace_plan":1,"policy":{"name","sha256"},"overrides":{"sha256"}|null,"public_suffix_list":{"version","sha256"},
//!  "limits":[{"limit","id","burst","emission_interval"}],"names_max":{"classic":100},
//!  "inventory":{"sha256","rows","hostnames","converted","duplicates","not_ready","rejected"},
//!  "ledger":{"url","directory","epoch","sequence","at"}|null,"continues":{"plan","last_order"},
//!  "start","headroom":"10%","reserve_rate":"0%","margin":"10m","options":{"account","profile",…},"summary":{…}}
//! {"order":1,"at","account","profile","tenant","challenge","names":[…],"registered_domains":[…],"exemption":"none|same-set|ari","replaces":"…"|null,
//!  "held":{"issued_at","expires_at"},"bound_by":{"limit","key"}|null,"deadline":"…"|null}
//! ```
//!
//! `certpace_plan` is the version of this shape: it grows when a key changes its meaning or goes away; new keys may come at any time.
//! Times are RFC 3339 UTC ending in `Z` with up to nine digits of fraction, spans are what the command line takes, seconds are whole and
//! rounded up. `limits` is what the plan relies on ([`Reliance`]), with `id` for an override; `options` what it was asked for ([`Asked`]);
//! `continues` stands in a plan that was made from an older one ([`Continues`]), `issued` where orders of that one are issued: so many lines
//! come first, as they were, and the summary is about the others. `ledger` is what the plan starts from; null: full buckets. `bound_by` names a limit, or `Backoff` or `InHand`. `at` is "not before". `held` stands where `replaces` names a certificate, `tenant` and
//! `challenge` where the inventory says them. An order's number stays the same when a plan is
//! made from an older one.

mod lines;
pub mod reliance;
pub mod rows;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::inventory::Counts;
use crate::plan::opening::Cause;
use crate::plan::replan::EarlierOrder;
use crate::plan::{Plan, Summary};
use crate::psl::SuffixList;
use crate::rules::Exemption;
use crate::time::Timestamp;

pub use lines::Lines;
use reliance::Reliance;

/// The version of the shape that is written, and the only one that is read.
pub const VERSION: u32 = 1;

#[derive(Serialize)]
struct Head<'a> {
    certpace_plan: u32,
    policy: Identity<'a>,
    overrides: Option<Hash<'a>>,
    #[serde(flatten)]
    reliance: Reliance,
    public_suffix_list: List<'a>,
    inventory: Inventory<'a>,
    ledger: Option<&'a LedgerIdentity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    continues: Option<Continues>,
    #[serde(skip_serializing_if = "is_none")]
    issued: u64,
    start: Timestamp,
    headroom: String,
    reserve_rate: String,
    margin: String,
    options: &'a Asked,
    summary: &'a Summary,
}

#[derive(Serialize)]
struct Identity<'a> {
    name: &'a str,
    sha256: &'a str,
}

#[derive(Serialize)]
struct Hash<'a> {
    sha256: &'a str,
}

#[derive(Serialize)]
struct List<'a> {
    version: &'a str,
    sha256: &'a str,
}

#[derive(Serialize)]
struct Inventory<'a> {
    sha256: &'a str,
    #[serde(flatten)]
    counts: &'a Counts,
}

/// Which ledger a plan starts from, and as of when.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub struct LedgerIdentity {
    /// Where it is, without a password.
    pub url: String,
    /// The CA's directory URL.
    pub directory: String,
    /// Which one, of the store's lives.
    pub epoch: u64,
    /// The last change that counts, at least.
    pub sequence: u64,
    /// The ledger's time when it was read.
    pub at: Timestamp,
}

/// Which plan another one goes on with. The ledger knows the orders of both under the first one's hash and their numbers: what either has
/// issued is issued for both, whoever performs them.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub struct Continues {
    /// The SHA-256 of the first plan's file.
    pub plan: String,
    /// The largest number that any of its orders, or of those since, has had.
    pub last_order: u32,
}

/// What a plan was asked for, beside what stands in its first line anyway, as the command line takes it: to plan the same way again.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as the options of `certpace plan`")]
pub struct Asked {
    pub account: String,
    pub profile: String,
    pub deadline: Option<Timestamp>,
    pub names_per_cert: String,
    pub max_certificates: Option<usize>,
    pub mix: String,
    pub fold_wildcards: bool,
    pub no_ari: bool,
    pub horizon: String,
    pub spread: String,
    pub skip_invalid: bool,
}

/// Where a plan comes from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Origin {
    /// What it was asked for.
    pub asked: Asked,
    /// The ledger that it starts from.
    pub ledger: Option<LedgerIdentity>,
    /// The plan that it goes on with; its `last_order` as that one has it.
    pub continues: Option<Continues>,
    /// How many orders of that one are issued: they stand before the plan's own, which the summary is about.
    pub issued: u64,
}

/// The first line, with its line feed.
#[must_use]
pub fn head(plan: &Plan<'_>, suffixes: &SuffixList, origin: &Origin) -> Vec<u8> {
    let policy = &plan.limits.policy;
    let last_order = plan.orders.iter().map(|order| order.number).max().unwrap_or(0);
    let continues = |of: &Continues| Continues { last_order: of.last_order.max(last_order), ..of.clone() };
    line(&Head {
        certpace_plan: VERSION,
        policy: Identity { name: &policy.name, sha256: &policy.sha256 },
        overrides: plan.limits.overrides.sha256.as_deref().map(|sha256| Hash { sha256 }),
        reliance: Reliance::of(plan.inventory, plan.limits),
        public_suffix_list: List { version: suffixes.version(), sha256: suffixes.sha256() },
        inventory: Inventory { sha256: plan.inventory.sha256(), counts: &plan.inventory.counts },
        ledger: origin.ledger.as_ref(),
        continues: origin.continues.as_ref().map(continues),
        issued: origin.issued,
        start: plan.options.start,
        headroom: plan.options.headroom.to_string(),
        reserve_rate: plan.options.reserve_rate.to_string(),
        margin: plan.margin().compact(),
        options: &origin.asked,
        summary: &plan.summary,
    })
}

fn line(value: &impl Serialize) -> Vec<u8> {
    let mut line =
        serde_json::to_vec(value).unwrap_or_else(|error| unreachable!("our own data has text for keys: {error}"));
    line.push(b'\n');
    line
}

/// The first line, as read back.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[expect(missing_docs, reason = "as in the file")]
pub struct PlanHead {
    pub certpace_plan: u32,
    pub policy: PolicyIdentity,
    pub overrides: Option<OverridesIdentity>,
    /// `None` in plans of an older certpace.
    #[serde(flatten)]
    pub reliance: Option<Reliance>,
    pub start: Timestamp,
    pub headroom: String,
    #[serde(default = "nothing")]
    pub reserve_rate: String,
    pub margin: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<Asked>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger: Option<LedgerIdentity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues: Option<Continues>,
    #[serde(default, skip_serializing_if = "is_none")]
    pub issued: u64,
    pub inventory: serde_json::Value,
    pub summary: serde_json::Value,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

/// The reserve of a plan that does not say it.
fn nothing() -> String {
    "0%".to_owned()
}

impl PlanHead {
    /// When the last order goes out, by its summary.
    #[must_use]
    pub fn last_at(&self) -> Option<Timestamp> {
        Timestamp::parse(self.summary.get("last_at")?.as_str()?).ok()
    }

    /// The hash under which the ledger knows the plan's orders; `own` is that of its file.
    #[must_use]
    pub fn identity<'a>(&'a self, own: &'a str) -> &'a str {
        self.continues.as_ref().map_or(own, |continues| &continues.plan)
    }

    /// How many orders the file holds, by its summary, with those that are issued.
    #[must_use]
    pub fn orders(&self) -> Option<u64> {
        Some(self.summary.get("orders")?.as_u64()?.saturating_add(self.issued))
    }
}

/// Which policy a plan was made under.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[expect(missing_docs, reason = "as in the file")]
pub struct PolicyIdentity {
    pub name: String,
    pub sha256: String,
}

/// Which overrides a plan was made with.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[expect(missing_docs, reason = "as in the file")]
pub struct OverridesIdentity {
    pub sha256: String,
}

/// An order, as read back.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[expect(missing_docs, reason = "as in the file")]
pub struct PlanOrder<'a> {
    pub order: u32,
    pub at: Timestamp,
    #[serde(borrow)]
    pub account: Cow<'a, str>,
    #[serde(borrow)]
    pub profile: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub names: Vec<Cow<'a, str>>,
    #[serde(borrow)]
    pub registered_domains: Vec<Cow<'a, str>>,
    pub exemption: Exemption,
    #[serde(borrow)]
    pub replaces: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    #[serde(borrow)]
    pub bound_by: Option<BoundBy<'a>>,
    pub deadline: Option<Timestamp>,
}

/// The dates of a certificate held.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[expect(missing_docs, reason = "as in the file")]
pub struct Held {
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
}

/// What an order waits for, mostly a bucket.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[expect(missing_docs, reason = "as in the file")]
pub struct BoundBy<'a> {
    pub limit: Cause,
    #[serde(borrow)]
    pub key: Cow<'a, str>,
}

/// Why a text is no plan.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PlanFileError {
    /// The first line is not that of a plan.
    #[error("line 1: is no plan of certpace: {0}")]
    Head(String),
    /// Written by a newer certpace, or a much older one.
    #[error("line 1: the plan has version {0}; this certpace reads version {VERSION}")]
    Version(u32),
    /// A line is no order.
    #[error("line {line}: is no order: {reason}")]
    Order {
        /// Which, from 1.
        line: usize,
        /// Why.
        reason: String,
    },
    /// Fewer orders than the first line says: the file was cut off.
    #[error("holds {found} orders, and its first line says {expected}: the file is incomplete")]
    Incomplete {
        /// Lines that there are.
        found: usize,
        /// What the summary says.
        expected: u64,
    },
}

/// Reads the first line.
///
/// # Errors
/// [`PlanFileError`] where it is not that of a plan that can be read.
pub fn read_head(line: &[u8]) -> Result<PlanHead, PlanFileError> {
    #[derive(Deserialize)]
    struct Version {
        certpace_plan: u32,
    }
    let fail = |error: serde_json::Error| PlanFileError::Head(reason(&error));
    let Version { certpace_plan } = serde_json::from_slice(line).map_err(fail)?;
    if certpace_plan != VERSION {
        return Err(PlanFileError::Version(certpace_plan));
    }
    serde_json::from_slice(line).map_err(fail)
}

/// Reads an order; `number` is its line in the file, from 1.
///
/// # Errors
/// [`PlanFileError::Order`].
pub fn read_order(line: &[u8], number: usize) -> Result<PlanOrder<'_>, PlanFileError> {
    serde_json::from_slice(line).map_err(|error| PlanFileError::Order { line: number, reason: reason(&error) })
}

/// What is wrong with a line. The reader of JSON sees one line alone, and counts it as the first.
fn reason(error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "it ends in the middle: the file is incomplete".to_owned();
    }
    error.to_string().replace(" at line 1 column ", " at column ")
}

/// An order as the planner takes it up again.
impl From<PlanOrder<'_>> for EarlierOrder {
    fn from(order: PlanOrder<'_>) -> Self {
        Self {
            number: order.order,
            at: order.at,
            account: order.account.into_owned(),
            profile: order.profile.into_owned(),
            names: order.names.into_iter().map(Cow::into_owned).collect(),
            replaces: order.replaces.map(Cow::into_owned),
            bound_by: order.bound_by.map(|bound| (bound.limit, bound.key.into_owned())),
        }
    }
}

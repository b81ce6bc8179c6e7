//! `certpace status`: how the certificates of a store stand.
//!
//! The data is its JSON, of which `certpace_status` is the version: it grows when a key changes its meaning or goes away; new keys may come at
//! any time.
//!
//! ```json
//! { "certpace_status": 1, "now": "2026-12-01T00:00:00Z", "store": "/var/lib/certpace", "held": of certificates, asked for or not,
//!   "certificates": [{"names", "folder", "serial", "issued_at", "expires_at", "profile", "key_type", "account", "tenant",
//!     "window": {"start", "end"} as the CA told it, or null,
//!     "next": {"action": "renew-now", "because": "revoked" or "expired" or "urgent" or "due"} or {"action": "renew-at", "at"} or
//!       {"action": "renew-from", "at"}: no time was drawn yet; or {"action": "ordering", "stage"} or {"action": "none", "superseded_by"},
//!     "deadline": of one that is revoked, or null, "failures", "last_error": {"at", "text"} or null}],
//!   "open_orders": [{"permit", "names", "stage", "url", "sent_at", "account"}],
//!   "damaged": ["FILE is damaged: …"] }
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anstyle::Style;
use serde::Serialize;

use super::WIDTH;
use super::style::{BAD, FAINT, GOOD, HEAD, NAME, PLAIN, WARN, paint};
use super::table::{Align, Table};
use super::words::{grouped, printable, wrapped};
use crate::agent::{Held, Window};
use crate::issuer::request::KeyType;
use crate::issuer::store::{LastError, Lineage, OpenOrder, Stage, StoreError};
use crate::limits::RenewalTerms;
use crate::name::{Identifier, NameSet, SetKey};
use crate::time::{Span, Timestamp};

/// How the certificates of a store stand.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct StatusReport {
    /// The version of this shape.
    pub certpace_status: u32,
    /// When it is asked.
    pub now: Timestamp,
    /// The store's folder.
    pub store: PathBuf,
    /// How many certificates it holds, asked for or not.
    pub held: usize,
    /// The certificates asked for, the first to expire first.
    pub certificates: Vec<CertificateStatus>,
    /// Orders of which not all is settled.
    pub open_orders: Vec<OrderStatus>,
    /// What can't be read.
    pub damaged: Vec<String>,
}

/// How a certificate stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct CertificateStatus {
    /// Its names.
    pub names: Vec<String>,
    /// Its folder; the files in use are in `live` there.
    pub folder: PathBuf,
    /// Its serial number, in hexadecimal.
    pub serial: String,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
    /// Its profile.
    pub profile: Option<String>,
    /// What kind of key it has.
    pub key_type: Option<KeyType>,
    /// What the account is called in the store.
    pub account: String,
    /// Whose it is.
    pub tenant: Option<String>,
    /// The window in which the CA wants it renewed.
    pub window: Option<Window>,
    /// What is to be done.
    pub next: Next,
    /// It is revoked, and to be replaced by then.
    pub deadline: Option<Timestamp>,
    /// Failures to renew it in a row.
    pub failures: u32,
    /// The last of them.
    pub last_error: Option<LastError>,
}

/// What is to be done about a certificate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum Next {
    /// Nothing: another one has its names.
    None {
        /// Its folder.
        superseded_by: String,
    },
    /// An order for its names is open.
    Ordering {
        /// How far that has come.
        stage: Stage,
    },
    /// The next `certpace renew` renews it.
    RenewNow {
        /// Why.
        because: Reason,
    },
    /// It is renewed at a time that was drawn.
    RenewAt {
        /// The time.
        at: Timestamp,
    },
    /// It is renewed at a time that the next `certpace renew` draws, where the CA tells no other window.
    RenewFrom {
        /// The first such time.
        at: Timestamp,
    },
}

/// Why a certificate is to be renewed at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// It is revoked.
    Revoked,
    /// It has expired.
    Expired,
    /// Less than a tenth of its life is left.
    Urgent,
    /// Its time has come.
    Due,
}

/// An order of which not all is settled.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct OrderStatus {
    /// Its permit.
    pub permit: String,
    /// Its names.
    pub names: Vec<String>,
    /// How far it has come.
    pub stage: Stage,
    /// Its URL.
    pub url: Option<String>,
    /// When it was sent.
    pub sent_at: Option<Timestamp>,
    /// What the account is called in the store.
    pub account: String,
}

/// Which certificates are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted<'a> {
    /// Those with one of these names; none: all.
    pub names: &'a [Identifier],
    /// Those that have expired by then.
    pub expiring: Option<Timestamp>,
}

impl Wanted<'_> {
    fn has_name(&self, names: &NameSet) -> bool {
        self.names.is_empty() || self.names.iter().any(|name| names.identifiers().contains(name))
    }

    fn takes(&self, lineage: &Lineage) -> bool {
        self.has_name(&lineage.names) && self.expiring.is_none_or(|end| lineage.metadata.not_after <= end)
    }
}

fn texts(names: &NameSet) -> Vec<String> {
    names.identifiers().iter().map(ToString::to_string).collect()
}

impl Next {
    fn of(lineage: &Lineage, open: Option<Stage>, renewal: &RenewalTerms, now: Timestamp) -> Self {
        let (metadata, notes) = (&lineage.metadata, &lineage.notes);
        let held = Held { deadline: notes.deadline, ..Held::new(metadata.issued_at, metadata.not_after) };
        let because = match notes.renew_at {
            _ if notes.deadline.is_some() => Some(Reason::Revoked),
            _ if held.expires_at <= now => Some(Reason::Expired),
            _ if held.urgent_at() <= now => Some(Reason::Urgent),
            Some(at) if at <= now => Some(Reason::Due),
            _ => None,
        };
        match (&notes.superseded_by, open, because, notes.renew_at) {
            (Some(superseded_by), ..) => Self::None { superseded_by: superseded_by.clone() },
            (None, Some(stage), ..) => Self::Ordering { stage },
            (None, None, Some(because), _) => Self::RenewNow { because },
            (None, None, None, Some(at)) => Self::RenewAt { at },
            (None, None, None, None) => Self::RenewFrom { at: renewal.window(held.issued_at, held.expires_at).0 },
        }
    }

    fn text(&self, deadline: Option<Timestamp>) -> (Style, String) {
        match self {
            Self::None { superseded_by } => (FAINT, format!("nothing: superseded by {superseded_by}")),
            Self::Ordering { stage } => (GOOD, format!("order open: {}", stage_text(*stage))),
            Self::RenewNow { because: Reason::Revoked } => {
                let by = deadline.map_or_else(String::new, |by| format!(", to be replaced by {}", by.minute()));
                (BAD, format!("renew now: revoked{by}"))
            }
            Self::RenewNow { because: Reason::Expired } => (BAD, "renew now: expired".to_owned()),
            Self::RenewNow { because: Reason::Urgent } => (WARN, "renew now: urgent".to_owned()),
            Self::RenewNow { because: Reason::Due } => (PLAIN, "renew now: due".to_owned()),
            Self::RenewAt { at } => (PLAIN, format!("renew at {}", at.minute())),
            Self::RenewFrom { at } => (PLAIN, format!("renew from {} on", at.minute())),
        }
    }
}

fn stage_text(stage: Stage) -> &'static str {
    match stage {
        Stage::Sending => "sending",
        Stage::Validating => "validating",
        Stage::Finalizing => "finalizing",
        Stage::Issued => "issued",
        Stage::Failed => "failed",
    }
}

impl StatusReport {
    /// That there is nothing.
    #[must_use]
    pub fn empty(store: &Path, now: Timestamp) -> Self {
        Self {
            certpace_status: 1,
            now,
            store: store.to_owned(),
            held: 0,
            certificates: Vec::new(),
            open_orders: Vec::new(),
            damaged: Vec::new(),
        }
    }

    /// Puts together what the store holds of what is wanted.
    #[must_use]
    pub fn new(
        store: &Path,
        lineages: Vec<Result<Lineage, StoreError>>,
        orders: &[OpenOrder],
        wanted: &Wanted<'_>,
        renewal: &RenewalTerms,
        now: Timestamp,
    ) -> Self {
        let open: BTreeMap<SetKey, Stage> = orders.iter().map(|order| (order.names.key(), order.stage)).collect();
        let mut report = Self { held: lineages.len(), ..Self::empty(store, now) };
        for lineage in lineages {
            match lineage {
                Ok(lineage) if wanted.takes(&lineage) => {
                    let stage = if open.is_empty() { None } else { open.get(&lineage.names.key()).copied() };
                    let next = Next::of(&lineage, stage, renewal, now);
                    report.certificates.push(CertificateStatus::new(lineage, next));
                }
                Ok(_) => {}
                Err(error) => report.damaged.push(error.to_string()),
            }
        }
        report.certificates.sort_by(|a, b| (a.expires_at, &a.names).cmp(&(b.expires_at, &b.names)));
        let orders = orders.iter().filter(|order| wanted.has_name(&order.names));
        report.open_orders = orders.map(OrderStatus::new).collect();
        report
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        if !self.certificates.is_empty() {
            out.push_str(&self.certificates_text());
        }
        if !self.open_orders.is_empty() {
            let _infallible = writeln!(out, "{}{}", if out.is_empty() { "" } else { "\n" }, paint(HEAD, "Open orders"));
            out.push_str(&self.orders_text());
        }
        if out.is_empty() {
            let store = self.store.display();
            out = match self.held {
                0 => format!("no certificates in {store}\n"),
                1 => format!("the one certificate in {store} is not asked for\n"),
                held => format!("none of the {} certificates in {store} is asked for\n", grouped(held as u64)),
            };
        }
        out
    }

    fn certificates_text(&self) -> String {
        let left = Align::Left;
        let mut table =
            Table::new([("names", left), ("expires", left), ("in", Align::Right), ("window", left), ("next", left)]);
        for of in &self.certificates {
            let (style, remaining) = remaining(of.expires_at.since(self.now), &of.next);
            let window =
                of.window.map_or_else(String::new, |at| format!("{} to {}", at.start.minute(), at.end.minute()));
            table.row([
                (NAME, first(&of.names)),
                (PLAIN, of.expires_at.minute()),
                (style, remaining),
                (FAINT, window),
                of.next.text(of.deadline),
            ]);
            if let Some(error) = &of.last_error {
                let times = match of.failures {
                    0 | 1 => "failed".to_owned(),
                    times => format!("failed {} times, last", grouped(times)),
                };
                let told = printable(&format!("{times} {}: {}", error.at.minute(), error.text));
                for line in wrapped(&told, WIDTH - 4) {
                    table.line(format!("    {}", paint(WARN, &line)));
                }
            }
        }
        table.render()
    }

    fn orders_text(&self) -> String {
        let left = Align::Left;
        let mut table =
            Table::new([("names", left), ("stage", left), ("sent", left), ("account", left), ("permit", left)]);
        for of in &self.open_orders {
            table.row([
                (NAME, first(&of.names)),
                (PLAIN, stage_text(of.stage).to_owned()),
                (PLAIN, of.sent_at.map_or_else(String::new, Timestamp::minute)),
                (PLAIN, printable(&of.account)),
                (FAINT, of.permit.clone()),
            ]);
        }
        table.render()
    }

    /// A row for each certificate, as CSV: the names stand in one field, with spaces between.
    #[must_use]
    pub fn csv(&self) -> Vec<u8> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let text = |at: Option<Timestamp>| at.map_or_else(String::new, |at| at.to_string());
        let rows = self.certificates.iter().map(|of| {
            [
                of.names.join(" "),
                of.serial.clone(),
                of.issued_at.to_string(),
                of.expires_at.to_string(),
                of.profile.clone().unwrap_or_default(),
                of.account.clone(),
                of.tenant.clone().unwrap_or_default(),
                text(of.window.map(|window| window.start)),
                text(of.window.map(|window| window.end)),
                of.next.text(of.deadline).1,
                of.failures.to_string(),
                of.last_error.as_ref().map_or_else(String::new, |error| error.text.clone()),
            ]
        });
        let head = CSV_HEADER.map(str::to_owned);
        for row in std::iter::once(head).chain(rows) {
            let _infallible = writer.write_record(row);
        }
        writer.into_inner().unwrap_or_default()
    }
}

const CSV_HEADER: [&str; 12] = [
    "names",
    "serial",
    "issued_at",
    "expires_at",
    "profile",
    "account",
    "tenant",
    "window_start",
    "window_end",
    "next",
    "failures",
    "last_error",
];

/// The first name, and how many more there are.
fn first(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} +{}", rest.len()),
    }
}

fn remaining(left: Span, next: &Next) -> (Style, String) {
    match next {
        _ if left <= Span::ZERO => (BAD, "expired".to_owned()),
        Next::RenewNow { because: Reason::Urgent | Reason::Revoked } => (WARN, left.to_string()),
        _ => (PLAIN, left.to_string()),
    }
}

impl CertificateStatus {
    fn new(lineage: Lineage, next: Next) -> Self {
        let Lineage { names, folder, metadata, notes, .. } = lineage;
        Self {
            names: texts(&names),
            folder,
            serial: metadata.serial,
            issued_at: metadata.issued_at,
            expires_at: metadata.not_after,
            profile: metadata.profile,
            key_type: metadata.key_type,
            account: metadata.account_name,
            tenant: metadata.tenant,
            window: notes.window,
            next,
            deadline: notes.deadline,
            failures: notes.failures,
            last_error: notes.last_error,
        }
    }
}

impl OrderStatus {
    fn new(order: &OpenOrder) -> Self {
        Self {
            permit: order.permit.clone(),
            names: texts(&order.names),
            stage: order.stage,
            url: order.url.clone(),
            sent_at: order.sent_at,
            account: order.account_name.clone(),
        }
    }
}

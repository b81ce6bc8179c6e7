//! `certpace inventory from-certs`: which certificates are held, as an inventory and as a summary.
//!
//! The data is its JSON, of which `certpace_from_certs` is the version: it grows when a key changes its meaning or goes away; new keys may
//! come at any time.
//!
//! ```json
//! { "certpace_from_certs": 1, "now": "2026-12-01T00:00:00Z",
//!   "issuers": ["Let's Encrypt"] or null where anybody's certificates count,
//!   "sources": [{"kind", "files", "entries"}],
//!   "read": {"entries", "duplicates", "precertificates", "other_issuers", "authorities", "other_files"},
//!   "held": {"certificates", "hostnames", "loose", "expired", "renewed", "not_in_use"},
//!   "left_out": [{"certificate", "shares" or null where it has more names than any profile takes}],
//!   "broken": ["FILE:LINE: …"],
//!   "rows": [{"hostname", "profile", "certificate", "issued_at", "expires_at"}] }
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::style::{FAINT, HEAD, NAME, paint};
use super::words::{grouped, printable, wrapped};
use crate::import::{Broken, Counts, Held, Imported, Issuers, Kind};
use crate::time::Timestamp;

/// How many of a kind are told in full.
const SHOWN: usize = 20;

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FromCerts<'a> {
    /// The version of this shape.
    pub certpace_from_certs: u32,
    /// When it is asked: what has expired is not held.
    pub now: Timestamp,
    /// Whose certificates count; `None`: anybody's.
    pub issuers: Option<&'a [String]>,
    /// What was read, by kind.
    pub sources: Vec<SourceCount>,
    /// What was counted while reading.
    pub read: Counts,
    /// What is held.
    pub held: HeldCounts,
    /// Certificates that can't be held beside others.
    pub left_out: Vec<LeftOut>,
    /// Entries that can't be read.
    pub broken: Vec<String>,
    /// The inventory.
    pub rows: Vec<Row>,
}

/// Files of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[expect(missing_docs, reason = "as in `SourceFile`")]
pub struct SourceCount {
    pub kind: Kind,
    pub files: u64,
    pub entries: u64,
}

impl SourceCount {
    /// What was read, by kind.
    #[must_use]
    pub fn of(imported: &Imported) -> Vec<Self> {
        let mut kinds: BTreeMap<Kind, Self> = BTreeMap::new();
        for source in &imported.sources {
            let count = kinds.entry(source.kind).or_insert(Self { kind: source.kind, files: 0, entries: 0 });
            count.files += 1;
            count.entries += source.entries;
        }
        kinds.into_values().collect()
    }
}

/// What of it is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct HeldCounts {
    /// Certificates held.
    pub certificates: usize,
    /// Rows of the inventory: the names on them, and those below.
    pub hostnames: usize,
    /// Names that are on no certificate which can be held.
    pub loose: usize,
    /// Certificates that have expired.
    pub expired: u64,
    /// Certificates whose names all stand on newer ones.
    pub renewed: u64,
    /// Certificates that nobody has in use.
    pub not_in_use: u64,
}

/// A certificate that was left out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LeftOut {
    /// Its id.
    pub certificate: String,
    /// A name that a newer one has as well; `None`: it has more names than any profile takes.
    pub shares: Option<String>,
}

/// A row of the inventory; empty where it tells nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[expect(missing_docs, reason = "named as the inventory's columns")]
pub struct Row {
    pub hostname: String,
    pub profile: String,
    pub certificate: String,
    pub issued_at: String,
    pub expires_at: String,
}

impl<'a> FromCerts<'a> {
    /// Puts together what was imported and what is held of it at `now`.
    #[must_use]
    pub fn new(now: Timestamp, issuers: &'a Issuers, imported: &Imported, held: &Held) -> Self {
        let rows = rows(held);
        Self {
            certpace_from_certs: 1,
            now,
            issuers: match issuers {
                Issuers::Any => None,
                Issuers::Of(organisations) => Some(organisations),
            },
            sources: SourceCount::of(imported),
            read: imported.counts,
            held: HeldCounts {
                certificates: held.certificates.len(),
                hostnames: rows.len(),
                loose: held.loose.len(),
                expired: held.expired,
                renewed: held.renewed,
                not_in_use: held.not_in_use,
            },
            left_out: held
                .overlaps
                .iter()
                .map(|overlap| LeftOut {
                    certificate: overlap.id.clone(),
                    shares: overlap.name.as_ref().map(ToString::to_string),
                })
                .collect(),
            broken: imported.broken.iter().map(ToString::to_string).collect(),
            rows,
        }
    }

    /// The inventory as CSV.
    #[must_use]
    pub fn csv(&self) -> Vec<u8> {
        let mut out = String::from("hostname,profile,certificate,issued_at,expires_at\n");
        for Row { hostname, profile, certificate, issued_at, expires_at } in &self.rows {
            // Nothing in a row can hold a comma or a quote but the name of a profile.
            let profile = if profile.contains([',', '"', '\n']) {
                format!("\"{}\"", profile.replace('"', "\"\""))
            } else {
                profile.clone()
            };
            let _infallible = writeln!(out, "{hostname},{profile},{certificate},{issued_at},{expires_at}");
        }
        out.into_bytes()
    }

    /// What the reader should look at, one paragraph each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let too_large = self.left_out.iter().filter(|left| left.shares.is_none()).count() as u64;
        let left_out = [
            (self.read.other_issuers, "certificate of another CA", "certificates of other CAs"),
            (self.held.expired, "expired certificate", "expired certificates"),
            (
                too_large,
                "certificate with more names than any profile takes",
                "certificates with more names than any profile takes",
            ),
        ];
        let left_out = left_out.into_iter().filter(|(number, ..)| *number > 0);
        warnings.extend(left_out.map(|(number, one, many)| format!("left out: {}", count(number, one, many))));
        let sharing = || self.left_out.iter().filter_map(|left| Some((&left.certificate, left.shares.as_ref()?)));
        warnings.extend(sharing().take(SHOWN).map(|(certificate, name)| {
            format!("left out: certificate {certificate}, since {name} is on a newer one with other names")
        }));
        let rest = sharing().skip(SHOWN).count() as u64;
        if rest > 0 {
            warnings.push(format!("left out: {} like that", count(rest, "more certificate", "more certificates")));
        }
        if self.held.loose > 0 {
            let names = count(self.held.loose as u64, "name", "names");
            warnings
                .push(format!("without a certificate in the inventory: {names} that only certificates left out have"));
        }
        warnings
    }

    /// The summary, for people.
    #[must_use]
    pub fn summary(&self, written: &str) -> String {
        let mut out = String::new();
        let mut line = |title: &str, text: &str| {
            for (index, part) in wrapped(text, 82).iter().enumerate() {
                let title = if index == 0 { title } else { "" };
                let _infallible = writeln!(out, "{}{}{part}", paint(HEAD, title), " ".repeat(14 - title.len()));
            }
        };
        let held = &self.held;
        let (one, many) = ("certificate", "certificates");
        let mut text = format!(
            "{} on {} held",
            count((held.hostnames - held.loose) as u64, "hostname", "hostnames"),
            count(held.certificates as u64, one, many)
        );
        if held.loose > 0 {
            text.push_str(&format!(", {} on none", grouped(held.loose as u64)));
        }
        line("Inventory", &text);
        for source in &self.sources {
            let files = count(source.files, "file", "files");
            line("Read", &format!("{}: {files}, {}", source.kind, count(source.entries, one, many)));
        }
        let left = [
            (held.renewed, "renewed"),
            (held.not_in_use, "not in use"),
            (held.expired, "expired"),
            (self.read.other_issuers, "of other CAs"),
            (self.left_out.len() as u64, "overlapping or too large"),
        ];
        let left = left.iter().filter(|(number, _)| *number > 0);
        let left: Vec<_> = left.map(|(number, what)| format!("{} {what}", grouped(*number))).collect();
        if !left.is_empty() {
            line("Left out", &left.join(", "));
        }
        line("Written", written);
        out
    }
}

fn rows(held: &Held) -> Vec<Row> {
    let mut rows = Vec::new();
    for certificate in &held.certificates {
        rows.extend(certificate.names.identifiers().iter().map(|name| Row {
            hostname: name.to_string(),
            profile: certificate.profile.clone().unwrap_or_default(),
            certificate: certificate.id.clone(),
            issued_at: certificate.issued_at.to_string(),
            expires_at: certificate.expires_at.to_string(),
        }));
    }
    rows.extend(held.loose.iter().map(|(name, profile)| Row {
        hostname: name.to_string(),
        profile: profile.clone().unwrap_or_default(),
        certificate: String::new(),
        issued_at: String::new(),
        expires_at: String::new(),
    }));
    rows
}

/// Entries that can't be read, for people: the first ones in full, of the rest how many.
#[must_use]
pub fn broken_text(broken: &[Broken]) -> String {
    let mut out = String::new();
    // To count a single one would take as much room as to tell it.
    let shown = if broken.len() == SHOWN + 1 { SHOWN + 1 } else { SHOWN };
    for entry in broken.iter().take(shown) {
        let (place, reason) = (printable(&entry.at()), printable(&entry.reason.to_string()));
        let _infallible = writeln!(out, "{}: {reason}", paint(NAME, &place));
    }
    if broken.len() > shown {
        let rest = format!("and {} more", grouped((broken.len() - shown) as u64));
        let _infallible = writeln!(out, "{}", paint(FAINT, &rest));
    }
    out
}

fn count(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { one } else { many })
}

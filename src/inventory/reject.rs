//! Rows that can't be planned: where they stand and why.

use std::fmt;

use super::InventoryError;
use super::layout::{Layout, LayoutError, line_at};
use super::source::{PART, Part, Source};
use super::split::open_quote;
use crate::name::NameError;

/// The columns that mean something.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[expect(missing_docs, reason = "named as in the file; the inventory's documentation says what each means")]
pub enum Column {
    Hostname,
    Account,
    Tenant,
    Group,
    Profile,
    Challenge,
    Priority,
    Deadline,
    Ready,
    Certificate,
    IssuedAt,
    ExpiresAt,
}

impl Column {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 12] = [
        Self::Hostname,
        Self::Account,
        Self::Tenant,
        Self::Group,
        Self::Profile,
        Self::Challenge,
        Self::Priority,
        Self::Deadline,
        Self::Ready,
        Self::Certificate,
        Self::IssuedAt,
        Self::ExpiresAt,
    ];

    /// Its name in a header.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hostname => "hostname",
            Self::Account => "account",
            Self::Tenant => "tenant",
            Self::Group => "group",
            Self::Profile => "profile",
            Self::Challenge => "challenge",
            Self::Priority => "priority",
            Self::Deadline => "deadline",
            Self::Ready => "ready",
            Self::Certificate => "certificate",
            Self::IssuedAt => "issued_at",
            Self::ExpiresAt => "expires_at",
        }
    }

    pub(super) fn of_header(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        match name.as_str() {
            "domain" | "name" | "fqdn" => Some(Self::Hostname),
            name => Self::ALL.into_iter().find(|column| column.as_str() == name),
        }
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a row can't be planned.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what the variant means")]
pub enum Reason {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("the row has {found} field{}, the header has {expected}", if *found == 1 { "" } else { "s" })]
    FieldCount { found: usize, expected: usize },
    #[error("a quote is opened here and never closed, so that all that follows belongs to this row")]
    Unterminated,
    #[error("the row holds a NUL byte")]
    Nul,
    #[error("the row is not UTF-8")]
    NotUtf8,
    #[error("the row has more than 4,000 bytes beside the hostname")]
    TooLong,
    #[error("{0}")]
    Value(String),
    #[error(
        "the same hostname stands elsewhere with other values: of two rows that differ, neither can be right alone"
    )]
    Differs,
}

impl Reason {
    /// The same text for reasons of the same kind, whatever the value: for counting.
    #[must_use]
    pub fn kind(&self) -> String {
        match self {
            Self::Name(error) => format!("name {:?}", std::mem::discriminant(error)),
            other => format!("row {:?}", std::mem::discriminant(other)),
        }
    }
}

/// A row that can't be planned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reject {
    /// Which source, by its place.
    pub source: usize,
    /// The line it starts in, from 1.
    pub line: u64,
    /// The hostname it is about, as far as it can be told.
    pub hostname: String,
    /// The column that is wrong.
    pub column: Column,
    /// What stands there (cut at 100 characters).
    pub value: String,
    /// Why it is wrong.
    pub reason: Reason,
    /// Where the record starts in its source.
    pub(super) start: usize,
    /// The record, without its line end.
    record: Vec<u8>,
}

impl Reject {
    /// Makes one; its line and record are found later, by [`locate`].
    pub(super) fn new(source: usize, start: usize, hostname: &[u8], reason: Reason) -> Self {
        let (hostname, column) = (shown(hostname), Column::Hostname);
        Self { source, line: 0, column, value: hostname.clone(), hostname, reason, start, record: Vec::new() }
    }

    /// The same, for what stands in another column.
    pub(super) fn in_column(self, column: Column, value: &str) -> Self {
        Self { column, value: shown(value.as_bytes()), ..self }
    }

    /// The record as it stands in its source, without its line end.
    #[must_use]
    pub fn record(&self) -> &[u8] {
        &self.record
    }
}

/// Text for people, cut where nobody would read on.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    match text.char_indices().nth(100) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.into_owned(),
    }
}

/// Puts rejects in the order of the input, and finds their lines and records: the sources are read again, each up to its last reject.
pub(super) fn locate(rejects: &mut Vec<Reject>, sources: &[Source], layouts: &[Layout]) -> Result<(), InventoryError> {
    rejects.sort_by_key(|reject| (reject.source, reject.start, reject.column));
    rejects.dedup_by(|a, b| (a.source, a.start) == (b.source, b.start));
    for of_one in rejects.chunk_by_mut(|a, b| a.source == b.source) {
        let number = of_one[0].source;
        let mut again =
            Again { source: &sources[number], layout: &layouts[number], part: Part::default(), at: 0, line: 1 };
        for reject in of_one {
            let found = again.record_at(reject.start).map_err(|reason| sources[number].failed(reason))?;
            (reject.line, reject.record) = found;
        }
    }
    Ok(())
}

/// A source that is read again.
struct Again<'a> {
    source: &'a Source,
    layout: &'a Layout,
    part: Part,
    /// How far lines are counted.
    at: usize,
    /// The line there.
    line: u64,
}

impl Again<'_> {
    /// The record that starts at `start`, and its line. No one before is asked for any more.
    fn record_at(&mut self, start: usize) -> Result<(u64, Vec<u8>), LayoutError> {
        while self.part.end() <= start && !self.part.is_last {
            self.count(self.part.end());
            self.part.turn(self.source, PART)?;
        }
        self.count(start);
        loop {
            // A source that was cut off meanwhile has nothing there.
            let rest = self.part.bytes().get(start - self.part.start..).unwrap_or_default();
            let (len, is_whole) = record_len(rest, self.layout);
            if is_whole || self.part.is_last {
                return Ok((self.line, rest[..len].to_vec()));
            }
            self.part.extend(self.source, self.part.bytes().len().max(PART))?;
        }
    }

    /// Counts the lines up to `to`, which is no further than the end of the part.
    fn count(&mut self, to: usize) {
        let place = |at: usize| at.saturating_sub(self.part.start).min(self.part.bytes().len());
        let passed = &self.part.bytes()[place(self.at)..place(to)];
        self.line += memchr::memchr_iter(b'\n', passed).count() as u64;
        self.at = to;
    }
}

/// How long the record is that `bytes` start with, without its line end, and whether it does end there.
fn record_len(bytes: &[u8], layout: &Layout) -> (usize, bool) {
    let (line, mut next) = line_at(bytes, 0);
    let (mut len, mut open) = (line.len(), !layout.list && open_quote(false, line, &[layout.delimiter]));
    while open && next < bytes.len() {
        let (more, after) = line_at(bytes, next);
        open = open_quote(open, more, &[layout.delimiter]);
        (len, next) = (next + more.len(), after);
    }
    (len, !open && bytes[..next].ends_with(b"\n"))
}

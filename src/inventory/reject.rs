//! Rows that can't be planned: where they stand and why.

use std::fmt;

use super::text::Text;
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
    /// Where the record starts and ends in its source.
    pub(super) record: std::ops::Range<usize>,
}

impl Reject {
    /// Makes one; its line is found later, by [`locate`].
    pub(super) fn new(source: usize, record: std::ops::Range<usize>, hostname: &[u8], reason: Reason) -> Self {
        let hostname = shown(hostname);
        Self { source, line: 0, column: Column::Hostname, value: hostname.clone(), hostname, reason, record }
    }

    /// The same, for what stands in another column.
    pub(super) fn in_column(self, column: Column, value: &str) -> Self {
        Self { column, value: shown(value.as_bytes()), ..self }
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

/// Puts rejects in the order of the input and finds their lines, in one pass over each source.
pub(super) fn locate(rejects: &mut Vec<Reject>, text: &Text) {
    rejects.sort_by_key(|reject| (reject.source, reject.record.start, reject.column));
    rejects.dedup_by(|a, b| (a.source, a.record.start) == (b.source, b.record.start));
    let (mut source, mut at, mut line) = (usize::MAX, 0, 1_u64);
    for reject in rejects {
        if reject.source != source {
            (source, at, line) = (reject.source, 0, 1);
        }
        let passed = &text.sources[source].bytes[at..reject.record.start];
        line += memchr::memchr_iter(b'\n', passed).count() as u64;
        at = reject.record.start;
        reject.line = line;
    }
}

//! Entries that can't be read: where they stand and why.

use std::fmt;

use crate::name::NameError;
use crate::time::TimeError;

/// An entry that can't be read. It stops nothing else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// The file, as it was named or found.
    pub file: String,
    /// Where in it.
    pub place: Place,
    /// Why.
    pub reason: Reason,
}

/// Where in a file an entry stands.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    /// It is the whole file.
    File,
    /// The line it starts in, from 1.
    Line(u64),
    /// The line it starts in and which entry it is, both from 1.
    Entry {
        /// The line.
        line: u64,
        /// Which entry.
        entry: u64,
    },
    /// What it is called in a file of named entries.
    Named(String),
}

/// Why an entry can't be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what the variant means")]
pub enum Reason {
    #[error("can't be read: {0}")]
    Io(String),
    #[error(
        "is neither certificates (PEM, DER), nor Kubernetes secrets, an `acme.json`, a search of crt.sh or Cert Spotter, nor a CSV of issuances"
    )]
    Unknown,
    #[error("is packed ({0}): unpack it first")]
    Packed(&'static str),
    #[error("is UTF-16: save it as UTF-8")]
    Utf16,
    #[error("a PEM block is opened here and never closed")]
    Unclosed,
    #[error("is no base64")]
    Base64,
    #[error("is no certificate: {0}")]
    Der(String),
    #[error("has bytes after the certificate")]
    Trailing,
    #[error("holds no certificate: `{0}` is empty or missing")]
    Missing(&'static str),
    #[error("names no host: there is no subject alternative name that is a DNS name or an IP address")]
    NoNames,
    #[error("has the name `{0}`, which {1}")]
    Name(String, NameError),
    #[error("has a serial number of more than 20 bytes, or one that is no hexadecimal number: `{0}`")]
    Serial(String),
    #[error("{0}: {1}")]
    Time(&'static str, TimeError),
    #[error("has no `{0}`")]
    Field(&'static str),
    #[error(
        "is of Cert Spotter and has neither `cert_der` nor `cert.data`, so that it can't be told from the same certificate elsewhere: ask with &expand=cert_der"
    )]
    NoDer,
    #[error("is no JSON of the expected shape: {0}")]
    Json(String),
    #[error("the row can't be read: {0}")]
    Csv(String),
    #[error(
        "has neither a serial number nor, as `certificate`, an ARI id, so that it can't be told from the same certificate elsewhere"
    )]
    NoSerial,
    #[error("`serial` and `certificate` name different serial numbers: {0} and {1}")]
    SerialsDiffer(String, String),
}

impl Broken {
    /// The file and where in it.
    #[must_use]
    pub fn at(&self) -> String {
        match &self.place {
            Place::File => self.file.clone(),
            Place::Line(line) => format!("{}:{line}", self.file),
            Place::Entry { line, entry } => format!("{}:{line}: entry {entry}", self.file),
            Place::Named(name) => format!("{}: {name}", self.file),
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at(), self.reason)
    }
}

//! Import: what people already have (certificates, searches of the Certificate Transparency logs, tables) as issuances.
//!
//! Every source is read by what is in it, whatever it is called. A certificate that several sources tell of is one issuance, by issuer and
//! serial number; a precertificate is its certificate. Other CAs' certificates are left out and counted. What can't be read is told
//! ([`Broken`]) and stops nothing: whoever asked decides. The time of an issue is the latest SCT's, where the certificate has any, else what
//! somebody tells, else one hour after `notBefore` ([`Certainty`]); of two equally sure times the later one, which is the stricter.

mod broken;
mod certificate;
mod elements;
mod held;
mod issuance;
mod issuer;
mod json;
mod pem;
mod recognise;
mod search;
mod stores;
mod table;
mod trees;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustc_hash::FxHashMap;
use walkdir::WalkDir;

use crate::dense::dense;
use crate::psl::SuffixList;

pub use broken::{Broken, Place, Reason};
pub use held::{Held, HeldCertificate, Overlap};
pub use issuance::{Certainty, Issuance, NamesKnown, Serial, parse_ari_id, renewals};
pub use issuer::Issuers;

use certificate::{Certificate, Facts};
use recognise::Shape;
use trees::Trees;

/// Bytes by which a file is recognised.
const HEAD_BYTES: u64 = 1 << 16;

/// What an import goes by.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// Whose certificates count.
    pub issuers: Issuers,
    /// Where registered domains end: a name for which no CA issues is an error.
    pub suffixes: &'a SuffixList,
    /// What searches show of a certificate's names.
    pub search_names: SearchNames,
}

/// Which names of a certificate stand in a search of crt.sh.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SearchNames {
    /// Those that match the search: there may be more. crt.sh does so by itself.
    SomeOfEach,
    /// All of them: whoever searched says so, as nothing in the file does. For searches with `match=any`, or for certificates that never
    /// mix domains that were searched with others.
    AllOfEach,
}

/// What a file is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Certificates in PEM, of no client's tree.
    Pem,
    /// A certificate in DER.
    Der,
    /// PEM in certbot's `live` or `archive`.
    Certbot,
    /// PEM in lego's `certificates`.
    Lego,
    /// PEM in acme.sh's directories.
    AcmeSh,
    /// PEM in Caddy's `certificates`.
    Caddy,
    /// Kubernetes secrets.
    Kubernetes,
    /// `acme.json` of Traefik 1.
    #[serde(rename = "traefik-1")]
    Traefik1,
    /// `acme.json` of Traefik 2 and 3.
    Traefik,
    /// A search of crt.sh.
    CrtSh,
    /// A search of Cert Spotter.
    CertSpotter,
    /// A CSV of issuances.
    Table,
}

/// A file that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceFile {
    /// As it was named or found; `-` for stdin.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Entries in it that count, duplicates and all.
    pub entries: u64,
    /// Whether it may hold only some of what was searched for: crt.sh shows 10,000 rows and no more.
    pub truncated: bool,
}

/// What was counted on the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct Counts {
    /// Entries that count: certificates, precertificates, search results and rows.
    pub entries: u64,
    /// Those that told of a certificate which another one had told of.
    pub duplicates: u64,
    /// Those that are precertificates and known to be.
    pub precertificates: u64,
    /// Entries of other CAs, left out.
    pub other_issuers: u64,
    /// Certificates of CAs: parts of chains, left out.
    pub authorities: u64,
    /// Files found in directories that are nothing to import.
    pub other_files: u64,
}

/// What was imported.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Imported {
    /// Sorted by the time of their issue, then by serial number, then by issuer; each certificate once.
    pub issuances: Vec<Issuance>,
    /// The files that something was read from, in the order they were read.
    pub sources: Vec<SourceFile>,
    /// What can't be read, in the order it was found.
    pub broken: Vec<Broken>,
    /// What was counted.
    pub counts: Counts,
}

/// Why there is nothing to import from.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A path that was named can't be read.
    #[error("can't read {}", .0.display())]
    Path(PathBuf, #[source] io::Error),
    /// Stdin was named twice.
    #[error("`-` (stdin) is named twice; it can be read once")]
    StdinTwice,
}

/// Imports what `paths` name: files, directories with all below them, `-` for stdin.
///
/// # Errors
/// Where a path that was named can't be read at all. What is wrong with files below a directory, or with entries, stands in [`Imported::broken`].
pub fn read(paths: &[PathBuf], options: &Options<'_>) -> Result<Imported, ImportError> {
    if paths.iter().filter(|path| path.as_os_str() == "-").count() > 1 {
        return Err(ImportError::StdinTwice);
    }
    let mut import = Import::new(options);
    for path in paths {
        if path.as_os_str() == "-" {
            import.reader("-", io::stdin().lock());
        } else {
            import.path(path)?;
        }
    }
    Ok(import.finish())
}

/// An import under way.
#[derive(Debug)]
pub struct Import<'a> {
    options: &'a Options<'a>,
    trees: Trees,
    issuers: HashMap<Arc<str>, u32>,
    authority_keys: HashSet<Arc<[u8]>>,
    places: FxHashMap<(u32, Serial), u32>,
    imported: Imported,
}

/// The file that is being read.
#[derive(Clone, Copy, Debug)]
struct Origin<'f> {
    name: &'f str,
    source: u32,
    /// Whether its certificates are in use.
    held: bool,
}

impl<'a> Import<'a> {
    /// Nothing yet.
    #[must_use]
    pub fn new(options: &'a Options<'a>) -> Self {
        Self {
            options,
            trees: Trees::default(),
            issuers: HashMap::new(),
            authority_keys: HashSet::new(),
            places: FxHashMap::default(),
            imported: Imported::default(),
        }
    }

    /// Takes in a file, or all files below a directory, in the order of their names. Links are followed; one that leads back is left.
    ///
    /// # Errors
    /// Where the path itself can't be read.
    pub fn path(&mut self, path: &Path) -> Result<(), ImportError> {
        let fail = |error| ImportError::Path(path.to_owned(), error);
        if !fs::metadata(path).map_err(fail)?.is_dir() {
            let file = File::open(path).map_err(fail)?;
            self.file(path, BufReader::with_capacity(1 << 17, file), true);
            return Ok(());
        }
        for entry in WalkDir::new(path).follow_links(true).sort_by_file_name() {
            match entry {
                Ok(entry) if entry.file_type().is_file() => match File::open(entry.path()) {
                    Ok(file) => self.file(entry.path(), BufReader::with_capacity(1 << 16, file), false),
                    Err(error) => self.unreadable(entry.path(), &error),
                },
                Ok(_) => {}
                Err(error) if error.loop_ancestor().is_some() => {}
                Err(error) => {
                    let at = error.path().unwrap_or(path).to_owned();
                    self.unreadable(&at, &error.into());
                }
            }
        }
        Ok(())
    }

    /// Takes in what `reader` brings, as if it were a file of that name that somebody has named.
    pub fn reader(&mut self, name: &str, reader: impl BufRead) {
        self.file(Path::new(name), reader, true);
    }

    /// What came of it.
    #[must_use]
    pub fn finish(self) -> Imported {
        let mut imported = self.imported;
        imported.issuances.sort_by(|a, b| (a.issued_at, a.serial, &a.issuer).cmp(&(b.issued_at, b.serial, &b.issuer)));
        imported
    }

    fn unreadable(&mut self, path: &Path, error: &io::Error) {
        self.fail(&path.display().to_string(), Place::File, Reason::Io(error.to_string()));
    }

    fn fail(&mut self, file: &str, place: Place, reason: Reason) {
        self.imported.broken.push(Broken { file: file.to_owned(), place, reason });
    }

    /// Takes in a file as what it is.
    fn file(&mut self, path: &Path, mut reader: impl BufRead, named: bool) {
        let name = path.display().to_string();
        let mut head = Vec::new();
        if let Err(error) = reader.by_ref().take(HEAD_BYTES).read_to_end(&mut head) {
            return self.unreadable(path, &error);
        }
        let reader = head.as_slice().chain(reader);
        let read = match recognise::shape(&head) {
            Shape::Pem => {
                let (kind, held) = self.trees.place(path);
                self.whole(&name, reader, kind, held, Self::pem)
            }
            Shape::Der => self.whole(&name, reader, Kind::Der, true, |import, origin, bytes| {
                import.certificate(origin, Place::File, bytes);
            }),
            Shape::Json => return self.json(&name, reader, named),
            Shape::Table(columns) => {
                let origin = self.begin(&name, Kind::Table, false);
                columns.read(reader, self.options.suffixes, |row| self.row(origin, row));
                return;
            }
            Shape::Other(reason) => return self.other(&name, reason, named),
        };
        if let Err(error) = read {
            self.unreadable(path, &error);
        }
    }

    /// A file that is nothing to import: told if somebody has named it.
    fn other(&mut self, name: &str, reason: Reason, named: bool) {
        if named {
            self.fail(name, Place::File, reason);
        } else {
            self.imported.counts.other_files += 1;
        }
    }

    fn begin<'f>(&mut self, name: &'f str, kind: Kind, held: bool) -> Origin<'f> {
        let source = dense(self.imported.sources.len());
        self.imported.sources.push(SourceFile { name: name.to_owned(), kind, entries: 0, truncated: false });
        Origin { name, source, held }
    }

    /// Reads a file whole and hands it on.
    fn whole(
        &mut self,
        name: &str,
        mut reader: impl BufRead,
        kind: Kind,
        held: bool,
        take: impl FnOnce(&mut Self, Origin<'_>, &[u8]),
    ) -> io::Result<()> {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes)?;
        let origin = self.begin(name, kind, held);
        take(self, origin, &bytes);
        Ok(())
    }

    fn pem(&mut self, origin: Origin<'_>, bytes: &[u8]) {
        for block in pem::certificates(bytes) {
            let place = Place::Line(block.line);
            match block.der {
                Ok(der) => self.certificate(origin, place, &der),
                Err(reason) => self.fail(origin.name, place, reason),
            }
        }
    }

    fn certificate(&mut self, origin: Origin<'_>, place: Place, der: &[u8]) {
        let certificate = match Certificate::parse(der) {
            Ok(certificate) => certificate,
            Err(reason) => return self.fail(origin.name, place, reason),
        };
        if certificate.is_authority() {
            self.imported.counts.authorities += 1;
            return;
        }
        let issuer = certificate.issuer();
        if self.takes(&issuer) {
            self.imported.counts.precertificates += u64::from(certificate.is_precertificate());
            self.facts(origin, place, &issuer, certificate.facts(self.options.suffixes));
        }
    }

    fn row(&mut self, origin: Origin<'_>, row: table::Row) {
        let issuer =
            row.issuer.map_or_else(|| self.options.issuers.default_name().to_owned(), |text| issuer::of_text(&text));
        match row.facts {
            Ok(None) => {}
            Ok(Some(facts)) if self.takes(&issuer) => self.facts(origin, Place::Line(row.line), &issuer, Ok(facts)),
            Ok(Some(_)) => {}
            Err(reason) => self.fail(origin.name, Place::Line(row.line), reason),
        }
    }

    /// Whether certificates of `issuer` count; others are counted.
    fn takes(&mut self, issuer: &str) -> bool {
        let takes = self.options.issuers.take(issuer);
        self.imported.counts.other_issuers += u64::from(!takes);
        takes
    }

    /// Takes in what one entry tells of a certificate.
    fn facts(&mut self, origin: Origin<'_>, place: Place, issuer: &str, facts: Result<Facts, Reason>) {
        let facts = match facts {
            Ok(facts) => facts,
            Err(reason) => return self.fail(origin.name, place, reason),
        };
        self.imported.counts.entries += 1;
        self.imported.sources[origin.source as usize].entries += 1;
        let (issuer, number) = self.issuer(issuer);
        let issuance = Issuance {
            names: facts.names,
            names_known: facts.names_known,
            issued_at: facts.issued_at,
            certainty: facts.certainty,
            not_before: facts.not_before,
            not_after: facts.not_after,
            serial: facts.serial,
            issuer,
            authority_key: facts.authority_key.map(|key| self.authority_key(key)),
            held: origin.held,
            source: origin.source,
        };
        let next = dense(self.imported.issuances.len());
        let known = *self.places.entry((number, issuance.serial)).or_insert(next);
        match self.imported.issuances.get_mut(known as usize) {
            Some(known) => {
                self.imported.counts.duplicates += 1;
                known.merge(issuance);
            }
            None => self.imported.issuances.push(issuance),
        }
    }

    /// One text for all certificates of an issuer, and its number.
    fn issuer(&mut self, name: &str) -> (Arc<str>, u32) {
        if let Some((known, number)) = self.issuers.get_key_value(name) {
            return (Arc::clone(known), *number);
        }
        let (name, number): (Arc<str>, u32) = (name.into(), dense(self.issuers.len()));
        self.issuers.insert(Arc::clone(&name), number);
        (name, number)
    }

    /// One key identifier for all certificates that have it.
    fn authority_key(&mut self, key: Vec<u8>) -> Arc<[u8]> {
        if let Some(known) = self.authority_keys.get(&key[..]) {
            return Arc::clone(known);
        }
        let key: Arc<[u8]> = key.into();
        self.authority_keys.insert(Arc::clone(&key));
        key
    }
}

/// As people call it.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pem => "PEM",
            Self::Der => "DER",
            Self::Certbot => "certbot",
            Self::Lego => "lego",
            Self::AcmeSh => "acme.sh",
            Self::Caddy => "Caddy",
            Self::Kubernetes => "Kubernetes secrets",
            Self::Traefik1 => "Traefik 1",
            Self::Traefik => "Traefik",
            Self::CrtSh => "crt.sh",
            Self::CertSpotter => "Cert Spotter",
            Self::Table => "CSV",
        })
    }
}

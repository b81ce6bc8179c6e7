//! `certpace ledger import`: what was counted, and how far the ledger can be relied on now.

use std::fmt::Write as _;

use serde::Serialize;

use super::from_certs::SourceCount;
use super::style::{FAINT, HEAD, NAME, PLAIN, WARN, paint};
use super::table::{Align, Table};
use super::words::grouped;
use crate::gate::ImportedLedger;
use crate::import::{Counts, Imported, Kind};
use crate::limits::LimitName;
use crate::time::Timestamp;

/// Domains in the table for people.
const DOMAINS_MAX: usize = 15;

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ImportReport {
    /// The version of this shape.
    pub certpace_import: u32,
    /// The ledger, without a password.
    pub ledger: String,
    /// The CA's directory URL.
    pub directory: String,
    /// The ledger's time.
    pub at: Timestamp,
    /// What was read, by kind.
    pub sources: Vec<SourceCount>,
    /// What was counted while reading.
    pub read: Counts,
    /// Certificates, each once.
    pub certificates: usize,
    /// Those that were counted now.
    pub counted: u64,
    /// Of these, surely same-set renewals: they took no domain tokens.
    pub renewals: u64,
    /// Those that had been counted before.
    pub known: u64,
    /// Those that came of a permit.
    pub permits: u64,
    /// Those so old that nothing remembers them.
    pub forgotten: u64,
    /// Those issued after now by the ledger's clock.
    pub from_the_future: u64,
    /// Files that may hold only some of what was searched for.
    pub truncated: Vec<String>,
    /// From when on the buckets are exact that no certificate tells of: until then they are emptier here than at the CA.
    pub exact_from: Vec<ExactFrom>,
    /// By registered domain, the most certificates first: what it rests on.
    pub domains: Vec<DomainReport>,
    /// Entries that can't be read.
    pub broken: usize,
}

/// From when a limit's buckets are exact.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct ExactFrom {
    /// The limit.
    pub limit: LimitName,
    /// From when.
    pub from: Timestamp,
}

/// What a domain's bucket rests on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct DomainReport {
    /// The registered domain.
    pub domain: String,
    /// Certificates that were counted now.
    pub certificates: u64,
    /// The kinds of source that know them.
    pub sources: Vec<Kind>,
    /// Whether only searches of the logs could tell of certificates that nobody kept, and there was none.
    pub may_lack_some: bool,
}

impl ImportReport {
    /// What came of it.
    #[must_use]
    pub fn new(ledger: String, directory: String, at: Timestamp, imported: &Imported, of: &ImportedLedger) -> Self {
        let mut domains: Vec<_> = of
            .domains
            .iter()
            .map(|(domain, (certificates, kinds))| {
                let logged = kinds.iter().any(|kind| matches!(kind, Kind::CrtSh | Kind::CertSpotter));
                DomainReport {
                    domain: domain.clone(),
                    certificates: *certificates,
                    sources: kinds.iter().copied().collect(),
                    may_lack_some: !logged,
                }
            })
            .collect();
        domains.sort_by(|a, b| (b.certificates, &a.domain).cmp(&(a.certificates, &b.domain)));
        Self {
            certpace_import: 1,
            ledger,
            directory,
            at,
            sources: SourceCount::of(imported),
            read: imported.counts,
            certificates: imported.issuances.len(),
            counted: of.counted,
            renewals: of.renewals,
            known: of.known,
            permits: of.permits,
            forgotten: of.forgotten,
            from_the_future: of.from_the_future,
            truncated: imported
                .sources
                .iter()
                .filter(|source| source.truncated)
                .map(|source| source.name.clone())
                .collect(),
            exact_from: of.exact_from.iter().map(|(limit, from)| ExactFrom { limit: *limit, from: *from }).collect(),
            domains,
            broken: imported.broken.len(),
        }
    }

    /// What the reader should look at.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for file in &self.truncated {
            warnings.push(format!("{file} has as many rows as crt.sh shows at most: search for parts of it as well"));
        }
        if self.read.other_issuers > 0 {
            warnings.push(format!("{} entries of other CAs were left out", grouped(self.read.other_issuers)));
        }
        if self.from_the_future > 0 {
            let count = grouped(self.from_the_future);
            warnings.push(format!(
                "{count} certificates were issued after {} and count as issued now: is the clock right?",
                self.at
            ));
        }
        warnings
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = format!(
            "{}  {}\n{} certificates: {} counted now, {} of them same-set renewals; {} were known, {} came of permits, {} are forgotten by \
             every limit\n\n",
            paint(HEAD, &self.ledger),
            self.directory,
            grouped(self.certificates as u64),
            grouped(self.counted),
            grouped(self.renewals),
            grouped(self.known),
            grouped(self.permits),
            grouped(self.forgotten)
        );
        let mut table = Table::new([("source", Align::Left), ("files", Align::Right), ("entries", Align::Right)]);
        for source in &self.sources {
            table.row([
                (NAME, source.kind.to_string()),
                (PLAIN, grouped(source.files)),
                (PLAIN, grouped(source.entries)),
            ]);
        }
        out.push_str(&table.render());
        out.push('\n');
        for exact in self.exact_from.iter().filter(|exact| exact.from > self.at) {
            let limit = paint(NAME, exact.limit.as_str());
            let _infallible = writeln!(
                out,
                "{limit}: no certificate tells of it; emptier here than at the CA until {}",
                exact.from.whole_second()
            );
        }
        if self.domains.is_empty() {
            return out;
        }
        let mut table = Table::new([("domain", Align::Left), ("counted", Align::Right), ("rests on", Align::Left)]);
        for domain in self.domains.iter().take(DOMAINS_MAX) {
            let kinds: Vec<_> = domain.sources.iter().map(ToString::to_string).collect();
            let note =
                if domain.may_lack_some { paint(WARN, " (no log search: may lack some)") } else { String::new() };
            table.row([
                (NAME, domain.domain.clone()),
                (PLAIN, grouped(domain.certificates)),
                (FAINT, format!("{}{note}", kinds.join(", "))),
            ]);
        }
        out.push('\n');
        out.push_str(&table.render());
        if self.domains.len() > DOMAINS_MAX {
            let _infallible = writeln!(
                out,
                "… and {} more: --format json has all",
                grouped((self.domains.len() - DOMAINS_MAX) as u64)
            );
        }
        out
    }
}

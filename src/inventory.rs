//! The inventory: hostnames wanted and certificates held, read from CSV or plain lists, with every row that can't be planned.
//!
//! It is built for tens of millions of rows: the input is read part by part, names alone stay, side by side; domains and
//! attributes are dense numbers. Chunks are parsed side by side. Numbers go by first appearance, since what stands together is mostly
//! asked for together; wherever an order shows, it is that of contents ([`Inventory::domain_place`]), so that neither the order of rows
//! nor the number of threads can be seen in what comes out.

mod attributes;
mod chunk;
mod intern;
mod layout;
mod number;
mod reject;
mod rows;
mod source;
mod split;
mod stream;
mod text;
mod withhold;

use std::cmp::Reverse;
use std::ops::Range;

use crate::dense::dense;
use crate::digest::Hasher;
use crate::limits::Policy;
use crate::psl::SuffixList;
use crate::time::Timestamp;

use layout::Layout;
pub use layout::LayoutError;
pub use reject::{Column, Reason, Reject};
pub use source::{Bytes, Source, sha256};
use stream::Stream;
use text::Text;
pub use text::TextRef;
pub use withhold::{Candidate, Withheld};

/// What holds where a row says nothing.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// The account of rows without one.
    pub account: &'a str,
    /// The profile of rows without one.
    pub profile: &'a str,
    /// The deadline of rows without one.
    pub deadline: Option<Timestamp>,
    /// When the plan starts: an earlier deadline is an error.
    pub start: Timestamp,
    /// The CA's policy, for its profiles.
    pub policy: &'a Policy,
    /// Where registered domains end.
    pub suffixes: &'a SuffixList,
}

/// A way of validating a name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[expect(missing_docs, reason = "named as in RFC 8555 and RFC 8737")]
pub enum Challenge {
    Http01,
    Dns01,
    TlsAlpn01,
}

impl Challenge {
    /// Its name in ACME.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::Dns01 => "dns-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }

    /// Reads such a name, in whatever case; `None` if it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let all = [Self::Http01, Self::Dns01, Self::TlsAlpn01];
        all.into_iter().find(|challenge| challenge.as_str().eq_ignore_ascii_case(text))
    }
}

/// Names of one group may share a certificate; names of two never do.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Group {
    /// A place in [`Inventory::accounts`].
    pub account: u32,
    /// A place in [`Inventory::tenants`].
    pub tenant: u32,
    /// A place in the policy's profiles.
    pub profile: u32,
    /// The challenge asked for; `None`: whatever fits.
    pub challenge: Option<Challenge>,
    /// The `group` column.
    pub label: String,
}

/// How soon a name is wanted. The smaller one goes first: the higher priority, then the earlier deadline.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Urgency {
    /// The `priority` column; 0 is ordinary.
    pub priority: Reverse<i32>,
    /// The deadline, or [`Self::NEVER`].
    pub deadline: Timestamp,
}

impl Urgency {
    /// The deadline of a name that has none.
    pub const NEVER: Timestamp = Timestamp::from_unix_nanos(i64::MAX);

    /// The deadline, if there is one.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        (self.deadline != Self::NEVER).then_some(self.deadline)
    }
}

/// What is known of a certificate held.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct HeldTerms {
    /// Its id, as the inventory has it.
    pub certificate: String,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
    /// A place in [`Inventory::groups`].
    pub group: u32,
    /// A place in [`Inventory::urgencies`].
    pub urgency: u32,
}

/// A hostname wanted that is on no certificate yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// Its text.
    pub name: TextRef,
    /// What its row says beside the hostname: see [`Inventory::group_of`] and [`Inventory::urgency_of`].
    pub attributes: u32,
}

/// A name on a certificate held.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct HeldName {
    /// A place in [`Inventory::held`].
    pub certificate: u32,
    /// A place in [`Inventory::domains`].
    pub domain: u32,
    /// Its text.
    pub name: TextRef,
}

/// What was counted on the way.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct Counts {
    /// Records read, good and bad.
    pub rows: u64,
    /// Distinct hostnames that are wanted or on a certificate held, and ready.
    pub hostnames: u64,
    /// Names whose case, trailing dot or Unicode was converted.
    pub converted: u64,
    /// Rows that say again what another row said.
    pub duplicates: u64,
    /// Hostnames with `ready = no`.
    pub not_ready: u64,
    /// Distinct names left out because their rows are bad.
    pub rejected: u64,
    /// Hostnames left out of a plan because orders for them are stopped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<Withheld>,
}

/// An inventory, read and checked.
#[derive(Debug, Default)]
pub struct Inventory {
    sources: Vec<Source>,
    /// By source: the header's line, or nothing for a plain list.
    headers: Vec<Vec<u8>>,
    text: Text,
    /// Registered domains and address blocks, as they first appear.
    domains: Vec<TextRef>,
    domain_places: Vec<u32>,
    /// By place: the domain.
    domains_by_place: Vec<u32>,
    wanted: Vec<Wanted>,
    /// By the number of the attributes: group and urgency.
    attributes: Vec<(u32, u32)>,
    /// Where each domain's names start in `wanted`; one more at the end.
    starts: Vec<usize>,
    /// The accounts, sorted.
    pub accounts: Vec<String>,
    /// The tenants, sorted; rows without one have `""`.
    pub tenants: Vec<String>,
    /// The groups, sorted.
    pub groups: Vec<Group>,
    /// The urgencies, most urgent first.
    pub urgencies: Vec<Urgency>,
    /// The certificates held that can be renewed, by id.
    pub held: Vec<HeldTerms>,
    held_names: Vec<HeldName>,
    held_starts: Vec<usize>,
    /// What was counted.
    pub counts: Counts,
    sha256: String,
    /// Rows that can't be planned, in the order of the input.
    pub rejects: Vec<Reject>,
    /// Columns that mean nothing to certpace, by source.
    pub ignored_columns: Vec<(usize, String)>,
}

/// Why a file is no inventory at all.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{source_name} {reason}")]
pub struct InventoryError {
    /// The file.
    pub source_name: String,
    /// Why.
    pub reason: LayoutError,
}

/// Reads an inventory. `progress` is told how many bytes have been parsed, now and then, from any thread.
///
/// # Errors
/// [`InventoryError`] where a source is no inventory; single bad rows are no error here but stand in [`Inventory::rejects`].
pub fn read(
    sources: Vec<Source>,
    settings: &Settings<'_>,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Inventory, InventoryError> {
    read_in_chunks(sources, settings, chunk::CHUNK_BYTES, progress)
}

/// The same, in chunks of `chunk_bytes` more or less.
fn read_in_chunks(
    sources: Vec<Source>,
    settings: &Settings<'_>,
    chunk_bytes: usize,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Inventory, InventoryError> {
    let (suffixes, hasher) = (settings.suffixes, Hasher::new());
    let mut stream = Stream { suffixes, chunk_bytes, progress, hasher, parsed: Vec::new() };
    let read = |(number, source): (usize, &Source)| stream.read(number, source).map_err(|reason| source.failed(reason));
    let layouts: Vec<Layout> = sources.iter().enumerate().map(read).collect::<Result<_, _>>()?;
    let Stream { parsed, hasher, .. } = stream;
    let mut inventory = rows::gather(sources, &layouts, parsed, settings)?;
    inventory.sha256 = hasher.finish_as_text();
    for (source, Layout { header, ignored, .. }) in layouts.into_iter().enumerate() {
        inventory.headers.push(header);
        inventory.ignored_columns.extend(ignored.into_iter().map(|name| (source, name)));
    }
    Ok(inventory)
}

impl Inventory {
    /// The text of a name or domain.
    #[inline]
    #[must_use]
    pub fn text(&self, at: TextRef) -> &str {
        // Every reference was made from a checked hostname or UTF-8 record.
        std::str::from_utf8(self.bytes(at)).unwrap_or_default()
    }

    /// The same as bytes, for comparing.
    #[inline]
    #[must_use]
    pub fn bytes(&self, at: TextRef) -> &[u8] {
        self.text.get(at)
    }

    /// The sources.
    #[must_use]
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// SHA-256 over the bytes of all sources, one after the other, in hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// How many registered domains (or address blocks) there are.
    #[must_use]
    pub fn domain_count(&self) -> usize {
        self.domains.len()
    }

    /// A domain's place in an order that depends on the domains alone, and has nothing to do with the alphabet.
    #[must_use]
    pub fn domain_place(&self, domain: u32) -> u32 {
        self.domain_places[domain as usize]
    }

    /// The domain of that name. Places go by hash, then by text.
    #[must_use]
    pub fn domain_named(&self, name: &str) -> Option<u32> {
        let key = |bytes: &[u8]| text::stable_hash(bytes);
        let wanted = (key(name.as_bytes()), name.as_bytes());
        let of = |domain: &u32| {
            let bytes = self.domain_bytes(*domain);
            (key(bytes), bytes)
        };
        let found = self.domains_by_place.binary_search_by(|domain| of(domain).cmp(&wanted)).ok()?;
        Some(self.domains_by_place[found])
    }

    /// Where a registered domain's text stands.
    #[must_use]
    pub fn domain_name(&self, domain: u32) -> TextRef {
        self.domains[domain as usize]
    }

    /// A registered domain's text, as bytes.
    #[must_use]
    pub fn domain_bytes(&self, domain: u32) -> &[u8] {
        self.bytes(self.domain_name(domain))
    }

    /// A registered domain's text.
    #[must_use]
    pub fn domain(&self, domain: u32) -> &str {
        self.text(self.domains[domain as usize])
    }

    /// All names wanted, by domain, then by text.
    #[must_use]
    pub fn wanted(&self) -> &[Wanted] {
        &self.wanted
    }

    /// The group of a name: a place in [`Self::groups`].
    #[inline]
    #[must_use]
    pub fn group_of(&self, wanted: Wanted) -> u32 {
        self.attributes[wanted.attributes as usize].0
    }

    /// Whether names of a group belong to a tenant; rows that name none are no tenant together.
    #[must_use]
    pub fn has_tenant(&self, group: u32) -> bool {
        !self.tenants[self.groups[group as usize].tenant as usize].is_empty()
    }

    /// How soon a name is wanted: a place in [`Self::urgencies`].
    #[inline]
    #[must_use]
    pub fn urgency_of(&self, wanted: Wanted) -> u32 {
        self.attributes[wanted.attributes as usize].1
    }

    /// Where a domain's names stand in [`Self::wanted`].
    #[must_use]
    pub fn wanted_of(&self, domain: usize) -> Range<usize> {
        self.starts[domain]..self.starts[domain + 1]
    }

    /// The names of a certificate held, sorted by domain and place.
    #[must_use]
    pub fn held_names(&self, certificate: usize) -> &[HeldName] {
        &self.held_names[self.held_starts[certificate]..self.held_starts[certificate + 1]]
    }

    /// The header of a source, or nothing for a plain list.
    #[must_use]
    pub fn header(&self, source: usize) -> &[u8] {
        &self.headers[source]
    }
}

//! One chunk of a source, parsed on its own: rows of references into the text, with numbers for domains and attributes that hold
//! within the chunk. The chunks are parsed side by side and renumbered afterwards.

use std::ops::Range;

use csv_core::{ReadRecordResult, Terminator};

use super::intern::Locals;
use super::layout::{Layout, line_at};
use super::reject::{Column, Reason, Reject};
use super::split::open_quote;
use super::text::{Arena, LEN_MAX, TextRef};
use crate::name::{Canonical, NameError, address, canonical, scan};
use crate::psl::SuffixList;

/// Bytes of a chunk, more or less: large enough to forget the seams, small enough for the cache of what it interns.
pub(super) const CHUNK_BYTES: usize = 2 << 20;

/// A piece of a source's part which starts and ends between records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk {
    pub(super) source: usize,
    /// The number of this chunk's arena.
    pub(super) arena: usize,
    /// Where the part starts in the source.
    pub(super) part: usize,
    /// Where the chunk starts in the part.
    pub(super) start: usize,
    pub(super) end: usize,
    /// Whether a quote stands before its end.
    pub(super) after_quote: bool,
}

/// A hostname with its numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChunkRow {
    pub(super) name: TextRef,
    pub(super) domain: u32,
    pub(super) attributes: u32,
}

/// What a chunk holds.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) rows: Vec<ChunkRow>,
    pub(super) domains: Locals,
    /// By the chunk's number of a domain: how many rows it has.
    pub(super) domain_rows: Vec<u32>,
    pub(super) attributes: Locals,
    /// What the references of `attributes` refer to.
    pub(super) keys: Vec<u8>,
    pub(super) arena: Arena,
    /// Whether there are IP addresses among the names.
    pub(super) has_addresses: bool,
    pub(super) rejects: Vec<Reject>,
    /// Names whose case, trailing dot or Unicode was converted.
    pub(super) converted: u64,
    /// Records, good and bad.
    pub(super) records: u64,
}

impl Parsed {
    /// Takes a name of `chunk` in, whose record starts at `record`.
    #[inline]
    fn keep(&mut self, chunk: Chunk, record: usize, name: &[u8]) -> TextRef {
        let offset = self.arena.push_name(record - chunk.start, name);
        TextRef::new(chunk.arena, offset, name.len())
    }
}

/// Parses a chunk of the part that holds `bytes`.
pub(super) fn parse(chunk: Chunk, bytes: &[u8], layout: &Layout, suffixes: &SuffixList) -> Parsed {
    let part = &bytes[chunk.start..chunk.end];
    let others = &layout.columns[Column::Hostname as usize + 1..];
    let mut parser = Parser {
        chunk,
        bytes,
        layout,
        suffixes,
        parsed: Parsed { arena: Arena::new(chunk.source, chunk.part + chunk.start), ..Parsed::default() },
        scratch: Vec::new(),
        columns: &others[..others.iter().rposition(Option::is_some).map_or(0, |last| last + 1)],
        last: None,
        covering: None,
    };
    let quoted = !layout.list && chunk.after_quote && memchr::memchr(b'"', part).is_some();
    // More than most take: memory that is not touched costs nothing.
    parser.parsed.arena.reserve(part.len() / 2);
    parser.parsed.rows.reserve(part.len() / 32);
    parser.parsed.domains.reserve(part.len() / 128);
    parser.parsed.attributes.reserve(part.len() / 128);
    let mut at = chunk.start;
    while at < chunk.end {
        if let Some(next) = parser.like_the_last(at) {
            at = next;
            continue;
        }
        let (line, next) = line_at(bytes, at);
        let blank = line.first().is_none_or(u8::is_ascii_whitespace) && line.trim_ascii().is_empty();
        if blank || layout.list && line.trim_ascii_start().starts_with(b"#") {
            at = next;
        } else if quoted && memchr::memchr(b'"', line).is_some() {
            at = parser.quoted_record(at);
        } else {
            parser.plain_record(at, line, next);
            at = next;
        }
    }
    parser.parsed.domains.seal();
    parser.parsed.attributes.seal();
    parser.parsed
}

struct Parser<'a> {
    chunk: Chunk,
    bytes: &'a [u8],
    layout: &'a Layout,
    suffixes: &'a SuffixList,
    parsed: Parsed,
    scratch: Vec<u8>,
    /// Where the columns beside the hostname stand, up to the last one that is there.
    columns: &'a [Option<usize>],
    last: Option<Last>,
    /// A domain that covers all names below it, and its number.
    covering: Option<(TextRef, u32)>,
}

/// A record that is its line: what stands around the hostname, up to the next record, and what that says.
struct Last {
    before: Range<usize>,
    after: Range<usize>,
    attributes: u32,
}

/// The fields of a record: where each starts and ends in `bytes`.
struct Fields<'a> {
    bytes: &'a [u8],
    ends: &'a [usize],
    /// 1 where a delimiter stands between two fields, 0 where they follow each other.
    gap: usize,
}

impl<'a> Fields<'a> {
    fn range(&self, index: usize) -> (usize, usize) {
        let start = if index == 0 { 0 } else { self.ends[index - 1] + self.gap };
        let field = &self.bytes[start..self.ends[index]];
        let trimmed = field.trim_ascii_start();
        let start = start + field.len() - trimmed.len();
        (start, start + trimmed.trim_ascii_end().len())
    }

    fn get(&self, index: usize) -> &'a [u8] {
        let (start, end) = self.range(index);
        &self.bytes[start..end]
    }
}

/// Fields that are looked at without an allocation: more than any known columns.
const FIELDS_MAX: usize = 64;

impl Parser<'_> {
    /// Rows of one owner mostly stand together: a record whose bytes are those of the last one but for an ordinary hostname is
    /// taken without looking at its fields. Returns where the next one starts, or `None` where this takes a closer look.
    #[inline]
    fn like_the_last(&mut self, at: usize) -> Option<usize> {
        let (Last { before, after, attributes }, bytes) = (self.last.as_ref()?, self.bytes);
        let (start, attributes) = (at + before.len(), *attributes);
        let rest = bytes[at..self.chunk.end].strip_prefix(&bytes[before.clone()])?;
        let len = scan::ordinary(rest)?;
        if !rest[len..].starts_with(&bytes[after.clone()]) {
            return None;
        }
        let next = start + len + after.len();
        let name = self.parsed.keep(self.chunk, at, &bytes[start..start + len]);
        let domain = self.domain(name).ok()?;
        self.parsed.records += 1;
        self.push(name, domain, attributes);
        Some(next)
    }

    /// A record without a quote is its line, cut at the delimiters.
    fn plain_record(&mut self, at: usize, line: &[u8], next: usize) {
        let mut ends = [0_usize; FIELDS_MAX];
        let mut width = 0;
        if self.layout.width > 1 {
            for end in memchr::memchr_iter(self.layout.delimiter, line) {
                if width < FIELDS_MAX - 1 {
                    ends[width] = end;
                }
                width += 1;
            }
        }
        if width < FIELDS_MAX {
            ends[width] = line.len();
        }
        width += 1;
        let record = at..at + line.len();
        if width > FIELDS_MAX {
            let mut all: Vec<usize> = memchr::memchr_iter(self.layout.delimiter, line).collect();
            all.push(line.len());
            self.record(record, &Fields { bytes: line, ends: &all, gap: 1 }, Some(at..next));
        } else {
            self.record(record, &Fields { bytes: line, ends: &ends[..width], gap: 1 }, Some(at..next));
        }
    }

    /// A record with quotes is read by the csv crate's core; its fields are copied out. Returns where the next one starts.
    fn quoted_record(&mut self, at: usize) -> usize {
        let rest = &self.bytes[at..self.chunk.end];
        // A carriage return at the end of a field is trimmed like a space, and one elsewhere ends no record, with quotes or without.
        let mut reader =
            csv_core::ReaderBuilder::new().delimiter(self.layout.delimiter).terminator(Terminator::Any(b'\n')).build();
        let (mut output, mut ends) = (vec![0; line_at(self.bytes, at).0.len() + 2], vec![0; self.layout.width + 1]);
        let (mut read, mut written, mut fields) = (0, 0, 0);
        let mut input_ended = false;
        loop {
            let input = if input_ended { &[][..] } else { &rest[read..] };
            let (result, nin, nout, nend) = reader.read_record(input, &mut output[written..], &mut ends[fields..]);
            (read, written, fields) = (read + nin, written + nout, fields + nend);
            match result {
                ReadRecordResult::InputEmpty => input_ended = true,
                ReadRecordResult::OutputFull => output.resize(output.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => ends.resize(ends.len() * 2, 0),
                ReadRecordResult::Record | ReadRecordResult::End => break,
            }
        }
        let raw = &rest[..read];
        let end = at + raw.trim_ascii_end().len();
        if input_ended && open_quote(false, raw, &[self.layout.delimiter]) {
            let first_line = line_at(self.bytes, at).0;
            self.parsed.records += 1;
            self.reject(at, first_line, Reason::Unterminated);
        } else {
            self.record(at..end, &Fields { bytes: &output, ends: &ends[..fields], gap: 0 }, None);
        }
        at + read.max(1)
    }

    fn reject(&mut self, record: usize, hostname: &[u8], reason: Reason) {
        self.parsed.rejects.push(Reject::new(self.chunk.source, self.chunk.part + record, hostname, reason));
    }

    /// One record; `whole` is its line with the line end if its fields stand there as they are.
    fn record(&mut self, record: Range<usize>, fields: &Fields<'_>, whole: Option<Range<usize>>) {
        self.parsed.records += 1;
        if let Err((hostname, reason)) = self.try_record(&record, fields, whole) {
            self.reject(record.start, &hostname, reason);
        }
    }

    #[inline]
    fn try_record(
        &mut self,
        record: &Range<usize>,
        fields: &Fields<'_>,
        whole: Option<Range<usize>>,
    ) -> Result<(), (Vec<u8>, Reason)> {
        let hostname_index = self.layout.columns[Column::Hostname as usize].unwrap_or(0);
        if fields.ends.len() != self.layout.width {
            let reason = Reason::FieldCount { found: fields.ends.len(), expected: self.layout.width };
            return Err((self.bytes[record.clone()].to_vec(), reason));
        }
        let (start, end) = fields.range(hostname_index);
        let hostname = &fields.bytes[start..end];
        let raw = &self.bytes[record.clone()];
        if memchr::memchr(0, raw).is_some() {
            return Err((hostname.to_vec(), Reason::Nul));
        }
        if std::str::from_utf8(raw).is_err() {
            return Err((hostname.to_vec(), Reason::NotUtf8));
        }
        let bad_name = |error: NameError| (hostname.to_vec(), Reason::Name(error));
        let attributes = self.attributes(fields).map_err(|reason| (hostname.to_vec(), reason))?;
        let found = canonical(hostname, &mut self.scratch).map_err(bad_name)?;
        let name = self.parsed.keep(self.chunk, record.start, found.text(hostname, &self.scratch));
        let domain = self.domain(name).map_err(bad_name)?;
        self.parsed.converted += u64::from(found != Canonical::Input(hostname.len()));
        self.push(name, domain, attributes);
        if let Some(whole) = whole {
            let (before, after) = (whole.start..whole.start + start, whole.start + end..whole.end);
            // The last line of a source may have no end, and the next record can't start there.
            self.last = self.bytes[after.clone()].ends_with(b"\n").then_some(Last { before, after, attributes });
        }
        Ok(())
    }

    fn push(&mut self, name: TextRef, domain: u32, attributes: u32) {
        self.parsed.domain_rows[domain as usize] += 1;
        self.parsed.rows.push(ChunkRow { name, domain, attributes });
    }

    /// The number of what a canonical name counts under: its registered domain or its address block.
    #[inline]
    fn domain(&mut self, name: TextRef) -> Result<u32, NameError> {
        let text = self.get(name);
        if let Some((domain, number)) = self.covering
            && let Some(below) = text.strip_suffix(self.get(domain))
            && matches!(below.last(), None | Some(b'.'))
        {
            return Ok(number);
        }
        let (domain, of_all_below) = match address::of(text) {
            None => {
                let covering = self.suffixes.cover(text)?;
                (name.tail(covering.domain.len()), covering.of_all_below)
            }
            Some(ip) => {
                if let Some((block, name)) = address::special_purpose(ip) {
                    return Err(NameError::SpecialPurpose { block, name });
                }
                let block = address::block(ip);
                let offset = self.parsed.arena.push(block.as_bytes());
                self.parsed.has_addresses = true;
                (TextRef::new(self.chunk.arena, offset, block.len()), false)
            }
        };
        let Parsed { domains, arena, domain_rows, .. } = &mut self.parsed;
        let number = domains.intern(domain, |at| arena.get(at));
        if number as usize == domain_rows.len() {
            domain_rows.push(0);
        }
        self.covering = of_all_below.then_some((domain, number));
        Ok(number)
    }

    fn get(&self, at: TextRef) -> &[u8] {
        self.parsed.arena.get(at)
    }

    /// The number of a record's attributes: all known columns but the hostname, joined by NUL (which none holds); those at the end
    /// that are empty are left out.
    fn attributes(&mut self, fields: &Fields<'_>) -> Result<u32, Reason> {
        let Parsed { attributes, keys, .. } = &mut self.parsed;
        let start = keys.len();
        for index in self.columns {
            if let Some(index) = index {
                keys.extend_from_slice(fields.get(*index));
            }
            keys.push(0);
        }
        let missing = Column::ALL.len() - 1 - self.columns.len();
        if keys.len() - start + missing > LEN_MAX - 90 {
            keys.truncate(start);
            return Err(Reason::TooLong);
        }
        while keys.len() > start && keys.ends_with(&[0]) {
            keys.pop();
        }
        let at = TextRef::new(self.chunk.arena, start, keys.len() - start);
        let number = attributes.intern(at, |at| &keys[at.offset()..at.offset() + at.len()]);
        if attributes.items[number as usize].1 != at {
            keys.truncate(start);
        }
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Inventory, Settings, Source, read_in_chunks};
    use super::*;
    use crate::limits::Policy;
    use crate::time::Timestamp;

    /// All that a reader can see of an inventory, in no particular order of rows.
    fn seen(bytes: &[u8], chunk_bytes: usize, policy: &Policy, suffixes: &SuffixList) -> String {
        let start = Timestamp::from_unix_seconds(1_800_000_000);
        let settings = Settings { account: "default", profile: "classic", deadline: None, start, policy, suffixes };
        let source = Source::new("x", bytes.to_vec());
        let inventory = match read_in_chunks(vec![source], &settings, chunk_bytes, &|_| {}) {
            Ok(inventory) => inventory,
            Err(error) => return error.to_string(),
        };
        let Inventory { counts, rejects, held, groups, tenants, urgencies, .. } = &inventory;
        let mut wanted: Vec<String> = (0..inventory.domain_count())
            .flat_map(|domain| inventory.wanted()[inventory.wanted_of(domain)].iter().map(move |name| (domain, *name)))
            .map(|(domain, of)| {
                let domain = inventory.domain_bytes(u32::try_from(domain).unwrap());
                let (group, urgency) = (inventory.group_of(of), inventory.urgency_of(of));
                format!("{} {} {group} {urgency}", inventory.text(of.name), String::from_utf8_lossy(domain))
            })
            .collect();
        wanted.sort();
        let held_names = |held: usize| {
            let mut names: Vec<&str> =
                inventory.held_names(held).iter().map(|held| inventory.text(held.name)).collect();
            names.sort_unstable();
            names
        };
        let held: Vec<_> = held.iter().enumerate().map(|(place, terms)| (terms, held_names(place))).collect();
        format!("{counts:?} {rejects:?} {held:?} {groups:?} {tenants:?} {urgencies:?} {wanted:?}")
    }

    fn field() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => "[ab]\\.(com|co\\.uk|org)",
            1 => "B[üu]cher\\.example\\.com\\.?",
            1 => Just(String::new()),
            1 => "\"[ab,;\n]{0,6}\"",
            1 => "\"([ab\r\n,]|\"\"){0,6}\"",
            1 => "[ab\",;# \r]{0,4}",
            1 => Just("2026-12-01".to_owned()),
        ]
    }

    fn row() -> impl Strategy<Value = String> {
        let fields = prop::collection::vec(field(), 1..4);
        (fields, prop_oneof![Just("\n"), Just("\r\n"), Just("\n\n")]).prop_map(|(fields, end)| fields.join(",") + end)
    }

    proptest! {
        #[test]
        fn where_chunks_end_can_not_be_seen(
            header in prop_oneof![Just(""), Just("hostname\n"), Just("tenant,hostname\r\n"), Just("hostname;tenant\n"),
                Just("hostname,certificate,expires_at\n")],
            rows in prop::collection::vec(row(), 0..12),
            cut in 0..4_usize,
        ) {
            let (policy, suffixes) = (Policy::built_in("letsencrypt").unwrap(), SuffixList::embedded());
            let mut text = header.to_owned() + &rows.concat();
            (0..cut).for_each(|_| { text.pop(); });
            let whole = seen(text.as_bytes(), CHUNK_BYTES, &policy, &suffixes);
            for chunk_bytes in [0, 1, 2, 3, 5, 8, 13, 21] {
                prop_assert_eq!(&seen(text.as_bytes(), chunk_bytes, &policy, &suffixes), &whole, "{} {:?}", chunk_bytes, text);
            }
        }
    }
}

//! From a source's bytes to parsed chunks: each part is parsed by all threads while the next one is read.

use rayon::prelude::*;

use super::chunk::{self, Chunk, Parsed};
use super::layout::{Layout, LayoutError};
use super::source::{Part, Source};
use super::split::split;
use super::text::ARENAS_MAX;
use crate::digest::Hasher;
use crate::psl::SuffixList;

/// How many chunks of a part each thread has to parse: so many that they end at the same time, more or less.
const CHUNKS_PER_THREAD: usize = 4;

/// What was read, of one source after the other.
pub(super) struct Stream<'a> {
    pub(super) suffixes: &'a SuffixList,
    /// Bytes of a chunk, more or less.
    pub(super) chunk_bytes: usize,
    /// Is told how many bytes have been parsed.
    pub(super) progress: &'a (dyn Fn(usize) + Sync),
    /// Over all bytes.
    pub(super) hasher: Hasher,
    pub(super) parsed: Vec<Parsed>,
}

impl Stream<'_> {
    /// Reads a source to its end; `number` is its place among all.
    pub(super) fn read(&mut self, number: usize, source: &Source) -> Result<Layout, LayoutError> {
        let size = self.chunk_bytes * CHUNKS_PER_THREAD * rayon::current_num_threads();
        let (mut part, mut next) = (Part::default(), Part::default());
        // A little, so that there is something to do while more is read.
        part.extend(source, 2 * self.chunk_bytes)?;
        let layout = loop {
            match Layout::detect(part.bytes(), part.is_last)? {
                Some(layout) => break layout,
                None => part.extend(source, part.bytes().len())?,
            }
        };
        let mut from = layout.first_record;
        loop {
            let (arena, after_quote) = (self.parsed.len(), false);
            let first = Chunk { source: number, arena, part: part.start, start: from, end: from, after_quote };
            let chunks = split(part.bytes(), first, &layout, self.chunk_bytes, part.is_last);
            assert!(self.parsed.len() + chunks.len() < ARENAS_MAX, "an inventory has less than 8 TB");
            let end = chunks.last().map_or(from, |chunk| chunk.end);
            if end == from && !part.is_last {
                // A record that is longer than the part.
                part.extend(source, part.bytes().len())?;
                continue;
            }
            let parse = |chunk: &Chunk| {
                let parsed = chunk::parse(*chunk, part.bytes(), &layout, self.suffixes);
                (self.progress)(chunk.end - chunk.start);
                parsed
            };
            let ahead = || if part.is_last { Ok(()) } else { next.follow(&part, end, source, size) };
            let parsed = || chunks.par_iter().map(parse).collect::<Vec<_>>();
            let hasher = &mut self.hasher;
            let (ahead, (parsed, ())) = rayon::join(ahead, || rayon::join(parsed, || hasher.update(part.news())));
            self.parsed.extend(parsed);
            ahead?;
            if part.is_last {
                return Ok(layout);
            }
            std::mem::swap(&mut part, &mut next);
            from = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::super::{Bytes, Inventory, InventoryError, Settings, read_in_chunks};
    use super::*;
    use crate::limits::Policy;
    use crate::time::Timestamp;

    /// A file that can be read so often, and then differs.
    #[derive(Debug)]
    struct Fickle {
        first: Vec<u8>,
        reads: AtomicUsize,
        then: Result<Vec<u8>, String>,
    }

    impl Bytes for Fickle {
        fn size(&self) -> usize {
            self.first.len()
        }

        fn read_at(&self, offset: usize, part: &mut [u8]) -> Result<usize, String> {
            let left = self.reads.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
            if left.is_ok() { self.first.read_at(offset, part) } else { self.then.clone()?.read_at(offset, part) }
        }
    }

    fn read_fickle(text: &str, reads: usize, then: Result<&str, &str>) -> Result<Inventory, InventoryError> {
        let (policy, suffixes) = (Policy::built_in("letsencrypt").unwrap(), SuffixList::embedded());
        let start = Timestamp::from_unix_seconds(1_800_000_000);
        let settings =
            Settings { account: "1", profile: "classic", deadline: None, start, policy: &policy, suffixes: &suffixes };
        let then = then.map(|text| text.as_bytes().to_vec()).map_err(ToOwned::to_owned);
        let bytes = Arc::new(Fickle { first: text.into(), reads: AtomicUsize::new(reads), then });
        read_in_chunks(vec![Source { name: "x.csv".to_owned(), bytes }], &settings, 1, &|_| {})
    }

    const ROWS: &str = "hostname\na.com\n*.*.b.com\nc.com\nd_.com\n";

    #[test]
    fn what_can_not_be_read_is_told() {
        for reads in 0..100 {
            match read_fickle(ROWS, reads, Err("the disk is gone")) {
                Ok(_) if reads > 1 => return,
                Ok(_) => panic!("{reads} reads are not enough"),
                Err(error) => assert_eq!(error.to_string(), "x.csv can't be read: the disk is gone"),
            }
        }
        panic!("a hundred reads are enough");
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_no_panic() {
        for (reads, then) in
            (0..12).flat_map(|reads| ["", "hostname\n", "\"", "x.example\ny.example"].map(|then| (reads, then)))
        {
            if let Ok(inventory) = read_fickle(ROWS, reads, Ok(then)) {
                assert!(inventory.rejects.iter().all(|reject| reject.line > 0));
            }
        }
    }

    #[test]
    fn records_are_shown_as_they_stand() {
        let inventory =
            read_fickle("hostname,tenant\na.com,\"x\ny\"\n*.*.b.com,\"x\ny\"\r\nc_.com,", 100, Ok("")).unwrap();
        let seen: Vec<_> = inventory.rejects.iter().map(|reject| (reject.line, reject.record())).collect();
        assert_eq!(seen, [(4, &b"*.*.b.com,\"x\ny\""[..]), (6, b"c_.com,")]);
        assert_eq!(inventory.header(0), b"hostname,tenant");
    }
}

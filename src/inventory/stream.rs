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
const CHUNKS_PER_THREAD: usize = 8;

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
        part.extend(source, size)?;
        let layout = loop {
            match Layout::detect(part.bytes(), part.is_last)? {
                Some(layout) => break layout,
                None => part.extend(source, part.bytes().len())?,
            }
        };
        let mut from = layout.first_record;
        loop {
            let chunk = Chunk { source: number, arena: self.parsed.len(), part: part.start, start: from, end: from };
            let chunks = split(part.bytes(), chunk, &layout, self.chunk_bytes, part.is_last);
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

//! One numbering for all chunks: texts that are equal get one number, and a place in an order that depends on the texts alone, so
//! that neither the order of rows nor the number of threads can be seen in a plan.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rayon::prelude::*;

use super::text::TextRef;
use crate::dense::{counting_sort, dense};

/// Numbers for all.
#[derive(Debug, Default)]
pub(super) struct Numbering {
    /// The numbers of all chunks' texts, one chunk after the other.
    ids: Vec<u32>,
    /// Where each chunk's stand there; one more at the end.
    starts: Vec<usize>,
    /// The texts, by number. What stands together in the input is mostly asked for together: numbers go by first appearance.
    pub(super) items: Vec<TextRef>,
    /// By number: the text's place in an order that depends on the texts alone, and has nothing to do with the alphabet.
    pub(super) places: Vec<u32>,
    /// By place: the number.
    pub(super) by_place: Vec<u32>,
}

impl Numbering {
    /// The numbers for all, by those of a chunk.
    pub(super) fn of_chunk(&self, chunk: usize) -> &[u32] {
        &self.ids[self.starts[chunk]..self.starts[chunk + 1]]
    }
}

/// A text of a chunk: its hash, where it stands, and which one it is of all chunks' texts.
type Entry = (u64, TextRef, u32);

/// Texts that are sorted at once, more or less: few enough for a cache.
const SHARD: usize = 32 * 1024;

/// Numbers the texts of all chunks, each with its [`super::text::stable_hash`]; `text` reads them.
pub(super) fn number<'a>(chunks: Vec<Vec<(u64, TextRef)>>, text: impl Fn(TextRef) -> &'a [u8] + Sync) -> Numbering {
    let mut starts = vec![0];
    for (chunk, texts) in chunks.iter().enumerate() {
        starts.push(starts[chunk] + texts.len());
    }
    let total = starts[chunks.len()];
    // Places go by hash, so that each shard has its own, and all shards' are found at the same time.
    let shards = total / SHARD + 1;
    let parts: Vec<Part> =
        chunks.par_iter().zip(&starts).map(|(texts, start)| by_shard(texts, dense(*start), shards)).collect();
    let ranks: Vec<AtomicU32> = (0..total).into_par_iter().map(|_| AtomicU32::new(0)).collect();
    let put = |entry: &Entry, rank: u32| ranks[entry.2 as usize].store(rank, Relaxed);
    let rank_shard = |shard: usize| {
        let mut entries = Vec::with_capacity(total / shards * 5 / 4);
        for Part { entries: part, starts } in &parts {
            entries.extend_from_slice(&part[starts[shard] as usize..starts[shard + 1] as usize]);
        }
        rank(&mut entries, |entry| text(entry.1), put)
    };
    let counts: Vec<u32> = (0..shards).into_par_iter().map(rank_shard).collect();
    drop(parts);

    let mut first_place = vec![0];
    for (shard, count) in counts.iter().enumerate() {
        first_place.push(first_place[shard] + count);
    }
    let count = first_place[shards] as usize;
    let mut ids: Vec<u32> = ranks.into_iter().map(AtomicU32::into_inner).collect();
    let mut by_place = vec![u32::MAX; count];
    let (mut items, mut places) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for (id, (hash, item)) in ids.iter_mut().zip(chunks.iter().flatten()) {
        let place = first_place[shard_of(*hash, shards)] + *id;
        let number = &mut by_place[place as usize];
        if *number == u32::MAX {
            *number = dense(items.len());
            items.push(*item);
            places.push(place);
        }
        *id = *number;
    }
    Numbering { ids, starts, items, places, by_place }
}

/// A chunk's texts by shard.
struct Part {
    entries: Vec<Entry>,
    /// Where each shard's start; one more at the end.
    starts: Vec<u32>,
}

/// A chunk's texts by shard; `first` is the first one's number among all chunks'.
fn by_shard(texts: &[(u64, TextRef)], first: u32, shards: usize) -> Part {
    let entries = texts.iter().zip(first..).map(|((hash, item), id)| (*hash, *item, id));
    let keys: Vec<u32> = texts.iter().map(|(hash, _)| dense(shard_of(*hash, shards))).collect();
    let mut starts = vec![0; shards + 1];
    keys.iter().for_each(|shard| starts[*shard as usize + 1] += 1);
    (1..starts.len()).for_each(|shard| starts[shard] += starts[shard - 1]);
    Part { entries: counting_sort(entries, &keys, shards), starts }
}

/// The shard of a hash: a larger hash is in no earlier one.
#[expect(clippy::cast_possible_truncation, reason = "the result is below `shards`")]
const fn shard_of(hash: u64, shards: usize) -> usize {
    ((hash as u128 * shards as u128) >> 64) as usize
}

/// Tells the rank of each text among those of a shard: by hash, then by text. Returns how many different ones there are.
fn rank<'a>(entries: &mut [Entry], text: impl Fn(&Entry) -> &'a [u8], put: impl Fn(&Entry, u32)) -> u32 {
    entries.sort_unstable_by_key(|entry| entry.0);
    let mut rank = 0;
    for run in entries.chunk_by_mut(|a, b| a.0 == b.0) {
        // Equal hashes are mostly equal texts, and if not, the bytes decide.
        let all_same = run.windows(2).all(|two| text(&two[0]) == text(&two[1]));
        if !all_same {
            run.sort_unstable_by_key(&text);
        }
        for same in run.chunk_by(|a, b| all_same || text(a) == text(b)) {
            same.iter().for_each(|entry| put(entry, rank));
            rank += 1;
        }
    }
    rank
}

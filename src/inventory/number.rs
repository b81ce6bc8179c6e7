//! One numbering for all chunks: texts that are equal get one number, and a place in an order that depends on the texts alone, so
//! that neither the order of rows nor the number of threads can be seen in a plan.

use rayon::prelude::*;

use super::chunk::Locals;
use super::text::{Text, TextRef};

/// Numbers for all.
#[derive(Debug, Default)]
pub(super) struct Numbering {
    /// For each chunk: its own number to the number for all.
    pub(super) ids: Vec<Vec<u32>>,
    /// The texts, by number.
    pub(super) items: Vec<TextRef>,
    /// By number: the text's place in an order that depends on the texts alone, and has nothing to do with the alphabet.
    pub(super) places: Vec<u32>,
}

/// Numbers the texts of all chunks.
pub(super) fn number(locals: &[&Locals], text: &Text) -> Numbering {
    let mut all: Vec<(u64, u32, u32)> = Vec::with_capacity(locals.iter().map(|local| local.items.len()).sum());
    for (chunk, local) in locals.iter().enumerate() {
        all.extend(local.items.iter().enumerate().map(|(id, (hash, _))| (*hash, index(chunk), index(id))));
    }
    all.par_sort_unstable();
    let at = |entry: &(u64, u32, u32)| locals[entry.1 as usize].items[entry.2 as usize].1;
    let mut ids: Vec<Vec<u32>> = locals.iter().map(|local| vec![0; local.items.len()]).collect();
    let mut count = 0;
    for run in all.chunk_by_mut(|a, b| a.0 == b.0) {
        // Equal hashes are mostly equal texts, and if not, the bytes decide.
        if run.len() > 1 {
            run.sort_by(|a, b| text.get(at(a)).cmp(text.get(at(b))));
        }
        for same in run.chunk_by(|a, b| text.get(at(a)) == text.get(at(b))) {
            for entry in same {
                ids[entry.1 as usize][entry.2 as usize] = count;
            }
            count += 1;
        }
    }
    drop(all);
    number_by_appearance(locals, ids, count as usize)
}

/// What stands together in the input is mostly asked for together: numbers go by first appearance, places by text.
fn number_by_appearance(locals: &[&Locals], mut ids: Vec<Vec<u32>>, count: usize) -> Numbering {
    let mut numbers = vec![u32::MAX; count];
    let (mut items, mut places) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for (ids, local) in ids.iter_mut().zip(locals) {
        for (id, (_, text)) in ids.iter_mut().zip(&local.items) {
            let number = &mut numbers[*id as usize];
            if *number == u32::MAX {
                *number = index(items.len());
                items.push(*text);
                places.push(*id);
            }
            *id = *number;
        }
    }
    Numbering { ids, items, places }
}

/// A place as a dense number.
pub(super) fn index(index: usize) -> u32 {
    u32::try_from(index).unwrap_or_else(|_too_many| unreachable!("4 billion rows outlast memory"))
}

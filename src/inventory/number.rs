//! One numbering for all chunks: texts that are equal get one number, in an order that depends on the texts alone, so that neither
//! the order of rows nor the number of threads can be seen in a plan.

use rayon::prelude::*;

use super::chunk::Locals;
use super::text::{Text, TextRef};

/// Numbers for all.
#[derive(Debug, Default)]
pub(super) struct Numbering {
    /// For each chunk: its own number to the number for all.
    pub(super) ids: Vec<Vec<u32>>,
    /// The texts, by number: sorted by hash, then by bytes.
    pub(super) items: Vec<TextRef>,
}

/// Numbers the texts of all chunks.
pub(super) fn number(locals: &[&Locals], text: &Text) -> Numbering {
    let mut all: Vec<(u64, u32, u32)> = Vec::with_capacity(locals.iter().map(|local| local.items.len()).sum());
    for (chunk, local) in locals.iter().enumerate() {
        all.extend(local.items.iter().enumerate().map(|(id, (hash, _))| (*hash, index(chunk), index(id))));
    }
    all.par_sort_unstable();
    let at = |entry: &(u64, u32, u32)| locals[entry.1 as usize].items[entry.2 as usize].1;
    let mut numbering =
        Numbering { ids: locals.iter().map(|local| vec![0; local.items.len()]).collect(), items: Vec::new() };
    for run in all.chunk_by_mut(|a, b| a.0 == b.0) {
        // Equal hashes are mostly equal texts, and if not, the bytes decide.
        let first = text.get(at(&run[0]));
        if run.iter().any(|entry| text.get(at(entry)) != first) {
            run.sort_by(|a, b| text.get(at(a)).cmp(text.get(at(b))));
        }
        for same in run.chunk_by(|a, b| text.get(at(a)) == text.get(at(b))) {
            let id = index(numbering.items.len());
            numbering.items.push(at(&same[0]));
            for entry in same {
                numbering.ids[entry.1 as usize][entry.2 as usize] = id;
            }
        }
    }
    numbering
}

fn index(index: usize) -> u32 {
    u32::try_from(index).unwrap_or_else(|_too_many| unreachable!("4 billion rows outlast memory"))
}

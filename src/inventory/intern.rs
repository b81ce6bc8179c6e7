//! Texts of one chunk, numbered in the order in which they come.

use hashbrown::HashTable;

use super::text::{TextRef, stable_hash};
use crate::dense::dense;

/// Texts with numbers, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Locals {
    table: HashTable<u32>,
    last: u32,
    /// Each with its hash.
    pub(super) items: Vec<(u64, TextRef)>,
}

impl Locals {
    /// Makes room for some: a table that grows is filled again and again.
    pub(super) fn reserve(&mut self, some: usize) {
        self.table.reserve(some, |_| 0);
        self.items.reserve(some);
    }

    /// The number of the text at `at`; `text` reads it and those before.
    #[inline]
    pub(super) fn intern<'a>(&mut self, at: TextRef, text: impl Fn(TextRef) -> &'a [u8]) -> u32 {
        let wanted = text(at);
        // Names of one domain mostly stand together.
        if let Some(last) = self.items.get(self.last as usize)
            && text(last.1) == wanted
        {
            return self.last;
        }
        let hash = stable_hash(wanted);
        let items = &mut self.items;
        let same = |id: &u32| {
            let (other_hash, other) = items[*id as usize];
            other_hash == hash && text(other) == wanted
        };
        self.last = match self.table.find(hash, same) {
            Some(id) => *id,
            None => {
                let id = dense(items.len());
                items.push((hash, at));
                self.table.insert_unique(hash, id, |id| items[*id as usize].0);
                id
            }
        };
        self.last
    }

    /// Gives the memory of the look-up back; the texts stay.
    pub(super) fn seal(&mut self) {
        self.table = HashTable::new();
        self.items.shrink_to_fit();
    }
}

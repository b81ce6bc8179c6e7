//! Accounts, names, registered domains and sets as numbers.

use std::hash::Hash;

use rustc_hash::FxHashMap;

use crate::dense::dense;

/// Numbers for things, in the order in which they come.
#[derive(Clone, Debug)]
pub(super) struct Interner<T> {
    ids: FxHashMap<T, u32>,
    pub(super) things: Vec<T>,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self { ids: FxHashMap::default(), things: Vec::new() }
    }
}

impl<T: Clone + Eq + Hash> Interner<T> {
    pub(super) fn intern(&mut self, thing: T) -> u32 {
        let next = dense(self.things.len());
        *self.ids.entry(thing).or_insert_with_key(|thing| {
            self.things.push(thing.clone());
            next
        })
    }
}

impl<T> Interner<T> {
    /// Forgets them. The room that they took is kept.
    pub(super) fn clear(&mut self) {
        self.ids.clear();
        self.things.clear();
    }
}

impl Interner<Box<str>> {
    /// Mostly the text is known.
    pub(super) fn intern_text(&mut self, text: &str) -> u32 {
        self.ids.get(text).copied().unwrap_or_else(|| self.intern(text.into()))
    }
}

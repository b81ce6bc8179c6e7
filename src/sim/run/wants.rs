//! What certificates are wanted: those of the set-up, but for names that have left theirs.

use rustc_hash::FxHashMap;

use crate::sim::setup::{Lineage, Setup, Slot};

#[derive(Debug)]
pub(super) struct Wants<'a> {
    setup: &'a Setup,
    /// Those that are not, or no longer, as the set-up has them.
    changed: FxHashMap<u32, Lineage>,
    /// Their names, as if these came after the set-up's.
    slots: Vec<Slot>,
}

impl<'a> Wants<'a> {
    pub(super) fn new(setup: &'a Setup) -> Self {
        Self { setup, changed: FxHashMap::default(), slots: Vec::new() }
    }

    #[inline]
    pub(super) fn of(&self, lineage: u32) -> &Lineage {
        if self.changed.is_empty() {
            return &self.setup.lineages[lineage as usize];
        }
        self.changed.get(&lineage).unwrap_or_else(|| &self.setup.lineages[lineage as usize])
    }

    #[inline]
    pub(super) fn slots_of(&self, lineage: u32) -> &[Slot] {
        let range = &self.of(lineage).slots;
        let (start, end) = (range.start as usize, range.end as usize);
        let known = self.setup.slots.len();
        if start < known { &self.setup.slots[start..end] } else { &self.slots[start - known..end - known] }
    }

    /// Whether a lineage is not, or no longer, as the set-up has it.
    pub(super) fn is_changed(&self, lineage: u32) -> bool {
        self.changed.contains_key(&lineage)
    }

    /// It is as the set-up has it.
    pub(super) fn restore(&mut self, lineage: u32) {
        self.changed.remove(&lineage);
    }

    /// From now on `lineage` is as `like`, for these names.
    pub(super) fn change(&mut self, lineage: u32, like: Lineage, slots: &[Slot]) {
        let place = |slots: usize| u32::try_from(slots).unwrap_or(u32::MAX);
        let known = self.setup.slots.len();
        let start = place(known + self.slots.len());
        self.slots.extend_from_slice(slots);
        let slots = start..place(known + self.slots.len());
        self.changed.insert(lineage, Lineage { slots, ..like });
    }
}

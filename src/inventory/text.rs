//! The texts of an inventory, and short references to them: a name is eight bytes, wherever its text stands.

/// Where a text stands: in which chunk's arena, where in it, how long. Ordered by place, not by text.
///
/// In two halves, the higher one first: what holds one and another number then takes 12 bytes, not 16.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct TextRef(u32, u32);

const LEN_BITS: u32 = 12;
const OFFSET_BITS: u32 = 30;
/// The longest text that a [`TextRef`] can name.
pub(super) const LEN_MAX: usize = (1 << LEN_BITS) - 1;
/// The largest arena.
const OFFSET_MAX: usize = (1 << OFFSET_BITS) - 1;
/// The most arenas.
pub(super) const ARENAS_MAX: usize = 1 << (64 - LEN_BITS - OFFSET_BITS);

impl TextRef {
    /// The caller holds the bounds: see `LEN_MAX`, `OFFSET_MAX`, `ARENAS_MAX`.
    #[expect(clippy::cast_possible_truncation, reason = "the halves")]
    pub(super) const fn new(arena: usize, offset: usize, len: usize) -> Self {
        let bits = (arena as u64) << (LEN_BITS + OFFSET_BITS) | (offset as u64) << LEN_BITS | len as u64;
        Self((bits >> 32) as u32, bits as u32)
    }

    const fn bits(self) -> u64 {
        (self.0 as u64) << 32 | self.1 as u64
    }

    #[expect(clippy::cast_possible_truncation, reason = "12 bits")]
    pub(super) const fn len(self) -> usize {
        self.bits() as usize & LEN_MAX
    }

    pub(super) const fn arena(self) -> usize {
        (self.bits() >> (LEN_BITS + OFFSET_BITS)) as usize
    }

    pub(super) const fn offset(self) -> usize {
        (self.bits() >> LEN_BITS) as usize & OFFSET_MAX
    }

    /// Its last `len` bytes.
    pub(super) const fn tail(self, len: usize) -> Self {
        Self::new(self.arena(), self.offset() + self.len() - len, len)
    }
}

/// The texts of one chunk: names, each behind where its record starts, and address blocks.
#[derive(Debug, Default)]
pub(super) struct Arena {
    bytes: Vec<u8>,
    /// The source that the chunk is of.
    pub(super) source: usize,
    /// Where the chunk starts there.
    pub(super) start: usize,
}

/// The bytes before a name: where its record starts, from the start of the chunk.
type Origin = u32;

impl Arena {
    /// For a chunk that starts at `start` of that source.
    pub(super) fn new(source: usize, start: usize) -> Self {
        Self { bytes: Vec::new(), source, start }
    }

    /// Makes room.
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes);
    }

    /// Takes a text in, and says where it stands.
    #[inline]
    pub(super) fn push(&mut self, text: &[u8]) -> usize {
        let offset = self.bytes.len();
        self.bytes.extend_from_slice(text);
        offset
    }

    /// The same for a name whose record starts so far behind the start of the chunk.
    #[inline]
    pub(super) fn push_name(&mut self, record: usize, name: &[u8]) -> usize {
        // Every record starts within the size of a chunk, however long the last one is.
        let origin = Origin::try_from(record).unwrap_or(Origin::MAX);
        self.bytes.extend_from_slice(&origin.to_le_bytes());
        self.push(name)
    }

    /// The bytes of a reference.
    #[inline]
    pub(super) fn get(&self, at: TextRef) -> &[u8] {
        &self.bytes[at.offset()..at.offset() + at.len()]
    }

    /// The offset in the source at which the record of a name starts.
    fn origin(&self, name: TextRef) -> usize {
        let origin = self.bytes[..name.offset()].last_chunk().map_or(0, |bytes| Origin::from_le_bytes(*bytes));
        self.start + origin as usize
    }
}

/// All arenas, one for each chunk.
#[derive(Debug, Default)]
pub(super) struct Text {
    pub(super) arenas: Vec<Arena>,
}

impl Text {
    /// The bytes of a reference.
    #[inline]
    pub(super) fn get(&self, at: TextRef) -> &[u8] {
        self.arenas[at.arena()].get(at)
    }

    /// The source that a name comes from, and the offset at which its record starts.
    pub(super) fn origin(&self, name: TextRef) -> (usize, usize) {
        let arena = &self.arenas[name.arena()];
        (arena.source, arena.origin(name))
    }
}

/// A hash which is the same on every machine and in every version: plans are ordered by it, so that no name's owner waits for the
/// end of the alphabet.
#[inline]
pub(super) fn stable_hash(bytes: &[u8]) -> u64 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = K ^ bytes.len() as u64;
    let mut mix = |word: u64| {
        let wide = u128::from(hash ^ word) * u128::from(K | 1);
        #[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
        let (low, high) = (wide as u64, (wide >> 64) as u64);
        hash = (low ^ high).rotate_left(23);
    };
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        mix(u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(u64::from_le_bytes(last));
    mix(K);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_keeps_its_three_numbers() {
        let at = TextRef::new(ARENAS_MAX - 1, OFFSET_MAX - 300, 253);
        assert_eq!((at.arena(), at.offset(), at.len()), (ARENAS_MAX - 1, OFFSET_MAX - 300, 253));
        assert_eq!(at.tail(3).offset(), OFFSET_MAX - 50);
    }

    #[test]
    fn a_name_knows_its_record() {
        let mut arena = Arena::new(3, 1_000);
        arena.push(b"192.0.2.0/32");
        let offset = arena.push_name(70_000, b"a.example");
        let text = Text { arenas: vec![Arena::default(), arena] };
        let name = TextRef::new(1, offset, 9);
        assert_eq!((text.get(name), text.origin(name)), (&b"a.example"[..], (3, 71_000)));
    }

    #[test]
    fn the_hash_never_changes() {
        assert_ne!(stable_hash(b"example.com"), stable_hash(b"example.org"));
        assert_eq!(stable_hash(b"example.com"), 13_963_047_943_555_095_220);
    }
}

//! The inventory's bytes, and short references into them: a name is eight bytes, wherever its text stands.

/// One input file, read whole.
#[derive(Clone, Debug)]
pub struct Source {
    /// What people call it: a path, or `-`.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Where a text stands: which buffer, where in it, how long. Ordered by place, not by text.
///
/// In two halves, the higher one first: what holds one and another number then takes 12 bytes, not 16.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct TextRef(u32, u32);

const LEN_BITS: u32 = 12;
const OFFSET_BITS: u32 = 36;
/// The longest text that a [`TextRef`] can name.
pub(super) const LEN_MAX: usize = (1 << LEN_BITS) - 1;
/// The largest buffer, and the most buffers.
pub(super) const OFFSET_MAX: usize = (1 << OFFSET_BITS) - 1;
pub(super) const BUFFERS_MAX: usize = 1 << (64 - LEN_BITS - OFFSET_BITS);

impl TextRef {
    /// The caller holds the bounds: see `LEN_MAX`, `OFFSET_MAX`, `BUFFERS_MAX`.
    #[expect(clippy::cast_possible_truncation, reason = "the halves")]
    pub(super) const fn new(buffer: usize, offset: usize, len: usize) -> Self {
        let bits = (buffer as u64) << (LEN_BITS + OFFSET_BITS) | (offset as u64) << LEN_BITS | len as u64;
        Self((bits >> 32) as u32, bits as u32)
    }

    const fn bits(self) -> u64 {
        (self.0 as u64) << 32 | self.1 as u64
    }

    #[expect(clippy::cast_possible_truncation, reason = "12 bits")]
    pub(super) const fn len(self) -> usize {
        self.bits() as usize & LEN_MAX
    }

    pub(super) const fn buffer(self) -> usize {
        (self.bits() >> (LEN_BITS + OFFSET_BITS)) as usize
    }

    pub(super) const fn offset(self) -> usize {
        (self.bits() >> LEN_BITS) as usize & OFFSET_MAX
    }

    /// Its last `len` bytes.
    pub(super) const fn tail(self, len: usize) -> Self {
        Self::new(self.buffer(), self.offset() + self.len() - len, len)
    }
}

/// Texts that stand in no source as they are: converted names, address blocks, the keys of attributes.
#[derive(Clone, Debug, Default)]
pub(super) struct Arena {
    pub(super) bytes: Vec<u8>,
    /// For converted names: where in the arena, and where its record starts in the source.
    pub(super) origins: Vec<(usize, usize)>,
    /// The source its names come from.
    pub(super) source: usize,
}

/// All buffers: the sources, then one arena for each chunk of them.
#[derive(Clone, Debug, Default)]
pub struct Text {
    pub(super) sources: Vec<Source>,
    pub(super) arenas: Vec<Arena>,
}

impl Text {
    /// The bytes of a reference.
    #[inline]
    pub(super) fn get(&self, at: TextRef) -> &[u8] {
        let buffer = at.buffer();
        let bytes = match buffer.checked_sub(self.sources.len()) {
            None => &self.sources[buffer].bytes,
            Some(arena) => &self.arenas[arena].bytes,
        };
        &bytes[at.offset()..at.offset() + at.len()]
    }

    /// Whether it stands in no source: only then it can be an address block.
    #[inline]
    pub(super) fn is_own(&self, at: TextRef) -> bool {
        at.buffer() >= self.sources.len()
    }

    /// The source that a name comes from, and the offset at which its record starts.
    pub(super) fn origin(&self, name: TextRef) -> (usize, usize) {
        match name.buffer().checked_sub(self.sources.len()) {
            None => {
                let before = &self.sources[name.buffer()].bytes[..name.offset()];
                (name.buffer(), memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1))
            }
            Some(index) => {
                let arena = &self.arenas[index];
                let found = arena.origins.partition_point(|(offset, _)| *offset <= name.offset());
                (arena.source, found.checked_sub(1).map_or(0, |found| arena.origins[found].1))
            }
        }
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
        let at = TextRef::new(BUFFERS_MAX - 1, OFFSET_MAX - 300, 253);
        assert_eq!((at.buffer(), at.offset(), at.len()), (BUFFERS_MAX - 1, OFFSET_MAX - 300, 253));
        assert_eq!(at.tail(3).offset(), OFFSET_MAX - 50);
    }

    #[test]
    fn the_hash_never_changes() {
        assert_ne!(stable_hash(b"example.com"), stable_hash(b"example.org"));
        assert_eq!(stable_hash(b"example.com"), 13_963_047_943_555_095_220);
    }
}

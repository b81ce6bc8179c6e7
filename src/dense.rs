//! Dense numbers: places in vectors, as ids of 32 bits.

/// A place as an id.
pub(crate) fn dense(place: usize) -> u32 {
    u32::try_from(place).unwrap_or_else(|_too_many| unreachable!("4 billion of anything outlast memory"))
}

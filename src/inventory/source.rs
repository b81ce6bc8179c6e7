//! Input files, read part by part: however large they are, a few parts of them are in memory at a time.

use std::fmt;
use std::sync::Arc;

use super::InventoryError;
use super::layout::LayoutError;
use crate::digest::Hasher;

/// The bytes of an input file. They are read once from the start to the end, and some a second time where rows can't be planned: those are
/// shown as they stand there.
pub trait Bytes: fmt::Debug + Send + Sync {
    /// How many there are, as far as is known: so much memory is asked for at most, and people are shown how far it has come.
    fn size(&self) -> usize;

    /// Fills `part` with what stands from `offset` on, and says how much that is: less than all of it at the end alone.
    ///
    /// # Errors
    /// What the system says where it can't be read.
    fn read_at(&self, offset: usize, part: &mut [u8]) -> Result<usize, String>;
}

impl Bytes for Vec<u8> {
    fn size(&self) -> usize {
        self.len()
    }

    fn read_at(&self, offset: usize, part: &mut [u8]) -> Result<usize, String> {
        let rest = self.get(offset..).unwrap_or_default();
        let len = rest.len().min(part.len());
        part[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
}

/// One input file.
#[derive(Clone, Debug)]
pub struct Source {
    /// What people call it: a path, or `-`.
    pub name: String,
    /// Its bytes.
    pub bytes: Arc<dyn Bytes>,
}

impl Source {
    /// What is wrong with it.
    pub(super) fn failed(&self, reason: LayoutError) -> InventoryError {
        InventoryError { source_name: self.name.clone(), reason }
    }

    /// One that is in memory.
    #[must_use]
    pub fn new(name: &str, bytes: Vec<u8>) -> Self {
        Self { name: name.to_owned(), bytes: Arc::new(bytes) }
    }
}

/// SHA-256 over the bytes of all `sources`, one after the other, in hexadecimal: [`super::Inventory::sha256`] of an inventory read from them.
///
/// # Errors
/// [`InventoryError`] where one can't be read.
pub fn sha256(sources: &[Source]) -> Result<String, InventoryError> {
    let mut hasher = Hasher::new();
    for source in sources {
        let mut part = Part::default();
        while !part.is_last {
            part.turn(source, PART).map_err(|reason| source.failed(reason))?;
            hasher.update(part.bytes());
        }
    }
    Ok(hasher.finish_as_text())
}

/// Bytes that are looked through in one go.
pub(super) const PART: usize = 1 << 20;

/// So many bytes are asked for at least where a source has grown.
const LEAST: usize = 1 << 12;

/// A part of a source, in memory that is used again and again.
#[derive(Debug, Default)]
pub(super) struct Part {
    buffer: Vec<u8>,
    len: usize,
    /// How many of its bytes stood in the part before, too.
    known: usize,
    /// Where it starts in the source.
    pub(super) start: usize,
    /// Whether the source ends with it.
    pub(super) is_last: bool,
}

impl Part {
    /// What it holds.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    /// What of it no part before has held.
    pub(super) fn news(&self) -> &[u8] {
        &self.buffer[self.known..self.len]
    }

    /// Where it ends in the source.
    pub(super) const fn end(&self) -> usize {
        self.start + self.len
    }

    /// Becomes what follows `before`, with those of its bytes that stand from `from` on, and `size` bytes more.
    pub(super) fn follow(
        &mut self,
        before: &Self,
        from: usize,
        source: &Source,
        size: usize,
    ) -> Result<(), LayoutError> {
        let rest = &before.bytes()[from..];
        if self.buffer.len() < rest.len() {
            self.buffer.resize(rest.len(), 0);
        }
        self.buffer[..rest.len()].copy_from_slice(rest);
        (self.start, self.len, self.known, self.is_last) =
            (before.start + from, rest.len(), rest.len(), before.is_last);
        self.extend(source, size)
    }

    /// Becomes the `size` bytes that follow it.
    pub(super) fn turn(&mut self, source: &Source, size: usize) -> Result<(), LayoutError> {
        (self.start, self.len, self.known) = (self.end(), 0, 0);
        self.extend(source, size)
    }

    /// Takes in `size` bytes more.
    pub(super) fn extend(&mut self, source: &Source, size: usize) -> Result<(), LayoutError> {
        if self.is_last {
            return Ok(());
        }
        // As many as there are, and room to see that there are no more: for a few names memory for millions would take longer than they do.
        let left = source.bytes.size().saturating_sub(self.end());
        let wanted = self.len + size.clamp(1, left.max(LEAST) + 1);
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        let read =
            source.bytes.read_at(self.end(), &mut self.buffer[self.len..wanted]).map_err(LayoutError::Unreadable)?;
        self.len += read;
        self.is_last = self.len < wanted;
        Ok(())
    }
}

//! SHA-256: what tells one file's contents from another's, in plans and reports.

use data_encoding::HEXLOWER;
use ring::digest::{Context, SHA256};

/// The SHA-256 of bytes that come one part after the other.
pub(crate) struct Hasher(Context);

impl Hasher {
    /// Of nothing so far.
    pub(crate) fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    /// Some bytes more.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all of them.
    pub(crate) fn finish(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.finish().as_ref());
        bytes
    }

    /// The same in hexadecimal.
    pub(crate) fn finish_as_text(self) -> String {
        HEXLOWER.encode(&self.finish())
    }
}

/// SHA-256 over the bytes of all `parts`, one after the other, in hexadecimal.
pub(crate) fn sha256<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hasher = Hasher::new();
    parts.into_iter().for_each(|part| hasher.update(part));
    hasher.finish_as_text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_hashed_as_one() {
        let whole = "a379a6f6eeafb9a55e378c118034e2751e682fab9f2d30ab13d2125586ce1947";
        assert_eq!(sha256([&b"example.com"[..]]), whole);
        assert_eq!(sha256([&b"example"[..], b".com"]), whole);
    }
}

//! SHA-256 as text: what tells one file's contents from another's, in plans and reports.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// SHA-256 over the bytes of all `parts`, one after the other, in hexadecimal.
pub(crate) fn sha256<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    parts.into_iter().for_each(|part| hash.update(part));
    hash.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
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

//! What a file is, by how it begins.

use super::broken::Reason;
use super::pem;
use super::table::Columns;

/// What the first bytes of a file make of it.
#[derive(Debug)]
pub(super) enum Shape {
    Pem,
    Der,
    Json,
    Table(Columns),
    /// Nothing to import, and why.
    Other(Reason),
}

/// The shape of what begins with `head`.
pub(super) fn shape(head: &[u8]) -> Shape {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    match head {
        [0x1f, 0x8b, ..] => return Shape::Other(Reason::Packed("gzip")),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => return Shape::Other(Reason::Packed("zstd")),
        [b'P', b'K', 3, 4, ..] => return Shape::Other(Reason::Packed("zip")),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => return Shape::Other(Reason::Utf16),
        // A sequence whose length takes one or more bytes of its own: what a certificate is.
        [0x30, 0x81..=0x84, ..] => return Shape::Der,
        _ => {}
    }
    if pem::starts_in(head) {
        Shape::Pem
    } else if matches!(text.first(), Some(b'{' | b'[')) {
        Shape::Json
    } else {
        Columns::detect(head).map_or(Shape::Other(Reason::Unknown), Shape::Table)
    }
}

//! Where a source can be cut: between records, which a quoted line end does not part.

use rayon::prelude::*;

use super::chunk::Chunk;
use super::layout::{Layout, line_at};
use super::source::PART;

/// Cuts a part of a source between records, into chunks of `size` bytes more or less, which come one after the other from `first` on.
/// Unless it `is_last`, what is left at its end is no chunk: it belongs to the next part.
pub(super) fn split(bytes: &[u8], first: Chunk, layout: &Layout, size: usize, is_last: bool) -> Vec<Chunk> {
    let (mut chunks, mut start) = (Vec::new(), first.start);
    let unquoted = if layout.list { bytes.len() } else { first_quote(bytes) };
    while start < bytes.len() {
        let end = match bytes.len() - start {
            left if left <= size => None,
            _ => record_end(bytes, start, start + size, unquoted, layout),
        };
        let Some(end) = end.or_else(|| is_last.then_some(bytes.len())) else { break };
        chunks.push(Chunk { arena: first.arena + chunks.len(), start, end, after_quote: unquoted < end, ..first });
        start = end;
    }
    chunks
}

/// Where the first quote stands, or the end: looked for side by side, since most sources have none.
fn first_quote(bytes: &[u8]) -> usize {
    let quote = |(part, bytes): (usize, &[u8])| Some(part * PART + memchr::memchr(b'"', bytes)?);
    bytes.par_chunks(PART).enumerate().find_map_first(quote).unwrap_or(bytes.len())
}

/// The first end of a record at `from` or after it, if there is one; a record starts at `start`, and no quote stands before `unquoted`.
fn record_end(bytes: &[u8], start: usize, from: usize, unquoted: usize, layout: &Layout) -> Option<usize> {
    let (mut end, mut looked_at, mut open) = (line_at(bytes, from).1, start, false);
    loop {
        open = unquoted < end && open_quote(open, &bytes[looked_at..end], &[layout.delimiter]);
        if !open && bytes[..end].ends_with(b"\n") {
            return Some(end);
        }
        if end == bytes.len() {
            return None;
        }
        looked_at = end;
        end = line_at(bytes, end).1;
    }
}

/// Whether a quote is open at the end of `bytes`, which starts with a line, given whether one is open there. A quote opens at the
/// start of a field alone: elsewhere it stands for itself. Inside, two are one; the next single one closes it.
pub(super) fn open_quote(open: bool, bytes: &[u8], delimiters: &[u8]) -> bool {
    let starts_field = |at: usize| {
        let before = at.checked_sub(1).map(|before| bytes[before]);
        before.is_none_or(|before| before == b'\n' || delimiters.contains(&before))
    };
    let (mut open, mut paired) = (open, None);
    for at in memchr::memchr_iter(b'"', bytes) {
        if paired == Some(at) {
            paired = None;
        } else if !open {
            open = starts_field(at);
        } else if bytes.get(at + 1) == Some(&b'"') {
            paired = Some(at + 1);
        } else {
            open = false;
        }
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_open_at_the_start_of_a_field() {
        for (text, open) in [
            ("", false),
            ("\"", true),
            ("\"a", true),
            ("a\"", false),
            ("a,\"b\n", true),
            ("a;\"b\n", false),
            ("\"a\"\"", true),
            ("\"a\"\"\"", false),
            ("\"\"\"", true),
            ("\"a\"b\"", false),
            ("3\" pipe\n\"a", true),
            ("\"a,\"b", false),
        ] {
            assert_eq!(open_quote(false, text.as_bytes(), b","), open, "{text}");
        }
    }
}

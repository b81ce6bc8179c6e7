//! The objects of a JSON file, one after the other, however large the file is.
//!
//! The members of an array at the top, or objects that stand one below the other (JSON Lines, several arrays in one file): what searches
//! write. A reader of whole JSON stops at the first bad byte; here brackets are counted and each object is handed on as it stands, so that
//! a broken one, such as one with a byte that is no UTF-8, is told and the next is read.

use std::io::{self, BufRead};

/// Cuts a file into objects.
pub(super) struct Elements<R> {
    reader: R,
    line: u64,
    entry: u64,
    bytes: Vec<u8>,
}

/// An object as it stands, or what stands in its place.
pub(super) struct Element<'a> {
    /// The line it starts in, from 1.
    pub(super) line: u64,
    /// Which one it is, from 1.
    pub(super) entry: u64,
    pub(super) bytes: &'a [u8],
}

/// Where in an object a byte stands.
#[derive(Default)]
struct Place {
    depth: usize,
    quoted: bool,
    escaped: bool,
}

impl<R: BufRead> Elements<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, line: 1, entry: 0, bytes: Vec::new() }
    }

    /// The next one. The last one may be cut off.
    pub(super) fn next(&mut self) -> io::Result<Option<Element<'_>>> {
        // What stands between: of a byte order mark, too, nothing is to be read.
        let between = |byte: u8| byte.is_ascii_whitespace() || matches!(byte, b',' | b'[' | b']' | 0xef | 0xbb | 0xbf);
        self.take_while(between)?;
        self.bytes.clear();
        let (line, mut place) = (self.line, Place::default());
        match self.reader.fill_buf()?.first() {
            None => return Ok(None),
            Some(b'{') => {
                self.take_while(|byte| place.goes_on(byte))?;
                self.take_one()?;
            }
            Some(_) => {
                self.take_one()?;
                self.take_while(|byte| !matches!(byte, b'{' | b',' | b']' | b'\n'))?;
            }
        }
        self.entry += 1;
        Ok(Some(Element { line, entry: self.entry, bytes: &self.bytes }))
    }

    /// Takes bytes for as long as `goes_on` says so, which is asked once a byte.
    fn take_while(&mut self, mut goes_on: impl FnMut(u8) -> bool) -> io::Result<()> {
        loop {
            let chunk = self.reader.fill_buf()?;
            let end = chunk.iter().position(|byte| !goes_on(*byte));
            let taken = end.unwrap_or(chunk.len());
            self.bytes.extend_from_slice(&chunk[..taken]);
            self.line += memchr::memchr_iter(b'\n', &chunk[..taken]).count() as u64;
            self.reader.consume(taken);
            if end.is_some() || taken == 0 {
                return Ok(());
            }
        }
    }

    /// Takes one byte, if there is one; it is no line feed.
    fn take_one(&mut self) -> io::Result<()> {
        let byte = self.reader.fill_buf()?.first().copied();
        self.bytes.extend(byte);
        self.reader.consume(usize::from(byte.is_some()));
        Ok(())
    }
}

impl Place {
    /// Whether the object goes on behind `byte`.
    fn goes_on(&mut self, byte: u8) -> bool {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.quoted => self.escaped = true,
            // JSON has no line feed in a string: where a quote is missing, no more than the line is lost.
            b'"' | b'\n' if self.quoted => self.quoted = false,
            _ if self.quoted => {}
            b'"' => self.quoted = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth -= 1,
            _ => {}
        }
        self.depth > 0
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    fn check(text: &str, expected: &[(u64, &str)]) {
        for capacity in [1, 2, 7, 4096] {
            let mut elements = Elements::new(BufReader::with_capacity(capacity, text.as_bytes()));
            let mut found = Vec::new();
            while let Some(element) = elements.next().unwrap() {
                found.push((element.line, String::from_utf8_lossy(element.bytes).into_owned()));
            }
            let found: Vec<_> = found.iter().map(|(line, text)| (*line, text.as_str())).collect();
            assert_eq!(found, expected, "{text:?}, {capacity} bytes at a time");
        }
    }

    #[test]
    fn members_of_arrays_and_lines_are_objects() {
        check("[{\"a\":1},\n {\"b\":[{}]}]\n", &[(1, "{\"a\":1}"), (2, "{\"b\":[{}]}")]);
        check("{\"a\":1}\n{\"b\":2}", &[(1, "{\"a\":1}"), (2, "{\"b\":2}")]);
        check("[{}][{}]", &[(1, "{}"), (1, "{}")]);
        check("\u{feff}[]", &[]);
        check("", &[]);
    }

    #[test]
    fn brackets_in_strings_are_text() {
        check(r#"[{"a":"}\"]"},{}]"#, &[(1, r#"{"a":"}\"]"}"#), (1, "{}")]);
    }

    #[test]
    fn what_is_broken_ends_somewhere() {
        check("[{},null,{}]", &[(1, "{}"), (1, "null"), (1, "{}")]);
        check("[{\"a},\n{}]", &[(1, "{\"a},\n{}]")]);
        check("[{\"a}\n},{}]", &[(1, "{\"a}\n}"), (1 + 1, "{}")]);
        check("[{\"a\":", &[(1, "{\"a\":")]);
        check("[{]}]", &[(1, "{]"), (1, "}")]);
    }
}

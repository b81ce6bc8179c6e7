//! What an inventory file looks like: CSV with a header, or one hostname a line; which column is which.

use super::reject::Column;
use super::split::open_quote;

/// The shape of one file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Layout {
    /// What separates the fields.
    pub(super) delimiter: u8,
    /// Where each known column stands, by `Column as usize`.
    pub(super) columns: [Option<usize>; Column::ALL.len()],
    /// How many fields a record has.
    pub(super) width: usize,
    /// The header, without its line end; empty for a list.
    pub(super) header: Vec<u8>,
    /// Where the first record starts.
    pub(super) first_record: usize,
    /// Names of columns that mean nothing to us.
    pub(super) ignored: Vec<String>,
    /// One hostname a line, no header; `#` starts a comment.
    pub(super) list: bool,
}

/// Why a file is no inventory.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what the variant means")]
pub enum LayoutError {
    #[error("is empty: write one hostname a line, or CSV with the column `hostname`")]
    Empty,
    #[error(
        "has no hostname column: its first line is `{0}`. Name one column `hostname` (`domain`, `name`, `fqdn` serve too)"
    )]
    NoHostname(String),
    #[error("names the column `{0}` twice")]
    Twice(String),
    #[error("starts like {0}: an inventory is text in UTF-8. Unpack or convert it first")]
    Binary(&'static str),
    #[error("can't be read: {0}")]
    Unreadable(String),
}

impl Layout {
    /// Looks at the start of a file, which is `whole` or goes on. `None`: that does not tell yet.
    pub(super) fn detect(bytes: &[u8], whole: bool) -> Result<Option<Self>, LayoutError> {
        let magic: [(&[u8], &str); 5] = [
            (b"\x1f\x8b", "a gzip file"),
            (b"\x28\xb5\x2f\xfd", "a zstd file"),
            (b"PK\x03\x04", "a zip file or spreadsheet"),
            (b"\xff\xfe", "UTF-16"),
            (b"\xfe\xff", "UTF-16"),
        ];
        if let Some((_, kind)) = magic.iter().find(|(magic, _)| bytes.starts_with(magic)) {
            return Err(LayoutError::Binary(kind));
        }
        let mut at = if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        // Blank lines may stand before a header; comments too, before a list.
        loop {
            let (line, next) = line_at(bytes, at);
            if next == bytes.len() && !whole {
                return Ok(None);
            }
            if line.is_empty() && next == at {
                return Err(LayoutError::Empty);
            }
            if !line.trim_ascii().is_empty() && !line.starts_with(b"#") {
                // A column's name may be quoted, and then span lines.
                let (mut end, mut next) = (at + line.len(), next);
                let mut open = open_quote(false, line, b",;\t");
                while open && next < bytes.len() {
                    let (more, after) = line_at(bytes, next);
                    open = open_quote(open, more, b",;\t");
                    (end, next) = (next + more.len(), after);
                }
                if next == bytes.len() && !whole {
                    return Ok(None);
                }
                return Self::of_header(&bytes[at..end], at, next).map(Some);
            }
            at = next;
        }
    }

    fn of_header(line: &[u8], at: usize, next: usize) -> Result<Self, LayoutError> {
        let known = |delimiter: u8| {
            let names = header_names(line, delimiter);
            let has_hostname = names.iter().any(|name| Column::of_header(name) == Some(Column::Hostname));
            (has_hostname, delimiter, names)
        };
        // What spreadsheets and databases export; a header that reads with none of them may be a list's first name.
        let header = [b',', b';', b'\t'].map(known).into_iter().find(|(has_hostname, ..)| *has_hostname);
        let Some((_, delimiter, names)) = header else {
            let shown = String::from_utf8_lossy(line.get(..80).unwrap_or(line)).into_owned();
            let is_list = !line.iter().any(|byte| matches!(byte, b',' | b';' | b'\t' | b'"'));
            let known_header = header_names(line, b',').iter().any(|name| Column::of_header(name).is_some());
            return if is_list && !known_header { Ok(Self::list(at)) } else { Err(LayoutError::NoHostname(shown)) };
        };
        let header = line.to_vec();
        let mut layout =
            Self { delimiter, width: names.len(), header, first_record: next, list: false, ..Self::list(at) };
        layout.columns = [None; Column::ALL.len()];
        for (index, name) in names.into_iter().enumerate() {
            match Column::of_header(&name) {
                None => layout.ignored.push(name),
                Some(column) => {
                    if layout.columns[column as usize].replace(index).is_some() {
                        return Err(LayoutError::Twice(name));
                    }
                }
            }
        }
        Ok(layout)
    }

    fn list(first_record: usize) -> Self {
        let mut columns = [None; Column::ALL.len()];
        columns[Column::Hostname as usize] = Some(0);
        Self { delimiter: b'\n', columns, width: 1, header: Vec::new(), first_record, ignored: Vec::new(), list: true }
    }
}

/// The line at `at`, without its end, and where the next one starts.
pub(super) fn line_at(bytes: &[u8], at: usize) -> (&[u8], usize) {
    let rest = &bytes[at..];
    let (line, next) = memchr::memchr(b'\n', rest).map_or((rest, bytes.len()), |end| (&rest[..end], at + end + 1));
    (line.strip_suffix(b"\r").unwrap_or(line), next)
}

/// The names in a header.
fn header_names(header: &[u8], delimiter: u8) -> Vec<String> {
    let record = read_record(header, delimiter);
    record.iter().map(|name| String::from_utf8_lossy(name.trim_ascii()).into_owned()).collect()
}

/// The fields of a single record.
pub(super) fn read_record(record: &[u8], delimiter: u8) -> csv::ByteRecord {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .delimiter(delimiter)
        .terminator(csv::Terminator::Any(b'\n'))
        .from_reader(record);
    let mut fields = csv::ByteRecord::new();
    // Reading from memory can't fail, and records of bytes are never refused.
    let _read = reader.read_byte_record(&mut fields);
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hostname_at(text: &str) -> Option<(usize, u8, bool)> {
        let layout = Layout::detect(text.as_bytes(), true).ok()??;
        Some((layout.columns[0]?, layout.delimiter, layout.list))
    }

    #[test]
    fn headers_and_lists_are_told_apart() {
        assert_eq!(hostname_at("hostname,tenant\n"), Some((0, b',', false)));
        assert_eq!(hostname_at("\u{feff}Tenant;FQDN\n"), Some((1, b';', false)));
        assert_eq!(hostname_at("\"tenant\"\t\"Domain\"\r\n"), Some((1, b'\t', false)));
        assert_eq!(hostname_at("name\n"), Some((0, b',', false)));
        assert_eq!(hostname_at("\"seen, or not\",\"last\r\nseen\",hostname\n"), Some((2, b',', false)));
        assert_eq!(hostname_at("# ours\n\nwww.example.com\n"), Some((0, b'\n', true)));
    }

    #[test]
    fn a_start_that_does_not_tell_is_none() {
        let text = b"\xef\xbb\xbf# ours\n\n\"seen, or\nnot\",hostname\nfirst,a.example\n";
        let header_end = text.len() - b"first,a.example\n".len();
        for len in 0..text.len() {
            assert_eq!(Layout::detect(&text[..len], false).unwrap().is_some(), len > header_end, "{len}");
        }
    }

    fn check_error(bytes: &[u8], error: &str) {
        assert!(Layout::detect(bytes, true).unwrap_err().to_string().contains(error), "{error}");
    }

    #[test]
    fn what_is_no_inventory_is_said() {
        check_error(b"", "is empty");
        check_error(b"\n\n# nothing\n", "is empty");
        check_error(b"host,tenant\na,b\n", "no hostname column");
        check_error(b"tenant\nx\n", "no hostname column");
        check_error(b"hostname,Hostname\n", "twice");
        check_error(b"\x1f\x8b\x08", "gzip");
    }
}

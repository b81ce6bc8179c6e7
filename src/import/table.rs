//! A CSV of issuances: what somebody has written down, or an inventory with certificates held.

use std::io::BufRead;

use csv::ByteRecord;

use super::broken::Reason;
use super::certificate::{BACKDATED, Facts, checked_name};
use super::issuance::{Certainty, NamesKnown, Serial, parse_ari_id};
use crate::name::NameSet;
use crate::psl::SuffixList;
use crate::time::{Span, Timestamp};

/// The columns, by their places in a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Columns {
    delimiter: u8,
    names: usize,
    issued_at: usize,
    serial: Option<usize>,
    certificate: Option<usize>,
    expires_at: Option<usize>,
    issuer: Option<usize>,
}

/// A row of a table.
pub(super) struct Row {
    /// The line it starts in, from 1.
    pub(super) line: u64,
    /// Its issuer, if it names one.
    pub(super) issuer: Option<String>,
    /// What it tells of an issuance; `None` where it tells of none, as an inventory's row of a name without a certificate.
    pub(super) facts: Result<Option<Facts>, Reason>,
}

impl Columns {
    /// Finds a header in the first line of `head` that is neither blank nor a comment: it has a column of hostnames and `issued_at`.
    pub(super) fn detect(head: &[u8]) -> Option<Self> {
        let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
        let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let header = lines.find(|line| !line.is_empty() && !line.starts_with(b"#"))?;
        let header = std::str::from_utf8(header).ok()?.to_ascii_lowercase();
        let delimiter = [b',', b';', b'\t'].into_iter().find(|delimiter| header.as_bytes().contains(delimiter))?;
        let columns: Vec<&str> =
            header.split(char::from(delimiter)).map(|name| name.trim().trim_matches('"')).collect();
        let place = |names: &[&str]| columns.iter().position(|column| names.contains(column));
        Some(Self {
            delimiter,
            names: place(&["hostname", "hostnames", "domain", "domains", "name", "names", "fqdn"])?,
            issued_at: place(&["issued_at"])?,
            serial: place(&["serial"]),
            certificate: place(&["certificate"]),
            expires_at: place(&["expires_at"]),
            issuer: place(&["issuer"]),
        })
    }

    /// Hands each row to `take`.
    pub(super) fn read(&self, reader: impl BufRead, suffixes: &SuffixList, mut take: impl FnMut(Row)) {
        // Every record ends in a line feed, so that the line behind it tells the one it starts in: `Position` has that of the blank lines
        // and comments before it. A carriage return is trimmed with the last field.
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(self.delimiter)
            .terminator(csv::Terminator::Any(b'\n'))
            .comment(Some(b'#'))
            .flexible(true)
            .has_headers(false)
            .from_reader(reader.chain(&b"\n"[..]));
        let (mut record, mut header_passed) = (ByteRecord::new(), false);
        loop {
            match reader.read_byte_record(&mut record) {
                Ok(false) => return,
                // A line that has a carriage return alone is blank as well.
                Ok(true) if record.as_slice().trim_ascii().is_empty() => {}
                Ok(true) if !header_passed => header_passed = true,
                Ok(true) => {
                    let inside = memchr::memchr_iter(b'\n', record.as_slice()).count() as u64;
                    let line = reader.position().line().saturating_sub(1 + inside);
                    take(Row { line, issuer: self.text(&record, self.issuer), facts: self.facts(&record, suffixes) });
                }
                // What is left is a reader that fails, which would fail for ever.
                Err(error) => {
                    let line = reader.position().line();
                    return take(Row { line, issuer: None, facts: Err(Reason::Csv(error.to_string())) });
                }
            }
        }
    }

    /// What stands in a column, if something does.
    fn text(&self, record: &ByteRecord, column: Option<usize>) -> Option<String> {
        let bytes = record.get(column?)?.trim_ascii();
        (!bytes.is_empty()).then(|| String::from_utf8_lossy(bytes).into_owned())
    }

    fn facts(&self, record: &ByteRecord, suffixes: &SuffixList) -> Result<Option<Facts>, Reason> {
        let fields = record.iter().map(std::str::from_utf8);
        if fields.into_iter().any(|field| field.is_err()) {
            return Err(Reason::Csv("is not UTF-8".to_owned()));
        }
        let issued_at = self.text(record, Some(self.issued_at));
        let (serial, certificate) = (self.text(record, self.serial), self.text(record, self.certificate));
        if issued_at.is_none() && serial.is_none() && certificate.is_none() {
            return Ok(None);
        }
        let issued_at = end(&issued_at.ok_or(Reason::Field("issued_at"))?, "issued_at")?;
        let (serial, authority_key) = identity(serial, certificate)?;
        let names = self.text(record, Some(self.names)).unwrap_or_default();
        let identifiers =
            names.split_whitespace().map(|name| checked_name(name, suffixes)).collect::<Result<Vec<_>, _>>()?;
        Ok(Some(Facts {
            names: NameSet::new(identifiers).ok_or(Reason::Field("hostname"))?,
            names_known: NamesKnown::Told,
            issued_at,
            certainty: Certainty::Told,
            not_before: issued_at.minus(BACKDATED),
            not_after: self.text(record, self.expires_at).map(|text| end(&text, "expires_at")).transpose()?,
            serial,
            authority_key,
        }))
    }
}

/// A time; of a day, the last instant, since something of that day may have been issued then.
fn end(text: &str, column: &'static str) -> Result<Timestamp, Reason> {
    let time = Timestamp::parse(text).map_err(|error| Reason::Time(column, error))?;
    let is_day = text.len() == "2026-12-01".len();
    Ok(if is_day { time.plus(Span::from_days(1)).minus(Span::from_nanos(1)) } else { time })
}

/// The serial number that the columns `serial` and `certificate` name; the latter holds an ARI id, or the serial number as well.
fn identity(serial: Option<String>, certificate: Option<String>) -> Result<(Serial, Option<Vec<u8>>), Reason> {
    let ari = certificate.as_deref().and_then(parse_ari_id);
    let told = match &serial {
        Some(text) => Some(Serial::parse(text).ok_or_else(|| Reason::Serial(text.clone()))?),
        None => None,
    };
    match (told, ari) {
        (Some(told), Some((_, serial))) if told != serial => {
            Err(Reason::SerialsDiffer(told.to_string(), serial.to_string()))
        }
        (_, Some((key, serial))) => Ok((serial, Some(key))),
        (Some(told), None) => Ok((told, None)),
        (None, None) => Ok((certificate.as_deref().and_then(Serial::parse).ok_or(Reason::NoSerial)?, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(u64, &str)]) {
        let suffixes = SuffixList::embedded();
        let mut found = Vec::new();
        let columns = Columns::detect(text.as_bytes()).unwrap();
        columns.read(text.as_bytes(), &suffixes, |row| {
            let told = match row.facts {
                Ok(Some(facts)) => {
                    let names: Vec<_> = facts.names.identifiers().iter().map(ToString::to_string).collect();
                    format!("{} {} {}", names.join(","), facts.issued_at, facts.serial)
                }
                Ok(None) => "nothing".to_owned(),
                Err(reason) => reason.to_string(),
            };
            found.push((row.line, told));
        });
        let found: Vec<_> = found.iter().map(|(line, told)| (*line, told.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn rows_are_issuances() {
        check(
            "# ours\nHostname;issued_at;serial\nb.example.com A.example.com;2026-11-01T10:00:00Z;04:D2\n\nx.example.com;2026-11-01;1\n",
            &[
                (3, "a.example.com,b.example.com 2026-11-01T10:00:00Z 04d2"),
                (5, "x.example.com 2026-11-01T23:59:59.999999999Z 01"),
            ],
        );
        check(
            "\r\nhostname,issued_at,serial\r\n\"a.example.com\nb.example.com\",2026-11-01T10:00:00Z,\"1\"\r\n#\r\nx.example.com,soon,2",
            &[
                (3, "a.example.com,b.example.com 2026-11-01T10:00:00Z 01"),
                (
                    6,
                    "issued_at: `soon` is no date: write RFC 3339 such as 2026-12-01T08:00:00Z, or 2026-12-01 for its first instant in UTC",
                ),
            ],
        );
    }

    #[test]
    fn an_inventory_is_a_table_of_issuances() {
        check(
            "hostname,certificate,issued_at,expires_at\na.example.com,aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE,2026-11-01T10:00:00Z,2027-01-30\nb.example.com,,,\n",
            &[(2, "a.example.com 2026-11-01T10:00:00Z 87654321"), (3, "nothing")],
        );
    }

    #[test]
    fn bad_rows_are_told() {
        check(
            "name,issued_at,serial,certificate\n_x.example.com,2026-11-01,1,\nx.example.com,soon,1,\nx.example.com,2026-11-01,,mine\n,2026-11-01,1,\nx.example.com,2026-11-01,xyz,\nx.example.com,2026-11-01,1,AA.Ag\nx.example.com,,1,\n",
            &[
                (2, "has the name `_x.example.com`, which holds an underscore, which the CA refuses in a hostname"),
                (
                    3,
                    "issued_at: `soon` is no date: write RFC 3339 such as 2026-12-01T08:00:00Z, or 2026-12-01 for its first instant in UTC",
                ),
                (
                    4,
                    "has neither a serial number nor, as `certificate`, an ARI id, so that it can't be told from the same certificate elsewhere",
                ),
                (5, "has no `hostname`"),
                (6, "has a serial number of more than 20 bytes, or one that is no hexadecimal number: `xyz`"),
                (7, "`serial` and `certificate` name different serial numbers: 01 and 02"),
                (8, "has no `issued_at`"),
            ],
        );
    }

    #[test]
    fn other_tables_are_none() {
        for text in
            ["hostname\nx.example.com\n", "hostname,tenant\n", "", "#\n", "issued_at,serial\n", "\u{0}\u{ff},issued_at"]
        {
            assert_eq!(Columns::detect(text.as_bytes()), None, "{text}");
        }
    }
}

//! Rows as they stand in a realm's hash: `TAT HELD ASKED` is a cell, `VERSION BODY` a document. A cell's field is its name with
//! a number for the limit, its place among all: `3:https://ca/acct/1`. A document's begins with [`DOCUMENT`], which no cell's does. And lines as they stand in the record: the body, in a field `AT REALM`.

use crate::ledger::{Cell, Document, LedgerError, Record, Version, bucket_name, limit_and_key};
use crate::limits::LimitName;
use crate::permits::Tally;
use crate::time::Timestamp;

/// How the fields of documents begin.
const DOCUMENT: char = '.';
/// The pattern that matches the fields of all cells.
pub(super) const CELLS: &str = "[^.]*";

/// The document's name, if the field is a document's.
pub(super) fn document_of(field: &str) -> Option<&str> {
    field.strip_prefix(DOCUMENT)
}

/// The field of the document of that name.
pub(super) fn document_field(name: &str) -> String {
    let mut field = String::with_capacity(1 + name.len());
    field.push(DOCUMENT);
    field.push_str(name);
    field
}

/// The field of the cell of that name.
pub(super) fn cell_field(name: &str) -> String {
    let Some((limit, key)) = limit_and_key(name) else { return name.to_owned() };
    let mut field = String::with_capacity(2 + key.len());
    let mut number = itoa::Buffer::new();
    field.push_str(number.format(1 + limit.index()));
    field.push(':');
    field.push_str(key);
    field
}

/// The name of the cell with that field.
pub(super) fn cell_name(field: &str) -> String {
    let limit_and_key = || {
        let (number, key) = field.split_once(':')?;
        let place = number.parse::<usize>().ok()?.checked_sub(1)?;
        Some((LimitName::ALL.get(place)?, key))
    };
    limit_and_key().map_or_else(|| field.to_owned(), |(limit, key)| bucket_name(*limit, key))
}

/// A line of the record from what stands there.
pub(super) fn record(id: &str, field: &str, body: String) -> Result<Record, LedgerError> {
    let read = || {
        let (sequence, (at, realm)) = (id.split('-').next()?.parse().ok()?, field.split_once(' ')?);
        Some((sequence, Timestamp::from_unix_micros(at.parse().ok()?), realm.to_owned()))
    };
    match read() {
        Some((sequence, at, realm)) => Ok(Record { sequence, at, realm, body }),
        None => Err(LedgerError::Row { what: format!("record {id}"), reason: format!("it is `{field} {body}`") }),
    }
}

/// The row makes no sense.
pub(super) fn senseless(field: &str, row: &str) -> LedgerError {
    let what =
        document_of(field).map_or_else(|| format!("cell {}", cell_name(field)), |name| format!("document {name}"));
    LedgerError::Row { what, reason: format!("it is `{row}`") }
}

/// A cell from what stands in its row.
pub(super) fn cell(field: &str, row: &str) -> Result<Cell, LedgerError> {
    let read = || {
        let mut parts = row.split(' ');
        let tat = match parts.next()? {
            "-" => None,
            micros => Some(Timestamp::from_unix_micros(micros.parse().ok()?)),
        };
        let held = parts.next()?.parse().ok()?;
        Some(Cell { tally: Tally { tat, held }, asked: parts.next()?.parse().ok()? })
    };
    read().ok_or_else(|| senseless(field, row))
}

/// A document from what stands in its row.
pub(super) fn document(field: &str, row: &str) -> Result<Document, LedgerError> {
    let read = || {
        let (version, body) = row.split_once(' ')?;
        let version = Version::Written(version.parse().ok()?);
        Some(Document { name: document_of(field)?.to_owned(), version, body: body.to_owned() })
    };
    read().ok_or_else(|| senseless(field, row))
}

/// The pattern that matches the fields of documents whose names begin with `prefix`.
pub(super) fn documents_matching(prefix: &str) -> String {
    let mut pattern = String::with_capacity(prefix.len() + 2);
    pattern.push(DOCUMENT);
    for char in prefix.chars() {
        if matches!(char, '*' | '?' | '[' | ']' | '\\' | '^') {
            pattern.push('\\');
        }
        pattern.push(char);
    }
    pattern.push('*');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_s_name_can_be_read_from_its_field() {
        for limit in LimitName::ALL {
            let name = bucket_name(limit, "https://ca/acct/1 a.example");
            assert!(cell_field(&name).len() < 30 && cell_name(&cell_field(&name)) == name, "{name}");
        }
        for field in ["Backoff https://ca/acct/1 a.example", "0:1", "10:1", "x:1", ":", "-1:1"] {
            assert_eq!(cell_name(field), field);
        }
        // What is stored stays what it is.
        let fields = [
            ("NewRegistrationsPerIPAddress", "1:k"),
            ("NewRegistrationsPerIPv6Range", "2:k"),
            ("NewOrdersPerAccount", "3:k"),
            ("CertificatesPerDomain", "4:k"),
            ("CertificatesPerDomainPerAccount", "5:k"),
            ("CertificatesPerFQDNSet", "6:k"),
            ("FailedAuthorizationsPerDomainPerAccount", "7:k"),
            ("FailedAuthorizationsForPausingPerDomainPerAccount", "8:k"),
            ("PendingAuthorizationsPerAccount", "9:k"),
        ];
        for (limit, field) in fields {
            assert_eq!(cell_field(&format!("{limit} k")), field);
        }
        assert_eq!(cell_field("Backoff 1 a.example"), "Backoff 1 a.example");
    }
}

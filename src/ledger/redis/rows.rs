//! Rows as they stand in the hashes: `TAT HELD ASKED` is a cell, `VERSION BODY` a document.

use crate::ledger::{Cell, Document, LedgerError, Version};
use crate::permits::Tally;
use crate::time::Timestamp;

/// A cell from what stands in its row.
pub(super) fn cell(name: &str, row: &str) -> Result<Cell, LedgerError> {
    let read = || {
        let mut parts = row.split(' ');
        let tat = match parts.next()? {
            "-" => None,
            micros => Some(Timestamp::from_unix_micros(micros.parse().ok()?)),
        };
        let held = parts.next()?.parse().ok()?;
        Some(Cell { tally: Tally { tat, held }, asked: parts.next()?.parse().ok()? })
    };
    read().ok_or_else(|| LedgerError::Row { what: format!("cell {name}"), reason: format!("it is `{row}`") })
}

/// A document from what stands in its row.
pub(super) fn document(name: String, row: &str) -> Result<Document, LedgerError> {
    match row.split_once(' ').map(|(version, body)| (version.parse(), body)) {
        Some((Ok(version), body)) => Ok(Document { name, version: Version::Written(version), body: body.to_owned() }),
        _ => Err(LedgerError::Row { what: format!("document {name}"), reason: format!("it is `{row}`") }),
    }
}

/// The pattern that matches names which begin with `prefix`.
pub(super) fn beginning_with(prefix: &str) -> String {
    let mut pattern = String::with_capacity(prefix.len() + 1);
    for char in prefix.chars() {
        if matches!(char, '*' | '?' | '[' | ']' | '\\' | '^') {
            pattern.push('\\');
        }
        pattern.push(char);
    }
    pattern.push('*');
    pattern
}

//! Rows that can't be planned: for people the first ones in full and the rest by reason, as a file all of them as they were.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::style::{FAINT, NAME, paint};
use super::words::{grouped, printable};
use crate::inventory::{Inventory, Reject};

/// How many are told in full.
const SHOWN: usize = 20;

/// What is wrong with which rows.
#[must_use]
pub fn text(inventory: &Inventory) -> String {
    let mut out = String::new();
    // To count a single one would take as much room as to tell it.
    let shown = if inventory.rejects.len() == SHOWN + 1 { SHOWN + 1 } else { SHOWN };
    for reject in inventory.rejects.iter().take(shown) {
        let place = format!("{}:{}", inventory.sources()[reject.source].name, reject.line);
        let (value, hostname) = (printable(&reject.value), printable(&reject.hostname));
        let what = match (value.is_empty(), value == hostname) {
            (true, true) => reject.column.to_string(),
            (true, false) => format!("{} (of {hostname})", reject.column),
            (false, true) => format!("{} `{value}`", reject.column),
            (false, false) => format!("{} `{value}` (of {hostname})", reject.column),
        };
        let _infallible = writeln!(out, "{}: {what}: {}", paint(NAME, &place), reject.reason);
    }
    let rest = &inventory.rejects[inventory.rejects.len().min(shown)..];
    if !rest.is_empty() {
        let mut reasons: BTreeMap<String, (u64, &Reject)> = BTreeMap::new();
        for reject in rest {
            reasons.entry(reject.reason.kind()).or_insert((0, reject)).0 += 1;
        }
        for (count, first) in reasons.values() {
            let place = format!("{}:{}", inventory.sources()[first.source].name, first.line);
            let _infallible = writeln!(
                out,
                "{}",
                paint(FAINT, &format!("and {} more like {place}: {}", grouped(*count), first.reason))
            );
        }
    }
    out
}

/// All rejected records as they were, below the header of their file, so that they can be mended and planned.
#[must_use]
pub fn file(inventory: &Inventory) -> Vec<u8> {
    let mut out = Vec::new();
    let mut header: Option<&[u8]> = None;
    for reject in &inventory.rejects {
        let own = inventory.header(reject.source);
        if header != Some(own) && !own.is_empty() {
            out.extend_from_slice(own);
            out.push(b'\n');
        }
        header = Some(own);
        out.extend_from_slice(reject.record());
        out.push(b'\n');
    }
    out
}

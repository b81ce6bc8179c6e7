//! Parses a CSV file with the `csv` crate and does nothing else, on one thread: what `benches/compare` measures `certpace plan` against.
#![expect(clippy::disallowed_macros, reason = "an example may print")]

use std::error::Error;

use csv::{ByteRecord, Reader};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: parse-csv FILE")?;
    let mut reader = Reader::from_path(path)?;
    let (mut record, mut records) = (ByteRecord::new(), 0_u64);
    while reader.read_byte_record(&mut record)? {
        records += 1;
    }
    println!("{records}");
    Ok(())
}

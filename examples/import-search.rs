//! Imports files and tells what came of it: `/usr/bin/time -v import-search search.json` shows time and memory.
#![expect(clippy::disallowed_macros, reason = "an example may print")]

use std::error::Error;
use std::path::PathBuf;

use certpace::import::{self, Issuers, Options, SearchNames, renewals};
use certpace::limits::Policy;
use certpace::psl::SuffixList;
use certpace::time::Span;

fn main() -> Result<(), Box<dyn Error>> {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let policy = Policy::built_in("letsencrypt")?;
    let suffixes = SuffixList::embedded();
    let options =
        Options { issuers: Issuers::of_policy(&policy), suffixes: &suffixes, search_names: SearchNames::AllOfEach };
    let imported = import::read(&paths, &options)?;
    println!("{:?}", imported.counts);
    println!("{} issuances, {} broken entries", imported.issuances.len(), imported.broken.len());
    let renewals = renewals(&imported.issuances, policy.renewal.same_set_memory, Span::from_days(7));
    println!("{} same-set renewals", renewals.iter().filter(|renewal| **renewal).count());
    Ok(())
}

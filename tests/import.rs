//! Import: certificates made for the purpose in every client's tree, searches of the logs with all that can be wrong in them, and tables.
#![expect(clippy::unwrap_used, reason = "a case that can't be built is a failure")]

#[path = "import/ca.rs"]
mod ca;
#[path = "import/held.rs"]
mod held;
#[path = "import/search.rs"]
mod search;
#[path = "import/properties.rs"]
mod properties;
#[path = "import/trees.rs"]
mod trees;

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use certpace::import::{Import, Imported, Issuance, Issuers, Options, SearchNames};
use certpace::psl::SuffixList;
use certpace::time::{Span, Timestamp};

use ca::{Ca, Made, Wanted};

/// One parse serves all cases.
static SUFFIXES: LazyLock<SuffixList> = LazyLock::new(SuffixList::embedded);
static LETS_ENCRYPT: LazyLock<Ca> = LazyLock::new(|| Ca::new("Let's Encrypt", "E8"));
const ISSUED: Timestamp = Timestamp::from_unix_seconds(1_796_083_200);

/// A certificate for `names`, issued `day` days after [`ISSUED`], with two SCTs, the later of them half a second after.
fn wanted(serial: u8, names: &[&'static str], day: i64) -> Wanted {
    let scts = vec![Span::from_nanos(500_000_000), Span::from_nanos(200_000_000)];
    let issued_at = ISSUED.plus(Span::from_days(day));
    Wanted { names: names.to_vec(), serial: vec![serial], issued_at, days: 90, scts, precertificate: false }
}

fn issue(serial: u8, names: &[&'static str], day: i64) -> Made {
    LETS_ENCRYPT.issue(&wanted(serial, names, day))
}

fn options() -> Options<'static> {
    let issuers = Issuers::Of(vec!["Let's Encrypt".to_owned()]);
    Options { issuers, suffixes: &SUFFIXES, search_names: SearchNames::SomeOfEach }
}

fn import(files: &[(&str, &[u8])]) -> Imported {
    let options = options();
    let mut import = Import::new(&options);
    for (name, bytes) in files {
        import.reader(name, *bytes);
    }
    import.finish()
}

fn write(root: &Path, path: &str, bytes: impl AsRef<[u8]>) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn names(issuance: &Issuance) -> String {
    let names: Vec<_> = issuance.names.identifiers().iter().map(ToString::to_string).collect();
    names.join(" ")
}

/// Serial, names, certainty and time of each, and whether it is held.
fn told(imported: &Imported) -> Vec<String> {
    let one = |issuance: &Issuance| {
        let held = if issuance.held { " held" } else { "" };
        let certainty = format!("{:?}", issuance.certainty);
        format!("{} {}: {certainty} {}{held}", issuance.serial, names(issuance), issuance.issued_at)
    };
    imported.issuances.iter().map(one).collect()
}

fn broken(imported: &Imported) -> Vec<String> {
    imported.broken.iter().map(ToString::to_string).collect()
}

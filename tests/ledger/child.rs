//! A process of its own that writes a ledger: this binary, called so that it runs one test which does that.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use certpace::clock::{SystemClock, Timescale};
use certpace::ledger::{Access, LedgerUrl, Outcome, Version, open};

use super::random::{Random, step_of};

/// Where the process finds the URL of the ledger that it is to write.
const CHILD: &str = "CERTPACE_TEST_LEDGER";

/// Not a test of its own: the writer that tests start and kill.
#[test]
fn child() {
    let Ok(url) = std::env::var(CHILD) else { return };
    let mut out = std::io::stdout().lock();
    let mut store = match open(&url.parse().unwrap(), Access::Init, SystemClock) {
        Ok((store, _)) => store,
        Err(error) => return writeln!(out, "\nfailed: {error}").unwrap(),
    };
    let mut random = Random(u64::from(std::process::id()));
    let mut version = Version::Unknown;
    loop {
        let steps: Vec<_> = (0..=random.below(2)).map(|_| step_of(random.next(), version)).collect();
        let replies = match store.transact(&steps, Timescale::REAL) {
            Ok(replies) => replies,
            Err(error) => return writeln!(out, "\nfailed: {error}").unwrap(),
        };
        for reply in &replies {
            if let Outcome::Moved { documents, .. } = &reply.outcome {
                version = documents[0].version;
            }
        }
        writeln!(out, "\nacknowledged {}", replies.last().unwrap().mark.sequence).unwrap();
        out.flush().unwrap();
    }
}

/// This binary as a writer of the ledger at `url`, by way of `wrapper`.
pub(super) fn writer(binary: &Path, url: &LedgerUrl, wrapper: &[&str]) -> Command {
    let mut words = wrapper.iter().map(std::ffi::OsStr::new).chain([binary.as_os_str()]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words).args(["--exact", "ledger::child::child", "--nocapture", "--test-threads=1"]);
    command.env(CHILD, url.to_string()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// The sequence number that a line of the writer's tells to be done.
pub(super) fn acknowledged(line: &str) -> Option<u64> {
    line.strip_prefix("acknowledged ").and_then(|sequence| sequence.parse().ok())
}

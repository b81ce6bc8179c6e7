//! What happened while the ledger was gone, in a file on this machine: renewals that the CA exempts from its limits may pass without a
//! ledger where their owner wants that, and the ledger learns of them when it is back.
//!
//! The file has a JSON object a line and is synced before anything goes out. It is replayed by whoever opens the ledger next; a line says
//! under which number the ledger has the permit then. A crash in between replays it again: the ledger knows the holder, so that nothing
//! is counted twice unless the permit was over already, and then too much is counted rather than too little.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::events::Refusal;
use super::request::{GateError, Replaces, Request, Told, Verdict};
use super::{Gate, document};
use crate::name::NameSet;
use crate::permits::WINDOW_LEAD;
use crate::time::{Span, Timestamp};

/// How a number begins that this machine has given.
pub const LOCAL: &str = "local-";
/// How long lines are kept of permits that the ledger has.
const KEPT: Span = Span::from_days(7);

/// The file.
#[derive(Debug)]
pub struct Journal {
    file: File,
    lines: Vec<Line>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Line {
    permit: String,
    at: Timestamp,
    #[serde(flatten)]
    what: What,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
enum What {
    /// The order was let pass.
    Passed(Passed),
    /// Something was told of it.
    Told(News),
    /// The ledger has it, as that number.
    Replayed {
        /// The ledger's number.
        number: String,
    },
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Passed {
    account: String,
    names: Vec<String>,
    holder: String,
    tenant: Option<String>,
    profile: Option<String>,
    replaces: String,
    window: (Timestamp, Timestamp),
    lease_end: Timestamp,
}

/// What can be told of a permit without a ledger.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum News {
    /// The certificate has come.
    Issued,
    /// The order is dead.
    Failed {
        /// Names whose validation failed.
        names: Vec<String>,
    },
    /// The CA has refused it.
    Refused {
        /// Its `Retry-After`, in seconds.
        retry_after_seconds: Option<i64>,
        /// What it said.
        detail: Option<String>,
    },
    /// It was never sent.
    Cancelled,
    /// Nobody knows.
    Lost,
}

/// Whether an order may pass without a ledger.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Pass {
    /// It may, as this number, until then.
    Go(String, Timestamp),
    /// Another holder on this machine has it in hand until then.
    InHand(String, Timestamp),
    /// It may not: it is no renewal inside its window.
    No,
}

impl Journal {
    /// Opens the file, or makes it; others wait until it is closed.
    ///
    /// # Errors
    /// Where it can't be read, or holds what is no journal.
    pub fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        file.lock()?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let mut lines = Vec::new();
        let mut whole = 0;
        for (index, line) in text.split_inclusive('\n').enumerate() {
            match serde_json::from_str(line) {
                Ok(read) if line.ends_with('\n') => lines.push(read),
                // The last line was being written when the machine stopped: nothing went out on it.
                _ if !line.ends_with('\n') => break,
                Err(error) => {
                    let told = format!("{}, line {}: {error}", path.display(), index + 1);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, told));
                }
                Ok(_) => unreachable!("a whole line was taken before"),
            }
            whole += line.len() as u64;
        }
        file.set_len(whole)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self { file, lines })
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Lets the order pass if it is a renewal which the CA exempts, by this machine's clock. `number` is new.
    ///
    /// # Errors
    /// Where that can't be made durable: then it may not go out.
    pub fn pass(&mut self, request: &Request, number: &str, now: Timestamp) -> io::Result<Pass> {
        let Some((replaces, window)) =
            request.replaces.as_ref().and_then(|of: &Replaces| Some((of.certificate.clone(), of.window?)))
        else {
            return Ok(Pass::No);
        };
        if now < window.0 || now.plus(WINDOW_LEAD) >= window.1 {
            return Ok(Pass::No);
        }
        let names: Vec<_> = request.names.identifiers().iter().map(ToString::to_string).collect();
        let open = self.lines.iter().find_map(|line| match &line.what {
            What::Passed(passed) if passed.names == names && passed.lease_end > now && !self.is_over(&line.permit) => {
                Some((line.permit.clone(), passed.clone()))
            }
            What::Passed(_) | What::Told(_) | What::Replayed { .. } => None,
        });
        if let Some((permit, passed)) = open {
            let mine = passed.holder == request.holder && passed.account == request.account;
            let (until, holder) = (passed.lease_end, passed.holder);
            return Ok(if mine { Pass::Go(permit, until) } else { Pass::InHand(holder, until) });
        }
        let passed = Passed {
            account: request.account.clone(),
            names,
            holder: request.holder.clone(),
            tenant: request.tenant.clone(),
            profile: request.profile.clone(),
            replaces,
            window,
            lease_end: now.plus(request.lease),
        };
        let (permit, until) = (format!("{LOCAL}{number}"), passed.lease_end);
        self.add(Line { permit: permit.clone(), at: now, what: What::Passed(passed) })?;
        Ok(Pass::Go(permit, until))
    }

    /// Whether something was told of the permit that ended it.
    fn is_over(&self, permit: &str) -> bool {
        self.lines.iter().any(|line| line.permit == permit && !matches!(line.what, What::Passed(_)))
    }

    /// Notes what became of a permit which this machine has given. Whether it has.
    ///
    /// # Errors
    /// Where that can't be made durable.
    pub fn tell(&mut self, permit: &str, news: News, now: Timestamp) -> io::Result<bool> {
        if !self.lines.iter().any(|line| line.permit == permit && matches!(line.what, What::Passed(_))) {
            return Ok(false);
        }
        self.add(Line { permit: permit.to_owned(), at: now, what: What::Told(news) })?;
        Ok(true)
    }

    /// The number under which the ledger has the permit.
    #[must_use]
    pub fn number(&self, permit: &str) -> Option<&str> {
        self.lines.iter().find_map(|line| match &line.what {
            What::Replayed { number } if line.permit == permit => Some(number.as_str()),
            What::Replayed { .. } | What::Passed(_) | What::Told(_) => None,
        })
    }

    fn add(&mut self, line: Line) -> io::Result<()> {
        let mut text = document::text(&line);
        text.push('\n');
        let before = self.file.stream_position()?;
        if let Err(error) = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data()) {
            // On a full disk half of it may have been written: what comes next must not stand behind that.
            self.file.set_len(before)?;
            self.file.seek(SeekFrom::Start(before))?;
            return Err(error);
        }
        self.lines.push(line);
        Ok(())
    }

    /// Tells the ledger all that it does not know yet, and takes away what nobody needs any more. Returns how many permits it learned of.
    ///
    /// # Errors
    /// Those of the ledger; what it has learned it has learned.
    pub fn replay(&mut self, gate: &mut Gate, now: Timestamp) -> Result<usize, ReplayError> {
        let mut learned = 0;
        for index in 0..self.lines.len() {
            let Line { permit, what: What::Passed(passed), .. } = self.lines[index].clone() else { continue };
            if self.number(&permit).is_some() {
                continue;
            }
            let Ok(names) = NameSet::parse(passed.names.iter().map(String::as_str)) else { continue };
            let request = Request {
                tenant: passed.tenant,
                profile: passed.profile,
                replaces: Some(Replaces { certificate: passed.replaces, window: Some(passed.window) }),
                // By its own name, so that it gets the same again if this is interrupted.
                ..Request::of(&passed.account, names, &permit)
            };
            let answer = gate.replay(&request)?;
            let Verdict::Allow { permit: Some(given), .. } = answer.verdict else { continue };
            for line in self.lines.clone() {
                if let (true, What::Told(news)) = (line.permit == permit, &line.what) {
                    tell(gate, &given.permit, news)?;
                }
            }
            self.add(Line { permit, at: now, what: What::Replayed { number: given.permit } })?;
            learned += 1;
        }
        self.forget(now)?;
        Ok(learned)
    }

    /// Takes all away once the ledger knows it and the last of it is old: at once, so that a crash leaves no half of it.
    fn forget(&mut self, now: Timestamp) -> io::Result<()> {
        let is_done = |line: &Line| now.since(line.at) >= KEPT && self.number(&line.permit).is_some();
        if self.lines.iter().all(is_done) {
            self.file.set_len(0)?;
            self.file.seek(SeekFrom::Start(0))?;
            self.lines.clear();
        }
        Ok(())
    }
}

/// Tells the ledger what became of a permit.
///
/// # Errors
/// Those of the gate.
pub fn tell(gate: &mut Gate, permit: &str, news: &News) -> Result<Told, GateError> {
    match news {
        News::Issued => gate.commit(permit),
        News::Failed { names } => gate.fail(permit, names),
        News::Refused { retry_after_seconds, detail } => gate.refused(
            permit,
            &Refusal { retry_after: retry_after_seconds.map(Span::from_seconds), detail: detail.clone() },
        ),
        News::Cancelled => gate.cancel(permit),
        News::Lost => gate.lost(permit),
    }
}

/// Why the ledger did not learn all.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The gate's error.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// The file's error.
    #[error("the journal can't be written: {0}")]
    File(#[from] io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{FixedClock, Timescale};
    use crate::ledger::{MemoryStore, Realm};
    use crate::limits::{Limits, Overrides, Policy};
    use crate::permits::State;
    use crate::psl::SuffixList;

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

    fn renewal(holder: &str) -> Request {
        let names = NameSet::parse(["example.com"]).unwrap();
        let window = Some((NOW.minus(Span::from_hours(1)), NOW.plus(Span::from_hours(1))));
        let replaces = Some(Replaces { certificate: "a.b".to_owned(), window });
        Request { replaces, ..Request::of("1", names, holder) }
    }

    fn gate() -> Gate {
        let limits = Limits { policy: Policy::built_in("letsencrypt").unwrap(), overrides: Overrides::none() };
        let store = Box::new(MemoryStore::new(FixedClock(NOW.plus(Span::from_hours(4)))));
        Gate::new(store, Realm::new("https://ca/dir"), limits, SuffixList::embedded(), Timescale::REAL, [1; 32])
            .unwrap()
    }

    #[test]
    fn a_renewal_passes_and_the_ledger_learns_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = Journal::open(&path).unwrap();
        let Pass::Go(permit, _) = journal.pass(&renewal("a"), "1", NOW).unwrap() else { panic!("it is exempt") };
        assert_eq!(
            journal.pass(&renewal("a"), "2", NOW).unwrap(),
            Pass::Go(permit.clone(), NOW.plus(crate::permits::LEASE))
        );
        assert!(matches!(journal.pass(&renewal("b"), "3", NOW).unwrap(), Pass::InHand(holder, _) if holder == "a"));
        assert!(journal.tell(&permit, News::Issued, NOW).unwrap());
        drop(journal);

        let mut gate = gate();
        let mut journal = Journal::open(&path).unwrap();
        assert_eq!(journal.replay(&mut gate, NOW).unwrap(), 1);
        assert_eq!(journal.replay(&mut gate, NOW).unwrap(), 0);
        let number = journal.number(&permit).unwrap().to_owned();
        assert_eq!(gate.permit(&number).unwrap().life.state, State::Issued);
    }

    #[test]
    fn what_counts_does_not_pass() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(&folder.path().join("journal")).unwrap();
        assert_eq!(journal.pass(&renewal("a"), "1", NOW.plus(Span::from_hours(1))).unwrap(), Pass::No);
        let new = Request { replaces: None, ..renewal("a") };
        assert_eq!(journal.pass(&new, "1", NOW).unwrap(), Pass::No);
        assert!(journal.is_empty());
    }

    #[test]
    fn half_a_line_at_the_end_is_left_out_and_a_bad_one_before_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        Journal::open(&path).unwrap().pass(&renewal("a"), "1", NOW).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{text}{}", &text[..20])).unwrap();
        let mut journal = Journal::open(&path).unwrap();
        assert!(matches!(journal.pass(&renewal("b"), "2", NOW).unwrap(), Pass::InHand(..)));
        drop(journal);
        fs::write(&path, format!("nonsense\n{text}")).unwrap();
        assert!(Journal::open(&path).unwrap_err().to_string().contains("line 1"));
    }
}

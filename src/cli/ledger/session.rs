//! Opening a ledger: which, for which CA, and whether it is the one that was seen last.

#[cfg(feature = "acme")]
pub mod shared;

use std::env;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, anyhow, bail};

use super::super::failure::Hint as _;
use super::super::{Context, Terminal};
use crate::clock::{SystemClock, Timescale};
use crate::digest::sha256;
use crate::gate::Gate;
use crate::gate::journal::Journal;
use crate::ledger::{Access, LedgerError, LedgerUrl, Mark, MemoryStore, Realm, Store, open};

/// Which ledger.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Ledger")]
pub struct LedgerOptions {
    /// sqlite:PATH, redis://HOST/ or postgres://HOST/DATABASE [default: an SQLite file in your state folder]
    #[arg(long, value_name = "URL", env = "CERTPACE_LEDGER", hide_env_values = true)]
    pub ledger: Option<String>,
    /// Refuse an SQLite file that is not there, rather than make it
    #[arg(long)]
    pub must_exist: bool,
    /// The CA's directory URL; each has a ledger of its own [default: the policy's]
    #[arg(long, value_name = "URL")]
    pub directory: Option<String>,
}

/// What a command is going to do with a ledger.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// Look.
    Read,
    /// Change it.
    Write,
}

/// An open ledger with its gate.
pub struct Session {
    /// The gate.
    pub gate: Gate,
    /// Where it is.
    pub url: LedgerUrl,
    seen: Option<Seen>,
}

/// An open ledger without a gate.
struct Opened {
    seen: Option<Seen>,
    /// The highest mark that was seen of it.
    known: Mark,
    store: Box<dyn Store>,
    realm: Realm,
}

impl LedgerOptions {
    /// Where the ledger is.
    ///
    /// # Errors
    /// Where the URL is none, or there is no folder for a default.
    pub fn url(&self) -> anyhow::Result<LedgerUrl> {
        match &self.ledger {
            Some(url) => Ok(url.parse::<LedgerUrl>()?),
            None => Ok(LedgerUrl::Sqlite(state_folder()?.join("ledger.sqlite"))),
        }
    }

    /// The realm of the CA that the options name, else of the policy's.
    ///
    /// # Errors
    /// Where the policy names none either.
    pub fn realm(&self, context: &Context) -> anyhow::Result<Realm> {
        Ok(Realm::new(&context.directory(self.directory.as_deref())?))
    }

    /// The highest mark that this user has seen of it.
    ///
    /// # Errors
    /// Where the URL is none.
    pub fn seen(&self, context: &Context) -> anyhow::Result<Mark> {
        Ok(Seen::open(&self.url()?, context.terminal).map_or_else(Mark::default, |seen| seen.mark))
    }

    /// Opens it, for the realm that `shadow` says.
    ///
    /// # Errors
    /// Where it can't be used; with what to do.
    pub fn open(&self, context: &Context, purpose: Use, shadow: bool) -> anyhow::Result<Session> {
        context.check_token_buckets()?;
        let url = self.url()?;
        if purpose == Use::Write && url.is_shared() && context.timescale != Timescale::REAL {
            bail!("--now can't be used here: where machines share a ledger, its clock decides");
        }
        let Opened { seen, known, store, realm } = self.begin(&url, purpose, context)?;
        let realm = if shadow { realm.shadow() } else { realm };
        let (limits, suffixes) = (context.limits.clone(), context.suffixes().clone());
        let mut gate = Gate::new(store, realm, limits, suffixes, context.timescale, seed()?)?;
        gate.has_seen(known);
        if purpose == Use::Write && !shadow {
            self.replay(&mut gate, context)?;
        }
        Ok(Session { gate, url, seen })
    }

    /// Where the journal of this ledger is kept on this machine.
    fn journal_path(&self, context: &Context) -> anyhow::Result<PathBuf> {
        let of = format!("{} {}", place(&self.url()?)?, self.realm(context)?);
        Ok(state_folder()?.join("journal").join(format!("{}.jsonl", &sha256([of.as_bytes()])[..16])))
    }

    /// What went out while the ledger was gone.
    ///
    /// # Errors
    /// Where it can't be read.
    pub fn journal(&self, context: &Context) -> anyhow::Result<Journal> {
        let path = self.journal_path(context)?;
        Journal::open(&path)
            .with_context(|| format!("can't read the journal {}", path.display()))
            .hint("it says what went out while the ledger was gone; mend the line, or move the file away and `certpace ledger import` what was issued")
    }

    /// Tells the ledger what went out while it was gone.
    fn replay(&self, gate: &mut Gate, context: &Context) -> anyhow::Result<()> {
        if !self.journal_path(context).is_ok_and(|path| path.exists()) {
            return Ok(());
        }
        let learned = self.journal(context)?.replay(gate, context.now)?;
        if learned > 0 {
            context
                .terminal
                .warn(&format!("the ledger is back, and has learned of {learned} renewals that went out without it"));
        }
        Ok(())
    }

    /// Opens it to go on from where it is, whatever was seen of it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_unseen(&self, context: &Context) -> anyhow::Result<Session> {
        let url = self.url()?;
        let seen = Seen::open(&url, context.terminal);
        let (store, _) = open(&url, Access::MustExist, SystemClock)?;
        let (limits, suffixes) = (context.limits.clone(), context.suffixes().clone());
        let gate = Gate::new(store, self.realm(context)?, limits, suffixes, context.timescale, seed()?)?;
        Ok(Session { gate, url, seen })
    }

    fn begin(&self, url: &LedgerUrl, purpose: Use, context: &Context) -> anyhow::Result<Opened> {
        let seen = Seen::open(url, context.terminal);
        let known = seen.as_ref().map_or_else(Mark::default, |seen| seen.mark);
        let store = self.store(url, context.terminal, purpose, known)?;
        Ok(Opened { seen, known, store, realm: self.realm(context)? })
    }

    fn store(&self, url: &LedgerUrl, terminal: Terminal, purpose: Use, seen: Mark) -> anyhow::Result<Box<dyn Store>> {
        // One that was there and is not was lost: that is for a person to say.
        let is_new = seen.sequence == 0 && !self.must_exist;
        let may_make = purpose == Use::Write && is_new;
        let access = if may_make { Access::Create } else { Access::MustExist };
        match open(url, access, SystemClock) {
            Ok((mut store, created)) => {
                if created {
                    terminal.warn(&format!(
                        "made a new ledger, {url}: it takes all buckets to be full. If certificates were issued in the last 7 \
                         days, let `certpace ledger import` tell it which, or `certpace ledger recover` count all buckets as empty"
                    ));
                }
                store.notes().iter().for_each(|note| terminal.detail(&format!("{url}: {note}")));
                Ok(store)
            }
            Err(LedgerError::NotInitialised { .. }) if purpose == Use::Read && !url.is_shared() && is_new => {
                terminal.warn(&format!("there is no ledger {url} yet: all buckets are taken to be full"));
                Ok(Box::new(MemoryStore::new(SystemClock)))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// What to do about a ledger that can't be used.
pub fn advice(error: &LedgerError) -> Option<&'static str> {
    Some(match error {
        LedgerError::NotInitialised { .. } => {
            "if it is new, `certpace ledger init` makes it; if it was lost, `certpace ledger init --lost`, so that nothing is ordered \
             that was ordered already"
        }
        LedgerError::Damaged { .. } => {
            "put a backup in its place and run `certpace ledger recover --since TIME-OF-THE-BACKUP`, or move it away and run \
             `certpace ledger init --lost`"
        }
        LedgerError::WentBack { .. } => {
            "it was restored from a backup or lost its last changes; `certpace ledger recover --since THEN` counts what is missing \
             as spent, and goes on"
        }
        LedgerError::Schema { .. } => "use the certpace that wrote it, or a newer one",
        LedgerError::Unsafe { .. } => "set maxmemory-policy to noeviction",
        LedgerError::Url { .. } | LedgerError::Unreachable { .. } | LedgerError::Row { .. } => return None,
    })
}

/// 32 bytes that nobody else has.
///
/// # Errors
/// Where the system has none.
pub fn seed() -> anyhow::Result<[u8; 32]> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| anyhow!("the system gives no random numbers: {error}"))?;
    Ok(seed)
}

/// Where a user's programs keep their state.
///
/// # Errors
/// Where the environment does not say.
pub fn state_folder() -> anyhow::Result<PathBuf> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|state| state.join("certpace"))
        .ok_or_else(|| anyhow!("neither HOME nor XDG_STATE_HOME says where to keep the ledger"))
        .hint("name one: --ledger sqlite:/var/lib/certpace/ledger.sqlite")
}

/// Who this process is, for others.
#[must_use]
pub fn process_name() -> String {
    format!("{}:{}", gethostname::gethostname().to_string_lossy(), std::process::id())
}

impl Session {
    /// Keeps the mark that was seen, so that the next command notices if the ledger goes back.
    pub fn remember(&mut self) {
        let mark = self.gate.mark();
        if let Some(seen) = &mut self.seen {
            seen.keep(mark);
        }
    }

    /// The ledger goes on from where it is: a higher mark that was seen of it does not count any more.
    pub fn forget_seen(&mut self, mark: Mark) {
        if let Some(seen) = &mut self.seen {
            seen.mark = Mark::default();
            seen.keep(mark);
        }
    }
}

/// What tells a ledger from others on this machine.
fn place(url: &LedgerUrl) -> anyhow::Result<String> {
    Ok(match url {
        LedgerUrl::Sqlite(path) => std::path::absolute(path)?.display().to_string(),
        LedgerUrl::Redis { .. } | LedgerUrl::Postgres { .. } => url.to_string(),
    })
}

/// The highest mark that this user has seen of a ledger, in a file.
struct Seen {
    file: File,
    mark: Mark,
}

impl Seen {
    /// Reads it. Without a place to keep it the ledger is trusted, and that is told.
    fn open(url: &LedgerUrl, terminal: Terminal) -> Option<Self> {
        let open = || -> anyhow::Result<Self> {
            let folder = state_folder()?.join("seen");
            fs::create_dir_all(&folder)?;
            let path = folder.join(format!("{}.json", &sha256([place(url)?.as_bytes()])[..16]));
            let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
            let mut file = file.with_context(|| format!("can't open {}", path.display()))?;
            let mark = read(&mut file)?;
            Ok(Self { file, mark })
        };
        open()
            .map_err(|error| {
                terminal.detail(&format!(
                    "can't keep what was seen of the ledger: {error:#}; nobody will notice if it goes back"
                ));
            })
            .ok()
    }

    /// Keeps the higher of what is in the file and `mark`. Where that fails the next command knows less, and nothing else is lost.
    fn keep(&mut self, mark: Mark) {
        let mut keep = || -> anyhow::Result<()> {
            self.file.lock()?;
            let forced = self.mark == Mark::default();
            let known = if forced { Mark::default() } else { read(&mut self.file)? };
            if mark > known {
                let text = serde_json::to_string(&mark)?;
                self.file.rewind()?;
                self.file.write_all(text.as_bytes())?;
                self.file.set_len(text.len() as u64)?;
            }
            self.file.unlock()?;
            Ok(())
        };
        let _kept = keep();
    }
}

/// What the file says; nothing if it was cut off.
fn read(file: &mut File) -> anyhow::Result<Mark> {
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text).unwrap_or_default())
}

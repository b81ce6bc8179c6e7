//! dns-01 by commands of the user's own, which know how to speak to their DNS.

use std::fmt;
use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures_util::future::join_all;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, Semaphore};

use super::{ChallengeError, HookError, Proof};

/// How much of a command's stderr is told: its last lines.
const STDERR_BYTES_MAX: u64 = 2000;
/// Records share so many locks.
const LOCKS: usize = 64;

/// Commands that set and clear TXT records, run by `sh -c`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DnsHooks {
    /// Sets a record, beside others of the same name.
    pub set: String,
    /// Clears that record and leaves others of the same name.
    pub clear: String,
    /// Whether a command is run once for many records, which stand on its stdin, `record value` a line.
    pub batch: bool,
    /// How long it may take.
    pub timeout: Duration,
    /// How many may run at a time; at least 1.
    pub parallel: usize,
}

/// What a command is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Make the answer be there.
    Set,
    /// Take it away.
    Clear,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Set => "set",
            Self::Clear => "clear",
        })
    }
}

#[derive(Debug)]
pub(super) struct Hooks {
    hooks: DnsHooks,
    places: Semaphore,
    /// No two commands change one record at a time: scripts read what is there and write it back. A record has the lock of its hash.
    records: [Mutex<()>; LOCKS],
}

impl Hooks {
    pub(super) fn new(hooks: DnsHooks) -> Self {
        let places = Semaphore::new(hooks.parallel.max(1));
        Self { hooks, places, records: std::array::from_fn(|_| Mutex::default()) }
    }

    /// One result a proof.
    pub(super) async fn run(
        &self,
        action: Action,
        proofs: impl Iterator<Item = &Proof>,
    ) -> Vec<Result<(), ChallengeError>> {
        let proofs: Vec<_> = proofs.collect();
        if proofs.is_empty() {
            return Vec::new();
        }
        if !self.hooks.batch {
            let one = async |proof: &&Proof| self.call(action, std::slice::from_ref(proof)).await;
            let done = join_all(proofs.iter().map(one)).await;
            let tell = |(proof, done): (&&Proof, Result<(), _>)| done.map_err(|error| failed(action, proof, 0, error));
            return proofs.iter().zip(done).map(tell).collect();
        }
        let done = self.call(action, &proofs).await;
        let more = proofs.len() - 1;
        proofs.iter().map(|proof| done.clone().map_err(|error| failed(action, proof, more, error))).collect()
    }

    async fn call(&self, action: Action, proofs: &[&Proof]) -> Result<(), HookError> {
        // Always taken in the same order, and before a place: nobody waits for each other.
        let mut locks: Vec<_> = proofs.iter().map(|proof| lock_of(&proof.txt_record())).collect();
        locks.sort_unstable();
        locks.dedup();
        let mut held = Vec::new();
        for lock in locks {
            held.push(self.records[lock].lock().await);
        }
        let _place = self.places.acquire().await;
        let (status, complaint) = run(self.command(action, proofs)?, self.hooks.timeout).await?;
        if status.success() { Ok(()) } else { Err(HookError::Failed { status, complaint }) }
    }

    fn command(&self, action: Action, proofs: &[&Proof]) -> Result<Command, HookError> {
        let mut command = Command::new("sh");
        let line = match action {
            Action::Set => &self.hooks.set,
            Action::Clear => &self.hooks.clear,
        };
        command.args(["-c", line]).env("CERTPACE_ACTION", action.to_string());
        if self.hooks.batch {
            let line = |proof: &&Proof| format!("{} {}\n", proof.txt_record(), proof.txt_value());
            let lines: String = proofs.iter().map(line).collect();
            command.stdin(file_of(&lines).map_err(start)?);
            return Ok(command);
        }
        for proof in proofs {
            command.env("CERTPACE_IDENTIFIER", proof.ordered()).env("CERTPACE_DOMAIN", proof.identifier.to_string());
            command.env("CERTPACE_RECORD", proof.txt_record()).env("CERTPACE_VALUE", proof.txt_value());
            command.env("CERTPACE_TOKEN", &proof.token);
        }
        command.stdin(Stdio::null());
        Ok(command)
    }
}

/// Runs a command to its end, or ends it. Its input and output are files, not pipes: what it leaves running in the background keeps nobody waiting.
async fn run(mut command: Command, timeout: Duration) -> Result<(ExitStatus, String), HookError> {
    let mut complaint = tempfile::tempfile().map_err(start)?;
    // In a group of its own, which ends with it if it takes too long.
    command.process_group(0).stdout(Stdio::null()).stderr(complaint.try_clone().map_err(start)?);
    let mut child = command.spawn().map_err(start)?;
    let mut group = Group::of(&child);
    let ended = tokio::time::timeout(timeout, child.wait()).await;
    let status = ended.map_err(|_elapsed| HookError::Slow(timeout))?.map_err(start)?;
    group.0 = None;
    Ok((status, last_lines(&mut complaint).unwrap_or_default()))
}

fn start(error: io::Error) -> HookError {
    HookError::Start(error.to_string())
}

fn file_of(text: &str) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(file)
}

fn last_lines(file: &mut File) -> io::Result<String> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(STDERR_BYTES_MAX)))?;
    let mut bytes = Vec::new();
    file.take(STDERR_BYTES_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let whole =
        if length > STDERR_BYTES_MAX { text.split_once('\n').map_or(&*text, |(_part, rest)| rest) } else { &text };
    Ok(whole.trim_end().to_owned())
}

/// A group of processes that is killed when this is dropped, also where whoever waits for it has given up.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _gone_already = kill_process_group(group, Signal::KILL);
        }
    }
}

fn lock_of(record: &str) -> usize {
    let mut hasher = DefaultHasher::new();
    record.hash(&mut hasher);
    usize::from(hasher.finish().to_le_bytes()[0]) % LOCKS
}

fn failed(action: Action, proof: &Proof, more: usize, error: HookError) -> ChallengeError {
    let name = proof.ordered();
    let name = if more == 0 { name } else { format!("{name} and {more} more") };
    ChallengeError::Hook { name, action, error }
}

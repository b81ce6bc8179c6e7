//! Listens to what a command prints, and hands all of it on: a client that is refused prints what the CA said, and nothing else tells the
//! ledger. On a terminal it does not, since a command that asks its user something has to see the terminal itself.

use std::fs::File;
use std::io::{self, IsTerminal as _, PipeReader, Read as _, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::clock::{self, Stopwatch};
use crate::gate::PAUSED;
use crate::rules::Refusal;
use crate::time::{Span, Timestamp};

/// How much of the end of the output is kept.
const KEPT: usize = 1 << 16;
/// How long the last words of a command that has ended may take to come.
const LAST_WORDS: Span = Span::from_seconds(1);
const MOMENT: Span = Span::from_nanos(10_000_000);

/// What a command prints to, instead of to our stdout and stderr.
pub(super) struct Pipes(Vec<(PipeReader, Box<dyn Write + Send>)>);

/// What listens to a command.
pub(super) struct Heard(Vec<Listener>);

struct Listener {
    kept: Arc<Mutex<Vec<u8>>>,
    thread: JoinHandle<()>,
}

/// What the CA said when it refused an order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Said {
    /// Its words.
    pub(super) detail: String,
    /// Until when; `None`: until a person unpauses the names.
    pub(super) retry_at: Option<Timestamp>,
}

/// Has the command print to us, unless that is a terminal.
///
/// # Errors
/// Where the system has no pipe left.
pub(super) fn prepare(command: &mut Command) -> io::Result<Option<Pipes>> {
    if io::stdout().is_terminal() || io::stderr().is_terminal() {
        return Ok(None);
    }
    let (out, to_out) = io::pipe()?;
    let mut pipes: Vec<(PipeReader, Box<dyn Write + Send>)> = vec![(out, Box::new(io::stdout()))];
    if are_one_file() {
        // Through one pipe, so that all stays in the order in which it was printed.
        command.stderr(to_out.try_clone()?);
    } else {
        let (err, to_err) = io::pipe()?;
        pipes.push((err, Box::new(io::stderr())));
        command.stderr(to_err);
    }
    command.stdout(to_out);
    Ok(Some(Pipes(pipes)))
}

/// Whether stdout and stderr are the same, as after `2>&1`.
fn are_one_file() -> bool {
    fn place(of: &impl AsFd) -> Option<(u64, u64)> {
        let file = File::from(of.as_fd().try_clone_to_owned().ok()?).metadata().ok()?;
        Some((file.dev(), file.ino()))
    }
    place(&io::stdout()).is_some_and(|out| place(&io::stderr()) == Some(out))
}

impl Pipes {
    /// Begins to listen. Whoever has given the pipes to the command keeps none of their ends, or the listening never ends.
    pub(super) fn listen(self) -> Heard {
        let listener = |(from, to)| {
            let kept = Arc::new(Mutex::new(Vec::new()));
            let ours = Arc::clone(&kept);
            Listener { kept, thread: thread::spawn(move || hand_on(from, to, &ours)) }
        };
        Heard(self.0.into_iter().map(listener).collect())
    }
}

/// Hands on all that comes, and keeps the end of it.
fn hand_on(mut from: PipeReader, mut to: impl Write, kept: &Mutex<Vec<u8>>) {
    let mut part = [0; 8_192];
    loop {
        let count = match from.read(&mut part) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        // Whoever reads us may have gone; the command goes on.
        let _gone = to.write_all(&part[..count]).and_then(|()| to.flush());
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(&part[..count]);
        if kept.len() > 2 * KEPT {
            let older = kept.len() - KEPT;
            kept.drain(..older);
        }
    }
}

impl Heard {
    /// What the CA said when it refused, if the command has printed that by now.
    pub(super) fn refusal(&self) -> Option<Said> {
        self.0.iter().find_map(|listener| {
            let kept = listener.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
            said(&String::from_utf8_lossy(&kept))
        })
    }

    /// The same of a command that has ended, when all of it has come. What it has left running may hold its output for as long as it
    /// likes; nobody waits for that here.
    pub(super) fn last_refusal(&self) -> Option<Said> {
        let ended = Stopwatch::start();
        while ended.elapsed() < LAST_WORDS && !self.0.iter().all(|listener| listener.thread.is_finished()) {
            clock::sleep(MOMENT);
        }
        self.refusal()
    }

    /// Hands on what comes until nobody prints any more.
    pub(super) fn finish(self) {
        for listener in self.0 {
            // It has nothing to tell, and does not panic.
            let _ended = listener.thread.join();
        }
    }
}

/// The CA's last words in that text.
fn said(text: &str) -> Option<Said> {
    // Clients wrap long lines, and print JSON as it is, within strings within strings.
    let text = text.replace('\\', "").split_whitespace().collect::<Vec<_>>().join(" ");
    let sentence = text.rmatch_indices("too many ").find_map(|(start, _)| Refusal::parse(&text[start..]));
    if let Some(sentence) = sentence {
        return Some(Said { detail: sentence.to_string(), retry_at: Some(sentence.retry_at) });
    }
    let start = text.rfind(PAUSED)?;
    Some(Said { detail: text[start..].chars().take(1_000).collect(), retry_at: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The limit's words, up to the time.
    fn check(text: &str, expected: Option<&str>) {
        let said = said(text).map(|said| said.detail.split(", retry after").next().unwrap_or_default().to_owned());
        assert_eq!(said.as_deref(), expected);
    }

    #[test]
    fn what_says_nothing_of_a_limit_is_no_refusal() {
        check("", None);
        check("Certificate not yet due for renewal", None);
        check("too many open files (24)", None);
        check("too many new orders (300) from this account in the last 3h0m0s", None);
    }

    #[test]
    fn certbot_is_understood_wrapped_or_not() {
        let expected =
            "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s";
        check(
            "An unexpected error occurred:\nError creating new order :: too many certificates (5) already issued for this\nexact set of \
             identifiers in the last 168h0m0s, retry after 2026-12-03 10:11:12\nUTC: see https://letsencrypt.org/docs/rate-limits/",
            Some(expected),
        );
        check(
            "Saving debug log to /var/log/letsencrypt/letsencrypt.log\nAn unexpected error occurred:\ntoo many certificates (1) already \
             issued for \"example.com\" in the last 3h0m0s, retry after 2026-11-23 07:14:33 UTC: see https://letsencrypt.org/docs/",
            Some("too many certificates (1) already issued for \"example.com\" in the last 3h0m0s"),
        );
    }

    #[test]
    fn lego_is_understood() {
        check(
            "2026/11/23 04:13:36 [WARN] retry: acme: error: 429 :: urn:ietf:params:acme:error:rateLimited :: too many certificates (1) \
             already issued for \"example.com\" in the last 3h0m0s, retry after 2026-11-23 07:16:38 UTC: see https://letsencrypt.org/docs/",
            Some("too many certificates (1) already issued for \"example.com\" in the last 3h0m0s"),
        );
    }

    #[test]
    fn json_is_understood_within_strings_as_well() {
        let expected = Some("too many certificates (1) already issued for \"example.net\" in the last 3h0m0s");
        check(
            r#"Error creating new order. Le_OrderFinalize not found. {"detail":"too many certificates (1) already issued for \"example.net\" in the last 3h0m0s, retry after 2026-11-23 07:20:13 UTC: see https://letsencrypt.org/docs/","status":429}"#,
            expected,
        );
        check(
            r#"{"error":"429: {\"detail\": \"too many certificates (1) already issued for \\\"example.net\\\" in the last 3h0m0s, retry after 2026-11-23 07:20:13 UTC: see x\"}"}"#,
            expected,
        );
    }

    #[test]
    fn the_last_refusal_counts_whatever_else_there_were_too_many_of() {
        check(
            "too many open files (24)\ntoo many new orders (300) from this account in the last 3h0m0s, retry after 2026-12-01 08:00:00 UTC: see x\n\
             too many new orders (20) from this account in the last 3h0m0s, retry after 2026-12-01 08:00:00 UTC: see x\ntoo many words",
            Some("too many new orders (20) from this account in the last 3h0m0s"),
        );
    }

    #[test]
    fn paused_names_are_understood() {
        check(
            "Your account is temporarily prevented from requesting certificates for a.example.com and possibly others.",
            Some("temporarily prevented from requesting certificates for a.example.com and possibly others."),
        );
    }
}

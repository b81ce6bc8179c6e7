//! Listens to what a command prints, and hands all of it on: a client that is refused prints what the CA said, and nothing else tells the
//! ledger. On a terminal it does not, since a command that asks its user something has to see the terminal itself.

use std::io::{self, IsTerminal as _, Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};

use crate::gate::PAUSED;
use crate::rules::Refusal;

/// How much of the end of the output is kept.
const KEPT: usize = 1 << 16;

/// What listens to the command's stdout and stderr.
pub(super) struct Heard([JoinHandle<Vec<u8>>; 2]);

/// Has the command print to us, unless that is a terminal. Whether it does.
pub(super) fn prepare(command: &mut Command) -> bool {
    let listens = !io::stdout().is_terminal() && !io::stderr().is_terminal();
    if listens {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
    }
    listens
}

/// Begins to listen.
pub(super) fn start(child: &mut Child) -> Heard {
    let (out, err) = (child.stdout.take(), child.stderr.take());
    Heard([thread::spawn(move || hand_on(out, io::stdout())), thread::spawn(move || hand_on(err, io::stderr()))])
}

/// Hands on all that comes, and returns the end of it.
fn hand_on(from: Option<impl Read>, mut to: impl Write) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut from) = from else { return kept };
    let mut part = [0; 8_192];
    loop {
        let count = match from.read(&mut part) {
            Ok(0) => return kept,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return kept,
        };
        // Whoever reads us may have gone; the command goes on.
        let _gone = to.write_all(&part[..count]).and_then(|()| to.flush());
        kept.extend_from_slice(&part[..count]);
        if kept.len() > 2 * KEPT {
            kept.drain(..kept.len() - KEPT);
        }
    }
}

/// What the CA said when it refused, if the command has printed that.
pub(super) fn refusal(heard: Heard) -> Option<String> {
    let texts = heard.0.map(|listener| listener.join().unwrap_or_default());
    texts.iter().find_map(|text| said(&String::from_utf8_lossy(text)))
}

fn said(text: &str) -> Option<String> {
    // Clients wrap long lines.
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some(refusal) = Refusal::parse(&text) {
        return Some(refusal.to_string());
    }
    let start = text.find(PAUSED)?;
    Some(text[start..].chars().take(1_000).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        let start = said(text).map(|said| said.split(':').next().unwrap_or_default().to_owned());
        assert_eq!(start.as_deref(), expected);
    }

    #[test]
    fn what_clients_print_is_understood() {
        check("Certificate not yet due for renewal", None);
        check(
            "An unexpected error occurred:\nError creating new order :: too many certificates (5) already issued for this\nexact set of \
             identifiers in the last 168h0m0s, retry after 2026-12-03 10:11:12\nUTC: see https://letsencrypt.org/docs/rate-limits/",
            Some(
                "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s, retry after 2026-12-03 10",
            ),
        );
        check(
            "Your account is temporarily prevented from requesting certificates for a.example.com and possibly others.",
            Some("temporarily prevented from requesting certificates for a.example.com and possibly others."),
        );
    }
}

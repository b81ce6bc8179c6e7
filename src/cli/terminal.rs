//! Writing: answers to stdout, all else to stderr, colours where they are wanted.
//!
//! A reader that goes away (`certpace limits | head -1`) is no error: what was asked for has been read.

use std::io::{self, ErrorKind, Write};

use anstream::{AutoStream, ColorChoice};
use anyhow::Context as _;

use super::GlobalArgs;
use super::failure::hints;
use crate::report::style::{BAD, FAINT, GOOD, WARN, paint};

/// How to answer, as every command can.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

/// How to answer, as asked for: `certpace test` has formats of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum AskedFormat {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
    /// For CI servers: JUnit XML
    #[value(hide = true)]
    Junit,
    /// For GitHub Actions: workflow commands
    #[value(hide = true)]
    Github,
}

/// How much to say on stderr.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verbosity {
    /// Errors.
    Quiet,
    /// Warnings and progress too.
    Normal,
    /// What is read as well.
    Verbose,
}

/// Where answers, warnings and errors go.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    color: ColorChoice,
    verbosity: Verbosity,
}

impl Terminal {
    /// As the options say.
    #[must_use]
    pub fn new(global: &GlobalArgs) -> Self {
        let color = match global.color {
            clap::ColorChoice::Auto => ColorChoice::Auto,
            clap::ColorChoice::Always => ColorChoice::Always,
            clap::ColorChoice::Never => ColorChoice::Never,
        };
        let verbosity = match (global.quiet, global.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, true) => Verbosity::Verbose,
            (false, false) => Verbosity::Normal,
        };
        Self { color, verbosity }
    }

    /// How much to say on stderr.
    #[must_use]
    pub const fn verbosity(self) -> Verbosity {
        self.verbosity
    }

    /// Writes the answer to stdout. Escapes for colours are taken out where they are not wanted.
    ///
    /// # Errors
    /// Where stdout can't be written, unless its reader has gone away.
    pub fn answer(self, text: &str) -> anyhow::Result<()> {
        let mut out = AutoStream::new(io::stdout().lock(), self.color);
        unless_gone(out.write_all(text.as_bytes()).and_then(|()| out.flush())).context("can't write to stdout")
    }

    /// Writes bytes to stdout as they are: for what is no text for people.
    ///
    /// # Errors
    /// Where stdout can't be written, unless its reader has gone away.
    pub fn answer_raw(self, bytes: &[u8]) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        unless_gone(out.write_all(bytes).and_then(|()| out.flush())).context("can't write to stdout")
    }

    /// Tells how it goes, unless quiet.
    pub fn progress(self, text: &str) {
        if self.verbosity >= Verbosity::Normal {
            self.tell(&format!("{text}\n"));
        }
    }

    /// Tells what the reader should look at, unless quiet.
    pub fn warn(self, text: &str) {
        if self.verbosity >= Verbosity::Normal {
            self.tell(&format!("{} {text}\n", paint(WARN, "warning:")));
        }
    }

    /// Tells what to do next, unless quiet.
    pub fn hint(self, text: &str) {
        if self.verbosity >= Verbosity::Normal {
            self.tell(&format!("{} {text}\n", paint(GOOD, "hint:")));
        }
    }

    /// Tells what is read, if verbose.
    pub fn detail(self, text: &str) {
        if self.verbosity >= Verbosity::Verbose {
            self.tell(&format!("{}\n", paint(FAINT, text)));
        }
    }

    /// Tells why the command fails: the error, its causes, and what to do.
    pub fn error(self, error: &anyhow::Error) {
        let mut text = format!("{} {error}\n", paint(BAD, "error:"));
        for cause in error.chain().skip(1) {
            // A cause of several lines, such as TOML's, points at a place: it keeps its shape.
            let cause = cause.to_string().replace('\n', "\n    ");
            text.push_str(&format!("  {} {}\n", paint(FAINT, "cause:"), cause.trim_end()));
        }
        for hint in hints(error) {
            text.push_str(&format!("{} {hint}\n", paint(GOOD, "hint:")));
        }
        self.tell(&text);
    }

    /// Writes to stderr. Where that fails there is nobody left to tell.
    fn tell(self, text: &str) {
        let mut out = AutoStream::new(io::stderr().lock(), self.color);
        let _nobody_listens = out.write_all(text.as_bytes());
    }
}

fn unless_gone(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

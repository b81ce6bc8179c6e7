//! Whether a seed gives the same steps twice: the first run's trace waits in a file, the second is held against it byte for byte.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Seek as _, Write as _};

use anyhow::Context as _;

use crate::report::test::Difference;
use crate::report::trace;
use crate::sim::{self, Seed, Setup};

/// What a run leaves: its steps in a file that nobody else sees, and what it measured.
#[derive(Debug)]
pub(super) struct Trace {
    steps: File,
    measures: String,
}

/// Runs a seed and keeps its trace.
///
/// # Errors
/// Where there is no room for it.
pub(super) fn trace(setup: &Setup, seed: Seed) -> anyhow::Result<Trace> {
    let fail = || "can't keep a trace in the folder for temporary files";
    let mut file = BufWriter::with_capacity(1 << 20, tempfile::tempfile().with_context(fail)?);
    let (mut line, mut failed) = (Vec::new(), Ok(()));
    let measures = sim::run_traced(setup, seed, &mut |entry| {
        line.clear();
        trace::push_line(&mut line, setup, entry);
        if failed.is_ok() {
            failed = file.write_all(&line);
        }
    });
    failed.with_context(fail)?;
    let mut steps = file.into_inner().map_err(io::IntoInnerError::into_error).with_context(fail)?;
    steps.rewind().with_context(fail)?;
    Ok(Trace { steps, measures: format!("{measures:?}") })
}

/// Runs a seed again and says where it first differs.
///
/// # Errors
/// Where the trace can't be read.
pub(super) fn compare(setup: &Setup, seed: Seed, before: Trace) -> anyhow::Result<Option<Difference>> {
    let mut compared = Compared::new(seed, BufReader::with_capacity(1 << 20, before.steps));
    let mut line = Vec::new();
    let measures = sim::run_traced(setup, seed, &mut |entry| {
        line.clear();
        trace::push_line(&mut line, setup, entry);
        compared.next(&line);
    });
    compared.finish(&before.measures, &format!("{measures:?}")).context("can't read a trace again")
}

/// Two traces, of which one lies there and the other comes line by line.
struct Compared<R> {
    seed: Seed,
    before: R,
    line: u64,
    known: Vec<u8>,
    failed: io::Result<()>,
    difference: Option<Difference>,
}

impl<R: BufRead> Compared<R> {
    fn new(seed: Seed, before: R) -> Self {
        Self { seed, before, line: 0, known: Vec::new(), failed: Ok(()), difference: None }
    }

    /// The next line of the other.
    fn next(&mut self, line: &[u8]) {
        if self.difference.is_some() || self.failed.is_err() {
            return;
        }
        self.line += 1;
        self.known.clear();
        if let Err(error) = self.before.read_until(b'\n', &mut self.known) {
            self.failed = Err(error);
        } else if self.known != line {
            self.differ(&String::from_utf8_lossy(&self.known.clone()), &String::from_utf8_lossy(line));
        }
    }

    /// Nothing more comes: the one that lies there must be at its end, and what was measured the same.
    fn finish(mut self, first: &str, second: &str) -> io::Result<Option<Difference>> {
        self.next(b"");
        self.failed?;
        if self.difference.is_none() && first != second {
            self.failed = Ok(());
            self.difference = Some(difference(self.seed, self.line, first, second));
        }
        Ok(self.difference)
    }

    fn differ(&mut self, first: &str, second: &str) {
        self.difference = Some(difference(self.seed, self.line, first, second));
    }
}

fn difference(seed: Seed, line: u64, first: &str, second: &str) -> Difference {
    let text = |line: &str| line.trim_end().to_owned();
    Difference { seed, line, first: text(first), second: text(second) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(before: &str, after: &[&str], expected: Option<(u64, &str, &str)>) {
        let mut compared = Compared::new(Seed(1), before.as_bytes());
        after.iter().for_each(|line| compared.next(line.as_bytes()));
        let found = compared.finish("same", "same").unwrap();
        let found = found.as_ref().map(|found| (found.line, &*found.first, &*found.second));
        assert_eq!(found, expected);
    }

    #[test]
    fn the_first_difference_is_told() {
        check("a\nb\n", &["a\n", "b\n"], None);
        check("", &[], None);
        check("a\nb\nc\n", &["a\n", "x\n", "y\n"], Some((2, "b", "x")));
        check("a\nb\n", &["a\n"], Some((2, "b", "")));
        check("a\n", &["a\n", "b\n"], Some((2, "", "b")));
    }

    #[test]
    fn measures_count_too() {
        let compared = Compared::new(Seed(1), &b""[..]);
        assert!(compared.finish("1", "2").unwrap().is_some());
    }
}

//! Runs the commands of `tests/cmd/*.toml` and compares every byte; `TRYCMD=overwrite` writes what they print now.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io;
use std::process::{Command, Stdio};

#[test]
fn commands() {
    trycmd::TestCases::new().case("tests/cmd/*.toml");
}

/// `certpace` with `arguments`, writing to `stdout`: its exit code and what it says on stderr.
fn run(arguments: &[&str], stdout: impl Into<Stdio>) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_certpace"));
    let output = command.args(arguments).stdout(stdout).stderr(Stdio::piped()).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    for arguments in [&["limits"][..], &["limits", "--format", "json"], &["completions", "bash"], &["man"], &["--help"]]
    {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        assert_eq!(run(arguments, writer), (Some(0), String::new()), "{arguments:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_an_error() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (code, message) = run(&["limits"], full);
    assert_eq!(code, Some(1));
    assert!(message.starts_with("error: can't write to stdout\n"), "{message}");
}

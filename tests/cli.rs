//! Runs the commands of `tests/cmd/*.toml` and compares every byte; `TRYCMD=overwrite` writes what they print now.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn commands() {
    let state = tempfile::tempdir().unwrap();
    let state = state.path().display().to_string();
    trycmd::TestCases::new().env("XDG_STATE_HOME", &state).case("tests/cmd/*.toml").case("tests/cmd/*.trycmd");
}

/// A ledger in which somebody has given tokens back by hand.
#[test]
fn a_ledger_that_was_changed_by_hand() {
    let state = tempfile::tempdir().unwrap();
    let mut issue = Command::new(env!("CARGO_BIN_EXE_certpace"));
    issue.args(["gate", "run", "-q", "--now", "2026-12-01", "--names", "a.example.com,b.example.com", "--", "true"]);
    assert!(issue.env("XDG_STATE_HOME", state.path()).env_remove("CERTPACE_LEDGER").status().unwrap().success());
    let file = rusqlite::Connection::open(state.path().join("certpace/ledger.sqlite")).unwrap();
    let given_back = "UPDATE cells SET tat = NULL WHERE key LIKE '% CertificatesPerDomain'";
    assert_eq!(file.execute(given_back, []).unwrap(), 1);
    drop(file);
    let state = state.path().display().to_string();
    trycmd::TestCases::new().env("XDG_STATE_HOME", state).case("tests/cmd/by-hand/*.trycmd");
}

/// The README's commands run in a folder where the repository's files are at hand, so that what they write does not land among them.
#[test]
#[cfg(unix)]
fn readme() {
    let folder = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let link = |file: &str, at: &str| std::os::unix::fs::symlink(root.join(file), folder.path().join(at)).unwrap();
    // The commands of `README.md` run in `README.in` beside it.
    fs::create_dir(folder.path().join("README.in")).unwrap();
    link("README.md", "README.md");
    link("data", "README.in/data");
    link("docs", "README.in/docs");
    link("scenarios", "README.in/scenarios");
    let state = folder.path().join("state").display().to_string();
    trycmd::TestCases::new().env("XDG_STATE_HOME", state).case(folder.path().join("README.md"));
}

/// The block of the README that begins with that line.
fn block_of_readme(first: &str) -> String {
    let readme = fs::read_to_string("README.md").unwrap();
    let start = readme.find(first).unwrap();
    readme[start..].split("```").next().unwrap().to_owned()
}

/// The README's CI job, by two replicas at once, again and again: one certificate each time, and none beyond the limit.
#[test]
#[cfg(unix)]
fn the_readmes_replicas_issue_once_and_stop_at_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("ci.sh"), block_of_readme("# ci.sh NAME")).unwrap();
    fs::write(folder.join("replicas.sh"), block_of_readme("# replicas.sh")).unwrap();
    fs::write(folder.join("issue.sh"), "#!/bin/sh\nsleep 0.5\necho \"$@\" >> issued\n").unwrap();
    fs::set_permissions(folder.join("issue.sh"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_certpace")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let mut told = Vec::new();
    for _ in 0..6 {
        let mut command = Command::new("bash");
        command.current_dir(folder).arg("replicas.sh").env("PATH", &path).env("XDG_STATE_HOME", folder.join("state"));
        let output = command.env_remove("CERTPACE_LEDGER").output().unwrap();
        told.push(String::from_utf8(output.stdout).unwrap());
    }
    let count = |what: &str| told.iter().map(|told| told.matches(what).count()).collect::<Vec<_>>();
    assert_eq!(count("issued"), [1, 1, 1, 1, 1, 0], "{told:?}");
    assert_eq!(count("in hand"), [1, 1, 1, 1, 1, 0], "{told:?}");
    assert_eq!(count("CertificatesPerFQDNSet"), [0, 0, 0, 0, 0, 2], "{told:?}");
    assert_eq!(fs::read_to_string(folder.join("issued")).unwrap().lines().count(), 5);
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
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (code, message) = run(&["limits"], full);
    assert_eq!(code, Some(1));
    assert!(message.starts_with("error: can't write to stdout\n"), "{message}");
}

/// `certpace plan` of `inventory` in `folder`, on a day on which nothing is late.
fn plan(folder: &Path, inventory: &str, more: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_certpace"));
    command.current_dir(folder).args(["plan", inventory, "--now", "2026-12-01"]).args(more).stdout(Stdio::null());
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn names(folder: &Path, plan: &str) -> Vec<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_certpace"));
    let output = command.current_dir(folder).args(["show", plan, "--csv"]).output().unwrap();
    let mut reader = csv::Reader::from_reader(&*output.stdout);
    let mut names: Vec<String> = reader.records().map(|row| row.unwrap()[2].to_owned()).collect();
    names.sort();
    names
}

#[test]
fn rejects_are_exactly_the_others_and_can_be_mended() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let inventory = fs::read_to_string("tests/cmd/files/bad/mixed.csv").unwrap();
    fs::write(folder.join("mixed.csv"), &inventory).unwrap();
    let skip = ["--skip-invalid", "--rejects", "rejects.csv", "-o", "good.jsonl"];
    assert_eq!(plan(folder, "mixed.csv", &skip).0, Some(0));
    assert_eq!(names(folder, "good.jsonl"), ["api.example.com", "example.com", "www.example.com"]);
    // The header, and the bad records as they were, one of which is two lines.
    let lines: Vec<&str> = inventory.split_inclusive('\n').collect();
    let bad = [0, 2, 4, 5, 6, 7, 9, 10].map(|line| lines[line]).concat();
    assert_eq!(fs::read_to_string(folder.join("rejects.csv")).unwrap(), bad);

    assert_eq!(plan(folder, "rejects.csv", &[]).0, Some(1));
    let mended = bad
        .replace("*.*.", "*.")
        .replace("_", "")
        .replace("soon", "2027-01-01")
        .replace("2027-01-02,\"last one\"", "2027-01-01,")
        .replace("bücher.", "bücher.shop.");
    fs::write(folder.join("rejects.csv"), mended).unwrap();
    assert_eq!(plan(folder, "rejects.csv", &["-o", "mended.jsonl"]).0, Some(0));
    let mended = [
        "*.example.com",
        "dup.example.com",
        "shop.example.com",
        "underscore.example.com",
        "xn--bcher-kva.shop.example.com",
    ];
    assert_eq!(names(folder, "mended.jsonl"), mended);
}

#[test]
fn rejects_are_written_even_where_nothing_is_planned() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("names.txt"), "www.example.com\n_x.example.com\r\nlocalhost").unwrap();
    let (code, message) = plan(folder, "names.txt", &["--rejects", "rejects.txt", "-o", "plan.jsonl"]);
    assert_eq!(code, Some(1), "{message}");
    assert_eq!(fs::read_to_string(folder.join("rejects.txt")).unwrap(), "_x.example.com\nlocalhost\n");
    assert!(!folder.join("plan.jsonl").exists());
}

#[test]
fn an_inventory_is_never_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("names.csv"), "hostname\nwww.example.com\n").unwrap();
    for output in [["-o", "names.csv"], ["--rejects", "./names.csv"]] {
        let (code, message) = plan(folder, "names.csv", &output);
        assert_eq!(code, Some(1), "{message}");
        assert!(message.contains("is an inventory that is read here"), "{message}");
    }
    assert_eq!(fs::read_to_string(folder.join("names.csv")).unwrap(), "hostname\nwww.example.com\n");
}

//! What becomes of a ledger in a file when the file is cut off, overwritten or not to be written, and when its writer is killed.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use certpace::clock::{SystemClock, Timescale};
use certpace::ledger::{Access, LedgerError, LedgerUrl, Store, open};

use super::child::{acknowledged, writer};
use super::random::{Random, Replay};
use super::rows::{holding, write, writing};
use super::stores::{DONE, REALM, START, cells, documents, outcome, records};

fn url(path: &Path) -> LedgerUrl {
    LedgerUrl::Sqlite(path.to_owned())
}

fn opened(path: &Path) -> Result<Box<dyn Store>, LedgerError> {
    // Even where it might be made, a file that is there is never made afresh.
    open(&url(path), Access::Create, SystemClock).map(|(store, created)| {
        assert!(!created, "taken for a fresh ledger");
        store
    })
}

/// A ledger with some hundred rows, closed, so that all is in the one file.
fn filled(folder: &Path) -> PathBuf {
    let path = folder.join("ledger.sqlite");
    let (mut store, created) = open(&url(&path), Access::Create, SystemClock).unwrap();
    assert!(created);
    for place in 0..150 {
        let name = format!("orders {place}");
        let mut step = holding(&name, 4, 1);
        step.writes.push(write(&name, &"text ".repeat(20)));
        step.record = Some(format!("{place} {}", "said ".repeat(20)));
        assert_eq!(outcome(store.as_mut(), &step, START), DONE);
    }
    drop(store);
    assert!(!folder.join("ledger.sqlite-wal").exists());
    path
}

/// Uses every part of the ledger.
fn used(path: &Path) -> Result<(), LedgerError> {
    let mut store = opened(path)?;
    store.check()?;
    let mark = store.mark()?;
    let mut seen = (0, 0, 0);
    store.cells(REALM, &mut |_, _| seen.0 += 1)?;
    store.documents(REALM, "", &mut |_| seen.1 += 1)?;
    store.records(0, 1_000, &mut |_| seen.2 += 1)?;
    let step = holding("orders 7", 4, 1);
    let reply = store.transact(&[step], Timescale::REAL)?.remove(0);
    assert_eq!(reply.mark.sequence, mark.sequence + 1);
    // What a whole store shows is what was written, but for bytes within a value, of which no database can tell.
    assert_eq!(seen, (150, 150, 150));
    Ok(())
}

#[test]
fn a_file_that_is_cut_off_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fs::read(filled(folder.path())).unwrap();
    let cut = folder.path().join("cut.sqlite");
    let lengths = (0..200).chain((200..whole.len()).step_by(509)).chain([whole.len() - 1]);
    for length in lengths {
        fs::write(&cut, &whole[..length]).unwrap();
        let error = opened(&cut).map(|_store| ()).unwrap_err();
        assert!(matches!(error, LedgerError::Damaged { .. }), "{length}: {error}");
        assert_eq!(fs::metadata(&cut).unwrap().len(), u64::try_from(length).unwrap());
    }
    fs::write(&cut, &whole).unwrap();
    used(&cut).unwrap();
}

#[test]
fn a_file_that_is_overwritten_in_places_is_refused_or_still_whole() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fs::read(filled(folder.path())).unwrap();
    let mut random = Random(1);
    let mut refused = 0;
    for case in 0..300 {
        let mut bytes = whole.clone();
        let start = usize::try_from(random.below(u64::try_from(bytes.len()).unwrap())).unwrap();
        let length = usize::try_from(1 + random.below(4_096)).unwrap();
        let zeros = random.below(4) == 0;
        for byte in bytes.iter_mut().skip(start).take(length) {
            *byte = if zeros { 0 } else { u8::try_from(random.below(256)).unwrap() };
        }
        let path = folder.path().join(format!("{case}.sqlite"));
        fs::write(&path, bytes).unwrap();
        if let Err(error) = used(&path) {
            assert!(matches!(error, LedgerError::Damaged { .. } | LedgerError::Schema { .. }), "{case}: {error}");
            refused += 1;
        }
        fs::remove_file(path).unwrap();
    }
    assert!(refused > 200, "{refused} of 300");
}

#[test]
fn what_is_no_ledger_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |name: &str| opened(&folder.path().join(name)).map(|_store| ()).unwrap_err().to_string();
    fs::write(folder.path().join("empty"), "").unwrap();
    assert!(refused("empty").ends_with("is damaged: it is cut off within its first 100 bytes"));
    fs::write(folder.path().join("text"), "hostname\n".repeat(99)).unwrap();
    assert!(refused("text").ends_with("is damaged: it is no SQLite file"));
    let foreign = rusqlite::Connection::open(folder.path().join("foreign")).unwrap();
    foreign.execute_batch("CREATE TABLE ledger (id INTEGER, epoch INTEGER, sequence INTEGER)").unwrap();
    drop(foreign);
    assert!(refused("foreign").ends_with("is damaged: it is an SQLite file of something else"));
    fs::create_dir(folder.path().join("folder")).unwrap();
    assert!(refused("folder").contains("can't be reached"), "{}", refused("folder"));
    let missing = folder.path().join("missing");
    let error = open(&url(&missing), Access::MustExist, SystemClock).map(|_opened| ()).unwrap_err();
    assert!(matches!(error, LedgerError::NotInitialised { .. }));
    assert!(!missing.exists());
}

#[test]
fn a_newer_schema_may_say_who_can_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path());
    let set = |schema: u32, writable_from: u32| {
        let file = rusqlite::Connection::open(&path).unwrap();
        file.execute("UPDATE ledger SET schema = ?1, writable_from = ?2", [schema, writable_from]).unwrap();
    };
    set(2, 1);
    let mut before = opened(&path).unwrap();
    assert_eq!(outcome(before.as_mut(), &holding("x", 4, 1), START), DONE);
    assert_eq!(before.migrate().unwrap(), None);
    set(2, 2);
    let refused = |error: LedgerError| assert!(matches!(error, LedgerError::Schema { found: 2, .. }), "{error}");
    refused(opened(&path).map(|_store| ()).unwrap_err());
    // One who had it open already is told at the next step.
    refused(before.transact(&[holding("x", 4, 1)], Timescale::REAL).unwrap_err());
}

#[test]
fn a_writer_killed_at_any_moment_leaves_each_step_done_or_not_done() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    let binary = std::env::current_exe().unwrap();
    let (mut random, mut replay, mut last) = (Random(2), Replay::new(), 0);
    for _ in 0..500 {
        let mut child = writer(&binary, &url(&path), &[]).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut left = random.below(12);
        while left > 0 {
            let line = lines.next().unwrap().unwrap();
            if let Some(sequence) = acknowledged(&line) {
                (last, left) = (sequence, left - 1);
            }
        }
        for _ in 0..random.below(40) * 1_000 {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // Also what it said last.
        last = lines.map_while(Result::ok).filter_map(|line| acknowledged(&line)).max().unwrap_or(last).max(last);
        if path.exists() {
            let mut store = opened(&path).unwrap();
            store.check().unwrap();
            assert!(store.mark().unwrap().sequence >= last);
            replay.catch_up(store.as_mut());
        } else {
            assert_eq!(last, 0);
        }
        // Half of a ledger never has its name: what a killed maker leaves has another.
    }
    assert!(last > 500, "{last} steps");
}

#[test]
fn a_full_disk_is_an_error_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    let binary = std::env::current_exe().unwrap();
    // The shell limits the length of files: writing beyond fails as on a full disk.
    let script = "trap '' XFSZ; ulimit -f 300; exec \"$@\"";
    let output = writer(&binary, &url(&path), &["bash", "-c", script, "bash"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let last = said.lines().filter_map(acknowledged).max().unwrap();
    assert!(said.lines().any(|line| line.starts_with("failed: the ledger sqlite:")), "{said}");
    let mut store = opened(&path).unwrap();
    store.check().unwrap();
    assert!(store.mark().unwrap().sequence >= last);
    Replay::new().catch_up(store.as_mut());
    assert!(documents(store.as_mut(), REALM, "").len() <= 1 && !cells(store.as_mut(), REALM).is_empty());
    assert_eq!(outcome(store.as_mut(), &writing(vec![write("x", "x")]), START), DONE);
}

#[test]
fn a_folder_that_may_not_be_written_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sealed/ledger.sqlite");
    fs::create_dir(path.parent().unwrap()).unwrap();
    filled(path.parent().unwrap());
    // Root may write everywhere: somebody else tries, with a copy of this binary at hand.
    let binary = folder.path().join("child");
    fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(0o555)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    let is_root = fs::metadata("/proc/self").map(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0).unwrap();
    let other: &[&str] = if is_root { &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] } else { &[] };
    for (at, message) in
        [(path.clone(), "failed: the ledger sqlite:"), (path.with_file_name("new"), "can't be reached")]
    {
        let mut child = writer(&binary, &url(&at), other).spawn().unwrap();
        let mut said = String::new();
        child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        child.wait().unwrap();
        assert!(said.contains(message) && !said.contains("acknowledged"), "{said}");
    }
    fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let mut store = opened(&path).unwrap();
    assert_eq!(records(store.as_mut(), 0).len(), 150);
}

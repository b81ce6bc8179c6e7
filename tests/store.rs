//! The certificate store on a real file system: permissions, several processes, what is left of one that is killed, a disk that is full.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "store/child.rs"]
mod child;
#[path = "store/made.rs"]
mod made;
#[path = "store/whole.rs"]
mod whole;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown};
use std::path::Path;
use std::process::{Child, ChildStdout};

use certpace::clock;
use certpace::issuer::store::Store;
use certpace::time::Span;

use child::command;
use whole::Acknowledged;

/// A child that works until it is killed, and the lines that it says.
struct Worker {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    said: Vec<String>,
}

impl Worker {
    fn start(root: &Path) -> Self {
        let mut child = command(&std::env::current_exe().unwrap(), root, u64::MAX, &[]).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines, said: Vec::new() }
    }

    /// The rest of the first line that begins with `what`.
    fn wait_for(&mut self, what: &str) -> String {
        loop {
            let line = self.lines.next().unwrap().unwrap();
            self.said.push(line.clone());
            if let Some(rest) = line.strip_prefix(what) {
                return rest.trim().to_owned();
            }
        }
    }

    /// SIGKILL; all that it has said.
    fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.said.extend(self.lines.map_while(Result::ok));
        self.said
    }
}

/// A child that does so many rounds by way of `wrapper`: all that it has said.
fn rounds(root: &Path, rounds: u64, wrapper: &[&str]) -> Vec<String> {
    rounds_of(&std::env::current_exe().unwrap(), root, rounds, wrapper)
}

fn rounds_of(binary: &Path, root: &Path, rounds: u64, wrapper: &[&str]) -> Vec<String> {
    let output = command(binary, root, rounds, wrapper).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_killed_process_leaves_nothing_half_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let mut acknowledged = Acknowledged::default();
    for round in 0..40 {
        let mut worker = Worker::start(&root);
        assert!(worker.wait_for("slot ").ends_with(":1"), "the slot of the one killed before");
        clock::sleep(Span::from_nanos(round * 37 % 41 * 1_000_000));
        worker.kill().iter().for_each(|line| acknowledged.take(line));
        acknowledged.check(&root);
    }
    assert!(acknowledged.saved() > 100, "{}", acknowledged.saved());
    assert!(acknowledged.left_open() > 0, "no kill came between an order and its end");
    // The next one finishes what was begun, and nothing is left aside but where nobody has written since.
    rounds(&root, 0, &[]).iter().for_each(|line| acknowledged.take(line));
    acknowledged.check(&root);
    let store = Store::open(&root).unwrap();
    assert_eq!(store.open_orders().unwrap(), []);
    let left: Vec<_> = fs::read_dir(root.join("orders/1")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [".lock"]);
}

#[test]
fn processes_that_save_the_same_names_at_once_do_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let mut acknowledged = Acknowledged::default();
    for round in 0..6 {
        let mut workers: Vec<_> = (0..3).map(|_| Worker::start(&root)).collect();
        let mut slots: Vec<_> = workers.iter_mut().map(|worker| worker.wait_for("slot ")).collect();
        slots.sort();
        slots.dedup();
        assert_eq!(slots.len(), 3);
        clock::sleep(Span::from_nanos((20 + round) * 3_000_000));
        for worker in workers {
            worker.kill().iter().for_each(|line| acknowledged.take(line));
        }
        acknowledged.check(&root);
    }
    assert!(acknowledged.saved() > 50, "{}", acknowledged.saved());
}

#[test]
fn two_processes_get_two_slots_and_a_killed_ones_is_had_again() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let (mut one, mut two) = (Worker::start(&root), Worker::start(&root));
    let (first, second) = (one.wait_for("slot "), two.wait_for("slot "));
    assert!(first != second && first[..first.len() - 1] == second[..second.len() - 1], "{first}, {second}");
    one.wait_for("ordered ");
    let store = Store::open(&root).unwrap();
    assert_eq!(store.orphans().unwrap().len(), 0);
    one.kill();
    for orphan in store.orphans().unwrap() {
        assert_eq!(orphan.holder(), first);
    }
    let mut three = Worker::start(&root);
    assert_eq!(three.wait_for("slot "), first);
    three.kill();
    two.kill();
}

#[test]
fn permissions_are_the_same_under_every_umask() {
    for umask in ["000", "022", "077"] {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("store");
        let said = rounds(&root, 5, &["sh", "-c", &format!("umask {umask}; exec \"$@\""), "sh"]);
        assert!(said.iter().any(|line| line.starts_with("saved ")), "{said:#?}");
        let mut modes: Vec<_> = whole::files_below(&root)
            .into_iter()
            .filter(|(_, of)| !of.is_symlink())
            .map(|(path, of)| {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                let what = match name.as_str() {
                    "privkey.pem" | ".lock" => "secret",
                    _ if name.ends_with(".key.pem") => "secret",
                    _ if of.is_dir() => "folder",
                    _ => "file",
                };
                (what, of.mode() & 0o7777)
            })
            .collect();
        modes.sort_unstable();
        modes.dedup();
        assert_eq!(modes, [("file", 0o644), ("folder", 0o700), ("secret", 0o600)], "umask {umask}");
    }
}

/// Lines of a child that could not write: what it acknowledged is there, and the next one goes on.
fn check_failed(root: &Path, said: &[String], message: &str) {
    let failed = said.iter().find(|line| line.starts_with("failed: ")).unwrap_or_else(|| panic!("{said:#?}"));
    assert!(failed.contains(&root.display().to_string()) && failed.contains(message), "{failed}");
    let mut acknowledged = Acknowledged::default();
    said.iter().for_each(|line| acknowledged.take(line));
    acknowledged.check(root);
}

#[test]
fn a_full_disk_is_an_error_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let before = rounds(&root, 20, &[]);
    // Writes beyond that size fail as on a full disk: at once, after the order, and amid a certificate's files.
    for blocks in 0..2 {
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
        let said = rounds(&root, 20, &["bash", "-c", &script, "bash"]);
        check_failed(&root, &said, "File too large");
        assert_eq!(said.iter().any(|line| line.starts_with("keyed ")), blocks > 0, "{said:#?}");
        check_failed(&root, &before.iter().chain(&said).cloned().collect::<Vec<_>>(), "File too large");
        let left = whole::files_below(&root).into_iter().find(|(path, _)| path.to_string_lossy().contains(".new-"));
        assert_eq!(left.map(|(path, _)| path), None);
    }
    // There is room again: the order that was open comes to its end with its key.
    let open = Store::open(&root).unwrap().open_orders().unwrap();
    assert_eq!(open.len(), 1);
    let said = rounds(&root, 0, &[]);
    assert!(said.iter().any(|line| *line == format!("ended {}", open[0].permit)), "{said:#?}");
    assert_eq!(Store::open(&root).unwrap().open_orders().unwrap(), []);
}

#[test]
fn a_folder_that_may_not_be_written_is_an_error_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let root = folder.path().join("store");
    let before = rounds(&root, 20, &[]);
    // Root may write everywhere: somebody else tries, with a copy of this binary at hand.
    let binary = folder.path().join("child");
    fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let other: &[&str] = if is_root { &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] } else { &[] };
    if is_root {
        for (path, _) in whole::files_below(&root) {
            lchown(&path, Some(65534), Some(65534)).unwrap();
        }
    }
    for sealed in ["certificates", "orders/1", "orders"] {
        let modes = |folder: u32| {
            let path = root.join(sealed);
            fs::set_permissions(&path, fs::Permissions::from_mode(folder)).unwrap();
            // What is in it can't be written either.
            for (below, of) in whole::files_below(&path).iter().filter(|(_, of)| of.is_dir()) {
                let mode = if folder == 0o500 { 0o500 } else { of.mode() | 0o700 };
                fs::set_permissions(below, fs::Permissions::from_mode(mode & 0o7777)).unwrap();
            }
        };
        modes(0o500);
        let said = rounds_of(&binary, &root, 20, other);
        modes(0o700);
        check_failed(&root, &before.iter().chain(&said).cloned().collect::<Vec<_>>(), "Permission denied");
    }
    assert!(rounds_of(&binary, &root, 3, other).iter().any(|line| line.starts_with("saved ")));
}

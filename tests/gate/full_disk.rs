//! A disk that is full: under the ledger, and under the journal of what goes out without one. Nothing is half written, whoever asks is told,
//! and when there is room again it goes on.
//!
//! Everywhere the shell limits how long a file may become, which a write meets as it meets a full disk. Where a file system of one's own can
//! be mounted, that is full as well (`ENOSPC`), to the last block.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

/// What both kinds of disks have: `disk` is the folder, `within N COMMAND…` runs it with room for N KiB more, or as much as that is; and
/// `try WHAT N COMMAND…` tells the exit code of that, and keeps what it says in `WHAT.said`: through a pipe, which is never full.
const COMMON: &str = r#"
set -u
disk=$1
export XDG_STATE_HOME=$2/state
try() { what=$1 room=$2; shift 2; within "$room" "$@" 2>&1 | cat >"$what.said"; echo "$what ${PIPESTATUS[0]}"; }
"#;

/// Files become no longer than so many KiB.
const LIMITED: &str = r#"
within() { (trap '' XFSZ; ulimit -f "$1"; shift; exec "$@"); }
"#;

/// A file system of a MiB that something else fills. It is gone with the shell's mount namespace.
const MOUNTED: &str = r#"
mount -t tmpfs -o size=1m none "$disk" || exit 99
within() {
  head -c 2M /dev/zero >"$disk/filler" 2>/dev/null
  truncate -s "-${1}K" "$disk/filler"
  shift
  "$@"
  code=$?
  rm "$disk/filler"
  return $code
}
"#;

/// Whether this system lets a shell mount something for itself.
fn can_mount() -> bool {
    let unshared = unshared().args(["mount", "-t", "tmpfs", "none", "/mnt"]).stderr(Stdio::null()).status();
    unshared.is_ok_and(|status| status.success())
}

/// A command with mounts of its own, as root or as one who is root within.
fn unshared() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--map-root-user"]);
    command
}

/// What `script` tells, line by line, on each kind of disk that there is. `certpace` is at hand as `$3`.
fn on_full_disks(script: &str, check: impl Fn(&str, &BTreeMap<String, String>, &Path)) {
    let kinds = [("limited", LIMITED), ("mounted", MOUNTED)];
    for (kind, disk) in &kinds[..if can_mount() { 2 } else { 1 }] {
        let folder = tempfile::tempdir().unwrap();
        let mount = folder.path().join("disk");
        std::fs::create_dir(&mount).unwrap();
        let mut shell = if *kind == "mounted" { unshared() } else { Command::new("env") };
        shell.args(["bash", "-c", &format!("{COMMON}{disk}{script}"), "bash"]).arg(&mount).arg(folder.path());
        let output = shell.arg(env!("CARGO_BIN_EXE_certpace")).current_dir(folder.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{kind}: {said}");
        let text = String::from_utf8(output.stdout).unwrap();
        let pair = |line: &str| line.split_once(' ').map(|(what, told)| (what.to_owned(), told.to_owned()));
        check(kind, &text.lines().filter_map(pair).collect(), folder.path());
    }
}

/// How many of `told` say so.
fn count(told: &BTreeMap<String, String>, prefix: &str, code: &str) -> usize {
    told.iter().filter(|(what, told)| what.starts_with(prefix) && *told == code).count()
}

#[test]
fn a_ledger_on_a_full_disk_refuses_and_loses_nothing() {
    let script = r#"
ledger="--ledger sqlite:$disk/ledger.sqlite"
try first 900 "$3" gate reserve first.example.com --holder me -q $ledger
for room in 0 1 2 4 8 12 16 20 24 28 32 36 40 48 56 64 72 80 96 128 160; do
  try "room-$room" $room "$3" gate reserve "r$room.example.com" --holder me $ledger
  try "whole-$room" 900 "$3" ledger verify $ledger
done
try again 900 "$3" gate reserve first.example.com --holder me -q $ledger
cmp -s first.said again.said && echo 'same yes'
try list 900 "$3" gate list --format json -q $ledger
"#;
    on_full_disks(script, |kind, told, folder| {
        let (done, refused) = (count(told, "room-", "0"), count(told, "room-", "9"));
        assert_eq!(done + refused, 21, "{kind}: {told:?}");
        assert!(done > 3 && refused > 3, "{kind} has no teeth: {told:?}");
        assert_eq!(count(told, "whole-", "0"), 21, "{kind}: {told:?}");
        assert_eq!((&*told["first"], &*told["again"], &*told["same"]), ("0", "0", "yes"), "{kind}");
        let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
        let said = read("room-0.said");
        // Nothing before it: no permit was told of.
        assert!(
            said.starts_with("error: the ledger sqlite:") && said.contains(" can't be reached: "),
            "{kind}: {said}"
        );
        // Every permit that was told of is there, and no other one.
        let list: serde_json::Value = serde_json::from_str(&read("list.said")).unwrap();
        assert_eq!(list["permits"].as_array().unwrap().len(), done + 1, "{kind}");
    });
}

#[test]
fn without_room_for_the_journal_nothing_goes_out() {
    // Nobody listens on port 1.
    let script = r#"
export XDG_STATE_HOME=$disk
end=$(date -u -d '+1 hour' +%Y-%m-%dT%H:%M:%SZ)
ask() {
  try "$1" $2 "$3" gate reserve "$1.example.com" --holder me --ledger redis://127.0.0.1:1/ --on-ledger-loss exempt \
    --replaces aki.1 --window "2020-01-01T00:00:00Z/$end"
}
whole() { tail -qc 1 "$disk"/certpace/journal/*.jsonl | od -An -c | grep -q '^ *\\n$' && echo "$1 whole"; }
ask first 900 "$3"
for number in 1 2 3 4 5 6; do
  for room in 0 1 2; do
    ask "room-$number-$room" $room "$3"
    whole "end-$number-$room"
  done
  ask "more-$number" 900 "$3"
done
ask last 900 "$3"
cat "$disk"/certpace/journal/*.jsonl | wc -l | sed 's/^/lines /'
ask first 900 "$3"
"#;
    on_full_disks(script, |kind, told, folder| {
        assert_eq!((&*told["first"], &*told["last"], count(told, "more-", "0")), ("0", "0", 6), "{kind}: {told:?}");
        let (passed, refused) = (count(told, "room-", "0"), count(told, "room-", "1"));
        assert_eq!(passed + refused, 18, "{kind}: {told:?}");
        assert!(refused >= 3, "{kind} has no teeth: {told:?}");
        assert_eq!(told["lines"], (passed + 8).to_string(), "{kind}: a line for each that went out");
        assert_eq!(count(told, "end-", "whole"), 18, "{kind}: half a line was left: {told:?}");
        let (first, _) = told.iter().find(|(what, code)| what.starts_with("room-") && *code == "1").unwrap();
        let said = std::fs::read_to_string(folder.join(format!("{first}.said"))).unwrap();
        assert!(said.starts_with("error: can't write the journal, so nothing goes out\n"), "{kind}: {said}");
    });
}

//! What becomes of a ledger in Redis when the server ends, loses its data, shows old ones or may throw them away.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use certpace::clock::{SystemClock, Timescale};
use certpace::ledger::{Access, LedgerError, Outcome, Step, Store, Version, open};

use super::rows::{asking, holding, step, write};
use super::stores::{DONE, Place, REALM, START, cells, documents, mark, outcome, records};
use crate::ports::free_port;
use crate::redis::{Redis, wait_until};

/// Opens the ledger that is there, or is not.
fn opened(url: &str) -> Result<Box<dyn Store>, LedgerError> {
    let must_exist = open(&url.parse().unwrap(), Access::MustExist, SystemClock);
    let create = open(&url.parse().unwrap(), Access::Create, SystemClock);
    assert_eq!(create.is_ok(), must_exist.is_ok(), "a shared store is never made by the way");
    must_exist.map(|(store, _)| store)
}

fn refusal(url: &str) -> LedgerError {
    opened(url).map(|_store| ()).unwrap_err()
}

/// Some rows of each kind, with `round` in their names.
fn fill(store: &mut dyn Store, round: usize) {
    for place in 0..20 {
        let name = format!("orders {round} {place}");
        let step = Step { record: Some(name.clone()), writes: vec![write(&name, "text")], ..holding(&name, 4, 1) };
        assert_eq!(outcome(store, &step, START), DONE);
    }
}

fn sizes(store: &mut dyn Store) -> [usize; 3] {
    [cells(store, REALM).len(), documents(store, REALM, "").len(), records(store, 0).len()]
}

/// The error of a step that changes something.
fn error(store: &mut dyn Store) -> LedgerError {
    store.transact(&[holding("x", 4, 1)], Timescale::REAL).unwrap_err()
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

#[test]
fn a_server_that_ends_and_comes_back_has_all_that_was_done() {
    let mut server = Redis::start(&[]);
    let mut store = Place::at(&server.url()).open();
    fill(store.as_mut(), 0);
    for round in 1..4 {
        server.kill();
        assert!(matches!(error(store.as_mut()), LedgerError::Unreachable { .. }));
        assert!(matches!(error(store.as_mut()), LedgerError::Unreachable { .. }));
        server.go_on();
        assert_eq!(sizes(store.as_mut()), [20 * round; 3]);
        fill(store.as_mut(), round);
    }
    store.check().unwrap();
}

#[test]
fn a_server_without_its_data_is_not_taken_for_a_full_ledger() {
    let mut server = Redis::start(&[]);
    assert!(matches!(refusal(&server.url()), LedgerError::NotInitialised { .. }));
    let mut store = Place::at(&server.url()).open();
    fill(store.as_mut(), 0);
    server.kill();
    std::fs::remove_dir_all(server.folder().join("appendonlydir")).unwrap();
    server.go_on();
    assert!(matches!(refusal(&server.url()), LedgerError::NotInitialised { .. }));
    // The first call may find the connection gone.
    _ = store.transact(&[holding("x", 4, 1)], Timescale::REAL);
    assert!(matches!(error(store.as_mut()), LedgerError::NotInitialised { .. }));
    // Likewise between two calls on one connection.
    let mut store = Place::at(&server.url()).open();
    fill(store.as_mut(), 0);
    server.ask(&["FLUSHALL"]);
    assert!(matches!(error(store.as_mut()), LedgerError::NotInitialised { .. }));
    assert!(matches!(store.sweep(REALM, START, 1), Err(LedgerError::NotInitialised { .. })));
    assert!(matches!(store.cells(REALM, &mut |_, _| {}), Err(LedgerError::NotInitialised { .. })));
    assert_eq!(server.ask(&["DBSIZE"]), "0");
}

#[test]
fn rows_without_a_marker_are_no_ledger_and_none_is_made_of_them() {
    let server = Redis::start(&[]);
    let mut store = Place::at(&server.url()).open();
    fill(store.as_mut(), 0);
    server.ask(&["DEL", "{certpace:certpace}"]);
    assert!(matches!(error(store.as_mut()), LedgerError::NotInitialised { .. }));
    assert!(matches!(store.init(), Err(LedgerError::Damaged { .. })));
    assert!(matches!(
        open(&server.url().parse().unwrap(), Access::Init, SystemClock),
        Err(LedgerError::Damaged { .. })
    ));
}

#[test]
fn a_server_with_older_data_is_seen_to_have_gone_back() {
    let mut server = Redis::start(&[]);
    let mut store = Place::at(&server.url()).open();
    fill(store.as_mut(), 0);
    server.kill();
    let backup = tempfile::tempdir().unwrap();
    copy(&server.folder().join("appendonlydir"), backup.path());
    server.go_on();
    _ = store.mark();
    fill(store.as_mut(), 1);
    let known = store.mark().unwrap();
    assert_eq!(known, mark(1, 40));
    server.kill();
    std::fs::remove_dir_all(server.folder().join("appendonlydir")).unwrap();
    copy(&backup.path().join("appendonlydir"), server.folder());
    server.go_on();
    _ = store.mark();
    let step = Step { known, ..holding("x", 4, 1) };
    assert_eq!(outcome(store.as_mut(), &step, START), Outcome::WentBack);
    assert_eq!(sizes(store.as_mut()), [20; 3]);
}

#[test]
fn a_script_that_was_forgotten_is_taught_again() {
    let server = Redis::start(&[]);
    let mut store = Place::at(&server.url()).open();
    for round in 0..3 {
        server.ask(&["SCRIPT", "FLUSH"]);
        let replies = store.transact(&[holding("a", 9, 1), holding("a", 9, 1)], Timescale::REAL).unwrap();
        assert_eq!(replies[1].mark, mark(1, 2 * round + 2));
    }
}

#[test]
fn a_server_that_may_throw_keys_away_is_refused() {
    for policy in ["allkeys-lru", "volatile-ttl"] {
        let server = Redis::start(&["--maxmemory", "100mb", "--maxmemory-policy", policy]);
        let error = open(&server.url().parse().unwrap(), Access::Init, SystemClock).map(|_opened| ()).unwrap_err();
        assert!(matches!(error, LedgerError::Unsafe { .. }) && error.to_string().contains(policy), "{error}");
        assert_eq!(server.ask(&["DBSIZE"]), "0");
        server.ask(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
        Place::at(&server.url()).open();
    }
}

#[test]
fn a_server_that_can_not_take_a_change_says_why_and_changes_nothing() {
    let server = Redis::start(&[]);
    let mut store = Place::at(&server.url()).open();
    fill(store.as_mut(), 0);
    let refused = |store: &mut dyn Store, word: &str| match error(store) {
        LedgerError::Unreachable { reason, .. } => assert!(reason.contains(word), "{reason}"),
        error => panic!("{error}"),
    };
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    refused(store.as_mut(), "OOM");
    server.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    server.ask(&["REPLICAOF", "127.0.0.1", "1"]);
    refused(store.as_mut(), "READONLY");
    assert!(store.notes().iter().any(|note| note.contains("replica")));
    server.ask(&["REPLICAOF", "NO", "ONE"]);
    assert_eq!(sizes(store.as_mut()), [20; 3]);
    assert_eq!(
        outcome(store.as_mut(), &asking("orders 0 0", 1, 1), START),
        super::stores::blocked([(0, super::stores::at(3_600))])
    );
    fill(store.as_mut(), 1);
}

#[test]
fn rows_that_make_no_sense_are_told() {
    let server = Redis::start(&[]);
    let mut store = Place::at(&server.url()).open();
    fill(store.as_mut(), 0);
    store.check().unwrap();
    let set =
        |field: &str, text: &str| server.ask(&["HSET", &format!("{{certpace:certpace}}:rows:{REALM}"), field, text]);
    set("x", "1 2");
    assert!(matches!(error(store.as_mut()), LedgerError::Row { what, .. } if what == "cell x"));
    assert!(matches!(store.check(), Err(LedgerError::Row { .. })));
    set("x", "- 0 0");
    set(".d", "text");
    let expecting = Step { expect: vec![("d".to_owned(), Version::Absent)], ..step() };
    let told = store.transact(&[expecting], Timescale::REAL).unwrap_err();
    assert!(matches!(told, LedgerError::Row { what, .. } if what == "document d"));
    set(".d", "99 text");
    assert!(matches!(store.check(), Err(LedgerError::Damaged { .. })));
    set(".d", "1 text");
    store.check().unwrap();
    server.ask(&["HSET", "{certpace:certpace}", "sequence", "3"]);
    assert!(matches!(store.check(), Err(LedgerError::Damaged { .. })));
    // The record is ahead: the change is refused before anything of it is written.
    let before = sizes(store.as_mut());
    let step = Step { record: Some(String::new()), ..holding("y", 4, 1) };
    assert!(store.transact(&[step], Timescale::REAL).is_err());
    assert_eq!((sizes(store.as_mut()), store.mark().unwrap()), (before, mark(1, 3)));
}

#[test]
fn a_newer_schema_may_say_who_can_go_on() {
    let server = Redis::start(&[]);
    let mut store = Place::at(&server.url()).open();
    server.ask(&["HSET", "{certpace:certpace}", "schema", "2"]);
    fill(opened(&server.url()).unwrap().as_mut(), 0);
    assert_eq!(store.migrate().unwrap(), None);
    server.ask(&["HSET", "{certpace:certpace}", "writable_from", "2"]);
    assert!(matches!(refusal(&server.url()), LedgerError::Schema { .. }));
    assert!(matches!(error(store.as_mut()), LedgerError::Schema { .. }));
}

#[test]
fn weaker_persistence_is_said() {
    let notes = |options: &[&str]| {
        let server = Redis::start(options);
        Place::at(&server.url()).open().notes().join(" ")
    };
    assert_eq!(notes(&[]), "");
    assert!(notes(&["--appendfsync", "everysec"]).contains("everysec"));
    assert!(notes(&["--appendonly", "no"]).contains("nothing is kept on disk"));
    assert!(notes(&["--appendonly", "no", "--save", "60 1"]).contains("only snapshots"));
}

#[test]
fn a_user_with_few_rights_is_enough_and_the_password_is_never_shown() {
    let server = Redis::start(&[]);
    // Managed servers forbid CONFIG.
    server.ask(&["ACL", "SETUSER", "ledger", "on", ">secret", "~{certpace:*", "+@all", "-config"]);
    let url = server.url().replace("redis://", "redis://ledger:secret@");
    let mut store = Place::at(&url).open();
    fill(store.as_mut(), 0);
    store.check().unwrap();
    assert!(store.notes()[0].starts_with("CONFIG may not be asked"), "{:?}", store.notes());
    let wrong = refusal(&url.replace("secret", "guessed"));
    assert!(matches!(wrong, LedgerError::Unreachable { .. }) && !wrong.to_string().contains("guessed"), "{wrong}");
}

#[test]
fn in_a_cluster_the_ledger_is_found_where_it_lies() {
    let start = || Redis::start(&["--cluster-enabled", "yes", "--cluster-port", &free_port().to_string()]);
    let nodes = [start(), start()];
    let port = |node: &Redis| node.port().to_string();
    let bus = |node: &Redis| node.ask(&["CONFIG", "GET", "cluster-port"]).lines().last().unwrap().to_owned();
    nodes[0].ask(&["CLUSTER", "MEET", "127.0.0.1", &port(&nodes[1]), &bus(&nodes[1])]);
    nodes[0].ask(&["CLUSTER", "ADDSLOTSRANGE", "0", "8191"]);
    nodes[1].ask(&["CLUSTER", "ADDSLOTSRANGE", "8192", "16383"]);
    let is_up = |node: &Redis| node.ask(&["CLUSTER", "INFO"]).contains("cluster_state:ok");
    wait_until("the cluster is up", || nodes.iter().all(is_up));
    // Whatever node one asks, and wherever the ledger's slot lies.
    for name in ["one", "two", "three", "four"] {
        let urls = nodes.each_ref().map(|node| format!("{}#{name}", node.url()));
        fill(Place::at(&urls[0]).open().as_mut(), 0);
        let mut store = opened(&urls[1]).unwrap();
        fill(store.as_mut(), 1);
        assert_eq!(sizes(store.as_mut()), [40; 3]);
        store.check().unwrap();
    }
    let keys = nodes.each_ref().map(|node| node.ask(&["DBSIZE"]).parse::<u32>().unwrap());
    assert!(keys.iter().all(|keys| *keys > 0) && keys.iter().sum::<u32>() == 12, "{keys:?}");
}

#[test]
fn nobody_waits_for_long_for_a_server_that_says_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for at in [silent.local_addr().unwrap().to_string(), format!("127.0.0.1:{}", free_port())] {
        let url = format!("redis://{at}/").parse().unwrap();
        let error = open(&url, Access::MustExist, SystemClock).map(|_opened| ()).unwrap_err();
        assert!(matches!(error, LedgerError::Unreachable { .. }), "{error}");
    }
}

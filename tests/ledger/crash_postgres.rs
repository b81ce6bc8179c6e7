//! What becomes of a ledger in PostgreSQL when sessions are cut off, the server ends, the marker is gone or another isolation level is set.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use certpace::clock::{SystemClock, Timescale};
use certpace::ledger::{Access, LedgerError, Outcome, Step, Store, Version, open};

use super::random::{Random, Replay, step_of};
use super::rows::{holding, step, write};
use super::stores::{DONE, Place, REALM, START, cells, documents, mark, outcome, records};
use crate::postgres::Postgres;

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

fn error(store: &mut dyn Store) -> LedgerError {
    store.transact(&[holding("x", 4, 1)], Timescale::REAL).unwrap_err()
}

#[test]
fn a_server_that_ends_and_comes_back_has_all_that_was_done() {
    let mut server = Postgres::start(&[]);
    assert!(matches!(refusal(&server.url()), LedgerError::NotInitialised { .. }));
    let mut store = Place::at(&server.url()).open();
    fill(store.as_mut(), 0);
    for round in 1..3 {
        server.stop();
        assert!(matches!(error(store.as_mut()), LedgerError::Unreachable { .. }));
        assert!(matches!(error(store.as_mut()), LedgerError::Unreachable { .. }));
        server.go_on();
        assert_eq!(sizes(store.as_mut()), [20 * round; 3]);
        fill(store.as_mut(), round);
    }
    store.check().unwrap();
}

#[test]
fn sessions_cut_off_under_load_leave_each_step_done_or_not_done() {
    let server = Postgres::start(&[]);
    let place = Place::at(&server.url());
    place.open();
    let over = AtomicBool::new(false);
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'certpace'";
    let last = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|seed| {
                let (over, url) = (&over, &place.url);
                scope.spawn(move || {
                    let mut random = Random(seed);
                    let (mut last, mut errors, mut store) = (0, 0, None);
                    while !over.load(Ordering::Relaxed) {
                        // Connecting may be cut off too.
                        let store = match &mut store {
                            Some(store) => store,
                            none => match open(url, Access::MustExist, SystemClock) {
                                Ok((store, _)) => none.insert(store),
                                Err(error) => {
                                    assert!(matches!(error, LedgerError::Unreachable { .. }), "{error}");
                                    continue;
                                }
                            },
                        };
                        match store.transact(&[step_of(random.next(), Version::Absent)], Timescale::REAL) {
                            Ok(replies) => last = replies[0].mark.sequence,
                            Err(error) => {
                                assert!(matches!(error, LedgerError::Unreachable { .. }), "{error}");
                                errors += 1;
                            }
                        }
                    }
                    (last, errors)
                })
            })
            .collect();
        for _ in 0..40 {
            server.ask(cut);
        }
        over.store(true, Ordering::Relaxed);
        let ended: Vec<(u64, u32)> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(ended.iter().all(|(_, errors)| *errors > 0), "{ended:?}");
        ended.iter().map(|(last, _)| *last).max().unwrap()
    });
    let mut store = place.open();
    store.check().unwrap();
    assert!(store.mark().unwrap().sequence >= last);
    Replay::new().catch_up(store.as_mut());
}

#[test]
fn any_isolation_level_will_do() {
    for level in ["serializable", "repeatable read"] {
        let server = Postgres::start(&[&format!("default_transaction_isolation={level}")]);
        let place = Place::at(&server.url());
        place.open();
        thread::scope(|scope| {
            for _ in 0..4 {
                let place = &place;
                scope.spawn(move || {
                    let mut store = place.open();
                    for _ in 0..20 {
                        let reply = store.transact(&[holding("a", 1, 1)], Timescale::REAL).unwrap().remove(0);
                        assert_eq!(reply.outcome, DONE);
                    }
                });
            }
        });
        let mut store = place.open();
        assert_eq!((store.mark().unwrap(), cells(store.as_mut(), REALM)[0].1.tally.held), (mark(1, 80), 80));
    }
}

#[test]
fn a_database_without_a_marker_is_not_taken_for_a_full_ledger() {
    let server = Postgres::start(&[]);
    let mut store = Place::at(&server.url()).open();
    fill(store.as_mut(), 0);
    server.ask("DELETE FROM certpace.ledger");
    assert!(matches!(error(store.as_mut()), LedgerError::NotInitialised { .. }));
    assert!(matches!(refusal(&server.url()), LedgerError::NotInitialised { .. }));
    assert!(matches!(store.init(), Err(LedgerError::Damaged { .. })));
    server.ask("DROP SCHEMA certpace CASCADE");
    assert!(matches!(error(store.as_mut()), LedgerError::NotInitialised { .. }));
    assert!(matches!(store.sweep(REALM, START, 1), Err(LedgerError::NotInitialised { .. })));
    assert!(store.init().unwrap());
    fill(store.as_mut(), 1);
    // An older state: as when a backup was played back.
    let known = store.mark().unwrap();
    server.ask("UPDATE certpace.ledger SET sequence = 7");
    let step = Step { known, ..holding("x", 4, 1) };
    assert_eq!(outcome(store.as_mut(), &step, START), Outcome::WentBack);
    assert!(matches!(store.check(), Err(LedgerError::Damaged { .. })));
}

#[test]
fn rows_that_make_no_sense_are_told() {
    let server = Postgres::start(&[]);
    let mut store = Place::at(&server.url()).open();
    fill(store.as_mut(), 0);
    store.check().unwrap();
    server.ask("UPDATE certpace.cells SET held = -1 WHERE name = 'orders 0 7'");
    let told = store.transact(&[holding("orders 0 7", 4, 1)], Timescale::REAL).unwrap_err();
    assert!(matches!(told, LedgerError::Row { .. }), "{told}");
    assert!(matches!(store.check(), Err(LedgerError::Damaged { .. })));
    assert_eq!(outcome(store.as_mut(), &holding("orders 0 8", 4, 1), START), DONE);
}

#[test]
fn a_newer_schema_may_say_who_can_go_on() {
    let server = Postgres::start(&[]);
    let mut store = Place::at(&server.url()).open();
    // It may have columns that this version does not know.
    server.ask("ALTER TABLE certpace.cells ADD COLUMN more BIGINT; UPDATE certpace.ledger SET schema = 2");
    fill(opened(&server.url()).unwrap().as_mut(), 0);
    assert_eq!(store.migrate().unwrap(), None);
    server.ask("UPDATE certpace.ledger SET writable_from = 2");
    assert!(matches!(refusal(&server.url()), LedgerError::Schema { found: 2, .. }));
    assert!(matches!(error(store.as_mut()), LedgerError::Schema { found: 2, .. }));
}

#[test]
fn a_user_with_few_rights_is_enough_and_the_password_is_never_shown() {
    let server = Postgres::start(&[]);
    Place::at(&server.url()).open();
    server.ask("CREATE ROLE clerk LOGIN PASSWORD 'secret'; GRANT USAGE ON SCHEMA certpace TO clerk; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA certpace TO clerk");
    let url = server.url().replace("postgres@", "clerk:secret@");
    let mut store = Place::at(&url).open();
    fill(store.as_mut(), 0);
    assert_eq!(store.sweep(REALM, START, 5).unwrap(), (0, 4));
    store.check().unwrap();
    let unknown = refusal(&url.replace("clerk", "nobody"));
    assert!(matches!(unknown, LedgerError::Unreachable { .. }) && !unknown.to_string().contains("secret"), "{unknown}");
    // Nobody has made this one, and the clerk may not.
    let other =
        open(&format!("{url}#other").parse().unwrap(), Access::Init, SystemClock).map(|_opened| ()).unwrap_err();
    assert!(other.to_string().contains("permission denied"), "{other}");
}

#[test]
fn weaker_persistence_is_said_and_commits_are_synchronous() {
    let server = Postgres::start(&["synchronous_commit=off"]);
    let mut store = Place::at(&server.url()).open();
    let notes = store.notes();
    assert!(notes.len() == 1 && notes[0].starts_with("synchronous_commit is off"), "{notes:?}");
    let server = Postgres::start(&["fsync=off"]);
    assert!(Place::at(&server.url()).open().notes()[0].starts_with("fsync is off"));
    let server = Postgres::start(&["default_transaction_read_only=on"]);
    let refused = open(&server.url().parse().unwrap(), Access::Init, SystemClock).map(|_opened| ()).unwrap_err();
    assert!(refused.to_string().contains("25006"), "{refused}");
}

#[test]
fn questions_wait_for_nobody() {
    let server = Postgres::start(&[]);
    let place = Place::at(&server.url());
    let mut store = place.open();
    fill(store.as_mut(), 0);
    // Somebody else holds the ledger, and goes on holding it.
    let hold = "BEGIN; SELECT 1 FROM certpace.ledger FOR UPDATE; SELECT pg_sleep(60)";
    thread::scope(|scope| {
        scope.spawn(|| server.ask(hold));
        crate::redis::wait_until("the ledger is held", || {
            server.ask("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1"
        });
        assert_eq!(outcome(store.as_mut(), &step(), START), DONE);
        assert_eq!(sizes(store.as_mut()), [20; 3]);
        server.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
    });
    fill(store.as_mut(), 1);
}

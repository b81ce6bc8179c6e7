//! Many at once, each with a connection of its own: what the ledger holds in the end is what its record says, line by line.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use certpace::clock::{SystemClock, Timescale};
use certpace::ledger::{Access, LedgerUrl, Outcome, Store, Version, open};

use super::random::{DOCUMENT, Random, Replay, step_of};
use super::stores::Place;

const THREADS: u64 = 8;

/// Asks for `calls` calls of some random steps each, with what was last seen of the document. How many were done.
fn ask_for(store: &mut dyn Store, seed: u64, calls: usize) -> usize {
    let mut random = Random(seed);
    let (mut version, mut done) = (Version::Unknown, 0);
    for _ in 0..calls {
        let steps: Vec<_> = (0..=random.below(3)).map(|_| step_of(random.next(), version)).collect();
        let replies = store.transact(&steps, Timescale::REAL).unwrap();
        for (step, reply) in steps.iter().zip(replies) {
            match reply.outcome {
                Outcome::Done { .. } => {
                    done += 1;
                    if let Some(write) = step.writes.first() {
                        let written = Version::Written(reply.mark.sequence);
                        version = write.body.as_ref().map_or(Version::Absent, |_body| written);
                    }
                }
                Outcome::Moved { documents, .. } => {
                    assert_eq!(documents[0].name, DOCUMENT);
                    version = documents[0].version;
                }
                Outcome::Blocked(buckets) => assert!(!buckets.is_empty()),
                Outcome::WentBack => panic!("the ledger went back"),
            }
        }
    }
    done
}

fn check(place: &Place, calls: usize) {
    place.open();
    let done = AtomicUsize::new(0);
    let url: &LedgerUrl = &place.url;
    thread::scope(|scope| {
        for seed in 0..THREADS {
            let done = &done;
            scope.spawn(move || {
                let (mut store, _) = open(url, Access::MustExist, SystemClock).unwrap();
                done.fetch_add(ask_for(store.as_mut(), seed, calls), Ordering::Relaxed);
            });
        }
    });
    let mut store = place.open();
    assert_eq!(usize::try_from(store.mark().unwrap().sequence).unwrap(), done.into_inner());
    store.check().unwrap();
    Replay::new().catch_up(store.as_mut());
}

#[test]
fn eight_in_sqlite() {
    check(&Place::sqlite(), 100);
}

#[test]
fn eight_in_redis() {
    check(&Place::redis(), 1_000);
}

#[test]
fn eight_in_postgres() {
    check(&Place::postgres(), 60);
}

#[test]
fn eight_that_make_the_ledger_at_once() {
    for place in Place::all() {
        let made: usize = thread::scope(|scope| {
            let open = || open(&place.url, Access::Init, SystemClock).unwrap().1;
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum()
        });
        assert_eq!(made, 1, "{}", place.url);
    }
}

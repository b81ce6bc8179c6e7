//! Any steps in any order at any time: every store answers as the one in memory does, and ends with the same rows.

use std::cell::RefCell;

use certpace::clock::{SystemClock, Timescale};
use certpace::gcra::Quota;
use certpace::ledger::{Ask, Bucket, Mark, MemoryStore, Motion, Move, Step, Store, Version, Write};
use certpace::time::{Span, Timestamp};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::stores::{Place, START, cells, documents, records};

const NAMES: [&str; 4] = ["a", "b", "c d", "e"];

/// What a step expects of a document, before it is known what the ledger will have.
#[derive(Clone, Copy, Debug)]
enum Expected {
    Unknown,
    Absent,
    Current,
    Stale,
}

/// What the caller has seen of the ledger.
#[derive(Clone, Debug)]
enum Seen {
    All,
    More,
    EarlierEpoch,
}

/// A step whose realm is a number and whose versions are open. (`known` is set by how far the ledger has come.)
#[derive(Clone, Debug)]
struct Sketch {
    realm: usize,
    expected: Vec<(usize, Expected)>,
    seen: Seen,
    step: Step,
}

/// Calls of the store: how far the time moves on, or back, and what is asked then.
type Story = Vec<(i64, Vec<Sketch>)>;

fn quota() -> impl Strategy<Value = Quota> {
    let of =
        |burst: u64, count: u64, nanos: i64| Quota::new(burst, count, Span::from_nanos(nanos)).unwrap().in_micros();
    prop_oneof![
        Just(of(1, 1, 1_000)),
        Just(of(1_000_000, 86_400_000_000, 86_400_000_000_000)),
        Just(of(u64::from(u32::MAX), 1, 1_000)),
        Just(of(300, 300, 10_800_000_000_000)),
        Just(of(1, 1, 4 * 365 * 86_400_000_000_000)),
        (1..9_u64, 1..9_u64, 1..10_000_000_000_i64).prop_map(move |(burst, count, nanos)| of(
            burst,
            count,
            nanos.max(9)
        )),
    ]
}

/// An instant near the start: mostly whole seconds, so that instants meet.
fn instant() -> impl Strategy<Value = Timestamp> {
    prop_oneof![-50..50_i64, Just(0)]
        .prop_flat_map(|seconds| {
            prop_oneof![3 => Just(0), 1 => -1_001..1_001_i64].prop_map(move |nanos| (seconds, nanos))
        })
        .prop_map(|(seconds, nanos)| START.plus(Span::from_nanos(seconds * 1_000_000_000 + nanos)))
}

fn motion() -> impl Strategy<Value = Motion> {
    let asked = any::<bool>;
    prop_oneof![
        2 => asked().prop_map(|asked| Motion::Hold { asked }),
        2 => asked().prop_map(|asked| Motion::Spend { asked }),
        1 => asked().prop_map(|asked| Motion::Release { asked }),
        1 => option::of(instant()).prop_map(|at| Motion::Charge { at }),
        2 => Just(Motion::Try),
        1 => instant().prop_map(|until| Motion::Raise { until }),
    ]
}

fn sketch() -> impl Strategy<Value = Sketch> {
    let name = || 0..NAMES.len();
    let bucket = (name(), quota(), prop_oneof![4 => Just(None), 1 => instant().prop_map(Some)])
        .prop_map(|(name, quota, floor)| Bucket { name: NAMES[name].to_owned(), quota, floor });
    let write = (name(), option::weighted(0.8, 0..9_u8), option::of(instant())).prop_map(|(name, body, lease)| Write {
        name: NAMES[name].to_owned(),
        body: body.map(|body| format!("body {body}")),
        lease,
    });
    let expected = prop_oneof![
        1 => Just(Expected::Unknown),
        1 => Just(Expected::Absent),
        8 => Just(Expected::Current),
        1 => Just(Expected::Stale),
    ];
    let asks = vec((0..3_usize, 1..12_u32, 0..4_u32, any::<bool>(), option::of(0..3_usize)), 0..3);
    let valid = prop_oneof![4 => Just(None), 1 => (instant(), instant()).prop_map(Some)];
    let seen = prop_oneof![8 => Just(Seen::All), 1 => Just(Seen::More), 1 => Just(Seen::EarlierEpoch)];
    (
        (0..2_usize, vec(bucket, 3), asks, vec((0..3_usize, motion()), 0..5)),
        (vec(write, 0..3), vec((name(), expected), 0..3), valid),
        (option::of(0..9_u8), prop::bool::weighted(0.3), prop::bool::weighted(0.05), seen),
    )
        .prop_map(
            |((realm, buckets, asks, moves), (writes, expected, valid), (record, settled, opens_epoch, seen))| {
                let asks = asks.into_iter().map(|(bucket, burst, tokens, asked, beside)| Ask {
                    bucket,
                    burst: burst.min(buckets[bucket].quota.burst()),
                    tokens,
                    asked,
                    beside,
                });
                let step = Step {
                    asks: asks.collect(),
                    buckets,
                    moves: moves.into_iter().map(|(bucket, motion)| Move { bucket, motion }).collect(),
                    writes,
                    // Some lines say the same as a document.
                    record: record.map(|said| format!("body {said}")),
                    settled,
                    opens_epoch,
                    ..Step::new(String::new(), Mark::default())
                };
                let step = Step { valid: valid.unwrap_or(step.valid), ..step };
                Sketch { realm, expected, seen, step }
            },
        )
}

fn story() -> impl Strategy<Value = Story> {
    let passing = prop_oneof![
        2 => Just(0),
        1 => 1..2_000_i64,
        4 => 0..20_000_000_000_i64,
        1 => -20_000_000_000..0_i64,
    ];
    vec((passing, vec(sketch(), 1..4)), 1..12)
}

/// A store, the one in memory that it must be equal to, and how many realms they have.
struct Pair {
    store: Box<dyn Store>,
    memory: MemoryStore<SystemClock>,
    realms: u32,
}

impl Pair {
    /// Fills in what the sketch leaves open, by what the memory has.
    fn step(&mut self, sketch: &Sketch) -> Step {
        let realm = format!("{:08x}{:08x}", self.realms, sketch.realm);
        let mark = self.memory.mark().unwrap();
        let rows = documents(&mut self.memory, &realm, "");
        let version = |(name, expected): &(usize, Expected)| {
            let name = NAMES[*name];
            let current = rows.iter().find(|row| row.name == name).map_or(Version::Absent, |row| row.version);
            let version = match expected {
                Expected::Unknown => Version::Unknown,
                Expected::Absent => Version::Absent,
                Expected::Current => current,
                Expected::Stale => Version::Written(1),
            };
            (name.to_owned(), version)
        };
        let known = match sketch.seen {
            Seen::All => mark,
            Seen::More => Mark { sequence: mark.sequence + 1, ..mark },
            Seen::EarlierEpoch => Mark { epoch: mark.epoch - 1, ..mark },
        };
        Step { expect: sketch.expected.iter().map(version).collect(), known, realm, ..sketch.step.clone() }
    }

    fn run(&mut self, story: &Story) -> Result<(), TestCaseError> {
        self.realms += 1;
        let before = self.memory.mark().unwrap().sequence;
        let mut at = START;
        for (passed, sketches) in story {
            at = at.plus(Span::from_nanos(*passed));
            let steps: Vec<_> = sketches.iter().map(|sketch| self.step(sketch)).collect();
            let timescale = Timescale::stopped(at);
            let replies = self.store.transact(&steps, timescale).unwrap();
            prop_assert_eq!(replies, self.memory.transact(&steps, timescale).unwrap());
        }
        for realm in 0..2 {
            let realm = format!("{:08x}{realm:08x}", self.realms);
            prop_assert_eq!(cells(self.store.as_mut(), &realm), cells(&mut self.memory, &realm));
            prop_assert_eq!(documents(self.store.as_mut(), &realm, ""), documents(&mut self.memory, &realm, ""));
        }
        prop_assert_eq!(records(self.store.as_mut(), before + 1), records(&mut self.memory, before + 1));
        Ok(())
    }
}

/// Runs many stories one after the other in one ledger, each in realms of its own.
fn check(place: &Place, cases: u32) {
    let memory = MemoryStore::new(SystemClock);
    let pair = RefCell::new(Pair { store: place.open(), memory, realms: 0 });
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) };
    TestRunner::new(config).run(&story(), |story| pair.borrow_mut().run(&story)).unwrap();
}

#[test]
fn sqlite_answers_as_memory_does() {
    check(&Place::sqlite(), 300);
}

#[test]
fn redis_answers_as_memory_does() {
    check(&Place::redis(), 400);
}

#[test]
fn postgres_answers_as_memory_does() {
    check(&Place::postgres(), 100);
}

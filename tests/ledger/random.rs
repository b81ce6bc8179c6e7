//! Steps made from numbers: the same number makes the same step, so that a ledger's record, which holds the number, can be replayed.

use certpace::clock::{SystemClock, Timescale};
use certpace::gcra::Quota;
use certpace::ledger::{
    Ask, Bucket, Cell, Mark, MemoryStore, Motion, Move, Outcome, Record, Step, Store, Version, Write,
};
use certpace::time::{Span, Timestamp};

use super::stores::{REALM, cells, records};

/// `SplitMix64`: numbers for tests.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn small(&mut self, end: u32) -> u32 {
        u32::try_from(self.below(u64::from(end))).unwrap()
    }

    fn chance(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// The document that all steps of [`step_of`] fight for.
pub(super) const DOCUMENT: &str = "state";

/// A step over five buckets that asks, moves and sometimes writes [`DOCUMENT`], of which it expects `version`.
pub(super) fn step_of(seed: u64, version: Version) -> Step {
    let mut random = Random(seed);
    let quota = |burst: u64| Quota::new(burst, burst, Span::from_nanos(50_000_000)).unwrap().in_micros();
    let buckets =
        (0..5).map(|place| Bucket { name: format!("orders {place}"), quota: quota(place * 3 + 1), floor: None });
    let mut step = Step::new(REALM.to_owned(), Mark::default());
    step.buckets = buckets.collect();
    for _ in 0..=random.below(2) {
        let bucket = usize::try_from(random.below(5)).unwrap();
        let burst = step.buckets[bucket].quota.burst();
        let beside = random.chance().then_some((bucket + 1) % 5);
        step.asks.push(Ask { bucket, burst, tokens: random.small(2), asked: random.chance(), beside });
    }
    for _ in 0..=random.below(3) {
        let bucket = usize::try_from(random.below(5)).unwrap();
        let asked = random.chance();
        let motion = match random.below(6) {
            0 => Motion::Hold { asked },
            1 => Motion::Spend { asked },
            2 => Motion::Release { asked },
            3 => Motion::Charge { at: None },
            _ => Motion::Try,
        };
        step.moves.push(Move { bucket, motion });
    }
    if random.below(3) == 0 {
        let lease = random.chance().then(|| Timestamp::from_unix_seconds(4_000_000_000));
        let body = (random.below(8) > 0).then(|| format!("written by {seed}"));
        step.expect.push((DOCUMENT.to_owned(), version));
        step.writes.push(Write { name: DOCUMENT.to_owned(), body, lease });
    }
    let version = match version {
        Version::Unknown => "unknown".to_owned(),
        Version::Absent => "absent".to_owned(),
        Version::Written(sequence) => sequence.to_string(),
    };
    step.record = Some(format!("{seed} {version}"));
    step
}

/// The step that a record's line tells of.
fn step_from(record: &Record) -> Step {
    let (seed, version) = record.body.split_once(' ').unwrap();
    let version = match version {
        "unknown" => Version::Unknown,
        "absent" => Version::Absent,
        sequence => Version::Written(sequence.parse().unwrap()),
    };
    step_of(seed.parse().unwrap(), version)
}

/// What a ledger's record makes of an empty ledger, one line after the other.
pub(super) struct Replay(MemoryStore<SystemClock>);

impl Replay {
    pub(super) fn new() -> Self {
        Self(MemoryStore::new(SystemClock))
    }

    /// Does what `store` has done since; then both have the same cells and the same mark.
    pub(super) fn catch_up(&mut self, store: &mut dyn Store) {
        let before = self.0.mark().unwrap().sequence;
        for record in records(store, before + 1) {
            let reply = self.0.transact(&[step_from(&record)], Timescale::stopped(record.at)).unwrap().remove(0);
            assert!(matches!(reply.outcome, Outcome::Done { .. }), "{record:?}: {reply:?}");
            assert_eq!(reply.mark.sequence, record.sequence, "{record:?}");
        }
        assert_eq!(store.mark().unwrap(), self.0.mark().unwrap());
        let both: [Vec<(String, Cell)>; 2] = [cells(store, REALM), cells(&mut self.0, REALM)];
        assert_eq!(both[0], both[1]);
    }
}

//! Random operations by several processes on one ledger, and the same on a [`Book`] in memory: the same answers, and the same buckets
//! afterwards.

use std::collections::BTreeMap;

use certpace::gate::{Dispatch, GateError, Never, Refusal, Replaces, Request, Told, Verdict};
use certpace::ledger::bucket_name;
use certpace::limits::{LimitName, Limits};
use certpace::name::NameSet;
use certpace::permits::{self, Answer, Book, Event, Holder, PermitError, PermitId, Sending, State, Terms};
use certpace::plan::Share;
use certpace::rules::Model;
use certpace::time::{Span, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::world::{Place, STORES, SUFFIXES, World, letsencrypt, limit, realm};

/// Small bursts, so that every one of them is run into.
pub(super) fn tight() -> Limits {
    let mut limits = letsencrypt();
    let policy = &mut limits.policy;
    policy.set_limit(LimitName::NewOrdersPerAccount, limit(5, 50));
    policy.set_limit(LimitName::CertificatesPerDomain, limit(3, 90));
    policy.set_limit(LimitName::CertificatesPerFqdnSet, limit(2, 400));
    policy.set_limit(LimitName::FailedAuthorizationsPerDomainPerAccount, limit(2, 120));
    policy.set_limit(LimitName::FailedAuthorizationsForPausingPerDomainPerAccount, limit(3, 4_000));
    policy.renewal.same_set_memory = Span::from_seconds(6_000);
    limits.overrides.set(LimitName::CertificatesPerDomainPerAccount, "acct 1", limit(2, 60).unwrap());
    limits
}

#[derive(Clone, Debug)]
pub(super) struct Asks {
    account: usize,
    names: u8,
    holder: u32,
    /// The window's start and end, in seconds from now.
    window: Option<(i64, i64)>,
    lease: i64,
    silent: bool,
    headroom: u32,
    urgent: bool,
    /// Whether it is a question only.
    asks: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Says {
    Sent,
    Accepted,
    Commit,
    Fail(u8),
    Cancel,
    Lost,
    Extend(i64),
    Refused(Option<i64>, Option<Index>),
    Found(i64),
    NotFound,
}

#[derive(Clone, Debug)]
pub(super) enum Op {
    Asks(Asks),
    Says(Index, Says),
}

/// After so many nanoseconds, by one of the processes.
type Timed = (i64, usize, Op);

pub(super) fn op() -> impl Strategy<Value = Timed> {
    const SECOND: i64 = 1_000_000_000;
    let gap = prop_oneof![
        4 => Just(0),
        2 => 0..3_000_i64,
        2 => 0..2 * SECOND,
        4 => (0..120_i64).prop_map(|seconds| seconds * SECOND),
        1 => prop_oneof![4 => 0..600 * SECOND, 1 => 0..20_000 * SECOND],
    ];
    let window = prop_oneof![3 => Just(None), 1 => (-10..10_i64, 0..700_i64).prop_map(Some)];
    let lease = prop_oneof![1 => 0..5_i64, 2 => 5..600_i64, 2 => Just(1_800)];
    let flags = (prop::bool::weighted(0.3), prop::bool::weighted(0.2), prop::bool::weighted(0.2));
    let asks = (0..2_usize, 1..16_u8, 0..2_u32, window, lease, prop_oneof![Just(0), 0..600_000_u32], flags).prop_map(
        |(account, names, holder, window, lease, headroom, (silent, urgent, asks))| {
            Op::Asks(Asks { account, names, holder, window, lease, silent, headroom, urgent, asks })
        },
    );
    let says = prop_oneof![
        6 => Just(Says::Sent),
        2 => Just(Says::Accepted),
        4 => Just(Says::Commit),
        5 => (0..16_u8).prop_map(Says::Fail),
        2 => Just(Says::Cancel),
        2 => Just(Says::Lost),
        1 => (0..900_i64).prop_map(Says::Extend),
        3 => (prop::option::weighted(0.8, 0..2_000_i64), prop::option::weighted(0.3, any::<Index>()))
            .prop_map(|(retry, bucket)| Says::Refused(retry, bucket)),
        1 => (0..900_i64).prop_map(Says::Found),
        1 => Just(Says::NotFound),
    ];
    let says = (any::<Index>(), says).prop_map(|(permit, says)| Op::Says(permit, says));
    (gap, 0..3_usize, prop_oneof![1 => asks, 2 => says])
}

fn seconds(seconds: i64) -> Span {
    Span::from_seconds(seconds)
}

/// The ledger and the book beside it.
pub(super) struct Both {
    pub(super) world: World,
    pub(super) book: Book,
    /// The gate's permits and the book's, in the order in which they were given.
    permits: Vec<(String, PermitId)>,
    /// Up to how much later the gate may be than the book.
    slack: Span,
    pub(super) seen: BTreeMap<&'static str, u32>,
}

impl Both {
    pub(super) fn new(place: Place, limits: Limits, slack: Span) -> Self {
        let book = Book::new(Model::new(limits.clone(), SUFFIXES.clone()));
        Self { world: World::new(place, limits), book, permits: Vec::new(), slack, seen: BTreeMap::new() }
    }

    pub(super) fn run(&mut self, (gap, gate, op): &Timed) -> Result<(), TestCaseError> {
        self.world.set_now(self.world.now.plus(Span::from_nanos(*gap)));
        match op {
            Op::Asks(asks) => self.ask(*gate, asks),
            Op::Says(_, _) if self.permits.is_empty() => Ok(()),
            Op::Says(permit, says) => {
                // One of the last few.
                let few = self.permits.len().min(6);
                let (permit, id) = self.permits[self.permits.len() - 1 - permit.index(few)].clone();
                self.say(*gate, &permit, id, says)
            }
        }
    }

    /// What time it is in the ledger: whole microseconds.
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_micros(self.world.now.unix_micros())
    }

    fn names(bits: u8) -> NameSet {
        let names = ["a.example.com", "b.example.com", "a.example.net", "*.example.org"];
        NameSet::parse((0..4).filter(|bit| bits & 1 << bit != 0).map(|bit| names[bit])).unwrap()
    }

    fn ask(&mut self, gate: usize, asks: &Asks) -> Result<(), TestCaseError> {
        let now = self.now();
        let (account, names) = (["2", "acct 1"][asks.account], Self::names(asks.names));
        let window = asks.window.map(|(start, end)| (now.plus(seconds(start)), now.plus(seconds(end))));
        let sending = if asks.silent { Sending::Silent } else { Sending::Announced };
        let request = Request {
            replaces: window.map(|window| Replaces { certificate: "c".to_owned(), window: Some(window) }),
            lease: seconds(asks.lease),
            sending,
            headroom: Share::parts_per_million(asks.headroom),
            urgent: asks.urgent,
            retry_now: true,
            ..Request::of(account, names.clone(), &asks.holder.to_string())
        };
        let asked = permits::Request {
            order: self.book.order(account, &names),
            holder: Holder::new(asks.holder),
            replaces: window,
            lease: request.lease,
            sending,
            headroom: if asks.urgent { Share::default() } else { request.headroom },
        };
        self.book.lapse(now);
        let mut book = self.book.clone();
        let expected = book.reserve(&asked, now);
        let gate = &mut self.world.gates[gate];
        let answer = if asks.asks { gate.check(&request) } else { gate.reserve(&request) }.unwrap();
        prop_assert_eq!(answer.at, now);
        *self.seen.entry(answer.verdict.word()).or_default() += 1;
        match (answer.verdict, expected) {
            (Verdict::Allow { permit, .. }, Answer::Allow(id)) => {
                if asks.asks {
                    return Ok(());
                }
                let (permit, of) = (permit.unwrap(), *book.permit(id).unwrap());
                prop_assert_eq!((permit.claim, permit.life.state), (of.terms().claim, of.state()));
                prop_assert_eq!(permit.life.lease_end, of.lease_end());
                match self.permits.iter().find(|(known, of)| *known == permit.permit || *of == id) {
                    Some(known) => prop_assert_eq!(known, &(permit.permit, id), "the same again"),
                    None => self.permits.push((permit.permit, id)),
                }
                self.book = book;
            }
            (Verdict::Later { at, blocking }, Answer::Later { at: exact, blocking: exactly }) => {
                self.later(at, exact)?;
                if self.slack == Span::ZERO {
                    let name = |bucket| {
                        let (limit, key) = book.model().describe(bucket);
                        bucket_name(limit, &key)
                    };
                    let mut exactly: Vec<_> = exactly.iter().map(|of| (of.at, name(of.bucket))).collect();
                    exactly.sort();
                    prop_assert_eq!(blocking.into_iter().map(|of| (of.at, of.bucket)).collect::<Vec<_>>(), exactly);
                }
            }
            // Up to a microsecond for each token later.
            (Verdict::Later { at, .. }, Answer::Allow(_)) => self.later(at, now)?,
            (Verdict::Never(Never::Paused { .. }), Answer::Never(permits::Never::Paused)) => {}
            (Verdict::InHand { holder, until, .. }, Answer::InHand { holder: of, until: exact }) => {
                prop_assert_eq!((Holder::new(holder.parse().unwrap()), until), (of, exact));
            }
            (told, expected) => prop_assert!(false, "{:?} for {:?}", told, expected),
        }
        Ok(())
    }

    fn later(&self, at: Timestamp, exact: Timestamp) -> Result<(), TestCaseError> {
        prop_assert!(exact <= at && at <= exact.plus(self.slack), "{} for {}", at, exact);
        Ok(())
    }

    fn say(&mut self, gate: usize, permit: &str, id: PermitId, says: &Says) -> Result<(), TestCaseError> {
        let now = self.now();
        self.book.lapse(now);
        if matches!(says, Says::Sent) {
            return self.send(gate, permit, id);
        }
        let (gate, book) = (&mut self.world.gates[gate], &mut self.book);
        let (told, expected) = match says {
            Says::Sent => return Ok(()),
            Says::Accepted => (gate.accepted(permit), book.apply(id, Event::Accepted, now)),
            Says::Commit => (gate.commit(permit), book.apply(id, Event::Issued, now)),
            Says::Fail(bits) => {
                let of = gate.permit(permit).unwrap();
                let failed: Vec<_> = (0_u16..).zip(&of.names).filter(|(place, _)| bits & 1 << place != 0).collect();
                let names: Vec<_> = failed.iter().map(|(_, name)| (*name).clone()).collect();
                let places: Vec<_> = failed.iter().map(|(place, _)| *place).collect();
                (gate.fail(permit, &names), book.failed(id, &places, now))
            }
            Says::Cancel => (gate.cancel(permit), book.apply(id, Event::Cancelled, now)),
            Says::Lost => (gate.lost(permit), book.apply(id, Event::Lost, now)),
            Says::Extend(lease) => {
                let lease_end = now.plus(seconds(*lease));
                (gate.extend(permit, seconds(*lease)), book.apply(id, Event::Extended { lease_end }, now))
            }
            Says::Refused(retry, bucket) => {
                let Terms { order, claim, .. } = book.permit(id).unwrap().terms();
                let stakes = book.model().stakes(order, claim.exemption());
                let asked: Vec<_> = stakes.filter(|stake| stake.asked).map(|stake| stake.bucket).collect();
                let named = bucket.as_ref().filter(|_| retry.is_some() && !asked.is_empty());
                let named = named.map(|bucket| asked[bucket.index(asked.len())]);
                // The sentence tells whole seconds, and a second is added in case they were rounded.
                let second = Timestamp::from_unix_seconds(now.unix_micros() / 1_000_000);
                let retry_at = retry.map(|retry| if named.is_some() { second } else { now }.plus(seconds(retry)));
                let sentence = |bucket| book.model().refusal(bucket, retry_at.unwrap()).to_string();
                let refusal = Refusal {
                    retry_after: retry.filter(|_| named.is_none()).map(seconds),
                    detail: named.map(sentence),
                };
                let retry_at = retry_at.map(|retry_at| retry_at.plus(seconds(1)));
                (gate.refused(permit, &refusal), book.refused(id, named, retry_at, now))
            }
            Says::Found(ago) => {
                let issued_at = now.minus(seconds(*ago));
                (gate.found(permit, issued_at), book.apply(id, Event::Found { issued_at }, now))
            }
            Says::NotFound => (gate.not_found(permit), book.apply(id, Event::NotFound, now)),
        };
        self.agree(told, expected)
    }

    fn agree(
        &mut self,
        told: Result<Told, GateError>,
        expected: Result<State, PermitError>,
    ) -> Result<(), TestCaseError> {
        match (told, expected) {
            (Ok(told), Ok(state)) => {
                *self.seen.entry("told").or_default() += 1;
                prop_assert_eq!((told.state(), told.at), (state, self.now()));
            }
            (Err(GateError::Permit { error, .. }), Err(expected)) => {
                *self.seen.entry("nonsense").or_default() += 1;
                prop_assert_eq!(error, expected);
            }
            (told, expected) => prop_assert!(false, "{:?} for {:?}", told, expected),
        }
        Ok(())
    }

    fn send(&mut self, gate: usize, permit: &str, id: PermitId) -> Result<(), TestCaseError> {
        let now = self.now();
        let mut book = self.book.clone();
        let dispatched = self.world.gates[gate].sent(permit);
        match (dispatched, book.sent(id, now)) {
            (Ok(Dispatch::Go(told)), Ok(permits::Dispatch::Go)) => {
                prop_assert_eq!(told.told().state(), State::Sent);
                *self.seen.entry("go").or_default() += 1;
                self.book = book;
            }
            // It had gone out already: the book says the same again, and the gate that nobody gets leave twice.
            (Ok(Dispatch::Gone(told)), Ok(permits::Dispatch::Go)) => {
                prop_assert_eq!(told.state(), State::Sent);
                *self.seen.entry("gone").or_default() += 1;
                self.book = book;
            }
            (Ok(Dispatch::Later { at, .. }), Ok(permits::Dispatch::Later(raised))) => {
                *self.seen.entry("raised").or_default() += 1;
                self.later(at, raised.at)?;
            }
            (Ok(Dispatch::Later { at, .. }), Ok(permits::Dispatch::Go)) => self.later(at, now)?,
            // Of a bucket in the way and an exemption that is over, the gate tells what no waiting mends.
            (Err(GateError::Permit { error: PermitError::ClaimOver(_), .. }), Ok(permits::Dispatch::Later(_))) => {}
            (Err(GateError::Permit { error, .. }), Err(expected)) => prop_assert_eq!(error, expected),
            (told, expected) => prop_assert!(false, "{:?} for {:?}", told, expected),
        }
        Ok(())
    }

    /// Every permit and every bucket is the same.
    pub(super) fn compare(&mut self) -> Result<(), TestCaseError> {
        let now = self.now();
        // Leases are dealt with when something is asked.
        self.book.lapse(now);
        let other = Request::of("elsewhere", NameSet::parse(["elsewhere.example"]).unwrap(), "x");
        let _dealt_with = self.world.gates[0].check(&other).unwrap();
        let permits = self.world.gates[1].permits().unwrap();
        prop_assert_eq!(permits.len(), self.permits.len());
        for (number, id) in &self.permits {
            let (permit, of) = (permits.iter().find(|permit| permit.permit == *number), self.book.permit(*id).unwrap());
            let life = permit.unwrap().life;
            prop_assert_eq!((life.state, life.lease_end), (of.state(), of.lease_end()));
            prop_assert_eq!((life.accepted, life.lost_at), (of.life().accepted, of.life().lost_at));
        }
        let cells: BTreeMap<_, _> = self.world.cells().into_iter().collect();
        for bucket in self.book.model().all_buckets() {
            let (limit, key) = self.book.model().describe(bucket);
            let (name, tally) = (bucket_name(limit, &key), self.book.tally(bucket));
            let cell = cells.get(&name).copied().unwrap_or_default();
            prop_assert_eq!(cell.tally.held, tally.held, "{}", name);
            prop_assert!(cell.asked <= tally.held);
            if self.slack == Span::ZERO {
                prop_assert_eq!(cell.tally.tat, tally.tat, "{}", name);
            } else {
                prop_assert!(cell.tally.tat >= tally.tat, "{}", name);
            }
        }
        self.rebuild(cells)
    }

    /// The record tells the same.
    fn rebuild(&mut self, cells: BTreeMap<String, certpace::ledger::Cell>) -> Result<(), TestCaseError> {
        let mut store = self.world.place.open();
        let rebuilt = certpace::gate::verify::rebuild(store.as_mut(), &realm().code(), Default::default()).unwrap();
        prop_assert_eq!(rebuilt, cells);
        Ok(())
    }
}

/// Runs all of it; what was answered, and how often.
fn check(place: Place, ops: &[Timed]) -> Result<BTreeMap<&'static str, u32>, TestCaseError> {
    let mut both = Both::new(place, tight(), Span::ZERO);
    for op in ops {
        both.run(op)?;
    }
    both.compare()?;
    Ok(both.seen)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_gate_answers_as_the_book_does(ops in vec(op(), 1..120)) {
        check(Place::memory(), &ops)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn the_same_in_every_store(ops in vec(op(), 1..100)) {
        for (_, make) in STORES {
            check(make(), &ops)?;
        }
    }
}

/// The properties above have teeth: every answer comes.
#[test]
fn such_operations_meet_every_answer() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut seen: BTreeMap<&'static str, u32> = BTreeMap::new();
    for _ in 0..40 {
        let ops = vec(op(), 100).new_tree(&mut runner).unwrap().current();
        for (word, times) in check(Place::memory(), &ops).unwrap() {
            *seen.entry(word).or_default() += times;
        }
    }
    for word in ["allow", "later", "never", "in-hand", "go", "raised", "told", "nonsense"] {
        assert!(seen.get(word).is_some_and(|times| *times >= 3), "{word}: {seen:?}");
    }
}

//! Many processes on one ledger, killed at random: what they were let do, done again in front of a CA that counts by itself, is never
//! refused.
//!
//! A process is this test binary, started again with [`WORKER`] set. `CERTPACE_LONG_TESTS=1` makes it a minute instead of seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use certpace::buckets::Batch;
use certpace::clock::{Clock as _, Stopwatch, SystemClock, Timescale};
use certpace::gate::{Dispatch, Entry, Gate, GateError, Permitted, Request, Verdict, verify};
use certpace::ledger::{Access, Cell, LedgerUrl, Record, Store, Writer, open};
use certpace::limits::{LimitName, Limits};
use certpace::name::{Identifier, NameSet};
use certpace::permits::{Sending, State};
use certpace::rules::{Decision, Exemption, Model};
use certpace::time::{Span, Timestamp};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use super::clocks::Off;
use super::world::{Place, STORES, SUFFIXES, letsencrypt, limit, realm};

/// In the environment of a worker, by lines: the ledger, a folder, the instant from which time goes faster, and its number.
const WORKER: &str = "CERTPACE_TEST_WORKER";
const PROCESSES: usize = 8;
const THREADS: usize = 8;
/// How much faster than the clock time goes.
const SPEED: u32 = 40;
const LEASE: Span = Span::from_seconds(20);
/// Sets that share domains, for two accounts.
const SETS: [&[&str]; 7] = [
    &["a.example.com"],
    &["b.example.com"],
    &["a.example.com", "b.example.com"],
    &["example.net"],
    &["example.net", "a.example.com"],
    &["example.org"],
    &["*.example.org", "c.example.com"],
];

fn limits() -> Limits {
    let mut limits = letsencrypt();
    let policy = &mut limits.policy;
    policy.set_limit(LimitName::NewOrdersPerAccount, limit(5, 4));
    policy.set_limit(LimitName::CertificatesPerDomain, limit(4, 9));
    policy.set_limit(LimitName::CertificatesPerFqdnSet, limit(3, 15));
    policy.set_limit(LimitName::FailedAuthorizationsPerDomainPerAccount, limit(3, 20));
    policy.set_limit(LimitName::FailedAuthorizationsForPausingPerDomainPerAccount, limit(6, 30));
    policy.renewal.same_set_memory = Span::from_seconds(200);
    limits
}

fn seconds() -> i64 {
    if std::env::var_os("CERTPACE_LONG_TESTS").is_some() { 60 } else { 8 }
}

/// A worker's life: threads with a gate each over one store, until it is killed or told to stop. Nothing to do where it was not asked for.
#[test]
fn worker() {
    let Ok(told) = std::env::var(WORKER) else { return };
    let told: Vec<_> = told.lines().collect();
    let folder = Path::new(told[1]);
    let from = Timestamp::from_unix_micros(told[2].parse().unwrap());
    let number: u64 = told[3].parse().unwrap();
    let url: LedgerUrl = told[0].parse().unwrap();
    // Where a store is shared its clock decides, however wrong the machines' are; a file has no other clock than this one.
    let clock = if url.is_shared() { Off::of(told[3].parse().unwrap()) } else { Off::of(1) };
    let (store, _) = open(&url, Access::MustExist, clock).unwrap();
    work(store, Timescale::faster(SPEED, from, from), number, &folder.join("stop"), &folder.join(told[3]));
}

fn work(store: Box<dyn Store>, timescale: Timescale, number: u64, stop: &Path, log: &Path) {
    let writer = Writer::start(store);
    thread::scope(|scope| {
        for worker in 0..THREADS as u64 {
            let (writer, mut seed) = (writer.clone(), [0; 32]);
            seed[..8].copy_from_slice(&(number * 64 + worker).to_le_bytes());
            scope.spawn(move || {
                let mut gate = Gate::sharing(writer, realm(), limits(), SUFFIXES.clone(), timescale, seed).unwrap();
                let mut log = OpenOptions::new().create(true).append(true).open(log).unwrap();
                let mut random = ChaCha8Rng::from_seed(seed);
                // Of another stream than the gate's own numbers.
                random.set_stream(1);
                let holder = format!("{number}-{worker}");
                while !stop.exists() {
                    order(&mut gate, &holder, &mut random, &mut log);
                }
            });
        }
    });
}

/// Says what the ledger has answered: that must never be lost.
fn noted(log: &mut File, permit: &str, what: &str) {
    log.write_all(format!("{permit} {what}\n").as_bytes()).unwrap();
}

/// One order, to some end or none.
fn order(gate: &mut Gate, holder: &str, random: &mut ChaCha8Rng, log: &mut File) {
    let mut below = |most: u32| random.next_u32() % most;
    let set = SETS[below(7) as usize];
    let account = if below(2) == 0 { "1" } else { "2" };
    let request = Request {
        lease: LEASE,
        retry_now: true,
        sending: if below(10) == 0 { Sending::Silent } else { Sending::Announced },
        priority: i32::try_from(below(3)).unwrap(),
        ..Request::of(account, NameSet::parse(set.iter().copied()).unwrap(), holder)
    };
    let ticket = (below(3) == 0).then(|| format!("{holder}-{}", below(1_000_000)));
    let Some(permit) = reserve(gate, &request, ticket.as_deref(), below(8) == 0) else { return };
    noted(log, &permit, "reserve");
    match below(20) {
        0 => return,
        1 | 2 => return cancel(gate, &permit, log),
        _ => {}
    }
    match gate.sent(&permit) {
        Ok(Dispatch::Go(_)) => noted(log, &permit, "sent"),
        Ok(Dispatch::Later { .. } | Dispatch::Frozen(_)) => return cancel(gate, &permit, log),
        // The holder before was killed.
        Ok(Dispatch::Gone(_)) => {}
        // It took too long.
        Err(GateError::Permit { .. }) => return,
        Err(error) => panic!("{error}"),
    }
    if below(2) == 0 {
        gate.accepted(&permit).unwrap();
        noted(log, &permit, "accepted");
    }
    let what = match below(20) {
        0 | 1 => return,
        2..5 => gate.fail(&permit, &[set[0].to_owned()]).map(|_| "fail"),
        5 => gate.lost(&permit).map(|_| "lost"),
        _ => gate.commit(&permit).map(|_| "commit"),
    };
    noted(log, &permit, what.unwrap());
}

/// Asks, with a ticket a few times; whoever `dies` keeps its place in the queue when it goes.
fn reserve(gate: &mut Gate, request: &Request, ticket: Option<&str>, dies: bool) -> Option<String> {
    for _ in 0..if ticket.is_some() { 8 } else { 1 } {
        let answer = match ticket {
            Some(ticket) => gate.reserve_in_turn(request, ticket),
            None => gate.reserve(request),
        };
        if let Verdict::Allow { permit: Some(permit), .. } = answer.unwrap().verdict {
            return Some(permit.permit);
        }
        pause(10);
    }
    if let (Some(ticket), false) = (ticket, dies) {
        gate.leave(ticket).unwrap();
    }
    None
}

fn cancel(gate: &mut Gate, permit: &str, log: &mut File) {
    match gate.cancel(permit) {
        Ok(_) => noted(log, permit, "cancel"),
        // One that says nothing when it sends may have been sent, by the end of its lease.
        Err(GateError::Permit { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

fn start(url: &LedgerUrl, folder: &Path, from: Timestamp, number: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "gate::concurrency::worker", "--test-threads=1"])
        .env(WORKER, format!("{url}\n{}\n{}\n{number}", folder.display(), from.unix_micros()))
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn pause(millis: u64) {
    #[expect(clippy::disallowed_methods, reason = "processes are killed in real time")]
    thread::sleep(std::time::Duration::from_millis(millis));
}

/// Over each store that processes can share.
#[test]
fn processes_that_are_killed_never_exceed_the_limits() {
    for (name, make) in STORES {
        let place = make();
        let Some(url) = place.url.clone() else { continue };
        let (folder, from) = (tempfile::tempdir().unwrap(), SystemClock.now());
        let mut random = ChaCha8Rng::from_seed([9; 32]);
        let start = |number| start(&url, folder.path(), from, number);
        let mut workers: Vec<_> = (0..PROCESSES).map(start).collect();
        let (watch, mut next) = (Stopwatch::start(), PROCESSES);
        while watch.elapsed() < Span::from_seconds(seconds()) {
            pause(u64::from(200 + random.next_u32() % 300));
            let place = random.next_u32() as usize % PROCESSES;
            // By its own handle: SIGKILL, wherever it is.
            workers[place].kill().unwrap();
            workers[place].wait().unwrap();
            workers[place] = start(next);
            next += 1;
        }
        File::create(folder.path().join("stop")).unwrap();
        for mut worker in workers {
            assert!(worker.wait().unwrap().success(), "a worker on {name} failed");
        }
        let log = |number: usize| std::fs::read_to_string(folder.path().join(number.to_string())).ok();
        judge(&place, Timescale::faster(SPEED, from, from), &(0..next).filter_map(log).collect::<String>());
    }
}

#[test]
fn threads_in_memory_never_exceed_the_limits() {
    let place = Place::in_memory(SystemClock);
    let folder = tempfile::tempdir().unwrap();
    let (stop, log) = (folder.path().join("stop"), folder.path().join("log"));
    let from = SystemClock.now();
    let timescale = Timescale::faster(SPEED, from, from);
    thread::scope(|scope| {
        for number in 0..4 {
            let (store, stop, log) = (place.open(), &stop, &log);
            scope.spawn(move || work(store, timescale, number, stop, log));
        }
        pause(u64::try_from(seconds()).unwrap() * 1_000);
        File::create(&stop).unwrap();
    });
    judge(&place, timescale, &std::fs::read_to_string(&log).unwrap());
}

/// Holds the history against all that was promised.
fn judge(place: &Place, timescale: Timescale, answered: &str) {
    let code = realm().code();
    let mut store = place.open();
    // Long after all of it every lease has ended, and nothing is held.
    let later = Timescale::stopped(timescale.at(SystemClock.now()).plus(Span::from_hours(1)));
    let mut gate = Gate::new(place.open(), realm(), limits(), SUFFIXES.clone(), later, [99; 32]).unwrap();
    let _settled = gate.check(&Request::of("3", NameSet::parse(["example.info"]).unwrap(), "x")).unwrap();
    let mut cells: BTreeMap<String, Cell> = BTreeMap::new();
    store.cells(&code, &mut |name, cell| _ = cells.insert(name, cell)).unwrap();
    assert!(cells.values().all(|cell| (cell.tally.held, cell.asked) == (0, 0)), "{cells:?}");
    assert_eq!(verify::rebuild(store.as_mut(), &code, verify::Base::default()).unwrap(), cells);

    let mut records: Vec<Record> = Vec::new();
    store.records(0, 1_000_000, &mut |record| records.push(record)).unwrap();
    assert!(records.windows(2).all(|pair| pair[0].sequence < pair[1].sequence && pair[0].at <= pair[1].at));
    let entries: Vec<Entry> = records.iter().map(|record| Entry::read(&record.body).unwrap()).collect();
    let told: BTreeSet<_> =
        entries.iter().filter_map(|entry| Some(format!("{} {}", entry.permit.as_ref()?, entry.what))).collect();
    let lost: Vec<_> = answered.lines().filter(|line| !told.contains(*line) && !was_late(line, &told)).collect();
    assert!(lost.is_empty(), "answered, and not in the record: {lost:?}");

    let permits: BTreeMap<_, _> =
        gate.permits().unwrap().into_iter().map(|permit| (permit.permit.clone(), permit)).collect();
    assert_eq!(permits.len(), entries.iter().filter(|entry| entry.what == "reserve").count());
    assert!(permits.values().all(|permit| !permit.life.state.is_live()));
    one_winner(&entries, &permits);
    let counts = at_the_ca(&records, &entries, &permits);
    let lapses = entries.iter().filter(|entry| entry.what == "lapse").count();
    assert!(counts.0 > 20 && counts.1 > 20 && lapses > 0, "{counts:?}, {lapses}: the test has no teeth");
}

/// What was told after the lease changed nothing more if it had been told, or was what the lease's end came to.
fn was_late(line: &str, told: &BTreeSet<String>) -> bool {
    line.strip_suffix(" lost").is_some_and(|permit| told.contains(&format!("{permit} lapse")))
}

/// Of each set one permit at a time.
fn one_winner(entries: &[Entry], permits: &BTreeMap<String, Permitted>) {
    let mut hands: BTreeMap<String, &str> = BTreeMap::new();
    for entry in entries {
        let Some(permit) = &entry.permit else { continue };
        let set = permits[permit].set();
        match entry.detail.get("state") {
            None => assert_eq!(hands.insert(set, permit), None, "a set has a second one: {permit}"),
            Some(state) => {
                let state: State = serde_json::from_value(state.clone()).unwrap();
                if !state.is_live() && hands.get(&set) == Some(&permit.as_str()) {
                    hands.remove(&set);
                }
            }
        }
    }
}

/// What happens of a permit at the CA, where nobody was told when.
struct Fate {
    /// The order comes as soon as it is sent, not just before its end.
    at_once: bool,
    committed: bool,
    arrived: bool,
    issued: bool,
}

/// Does all of it again at the CA: each order at one or the other end of the time in which it may have come. How many orders came, and
/// how many certificates were issued.
fn at_the_ca(records: &[Record], entries: &[Entry], permits: &BTreeMap<String, Permitted>) -> (u32, u32) {
    let mut ca = Model::new(limits(), SUFFIXES.clone());
    let (mut a, mut b) = (Batch::default(), Batch::default());
    let mut counts = (0, 0);
    let committed: BTreeSet<_> =
        entries.iter().filter(|entry| entry.what == "commit").filter_map(|entry| entry.permit.clone()).collect();
    let mut fates: BTreeMap<&str, Fate> = BTreeMap::new();
    for (record, entry) in records.iter().zip(entries) {
        let Some(number) = &entry.permit else { continue };
        let (permit, now) = (&permits[number], record.at);
        let fate = fates.entry(number).or_insert_with(|| Fate {
            at_once: number.ends_with(['0', '2', '4', '6', '8', 'a', 'c', 'e']),
            committed: committed.contains(number),
            arrived: false,
            issued: false,
        });
        let names = NameSet::parse(permit.names.iter().map(String::as_str)).unwrap();
        let order = ca.order(&permit.account, &names);
        let silent = entry.what == "reserve" && permit.sending == Sending::Silent && permit.life.lost_at.is_some();
        let sent = entry.what == "sent" || silent;
        let unknown = matches!(entry.what.as_str(), "lapse" | "lost");
        let comes = match entry.what.as_str() {
            "accepted" | "commit" | "fail" | "lost" => true,
            // With a lease that ran out it came before; which is known only afterwards.
            _ => sent && (fate.at_once || permit.life.lost_at.is_some()),
        };
        if comes && !fate.arrived {
            fate.arrived = true;
            let claimed = permit.claim.exemption();
            let exemption = ca.exemption(order, false, now);
            assert!(claimed != Exemption::SameSet || exemption == Exemption::SameSet, "{number}: no such exemption");
            let decision = ca.new_order(order, exemption, now, &mut a);
            let denials: Vec<_> =
                a.denials().map(|(denied, outcome)| (ca.describe(denied.bucket().unwrap()), outcome)).collect();
            assert_eq!(decision, Decision::Allow, "{number} at {now}, line {}: {denials:?}", record.sequence);
            counts.0 += 1;
        }
        let renewal = ca.exemption(order, false, now) == Exemption::SameSet;
        // Of what is unknown some was issued, in time for its exemption if it has one.
        let in_time = renewal || permit.claim.exemption() == Exemption::None;
        let issues = entry.what == "commit" || unknown && fate.arrived && !fate.at_once && !fate.committed && in_time;
        if issues && !fate.issued {
            fate.issued = true;
            ca.issued(order, renewal, now, &mut a);
            counts.1 += 1;
        }
        if entry.what == "fail" {
            let name = Identifier::parse(
                SETS.iter()
                    .find_map(|set| {
                        let failed = permit.failed.first()?;
                        set.contains(&failed.as_str()).then_some(failed.as_str())
                    })
                    .unwrap(),
            )
            .unwrap();
            assert!(!ca.validation_failed(&permit.account, &name, now, [&mut a, &mut b]), "{number}: {name} is paused");
        }
    }
    counts
}

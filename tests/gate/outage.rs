//! The store is gone for four hours while six-day certificates have to be renewed: renewals inside their ARI windows go out by the journal,
//! nothing else does; and when the store is back, the ledger knows all of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use certpace::clock::{Clock as _, SystemClock, Timescale};
use certpace::gate::journal::{Journal, News, Pass};
use certpace::gate::{Gate, GateError, Replaces, Request};
use certpace::ledger::{Access, Cell, LedgerError, LedgerUrl, limit_and_key, open};
use certpace::limits::LimitName;
use certpace::time::{Span, Timestamp};
use tempfile::TempDir;

use super::world::{START, SUFFIXES, letsencrypt, of, permit_of, realm};
use crate::postgres::Postgres;
use crate::redis::Redis;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
/// The time that is played, and how often somebody looks what is due.
const DAY: i64 = 24 * HOUR;
const TICK: i64 = 10 * MINUTE;
/// The store is gone from then until then.
const GONE: std::ops::Range<i64> = 8 * HOUR..12 * HOUR;
/// Certificates of six days, whose windows of three hours open one after the other.
const RENEWALS: i64 = 36;
const WINDOW: i64 = 3 * HOUR;
/// What each domain has spent before: more than comes back in the time that is played, so that no token is lost to a full bucket.
const SPENT: usize = 10;
const DOMAINS: [&str; 3] = ["example.com", "example.net", "example.org"];

/// A server that can be stopped and started again.
enum Server {
    Redis(Redis),
    Postgres(Postgres),
}

impl Server {
    fn url(&self, name: &str) -> LedgerUrl {
        let url = match self {
            Self::Redis(server) => server.url(),
            Self::Postgres(server) => server.url(),
        };
        format!("{url}#{name}").parse().unwrap()
    }

    fn stop(&mut self) {
        match self {
            Self::Redis(server) => server.kill(),
            Self::Postgres(server) => server.stop(),
        }
    }

    fn go_on(&mut self) {
        match self {
            Self::Redis(server) => server.go_on(),
            Self::Postgres(server) => server.go_on(),
        }
    }
}

fn after(seconds: i64) -> Timestamp {
    START.plus(Span::from_seconds(seconds))
}

/// An order of the fleet's, and when it may first go out.
struct Job {
    due: i64,
    request: Request,
    /// When it went out.
    went: Option<i64>,
}

/// What is ordered within a day, in the order in which it falls due.
fn jobs() -> Vec<Job> {
    let mut jobs: Vec<Job> = (0..RENEWALS)
        .map(|number| {
            let due = number * (DAY - WINDOW) / RENEWALS;
            let domain = DOMAINS[usize::try_from(number).unwrap() % DOMAINS.len()];
            let window = Some((after(due), after(due + WINDOW)));
            let replaces = Some(Replaces { certificate: format!("aki.{number}"), window });
            Job { due, request: Request { replaces, ..of(&[&format!("r{number}.{domain}")]) }, went: None }
        })
        .collect();
    for hour in 0..23 {
        // One of these falls due in the middle of each hour.
        let due = hour * HOUR + HOUR / 2;
        jobs.push(Job { due, request: of(&[&format!("new{hour}.{}", DOMAINS[0])]), went: None });
    }
    jobs.sort_by_key(|job| job.due);
    jobs
}

/// What came of a day.
struct Day {
    jobs: Vec<Job>,
    cells: BTreeMap<String, Cell>,
    /// How many went out by the journal, how often something else was refused meanwhile, and how many permits the ledger learned of.
    by_journal: usize,
    refused: usize,
    learned: usize,
}

/// One who orders what is due.
struct Fleet<'a> {
    gate: Gate,
    journal: &'a Path,
    day: Day,
}

impl Fleet<'_> {
    fn tick(&mut self, seconds: i64) {
        let now = after(seconds);
        self.gate.set_timescale(Timescale::stopped(now));
        for place in 0..self.day.jobs.len() {
            let job = &self.day.jobs[place];
            if job.due > seconds || job.went.is_some() {
                continue;
            }
            let request = job.request.clone();
            let gone = match self.gate.reserve(&request) {
                Ok(answer) => {
                    let permit = permit_of(answer).permit;
                    let _go = self.gate.sent(&permit).unwrap();
                    self.gate.commit(&permit).unwrap();
                    true
                }
                Err(error) => {
                    assert!(GONE.contains(&seconds), "{error}");
                    self.without(&request, place, now, &error)
                }
            };
            self.day.jobs[place].went = gone.then_some(seconds);
        }
    }

    /// Whether it goes out without the ledger.
    fn without(&mut self, request: &Request, number: usize, now: Timestamp, error: &GateError) -> bool {
        assert!(matches!(error.ledger(), Some(LedgerError::Unreachable { .. })), "{error}");
        let mut journal = Journal::open(self.journal).unwrap();
        let Pass::Go(permit, _) = journal.pass(request, &number.to_string(), now).unwrap() else {
            self.day.refused += 1;
            return false;
        };
        assert!(request.replaces.is_some());
        assert!(journal.tell(&permit, News::Issued, now).unwrap());
        self.day.by_journal += 1;
        true
    }
}

/// A day of the fleet, with the store gone for four hours of it or not.
fn day(server: &mut Server, name: &str, is_gone: bool) -> Day {
    let url = server.url(name);
    let (store, _) = open(&url, Access::Init, SystemClock).unwrap();
    let gate = Gate::new(store, realm(), letsencrypt(), SUFFIXES.clone(), Timescale::stopped(START), [7; 32]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let day = Day { jobs: jobs(), cells: BTreeMap::new(), by_journal: 0, refused: 0, learned: 0 };
    let mut fleet = Fleet { gate, journal: &journal, day };
    for domain in DOMAINS {
        for number in 0..SPENT {
            let permit = permit_of(fleet.gate.reserve(&of(&[&format!("old{number}.{domain}")])).unwrap()).permit;
            fleet.gate.commit(&permit).unwrap();
        }
    }
    for seconds in (0..=DAY).step_by(usize::try_from(TICK).unwrap()) {
        if is_gone && seconds == GONE.start {
            server.stop();
        }
        if is_gone && seconds == GONE.end {
            server.go_on();
            fleet.gate.set_timescale(Timescale::stopped(after(seconds)));
            let mut journal = Journal::open(&journal).unwrap();
            fleet.day.learned = journal.replay(&mut fleet.gate, after(seconds)).unwrap();
            assert_eq!(journal.replay(&mut fleet.gate, after(seconds)).unwrap(), 0, "told twice");
        }
        fleet.tick(seconds);
    }
    let Fleet { mut gate, mut day, .. } = fleet;
    let code = realm().code();
    gate.with_store(|store| store.cells(&code, &mut |name, cell| _ = day.cells.insert(name, cell))).unwrap();
    assert_eq!(gate.verify().unwrap().differences, []);
    day
}

fn four_hours(mut server: Server) {
    let (calm, gone) = (day(&mut server, "calm", false), day(&mut server, "gone", true));
    assert_eq!((calm.by_journal, calm.refused, calm.learned), (0, 0, 0));
    // Nobody missed its window: one whose window opened and closed meanwhile least of all.
    for job in &gone.jobs {
        let went = job.went.expect("everything goes out in the end");
        if job.request.replaces.is_some() {
            assert_eq!(went - job.due, (TICK - job.due % TICK) % TICK, "at the first look after {}", job.due);
        } else {
            assert!(!GONE.contains(&went), "a new order went out without the ledger");
        }
    }
    // 7 renewals open in four hours of 21; four new orders were refused at each look but for the first half hour of each.
    assert_eq!((gone.by_journal, gone.learned), (7, 7));
    assert_eq!(gone.refused, (24 - 3) + (24 - 9) + (24 - 15) + (24 - 21));
    same_buckets(&calm.cells, &gone.cells);
}

/// What the ledger knows afterwards is what it would know without the outage.
fn same_buckets(calm: &BTreeMap<String, Cell>, gone: &BTreeMap<String, Cell>) {
    assert!(calm.keys().eq(gone.keys()), "{calm:?} {gone:?}");
    let (limits, end) = (letsencrypt(), after(DAY));
    for (name, calm) in calm {
        let gone = gone[name];
        let (limit, _) = limit_and_key(name).unwrap();
        match limit {
            // Never full in between: the same tokens, whenever they were told.
            LimitName::CertificatesPerDomain => assert_eq!(&gone, calm, "{name}"),
            // Told when the store was back: up to four hours later, and never earlier.
            LimitName::CertificatesPerFqdnSet => {
                let late = gone.tally.tat.unwrap().since(calm.tally.tat.unwrap());
                assert!(Span::ZERO <= late && late <= Span::from_seconds(GONE.end - GONE.start), "{name}: {late:?}");
                assert_eq!((gone.tally.held, gone.asked), (0, 0));
            }
            _ => {
                let quota = limits.quota(limit, "1").unwrap().in_micros();
                assert_eq!(gone.tally.left(quota, end), calm.tally.left(quota, end), "{name}");
            }
        }
    }
}

#[test]
fn redis_gone_for_four_hours_under_six_day_certificates() {
    four_hours(Server::Redis(Redis::start(&[])));
}

#[test]
fn postgres_gone_for_four_hours_under_six_day_certificates() {
    four_hours(Server::Postgres(Postgres::start(&[])));
}

/// The command line, with a state folder of its own.
struct Shell {
    state: TempDir,
    url: String,
}

impl Shell {
    /// Exit code, stdout and stderr of `certpace ARGUMENTS --ledger …`.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_certpace"));
        command.args(arguments).args(["--ledger", &self.url]).env("XDG_STATE_HOME", self.state.path());
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    #[track_caller]
    fn exits(&self, code: i32, arguments: &[&str]) -> String {
        let (exit, out, err) = self.run(arguments);
        assert_eq!(exit, code, "{arguments:?}: {out}{err}");
        out
    }
}

/// `from/to`, in minutes from now.
fn window(from: i64, to: i64) -> String {
    let now = SystemClock.now();
    let at = |minutes| now.plus(Span::from_seconds(minutes * MINUTE));
    format!("{}/{}", at(from), at(to))
}

fn only_renewals_pass(mut server: Server) {
    let shell = Shell { state: tempfile::tempdir().unwrap(), url: server.url("shell").to_string() };
    shell.exits(0, &["ledger", "init"]);
    let reserve = ["gate", "reserve", "a.example.com", "--holder", "me"];
    let exempt = [&reserve[..], &["--on-ledger-loss", "exempt"]].concat();
    let (open, over, soon) = (window(-60, 60), window(-60, -1), window(-60, 4));
    let renewal = |window| [&exempt[..], &["--replaces", "aki.1", "--window", window]].concat();
    server.stop();
    // As it is by default, whatever is asked for; and only with both, in time.
    shell.exits(9, &[&reserve[..], &["--replaces", "aki.1", "--window", &open]].concat());
    shell.exits(9, &exempt);
    shell.exits(9, &renewal(&over));
    shell.exits(9, &renewal(&soon));
    shell.exits(9, &["gate", "list"]);
    let permit = shell.exits(0, &renewal(&open)).trim_end().to_owned();
    assert!(permit.starts_with("local-"), "{permit}");
    assert_eq!(shell.exits(0, &renewal(&open)).trim_end(), permit, "the same again");
    let stranger: Vec<_> = renewal(&open).into_iter().map(|word| if word == "me" { "you" } else { word }).collect();
    shell.exits(8, &stranger);
    shell.exits(0, &["gate", "commit", &permit]);
    shell.exits(9, &["gate", "commit", "0123456789abcdef"]);
    server.go_on();
    // Whoever comes first tells the ledger.
    let (exit, _, said) = shell.run(&["gate", "reserve", "b.example.com"]);
    assert_eq!(exit, 0, "{said}");
    assert!(said.contains("the ledger is back, and has learned of 1 renewals"), "{said}");
    let list = shell.exits(0, &["gate", "list", "--all"]);
    assert_eq!(list.lines().filter(|line| line.contains("  issued  ")).count(), 1, "{list}");
    let status = shell.exits(0, &["ledger", "status", "--format", "json"]);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let left = |limit: &str| {
        let buckets = status["buckets"].as_array().unwrap();
        buckets.iter().find(|bucket| bucket["limit"] == limit).and_then(|bucket| bucket["left"].as_u64())
    };
    // Two certificates of the domain, one of them only held yet; one order, since the renewal took none.
    assert_eq!((left("CertificatesPerDomain"), left("NewOrdersPerAccount")), (Some(48), Some(299)));
    shell.exits(0, &["ledger", "verify"]);
}

#[test]
fn without_redis_only_renewals_inside_their_windows_pass() {
    only_renewals_pass(Server::Redis(Redis::start(&[])));
}

#[test]
fn without_postgres_only_renewals_inside_their_windows_pass() {
    only_renewals_pass(Server::Postgres(Postgres::start(&[])));
}

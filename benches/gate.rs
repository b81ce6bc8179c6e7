//! How long the gate takes for a decision, and how many it makes a second, over each store that keeps what it is given.
//!
//! Every order is a new set of one name of a registered domain of its own, for one of eight accounts whose override never runs dry: so
//! all is allowed, and a decision is a whole one (six buckets asked, four held, two documents and a line of the record written). Beside
//! the gate stand on Redis and PostgreSQL scripts or functions by hand, one for the four buckets alone and one for the same work
//! ([`bare`](gate::bare)), and on SQLite the gate itself without others to share a sync with.
//!
//! Prints a line of JSON for each run, with times in nanoseconds; `benches/compare-gate` makes a table of them. Arguments: how many rounds,
//! how many decisions of one caller in each (sixteen make four times as many), and the stores, or none for all.
#![expect(clippy::disallowed_macros, reason = "what was measured is printed")]
#![expect(clippy::unwrap_used, reason = "a server that does not start ends the bench")]

#[path = "../tests/servers/ports.rs"]
mod ports;
#[path = "../tests/servers/postgres.rs"]
#[expect(dead_code, reason = "tests need more of it")]
mod postgres;
#[path = "../tests/servers/redis.rs"]
#[expect(dead_code, reason = "tests need more of it")]
mod redis;

mod gate {
    pub(crate) mod bare;
    pub(crate) mod crowd;
    pub(crate) mod orders;
}

use certpace::clock::{SystemClock, Timescale};
use certpace::gate::{Dispatch, Gate, Verdict};
use certpace::ledger::{Access, Writer, open};

use self::gate::bare::{BarePostgres, BareRedis, Extent};
use self::gate::crowd::{Caller, Crowd, timed};
use self::gate::orders::{Orders, SUFFIXES, limits, realm};
use self::postgres::Postgres;
use self::redis::Redis;

/// How many ask at once.
const CROWDS: [usize; 2] = [1, 16];
/// So many times as many decisions as one caller are made by many.
const MORE: usize = 4;

/// How callers reach the ledger.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    /// Each by a connection of its own, as processes do.
    Own,
    /// By one that they share, as threads of a process do.
    Shared,
    /// Without the gate, by hand.
    Bare(Extent),
}

impl Side {
    const fn word(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Shared => "shared",
            Self::Bare(Extent::Buckets) => "buckets",
            Self::Bare(Extent::Work) => "work",
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Work {
    /// A permit.
    Reserve,
    /// A permit, and what becomes of it: sent, and issued.
    Life,
}

/// A store and how it is set.
struct Place {
    name: &'static str,
    /// The ledger's URL in a round.
    url: Box<dyn Fn(&str) -> String>,
    sides: &'static [Side],
    works: &'static [Work],
    _server: Box<dyn std::any::Any>,
}

impl Place {
    fn all(asked: &[String]) -> Vec<Self> {
        let wanted = |name: &str| asked.is_empty() || asked.iter().any(|asked| asked == name);
        let mut places = Vec::new();
        if wanted("sqlite") {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let path = folder.path().to_owned();
            places.push(Self {
                name: "sqlite",
                url: Box::new(move |ledger| format!("sqlite:{}", path.join(ledger).display())),
                sides: &[Side::Own, Side::Shared],
                works: &[Work::Reserve, Work::Life],
                _server: Box::new(folder),
            });
        }
        for (name, options) in [("redis", &[] as &[&str]), ("redis-memory", &["--appendonly", "no"])] {
            if wanted(name) {
                let server = Redis::start(options);
                places.push(Self::on_server(name, server.url(), server));
            }
        }
        if wanted("postgres") {
            let server = Postgres::start(&[]);
            places.push(Self::on_server("postgres", server.url(), server));
        }
        places
    }

    fn on_server(name: &'static str, url: String, server: impl std::any::Any) -> Self {
        Self {
            name,
            url: Box::new(move |ledger| format!("{url}#{ledger}")),
            sides: &[Side::Own, Side::Bare(Extent::Work), Side::Bare(Extent::Buckets), Side::Shared],
            works: &[Work::Reserve],
            _server: Box::new(server),
        }
    }

    /// One run: so many callers on a ledger that is new.
    fn run(&self, side: Side, work: Work, callers: usize, ledger: &str, orders: &Orders) -> Crowd {
        let url = (self.url)(ledger);
        let open = || {
            let link = url.parse().unwrap_or_else(|error| panic!("{error}"));
            open(&link, Access::Init, SystemClock).unwrap_or_else(|error| panic!("{error}")).0
        };
        let seeds = (1..).take(callers).map(|seed| [seed; 32]);
        let gate = |seed, writer: Option<&Writer>| {
            let (realm, limits, suffixes, time) = (realm(), limits(), SUFFIXES.clone(), Timescale::REAL);
            let gate = match writer {
                Some(writer) => Gate::sharing(writer.clone(), realm, limits, suffixes, time, seed),
                None => Gate::new(open(), realm, limits, suffixes, time, seed),
            };
            ask(gate.unwrap_or_else(|error| panic!("{error}")), work, orders)
        };
        let callers: Vec<Caller<'_>> = match side {
            Side::Own => seeds.map(|seed| gate(seed, None)).collect(),
            Side::Shared => {
                let writer = Writer::start(open());
                seeds.map(|seed| gate(seed, Some(&writer))).collect()
            }
            Side::Bare(extent) => {
                let (address, _) = url.split_once('#').unwrap_or_default();
                if self.name == "postgres" {
                    BarePostgres::init(address, ledger, extent);
                    (0..callers).map(|_| BarePostgres::connect(address, ledger, extent).caller(orders)).collect()
                } else {
                    BareRedis::init(address, ledger);
                    (0..callers).map(|_| BareRedis::connect(address, ledger, extent).caller(orders)).collect()
                }
            }
        };
        Crowd::run(callers, orders.len())
    }
}

/// One who asks the gate for an order, and says what becomes of it. Each call of the gate's is timed by itself.
fn ask(mut gate: Gate, work: Work, orders: &Orders) -> Caller<'_> {
    Box::new(move |order, times| {
        let answer = timed(times, || gate.reserve(orders.request(order)));
        let answer = answer.unwrap_or_else(|error| panic!("{error}"));
        let Verdict::Allow { permit: Some(permit), .. } = answer.verdict else { return false };
        if work == Work::Life {
            let sent = timed(times, || gate.sent(&permit.permit)).unwrap_or_else(|error| panic!("{error}"));
            assert!(matches!(sent, Dispatch::Go(_)), "what was reserved may be sent");
            timed(times, || gate.commit(&permit.permit)).unwrap_or_else(|error| panic!("{error}"));
        }
        true
    })
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench").peekable();
    let mut number = |default| match arguments.next_if(|argument| argument.parse::<usize>().is_ok()) {
        Some(argument) => argument.parse().unwrap_or(default),
        None => default,
    };
    let (rounds, decisions) = (number(1), number(2_000));
    let orders = CROWDS.map(|callers| Orders::new(if callers == 1 { decisions } else { MORE * decisions }));
    let places = Place::all(&arguments.collect::<Vec<_>>());
    for round in 0..rounds {
        for place in &places {
            for work in place.works {
                for (callers, orders) in CROWDS.into_iter().zip(&orders) {
                    for side in place.sides {
                        let (store, word, work_word) = (place.name, side.word(), format!("{work:?}").to_lowercase());
                        let ledger = format!("{work_word}_{word}_{callers}_{round}");
                        let crowd = place.run(*side, *work, callers, &ledger, orders);
                        println!(
                            "{{\"store\":\"{store}\",\"side\":\"{word}\",\"work\":\"{work_word}\",\"callers\":{callers},{crowd}}}"
                        );
                    }
                }
            }
        }
    }
}

//! Stores to run each story over, and several gates on one of them, as several processes have.

use std::any::Any;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use certpace::clock::{Clock, FixedClock, SystemClock, Timescale};
use certpace::gate::{Answer, Blocking, Gate, Permitted, Request, Verdict};
use certpace::ledger::{
    Access, Cell, Document, LedgerError, LedgerUrl, Mark, MemoryStore, Realm, Record, Reply, Step, Store, Writer,
    limit_and_key, open,
};
use certpace::limits::{Limit, LimitName, Limits, Overrides, Policy};
use certpace::name::NameSet;
use certpace::psl::SuffixList;
use certpace::time::{Span, Timestamp};

use crate::postgres::Postgres;
use crate::redis::Redis;

/// One parse serves all.
pub(super) static SUFFIXES: LazyLock<SuffixList> = LazyLock::new(SuffixList::embedded);

pub(super) const START: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

/// Every kind of store: what it is called, and how an empty one is made. The suite runs over each.
pub(super) const STORES: &[(&str, Make)] = &[
    ("memory", Place::memory),
    ("sqlite", Place::sqlite),
    ("redis", || Place::server(Redis::shared(), |server| server.url())),
    ("postgres", || Place::server(Postgres::shared(), |server| server.url())),
];

type Make = fn() -> Place;

/// An empty ledger that can be opened any number of times.
pub(super) struct Place {
    open: Box<dyn Fn() -> Box<dyn Store>>,
    /// Where it lies, if other processes can open it.
    pub(super) url: Option<LedgerUrl>,
    /// What has to live as long as it.
    _under: Box<dyn Any>,
}

impl Place {
    pub(super) fn memory() -> Self {
        Self::in_memory(FixedClock(START))
    }

    /// In memory, with that clock.
    pub(super) fn in_memory<C: Clock + Send + 'static>(clock: C) -> Self {
        Self::of(&Arc::new(Mutex::new(MemoryStore::new(clock))))
    }

    /// That store in memory, which the caller may replace by another one.
    pub(super) fn of<C: Clock + Send + 'static>(store: &Arc<Mutex<MemoryStore<C>>>) -> Self {
        let store = Arc::clone(store);
        Self { open: Box::new(move || Box::new(Shared(Arc::clone(&store)))), url: None, _under: Box::new(()) }
    }

    pub(super) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("ledger.db").display());
        Self::at(&url, Box::new(folder))
    }

    /// A ledger of its own on a server that all tests share.
    fn server<T: 'static>(server: Arc<T>, url: impl Fn(&T) -> String) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let url = format!("{}#gate_{}", url(&server), NEXT.fetch_add(1, Ordering::Relaxed));
        Self::at(&url, Box::new(server))
    }

    fn at(url: &str, under: Box<dyn Any>) -> Self {
        let url: LedgerUrl = url.parse().unwrap();
        let of = url.clone();
        let open = move || open(&of, Access::Init, SystemClock).unwrap().0;
        open();
        Self { open: Box::new(open), url: Some(url), _under: under }
    }

    pub(super) fn open(&self) -> Box<dyn Store> {
        (self.open)()
    }
}

/// A store in memory that several gates have.
struct Shared<C>(Arc<Mutex<MemoryStore<C>>>);

impl<C: Clock + Send> Store for Shared<C> {
    fn transact(&mut self, steps: &[Step], timescale: Timescale) -> Result<Vec<Reply>, LedgerError> {
        self.0.lock().unwrap().transact(steps, timescale)
    }

    fn init(&mut self) -> Result<bool, LedgerError> {
        self.0.lock().unwrap().init()
    }

    fn cells(&mut self, realm: &str, show: &mut dyn FnMut(String, Cell)) -> Result<(), LedgerError> {
        self.0.lock().unwrap().cells(realm, show)
    }

    fn documents(&mut self, realm: &str, prefix: &str, show: &mut dyn FnMut(Document)) -> Result<(), LedgerError> {
        self.0.lock().unwrap().documents(realm, prefix, show)
    }

    fn records(&mut self, from: u64, most: usize, show: &mut dyn FnMut(Record)) -> Result<bool, LedgerError> {
        self.0.lock().unwrap().records(from, most, show)
    }

    fn sweep(&mut self, realm: &str, full: Timestamp, record: u64) -> Result<(u64, u64), LedgerError> {
        self.0.lock().unwrap().sweep(realm, full, record)
    }

    fn mark(&mut self) -> Result<Mark, LedgerError> {
        self.0.lock().unwrap().mark()
    }

    fn check(&mut self) -> Result<(), LedgerError> {
        self.0.lock().unwrap().check()
    }

    fn notes(&mut self) -> Vec<String> {
        self.0.lock().unwrap().notes()
    }
}

/// One ledger, several gates over it, and a time that stands still until a story moves it.
pub(super) struct World {
    pub(super) place: Place,
    pub(super) gates: Vec<Gate>,
    pub(super) now: Timestamp,
    pub(super) limits: Limits,
    turn: usize,
}

pub(super) fn realm() -> Realm {
    Realm::new("https://ca.example/directory")
}

pub(super) fn letsencrypt() -> Limits {
    Limits { policy: Policy::built_in("letsencrypt").unwrap(), overrides: Overrides::none() }
}

/// A token in so many seconds, and `burst` at once.
pub(super) fn limit(burst: u64, seconds: i64) -> Option<Limit> {
    Some(Limit::new(burst, 1, Span::from_seconds(seconds)).unwrap())
}

pub(super) fn after(seconds: i64) -> Timestamp {
    START.plus(Span::from_seconds(seconds))
}

impl World {
    pub(super) fn new(place: Place, limits: Limits) -> Self {
        let mut world = Self { place, gates: Vec::new(), now: START, limits, turn: 0 };
        (0..3).for_each(|_| world.join(realm()));
        world
    }

    /// Another process comes. In the third one the store has a thread of its own.
    pub(super) fn join(&mut self, realm: Realm) {
        let seed = [u8::try_from(self.gates.len()).unwrap(); 32];
        let timescale = Timescale::stopped(self.now);
        let (limits, suffixes) = (self.limits.clone(), SUFFIXES.clone());
        let gate = if self.gates.len() == 2 {
            Gate::sharing(Writer::start(self.place.open()), realm, limits, suffixes, timescale, seed)
        } else {
            Gate::new(self.place.open(), realm, limits, suffixes, timescale, seed)
        };
        self.gates.push(gate.unwrap());
    }

    pub(super) fn set_now(&mut self, now: Timestamp) {
        self.now = now;
        self.gates.iter_mut().for_each(|gate| gate.set_timescale(Timescale::stopped(now)));
    }

    /// It is so many seconds after the start.
    pub(super) fn at(&mut self, seconds: i64) -> &mut Self {
        self.set_now(after(seconds));
        self
    }

    /// A gate: each time another one of them.
    pub(super) fn gate(&mut self) -> &mut Gate {
        self.turn = (self.turn + 1) % self.gates.len();
        &mut self.gates[self.turn]
    }

    /// From now on everybody has these limits.
    pub(super) fn change_limits(&mut self, limits: Limits) {
        self.limits = limits;
        self.gates.clear();
        (0..3).for_each(|_| self.join(realm()));
    }

    pub(super) fn ask(&mut self, request: &Request) -> Answer {
        self.gate().reserve(request).unwrap()
    }

    /// The permit's number.
    #[track_caller]
    pub(super) fn allowed(&mut self, request: &Request) -> String {
        permit_of(self.ask(request)).permit
    }

    #[track_caller]
    pub(super) fn later(&mut self, request: &Request) -> (Timestamp, Vec<Blocking>) {
        let answer = self.ask(request);
        let Verdict::Later { at, blocking } = answer.verdict else { panic!("{answer:?}") };
        (at, blocking)
    }

    pub(super) fn cells(&mut self) -> Vec<(String, Cell)> {
        let (mut cells, code) = (Vec::new(), realm().code());
        self.place.open().cells(&code, &mut |name, cell| cells.push((name, cell))).unwrap();
        cells.sort_by(|a, b| a.0.cmp(&b.0));
        cells
    }

    pub(super) fn cell(&mut self, bucket: &str) -> Cell {
        self.cells().into_iter().find(|(name, _)| name == bucket).map(|(_, cell)| cell).unwrap_or_default()
    }

    /// Tokens that are left now of a bucket.
    pub(super) fn left(&mut self, bucket: &str) -> u32 {
        let (limit, key) = limit_and_key(bucket).unwrap();
        let id = if key.contains(' ') { key.rsplit_once(' ').unwrap().0 } else { key };
        let quota = self.limits.quota(limit, id).unwrap().in_micros();
        self.cell(bucket).tally.left(quota, self.now)
    }

    /// Tokens left of account 1's orders, of its failures of a.example.com, of example.com, and of the set of a.example.com alone.
    pub(super) fn all_left(&mut self) -> [u32; 4] {
        let set = names(&["a.example.com"]).key();
        [
            "NewOrdersPerAccount 1".to_owned(),
            "FailedAuthorizationsPerDomainPerAccount 1 a.example.com".to_owned(),
            "CertificatesPerDomain example.com".to_owned(),
            format!("CertificatesPerFQDNSet {set}"),
        ]
        .map(|bucket| self.left(&bucket))
    }

    pub(super) fn records(&mut self) -> Vec<Record> {
        let mut records = Vec::new();
        self.place.open().records(0, 1_000_000, &mut |record| records.push(record)).unwrap();
        records
    }
}

/// Tells a story over each kind of store.
pub(super) fn over_every_store(limits: &Limits, tell: impl Fn(&mut World)) {
    for (name, make) in STORES {
        let _told = Told(name);
        tell(&mut World::new(make(), limits.clone()));
    }
}

/// Says in which store a story failed.
struct Told(&'static str);

impl Drop for Told {
    fn drop(&mut self) {
        use std::io::Write as _;
        if std::thread::panicking() {
            _ = writeln!(std::io::stderr(), "that was in {}", self.0);
        }
    }
}

pub(super) fn names(names: &[&str]) -> NameSet {
    NameSet::parse(names.iter().copied()).unwrap()
}

/// Account 1 asks, and calls itself "me".
pub(super) fn of(set: &[&str]) -> Request {
    Request::of("1", names(set), "me")
}

#[track_caller]
pub(super) fn permit_of(answer: Answer) -> Permitted {
    let Verdict::Allow { permit: Some(permit), .. } = answer.verdict else { panic!("{answer:?}") };
    *permit
}

/// The limits that are in the way.
pub(super) fn limits_of(blocking: &[Blocking]) -> Vec<Option<LimitName>> {
    blocking.iter().map(|blocking| blocking.limit_and_key().0).collect()
}

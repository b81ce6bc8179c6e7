//! The gate: may this order go out now, and if not, when? Permits ([`crate::permits`]) over a ledger ([`crate::ledger`]) that any number
//! of processes share.
//!
//! [`Gate::reserve`] sets aside all that an order has at stake by the rules ([`crate::rules`]), or tells every bucket in the way; the other
//! calls say what came of it. A decision is made from what the gate knows of a few documents, and carried out by the ledger only if
//! they still say so: if not, the ledger tells what they say now and the gate decides anew. So a crash or a lost reply leaves nothing half
//! done, and no caller's clock has a say.
//!
//! Leases that have run out are dealt with before anything is decided, by whoever comes next.
//!
//! ```
//! use certpace::clock::{FixedClock, Timescale};
//! use certpace::gate::{Gate, Request, Verdict};
//! use certpace::ledger::{MemoryStore, Realm};
//! use certpace::limits::{Limits, Overrides, Policy};
//! use certpace::name::NameSet;
//! use certpace::psl::SuffixList;
//! use certpace::time::Timestamp;
//!
//! let limits = Limits { policy: Policy::built_in("letsencrypt").unwrap(), overrides: Overrides::none() };
//! let store = Box::new(MemoryStore::new(FixedClock(Timestamp::from_unix_seconds(1_800_000_000))));
//! let realm = Realm::new("https://ca.example/directory");
//! let mut gate = Gate::new(store, realm, limits, SuffixList::embedded(), Timescale::REAL, [7; 32]).unwrap();
//!
//! let names = NameSet::parse(["example.com", "www.example.com"]).unwrap();
//! let answer = gate.reserve(&Request::of("1", names, "replica-1")).unwrap();
//! let Verdict::Allow { permit: Some(permit), .. } = answer.verdict else { panic!("all is full") };
//! gate.sent(&permit.permit).unwrap();
//! gate.commit(&permit.permit).unwrap();
//! ```

mod board;
mod document;
mod events;
mod import;
mod issued;
pub mod journal;
mod leave;
mod names;
mod opening;
mod permitted;
mod prune;
mod queue;
mod record;
mod request;
mod reserve;
mod stakes;
pub mod verify;

pub use document::{Board, Counted, Freeze, Hand, Paused, Rehearsal, Scope, SetState, Task};
pub use events::{PAUSED, Refusal};
pub use import::ImportedLedger;
pub use issued::IssuedOrders;
pub use leave::Permit;
pub use names::parse;
pub use permitted::{Permitted, Shadowed, Stake};
pub use prune::Pruned;
pub use record::{Done, Entry};
pub use request::{Answer, Blocking, Dispatch, GateError, Never, Replaces, Request, Told, Verdict};
pub use stakes::quota_of;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use rustc_hash::FxHashMap;

use crate::clock::{Stopwatch, Timescale};
use crate::ledger::{Document, LedgerError, Mark, Outcome, Realm, Reply, Step, Store, Version, Write, Writer};
use crate::limits::Limits;
use crate::psl::SuffixList;
use crate::rules::Model;
use crate::time::{Span, Timestamp};

/// How far the ledger's clock may be from where the gate takes it to be for a decision to hold.
const TOLERANCE: Span = Span::from_seconds(1);
/// How often a decision is made anew because others changed what it rests on.
const ATTEMPTS: u32 = 1_000;
/// How many orders the model may know before it is made to forget them: no decision needs another's, and few lie near at hand.
const ORDERS_MAX: usize = 64;
/// How many documents may be kept at hand: those of some dozen permits on their way. More would be memory that grows with what is over; what
/// is asked for again costs one more question to the ledger.
const DOCUMENTS_MAX: usize = 128;

/// Permits for pipelines, from a ledger.
pub struct Gate {
    ledger: Connection,
    realm: Realm,
    code: String,
    limits: Limits,
    model: Model,
    orders: usize,
    timescale: Timescale,
    /// Time runs faster than the CA's, which has another date.
    rehearses: bool,
    random: ChaCha8Rng,
    known: Mark,
    /// The ledger's time when it was told last.
    told: Option<(Timestamp, Stopwatch)>,
    documents: FxHashMap<String, Document>,
}

/// How the gate reaches its ledger.
enum Connection {
    Own(Box<dyn Store>),
    Shared(Writer),
}

/// What a decision can rest on.
struct View<'a> {
    /// The ledger's time.
    at: Timestamp,
    documents: &'a FxHashMap<String, Document>,
}

impl View<'_> {
    /// What the document of that name says; `None` if there is none.
    fn read<'a, T: serde::Deserialize<'a>>(&'a self, name: &str) -> Result<Option<T>, LedgerError> {
        self.documents.get(name).map_or(Ok(None), document::read)
    }

    fn board(&self) -> Result<Board, LedgerError> {
        Ok(self.read(document::BOARD)?.unwrap_or_default())
    }
}

impl Gate {
    /// A gate over a store of its own. `seed` makes its permits' numbers: it has to be new each time.
    ///
    /// # Errors
    /// [`GateError::Policy`] where the limits are no token buckets.
    pub fn new(
        store: Box<dyn Store>,
        realm: Realm,
        limits: Limits,
        suffixes: SuffixList,
        timescale: Timescale,
        seed: [u8; 32],
    ) -> Result<Self, GateError> {
        Self::over(Connection::Own(store), realm, limits, suffixes, timescale, seed)
    }

    /// A gate beside others in this process, which share a store.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn sharing(
        writer: Writer,
        realm: Realm,
        limits: Limits,
        suffixes: SuffixList,
        timescale: Timescale,
        seed: [u8; 32],
    ) -> Result<Self, GateError> {
        Self::over(Connection::Shared(writer), realm, limits, suffixes, timescale, seed)
    }

    fn over(
        ledger: Connection,
        realm: Realm,
        limits: Limits,
        suffixes: SuffixList,
        timescale: Timescale,
        seed: [u8; 32],
    ) -> Result<Self, GateError> {
        limits.check_token_buckets()?;
        let model = Model::new(limits.clone(), suffixes);
        Ok(Self {
            ledger,
            code: realm.code(),
            realm,
            limits,
            model,
            orders: 0,
            timescale,
            rehearses: false,
            random: ChaCha8Rng::from_seed(seed),
            known: Mark::default(),
            told: None,
            documents: FxHashMap::default(),
        })
    }

    /// What it decides for.
    #[must_use]
    pub const fn realm(&self) -> &Realm {
        &self.realm
    }

    /// The limits in force.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The highest mark that was seen of the ledger.
    #[must_use]
    pub const fn mark(&self) -> Mark {
        self.known
    }

    /// That mark was seen of the ledger, by whoever tells it: a lower one is refused from now on.
    pub fn has_seen(&mut self, mark: Mark) {
        if mark.epoch > self.known.epoch {
            // Versions are of one epoch.
            self.documents.clear();
        }
        self.known = self.known.max(mark);
    }

    /// How its time goes.
    #[must_use]
    pub const fn timescale(&self) -> Timescale {
        self.timescale
    }

    /// From now on time goes like that.
    pub const fn set_timescale(&mut self, timescale: Timescale) {
        (self.timescale, self.told) = (timescale, None);
    }

    /// The realm's time runs `speed` times as fast as the clock: a rehearsal in front of a test CA, which begins at `start` unless it has
    /// begun before. The ledger keeps it for all who come later.
    ///
    /// # Errors
    /// [`GateError::Rehearsal`] where its time runs at another speed.
    pub fn rehearse(&mut self, speed: u32, start: Timestamp) -> Result<Timescale, GateError> {
        let board = [document::BOARD.to_owned()];
        let (_, _, rehearsal) = self.decide(&board, false, |gate, view| {
            let mut board = view.board()?;
            let mut step = Step::new(gate.code.clone(), gate.known);
            let known = board.rehearsal;
            let rehearsal = known.unwrap_or(Rehearsal { from: view.at, to: start, speed });
            if known.is_none() {
                board.rehearsal = Some(rehearsal);
                step.writes.push(Write {
                    name: document::BOARD.to_owned(),
                    body: Some(document::text(&board)),
                    lease: None,
                });
            }
            Ok((step, rehearsal))
        })?;
        if rehearsal.speed != speed {
            return Err(GateError::Rehearsal { realm: self.realm.to_string(), speed: rehearsal.speed });
        }
        self.follow(rehearsal);
        Ok(self.timescale)
    }

    /// Goes by the time of the realm's rehearsal if there is one. Whether there is.
    ///
    /// # Errors
    /// [`GateError`] where the ledger can't be asked.
    pub fn follow_rehearsal(&mut self) -> Result<bool, GateError> {
        let rehearsal = self.board()?.rehearsal;
        rehearsal.into_iter().for_each(|rehearsal| self.follow(rehearsal));
        Ok(rehearsal.is_some())
    }

    fn follow(&mut self, rehearsal: Rehearsal) {
        self.set_timescale(Timescale::faster(rehearsal.speed, rehearsal.from, rehearsal.to));
        self.rehearses = true;
    }

    /// The ledger's time now.
    ///
    /// # Errors
    /// [`GateError`] where it can't be asked.
    pub fn now(&mut self) -> Result<Timestamp, GateError> {
        let step = Step::new(self.code.clone(), self.known);
        Ok(self.transact(step)?.0.at)
    }

    /// A new number for a permit that is reserved at `at`: the second in eight digits, so that stores keep those together that are made
    /// and looked up together, and 48 bits of chance.
    fn number(&mut self, at: Timestamp) -> String {
        let second = at.unix_micros().div_euclid(1_000_000).rem_euclid(1 << 32);
        format!("{second:08x}{:012x}", self.random.next_u64() >> 16)
    }

    /// The order, as a number of the model.
    fn order(&mut self, account: &str, names: &crate::name::NameSet) -> crate::rules::OrderId {
        if self.orders >= ORDERS_MAX {
            self.model.forget();
            self.orders = 0;
        }
        self.orders += 1;
        self.model.order(account, names)
    }

    /// What the ledger answers to a step; and the step, of which the caller may need more.
    fn transact(&mut self, step: Step) -> Result<(Reply, Step), GateError> {
        let answered = match &mut self.ledger {
            Connection::Own(store) => {
                store.transact(std::slice::from_ref(&step), self.timescale)?.pop().map(|reply| (reply, step))
            }
            Connection::Shared(writer) => writer.transact(vec![step], self.timescale).map_err(GateError::Shared)?.pop(),
        };
        let Some((reply, step)) = answered else { unreachable!("a store answers every step") };
        if reply.outcome == Outcome::WentBack {
            return Err(LedgerError::WentBack { seen: self.known, found: reply.mark }.into());
        }
        self.has_seen(reply.mark);
        self.told = Some((reply.at, Stopwatch::start()));
        Ok((reply, step))
    }

    /// Makes a decision on the documents `names` and has the ledger carry it out, again and again until nothing that it rests on has
    /// changed in the meantime. `make` says what is to be done and what the caller wants to know of how it was made.
    fn decide<T>(
        &mut self,
        names: &[String],
        settled: bool,
        mut make: impl FnMut(&mut Self, &View<'_>) -> Result<(Step, T), GateError>,
    ) -> Result<(Reply, Vec<String>, T), GateError> {
        if self.documents.len() > DOCUMENTS_MAX {
            let stays =
                |name: &String| names.contains(name) || [document::BOARD, document::QUEUE].contains(&name.as_str());
            self.documents.retain(|name, _| stays(name));
        }
        // Whether the documents have been seen to be the ledger's.
        let mut fresh = false;
        for _ in 0..ATTEMPTS {
            let at = self.estimate();
            let version = |name: &String| self.documents.get(name).map_or(Version::Unknown, |known| known.version);
            let expect: Vec<_> = names.iter().map(|name| (name.clone(), version(name))).collect();
            let known = expect.iter().all(|(_, version)| *version != Version::Unknown);
            let (mut step, made) = if known && let Some(at) = at {
                // Taken out so that `make` can use all else of the gate.
                let documents = std::mem::take(&mut self.documents);
                let view = View { at, documents: &documents };
                let made = make(self, &view);
                self.documents = documents;
                let (mut step, made) = match made {
                    Ok(made) => made,
                    Err(_) if !fresh => {
                        // It may come from what is no longer so.
                        names.iter().for_each(|name| _ = self.documents.remove(name));
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                let near = self.timescale.passed(TOLERANCE).plus(Span::from_nanos(1));
                step.valid = (step.valid.0.max(at.minus(near)), step.valid.1.min(at.plus(near)));
                (step, Some(made))
            } else {
                (Step::new(self.code.clone(), self.known), None)
            };
            step.expect = expect;
            step.settled = settled;
            step.known = self.known;
            let (reply, step) = self.transact(step)?;
            let buckets = || step.buckets.into_iter().map(|bucket| bucket.name).collect();
            match (&reply.outcome, made) {
                (Outcome::Moved { documents, overdue }, _) => {
                    fresh = true;
                    for document in documents {
                        self.documents.insert(document.name.clone(), document.clone());
                    }
                    if !overdue.is_empty() {
                        self.lapse(overdue)?;
                    }
                }
                (Outcome::Done { .. }, Some(made)) => {
                    for write in step.writes {
                        let version =
                            write.body.as_ref().map_or(Version::Absent, |_| Version::Written(reply.mark.sequence));
                        let body = write.body.unwrap_or_default();
                        self.documents.insert(write.name.clone(), Document { name: write.name, version, body });
                    }
                    return Ok((reply, buckets(), made));
                }
                (Outcome::Blocked(_), Some(made)) => return Ok((reply, buckets(), made)),
                (Outcome::Done { .. } | Outcome::Blocked(_) | Outcome::WentBack, _) => {}
            }
        }
        Err(GateError::Busy(ATTEMPTS))
    }

    /// What time the ledger has it to be, as far as can be told without asking.
    #[must_use]
    pub fn estimate(&self) -> Option<Timestamp> {
        let (at, since) = self.told?;
        let at = at.plus(self.timescale.passed(since.elapsed()));
        Some(Timestamp::from_unix_micros(at.unix_micros()))
    }

    /// Reads documents.
    fn load(&mut self, names: &[String]) -> Result<(), GateError> {
        let mut step = Step::new(self.code.clone(), self.known);
        step.expect = names.iter().map(|name| (name.clone(), Version::Unknown)).collect();
        if let Outcome::Moved { documents, .. } = self.transact(step)?.0.outcome {
            self.documents.extend(documents.into_iter().map(|document| (document.name.clone(), document)));
        }
        Ok(())
    }

    /// The ledger itself, for those who look at all of it.
    ///
    /// # Errors
    /// [`GateError`] as `look` has it; where the ledger is shared within the process it can't be had.
    pub fn with_store<T>(
        &mut self,
        look: impl FnOnce(&mut dyn Store) -> Result<T, LedgerError>,
    ) -> Result<T, GateError> {
        match &mut self.ledger {
            Connection::Own(store) => Ok(look(store.as_mut())?),
            Connection::Shared(_) => {
                let reason = "it is shared within this process".to_owned();
                Err(LedgerError::Unreachable { url: self.realm.to_string(), reason }.into())
            }
        }
    }
}

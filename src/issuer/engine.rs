//! What `certpace issue` and `certpace renew` run on: the agent ([`crate::agent`]) decides what is next, the gate whether it may go out, and
//! [`Orders`] carries it out; many at once.
//!
//! The engine holds no state that matters beyond what is on disk and in the ledger: whenever it is killed, the next one finds the open
//! orders, the certificates, and in the ledger which orders of a plan are issued, and goes on.

mod answers;
mod held;
mod jobs;
mod source;
mod spawn;

use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

use super::order::{OrderError, Orders, Outcome};
use super::store::Lineage;
use super::wire::{AcmeError, RenewalAnswer};
use crate::agent::{Action, Agent, CertificateId, Config};
use crate::gate::{Answer, Blocking, GateError};
use crate::ledger::LedgerError;
use crate::plan::Share;
use crate::psl::SuffixList;
use crate::time::{Span, Timestamp};

pub use held::held;
use jobs::Jobs;
pub use jobs::{Holding, Job, State};
pub use source::{News, Nothing, Source, SourceError, Work};

/// Failures of a name after which nobody waits for it any more, where there is nothing else to do: from then on it is tried daily.
const HOPELESS: u32 = 4;
/// How long those under way may take to end once nothing new goes out.
const GRACE: Duration = Duration::from_secs(300);
/// How long another process's order is left alone before it is asked after again, by the ledger's time and by the clock.
const IN_HAND: (Span, Span) = (Span::from_seconds(60), Span::from_seconds(2));

/// How an engine goes about it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How the agent does.
    pub agent: Config,
    /// The share of bursts that is left to orders which nobody planned.
    pub headroom: Share,
    /// Whether certificates are kept fresh once they are there; else they are done with.
    pub keeps: bool,
    /// Nothing goes out from then on.
    pub until: Option<Timestamp>,
    /// Nothing is waited for: what is not due now is left alone.
    pub once: bool,
    /// Whether names that fail again and again are waited for.
    pub keep_trying: bool,
    /// A random number of its own.
    pub seed: [u8; 32],
}

/// What happens, for those who watch.
#[derive(Clone, PartialEq, Debug)]
pub enum Event<'a> {
    /// A certificate has come, by that permit.
    Issued(&'a Job, &'a str),
    /// Another process has issued it.
    IssuedElsewhere(&'a Job),
    /// An order failed; the job says which names and why. It is tried again at that time.
    Failed(&'a Job, &'a [(String, String)]),
    /// The CA has refused an order (429): its sentence.
    Refused(&'a Job, &'a str),
    /// Nobody knows what came of an order.
    Lost(&'a Job, &'a str),
    /// The gate says: never, and why.
    Never(&'a Job, &'a str),
    /// The gate says: not now, the last bucket in the way and until when.
    Later(&'a Job, &'a Blocking),
    /// The CA could not be reached.
    Unreachable(&'a str),
    /// The ledger could not be reached.
    NoLedger(&'a str),
    /// Names have left a certificate for ones of their own.
    Split(&'a Job, &'a Job),
    /// Something else that people should know.
    Note(&'a str),
    /// Something that is no trouble.
    News(&'a str),
    /// Nothing happened; this is how it stands.
    Tick(Standing),
}

/// How it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    /// Certificates that came.
    pub issued: u64,
    /// Orders of the plan that other processes issued.
    pub elsewhere: u64,
    /// Orders that failed.
    pub failed: u64,
    /// Orders of which nobody knows what came.
    pub lost: u64,
    /// Orders that the CA refused (429).
    pub refused: u64,
    /// Orders that were not wanted any more before they went out.
    pub withdrawn: u64,
    /// Orders under way.
    pub in_flight: u64,
    /// Certificates that are wanted now and not there.
    pub wanted: u64,
    /// Among them those that a person has to do something about.
    pub stopped: u64,
    /// How many went out later than they were planned by more than a minute, and the most of it.
    pub late: u64,
    /// The most that one went out later than it was planned.
    pub late_most: Span,
    /// When the next thing is to be done.
    pub next_at: Option<Timestamp>,
    /// The ledger's time.
    pub now: Timestamp,
    /// When the last certificate came.
    pub last_issued_at: Option<Timestamp>,
    /// Requests for the certificates that came.
    pub requests: u64,
}

/// How it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// There is nothing more to do.
    Done,
    /// What is left are names that fail again and again, and certificates that a person has to do something about.
    Stuck,
    /// The time was over.
    Until,
    /// It was interrupted.
    Interrupted,
}

/// Why it could not go on. What was under way is on disk.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what the variant means")]
pub enum EngineError {
    #[error("{0}")]
    Source(SourceError),
    #[error(transparent)]
    Order(#[from] OrderError),
}

/// What a task has to tell.
enum Told {
    Answer(CertificateId, Result<Answer, GateError>),
    Ended(CertificateId, Result<Outcome, OrderError>, Option<Timestamp>),
    Window(CertificateId, Result<RenewalAnswer, AcmeError>),
    /// Another process has renewed the certificate held.
    Newer(CertificateId, Box<Lineage>),
    /// A split is kept, or notes are.
    Kept(Result<(), OrderError>),
    /// After a refusal: when the gate thinks that it fits.
    Refused(CertificateId, Outcome, Result<Answer, GateError>),
    Cancelled,
}

/// Orders at work.
pub struct Engine {
    settings: Settings,
    orders: Arc<Orders>,
    suffixes: SuffixList,
    agent: Agent,
    jobs: Jobs,
    random: ChaCha8Rng,
    sender: UnboundedSender<Told>,
    receiver: UnboundedReceiver<Told>,
    tasks: u64,
    standing: Standing,
    broken: Option<OrderError>,
}

impl Engine {
    /// An engine that has nothing to do yet.
    #[must_use]
    pub fn new(settings: Settings, orders: Orders, suffixes: SuffixList) -> Self {
        let (sender, receiver) = unbounded_channel();
        Self {
            agent: Agent::new(settings.agent),
            random: ChaCha8Rng::from_seed(settings.seed),
            orders: Arc::new(orders),
            jobs: Jobs::default(),
            tasks: 0,
            standing: Standing::default(),
            broken: None,
            settings,
            suffixes,
            sender,
            receiver,
        }
    }

    /// The ledger's time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.orders.desk.now()
    }

    fn draw(&mut self) -> u64 {
        self.random.next_u64()
    }

    /// Takes work in. A certificate that is held already is known to be newer, if it is.
    pub fn add(&mut self, work: Work) -> CertificateId {
        let now = self.now();
        if let Some((held, holding)) = &work.held
            && let Some(id) = self.jobs.holds(&work.item.names)
        {
            self.newer(id, *held, holding.clone());
            return id;
        }
        let (wanted, job, open) = self.jobs.take_in(work, &self.suffixes);
        let draw = self.draw();
        let id = self.agent.add(wanted, now, draw);
        self.jobs.push(id, job, open);
        id
    }

    /// What the CA has told of the window of a certificate held.
    pub fn suggest(&mut self, id: CertificateId, answer: Result<RenewalAnswer, AcmeError>) {
        self.window(id, answer);
    }

    /// The jobs that there are.
    pub fn jobs(&self) -> impl Iterator<Item = &Job> {
        self.jobs.all()
    }

    /// The jobs of which a certificate is wanted that is not there. What is kept fresh is never done, but may be well: unless its time has
    /// come, and something is in the way.
    pub fn lacking(&self) -> impl Iterator<Item = &Job> {
        let now = self.now();
        let is_due = move |id| self.agent.held(id).and_then(|held| held.renew_at).is_none_or(|at| at <= now);
        let lacks = move |(id, job): &(CertificateId, &Job)| {
            !self.settings.keeps || job.state == State::Stopped || !job.held || is_due(*id) && job.last_error.is_some()
        };
        self.jobs.open().filter(lacks).map(|(_, job)| job)
    }

    /// How it stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing { now: self.now(), in_flight: self.tasks, wanted: self.jobs.wanted(), ..self.standing }
    }

    /// Works until there is nothing more to do, or `stop` counts an interrupt: then nothing new goes out, and what is under way comes
    /// to its end; a second one does not wait for that either.
    ///
    /// # Errors
    /// [`EngineError`] where the store, the ledger or the source can't be used any more.
    pub async fn run(
        &mut self,
        source: &mut dyn Source,
        mut stop: watch::Receiver<u32>,
        watch: &mut dyn FnMut(Event<'_>),
    ) -> Result<Ended, EngineError> {
        let ended = loop {
            let now = self.now();
            if *stop.borrow() > 0 {
                break Ended::Interrupted;
            }
            if self.settings.until.is_some_and(|until| now >= until) {
                break Ended::Until;
            }
            while source.next_at().map_err(EngineError::Source)?.is_some_and(|at| at <= now) {
                let Some(work) = source.take().map_err(EngineError::Source)? else { break };
                self.add(work);
            }
            while let Some(action) = self.agent.poll(now) {
                self.act(action, now, watch);
            }
            if self.broken.is_some() {
                break Ended::Interrupted;
            }
            // Behind the actions: what they are about is still there.
            if let Some(news) = source.look().map_err(EngineError::Source)? {
                self.learn(&news, watch);
                continue;
            }
            let next_order = source.next_at().map_err(EngineError::Source)?;
            let wake = [self.agent.next_wake(), next_order].into_iter().flatten().min();
            self.standing.next_at = wake;
            if self.tasks == 0
                && let Some(ended) = self.nothing_left(wake, next_order.is_some() || source.look_in().is_some())
            {
                break ended;
            }
            watch(Event::Tick(self.standing()));
            let wake = [wake, self.settings.until].into_iter().flatten().min();
            let pause = wake.map_or(Duration::from_hours(1), |at| self.orders.desk.real(at.since(now)));
            let pause = source.look_in().map_or(pause, |look| look.min(pause));
            tokio::select! {
                told = self.receiver.recv() => if let Some(told) = told { self.hear(told, watch) },
                () = tokio::time::sleep(pause.max(Duration::from_millis(1))) => {}
                _ = stop.changed() => {}
            }
        };
        self.wind_up(stop, watch).await;
        match self.broken.take() {
            Some(error) => Err(error.into()),
            None => Ok(ended),
        }
    }

    /// Whether nothing is worth waiting for, while nothing is under way.
    fn nothing_left(&self, wake: Option<Timestamp>, more: bool) -> Option<Ended> {
        let stuck = || if self.lacking().next().is_some() { Ended::Stuck } else { Ended::Done };
        if self.settings.once && wake.is_none_or(|at| at > self.now()) {
            return Some(stuck());
        }
        if more || self.settings.keeps && !self.settings.once {
            return None;
        }
        let hopeless =
            |job: &Job| job.state == State::Stopped || job.failures >= HOPELESS && !self.settings.keep_trying;
        (wake.is_none() || self.jobs.open().all(|(_, job)| hopeless(job))).then(stuck)
    }

    /// Waits for what is under way.
    async fn wind_up(&mut self, mut stop: watch::Receiver<u32>, watch: &mut dyn FnMut(Event<'_>)) {
        let mut grace = std::pin::pin!(tokio::time::sleep(GRACE));
        while self.tasks > 0 {
            tokio::select! {
                told = self.receiver.recv() => if let Some(told) = told { self.hear(told, watch) },
                () = &mut grace => break,
                _ = stop.wait_for(|interrupts| *interrupts > 1) => break,
            }
            // What is permitted and not sent yet is given back; nothing else goes out.
            while let Some(action) = self.agent.poll(Timestamp::from_unix_nanos(i64::MIN)) {
                if let Action::Cancel { permit } | Action::Order { permit, .. } = action {
                    self.give_back(permit);
                }
            }
        }
        watch(Event::Tick(self.standing()));
    }

    /// The ledger or the store can't be used: what passes is waited for, all else ends it.
    fn trouble(&mut self, id: CertificateId, error: OrderError, watch: &mut dyn FnMut(Event<'_>)) {
        let passes = |error: &GateError| {
            matches!(error, GateError::Busy(_)) || matches!(error.ledger(), Some(LedgerError::Unreachable { .. }))
        };
        match &error {
            OrderError::Gate(gate) if passes(gate) && !self.settings.once => {
                watch(Event::NoLedger(&gate.to_string()));
                let (now, draw) = (self.now(), self.draw());
                self.agent.handle(id, crate::agent::Event::Unreachable { retry_at: None }, now, draw);
            }
            _ => self.broken = Some(error),
        }
    }
}

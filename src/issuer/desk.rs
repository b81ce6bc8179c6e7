//! The gate, for many orders at once. Its calls block, so each runs on a thread of its own; what comes at the same time is made durable together.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{Stopwatch, Timescale};
use crate::gate::{Gate, GateError};
use crate::ledger::Mark;
use crate::time::{Span, Timestamp};

type Make = Box<dyn Fn() -> Result<Gate, GateError> + Send + Sync>;

/// Gates over one ledger, as many as are asked at a time. Copies share them.
#[derive(Clone)]
pub struct Desk(Arc<Inner>);

struct Inner {
    make: Make,
    idle: Mutex<Vec<Gate>>,
    seen: Mutex<(Mark, Timestamp, Stopwatch)>,
    timescale: Timescale,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("timescale", &self.0.timescale).finish_non_exhaustive()
    }
}

impl Desk {
    /// `make` makes a gate more over the same ledger; its time goes by `timescale`. Asks the ledger for the time.
    ///
    /// # Errors
    /// [`GateError`] where the ledger can't be asked.
    pub fn new(
        make: impl Fn() -> Result<Gate, GateError> + Send + Sync + 'static,
        timescale: Timescale,
    ) -> Result<Self, GateError> {
        let mut gate = make()?;
        gate.set_timescale(timescale);
        let now = gate.now()?;
        let seen = Mutex::new((gate.mark(), now, Stopwatch::start()));
        Ok(Self(Arc::new(Inner { make: Box::new(make), idle: Mutex::new(vec![gate]), seen, timescale })))
    }

    /// Asks a gate, on a thread that may block.
    ///
    /// # Errors
    /// That of `ask`, or where there is no gate more to be had.
    pub async fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut Gate) -> Result<T, GateError> + Send + 'static,
    ) -> Result<T, GateError> {
        let desk = self.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let mut gate = desk.gate()?;
            gate.has_seen(desk.mark());
            let answer = ask(&mut gate);
            desk.put_back(gate);
            answer
        });
        asked.await.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
    }

    fn gate(&self) -> Result<Gate, GateError> {
        if let Some(gate) = lock(&self.0.idle).pop() {
            return Ok(gate);
        }
        let mut gate = (self.0.make)()?;
        gate.set_timescale(self.0.timescale);
        Ok(gate)
    }

    fn put_back(&self, gate: Gate) {
        let mut seen = lock(&self.0.seen);
        if let Some(now) = gate.estimate()
            && now > self.at(&seen)
        {
            (seen.1, seen.2) = (now, Stopwatch::start());
        }
        seen.0 = seen.0.max(gate.mark());
        drop(seen);
        lock(&self.0.idle).push(gate);
    }

    fn at(&self, (_, at, since): &(Mark, Timestamp, Stopwatch)) -> Timestamp {
        at.plus(self.0.timescale.passed(since.elapsed()))
    }

    /// The ledger's time, as far as can be told without asking. It never goes back.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.at(&lock(&self.0.seen))
    }

    /// The highest mark that was seen of the ledger.
    #[must_use]
    pub fn mark(&self) -> Mark {
        lock(&self.0.seen).0
    }

    /// How its time follows the clock.
    #[must_use]
    pub fn timescale(&self) -> Timescale {
        self.0.timescale
    }

    /// A date of a certificate that is valid from `not_before`, in the ledger's time: a rehearsal's certificates are dated by the clock, and
    /// live as long in its time as they would in earnest.
    #[must_use]
    pub fn of_certificate(&self, not_before: Timestamp, at: Timestamp) -> Timestamp {
        self.0.timescale.at(not_before).plus(at.since(not_before))
    }

    /// How long the clock takes for a span of the ledger's time; a day at most, since clocks are set.
    #[must_use]
    pub fn real(&self, span: Span) -> Duration {
        let nanos = u64::try_from(span.nanos()).unwrap_or(0) / u64::from(self.0.timescale.speed().max(1));
        Duration::from_nanos(nanos).min(Duration::from_hours(24))
    }

    /// How long a span of the clock is in the ledger's time.
    #[must_use]
    pub fn span(&self, real: Span) -> Span {
        self.0.timescale.passed(real)
    }
}

/// What is guarded is whole whatever panicked beside it.
fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

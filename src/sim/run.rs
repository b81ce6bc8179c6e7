//! One run: the loop over the events, and what each does.

mod agent;
mod client;
mod events;
mod faults;
mod ledger;
mod order;
mod wants;

use super::behaviour::Pace;
use super::ca::{Ca, Certificate, Failure};
use super::measures::Measures;
use super::queue::Queue;
use super::random::{Purpose, Seed, Stream};
use super::scenario::What;
use super::setup::Setup;
use super::tally::Tally;
use super::trace::{Entry, Step};
use crate::plan::Share;
use crate::rules::OrderId;
use crate::time::{Span, Timestamp};

use agent::Pacer;
use client::Client;
use ledger::Ledger;
use order::Flights;
use wants::Wants;

/// What comes at a time of its own.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A client looks at what is due.
    Wake(u32),
    /// A client that looks now and then begins to look.
    Tick(u32),
    /// A client has waited for as long as it was told and orders again.
    Again { lineage: u32, life: u32 },
    /// An order's names are validated.
    Validate(u32),
    /// An order is finalized and issued.
    Issue(u32),
    /// An event of the scenario begins.
    Begin(u32),
    /// An event of the scenario ends.
    End(u32),
    /// A client is back after a crash.
    Back(u32),
    /// The next of an event's strangers: which event, which order, which round.
    Stranger { event: u32, index: u32 },
    /// A client that asks for renewal information learns that a certificate is revoked, and by when.
    Learn { lineage: u32, deadline: Timestamp },
    /// The ledgers that an event restores are backed up.
    Backup(u32),
}

/// How a lineage stands.
#[derive(Clone, Copy, Debug)]
struct Lineage {
    order: OrderId,
    /// The certificate that the client has.
    certificate: Option<Certificate>,
    /// When the client means to act next; [`IDLE`]: not by itself.
    due: Timestamp,
    failures: u8,
    in_flight: bool,
    /// Nothing of it is wanted any more.
    gone: bool,
}

const IDLE: Timestamp = Timestamp::from_unix_nanos(i64::MAX);

/// How names fail.
#[derive(Clone, Copy, Debug)]
struct Failing {
    /// The event that makes them; an event of which nothing is left has none.
    event: u32,
    probability: Share,
}

struct Run<'a, 'b> {
    setup: &'a Setup,
    now: Timestamp,
    queue: Queue<Event>,
    ca: Ca,
    tally: Tally<'a>,
    clients: Vec<Client>,
    /// The agents of those clients that have one, by client.
    pacers: Vec<Option<Box<Pacer>>>,
    ledgers: Vec<Ledger>,
    wants: Wants<'a>,
    lineages: Vec<Lineage>,
    flights: Flights,
    /// By name: how it fails; a place in `failings` from 1, or 0.
    failing: Vec<u16>,
    failings: Vec<Failing>,
    /// For use again: what failed in the order at hand.
    failures: Vec<Failure>,
    /// How much longer validations take.
    slow: Span,
    /// The orders' ids by the place of those of the set-up, once limits have changed.
    renumbered: Vec<OrderId>,
    latency: Stream,
    chance: Stream,
    seed: Seed,
    trace: Option<&'b mut dyn FnMut(&Entry)>,
}

/// Runs a scenario with `seed`.
#[must_use]
pub fn run(setup: &Setup, seed: Seed) -> Measures {
    Run::new(setup, seed, None).finish()
}

/// The same, and tells `trace` every step.
#[must_use]
pub fn run_traced(setup: &Setup, seed: Seed, trace: &mut dyn FnMut(&Entry)) -> Measures {
    Run::new(setup, seed, Some(trace)).finish()
}

impl<'a, 'b> Run<'a, 'b> {
    fn new(setup: &'a Setup, seed: Seed, trace: Option<&'b mut dyn FnMut(&Entry)>) -> Self {
        let mut run = Self {
            setup,
            now: setup.start,
            queue: Queue::new(),
            ca: Ca::new(setup, seed),
            tally: Tally::new(setup),
            clients: (0..).zip(&setup.clients).map(|(number, actor)| Client::new(actor, number, seed)).collect(),
            pacers: setup.clients.iter().map(|_| None).collect(),
            ledgers: (0..setup.ledgers).map(|_| Ledger::new(setup.model.clone())).collect(),
            wants: Wants::new(setup),
            lineages: Vec::with_capacity(setup.lineages.len()),
            flights: Flights::default(),
            failing: if setup.has_failures() { vec![0; setup.names.len()] } else { Vec::new() },
            failings: Vec::new(),
            failures: Vec::new(),
            slow: Span::ZERO,
            renumbered: Vec::new(),
            latency: Stream::new(seed, Purpose::Latency),
            chance: Stream::new(seed, Purpose::Failures),
            seed,
            trace,
        };
        for (number, event) in (0..).zip(&setup.events) {
            run.queue.push(event.at, Event::Begin(number));
            if let Some(until) = event.until {
                run.queue.push(until, Event::End(number));
            }
            if let What::RestoreLedger { age, .. } = event.what {
                run.queue.push(event.at.minus(age).max(setup.start), Event::Backup(number));
            }
        }
        run.fill();
        run
    }

    /// What clients have and want at the start.
    fn fill(&mut self) {
        for (number, of) in (0..).zip(&self.setup.lineages) {
            let held = |(issued_at, expires_at)| Certificate { issued_at, expires_at, replaced: false, revoked: false };
            let certificate = of.held.map(held);
            if let Some(certificate) = certificate {
                let names = self.setup.slots_of(number);
                names.iter().for_each(|slot| self.tally.held(slot.name, certificate.expires_at));
            }
            self.lineages.push(Lineage {
                order: of.order,
                certificate,
                due: of.at,
                failures: 0,
                in_flight: false,
                gone: false,
            });
        }
        for number in 0..u32::try_from(self.clients.len()).unwrap_or(u32::MAX) {
            let lineages = self.setup.clients[number as usize].lineages.clone();
            match self.clients[number as usize].parameters.pace {
                Pace::Planned => self.clients[number as usize].draw_plan(self.setup, lineages),
                Pace::Agent => self.hire(number, lineages),
                Pace::AtOnce | Pace::Tick { .. } => {
                    for lineage in lineages {
                        let due = match self.lineages[lineage as usize].certificate {
                            Some(certificate) => self.renewal_due(number, &certificate),
                            None => self.lineages[lineage as usize].due,
                        };
                        self.set_due(lineage, due);
                    }
                }
            }
            if matches!(self.clients[number as usize].parameters.pace, Pace::Tick { .. }) {
                self.queue.push(self.setup.start, Event::Tick(number));
            }
            self.wake_later(number, self.setup.start);
        }
    }

    fn finish(mut self) -> Measures {
        while let Some(at) = self.queue.next_at() {
            if at >= self.setup.end || self.tally.counts.bound_hit {
                break;
            }
            if let Some((at, event)) = self.queue.pop() {
                self.step_to(at);
                self.happen(event);
            }
        }
        let end = if self.tally.counts.bound_hit { self.now } else { self.setup.end };
        for lineage in &self.lineages {
            let expired = lineage.certificate.is_some_and(|certificate| certificate.expires_at <= end);
            self.tally.counts.expired += u64::from(expired && !lineage.gone);
        }
        self.tally.finish(&self.ca, self.seed, end)
    }

    /// The time goes on to `at`.
    fn step_to(&mut self, at: Timestamp) {
        assert!(at >= self.now, "time never goes back: {at} is before {}", self.now);
        self.now = at;
        self.tally.counts.steps += 1;
        self.tally.counts.bound_hit = self.tally.counts.steps >= self.setup.steps_max;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Wake(client) => {
                if self.clients[client as usize].wakes_at(self.now) {
                    self.wake(client);
                }
            }
            Event::Tick(client) => self.tick(client),
            Event::Again { lineage, life } => self.again(lineage, life),
            Event::Validate(flight) => self.validate(flight),
            Event::Issue(flight) => self.issue(flight),
            Event::Begin(event) => self.begin(event),
            Event::End(event) => self.end(event),
            Event::Back(client) => self.back(client),
            Event::Stranger { event, index } => self.stranger(event, index),
            Event::Learn { lineage, deadline } => self.learn(lineage, deadline),
            Event::Backup(event) => self.back_up(event),
        }
    }

    #[inline]
    fn tell(&mut self, lineage: Option<u32>, step: impl FnOnce(&Ca) -> Step) {
        if let Some(trace) = &mut self.trace {
            let client = lineage.map(|lineage| self.wants.of(lineage).actor);
            let names = lineage.map(|lineage| self.wants.slots_of(lineage)).unwrap_or_default();
            let names = names.iter().map(|slot| slot.name).collect();
            trace(&Entry { at: self.now, client, lineage, names, step: step(&self.ca) });
        }
    }
}

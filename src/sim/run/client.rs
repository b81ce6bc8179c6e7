//! What a client does next: one mechanism, which a behaviour's parameters make certbot, Caddy or a plan's performer.
//!
//! Every certificate that a client wants has a time at which it is due. One that acts at once wakes up for the earliest; one that looks
//! now and then takes what is due when it looks, one after the other or several at a time. After a failure the next time goes by its
//! backoff, or is the next look.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use super::{Event, IDLE, Run};
use crate::sim::behaviour::{Pace, Parameters, Renewal, RetryAfter};
use crate::sim::ca::{Answer, Certificate};
use crate::sim::random::{Purpose, Seed, Stream};
use crate::sim::setup::{Actor, Setup};
use crate::sim::trace::Step;
use crate::time::{Span, Timestamp};

/// How a client stands.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) parameters: Parameters,
    margin: Span,
    address: u32,
    stream: Stream,
    /// What is due when; an entry that its lineage does not agree with is old.
    due: BinaryHeap<Reverse<(Timestamp, u32)>>,
    /// For one that performs a plan: its orders by the time at which they go out, the last first.
    planned: Vec<(Timestamp, u32)>,
    /// The next time it wakes up.
    wake_at: Option<Timestamp>,
    /// For one that looks now and then: when it began to look, as long as it does.
    looks_since: Option<Timestamp>,
    /// How many orders it has under way.
    busy: u32,
    /// Before this it orders nothing more.
    next_order_at: Timestamp,
    /// How often it has started anew: what was under way then is not its own any more.
    pub(super) life: u32,
    pub(super) is_down: bool,
    /// How far its clock is ahead.
    pub(super) ahead: Span,
}

impl Client {
    pub(super) fn new(actor: &Actor, number: u32, seed: Seed) -> Self {
        Self {
            parameters: actor.parameters,
            margin: actor.margin,
            address: actor.address,
            stream: Stream::new(seed, Purpose::Client(number)),
            due: BinaryHeap::new(),
            planned: Vec::new(),
            wake_at: None,
            looks_since: None,
            busy: 0,
            next_order_at: Timestamp::from_unix_nanos(i64::MIN),
            life: 0,
            is_down: false,
            ahead: Span::ZERO,
        }
    }

    /// Draws how late each order of the plan goes out: up to its margin.
    pub(super) fn draw_plan(&mut self, setup: &Setup, lineages: Range<u32>) {
        let at = |lineage: u32| setup.lineages[lineage as usize].at;
        self.planned = lineages.map(|lineage| (at(lineage).plus(self.stream.span(self.margin)), lineage)).collect();
        self.planned.sort_by_key(|planned| Reverse(*planned));
    }

    /// Whether it meant to wake up now; then it has.
    pub(super) fn wakes_at(&mut self, now: Timestamp) -> bool {
        let wakes = self.wake_at == Some(now);
        if wakes {
            self.wake_at = None;
        }
        wakes
    }

    /// It starts anew, and has forgotten what was under way.
    pub(super) fn restart(&mut self) {
        self.life += 1;
        (self.busy, self.looks_since) = (0, None);
    }

    /// The next order of its plan, by its own clock.
    fn planned_at(&self) -> Option<Timestamp> {
        self.planned.last().map(|(at, _)| at.minus(self.ahead))
    }

    pub(super) fn draw(&mut self) -> u64 {
        self.stream.draw()
    }

    /// Whether its last order is long enough ago.
    pub(super) fn may_send(&self, now: Timestamp) -> bool {
        self.next_order_at <= now
    }

    pub(super) fn sends(&mut self, now: Timestamp) {
        self.next_order_at = now.plus(self.parameters.spacing);
    }

    pub(super) const fn sends_at(&self) -> Timestamp {
        self.next_order_at
    }

    pub(super) const fn address(&self) -> u32 {
        self.address
    }

    /// It begins to look now, unless it does already.
    pub(super) fn looks_at(&mut self, now: Timestamp) {
        self.looks_since = self.looks_since.or(Some(now));
    }

    /// An order is not under way any more.
    pub(super) fn rests(&mut self) {
        self.busy = self.busy.saturating_sub(1);
    }
}

impl Run<'_, '_> {
    fn client(&mut self, client: u32) -> &mut Client {
        &mut self.clients[client as usize]
    }

    #[inline]
    pub(super) fn actor_of(&self, lineage: u32) -> u32 {
        self.wants.of(lineage).actor
    }

    /// From `due` on the client means to act.
    pub(super) fn set_due(&mut self, lineage: u32, due: Timestamp) {
        self.lineages[lineage as usize].due = due;
        if due < self.setup.end {
            let client = self.actor_of(lineage);
            self.client(client).due.push(Reverse((due, lineage)));
        }
    }

    /// When the client means to renew.
    pub(super) fn renewal_due(&mut self, client: u32, certificate: &Certificate) -> Timestamp {
        let Certificate { issued_at, expires_at, .. } = *certificate;
        let (start, end) = self.ca.window(certificate);
        let client = self.client(client);
        let due = match client.parameters.renewal {
            Renewal::Ari => start.plus(client.stream.span(end.since(start).minus(Span::from_nanos(1)))),
            Renewal::Thirds(thirds) => {
                issued_at.plus(Span::from_nanos(expires_at.since(issued_at).nanos() / 3 * thirds))
            }
            Renewal::Before(span) => expires_at.minus(span),
        };
        due.minus(client.ahead)
    }

    /// A client that looks now and then begins to, unless it has not finished yet.
    pub(super) fn tick(&mut self, number: u32) {
        let now = self.now;
        let client = self.client(number);
        let Pace::Tick { every, jitter } = client.parameters.pace else { return };
        let sleep = client.stream.span(jitter);
        if client.looks_since.is_none() && !client.is_down {
            client.looks_since = Some(now);
            self.wake_later(number, now.plus(sleep));
        }
        self.queue.push(now.plus(every), Event::Tick(number));
    }

    pub(super) fn wake_later(&mut self, number: u32, at: Timestamp) {
        let client = self.client(number);
        if client.wake_at.is_none_or(|known| at < known) && at < self.setup.end {
            self.client(number).wake_at = Some(at);
            self.queue.push(at, Event::Wake(number));
        }
    }

    /// A client sends what is due and what it may.
    pub(super) fn wake(&mut self, number: u32) {
        match self.clients[number as usize].parameters.pace {
            Pace::Planned => return self.perform(number),
            Pace::Agent => return self.drive(number),
            Pace::AtOnce | Pace::Tick { .. } => {}
        }
        loop {
            let now = self.now;
            let client = &mut self.clients[number as usize];
            let until = match client.parameters.pace {
                Pace::Tick { .. } => client.looks_since,
                Pace::AtOnce | Pace::Planned | Pace::Agent => Some(now),
            };
            let (Some(until), false) = (until, client.is_down) else { return };
            if client.busy >= client.parameters.concurrency {
                return;
            }
            let Some(Reverse((due, lineage))) = client.due.peek().copied() else { break };
            let of = &self.lineages[lineage as usize];
            if of.due != due || of.in_flight || of.gone {
                client.due.pop();
                continue;
            }
            if due > until {
                if client.parameters.pace == Pace::AtOnce {
                    self.wake_later(number, due);
                }
                break;
            }
            if client.next_order_at > now {
                let at = client.next_order_at;
                return self.wake_later(number, at);
            }
            client.due.pop();
            client.next_order_at = now.plus(client.parameters.spacing);
            self.send(lineage);
        }
        let client = self.client(number);
        if client.busy == 0 {
            client.looks_since = None;
        }
    }

    /// A client performs its plan. Nothing else can come between two orders of which the later is before all other events.
    fn perform(&mut self, number: u32) {
        loop {
            let client = &mut self.clients[number as usize];
            if client.is_down {
                return;
            }
            while let Some(Reverse((due, lineage))) =
                client.due.peek().copied().filter(|Reverse((due, _))| *due <= self.now)
            {
                client.due.pop();
                if self.lineages[lineage as usize].due == due {
                    return self.perform_late(number, lineage);
                }
            }
            let retry = client.due.peek().map(|Reverse((due, _))| *due);
            let next = match (client.planned_at(), retry) {
                (Some(planned), Some(retry)) => planned.min(retry),
                (Some(next), None) | (None, Some(next)) => next,
                (None, None) => return,
            };
            if next > self.now {
                let is_next = next < self.setup.end && self.queue.next_at().is_none_or(|other| next < other);
                if !is_next || self.tally.counts.bound_hit {
                    return self.wake_later(number, next);
                }
                self.step_to(next);
                continue;
            }
            if let Some((_, lineage)) = client.planned.pop() {
                self.send(lineage);
            }
        }
    }

    /// An order that was refused before goes out again; then on with the plan.
    fn perform_late(&mut self, number: u32, lineage: u32) {
        self.send(lineage);
        let now = self.now;
        self.wake_later(number, now);
    }

    /// Sends the order of a lineage.
    pub(super) fn send(&mut self, lineage: u32) {
        let number = self.actor_of(lineage);
        let client = &mut self.clients[number as usize];
        client.busy += 1;
        let life = client.life;
        let uses_ari = client.parameters.renewal == Renewal::Ari;
        let of = &mut self.lineages[lineage as usize];
        (of.in_flight, of.due) = (true, IDLE);
        match self.ask(lineage, uses_ari) {
            Answer::Created(exemption) => self.fly(lineage, life, exemption),
            Answer::Refused(_, retry_after) => self.failed(lineage, retry_after),
            Answer::AlreadyReplaced => self.replaced(lineage),
            Answer::Busy(wait) => self.failed(lineage, Some(wait)),
            Answer::Paused | Answer::Unreachable => self.failed(lineage, None),
        }
    }

    /// Asks the CA for an order of a lineage, which may name the certificate held, and counts and tells what it answers.
    #[inline]
    pub(super) fn ask(&mut self, lineage: u32, replaces: bool) -> Answer {
        let address = self.clients[self.actor_of(lineage) as usize].address;
        let of = &mut self.lineages[lineage as usize];
        self.tally.counts.orders += 1;
        let replaces = of.certificate.as_mut().filter(|_| replaces);
        let answer = self.ca.new_order(of.order, replaces, address, self.now);
        match answer {
            Answer::Created(exemption) => self.tell(Some(lineage), |_| Step::Ordered(exemption)),
            Answer::Refused(bucket, retry_after) => {
                self.tally.counts.refusals[self.ca.model.limit_of(bucket).index()] += 1;
                self.tally.refused_at(self.now);
                self.tell(Some(lineage), |ca| {
                    let (limit, key) = ca.model.describe(bucket);
                    Step::Refused { limit, key, retry_after }
                });
            }
            Answer::Paused => {
                self.tally.counts.refusals_paused += 1;
                self.tally.refused_at(self.now);
                self.tell(Some(lineage), |_| Step::Paused);
            }
            Answer::AlreadyReplaced => self.tell(Some(lineage), |_| Step::AlreadyReplaced),
            Answer::Busy(_) | Answer::Unreachable => _ = self.unanswered(lineage, answer),
        }
        answer
    }

    /// Counts and tells a request that came to nothing; returns what the answer said of when to ask again.
    pub(super) fn unanswered(&mut self, lineage: u32, answer: Answer) -> Option<Span> {
        if let Answer::Busy(wait) = answer {
            self.tally.counts.overloads += 1;
            self.tally.refused_at(self.now);
            self.tell(Some(lineage), |_| Step::Busy(wait));
            return Some(wait);
        }
        self.tally.counts.unreachable += 1;
        self.tell(Some(lineage), |_| Step::Unreachable);
        None
    }

    /// The certificate was replaced already, by an order that came to nothing: the client orders without naming it.
    fn replaced(&mut self, lineage: u32) {
        let number = self.actor_of(lineage);
        self.client(number).rests();
        if let Some(certificate) = &mut self.lineages[lineage as usize].certificate {
            certificate.replaced = true;
        }
        let of = &mut self.lineages[lineage as usize];
        let certificate = of.certificate.take();
        // Without a certificate to name there is nothing that can be replaced.
        self.send(lineage);
        let of = &mut self.lineages[lineage as usize];
        if of.certificate.is_none() {
            of.certificate = certificate;
        }
    }

    /// An order came to nothing: what the client does about it.
    pub(super) fn failed(&mut self, lineage: u32, retry_after: Option<Span>) {
        let (number, now) = (self.actor_of(lineage), self.now);
        let client = &mut self.clients[number as usize];
        let of = &mut self.lineages[lineage as usize];
        let waits = match (client.parameters.retry_after, retry_after) {
            (RetryAfter::UpTo(most), Some(wait)) if wait <= most => Some(wait),
            (RetryAfter::UpTo(_) | RetryAfter::Ignored, _) => None,
        };
        let looks = matches!(client.parameters.pace, Pace::Tick { .. });
        if let Some(wait) = waits.filter(|_| looks) {
            // It sleeps with the order in its hands.
            let life = client.life;
            return self.queue.push(now.plus(wait), Event::Again { lineage, life });
        }
        client.rests();
        of.in_flight = false;
        of.failures = of.failures.saturating_add(1);
        let backoff = client.parameters.backoff;
        let step = backoff.get(usize::from(of.failures) - 1).or_else(|| backoff.last()).copied();
        // Without any backoff: at the next look.
        let wait = waits.or(step).unwrap_or(Span::from_nanos(1));
        self.set_due(lineage, now.plus(wait));
        self.wake_later(number, now);
    }

    /// A client that was told to wait has waited.
    pub(super) fn again(&mut self, lineage: u32, life: u32) {
        let number = self.actor_of(lineage);
        let client = self.client(number);
        // A restart has let go of it.
        if client.life == life {
            client.rests();
            self.send(lineage);
        }
    }

    /// How long an order takes from when it is sent until it is issued.
    pub(super) fn processing(&mut self, lineage: u32) -> Span {
        let of = self.wants.of(lineage);
        let client = &mut self.clients[of.actor as usize];
        if client.parameters.pace == Pace::Planned {
            let late = self.now.since(of.at).max(Span::ZERO);
            if late <= client.margin {
                return client.stream.span(client.margin.minus(late));
            }
        }
        let least = Span::from_nanos(self.setup.latency.nanos() / 10);
        least.plus(self.latency.span(self.setup.latency.minus(least)))
    }
}

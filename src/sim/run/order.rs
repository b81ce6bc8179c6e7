//! The life of an order that was let through: validated, finalized, issued, or come to nothing.

use rustc_hash::FxHashMap;

use super::{Event, Run};
use crate::rules::Exemption;
use crate::sim::behaviour::Pace;
use crate::sim::ca::{Answer, Certificate, Failure};
use crate::sim::trace::Step;
use crate::time::{Span, Timestamp};

/// An order under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    lineage: u32,
    /// The client's life in which it was sent.
    life: u32,
    sent_at: Timestamp,
    /// From validation to issue.
    rest: Span,
}

/// Orders under way, in places that are used again.
#[derive(Debug, Default)]
pub(super) struct Flights {
    all: Vec<Flight>,
    free: Vec<u32>,
    /// Those which their client will find again once it is back, and how they stand.
    kept: FxHashMap<u32, Kept>,
}

/// How an order stands that goes on without its client.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kept {
    UnderWay,
    /// Nobody answers its challenges.
    Stalled,
    Dead,
    Issued(Certificate),
}

impl Flights {
    fn add(&mut self, flight: Flight) -> u32 {
        if let Some(place) = self.free.pop() {
            self.all[place as usize] = flight;
            return place;
        }
        self.all.push(flight);
        u32::try_from(self.all.len() - 1).unwrap_or_else(|_too_many| unreachable!("32 bits outlast memory"))
    }

    fn get(&self, place: u32) -> Flight {
        self.all[place as usize]
    }

    pub(super) fn end(&mut self, place: u32) {
        self.all[place as usize].life = OVER;
        self.free.push(place);
    }

    /// Those under way of clients in that life, whose lineages are meant.
    pub(super) fn of(&self, life: u32, meant: impl Fn(u32) -> bool) -> Vec<u32> {
        let under_way = (0..).zip(&self.all).filter(|(_, flight)| flight.life == life && meant(flight.lineage));
        under_way.map(|(place, _)| place).collect()
    }

    pub(super) fn keep(&mut self, place: u32) {
        self.kept.insert(place, Kept::UnderWay);
    }

    /// The order of a lineage that was kept; it is not any more.
    pub(super) fn kept(&mut self, lineage: u32) -> Option<(u32, Kept)> {
        let places = (0..).zip(&self.all).filter(|(_, flight)| flight.life != OVER && flight.lineage == lineage);
        let place = places.map(|(place, _)| place).find(|place| self.kept.contains_key(place))?;
        Some((place, self.kept.remove(&place)?))
    }

    /// It is one of a client in that life.
    pub(super) fn adopt(&mut self, place: u32, life: u32) {
        self.all[place as usize].life = life;
    }

    /// How an order stands now that is kept; returns whether it is.
    fn stands(&mut self, place: u32, how: Kept) -> bool {
        self.kept.get_mut(&place).map(|kept| *kept = how).is_some()
    }
}

/// The life of an order that is over.
const OVER: u32 = u32::MAX;

/// After how long a client asks again where the CA did not answer.
const ASK_AGAIN: Span = Span::from_seconds(10);

impl Run<'_, '_> {
    /// An order was let through.
    pub(super) fn fly(&mut self, lineage: u32, life: u32, exemption: Exemption) {
        let planned = self.wants.of(lineage).at;
        let is_plan = self.is_planned(lineage);
        if is_plan && exemption != Exemption::Ari {
            self.tally.slip = self.now.since(planned).max(self.tally.slip);
        }
        let whole = self.processing(lineage);
        let first = Span::from_nanos(whole.nanos() / 2);
        let flight = self.flights.add(Flight { lineage, life, sent_at: self.now, rest: whole.minus(first) });
        self.fly_until(lineage, self.now.plus(first).plus(self.slow), Event::Validate(flight));
    }

    /// The next of an order's events is then.
    #[inline]
    fn fly_until(&mut self, lineage: u32, until: Timestamp, event: Event) {
        if self.pacers[self.actor_of(lineage) as usize].is_some() {
            self.extend(lineage, until);
        }
        self.queue.push(until, event);
    }

    fn is_planned(&self, lineage: u32) -> bool {
        self.clients[self.actor_of(lineage) as usize].parameters.pace == Pace::Planned
    }

    /// Whether the client that sent the order still knows of it.
    fn is_known(&self, flight: Flight) -> bool {
        self.clients[self.actor_of(flight.lineage) as usize].life == flight.life
    }

    /// An order's names are validated. A client that has crashed has not answered the challenges.
    pub(super) fn validate(&mut self, place: u32) {
        let flight = self.flights.get(place);
        let lineage = flight.lineage;
        if !self.is_known(flight) {
            if self.flights.stands(place, Kept::Stalled) {
                return;
            }
            self.flights.end(place);
            self.tally.counts.failed_orders += 1;
            return self.tell(Some(lineage), |_| Step::Abandoned);
        }
        let (of, slots) = (self.wants.of(lineage), self.wants.slots_of(lineage));
        let actor = &self.clients[of.actor as usize];
        if let Err(answer) = self.ca.go_on(actor.address(), slots.len(), self.now) {
            return self.ask_again(place, answer, Event::Validate(place));
        }
        if self.now.since(flight.sent_at) > self.ca.pending(of.profile) {
            return self.come_to_nothing(place, Step::Expired, &[]);
        }
        let reuse = self.ca.terms(of.profile, self.now).authorization_reuse;
        let (failing, failings, chance) = (&self.failing, &self.failings, &mut self.chance);
        let fails = |name: u32| match failing.get(name as usize) {
            None | Some(0) => false,
            Some(of) => chance.happens(failings[usize::from(*of) - 1].probability.parts()),
        };
        let mut failures = std::mem::take(&mut self.failures);
        self.ca.validate(slots, reuse, actor.parameters.deactivates, self.now, fails, &mut failures);
        if failures.is_empty() {
            self.tell(Some(lineage), |_| Step::Validated);
            self.fly_until(lineage, self.now.plus(flight.rest), Event::Issue(place));
        } else {
            let count = u32::try_from(failures.len()).unwrap_or(u32::MAX);
            self.tally.counts.failed_validations += u64::from(count);
            self.come_to_nothing(place, Step::Invalid(count), &failures);
        }
        self.failures = failures;
    }

    /// An order is finalized: its certificate is issued, whether or not its client is there to get it.
    pub(super) fn issue(&mut self, place: u32) {
        let flight = self.flights.get(place);
        let lineage = flight.lineage;
        let of = self.wants.of(lineage);
        let profile = of.profile;
        if let Err(answer) = self.ca.go_on(self.clients[of.actor as usize].address(), 0, self.now) {
            return self.ask_again(place, answer, Event::Issue(place));
        }
        if !self.ca.is_authorized(self.wants.slots_of(lineage), self.now) {
            return self.come_to_nothing(place, Step::Expired, &[]);
        }
        let (certificate, _) = self.ca.issue(self.lineages[lineage as usize].order, profile, self.now);
        if self.flights.stands(place, Kept::Issued(certificate)) {
            return self.tell(Some(lineage), |_| Step::Issued(certificate.expires_at));
        }
        let known = self.is_known(flight);
        self.flights.end(place);
        if !known {
            self.tally.counts.certificates += 1;
            self.tally.counts.lost += 1;
            return self.tell(Some(lineage), |_| Step::Lost(certificate.expires_at));
        }
        self.tell(Some(lineage), |_| Step::Issued(certificate.expires_at));
        self.hand_over(lineage, certificate);
    }

    /// A certificate has come to its client.
    pub(super) fn hand_over(&mut self, lineage: u32, certificate: Certificate) {
        let state = &mut self.lineages[lineage as usize];
        let before = state.certificate.replace(certificate);
        (state.in_flight, state.failures) = (false, 0);
        self.tally.issued_at(before.is_some(), self.now);
        self.tally.counts.expired += u64::from(before.is_some_and(|before| before.expires_at <= self.now));
        let slots = self.wants.slots_of(lineage).iter();
        slots.for_each(|slot| self.tally.cover(slot.name, certificate.expires_at, self.now));
        let actor = self.actor_of(lineage);
        self.clients[actor as usize].rests();
        match self.clients[actor as usize].parameters.pace {
            Pace::Planned => return,
            Pace::Agent => self.received(lineage, &certificate),
            Pace::AtOnce | Pace::Tick { .. } => {
                let due = self.renewal_due(actor, &certificate);
                // One that renews before it has begun to live would never rest.
                self.set_due(lineage, due.max(self.now.plus(Span::from_nanos(1))));
            }
        }
        self.wake(actor);
    }

    /// The CA did not answer, or asked for patience: the client asks again.
    fn ask_again(&mut self, place: u32, answer: Answer, event: Event) {
        let lineage = self.flights.get(place).lineage;
        let wait = match answer {
            // A client that paces its requests sends them when they will be taken.
            Answer::Busy(wait) if self.pacers[self.actor_of(lineage) as usize].is_some() => wait,
            _ => self.unanswered(lineage, answer).unwrap_or(ASK_AGAIN),
        };
        self.fly_until(lineage, self.now.plus(wait.max(Span::from_nanos(1))), event);
    }

    fn come_to_nothing(&mut self, place: u32, step: Step, failures: &[Failure]) {
        let flight = self.flights.get(place);
        let (known, dead) = (self.is_known(flight), self.flights.stands(place, Kept::Dead));
        if !dead {
            self.flights.end(place);
        }
        self.tally.counts.failed_orders += 1;
        self.tell(Some(flight.lineage), |_| step);
        if known && self.pacers[self.actor_of(flight.lineage) as usize].is_some() {
            self.came_to_nothing(flight.lineage, failures);
        } else if known {
            self.failed(flight.lineage, None);
        }
    }
}

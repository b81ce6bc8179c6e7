//! The life of an order that was let through: validated, finalized, issued, or come to nothing.

use super::{Event, Run};
use crate::rules::Exemption;
use crate::sim::ca::Answer;
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

    fn end(&mut self, place: u32) {
        self.free.push(place);
    }
}

/// After how long a client asks again where the CA did not answer.
const ASK_AGAIN: Span = Span::from_seconds(10);

impl Run<'_, '_> {
    /// An order was let through.
    pub(super) fn fly(&mut self, lineage: u32, life: u32, exemption: Exemption) {
        let planned = self.setup.lineages[lineage as usize].at;
        let is_plan = self.is_planned(lineage);
        if is_plan && exemption != Exemption::Ari {
            self.tally.slip = self.now.since(planned).max(self.tally.slip);
        }
        let whole = self.processing(lineage);
        let first = Span::from_nanos(whole.nanos() / 2);
        let flight = self.flights.add(Flight { lineage, life, sent_at: self.now, rest: whole.minus(first) });
        self.queue.push(self.now.plus(first).plus(self.slow), Event::Validate(flight));
    }

    fn is_planned(&self, lineage: u32) -> bool {
        let actor = self.setup.lineages[lineage as usize].actor;
        self.clients[actor as usize].parameters.pace == crate::sim::behaviour::Pace::Planned
    }

    /// Whether the client that sent the order still knows of it.
    fn is_known(&self, flight: Flight) -> bool {
        let actor = self.setup.lineages[flight.lineage as usize].actor;
        self.clients[actor as usize].life == flight.life
    }

    /// An order's names are validated. A client that has crashed has not answered the challenges.
    pub(super) fn validate(&mut self, place: u32) {
        let flight = self.flights.get(place);
        let lineage = flight.lineage;
        if !self.is_known(flight) {
            self.flights.end(place);
            self.tally.counts.failed_orders += 1;
            return self.tell(Some(lineage), |_| Step::Abandoned);
        }
        let setup = self.setup;
        let (of, slots) = (&setup.lineages[lineage as usize], setup.slots_of(lineage));
        let actor = &self.clients[of.actor as usize];
        if let Err(answer) = self.ca.go_on(actor.address(), slots.len(), self.now) {
            return self.ask_again(place, answer, Event::Validate(place));
        }
        if self.now.since(flight.sent_at) > self.ca.pending(of.profile) {
            return self.come_to_nothing(place, Step::Expired);
        }
        let reuse = self.ca.terms(of.profile, self.now).authorization_reuse;
        let (failing, failings, chance) = (&self.failing, &self.failings, &mut self.chance);
        let fails = |name: u32| match failing.get(name as usize) {
            None | Some(0) => false,
            Some(of) => chance.happens(failings[usize::from(*of) - 1].probability.parts()),
        };
        let validated = self.ca.validate(slots, reuse, actor.parameters.deactivates, self.now, fails);
        self.tally.counts.failed_validations += u64::from(validated.failed);
        if validated.failed > 0 {
            return self.come_to_nothing(place, Step::Invalid(validated.failed));
        }
        self.tell(Some(lineage), |_| Step::Validated);
        self.queue.push(self.now.plus(flight.rest), Event::Issue(place));
    }

    /// An order is finalized: its certificate is issued, whether or not its client is there to get it.
    pub(super) fn issue(&mut self, place: u32) {
        let flight = self.flights.get(place);
        let lineage = flight.lineage;
        let setup = self.setup;
        let of = &setup.lineages[lineage as usize];
        if let Err(answer) = self.ca.go_on(self.clients[of.actor as usize].address(), 0, self.now) {
            return self.ask_again(place, answer, Event::Issue(place));
        }
        let slots = setup.slots_of(lineage);
        if !self.ca.is_authorized(slots, self.now) {
            return self.come_to_nothing(place, Step::Expired);
        }
        let (certificate, _) = self.ca.issue(self.lineages[lineage as usize].order, of.profile, self.now);
        self.flights.end(place);
        if !self.is_known(flight) {
            self.tally.counts.certificates += 1;
            self.tally.counts.lost += 1;
            return self.tell(Some(lineage), |_| Step::Lost(certificate.expires_at));
        }
        self.tell(Some(lineage), |_| Step::Issued(certificate.expires_at));
        let state = &mut self.lineages[lineage as usize];
        let before = state.certificate.replace(certificate);
        (state.in_flight, state.failures) = (false, 0);
        self.tally.issued_at(before.is_some(), self.now);
        self.tally.counts.expired += u64::from(before.is_some_and(|before| before.expires_at <= self.now));
        slots.iter().for_each(|slot| self.tally.cover(slot.name, certificate.expires_at, self.now));
        self.clients[of.actor as usize].rests();
        if !self.is_planned(lineage) {
            let due = self.renewal_due(of.actor, &certificate);
            // One that renews before it has begun to live would never rest.
            self.set_due(lineage, due.max(self.now.plus(Span::from_nanos(1))));
            self.wake(of.actor);
        }
    }

    /// The CA did not answer, or asked for patience: the client asks again.
    fn ask_again(&mut self, place: u32, answer: Answer, event: Event) {
        let wait = self.unanswered(self.flights.get(place).lineage, answer).unwrap_or(ASK_AGAIN);
        self.queue.push(self.now.plus(wait.max(Span::from_nanos(1))), event);
    }

    fn come_to_nothing(&mut self, place: u32, step: Step) {
        let flight = self.flights.get(place);
        self.flights.end(place);
        self.tally.counts.failed_orders += 1;
        self.tell(Some(flight.lineage), |_| step);
        if self.is_known(flight) {
            self.failed(flight.lineage, None);
        }
    }
}

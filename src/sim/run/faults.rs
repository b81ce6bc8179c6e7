//! Faults of `certpace` clients: what is left of an agent after a crash, after the loss of its storage, and when a person steps in.
//!
//! A crash hits orders at any point. Whether the client had stored where its order is to be found is a matter of chance, one in two: if
//! so it goes on with it when it is back, else nobody knows what came of the order.

use super::Run;
use super::order::Kept;
use crate::agent::{self, Agent, CertificateId, Wanted};
use crate::permits::{self, PermitId, State};
use crate::sim::random::Stream;
use crate::sim::scenario::What;
use crate::sim::trace::Step;

impl Run<'_, '_> {
    /// The client ends: what it has stored is kept.
    pub(super) fn freeze(&mut self, number: u32, draws: &mut Stream) {
        let life = self.clients[number as usize].life;
        for place in self.flights.of(life, |lineage| self.wants.of(lineage).actor == number) {
            if draws.happens(500_000) {
                self.flights.keep(place);
            }
        }
        let pacer = self.pacer(number);
        let certificates = (0..pacer.agent.len()).filter_map(|number| u32::try_from(number).ok());
        let wanted = certificates.map(|number| pacer.agent.wanted(CertificateId::new(number))).collect();
        let kept = (pacer.agent.backoffs(), wanted);
        pacer.freeze(kept);
    }

    /// The client is there again, with what was kept.
    pub(super) fn thaw(&mut self, number: u32) {
        let (now, config) = (self.now, self.config(number));
        let (backoffs, wanted) = self.pacer(number).thaw();
        let mut removed = Vec::new();
        let mut certificates = Vec::with_capacity(wanted.len());
        for (place, wanted) in (0..).zip(wanted) {
            // What is not wanted any more keeps its number.
            let wanted = wanted.unwrap_or_else(|| {
                removed.push(CertificateId::new(place));
                Wanted::new([], agent::TenantId::new(0), [])
            });
            certificates.push((wanted, self.draw(number)));
        }
        let mut agent = Agent::restore(config, backoffs, certificates, now);
        removed.into_iter().for_each(|certificate| agent.remove(certificate, now));
        self.pacer(number).agent = agent;
        self.leave_out_removed(number);
    }

    /// After a restart: what came of an order.
    pub(super) fn resume(&mut self, number: u32, certificate: CertificateId, permit: PermitId) {
        let now = self.now;
        let lineage = self.pacer(number).lineage(certificate);
        let permit = self.pacer(number).permits.get(&lineage).copied().unwrap_or(permit);
        let state = self.ledger(number).book.permit(permit).map(permits::Permit::state);
        match state {
            None | Some(State::Reserved | State::Expired | State::Cancelled) => {
                // It never went out.
                self.cancel(number, permit);
                self.pacer(number).agent.handle(certificate, agent::Event::Later { at: now, gate: None }, now, 0);
            }
            Some(State::Sent | State::Unknown | State::Issued | State::Failed) => {
                if let Some((place, kept)) = self.flights.kept(lineage) {
                    return self.go_on(lineage, place, kept);
                }
                self.tell(Some(lineage), |_| Step::Forgotten);
                self.lineages[lineage as usize].in_flight = false;
                self.pacer(number).permits.remove(&lineage);
                let book = &mut self.ledger(number).book;
                let _lost = book.apply(permit, permits::Event::Lost, now);
                book.forget(permit);
                self.pacer(number).agent.handle(certificate, agent::Event::Lost, now, 0);
            }
        }
    }

    /// An order of before the restart was found again.
    fn go_on(&mut self, lineage: u32, place: u32, kept: Kept) {
        let life = self.clients[self.actor_of(lineage) as usize].life;
        self.flights.adopt(place, life);
        match kept {
            Kept::UnderWay => {}
            Kept::Stalled => self.queue.push(self.now, super::Event::Validate(place)),
            Kept::Dead => {
                self.flights.end(place);
                self.came_to_nothing(lineage, &[]);
            }
            Kept::Issued(certificate) => {
                self.flights.end(place);
                self.hand_over(lineage, certificate);
            }
        }
    }

    /// The client starts anew with nothing but its inventory; what was under way is lost to it.
    pub(super) fn start_anew(&mut self, number: u32) {
        let now = self.now;
        let mut open: Vec<(u32, PermitId)> = self.pacer(number).permits.drain().collect();
        open.sort_unstable();
        let reserved = self.pacer(number).drain_outbox();
        for permit in reserved {
            self.cancel(number, permit);
        }
        for (lineage, permit) in open {
            self.tell(Some(lineage), |_| Step::Forgotten);
            let book = &mut self.ledger(number).book;
            let _lost = book.apply(permit, permits::Event::Lost, now);
            book.forget(permit);
        }
        for lineage in 0..u32::try_from(self.lineages.len()).unwrap_or(u32::MAX) {
            if self.actor_of(lineage) == number {
                self.lineages[lineage as usize].in_flight = false;
                match self.setup.lineages.get(lineage as usize) {
                    Some(of) => {
                        self.wants.restore(lineage);
                        self.lineages[lineage as usize].order = of.order_in(&self.renumbered);
                    }
                    None => self.lineages[lineage as usize].gone = true,
                }
            }
        }
        self.hire(number, self.setup.clients[number as usize].lineages.clone());
    }

    /// Hostnames that are not wanted any more leave their certificates.
    pub(super) fn leave_out_removed(&mut self, number: u32) {
        let now = self.now;
        let removes = |what: &What| matches!(what, What::RemoveHostnames(_));
        if !self.failings.iter().any(|failing| removes(&self.setup.events[failing.event as usize].what)) {
            return;
        }
        for lineage in 0..u32::try_from(self.lineages.len()).unwrap_or(u32::MAX) {
            if self.actor_of(lineage) != number || !self.pacer(number).knows(lineage) {
                continue;
            }
            let id = self.pacer(number).certificate(lineage);
            let gone = |name: u32| {
                let place = usize::from(self.failing[name as usize]);
                self.failings
                    .get(place.wrapping_sub(1))
                    .is_some_and(|failing| removes(&self.setup.events[failing.event as usize].what))
            };
            let slots = self.wants.slots_of(lineage).iter().filter(|slot| gone(slot.name));
            let names: Vec<agent::NameId> = slots.map(|slot| agent::NameId::new(slot.authorization)).collect();
            for name in names {
                let agent = &mut self.pacer(number).agent;
                if agent.names(id).contains(&name) {
                    agent.remove_name(id, name, now);
                }
            }
        }
    }

    /// A person has had names unpaused, and wants those tried that were.
    pub(super) fn try_paused(&mut self, lineages: &[u32]) {
        let now = self.now;
        for &lineage in lineages {
            let number = self.actor_of(lineage);
            if self.pacers[number as usize].is_none() || self.lineages[lineage as usize].gone {
                continue;
            }
            let names: Vec<_> = self.wants.slots_of(lineage).iter().map(|slot| slot.authorization).collect();
            let pacer = self.pacer(number);
            if !pacer.knows(lineage) {
                continue;
            }
            let id = pacer.certificate(lineage);
            names.into_iter().for_each(|name| pacer.agent.retry(agent::NameId::new(name), now));
            pacer.agent.resume(id, now);
        }
    }
}

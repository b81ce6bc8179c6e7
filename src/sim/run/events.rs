//! What happens to the CA, to clients and to hostnames, as the scenario has it.

use super::{Event, Failing, Run};
use crate::limits::Policy;
use crate::plan::Share;
use crate::sim::behaviour::{Pace, Renewal};
use crate::sim::random::{Purpose, Stream};
use crate::sim::scenario::What;
use crate::sim::setup::Slot;
use crate::sim::trace::Step;
use crate::time::{Span, Timestamp};

/// How often a client asks for renewal information: it learns of a revocation within this time.
pub(super) const ARI_POLL: Span = Span::from_hours(6);

impl Run<'_, '_> {
    pub(super) fn begin(&mut self, number: u32) {
        self.tell(None, |_| Step::Event { place: number as usize, begins: true });
        let setup = self.setup;
        let event = &setup.events[number as usize];
        match &event.what {
            What::Outage(endpoint) => self.ca.outage(*endpoint, true),
            What::SlowValidation(delay) => self.slow = self.slow.plus(*delay),
            What::FailingNames { share, probability } => self.fail_names(number, *share, *probability),
            What::Repair => self.failing.fill(0),
            What::Unpause => self.unpause(),
            What::Strangers { .. } => self.queue.push(self.now, Event::Stranger { event: number, index: 0 }),
            What::LoseStorage(client) => setup.actors(*client).into_iter().for_each(|actor| self.lose_storage(actor)),
            What::Revocation { share, deadline } => self.revoke(number, *share, *deadline),
            What::ClockSkew { client, ahead } => self.skew(*client, *ahead),
            What::Crash { client, downtime } => {
                let mut draws = self.draws(number);
                for actor in setup.actors(*client) {
                    if self.pacers[actor as usize].is_some() && !self.clients[actor as usize].is_down {
                        self.freeze(actor, &mut draws);
                    }
                    self.clients[actor as usize].is_down = true;
                    self.clients[actor as usize].restart();
                    self.queue.push(self.now.plus(*downtime), Event::Back(actor));
                }
            }
            // The set-up knows them, and when they come.
            What::AddHostnames { .. } => {}
            What::RemoveHostnames(share) => self.remove(number, *share),
            What::Policy(name) => {
                let mut limits = self.ca.model.limits().clone();
                if let Ok(policy) = Policy::built_in(name) {
                    limits.policy = policy;
                }
                self.change_limits(limits);
            }
            What::Override { limit, id, allows } => {
                let mut limits = self.ca.model.limits().clone();
                limits.overrides.set(*limit, id, allows.clone());
                self.change_limits(limits);
            }
            What::LoseLedger(client) => self.lose_ledgers(*client, None),
            What::RestoreLedger { client, .. } => self.lose_ledgers(*client, Some(number)),
        }
    }

    pub(super) fn end(&mut self, number: u32) {
        self.tell(None, |_| Step::Event { place: number as usize, begins: false });
        let setup = self.setup;
        match &setup.events[number as usize].what {
            What::Outage(endpoint) => self.ca.outage(*endpoint, false),
            What::SlowValidation(delay) => self.slow = self.slow.minus(*delay).max(Span::ZERO),
            What::FailingNames { .. } => {
                let of = |place: u16| self.failings.get(usize::from(place).wrapping_sub(1)).map(|of| of.event);
                let mended: Vec<usize> =
                    (0..self.failing.len()).filter(|name| of(self.failing[*name]) == Some(number)).collect();
                mended.into_iter().for_each(|name| self.failing[name] = 0);
            }
            What::ClockSkew { client, .. } => self.skew(*client, Span::ZERO),
            What::Repair
            | What::Unpause
            | What::Strangers { .. }
            | What::LoseStorage(_)
            | What::Revocation { .. }
            | What::Crash { .. }
            | What::AddHostnames { .. }
            | What::RemoveHostnames(_)
            | What::Policy(_)
            | What::Override { .. }
            | What::LoseLedger(_)
            | What::RestoreLedger { .. } => {}
        }
    }

    fn change_limits(&mut self, limits: crate::limits::Limits) {
        self.change_ledgers(&limits);
        let orders = self.ca.change_limits(limits);
        for lineage in &mut self.lineages {
            lineage.order = orders[lineage.order.index()];
        }
        // Those of strangers are found by their places.
        self.renumbered = orders;
    }

    fn draws(&self, event: u32) -> Stream {
        Stream::new(self.seed, Purpose::Event(event))
    }

    fn fail_names(&mut self, event: u32, share: Share, probability: Share) {
        let mut draws = self.draws(event);
        self.failings.push(Failing { event, probability });
        let place = u16::try_from(self.failings.len()).unwrap_or(u16::MAX);
        for name in &mut self.failing {
            if draws.happens(share.parts()) {
                *name = place;
            }
        }
    }

    fn unpause(&mut self) {
        let lineages = 0..u32::try_from(self.lineages.len()).unwrap_or(u32::MAX);
        let paused = |lineage: &u32| {
            let number = self.setup.clients[self.actor_of(*lineage) as usize].ledger as usize;
            let known = self.ledgers.get(number).map(|ledger| ledger.book.model());
            let is_paused = |slot: &Slot| {
                self.ca.model.is_pair_paused(slot.pair) || known.is_some_and(|known| known.is_pair_paused(slot.pair))
            };
            self.wants.slots_of(*lineage).iter().any(is_paused)
        };
        let paused: Vec<u32> = lineages.filter(paused).collect();
        for slot in &self.setup.slots {
            self.ca.model.unpause_pair(slot.pair);
            self.ledgers.iter_mut().for_each(|ledger| _ = ledger.book.model_mut().unpause_pair(slot.pair));
        }
        self.try_paused(&paused);
        self.wake_all();
    }

    fn skew(&mut self, client: Option<usize>, ahead: Span) {
        for actor in self.setup.actors(client) {
            // A client that goes by the CA's clock is not concerned.
            let own = self.pacers[actor as usize].is_none();
            self.clients[actor as usize].ahead = if own { ahead } else { Span::ZERO };
            self.wake(actor);
        }
    }

    /// A client is there again and begins at once with what it lacks.
    pub(super) fn back(&mut self, actor: u32) {
        if self.pacers[actor as usize].is_some() {
            if std::mem::take(&mut self.clients[actor as usize].is_down) {
                self.thaw(actor);
                self.drive(actor);
            }
            return;
        }
        self.clients[actor as usize].is_down = false;
        self.restart(actor, |lineage| lineage.in_flight);
    }

    /// What was under way, or what `lost` says, is due anew.
    fn restart(&mut self, actor: u32, lost: impl Fn(&super::Lineage) -> bool) {
        let now = self.now;
        for lineage in self.setup.clients[actor as usize].lineages.clone() {
            let of = &mut self.lineages[lineage as usize];
            if lost(of) && !of.gone {
                of.in_flight = false;
                let wanted_from = self.setup.lineages[lineage as usize].at;
                self.set_due(lineage, now.max(wanted_from));
            }
        }
        if let Pace::Tick { .. } = self.clients[actor as usize].parameters.pace {
            self.clients[actor as usize].looks_at(now);
        }
        self.wake(actor);
    }

    /// A client starts again without the certificates it had.
    fn lose_storage(&mut self, actor: u32) {
        let (setup, now) = (self.setup, self.now);
        self.clients[actor as usize].restart();
        for lineage in setup.clients[actor as usize].lineages.clone() {
            let of = &mut self.lineages[lineage as usize];
            (of.certificate, of.failures) = (None, 0);
            self.uncover(lineage, now);
        }
        self.cover_again();
        if self.pacers[actor as usize].is_some() {
            self.start_anew(actor);
            return self.drive(actor);
        }
        let planned = self.clients[actor as usize].parameters.pace == Pace::Planned;
        self.restart(actor, |of| !planned || of.in_flight);
    }

    fn uncover(&mut self, lineage: u32, until: Timestamp) {
        let now = self.now;
        self.wants.slots_of(lineage).iter().for_each(|slot| self.tally.uncover(slot.name, until, now));
    }

    /// What other clients have still covers their names.
    fn cover_again(&mut self) {
        let now = self.now;
        for (number, of) in (0..).zip(&self.lineages) {
            if let Some(certificate) = of.certificate.filter(|certificate| certificate.expires_at > now) {
                let slots = self.wants.slots_of(number).iter();
                slots.for_each(|slot| self.tally.cover(slot.name, certificate.expires_at, now));
            }
        }
    }

    /// The CA revokes: certificates end with the deadline, and those who ask for renewal information learn of it.
    fn revoke(&mut self, event: u32, share: Share, deadline: Span) {
        let mut draws = self.draws(event);
        let (now, until) = (self.now, self.now.plus(deadline));
        let mut hit = Vec::new();
        for (number, of) in (0..).zip(&mut self.lineages) {
            let Some(certificate) = of.certificate.as_mut().filter(|certificate| certificate.expires_at > now) else {
                continue;
            };
            if draws.happens(share.parts()) {
                certificate.revoked = true;
                certificate.expires_at = certificate.expires_at.min(until);
                hit.push(number);
            }
        }
        hit.iter().for_each(|lineage| self.uncover(*lineage, until));
        self.cover_again();
        for lineage in hit {
            let actor = self.actor_of(lineage);
            if self.pacers[actor as usize].is_some() {
                let at = now.plus(draws.span(ARI_POLL));
                self.queue.push(at, Event::Learn { lineage, deadline: until });
                continue;
            }
            let learns = self.clients[actor as usize].parameters.renewal == Renewal::Ari;
            if learns && !self.lineages[lineage as usize].in_flight {
                self.set_due(lineage, now.plus(draws.span(ARI_POLL)));
            }
        }
        self.wake_all();
    }

    pub(super) fn wake_all(&mut self) {
        (0..self.setup.clients.len()).filter_map(|actor| u32::try_from(actor).ok()).for_each(|actor| self.wake(actor));
    }

    /// Hostnames are not wanted any more: their certificates are not renewed, and where one shares a certificate with others it fails.
    fn remove(&mut self, event: u32, share: Share) {
        let mut draws = self.draws(event);
        let (setup, now) = (self.setup, self.now);
        self.failings.push(Failing { event, probability: Share::parts_per_million(1_000_000) });
        let place = u16::try_from(self.failings.len()).unwrap_or(u16::MAX);
        for name in 0..setup.names.len() {
            if draws.happens(share.parts()) {
                self.failing[name] = place;
                self.tally.forget(u32::try_from(name).unwrap_or(u32::MAX), now);
            }
        }
        for number in 0..u32::try_from(self.lineages.len()).unwrap_or(u32::MAX) {
            let gone = self.wants.slots_of(number).iter().all(|slot| self.failing[slot.name as usize] == place);
            self.lineages[number as usize].gone |= gone;
        }
        for actor in setup.actors(None) {
            if self.pacers[actor as usize].is_some() && !self.clients[actor as usize].is_down {
                self.leave_out_removed(actor);
                self.drive(actor);
            }
        }
    }

    /// One certificate for other people on each registered domain that the event is about, and on to the next.
    pub(super) fn stranger(&mut self, event: u32, index: u32) {
        let setup = self.setup;
        let of = &setup.events[event as usize];
        let What::Strangers { certificates, every, .. } = of.what else { return };
        let orders = &setup.strangers[event as usize];
        let names = certificates.clamp(1, crate::sim::setup::STRANGER_NAMES);
        for domain in orders.chunks(names as usize) {
            let order = domain[index as usize % domain.len()];
            let order = self.renumbered.get(order.index()).copied().unwrap_or(order);
            let allowed = self.ca.stranger(order, self.now);
            self.tell(None, |_| Step::Stranger(allowed));
        }
        let next = self.now.plus(Span::from_nanos((every.nanos() / i64::from(certificates)).max(1)));
        if of.until.is_none_or(|until| next < until) && next < setup.end {
            self.queue.push(next, Event::Stranger { event, index: index.wrapping_add(1) });
        }
    }
}

//! The `certpace` client: [`crate::agent`] decides, a [ledger](super::ledger) gives permits, and what happens is told to both.
//!
//! What differs from the real thing: renewal information is not asked for again and again but told once, when a certificate is issued, and
//! again within six hours after it was revoked, since the CA changes it for no other reason. The client goes by the CA's clock, so a
//! clock that is wrong does not concern it; and it paces its requests by the endpoint limits, so it is never too fast for them alone.

use std::collections::VecDeque;
use std::ops::Range;

use rustc_hash::FxHashMap;

use super::ledger::Ledger;
use super::{Event, Run};
use crate::agent::{
    self, Action, Agent, Backoff, CertificateId, Class, Config, GateId, Held, NameId, TenantId, Wanted, Window,
};
use crate::name::{Identifier, NameSet};
use crate::permits::{self, Dispatch, Holder, LEASE, PermitId, Request};
use crate::plan::Share;
use crate::sim::ca::{Answer, Certificate, Failure};
use crate::sim::setup::{self, Slot};
use crate::sim::trace::Step;
use crate::time::{NS_PER_S, Span, Timestamp};

/// What is added to `Retry-After`, which is rounded to whole seconds.
const ROUNDING: Span = Span::from_nanos(NS_PER_S);

/// What an agent has stored: names that back off, and certificates by number.
type Kept = (Vec<(NameId, Backoff)>, Vec<Option<Wanted>>);

/// An agent and what its driver keeps.
#[derive(Debug)]
pub(super) struct Pacer {
    pub(super) agent: Agent,
    /// By certificate.
    lineages: Vec<u32>,
    /// The first of the set-up's lineages, which are numbered as the agent numbers certificates.
    first: u32,
    /// The certificates of lineages that were split off others.
    split: FxHashMap<u32, CertificateId>,
    /// Permits of orders that have gone out, by lineage.
    pub(super) permits: FxHashMap<u32, PermitId>,
    /// Orders that wait for their turn: one after the other.
    outbox: VecDeque<(CertificateId, PermitId, bool)>,
    /// What was kept when it crashed.
    kept: Option<Kept>,
}

impl Pacer {
    pub(super) fn lineage(&self, certificate: CertificateId) -> u32 {
        self.lineages[certificate.number() as usize]
    }

    /// Whether the lineage has a certificate of the agent's.
    pub(super) fn knows(&self, lineage: u32) -> bool {
        self.lineages.get(lineage.wrapping_sub(self.first) as usize) == Some(&lineage)
            || self.split.contains_key(&lineage)
    }

    pub(super) fn freeze(&mut self, kept: Kept) {
        (self.kept, self.outbox) = (Some(kept), VecDeque::new());
    }

    pub(super) fn thaw(&mut self) -> Kept {
        self.kept.take().unwrap_or_default()
    }

    pub(super) fn drain_outbox(&mut self) -> Vec<PermitId> {
        self.outbox.drain(..).map(|(_, permit, _)| permit).collect()
    }

    pub(super) fn certificate(&self, lineage: u32) -> CertificateId {
        let own = lineage.checked_sub(self.first).filter(|place| self.lineages.get(*place as usize) == Some(&lineage));
        own.map_or_else(|| self.split[&lineage], CertificateId::new)
    }

    /// Orders that have not gone out have lost their permits.
    pub(super) fn forget_outbox(&mut self, now: Timestamp) {
        for (certificate, ..) in std::mem::take(&mut self.outbox) {
            self.agent.handle(certificate, agent::Event::Later { at: now, gate: None }, now, 0);
        }
    }
}

/// The names of a certificate, as the agent has them: an authorization is an account's and a profile's.
fn names(slots: &[Slot]) -> impl Iterator<Item = NameId> + '_ {
    slots.iter().map(|slot| NameId::new(slot.authorization))
}

impl Run<'_, '_> {
    pub(super) fn pacer(&mut self, number: u32) -> &mut Pacer {
        self.pacers[number as usize].as_mut().unwrap_or_else(|| unreachable!("the client has an agent"))
    }

    pub(super) fn ledger(&mut self, number: u32) -> &mut Ledger {
        &mut self.ledgers[self.setup.clients[number as usize].ledger as usize]
    }

    pub(super) fn draw(&mut self, number: u32) -> u64 {
        self.clients[number as usize].draw()
    }

    pub(super) fn config(&self, number: u32) -> Config {
        let in_flight_max = self.clients[number as usize].parameters.concurrency;
        Config { ari: false, in_flight_max, ..Config::new(self.ca.model.limits().policy.renewal) }
    }

    fn window(&self, certificate: &Certificate) -> Window {
        let (start, end) = self.ca.window(certificate);
        Window { start, end }
    }

    fn wanted(&mut self, lineage: u32) -> Wanted {
        let of = self.wants.of(lineage);
        let (at, actor) = (of.at, of.actor);
        let order = self.lineages[lineage as usize].order;
        let gates: Vec<GateId> = self.ledger(actor).gates(order);
        let slots = self.wants.slots_of(lineage);
        let tenant = TenantId::new(self.setup.names[slots[0].name as usize].tenant);
        let held = self.lineages[lineage as usize].certificate.map(|certificate| Held {
            window: Some(self.window(&certificate)),
            ..Held::new(certificate.issued_at, certificate.expires_at)
        });
        Wanted { not_before: at, held, ..Wanted::new(names(slots), tenant, gates) }
    }

    /// A client gets an agent that knows what it wants and what it holds.
    pub(super) fn hire(&mut self, number: u32, lineages: Range<u32>) {
        let mut pacer = Pacer {
            agent: Agent::new(self.config(number)),
            first: lineages.start,
            lineages: lineages.clone().collect(),
            split: FxHashMap::default(),
            permits: FxHashMap::default(),
            outbox: VecDeque::new(),
            kept: None,
        };
        for lineage in lineages {
            let (wanted, draw) = (self.wanted(lineage), self.draw(number));
            pacer.agent.add(wanted, self.now, draw);
        }
        self.pacers[number as usize] = Some(Box::new(pacer));
        self.leave_out_removed(number);
    }

    /// Carries out what the agent says until there is nothing more to do now.
    pub(super) fn drive(&mut self, number: u32) {
        let now = self.now;
        if self.clients[number as usize].is_down {
            return;
        }
        self.ledger(number).book.lapse(now);
        loop {
            while let Some(action) = self.pacer(number).agent.poll(now) {
                self.act(number, action);
            }
            if !self.clients[number as usize].may_send(now) {
                break;
            }
            let Some((certificate, permit, replaces)) = self.pacer(number).outbox.pop_front() else { break };
            self.clients[number as usize].sends(now);
            self.dispatch(number, certificate, permit, replaces);
        }
        let pacer = self.pacer(number);
        let (wake, sends) = (pacer.agent.next_wake(), !pacer.outbox.is_empty());
        let sends_at = sends.then(|| self.clients[number as usize].sends_at());
        if let Some(at) = [wake, sends_at].into_iter().flatten().min() {
            self.wake_later(number, at.max(now.plus(Span::from_nanos(1))));
        }
    }

    fn act(&mut self, number: u32, action: Action) {
        let now = self.now;
        match action {
            Action::Reserve { certificate, class, replaces } => self.reserve(number, certificate, class, replaces),
            Action::Order { certificate, permit, replaces } => {
                self.pacer(number).outbox.push_back((certificate, permit, replaces));
            }
            Action::Cancel { permit } => self.cancel(number, permit),
            Action::Resume { certificate, permit } => self.resume(number, certificate, permit),
            Action::AskRenewalInfo { certificate } => {
                let event = agent::Event::NoRenewalInfo { lasting: true };
                self.pacer(number).agent.handle(certificate, event, now, 0);
            }
            Action::Split { from, certificate, name } => self.split(number, from, certificate, name),
        }
    }

    pub(super) fn cancel(&mut self, number: u32, permit: PermitId) {
        let now = self.now;
        let book = &mut self.ledger(number).book;
        // Where its lease has run out there is nothing to be cancelled.
        let _cancelled = book.apply(permit, permits::Event::Cancelled, now);
        book.forget(permit);
    }

    fn reserve(&mut self, number: u32, certificate: CertificateId, class: Class, replaces: Option<Window>) {
        let now = self.now;
        let lineage = self.pacer(number).lineage(certificate);
        if self.pacer(number).agent.names(certificate).len() != self.wants.slots_of(lineage).len() {
            self.follow(number, certificate);
        }
        let of = &self.lineages[lineage as usize];
        // It asks for the window once more before it claims that an order replaces something.
        let revoked = of.certificate.is_some_and(|certificate| certificate.revoked);
        let replaces = replaces.filter(|_| !revoked).map(|window| (window.start, window.end));
        let headroom = match class {
            Class::Urgent => Share::default(),
            Class::New | Class::Renewal => self.setup.clients[number as usize].headroom,
        };
        let request = Request { replaces, headroom, ..Request::of(of.order, Holder::new(lineage)) };
        let ledger = self.ledger(number);
        let event = match ledger.book.reserve(&request, now) {
            permits::Answer::Allow(permit) => agent::Event::Allowed(permit),
            permits::Answer::Later { at, blocking } => {
                let last = blocking.last().map(|last| last.bucket);
                let gate = last.and_then(|bucket| ledger.gate(bucket));
                if self.trace.is_some()
                    && let Some(bucket) = last
                {
                    let (limit, key) = self.ledger(number).book.model().describe(bucket);
                    self.tell(Some(lineage), |_| Step::Waits { limit, key, until: at });
                }
                agent::Event::Later { at, gate }
            }
            permits::Answer::Never(permits::Never::Paused) => agent::Event::Never,
            permits::Answer::InHand { until, .. } => agent::Event::InHand { until },
        };
        self.pacer(number).agent.handle(certificate, event, now, 0);
    }

    /// Sends an order, if its permit still holds.
    fn dispatch(&mut self, number: u32, certificate: CertificateId, permit: PermitId, replaces: bool) {
        let now = self.now;
        let lineage = self.pacer(number).lineage(certificate);
        let ledger = self.ledger(number);
        let later = match ledger.book.sent(permit, now) {
            Ok(Dispatch::Go) => None,
            Ok(Dispatch::Later(blocked)) => Some((blocked.at, ledger.gate(blocked.bucket))),
            Err(_too_late) => Some((now, None)),
        };
        if let Some((at, gate)) = later {
            self.cancel(number, permit);
            return self.pacer(number).agent.handle(certificate, agent::Event::Later { at, gate }, now, 0);
        }
        if let Some(permit) = self.ledger(number).book.permit(permit) {
            let claim = permit.terms().claim.exemption();
            self.tell(Some(lineage), |_| Step::Permitted(claim));
        }
        let answer = self.ask(lineage, replaces);
        self.answered(number, certificate, permit, answer);
    }

    fn answered(&mut self, number: u32, certificate: CertificateId, permit: PermitId, answer: Answer) {
        let now = self.now;
        let lineage = self.pacer(number).lineage(certificate);
        let mut paused: Vec<NameId> = Vec::new();
        let (mut named, mut retry_at) = (None, None);
        let event = match answer {
            Answer::Created(exemption) => {
                let life = self.clients[number as usize].life;
                self.lineages[lineage as usize].in_flight = true;
                self.pacer(number).permits.insert(lineage, permit);
                let _accepted = self.ledger(number).book.apply(permit, permits::Event::Accepted, now);
                self.fly(lineage, life, exemption);
                return self.pacer(number).agent.handle(certificate, agent::Event::Accepted, now, 0);
            }
            Answer::Refused(bucket, retry_after) => {
                let at = now.plus(retry_after.unwrap_or_default()).plus(ROUNDING);
                named = self.ca_bucket(number, bucket);
                retry_at = Some(at);
                let gate = named.and_then(|bucket| self.ledger(number).gate(bucket));
                agent::Event::Refused { at, gate }
            }
            Answer::Paused => {
                let slots = self.wants.slots_of(lineage).iter();
                paused.extend(names_of(slots.filter(|slot| self.ca.model.is_pair_paused(slot.pair))));
                agent::Event::Paused { names: &paused }
            }
            Answer::AlreadyReplaced => {
                if let Some(certificate) = &mut self.lineages[lineage as usize].certificate {
                    certificate.replaced = true;
                }
                agent::Event::AlreadyReplaced
            }
            Answer::Busy(wait) => agent::Event::Unreachable { retry_at: Some(now.plus(wait)) },
            Answer::Unreachable => agent::Event::Unreachable { retry_at: None },
        };
        // No order came of it.
        let book = &mut self.ledger(number).book;
        let _refused = book.refused(permit, named, retry_at, now);
        book.forget(permit);
        self.pacer(number).agent.handle(certificate, event, now, 0);
    }

    /// A bucket that the CA names, as the client's ledger knows it.
    fn ca_bucket(&mut self, number: u32, bucket: crate::buckets::BucketId) -> Option<crate::buckets::BucketId> {
        let key = self.ca.model.key(bucket);
        self.ledger(number).book.model().bucket_of(key)
    }

    /// An order of a lineage goes on until then: its permit must hold for longer.
    pub(super) fn extend(&mut self, lineage: u32, until: Timestamp) {
        let (now, number) = (self.now, self.actor_of(lineage));
        let Some(permit) = self.pacer(number).permits.get(&lineage).copied() else { return };
        let book = &mut self.ledger(number).book;
        let lease_end = until.plus(LEASE);
        if book.permit(permit).is_some_and(|permit| permit.lease_end() <= until) {
            // One whose lease has run out is of unknown outcome until that comes.
            let _extended = book.apply(permit, permits::Event::Extended { lease_end }, now);
        }
    }

    /// A lineage's certificate has come.
    pub(super) fn received(&mut self, lineage: u32, certificate: &Certificate) {
        let (now, number) = (self.now, self.actor_of(lineage));
        let Certificate { issued_at, expires_at, .. } = *certificate;
        let id = self.pacer(number).certificate(lineage);
        if let Some(permit) = self.pacer(number).permits.remove(&lineage) {
            let book = &mut self.ledger(number).book;
            let event = if issued_at < now { permits::Event::Found { issued_at } } else { permits::Event::Issued };
            let _issued = book.apply(permit, event, now);
            book.forget(permit);
        }
        let (window, draws) = (self.window(certificate), [self.draw(number), self.draw(number)]);
        let agent = &mut self.pacer(number).agent;
        agent.handle(id, agent::Event::Issued { issued_at, expires_at }, now, draws[0]);
        agent.handle(id, agent::Event::RenewalInfo { window, retry_after: None }, now, draws[1]);
    }

    /// A lineage's order came to nothing.
    pub(super) fn came_to_nothing(&mut self, lineage: u32, failures: &[Failure]) {
        let (now, number) = (self.now, self.actor_of(lineage));
        self.lineages[lineage as usize].in_flight = false;
        let id = self.pacer(number).certificate(lineage);
        if let Some(permit) = self.pacer(number).permits.remove(&lineage) {
            let places: Vec<u16> = failures.iter().map(|failure| failure.place).collect();
            let book = &mut self.ledger(number).book;
            let _failed = book.failed(permit, &places, now);
            book.forget(permit);
        }
        let slots = self.wants.slots_of(lineage);
        let failed = failures.iter().filter(|failure| !failure.deactivated);
        let names: Vec<NameId> = names_of(failed.map(|failure| &slots[usize::from(failure.place)])).collect();
        self.pacer(number).agent.handle(id, agent::Event::Failed { names: &names }, now, 0);
        self.wake(number);
    }

    /// A name has left a certificate for one of its own. What is left follows when it is ordered: more names may leave it.
    fn split(&mut self, number: u32, from: CertificateId, certificate: CertificateId, name: NameId) {
        let now = self.now;
        let old = self.pacer(number).lineage(from);
        let lineage = u32::try_from(self.lineages.len()).unwrap_or(u32::MAX);
        let slots: Vec<Slot> =
            self.wants.slots_of(old).iter().filter(|slot| slot.authorization == name.number()).copied().collect();
        let of = self.lineages[old as usize];
        self.lineages.push(super::Lineage { certificate: None, in_flight: false, gone: false, ..of });
        let pacer = self.pacer(number);
        pacer.lineages.resize(pacer.lineages.len().max(certificate.number() as usize + 1), lineage);
        pacer.lineages[certificate.number() as usize] = lineage;
        pacer.split.insert(lineage, certificate);
        let like = setup::Lineage { at: now, held: None, ..self.wants.of(old).clone() };
        self.rename(number, lineage, like, &slots);
    }

    /// A lineage has the names that its agent says.
    fn follow(&mut self, number: u32, certificate: CertificateId) {
        let lineage = self.pacer(number).lineage(certificate);
        let names: Vec<NameId> = self.pacer(number).agent.names(certificate).to_vec();
        let slots = self.wants.slots_of(lineage).iter();
        let slots: Vec<Slot> = slots.filter(|slot| names.contains(&NameId::new(slot.authorization))).copied().collect();
        let like = self.wants.of(lineage).clone();
        self.rename(number, lineage, like, &slots);
    }

    fn rename(&mut self, number: u32, lineage: u32, like: setup::Lineage, slots: &[Slot]) {
        let account = self.ca.model.account_of(like.order_in(&self.renumbered)).to_owned();
        let parse = |slot: &Slot| Identifier::parse(self.setup.name(slot.name)).ok();
        let set = NameSet::new(slots.iter().filter_map(parse).collect::<Vec<_>>());
        let Some(set) = set else { return };
        let order = self.know(&account, &set);
        self.wants.change(lineage, like, slots);
        self.lineages[lineage as usize].order = order;
        self.tell(Some(lineage), |_| Step::Split);
        let gates = self.ledger(number).gates(order);
        let now = self.now;
        let pacer = self.pacer(number);
        let certificate = pacer.certificate(lineage);
        pacer.agent.set_gates(certificate, gates, now);
    }

    /// A client learns that a certificate is revoked.
    pub(super) fn learn(&mut self, lineage: u32, deadline: Timestamp) {
        let (now, number) = (self.now, self.actor_of(lineage));
        if self.clients[number as usize].is_down {
            return self.queue.push(now.plus(super::events::ARI_POLL), Event::Learn { lineage, deadline });
        }
        let revoked = self.lineages[lineage as usize].certificate.is_some_and(|certificate| certificate.revoked);
        if !revoked || !self.pacer(number).knows(lineage) {
            return;
        }
        let window = Window { start: now.minus(Span::from_days(2)), end: now.minus(Span::from_days(1)) };
        let pacer = self.pacer(number);
        let id = pacer.certificate(lineage);
        pacer.agent.handle(id, agent::Event::RenewalInfo { window, retry_after: None }, now, 0);
        pacer.agent.handle(id, agent::Event::Revoked { deadline }, now, 0);
        self.drive(number);
    }
}

fn names_of<'a>(slots: impl Iterator<Item = &'a Slot>) -> impl Iterator<Item = NameId> {
    slots.map(|slot| NameId::new(slot.authorization))
}

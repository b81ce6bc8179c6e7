//! What each event changes.

use std::cmp::Reverse;

use super::certificate::{Certificate, NEVER, Phase};
use super::names::retry_in;
use super::{Action, Agent, Backoff, CertificateId, Event, GateId, Held, NameId, Wake, Wanted};
use crate::permits::PermitId;
use crate::time::{Span, Timestamp};

impl Agent {
    /// A certificate is wanted, or held and to be kept fresh. With an open order the driver is asked to find out about it.
    pub fn add(&mut self, wanted: Wanted, now: Timestamp, draw: u64) -> CertificateId {
        let held = wanted.held;
        let gates = self.known_gates(wanted.gates);
        let id = self.push(Certificate::new(Wanted { gates, ..wanted }));
        if let Some(held) = held {
            self.hold(id, held, now, draw);
        }
        if let Phase::Ordering(permit) = self.at(id).phase {
            self.in_flight += 1;
            self.actions.push_back(Action::Resume { certificate: id, permit });
        }
        self.schedule(id, now);
        id
    }

    /// The certificate is not wanted any more. What is on its way comes to its end without being waited for.
    pub fn remove(&mut self, id: CertificateId, now: Timestamp) {
        // A permit that was asked for is cancelled when it comes.
        self.leave_flight(id);
        self.at_mut(id).phase = Phase::Removed;
        self.left(id, None, now);
        self.schedule(id, now);
    }

    /// A name is not wanted any more: the next order goes without it. The last one takes its certificate along.
    pub fn remove_name(&mut self, id: CertificateId, name: NameId, now: Timestamp) {
        let rest: Box<[NameId]> = self.names(id).iter().copied().filter(|known| *known != name).collect();
        if rest.is_empty() {
            self.remove(id, now);
        } else {
            self.at_mut(id).names = rest;
        }
    }

    /// The gates of a certificate are others than was thought.
    pub fn set_gates(&mut self, id: CertificateId, gates: impl IntoIterator<Item = GateId>, now: Timestamp) {
        self.left(id, None, now);
        self.at_mut(id).gates = self.known_gates(gates.into_iter().collect());
        if matches!(self.at(id).phase, Phase::Queued { at: Some(_), .. }) {
            self.enqueue(id, now);
        }
    }

    /// An operator wants a name that failed, or is no longer paused, tried now. The gate still has its say.
    pub fn retry(&mut self, name: NameId, now: Timestamp) {
        if let Some(id) = self.names.retry(name, now) {
            self.resume(id, now);
        }
    }

    /// An operator wants a certificate tried now, whatever it waits for or was stopped by.
    pub fn resume(&mut self, id: CertificateId, now: Timestamp) {
        let of = self.at_mut(id);
        if matches!(of.phase, Phase::Waiting | Phase::Stopped) {
            of.phase = Phase::Waiting;
            of.not_before = now;
            self.look_at(id, now);
        }
    }

    /// How many certificates there were ever: their numbers are those below.
    #[must_use]
    pub fn len(&self) -> usize {
        self.certificates.len()
    }

    /// Whether there was never one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty()
    }

    /// The names of a certificate, sorted.
    #[must_use]
    pub fn names(&self, id: CertificateId) -> &[NameId] {
        &self.at(id).names
    }

    /// The certificate held.
    #[must_use]
    pub fn held(&self, id: CertificateId) -> Option<&Held> {
        self.at(id).held.as_ref()
    }

    /// When the CA is to be asked again for the window of the certificate held; `None`: it is being asked, or will not be.
    #[must_use]
    pub fn asks_again_at(&self, id: CertificateId) -> Option<Timestamp> {
        Some(self.at(id).ari_at).filter(|at| *at != NEVER)
    }

    /// Whose it is.
    #[must_use]
    pub fn tenant(&self, id: CertificateId) -> super::TenantId {
        self.at(id).tenant
    }

    /// What is to be kept of a certificate for a restart; `None`: it is not wanted any more.
    #[must_use]
    pub fn wanted(&self, id: CertificateId) -> Option<Wanted> {
        self.at(id).wanted()
    }

    /// The names that failed last time, by number: to be kept for a restart.
    #[must_use]
    pub fn backoffs(&self) -> Vec<(NameId, Backoff)> {
        self.names.all()
    }

    /// Takes in what has happened to a certificate at `now`. Only [`Event::Issued`] and [`Event::RenewalInfo`] use the draw.
    pub fn handle(&mut self, id: CertificateId, event: Event<'_>, now: Timestamp, draw: u64) {
        match event {
            Event::Allowed(permit) => self.allowed(id, permit, now),
            Event::Later { at, gate } => self.later(id, at, gate, now),
            Event::Never => {
                if self.leave_flight(id) {
                    self.at_mut(id).phase = Phase::Stopped;
                    self.left(id, None, now);
                }
            }
            Event::InHand { until } => self.later(id, until, None, now),
            Event::Accepted => self.outage = None,
            Event::Issued { issued_at, expires_at } => self.issued(id, Held::new(issued_at, expires_at), now, draw),
            Event::Failed { names } => self.failed(id, names, false, now),
            Event::Refused { at, gate } => {
                self.outage = None;
                self.later(id, at, gate, now);
            }
            Event::Paused { names } => self.failed(id, names, true, now),
            Event::AlreadyReplaced => {
                self.outage = None;
                if let Some(held) = &mut self.at_mut(id).held {
                    held.replaced = true;
                }
                if self.leave_flight(id) {
                    self.enqueue(id, now);
                }
            }
            Event::Lost => {
                if self.leave_flight(id) {
                    self.back_off(id, now);
                }
            }
            Event::Unreachable { retry_at } => self.unreachable(id, retry_at, now),
            Event::RenewalInfo { window, retry_after } => self.suggested(id, window, retry_after, now, draw),
            Event::NoRenewalInfo { lasting } => self.not_suggested(id, lasting, now),
            Event::Revoked { deadline } => self.revoked(id, deadline, now),
        }
        self.schedule(id, now);
    }

    /// The certificate is no longer asked for or ordered, and waits; returns whether it was.
    fn leave_flight(&mut self, id: CertificateId) -> bool {
        let of = self.at_mut(id);
        let was = matches!(of.phase, Phase::Asking | Phase::Ordering(_));
        if was {
            of.phase = Phase::Waiting;
            self.in_flight -= 1;
        }
        was
    }

    fn allowed(&mut self, id: CertificateId, permit: PermitId, now: Timestamp) {
        if self.at(id).phase != Phase::Asking {
            return self.actions.push_back(Action::Cancel { permit });
        }
        let of = self.at_mut(id);
        of.phase = Phase::Ordering(permit);
        let replaces = of.replaces(now).is_some();
        self.actions.push_back(Action::Order { certificate: id, permit, replaces });
        self.left(id, None, now);
    }

    fn later(&mut self, id: CertificateId, at: Timestamp, gate: Option<GateId>, now: Timestamp) {
        if let Some(gate) = gate {
            self.close(gate, at);
        }
        if !self.leave_flight(id) {
            return;
        }
        // A time that has passed would be asked for again and again without end.
        let at = at.max(now.plus(Span::from_nanos(1)));
        let Some(gate) = gate else {
            (self.at_mut(id).not_before, self.at_mut(id).key) = (at, None);
            return self.left(id, None, now);
        };
        if !self.at(id).gates.contains(&gate) {
            let gates = self.at(id).gates.iter().copied().chain([gate]).collect();
            self.at_mut(id).gates = self.known_gates(gates);
        }
        self.close(gate, at);
        self.enqueue(id, now);
        self.at_mut(id).counts = true;
        self.park(id, gate, now);
    }

    fn issued(&mut self, id: CertificateId, held: Held, now: Timestamp, draw: u64) {
        self.outage = None;
        self.leave_flight(id);
        if self.at(id).phase == Phase::Removed {
            return;
        }
        let of = self.at_mut(id);
        (of.failures, of.not_before, of.phase, of.key) = (0, now, Phase::Waiting, None);
        let names = std::mem::take(&mut of.names);
        self.names.succeed(&names);
        self.at_mut(id).names = names;
        self.hold(id, held, now, draw);
        self.left(id, None, now);
    }

    fn failed(&mut self, id: CertificateId, names: &[NameId], paused: bool, now: Timestamp) {
        self.outage = None;
        names.iter().for_each(|name| _ = self.names.fail(*name, id, paused, now));
        if !self.leave_flight(id) {
            return;
        }
        let barred = self.names.barred(&self.at(id).names, now);
        if barred.is_empty() {
            return self.back_off(id, now);
        }
        if self.leave_out(id, &barred, now) {
            self.enqueue(id, now);
        } else {
            self.wait(id, now);
        }
    }

    /// It failed, and no name is to blame.
    fn back_off(&mut self, id: CertificateId, now: Timestamp) {
        let of = self.at_mut(id);
        of.failures = of.failures.saturating_add(1);
        of.not_before = now.plus(retry_in(of.failures));
        of.key = None;
        self.left(id, None, now);
    }

    /// Nothing goes out for a while; the certificate keeps its claim.
    fn unreachable(&mut self, id: CertificateId, retry_at: Option<Timestamp>, now: Timestamp) {
        if self.leave_flight(id) {
            self.enqueue(id, now);
        }
        let (known, times) = self.outage.unwrap_or((now, 0));
        // Those that were under way when it began count once.
        let times = if now < known { times } else { times.saturating_add(1) };
        let until = retry_at.unwrap_or_else(|| now.plus(retry_in(times.min(3)))).max(known);
        self.outage = Some((until, times));
        self.wakes.push(Reverse((until, Wake::Outage)));
    }
}

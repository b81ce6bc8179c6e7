//! What is done next: whose time has come, who is asked for a permit, who is split.

use std::cmp::Reverse;

use super::certificate::{Certificate, NEVER, Phase};
use super::{Action, Agent, CertificateId, Class, NameId, Wake, Wanted};
use crate::time::Timestamp;

/// A renewal that can wait stays whole until one of its names has failed this often.
const WHOLE_FAILURES: u32 = 4;

impl Agent {
    pub(super) fn at(&self, id: CertificateId) -> &Certificate {
        &self.certificates[id.0 as usize]
    }

    pub(super) fn at_mut(&mut self, id: CertificateId) -> &mut Certificate {
        &mut self.certificates[id.0 as usize]
    }

    /// Looks at what has come due by `now`; returns whether there was anything.
    pub(super) fn wake(&mut self, now: Timestamp) -> bool {
        let mut any = false;
        while let Some(Reverse((at, wake))) = self.wakes.peek().copied()
            && at <= now
        {
            self.wakes.pop();
            any = true;
            match wake {
                Wake::Outage => {}
                Wake::Gate(gate) => self.let_out(gate, now),
                Wake::Certificate(id) if self.at(id).wake == at => {
                    self.at_mut(id).wake = NEVER;
                    self.look_at(id, now);
                }
                Wake::Certificate(_) => {}
            }
        }
        any
    }

    /// Drops wakes of certificates that have other plans by now.
    pub(super) fn pass_over_stale_wakes(&mut self) {
        while let Some(Reverse((at, Wake::Certificate(id)))) = self.wakes.peek().copied()
            && self.at(id).wake != at
        {
            self.wakes.pop();
        }
    }

    /// The certificate is looked at again when something of it comes due.
    pub(super) fn schedule(&mut self, id: CertificateId, now: Timestamp) {
        let of = self.at(id);
        let wake = of.next_look(&self.config, now);
        if wake != of.wake {
            self.at_mut(id).wake = wake;
            if wake != NEVER {
                self.wakes.push(Reverse((wake, Wake::Certificate(id))));
            }
        }
    }

    /// Its time may have come: to be ordered, to be asked about, to be urgent.
    pub(super) fn look_at(&mut self, id: CertificateId, now: Timestamp) {
        let of = self.at(id);
        match of.phase {
            Phase::Waiting => {
                let asks = of.asks(&self.config, now);
                let due = of.due() <= now;
                if asks && of.ari_at != NEVER && (of.ari_at <= now || due && of.ari_failures.is_none()) {
                    self.at_mut(id).ari_at = NEVER;
                    self.actions.push_back(Action::AskRenewalInfo { certificate: id });
                }
                if due && !self.at(id).awaits_answer(&self.config, now) {
                    self.enqueue(id, now);
                }
            }
            Phase::Queued { at, .. } if of.class(now) == Class::Urgent => {
                let key = self.turns.deal(Class::Urgent, of.tenant, of.end());
                (self.at_mut(id).key, self.at_mut(id).phase) = (Some(key), Phase::Queued { key, at });
                match at {
                    Some(gate) => self.gates[gate.0 as usize].push(key, id),
                    None => self.ready.push(key, id),
                }
            }
            Phase::Queued { .. } | Phase::Asking | Phase::Ordering(_) | Phase::Stopped | Phase::Removed => {}
        }
        self.schedule(id, now);
    }

    /// It may be asked for as soon as there is room.
    pub(super) fn enqueue(&mut self, id: CertificateId, now: Timestamp) {
        let of = self.at(id);
        let (class, tenant, end) = (of.class(now), of.tenant, of.end());
        // One that was put off keeps its place.
        let key = of.key.filter(|key| key.class == class).unwrap_or_else(|| self.turns.deal(class, tenant, end));
        let of = self.at_mut(id);
        of.key = Some(key);
        of.counts = of.held.is_none();
        of.phase = Phase::Queued { key, at: None };
        self.ready.push(key, id);
    }

    /// Takes the first of what is ready, if there is room; returns whether there was one.
    pub(super) fn dispatch(&mut self, now: Timestamp) -> bool {
        let room = match self.outage {
            None => self.in_flight < self.config.in_flight_max.max(1),
            // Whether it is over is tried with one.
            Some((until, _)) => until <= now && self.in_flight == 0,
        };
        if !room {
            return false;
        }
        let Some((key, id)) = self.ready.pop() else { return false };
        if self.at(id).phase != (Phase::Queued { key, at: None }) {
            return true;
        }
        let barred = self.names.barred(&self.at(id).names, now);
        if !barred.is_empty() && !self.leave_out(id, &barred, now) {
            self.wait(id, now);
        } else if let Some(gate) = self.gate_in_the_way(id, now) {
            self.park(id, gate, now);
            self.schedule(id, now);
        } else {
            self.turns.take(key);
            self.at_mut(id).phase = Phase::Asking;
            self.in_flight += 1;
            let replaces = self.at(id).replaces(now);
            self.actions.push_back(Action::Reserve { certificate: id, class: key.class, replaces });
            self.schedule(id, now);
        }
        true
    }

    /// It waits until it is due, and until all its names may be tried.
    pub(super) fn wait(&mut self, id: CertificateId, now: Timestamp) {
        let names = &self.names;
        let tries = self.at(id).names.iter().filter_map(|name| names.backoff(*name));
        let not_before = tries.map(|of| if of.paused { NEVER } else { of.retry_at }).max();
        for place in 0..self.at(id).names.len() {
            self.names.moved(self.at(id).names[place], id);
        }
        let of = self.at_mut(id);
        of.key = None;
        of.phase = if not_before == Some(NEVER) { Phase::Stopped } else { Phase::Waiting };
        of.not_before = not_before.map_or(of.not_before, |at| at.max(of.not_before));
        self.left(id, None, now);
        self.schedule(id, now);
    }

    /// Splits names that may not be tried off a certificate, where that helps. Returns whether the rest can be ordered now.
    pub(super) fn leave_out(&mut self, id: CertificateId, barred: &[NameId], now: Timestamp) -> bool {
        let of = self.at(id);
        let patient = of.class(now) == Class::Renewal
            && barred
                .iter()
                .filter_map(|name| self.names.backoff(*name))
                .all(|of| !of.paused && of.failures < WHOLE_FAILURES);
        if !self.config.split || patient {
            return false;
        }
        let (mut off, rest): (Vec<NameId>, Vec<NameId>) = of.names.iter().partition(|name| barred.contains(name));
        let (tenant, gates) = (of.tenant, of.gates.clone());
        let goes_on = !rest.is_empty();
        // Of nothing but barred names the first stays.
        self.at_mut(id).names = if goes_on { rest.into() } else { [off.remove(0)].into() };
        for name in off {
            let alone = Wanted { gates: gates.clone(), ..Wanted::new([name], tenant, []) };
            let certificate = self.push(Certificate::new(alone));
            self.wait(certificate, now);
            self.actions.push_back(Action::Split { from: id, certificate, name });
        }
        goes_on
    }

    pub(super) fn push(&mut self, certificate: Certificate) -> CertificateId {
        let number = u32::try_from(self.certificates.len());
        let id = CertificateId(number.unwrap_or_else(|_too_many| unreachable!("32 bits outlast memory")));
        self.certificates.push(certificate);
        id
    }
}

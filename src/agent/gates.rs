//! Gates: buckets that several certificates need. Behind a closed one they wait in the order of choice; when it opens one of them is
//! let out to ask, and the next one once that was allowed, so that a refusal costs one question however many wait.

use std::cmp::Reverse;

use super::queue::{Key, Queue};
use super::{Agent, CertificateId, GateId, Wake};
use crate::agent::certificate::Phase;
use crate::time::Timestamp;

#[derive(Clone, Debug)]
pub(super) struct Gate {
    /// Not before.
    until: Timestamp,
    waiting: Queue,
    /// The one that was let out and has not been answered.
    out: Option<CertificateId>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { until: Timestamp::from_unix_nanos(i64::MIN), waiting: Queue::default(), out: None }
    }
}

impl Gate {
    pub(super) fn push(&mut self, key: Key, id: CertificateId) {
        self.waiting.push(key, id);
    }
}

impl Agent {
    /// The same gates, the narrow ones first, and all known.
    pub(super) fn known_gates(&mut self, mut gates: Box<[GateId]>) -> Box<[GateId]> {
        gates.sort_unstable_by_key(|gate| Reverse(*gate));
        if let Some(last) = gates.first()
            && self.gates.len() <= last.0 as usize
        {
            self.gates.resize_with(last.0 as usize + 1, Gate::default);
        }
        gates
    }

    /// The first gate that the certificate has to wait at.
    pub(super) fn gate_in_the_way(&self, id: CertificateId, now: Timestamp) -> Option<GateId> {
        let of = self.at(id);
        let in_the_way = |gate: &&GateId| {
            let gate = &self.gates[gate.0 as usize];
            now < gate.until || gate.out != Some(id) && (gate.out.is_some() || gate.waiting.peek().is_some())
        };
        if of.counts { of.gates.iter().find(in_the_way).copied() } else { None }
    }

    /// No certificate gets through the gate before `until`.
    pub(super) fn close(&mut self, gate: GateId, until: Timestamp) {
        let _known = self.known_gates([gate].into());
        let closed = &mut self.gates[gate.0 as usize].until;
        if until > *closed {
            *closed = until;
            self.wakes.push(Reverse((until, Wake::Gate(gate))));
        }
    }

    /// The certificate waits at the gate, with its place in the order of choice.
    pub(super) fn park(&mut self, id: CertificateId, gate: GateId, now: Timestamp) {
        if let Phase::Queued { key, .. } = self.at(id).phase {
            self.at_mut(id).phase = Phase::Queued { key, at: Some(gate) };
            self.gates[gate.0 as usize].waiting.push(key, id);
            self.left(id, Some(gate), now);
            self.let_out(gate, now);
        }
    }

    /// The certificate is no longer out for any gate: each lets out its next one, unless that would only have to wait as well, at the
    /// wider gate `other`. (If it were held up by a narrower one too, two gates could wait for each other.)
    pub(super) fn left(&mut self, id: CertificateId, other: Option<GateId>, now: Timestamp) {
        for place in 0..self.at(id).gates.len() {
            let gate = self.at(id).gates[place];
            if self.gates[gate.0 as usize].out != Some(id) {
                continue;
            }
            let next = self.first_waiting(gate);
            let would_follow =
                |next: CertificateId| other.is_some_and(|other| other < gate && self.at(next).gates.contains(&other));
            if !next.is_some_and(would_follow) {
                self.gates[gate.0 as usize].out = None;
                self.let_out(gate, now);
            }
        }
    }

    /// The first that waits at the gate; what has left it is dropped.
    fn first_waiting(&mut self, gate: GateId) -> Option<CertificateId> {
        while let Some((key, id)) = self.gates[gate.0 as usize].waiting.peek() {
            if self.at(id).phase == (Phase::Queued { key, at: Some(gate) }) {
                return Some(id);
            }
            self.gates[gate.0 as usize].waiting.pop();
        }
        None
    }

    /// Lets one out, if the gate is open and nobody is.
    pub(super) fn let_out(&mut self, gate: GateId, now: Timestamp) {
        let of = &self.gates[gate.0 as usize];
        if now < of.until || of.out.is_some() {
            return;
        }
        if let Some(id) = self.first_waiting(gate)
            && let Some((key, _)) = self.gates[gate.0 as usize].waiting.pop()
        {
            self.gates[gate.0 as usize].out = Some(id);
            self.at_mut(id).phase = Phase::Queued { key, at: None };
            self.ready.push(key, id);
        }
    }
}

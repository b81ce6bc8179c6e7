//! The order of choice: by class, and within a class by turns of the tenants.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{CertificateId, Class, TenantId};
use crate::time::Timestamp;

/// A place in the order of choice. The smaller goes first; no two are equal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Key {
    pub(super) class: Class,
    turn: u64,
    /// Of one turn, what ends first.
    end: Timestamp,
    number: u64,
}

/// Deals out turns: a tenant's next one comes one after its last, and no sooner than the turn that is on (start-time fair queuing). So
/// a tenant with a thousand certificates gets one in two beside a tenant with one.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns {
    /// The turn that is on, by class.
    on: [u64; 3],
    /// Each tenant's last one, by class.
    last: Vec<[u64; 3]>,
    dealt: u64,
}

impl Turns {
    pub(super) fn deal(&mut self, class: Class, tenant: TenantId, end: Timestamp) -> Key {
        if self.last.len() <= tenant.0 as usize {
            self.last.resize(tenant.0 as usize + 1, [0; 3]);
        }
        let last = &mut self.last[tenant.0 as usize][class as usize];
        *last = self.on[class as usize].max(*last + 1);
        self.dealt += 1;
        Key { class, turn: *last, end, number: self.dealt }
    }

    pub(super) fn take(&mut self, key: Key) {
        let on = &mut self.on[key.class as usize];
        *on = key.turn.max(*on);
    }
}

/// Certificates in the order of choice. What has left it in the meantime is passed over by whoever takes from it.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Reverse<(Key, CertificateId)>>,
}

impl Queue {
    pub(super) fn push(&mut self, key: Key, certificate: CertificateId) {
        self.heap.push(Reverse((key, certificate)));
    }

    pub(super) fn pop(&mut self) -> Option<(Key, CertificateId)> {
        self.heap.pop().map(|Reverse(first)| first)
    }

    pub(super) fn peek(&self) -> Option<(Key, CertificateId)> {
        self.heap.peek().map(|Reverse(first)| *first)
    }
}

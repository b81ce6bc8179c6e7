//! Those who wait for a token: in which order they are let in. A ticket ahead counts as a token held in every bucket that its holder waits
//! for; so nobody who comes later takes what it waits for, and nobody waits for a bucket that it does not need.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Those who wait, by no order. Turns are dealt as start-time fair queuing has it: a tenant's next one comes one after its last, and no
/// sooner than the turn that is on. So a tenant with a thousand orders gets one in two beside a tenant with one.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Queue {
    pub(super) tickets: Vec<Ticket>,
    /// The turn that is on.
    on: u64,
    /// The last turn of each tenant that is not before that.
    last: BTreeMap<String, u64>,
}

/// A place in the queue.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Ticket {
    pub(super) id: String,
    pub(super) tenant: String,
    pub(super) urgent: bool,
    pub(super) priority: i32,
    turn: u64,
    /// It is forgotten if its holder has not come back by then.
    pub(super) until: Timestamp,
    /// The buckets that were in its way when it asked last.
    pub(super) waits_for: Vec<String>,
}

/// Who asks for a place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Comer<'a> {
    pub(super) tenant: &'a str,
    pub(super) urgent: bool,
    pub(super) priority: i32,
    /// The ticket that it has.
    pub(super) ticket: Option<&'a str>,
}

impl Ticket {
    fn place(&self) -> (Reverse<bool>, Reverse<i32>, u64, &str) {
        (Reverse(self.urgent), Reverse(self.priority), self.turn, &self.id)
    }
}

impl Queue {
    /// How many wait for `bucket` ahead of the comer.
    pub(super) fn ahead(&self, comer: Comer<'_>, bucket: &str, now: Timestamp) -> u32 {
        let own = self.own(comer).map_or_else(|| self.next_turn(comer.tenant), |own| own.turn);
        let place = (Reverse(comer.urgent), Reverse(comer.priority), own, comer.ticket.unwrap_or("~"));
        let ahead = self.tickets.iter().filter(|ticket| {
            ticket.until > now
                && comer.ticket != Some(&ticket.id)
                && ticket.place() < place
                && ticket.waits_for.iter().any(|name| name == bucket)
        });
        u32::try_from(ahead.count()).unwrap_or(u32::MAX)
    }

    /// The comer waits for `buckets`, and comes back before `until`. Its place is what it had, or the next of its tenant.
    pub(super) fn wait(&mut self, comer: Comer<'_>, id: &str, until: Timestamp, buckets: Vec<String>, now: Timestamp) {
        self.tickets.retain(|ticket| ticket.until > now);
        let on = self.on;
        self.last.retain(|_, last| *last > on);
        if let Some(own) = self.tickets.iter_mut().find(|ticket| ticket.id == id) {
            (own.until, own.waits_for) = (until, buckets);
            return;
        }
        let turn = self.next_turn(comer.tenant);
        self.last.insert(comer.tenant.to_owned(), turn);
        self.tickets.push(Ticket {
            id: id.to_owned(),
            tenant: comer.tenant.to_owned(),
            urgent: comer.urgent,
            priority: comer.priority,
            turn,
            until,
            waits_for: buckets,
        });
    }

    /// The ticket's holder waits no more; `served`: it was its turn. Whether there was such a ticket.
    pub(super) fn leave(&mut self, id: &str, served: bool) -> bool {
        let Some(place) = self.tickets.iter().position(|ticket| ticket.id == id) else { return false };
        let ticket = self.tickets.remove(place);
        if served {
            self.on = self.on.max(ticket.turn);
        }
        true
    }

    fn own(&self, comer: Comer<'_>) -> Option<&Ticket> {
        let id = comer.ticket?;
        self.tickets.iter().find(|ticket| ticket.id == id)
    }

    fn next_turn(&self, tenant: &str) -> u64 {
        self.last.get(tenant).map_or(self.on, |last| self.on.max(*last)) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);
    const LATER: Timestamp = Timestamp::from_unix_seconds(1_800_000_060);

    fn comer<'a>(tenant: &'a str, ticket: Option<&'a str>) -> Comer<'a> {
        Comer { tenant, urgent: false, priority: 0, ticket }
    }

    fn waiting(tenants: &[&str]) -> Queue {
        let mut queue = Queue::default();
        for (index, tenant) in tenants.iter().enumerate() {
            queue.wait(comer(tenant, None), &format!("t{index}"), LATER, vec!["b".to_owned()], NOW);
        }
        queue
    }

    #[test]
    fn tenants_take_turns() {
        let queue = waiting(&["big", "big", "big", "small"]);
        assert_eq!(queue.ahead(comer("small", Some("t3")), "b", NOW), 1);
        assert_eq!(queue.ahead(comer("big", Some("t1")), "b", NOW), 2);
        assert_eq!(queue.ahead(comer("new", None), "b", NOW), 2);
        assert_eq!(queue.ahead(comer("new", None), "other", NOW), 0);
    }

    #[test]
    fn who_does_not_come_back_is_forgotten() {
        let mut queue = waiting(&["a", "b"]);
        assert_eq!(queue.ahead(comer("c", None), "b", LATER), 0);
        queue.wait(comer("c", None), "c", LATER.plus(crate::time::Span::from_seconds(60)), Vec::new(), LATER);
        assert_eq!(queue.tickets.len(), 1);
    }

    #[test]
    fn urgent_goes_before_priority_and_that_before_turns() {
        let queue = waiting(&["a"]);
        assert_eq!(queue.ahead(Comer { priority: 1, ..comer("z", None) }, "b", NOW), 0);
        assert_eq!(queue.ahead(Comer { priority: -1, urgent: true, ..comer("z", None) }, "b", NOW), 0);
        assert_eq!(queue.ahead(Comer { priority: -1, ..comer("z", None) }, "b", NOW), 1);
    }

    #[test]
    fn a_turn_that_was_served_is_on() {
        let mut queue = waiting(&["a", "a", "a"]);
        assert!(queue.leave("t0", true));
        assert!(queue.leave("t1", true));
        assert!(!queue.leave("t1", true));
        // A tenant that comes now does not make up for the time when it asked for nothing.
        queue.wait(comer("new", None), "n", LATER, vec!["b".to_owned()], NOW);
        assert_eq!(queue.ahead(comer("new", Some("n")), "b", NOW), 0);
        assert_eq!(queue.ahead(comer("a", Some("t2")), "b", NOW), 1);
    }
}

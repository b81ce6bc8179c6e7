//! Those who wait for a token: in which order they are let in. A ticket ahead counts as a token held in every bucket that its holder waits
//! for; so nobody who comes later takes what it waits for, and nobody waits for a bucket that it does not need.
//!
//! Turns are dealt at each bucket as start-time fair queuing has it: a tenant's next one comes one after its last, and no sooner than
//! the turn that is on. So a tenant with a thousand orders gets one in two beside a tenant with one. The turn that is on is 0: when a later
//! one is served, those of all who wait on become as much smaller.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Those who wait, in the order in which they came.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Queue {
    pub(super) tickets: Vec<Ticket>,
}

/// A place in the queue.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Ticket {
    pub(super) id: String,
    pub(super) tenant: String,
    pub(super) urgent: bool,
    pub(super) priority: i32,
    /// It is forgotten if its holder has not come back by then.
    pub(super) until: Timestamp,
    /// The buckets that were in its way when it asked last, and its turn at each.
    waits_for: BTreeMap<String, i64>,
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

/// Turns are dealt among equals: the urgent first, then the larger priority.
type Class = (Reverse<bool>, Reverse<i32>);

impl Ticket {
    const fn class(&self) -> Class {
        (Reverse(self.urgent), Reverse(self.priority))
    }
}

impl Comer<'_> {
    const fn class(&self) -> Class {
        (Reverse(self.urgent), Reverse(self.priority))
    }
}

impl Queue {
    /// How many wait for `bucket` ahead of the comer.
    pub(super) fn ahead(&self, comer: Comer<'_>, bucket: &str, now: Timestamp) -> u32 {
        let own =
            comer.ticket.and_then(|id| self.tickets.iter().position(|ticket| ticket.id == id && ticket.until > now));
        let turn = own.and_then(|own| self.tickets[own].waits_for.get(bucket).copied());
        let turn = turn.unwrap_or_else(|| self.next_turn(comer, bucket, now));
        let place = (comer.class(), turn, own.unwrap_or(self.tickets.len()));
        let ahead = (0..).zip(&self.tickets).filter(|(index, ticket)| {
            let waits_for = ticket.waits_for.get(bucket);
            ticket.until > now && waits_for.is_some_and(|turn| (ticket.class(), *turn, *index) < place)
        });
        u32::try_from(ahead.count()).unwrap_or(u32::MAX)
    }

    /// The comer waits for `buckets`, and comes back before `until`. Its turns are what they were, or the next of its tenant.
    pub(super) fn wait(&mut self, comer: Comer<'_>, id: &str, until: Timestamp, buckets: &[String], now: Timestamp) {
        while let Some(dead) = self.tickets.iter().position(|ticket| ticket.until <= now) {
            self.remove(dead, false);
        }
        let own = self.tickets.iter().position(|ticket| ticket.id == id);
        let turn = |bucket: &String| {
            let kept = own.and_then(|own| self.tickets[own].waits_for.get(bucket).copied());
            (bucket.clone(), kept.unwrap_or_else(|| self.next_turn(comer, bucket, now)))
        };
        let ticket = Ticket {
            id: id.to_owned(),
            tenant: comer.tenant.to_owned(),
            urgent: comer.urgent,
            priority: comer.priority,
            until,
            waits_for: buckets.iter().map(turn).collect(),
        };
        match own {
            Some(own) => self.tickets[own] = ticket,
            None => self.tickets.push(ticket),
        }
    }

    /// The ticket's holder waits no more; `served`: it was its turn. Whether there was such a ticket.
    pub(super) fn leave(&mut self, id: &str, served: bool) -> bool {
        let place = self.tickets.iter().position(|ticket| ticket.id == id);
        place.map(|place| self.remove(place, served)).is_some()
    }

    fn remove(&mut self, place: usize, served: bool) {
        let gone = self.tickets.remove(place);
        for ticket in self.tickets.iter_mut().filter(|ticket| ticket.class() == gone.class()) {
            for (bucket, turn) in &mut ticket.waits_for {
                match gone.waits_for.get(bucket) {
                    Some(on) if served => *turn -= (*on).max(0),
                    Some(before) if ticket.tenant == gone.tenant && before < turn => *turn -= 1,
                    Some(_) | None => {}
                }
            }
        }
    }

    /// The turn of the comer's tenant after the last that it has at the bucket.
    fn next_turn(&self, comer: Comer<'_>, bucket: &str, now: Timestamp) -> i64 {
        let equals = self
            .tickets
            .iter()
            .filter(|ticket| ticket.until > now && ticket.tenant == comer.tenant && ticket.class() == comer.class());
        equals.filter_map(|ticket| ticket.waits_for.get(bucket)).max().map_or(0, |last| (*last).max(0)) + 1
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
            queue.wait(comer(tenant, None), &format!("t{index}"), LATER, &["b".to_owned()], NOW);
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
        queue.wait(comer("c", None), "c", LATER.plus(crate::time::Span::from_seconds(60)), &[], LATER);
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
        queue.wait(comer("new", None), "n", LATER, &["b".to_owned()], NOW);
        assert_eq!(queue.ahead(comer("new", Some("n")), "b", NOW), 1);
        queue.wait(comer("a", None), "t3", LATER, &["b".to_owned()], NOW);
        assert_eq!(queue.ahead(comer("a", Some("t3")), "b", NOW), 2);
    }
}

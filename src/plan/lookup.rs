//! A plan's orders, looked at: names, group, deadline, reason.

use super::{Order, Plan, Subject, bucket_of};
use crate::inventory::{TextRef, Urgency};
use crate::limits::LimitName;
use crate::time::{Span, Timestamp};

impl Plan<'_> {
    /// How late orders and issues may be.
    #[must_use]
    pub const fn margin(&self) -> Span {
        self.draft.margin
    }

    /// Makes the next look at these orders' names quick. Orders that follow each other come from anywhere in the inventory; where many
    /// are asked for step by step, the memory answers for all of them at once.
    pub fn warm(&self, orders: &[Order]) {
        let certificates = orders.iter().filter_map(|order| match order.subject {
            Subject::New(certificate) => Some(certificate),
            Subject::Renewal(_) => None,
        });
        let wanted = self.draft.grouping.first_members(certificates);
        let names: Vec<TextRef> =
            wanted.into_iter().map(|wanted| self.inventory.wanted()[wanted as usize].name).collect();
        let touched = names
            .into_iter()
            .fold(0, |sum: u8, name| sum ^ self.inventory.bytes(name).first().copied().unwrap_or_default());
        std::hint::black_box(touched);
    }

    /// The names of an order, sorted, with their registered domains, sorted; as bytes, for there may be millions.
    pub fn names_of<'p>(&'p self, order: &Order, names: &mut Vec<&'p [u8]>, domains: &mut Vec<&'p [u8]>) {
        let inventory = self.inventory;
        names.clear();
        domains.clear();
        match order.subject {
            Subject::New(certificate) => {
                for piece in self.draft.grouping.pieces(certificate as usize) {
                    domains.push(inventory.domain_bytes(piece.domain));
                    let members = self.draft.grouping.members(*piece).iter();
                    names.extend(members.map(|member| inventory.bytes(inventory.wanted()[*member as usize].name)));
                }
            }
            Subject::Renewal(held) => {
                for held in inventory.held_names(held as usize) {
                    names.push(inventory.bytes(held.name));
                    domains.push(inventory.domain_bytes(held.domain));
                }
                domains.dedup();
            }
        }
        names.sort_unstable();
        domains.sort_unstable();
    }

    /// The group of an order: a place in [`Inventory::groups`].
    #[must_use]
    pub fn group_of(&self, order: &Order) -> u32 {
        match order.subject {
            Subject::New(certificate) => self.draft.grouping.certificates[certificate as usize].group,
            Subject::Renewal(held) => self.inventory.held[held as usize].group,
        }
    }

    /// The deadline of an order's most urgent name.
    #[must_use]
    pub fn deadline_of(&self, order: &Order) -> Option<Timestamp> {
        let urgency = match order.subject {
            Subject::New(certificate) => self.draft.grouping.certificates[certificate as usize].urgency,
            Subject::Renewal(held) => self.inventory.held[held as usize].urgency,
        };
        let deadline = self.inventory.urgencies[urgency as usize].deadline;
        (deadline != Urgency::NEVER).then_some(deadline)
    }

    /// Which bucket an order waited for: limit and key.
    #[must_use]
    pub fn bound_by(&self, order: &Order) -> Option<(LimitName, String)> {
        let bucket = bucket_of(order.bound, self.inventory.accounts.len(), &self.lanes)?;
        Some(bucket.describe(self.inventory))
    }
}

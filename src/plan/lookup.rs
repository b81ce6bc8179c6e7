//! A plan's orders, looked at: names, group, deadline, reason.

use super::bucket::bucket_of;
use super::group::{Certificate, Members, Piece};
use super::opening::Cause;
use super::{Order, Plan, Subject};
use crate::time::{Span, Timestamp};

/// Names of an order that are asked for together: most orders have no more, and those of the others follow each other.
const NAMES_WARMED: usize = 4;

impl Plan<'_> {
    /// How late orders and issues may be.
    #[must_use]
    pub const fn margin(&self) -> Span {
        self.draft.margin
    }

    /// Makes the next look at these orders quick, and at what `of_group` finds for a group. Orders that follow each other come from anywhere
    /// in the inventory; where many are asked for step by step, the memory answers for all of them at once.
    pub fn warm<'p>(&self, orders: &[Order], of_group: impl Fn(u32) -> &'p [u8]) {
        let (inventory, grouping) = (self.inventory, &self.draft.jobs.grouping);
        let certificates = orders.iter().filter_map(|order| match order.subject {
            Subject::New(certificate) => Some(grouping.certificates[certificate as usize]),
            Subject::Renewal(_) => None,
        });
        let certificates: Vec<Certificate> = certificates.collect();
        let looked_up = certificates.iter().map(|of| (of.first, of_group(of.group)));
        let looked_up: Vec<(Piece, &[u8])> = looked_up.collect();
        let mut texts: Vec<&[u8]> = Vec::with_capacity(looked_up.len() * (2 + NAMES_WARMED));
        for (piece, of_group) in looked_up {
            let members = grouping.members(piece);
            let names = members.iter().take(NAMES_WARMED).map(|member| inventory.wanted()[member as usize].name);
            texts.extend(names.chain([inventory.domain_name(piece.domain)]).map(|name| inventory.bytes(name)));
            texts.push(of_group);
        }
        let touched = texts.into_iter().fold(0, |sum, text| sum ^ text.first().copied().unwrap_or_default());
        std::hint::black_box(touched);
    }

    /// The names of an order, sorted, with their registered domains, sorted; as bytes, for there may be millions.
    pub fn names_of<'p>(&'p self, order: &Order, names: &mut Vec<&'p [u8]>, domains: &mut Vec<&'p [u8]>) {
        let inventory = self.inventory;
        names.clear();
        domains.clear();
        let mut sorted = false;
        match order.subject {
            Subject::New(certificate) => {
                let grouping = &self.draft.jobs.grouping;
                for piece in grouping.pieces(certificate as usize) {
                    domains.push(inventory.domain_bytes(piece.domain));
                    let name = |member: u32| inventory.bytes(inventory.wanted()[member as usize].name);
                    let members = grouping.members(piece);
                    sorted = domains.len() == 1 && matches!(members, Members::Run(_));
                    names.extend(members.iter().map(name));
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
        if !sorted {
            names.sort_unstable();
            domains.sort_unstable();
        }
    }

    /// The group of an order: a place in [`Inventory::groups`].
    #[must_use]
    pub fn group_of(&self, order: &Order) -> u32 {
        match order.subject {
            Subject::New(certificate) => self.draft.jobs.grouping.certificates[certificate as usize].group,
            Subject::Renewal(held) => self.inventory.held[held as usize].group,
        }
    }

    /// How soon an order's most urgent name is wanted: a place in [`Inventory::urgencies`].
    #[must_use]
    pub fn urgency_of(&self, order: &Order) -> u32 {
        match order.subject {
            Subject::New(certificate) => self.draft.jobs.grouping.certificates[certificate as usize].urgency,
            Subject::Renewal(held) => self.inventory.held[held as usize].urgency,
        }
    }

    /// The deadline of an order's most urgent name.
    #[must_use]
    pub fn deadline_of(&self, order: &Order) -> Option<Timestamp> {
        self.inventory.urgencies[self.urgency_of(order) as usize].deadline()
    }

    /// The account whose bucket an order waited for, if it was an account's: a place in [`Inventory::accounts`].
    #[must_use]
    pub fn bound_by_account(&self, order: &Order) -> Option<usize> {
        order.bound.bucket(self.inventory.accounts.len())?.ok()
    }

    /// What an order waited for: mostly a bucket, by limit and key.
    #[must_use]
    pub fn bound_by(&self, order: &Order) -> Option<(Cause, String)> {
        let bucket = bucket_of(order.bound, self.inventory.accounts.len(), &self.lanes)?;
        bucket.describe(self.inventory, self.opening)
    }
}

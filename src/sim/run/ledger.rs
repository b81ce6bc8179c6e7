//! The ledgers of `certpace` clients: a book of permits each, and what becomes of it when it is lost.
//!
//! Orders and names have the same numbers in every book as at the CA, since all learn of a new order at one time; buckets have their own.

use rustc_hash::FxHashMap;

use super::Run;
use crate::agent::GateId;
use crate::buckets::BucketId;
use crate::limits::Limits;
use crate::name::NameSet;
use crate::permits::{Book, Event, LEASE};
use crate::rules::{BucketKey, Exemption, Model, OrderId};
use crate::sim::scenario::What;
use crate::time::Timestamp;

#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) book: Book,
    /// How many accounts there are, and registered domains: gates are numbered in that order.
    counts: (u32, u32),
    /// The gates of accounts' own domain buckets, which come last.
    own: FxHashMap<(u32, u32), u32>,
    /// What was known when a backup was made, by the event that brings it back.
    backups: Vec<(u32, Model)>,
}

impl Ledger {
    pub(super) fn new(model: Model) -> Self {
        let counts = model.counts();
        Self { book: Book::new(model), counts, own: FxHashMap::default(), backups: Vec::new() }
    }

    /// The gate that a bucket is, where several certificates need it.
    pub(super) fn gate(&mut self, bucket: BucketId) -> Option<GateId> {
        let (accounts, domains) = self.counts;
        match self.book.model().key(bucket) {
            BucketKey::NewOrdersPerAccount(account) => Some(GateId::new(account)),
            BucketKey::CertificatesPerDomain(domain) => Some(GateId::new(accounts + domain)),
            BucketKey::CertificatesPerDomainPerAccount(account, domain) => {
                let next = accounts + domains + u32::try_from(self.own.len()).unwrap_or(u32::MAX);
                Some(GateId::new(*self.own.entry((account, domain)).or_insert(next)))
            }
            BucketKey::NewRegistrationsPerIpAddress(_)
            | BucketKey::NewRegistrationsPerIpv6Range(_)
            | BucketKey::CertificatesPerFqdnSet(_)
            | BucketKey::FailedAuthorizationsPerDomainPerAccount(..)
            | BucketKey::FailedAuthorizationsForPausingPerDomainPerAccount(..)
            | BucketKey::PendingAuthorizationsPerAccount(_) => None,
        }
    }

    /// The gates that an order has to pass which is not exempt.
    pub(super) fn gates(&mut self, order: OrderId) -> Vec<GateId> {
        let stakes: Vec<_> = self.book.model().stakes(order, Exemption::None).filter(|stake| stake.asked).collect();
        stakes.into_iter().filter_map(|stake| self.gate(stake.bucket)).collect()
    }
}

impl Run<'_, '_> {
    /// Makes an order known to the CA and to all ledgers.
    pub(super) fn know(&mut self, account: &str, names: &NameSet) -> OrderId {
        let order = self.ca.model.order(account, names);
        for ledger in &mut self.ledgers {
            let known = ledger.book.order(account, names);
            assert!(known.index() == order.index(), "orders have the same numbers everywhere");
        }
        order
    }

    /// Every ledger learns of other limits with the CA: who grants or publishes them says so.
    pub(super) fn change_ledgers(&mut self, limits: &Limits) {
        self.ledgers.iter_mut().for_each(|ledger| _ = ledger.book.change_limits(limits.clone()));
    }

    fn ledgers_of(&self, client: Option<usize>) -> Vec<u32> {
        let actors = self.setup.actors(client).into_iter().filter(|actor| self.pacers[*actor as usize].is_some());
        let mut ledgers: Vec<u32> = actors.map(|actor| self.setup.clients[actor as usize].ledger).collect();
        ledgers.sort_unstable();
        ledgers.dedup();
        ledgers
    }

    /// A backup is made of the ledgers that an event will restore.
    pub(super) fn back_up(&mut self, event: u32) {
        let What::RestoreLedger { client, .. } = self.setup.events[event as usize].what else { return };
        for ledger in self.ledgers_of(client) {
            let ledger = &mut self.ledgers[ledger as usize];
            let model = ledger.book.model().clone();
            ledger.backups.push((event, model));
        }
    }

    /// The ledgers of clients are gone, or what they were when `event` had them backed up. What was spent since is unknown, so it counts
    /// as all there was: every bucket is empty now. Certificates seen count where they are still known, from the backup or because their
    /// client has them; and clients tell of the orders that they have under way.
    pub(super) fn lose_ledgers(&mut self, client: Option<usize>, event: Option<u32>) {
        let now = self.now;
        for number in self.ledgers_of(client) {
            let ledger = &mut self.ledgers[number as usize];
            let backup = ledger.backups.iter().find(|(of, _)| Some(*of) == event).map(|(_, model)| model);
            let mut model = ledger.book.model().clone();
            model.forget_issued(backup);
            let buckets: Vec<BucketId> = model.all_buckets().collect();
            for bucket in buckets {
                let empty = now.plus(model.buckets().quota(bucket).offset());
                model.set_tat(bucket, Some(empty));
            }
            let before = std::mem::replace(&mut ledger.book, Book::new(model));
            for actor in self.setup.actors(None) {
                if self.setup.clients[actor as usize].ledger == number && self.pacers[actor as usize].is_some() {
                    self.tell_new_ledger(actor, &before, now);
                }
            }
        }
        self.wake_all();
    }

    /// A client tells its new ledger of the certificates that it has and of the orders that it has under way. What it had permits for
    /// and has not sent it asks for again.
    fn tell_new_ledger(&mut self, number: u32, before: &Book, now: Timestamp) {
        let of = &self.setup.clients[number as usize];
        for lineage in of.lineages.clone().filter(|lineage| !self.wants.is_changed(*lineage)) {
            let state = &self.lineages[lineage as usize];
            if let Some(certificate) = &state.certificate {
                self.ledgers[of.ledger as usize].book.model_mut().see(state.order, certificate.issued_at);
            }
        }
        let Some(pacer) = self.pacers[number as usize].as_mut() else { return };
        pacer.forget_outbox(now);
        let book = &mut self.ledgers[of.ledger as usize].book;
        let mut open: Vec<_> = pacer.permits.iter_mut().collect();
        open.sort_unstable();
        for (_, id) in open {
            let Some(permit) = before.permit(*id) else { continue };
            *id = book.admit(permit.terms(), permit.lease_end().max(now.plus(LEASE)), now);
            // Whether the CA had taken it is known; that its exemption may be over by now is no concern any more.
            let _sent = book.apply(*id, Event::Accepted, now);
        }
    }
}

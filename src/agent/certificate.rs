//! What is known of one certificate, and what follows from it.

use super::queue::Key;
use super::{Class, Config, GateId, Held, NameId, TenantId, Wanted, Window};
use crate::permits::PermitId;
use crate::time::Timestamp;

/// A time that never comes.
pub(super) const NEVER: Timestamp = Timestamp::from_unix_nanos(i64::MAX);

/// Where a certificate stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Nothing before [`Certificate::due`].
    Waiting,
    /// In the queue of what is ready, or of a gate.
    Queued { key: Key, at: Option<GateId> },
    /// The gate has been asked.
    Asking,
    /// There is a permit; the order goes out, or is at the CA.
    Ordering(PermitId),
    /// A person has to do something.
    Stopped,
    /// It is not wanted any more.
    Removed,
}

#[derive(Clone, Debug)]
pub(super) struct Certificate {
    pub(super) names: Box<[NameId]>,
    pub(super) gates: Box<[GateId]>,
    pub(super) tenant: TenantId,
    pub(super) held: Option<Held>,
    pub(super) phase: Phase,
    /// Not before.
    pub(super) not_before: Timestamp,
    /// When the CA is to be asked for the window; [`NEVER`] while it is being asked.
    pub(super) ari_at: Timestamp,
    /// Answers that did not come, in a row; `None`: not one came yet since the certificate is known.
    pub(super) ari_failures: Option<u32>,
    /// Failures in a row that were no name's.
    pub(super) failures: u32,
    /// Its place in the order of choice, kept until there is an outcome or it has to wait by itself.
    pub(super) key: Option<Key>,
    /// A gate has told it that it is not exempt.
    pub(super) counts: bool,
    /// Its entry among the wakes that holds.
    pub(super) wake: Timestamp,
}

impl Certificate {
    pub(super) fn new(wanted: Wanted) -> Self {
        let Wanted { mut names, tenant, gates, not_before, held, open, failures } = wanted;
        names.sort_unstable();
        Self {
            names,
            gates,
            tenant,
            held,
            phase: open.map_or(Phase::Waiting, Phase::Ordering),
            not_before,
            ari_at: NEVER,
            ari_failures: None,
            failures,
            key: None,
            counts: held.is_none(),
            wake: NEVER,
        }
    }

    /// What is to be kept of it.
    pub(super) fn wanted(&self) -> Option<Wanted> {
        let open = match self.phase {
            Phase::Ordering(permit) => Some(permit),
            Phase::Waiting | Phase::Queued { .. } | Phase::Asking | Phase::Stopped => None,
            Phase::Removed => return None,
        };
        Some(Wanted {
            names: self.names.clone(),
            tenant: self.tenant,
            gates: self.gates.clone(),
            not_before: self.not_before,
            held: self.held,
            open,
            failures: self.failures,
        })
    }

    /// When it wants to be ordered.
    pub(super) fn due(&self) -> Timestamp {
        self.held.and_then(|held| held.renew_at).map_or(self.not_before, |at| at.max(self.not_before))
    }

    /// When a certificate has to be there; the new are in no such hurry.
    pub(super) fn end(&self) -> Timestamp {
        let Some(held) = self.held else { return NEVER };
        held.deadline.map_or(held.expires_at, |deadline| deadline.min(held.expires_at))
    }

    /// From when on it goes before all others.
    pub(super) fn urgent_at(&self) -> Timestamp {
        self.held.map_or(NEVER, |held| held.urgent_at())
    }

    pub(super) fn class(&self, now: Timestamp) -> Class {
        match self.held {
            None => Class::New,
            Some(_) if now >= self.urgent_at() => Class::Urgent,
            Some(_) => Class::Renewal,
        }
    }

    /// The window inside which an order at `now` replaces the certificate held.
    pub(super) fn replaces(&self, now: Timestamp) -> Option<Window> {
        let held = self.held.filter(|held| !held.replaced)?;
        held.window.filter(|window| window.start <= now && now < window.end)
    }

    /// Whether nothing is to be done before the CA has answered: before a renewal it is asked at least once, so that it can be exempt.
    pub(super) fn awaits_answer(&self, config: &Config, now: Timestamp) -> bool {
        self.asks(config, now) && self.ari_at == NEVER && self.ari_failures.is_none()
    }

    /// When it is to be looked at again; [`NEVER`]: not before an event.
    pub(super) fn next_look(&self, config: &Config, now: Timestamp) -> Timestamp {
        match self.phase {
            Phase::Waiting if self.awaits_answer(config, now) && self.due() <= now => NEVER,
            Phase::Waiting if self.asks(config, now) => self.due().min(self.ari_at),
            Phase::Waiting => self.due(),
            Phase::Queued { key, .. } if key.class == Class::Renewal => self.urgent_at(),
            Phase::Queued { .. } | Phase::Asking | Phase::Ordering(_) | Phase::Stopped | Phase::Removed => NEVER,
        }
    }

    /// Whether the CA may be asked for a window at `now`.
    pub(super) fn asks(&self, config: &Config, now: Timestamp) -> bool {
        let askable = |held: &Held| !held.replaced && now < held.expires_at;
        config.ari && self.held.as_ref().is_some_and(askable) && self.phase == Phase::Waiting
    }
}

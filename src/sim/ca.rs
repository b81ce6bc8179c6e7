//! The model CA: what Boulder's `wfe2` and `ra` do with an order, over [`crate::rules`]. Limits are checked when an order comes and
//! spent when its certificate is issued; authorizations are used again as the profile has it; ARI exempts inside its window alone.
//!
//! Requests are counted against the endpoint limits in three lots an order: nonce and order, two for each name's validation, three for
//! the rest. Reading directory and renewal information is not.

mod leads;

use super::random::{Purpose, Seed, Stream};
use super::scenario::Endpoint;
use super::setup::{Setup, Slot};
use crate::buckets::{Batch, BucketId};
use crate::limits::{Limits, ProfileTerms};
use crate::rules::{Decision, Door, Exemption, Model, OrderId, Pair, Request, refusal};
use crate::time::{NS_PER_S, Span, Timestamp};

pub(super) use leads::Leads;

/// A certificate, as its CA knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Certificate {
    pub(super) issued_at: Timestamp,
    pub(super) expires_at: Timestamp,
    /// Whether an order has named it in `replaces`.
    pub(super) replaced: bool,
    pub(super) revoked: bool,
}

/// What the CA says to a new order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// It is there.
    Created(Exemption),
    /// 429, with the bucket that it names.
    Refused(BucketId, Option<Span>),
    /// 429 without `Retry-After`: a name is paused.
    Paused,
    /// 409: the certificate was replaced already.
    AlreadyReplaced,
    /// 503 with `Retry-After`.
    Busy(Span),
    /// No answer.
    Unreachable,
}

/// A validation that failed, or counts as such.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Failure {
    /// The place of the name in its order.
    pub(super) place: u16,
    /// The client has deactivated the pending authorization.
    pub(super) deactivated: bool,
}

#[derive(Debug)]
pub(super) struct Ca {
    pub(super) model: Model,
    pub(super) leads: Leads,
    /// Until when authorizations are valid, by number.
    authorized_until: Vec<Timestamp>,
    door: Door,
    batch: Batch,
    second: Batch,
    /// Pairs without a valid authorization, where pending ones are counted.
    missing: Vec<Pair>,
    jitter: Stream,
    /// How many outages there are: of new orders, and of all else.
    outages: [u32; 2],
}

/// 503, with whole seconds to wait, as `Retry-After` has them.
fn busy(wait: Span) -> Answer {
    Answer::Busy(Span::from_seconds(wait.nanos().saturating_add(NS_PER_S - 1) / NS_PER_S))
}

/// No authorization reaches so far back.
const NEVER: Timestamp = Timestamp::from_unix_nanos(i64::MIN);

impl Ca {
    pub(super) fn new(setup: &Setup, seed: Seed) -> Self {
        let mut authorized_until = vec![NEVER; setup.authorizations as usize];
        for &(authorization, until) in &setup.authorized {
            let known = &mut authorized_until[authorization as usize];
            *known = until.max(*known);
        }
        let model = setup.model.clone();
        Self {
            leads: Leads::new(&model),
            door: Door::new(&model.limits().policy),
            model,
            authorized_until,
            batch: Batch::default(),
            second: Batch::default(),
            missing: Vec::new(),
            jitter: Stream::new(seed, Purpose::RetryAfter),
            outages: [0; 2],
        }
    }

    /// An outage begins or ends.
    pub(super) fn outage(&mut self, endpoint: Option<Endpoint>, begins: bool) {
        let hit: &[usize] = match endpoint {
            None => &[0, 1],
            Some(Endpoint::NewOrder) => &[0],
            Some(Endpoint::Others) => &[1],
        };
        for &of in hit {
            let count = self.outages[of];
            self.outages[of] = if begins { count + 1 } else { count.saturating_sub(1) };
        }
    }

    /// Other limits hold from now on. Orders get new ids, by the place of the old ones.
    pub(super) fn change_limits(&mut self, limits: Limits) -> Vec<OrderId> {
        self.leads.close(&self.model);
        let orders = self.model.change_limits(limits);
        self.leads.open(&self.model);
        self.door = Door::new(&self.model.limits().policy);
        orders
    }

    pub(super) fn terms(&self, profile: u16, now: Timestamp) -> ProfileTerms {
        self.model.limits().policy.profiles[usize::from(profile)].terms_at(now)
    }

    /// How long an authorization of the profile stays pending.
    pub(super) fn pending(&self, profile: u16) -> Span {
        self.model.limits().policy.profiles[usize::from(profile)].pending_authorization
    }

    /// The window in which the CA suggests to renew a certificate: start (inside) and end (outside); in the past where it is revoked.
    pub(super) fn window(&self, certificate: &Certificate) -> (Timestamp, Timestamp) {
        if certificate.revoked {
            return (NEVER, NEVER);
        }
        self.model.limits().policy.renewal.window(certificate.issued_at, certificate.expires_at)
    }

    /// Whether the CA suggests when to renew.
    pub(super) fn has_ari(&self) -> bool {
        self.model.limits().policy.renewal.ari
    }

    /// A new order at `now` for names of a profile, which may name the certificate it replaces; a CA without ARI does not read that.
    pub(super) fn new_order(
        &mut self,
        order: OrderId,
        (slots, profile): (&[Slot], u16),
        replaces: Option<&mut Certificate>,
        address: u32,
        now: Timestamp,
    ) -> Answer {
        if self.outages[0] > 0 {
            return Answer::Unreachable;
        }
        let passed = self.door.pass(address, Request::NewNonce, 1, now);
        if let Err(wait) = passed.and_then(|()| self.door.pass(address, Request::NewOrder, 1, now)) {
            return busy(wait);
        }
        let replaces = replaces.filter(|_| self.has_ari());
        if replaces.as_ref().is_some_and(|certificate| certificate.replaced) {
            return Answer::AlreadyReplaced;
        }
        let inside = replaces.as_ref().is_some_and(|certificate| {
            let (start, end) = self.window(certificate);
            start <= now && now < end
        });
        let exemption = self.model.exemption(order, inside, now);
        let decision = if self.model.limits_pending() {
            let until = now.plus(self.pending(profile));
            let missing = slots.iter().filter(|slot| self.authorized_until[slot.authorization as usize] <= now);
            self.missing.clear();
            self.missing.extend(missing.map(|slot| slot.pair));
            self.model.new_order_needing(order, exemption, (&self.missing, until), now, &mut self.batch)
        } else {
            self.model.new_order(order, exemption, now, &mut self.batch)
        };
        match decision {
            Decision::Allow => {
                self.leads.note(&self.model, &self.batch, now);
                if let Some(certificate) = replaces {
                    certificate.replaced = true;
                }
                Answer::Created(exemption)
            }
            Decision::Paused => Answer::Paused,
            Decision::Wait(_) => self.refusal(),
        }
    }

    /// The strictest limit, and the true wait with 0 to 3 % on top, in whole seconds; none where that is 0.
    fn refusal(&mut self) -> Answer {
        let (bucket, wait) = Model::named(&self.batch).unwrap_or_else(|| unreachable!("a bucket was in the way"));
        let jitter = self.jitter.span(refusal::jitter_max(wait));
        Answer::Refused(bucket, refusal::retry_after(wait.plus(jitter)))
    }

    /// May requests of an order that is there go on? `names` are validated, or it is finalized where there are none.
    pub(super) fn go_on(&mut self, address: u32, names: usize, now: Timestamp) -> Result<(), Answer> {
        if self.outages[1] > 0 {
            return Err(Answer::Unreachable);
        }
        let requests = if names == 0 { 3 } else { u32::try_from(2 * names).unwrap_or(u32::MAX) };
        self.door.pass(address, Request::Other, requests, now).map_err(busy)
    }

    /// Validates the names of an order that have no valid authorization; `fails` says which fail. After a failure the client may
    /// deactivate what is still pending, which counts as much. `failures` is filled with those.
    pub(super) fn validate(
        &mut self,
        slots: &[Slot],
        reuse: Span,
        deactivates: bool,
        now: Timestamp,
        mut fails: impl FnMut(u32) -> bool,
        failures: &mut Vec<Failure>,
    ) {
        failures.clear();
        for (place, slot) in (0..).zip(slots) {
            let until = &mut self.authorized_until[slot.authorization as usize];
            if *until > now {
                continue;
            }
            let deactivated = deactivates && !failures.is_empty();
            if !(deactivated || fails(slot.name)) {
                *until = now.plus(reuse);
                self.model.pair_succeeded(slot.pair, now, &mut self.batch);
                continue;
            }
            let batches = [&mut self.batch, &mut self.second];
            if !deactivated {
                self.model.pair_failed(slot.pair, now, batches);
            } else if self.model.pair_deactivated(slot.pair, now, batches).is_none() {
                continue;
            }
            self.leads.note(&self.model, &self.batch, now);
            self.leads.note(&self.model, &self.second, now);
            failures.push(Failure { place, deactivated });
        }
    }

    /// Whether there is a valid authorization for each name.
    pub(super) fn is_authorized(&self, slots: &[Slot], now: Timestamp) -> bool {
        slots.iter().all(|slot| self.authorized_until[slot.authorization as usize] > now)
    }

    /// Issues. Returns the certificate, and whether exactly this set had been issued within the CA's memory.
    pub(super) fn issue(&mut self, order: OrderId, profile: u16, now: Timestamp) -> (Certificate, bool) {
        let renewal = self.model.exemption(order, false, now) == Exemption::SameSet;
        self.model.issued(order, renewal, now, &mut self.batch);
        self.leads.note(&self.model, &self.batch, now);
        let expires_at = now.plus(self.terms(profile, now).validity);
        (Certificate { issued_at: now, expires_at, replaced: false, revoked: false }, renewal)
    }

    /// Somebody else orders and gets a certificate, if the limits let him.
    pub(super) fn stranger(&mut self, order: OrderId, now: Timestamp) -> bool {
        let exemption = self.model.exemption(order, false, now);
        let allowed = self.model.new_order(order, exemption, now, &mut self.batch) == Decision::Allow;
        if allowed {
            self.model.issued(order, exemption == Exemption::SameSet, now, &mut self.batch);
            self.leads.note(&self.model, &self.batch, now);
        }
        allowed
    }
}

//! Permits and buckets together, in memory: what a ledger does, for the simulator and as the reference that stores are held equal to.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rustc_hash::FxHashMap;

use super::{
    Act, Claim, Event, Holder, Moves, Permit, PermitError, PermitId, Sending, State, Tally, Terms, WINDOW_LEAD,
};
use crate::buckets::BucketId;
use crate::gcra::Quota;
use crate::limits::Limits;
use crate::name::NameSet;
use crate::plan::Share;
use crate::rules::{Model, OrderId, Part, Stake};
use crate::time::{Span, Timestamp};

/// How long a permit is given for where the caller does not say.
pub const LEASE: Span = Span::from_seconds(30 * 60);

/// When to ask again where an order that asks stands in the way of one that takes without asking.
const ASK_AGAIN: Span = Span::from_seconds(60);

/// A request for a permit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// Account and name set.
    pub order: OrderId,
    /// Who asks.
    pub holder: Holder,
    /// The suggested window (ARI) of a certificate of the same account which the order replaces: its start and end.
    pub replaces: Option<(Timestamp, Timestamp)>,
    /// How long the permit holds.
    pub lease: Span,
    /// Whether the holder says when it sends.
    pub sending: Sending,
    /// The share of the burst of order and domain buckets that is left alone, for urgent orders.
    pub headroom: Share,
}

impl Request {
    /// A request for `order` that replaces nothing, announces its sending, takes half an hour at most and leaves no headroom.
    #[must_use]
    pub fn of(order: OrderId, holder: Holder) -> Self {
        let (lease, sending, headroom) = (LEASE, Sending::Announced, Share::default());
        Self { order, holder, replaces: None, lease, sending, headroom }
    }
}

/// The answer to a request.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum Answer {
    /// The tokens are set aside.
    Allow(PermitId),
    /// Not now.
    Later {
        /// When it fits. Tokens that others hold count as spent now, so it is an estimate where some are held.
        at: Timestamp,
        /// Every bucket in the way with its own time, the latest last.
        blocking: Vec<Blocked>,
    },
    /// Not until a person does something.
    Never(Never),
    /// Another holder has the permit for this set.
    InHand {
        /// Who.
        holder: Holder,
        /// When its lease ends.
        until: Timestamp,
    },
}

/// Why an order never goes out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Never {
    /// A name is paused for the account.
    Paused,
}

/// A bucket in the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Blocked {
    /// The bucket; [`Model::describe`] says whose.
    pub bucket: BucketId,
    /// When it has the tokens.
    pub at: Timestamp,
}

/// Whether a permit that was reserved may be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Dispatch {
    /// The order may go out now.
    Go,
    /// A bucket has been raised since: not before then. The permit stays reserved; it can be cancelled.
    Later(Blocked),
}

/// The permits of one CA, and the buckets as this organisation knows them.
#[derive(Clone, Debug)]
pub struct Book {
    model: Model,
    /// Tokens set aside, by bucket.
    held: Vec<u32>,
    /// How many of them the CA is still to be asked for, or may be.
    asked: Vec<u32>,
    permits: Vec<Option<Permit>>,
    /// Places of permits that were forgotten.
    free: Vec<PermitId>,
    /// The permit in whose holder's hand a set is.
    by_set: FxHashMap<u32, PermitId>,
    /// When leases end. Entries whose permit is over, or has a longer lease, are passed over.
    leases: BinaryHeap<Reverse<(Timestamp, PermitId)>>,
}

impl Book {
    /// A book without permits. `model` says what is known of the buckets and of the sets issued.
    #[must_use]
    pub fn new(model: Model) -> Self {
        Self {
            model,
            held: Vec::new(),
            asked: Vec::new(),
            permits: Vec::new(),
            free: Vec::new(),
            by_set: FxHashMap::default(),
            leases: BinaryHeap::new(),
        }
    }

    /// What is known of the buckets, but for what is held.
    #[must_use]
    pub const fn model(&self) -> &Model {
        &self.model
    }

    /// The same, to make other things known: certificates seen, buckets' states.
    pub const fn model_mut(&mut self) -> &mut Model {
        &mut self.model
    }

    /// Makes an order of `account` for `names` known. The same order has the same id.
    pub fn order(&mut self, account: &str, names: &NameSet) -> OrderId {
        self.model.order(account, names)
    }

    /// The permit of that number, unless it was forgotten.
    #[must_use]
    pub fn permit(&self, id: PermitId) -> Option<&Permit> {
        self.permits.get(id.0 as usize)?.as_ref()
    }

    /// What is known of a bucket.
    #[must_use]
    pub fn tally(&self, bucket: BucketId) -> Tally {
        let held = self.held.get(bucket.index()).copied().unwrap_or_default();
        Tally { tat: self.model.buckets().tat(bucket), held }
    }

    /// Asks for a permit, and has it if all that the order needs is there: all or nothing.
    pub fn reserve(&mut self, request: &Request, now: Timestamp) -> Answer {
        let set = self.model.set_number(request.order);
        if let Some(answer) = self.in_hand(set, request, now) {
            return answer;
        }
        if self.model.is_paused(request.order) {
            return Answer::Never(Never::Paused);
        }
        let lease_end = now.plus(request.lease);
        let claim = self.claim(request, lease_end, now);
        let blocking = self.blocking(request, claim, now);
        if let Some(last) = blocking.last() {
            return Answer::Later { at: last.at, blocking };
        }
        let terms = Terms { order: request.order, holder: request.holder, claim, sending: request.sending };
        Answer::Allow(self.admit(terms, lease_end, now))
    }

    /// A permit, whatever is in the buckets: for an order that is known to be on its way where the book was lost.
    pub fn admit(&mut self, terms: Terms, lease_end: Timestamp, now: Timestamp) -> PermitId {
        let (permit, moves) = Permit::reserve(terms, lease_end, now);
        let id = self.free.pop().unwrap_or_else(|| {
            self.permits.push(None);
            PermitId(u32::try_from(self.permits.len() - 1).unwrap_or_else(|_| unreachable!("32 bits outlast memory")))
        });
        self.permits[id.0 as usize] = Some(permit);
        self.by_set.insert(self.model.set_number(terms.order), id);
        self.leases.push(Reverse((lease_end, id)));
        self.carry_out(&permit, &moves, &[], None);
        id
    }

    /// The answer where somebody has the set in hand.
    fn in_hand(&mut self, set: u32, request: &Request, now: Timestamp) -> Option<Answer> {
        let id = *self.by_set.get(&set)?;
        if self.permit(id)?.lease_end() <= now {
            self.apply(id, Event::Lapsed, now).ok()?;
        }
        let permit = self.permit(id).filter(|permit| permit.state().is_live())?;
        let Terms { order, holder, .. } = permit.terms();
        if (order, holder) == (request.order, request.holder) {
            return Some(Answer::Allow(id));
        }
        Some(Answer::InHand { holder, until: permit.lease_end() })
    }

    /// What the order can be sure to be exempt from, until its lease ends.
    fn claim(&self, request: &Request, lease_end: Timestamp, now: Timestamp) -> Claim {
        let memory = self.model.limits().policy.renewal.same_set_memory;
        let forgotten = self.model.seen(request.order).map(|seen| seen.plus(memory));
        let same_set_until = forgotten.filter(|until| lease_end < *until);
        match (request.replaces, same_set_until) {
            (Some((start, end)), _) if start <= now && now.plus(WINDOW_LEAD) < end => {
                Claim::Ari { until: end, same_set_until }
            }
            (_, Some(until)) => Claim::SameSet { until },
            (_, None) => Claim::None,
        }
    }

    /// Every bucket in the way, the latest last.
    fn blocking(&self, request: &Request, claim: Claim, now: Timestamp) -> Vec<Blocked> {
        let mut blocking = Vec::new();
        for stake in self.model.stakes(request.order, claim.exemption()) {
            let (bucket, tally) = (stake.bucket, self.tally(stake.bucket));
            let at = tally.fits_at(self.usable(&stake, request.headroom), 1, now);
            let under_way = self.asked.get(bucket.index()).is_some_and(|asked| *asked > 0);
            if at > now && stake.asked {
                blocking.push(Blocked { bucket, at });
            } else if at > now && under_way {
                // It would take, unasked, what another order was let go for. That one is soon over.
                blocking.push(Blocked { bucket, at: at.min(now.plus(ASK_AGAIN)) });
            }
            // Whoever asks: a failure more must not pause the name.
            if let Part::Failures(name) = stake.part
                && let Some((bucket, at)) = self.model.pausing_until(request.order, name, tally.held + 1, now)
            {
                blocking.push(Blocked { bucket, at });
            }
        }
        blocking.sort_unstable_by_key(|blocked| (blocked.at, blocked.bucket));
        blocking
    }

    /// What of a bucket the request may use.
    fn usable(&self, stake: &Stake, headroom: Share) -> Quota {
        let quota = self.model.buckets().quota(stake.bucket);
        match stake.part {
            Part::Order | Part::Domain if stake.asked => quota.with_burst_at_most(headroom.leaves(quota.burst())),
            Part::Order | Part::Domain | Part::Set | Part::Failures(_) => quota,
        }
    }

    /// The holder is about to send. A bucket that was raised since the permit was reserved has a say.
    ///
    /// # Errors
    /// [`PermitError`] where it can't be sent.
    pub fn sent(&mut self, id: PermitId, now: Timestamp) -> Result<Dispatch, PermitError> {
        let permit = self.permit(id).ok_or(PermitError::Missing(id))?;
        let Terms { order, claim, .. } = permit.terms();
        if permit.state() == State::Reserved {
            // Its own token is among those held, so no more are asked for.
            let stakes = self.model.stakes(order, claim.exemption()).filter(|stake| stake.asked);
            let times = stakes.map(|stake| {
                let quota = self.model.buckets().quota(stake.bucket);
                Blocked { bucket: stake.bucket, at: self.tally(stake.bucket).fits_at(quota, 0, now) }
            });
            if let Some(raised) = times.filter(|raised| raised.at > now).max_by_key(|raised| (raised.at, raised.bucket))
            {
                return Ok(Dispatch::Later(raised));
            }
        }
        self.apply(id, Event::Sent, now).map(|_| Dispatch::Go)
    }

    /// Anything else that happens to a permit. Where names failed say [`Self::failed`], where the CA refused [`Self::refused`].
    ///
    /// # Errors
    /// [`PermitError`] where it makes no sense; nothing has changed then.
    pub fn apply(&mut self, id: PermitId, event: Event, now: Timestamp) -> Result<State, PermitError> {
        self.step(id, event, now, &[], None)
    }

    /// The order is dead because validations of `names` failed: places among its names.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn failed(&mut self, id: PermitId, names: &[u16], now: Timestamp) -> Result<State, PermitError> {
        self.step(id, Event::Failed, now, names, None)
    }

    /// The CA has refused the order, and named `bucket` as the one in the way; `None`: none that is known, so all that were asked are
    /// taken to be empty until `retry_at`.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn refused(
        &mut self,
        id: PermitId,
        bucket: Option<BucketId>,
        retry_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<State, PermitError> {
        self.step(id, Event::Refused { retry_at }, now, &[], bucket)
    }

    fn step(
        &mut self,
        id: PermitId,
        event: Event,
        now: Timestamp,
        failed: &[u16],
        named: Option<BucketId>,
    ) -> Result<State, PermitError> {
        let permit = self.permits.get_mut(id.0 as usize).and_then(Option::as_mut).ok_or(PermitError::Missing(id))?;
        let moves = permit.apply(event, now)?;
        let permit = *permit;
        if matches!(event, Event::Extended { .. }) {
            self.leases.push(Reverse((permit.lease_end(), id)));
        }
        let set = self.model.set_number(permit.terms().order);
        if !permit.state().is_live() && self.by_set.get(&set) == Some(&id) {
            self.by_set.remove(&set);
        }
        self.carry_out(&permit, &moves, failed, named);
        Ok(permit.state())
    }

    /// Does to the buckets what `moves` says.
    fn carry_out(&mut self, permit: &Permit, moves: &Moves, failed: &[u16], named: Option<BucketId>) {
        let Terms { order, claim, .. } = permit.terms();
        self.held.resize(self.model.buckets().len(), 0);
        self.asked.resize(self.model.buckets().len(), 0);
        let stakes: Vec<_> = self.model.stakes(order, claim.exemption()).collect();
        for stake in stakes {
            let name = if let Part::Failures(name) = stake.part { Some(name) } else { None };
            let act = moves.act(stake.part, name.is_some_and(|name| failed.contains(&name)));
            let (held, asked) = (&mut self.held[stake.bucket.index()], &mut self.asked[stake.bucket.index()]);
            match act {
                Act::Nothing | Act::Charge => {}
                Act::Hold => (*held, *asked) = (*held + 1, *asked + u32::from(stake.asked)),
                Act::Spend | Act::Release => (*held, *asked) = (*held - 1, *asked - u32::from(stake.asked)),
            }
            if matches!(act, Act::Spend | Act::Charge) {
                let quota = self.model.buckets().quota(stake.bucket);
                let spent = self.tally(stake.bucket).spent(quota, moves.at);
                self.model.set_tat(stake.bucket, spent.tat);
                name.into_iter().for_each(|name| _ = self.model.spend_pausing(order, name, moves.at));
            }
            if let Some(retry_at) = moves.raise
                && (named.is_none() && stake.asked)
            {
                self.raise(stake.bucket, retry_at);
            }
        }
        if let (Some(retry_at), Some(bucket)) = (moves.raise, named) {
            self.raise(bucket, retry_at);
        }
        if let Some(seen) = moves.seen {
            self.model.see(order, seen);
        }
    }

    /// The CA was heard to give no token of `bucket` before `retry_at`.
    pub fn raise(&mut self, bucket: BucketId, retry_at: Timestamp) {
        let raised = self.tally(bucket).raised(self.model.buckets().quota(bucket), retry_at);
        self.model.set_tat(bucket, raised.tat);
    }

    /// From now on `limits` hold: [`Model::change_limits`]. Orders get new ids, returned by the place of the old ones.
    pub fn change_limits(&mut self, limits: Limits) -> Vec<OrderId> {
        let orders = self.model.change_limits(limits);
        (self.held, self.asked) = (Vec::new(), Vec::new());
        for place in 0..self.permits.len() {
            let Some(permit) = &mut self.permits[place] else { continue };
            permit.terms.order = orders[permit.terms.order.index()];
            if permit.state().is_live() {
                // Its tokens are held in the buckets that there are now.
                let permit = *permit;
                self.carry_out(&permit, &permit.held(permit.life().last_at(), Act::Hold), &[], None);
            }
        }
        orders
    }

    /// Lets leases that have ended by `now` run out. Returns how many did.
    pub fn lapse(&mut self, now: Timestamp) -> usize {
        let mut lapsed = 0;
        while let Some(Reverse((end, id))) = self.leases.peek().copied()
            && end <= now
        {
            self.leases.pop();
            if self.is_current(end, id) {
                lapsed += usize::from(self.apply(id, Event::Lapsed, now).is_ok());
            }
        }
        lapsed
    }

    /// When the next lease ends.
    #[must_use]
    pub fn next_lapse(&mut self) -> Option<Timestamp> {
        while let Some(Reverse((end, id))) = self.leases.peek().copied() {
            if self.is_current(end, id) {
                return Some(end);
            }
            self.leases.pop();
        }
        None
    }

    /// Whether the lease of a permit that holds tokens ends then.
    fn is_current(&self, end: Timestamp, id: PermitId) -> bool {
        self.permit(id).is_some_and(|permit| permit.state().is_live() && permit.lease_end() == end)
    }

    /// Forgets a permit that holds nothing; its number is given again. Returns whether it did.
    pub fn forget(&mut self, id: PermitId) -> bool {
        let over = self.permit(id).is_some_and(|permit| !permit.state().is_live());
        if over {
            self.permits[id.0 as usize] = None;
            self.free.push(id);
        }
        over
    }

    /// The permits that are not forgotten, by number.
    pub fn permits(&self) -> impl Iterator<Item = (PermitId, &Permit)> {
        (0..).map(PermitId).zip(&self.permits).filter_map(|(id, permit)| Some((id, permit.as_ref()?)))
    }
}

//! Asking for a permit.

#[cfg(test)]
mod tests;

use super::document::{Board, Hand, PERMIT, QUEUE, SetState, permit_document, set_document, text};
use super::names;
use super::permitted::{Permitted, Shadowed};
use super::queue::{Comer, Queue};
use super::request::{Answer, Blocking, GateError, Never, Request, Verdict};
use super::stakes::{Draft, backoff_bucket, stakes_of};
use super::{Gate, View, document};
use crate::ledger::{Document, Outcome, Reply, Step, Version, Write};
use crate::name::NameSet;
use crate::permits::{Claim, Holder, LEASE, Permit, Sending, Terms, WINDOW_LEAD};
use crate::plan::Share;
use crate::rules::{Exemption, Part};
use crate::time::{Span, Timestamp};

/// How long a place in the queue is kept for one who has not come back.
const TICKET: Span = Span::from_seconds(60);

impl Request {
    /// A request that replaces nothing, announces its sending, takes half an hour at most and leaves no headroom.
    #[must_use]
    pub fn of(account: &str, names: NameSet, holder: &str) -> Self {
        Self {
            account: account.to_owned(),
            names,
            holder: holder.to_owned(),
            profile: None,
            tenant: None,
            priority: 0,
            replaces: None,
            task: None,
            lease: LEASE,
            sending: Sending::Announced,
            headroom: Share::default(),
            urgent: false,
            retry_now: false,
        }
    }
}

/// How a request is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode<'a> {
    /// What would be said?
    Ask,
    /// In earnest; for one who waits, with its ticket.
    Take(Option<&'a str>),
    /// It goes out whatever would be said, which is noted.
    LetPass(&'a Shadowed),
    /// It has gone out while the ledger was gone, and was exempt then.
    Replay,
}

impl Mode<'_> {
    /// Whether it goes out whatever would be said.
    const fn lets_pass(self) -> bool {
        match self {
            Self::Ask | Self::Take(_) => false,
            Self::LetPass(_) | Self::Replay => true,
        }
    }
}

/// What the gate says of itself, before any bucket is asked; and what it would do.
enum Made {
    Never(Never),
    InHand(Hand),
    Mine(String),
    Asked(Exemption, Option<Box<Permitted>>),
}

impl Gate {
    /// Asks for a permit, and has it if all that the order needs is there: all or nothing. A holder that has one for exactly this
    /// account and set gets the same again.
    ///
    /// # Errors
    /// [`GateError`] where the ledger can't answer: then nothing may go out.
    pub fn reserve(&mut self, request: &Request) -> Result<Answer, GateError> {
        self.ask(request, Mode::Take(None))
    }

    /// The same for one who waits its turn and comes back before a minute has passed, always with the same `ticket`: a text of its own.
    ///
    /// # Errors
    /// As [`Self::reserve`].
    pub fn reserve_in_turn(&mut self, request: &Request, ticket: &str) -> Result<Answer, GateError> {
        self.ask(request, Mode::Take(Some(ticket)))
    }

    /// What [`Self::reserve`] would answer. Nothing changes, but that leases which have run out are dealt with. A permit in the answer is none.
    ///
    /// # Errors
    /// As [`Self::reserve`].
    pub fn check(&mut self, request: &Request) -> Result<Answer, GateError> {
        self.ask(request, Mode::Ask)
    }

    /// A permit for a renewal that went out inside its window while the ledger was gone, whatever is in the buckets.
    ///
    /// # Errors
    /// As [`Self::reserve`].
    pub fn replay(&mut self, request: &Request) -> Result<Answer, GateError> {
        self.ask(request, Mode::Replay)
    }

    /// Shadow mode, in a [`Realm::shadow`](crate::ledger::Realm::shadow): lets the order pass, and notes in its permit what
    /// would have been said. That is returned beside the answer.
    ///
    /// # Errors
    /// As [`Self::reserve`].
    pub fn shadow(&mut self, request: &Request) -> Result<(Answer, Answer), GateError> {
        let would = self.check(request)?;
        let (retry_at, blocking) = match &would.verdict {
            Verdict::Later { at, blocking } => (Some(*at), blocking.iter().map(|of| of.bucket.clone()).collect()),
            Verdict::Never(never) => (None, vec![never.to_string()]),
            Verdict::Allow { .. } | Verdict::InHand { .. } => (None, Vec::new()),
        };
        let shadowed = Shadowed { verdict: would.verdict.word().to_owned(), retry_at, blocking };
        Ok((self.ask(request, Mode::LetPass(&shadowed))?, would))
    }

    /// One who waited does so no more. Whether it did.
    ///
    /// # Errors
    /// [`GateError`] where the ledger can't be written; its place is forgotten after a minute anyway.
    pub fn leave(&mut self, ticket: &str) -> Result<bool, GateError> {
        let (_, _, left) = self.decide(&[QUEUE.to_owned()], false, |gate, view| {
            let mut queue: Queue = view.read(QUEUE)?.unwrap_or_default();
            let left = queue.leave(ticket, false);
            let mut step = Step::new(gate.code.clone(), gate.known);
            if left {
                step.writes.push(Write { name: QUEUE.to_owned(), body: Some(text(&queue)), lease: None });
            }
            Ok((step, left))
        })?;
        Ok(left)
    }

    fn ask(&mut self, request: &Request, mode: Mode<'_>) -> Result<Answer, GateError> {
        let refused =
            names::check(&request.names, request.profile.as_deref(), &self.limits.policy, self.model.suffixes());
        let set = set_document(&request.names.key().to_string());
        let documents = [document::BOARD.to_owned(), QUEUE.to_owned(), set.clone()];
        // Most sets are new: the ledger says if this one is not.
        let absent = || Document { name: set.clone(), version: Version::Absent, body: String::new() };
        self.documents.entry(set.clone()).or_insert_with(absent);
        let mut number = None;
        let (reply, buckets, made) = self.decide(&documents, true, |gate, view| {
            if let (Err(never), false) = (&refused, mode.lets_pass()) {
                return Ok((Step::new(gate.code.clone(), gate.known), Made::Never(never.clone())));
            }
            let number = number.get_or_insert_with(|| gate.number(view.at)).clone();
            gate.draft(request, mode, &set, &number, view)
        })?;
        if let (Made::Never(_) | Made::InHand(_) | Made::Mine(_), Mode::Take(Some(ticket))) = (&made, mode) {
            // What it waited for is none of the buckets any more.
            self.leave(ticket)?;
        }
        match made {
            Made::Mine(permit) => match self.same_again(&reply, &permit)? {
                Some(answer) => Ok(answer),
                // Another of the same name has just been through with it.
                None => self.ask(request, mode),
            },
            made => self.answer(request, mode, reply, &buckets, made),
        }
    }

    /// What a request comes to, as the documents stand.
    fn draft(
        &mut self,
        request: &Request,
        mode: Mode<'_>,
        set: &str,
        number: &str,
        view: &View<'_>,
    ) -> Result<(Step, Made), GateError> {
        let (board, queue) = (view.board()?, view.read::<Queue>(QUEUE)?.unwrap_or_default());
        let state: SetState = view.read(set)?.unwrap_or_default();
        let step = Step::new(self.code.clone(), self.known);
        let lets_pass = mode.lets_pass();
        if let Some(hand) = &state.hand {
            let mine = (&hand.account, &hand.holder) == (&request.account, &request.holder);
            if mine {
                return Ok((step, Made::Mine(hand.permit.clone())));
            } else if !lets_pass {
                return Ok((step, Made::InHand(hand.clone())));
            }
        }
        if let Some(task) = request.task.as_ref().filter(|task| state.task.as_ref() == Some(*task)) {
            return Ok((step, Made::Never(Never::Done(task.clone()))));
        }
        if !lets_pass && let Some(never) = self.stopped(request, &board) {
            return Ok((step, Made::Never(never)));
        }
        let at = view.at;
        let lease_end = at.plus(request.lease);
        let (claim, valid) = self.claim(request, &state, mode, lease_end, at);
        let order = self.order(&request.account, &request.names);
        let stakes = stakes_of(&self.model, order, claim.exemption());

        let comer = comer(request, mode);
        let mut draft = Draft::new(step, &self.limits, &board);
        draft.step.valid = valid;
        if !lets_pass {
            for (bucket, part, asked) in &stakes {
                let leaves_headroom = *asked && !request.urgent && matches!(part, Part::Order | Part::Domain);
                let headroom = if leaves_headroom { request.headroom } else { Share::default() };
                draft.ask(bucket, headroom, queue.ahead(comer, bucket, at), *asked);
                if let Part::Failures(_) = part {
                    draft.ask_for_pausing(bucket);
                }
            }
            for name in request.names.identifiers().iter().filter(|_| !request.retry_now) {
                draft.ask(&backoff_bucket(&request.account, &name.to_string()), Share::default(), 0, true);
            }
        }
        if mode == Mode::Ask {
            return Ok((draft.step, Made::Asked(claim.exemption(), None)));
        }
        let terms = Terms { order, holder: Holder::new(0), claim, sending: request.sending };
        let (permit, moves) = Permit::reserve(terms, lease_end, at);
        draft.move_stakes(&stakes, &moves, &[]);
        let shadow = if let Mode::LetPass(shadow) = mode { Some(shadow.clone()) } else { None };
        let mut permitted = Permitted { shadow, ..permitted(request, number, claim, &permit) };
        permitted.stake(stakes, |bucket| draft.quota(bucket));
        let hand = Hand {
            permit: number.to_owned(),
            holder: request.holder.clone(),
            account: request.account.clone(),
            until: lease_end,
        };
        let state = SetState { hand: Some(hand), ..state };
        let mut step = draft.step;
        // The record's line is the permit as it was reserved.
        let said = text(&permitted);
        step.record = Some(said.clone());
        step.writes.push(Write { name: permit_document(number), body: Some(said), lease: Some(lease_end) });
        step.writes.push(Write { name: set.to_owned(), body: Some(text(&state)), lease: None });
        if let Some(ticket) = comer.ticket {
            let mut queue = queue;
            if queue.leave(ticket, true) {
                step.writes.push(Write { name: QUEUE.to_owned(), body: Some(text(&queue)), lease: None });
            }
        }
        Ok((step, Made::Asked(claim.exemption(), Some(Box::new(permitted)))))
    }

    /// Why the order may not go out whatever is in the buckets.
    fn stopped(&self, request: &Request, board: &Board) -> Option<Never> {
        if let Some(freeze) = self.frozen(request, board) {
            return Some(Never::Frozen(freeze.clone()));
        }
        let has = |name: &str| request.names.identifiers().iter().any(|own| own.to_string() == name);
        let paused: Vec<_> =
            board.paused.iter().filter(|paused| paused.account == request.account && has(&paused.name)).collect();
        let since = paused.iter().map(|paused| paused.since).min()?;
        Some(Never::Paused { names: paused.iter().map(|paused| paused.name.clone()).collect(), since })
    }

    /// What the order can be sure to be exempt from until its lease ends, and for which instants that holds.
    fn claim(
        &self,
        request: &Request,
        state: &SetState,
        mode: Mode<'_>,
        lease_end: Timestamp,
        now: Timestamp,
    ) -> (Claim, (Timestamp, Timestamp)) {
        let always = (Timestamp::from_unix_nanos(i64::MIN), Timestamp::from_unix_nanos(i64::MAX));
        let memory = self.limits.policy.renewal.same_set_memory;
        let same_set_until = state.seen.map(|seen| seen.plus(memory)).filter(|until| lease_end < *until);
        let window = request.replaces.as_ref().and_then(|replaces| replaces.window);
        match (window, same_set_until) {
            (Some((_, until)), _) if mode == Mode::Replay => (Claim::Ari { until, same_set_until }, always),
            (Some((start, end)), _) if start <= now && now.plus(WINDOW_LEAD) < end => {
                (Claim::Ari { until: end, same_set_until }, (start, end.minus(WINDOW_LEAD)))
            }
            (_, Some(until)) => (Claim::SameSet { until }, always),
            (_, None) => (Claim::None, always),
        }
    }

    fn answer(
        &mut self,
        request: &Request,
        mode: Mode<'_>,
        reply: Reply,
        buckets: &[String],
        made: Made,
    ) -> Result<Answer, GateError> {
        let verdict = match (made, &reply.outcome) {
            (Made::Never(never), _) => Verdict::Never(never),
            (Made::InHand(Hand { permit, holder, until, .. }), _) => Verdict::InHand { holder, permit, until },
            (Made::Asked(..), Outcome::Blocked(blocked)) => {
                let blocking = blocking(blocked, buckets);
                let at = blocking.last().map_or(reply.at, |last| last.at);
                if let Mode::Take(Some(ticket)) = mode {
                    self.wait(request, ticket, &blocking)?;
                }
                Verdict::Later { at, blocking }
            }
            (Made::Asked(exemption, permit), _) => Verdict::Allow { exemption, permit },
            (Made::Mine(_), _) => unreachable!("it was answered before"),
        };
        Ok(Answer { at: reply.at, mark: reply.mark, verdict })
    }

    /// The permit that the holder has already; `None` if that has ended in the meantime.
    fn same_again(&mut self, reply: &Reply, permit: &str) -> Result<Option<Answer>, GateError> {
        let permitted = self.permit(permit)?;
        let is_live = permitted.life.state.is_live();
        let verdict = Verdict::Allow { exemption: permitted.claim.exemption(), permit: Some(Box::new(permitted)) };
        Ok(is_live.then_some(Answer { at: reply.at, mark: reply.mark, verdict }))
    }

    /// One who could not go keeps its place, or gets one.
    fn wait(&mut self, request: &Request, ticket: &str, blocking: &[Blocking]) -> Result<(), GateError> {
        let buckets: Vec<_> = blocking.iter().map(|blocking| blocking.bucket.clone()).collect();
        self.decide(&[QUEUE.to_owned()], false, |gate, view| {
            let mut queue: Queue = view.read(QUEUE)?.unwrap_or_default();
            let until = view.at.plus(TICKET);
            queue.wait(comer(request, Mode::Take(Some(ticket))), ticket, until, &buckets, view.at);
            let mut step = Step::new(gate.code.clone(), gate.known);
            step.writes.push(Write { name: QUEUE.to_owned(), body: Some(text(&queue)), lease: None });
            Ok((step, ()))
        })?;
        Ok(())
    }

    /// All permits, by number.
    ///
    /// # Errors
    /// [`GateError`] where they can't be read.
    pub fn permits(&mut self) -> Result<Vec<Permitted>, GateError> {
        let code = self.code.clone();
        let mut found = Ok(Vec::new());
        self.with_store(|store| {
            store.documents(&code, PERMIT, &mut |document| match (document::read::<Permitted>(&document), &mut found) {
                (Ok(permit), Ok(permits)) => permits.extend(permit),
                (Err(error), Ok(_)) => found = Err(error),
                (_, Err(_)) => {}
            })
        })?;
        let mut permits = found?;
        permits.sort_by(|a: &Permitted, b| (a.life.reserved_at, &a.permit).cmp(&(b.life.reserved_at, &b.permit)));
        Ok(permits)
    }
}

fn comer<'a>(request: &'a Request, mode: Mode<'a>) -> Comer<'a> {
    let ticket = match mode {
        Mode::Take(ticket) => ticket,
        Mode::Ask | Mode::LetPass(_) | Mode::Replay => None,
    };
    let tenant = request.tenant.as_deref().unwrap_or("");
    Comer { tenant, urgent: request.urgent, priority: request.priority, ticket }
}

/// Every bucket in the way, the latest last.
pub(super) fn blocking(blocked: &[(usize, Timestamp)], buckets: &[String]) -> Vec<Blocking> {
    let mut blocking: Vec<_> =
        blocked.iter().map(|(bucket, at)| Blocking { at: *at, bucket: buckets[*bucket].clone() }).collect();
    blocking.sort_unstable();
    blocking
}

/// The permit for a request, without its stakes.
fn permitted(request: &Request, number: &str, claim: Claim, permit: &Permit) -> Permitted {
    Permitted {
        permit: number.to_owned(),
        account: request.account.clone(),
        names: request.names.identifiers().iter().map(ToString::to_string).collect(),
        holder: request.holder.clone(),
        tenant: request.tenant.clone(),
        profile: request.profile.clone(),
        replaces: request.replaces.as_ref().map(|replaces| replaces.certificate.clone()),
        task: request.task.clone(),
        claim,
        sending: request.sending,
        life: permit.life(),
        stakes: Vec::new(),
        failed: Vec::new(),
        refusal: None,
        shadow: None,
    }
}

//! The transitions, as the table in [`super`] has them.

use super::{Act, Event, Moves, Permit, PermitError, Sending, State};
use crate::time::Timestamp;

impl Permit {
    /// What happens to it at `now`, and what must be done to the buckets. An error changes nothing.
    ///
    /// # Errors
    /// [`PermitError`] where the event makes no sense.
    pub fn apply(&mut self, event: Event, now: Timestamp) -> Result<Moves, PermitError> {
        let at = now.max(self.life.last_at());
        let (state, moves) = self.next(event, at)?;
        let life = &mut self.life;
        life.accepted |= matches!(moves.order, Act::Spend | Act::Charge) && state != State::Unknown
            || matches!(event, Event::Accepted);
        if state == State::Unknown && life.state.is_live() {
            life.lost_at = Some(at);
        }
        if let Event::Extended { lease_end } = event {
            life.lease_end = lease_end.max(life.lease_end);
        }
        life.state = state;
        life.changed_at = Some(at);
        Ok(moves)
    }

    fn next(&self, event: Event, at: Timestamp) -> Result<(State, Moves), PermitError> {
        let state = self.life.state;
        let nonsense = PermitError::Nonsense { state, event };
        let nothing = Moves::all(at, Act::Nothing);
        let live = state.is_live();
        // Late news: the tokens held are gone, so what turns out to be spent is charged.
        let late = matches!(state, State::Unknown | State::Expired);
        Ok(match event {
            Event::Sent => match state {
                State::Reserved => (State::Sent, self.may_go(at).map(|()| nothing)?),
                State::Sent => (state, nothing),
                _ => return Err(nonsense),
            },
            Event::Accepted if live => (State::Sent, Moves { order: self.held(at, Act::Spend).order, ..nothing }),
            Event::Accepted if state == State::Unknown => {
                (state, Moves { order: self.held(at, Act::Charge).order, ..nothing })
            }
            Event::Issued if live || late => (State::Issued, self.issued(at, self.life.reserved_at)),
            Event::Failed if live => (State::Failed, self.failed(at, Act::Spend)),
            Event::Failed if late => (State::Failed, self.failed(at, Act::Charge)),
            Event::Refused { retry_at } if live => {
                (State::Failed, Moves { raise: retry_at, ..self.held(at, Act::Release) })
            }
            Event::Refused { retry_at } if matches!(state, State::Unknown | State::Failed) => {
                (State::Failed, Moves { raise: retry_at, ..nothing })
            }
            Event::Cancelled if state == State::Reserved => (State::Cancelled, self.held(at, Act::Release)),
            Event::Cancelled if state == State::Expired => (State::Cancelled, nothing),
            Event::Extended { .. } if live => (state, self.in_time(at).map(|()| nothing)?),
            Event::Lapsed if live && at >= self.life.lease_end => match (state, self.terms.sending) {
                (State::Reserved, Sending::Announced) => (State::Expired, self.held(at, Act::Release)),
                _ => (State::Unknown, self.held(at, Act::Spend)),
            },
            Event::Lapsed => (state, nothing),
            Event::Lost if live => (State::Unknown, self.held(at, Act::Spend)),
            Event::Found { issued_at } => (State::Issued, self.found(at, issued_at)),
            Event::NotFound if state == State::Unknown => (State::Failed, nothing),
            Event::NotFound if matches!(state, State::Failed | State::Cancelled | State::Expired) => (state, nothing),
            // Told again.
            Event::Issued if state == State::Issued => (state, nothing),
            Event::Failed if state == State::Failed => (state, nothing),
            Event::Cancelled if state == State::Cancelled => (state, nothing),
            Event::Lost if state == State::Unknown => (state, nothing),
            Event::Accepted
            | Event::Issued
            | Event::Failed
            | Event::Refused { .. }
            | Event::Cancelled
            | Event::Extended { .. }
            | Event::Lost
            | Event::NotFound => return Err(nonsense),
        })
    }

    /// Whether the lease still runs.
    fn in_time(&self, at: Timestamp) -> Result<(), PermitError> {
        let end = self.life.lease_end;
        if at < end { Ok(()) } else { Err(PermitError::LeaseOver(end)) }
    }

    /// Whether lease and exemption still hold.
    fn may_go(&self, at: Timestamp) -> Result<(), PermitError> {
        self.in_time(at)?;
        self.terms.claim.until().filter(|until| at >= *until).map_or(Ok(()), |until| Err(PermitError::ClaimOver(until)))
    }

    /// A certificate has come, issued no earlier than `seen`.
    fn issued(&self, at: Timestamp, seen: Timestamp) -> Moves {
        let live = self.life.state.is_live();
        let spent = self.held(at, if live { Act::Spend } else { Act::Charge });
        let forgotten = self.terms.claim.domains_free_until().is_some_and(|until| at >= until);
        let failures = if live { Act::Release } else { Act::Nothing };
        let domains = if forgotten { Act::Charge } else { spent.domains };
        Moves { domains, failed: failures, unfailed: failures, seen: Some(seen), ..spent }
    }

    /// A certificate has been seen which was issued at `issued_at`.
    fn found(&self, at: Timestamp, issued_at: Timestamp) -> Moves {
        let counted = match self.life.state {
            State::Issued => true,
            State::Unknown => self.life.lost_at.is_some_and(|lost_at| issued_at <= lost_at),
            State::Reserved | State::Sent | State::Failed | State::Cancelled | State::Expired => false,
        };
        if counted {
            Moves { seen: Some(issued_at), ..Moves::all(at, Act::Nothing) }
        } else {
            self.issued(at, issued_at)
        }
    }

    /// No certificate comes; `act` is done to the tokens that were spent: the order's and those of the names that failed.
    fn failed(&self, at: Timestamp, act: Act) -> Moves {
        let rest = if act == Act::Spend { Act::Release } else { Act::Nothing };
        Moves { order: self.held(at, act).order, failed: act, ..self.held(at, rest) }
    }
}

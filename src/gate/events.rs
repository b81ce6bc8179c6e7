//! What becomes of a permit: what its holder, its lease or a person says, and what that does to the buckets.

use super::document::{
    BOARD, Counted, Failures, Hand, SetState, failures_document, permit_document, set_document, text,
};
use super::leave::Permit as Leave;
use super::permitted::Permitted;
use super::record::Entry;
use super::request::{Dispatch, GateError, Never, Told};
use super::reserve::blocking;
use super::stakes::{Draft, backoff_bucket};
use super::{Gate, View, document};
use crate::agent::RETRIES;
use crate::ledger::{LedgerError, Motion, Outcome, Step, Version, Write, limit_and_key};
use crate::limits::LimitName;
use crate::name::NameSet;
use crate::permits::{Event, Holder, Life, Permit, PermitError, State, Terms};
use crate::rules::{Part, Refusal as Sentence};
use crate::time::{Span, Timestamp};

/// Failures of a name that lie further apart than this are not failures in a row: what was tried daily succeeded in between, or nobody
/// wanted it.
const IN_A_ROW: Span = Span::from_days(3);
/// How the CA says that names are paused: Boulder's `ra` and `wfe2`. There is no other sign of it.
pub const PAUSED: &str = "temporarily prevented from requesting certificates";
/// What is added to a `Retry-After`, which the CA rounds to whole seconds.
const SPARE: Span = Span::from_seconds(1);

/// What is told of a permit, beside the event itself.
#[derive(Clone, Debug, Default)]
struct News {
    /// Names that failed.
    failed: Vec<String>,
    /// What the CA said.
    refusal: Option<String>,
    /// The bucket that it named.
    bucket: Option<String>,
    /// It said that names are paused.
    paused: bool,
}

/// What an event comes to: the permit as it is then, and whether the order goes out; or why it does not.
type Drafted = Result<(Permitted, bool), Never>;

/// A refusal of the CA's, as the holder was told.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Refusal {
    /// Its `Retry-After`; `None`: there was none.
    pub retry_after: Option<Span>,
    /// The problem's `detail`: it names the bucket and the time, or says that names are paused.
    pub detail: Option<String>,
}

impl Gate {
    /// The permit of that number, as it stands.
    ///
    /// # Errors
    /// [`GateError::NoPermit`] if there is none.
    pub fn permit(&mut self, permit: &str) -> Result<Permitted, GateError> {
        let name = permit_document(permit);
        self.load(std::slice::from_ref(&name))?;
        let found = self.documents.get(&name).map_or(Ok(None), document::read)?;
        found.ok_or_else(|| GateError::NoPermit(permit.to_owned()))
    }

    /// The holder is about to send the order. A bucket that was raised since the permit was reserved has a say, and so has a freeze.
    ///
    /// # Errors
    /// [`GateError`] where the order must not go out for another reason.
    pub fn sent(&mut self, permit: &str) -> Result<Dispatch, GateError> {
        self.tell(permit, "sent", &News::default(), |_| Event::Sent)
    }

    /// The CA has taken the order: its token is spent.
    ///
    /// # Errors
    /// [`GateError`]; nothing has changed then.
    pub fn accepted(&mut self, permit: &str) -> Result<Told, GateError> {
        self.told(permit, "accepted", &News::default(), |_| Event::Accepted)
    }

    /// The certificate has come.
    ///
    /// # Errors
    /// [`GateError`]; nothing has changed then.
    pub fn commit(&mut self, permit: &str) -> Result<Told, GateError> {
        self.told(permit, "commit", &News::default(), |_| Event::Issued)
    }

    /// The order is dead because the validation of `names` failed, or for another reason if there are none. A name that failed is
    /// not tried again before its time.
    ///
    /// # Errors
    /// [`GateError`]; nothing has changed then.
    pub fn fail(&mut self, permit: &str, names: &[String]) -> Result<Told, GateError> {
        let told = News { failed: names.to_vec(), ..News::default() };
        self.told(permit, "fail", &told, |_| Event::Failed)
    }

    /// The order was never sent: all is given back.
    ///
    /// # Errors
    /// [`GateError`]; nothing has changed then.
    pub fn cancel(&mut self, permit: &str) -> Result<Told, GateError> {
        self.told(permit, "cancel", &News::default(), |_| Event::Cancelled)
    }

    /// The holder does not know what came of the order.
    ///
    /// # Errors
    /// [`GateError`]; nothing has changed then.
    pub fn lost(&mut self, permit: &str) -> Result<Told, GateError> {
        self.told(permit, "lost", &News::default(), |_| Event::Lost)
    }

    /// The lease ends no earlier than `lease` from now.
    ///
    /// # Errors
    /// [`GateError`]; nothing has changed then.
    pub fn extend(&mut self, permit: &str, lease: Span) -> Result<Told, GateError> {
        self.told(permit, "extend", &News::default(), |at| Event::Extended { lease_end: at.plus(lease) })
    }

    /// The CA has refused the order: nothing of it counts, and a bucket is emptier than was thought. If it named none, all that it was
    /// asked for are.
    ///
    /// # Errors
    /// [`GateError`]; nothing has changed then.
    pub fn refused(&mut self, permit: &str, refusal: &Refusal) -> Result<Told, GateError> {
        let detail = refusal.detail.as_deref().unwrap_or_default();
        let sentence = Sentence::parse(detail);
        let stakes = self.permit(permit)?.buckets()?;
        let told = News {
            refusal: Some(detail.to_owned()),
            bucket: sentence.as_ref().and_then(|sentence| named(sentence, &stakes)),
            paused: detail.contains(PAUSED),
            ..News::default()
        };
        let by_sentence = sentence.map(|sentence| sentence.retry_at);
        let rehearses = self.rehearses;
        self.told(permit, "refused", &told, |at| {
            let by_header = refusal.retry_after.map(|span| at.plus(span));
            // In a rehearsal the CA's dates are others.
            let by_sentence = by_sentence.filter(|_| !rehearses);
            Event::Refused { retry_at: by_sentence.max(by_header).map(|retry_at| retry_at.plus(SPARE)) }
        })
    }

    /// A certificate has been seen that came of the order. One from the future counts as issued now: the CA must not forget it before
    /// the ledger does.
    ///
    /// # Errors
    /// [`GateError`]; nothing has changed then.
    pub fn found(&mut self, permit: &str, issued_at: Timestamp) -> Result<Told, GateError> {
        self.told(permit, "found", &News::default(), |at| Event::Found { issued_at: issued_at.min(at) })
    }

    /// It is known that no certificate came of the order, nor will.
    ///
    /// # Errors
    /// [`GateError`]; nothing has changed then.
    pub fn not_found(&mut self, permit: &str) -> Result<Told, GateError> {
        self.told(permit, "not-found", &News::default(), |_| Event::NotFound)
    }

    /// Leases that have ended: each is dealt with as its permit says.
    pub(super) fn lapse(&mut self, overdue: &[String]) -> Result<(), GateError> {
        for document in overdue {
            let Some(permit) = document.strip_prefix(document::PERMIT) else { continue };
            match self.told(permit, "lapse", &News::default(), |_| Event::Lapsed) {
                // Somebody else was faster.
                Err(GateError::NoPermit(_)) => {}
                other => _ = other?,
            }
        }
        Ok(())
    }

    fn told(
        &mut self,
        permit: &str,
        what: &str,
        told: &News,
        event: impl Fn(Timestamp) -> Event,
    ) -> Result<Told, GateError> {
        match self.tell(permit, what, told, event)? {
            Dispatch::Gone(told) => Ok(*told),
            Dispatch::Go(_) | Dispatch::Later { .. } | Dispatch::Frozen(_) => {
                unreachable!("only sending is asked about")
            }
        }
    }

    fn tell(
        &mut self,
        permit: &str,
        what: &str,
        told: &News,
        event: impl Fn(Timestamp) -> Event,
    ) -> Result<Dispatch, GateError> {
        let name = permit_document(permit);
        if !self.documents.get(&name).is_some_and(|known| matches!(known.version, Version::Written(_))) {
            self.load(std::slice::from_ref(&name))?;
        }
        let known: Option<Permitted> = self.documents.get(&name).map_or(Ok(None), document::read)?;
        let known = known.ok_or_else(|| GateError::NoPermit(permit.to_owned()))?;
        let mut documents = vec![BOARD.to_owned(), name, set_document(&known.set())];
        for failed in &told.failed {
            if !known.names.contains(failed) {
                let (permit, names) = (permit.to_owned(), known.names.join(", "));
                return Err(GateError::NoName { permit, name: failed.clone(), names });
            }
            documents.push(failures_document(&known.account, failed));
        }
        // Whoever only says that leases have ended need not wait for other leases.
        let settled = what != "lapse";
        let (reply, buckets, made) =
            self.decide(&documents, settled, |gate, view| gate.draft_event(permit, what, told, event(view.at), view))?;
        let (permitted, goes_out) = match made {
            Ok(made) => made,
            Err(Never::Frozen(freeze)) => return Ok(Dispatch::Frozen(freeze)),
            Err(_) => unreachable!("only a freeze stops what is permitted"),
        };
        if !permitted.life.state.is_live() {
            documents.iter().skip(1).for_each(|name| _ = self.documents.remove(name));
        }
        if let Outcome::Done { denied } = &reply.outcome
            && !denied.is_empty()
        {
            // The failures came so late that the CA has paused their names by now. If this is cut off, the CA will say so.
            let names = denied.iter().filter_map(|place| Some(buckets[*place].rsplit_once(' ')?.1.to_owned()));
            self.pause(&permitted, &names.collect::<Vec<_>>())?;
        }
        match &reply.outcome {
            Outcome::Blocked(blocked) => {
                let blocking = blocking(blocked, &buckets);
                Ok(Dispatch::Later { at: blocking.last().map_or(reply.at, |last| last.at), blocking })
            }
            Outcome::Done { .. } | Outcome::Moved { .. } | Outcome::WentBack => {
                let told = Told { at: reply.at, mark: reply.mark, permit: permitted };
                Ok(if goes_out {
                    Dispatch::Go(Leave::new(told, self.realm.clone()))
                } else {
                    Dispatch::Gone(Box::new(told))
                })
            }
        }
    }

    /// What the event comes to, as the documents stand, and whether it is the order's going out.
    fn draft_event(
        &mut self,
        permit: &str,
        what: &str,
        told: &News,
        event: Event,
        view: &View<'_>,
    ) -> Result<(Step, Drafted), GateError> {
        let missing = || GateError::NoPermit(permit.to_owned());
        let before: Permitted = view.read(&permit_document(permit))?.ok_or_else(missing)?;
        let board = view.board()?;
        let step = Step::new(self.code.clone(), self.known);
        let mut life = self.restored(&before)?;
        let moves = life
            .apply(event, view.at)
            .map_err(|error: PermitError| GateError::Permit { permit: permit.to_owned(), error })?;
        // Shadow mode lets all pass.
        let asks = event == Event::Sent && before.shadow.is_none();
        if asks && let Some(freeze) = board.frozen.iter().find(|freeze| self.stops(freeze, &before)) {
            return Ok((step, Err(Never::Frozen(freeze.clone()))));
        }
        let state = life.state();
        let stakes = before.buckets()?;
        let mut draft = Draft::new(step, &self.limits, &board);
        if asks && before.life.state == State::Reserved {
            if let Some(until) = before.claim.until() {
                draft.step.valid.1 = until;
            }
            // Its own token is among those held, so no more are asked for.
            let asked = stakes.iter().filter(|(_, _, asked)| *asked);
            asked.for_each(|(bucket, ..)| draft.ask_for_held(bucket));
        }
        let failed = places(&before.names, &told.failed);
        draft.move_stakes(&stakes, &moves, &failed);
        if let Some(until) = moves.raise {
            // A bucket that nothing is known of is none.
            let named = told.bucket.as_ref().filter(|named| draft.bucket(named).is_some());
            let asked = stakes.iter().filter(|(_, _, asked)| *asked && named.is_none());
            let raised: Vec<_> = asked.map(|(bucket, ..)| bucket).chain(named).collect();
            raised.into_iter().for_each(|bucket| draft.move_token(bucket, Motion::Raise { until }));
        }
        let fails = state == State::Failed && before.life.state != State::Failed;
        if fails {
            self.back_off(&before.account, &told.failed, moves.at, view, &mut draft)?;
        }
        let mut step = draft.step;
        let after = Permitted {
            life: life.life(),
            failed: if fails { told.failed.clone() } else { before.failed.clone() },
            refusal: told.refusal.clone().or_else(|| before.refusal.clone()),
            ..before.clone()
        };
        let set_name = set_document(&after.set());
        let set: SetState = view.read(&set_name)?.unwrap_or_default();
        let hand = match set.hand.clone() {
            Some(own) if own.permit == permit => state.is_live().then_some(Hand { until: after.life.lease_end, ..own }),
            others => others,
        };
        let mut changed = SetState { hand, seen: set.seen.max(moves.seen), ..set.clone() };
        if state == State::Issued && before.life.state != State::Issued {
            let memory = self.limits.policy.renewal.same_set_memory;
            changed.counted.retain(|counted| moves.at.since(counted.at) < memory);
            changed.counted.push(Counted { serial: None, at: moves.at, since: Some(before.life.reserved_at) });
            changed.task = after.task.clone();
        }
        let same = Permitted { life: Life { changed_at: before.life.changed_at, ..after.life }, ..after.clone() };
        if same == before && changed == set && step.moves.is_empty() && !told.paused {
            // It was told before, or changes nothing.
            return Ok((step, Ok((before, false))));
        }
        let lease = state.is_live().then_some(after.life.lease_end);
        step.writes.push(Write { name: permit_document(permit), body: Some(text(&after)), lease });
        if changed != set {
            let body = (changed != SetState::default()).then(|| text(&changed));
            step.writes.push(Write { name: set_name, body, lease: None });
        }
        if told.paused {
            let mut board = board.clone();
            board.pause(&after.account, &names_said(&after), moves.at);
            step.writes.push(Write { name: BOARD.to_owned(), body: Some(text(&board)), lease: None });
        }
        let entry = Entry::new(what, Some(permit), &after.holder)
            .with("state", Some(state))
            .with("failed", (!told.failed.is_empty()).then_some(&told.failed))
            .with("detail", told.refusal.as_ref())
            .with("issued_at", if let Event::Found { issued_at } = event { Some(issued_at) } else { None });
        step.record = Some(entry.text_with(&step));
        Ok((step, Ok((after, event == Event::Sent))))
    }

    /// The permit's machine, as it was stored.
    fn restored(&mut self, of: &Permitted) -> Result<Permit, GateError> {
        let names = NameSet::parse(of.names.iter().map(String::as_str));
        let names = names.map_err(|bad| LedgerError::Row {
            what: format!("document `{}`", permit_document(&of.permit)),
            reason: format!("one of its names {:?} {bad}", of.names),
        })?;
        let order = self.order(&of.account, &names);
        Ok(Permit::restore(Terms { order, holder: Holder::new(0), claim: of.claim, sending: of.sending }, of.life))
    }

    /// Names that failed wait before they are tried again.
    fn back_off(
        &self,
        account: &str,
        failed: &[String],
        at: Timestamp,
        view: &View<'_>,
        draft: &mut Draft<'_>,
    ) -> Result<(), GateError> {
        for name in failed {
            let document = failures_document(account, name);
            let before: Option<Failures> = view.read(&document)?;
            let in_a_row = before.filter(|before| at.since(before.last) <= IN_A_ROW).map_or(0, |before| before.count);
            let wait = RETRIES[(in_a_row as usize).min(RETRIES.len() - 1)];
            draft.move_token(&backoff_bucket(account, name), Motion::Raise { until: at.plus(wait) });
            let body = text(&Failures { count: in_a_row.saturating_add(1), last: at });
            draft.step.writes.push(Write { name: document, body: Some(body), lease: None });
        }
        Ok(())
    }
}

/// The bucket that the CA's sentence names, among those that the order has at stake.
fn named(sentence: &Sentence, stakes: &[(String, Part, bool)]) -> Option<String> {
    let is_named = |name: &str| {
        let Some((limit, key)) = limit_and_key(name) else { return false };
        // Both limits of domains have the same sentence.
        let same = limit == sentence.limit
            || (sentence.limit, limit)
                == (LimitName::CertificatesPerDomain, LimitName::CertificatesPerDomainPerAccount);
        // The whole name; or of an IPv6 address, as the CA cuts it, what stands behind its last colon.
        let is_its = |of| key.strip_suffix(of).is_some_and(|before| before.is_empty() || before.ends_with([' ', ':']));
        same && sentence.of.as_deref().is_none_or(is_its)
    };
    let asked = stakes.iter().filter(|(_, _, asked)| *asked);
    asked.map(|(bucket, ..)| bucket).find(|bucket| is_named(bucket)).cloned()
}

/// The names of the permit that the CA's words name; all if it names none. It names one, and possibly others are paused as well: those it
/// names when their turn comes.
fn names_said(permit: &Permitted) -> Vec<String> {
    let said = permit.refusal.as_deref().unwrap_or_default();
    let words: Vec<_> = said.split([' ', ',']).map(|word| word.trim_end_matches('.')).collect();
    let named: Vec<_> = permit.names.iter().filter(|name| words.contains(&name.as_str())).cloned().collect();
    if named.is_empty() { permit.names.clone() } else { named }
}

/// The places of `failed` among `names`.
fn places(names: &[String], failed: &[String]) -> Vec<u16> {
    (0..).zip(names).filter(|(_, name)| failed.contains(name)).map(|(place, _)| place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(limit: LimitName, of: Option<&str>, expected: Option<&str>) {
        let stakes = [
            "NewOrdersPerAccount default",
            "CertificatesPerDomain badexample.com",
            "CertificatesPerDomain example.com",
            "CertificatesPerDomain 2001:db8::/64",
        ];
        let stakes = stakes.map(|bucket| (bucket.to_owned(), Part::Domain, true));
        let of = of.map(Into::into);
        let sentence = Sentence { limit, of, burst: 1, period: Span::ZERO, retry_at: Timestamp::default() };
        assert_eq!(named(&sentence, &stakes).as_deref(), expected);
    }

    #[test]
    fn the_bucket_is_found_by_its_whole_name() {
        check(LimitName::CertificatesPerDomain, Some("example.com"), Some("CertificatesPerDomain example.com"));
        check(LimitName::CertificatesPerDomain, Some("ample.com"), None);
        check(LimitName::CertificatesPerDomain, Some("/64"), Some("CertificatesPerDomain 2001:db8::/64"));
        check(LimitName::NewOrdersPerAccount, None, Some("NewOrdersPerAccount default"));
        check(LimitName::CertificatesPerFqdnSet, None, None);
    }
}

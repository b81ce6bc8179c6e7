//! What the tasks tell, as the agent's events.

use std::sync::Arc;

use super::{Engine, Event, Holding, IN_HAND, Job, News, Standing, State, Told, Work};
use crate::agent::{self, CertificateId, NameId};
use crate::gate::{Answer, Blocking, GateError, Never, Verdict};
use crate::issuer::order::{Certified, Item, OrderError, Outcome};
use crate::issuer::store::{LastError, Notes, Split};
use crate::limits::LimitName;
use crate::name::NameSet;
use crate::time::{Span, Timestamp};

/// How late an order may go out without being counted as late.
const LATE: Span = Span::from_seconds(60);

impl Engine {
    pub(super) fn hear(&mut self, told: Told, watch: &mut dyn FnMut(Event<'_>)) {
        self.tasks -= 1;
        match told {
            Told::Answer(id, answer) => self.answered(id, answer, watch),
            Told::Ended(id, ended, sent_at) => {
                if let Some(sent_at) = sent_at {
                    self.sent(id, sent_at);
                }
                match ended {
                    Ok(outcome) => self.ended(id, outcome, watch),
                    Err(error) => self.trouble(id, error, watch),
                }
            }
            Told::Refused(id, outcome, asked) => self.refused(id, &outcome, asked, watch),
            Told::Window(id, answer) => self.window(id, answer),
            Told::Newer(id, lineage) => {
                let (held, holding) = super::held(&lineage, &self.orders.desk);
                self.newer(id, held, holding);
            }
            Told::Kept(Ok(())) => {}
            // What is not kept is found out again, or told to no other process.
            Told::Kept(Err(error)) => watch(Event::Note(&error.to_string())),
            Told::Cancelled => {}
        }
    }

    pub(super) fn tell(&mut self, id: CertificateId, event: agent::Event<'_>) {
        let (now, draw) = (self.now(), self.draw());
        self.agent.handle(id, event, now, draw);
    }

    fn sent(&mut self, id: CertificateId, at: Timestamp) {
        let planned_at = self.jobs.job(id).planned_at;
        let due_at = self.agent.held(id).and_then(|held| held.renew_at).unwrap_or(planned_at);
        let late = at.since(planned_at.max(due_at));
        let Standing { late: count, late_most, .. } = &mut self.standing;
        *count += u64::from(late > LATE);
        *late_most = late.max(*late_most);
    }

    /// The gate has answered.
    fn answered(&mut self, id: CertificateId, answer: Result<Answer, GateError>, watch: &mut dyn FnMut(Event<'_>)) {
        let is_allowed = |answer: &Answer| matches!(answer.verdict, Verdict::Allow { permit: Some(_), .. });
        if self.jobs.inside(id).is_none() && !answer.as_ref().is_ok_and(is_allowed) {
            // It was withdrawn in the meantime. A permit is given back.
            return;
        }
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return self.trouble(id, OrderError::Gate(error), watch),
        };
        match answer.verdict {
            Verdict::Allow { permit: Some(permit), .. } => {
                let permit = self.jobs.permit(&permit.permit);
                self.tell(id, agent::Event::Allowed(permit));
            }
            Verdict::Allow { permit: None, .. } => self.tell(id, agent::Event::Later { at: answer.at, gate: None }),
            Verdict::Later { at, blocking } => self.later(id, at, &blocking, watch),
            Verdict::InHand { until, .. } => {
                let soon = IN_HAND.0.max(self.orders.desk.span(IN_HAND.1));
                self.tell(id, agent::Event::InHand { until: until.min(self.now().plus(soon)) });
            }
            Verdict::Never(Never::Done(_)) => {
                self.standing.elsewhere += 1;
                watch(Event::IssuedElsewhere(self.jobs.job(id)));
                self.close(id);
            }
            Verdict::Never(never) => self.stopped(id, &never.to_string(), watch),
        }
    }

    /// Not now.
    fn later(&mut self, id: CertificateId, at: Timestamp, blocking: &[Blocking], watch: &mut dyn FnMut(Event<'_>)) {
        if let Some(last) = blocking.last() {
            watch(Event::Later(self.jobs.job(id), last));
            self.put_off(id, &format!("waits for {} until {}", last.bucket, last.at));
        }
        let gate = blocking.last().filter(|of| is_shared(of)).map(|of| self.jobs.gate(&of.bucket));
        self.tell(id, agent::Event::Later { at, gate });
    }

    /// A person has to do something.
    fn stopped(&mut self, id: CertificateId, why: &str, watch: &mut dyn FnMut(Event<'_>)) {
        let job = self.jobs.job_mut(id);
        self.standing.stopped += u64::from(job.state != State::Stopped);
        job.state = State::Stopped;
        self.note_error(id, why);
        watch(Event::Never(self.jobs.job(id), why));
        self.tell(id, agent::Event::Never);
    }

    /// The source has changed: what it does not want any more is not ordered; what is under way comes to its end first.
    pub(super) fn learn(&mut self, news: &News, watch: &mut dyn FnMut(Event<'_>)) {
        for id in self.jobs.of_orders(&news.withdrawn) {
            match self.jobs.inside_mut(id).filter(|inside| inside.is_out) {
                Some(inside) => inside.withdrawn = true,
                None => self.withdraw(id),
            }
        }
        if let Some(told) = &news.told {
            watch(Event::News(told));
        }
        if let Some(trouble) = &news.trouble {
            watch(Event::Note(trouble));
        }
    }

    fn withdraw(&mut self, id: CertificateId) {
        self.standing.withdrawn += 1;
        self.standing.stopped -= u64::from(self.jobs.job(id).state == State::Stopped);
        self.close(id);
    }

    /// Whether all of it is over, since it is not wanted any more; an order that the CA may still have is not.
    fn is_over(&mut self, id: CertificateId, outcome: &Outcome) -> bool {
        let Some(inside) = self.jobs.inside_mut(id) else { return false };
        let is_out = matches!(outcome, Outcome::Unreachable { .. });
        inside.is_out = is_out;
        let is_issued = matches!(outcome, Outcome::Issued(_));
        inside.withdrawn && !is_out && !is_issued
    }

    /// An order has come to an end.
    fn ended(&mut self, id: CertificateId, outcome: Outcome, watch: &mut dyn FnMut(Event<'_>)) {
        if self.is_over(id, &outcome) {
            return self.withdraw(id);
        }
        match outcome {
            Outcome::Issued(certified) => {
                let job = self.jobs.job_mut(id);
                (job.issued_at, job.failures, job.last_error) = (Some(certified.issued_at), 0, None);
                (job.held, job.asked_at, job.ask_again_at) = (true, None, None);
                self.standing.issued += 1;
                self.standing.requests += certified.requests;
                self.standing.last_issued_at = self.standing.last_issued_at.max(Some(certified.issued_at));
                watch(Event::Issued(self.jobs.job(id), &certified.permit));
                if let Some(slot) = &certified.untold {
                    watch(Event::NoLedger(
                        "it did not learn of a certificate: it is told again, at the latest by the next start",
                    ));
                    self.catch_up(certified.permit.clone(), Arc::clone(slot));
                }
                if self.settings.keeps {
                    let (issued_at, expires_at) = (certified.issued_at, certified.expires_at);
                    let whole = self.jobs.inside_mut(id).and_then(|inside| {
                        let Certified { ari_id, not_before, .. } = certified;
                        inside.held = Some(Holding { ari_id, not_before, notes: Notes::default() });
                        inside.whole.take()
                    });
                    self.tell(id, agent::Event::Issued { issued_at, expires_at });
                    self.keep_notes(id);
                    if let Some(whole) = whole {
                        self.supersede(id, whole);
                    }
                } else {
                    // The CA is there: should it be away again, waiting begins anew.
                    self.tell(id, agent::Event::Accepted);
                    self.close(id);
                }
            }
            Outcome::Failed { names, why } => {
                self.standing.failed += 1;
                self.note_failure(id, &why);
                watch(Event::Failed(self.jobs.job(id), &names));
                let names = self.ids(id, names.iter().map(|(name, _)| name.as_str()));
                self.tell(id, agent::Event::Failed { names: &names });
            }
            Outcome::AlreadyReplaced => self.tell(id, agent::Event::AlreadyReplaced),
            Outcome::Lost(why) => {
                self.standing.lost += 1;
                self.note_failure(id, &why);
                watch(Event::Lost(self.jobs.job(id), &why));
                self.tell(id, agent::Event::Lost);
            }
            Outcome::Unreachable { retry_after, why } => {
                watch(Event::Unreachable(&why));
                self.put_off(id, &why);
                let retry_at = retry_after.map(|span| self.now().plus(self.orders.desk.span(span)));
                self.tell(id, agent::Event::Unreachable { retry_at });
            }
            Outcome::Later { at, blocking } => self.later(id, at, &blocking, watch),
            Outcome::Frozen(reason) => self.stopped(id, &reason, watch),
            Outcome::NotSent => self.tell(id, agent::Event::Later { at: self.now(), gate: None }),
            Outcome::Refused(_) | Outcome::Paused(_) => unreachable!("the gate is asked about these first"),
        }
    }

    /// The CA has refused an order, and the gate has learned of it: what does it say now?
    fn refused(
        &mut self,
        id: CertificateId,
        outcome: &Outcome,
        asked: Result<Answer, GateError>,
        watch: &mut dyn FnMut(Event<'_>),
    ) {
        let (Outcome::Refused(why) | Outcome::Paused(why)) = outcome else { return };
        self.standing.refused += 1;
        if self.is_over(id, outcome) {
            return self.withdraw(id);
        }
        self.note_failure(id, why);
        watch(Event::Refused(self.jobs.job(id), why));
        match asked.map(|answer| answer.verdict) {
            Ok(Verdict::Later { at, blocking }) => {
                let gate = blocking.last().filter(|of| is_shared(of)).map(|of| self.jobs.gate(&of.bucket));
                self.tell(id, agent::Event::Refused { at, gate });
            }
            Ok(Verdict::Never(Never::Paused { names, .. })) => {
                let names = self.ids(id, names.iter().map(String::as_str));
                self.tell(id, agent::Event::Paused { names: &names });
            }
            Ok(Verdict::Never(never)) => self.stopped(id, &never.to_string(), watch),
            // It told no time, or the ledger is gone.
            Ok(Verdict::Allow { .. } | Verdict::InHand { .. }) | Err(_) => {
                let at = self.now().plus(LATE);
                self.tell(id, agent::Event::Refused { at, gate: None });
            }
        }
    }

    fn note_failure(&mut self, id: CertificateId, why: &str) {
        let job = self.jobs.job_mut(id);
        job.failures = job.failures.saturating_add(1);
        self.note_error(id, why);
    }

    fn note_error(&mut self, id: CertificateId, why: &str) {
        let error = LastError { at: self.now(), text: why.to_owned() };
        self.jobs.job_mut(id).last_error = Some(error);
        self.keep_notes(id);
    }

    /// It waits, and where nothing is waited for that is what it ends with.
    fn put_off(&mut self, id: CertificateId, why: &str) {
        if self.settings.once && self.jobs.job(id).failures == 0 {
            self.note_error(id, why);
        }
    }

    fn ids<'a>(&mut self, id: CertificateId, names: impl Iterator<Item = &'a str>) -> Vec<NameId> {
        let Some(item) = self.jobs.inside(id).map(|inside| inside.item.clone()) else { return Vec::new() };
        names.map(|name| self.jobs.name(&item, name)).collect()
    }

    /// No more is wanted of it.
    fn close(&mut self, id: CertificateId) {
        let now = self.now();
        self.agent.remove(id, now);
        self.jobs.close(id);
    }

    /// A name has left its certificate for one of its own.
    pub(super) fn split(
        &mut self,
        from: CertificateId,
        certificate: CertificateId,
        name: NameId,
        watch: &mut dyn FnMut(Event<'_>),
    ) {
        let Some(item) = self.jobs.inside(from).map(|inside| inside.item.clone()) else { return };
        let rest: Vec<_> = self.agent.names(from).iter().map(|name| self.jobs.name_of(*name).to_owned()).collect();
        let rest = NameSet::parse(rest.iter().map(String::as_str));
        let alone = NameSet::parse([self.jobs.name_of(name)]);
        let (Ok(rest), Ok(alone)) = (rest, alone) else { unreachable!("they are parts of a set") };
        let at = self.now();
        let (failures, last_error) = (self.jobs.job(from).failures, self.jobs.job(from).last_error.clone());
        let split = Split {
            names: item.names.clone(),
            rest: rest.clone(),
            alone: alone.clone(),
            account: item.account.url.clone(),
            profile: item.profile.clone(),
            tenant: item.tenant.clone(),
            challenge: item.challenge.map(|kind| kind.as_str().to_owned()),
            plan: item.plan.clone(),
        };
        let orders = Arc::clone(&self.orders);
        self.spawn(async move { Told::Kept(orders.keep_split(split).await) });
        let whole = item.names.clone();
        let work = Work { item: Item { names: alone, ..item }, at, held: None, open: None };
        let (wanted, job, inside) = self.jobs.take_in(work, &self.suffixes);
        self.jobs.push(certificate, Job { failures, last_error, ..job }, inside);
        self.agent.set_gates(certificate, wanted.gates, at);
        let job = self.jobs.job_mut(from);
        (job.names, job.failures) = (rest.identifiers().iter().map(ToString::to_string).collect(), 0);
        if let Some(inside) = self.jobs.inside_mut(from) {
            inside.item.names = rest;
            if inside.held.is_some() {
                inside.whole.get_or_insert(whole);
            }
        }
        watch(Event::Split(self.jobs.job(from), self.jobs.job(certificate)));
    }
}

/// Whether others need that bucket too.
fn is_shared(of: &Blocking) -> bool {
    matches!(
        of.limit_and_key().0,
        Some(
            LimitName::NewOrdersPerAccount
                | LimitName::CertificatesPerDomain
                | LimitName::CertificatesPerDomainPerAccount
        )
    )
}

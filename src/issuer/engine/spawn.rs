//! Carrying out what the agent wants: each action is a task, which tells what came of it.

use std::future::Future;
use std::sync::Arc;

use super::{Engine, Event, Told};
use crate::agent::{Action, CertificateId, Class, Window};
use crate::gate::{GateError, Replaces, Request, Task};
use crate::issuer::order::Outcome;
use crate::issuer::wire::AcmeError;
use crate::permits::PermitId;
use crate::time::Timestamp;

impl Engine {
    pub(super) fn act(&mut self, action: Action, now: Timestamp, watch: &mut dyn FnMut(Event<'_>)) {
        match action {
            Action::Reserve { certificate, class, replaces } => self.reserve(certificate, class, replaces),
            Action::Order { certificate, permit, replaces } => self.order(certificate, permit, replaces, now),
            Action::Resume { certificate, permit } => self.order(certificate, permit, false, now),
            Action::Cancel { permit } => self.give_back(permit),
            Action::AskRenewalInfo { certificate } => self.ask_window(certificate),
            Action::Split { from, certificate, name } => self.split(from, certificate, name, watch),
        }
    }

    fn spawn(&mut self, task: impl Future<Output = Told> + Send + 'static) {
        let sender = self.sender.clone();
        self.tasks += 1;
        tokio::spawn(async move {
            // Nobody listens any more only where all is over.
            let _heard = sender.send(task.await);
        });
    }

    fn give_back(&mut self, permit: PermitId) {
        let (desk, number) = (self.orders.desk.clone(), self.jobs.permit_of(permit).to_owned());
        self.spawn(async move {
            // If the ledger is gone, the lease ends by itself.
            let _given_back = desk.ask(move |gate| gate.cancel(&number)).await;
            Told::Cancelled
        });
    }

    fn ask_window(&mut self, id: CertificateId) {
        let Some(certificate) = self.jobs.inside(id).and_then(|inside| inside.held.clone()) else {
            return self.window(id, Err(AcmeError::Local { what: "the certificate has no id".to_owned() }));
        };
        let wire = self.orders.wire.clone();
        self.spawn(async move { Told::Window(id, wire.renewal_info(&certificate).await) });
    }

    /// What the gate is asked for a certificate.
    fn request(&self, id: CertificateId, class: Class, window: Option<Window>) -> Option<Request> {
        let inside = self.jobs.inside(id)?;
        let item = &inside.item;
        let replaces = inside.held.as_ref().zip(window).map(|(certificate, window)| Replaces {
            certificate: certificate.clone(),
            window: Some((window.start, window.end)),
        });
        Some(Request {
            profile: item.profile.clone(),
            tenant: item.tenant.clone(),
            replaces,
            task: item.plan.as_ref().map(|plan| Task { plan: plan.plan.clone(), order: plan.order }),
            lease: self.orders.settings.lease,
            headroom: self.settings.headroom,
            urgent: class == Class::Urgent,
            ..Request::of(&item.account.url, item.names.clone(), self.orders.slot.holder())
        })
    }

    fn reserve(&mut self, id: CertificateId, class: Class, window: Option<Window>) {
        let Some(request) = self.request(id, class, window) else { return };
        let desk = self.orders.desk.clone();
        self.spawn(async move { Told::Answer(id, desk.ask(move |gate| gate.reserve(&request)).await) });
    }

    /// Sends an order, or goes on with one that was sent.
    fn order(&mut self, id: CertificateId, permit: PermitId, replaces: bool, now: Timestamp) {
        let number = self.jobs.permit_of(permit).to_owned();
        let again = self.request(id, Class::New, None);
        let Some(inside) = self.jobs.inside_mut(id) else { return };
        inside.is_out = true;
        let (orders, item) = (Arc::clone(&self.orders), inside.item.clone());
        let replaces = inside.held.clone().filter(|_| replaces);
        let open = inside.open.take().filter(|(open, _)| open.permit == number);
        let sent_at = open.is_none().then_some(now);
        self.spawn(async move {
            let ended = match open {
                Some((open, slot)) => orders.resume(&item, open, &slot).await,
                None => match orders.left(&number).await {
                    // It broke off in this process: what was kept of it is taken up.
                    Ok(Some(open)) => orders.resume(&item, open, &orders.slot).await,
                    Ok(None) => orders.perform(&item, &number, replaces).await,
                    Err(error) => Err(error),
                },
            };
            match ended {
                Ok(outcome @ (Outcome::Refused(_) | Outcome::Paused(_))) => {
                    let asked = match again {
                        Some(request) => orders.desk.ask(move |gate| gate.check(&request)).await,
                        None => Err(GateError::NoPermit(number)),
                    };
                    Told::Refused(id, outcome, asked)
                }
                ended => Told::Ended(id, ended, sent_at),
            }
        });
    }
}

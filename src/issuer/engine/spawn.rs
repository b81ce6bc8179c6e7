//! Carrying out what the agent wants: each action is a task, which tells what came of it.

use std::future::Future;
use std::sync::Arc;

use tokio::time::timeout;

use super::{Engine, Event, GRACE, Told};
use crate::agent::{Action, CertificateId, Class, Window};
use crate::gate::{GateError, Replaces, Request, Task};
use crate::issuer::order::{Orders, Outcome};
use crate::issuer::store::{Lineage, Slot};
use crate::issuer::wire::AcmeError;
use crate::name::NameSet;
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

    pub(super) fn spawn(&mut self, task: impl Future<Output = Told> + Send + 'static) {
        let sender = self.sender.clone();
        self.tasks += 1;
        tokio::spawn(async move {
            // Nobody listens any more only where all is over.
            let _heard = sender.send(task.await);
        });
    }

    pub(super) fn give_back(&mut self, permit: PermitId) {
        let (desk, number) = (self.orders.desk.clone(), self.jobs.permit_of(permit).to_owned());
        self.spawn(async move {
            // If the ledger is gone, the lease ends by itself.
            let _given_back = desk.ask(move |gate| gate.cancel(&number)).await;
            Told::Cancelled
        });
    }

    /// Tells the gate of a certificate until it knows; where nothing is waited for, for a while.
    pub(super) fn catch_up(&mut self, permit: String, slot: Arc<Slot>) {
        let (orders, once) = (Arc::clone(&self.orders), self.settings.once);
        self.spawn(async move {
            let told = orders.catch_up(permit, slot);
            let told = if once { timeout(GRACE, told).await.unwrap_or(Ok(())) } else { told.await };
            Told::Kept(told)
        });
    }

    fn ask_window(&mut self, id: CertificateId) {
        let held = self.jobs.inside(id).and_then(|inside| inside.held.as_ref());
        let Some(certificate) = held.and_then(|held| held.ari_id.clone()) else {
            return self.window(id, Err(AcmeError::Local { what: "the certificate has no id".to_owned() }));
        };
        let wire = self.orders.wire.clone();
        self.spawn(async move { Told::Window(id, wire.renewal_info(&certificate).await) });
    }

    /// What the gate is asked for a certificate.
    fn request(&self, id: CertificateId, class: Class, window: Option<Window>) -> Option<Request> {
        let inside = self.jobs.inside(id)?;
        let item = &inside.item;
        let ari_id = inside.held.as_ref().and_then(|held| held.ari_id.as_ref());
        let replaces = ari_id.zip(window).map(|(certificate, window)| Replaces {
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

    /// When the certificate was issued that is kept fresh. (Orders of a plan are known by their numbers.)
    fn known(&self, id: CertificateId) -> Option<Timestamp> {
        self.agent.held(id).filter(|_| self.settings.keeps).map(|held| held.issued_at)
    }

    fn reserve(&mut self, id: CertificateId, class: Class, window: Option<Window>) {
        let Some(request) = self.request(id, class, window) else { return };
        let known = self.known(id);
        let (orders, names) = (Arc::clone(&self.orders), request.names.clone());
        self.spawn(async move {
            if let Some(lineage) = newer(&orders, &names, known).await {
                return Told::Newer(id, lineage);
            }
            Told::Answer(id, orders.desk.ask(move |gate| gate.reserve(&request)).await)
        });
    }

    /// Sends an order, or goes on with one that was sent.
    fn order(&mut self, id: CertificateId, permit: PermitId, replaces: bool, now: Timestamp) {
        let number = self.jobs.permit_of(permit).to_owned();
        let again = self.request(id, Class::New, None);
        let known = self.known(id);
        let Some(inside) = self.jobs.inside_mut(id) else { return };
        inside.is_out = true;
        let (orders, item) = (Arc::clone(&self.orders), inside.item.clone());
        let replaces = inside.held.as_ref().filter(|_| replaces).and_then(|held| held.ari_id.clone());
        let open = inside.open.take().filter(|(open, _)| open.permit == number);
        let before = inside.permit.replace(number.clone());
        let sent_at = open.is_none().then_some(now);
        self.spawn(async move {
            let ended = match open {
                Some((open, slot)) => orders.resume(&item, open, &slot).await,
                // What broke off in this process is taken up, also where its permit's lease has ended meanwhile.
                None => match orders.left(&number, before.as_deref()).await {
                    Ok(Some(open)) => orders.resume(&item, open, &orders.slot).await,
                    Ok(None) => {
                        // The gate may have waited for another process to be done with it.
                        if let Some(lineage) = newer(&orders, &item.names, known).await {
                            let _given_back = orders.desk.ask(move |gate| gate.cancel(&number)).await;
                            return Told::Newer(id, lineage);
                        }
                        orders.perform(&item, &number, replaces).await
                    }
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

/// The certificate that another process has put into the store, if it is newer than the one `known`.
async fn newer(orders: &Orders, names: &NameSet, known: Option<Timestamp>) -> Option<Box<Lineage>> {
    // What can't be read is made good by a new one.
    let lineage = orders.held(names).await.ok().flatten()?;
    known.is_some_and(|known| lineage.metadata.issued_at > known).then(|| Box::new(lineage))
}

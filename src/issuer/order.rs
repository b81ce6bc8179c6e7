//! One order, from its permit to its certificate; also one that an earlier process has left.
//!
//! What is durable, and when: the order's names and permit before it is sent, its URL before anything else is sent, the private key before the
//! CA is asked for the certificate. One order at a time is between its sending and its URL being durable ([`Orders::sending`]). So a process
//! that is killed leaves at most one order of which nobody knows anything, and no certificate without its key.

mod finish;
mod item;
mod kept;
mod resume;
mod validate;

use std::sync::Arc;

use instant_acme::{Order, OrderStatus};
use tokio::sync::{Mutex, MutexGuard};

use kept::blocking;

use super::challenge::Challenges;
use super::desk::Desk;
use super::request::KeyType;
use super::send::{self, Sent};
use super::store::{OpenOrder, Slot, Stage, Store, StoreError};
use super::wire::{AcmeError, Session, Wire};
use crate::gate::{Blocking, Dispatch, GateError, PAUSED, Permit, Refusal};
use crate::time::{Span, Timestamp};
pub use item::{Item, Orderer};

/// What came of an order.
#[derive(Debug)]
pub enum Outcome {
    /// The certificate is in the store.
    Issued(Certified),
    /// The order is dead: validations of these names failed, or would have, and why; none: it is another matter.
    Failed {
        /// Names and what is wrong with each.
        names: Vec<(String, String)>,
        /// All in one line.
        why: String,
    },
    /// The CA has refused the order (429), and the gate knows. Its sentence.
    Refused(String),
    /// The CA has refused it since names are paused. Its sentence.
    Paused(String),
    /// The CA has refused it since another certificate has replaced the one it names (409).
    AlreadyReplaced,
    /// Nobody knows what came of it.
    Lost(String),
    /// It was surely not processed: the CA could not be reached, or was too busy.
    Unreachable {
        /// When it may be tried again, from now, by the clock.
        retry_after: Option<Span>,
        /// What was seen.
        why: String,
    },
    /// The gate does not let it go out any more: not before then.
    Later {
        /// When it fits.
        at: Timestamp,
        /// Every bucket in the way.
        blocking: Vec<Blocking>,
    },
    /// An operator has stopped it.
    Frozen(String),
    /// It was never sent.
    NotSent,
}

/// A certificate that came.
#[derive(Clone, Debug)]
pub struct Certified {
    /// The permit of its order.
    pub permit: String,
    /// When, by the ledger's time.
    pub issued_at: Timestamp,
    /// When it expires, by the same.
    pub expires_at: Timestamp,
    /// Its id in renewal information.
    pub ari_id: Option<String>,
    /// The first second of its validity, by its own dates.
    pub not_before: Timestamp,
    /// How many requests it took.
    pub requests: u64,
    /// Where its order is kept since the ledger did not take note of it: [`Orders::catch_up`] tells it, or else the next process.
    pub untold: Option<Arc<Slot>>,
}

/// Why nothing can go on.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// The store can't be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger can't be used: in doubt the answer is no.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// The account's key can't be used.
    #[error("the account {name} can't be used: {error}")]
    Account {
        /// What it is called in the store.
        name: String,
        /// Why.
        error: AcmeError,
    },
}

/// How orders are carried out.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What kind of keys certificates have.
    pub key_type: KeyType,
    /// How long a permit holds; it is extended while the order is under way.
    pub lease: Span,
    /// How long the CA may take for validations or for a certificate, by the clock.
    pub patience: Span,
    /// Whether a command is to run after each certificate: the slot of the process says so until it has.
    pub deploys: bool,
}

/// Carries out orders. Copies share all there is to share.
#[derive(Clone, Debug)]
pub struct Orders {
    /// The way to the CA.
    pub wire: Wire,
    /// The gate.
    pub desk: Desk,
    /// Where certificates are kept.
    pub store: Store,
    /// Where open orders are.
    pub slot: Arc<Slot>,
    /// What answers challenges.
    pub challenges: Arc<Challenges>,
    /// How.
    pub settings: Settings,
    /// Held from before an order goes out until its URL is durable: whenever the process is killed, at most one order is lost.
    pub sending: Arc<Mutex<()>>,
}

/// An order under way.
struct Work<'a> {
    orders: &'a Orders,
    slot: &'a Arc<Slot>,
    item: &'a Item,
    session: Session,
    open: OpenOrder,
}

impl Orders {
    /// Sends an order for which there is a permit of that number, and stays with it until there is a certificate, or none.
    ///
    /// # Errors
    /// [`OrderError`] where the store or the ledger can't be used; what was done is on disk.
    pub async fn perform(&self, item: &Item, permit: &str, replaces: Option<String>) -> Result<Outcome, OrderError> {
        let open = self.open(item, permit, replaces);
        self.work(item, open, &self.slot).await?.begin().await
    }

    /// Goes on with an order of `slot` that an earlier process has left.
    ///
    /// # Errors
    /// As [`Self::perform`].
    pub async fn resume(&self, item: &Item, open: OpenOrder, slot: &Arc<Slot>) -> Result<Outcome, OrderError> {
        self.work(item, open, slot).await?.go_on().await
    }

    /// Tells the gate of a certificate that it did not learn of when that came, however long this takes: else the lease would end, and
    /// another process would order the same again.
    ///
    /// # Errors
    /// [`OrderError`] where the store can't be used.
    pub async fn catch_up(&self, permit: String, slot: Arc<Slot>) -> Result<(), OrderError> {
        let mut tries = 0;
        while !self.tell_issued(&permit).await {
            tokio::time::sleep(finish::pause(None, tries)).await;
            tries = tries.saturating_add(1);
        }
        blocking(move || slot.end(&permit)).await
    }

    /// Tells the gate that the certificate has come; whether it knows now.
    async fn tell_issued(&self, permit: &str) -> bool {
        let number = permit.to_owned();
        settled(self.desk.ask(move |gate| gate.commit(&number)).await).is_ok()
    }

    fn open(&self, item: &Item, permit: &str, replaces: Option<String>) -> OpenOrder {
        OpenOrder {
            permit: permit.to_owned(),
            account: item.account.url.clone(),
            account_name: item.account.name.clone(),
            names: item.names.clone(),
            profile: item.profile.clone(),
            tenant: item.tenant.clone(),
            challenge: item.challenge.map(|kind| kind.as_str().to_owned()),
            replaces,
            plan: item.plan.clone(),
            url: None,
            sent_at: Some(self.desk.now()),
            stage: Stage::Sending,
        }
    }

    async fn work<'a>(&'a self, item: &'a Item, open: OpenOrder, slot: &'a Arc<Slot>) -> Result<Work<'a>, OrderError> {
        let session = self.wire.session(&item.account.url, &item.account.key).await;
        let session = session.map_err(|error| OrderError::Account { name: item.account.name.clone(), error })?;
        Ok(Work { orders: self, slot, item, session, open })
    }
}

impl Work<'_> {
    /// The order has not gone out.
    async fn begin(self) -> Result<Outcome, OrderError> {
        self.keep().await?;
        let sending = self.orders.sending.lock().await;
        let number = self.open.permit.clone();
        let permit = match self.orders.desk.ask(move |gate| gate.sent(&number)).await {
            Ok(Dispatch::Go(permit)) => permit,
            Ok(Dispatch::Gone(_)) => return self.lost("another process has sent it".to_owned()).await,
            Ok(Dispatch::Later { at, blocking }) => {
                self.cancel().await?;
                return Ok(Outcome::Later { at, blocking });
            }
            Ok(Dispatch::Frozen(freeze)) => {
                self.cancel().await?;
                return Ok(Outcome::Frozen(freeze.reason));
            }
            Err(error) => {
                // Whether the ledger has noted it or not, nothing was sent: the lease ends by itself.
                self.end().await?;
                return match error {
                    GateError::Permit { .. } | GateError::NoPermit(_) => Ok(Outcome::NotSent),
                    error => Err(error.into()),
                };
            }
        };
        self.send(permit, sending).await
    }

    async fn send(mut self, permit: Permit, sending: MutexGuard<'_, ()>) -> Result<Outcome, OrderError> {
        let sent = send::new_order(&self.orders.wire, &self.session, permit).await;
        let Sent { url, order } = match sent {
            Ok(sent) => sent,
            Err(error) => return self.not_made(error).await,
        };
        (self.open.url, self.open.stage) = (Some(url.clone()), Stage::Validating);
        // If the disk is full now, the order is carried through all the same, unless the process is killed.
        let kept = self.keep().await;
        drop(sending);
        let number = self.open.permit.clone();
        // If the ledger does not learn of it, the lease ends, and it counts as spent.
        let _noted = self.orders.desk.ask(move |gate| gate.accepted(&number)).await;
        let order = match order {
            Some(order) => order,
            None => match self.fetch(url).await {
                Ok(order) => order,
                Err(why) => return kept.and(Ok(Outcome::Lost(why))),
            },
        };
        let outcome = self.complete(order).await;
        kept.and(outcome)
    }

    /// Validates, finalizes and fetches; meanwhile the permit is kept.
    async fn complete(mut self, mut order: Order) -> Result<Outcome, OrderError> {
        let (desk, number, lease) = (self.orders.desk.clone(), self.open.permit.clone(), self.orders.settings.lease);
        let extends = async {
            let third = Span::from_nanos(lease.nanos() / 3);
            loop {
                tokio::time::sleep(desk.real(third)).await;
                let number = number.clone();
                // It may have ended already; a ledger that is gone for a moment is asked again.
                let _extended = desk.ask(move |gate| gate.extend(&number, lease)).await;
            }
        };
        let works = async {
            if order.state().status == OrderStatus::Pending
                && let Err(outcome) = self.validate(&mut order).await
            {
                return self.settle(outcome).await;
            }
            match self.finalize(&mut order).await? {
                Ok(pem) => self.save(&pem).await,
                Err(outcome) => self.settle(outcome).await,
            }
        };
        tokio::select! {
            outcome = works => outcome,
            () = extends => unreachable!("it goes on for ever"),
        }
    }

    /// The CA made no order, as far as is known.
    async fn not_made(self, error: AcmeError) -> Result<Outcome, OrderError> {
        let why = error.to_string();
        match error {
            AcmeError::RateLimited { detail, retry_after } => {
                let retry_after = retry_after.map(|span| self.orders.desk.span(span));
                let paused = detail.contains(PAUSED);
                self.refused(Refusal { retry_after, detail: Some(detail) }).await?;
                Ok(if paused { Outcome::Paused(why) } else { Outcome::Refused(why) })
            }
            AcmeError::Unavailable { retry_after, .. } => {
                self.refused(Refusal::default()).await?;
                Ok(Outcome::Unreachable { retry_after, why })
            }
            AcmeError::Problem { kind, .. } if kind == "alreadyReplaced" => {
                self.refused(Refusal::default()).await?;
                Ok(Outcome::AlreadyReplaced)
            }
            AcmeError::Problem { subproblems, .. } => {
                let named = subproblems.into_iter().filter_map(|of| Some((of.identifier?, of.detail)));
                let names = named.filter(|(name, _)| self.has(name)).collect();
                // No validation has failed: names that the CA does not take cost no token of theirs.
                self.tell_failed(Vec::new()).await;
                self.end().await?;
                Ok(Outcome::Failed { names, why })
            }
            AcmeError::Local { .. } => {
                self.refused(Refusal::default()).await?;
                Ok(Outcome::Failed { names: Vec::new(), why })
            }
            AcmeError::Lost { .. } => self.lost(why).await,
        }
    }

    fn has(&self, name: &str) -> bool {
        self.item.names.identifiers().iter().any(|own| own.to_string() == name)
    }

    /// The CA has said no, and nothing of the order counts.
    async fn refused(&self, refusal: Refusal) -> Result<(), OrderError> {
        let number = self.open.permit.clone();
        self.orders.desk.ask(move |gate| gate.refused(&number, &refusal)).await?;
        self.end().await
    }

    async fn lost(self, why: String) -> Result<Outcome, OrderError> {
        let number = self.open.permit.clone();
        settled(self.orders.desk.ask(move |gate| gate.lost(&number)).await)?;
        self.end().await?;
        Ok(Outcome::Lost(why))
    }

    /// The order is dead.
    async fn dead(&mut self, names: Vec<(String, String)>, why: String) -> Result<Outcome, OrderError> {
        self.open.stage = Stage::Failed;
        self.keep().await?;
        if self.tell_failed(names.iter().map(|(name, _)| name.clone()).collect()).await {
            self.end().await?;
        }
        Ok(Outcome::Failed { names, why })
    }

    /// Tells the gate; whether it knows now.
    async fn tell_failed(&self, names: Vec<String>) -> bool {
        let number = self.open.permit.clone();
        settled(self.orders.desk.ask(move |gate| gate.fail(&number, &names)).await).is_ok()
    }

    async fn settle(&mut self, outcome: Outcome) -> Result<Outcome, OrderError> {
        match outcome {
            Outcome::Failed { names, why } => self.dead(names, why).await,
            // The order is still open: whoever comes next goes on with it.
            other => Ok(other),
        }
    }

    /// Gives the permit back: nothing was sent.
    async fn cancel(&self) -> Result<(), OrderError> {
        let number = self.open.permit.clone();
        settled(self.orders.desk.ask(move |gate| gate.cancel(&number)).await)?;
        self.end().await
    }

    /// Keeps what is known of the order.
    async fn keep(&self) -> Result<(), OrderError> {
        let (slot, open) = (Arc::clone(self.slot), self.open.clone());
        blocking(move || slot.write(&open)).await
    }

    /// All is settled.
    async fn end(&self) -> Result<(), OrderError> {
        let (slot, permit) = (Arc::clone(self.slot), self.open.permit.clone());
        blocking(move || slot.end(&permit)).await
    }
}

/// What the gate says to an order's end. Where its permit has been settled already, or its lease has ended, there is nothing more to tell.
fn settled<T>(told: Result<T, GateError>) -> Result<(), GateError> {
    match told {
        Ok(_) | Err(GateError::Permit { .. } | GateError::NoPermit(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

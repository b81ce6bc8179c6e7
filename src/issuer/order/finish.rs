//! From an order whose names are proved to the certificate in the store.

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{Order, OrderStatus};

use super::{Certified, OrderError, Outcome, Work, blocking};
use crate::clock::Stopwatch;
use crate::issuer::certificate::Certificate;
use crate::issuer::request;
use crate::issuer::store::{Issued, Lineage, Stage, StoreError};
use crate::issuer::wire::AcmeError;
use crate::name::NameSet;
use crate::time::{Span, Timestamp};

/// How long to wait before asking again, if the CA says nothing: by how often it was asked.
const PAUSES_MS: [u64; 5] = [100, 250, 500, 1_000, 2_000];
/// The longest wait between two questions.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How often a certificate that can't be written is tried again: the disk may have room by then.
const SAVES: u32 = 5;

/// How long to wait before asking again.
pub(super) fn pause(retry_after: Option<Span>, tries: u32) -> Duration {
    let own = Duration::from_millis(PAUSES_MS.get(tries as usize).copied().unwrap_or(5_000));
    let told = retry_after.and_then(|span| u64::try_from(span.nanos()).ok()).map(Duration::from_nanos);
    told.unwrap_or(own).min(PAUSE_MAX)
}

impl Work<'_> {
    /// Asks for the certificate and waits for it: its chain in PEM, or what came of it instead. Nothing is lost by trying again: the key is
    /// on disk before the CA has its request.
    pub(super) async fn finalize(&mut self, order: &mut Order) -> Result<Result<String, Outcome>, OrderError> {
        let started = Stopwatch::start();
        let mut tries = 0;
        let key = self.key().await?;
        loop {
            let status = order.state().status;
            let step = match status {
                OrderStatus::Ready => {
                    let (key, names) = (key.clone(), self.item.names.clone());
                    let csr = blocking(move || request::csr(&key, &names).map_err(|error| bad_key(&names, error)));
                    order.finalize_csr(&csr.await?).await
                }
                OrderStatus::Processing => order.refresh().await.map(|_state| ()),
                OrderStatus::Valid => match order.certificate().await {
                    Ok(Some(pem)) if Certificate::parse(pem.as_bytes()).is_some() => return Ok(Ok(pem)),
                    Ok(Some(_)) => Err(instant_acme::Error::Str("it is no certificate")),
                    Ok(None) => Ok(()),
                    Err(error) => Err(error),
                },
                OrderStatus::Invalid => return Ok(Err(self.why_invalid(order).await)),
                OrderStatus::Pending => {
                    let why = "the CA has put the order back to pending".to_owned();
                    return Ok(Err(Outcome::Failed { names: Vec::new(), why }));
                }
            };
            match step.map_err(|error| self.session.error(error)) {
                Ok(()) if order.state().status == OrderStatus::Valid => continue,
                Ok(()) => {}
                Err(AcmeError::Problem { subproblems, detail, .. }) if status != OrderStatus::Valid => {
                    // An earlier request that was not answered may have been taken: there is nothing to finalize any more.
                    if status == OrderStatus::Ready
                        && order.refresh().await.is_ok_and(|order| order.status != OrderStatus::Ready)
                    {
                        continue;
                    }
                    let named = subproblems.into_iter().filter_map(|of| Some((of.identifier?, of.detail)));
                    let names = named.filter(|(name, _)| self.has(name)).collect();
                    return Ok(Err(Outcome::Failed { names, why: detail }));
                }
                Err(error) => {
                    if started.elapsed() > self.orders.settings.patience {
                        // There may be a certificate: the order is not given up.
                        return Ok(Err(Outcome::Unreachable { retry_after: None, why: error.to_string() }));
                    }
                    tokio::time::sleep(pause(self.session.seen().retry_after, tries)).await;
                    tries += 1;
                    // Whether the CA has taken the request is told by the order.
                    let _seen = order.refresh().await;
                    continue;
                }
            }
            if started.elapsed() > self.orders.settings.patience {
                let why = "the CA did not issue in time".to_owned();
                return Ok(Err(Outcome::Unreachable { retry_after: None, why }));
            }
            tokio::time::sleep(pause(self.session.seen().retry_after, tries)).await;
            tries += 1;
        }
    }

    /// The certificate's private key: the one on disk, or a new one that is on disk now.
    async fn key(&mut self) -> Result<String, OrderError> {
        let (slot, permit, kind) = (Arc::clone(self.slot), self.open.permit.clone(), self.orders.settings.key_type);
        self.open.stage = Stage::Finalizing;
        let open = self.open.clone();
        let names = self.item.names.clone();
        blocking(move || {
            if let Some(key) = slot.key(&permit)? {
                return Ok(key);
            }
            let key = request::key(kind).map_err(|error| bad_key(&names, error))?;
            slot.write_key(&permit, &key)?;
            slot.write(&open)?;
            Ok(key)
        })
        .await
    }

    /// The certificate has come: keeps it and tells the gate, in this order, so that whoever gets a permit after this one sees it. Where it
    /// can't be kept the gate is told all the same.
    pub(super) async fn save(&mut self, pem: &str) -> Result<Outcome, OrderError> {
        let issued_at = self.orders.desk.now();
        let lineage = self.save_at(pem, issued_at).await;
        let told = self.orders.tell_issued(&self.open.permit).await;
        let of = lineage?.metadata;
        if self.orders.settings.deploys {
            let (slot, open) = (Arc::clone(&self.orders.slot), self.open.clone());
            blocking(move || slot.write_undeployed(&open.permit, &open.names)).await?;
        }
        let untold = if told {
            self.end().await?;
            None
        } else {
            self.open.stage = Stage::Issued;
            self.keep().await?;
            Some(Arc::clone(self.slot))
        };
        let expires_at = self.orders.desk.of_certificate(of.not_before, of.not_after);
        let (ari_id, not_before, requests) = (of.ari_id, of.not_before, self.session.requests());
        let permit = self.open.permit.clone();
        Ok(Outcome::Issued(Certified { permit, issued_at, expires_at, ari_id, not_before, requests, untold }))
    }

    /// Keeps the certificate.
    async fn save_at(&self, pem: &str, issued_at: Timestamp) -> Result<Lineage, OrderError> {
        let mut tries = 0;
        loop {
            let (store, slot, open) = (self.orders.store.clone(), Arc::clone(self.slot), self.open.clone());
            let (pem, directory) = (pem.to_owned(), self.orders.wire.directory().url.clone());
            let saved = blocking(move || {
                let Some(key) = slot.key(&open.permit)? else { return Err(StoreError::NoOrder(open.permit)) };
                store.save(&Issued {
                    names: &open.names,
                    account: &open.account,
                    account_name: &open.account_name,
                    directory: &directory,
                    profile: open.profile.as_deref(),
                    tenant: open.tenant.as_deref(),
                    challenge: open.challenge.as_deref(),
                    key_pem: &key,
                    fullchain_pem: &pem,
                    permit: &open.permit,
                    plan: open.plan.as_ref(),
                    replaces: open.replaces.as_deref(),
                    issued_at,
                })
            });
            match saved.await {
                Ok(lineage) => return Ok(lineage),
                Err(OrderError::Store(StoreError::File(_))) if tries < SAVES => {
                    tokio::time::sleep(pause(None, tries)).await;
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn bad_key(names: &NameSet, error: request::RequestError) -> StoreError {
    StoreError::Key { names: names.identifiers().first().map(ToString::to_string).unwrap_or_default(), error }
}

//! What is kept beside orders: what broke off, what is held, what went different ways.

use std::sync::Arc;

use super::{OrderError, Orders};
use crate::gate::Task;
use crate::issuer::store::{Lineage, Notes, OpenOrder, Split, StoreError};
use crate::name::NameSet;

impl Orders {
    /// What this process has kept of an order that it has not settled: that of `permit`, or of the one `before`, in whose place `permit` is
    /// not needed then and given back.
    pub(in crate::issuer) async fn left(
        &self,
        permit: &str,
        before: Option<&str>,
    ) -> Result<Option<OpenOrder>, OrderError> {
        let read = |permit: &str| {
            let (slot, permit) = (Arc::clone(&self.slot), permit.to_owned());
            blocking(move || slot.open_order(&permit))
        };
        if let Some(open) = read(permit).await? {
            return Ok(Some(open));
        }
        let Some(before) = before.filter(|before| *before != permit) else { return Ok(None) };
        let open = read(before).await?.filter(|open| open.url.is_some());
        if open.is_some() {
            let number = permit.to_owned();
            self.desk.ask(move |gate| gate.cancel(&number)).await?;
        }
        Ok(open)
    }

    /// The certificate that the store has for exactly these names.
    pub(in crate::issuer) async fn held(&self, names: &NameSet) -> Result<Option<Lineage>, OrderError> {
        let (store, names) = (self.store.clone(), names.clone());
        blocking(move || store.lineage(&names)).await
    }

    /// Keeps that an order is ordered in parts: in the store, and in the ledger for other processes.
    pub(in crate::issuer) async fn keep_split(&self, split: Split) -> Result<(), OrderError> {
        let (store, kept) = (self.store.clone(), split.clone());
        blocking(move || store.write_split(&kept)).await?;
        let Some(plan) = split.plan else { return Ok(()) };
        let (task, by) = (Task { plan: plan.plan, order: plan.order }, self.slot.holder().to_owned());
        Ok(self.desk.ask(move |gate| gate.settle(&split.names, &task, &by)).await?)
    }

    /// Keeps what is known of the certificate held for these names.
    pub(in crate::issuer) async fn note(&self, names: NameSet, notes: Notes) -> Result<(), OrderError> {
        let store = self.store.clone();
        blocking(move || store.note(&names, &notes)).await
    }
}

/// Work on files, on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, OrderError> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))?)
}

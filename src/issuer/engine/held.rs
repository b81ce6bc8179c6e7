//! What an engine knows of certificates held, and keeps: their windows, failures, and which one takes another's place.

use std::sync::Arc;

use super::{Engine, Holding, Told};
use crate::agent::{self, CertificateId, Held, Window};
use crate::clock::Timescale;
use crate::issuer::desk::Desk;
use crate::issuer::store::{Lineage, Notes};
use crate::issuer::wire::{AcmeError, RenewalAnswer};
use crate::name::NameSet;
use crate::time::{Span, Timestamp};

/// By when a certificate is replaced that the CA wants replaced at once.
const REVOKED: Span = Span::from_hours(24);

impl Engine {
    /// The certificate held is a newer one than was known.
    pub(super) fn newer(&mut self, id: CertificateId, held: Held, holding: Holding) {
        if self.agent.held(id).is_some_and(|known| known.issued_at >= held.issued_at) {
            return;
        }
        let job = self.jobs.job_mut(id);
        (job.held, job.failures, job.last_error) = (true, holding.notes.failures, holding.notes.last_error.clone());
        (job.asked_at, job.ask_again_at) = (holding.notes.asked_at, holding.notes.ask_again_at);
        if let Some(inside) = self.jobs.inside_mut(id) {
            inside.held = Some(holding);
        }
        self.tell(id, agent::Event::Issued { issued_at: held.issued_at, expires_at: held.expires_at });
    }

    /// Keeps what is known of a certificate held, for the next process and for people.
    pub(super) fn keep_notes(&mut self, id: CertificateId) {
        if !self.settings.keeps {
            return;
        }
        let (Some(held), Some(inside)) = (self.agent.held(id).copied(), self.jobs.inside(id)) else { return };
        // Of a certificate that some name was left out of, the whole one is noted.
        let names = inside.whole.as_ref().unwrap_or(&inside.item.names).clone();
        let job = self.jobs.job(id);
        let notes = Notes {
            renew_at: held.renew_at,
            window: held.window,
            asked_at: job.asked_at,
            ask_again_at: job.ask_again_at,
            deadline: held.deadline,
            replaced: held.replaced,
            failures: job.failures,
            last_error: job.last_error.clone(),
            superseded_by: None,
        };
        let orders = Arc::clone(&self.orders);
        self.spawn(async move { Told::Kept(orders.note(names, notes).await) });
    }

    /// The certificate for `whole` is not renewed any more: this one has its names, but for one that failed.
    pub(super) fn supersede(&mut self, id: CertificateId, whole: NameSet) {
        let Some(names) = self.jobs.inside(id).map(|inside| inside.item.names.clone()) else { return };
        let orders = Arc::clone(&self.orders);
        self.spawn(async move {
            let kept = async {
                let folder = orders.held(&names).await?.map(|of| of.folder.display().to_string());
                let Some(of) = orders.held(&whole).await? else { return Ok(()) };
                orders.note(whole, Notes { superseded_by: folder, ..of.notes }).await
            };
            Told::Kept(kept.await)
        });
    }

    /// A window in the ledger's time. In a rehearsal the CA goes by the clock: there it is as far from when the certificate was issued.
    fn in_our_time(&self, id: CertificateId, window: Window) -> Window {
        let held = self.jobs.inside(id).and_then(|inside| inside.held.as_ref()).zip(self.agent.held(id));
        let Some((holding, held)) = held.filter(|_| self.orders.desk.timescale() != Timescale::REAL) else {
            return window;
        };
        let of = |at: Timestamp| held.issued_at.plus(at.since(holding.not_before));
        Window { start: of(window.start), end: of(window.end) }
    }

    /// The CA has told the window of a certificate held, or not.
    pub(super) fn window(&mut self, id: CertificateId, answer: Result<RenewalAnswer, AcmeError>) {
        let now = self.now();
        match answer {
            Ok(RenewalAnswer { window, retry_after, .. }) => {
                let window = self.in_our_time(id, window);
                self.jobs.job_mut(id).asked_at = Some(now);
                self.tell(id, agent::Event::RenewalInfo { window, retry_after });
                // A window that was moved into the past: the certificate is, or will be, revoked.
                let moved = self.agent.held(id).filter(|held| held.deadline.is_none()).copied().filter(|held| {
                    let expected = self.settings.agent.renewal.window(held.issued_at, held.expires_at);
                    window.end <= now && window.end < expected.0
                });
                if let Some(held) = moved {
                    let deadline = held.expires_at.min(now.plus(REVOKED));
                    self.tell(id, agent::Event::Revoked { deadline });
                }
            }
            Err(error) => {
                let lasting = matches!(error, AcmeError::Problem { .. } | AcmeError::Local { .. });
                self.tell(id, agent::Event::NoRenewalInfo { lasting });
            }
        }
        self.jobs.job_mut(id).ask_again_at = self.agent.asks_again_at(id);
        self.keep_notes(id);
    }
}

/// What the agent and the engine know of a certificate of the store.
#[must_use]
pub fn held(lineage: &Lineage, desk: &Desk) -> (Held, Holding) {
    let (of, notes) = (&lineage.metadata, &lineage.notes);
    let held = Held {
        renew_at: notes.renew_at,
        window: notes.window,
        deadline: notes.deadline,
        replaced: notes.replaced,
        ..Held::new(of.issued_at, desk.of_certificate(of.not_before, of.not_after))
    };
    (held, Holding { ari_id: of.ari_id.clone(), not_before: of.not_before, notes: notes.clone() })
}

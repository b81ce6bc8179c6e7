//! Nonces that the CA gave with its answers: each saves a request for one (RFC 8555, section 6.5).

use std::sync::{Mutex, PoisonError};

use hyper::header::HeaderMap;

use crate::clock::Stopwatch;
use crate::time::Span;

/// The header that has it.
pub(super) const REPLAY_NONCE: &str = "replay-nonce";

/// Older ones are not used: CAs forget theirs after a while, and a refusal costs a request too.
const FRESH_FOR: Span = Span::from_seconds(180);

/// No more are kept: there are never more in use than requests at once.
const KEPT_MAX: usize = 256;

/// The nonces that nobody has used yet, by age, the newest last.
#[derive(Debug, Default)]
pub(super) struct Nonces(Mutex<Vec<(String, Stopwatch)>>);

impl Nonces {
    /// Takes the nonce out of an answer's headers.
    pub(super) fn keep(&self, headers: &mut HeaderMap) {
        let nonce = headers.remove(REPLAY_NONCE);
        let Some(nonce) = nonce.as_ref().and_then(|nonce| nonce.to_str().ok()) else { return };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT_MAX {
            kept.remove(0);
        }
        kept.push((nonce.to_owned(), Stopwatch::start()));
    }

    /// The newest, if it is new enough.
    pub(super) fn take(&self) -> Option<String> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (nonce, since) = kept.pop()?;
        if since.elapsed() > FRESH_FOR {
            kept.clear();
            return None;
        }
        Some(nonce)
    }
}

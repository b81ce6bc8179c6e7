//! Names that failed, and when they may be tried again.

use rustc_hash::FxHashMap;

use super::{CertificateId, NameId};
use crate::time::{Span, Timestamp};

/// How long after a failure it is tried again: after the first, the second, …; from the last on daily. Let's Encrypt's integration
/// guide (<https://letsencrypt.org/docs/integration-guide/>, "Retrying failures") says so.
pub const RETRIES: [Span; 4] =
    [Span::from_seconds(60), Span::from_seconds(10 * 60), Span::from_seconds(100 * 60), Span::from_days(1)];

/// How long to wait after that many failures in a row, of which there is at least one.
pub(super) fn retry_in(failures: u32) -> Span {
    RETRIES[(failures.max(1) as usize - 1).min(RETRIES.len() - 1)]
}

/// A name that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backoff {
    /// Failures in a row.
    pub failures: u32,
    /// Not before.
    pub retry_at: Timestamp,
    /// The CA takes no order with it before a person has unpaused it.
    pub paused: bool,
}

/// The names that failed last time.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    by_name: FxHashMap<NameId, (Backoff, Option<CertificateId>)>,
}

impl Names {
    pub(super) fn set(&mut self, name: NameId, backoff: Backoff) {
        self.by_name.insert(name, (backoff, None));
    }

    /// The name of `certificate` failed at `now`, or was found to be paused. Returns how often in a row it failed.
    pub(super) fn fail(&mut self, name: NameId, certificate: CertificateId, paused: bool, now: Timestamp) -> u32 {
        let (backoff, of) = self
            .by_name
            .entry(name)
            .or_insert((Backoff { failures: 0, retry_at: now, paused: false }, Some(certificate)));
        backoff.failures = backoff.failures.saturating_add(u32::from(!paused));
        backoff.retry_at = now.plus(retry_in(backoff.failures));
        backoff.paused |= paused;
        *of = Some(certificate);
        backoff.failures
    }

    /// It is `certificate` that waits for the name.
    pub(super) fn moved(&mut self, name: NameId, certificate: CertificateId) {
        if let Some((_, of)) = self.by_name.get_mut(&name) {
            *of = Some(certificate);
        }
    }

    pub(super) fn succeed(&mut self, names: &[NameId]) {
        if !self.by_name.is_empty() {
            names.iter().for_each(|name| _ = self.by_name.remove(name));
        }
    }

    /// An operator wants the name tried at `now`. Returns the certificate that last failed by it.
    pub(super) fn retry(&mut self, name: NameId, now: Timestamp) -> Option<CertificateId> {
        let (backoff, of) = self.by_name.get_mut(&name)?;
        (backoff.retry_at, backoff.paused) = (now, false);
        *of
    }

    /// How the name stands, if it failed last time.
    pub(super) fn backoff(&self, name: NameId) -> Option<Backoff> {
        self.by_name.get(&name).map(|(backoff, _)| *backoff)
    }

    /// Which of `names` may not be tried at `now`.
    pub(super) fn barred(&self, names: &[NameId], now: Timestamp) -> Vec<NameId> {
        if self.by_name.is_empty() {
            return Vec::new();
        }
        let bars = |name: &NameId| self.backoff(*name).is_some_and(|of| of.paused || of.retry_at > now);
        names.iter().copied().filter(bars).collect()
    }

    /// All of them, by name.
    pub(super) fn all(&self) -> Vec<(NameId, Backoff)> {
        let mut all: Vec<_> = self.by_name.iter().map(|(name, (backoff, _))| (*name, *backoff)).collect();
        all.sort_unstable_by_key(|(name, _)| *name);
        all
    }
}

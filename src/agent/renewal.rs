//! When a certificate held is renewed: asking the CA for its suggested window, and drawing a time in it.

use super::certificate::{NEVER, Phase};
use super::names::RETRIES;
use super::{Agent, CertificateId, Held, Window};
use crate::time::{Span, Timestamp};

/// The CA is asked at least this often: twice a day (Let's Encrypt's integration guide).
const ASK_AT_LEAST: Span = Span::from_hours(12);

/// And no more often, whatever it says (RFC 9773, section 4.3.2).
const ASK_AT_MOST: Span = Span::from_seconds(60);

/// After a lasting error it is asked again in 6 hours (RFC 9773, section 4.3.3); a temporary one is tried again sooner, at growing distances.
const ASK_AFTER_ERROR: Span = Span::from_hours(6);

/// First questions are spread over this time, so that a fleet does not ask at once.
const ASK_FIRST_WITHIN: Span = Span::from_hours(6);

/// Makes another draw of one: the golden ratio's 64 bits, as hashes use them.
const ODD: u64 = 0x9E37_79B9_7F4A_7C15;

/// A time from `start` to before `end`, by the draw.
fn drawn(start: Timestamp, end: Timestamp, draw: u64) -> Timestamp {
    let width = u64::try_from(end.since(start).nanos()).unwrap_or(0);
    let share = (u128::from(width) * u128::from(draw)) >> 64;
    start.plus(Span::from_nanos(i64::try_from(share).unwrap_or(0)))
}

impl Agent {
    /// The certificate holds `held`: draws the times of its renewal and of the first question, where they are not given.
    pub(super) fn hold(&mut self, id: CertificateId, held: Held, now: Timestamp, draw: u64) {
        let (start, end) = self.config.renewal.window(held.issued_at, held.expires_at);
        let renew_at = held.renew_at.unwrap_or_else(|| drawn(start, end, draw));
        let of = self.at_mut(id);
        of.held = Some(Held { renew_at: Some(renew_at), ..held });
        of.ari_at = drawn(now, now.plus(ASK_FIRST_WITHIN), draw.wrapping_mul(ODD));
        of.ari_failures = None;
    }

    /// The CA suggests `window`, and wants to be asked again after `retry_after`.
    pub(super) fn suggested(
        &mut self,
        id: CertificateId,
        window: Window,
        retry_after: Option<Span>,
        now: Timestamp,
        draw: u64,
    ) {
        if window.end <= window.start {
            return self.not_suggested(id, true, now);
        }
        let again = retry_after.unwrap_or(ASK_AFTER_ERROR).clamp(ASK_AT_MOST, ASK_AT_LEAST);
        let of = self.at_mut(id);
        of.ari_at = now.plus(again);
        of.ari_failures = Some(0);
        // The same window keeps its draw: drawing anew each time would favour its beginning.
        if let Some(held) = of.held.as_mut().filter(|held| held.window != Some(window)) {
            held.window = Some(window);
            if held.deadline.is_none() {
                held.renew_at = Some(drawn(window.start, window.end, draw));
            }
        }
        self.look_at(id, now);
    }

    /// The CA could not be asked.
    pub(super) fn not_suggested(&mut self, id: CertificateId, lasting: bool, now: Timestamp) {
        let of = self.at_mut(id);
        let failures = of.ari_failures.unwrap_or(0).saturating_add(1);
        let ladder = RETRIES.get(failures as usize - 1).copied().unwrap_or(ASK_AFTER_ERROR).min(ASK_AFTER_ERROR);
        of.ari_failures = Some(failures);
        of.ari_at = now.plus(if lasting { ASK_AFTER_ERROR } else { ladder });
        self.look_at(id, now);
    }

    /// The certificate held is revoked: a new one is wanted at once.
    pub(super) fn revoked(&mut self, id: CertificateId, deadline: Timestamp, now: Timestamp) {
        let of = self.at_mut(id);
        let Some(held) = of.held.as_mut() else { return };
        held.deadline = Some(held.deadline.map_or(deadline, |known| known.min(deadline)));
        held.renew_at = Some(now);
        // Its window, if it comes, lies in the past: there is nothing to be waited for.
        of.ari_failures.get_or_insert(0);
        if of.ari_at == NEVER && of.phase == Phase::Waiting {
            of.ari_at = now.plus(ASK_AFTER_ERROR);
        }
        self.look_at(id, now);
    }
}

//! Certificate profiles: how many names, which kinds, how long valid; some of it changes on a date.

use crate::time::{Span, Timestamp};

/// A profile that an order can ask for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Profile {
    /// Its name in the order.
    pub name: String,
    /// The most names in a certificate; at least 1.
    pub names_max: usize,
    /// Whether it takes DNS names.
    pub dns: bool,
    /// Whether it takes IP addresses.
    pub ip: bool,
    /// How long an authorization stays pending.
    pub pending_authorization: Span,
    /// How long an order can be finished.
    pub pending_order: Span,
    /// Where that is documented.
    pub source: String,
    /// The day it was read there.
    pub read: String,
    /// What holds from which instant on; sorted, never empty.
    pub(super) since: Vec<ProfileTerms>,
}

/// What of a profile changes by date.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProfileTerms {
    /// From when it holds.
    pub from: Timestamp,
    /// How long a certificate is valid.
    pub validity: Span,
    /// How long a valid authorization can be used again.
    pub authorization_reuse: Span,
}

impl Profile {
    /// What holds at `now`; before the first date, the first terms.
    #[must_use]
    pub fn terms_at(&self, now: Timestamp) -> ProfileTerms {
        let later = self.since.partition_point(|terms| terms.from <= now);
        self.since[later.saturating_sub(1)]
    }

    /// All terms with their dates, earliest first.
    #[must_use]
    pub fn terms(&self) -> &[ProfileTerms] {
        &self.since
    }
}

//! One bucket's arithmetic: the generic cell rate algorithm in whole nanoseconds, as Boulder's `ratelimits/gcra.go` has it.
//!
//! A bucket's whole state is its *theoretical arrival time* (TAT): the instant when it is full again. A bucket that nobody has
//! spent from has none (`None`), and is full. An *emission interval* brings one token back; the *burst offset* is the time in
//! which an empty bucket fills up.
//!
//! ```
//! use certpace::gcra::{Cost, Quota};
//! use certpace::time::{Span, Timestamp};
//!
//! // 5 an hour: one token comes back every 12 minutes.
//! let quota = Quota::new(5, 5, Span::from_hours(1)).unwrap();
//! let now = Timestamp::from_unix_seconds(1_800_000_000);
//! let mut tat = None;
//! for _ in 0..5 {
//!     tat = quota.spend(tat, now, Cost::ONE).tat_after;
//! }
//! let sixth = quota.spend(tat, now, Cost::ONE);
//! assert!(!sixth.allowed);
//! assert_eq!(sixth.retry_in, Span::from_seconds(720));
//! ```

use crate::time::{NS_PER_US, Span, Timestamp};

/// The longest time in which an empty bucket may fill up: with it, no sum below can overflow.
const OFFSET_MAX: Span = Span::from_days(25 * 366);

/// How much a bucket holds and how fast it fills.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Quota {
    emission_ns: i64,
    burst: u32,
}

/// How many tokens something takes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Cost(u32);

/// What a bucket says to one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Whether the tokens were there (for a refund: whether any was given back).
    pub allowed: bool,
    /// Whole tokens that are left.
    pub remaining: i64,
    /// If denied: when the same request fits, from now, to the nanosecond. If allowed: when it would fit once more.
    pub retry_in: Span,
    /// When the bucket is full, from now.
    pub reset_in: Span,
    /// The TAT when asked.
    pub tat_before: Option<Timestamp>,
    /// The TAT once the request is carried out; as before if it was denied.
    pub tat_after: Option<Timestamp>,
}

/// Why three numbers are no quota.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum QuotaError {
    /// A burst of nothing lets nothing through.
    #[error("burst is 0: nothing would ever be allowed; a burst is at least 1")]
    BurstZero,
    /// A count of nothing never refills.
    #[error("count is 0: the bucket would never refill; a count is at least 1")]
    CountZero,
    /// A period of nothing, or less.
    #[error("period is not longer than 0")]
    PeriodZero,
    /// More tokens than nanoseconds.
    #[error("count {count} in {period} is more than one token a nanosecond")]
    TooFast {
        /// The count asked for.
        count: u64,
        /// The period asked for.
        period: Span,
    },
    /// Too long to compute with.
    #[error("burst {burst} needs more than 25 years to fill up, or is above 4294967295")]
    TooLong {
        /// The burst asked for.
        burst: u64,
    },
}

impl Cost {
    /// One token.
    pub const ONE: Self = Self(1);

    /// `tokens` tokens; 0 is a probe.
    #[must_use]
    pub const fn new(tokens: u32) -> Self {
        Self(tokens)
    }

    /// The number of tokens.
    #[must_use]
    pub const fn tokens(self) -> u32 {
        self.0
    }
}

impl Quota {
    /// A token in a nanosecond: a value for where none matters.
    pub(crate) const LEAST: Self = Self { emission_ns: 1, burst: 1 };

    /// A bucket of `burst` tokens into which `count` tokens come back evenly over `period`.
    /// The emission interval is rounded down to whole nanoseconds, as Boulder does.
    ///
    /// # Errors
    /// [`QuotaError`] where a number is 0, or the bucket would fill faster than a token a nanosecond or in more than 25 years.
    pub fn new(burst: u64, count: u64, period: Span) -> Result<Self, QuotaError> {
        if burst == 0 {
            return Err(QuotaError::BurstZero);
        }
        if period <= Span::ZERO {
            return Err(QuotaError::PeriodZero);
        }
        let count_ns = i64::try_from(count).unwrap_or(i64::MAX);
        let emission_ns = period.nanos().checked_div(count_ns).ok_or(QuotaError::CountZero)?;
        if emission_ns == 0 {
            return Err(QuotaError::TooFast { count, period });
        }
        Self::from_parts(emission_ns, burst)
    }

    fn from_parts(emission_ns: i64, burst: u64) -> Result<Self, QuotaError> {
        let burst_tokens = u32::try_from(burst).map_err(|_too_many| QuotaError::TooLong { burst })?;
        match emission_ns.checked_mul(i64::from(burst_tokens)) {
            Some(offset_ns) if offset_ns <= OFFSET_MAX.nanos() => Ok(Self { emission_ns, burst: burst_tokens }),
            _ => Err(QuotaError::TooLong { burst }),
        }
    }

    /// The time that brings one token back.
    #[must_use]
    pub const fn emission(self) -> Span {
        Span::from_nanos(self.emission_ns)
    }

    /// The tokens of a full bucket; at least 1.
    #[must_use]
    pub const fn burst(self) -> u32 {
        self.burst
    }

    /// The time in which an empty bucket fills up.
    #[must_use]
    pub const fn offset(self) -> Span {
        Span::from_nanos(self.offset_ns())
    }

    const fn offset_ns(self) -> i64 {
        self.emission_ns * self.burst as i64
    }

    /// The time in which `cost` tokens come back; saturates.
    #[must_use]
    pub const fn time_of(self, cost: Cost) -> Span {
        Span::from_nanos(self.emission_ns.saturating_mul(cost.tokens() as i64))
    }

    /// The same burst with the emission interval rounded up to whole microseconds, which is what stores compute in. Such a bucket never
    /// holds more than the exact one: it is as large, and refills no faster. (The burst offset is rounded with it: rounded down, a full
    /// bucket of one token would never give it.)
    #[must_use]
    pub const fn in_micros(self) -> Self {
        let micros = (self.emission_ns + NS_PER_US - 1) / NS_PER_US;
        Self { emission_ns: micros * NS_PER_US, ..self }
    }

    /// The same refill with a burst of `burst`, which is kept between 1 and today's.
    #[must_use]
    pub fn with_burst_at_most(self, burst: u32) -> Self {
        Self { burst: burst.clamp(1, self.burst), ..self }
    }

    /// The same burst with a refill slowed down to `1 - parts / 1_000_000` of today's; the emission interval is rounded up.
    ///
    /// # Errors
    /// [`QuotaError::TooLong`] where nothing would be left.
    pub fn slowed(self, parts_per_million: u32) -> Result<Self, QuotaError> {
        let rest = 1_000_000_i64 - i64::from(parts_per_million);
        let too_long = QuotaError::TooLong { burst: u64::from(self.burst) };
        if rest <= 0 {
            return Err(too_long);
        }
        let scaled = (i128::from(self.emission_ns) * 1_000_000 + i128::from(rest) - 1) / i128::from(rest);
        Self::from_parts(i64::try_from(scaled).map_err(|_too_long| too_long)?, u64::from(self.burst))
    }

    /// Whether `cost` tokens are there at `now`: the decision alone, without the numbers of [`Self::spend`], which cost a division.
    #[must_use]
    #[inline]
    pub fn allows(self, tat: Option<Timestamp>, now: Timestamp, cost: Cost) -> bool {
        // The bucket may be as far from full as it takes the other tokens to come back; `full_at` is no earlier than `now`.
        let Some(others) = self.burst.checked_sub(cost.tokens()) else { return false };
        let to_full = full_at(tat, now).unix_nanos().wrapping_sub(now.unix_nanos());
        to_full.cast_unsigned() <= (self.emission_ns * i64::from(others)).cast_unsigned()
    }

    /// Asks for `cost` tokens at `now`: what comes of it, without or with the tokens being there.
    #[must_use]
    pub fn spend(self, tat: Option<Timestamp>, now: Timestamp, cost: Cost) -> Outcome {
        let (full_at, new) = (full_at(tat, now), self.spent(tat, now, cost));
        let spare_at = |full_at: Timestamp| now.since(full_at.minus(self.offset()));
        let tokens = |spare: Span| spare.nanos() / self.emission_ns;
        if self.allows(tat, now, cost) {
            let spare = spare_at(new);
            Outcome {
                allowed: true,
                remaining: tokens(spare),
                retry_in: self.time_of(cost).minus(spare).max(Span::ZERO),
                reset_in: new.since(now),
                tat_before: tat,
                tat_after: Some(new),
            }
        } else {
            Outcome {
                allowed: false,
                remaining: tokens(spare_at(full_at)),
                retry_in: Span::ZERO.minus(spare_at(new)),
                reset_in: full_at.since(now),
                tat_before: tat,
                tat_after: tat,
            }
        }
    }

    /// The TAT after `cost` tokens have gone at `now`, whether or not they were there: for one who counts what has happened.
    #[must_use]
    #[inline]
    pub fn spent(self, tat: Option<Timestamp>, now: Timestamp, cost: Cost) -> Timestamp {
        full_at(tat, now).plus(self.time_of(cost))
    }

    /// Gives `cost` tokens back at `now`. A bucket that is full stays as it is; never more than full.
    #[must_use]
    pub fn refund(self, tat: Option<Timestamp>, now: Timestamp, cost: Cost) -> Outcome {
        let kept = |tat| Outcome {
            allowed: false,
            remaining: i64::from(self.burst),
            retry_in: Span::ZERO,
            reset_in: Span::ZERO,
            tat_before: tat,
            tat_after: tat,
        };
        let Some(before) = tat.filter(|tat| *tat > now) else { return kept(tat) };
        let after = before.minus(self.time_of(cost)).max(now);
        let to_full = after.since(now);
        Outcome {
            allowed: after != before,
            remaining: self.offset_ns().saturating_sub(to_full.nanos()) / self.emission_ns,
            retry_in: Span::ZERO,
            reset_in: to_full,
            tat_before: tat,
            tat_after: Some(after),
        }
    }
}

/// When the bucket is full, no earlier than `now`.
fn full_at(tat: Option<Timestamp>, now: Timestamp) -> Timestamp {
    tat.map_or(now, |tat| tat.max(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

    fn quota(burst: u64, count: u64, hours: i64) -> Quota {
        Quota::new(burst, count, Span::from_hours(hours)).unwrap()
    }

    #[test]
    fn numbers_that_make_no_bucket_are_refused() {
        let hour = Span::from_hours(1);
        assert_eq!(Quota::new(0, 1, hour), Err(QuotaError::BurstZero));
        assert_eq!(Quota::new(1, 0, hour), Err(QuotaError::CountZero));
        assert_eq!(Quota::new(1, 1, Span::ZERO), Err(QuotaError::PeriodZero));
        assert!(matches!(Quota::new(1, u64::MAX, hour), Err(QuotaError::TooFast { .. })));
        assert!(matches!(Quota::new(u64::MAX, 1, hour), Err(QuotaError::TooLong { .. })));
    }

    #[test]
    fn the_last_token_may_go_at_the_exact_instant() {
        let quota = quota(1, 1, 1);
        let tat = quota.spend(None, NOW, Cost::ONE).tat_after;
        let back = NOW.plus(Span::from_hours(1));
        assert!(!quota.spend(tat, back.minus(Span::from_nanos(1)), Cost::ONE).allowed);
        assert!(quota.spend(tat, back, Cost::ONE).allowed);
    }

    #[test]
    fn a_probe_changes_nothing_and_tells_what_is_left() {
        let quota = quota(5, 5, 1);
        let probe = quota.spend(None, NOW, Cost::new(0));
        assert!(probe.allowed);
        assert_eq!((probe.remaining, probe.reset_in), (5, Span::ZERO));
    }

    #[test]
    fn a_refund_never_fills_above_full() {
        let quota = quota(5, 5, 1);
        let tat = quota.spend(None, NOW, Cost::ONE).tat_after;
        assert_eq!(quota.refund(tat, NOW, Cost::new(4)).tat_after, Some(NOW));
        assert_eq!(quota.refund(None, NOW, Cost::ONE).tat_after, None);
    }

    #[test]
    fn a_reserve_slows_the_refill_and_rounds_against_us() {
        assert_eq!(quota(300, 300, 3).slowed(100_000).unwrap().emission(), Span::from_seconds(40));
        assert!(quota(300, 300, 3).slowed(1_000_000).is_err());
    }
}

//! The only place that reads the time. Everything else is handed a [`Timestamp`].

use std::time::{SystemTime, UNIX_EPOCH};

use crate::time::{Span, Timestamp};

/// Something that knows what time it is.
pub trait Clock {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// The computer's clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock;

/// A clock that stands still: `--now`, and tests.
#[derive(Clone, Copy, Debug)]
pub struct FixedClock(pub Timestamp);

/// A clock that runs faster than another: a rehearsal, in which a week passes in minutes.
#[derive(Clone, Copy, Debug)]
pub struct FastClock<C> {
    clock: C,
    from: Timestamp,
    start: Timestamp,
    speed: u32,
}

impl<C: Clock> FastClock<C> {
    /// From now on `clock` runs `speed` times faster, and begins at `start`.
    pub fn new(clock: C, start: Timestamp, speed: u32) -> Self {
        Self { from: clock.now(), clock, start, speed }
    }
}

impl<C: Clock> Clock for FastClock<C> {
    fn now(&self) -> Timestamp {
        let passed = self.clock.now().since(self.from).nanos();
        self.start.plus(Span::from_nanos(passed.saturating_mul(i64::from(self.speed))))
    }
}

impl Clock for SystemClock {
    /// A clock that is set before 1970 or after 2262 reads as the nearer of the two.
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the time")]
        let now = SystemTime::now();
        let nanos = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        Timestamp::from_unix_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
    }
}

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    impl Clock for &Cell<Timestamp> {
        fn now(&self) -> Timestamp {
            self.get()
        }
    }

    #[test]
    fn a_week_passes_in_a_bit_more_than_ten_minutes() {
        let real = Cell::new(Timestamp::from_unix_seconds(1_800_000_000));
        let start = Timestamp::from_unix_seconds(1_900_000_000);
        let fast = FastClock::new(&real, start, 1_000);
        assert_eq!(fast.now(), start);
        real.set(real.get().plus(Span::from_nanos(604_800_000_000)));
        assert_eq!(fast.now(), start.plus(Span::from_days(7)));
    }
}

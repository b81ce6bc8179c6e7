//! The only place that reads the time. Everything else is handed a [`Timestamp`].

use std::time::{SystemTime, UNIX_EPOCH};

use crate::time::{NS_PER_US, Span, Timestamp};

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

/// Measures how long ago it was started, whatever happens to the clock.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// Starts it.
    #[must_use]
    pub fn start() -> Self {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the time")]
        let now = std::time::Instant::now();
        Self(now)
    }

    /// How long ago that was.
    #[must_use]
    pub fn elapsed(self) -> Span {
        Span::from_nanos(i64::try_from(self.0.elapsed().as_nanos()).unwrap_or(i64::MAX))
    }
}

/// Waits for that long.
pub fn sleep(span: Span) {
    let nanos = u64::try_from(span.nanos()).unwrap_or(0);
    #[expect(clippy::disallowed_methods, reason = "whoever has to wait does it here")]
    std::thread::sleep(std::time::Duration::from_nanos(nanos));
}

/// How a time of one's own follows a clock: the same in earnest, faster for rehearsals, not at all for what-if questions and tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timescale {
    from: Timestamp,
    to: Timestamp,
    speed: u32,
}

impl Timescale {
    /// The clock's time.
    pub const REAL: Self = Self { from: Timestamp::from_unix_nanos(0), to: Timestamp::from_unix_nanos(0), speed: 1 };

    /// It is `at`, and stays so.
    #[must_use]
    pub const fn stopped(at: Timestamp) -> Self {
        Self { from: at, to: at, speed: 0 }
    }

    /// `speed` times as fast from the instant `from` on, at which it is `to`.
    #[must_use]
    pub const fn faster(speed: u32, from: Timestamp, to: Timestamp) -> Self {
        Self { from, to, speed }
    }

    /// How many times faster it is.
    #[must_use]
    pub const fn speed(self) -> u32 {
        self.speed
    }

    /// What time it is when the clock says `clock`.
    #[must_use]
    pub fn at(self, clock: Timestamp) -> Timestamp {
        self.to.plus(self.passed(clock.since(self.from)))
    }

    /// How much time passes while the clock goes on by `span`; saturates.
    #[must_use]
    pub fn passed(self, span: Span) -> Span {
        Span::from_nanos(span.nanos().saturating_mul(i64::from(self.speed)))
    }

    /// What [`Self::at`] computes with in whole microseconds, `from`, `to` and `speed`, for a store that has to do the same: what it gives for
    /// the clock's whole microseconds, rounded down, is `to + (clock - from) × speed`.
    #[must_use]
    pub fn in_micros(self) -> (i64, i64, i64) {
        let speed = i64::from(self.speed);
        let rest = |at: Timestamp| at.unix_nanos().rem_euclid(NS_PER_US);
        let carried = (rest(self.to) - rest(self.from) * speed).div_euclid(NS_PER_US);
        (self.from.unix_micros(), self.to.unix_micros().saturating_add(carried), speed)
    }
}

/// A clock that runs faster than another: a rehearsal, in which a week passes in minutes.
#[derive(Clone, Copy, Debug)]
pub struct FastClock<C> {
    clock: C,
    timescale: Timescale,
}

impl<C: Clock> FastClock<C> {
    /// From now on `clock` runs `speed` times faster, and begins at `start`.
    pub fn new(clock: C, start: Timestamp, speed: u32) -> Self {
        Self { timescale: Timescale::faster(speed, clock.now(), start), clock }
    }
}

impl<C: Clock> Clock for FastClock<C> {
    fn now(&self) -> Timestamp {
        self.timescale.at(self.clock.now())
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

    #[test]
    fn a_timescale_in_microseconds_gives_the_same_times() {
        for from in [0, 1, 999, 1_000, 1_800_000_000_123_456_789, -1] {
            for scale in [Timescale::REAL, Timescale::stopped(Timestamp::from_unix_nanos(from))].into_iter().chain(
                [1, 3, 1_000, 86_400].map(|speed| {
                    Timescale::faster(speed, Timestamp::from_unix_nanos(from), Timestamp::from_unix_nanos(from))
                }),
            ) {
                let (from_us, to_us, speed) = scale.in_micros();
                for clock_us in [from_us - 7, from_us, from_us + 1, from_us + 12_345_678] {
                    let exact = scale.at(Timestamp::from_unix_micros(clock_us)).unix_micros();
                    assert_eq!(to_us + (clock_us - from_us) * speed, exact, "{scale:?} at {clock_us}");
                }
            }
        }
    }
}

//! Randomness: a seed, one named generator (`ChaCha8`), and one stream of it for each purpose, so that a draw more for one purpose
//! moves nothing else.

use std::fmt;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::time::Span;

/// What a run's chance comes from: the same seed gives the same run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Seed(pub u64);

impl Seed {
    /// The seed of the run that comes `runs` later.
    #[must_use]
    pub const fn plus(self, runs: u64) -> Self {
        Self(self.0.wrapping_add(runs))
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What numbers are drawn for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// The delays of a client, by its number.
    Client(u32),
    /// How long the CA takes for validations and issues.
    Latency,
    /// Whether names that fail now and then do so now.
    Failures,
    /// What the CA adds to `Retry-After`.
    RetryAfter,
    /// Whom an event hits, by its number.
    Event(u32),
}

impl Purpose {
    fn stream(self) -> u64 {
        let (kind, index) = match self {
            Self::Client(client) => (1, client),
            Self::Latency => (2, 0),
            Self::Failures => (3, 0),
            Self::RetryAfter => (4, 0),
            Self::Event(event) => (5, event),
        };
        kind << 32 | u64::from(index)
    }
}

/// The numbers for one purpose.
#[derive(Clone, Debug)]
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of `seed` for `purpose`.
    #[must_use]
    pub fn new(seed: Seed, purpose: Purpose) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed.0);
        generator.set_stream(purpose.stream());
        Self(generator)
    }

    /// A number below `bound`, each as likely; 0 where `bound` is 0. (Lemire's multiplication: the bias is below 2⁻³⁰ for any
    /// bound that occurs here.)
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.0.next_u64()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or_default()
    }

    /// A span between nothing and `most`, both included; nothing where `most` is less.
    #[inline]
    pub fn span(&mut self, most: Span) -> Span {
        let bound = u64::try_from(most.nanos()).map_or(1, |most| most.saturating_add(1));
        Span::from_nanos(i64::try_from(self.below(bound)).unwrap_or(i64::MAX))
    }

    /// 64 random bits.
    #[inline]
    pub fn draw(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Whether something happens that happens `parts` in a million times.
    #[inline]
    pub fn happens(&mut self, parts_per_million: u32) -> bool {
        self.below(1_000_000) < u64::from(parts_per_million)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_more_for_one_purpose_moves_no_other() {
        let draws = |purpose| {
            let mut stream = Stream::new(Seed(7), purpose);
            [stream.below(1_000_000), stream.below(1_000_000)]
        };
        assert_eq!(draws(Purpose::Latency), draws(Purpose::Latency));
        let all = [Purpose::Client(0), Purpose::Client(1), Purpose::Latency, Purpose::Failures, Purpose::Event(0)];
        for (index, purpose) in all.iter().enumerate() {
            all[..index].iter().for_each(|other| assert_ne!(draws(*purpose), draws(*other)));
        }
    }

    #[test]
    fn bounds_hold() {
        let mut stream = Stream::new(Seed(1), Purpose::RetryAfter);
        assert!((0..1_000).all(|_| stream.below(3) < 3));
        assert_eq!((stream.below(0), stream.span(Span::ZERO)), (0, Span::ZERO));
        assert!(stream.happens(1_000_000) && !stream.happens(0));
    }
}

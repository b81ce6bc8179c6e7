//! Callers that ask at once, each as soon as it has its answer, and how long that takes.

use std::fmt;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use certpace::clock::Stopwatch;

/// How many orders are asked for by each before time is taken: by then it is connected and knows its statements.
const WARM_UP: usize = 20;

/// Asks for the order of that number; puts down how long each call took, in nanoseconds. Whether it was allowed.
pub(crate) type Caller<'a> = Box<dyn FnMut(usize, &mut Vec<u64>) -> bool + Send + 'a>;

/// Does it, and puts down how long it took.
pub(crate) fn timed<T>(times: &mut Vec<u64>, call: impl FnOnce() -> T) -> T {
    let start = Stopwatch::start();
    let answer = call();
    times.push(start.elapsed().nanos().unsigned_abs());
    answer
}

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Crowd {
    /// From the first question to the last answer, in nanoseconds.
    nanos: u64,
    orders: usize,
    allowed: usize,
    /// How long each call took, the shortest first.
    times: Vec<u64>,
}

impl Crowd {
    /// Lets the callers ask for so many orders: whoever is free takes the next.
    pub(crate) fn run(callers: Vec<Caller<'_>>, orders: usize) -> Self {
        let (next, ready, gone) = (AtomicUsize::new(0), Barrier::new(callers.len() + 1), callers.len());
        let first = WARM_UP * gone;
        assert!(orders > 2 * first, "most of {orders} orders are measured");
        let ask = |mut caller: Caller<'_>| {
            let (mut times, mut allowed) = (Vec::with_capacity(orders), 0);
            for _ in 0..WARM_UP {
                caller(next.fetch_add(1, Ordering::Relaxed), &mut times);
            }
            times.clear();
            ready.wait();
            loop {
                let order = next.fetch_add(1, Ordering::Relaxed);
                if order >= orders {
                    return (times, allowed);
                }
                allowed += usize::from(caller(order, &mut times));
            }
        };
        thread::scope(|scope| {
            let asking: Vec<_> = callers.into_iter().map(|caller| scope.spawn(|| ask(caller))).collect();
            ready.wait();
            let start = Stopwatch::start();
            let answered: Vec<_> = asking.into_iter().map(|caller| caller.join().expect("a caller asks")).collect();
            let nanos = start.elapsed().nanos().unsigned_abs();
            let allowed = answered.iter().map(|(_, allowed)| allowed).sum();
            let mut times: Vec<_> = answered.into_iter().flat_map(|(times, _)| times).collect();
            times.sort_unstable();
            Self { nanos, orders: orders - first, allowed, times }
        })
    }

    /// So long at most take so many of a hundred calls.
    fn quantile(&self, percent: usize) -> u64 {
        self.times[(self.times.len() * percent / 100).min(self.times.len() - 1)]
    }
}

impl fmt::Display for Crowd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nanos, orders, allowed, .. } = self;
        write!(f, "\"nanos\":{nanos},\"orders\":{orders},\"allowed\":{allowed}")?;
        [50, 95, 99].iter().try_for_each(|percent| write!(f, ",\"p{percent}\":{}", self.quantile(*percent)))
    }
}

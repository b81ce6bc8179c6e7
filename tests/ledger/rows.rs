//! Steps in one line.

use certpace::gcra::Quota;
use certpace::ledger::{Ask, Bucket, Mark, Motion, Move, Step, Write};
use certpace::time::Span;

use super::stores::REALM;

/// A step that does nothing.
pub(super) fn step() -> Step {
    Step::new(REALM.to_owned(), Mark::default())
}

/// A bucket that fills up in an hour.
pub(super) fn bucket(name: &str, burst: u32) -> Bucket {
    let burst = u64::from(burst);
    let quota = Quota::new(burst, burst, Span::from_hours(1)).unwrap().in_micros();
    Bucket { name: name.to_owned(), quota, floor: None }
}

/// Asks one bucket for tokens.
pub(super) fn asking(name: &str, burst: u32, tokens: u32) -> Step {
    let ask = Ask { bucket: 0, burst, tokens, asked: true, beside: None };
    Step { buckets: vec![bucket(name, burst)], asks: vec![ask], ..step() }
}

/// Makes moves with one bucket.
pub(super) fn moving(name: &str, burst: u32, motions: &[Motion]) -> Step {
    let moves = motions.iter().map(|motion| Move { bucket: 0, motion: *motion }).collect();
    Step { buckets: vec![bucket(name, burst)], moves, ..step() }
}

/// Sets tokens aside that the CA will ask for.
pub(super) fn holding(name: &str, burst: u32, tokens: usize) -> Step {
    moving(name, burst, &vec![Motion::Hold { asked: true }; tokens])
}

/// Sets one token aside.
pub(super) fn hold(name: &str, burst: u32, asked: bool) -> Step {
    moving(name, burst, &[Motion::Hold { asked }])
}

pub(super) fn write(name: &str, body: &str) -> Write {
    Write { name: name.to_owned(), body: Some(body.to_owned()), lease: None }
}

pub(super) fn writing(writes: Vec<Write>) -> Step {
    Step { writes, ..step() }
}

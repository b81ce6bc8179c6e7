//! The gate: its rules told as stories over every store, held equal to [`certpace::permits::Book`] under random operations, and by many
//! processes at once, some of which are killed.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "servers/ports.rs"]
mod ports;
#[path = "servers/postgres.rs"]
#[allow(dead_code, reason = "the contract's tests need more of it")]
mod postgres;
#[path = "servers/redis.rs"]
#[allow(dead_code, reason = "the contract's tests need more of it")]
mod redis;

mod gate {
    mod backoff;
    mod clocks;
    mod concurrency;
    mod full_disk;
    mod importing;
    mod leave;
    mod life;
    mod model;
    mod odd;
    mod outage;
    mod replay;
    mod reserving;
    mod stops;
    mod waiting;
    mod world;
}

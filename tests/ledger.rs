//! The contract of a store (`certpace::ledger`), held by each of them: memory, SQLite, Redis and PostgreSQL. The servers are real ones, on
//! free ports of this machine, and end with the tests.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "servers/ports.rs"]
mod ports;
#[path = "servers/postgres.rs"]
mod postgres;
#[path = "servers/redis.rs"]
mod redis;

mod ledger {
    mod child;
    mod contract;
    mod crash_file;
    mod crash_postgres;
    mod crash_redis;
    mod crowd;
    mod model;
    mod random;
    mod rows;
    mod stores;
    mod tls;
    mod writer;
}

//! `certpace issue` in accelerated time, through `certpace enforce`, in front of Pebble: nobody is ever refused, and nothing is ordered twice. What
//! `tests/get-tools` and `tests/get-servers` get is needed.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "servers and clients take real time")]

#[path = "rehearsal/certificates.rs"]
mod certificates;
#[path = "rehearsal/failing.rs"]
mod failing;
#[path = "rehearsal/plan.rs"]
mod plan;
#[path = "servers/ports.rs"]
mod ports;
#[path = "servers/postgres.rs"]
#[allow(dead_code, reason = "not all that others ask of it is asked here")]
mod postgres;
#[path = "servers/redis.rs"]
#[allow(dead_code, reason = "not all that others ask of it is asked here")]
mod redis;
#[path = "servers/servers.rs"]
#[allow(dead_code, reason = "not all that others ask of servers is asked here")]
mod servers;
#[path = "rehearsal/shared.rs"]
mod shared;
#[path = "rehearsal/world.rs"]
mod world;

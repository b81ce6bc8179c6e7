//! The issuer as it is run: against Pebble, with what other clients leave behind. `tests/get-tools` gets these; without them the tests fail.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "servers and clients take real time")]

#[path = "issuer/account.rs"]
mod account;
#[path = "issuer/answers.rs"]
mod answers;
#[path = "issuer/kills.rs"]
mod kills;
#[path = "issuer/orders.rs"]
mod orders;
#[path = "issuer/readme.rs"]
mod readme;
#[path = "issuer/renew.rs"]
mod renew;
#[path = "issuer/replan.rs"]
mod replan;
#[path = "servers/ports.rs"]
mod ports;
#[allow(dead_code, reason = "test binaries share the folder, and each uses a part of it")]
#[path = "servers/servers.rs"]
mod servers;
#[path = "issuer/world.rs"]
mod world;

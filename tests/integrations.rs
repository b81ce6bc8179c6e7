//! certbot, lego and acme.sh under `certpace gate run`, against Pebble behind `certpace enforce`, as docs/integrations.md says; and what
//! `gate run` does around any command. `tests/get-tools` gets the clients; without them the tests fail.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "servers and clients take real time")]

#[path = "integrations/clients.rs"]
mod clients;
#[path = "integrations/documented.rs"]
mod documented;
#[path = "integrations/run.rs"]
mod run;
#[path = "servers/ports.rs"]
mod ports;
#[path = "servers/servers.rs"]
#[allow(dead_code, reason = "not all that others ask of servers is asked here")]
mod servers;
#[path = "integrations/world.rs"]
mod world;

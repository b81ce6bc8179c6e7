//! `certpace enforce` as it is run: in front of Pebble, with certbot and lego behind it. `tests/get-tools` gets these;
//! without them the tests fail.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "servers and clients take real time")]

#[path = "enforce/clients.rs"]
mod clients;
#[path = "enforce/proxy.rs"]
mod proxy;
#[path = "servers/ports.rs"]
mod ports;
#[path = "servers/servers.rs"]
#[allow(dead_code, reason = "not all that others ask of servers is asked here")]
mod servers;
#[path = "enforce/wire.rs"]
mod wire;

//! Challenges answered over real sockets, files and commands, looked up by the precheck and by Pebble, which `tests/get-tools` gets.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "servers take real time")]

#[path = "challenges/dns.rs"]
mod dns;
#[path = "challenges/http.rs"]
mod http;
#[path = "challenges/orders.rs"]
mod orders;
#[path = "servers/ports.rs"]
mod ports;
#[path = "servers/servers.rs"]
#[allow(dead_code, reason = "not all that others ask of servers is asked here")]
mod servers;
#[path = "challenges/tls_alpn.rs"]
mod tls_alpn;
#[path = "challenges/world.rs"]
mod world;

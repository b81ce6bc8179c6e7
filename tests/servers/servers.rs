//! Real servers and clients for tests, on loopback: a folder that test binaries share by
//! `#[path = "servers/servers.rs"] mod servers;`.

pub(crate) mod clients;
pub(crate) mod pebble;
pub(crate) mod process;

//! Issues for real: an ACME client which can't send an order without a permit.

pub mod account;
pub mod certificate;
pub mod challenge;
pub mod desk;
pub mod endpoints;
pub mod engine;
pub mod files;
pub mod key;
pub mod order;
pub mod request;
mod send;
pub mod store;
pub mod wire;

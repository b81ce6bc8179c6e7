//! Issues for real: an ACME client which can't send an order without a permit.

pub mod certificate;
pub mod challenge;
pub mod endpoints;
pub mod key;
pub mod request;
pub mod store;
pub mod wire;

//! Issues for real: an ACME client which can't send an order without a permit.

pub mod account;
pub(crate) mod certificate;
pub mod endpoints;
pub mod key;
pub mod wire;

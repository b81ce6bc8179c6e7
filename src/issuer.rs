//! Issues for real: an ACME client which can't send an order without a permit.

pub(crate) mod certificate;
pub mod challenge;
pub mod endpoints;
pub mod key;
pub mod wire;

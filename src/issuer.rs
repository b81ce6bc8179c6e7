//! Issues for real: an ACME client which can't send an order without a permit.

pub mod certificate;
pub mod request;
pub mod store;

//! certpace: plans certificate issuance from Let's Encrypt so that no rate limit is ever hit.
//!
//! The modules stand in the order of their layers: each uses only those above it, and `tests/architecture.rs` holds that.
//! The core is pure: no I/O, no clock, no environment, no globals, no floats in decisions. Time comes in as an argument.

// Core.
pub mod time;
mod dense;
mod digest;
pub mod name;
pub mod psl;
pub mod gcra;
pub mod counts;
pub mod limits;
pub mod buckets;
pub mod rules;
pub mod inventory;
pub mod plan;
pub mod permits;
pub mod agent;
pub mod sim;

// Shell.
pub mod clock;
pub mod ledger;
pub mod import;
pub mod gate;
#[cfg(feature = "acme")]
pub mod tls;
#[cfg(feature = "acme")]
mod http;
#[cfg(feature = "acme")]
pub mod issuer;
#[cfg(feature = "acme")]
pub mod enforce;
pub mod report;
pub mod cli;

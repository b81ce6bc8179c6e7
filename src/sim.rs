//! Simulates plans and clients against a model of the CA, in virtual time.
//!
//! A queue of events, ordered by time and then by sequence, is worked off from event to event. The CA applies [`crate::rules`] and
//! [`crate::buckets`]: nothing here knows a limit. A seed goes in, and the same seed gives the same bytes, whatever the number of threads.

pub mod behaviour;
pub mod measure;
mod queue;
pub mod random;
pub mod scenario;

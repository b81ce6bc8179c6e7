//! Simulates plans and clients against a model of the CA, in virtual time.
//!
//! A queue of events, ordered by time and then by sequence, is worked off from event to event. The CA applies [`crate::rules`] and
//! [`crate::buckets`]: nothing here knows a limit. A seed goes in, and the same seed gives the same bytes, whatever the number of threads.
//!
//! A [`Scenario`] is made ready once ([`Setup`]) and [`run`] any number of times, each with a [`Seed`] of its own; what comes out are
//! [`Measures`], which are held against the scenario's expectations by [`Measures::check`].

pub mod behaviour;
mod ca;
mod generate;
pub mod measure;
pub mod measures;
mod queue;
pub mod random;
mod run;
pub mod scenario;
pub mod setup;
mod tally;
pub mod trace;

pub use behaviour::Behaviour;
pub use measure::{Measure, Value};
pub use measures::Measures;
pub use random::Seed;
pub use run::{run, run_traced};
pub use scenario::{Scenario, ScenarioError};
pub use setup::{Setup, SetupError, Surroundings};

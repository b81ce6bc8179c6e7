//! What the commands answer, as data and as text: pure functions, nothing is printed here.
//!
//! Each answer is plain serde data, which is its JSON as well, and has one renderer a file. Rendered text carries its colours as
//! ANSI escapes; [`crate::cli`] takes them out where they are not wanted. Lines are at most [`WIDTH`] columns wide wherever what
//! they hold can be broken.

#[cfg(feature = "acme")]
pub mod account;
#[cfg(feature = "acme")]
pub mod enforce;
pub mod from_certs;
pub mod gate;
pub mod import;
#[cfg(feature = "acme")]
pub mod issue;
pub mod json;
mod junit;
pub mod ledger;
pub mod limits;
pub mod plan;
pub mod plan_file;
pub mod rejects;
pub mod show;
pub mod simulation;
#[cfg(feature = "acme")]
pub mod status;
pub mod style;
pub mod table;
pub mod test;
pub mod trace;
pub mod words;

/// Columns of a terminal that text is made for.
pub const WIDTH: usize = 100;

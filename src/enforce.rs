//! A reverse proxy that enforces a policy in front of a test CA, as Boulder would: no test CA that can be installed has rate limits.
//!
//! ACME requests are signed, not encrypted: the proxy reads who orders what, and in the answers what became of it. What the limits allow
//! passes unchanged; what they don't is answered here, in the CA's own words, and never reaches the CA. Boulder's `wfe2` checks an
//! order before it makes one and gives the token back if that fails; so does this.
//!
//! The decisions are [`Enforcer`]'s, which knows no socket: a request with its time goes in, and comes out as [`Step::Forward`] or
//! [`Step::Answer`]; the CA's answer with its time goes in, and is charged to [`crate::rules::Model`]. Around it, [`server`] speaks HTTP and TLS.

mod answer;
mod bodies;
mod call;
mod enforcer;
pub mod journal;
mod pages;
mod passed;
mod proxy;
pub mod server;
mod upstream;

pub use crate::issuer::endpoints::{DirectoryError, Endpoints};
pub use answer::Answer;
pub use call::Call;
pub use enforcer::{Enforcer, Moment, Pending, Reply, Step, Window};
pub use journal::{Client, Verdict};
pub use server::{EnforceError, Ready, Settings, run};
pub use upstream::UpstreamError;

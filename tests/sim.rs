//! The simulation against its laws: what a plan promises, what is conserved, what a seed decides, and the stories of real clients.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod sim {
    mod certpace;
    mod laws;
    mod plans;
    mod seeds;
    mod stories;
    mod world;
}

//! The planner against independent oracles: replays through the model, exhaustive searches, the CA documentation's numbers.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod plan {
    mod advice;
    mod again;
    mod ledger;
    mod numbers;
    mod opening;
    mod renewals;
    mod replay;
    mod search;
    mod shape;
    mod size;
    mod tail;
    mod world;
}

//! What `certpace enforce` decides, without a socket: stories told with a made-up CA, and random ones beside a model of their own.
#![expect(clippy::unwrap_used, reason = "a case that can't be built is a failure")]

#[path = "enforcer/random.rs"]
mod random;
#[path = "enforcer/renewals.rs"]
mod renewals;
#[path = "enforcer/story.rs"]
mod story;
#[path = "enforcer/world.rs"]
mod world;

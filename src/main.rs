//! The `certpace` command.
fn main() {}

//! The `certpace` command.

use std::process::ExitCode;

use certpace::cli;
use certpace::clock::SystemClock;

fn main() -> ExitCode {
    cli::run(std::env::args_os(), &SystemClock).into()
}

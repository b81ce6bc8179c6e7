//! Writes a made-up inventory to stdout: `cargo run --release --example generate-inventory 1000000 > names.csv`.

#[path = "../benches/plan/inventory.rs"]
mod inventory;

use std::io::{self, BufWriter, ErrorKind, Write as _};

use clap::error::ErrorKind as UsageError;
use clap::{CommandFactory as _, Parser as _};
use inventory::Inventory;

/// Writes a made-up inventory as CSV to stdout.
#[derive(clap::Parser)]
struct Args {
    /// Hostnames to write
    hostnames: usize,
    /// The same seed gives the same inventory
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Registered domains [default: a third of the hostnames]
    #[arg(long)]
    domains: Option<usize>,
}

fn main() -> io::Result<()> {
    let args = Args::parse();
    let mut inventory = Inventory { seed: args.seed, ..Inventory::of(args.hostnames) };
    inventory.domains = args.domains.unwrap_or(inventory.domains);
    if inventory.domains > inventory.hostnames || (inventory.domains == 0 && inventory.hostnames > 0) {
        let message = "there is at least one registered domain, and a hostname for each";
        Args::command().error(UsageError::ValueValidation, message).exit();
    }
    let mut out = BufWriter::with_capacity(1 << 20, io::stdout().lock());
    match inventory.write(&mut out).and_then(|()| out.flush()) {
        // Whoever reads has enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

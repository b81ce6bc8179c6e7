//! `certpace ledger …`: looks at a ledger, fills it, and mends it.

pub mod care;
pub mod import;
pub mod session;
pub mod status;

use super::{Context, Exit, TEMPLATE};

/// Its arguments.
#[derive(clap::Args, Clone, Debug)]
#[command(
    help_template = TEMPLATE, before_help = EXAMPLES, after_help = NEXT,
    subcommand_required = true, arg_required_else_help = true, disable_help_subcommand = true,
)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done to a ledger.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum Command {
    /// Make a store a ledger
    Init(care::InitArgs),
    /// Show buckets: tokens left, refill, when full, who holds what; the tightest first
    Status(status::Args),
    /// Tell it what was issued before, from certificates and searches of the logs
    Import(import::Args),
    /// Write the record, a line a change
    Export(care::ExportArgs),
    /// Compute the buckets again from the record, and compare
    Verify(care::VerifyArgs),
    /// Take away what no limit and no exemption remembers
    Prune(care::PruneArgs),
    /// Bring a ledger that an older certpace made to this one's schema
    Migrate(care::MigrateArgs),
    /// Go on with a ledger that has lost something: what is missing counts as spent
    Recover(care::RecoverArgs),
    /// Shadow mode: compare what the gate would have said with what the CA did
    Agreement(status::AgreementArgs),
}

const EXAMPLES: &str = "Examples:
  certpace ledger status                                   which buckets are tight, and who holds what
  certpace ledger init --ledger redis://cache.internal/    a ledger that machines share
  certpace ledger import /etc/letsencrypt search.json      what was issued already
  certpace ledger init --lost                              in place of one that was lost
  certpace ledger recover --since 2026-12-01T08:00:00Z     after a backup of then was put in place
  certpace ledger verify && certpace ledger prune          for a nightly job";

const NEXT: &str = "Exit codes: 0 done, 1 error, 2 usage, 9 the ledger can't be reached or relied on.";

/// Does it.
///
/// # Errors
/// Where the ledger can't be used.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    match &args.command {
        Command::Init(args) => care::init(args, context),
        Command::Status(args) => status::run(args, context),
        Command::Import(args) => import::run(args, context),
        Command::Export(args) => care::export(args, context),
        Command::Verify(args) => care::verify(args, context),
        Command::Prune(args) => care::prune(args, context),
        Command::Migrate(args) => care::migrate(args, context),
        Command::Recover(args) => care::recover(args, context),
        Command::Agreement(args) => status::agreement(args, context),
    }
}

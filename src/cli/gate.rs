//! `certpace gate …`: permits for pipelines, from a shared ledger.

pub mod asked;
pub mod events;
pub mod freeze;
mod listen;
pub mod loss;
pub mod many;
pub mod reserve;
pub mod run;

use crate::clock::Timescale;
use crate::gate::journal::News;
use crate::gate::{Never, Verdict};
use crate::ledger::Mark;
use crate::report::gate::GateReport;
use crate::report::json;

use super::{Context, Exit, Format, TEMPLATE};

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

/// What can be asked and told.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum Command {
    /// Ask for a permit: all that the order needs is set aside, or you learn until when not
    Reserve(reserve::Args),
    /// Run a command under a permit: certbot, lego, acme.sh, any script
    Run(run::Args),
    /// Tell that the order is about to be sent
    Sent(events::Args),
    /// Tell that the CA has accepted the order
    Accepted(events::Args),
    /// Tell that the certificate has come
    Commit(events::Args),
    /// Tell that the order is dead, and which names failed
    Fail(events::FailArgs),
    /// Give a permit back: the order was never sent
    Cancel(events::Args),
    /// Tell that the CA has refused the order (429)
    Refused(events::RefusedArgs),
    /// Tell that nobody knows what came of the order
    Lost(events::Args),
    /// Keep a permit for longer
    Extend(events::ExtendArgs),
    /// Settle permits of which nobody knows what came of them
    Reconcile(events::ReconcileArgs),
    /// List permits
    List(events::ListArgs),
    /// Stop orders until they are thawed
    Freeze(freeze::FreezeArgs),
    /// Let frozen orders go on
    Thaw(freeze::ThawArgs),
    /// Note that a person has unpaused names at the CA
    Unpause(freeze::UnpauseArgs),
}

const EXAMPLES: &str = "Examples:
  certpace gate run --names example.com -- certbot certonly -d example.com …
  permit=$(certpace gate reserve example.com www.example.com --holder ci-42)
  certpace gate sent $permit && issue && certpace gate commit $permit
  certpace gate list                       who has what in hand
  certpace gate freeze --tenant acme --reason 'they are moving'";

const NEXT: &str = "Exit codes: 0 allowed or done, 1 error, 2 usage, 3 later: a limit, 7 never, 8 another holder has it in hand, 9 no ledger.";

/// Asks or tells.
///
/// # Errors
/// Where the ledger can't be used, or what is told makes no sense.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    match &args.command {
        Command::Reserve(args) => reserve::run(args, context),
        Command::Run(args) => run::run(args, context),
        Command::Sent(args) => events::sent(args, context),
        Command::Accepted(args) => events::told(args, context, |gate, permit| gate.accepted(permit)),
        Command::Commit(args) => events::news(args, &News::Issued, context),
        Command::Fail(args) => events::fail(args, context),
        Command::Cancel(args) => events::news(args, &News::Cancelled, context),
        Command::Refused(args) => events::refused(args, context),
        Command::Lost(args) => events::news(args, &News::Lost, context),
        Command::Extend(args) => events::extend(args, context),
        Command::Reconcile(args) => events::reconcile(args, context),
        Command::List(args) => events::list(args, context),
        Command::Freeze(args) => freeze::freeze(args, context),
        Command::Thaw(args) => freeze::thaw(args, context),
        Command::Unpause(args) => freeze::unpause(args, context),
    }
}

/// How a command ends that was given this verdict.
pub fn exit_of(verdict: &Verdict) -> Exit {
    match verdict {
        Verdict::Allow { .. } => Exit::DONE,
        Verdict::Later { .. } => Exit::NOT_NOW,
        Verdict::Never(_) => Exit::NEVER,
        Verdict::InHand { .. } => Exit::IN_HAND,
    }
}

/// Prints an answer.
///
/// # Errors
/// Where stdout can't be written.
pub fn print(report: &GateReport, context: &Context) -> anyhow::Result<()> {
    context.terminal.answer(&match context.format {
        Format::Json => json::pretty(report),
        Format::Text => report.text(),
    })
}

/// Answers for names that the CA refuses: no ledger is asked.
///
/// # Errors
/// Where stdout can't be written.
pub fn never(refused: &Never, context: &Context) -> anyhow::Result<Exit> {
    let verdict = Verdict::Never(refused.clone());
    print(&GateReport::of(&crate::gate::Answer { at: context.now, mark: Mark::default(), verdict }), context)?;
    Ok(Exit::NEVER)
}

/// Whether time goes by: with `--now` there is nothing to wait for.
pub fn time_passes(context: &Context) -> bool {
    context.timescale == Timescale::REAL
}

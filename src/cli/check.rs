//! `certpace check NAME…`: may this order go out now? Changes nothing.

use std::path::PathBuf;

use super::gate::asked::OrderOptions;
use super::gate::{exit_of, never};
use super::ledger::session::{LedgerOptions, Use};
use super::{Context, Exit, Format, TEMPLATE};
use crate::gate::Verdict;
use crate::permits::Sending;
use crate::report::gate::GateReport;
use crate::report::json;

/// Its arguments.
#[derive(clap::Args, Clone, Debug)]
#[command(help_template = TEMPLATE, before_help = EXAMPLES, after_help = NEXT)]
pub struct Args {
    /// The names of the certificate
    #[arg(value_name = "NAME", required_unless_present = "inventory")]
    pub names: Vec<String>,
    /// Check the certificates of an inventory: rows with one `certificate` are one, each other name is one of its own
    #[arg(long, value_name = "FILE", conflicts_with = "names")]
    pub inventory: Option<PathBuf>,
    /// The order.
    #[command(flatten)]
    pub order: OrderOptions,
    /// The ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
}

const EXAMPLES: &str = "Examples:
  certpace check www.example.com example.com            may this order go out now? If not, when?
  certpace check example.com && certbot renew           in a shell
  certpace check example.com --format json | jq .retry_at
  certpace check --inventory names.csv                  what could go now, and when each next";

const NEXT: &str =
    "It is a question: nothing is set aside, so somebody else may be faster. `certpace gate reserve` makes sure.
Exit codes: 0 now, 1 error, 2 usage, 3 later: a limit, 7 never, 8 another holder has it in hand, 9 no ledger.";

/// Asks the ledger.
///
/// # Errors
/// Where it can't be asked.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    if let Some(path) = &args.inventory {
        return super::gate::many::run(path, &args.order, &args.ledger, context);
    }
    let request = match args.order.request(&args.names, None, Sending::Announced)? {
        Ok(request) => request,
        Err(refused) => return never(&refused, context),
    };
    let mut session = args.ledger.open(context, Use::Read, false)?;
    let mut answer = session.gate.check(&request)?;
    if let Verdict::InHand { .. } = answer.verdict
        && args.order.account.is_empty()
    {
        unreachable!("an account is never empty");
    }
    session.remember();
    if let Verdict::Allow { permit, .. } = &mut answer.verdict {
        // A question has none of its own, whoever may have one.
        *permit = None;
    }
    let report = GateReport::of(&answer);
    context.terminal.answer(&match context.format {
        Format::Json => json::pretty(&report),
        Format::Text => report.text(),
    })?;
    Ok(exit_of(&answer.verdict))
}

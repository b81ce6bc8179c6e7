//! `certpace status`: how the certificates of a store stand.

use super::store::StoreOptions;
use super::{Context, Exit, Format, TEMPLATE};
use crate::name::Identifier;
use crate::report::json;
use crate::report::status::{StatusReport, Wanted};
use crate::time::Span;

/// Its arguments.
#[derive(clap::Args, Clone, Debug)]
#[command(help_template = TEMPLATE, before_help = EXAMPLES, after_help = NEXT)]
pub struct Args {
    /// Only certificates with one of these names
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Only certificates that expire within so many days, or have expired
    #[arg(long, value_name = "DAYS")]
    pub expiring: Option<u16>,
    /// A row for each certificate, for spreadsheets
    #[arg(long)]
    pub csv: bool,
    /// The store.
    #[command(flatten)]
    pub store: StoreOptions,
}

const EXAMPLES: &str = "Examples:
  certpace status                       all certificates, the first to expire first
  certpace status --expiring 14         those that expire within two weeks
  certpace status www.example.com       those with this name
  certpace status --csv > status.csv
  certpace status --format json | jq '.certificates[] | select(.last_error) | .names'";

const NEXT: &str = "Looks at files alone: neither the CA nor the ledger is asked, and nothing is changed.
Exit codes: 0 done, 1 the store or a certificate in it can't be read, 2 usage.";

/// Shows it.
///
/// # Errors
/// Where the store can't be read.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let names = args.names.iter().map(|name| Identifier::parse(name)).collect::<Result<Vec<_>, _>>()?;
    let expiring = args.expiring.map(|days| context.now.plus(Span::from_days(days.into())));
    let path = args.store.path()?;
    let Some(store) = args.store.find()? else {
        context.terminal.warn(&format!("there is no store in {}", path.display()));
        let report = StatusReport::empty(&path, context.now);
        return answer(&report, args, context);
    };
    let wanted = Wanted { names: &names, expiring };
    let (lineages, orders) = (store.lineages()?, store.open_orders()?);
    let renewal = &context.limits.policy.renewal;
    let report = StatusReport::new(store.root(), lineages, &orders, &wanted, renewal, context.now);
    for damaged in &report.damaged {
        context.terminal.warn(damaged);
    }
    answer(&report, args, context)
}

fn answer(report: &StatusReport, args: &Args, context: &Context) -> anyhow::Result<Exit> {
    if args.csv {
        context.terminal.answer_raw(&report.csv())?;
    } else {
        context.terminal.answer(&match context.format {
            Format::Json => json::pretty(report),
            Format::Text => report.text(),
        })?;
    }
    Ok(if report.damaged.is_empty() { Exit::DONE } else { Exit::ERROR })
}

//! `certpace plan INVENTORY…`: from hostnames to a schedule.

mod asked;
pub mod ledger;
pub mod make;

use std::path::PathBuf;

use anyhow::Context as _;

use super::output::{Interrupt, PowerCut};
use super::{Context, Exit, Format, TEMPLATE};
use crate::plan::advise::advise;
use crate::plan::{Mix, NamesPerCertificate, Share};
use crate::report::json;
use crate::report::plan::{PlanReport, text};
use crate::time::{Span, Timestamp};
use ledger::LedgerArgs;

/// Its arguments.
#[derive(clap::Args, Clone, Debug)]
#[command(help_template = TEMPLATE, before_help = EXAMPLES, after_help = NEXT)]
pub struct Args {
    /// CSV with a column `hostname`, or one hostname a line; `-` reads stdin
    #[arg(required = true, value_name = "INVENTORY")]
    pub inventories: Vec<PathBuf>,
    /// Where to write the plan; `-` writes it to stdout, in place of the summary
    #[arg(short, long, value_name = "PLAN")]
    pub output: Option<PathBuf>,
    /// The first instant at which an order may go out [default: now]
    #[arg(long, value_name = "RFC3339")]
    pub start: Option<Timestamp>,
    /// By when all certificates are to be ordered, where a row says nothing else
    #[arg(long, value_name = "RFC3339")]
    pub deadline: Option<Timestamp>,
    /// The profile of rows that name none
    #[arg(long, value_name = "NAME", default_value = "classic")]
    pub profile: String,
    /// The account of rows that name none
    #[arg(long, value_name = "ID", default_value = "default")]
    pub account: String,
    /// Names in a certificate: auto (few where tokens are to spare, else as many as fit), or at most N
    #[arg(long, value_name = "auto|N", default_value = "auto", value_parser = names_per_cert)]
    pub names_per_cert: NamesPerCertificate,
    /// Refuse to make more new certificates than this
    #[arg(long, value_name = "N")]
    pub max_certificates: Option<usize>,
    /// Which registered domains may share a certificate: none, or those of one tenant
    #[arg(long, value_name = "none|tenant", default_value = "none", value_parser = mix)]
    pub mix: Mix,
    /// Leave out names that a wildcard of the same account, tenant and profile covers
    #[arg(long)]
    pub fold_wildcards: bool,
    /// Renew as same set, without ARI
    #[arg(long)]
    pub no_ari: bool,
    /// Share of the burst of order and domain buckets that is left for what nobody planned
    #[arg(long, value_name = "SHARE", default_value = "10%", value_parser = share)]
    pub headroom: Share,
    /// Share of the order bucket's refill that is left as well
    #[arg(long, value_name = "SHARE", default_value = "0%", value_parser = share)]
    pub reserve_rate: Share,
    /// How late an order or issue may be without a refusal [default: 10m; 1h with dns-01]
    #[arg(long, value_name = "SPAN", value_parser = at_least_nothing)]
    pub margin: Option<Span>,
    /// Plan renewals that fall due within this time
    #[arg(long, value_name = "SPAN", default_value = "30d", value_parser = at_least_nothing)]
    pub horizon: Span,
    /// Spread renewals without ARI over this time before they are due
    #[arg(long, value_name = "SPAN", default_value = "3d", value_parser = at_least_nothing)]
    pub spread: Span,
    /// Plan again: what has not changed since this plan keeps its names, number and time
    #[arg(long, value_name = "OLDPLAN")]
    pub from: Option<PathBuf>,
    /// Deadlines that have passed are missed, rather than an error: for a plan that goes on.
    #[arg(skip)]
    pub past_deadlines: bool,
    /// Plan the good rows even if there are bad ones
    #[arg(long)]
    pub skip_invalid: bool,
    /// Where to write bad rows, as they are
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,
    /// What the plan starts from.
    #[command(flatten)]
    pub ledger: LedgerArgs,
}

const EXAMPLES: &str = "Examples:
  certpace plan names.csv                              the summary alone
  certpace plan names.csv -o plan.jsonl                and the plan, an order a line
  certpace plan a.csv b.csv --start 2026-12-01         several files, from a date on
  certpace plan names.csv --deadline 2027-02-28        is it done by then? If not: what would do it?
  certpace plan names.csv --overrides overrides.toml   with what was granted to you
  certpace plan names.csv --ledger sqlite:ours.sqlite  from what the ledger says was spent
  certpace plan new.csv --from plan.jsonl -o new.jsonl moves nothing that has not changed
  cut -d, -f1 names.csv | certpace plan -              names from another program

An inventory has the column hostname (or domain, name, fqdn); others it may have:
  account tenant group      names that differ in one of these never share a certificate
  profile                   classic, tlsserver, shortlived
  challenge                 http-01, dns-01, tls-alpn-01
  priority deadline         a larger priority goes first; a deadline is a date
  ready                     no: counted, not planned
  certificate issued_at expires_at
                            the certificate that the name is on: kept as it is, and renewed";

const NEXT: &str = "The plan file: JSON Lines, the summary first, then an order a line.
Exit codes: 0 planned, 1 bad input (nothing was planned), 2 usage, 4 planned, but a deadline is missed.
Next: certpace show PLAN --hostname NAME";

fn names_per_cert(text: &str) -> Result<NamesPerCertificate, String> {
    match text {
        "auto" => Ok(NamesPerCertificate::Auto),
        _ => match text.parse() {
            Ok(names) if names > 0 => Ok(NamesPerCertificate::AtMost(names)),
            _ => Err("neither `auto` nor a number of at least 1".to_owned()),
        },
    }
}

fn mix(text: &str) -> Result<Mix, String> {
    match text {
        "none" => Ok(Mix::None),
        "tenant" => Ok(Mix::Tenant),
        _ => Err("neither `none` nor `tenant`".to_owned()),
    }
}

fn share(text: &str) -> Result<Share, String> {
    Share::parse(text).ok_or_else(|| "no share of 0% to 100%, such as 10%".to_owned())
}

fn at_least_nothing(text: &str) -> Result<Span, String> {
    Span::parse(text).map_err(|error| error.to_string())
}

/// Plans, writes the plan, prints the summary.
///
/// # Errors
/// Where the inventory can't be read, holds bad rows that are not skipped, or the plan can't be written.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let terminal = context.terminal;
    let to_stdout = args.output.as_deref().is_some_and(|path| path.as_os_str() == "-");
    let target = args.output.as_deref().filter(|_| !to_stdout);
    // Numbers and times that an earlier plan has given stand in no inventory.
    let power_cut = if args.from.is_some() { PowerCut::Loses } else { PowerCut::Repeatable };
    make::make(args, context, |made| {
        let write = || target.map_or(Ok(()), |path| made.write(path, power_cut, &Interrupt::watch()));
        let (written, advice) = rayon::join(write, || advise(made.plan));
        written?;
        if to_stdout {
            for part in made.parts().flatten() {
                terminal.answer_raw(&part)?;
            }
        } else {
            let path = args.output.as_ref().map(|path| path.display().to_string());
            let report = PlanReport::new(made.plan, made.origin.ledger.clone(), advice, path);
            let answer = match context.format {
                Format::Json => json::pretty(&report),
                Format::Text => text::summary(&report),
            };
            terminal.answer(&answer).context("the plan is made")?;
        }
        let late = made.plan.summary.lateness.is_some_and(|late| late > Span::ZERO);
        Ok(if late { Exit::MISSES_DEADLINE } else { Exit::DONE })
    })
}

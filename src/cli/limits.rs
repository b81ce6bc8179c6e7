//! `certpace limits [NAME]`: the policy in force.

use anyhow::anyhow;

use super::failure::Hint as _;
use super::{Context, Exit, Format, TEMPLATE};
use crate::limits::LimitName;
use crate::report::json;
use crate::report::limits::{LimitsReport, text};

/// Its arguments.
#[derive(clap::Args, Clone, Debug)]
#[command(help_template = TEMPLATE, before_help = EXAMPLES, after_help = NEXT)]
pub struct Args {
    /// One limit in detail; upper and lower case are the same
    pub name: Option<String>,
}

const EXAMPLES: &str = "Examples:
  certpace limits                                   all limits, profiles and override tiers
  certpace limits CertificatesPerDomain             one limit in detail
  certpace limits --policy letsencrypt-staging      another environment
  certpace limits --overrides overrides.toml        with what was granted to you
  certpace limits --now 2027-03-01                  as they will be then
  certpace limits --format json | jq '.limits[].allows.burst'";

const NEXT: &str = "Names are those of Boulder, Let's Encrypt's server software.";

/// Prints the policy, or one limit of it.
///
/// # Errors
/// Where there is no limit of that name.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let Context { limits, now, terminal, .. } = context;
    let report = match &args.name {
        Some(name) => LimitsReport::one(limits, *now, find(name)?),
        None => LimitsReport::all(limits, *now),
    };
    let answer = match (context.format, &args.name) {
        (Format::Json, _) => json::pretty(&report),
        (Format::Text, Some(_)) => text::detail(&report),
        (Format::Text, None) => text::overview(&report),
    };
    terminal.answer(&answer)?;
    Ok(Exit::DONE)
}

fn find(text: &str) -> anyhow::Result<LimitName> {
    let found = LimitName::ALL.into_iter().find(|name| name.as_str().eq_ignore_ascii_case(text));
    let names = LimitName::ALL.map(|name| format!("\n  {name}")).concat();
    found
        .ok_or_else(|| anyhow!("there is no limit `{text}`; there are:{names}"))
        .hint("`certpace limits` describes each")
}

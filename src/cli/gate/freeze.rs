//! `certpace gate freeze`, `thaw` and `unpause`: what a person says to all pipelines.

use serde::Serialize;

use super::super::ledger::session::{LedgerOptions, Use, process_name};
use super::super::{Context, Exit, Format, TEMPLATE};
use crate::gate::{Freeze, Scope};
use crate::name::Identifier;
use crate::report::json;

/// What to stop.
#[derive(clap::Args, Clone, Debug)]
#[group(required = true, multiple = false, args = ["account", "tenant", "domain", "everything"])]
pub struct ScopeOptions {
    /// All orders of this account
    #[arg(long, value_name = "ID")]
    pub account: Option<String>,
    /// All orders of this tenant
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
    /// All orders with a name of this registered domain
    #[arg(long, value_name = "DOMAIN")]
    pub domain: Option<String>,
    /// All orders
    #[arg(long)]
    pub everything: bool,
}

/// What to stop, and why.
#[derive(clap::Args, Clone, Debug)]
#[command(help_template = TEMPLATE)]
pub struct FreezeArgs {
    /// What to stop.
    #[command(flatten)]
    pub scope: ScopeOptions,
    /// Why, for those who are stopped
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Who says so [default: this process]
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// The ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
}

/// What goes on.
#[derive(clap::Args, Clone, Debug)]
#[command(help_template = TEMPLATE)]
pub struct ThawArgs {
    /// What was stopped; `--everything` ends all freezes.
    #[command(flatten)]
    pub scope: ScopeOptions,
    /// The ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
}

/// Which names.
#[derive(clap::Args, Clone, Debug)]
#[command(help_template = TEMPLATE)]
pub struct UnpauseArgs {
    /// The names; none: all of the account
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// The account
    #[arg(long, value_name = "ID", default_value = "default")]
    pub account: String,
    /// The ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
}

impl ScopeOptions {
    fn scope(&self, context: &Context) -> anyhow::Result<Scope> {
        Ok(match (&self.account, &self.tenant, &self.domain) {
            (Some(account), _, _) => Scope::Account(account.clone()),
            (_, Some(tenant), _) => Scope::Tenant(tenant.clone()),
            (_, _, Some(domain)) => Scope::Domain(context.suffixes().domain_of(&Identifier::parse(domain)?)),
            (None, None, None) => Scope::Everything,
        })
    }
}

/// The answer.
#[derive(Serialize)]
struct FreezeReport {
    certpace_freeze: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    frozen: Vec<Freeze>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    thawed: Vec<Freeze>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unpaused: Option<usize>,
}

/// What a freeze stops, in words.
fn words(scope: &Scope) -> String {
    match scope {
        Scope::Everything => "everything".to_owned(),
        Scope::Account(account) => format!("account {account}"),
        Scope::Tenant(tenant) => format!("tenant {tenant}"),
        Scope::Domain(domain) => format!("domain {domain}"),
    }
}

fn answer(report: &FreezeReport, text: String, context: &Context) -> anyhow::Result<Exit> {
    context.terminal.answer(&match context.format {
        Format::Json => json::pretty(report),
        Format::Text => text,
    })?;
    Ok(Exit::DONE)
}

/// `gate freeze`.
///
/// # Errors
/// Where the ledger can't be written.
pub fn freeze(args: &FreezeArgs, context: &Context) -> anyhow::Result<Exit> {
    let scope = args.scope.scope(context)?;
    let mut session = args.ledger.open(context, Use::Write, false)?;
    let by = args.by.clone().unwrap_or_else(process_name);
    let freeze = session.gate.freeze(&scope, &args.reason, &by)?;
    session.remember();
    let text = format!("frozen: {}, since {}\n", words(&scope), freeze.since);
    answer(
        &FreezeReport { certpace_freeze: 1, frozen: vec![freeze], thawed: Vec::new(), unpaused: None },
        text,
        context,
    )
}

/// `gate thaw`.
///
/// # Errors
/// Where the ledger can't be written.
pub fn thaw(args: &ThawArgs, context: &Context) -> anyhow::Result<Exit> {
    let scope = args.scope.scope(context)?;
    let mut session = args.ledger.open(context, Use::Write, false)?;
    let thawed = session.gate.thaw(&scope, &process_name())?;
    session.remember();
    let mut text: String = thawed.iter().map(|freeze| format!("thawed: {}\n", words(&freeze.scope))).collect();
    if thawed.is_empty() {
        text = format!("{} was not frozen\n", words(&scope));
    }
    answer(&FreezeReport { certpace_freeze: 1, frozen: Vec::new(), thawed, unpaused: None }, text, context)
}

/// `gate unpause`.
///
/// # Errors
/// Where the ledger can't be written.
pub fn unpause(args: &UnpauseArgs, context: &Context) -> anyhow::Result<Exit> {
    let mut session = args.ledger.open(context, Use::Write, false)?;
    let canonical = |name: &String| Identifier::parse(name).map(|name| name.to_string());
    let names = args.names.iter().map(canonical).collect::<Result<Vec<_>, _>>()?;
    let unpaused = session.gate.unpause(&args.account, &names, &process_name())?;
    session.remember();
    let text = format!("{unpaused} names unpaused\n");
    let report = FreezeReport { certpace_freeze: 1, frozen: Vec::new(), thawed: Vec::new(), unpaused: Some(unpaused) };
    answer(&report, text, context)
}

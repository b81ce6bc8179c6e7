//! What is told of a permit, and what is asked about permits.

use std::path::PathBuf;

use super::super::ledger::session::{LedgerOptions, Session, Use};
use super::super::sources::SourceOptions;
use super::super::{Context, Exit, Format, TEMPLATE};
use super::asked::lease;
use super::{loss, print};
use crate::gate::journal::{LOCAL, News};
use crate::gate::{Dispatch, Gate, GateError, Told};
use crate::import::SearchNames;
use crate::name::Identifier;
use crate::permits::State;
use crate::report::gate::{GateReport, ListReport};
use crate::report::json;
use crate::time::{NS_PER_S, Span, Timestamp};

/// A permit.
#[derive(clap::Args, Clone, Debug)]
#[command(help_template = TEMPLATE)]
pub struct Args {
    /// Its number, as `gate reserve` printed it
    #[arg(value_name = "PERMIT")]
    pub permit: String,
    /// It was reserved in shadow mode
    #[arg(long)]
    pub shadow: bool,
    /// The ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
}

/// A permit and names that failed.
#[derive(clap::Args, Clone, Debug)]
#[command(help_template = TEMPLATE)]
pub struct FailArgs {
    /// The permit.
    #[command(flatten)]
    pub of: Args,
    /// A name whose validation failed: it is not tried again before its time
    #[arg(long = "name", value_name = "NAME", value_delimiter = ',')]
    pub names: Vec<String>,
}

/// A permit and what the CA said.
#[derive(clap::Args, Clone, Debug)]
#[command(help_template = TEMPLATE)]
pub struct RefusedArgs {
    /// The permit.
    #[command(flatten)]
    pub of: Args,
    /// Its `Retry-After`: seconds, or a span such as 3h
    #[arg(long, value_name = "SPAN", value_parser = seconds)]
    pub retry_after: Option<Span>,
    /// The `detail` of its problem document
    #[arg(long, value_name = "TEXT")]
    pub detail: Option<String>,
}

/// A permit and a lease.
#[derive(clap::Args, Clone, Debug)]
#[command(help_template = TEMPLATE)]
pub struct ExtendArgs {
    /// The permit.
    #[command(flatten)]
    pub of: Args,
    /// How long from now
    #[arg(long, value_name = "SPAN", value_parser = lease, default_value = "30m")]
    pub lease: Span,
}

/// What is known of permits whose end nobody told.
#[derive(clap::Args, Clone, Debug)]
#[command(help_template = TEMPLATE, before_help = RECONCILE)]
pub struct ReconcileArgs {
    /// Look for their certificates here: what `certpace ledger import` reads
    #[arg(value_name = "SOURCE")]
    pub sources: Vec<PathBuf>,
    /// Whose certificates.
    #[command(flatten)]
    pub read: SourceOptions,
    /// This one was issued
    #[arg(long, value_name = "PERMIT", requires = "issued_at")]
    pub found: Option<String>,
    /// When
    #[arg(long, value_name = "RFC3339", requires = "found")]
    pub issued_at: Option<Timestamp>,
    /// Of this one no certificate came, nor will
    #[arg(long, value_name = "PERMIT", conflicts_with = "found")]
    pub not_found: Option<String>,
    /// In shadow mode
    #[arg(long)]
    pub shadow: bool,
    /// The ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
}

const RECONCILE: &str = "Examples:
  certpace gate reconcile                                    list those of which nobody knows
  certpace gate reconcile /etc/letsencrypt                   look for their certificates
  certpace gate reconcile --not-found 6a9240c13fa9b0c2d4e5   no certificate came of it";

/// Which permits.
#[derive(clap::Args, Clone, Debug)]
#[command(help_template = TEMPLATE)]
pub struct ListArgs {
    /// Those that are over too
    #[arg(long)]
    pub all: bool,
    /// In shadow mode
    #[arg(long)]
    pub shadow: bool,
    /// The ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
}

fn seconds(text: &str) -> Result<Span, String> {
    match text.parse::<u32>() {
        Ok(seconds) => Ok(Span::from_seconds(i64::from(seconds))),
        Err(_) => lease(text),
    }
}

fn open(args: &Args, context: &Context) -> anyhow::Result<Session> {
    args.ledger.open(context, Use::Write, args.shadow)
}

/// Tells an event.
///
/// # Errors
/// Where the ledger can't be used, or the event makes no sense.
pub fn told(
    args: &Args,
    context: &Context,
    event: impl FnOnce(&mut Gate, &str) -> Result<Told, GateError>,
) -> anyhow::Result<Exit> {
    let mut session = open(args, context)?;
    let told = event(&mut session.gate, &args.permit)?;
    session.remember();
    print(&GateReport::of_told(&told), context)?;
    Ok(Exit::DONE)
}

/// Tells what came of the order: the ledger, or if that is gone the journal, where the permit was given without it.
///
/// # Errors
/// Where neither can be told, or it makes no sense.
pub fn news(args: &Args, news: &News, context: &Context) -> anyhow::Result<Exit> {
    match loss::tell(&args.permit, news, &args.ledger, args.shadow, context)? {
        Some(told) => print(&GateReport::of_told(&told), context)?,
        None => print(&GateReport::local(&args.permit, context.now, None), context)?,
    }
    Ok(Exit::DONE)
}

/// `gate sent`: the one event that is asked about.
///
/// # Errors
/// Where the ledger can't be used, or the order must not go out any more.
pub fn sent(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    if args.permit.starts_with(LOCAL) {
        // It was durable before it was given.
        print(&GateReport::local(&args.permit, context.now, None), context)?;
        return Ok(Exit::DONE);
    }
    let mut session = open(args, context)?;
    let dispatch = session.gate.sent(&args.permit)?;
    let (at, mark) = (session.gate.now()?, session.gate.mark());
    session.remember();
    print(&GateReport::of_dispatch(&dispatch, at, mark), context)?;
    Ok(match dispatch {
        Dispatch::Go(_) | Dispatch::Gone(_) => Exit::DONE,
        Dispatch::Later { .. } => Exit::NOT_NOW,
        Dispatch::Frozen(_) => Exit::NEVER,
    })
}

/// `gate fail`.
///
/// # Errors
/// As [`told`].
pub fn fail(args: &FailArgs, context: &Context) -> anyhow::Result<Exit> {
    // As the permit has them.
    let canonical = |name: &String| Identifier::parse(name).map_or_else(|_| name.clone(), |name| name.to_string());
    let names: Vec<_> = args.names.iter().map(canonical).collect();
    news(&args.of, &News::Failed { names }, context)
}

/// `gate refused`.
///
/// # Errors
/// As [`told`].
pub fn refused(args: &RefusedArgs, context: &Context) -> anyhow::Result<Exit> {
    let retry_after_seconds = args.retry_after.map(|span| span.nanos() / NS_PER_S);
    news(&args.of, &News::Refused { retry_after_seconds, detail: args.detail.clone() }, context)
}

/// `gate extend`.
///
/// # Errors
/// As [`told`].
pub fn extend(args: &ExtendArgs, context: &Context) -> anyhow::Result<Exit> {
    told(&args.of, context, |gate, permit| gate.extend(permit, args.lease))
}

/// `gate reconcile`.
///
/// # Errors
/// Where the ledger or a source can't be read.
pub fn reconcile(args: &ReconcileArgs, context: &Context) -> anyhow::Result<Exit> {
    let imported = args.read.read(&args.sources, SearchNames::SomeOfEach, context)?;
    let mut session = args.ledger.open(context, Use::Write, args.shadow)?;
    if !args.sources.is_empty() {
        let found = session.gate.reconcile(&imported.issuances)?;
        context.terminal.hint(&format!("{found} permits are issued"));
    }
    if let (Some(permit), Some(issued_at)) = (&args.found, args.issued_at) {
        session.gate.found(permit, issued_at)?;
    }
    if let Some(permit) = &args.not_found {
        session.gate.not_found(permit)?;
    }
    session.remember();
    let permits = session.gate.permits()?;
    list_of(&ListReport::of(permits.iter().filter(|permit| permit.life.state == State::Unknown)), context)
}

/// `gate list`.
///
/// # Errors
/// Where the ledger can't be read.
pub fn list(args: &ListArgs, context: &Context) -> anyhow::Result<Exit> {
    let mut session = args.ledger.open(context, Use::Read, args.shadow)?;
    let permits = session.gate.permits()?;
    let is_open = |state: State| state.is_live() || state == State::Unknown;
    list_of(&ListReport::of(permits.iter().filter(|permit| args.all || is_open(permit.life.state))), context)
}

fn list_of(report: &ListReport, context: &Context) -> anyhow::Result<Exit> {
    context.terminal.answer(&match context.format {
        Format::Json => json::pretty(report),
        Format::Text => report.text(),
    })?;
    Ok(Exit::DONE)
}

//! `certpace ledger init`, `export`, `verify`, `prune`, `migrate` and `recover`.

use anyhow::bail;
use serde::Serialize;

use super::super::{Context, Exit, Format, TEMPLATE};
use super::session::{LedgerOptions, Use, process_name, told};
use crate::clock::SystemClock;
use crate::ledger::{Access, LedgerUrl, Mark, open};
use crate::report::json;
use crate::report::words::grouped;
use crate::time::Timestamp;

/// How many lines of the record are read at once.
const PAGE: usize = 10_000;

/// Arguments of `init`.
#[derive(clap::Args, Clone, Debug)]
#[command(help_template = TEMPLATE, before_help = INIT)]
pub struct InitArgs {
    /// It takes the place of one that was lost: all buckets count as empty now
    #[arg(long)]
    pub lost: bool,
    /// The ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
}

const INIT: &str = "A new ledger takes all buckets to be full: right if nothing was ordered in the last 7 days. If something was, let `certpace ledger
import` tell what, or say --lost.";

/// Arguments of `export`.
#[derive(clap::Args, Clone, Debug)]
#[command(help_template = TEMPLATE)]
pub struct ExportArgs {
    /// From this change on
    #[arg(long, value_name = "SEQUENCE", default_value_t = 0)]
    pub from: u64,
    /// In shadow mode
    #[arg(long)]
    pub shadow: bool,
    /// The ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
}

/// Arguments of `verify`.
#[derive(clap::Args, Clone, Debug)]
#[command(help_template = TEMPLATE)]
pub struct VerifyArgs {
    /// In shadow mode
    #[arg(long)]
    pub shadow: bool,
    /// The ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
}

/// Arguments of `prune`.
#[derive(clap::Args, Clone, Debug)]
#[command(help_template = TEMPLATE)]
pub struct PruneArgs {
    /// Keep what is younger than this; sets are kept 120 days at least
    #[arg(long, value_name = "SPAN", default_value = "120d", value_parser = super::super::gate::asked::lease)]
    pub keep: crate::time::Span,
    /// In shadow mode
    #[arg(long)]
    pub shadow: bool,
    /// The ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
}

/// Arguments of `migrate`.
#[derive(clap::Args, Clone, Debug)]
#[command(help_template = TEMPLATE)]
pub struct MigrateArgs {
    /// The ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
}

/// Arguments of `recover`.
#[derive(clap::Args, Clone, Debug)]
#[command(help_template = TEMPLATE, before_help = RECOVER)]
pub struct RecoverArgs {
    /// Up to when the ledger knows what happened
    #[arg(long, value_name = "RFC3339")]
    pub since: Timestamp,
    /// The ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
}

const RECOVER: &str = "What happened since then is not known. As much as the limits allow may have been spent, up to this moment: so all buckets count as
empty now, and fill again. A new epoch begins, so that whoever saw the ledger before goes on with it.
Renewals inside their ARI window go on meanwhile: they need no tokens. `certpace ledger import` then tells which sets were issued.";

#[derive(Serialize)]
struct CareReport {
    certpace_ledger: u32,
    ledger: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    made: Option<bool>,
    epoch: u64,
    sequence: u64,
    notes: Vec<String>,
}

/// `ledger init`.
///
/// # Errors
/// Where the store can't be made a ledger.
pub fn init(args: &InitArgs, context: &Context) -> anyhow::Result<Exit> {
    let url = args.ledger.url()?;
    let (made, notes) = match &url {
        LedgerUrl::Sqlite(_) => {
            let (mut store, made) = open(&url, Access::Create, SystemClock).map_err(told)?;
            (made, store.notes())
        }
        LedgerUrl::Redis { .. } | LedgerUrl::Postgres { .. } => {
            let (mut store, _) = open(&url, Access::Create, SystemClock).map_err(told)?;
            (store.init().map_err(told)?, store.notes())
        }
    };
    if !made && args.lost {
        bail!(
            "there is a ledger in {url}, and it was not lost; `certpace ledger recover` is for one that has lost its last changes"
        );
    }
    let mut session = args.ledger.open(context, Use::Write, false)?;
    if args.lost {
        let mark = session.gate.assume_empty(&[], true, &process_name())?;
        session.forget_seen(mark);
    } else if made {
        session.forget_seen(session.gate.mark());
    }
    let mark = session.gate.mark();
    let text = match (made, args.lost) {
        (false, _) => format!("there is a ledger in {url} already; nothing was changed\n"),
        (true, false) => format!("made a ledger in {url}; all buckets are taken to be full\n"),
        (true, true) => format!("made a ledger in {url}; all buckets count as empty now, and fill again\n"),
    };
    answer(&url, Some(made), mark, notes, text, context)
}

fn answer(
    url: &LedgerUrl,
    made: Option<bool>,
    mark: Mark,
    notes: Vec<String>,
    text: String,
    context: &Context,
) -> anyhow::Result<Exit> {
    let Mark { epoch, sequence } = mark;
    let notes_text: String = notes.iter().map(|note| format!("note: {note}\n")).collect();
    let report = CareReport { certpace_ledger: 1, ledger: url.to_string(), made, epoch, sequence, notes };
    context.terminal.answer(&match context.format {
        Format::Json => json::pretty(&report),
        Format::Text => format!("{text}{notes_text}"),
    })?;
    Ok(Exit::DONE)
}

/// `ledger recover`.
///
/// # Errors
/// Where the ledger can't be written.
pub fn recover(args: &RecoverArgs, context: &Context) -> anyhow::Result<Exit> {
    let mut session = args.ledger.open_unseen(context)?;
    let now = session.gate.now()?;
    if args.since > now {
        bail!("--since {} lies in the future: it is {now}", args.since);
    }
    let unknown = session.gate.lose_since(args.since, &process_name())?;
    let mark = session.gate.mark();
    session.forget_seen(mark);
    let text = format!(
        "epoch {} begins; all buckets count as empty at {now}, and fill again; nobody knows what came of {} permits that were open\n",
        mark.epoch,
        grouped(unknown as u64)
    );
    answer(&session.url, None, mark, Vec::new(), text, context)
}

/// `ledger export`.
///
/// # Errors
/// Where the ledger can't be read.
pub fn export(args: &ExportArgs, context: &Context) -> anyhow::Result<Exit> {
    let mut session = args.ledger.open(context, Use::Read, args.shadow)?;
    let code = session.gate.realm().code();
    let mut from = args.from;
    loop {
        let mut page = Vec::new();
        let more = session.gate.with_store(|store| {
            store.records(from, PAGE, &mut |record| {
                from = record.sequence + 1;
                if record.realm == code {
                    // The body is an object: sequence and time come first.
                    let body = record.body.strip_prefix('{').unwrap_or(&record.body);
                    page.extend_from_slice(
                        format!("{{\"sequence\":{},\"at\":\"{}\",{body}\n", record.sequence, record.at).as_bytes(),
                    );
                }
            })
        })?;
        context.terminal.answer_raw(&page)?;
        if !more {
            return Ok(Exit::DONE);
        }
    }
}

/// `ledger migrate`.
///
/// # Errors
/// Where the ledger can't be written.
pub fn migrate(args: &MigrateArgs, context: &Context) -> anyhow::Result<Exit> {
    let session = args.ledger.open(context, Use::Write, false)?;
    let text =
        format!("{} has schema {}, which is this certpace's: nothing to do\n", session.url, crate::ledger::SCHEMA);
    answer(&session.url, None, session.gate.mark(), Vec::new(), text, context)
}

/// `ledger verify`.
///
/// # Errors
/// Where the ledger can't be read, or is not what its record says.
pub fn verify(_args: &VerifyArgs, _context: &Context) -> anyhow::Result<Exit> {
    bail!("not yet")
}

/// `ledger prune`.
///
/// # Errors
/// Where the ledger can't be written.
pub fn prune(_args: &PruneArgs, _context: &Context) -> anyhow::Result<Exit> {
    bail!("not yet")
}

//! `certpace ledger init`, `export`, `verify`, `prune`, `migrate` and `recover`.

use std::fmt;

use anyhow::{anyhow, bail};
use serde::Serialize;

use super::super::failure::Hint as _;
use super::super::{Context, Exit, Format, TEMPLATE};
use super::session::{LedgerOptions, Use, process_name};
use crate::clock::SystemClock;
use crate::gate::{Entry, Pruned};
use crate::ledger::{Access, Cell, LedgerError, LedgerUrl, Mark, open};
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
    /// It is new, though a ledger was seen there before: nothing was ordered in the last 7 days
    #[arg(long, conflicts_with = "lost")]
    pub fresh: bool,
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
    let seen = args.ledger.seen(context)?;
    if seen.sequence > 0 && !args.lost && !args.fresh && missing(&url)? {
        return Err(anyhow!("a ledger was seen in {url} before, with {} changes, and there is none", grouped(seen.sequence)))
            .hint("if it was lost: --lost, so that nothing is ordered that was ordered already; if it was done away with: --fresh");
    }
    let (mut store, made) = open(&url, Access::Init, SystemClock)?;
    let notes = store.notes();
    drop(store);
    if !made && args.lost {
        bail!(
            "there is a ledger in {url}, and it was not lost; `certpace ledger recover` is for one that has lost its last changes"
        );
    }
    // What was seen of one that was lost does not count any more.
    let mut session =
        if made { args.ledger.open_unseen(context)? } else { args.ledger.open(context, Use::Write, false)? };
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

/// Whether there is no ledger there.
fn missing(url: &LedgerUrl) -> anyhow::Result<bool> {
    match open(url, Access::MustExist, SystemClock) {
        Ok(_) => Ok(false),
        Err(LedgerError::NotInitialised { .. }) => Ok(true),
        Err(error) => Err(error.into()),
    }
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
                    page.extend_from_slice(Entry::shown(record.sequence, record.at, &record.body).as_bytes());
                    page.push(b'\n');
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
    let mut session = args.ledger.open(context, Use::Write, false)?;
    let text = match session.gate.with_store(|store| store.migrate())? {
        Some((from, to)) => format!("{} had schema {from} and has {to} now\n", session.url),
        None => {
            format!("{} has this certpace's schema, or a newer one that it may write: nothing to do\n", session.url)
        }
    };
    answer(&session.url, None, session.gate.mark(), Vec::new(), text, context)
}

#[derive(Serialize)]
struct VerifyReport {
    certpace_verify: u32,
    ledger: String,
    /// Buckets that were compared.
    buckets: usize,
    differences: Vec<DifferenceReport>,
}

#[derive(Serialize)]
struct DifferenceReport {
    bucket: String,
    ledger: CellReport,
    record: CellReport,
}

#[derive(Serialize)]
struct CellReport {
    full_at: Option<Timestamp>,
    held: u32,
}

impl CellReport {
    fn of(cell: Cell) -> Self {
        Self { full_at: cell.tally.tat, held: cell.tally.held }
    }
}

impl fmt::Display for CellReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.full_at {
            Some(full_at) => write!(f, "full at {full_at}, {} held", self.held),
            None => write!(f, "full, {} held", self.held),
        }
    }
}

/// `ledger verify`.
///
/// # Errors
/// Where the ledger can't be read.
pub fn verify(args: &VerifyArgs, context: &Context) -> anyhow::Result<Exit> {
    let mut session = args.ledger.open(context, Use::Read, args.shadow)?;
    let verified = session.gate.verify()?;
    session.remember();
    let difference = |(bucket, has, should): (String, Cell, Cell)| DifferenceReport {
        bucket,
        ledger: CellReport::of(has),
        record: CellReport::of(should),
    };
    let report = VerifyReport {
        certpace_verify: 1,
        ledger: session.url.to_string(),
        buckets: verified.buckets,
        differences: verified.differences.into_iter().map(difference).collect(),
    };
    let buckets = grouped(report.buckets as u64);
    let mut text = match report.differences.len() {
        0 => format!("{buckets} buckets are what the record says\n"),
        count => format!("{} of {buckets} buckets are not what the record says:\n", grouped(count as u64)),
    };
    for of in &report.differences {
        text.push_str(&format!("  {}: {}; by the record {}\n", of.bucket, of.ledger, of.record));
    }
    context.terminal.answer(&match context.format {
        Format::Json => json::pretty(&report),
        Format::Text => text,
    })?;
    if report.differences.is_empty() {
        return Ok(Exit::DONE);
    }
    context
        .terminal
        .hint("somebody has changed the store by hand, or it was damaged: `certpace ledger recover --since THEN`");
    Ok(Exit::NO_LEDGER)
}

#[derive(Serialize)]
struct PruneReport {
    certpace_prune: u32,
    ledger: String,
    #[serde(flatten)]
    pruned: Pruned,
}

/// `ledger prune`.
///
/// # Errors
/// Where the ledger can't be written.
pub fn prune(args: &PruneArgs, context: &Context) -> anyhow::Result<Exit> {
    let mut session = args.ledger.open(context, Use::Write, args.shadow)?;
    let pruned = session.gate.prune(args.keep)?;
    session.remember();
    let count = |count: u64| grouped(count);
    let text = format!(
        "taken away: {} sets, {} permits, {} failures, {} full buckets, {} lines of the record\n",
        count(pruned.sets),
        count(pruned.permits),
        count(pruned.failures),
        count(pruned.buckets),
        count(pruned.records)
    );
    let report = PruneReport { certpace_prune: 1, ledger: session.url.to_string(), pruned };
    context.terminal.answer(&match context.format {
        Format::Json => json::pretty(&report),
        Format::Text => text,
    })?;
    Ok(Exit::DONE)
}

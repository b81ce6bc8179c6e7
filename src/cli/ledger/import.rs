//! `certpace ledger import SOURCE…`: so that the ledger starts true.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::super::sources::SourceOptions;
use super::super::terminal::Verbosity;
use super::super::{Context, Exit, Format, TEMPLATE};
use super::session::{LedgerOptions, Use};
use crate::import::SearchNames;
use crate::report::import::ImportReport;
use crate::report::json;

/// Its arguments.
#[derive(clap::Args, Clone, Debug)]
#[command(help_template = TEMPLATE, before_help = EXAMPLES, after_help = NEXT)]
pub struct Args {
    /// Directories, files, or `-` for stdin
    #[arg(required = true, value_name = "SOURCE")]
    pub paths: Vec<PathBuf>,
    /// The account that ordered them
    #[arg(long, value_name = "ID", default_value = "default")]
    pub account: String,
    /// Searches of crt.sh show all names of each certificate (they were made with `match=any`)
    #[arg(long)]
    pub all_names_shown: bool,
    /// Whose certificates.
    #[command(flatten)]
    pub sources: SourceOptions,
    /// The ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
}

const EXAMPLES: &str = "Examples:
  certpace ledger import /etc/letsencrypt                        certbot, with all that it kept
  certpace ledger import ~/.acme.sh ~/.lego acme.json            several clients
  kubectl get secret -A -o json | certpace ledger import -
  curl 'https://crt.sh/?q=example.com&output=json' > search.json
  certpace ledger import search.json /etc/letsencrypt            each certificate counts once";

const NEXT: &str = "It can be repeated, and goes on where it was broken off. docs/import.md says what is read, and how each certificate counts.
Exit codes: 0 imported, 1 an entry can't be read (nothing was imported), 2 usage, 9 no ledger.";

/// Imports.
///
/// # Errors
/// Where a source or the ledger can't be used.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let names = if args.all_names_shown { SearchNames::AllOfEach } else { SearchNames::SomeOfEach };
    let imported = args.sources.read(&args.paths, names, context)?;
    let mut session = args.ledger.open(context, Use::Write, false)?;
    let shown = io::stderr().is_terminal() && context.terminal.verbosity() >= Verbosity::Normal;
    let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(imported.issuances.len() as u64), target);
    if let Ok(style) = ProgressStyle::with_template("counting  {wide_bar}  {percent} %  {eta} left") {
        bar.set_style(style);
    }
    let counted = session.gate.import(&args.account, &imported.issuances, &imported.sources, &|done| {
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let counted = counted?;
    session.remember();
    let at = session.gate.now()?;
    let directory = session.gate.realm().directory().to_owned();
    let report = ImportReport::new(session.url.to_string(), directory, at, &imported, &counted);
    report.warnings().iter().for_each(|warning| context.terminal.warn(warning));
    context.terminal.answer(&match context.format {
        Format::Json => json::pretty(&report),
        Format::Text => report.text(),
    })?;
    Ok(Exit::DONE)
}

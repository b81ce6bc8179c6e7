//! `certpace inventory from-certs DIR…`: an inventory from certificates.

use std::path::PathBuf;

use anyhow::{anyhow, bail};

use super::failure::Hint as _;
use super::output::{self, Interrupt, PowerCut};
use super::sources::SourceOptions;
use super::{Context, Exit, Format, TEMPLATE};
use crate::import::{Held, SearchNames};
use crate::report::from_certs::FromCerts;
use crate::report::json;
use crate::report::words::grouped;

/// Its arguments.
#[derive(clap::Args, Clone, Debug)]
#[command(help_template = TEMPLATE, arg_required_else_help = true, subcommand_required = true)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What it does.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum Command {
    /// Write an inventory of the certificates in directories
    FromCerts(FromCertsArgs),
}

/// The arguments of `from-certs`.
#[derive(clap::Args, Clone, Debug)]
#[command(help_template = TEMPLATE, before_help = EXAMPLES, after_help = NEXT)]
pub struct FromCertsArgs {
    /// Directories with certificates anywhere below, or files; `-` reads stdin
    #[arg(required = true, value_name = "DIR")]
    pub paths: Vec<PathBuf>,
    /// Where to write the inventory [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Whose certificates.
    #[command(flatten)]
    pub sources: SourceOptions,
}

const EXAMPLES: &str = "Examples:
  certpace inventory from-certs /etc/letsencrypt -o held.csv      certbot
  certpace inventory from-certs ~/.acme.sh ~/.lego -o held.csv    several clients, one inventory
  certpace inventory from-certs acme.json                         Traefik; to stdout
  kubectl get secret -A -o json | certpace inventory from-certs - -o held.csv
  certpace inventory from-certs /var/lib/caddy --format json | jq .held

What is read: PEM and DER files, Kubernetes secrets, Traefik's acme.json. Private keys are passed over.";

const NEXT: &str = "Each name is on one certificate: the newest in use that has not expired.
Exit codes: 0 written, 1 an entry can't be read (nothing was written), or no certificate is held.
Next: certpace plan held.csv";

/// Writes an inventory.
///
/// # Errors
/// Where something can't be read or written, or there is nothing to write.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let Command::FromCerts(args) = &args.command;
    let Context { limits, terminal, .. } = context;
    let imported = args.sources.read(&args.paths, SearchNames::SomeOfEach, context)?;
    let issuers = args.sources.issuers(context);
    let held = Held::at(context.now, &imported.issuances, &limits.policy);
    let report = FromCerts::new(context.now, &issuers, &imported, &held);
    if report.rows.is_empty() {
        return nothing(&report, &args.paths);
    }
    report.warnings().iter().for_each(|warning| terminal.warn(warning));
    let target = args.output.as_deref().filter(|path| path.as_os_str() != "-");
    if let Some(path) = target {
        output::write(path, PowerCut::Repeatable, &Interrupt::watch(), std::iter::once(vec![report.csv()]))?;
    }
    match (context.format, target) {
        (Format::Json, _) => terminal.answer(&json::pretty(&report))?,
        (Format::Text, Some(path)) => terminal.answer(&report.summary(&path.display().to_string()))?,
        (Format::Text, None) => terminal.answer_raw(&report.csv())?,
    }
    Ok(Exit::DONE)
}

/// Why there is nothing to write.
fn nothing(report: &FromCerts<'_>, paths: &[PathBuf]) -> anyhow::Result<Exit> {
    let (held, read) = (&report.held, &report.read);
    if read.entries == 0 && read.other_issuers == 0 {
        let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        bail!("there is no certificate in {}", paths.join(", "));
    }
    let why = [(held.expired, "expired"), (held.not_in_use, "not in use"), (read.other_issuers, "of other CAs")];
    let why = why.iter().filter(|(count, _)| *count > 0);
    let why: Vec<_> = why.map(|(count, what)| format!("{} {what}", grouped(*count))).collect();
    let none = Err(anyhow!("no certificate is held: {}", why.join(", ")));
    if read.other_issuers == 0 {
        return none;
    }
    none.hint("other CAs: --issuer NAME, --all-issuers, or --policy letsencrypt-staging for the staging environment")
}

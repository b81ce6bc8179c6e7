//! The command line: one file a command, and the only writer to stdout and stderr.
//!
//! A command reads its world through [`Context`], asks the core, has `report` render the answer, and ends with an [`Exit`]. To add
//! one: a file with `Args` and `run`, and a line each in [`Command`] and its `run`.

#[cfg(feature = "acme")]
pub mod account;
#[cfg(feature = "acme")]
pub mod challenges;
pub mod check;
pub mod completions;
pub mod context;
#[cfg(feature = "acme")]
pub mod enforce;
pub mod exit;
pub mod failure;
pub mod gate;
pub mod input;
#[cfg(feature = "acme")]
pub mod issue;
#[cfg(feature = "acme")]
pub mod issuer;
pub mod ledger;
pub mod inventory;
pub mod limits;
pub mod man;
pub mod output;
pub mod plan;
pub mod plan_file;
#[cfg(feature = "acme")]
pub mod renew;
pub mod scenario;
pub mod show;
pub mod simulate;
pub mod sources;
#[cfg(feature = "acme")]
pub mod status;
#[cfg(feature = "acme")]
pub mod store;
pub mod terminal;
pub mod test;

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::PathBuf;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, ValueEnum as _};

use crate::clock::Clock;
use crate::time::Timestamp;

pub use context::Context;
pub use exit::Exit;
pub use terminal::{AskedFormat, Format, Terminal};

/// Examples before options: most who ask for help want one.
const TEMPLATE: &str = "{about-with-newline}\n{usage-heading} {usage}\n\n{before-help}{all-args}{after-help}";

/// Plans certificate issuance from Let's Encrypt so that no rate limit is ever hit.
#[derive(Parser, Debug)]
#[command(
    name = "certpace",
    version,
    help_template = TEMPLATE,
    max_term_width = 100,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    subcommand_required = true,
    before_help = EXAMPLES,
    after_help = EXIT_CODES,
)]
pub struct Cli {
    /// The options that every command takes.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "Examples:
  certpace plan names.csv               plan an inventory: how many orders, until when, why
  certpace plan names.csv -o plan.jsonl
  certpace show plan.jsonl --hostname www.example.com
  certpace simulate plan.jsonl          what comes of it when the world is late
  certpace test scenarios               run scenarios, and hold them to what they expect
  certpace check www.example.com        may this order go out now?
  certpace gate run --names example.com -- certbot certonly -d example.com
  certpace issue plan.jsonl             perform a plan: order, validate, fetch, keep
  certpace account create --agree-tos   an account to order with, made once
  certpace status --expiring 14         which certificates expire soon, and what is done about it
  certpace enforce --upstream URL       enforce the limits in front of a test CA, such as Pebble
  certpace limits                       what the CA allows, with sources
  certpace limits NewOrdersPerAccount   one limit in detail
  certpace inventory from-certs DIR     an inventory from certificates
  certpace completions bash             completions for a shell";

const EXIT_CODES: &str = "Exit codes:
  0  done, or allowed
  1  error: bad input, or a file that can't be read or written
  2  usage: an option or argument that certpace does not know
  3  not now: a limit; the answer says until when
  4  the plan misses its deadline
  5  a scenario's expectation failed, or a client was refused (enforce --fail-on-refusal)
  6  the plan is stale
  7  never: a refused name, too many names, paused, frozen
  8  in hand: another holder has the permit for this set
  9  the ledger can't be reached, or can't be relied on";

/// Options that every command takes.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Options of every command")]
pub struct GlobalArgs {
    /// How to answer; JSON is the same data
    #[arg(long, global = true, value_name = "text|json", hide_possible_values = true, default_value = "text")]
    pub format: AskedFormat,
    /// Ask as if it were this time, such as 2026-12-01T08:00:00Z or 2026-12-01
    #[arg(long, global = true, value_name = "RFC3339")]
    pub now: Option<Timestamp>,
    /// The CA's policy: letsencrypt, letsencrypt-staging, letsencrypt-2025, letsencrypt-2021, or a TOML file
    #[arg(long, global = true, value_name = "NAME|FILE", default_value = "letsencrypt")]
    pub policy: String,
    /// Overrides granted to you, a TOML file
    #[arg(long, global = true, value_name = "FILE")]
    pub overrides: Option<PathBuf>,
    /// A Public Suffix List in place of the one built in
    #[arg(long, global = true, value_name = "FILE")]
    pub psl: Option<PathBuf>,
    /// No warnings and no progress, only the answer and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say on stderr what is read
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// When to colour; auto honours NO_COLOR
    #[arg(long, global = true, value_name = "auto|always|never", hide_possible_values = true, default_value = "auto")]
    pub color: clap::ColorChoice,
}

/// What certpace does.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Group hostnames into certificates and schedule their orders
    Plan(Box<plan::Args>),
    /// Look into a plan: when is a name issued, with which others, and why not sooner
    Show(show::Args),
    /// Run a plan or a scenario in virtual time, and measure what comes of it
    Simulate(simulate::Args),
    /// Run scenarios and hold them to what they expect: regression tests for CI
    Test(test::Args),
    /// May this order go out now? If not, when? Changes nothing
    Check(Box<check::Args>),
    /// Permits for pipelines, from a shared ledger
    Gate(Box<gate::Args>),
    /// Look at the ledger, fill it, mend it
    Ledger(Box<ledger::Args>),
    /// Perform a plan: order, validate, fetch and keep its certificates
    #[cfg(feature = "acme")]
    Issue(Box<issue::Args>),
    /// Keep the certificates of the store fresh, by the CA's renewal information
    #[cfg(feature = "acme")]
    Renew(Box<renew::Args>),
    /// The accounts that certificates are ordered with
    #[cfg(feature = "acme")]
    Account(account::Args),
    /// How the certificates of a store stand: expiry, next action, last error
    #[cfg(feature = "acme")]
    Status(status::Args),
    /// Enforce the policy in front of a test CA, to see how a client behaves
    #[cfg(feature = "acme")]
    Enforce(enforce::Args),
    /// Print the policy in force: limits, profiles, sources, dates
    Limits(limits::Args),
    /// Write an inventory from what you have
    Inventory(inventory::Args),
    /// Print completions for a shell
    Completions(completions::Args),
    /// Print the manual as roff, or write a page for each command
    Man(man::Args),
}

impl Command {
    fn run(&self, global: &GlobalArgs, clock: &dyn Clock) -> anyhow::Result<Exit> {
        match self {
            Self::Plan(args) => plan::run(args, &Context::load(global, clock)?),
            Self::Show(args) => show::run(args, &Context::load(global, clock)?),
            Self::Simulate(args) => simulate::run(args, &Context::load(global, clock)?),
            Self::Test(args) => test::run(args, global.format, &Context::load(global, clock)?),
            Self::Check(args) => check::run(args, &Context::load(global, clock)?),
            Self::Gate(args) => gate::run(args, &Context::load(global, clock)?),
            Self::Ledger(args) => ledger::run(args, &Context::load(global, clock)?),
            #[cfg(feature = "acme")]
            Self::Issue(args) => issue::run(args, &Context::load(global, clock)?),
            #[cfg(feature = "acme")]
            Self::Renew(args) => renew::run(args, &Context::load(global, clock)?),
            #[cfg(feature = "acme")]
            Self::Account(args) => account::run(args, &Context::load(global, clock)?),
            #[cfg(feature = "acme")]
            Self::Status(args) => status::run(args, &Context::load(global, clock)?),
            #[cfg(feature = "acme")]
            Self::Enforce(args) => enforce::run(args, &Context::load(global, clock)?),
            Self::Limits(args) => limits::run(args, &Context::load(global, clock)?),
            Self::Inventory(args) => inventory::run(args, &Context::load(global, clock)?),
            Self::Completions(args) => completions::run(args, Terminal::new(global)),
            Self::Man(args) => man::run(args, Terminal::new(global)),
        }
    }
}

/// Runs `certpace` with `arguments`, the first of which is its own name, and says how it ended.
pub fn run(arguments: impl IntoIterator<Item = OsString>, clock: &dyn Clock) -> Exit {
    let arguments: Vec<_> = arguments.into_iter().collect();
    let command = Cli::command().color(color_of(&arguments));
    let parsed = command.try_get_matches_from(arguments).and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(usage) => return explain(&usage),
    };
    if let Err(usage) = cli.check_format() {
        return explain(&usage);
    }
    let terminal = Terminal::new(&cli.global);
    cli.command.run(&cli.global, clock).unwrap_or_else(|error| {
        let exit = Exit::of_error(&error);
        terminal.error(&match exit::ledger_error(&error).and_then(ledger::session::advice) {
            Some(advice) => failure::hinted(error, advice),
            None => error,
        });
        exit
    })
}

impl Cli {
    /// Two formats are for test reports alone.
    fn check_format(&self) -> Result<(), clap::Error> {
        let name = match self.global.format {
            AskedFormat::Text | AskedFormat::Json => return Ok(()),
            AskedFormat::Junit => "junit",
            AskedFormat::Github => "github",
        };
        if matches!(self.command, Command::Test(_)) {
            return Ok(());
        }
        let told = format!("--format {name} is for `certpace test`; here there are text and json");
        Err(Self::command().error(clap::error::ErrorKind::InvalidValue, told))
    }
}

/// What `--color` says, for clap's own messages: it needs that before it has read the arguments.
fn color_of(arguments: &[OsString]) -> clap::ColorChoice {
    let texts: Vec<_> = arguments.iter().filter_map(|argument| argument.to_str()).collect();
    let joined = texts.iter().find_map(|text| text.strip_prefix("--color="));
    let apart = || texts.windows(2).find(|pair| pair[0] == "--color").map(|pair| pair[1]);
    joined.or_else(apart).and_then(|when| clap::ColorChoice::from_str(when, false).ok()).unwrap_or_default()
}

/// Prints what clap has to say: help, the version, or what is wrong with the arguments.
fn explain(usage: &clap::Error) -> Exit {
    match usage.print() {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Exit::ERROR,
        _ if usage.use_stderr() => Exit::USAGE,
        _ => Exit::DONE,
    }
}

/// The command line as clap knows it: for completions and manuals.
fn definition() -> clap::Command {
    let mut definition = Cli::command();
    definition.build();
    definition
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}

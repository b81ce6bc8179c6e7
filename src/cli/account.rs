//! `certpace account …`: the accounts that certificates are ordered with.

pub mod create;
pub mod import;

use super::failure::hinted;
use super::issuer::advised;
use super::store::StoreOptions;
use super::{Context, Exit, Format, TEMPLATE};
use crate::issuer::account::{AccountError, Accounts};
use crate::issuer::wire::AcmeError;
use crate::report::account::{AccountReport, ListReport};
use crate::report::json;

/// Its arguments.
#[derive(clap::Args, Clone, Debug)]
#[command(
    help_template = TEMPLATE, before_help = EXAMPLES, after_help = NEXT,
    subcommand_required = true, arg_required_else_help = true, disable_help_subcommand = true,
)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done about accounts.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum Command {
    /// Make an account, unless there is one of that name
    Create(Box<create::Args>),
    /// Take over an account that another client has made
    Import(import::Args),
    /// Show the accounts that are here
    List(ListArgs),
}

/// Arguments of `account list`.
#[derive(clap::Args, Clone, Debug)]
#[command(help_template = TEMPLATE, before_help = LIST_EXAMPLES)]
pub struct ListArgs {
    /// Where they are.
    #[command(flatten)]
    pub store: StoreOptions,
}

const EXAMPLES: &str = "Examples:
  certpace account create --agree-tos --contact mailto:ops@example.com
  certpace account import /etc/letsencrypt    certbot's account; lego's and acme.sh's the same way
  certpace account list";

const LIST_EXAMPLES: &str = "Examples:
  certpace account list
  certpace account list --format json --store /var/lib/certpace/store";

const NEXT: &str = "Who has an account's file has the account: only its owner can read it.
Exit codes: 0 done, or there already; 1 error; 2 usage; 3 too many new accounts lately: the answer says until when.";

/// Does it.
///
/// # Errors
/// Where there is no account afterwards.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    match &args.command {
        Command::Create(args) => create::run(args, context),
        Command::Import(args) => import::run(args, context),
        Command::List(args) => list(args, context),
    }
}

fn list(args: &ListArgs, context: &Context) -> anyhow::Result<Exit> {
    let accounts = Accounts::of_store(&args.store.path()?);
    let report = ListReport::of(&accounts.list().map_err(explained)?);
    let answer = match context.format {
        Format::Json => json::pretty(&report),
        Format::Text => report.text(accounts.folder()),
    };
    context.terminal.answer(&answer)?;
    Ok(Exit::DONE)
}

fn print(report: &AccountReport, context: &Context) -> anyhow::Result<()> {
    context.terminal.answer(&match context.format {
        Format::Json => json::pretty(report),
        Format::Text => report.text(),
    })
}

/// The answer where the error is that it has to wait.
fn later(error: &AccountError, directory: &str, context: &Context) -> Option<AccountReport> {
    match error {
        AccountError::NotNow { until } => Some(AccountReport::later(directory, Some(*until), error.to_string())),
        AccountError::Acme(AcmeError::RateLimited { detail, retry_after }) => {
            let until = retry_after.map(|wait| context.now.plus(wait));
            Some(AccountReport::later(directory, until, detail.clone()))
        }
        _ => None,
    }
}

/// The error with what to do about it.
#[must_use]
pub fn explained(error: AccountError) -> anyhow::Error {
    let hint = match error {
        AccountError::Acme(error) => return advised(error),
        AccountError::Taken { .. } => "give it another name: --name NAME",
        AccountError::Unknown { .. } | AccountError::None { .. } => {
            "`certpace account create --directory URL --agree-tos` makes one, `certpace account import DIR` takes over another client's"
        }
        AccountError::Several { .. } | AccountError::Elsewhere { .. } => {
            "`certpace account list` shows them: name one of this CA, --account NAME"
        }
        AccountError::Unfinished(_) => "the same `certpace account create` again asks the CA what became of it",
        AccountError::Terms { .. } => "read them; --agree-tos says that you agree",
        AccountError::ExternalAccountRequired(_) => "give what the CA gave you: --eab-kid KID --eab-hmac-key FILE",
        AccountError::UnknownKey(_) => {
            "is it this CA's? --directory URL names another; `certpace account create` makes a new account"
        }
        AccountError::Broken { .. } => {
            "put a backup in its place, or move its folder away and take the account over from elsewhere"
        }
        AccountError::File(_) | AccountError::Name(_) | AccountError::NotNow { .. } => return error.into(),
        AccountError::NotValid { .. } | AccountError::Key(_) => return error.into(),
    };
    hinted(error.into(), hint)
}

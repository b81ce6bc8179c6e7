//! `certpace account import PATH`: an account that another client has made.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};

use super::super::failure::{Hint as _, hinted};
use super::super::issuer::{TrustOptions, runtime};
use super::super::store::StoreOptions;
use super::super::{Context, Exit, TEMPLATE};
use super::{explained, later, print};
use crate::issuer::account::{self, Accounts, Created, Found};
use crate::report::account::{AccountReport, Outcome};

/// Its arguments.
#[derive(clap::Args, Clone, Debug)]
#[command(help_template = TEMPLATE, before_help = EXAMPLES, after_help = NEXT)]
pub struct Args {
    /// A folder of certbot, lego or acme.sh, or a file with a key: PEM or JWK
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// The CA's directory URL [default: the policy's]
    #[arg(long, value_name = "URL")]
    pub directory: Option<String>,
    /// What to call the account here
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub name: String,
    /// Where it is kept.
    #[command(flatten)]
    pub store: StoreOptions,
    /// Whom to trust.
    #[command(flatten)]
    pub trust: TrustOptions,
}

const EXAMPLES: &str = "Examples:
  certpace account import /etc/letsencrypt                      certbot
  certpace account import ~/.lego                               lego
  certpace account import ~/.acme.sh                            acme.sh
  certpace account import account.key --name old                a key: PKCS#8, SEC1, PKCS#1, JWK
  certpace account import /etc/letsencrypt --policy letsencrypt-staging";

const NEXT: &str = "The CA says which account the key has; none is ever made. The other client keeps its copy, and both spend the same limits.
Exit codes: 0 taken over, or there already; 1 error; 2 usage; 3 not now.";

/// Takes it over.
///
/// # Errors
/// Where there is no such account, or several might be meant.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let directory = context.directory(args.directory.as_deref())?;
    let accounts = Accounts::of_store(&args.store.path()?);
    let Found { path, client, key, .. } = only(args, &directory)?;
    context.terminal.detail(&format!("{}: {client}, {}", path.display(), key.kind()));
    let adopted = runtime()?.block_on(async {
        let wire = args.trust.open(&directory, context, 1).await?;
        Ok::<_, anyhow::Error>(accounts.adopt(&wire, &args.name, key, context.now).await)
    })?;
    match adopted {
        Ok(adopted) => {
            let outcome = if matches!(adopted, Created::Known(_)) { Outcome::Known } else { Outcome::Imported };
            print(&AccountReport::of(outcome, adopted.account()), context)?;
            Ok(Exit::DONE)
        }
        Err(error) => match later(&error, &directory, context) {
            Some(report) => {
                print(&report, context)?;
                Ok(Exit::NOT_NOW)
            }
            None => Err(explained(error)).with_context(|| format!("can't take over the account of {}", path.display())),
        },
    }
}

/// The one key that is meant.
fn only(args: &Args, directory: &str) -> anyhow::Result<Found> {
    let all = account::found(&args.path)?;
    let told = |all: &[Found]| -> String {
        let ca = |of: &Found| of.ca.as_ref().map_or_else(String::new, |ca| format!(", at {ca}"));
        all.iter().map(|of| format!("\n  {} ({}{})", of.path.display(), of.client, ca(of))).collect()
    };
    if all.is_empty() {
        return Err(anyhow!("there is no account in {}", args.path.display()))
            .hint("give the folder of certbot, lego or acme.sh, such as /etc/letsencrypt, or a key's file");
    }
    let (mut fitting, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|of| of.fits(directory));
    match (fitting.pop(), fitting.is_empty()) {
        (Some(one), true) => Ok(one),
        (None, _) => {
            let error = anyhow!("there is no account of {directory} in {}, but:{}", args.path.display(), told(&others));
            Err(error).hint("--directory URL says of which CA it is to be")
        }
        (Some(last), false) => {
            fitting.push(last);
            let error =
                anyhow!("there are several accounts of {directory} in {}:{}", args.path.display(), told(&fitting));
            Err(hinted(error, "give the file of the one that you mean"))
        }
    }
}

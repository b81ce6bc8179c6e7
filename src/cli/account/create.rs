//! `certpace account create`: an account of one's own, made once.

use std::env;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use data_encoding::BASE64URL_NOPAD;

use super::super::context::read;
use super::super::failure::Hint as _;
use super::super::issuer::{TrustOptions, runtime};
use super::super::store::StoreOptions;
use super::super::{Context, Exit, TEMPLATE};
use super::{explained, later, print};
use crate::issuer::account::{Accounts, Asked, Created, ExternalAccount};
use crate::issuer::key::KeyKind;
use crate::report::account::{AccountReport, Outcome};

/// Where the key of an external account may be, rather than in a file.
const HMAC_KEY: &str = "CERTPACE_EAB_HMAC_KEY";

/// Its arguments.
#[derive(clap::Args, Clone, Debug)]
#[command(help_template = TEMPLATE, before_help = EXAMPLES, after_help = NEXT)]
pub struct Args {
    /// The CA's directory URL [default: the policy's]
    #[arg(long, value_name = "URL")]
    pub directory: Option<String>,
    /// What to call the account here
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub name: String,
    /// How the CA reaches you, such as mailto:ops@example.com; may be repeated
    #[arg(long = "contact", value_name = "URL")]
    pub contacts: Vec<String>,
    /// You agree to the CA's terms of service
    #[arg(long)]
    pub agree_tos: bool,
    /// The account's key
    #[arg(long, value_name = "p256|p384|rsa2048|rsa3072|rsa4096", hide_possible_values = true, default_value = "p256")]
    pub key_type: KeyType,
    /// External account binding: the key id that the CA gave you
    #[arg(long, value_name = "KID")]
    pub eab_kid: Option<String>,
    /// A file with the HMAC key for it, base64url; without one the variable CERTPACE_EAB_HMAC_KEY has the key
    #[arg(long, value_name = "FILE", requires = "eab_kid")]
    pub eab_hmac_key: Option<PathBuf>,
    /// Where it is kept.
    #[command(flatten)]
    pub store: StoreOptions,
    /// Whom to trust.
    #[command(flatten)]
    pub trust: TrustOptions,
}

/// The kinds of keys that are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum KeyType {
    /// ECDSA over P-256
    P256,
    /// ECDSA over P-384
    P384,
    /// RSA, 2048 bits
    Rsa2048,
    /// RSA, 3072 bits
    Rsa3072,
    /// RSA, 4096 bits
    Rsa4096,
}

const EXAMPLES: &str = "Examples:
  certpace account create --agree-tos --contact mailto:ops@example.com
  certpace account create --agree-tos --policy letsencrypt-staging --name staging
  certpace account create --agree-tos --directory https://acme.example/directory \\
    --eab-kid 4711 --eab-hmac-key eab.key          a CA with external accounts
  certpace account create --agree-tos --directory https://localhost:14000/dir \\
    --root pebble.minica.pem                       a test CA";

const NEXT: &str = "Done again it does nothing: an account of that name is told, and the CA is not asked.
Exit codes: 0 made, or there already; 1 error; 2 usage; 3 too many new accounts lately: the answer says until when.";

/// Makes the account.
///
/// # Errors
/// Where there is none afterwards.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let directory = context.directory(args.directory.as_deref())?;
    let accounts = Accounts::of_store(&args.store.path()?);
    if let Some(known) = accounts.known(&args.name, &directory).map_err(explained)?
        && known.url.is_some()
    {
        print(&AccountReport::of(Outcome::Known, &known), context)?;
        return Ok(Exit::DONE);
    }
    if let Some(contact) = args.contacts.iter().find(|contact| !contact.contains(':')) {
        let error = anyhow::anyhow!("the contact `{contact}` is no URL");
        return Err(error).hint(format!("mailto:{contact} is one"));
    }
    let asked = Asked {
        name: args.name.clone(),
        key: args.key_type.kind(),
        contact: args.contacts.clone(),
        agrees: args.agree_tos,
        external: args.external()?,
    };
    let limits = (&context.limits, context.suffixes());
    let created = runtime()?.block_on(async {
        let wire = args.trust.open(&directory, context, 1).await?;
        Ok::<_, anyhow::Error>(accounts.create(&wire, &asked, limits, context.now).await)
    })?;
    match created {
        Ok(created) => {
            let outcome = match &created {
                Created::Made(_) => Outcome::Made,
                Created::Recovered(_) => Outcome::Recovered,
                Created::Known(_) => Outcome::Known,
            };
            print(&AccountReport::of(outcome, created.account()), context)?;
            Ok(Exit::DONE)
        }
        Err(error) => match later(&error, &directory, context) {
            Some(report) => {
                print(&report, context)?;
                Ok(Exit::NOT_NOW)
            }
            None => Err(explained(error)).with_context(|| format!("can't make an account at {directory}")),
        },
    }
}

impl Args {
    fn external(&self) -> anyhow::Result<Option<ExternalAccount>> {
        let Some(id) = self.eab_kid.clone() else { return Ok(None) };
        let text = match (&self.eab_hmac_key, env::var(HMAC_KEY)) {
            (Some(path), _) => read(path, "the key of the external account")?,
            (None, Ok(text)) => text,
            (None, Err(_)) => bail!("--eab-kid needs a key: --eab-hmac-key FILE, or the variable {HMAC_KEY}"),
        };
        // Some CAs give it with the other alphabet, or with its padding.
        let plain = text.trim().trim_end_matches('=').replace('+', "-").replace('/', "_");
        let key =
            BASE64URL_NOPAD.decode(plain.as_bytes()).context("the key of the external account is no base64url")?;
        Ok(Some(ExternalAccount { id, key }))
    }
}

impl KeyType {
    const fn kind(self) -> KeyKind {
        match self {
            Self::P256 => KeyKind::P256,
            Self::P384 => KeyKind::P384,
            Self::Rsa2048 => KeyKind::Rsa(2048),
            Self::Rsa3072 => KeyKind::Rsa(3072),
            Self::Rsa4096 => KeyKind::Rsa(4096),
        }
    }
}

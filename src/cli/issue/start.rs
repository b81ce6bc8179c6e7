//! What `issue` and `renew` begin with: the CA, the accounts, the store, the ledger.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::super::Context;
use super::super::account;
use super::super::challenges::ChallengeOptions;
use super::super::failure::Hint as _;
use super::super::issuer::TrustOptions;
use super::super::ledger::session::LedgerOptions;
use super::super::ledger::session::shared::Shared;
use super::super::store::StoreOptions;
use crate::agent::Config;
use crate::issuer::account::{Account, AccountError, Accounts};
use crate::issuer::challenge::{self, Challenges};
use crate::issuer::order::{Orderer, Orders, Settings};
use crate::issuer::request::KeyType;
use crate::limits::Policy;
use crate::permits::LEASE;
use crate::time::{Span, Timestamp};

/// Where dns-01 is answered, records take their time.
const LEASE_DNS: Span = Span::from_hours(2);

/// How certificates are ordered.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Orders")]
pub struct OrderOptions {
    /// The account to order with, by its name in the store [default: the only one at that CA]
    #[arg(long, value_name = "NAME")]
    pub account: Option<String>,
    /// How many orders may be under way at a time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000), default_value_t = 10)]
    pub concurrency: u32,
    /// What kind of keys certificates get: ecdsa-p256, ecdsa-p384, rsa-2048, rsa-3072, rsa-4096
    #[arg(long, value_name = "KIND", default_value = "ecdsa-p256")]
    pub key_type: KeyType,
    /// Order the other names of a new certificate without one that fails, which gets a certificate of its own
    #[arg(long)]
    pub split_failing: bool,
    /// A command for `sh` after each certificate that came: $CERTPACE_NAMES, $CERTPACE_LIVE (the folder)
    #[arg(long, value_name = "COMMAND")]
    pub deploy: Option<String>,
    /// A command for `sh` after each order that failed: $CERTPACE_NAMES, $CERTPACE_FAILED, $CERTPACE_ERROR
    #[arg(long, value_name = "COMMAND")]
    pub on_error: Option<String>,
    /// How long a permit holds without being extended [default: 30m, or 2h where dns-01 is answered]
    #[arg(long, value_name = "SPAN", value_parser = Span::parse)]
    pub lease: Option<Span>,
    /// How long the CA may take for validations or for a certificate, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(i64).range(1..=86_400), default_value_t = 300)]
    pub patience: i64,
    /// For rehearsals in front of `certpace enforce`: how much faster than the clock time runs
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000), default_value_t = 1)]
    pub speed: u32,
}

impl OrderOptions {
    /// How the agent goes about it.
    #[must_use]
    pub fn config(&self, context: &Context) -> Config {
        let config = Config::new(context.limits.policy.renewal);
        Config { in_flight_max: self.concurrency, split: self.split_failing, ..config }
    }
}

/// Accounts by the text that a plan has for them.
pub struct AccountBook {
    accounts: Accounts,
    directory: String,
    default: Arc<Orderer>,
    known: BTreeMap<String, Arc<Orderer>>,
}

impl AccountBook {
    /// The accounts of the store in a folder that are of a CA; by default the one of that name orders, else the only one.
    ///
    /// # Errors
    /// [`AccountError`] where there is none that orders by default.
    pub fn open(store: &Path, name: Option<&str>, directory: String) -> Result<Self, AccountError> {
        let accounts = Accounts::of_store(store);
        let default = Arc::new(orderer(accounts.resolve(name, &directory)?));
        Ok(Self { accounts, directory, default, known: BTreeMap::new() })
    }

    /// Whether an URL is that of an account at another CA: what was ordered there is for those who order there.
    ///
    /// # Errors
    /// Where the store can't be read.
    pub fn is_elsewhere(&self, url: &str) -> anyhow::Result<bool> {
        if url == self.default.url || self.known.contains_key(url) {
            return Ok(false);
        }
        let accounts = self.accounts.list().map_err(account::explained)?;
        Ok(accounts.iter().any(|of| of.url.as_deref() == Some(url) && of.directory != self.directory))
    }

    /// The account that is meant by an URL, or by a name; by `default`, the one that was asked for.
    ///
    /// # Errors
    /// Where the store has no such account.
    pub fn of(&mut self, text: &str) -> anyhow::Result<Arc<Orderer>> {
        if text.is_empty() || text == "default" || text == self.default.url {
            return Ok(Arc::clone(&self.default));
        }
        if let Some(known) = self.known.get(text) {
            return Ok(Arc::clone(known));
        }
        let by_url = self.accounts.list().map_err(account::explained)?;
        let by_url = by_url.into_iter().find(|account| account.url.as_deref() == Some(text));
        let found = match by_url {
            Some(account) => account,
            None if text.contains("://") => {
                return Err(anyhow!("the account {text} is not in the store"))
                    .hint("`certpace account import` takes it over from another client; `certpace account list` shows those that are here");
            }
            None => self.accounts.resolve(Some(text), &self.directory).map_err(account::explained)?,
        };
        let found = Arc::new(orderer(found));
        self.known.insert(text.to_owned(), Arc::clone(&found));
        Ok(found)
    }
}

fn orderer(account: Account) -> Orderer {
    let Account { name, url, key, .. } = account;
    Orderer { name, url: url.unwrap_or_default(), key }
}

/// With what `issue` and `renew` work, beside how they order.
#[derive(clap::Args, Clone, Debug)]
pub struct IssuerOptions {
    /// How challenges are answered.
    #[command(flatten)]
    pub challenges: ChallengeOptions,
    /// Where certificates are kept.
    #[command(flatten)]
    pub store: StoreOptions,
    /// The ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
    /// Whom to trust as the CA.
    #[command(flatten)]
    pub trust: TrustOptions,
}

/// All that orders need.
pub struct Started {
    /// What carries them out.
    pub orders: Orders,
    /// The ledger.
    pub ledger: Shared,
    /// How many interrupts have come.
    pub stop: watch::Receiver<u32>,
}

/// Begins. The time of a rehearsal begins at `begins`.
///
/// # Errors
/// Where the CA, the account, the store, the ledger or an address can't be had; each with what to do.
pub async fn start(
    order: &OrderOptions,
    with: &IssuerOptions,
    begins: Timestamp,
    context: &Context,
) -> anyhow::Result<(Started, AccountBook)> {
    let directory = context.directory(with.ledger.directory.as_deref())?;
    if order.speed > 1 {
        check_rehearsal(&directory)?;
    }
    let answers = with.challenges.settings()?;
    let lease = if answers.dns01.is_some() { LEASE_DNS } else { LEASE };
    let settings = Settings {
        key_type: order.key_type,
        lease: order.lease.unwrap_or(lease),
        patience: Span::from_seconds(order.patience),
        deploys: order.deploy.is_some(),
    };
    let store = with.store.open()?;
    let accounts = AccountBook::open(store.root(), order.account.as_deref(), directory.clone());
    let accounts = accounts.map_err(account::explained)?;
    let wire = with.trust.open(&directory, context, order.speed).await?;
    // A ledger's driver may have a runtime of its own, and blocks.
    let ledger = tokio::task::block_in_place(|| with.ledger.open_shared(context, order.speed, begins))?;
    let answers = challenge::Settings { ca_identities: wire.directory().caa_identities.clone(), ..answers };
    let challenges = Arc::new(Challenges::start(answers).await?);
    let slot = Arc::new(store.slot()?);
    let orders = Orders { wire, desk: ledger.desk.clone(), store, slot, challenges, settings, sending: Arc::default() };
    Ok((Started { orders, ledger, stop: interrupts()? }, accounts))
}

/// Counts interrupts: the first lets what is under way come to its end, a second one does not.
fn interrupts() -> anyhow::Result<watch::Receiver<u32>> {
    let (sender, receiver) = watch::channel(0);
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let mut signals = signal(kind).context("can't listen for interrupts")?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                sender.send_modify(|interrupts| *interrupts += 1);
            }
        });
    }
    Ok(receiver)
}

/// That the CA is a test CA: in earnest nothing may be hurried.
fn check_rehearsal(directory: &str) -> anyhow::Result<()> {
    let host = |url: &str| url.split('/').nth(2).unwrap_or(url).to_ascii_lowercase();
    let asked = host(directory);
    for name in Policy::built_in_names() {
        if let Ok(policy) = Policy::built_in(name)
            && policy.directories.iter().any(|known| host(known) == asked)
        {
            return Err(anyhow!("--speed is for rehearsals, and {asked} is a real CA ({name})"))
                .hint("run `certpace enforce --speed N` in front of a test CA such as Pebble, and name its directory");
        }
    }
    Ok(())
}

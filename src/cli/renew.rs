//! `certpace renew`: keeps the certificates of the store fresh.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use anyhow::anyhow;
use futures_util::stream::{self, StreamExt as _};

use super::failure::Hint as _;
use super::issue::left::{self, Left};
use super::issue::progress::{Expected, Progress};
use super::issue::start::{self, AccountBook, IssuerOptions, OrderOptions};
use super::issuer::runtime;
use super::ledger::session::seed;
use super::{Context, Exit, TEMPLATE};
use crate::agent::{Config, Held};
use crate::issuer::challenge::Kind;
use crate::issuer::desk::Desk;
use crate::issuer::engine::{Ended, Engine, Nothing, Settings, Source, SourceError, Work, held};
use crate::issuer::order::{Item, Orders};
use crate::issuer::store::{Lineage, Store};
use crate::name::Identifier;
use crate::plan::Share;
use crate::time::{Span, Timestamp};

/// How often a daemon looks what others have put into the store, at most and where nothing else was asked for.
const LOOK_EVERY: (Span, Span) = (Span::from_seconds(1), Span::from_hours(1));
/// How many windows are asked for at a time.
const ASKED_AT_ONCE: usize = 20;

/// Its arguments.
#[derive(clap::Args, Clone, Debug)]
#[command(help_template = TEMPLATE, before_help = EXAMPLES, after_help = NEXT)]
pub struct Args {
    /// Only certificates with one of these names
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Go on without end: renew each certificate at its time
    #[arg(long)]
    pub daemon: bool,
    /// With --daemon: how often to look for certificates that others have put into the store [default: 1h]
    #[arg(long, value_name = "SPAN", value_parser = Span::parse, requires = "daemon")]
    pub look_every: Option<Span>,
    /// Renew now, whatever the CA suggests; with names, since all at once would be a burst
    #[arg(long, requires = "names", conflicts_with = "daemon")]
    pub force: bool,
    /// Nothing goes out from then on
    #[arg(long, value_name = "TIME", value_parser = Timestamp::parse)]
    pub until: Option<Timestamp>,
    /// How to order.
    #[command(flatten)]
    pub order: OrderOptions,
    /// What it works with.
    #[command(flatten)]
    pub issuer: IssuerOptions,
}

const EXAMPLES: &str = "Examples:
  certpace renew --webroot /var/www/html                  what is due now; for a timer, every hour or so
  certpace renew --daemon --webroot /var/www/html --deploy 'systemctl reload nginx'
  certpace renew www.example.com --force --webroot /var/www/html
  certpace status                                         what comes next";

const NEXT: &str = "Each certificate is renewed at a random time in the window that the CA suggests (ARI), which is asked for at least twice a day; at once
if that window has passed, as after a revocation; where the CA suggests nothing, around two thirds of its life. What fails is tried again
after 1 min, 10 min, 100 min, then daily.
Exit codes: 0 all is well, or not due; 1 error, or certificates that could not be renewed; 2 usage; 3 --until came first;
9 the ledger can't be reached or relied on. An interrupt or SIGTERM ends --daemon with 0, once what is under way is done.";

/// Renews.
///
/// # Errors
/// Where it can't begin, or not go on; what was under way is on disk.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let names = args.names.iter().map(|name| Identifier::parse(name)).collect::<Result<Vec<_>, _>>()?;
    let Some(store) = args.issuer.store.find()? else {
        return Err(anyhow!("there is no store in {}", args.issuer.store.path()?.display()))
            .hint("`certpace issue` puts certificates there");
    };
    let lineages = store.lineages()?;
    let held = |name: &&Identifier| lineages.iter().flatten().any(|of| of.names.identifiers().contains(name));
    if let Some(name) = names.iter().find(|name| !held(name)) {
        return Err(anyhow!("no certificate in {} has the name {name}", store.root().display()))
            .hint("`certpace status` lists them; `certpace issue` gets new ones");
    }
    runtime()?.block_on(async {
        let (started, mut accounts) = start::start(&args.order, &args.issuer, context.now, context).await?;
        let config = args.order.config(context);
        let settings = Settings {
            // What is forced waits for no window.
            agent: Config { ari: !args.force, ..config },
            headroom: Share::default(),
            keeps: true,
            until: args.until,
            once: !args.daemon,
            keep_trying: args.daemon,
            seed: seed()?,
        };
        let orders = &started.orders;
        let mut engine = Engine::new(settings, orders.clone(), context.suffixes().clone());
        let progress = Progress::new(Expected::default(), &args.order, orders, context);
        take_up(&mut engine, orders, &mut accounts, &progress)?;
        let directory = orders.wire.directory().url.clone();
        let mut shelf = Shelf::new(orders, directory, names, accounts, args, context);
        let works = shelf.look()?;
        ask_first(&mut engine, works, orders).await;
        let mut nothing = Nothing;
        let source: &mut dyn Source = if args.daemon { &mut shelf } else { &mut nothing };
        let (ended, _report) = started.perform(&mut engine, source, progress, context).await?;
        Ok(match ended {
            Ended::Interrupted if args.daemon => Exit::DONE,
            Ended::Done if !shelf.skipped => Exit::DONE,
            Ended::Done | Ended::Stuck | Ended::Interrupted => Exit::ERROR,
            Ended::Until => Exit::NOT_NOW,
        })
    })
}

/// Goes on with what an earlier process has left that is of no plan.
fn take_up(
    engine: &mut Engine,
    orders: &Orders,
    accounts: &mut AccountBook,
    progress: &Progress,
) -> anyhow::Result<()> {
    let Left { open, parts, undeployed } = left::find(None, orders, accounts)?;
    undeployed.into_iter().for_each(|of| progress.deploy(of));
    for work in open {
        // The certificate that it renews, which is the same job. One that is damaged is told where all are looked at.
        let lineage = orders.store.lineage(&work.item.names).ok().flatten();
        let held = lineage.map(|lineage| held(&lineage, &orders.desk));
        engine.add(Work { held, ..work });
    }
    for (work, _whole) in parts {
        if orders.store.lineage(&work.item.names)?.is_none() {
            engine.add(work);
        }
    }
    Ok(())
}

/// Asks the CA for the windows that are to be asked for now, so that a single run knows what is due; then takes the certificates in.
async fn ask_first(engine: &mut Engine, works: Vec<(Work, bool)>, orders: &Orders) {
    let asked = stream::iter(works).map(|(work, asks)| {
        let wire = orders.wire.clone();
        async move {
            let id = work.held.as_ref().and_then(|(_, holding)| holding.ari_id.clone()).filter(|_| asks);
            let answer = match id {
                Some(id) => Some(wire.renewal_info(&id).await),
                None => None,
            };
            (work, answer)
        }
    });
    let mut asked = asked.buffered(ASKED_AT_ONCE);
    while let Some((work, answer)) = asked.next().await {
        let id = engine.add(work);
        if let Some(answer) = answer {
            engine.suggest(id, answer);
        }
    }
}

/// The certificates of the store, looked at again and again.
struct Shelf {
    store: Store,
    desk: Desk,
    directory: String,
    names: Vec<Identifier>,
    force: bool,
    accounts: AccountBook,
    /// By folder: the version that was seen.
    seen: BTreeMap<PathBuf, u32>,
    waiting: VecDeque<Work>,
    look_every: Span,
    next_at: Timestamp,
    /// Whether there is one that can't be renewed, which was told.
    skipped: bool,
    terminal: super::Terminal,
}

impl Shelf {
    fn new(
        orders: &Orders,
        directory: String,
        names: Vec<Identifier>,
        accounts: AccountBook,
        args: &Args,
        context: &Context,
    ) -> Self {
        let desk = orders.desk.clone();
        Self {
            store: orders.store.clone(),
            next_at: desk.now(),
            desk,
            directory,
            names,
            force: args.force,
            accounts,
            seen: BTreeMap::new(),
            waiting: VecDeque::new(),
            look_every: args.look_every.map_or(LOOK_EVERY.1, |every| every.max(LOOK_EVERY.0)),
            skipped: false,
            terminal: context.terminal,
        }
    }

    /// What there is that was not seen before, and whether its window is to be asked for.
    fn look(&mut self) -> anyhow::Result<Vec<(Work, bool)>> {
        let now = self.desk.now();
        self.next_at = now.plus(self.look_every);
        let mut found = Vec::new();
        for lineage in self.store.lineages()? {
            let lineage = match lineage {
                Ok(lineage) => lineage,
                Err(error) => {
                    self.skip(&error.to_string());
                    continue;
                }
            };
            if self.is_wanted(&lineage)
                && self.seen.insert(lineage.folder.clone(), lineage.version) != Some(lineage.version)
            {
                match self.work(&lineage, now) {
                    Ok(work) => found.push(work),
                    Err(error) => self.skip(&format!("{} can't be renewed: {error:#}", lineage.folder.display())),
                }
            }
        }
        Ok(found)
    }

    /// One is left out, and does not hold up the others.
    fn skip(&mut self, why: &str) {
        self.skipped = true;
        self.terminal.warn(why);
    }

    fn is_wanted(&self, lineage: &Lineage) -> bool {
        let named = |name: &Identifier| lineage.names.identifiers().contains(name);
        lineage.metadata.directory == self.directory
            && lineage.notes.superseded_by.is_none()
            && (self.names.is_empty() || self.names.iter().any(named))
    }

    fn work(&mut self, lineage: &Lineage, now: Timestamp) -> anyhow::Result<(Work, bool)> {
        let of = &lineage.metadata;
        let item = Item {
            names: lineage.names.clone(),
            account: self.accounts.of(&of.account)?,
            profile: of.profile.clone(),
            tenant: of.tenant.clone(),
            challenge: of.challenge.as_deref().and_then(Kind::parse),
            plan: None,
        };
        let (held, holding) = held(lineage, &self.desk);
        let held = if self.force { Held { renew_at: Some(now), ..held } } else { held };
        let asks = !self.force && lineage.notes.ask_again_at.is_none_or(|at| at <= now);
        Ok((Work { item, at: now, held: Some((held, holding)), open: None }, asks))
    }
}

impl Source for Shelf {
    fn next_at(&mut self) -> Result<Option<Timestamp>, SourceError> {
        Ok(Some(if self.waiting.is_empty() { self.next_at } else { self.desk.now() }))
    }

    fn take(&mut self) -> Result<Option<Work>, SourceError> {
        if self.waiting.is_empty() {
            self.waiting = self.look()?.into_iter().map(|(work, _)| work).collect();
        }
        Ok(self.waiting.pop_front())
    }
}

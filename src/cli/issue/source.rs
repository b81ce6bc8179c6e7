//! The orders of a plan file, by time; read as they come due, since there may be millions.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use super::super::account;
use super::super::ledger::session::Use;
use super::super::plan_file::PlanFile;
use super::super::{Context, Exit};
use super::Args;
use super::change::Follow;
use super::start::AccountBook;
use crate::agent::Held;
use crate::digest::Hasher;
use crate::gate::{Request, Task, Verdict};
use crate::issuer::account::AccountError;
use crate::issuer::challenge::Kind;
use crate::issuer::engine::{Holding, News, Source, SourceError, Work};
use crate::issuer::order::Item;
use crate::issuer::store::{Notes, PlanOrder as Place};
use crate::name::{NameSet, SetKey};
use crate::report::plan_file::{PlanOrder, read_order};
use crate::time::Timestamp;

/// A plan, and the hash under which the ledger knows its orders.
///
/// # Errors
/// Where it can't be read.
pub(super) fn open(path: &Path) -> anyhow::Result<(PlanFile, String)> {
    let own = hash(path)?;
    let plan = PlanFile::open(path)?;
    let identity = plan.head.identity(&own).to_owned();
    Ok((plan, identity))
}

/// SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// Where it can't be read.
fn hash(path: &Path) -> anyhow::Result<String> {
    let fail = || format!("can't read the plan from {}", path.display());
    let mut file = BufReader::with_capacity(1 << 20, File::open(path).with_context(fail)?);
    let (mut digest, mut part) = (Hasher::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut part).with_context(fail)? {
            0 => return Ok(digest.finish_as_text()),
            length => digest.update(&part[..length]),
        }
    }
}

/// An order of the plan that is to be had next.
struct Next {
    at: Timestamp,
    work: Work,
}

/// The orders of a plan.
pub(super) struct PlanSource<'a> {
    file: PlanFile,
    identity: String,
    accounts: AccountBook,
    only: Only,
    /// Orders that are under way, or of a plan that is followed were given, by number and set.
    taken: BTreeSet<(u64, SetKey)>,
    next: Option<Next>,
    ended: bool,
    /// How many orders `--only` left out.
    skipped: u64,
    /// How it is followed, if it is.
    follow: Option<Follow<'a>>,
}

/// Which orders are wanted.
struct Only(Vec<String>);

impl Only {
    fn new(names: &[String]) -> Self {
        Self(names.iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    fn takes(&self, order: &PlanOrder<'_>) -> bool {
        let is = |wanted: &String| {
            order.names.iter().any(|name| name == wanted) || order.registered_domains.iter().any(|of| of == wanted)
        };
        self.0.is_empty() || self.0.iter().any(is)
    }
}

impl<'a> PlanSource<'a> {
    pub(super) fn new(
        (file, identity): (PlanFile, String),
        accounts: AccountBook,
        only: &[String],
        follow: Option<Follow<'a>>,
    ) -> Self {
        let (only, taken) = (Only::new(only), BTreeSet::new());
        Self { file, identity, accounts, only, taken, next: None, ended: false, skipped: 0, follow }
    }

    /// The hash under which the ledger knows it.
    pub(super) fn identity(&self) -> &str {
        &self.identity
    }

    /// Those who order.
    pub(super) fn accounts(&mut self) -> &mut AccountBook {
        &mut self.accounts
    }

    /// That order is taken care of.
    pub(super) fn took(&mut self, order: u64, names: &NameSet) {
        self.taken.insert((order, names.key()));
    }

    /// Whether it is.
    pub(super) fn is_taken(&self, order: u64, names: &NameSet) -> bool {
        self.taken.contains(&(order, names.key()))
    }

    /// Whether all of its orders were given.
    pub(super) fn is_at_end(&self) -> bool {
        self.ended && self.next.is_none()
    }

    /// The plan has been made again: goes on with that. Returns which of the orders given are not in it any more.
    fn open_again(&mut self, path: &Path) -> anyhow::Result<BTreeSet<u64>> {
        let mut gone = self.taken.clone();
        let given: BTreeSet<u64> = gone.iter().map(|(order, _)| *order).collect();
        open(path)?.0.each(&[], |line, number| {
            let order = read_order(line, number)?;
            if given.contains(&u64::from(order.order)) {
                let names = NameSet::parse(order.names.iter().map(AsRef::as_ref))?;
                gone.remove(&(u64::from(order.order), names.key()));
            }
            Ok(())
        })?;
        (self.file, self.identity) = open(path)?;
        (self.next, self.ended, self.skipped) = (None, false, 0);
        self.taken.retain(|of| !gone.contains(of));
        Ok(gone.into_iter().map(|(order, _)| order).collect())
    }

    /// Looks whether the inventory has changed, and plans again if it has.
    fn follow_on(&mut self) -> anyhow::Result<Option<News>> {
        let Some(follow) = &mut self.follow else { return Ok(None) };
        if !follow.has_changed() {
            return Ok(None);
        }
        let path = follow.plan();
        // What waits for a ledger or a large inventory may not keep the other orders from going on.
        let replanned = tokio::task::block_in_place(|| follow.replan());
        match replanned {
            Ok(told) => Ok(Some(News { withdrawn: self.open_again(path)?, told, trouble: None })),
            Err(trouble) => Ok(trouble.map(|trouble| News { trouble: Some(trouble), ..News::default() })),
        }
    }

    fn fill(&mut self) -> anyhow::Result<()> {
        while self.next.is_none() && !self.ended {
            let Some((line, number)) = self.file.next_line()? else {
                self.ended = true;
                return Ok(());
            };
            let order = read_order(&line, number)?;
            if !self.only.takes(&order) {
                self.skipped += 1;
                continue;
            }
            let names = NameSet::parse(order.names.iter().map(AsRef::as_ref));
            let names = names.with_context(|| format!("line {number}: order {} has no valid names", order.order))?;
            let place = u64::from(order.order);
            if self.taken.contains(&(place, names.key())) {
                continue;
            }
            let item = Item {
                names,
                account: self.accounts.of(&order.account)?,
                profile: Some(order.profile.into_owned()).filter(|profile| !profile.is_empty()),
                tenant: order.tenant.map(Cow::into_owned),
                challenge: order.challenge.as_deref().and_then(Kind::parse),
                plan: Some(Place { plan: self.identity.clone(), order: place }),
            };
            let replaces = order.replaces.map(Cow::into_owned);
            let held = order.held.map(|held| {
                let (of, not_before) = (Held::new(held.issued_at, held.expires_at), held.issued_at);
                (
                    Held { renew_at: Some(order.at), ..of },
                    Holding { ari_id: replaces, not_before, notes: Notes::default() },
                )
            });
            self.next = Some(Next { at: order.at, work: Work { item, at: order.at, held, open: None } });
        }
        Ok(())
    }
}

impl Source for PlanSource<'_> {
    fn next_at(&mut self) -> Result<Option<Timestamp>, SourceError> {
        self.fill()?;
        Ok(self.next.as_ref().map(|next| next.at))
    }

    fn take(&mut self) -> Result<Option<Work>, SourceError> {
        self.fill()?;
        let work = self.next.take().map(|next| next.work);
        if let Some(Work { item: Item { plan: Some(plan), names, .. }, .. }) =
            work.as_ref().filter(|_| self.follow.is_some())
        {
            self.taken.insert((plan.order, names.key()));
        }
        Ok(work)
    }

    fn to_come(&self) -> Option<u64> {
        let read = self.file.orders_read() - u64::from(self.next.is_some());
        Some(self.file.head.orders()?.saturating_sub(read))
    }

    fn left_out(&self) -> u64 {
        self.skipped
    }

    fn look(&mut self) -> Result<Option<News>, SourceError> {
        Ok(self.follow_on()?)
    }

    fn look_in(&self) -> Option<Duration> {
        self.follow.as_ref().map(Follow::look_in)
    }
}

/// Says what would go out now: how many orders are due, and what the gate says of each of the first.
pub(super) fn dry_run(
    (mut plan, identity): (PlanFile, String),
    args: &Args,
    context: &Context,
) -> anyhow::Result<Exit> {
    /// How many are asked about: each is a decision.
    const ASKED: u64 = 1_000;
    let mut session = args.issuer.ledger.open(context, Use::Read, false)?;
    let now = session.gate.now()?;
    let only = Only::new(&args.only);
    let directory = context.directory(args.issuer.ledger.directory.as_deref())?;
    let mut accounts = match AccountBook::open(&args.issuer.store.path()?, args.order.account.as_deref(), directory) {
        // Whoever will order has ordered nothing yet, whatever it is called.
        Err(AccountError::None { .. }) => None,
        accounts => Some(accounts.map_err(account::explained)?),
    };
    let (mut due, mut later, mut told) = (0_u64, 0_u64, BTreeMap::<&str, u64>::new());
    let mut next = None;
    while let Some((line, number)) = plan.next_line()? {
        let order = read_order(&line, number)?;
        if !only.takes(&order) {
            continue;
        }
        if order.at > now {
            later += 1;
            next = next.or(Some(order.at));
            continue;
        }
        due += 1;
        if due > ASKED {
            continue;
        }
        let names = NameSet::parse(order.names.iter().map(AsRef::as_ref))?;
        let task = Task { plan: identity.clone(), order: u64::from(order.order) };
        let account = match &mut accounts {
            Some(accounts) => accounts.of(&order.account)?.url.clone(),
            None => order.account.into_owned(),
        };
        let request = Request { task: Some(task), ..Request::of(&account, names, "a question") };
        let word = match session.gate.check(&request)?.verdict {
            Verdict::Never(crate::gate::Never::Done(_)) => "issued already",
            Verdict::Allow { .. } => "may go out now",
            Verdict::Later { .. } => "would have to wait",
            Verdict::InHand { .. } => "are in another process's hand",
            Verdict::Never(_) => "are refused for good",
        };
        *told.entry(word).or_default() += 1;
    }
    let mut text = format!("{due} orders are due, {later} come later");
    if let Some(next) = next {
        text.push_str(&format!(", the next at {next}"));
    }
    text.push('\n');
    if due > ASKED {
        text.push_str(&format!("Of the first {ASKED} due:\n"));
    }
    told.iter().for_each(|(word, count)| text.push_str(&format!("  {count} {word}\n")));
    context.terminal.answer(&text)?;
    Ok(Exit::DONE)
}

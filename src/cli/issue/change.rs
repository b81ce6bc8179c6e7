//! Plans that go on: planned again while they are performed, since the inventory or the limits changed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;

use super::super::Context;
use super::super::input;
use super::super::output::{Interrupt, PowerCut};
use super::super::plan::make;
use super::super::plan_file::PlanFile;
use super::{Args, stale};
use crate::clock::Stopwatch;
use crate::report::words::grouped;
use crate::time::Span;

/// How the inventory may change while the plan is performed.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Changes")]
pub struct ChangeOptions {
    /// The inventory that the plan was made of: changes of it make the plan stale; may be given several times
    #[arg(long, value_name = "FILE")]
    pub inventory: Vec<PathBuf>,
    /// Plan again first, from where things stand, as the plan was made; the plan until then becomes PLAN.1
    #[arg(long, requires = "inventory", conflicts_with = "dry_run")]
    pub replan: bool,
    /// Plan again whenever the inventory changes, and go on until interrupted, or until --until
    #[arg(long, requires = "inventory", conflicts_with = "dry_run")]
    pub follow: bool,
    /// How often --follow looks whether the inventory has changed, by the clock
    #[arg(long, value_name = "SPAN", value_parser = often, default_value = "1m")]
    pub every: Span,
}

fn often(text: &str) -> Result<Span, String> {
    let span = Span::parse(text).map_err(|error| error.to_string())?;
    if (Span::from_seconds(1)..=Span::from_days(1)).contains(&span) {
        Ok(span)
    } else {
        Err("not from 1s to 1d".to_owned())
    }
}

/// When the plan is made again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum When {
    /// Now.
    Always,
    /// If it is not one of the inventory as it is, under limits that are no stricter: another process may have made that already.
    Changed,
}

/// Plans again in place. What is issued is left out, and known to be issued all the same: the new plan goes on with the old one. Says
/// how many orders there are now; `None`: nothing was to be done.
///
/// # Errors
/// Where the inventory can't be planned, or the ledger not be asked; the plan is as it was.
pub(super) fn replan(when: When, args: &Args, context: &Context) -> anyhow::Result<Option<usize>> {
    // Of processes that share a plan one makes the next: two of them would number what is new differently.
    let lock = beside(&args.plan, "lock")?;
    let lock_file = File::options().write(true).create(true).truncate(false).open(&lock);
    let lock_file = lock_file.with_context(|| format!("can't write {}", lock.display()))?;
    lock_file.lock().with_context(|| format!("can't lock {}", lock.display()))?;
    let head = PlanFile::open(&args.plan)?.head;
    if when == When::Changed
        && stale::is_of(&head, &input::sources(&args.change.inventory)?)?
        && stale::stricter(&head, args, context)?.is_empty()
    {
        return Ok(None);
    }
    let options = stale::going_on(&head, args, context)?;
    make::make(&options, context, |made| {
        keep(&args.plan)?;
        made.write(&args.plan, PowerCut::Loses, &Interrupt::default())?;
        Ok(Some(made.plan.orders.len()))
    })
}

/// The inventory of a plan, looked at now and then.
pub(super) struct Follow<'a> {
    args: &'a Args,
    context: &'a Context,
    /// The files as they were when the plan was made of them.
    planned: Vec<Stamp>,
    /// The files as they were last.
    seen: Vec<Stamp>,
    looked: Stopwatch,
    /// What was told last of what is wrong with them.
    told: Option<String>,
}

/// What changes when a file does: its length and when it was written; `None`: it can't be looked at.
type Stamp = Option<(u64, SystemTime)>;

impl<'a> Follow<'a> {
    /// Begins; the plan is that of the inventory as it is now, or was planned of it just before.
    pub(super) fn new(args: &'a Args, context: &'a Context, planned: Vec<Stamp>) -> Self {
        Self { args, context, seen: planned.clone(), planned, looked: Stopwatch::start(), told: None }
    }

    pub(super) fn plan(&self) -> &'a Path {
        &self.args.plan
    }

    /// How long until the next look.
    pub(super) fn look_in(&self) -> Duration {
        let left = self.args.change.every.nanos() - self.looked.elapsed().nanos();
        Duration::from_nanos(u64::try_from(left).unwrap_or(0))
    }

    /// Whether the files have changed and whoever writes them has finished, as far as can be seen: they stood still for a look.
    pub(super) fn has_changed(&mut self) -> bool {
        if self.look_in() > Duration::ZERO {
            return false;
        }
        self.looked = Stopwatch::start();
        let now = stamps(self.args);
        let stood_still = now == self.seen;
        self.seen = now;
        stood_still && self.seen != self.planned
    }

    /// Plans again. What there is to tell.
    ///
    /// # Errors
    /// What is in the way, if that was not told before. The plan is as it was, and the next look tries again.
    pub(super) fn replan(&mut self) -> Result<Option<String>, Option<String>> {
        match replan(When::Changed, self.args, self.context) {
            Ok(orders) => {
                (self.planned, self.told) = (self.seen.clone(), None);
                Ok(orders.map(replanned))
            }
            Err(error) => {
                let told = format!("the inventory has changed and the plan has not: {error:#}");
                let is_new = self.told.as_ref() != Some(&told);
                self.told = Some(told.clone());
                Err(is_new.then_some(told))
            }
        }
    }
}

/// How the files of the inventory stand.
pub(super) fn stamps(args: &Args) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.len(), metadata.modified().ok()?))
    };
    args.change.inventory.iter().map(stamp).collect()
}

/// That it was planned again.
pub(super) fn replanned(orders: usize) -> String {
    format!("planned again: {} orders from now on", grouped(orders as u64))
}

/// The file of that name with `.ending` behind it; where it is a link, beside what it leads to.
fn beside(path: &Path, ending: &str) -> anyhow::Result<PathBuf> {
    let path = fs::canonicalize(path).with_context(|| format!("can't read the plan from {}", path.display()))?;
    let mut name = path.into_os_string();
    name.push(".");
    name.push(ending);
    Ok(name.into())
}

/// Keeps the plan as it is, for those who want to know what it was.
fn keep(path: &Path) -> anyhow::Result<()> {
    let kept = beside(path, "1")?;
    let fail = || format!("can't keep the plan as {}", kept.display());
    match fs::remove_file(&kept) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).with_context(fail),
        Ok(()) | Err(_) => {}
    }
    // Not every file system has links.
    let path = fs::canonicalize(path)?;
    fs::hard_link(&path, &kept).or_else(|_| fs::copy(&path, &kept).map(|_| ())).with_context(fail)
}

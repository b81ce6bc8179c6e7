//! `certpace issue PLAN`: performs a plan.

pub mod change;
mod hooks;
pub mod left;
mod perform;
pub mod progress;
mod source;
mod stale;
pub mod start;

use std::path::PathBuf;

use anyhow::anyhow;

use super::issuer::runtime;
use super::ledger::session::seed;
use super::plan_file::PlanFile;
use super::{Context, Exit, TEMPLATE};
use crate::issuer::engine::{Ended, Engine, Settings};
use crate::issuer::order::Orders;
use crate::plan::Share;
use crate::time::Timestamp;

pub use change::ChangeOptions;
use change::{Follow, When};
use left::Left;
use progress::{Expected, Progress};
use source::PlanSource;
pub use start::{IssuerOptions, OrderOptions, Started};

/// Its arguments.
#[derive(clap::Args, Clone, Debug)]
#[command(help_template = TEMPLATE, before_help = EXAMPLES, after_help = NEXT)]
pub struct Args {
    /// The plan, as `certpace plan -o` wrote it
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,
    /// How to order.
    #[command(flatten)]
    pub order: OrderOptions,
    /// Only orders with this hostname, or with names of this registered domain; may be given several times
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,
    /// Nothing goes out from then on; what is left is for the next start
    #[arg(long, value_name = "TIME", value_parser = Timestamp::parse)]
    pub until: Option<Timestamp>,
    /// Say what would go out now, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Wait for names that fail again and again, rather than end once nothing else is left
    #[arg(long)]
    pub keep_trying: bool,
    /// How the inventory may change.
    #[command(flatten)]
    pub change: ChangeOptions,
    /// What it works with.
    #[command(flatten)]
    pub issuer: IssuerOptions,
}

const EXAMPLES: &str = "Examples:
  certpace plan names.csv -o plan.jsonl
  certpace account create --agree-tos --contact mailto:ops@example.com
  certpace issue plan.jsonl --webroot /var/www/html
  certpace issue plan.jsonl --dns-set ./set --dns-clear ./clear --deploy ./reload
  certpace issue plan.jsonl --dry-run              what would go out now?
  certpace issue plan.jsonl --inventory names.csv --replan   names changed: plan again, and go on
  certpace issue plan.jsonl --inventory names.csv --follow   again whenever they change, without end
  certpace issue plan.jsonl --until 2026-12-01T06:00:00Z     stop in the morning, go on tomorrow

  A rehearsal, with a week in ten minutes, in front of `certpace enforce --speed 1000`:
  certpace issue plan.jsonl --speed 1000 --directory https://127.0.0.1:14443/dir \\
    --root certpace-root.pem --ledger sqlite:rehearsal.sqlite --store rehearsal …";

const NEXT: &str =
    "Interrupted or killed, it goes on where it was with the next start: orders under way are found again and finished.
Several processes, on several machines with a shared ledger, share a plan: each order goes out once.
Exit codes: 0 all is issued; 1 error, or names that failed are left; 2 usage; 3 --until came first;
6 the plan is stale: limits got stricter, or rows of --inventory changed, and nothing went out;
9 the ledger can't be reached or relied on.";

/// Performs the plan.
///
/// # Errors
/// Where it can't begin, or not go on; what was under way is on disk.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    if args.plan.as_os_str() == "-" {
        return Err(anyhow!("a plan to perform is a file: it is read again after a break"));
    }
    let ChangeOptions { replan, follow, .. } = args.change;
    let stamps = change::stamps(args);
    if replan || follow {
        let when = if replan { When::Always } else { When::Changed };
        if let Some(orders) = change::replan(when, args, context)? {
            context.terminal.progress(&change::replanned(orders));
        }
    }
    let plan = source::open(&args.plan)?;
    let (PlanFile { head, .. }, identity) = &plan;
    stale::check(head, identity, args, context)?;
    if args.dry_run {
        return source::dry_run(plan, args, context);
    }
    let expected = Expected { orders: head.orders(), last_at: head.last_at() };
    let expected = if follow { Expected::default() } else { expected };
    let (headroom, begins) = (head.headroom.clone(), head.start);
    let headroom = Share::parse(&headroom).ok_or_else(|| anyhow!("the plan's headroom `{headroom}` can't be read"))?;
    runtime()?.block_on(async {
        let (started, accounts) = start::start(&args.order, &args.issuer, begins, context).await?;
        let settings = Settings {
            agent: args.order.config(context),
            headroom,
            keeps: false,
            until: args.until,
            once: false,
            keep_trying: args.keep_trying,
            seed: seed()?,
        };
        let mut engine = Engine::new(settings, started.orders.clone(), context.suffixes().clone());
        let following = follow.then(|| Follow::new(args, context, stamps));
        let mut source = PlanSource::new(plan, accounts, &args.only, following);
        let progress = Progress::new(expected, &args.order, &started.orders, context);
        take_up(&mut engine, &started.orders, &mut source, &progress)?;
        let (ended, report) = started.perform(&mut engine, &mut source, progress, context).await?;
        Ok(match ended {
            Ended::Done => Exit::DONE,
            // Nothing else ends it.
            Ended::Interrupted | Ended::Until if follow && report.open_count == 0 && source.is_at_end() => Exit::DONE,
            Ended::Stuck | Ended::Interrupted => Exit::ERROR,
            Ended::Until => Exit::NOT_NOW,
        })
    })
}

/// Goes on with what an earlier process has left.
fn take_up(
    engine: &mut Engine,
    orders: &Orders,
    source: &mut PlanSource<'_>,
    progress: &Progress,
) -> anyhow::Result<()> {
    let hash = source.identity().to_owned();
    let Left { open, parts, undeployed } = left::find(Some(&hash), orders, source.accounts())?;
    undeployed.into_iter().for_each(|of| progress.deploy(of));
    for work in open {
        if let Some(plan) = work.item.plan.as_ref().filter(|of| of.plan == hash) {
            source.took(plan.order, &work.item.names);
        }
        engine.add(work);
    }
    for (work, whole) in parts {
        let Some(plan) = &work.item.plan else { continue };
        source.took(plan.order, &whole);
        // One that is taken is under way.
        if !source.is_taken(plan.order, &work.item.names) {
            engine.add(work);
        }
    }
    Ok(())
}

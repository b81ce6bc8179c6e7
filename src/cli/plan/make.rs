//! Making a plan of what the options say: for `certpace plan`, and for `certpace issue` where its plan goes on.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::bail;
use rayon::prelude::*;

use super::super::failure::Hint as _;
use super::super::output::{self, Interrupt, PowerCut};
use super::super::plan_file::PlanFile;
use super::super::{Context, input};
use super::Args;
use crate::inventory::Settings;
use crate::plan::{Options, Plan, plan_from};
use crate::psl::SuffixList;
use crate::report::plan_file::{self, Lines, Origin};
use crate::report::rejects;
use crate::time::Timestamp;

/// A plan that was made.
#[derive(Debug)]
pub struct Made<'a> {
    /// The plan.
    pub plan: &'a Plan<'a>,
    /// Where it comes from.
    pub origin: &'a Origin,
    /// The lines of the orders of the plan before that are issued.
    issued: &'a [u8],
    suffixes: &'a SuffixList,
}

/// Makes a plan, and hands it to `then`. It is written nowhere yet; bad rows are, where the options say so.
///
/// # Errors
/// That of `then`; where the inventory can't be read, or holds bad rows that are not skipped; where what is asked for can't be.
pub fn make<T>(args: &Args, context: &Context, then: impl FnOnce(&Made<'_>) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let Context { limits, terminal, .. } = context;
    context.check_token_buckets()?;
    let mut ledger = args.ledger.open(context)?;
    let start = match &ledger {
        None => args.start.unwrap_or(context.now),
        Some(ledger) => ledger.start(args.start, context),
    };
    if let Some(deadline) = args.deadline.filter(|deadline| *deadline <= start && !args.past_deadlines) {
        bail!("the deadline {deadline} lies in the past: the plan starts at {start}");
    }
    for output in args.output.iter().chain(&args.rejects) {
        refuse_own_input(output, &args.inventories)?;
    }
    let rows_from = if args.past_deadlines { Timestamp::from_unix_nanos(i64::MIN) } else { start };
    let settings = settings(args, rows_from, context)?;
    let mut inventory = input::inventory(input::sources(&args.inventories)?, &settings, *terminal)?;
    if let Some(path) = &args.rejects {
        let part = std::iter::once(vec![rejects::file(&inventory)]);
        output::write(path, PowerCut::Repeatable, &Interrupt::default(), part)?;
    }
    input::tell_rejects(&inventory, args.skip_invalid, *terminal)?;
    if ledger.is_some() && args.from.as_deref().is_some_and(|path| path.as_os_str() == "-") {
        bail!("with --ledger the earlier plan is read twice: --from takes a file, not `-`");
    }
    let earlier = args.from.as_ref().map(|path| PlanFile::open(path)?.into_earlier()).transpose()?;
    let (earlier, continues) = earlier.unzip();
    let (mut opening, mut issued, mut issued_count) = (None, Vec::new(), 0);
    if let Some(ledger) = &mut ledger {
        if let Some((from, continues)) = args.from.as_ref().zip(continues.as_ref()) {
            (issued, issued_count) = ledger.leave_out_issued(&mut inventory, from, &continues.plan)?;
        }
        opening = Some(ledger.opening(&mut inventory, start)?);
    }
    let ledger = ledger.map(|ledger| ledger.identity());
    let origin = Origin { asked: args.asked(), ledger, continues, issued: issued_count };
    let planned = plan_from(&inventory, limits, options(args, start), earlier.as_ref(), opening.as_ref());
    let plan = planned.hint("certpace plan --help describes the options")?;
    then(&Made { plan: &plan, origin: &origin, issued: &issued, suffixes: context.suffixes() })
}

/// How rows are read; deadlines that are not after `start` are errors.
///
/// # Errors
/// Where the policy has no such profile.
pub fn settings<'a>(args: &'a Args, start: Timestamp, context: &'a Context) -> anyhow::Result<Settings<'a>> {
    let policy = &context.limits.policy;
    if policy.profile(&args.profile).is_none() {
        let known: Vec<&str> = policy.profiles.iter().map(|profile| profile.name.as_str()).collect();
        bail!("the policy {} has no profile `{}`; it has {}", policy.name, args.profile, known.join(", "));
    }
    let Args { account, profile, deadline, .. } = args;
    Ok(Settings { account, profile, deadline: *deadline, start, policy, suffixes: context.suffixes() })
}

/// An inventory is never written over: a plan or a few rejected rows in its place would be all that is left.
fn refuse_own_input(output: &Path, inventories: &[PathBuf]) -> anyhow::Result<()> {
    // What can't be resolved does not exist, and is no inventory.
    let real = |path: &Path| fs::canonicalize(path).ok().filter(|path| path.is_file());
    if real(output).is_some_and(|output| inventories.iter().any(|path| real(path).as_ref() == Some(&output))) {
        bail!("{} is an inventory that is read here: writing to it would destroy it", output.display());
    }
    Ok(())
}

fn options(args: &Args, start: Timestamp) -> Options {
    Options {
        start,
        margin: args.margin,
        headroom: args.headroom,
        reserve_rate: args.reserve_rate,
        names_per_certificate: args.names_per_cert,
        certificates_max: args.max_certificates.unwrap_or(usize::MAX),
        mix: args.mix,
        fold_wildcards: args.fold_wildcards,
        ari: !args.no_ari,
        horizon: args.horizon,
        spread: args.spread,
    }
}

/// Orders that are rendered in one go.
const ORDERS_A_PIECE: usize = 2 * 1024;

impl Made<'_> {
    /// The plan file, part by part; each holds pieces that are rendered side by side.
    pub fn parts(&self) -> impl Iterator<Item = Vec<Vec<u8>>> + Send {
        let (count, lines) = (self.plan.orders.len(), Lines::new(self.plan));
        let at_once = ORDERS_A_PIECE * rayon::current_num_threads() * 4;
        let rounds = (0..count).step_by(at_once).map(move |from| {
            let starts: Vec<usize> = (from..count.min(from + at_once)).step_by(ORDERS_A_PIECE).collect();
            starts.into_par_iter().map(|start| lines.render(start..count.min(start + ORDERS_A_PIECE))).collect()
        });
        let first = || vec![plan_file::head(self.plan, self.suffixes, self.origin), self.issued.to_vec()];
        std::iter::once_with(first).chain(rounds)
    }

    /// Writes the plan file, aside and renamed.
    ///
    /// # Errors
    /// As [`output::write`].
    pub fn write(&self, path: &Path, power_cut: PowerCut, interrupt: &Interrupt) -> anyhow::Result<()> {
        output::write(path, power_cut, interrupt, self.parts())
    }
}

//! Whether a plan is stale: the limits that it relies on got stricter, or rows of orders that are not issued yet changed.

use super::super::failure::{Hint as _, Stale, hinted};
use super::super::ledger::session::{LedgerOptions, Use};
use super::super::plan::ledger::LedgerArgs;
use super::super::plan::{self, make};
use super::super::plan_file::PlanFile;
use super::super::{Context, input};
use super::Args;
use crate::inventory::{self, InventoryError, Source};
use crate::limits::LimitName;
use crate::name::NameSet;
use crate::report::plan_file::reliance::Stricter;
use crate::report::plan_file::rows::Rows;
use crate::report::plan_file::{PlanHead, read_order};
use crate::report::words::grouped;
use crate::time::Timestamp;

/// How much of what changed is told.
const TOLD: usize = 5;

/// Checks all of it; `identity` is the plan's.
///
/// # Errors
/// [`Stale`], which says what changed, with what to do.
pub(super) fn check(head: &PlanHead, identity: &str, args: &Args, context: &Context) -> anyhow::Result<()> {
    limits(head, args, context)?;
    if args.change.inventory.is_empty() {
        return Ok(());
    }
    let sources = input::sources(&args.change.inventory)?;
    if is_of(head, &sources)? {
        return Ok(());
    }
    rows(head, identity, sources, args, context)
}

/// Whether the plan was made of exactly these files.
///
/// # Errors
/// Where one of them can't be read.
pub(super) fn is_of(head: &PlanHead, sources: &[Source]) -> Result<bool, InventoryError> {
    let now = inventory::sha256(sources)?;
    Ok(head.inventory.get("sha256").and_then(serde_json::Value::as_str) == Some(&now))
}

/// That it is stale, for a reason of which there are `count` examples.
fn stale(reason: &str, mut told: Vec<String>, count: usize, args: &Args) -> anyhow::Error {
    if count > told.len() {
        told.push(format!("and {} more", grouped((count - told.len()) as u64)));
    }
    let plan = args.plan.display();
    let hint = format!(
        "`certpace issue {plan} --inventory FILE --replan` plans again and goes on; `certpace plan FILE --from {plan} -o NEW` makes a \
         plan to look at first"
    );
    hinted(Stale(format!("the plan is stale: {reason}:\n  {}", told.join("\n  "))).into(), hint)
}

/// That nothing that the plan relies on got stricter.
fn limits(head: &PlanHead, args: &Args, context: &Context) -> anyhow::Result<()> {
    let stricter = stricter(head, args, context)?;
    if stricter.is_empty() {
        return Ok(());
    }
    let told = stricter.iter().take(TOLD).map(ToString::to_string).collect();
    Err(stale("limits are stricter than when it was made", told, stricter.len(), args))
}

/// What is stricter than when the plan was made.
pub(super) fn stricter(head: &PlanHead, args: &Args, context: &Context) -> anyhow::Result<Vec<Stricter>> {
    let policy = &context.limits.policy;
    let Some(reliance) = &head.reliance else {
        if head.policy.sha256 != policy.sha256 {
            context.terminal.warn(&format!(
                "the plan was made with the policy {} as it was, and does not say what that was: the gate goes by today's",
                head.policy.name
            ));
        }
        return Ok(Vec::new());
    };
    let uses = |limit, id: &str| -> anyhow::Result<bool> {
        let mut found = false;
        PlanFile::open(&args.plan)?.each(&[id.to_owned()], |line, number| {
            let order = read_order(line, number)?;
            found |= match limit {
                LimitName::CertificatesPerDomain => order.registered_domains.iter().any(|domain| domain == id),
                _ => order.account == id,
            };
            Ok(())
        })?;
        Ok(found)
    };
    let stricter = reliance.stricter(&context.limits, uses)?;
    if stricter.is_empty() && head.policy.sha256 != policy.sha256 {
        context.terminal.detail(&format!(
            "the plan was made with another policy ({} as it was): today's allows all that it relies on",
            head.policy.name
        ));
    }
    Ok(stricter)
}

/// That no row of an order that is not issued changed.
fn rows(head: &PlanHead, identity: &str, sources: Vec<Source>, args: &Args, context: &Context) -> anyhow::Result<()> {
    let options = going_on(head, args, context)?;
    let long_ago = Timestamp::from_unix_nanos(i64::MIN);
    let inventory = input::inventory(sources, &make::settings(&options, long_ago, context)?, context.terminal)?;
    input::tell_rejects(&inventory, options.skip_invalid, context.terminal)?;
    let mut rows = Rows::new(&inventory, &context.limits.policy);
    let mut issued = None;
    let (mut count, mut told) = (0_usize, Vec::new());
    PlanFile::open(&args.plan)?.each(&[], |line, number| {
        let order = read_order(line, number)?;
        let Some(change) = rows.change(&order) else { return Ok(()) };
        // Only now, since a ledger may be far away.
        let issued = match &mut issued {
            Some(issued) => issued,
            unknown => {
                unknown.insert(args.issuer.ledger.open(context, Use::Read, false)?.gate.issued_orders(identity)?)
            }
        };
        let set = NameSet::parse(order.names.iter().map(AsRef::as_ref))?.key();
        if issued.has(u64::from(order.order), set) {
            return Ok(());
        }
        count += 1;
        if count <= TOLD {
            told.push(format!("order {}: {change}", order.order));
        }
        Ok(())
    })?;
    tell_unplanned(&rows, options.fold_wildcards, context);
    if count == 0 {
        return Ok(());
    }
    Err(stale("rows of orders that are not issued changed", told, count, args))
}

fn tell_unplanned(rows: &Rows<'_>, folded: bool, context: &Context) {
    let mut left = rows.unplanned(folded);
    if let Some(first) = left.next() {
        let more = match left.count() {
            0 => String::new(),
            more => format!(" and {} more", grouped(more as u64)),
        };
        context.terminal.warn(&format!("the plan has no order for {first}{more}: --replan takes in what is new"));
    }
}

/// The options with which the plan goes on.
pub(super) fn going_on(head: &PlanHead, args: &Args, context: &Context) -> anyhow::Result<plan::Args> {
    let ledger = ledger(&args.issuer.ledger, context)?;
    plan::Args::going_on(args.plan.clone(), head, args.change.inventory.clone(), ledger)
        .hint("plan once more by hand: `certpace plan FILE --from PLAN -o PLAN`")
}

/// The ledger of `issue`, for a plan.
fn ledger(options: &LedgerOptions, context: &Context) -> anyhow::Result<LedgerArgs> {
    let url = match &options.ledger {
        Some(url) => url.clone(),
        None => options.url()?.to_string(),
    };
    let directory = context.directory(options.directory.as_deref())?;
    Ok(LedgerArgs { ledger: Some(url), must_exist: options.must_exist, directory: Some(directory) })
}

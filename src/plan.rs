//! The planner: groups hostnames into certificates and schedules the orders, as early as the limits allow, with the reasons.
//!
//! [`plan`] is the way in: group, shrink where tokens are to spare, schedule, stagger the renewals, bound. What could be done for a
//! deadline or an earlier finish is [`advise`]'s to find, by planning with it.

pub mod advise;
mod bound;
mod bucket;
mod choice;
mod gate;
mod group;
mod jobs;
mod lookup;
pub mod opening;
pub mod options;
mod pack;
pub mod replan;
mod schedule;
mod shrink;
mod stagger;
mod stock;
pub mod summary;
mod timeline;
mod usable;

use rayon::prelude::*;

use crate::dense::dense;
use crate::gcra::Quota;
use crate::inventory::{Challenge, Inventory, Urgency};
use crate::limits::Limits;
use crate::rules::Exemption;
use crate::time::{Span, Timestamp};

use choice::Aim;
use group::Grouping;
use jobs::{Jobs, Lane, TightLanes};
use opening::Opening;
pub use options::{Mix, NamesPerCertificate, Options, PlanError, Share};
use replan::{Earlier, Kept};
use schedule::{Bound, Placed, Terms};
use stagger::Staggered;
use stock::Stock;
pub use summary::{Bottleneck, RenewalSummary, Summary};
use usable::Usable;

/// What an order asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    /// A new certificate, by its place.
    New(u32),
    /// The renewal of a certificate held: a place in [`Inventory::held`].
    Renewal(u32),
}

/// An order with its time and reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Order {
    /// Its number, from 1; it stays the same when a plan is made from an older one.
    pub number: u32,
    /// Not before.
    pub at: Timestamp,
    /// For what.
    pub subject: Subject,
    /// What exempts it.
    pub exemption: Exemption,
    bound: Bound,
}

/// A plan: orders, by time, and what there is to say about them.
#[derive(Debug)]
pub struct Plan<'a> {
    /// What was planned.
    pub inventory: &'a Inventory,
    /// What limits it.
    pub limits: &'a Limits,
    /// How it was asked for.
    pub options: Options,
    /// The orders, by time.
    pub orders: Vec<Order>,
    /// The reasons, in numbers.
    pub summary: Summary,
    draft: Draft<'a>,
    opening: Option<&'a Opening>,
    /// The domain buckets that hold orders back, by the places that bounds have.
    lanes: Vec<Lane>,
}

/// What does not change with the limits' numbers: certificates, and the renewals that fall due.
#[derive(Debug)]
struct Draft<'a> {
    jobs: Jobs<'a>,
    margin: Span,
    staggered: Staggered,
    /// What is taken over from an earlier plan.
    kept: Option<Kept>,
    /// Whether the certificates are as full as they can be.
    is_full: bool,
}

impl<'a> Draft<'a> {
    fn new(usable: &Usable<'a>) -> Result<Self, PlanError> {
        Self::of(group::group(usable.inventory, &usable.limits.policy, &usable.options), usable)
    }

    /// The same where the names of a tenant may share certificates, from what is known for each domain alone.
    fn mixed(&self, usable: &Usable<'a>) -> Result<Self, PlanError> {
        if !self.is_full || self.kept.is_some() {
            return Self::new(usable);
        }
        let Usable { inventory, limits, ref options, .. } = *usable;
        Self::of(group::mixed(&self.jobs.grouping, inventory, &limits.policy, options), usable)
    }

    fn of(full: Grouping, usable: &Usable<'a>) -> Result<Self, PlanError> {
        let options = &usable.options;
        let full = checked(full, options)?;
        let margin = options.margin.unwrap_or_else(|| default_margin(usable.inventory, full.has_wildcard));
        let staggered = stagger::stagger(usable, margin, &|_| None);
        let smaller = match options.names_per_certificate {
            NamesPerCertificate::Auto => shrunk(&full, usable, &staggered),
            NamesPerCertificate::AtMost(_) => None,
        };
        let (is_full, grouping) = (smaller.is_none(), smaller.unwrap_or(full));
        let jobs = Jobs::new(usable, grouping, staggered.unexempt.clone());
        Ok(Self { jobs, margin, staggered, kept: None, is_full })
    }

    /// The same with what has not changed since an earlier plan. Its margin holds on: another one would move everything.
    fn from(earlier: &Earlier, usable: &Usable<'a>) -> Result<Self, PlanError> {
        let (kept, grouping) = replan::keep(usable, earlier);
        let grouping = checked(grouping, &usable.options)?;
        let margin = usable.options.margin.unwrap_or(earlier.margin);
        let before = |held| kept.renewal(held).map(|(_, at)| at);
        let staggered = stagger::stagger(usable, margin, &before);
        let jobs = Jobs::new(usable, grouping, staggered.unexempt.clone());
        Ok(Self { jobs, margin, staggered, kept: Some(kept), is_full: false })
    }
}

/// Plans `inventory` under `limits`, with full buckets.
///
/// # Errors
/// [`PlanError`] where what is asked for can't be.
pub fn plan<'a>(inventory: &'a Inventory, limits: &'a Limits, options: Options) -> Result<Plan<'a>, PlanError> {
    plan_from(inventory, limits, options, None, None)
}

/// Plans `inventory` under `limits` such that what has not changed since an earlier plan keeps its names, its number and its time.
///
/// # Errors
/// [`PlanError`] where what is asked for can't be.
pub fn replan<'a>(
    inventory: &'a Inventory,
    limits: &'a Limits,
    options: Options,
    earlier: &Earlier,
) -> Result<Plan<'a>, PlanError> {
    plan_from(inventory, limits, options, Some(earlier), None)
}

/// Plans `inventory` under `limits`, from an earlier plan as [`replan`] does if there is one, and from the buckets as they are at the
/// start; `None`: they are full. What an earlier plan has given a time that is not possible any more moves.
///
/// # Errors
/// [`PlanError`] where what is asked for can't be.
pub fn plan_from<'a>(
    inventory: &'a Inventory,
    limits: &'a Limits,
    options: Options,
    earlier: Option<&Earlier>,
    opening: Option<&'a Opening>,
) -> Result<Plan<'a>, PlanError> {
    limits.check_token_buckets()?;
    let usable = Usable::new(inventory, limits, options, opening);
    let draft = match earlier {
        None => Draft::new(&usable)?,
        Some(earlier) => Draft::from(earlier, &usable)?,
    };
    if usable.options.reserve_rate.parts() >= 1_000_000 {
        return Err(PlanError::Reserve(usable.options.reserve_rate));
    }
    let scheduled = schedule_all(&draft, &draft.jobs.tight_lanes(&usable), &usable);
    let orders = merge(&scheduled.placed, &draft);
    let summary = summary::summarize(&usable, &draft, &orders, &scheduled);
    let (options, lanes) = (usable.options, scheduled.lanes);
    Ok(Plan { inventory, limits, options, orders, summary, draft, opening, lanes })
}

/// 10 minutes; 60 where a name is validated by dns-01, since records take their time to spread.
fn default_margin(inventory: &Inventory, has_wildcard: bool) -> Span {
    let has_held_wildcard = || {
        (0..inventory.held.len())
            .any(|held| inventory.held_names(held).iter().any(|held| inventory.bytes(held.name).starts_with(b"*.")))
    };
    let dns = has_wildcard
        || inventory.groups.iter().any(|group| group.challenge == Some(Challenge::Dns01))
        || has_held_wildcard();
    Span::from_seconds(if dns { 3_600 } else { 600 })
}

/// Refuses more certificates than are allowed.
fn checked(grouping: Grouping, options: &Options) -> Result<Grouping, PlanError> {
    let (needed, allowed) = (grouping.certificates.len(), options.certificates_max);
    if needed > allowed { Err(PlanError::TooManyCertificates { needed, allowed }) } else { Ok(grouping) }
}

fn shrunk(full: &Grouping, usable: &Usable<'_>, staggered: &Staggered) -> Option<Grouping> {
    let Usable { inventory, limits, ref options, .. } = *usable;
    // Half of what a full bucket holds stays; what it lacks already comes out of the other half.
    let half = |quota: Option<Quota>, stock: Option<Stock>| {
        let half = quota.map_or(usize::MAX, |quota| quota.burst() as usize) / 2;
        stock.map_or(half, |stock| half.min(stock.quota.burst() as usize).saturating_sub(stock.lacking()))
    };
    let account_half = |account: u32| half(usable.full_account(account as usize), usable.account(account as usize));
    let own: Vec<bool> = inventory.accounts.iter().map(|account| limits.own_domain_buckets(account)).collect();
    let domain_half = |account: u32, domain: u32| {
        let lane_half = |lane| half(usable.full_lane(lane), usable.lane(lane));
        let global = lane_half(Lane::global(domain));
        if own[account as usize] { global.min(lane_half(Lane::own(account, domain))) } else { global }
    };
    let (renewals, certificates_max) = (&staggered.unexempt[..], options.certificates_max);
    let spare = shrink::Spare { account_half: &account_half, domain_half: &domain_half, renewals, certificates_max };
    shrink::shrink(full, inventory, &spare)
}

/// The schedule of all orders that take tokens, and its bounds.
struct Scheduled {
    placed: Vec<Placed>,
    lanes: Vec<Lane>,
    bound_at: Timestamp,
    bound_without_reserve_at: Option<Timestamp>,
    /// The most that an order comes after its deadline; `None`: there are no deadlines.
    lateness: Option<Span>,
    /// Whether a deadline or a priority has moved the finish by more than the margin.
    moved: bool,
}

fn schedule_all(draft: &Draft<'_>, tight: &TightLanes, usable: &Usable<'_>) -> Scheduled {
    let (jobs, options) = (&draft.jobs, &usable.options);
    let bound_at = lower_bound(draft, tight, usable);
    let bound_without_reserve_at = (options.reserve_rate > Share::default()).then(|| {
        let options = Options { reserve_rate: Share::default(), ..options.clone() };
        lower_bound(draft, tight, &Usable::new(usable.inventory, usable.limits, options, usable.opening))
    });
    let account = |account| usable.account(account);
    let terms = Terms { start: options.start, margin: draft.margin, account: &account };
    let attempt = |aim: Aim| {
        let placed = schedule::schedule(jobs, tight, &terms, aim);
        let late = lateness(&placed, jobs);
        (placed, late)
    };
    let finish = |placed: &[Placed]| placed.last().map_or(options.start, |last| last.at);
    let (mut placed, mut late) = match &draft.kept {
        None => attempt(Aim::Finish(bound_at)),
        Some(kept) => {
            let placed = replan::schedule(jobs, tight, usable, draft.margin, kept);
            let late = lateness(&placed, jobs);
            (placed, late)
        }
    };
    if draft.kept.is_none() && late.is_some_and(|late| late > Span::ZERO) {
        // Deadlines before all else; then as early a finish as leaves them no later.
        let (strict, strict_late) = attempt(Aim::Deadlines(FAR));
        if strict_late < late {
            let (mut low, mut high) = (bound_at, finish(&strict).max(bound_at));
            (placed, late) = (strict, strict_late);
            for _ in 0..BISECTIONS {
                let aim = low.plus(Span::from_nanos(high.since(low).nanos() / 2));
                let (other, other_late) = attempt(Aim::Deadlines(aim));
                if other_late <= strict_late.max(Some(Span::ZERO)) {
                    high = aim;
                    if finish(&other) < finish(&placed) {
                        (placed, late) = (other, other_late);
                    }
                } else {
                    low = aim;
                }
            }
        }
    }
    // What lies within the margin is the margin's: no schedule alone can tell it from an urgency's.
    let is_later = || finish(&placed) > finish(&attempt(Aim::FinishAlone(bound_at)).0);
    let moved = jobs.urgencies().len() > 1 && finish(&placed) > bound_at.plus(draft.margin) && is_later();
    let lanes = tight.lanes.iter().map(|(lane, _)| *lane).collect();
    Scheduled { placed, lanes, bound_at, bound_without_reserve_at, lateness: late, moved }
}

fn lateness(placed: &[Placed], jobs: &Jobs<'_>) -> Option<Span> {
    if jobs.urgencies().iter().all(|urgency| urgency.deadline == Urgency::NEVER) {
        return None;
    }
    let deadlines = placed.iter().filter_map(|order| {
        let deadline = jobs.urgency(jobs.job(order.job)).deadline;
        (deadline != Urgency::NEVER).then(|| order.at.since(deadline))
    });
    deadlines.max()
}

/// A time before which no plan of these orders finishes.
fn lower_bound(draft: &Draft<'_>, tight: &TightLanes, usable: &Usable<'_>) -> Timestamp {
    let least = (usable.options.mix == Mix::Tenant).then(|| orders_least(draft, usable));
    let account = |account| usable.account(account);
    bound::bound(&draft.jobs, tight, usable.options.start, &account, least.as_deref())
}

/// A finish that every deadline comes before.
const FAR: Timestamp = Timestamp::from_unix_nanos(i64::MAX - 1);

/// How often the finish is tried to be brought forward where deadlines move it.
const BISECTIONS: usize = 12;

/// The fewest orders that each account can do with, if names of a group may share certificates whatever their domain.
fn orders_least(draft: &Draft<'_>, usable: &Usable<'_>) -> Vec<u64> {
    let Usable { inventory, limits, options, .. } = usable;
    let mut names = vec![0_u64; inventory.groups.len()];
    draft.jobs.grouping.certificates.iter().for_each(|of| names[of.group as usize] += u64::from(of.names));
    let mut least = vec![0; inventory.accounts.len()];
    for (number, (group, names)) in (0..).zip(inventory.groups.iter().zip(names)) {
        let capacity = options.names_per_certificate.capacity(&limits.policy.profiles[group.profile as usize]);
        if inventory.has_tenant(number) {
            least[group.account as usize] += names.div_ceil(capacity as u64);
        }
    }
    for of in draft.jobs.grouping.certificates.iter().filter(|of| !inventory.has_tenant(of.group)) {
        least[inventory.groups[of.group as usize].account as usize] += 1;
    }
    for held in &draft.staggered.unexempt {
        let group = inventory.held[*held as usize].group;
        least[inventory.groups[group as usize].account as usize] += 1;
    }
    least
}

/// New orders and renewals, by time.
fn merge(placed: &[Placed], draft: &Draft<'_>) -> Vec<Order> {
    let staggered = &draft.staggered;
    let new_count = u32::try_from(placed.len() - staggered.unexempt.len()).unwrap_or(u32::MAX);
    let of_placed = |order: &Placed| {
        let subject = match order.job.checked_sub(new_count) {
            None => Subject::New(order.job),
            Some(place) => Subject::Renewal(staggered.unexempt[place as usize]),
        };
        Order { number: 0, at: order.at, subject, exemption: Exemption::None, bound: order.bound }
    };
    let mut orders: Vec<Order> = placed.par_iter().map(of_placed).collect();
    if !staggered.renewals.is_empty() {
        orders.extend(staggered.renewals.iter().map(|renewal| Order {
            number: 0,
            at: renewal.at,
            subject: Subject::Renewal(renewal.held),
            exemption: renewal.exemption,
            bound: Bound::NOTHING,
        }));
        // Stable: at one time those that take tokens go first.
        orders.par_sort_by_key(|order| order.at);
    }
    let Some(kept) = &draft.kept else {
        orders.par_iter_mut().enumerate().for_each(|(place, order)| order.number = dense(place) + 1);
        return orders;
    };
    let mut next = kept.last_number().saturating_add(1);
    for order in &mut orders {
        let before = match order.subject {
            Subject::New(certificate) => kept.number(certificate),
            Subject::Renewal(held) => kept.renewal(held).map(|(number, _)| number),
        };
        order.number = before.unwrap_or(next);
        next += u32::from(before.is_none());
    }
    orders
}

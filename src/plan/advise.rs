//! What would help: the smallest change with which a plan meets its deadlines, or finishes much earlier. Each change that is named was
//! found by planning with it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::bucket::{Bucket, bucket_of};
use super::gate::Gate;
use super::jobs::TightLanes;
use super::opening::Cause;
use super::schedule::Bound;
use super::{Draft, Mix, NamesPerCertificate, Options, Order, Plan, Share, Usable, lower_bound, schedule_all};
use crate::limits::{Limit, LimitName, Limits};
use crate::time::{NS_PER_S, Span, Timestamp};

/// A change to make.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum Change {
    /// Put as many names into a certificate as the profile allows: `--names-per-cert auto`.
    LargerCertificates,
    /// Leave covered names out: `--fold-wildcards`.
    FoldWildcards,
    /// Let the domains of a tenant share certificates: `--mix tenant`.
    MixTenant,
    /// Leave nothing for what nobody planned: `--headroom 0`.
    NoHeadroom,
    /// Leave nothing of the refill: `--reserve-rate 0`.
    NoReserve,
    /// Ask the CA for overrides.
    Overrides {
        /// One for each bucket in the way.
        overrides: Vec<Asked>,
    },
}

/// An override to ask for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize)]
pub struct Asked {
    /// The limit.
    pub limit: LimitName,
    /// The account or registered domain.
    pub key: String,
    /// The tier: burst and count.
    pub tier: u64,
    /// Its period, in seconds.
    pub period_seconds: i64,
    /// In seconds: when, under steady demand, it falls behind the default, whose rate is higher.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub falls_behind_after_seconds: Option<i64>,
}

/// A change and what it brings.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Step {
    /// What to change.
    #[serde(flatten)]
    pub change: Change,
    /// When the last new certificate is ordered then.
    pub finish_at: Timestamp,
    /// Whether all deadlines are met then.
    pub meets_deadlines: bool,
}

/// What would help.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct Advice {
    /// The smallest change that meets the deadlines; `None`: none of those tried does, or none is missed.
    pub smallest: Option<Step>,
    /// What brings the finish forward, the least costly change first.
    pub steps: Vec<Step>,
    /// Where overrides are advised: tiers to beware of, which raise the burst and lower the rate.
    pub slower_tiers: Vec<SlowerTier>,
}

/// A tier of an override that falls behind the default under steady demand.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct SlowerTier {
    /// The limit.
    pub limit: LimitName,
    /// The tier: burst and count.
    pub tier: u64,
    /// After how many seconds it has let less through.
    pub falls_behind_after_seconds: i64,
}

/// How long a plan may take before an earlier finish is worth a change, and by what part a change must bring it forward.
const WORTH_A_CHANGE: Span = Span::from_days(1);

/// Looks for changes that help.
#[must_use]
pub fn advise(today: &Plan<'_>) -> Advice {
    let missed = today.summary.lateness.is_some_and(|late| late > Span::ZERO);
    let mut advice = Advice::default();
    let Some(finish) = today.summary.last_at else { return advice };
    let long = finish.since(today.options.start) > WORTH_A_CHANGE;
    let covered = today.summary.covered_by_wildcard > today.summary.folded;
    if !missed && !long && !covered {
        return advice;
    }
    for (change, options) in changes(today, missed, finish) {
        let usable = Usable::new(today.inventory, today.limits, options, today.opening);
        let draft = match change {
            Change::MixTenant => today.draft.mixed(&usable),
            _ => Draft::new(&usable),
        };
        let Ok(draft) = draft else { continue };
        let outcome = attempt(&draft, &draft.jobs.tight_lanes(&usable), &usable);
        let step = Step { change, finish_at: outcome.finish_at, meets_deadlines: outcome.meets_deadlines() };
        if step.finish_at < finish || step.meets_deadlines && missed {
            advice.steps.push(step);
        }
    }
    advice.smallest = advice.steps.iter().find(|step| missed && step.meets_deadlines).cloned();
    if missed && advice.smallest.is_none() {
        advice.smallest = overrides_for_deadline(today);
    } else if !missed && long {
        advice.steps.extend(override_for_finish(today, finish));
    }
    advice.slower_tiers = slower_tiers(today, &advice);
    advice
}

/// The last order, if it waits for something.
fn last_to_wait<'p>(today: &'p Plan<'_>, finish: Timestamp) -> Option<&'p Order> {
    today.orders.iter().rfind(|order| order.at == finish && order.bound != Bound::NOTHING)
}

/// Whether the last order waits for a domain whose bucket lets no plan with as many certificates for that domain finish sooner. Then mixing
/// tenants' certificates does not help: full ones stay as they are, and no two that are left over of one domain come together.
fn is_held_by_a_domain(today: &Plan<'_>, finish: Timestamp) -> bool {
    let (Plan { inventory, draft, .. }, usable) = (today, usable_under(today, today.limits));
    let (start, accounts) = (usable.options.start, inventory.accounts.len());
    // Certificates made smaller may become full ones again; what spends without asking has a rule of its own.
    let any_own = inventory.accounts.iter().any(|account| today.limits.own_domain_buckets(account));
    if !draft.is_full || draft.kept.is_some() || any_own {
        return false;
    }
    let last = last_to_wait(today, finish).and_then(|last| bucket_of(last.bound, accounts, &today.lanes));
    let Some(Bucket::Lane(lane)) = last else { return false };
    let Some(stock) = usable.lane(lane) else { return false };
    let pieces = draft.jobs.grouping.all_pieces();
    let mut gate = Gate::new(stock, start, draft.margin);
    let earliest = pieces.filter(|piece| piece.domain == lane.domain).fold(start, |at, _| {
        let next = gate.next(start).max(at);
        gate.take(next, true);
        next
    });
    earliest >= finish
}

/// The tiers to beware of, of each limit for which an override is advised.
fn slower_tiers(today: &Plan<'_>, advice: &Advice) -> Vec<SlowerTier> {
    let mut limits: Vec<LimitName> = Vec::new();
    for step in advice.smallest.iter().chain(&advice.steps) {
        if let Change::Overrides { overrides } = &step.change {
            limits.extend(overrides.iter().map(|asked| asked.limit));
        }
    }
    limits.sort_unstable();
    limits.dedup();
    let policy = &today.limits.policy;
    let mut slower = Vec::new();
    for (tiers, default) in limits.into_iter().filter_map(|limit| Some((policy.tiers_of(limit)?, policy.limit(limit)?)))
    {
        let behind = tiers.tiers.iter().filter_map(|tier| Some((*tier, tiers.falls_behind_after(*tier, default)?)));
        slower.extend(behind.map(|(tier, after)| SlowerTier {
            limit: tiers.limit,
            tier,
            falls_behind_after_seconds: after.nanos() / NS_PER_S,
        }));
    }
    slower
}

/// The changes that are the user's own to make and may help, with the options that make them.
fn changes(today: &Plan<'_>, missed: bool, finish: Timestamp) -> Vec<(Change, Options)> {
    let options = &today.options;
    let mut changes = Vec::new();
    if today.summary.covered_by_wildcard > today.summary.folded {
        // Where covered names delay the finish, this is the first thing to say.
        changes.push((Change::FoldWildcards, Options { fold_wildcards: true, ..options.clone() }));
    }
    if options.names_per_certificate != NamesPerCertificate::Auto {
        let options = Options { names_per_certificate: NamesPerCertificate::Auto, ..options.clone() };
        changes.push((Change::LargerCertificates, options));
    }
    let has_tenants = today.inventory.tenants.iter().any(|tenant| !tenant.is_empty());
    let may_mix = options.mix == Mix::None && today.inventory.domain_count() > 1 && has_tenants;
    if may_mix && (missed || !is_held_by_a_domain(today, finish)) {
        changes.push((Change::MixTenant, Options { mix: Mix::Tenant, ..options.clone() }));
    }
    if missed && options.headroom > Share::default() {
        changes.push((Change::NoHeadroom, Options { headroom: Share::default(), ..options.clone() }));
    }
    if missed && options.reserve_rate > Share::default() {
        changes.push((Change::NoReserve, Options { reserve_rate: Share::default(), ..options.clone() }));
    }
    changes
}

/// What a changed plan comes to.
struct Outcome {
    finish_at: Timestamp,
    lateness: Option<Span>,
    /// The buckets that late orders wait for; sorted.
    in_the_way: Vec<Bucket>,
}

impl Outcome {
    fn meets_deadlines(&self) -> bool {
        self.lateness.is_some_and(|late| late <= Span::ZERO)
    }
}

fn attempt(draft: &Draft<'_>, tight: &TightLanes, usable: &Usable<'_>) -> Outcome {
    let scheduled = schedule_all(draft, tight, usable);
    let (jobs, placed) = (&draft.jobs, &scheduled.placed);
    let last_new = placed.iter().rfind(|order| jobs.held(order.job).is_none()).or_else(|| placed.last());
    let any_late = scheduled.lateness.is_some_and(|late| late > Span::ZERO);
    let late = placed.iter().filter(|_| any_late).filter(|order| order.at > jobs.urgency(jobs.job(order.job)).deadline);
    let mut bounds: Vec<Bound> = late.map(|order| order.bound).collect();
    bounds.sort_unstable();
    bounds.dedup();
    let accounts = usable.inventory.accounts.len();
    let in_the_way = bounds.into_iter().filter_map(|bound| bucket_of(bound, accounts, &scheduled.lanes)).collect();
    Outcome {
        finish_at: last_new.map_or(usable.options.start, |last| last.at),
        lateness: scheduled.lateness,
        in_the_way,
    }
}

/// The tier of an override for the bucket that comes after `so_far`.
fn next_tier(today: &Plan<'_>, limit: LimitName, so_far: Option<u64>) -> Option<(u64, Limit)> {
    let tiers = today.limits.policy.tiers_of(limit)?;
    let tier = tiers.tiers.iter().copied().find(|tier| so_far.is_none_or(|so_far| *tier > so_far))?;
    Some((tier, tiers.limit_of(tier).ok()?))
}

/// What is usable under other limits than today's.
fn usable_under<'a>(today: &'a Plan<'_>, limits: &'a Limits) -> Usable<'a> {
    Usable::new(today.inventory, limits, today.options.clone(), today.opening)
}

/// The limit that a bucket is of, and its key; `None` where no limit is in the way.
fn limit_of(today: &Plan<'_>, bucket: Bucket) -> Option<(LimitName, String)> {
    match bucket.describe(today.inventory, today.opening)? {
        (Cause::Limit(limit), key) => Some((limit, key)),
        (Cause::Backoff | Cause::InHand, _) => None,
    }
}

/// Asks for more of every bucket that a late order waits for, a tier at a time, until nothing is late.
fn overrides_for_deadline(today: &Plan<'_>) -> Option<Step> {
    let mut asked: BTreeMap<Bucket, u64> = BTreeMap::new();
    let mut limits = today.limits.clone();
    loop {
        let usable = usable_under(today, &limits);
        let outcome = attempt(&today.draft, &today.draft.jobs.tight_lanes(&usable), &usable);
        if outcome.meets_deadlines() {
            let name = |(bucket, tier): (&Bucket, &u64)| {
                let (limit, key) = limit_of(today, *bucket)?;
                name_it(today.limits, limit, key, *tier)
            };
            let change = Change::Overrides { overrides: asked.iter().filter_map(name).collect() };
            return Some(Step { change, finish_at: outcome.finish_at, meets_deadlines: true });
        }
        let mut raised = false;
        for bucket in outcome.in_the_way {
            let Some((limit, key)) = limit_of(today, bucket) else { continue };
            if let Some((tier, more)) = next_tier(today, limit, asked.get(&bucket).copied()) {
                limits.overrides.set(limit, &key, more);
                asked.insert(bucket, tier);
                raised = true;
            }
        }
        if !raised {
            return None;
        }
    }
}

fn name_it(limits: &Limits, limit: LimitName, key: String, tier: u64) -> Option<Asked> {
    let tiers = limits.policy.tiers_of(limit)?;
    let falls_behind = limits.policy.limit(limit).and_then(|default| tiers.falls_behind_after(tier, default));
    Some(Asked {
        limit,
        key,
        tier,
        period_seconds: tiers.period.nanos() / NS_PER_S,
        falls_behind_after_seconds: falls_behind.map(|after| after.nanos() / NS_PER_S),
    })
}

/// The smallest override of the bucket that the last order waits for which at least halves what is left to wait; else the one that
/// brings the most. The bounds say which that may be; the finish is that of a plan with it.
fn override_for_finish(today: &Plan<'_>, finish: Timestamp) -> Option<Step> {
    let jobs = &today.draft.jobs;
    let last = last_to_wait(today, finish)?;
    let (Cause::Limit(limit), key) = today.bound_by(last)? else { return None };
    let bucket = bucket_of(last.bound, today.inventory.accounts.len(), &today.lanes)?;
    let with = |more: Limit| {
        let mut limits = today.limits.clone();
        limits.overrides.set(limit, &key, more);
        limits
    };
    // An account's tokens change nothing for the domains.
    let of_account = limit == LimitName::NewOrdersPerAccount;
    let tight_today = of_account.then(|| jobs.tight_lanes(&usable_under(today, today.limits)));
    let half = today.options.start.plus(Span::from_nanos(finish.since(today.options.start).nanos() / 2));
    let mut best: Option<(Timestamp, u64, Limits, Cow<'_, TightLanes>)> = None;
    let mut tier = None;
    while let Some((next, more)) = next_tier(today, limit, tier) {
        tier = Some(next);
        let limits = with(more);
        let usable = usable_under(today, &limits);
        let tight = tight_today.as_ref().map_or_else(|| Cow::Owned(jobs.tight_lanes(&usable)), Cow::Borrowed);
        let bound = lower_bound(&today.draft, &tight, &usable);
        // A domain that holds nothing back any more brings no more with a higher tier.
        let is_ample = matches!(bucket, Bucket::Lane(lane) if lane.account().is_none() && tight.place(lane).is_none());
        if bound < best.as_ref().map_or(finish, |(best, ..)| *best) {
            best = Some((bound, next, limits, tight));
        }
        if is_ample || best.as_ref().is_some_and(|(best, ..)| *best <= half) {
            break;
        }
    }
    let (_, tier, limits, tight) = best?;
    let outcome = attempt(&today.draft, &tight, &usable_under(today, &limits));
    let change = Change::Overrides { overrides: name_it(today.limits, limit, key, tier).into_iter().collect() };
    let step = Step { change, finish_at: outcome.finish_at, meets_deadlines: outcome.meets_deadlines() };
    (step.finish_at < finish).then_some(step)
}

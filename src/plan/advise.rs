//! What would help: the smallest change with which a plan meets its deadlines, or finishes much earlier. Each change that is named was
//! found by planning with it.

use rustc_hash::{FxHashMap, FxHashSet};

use super::schedule::Bound;
use super::{Mix, NamesPerCertificate, Options, Plan, PlanError, Share, bucket_of, plan};
use crate::limits::{Limit, LimitName, Limits};
use crate::time::{Span, Timestamp};

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
    for (change, options) in changes(today, missed) {
        if let Some(step) = attempt(today, today.limits, options, change)
            && (step.finish_at < finish || step.meets_deadlines && missed)
        {
            advice.steps.push(step);
        }
    }
    if missed {
        advice.smallest = advice.steps.iter().find(|step| step.meets_deadlines).cloned();
        if advice.smallest.is_none() {
            advice.smallest = overrides_for_deadline(today);
        }
    } else if long {
        advice.steps.extend(override_for_finish(today, finish));
    }
    advice
}

/// The changes that are the user's own to make, with the options that make them.
fn changes(today: &Plan<'_>, missed: bool) -> Vec<(Change, Options)> {
    let options = &today.options;
    let mut changes = Vec::new();
    if options.names_per_certificate != NamesPerCertificate::Auto {
        let options = Options { names_per_certificate: NamesPerCertificate::Auto, ..options.clone() };
        changes.push((Change::LargerCertificates, options));
    }
    if today.summary.covered_by_wildcard > today.summary.folded {
        // Where covered names delay the finish, this is the first thing to say.
        changes.insert(0, (Change::FoldWildcards, Options { fold_wildcards: true, ..options.clone() }));
    }
    if options.mix == Mix::None && today.inventory.domain_count() > 1 {
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

fn attempt(today: &Plan<'_>, limits: &Limits, options: Options, change: Change) -> Option<Step> {
    let other: Result<Plan<'_>, PlanError> = plan(today.inventory, limits, options);
    let summary = other.ok()?.summary;
    let meets_deadlines = summary.lateness.is_some_and(|late| late <= Span::ZERO);
    Some(Step { change, finish_at: summary.last_at?, meets_deadlines })
}

/// A tier of an override for the bucket, after `so_far`.
fn next_tier(today: &Plan<'_>, limit: LimitName, so_far: Option<u64>) -> Option<(u64, Limit)> {
    let tiers = today.limits.policy.tiers_of(limit)?;
    let tier = tiers.tiers.iter().copied().find(|tier| so_far.is_none_or(|so_far| *tier > so_far))?;
    Some((tier, tiers.limit_of(tier).ok()?))
}

/// Asks for more of every bucket that a late order waits for, a tier at a time, until nothing is late.
fn overrides_for_deadline(today: &Plan<'_>) -> Option<Step> {
    let mut asked: FxHashMap<Bound, u64> = FxHashMap::default();
    let mut limits = today.limits.clone();
    loop {
        let now = plan(today.inventory, &limits, today.options.clone()).ok()?;
        let in_the_way = late_bounds(&now);
        if in_the_way.is_empty() {
            let met = now.summary.lateness.is_none_or(|late| late <= Span::ZERO);
            let finish_at = now.summary.last_at?;
            let change = Change::Overrides { overrides: name_them(today, &asked) };
            return met.then_some(Step { change, finish_at, meets_deadlines: true });
        }
        let mut raised = false;
        let mut in_the_way: Vec<Bound> = in_the_way.into_iter().collect();
        in_the_way.sort_unstable();
        for bound in in_the_way {
            let Some((limit, key)) = bucket_of(bound, today.inventory) else { continue };
            if let Some((tier, more)) = next_tier(today, limit, asked.get(&bound).copied()) {
                limits.overrides.set(limit, &key, more);
                asked.insert(bound, tier);
                raised = true;
            }
        }
        if !raised {
            return None;
        }
    }
}

fn late_bounds(now: &Plan<'_>) -> FxHashSet<Bound> {
    let late = now.orders.iter().filter(|order| now.deadline_of(order).is_some_and(|deadline| order.at > deadline));
    late.map(|order| order.bound).filter(|bound| *bound != Bound::Nothing).collect()
}

fn name_them(today: &Plan<'_>, asked: &FxHashMap<Bound, u64>) -> Vec<Asked> {
    let mut named: Vec<Asked> = Vec::new();
    let mut sorted: Vec<(Bound, u64)> = asked.iter().map(|(bound, tier)| (*bound, *tier)).collect();
    sorted.sort_unstable();
    for (bound, tier) in sorted {
        named
            .extend(bucket_of(bound, today.inventory).and_then(|(limit, key)| name_it(today.limits, limit, key, tier)));
    }
    named
}

fn name_it(limits: &Limits, limit: LimitName, key: String, tier: u64) -> Option<Asked> {
    let tiers = limits.policy.tiers_of(limit)?;
    let falls_behind = limits.policy.limit(limit).and_then(|default| tiers.falls_behind_after(tier, default));
    Some(Asked {
        limit,
        key,
        tier,
        period_seconds: tiers.period.nanos() / crate::time::NS_PER_S,
        falls_behind_after_seconds: falls_behind.map(|after| after.nanos() / crate::time::NS_PER_S),
    })
}

/// The smallest override of the bucket that the last order waits for which at least halves what is left to wait; else the one that
/// brings the most.
fn override_for_finish(today: &Plan<'_>, finish: Timestamp) -> Option<Step> {
    let last = today.orders.iter().rfind(|order| order.at == finish && order.bound != Bound::Nothing)?;
    let (limit, key) = bucket_of(last.bound, today.inventory)?;
    let default = today.limits.quota(limit, &key)?;
    let mut best: Option<Step> = None;
    let mut tier = None;
    while let Some((next, more)) = next_tier(today, limit, tier) {
        tier = Some(next);
        if more.quota.emission() >= default.emission() && more.quota.burst() <= default.burst() {
            continue;
        }
        let mut limits = today.limits.clone();
        limits.overrides.set(limit, &key, more);
        let change =
            Change::Overrides { overrides: name_it(today.limits, limit, key.clone(), next).into_iter().collect() };
        let Some(step) = attempt(today, &limits, today.options.clone(), change) else { continue };
        let start = today.options.start;
        let halves = step.finish_at.since(start).nanos() <= finish.since(start).nanos() / 2;
        let better = step.finish_at < best.as_ref().map_or(finish, |best| best.finish_at);
        if better {
            best = Some(step);
        } else if best.is_some() {
            // A larger tier of this bucket brings nothing more.
            break;
        }
        if halves && better {
            break;
        }
    }
    best
}

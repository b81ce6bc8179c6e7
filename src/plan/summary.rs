//! A plan in numbers: how many, when, what holds it back, what it means for ever.

use rustc_hash::FxHashMap;

use super::bucket::bucket_of;
use super::group::Grouping;
use super::opening::Cause;
use super::schedule::Bound;
use super::stagger::Staggered;
use super::usable::Usable;
use super::{Draft, Order, Scheduled, Subject};
use crate::inventory::Inventory;
use crate::limits::{Limits, Profile};
use crate::rules::Exemption;
use crate::time::{NS_PER_S, Span, Timestamp};

/// What orders wait for.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Bottleneck {
    /// The limit, or what else of a ledger it is.
    pub limit: Cause,
    /// Whose: an account, a registered domain; or what the ledger has under it.
    pub key: String,
    /// How many orders wait for it.
    pub orders: u64,
    /// How long after the start the last of them goes out.
    #[serde(rename = "delay_seconds", serialize_with = "whole_seconds")]
    pub delay: Span,
}

/// The renewals of certificates held, in numbers.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct RenewalSummary {
    /// How many fall due within the horizon.
    pub orders: u64,
    /// Of these, inside the window that the CA suggests.
    pub ari: u64,
    /// Of these, exempt since the same set was issued lately.
    pub same_set: u64,
    /// Of these, exempt from nothing: they take tokens.
    pub unexempt: u64,
    /// The first one.
    pub first_at: Timestamp,
    /// The last one.
    pub last_at: Timestamp,
    /// The most in one hour, of those that are exempt.
    pub peak_hour: u64,
    /// What that hour would have if all hours from the first to the last were alike; rounded up.
    pub mean_hour: u64,
}

/// A plan in numbers.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Summary {
    /// Orders, new ones and renewals.
    pub orders: u64,
    /// New certificates.
    pub certificates: u64,
    /// Hostnames in all orders.
    pub hostnames: u64,
    /// Registered domains and address blocks in all orders.
    pub registered_domains: u64,
    /// The first order for a new certificate (where there is none: the first order).
    pub first_at: Option<Timestamp>,
    /// The last order for a new certificate (where there is none: the last order).
    pub last_at: Option<Timestamp>,
    /// No plan finishes its new certificates before.
    pub bound_at: Option<Timestamp>,
    /// The same if nothing were reserved of the order bucket's refill; only where something is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound_without_reserve_at: Option<Timestamp>,
    /// How long after the bound the last new certificate is ordered.
    #[serde(rename = "gap_seconds", serialize_with = "whole_seconds")]
    pub gap: Span,
    /// Whether a deadline or a priority has moved the finish by more than the margin.
    pub finish_moved_by_urgency: bool,
    /// The most names in a certificate.
    pub largest_certificate: u64,
    /// Distinct names left out because their rows are bad.
    pub rejected: u64,
    /// Names wanted that a wildcard of the inventory covers.
    pub covered_by_wildcard: u64,
    /// Of these, those left out.
    pub folded: u64,
    /// How late the latest order with a deadline is; negative or 0: all are met.
    #[serde(rename = "lateness_seconds", serialize_with = "optional_seconds", skip_serializing_if = "Option::is_none")]
    pub lateness: Option<Span>,
    /// What holds it back: at most ten, the longest delay first.
    pub bottlenecks: Vec<Bottleneck>,
    /// How many buckets hold orders back in all.
    pub bottleneck_count: u64,
    /// The renewals that fall due within the horizon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewals: Option<RenewalSummary>,
    /// Renewals a day, for ever, in thousandths: from the date on, since lifetimes change.
    pub steady: Vec<Steady>,
    /// Orders in each 24 hours from the start: new ones and renewals.
    #[serde(skip)]
    pub days: Vec<(u64, u64)>,
}

/// What a plan's certificates mean for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Steady {
    /// From when.
    pub from: Timestamp,
    /// Renewals a day, in thousandths, rounded up.
    pub renewals_per_day_thousandths: u64,
}

/// For JSON: whole seconds, rounded up, so that nothing looks earlier than it is.
fn whole_seconds<S: serde::Serializer>(span: &Span, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(ceil_seconds(*span))
}

fn optional_seconds<S: serde::Serializer>(span: &Option<Span>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(span.map_or(0, ceil_seconds))
}

fn ceil_seconds(span: Span) -> i64 {
    span.nanos().div_euclid(NS_PER_S) + i64::from(span.nanos().rem_euclid(NS_PER_S) > 0)
}

const DAY_NS: i64 = 86_400 * NS_PER_S;

pub(super) fn summarize(usable: &Usable<'_>, draft: &Draft<'_>, orders: &[Order], scheduled: &Scheduled) -> Summary {
    let Usable { inventory, limits, ref options, .. } = *usable;
    let (grouping, staggered) = (&draft.jobs.grouping, &draft.staggered);
    let is_new = |order: &&Order| matches!(order.subject, Subject::New(_));
    let any_new = orders.iter().find(is_new).is_some();
    let finish = scheduled.placed.last().map(|last| last.at);
    let steadily = || steady(inventory, limits, grouping, finish.unwrap_or(options.start));
    // Millions of orders are gone through by all threads, each for something else.
    let ((waits, days), (registered_domains, steady)) = rayon::join(
        || rayon::join(|| waits(orders, options.start), || days(orders, options.start)),
        || rayon::join(|| domains(inventory, grouping, orders), steadily),
    );
    let mut waits: Vec<(Span, u64, Bound)> =
        waits.into_iter().map(|(bound, (count, delay))| (delay, count, bound)).collect();
    waits.sort_unstable_by(|a, b| (b.0, b.1, a.2).cmp(&(a.0, a.1, b.2)));
    let bottleneck_count = waits.len() as u64;
    let bottlenecks = waits.into_iter().take(10).filter_map(|(delay, orders, bound)| {
        let bucket = bucket_of(bound, inventory.accounts.len(), &scheduled.lanes)?;
        let (limit, key) = bucket.describe(inventory, usable.opening)?;
        Some(Bottleneck { limit, key, orders, delay })
    });
    let first = orders.iter().find(is_new).or_else(|| orders.first());
    let last = orders.iter().rfind(is_new).or_else(|| orders.last());
    let bound_at = (!scheduled.placed.is_empty()).then_some(scheduled.bound_at);
    let held_sizes = orders.iter().filter_map(|order| match order.subject {
        Subject::Renewal(held) => Some(inventory.held_names(held as usize).len() as u64),
        Subject::New(_) => None,
    });
    let renewed_names: u64 = held_sizes.clone().sum();
    let new_names: u64 = grouping.certificates.iter().map(|of| u64::from(of.names)).sum();
    let largest = grouping.certificates.iter().map(|of| u64::from(of.names)).chain(held_sizes).max();
    Summary {
        orders: orders.len() as u64,
        certificates: grouping.certificates.len() as u64,
        hostnames: new_names + renewed_names,
        registered_domains,
        first_at: first.map(|order| order.at),
        last_at: last.map(|order| order.at),
        bound_at,
        bound_without_reserve_at: scheduled.bound_without_reserve_at.filter(|_| any_new),
        gap: finish.zip(bound_at).map_or(Span::ZERO, |(finish, bound)| finish.since(bound)),
        finish_moved_by_urgency: scheduled.moved,
        largest_certificate: largest.unwrap_or_default(),
        rejected: inventory.counts.rejected,
        covered_by_wildcard: grouping.covered,
        folded: grouping.folded,
        lateness: scheduled.lateness,
        bottlenecks: bottlenecks.collect(),
        bottleneck_count,
        renewals: renewals(orders, staggered),
        steady,
        days,
    }
}

/// By bucket: how many orders wait for it, and how long the last one does.
fn waits(orders: &[Order], start: Timestamp) -> FxHashMap<Bound, (u64, Span)> {
    let mut waits: FxHashMap<Bound, (u64, Span)> = FxHashMap::default();
    for order in orders.iter().filter(|order| order.bound != Bound::NOTHING) {
        let (count, delay) = waits.entry(order.bound).or_default();
        *count += 1;
        *delay = order.at.since(start).max(*delay);
    }
    waits
}

/// Orders in each 24 hours from the start: new ones and renewals.
fn days(orders: &[Order], start: Timestamp) -> Vec<(u64, u64)> {
    let mut days: Vec<(u64, u64)> = Vec::new();
    for order in orders {
        let day = usize::try_from(order.at.since(start).nanos() / DAY_NS).unwrap_or_default();
        if days.len() <= day {
            days.resize(day + 1, (0, 0));
        }
        match order.subject {
            Subject::New(_) => days[day].0 += 1,
            Subject::Renewal(_) => days[day].1 += 1,
        }
    }
    days
}

fn domains(inventory: &Inventory, grouping: &Grouping, orders: &[Order]) -> u64 {
    let mut seen = vec![false; inventory.domain_count()];
    // Every new certificate has an order.
    grouping.all_pieces().for_each(|piece| seen[piece.domain as usize] = true);
    for order in orders {
        if let Subject::Renewal(held) = order.subject {
            inventory.held_names(held as usize).iter().for_each(|name| seen[name.domain as usize] = true);
        }
    }
    seen.into_iter().filter(|seen| *seen).count() as u64
}

fn renewals(orders: &[Order], staggered: &Staggered) -> Option<RenewalSummary> {
    let renewals: Vec<&Order> = orders.iter().filter(|order| matches!(order.subject, Subject::Renewal(_))).collect();
    let (first_at, last_at) = (renewals.first()?.at, renewals.last()?.at);
    let count = |exemption: Exemption| renewals.iter().filter(|order| order.exemption == exemption).count() as u64;
    let spread = staggered.renewals.first().zip(staggered.renewals.last());
    let hours = spread.map_or(1, |(first, last)| {
        let hour = |at: Timestamp| at.unix_nanos().div_euclid(3_600 * NS_PER_S);
        u64::try_from(hour(last.at) - hour(first.at)).unwrap_or_default() + 1
    });
    Some(RenewalSummary {
        orders: renewals.len() as u64,
        ari: count(Exemption::Ari),
        same_set: count(Exemption::SameSet),
        unexempt: count(Exemption::None),
        first_at,
        last_at,
        peak_hour: staggered.peak_hour,
        mean_hour: (staggered.renewals.len() as u64).div_ceil(hours),
    })
}

/// Renewals a day once all is issued, and again from each date on which a profile's lifetime changes.
fn steady(inventory: &Inventory, limits: &Limits, grouping: &Grouping, from: Timestamp) -> Vec<Steady> {
    let policy = &limits.policy;
    let mut by_profile = vec![0_u64; policy.profiles.len()];
    let groups = grouping.certificates.iter().map(|of| of.group).chain(inventory.held.iter().map(|held| held.group));
    groups.for_each(|group| by_profile[inventory.groups[group as usize].profile as usize] += 1);
    let used = || policy.profiles.iter().zip(&by_profile).filter(|(_, count)| **count > 0);
    let mut dates: Vec<Timestamp> =
        used().flat_map(|(profile, _)| profile.terms()).map(|terms| terms.from).filter(|date| *date > from).collect();
    dates.push(from);
    dates.sort_unstable();
    dates.dedup();
    let thousandths = |profile: &Profile, count: u64, at: Timestamp| {
        let validity = profile.terms_at(at).validity;
        let every = validity.nanos() - policy.renewal.before_expiry(validity).nanos();
        (u128::from(count) * 1_000 * u128::from(DAY_NS.unsigned_abs()))
            .div_ceil(u128::from(every.unsigned_abs()).max(1))
    };
    let mut steady: Vec<Steady> = Vec::new();
    for date in dates {
        let sum: u128 = used().map(|(profile, count)| thousandths(profile, *count, date)).sum();
        let renewals_per_day_thousandths = u64::try_from(sum).unwrap_or(u64::MAX);
        if steady.last().is_none_or(|last| last.renewals_per_day_thousandths != renewals_per_day_thousandths) {
            steady.push(Steady { from: date, renewals_per_day_thousandths });
        }
    }
    steady
}

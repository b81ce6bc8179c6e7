//! Spreads the renewals of certificates held that fall due within the horizon, so that the busiest hour is as low as it can be.
//!
//! A certificate may be renewed inside the window that the CA suggests (ARI), or else from two thirds of its lifetime (half, for
//! short-lived ones) back by the spread. One that is past that is renewed soon. The least number an hour is found by bisection;
//! earliest end first tells whether a number suffices.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::Options;
use super::usable::Usable;
use crate::inventory::HeldTerms;
use crate::limits::RenewalTerms;
use crate::rules::Exemption;
use crate::time::{NS_PER_S, Span, Timestamp};

const HOUR_NS: i64 = 3_600 * NS_PER_S;

/// A renewal with its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Renewal {
    pub(super) at: Timestamp,
    /// A place in [`Inventory::held`].
    pub(super) held: u32,
    pub(super) exemption: Exemption,
}

/// The renewals that fall due.
#[derive(Clone, Debug, Default)]
pub(super) struct Staggered {
    pub(super) renewals: Vec<Renewal>,
    /// Certificates held that are due, but exempt from nothing: they take tokens like new ones.
    pub(super) unexempt: Vec<u32>,
    /// The most in one hour.
    pub(super) peak_hour: u64,
}

/// The first and the last hour that a renewal may go in.
type Hours = (i64, i64);

/// When a renewal may go, and what exempts it then.
struct Allowed {
    from: Timestamp,
    /// Outside.
    to: Timestamp,
    exemption: Exemption,
}

/// Spreads what falls due. `before` has the times of an earlier plan: they are kept where they still are allowed.
pub(super) fn stagger(usable: &Usable<'_>, margin: Span, before: &dyn Fn(u32) -> Option<Timestamp>) -> Staggered {
    let Usable { inventory, ref options, .. } = *usable;
    let terms = &usable.limits.policy.renewal;
    let mut staggered = Staggered::default();
    let mut due = Vec::new();
    for (held, of) in (0..).zip(&inventory.held) {
        let allowed = allowed(of, terms, options, margin, starts(held, of, usable));
        if allowed.from >= options.start.plus(options.horizon) {
            continue;
        }
        match allowed.exemption {
            Exemption::None => staggered.unexempt.push(held),
            Exemption::SameSet | Exemption::Ari => {
                match before(held).filter(|at| (allowed.from..allowed.to).contains(at)) {
                    Some(at) => staggered.renewals.push(Renewal { at, held, exemption: allowed.exemption }),
                    None => due.push((held, allowed)),
                }
            }
        }
    }
    let hour = |at: Timestamp| at.unix_nanos().div_euclid(HOUR_NS);
    // Renewals with the same hours to choose from are alike.
    let mut alike: BTreeMap<(i64, i64), Vec<usize>> = BTreeMap::new();
    for (place, (_, allowed)) in due.iter().enumerate() {
        let last = allowed.to.minus(Span::from_nanos(1)).max(allowed.from);
        alike.entry((hour(allowed.from), hour(last))).or_default().push(place);
    }
    let counts: Vec<((i64, i64), u64)> = alike.iter().map(|(hours, places)| (*hours, places.len() as u64)).collect();
    let (mut low, mut high) = (1, due.len().max(1) as u64);
    while low < high {
        let middle = low.midpoint(high);
        if fill(&counts, middle).is_some() { high = middle } else { low = middle + 1 }
    }
    let mut by_hour: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for (hour, class, count) in fill(&counts, low).unwrap_or_default() {
        if let Some(places) = alike.get_mut(&class) {
            let rest = places.split_off(usize::try_from(count).unwrap_or(usize::MAX).min(places.len()));
            by_hour.entry(hour).or_default().append(&mut std::mem::replace(places, rest));
        }
    }
    for (hour, places) in by_hour {
        let step = HOUR_NS / i64::try_from(places.len()).unwrap_or(i64::MAX).max(1);
        let mut at = Timestamp::from_unix_nanos(hour * HOUR_NS + step / 2);
        for place in places {
            let (held, allowed) = &due[place];
            // An hour at either end of the window may lie in it in part only.
            let last = allowed.to.minus(Span::from_nanos(1)).max(allowed.from);
            staggered.renewals.push(Renewal {
                at: at.clamp(allowed.from, last),
                held: *held,
                exemption: allowed.exemption,
            });
            at = at.plus(Span::from_nanos(step));
        }
    }
    staggered.renewals.sort_unstable_by_key(|renewal| (renewal.at, renewal.held));
    let by_hour = staggered.renewals.chunk_by(|a, b| hour(a.at) == hour(b.at));
    staggered.peak_hour = by_hour.map(<[Renewal]>::len).max().unwrap_or_default() as u64;
    staggered
}

/// Fills hours with at most `most` renewals each, earliest end first: how many of which kind in which hour; `None` if that is too few.
fn fill(counts: &[(Hours, u64)], most: u64) -> Option<Vec<(i64, Hours, u64)>> {
    let mut filled = Vec::new();
    let mut open: BinaryHeap<Reverse<(i64, i64, u64)>> = BinaryHeap::new();
    let mut coming = counts.iter().peekable();
    let mut hour = i64::MIN;
    loop {
        if open.is_empty() {
            match coming.peek() {
                Some(((from, _), _)) => hour = *from,
                None => return Some(filled),
            }
        }
        while let Some(((from, to), count)) = coming.next_if(|((from, _), _)| *from <= hour) {
            open.push(Reverse((*to, *from, *count)));
        }
        let mut room = most;
        while room > 0
            && let Some(Reverse((to, from, count))) = open.pop()
        {
            if to < hour {
                return None;
            }
            let now = count.min(room);
            filled.push((hour, (from, to), now));
            room -= now;
            if count > now {
                open.push(Reverse((to, from, count - now)));
            }
        }
        hour += 1;
    }
}

/// When the renewal of a certificate held may go at the earliest: inside the window that the CA suggests, where no limit has a say, and
/// outside.
fn starts(held: u32, of: &HeldTerms, usable: &Usable<'_>) -> (Timestamp, Timestamp) {
    let start = usable.options.start;
    let Some(opening) = usable.opening.filter(|opening| opening.has_delays()) else { return (start, start) };
    let inventory = usable.inventory;
    let names: Vec<&str> = inventory.held_names(held as usize).iter().map(|held| inventory.text(held.name)).collect();
    let account = &inventory.accounts[inventory.groups[of.group as usize].account as usize];
    let until = |limited| opening.delay_of(account, &names, limited).map_or(start, |place| opening.delay(place).until);
    (until(false), until(true))
}

fn allowed(
    of: &HeldTerms,
    terms: &RenewalTerms,
    options: &Options,
    margin: Span,
    (ari_start, start): (Timestamp, Timestamp),
) -> Allowed {
    let HeldTerms { issued_at, expires_at, .. } = *of;
    // An order planned for t may go out at t + margin, and is to be exempt even then.
    let memory_ends = issued_at.plus(terms.same_set_memory).minus(margin);
    let by_memory = |from: Timestamp| if from < memory_ends { Exemption::SameSet } else { Exemption::None };
    let (window_start, window_end) = terms.window(issued_at, expires_at);
    let ari = (ari_start.max(window_start), window_end.minus(margin));
    if options.ari && ari.0 < ari.1 {
        // Inside its window an order is exempt, but once the set is forgotten its certificate takes domain tokens like any other.
        let exemption = if ari.0 < memory_ends { Exemption::Ari } else { Exemption::None };
        return Allowed { from: ari.0, to: ari.1.min(memory_ends).max(ari.0), exemption };
    }
    let usual = expires_at.minus(terms.before_expiry(expires_at.since(issued_at)));
    let (from, to) = if usual > start {
        (usual.minus(options.spread).max(start), usual)
    } else {
        // Past its time: soon, but not all of them at once.
        let left = Span::from_nanos(expires_at.since(start).nanos() / 2);
        (start, start.plus(left.min(options.spread)))
    };
    let exemption = by_memory(from);
    let to = if exemption == Exemption::SameSet { to.min(memory_ends) } else { to };
    Allowed { from, to: to.max(from.plus(Span::from_nanos(1))), exemption }
}

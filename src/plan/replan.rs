//! Plans again from an earlier plan: what has not changed keeps its names, its number and its time; what is new goes where it fits.

use rustc_hash::FxHashMap;

use super::Mix;
use super::group::{self, Grouping};
use super::jobs::{Jobs, TightLanes};
use super::opening::Cause;
use super::schedule::{Bound, Placed};
use super::timeline::Timeline;
use super::usable::Usable;
use crate::dense::dense;
use crate::limits::LimitName;
use crate::time::{Span, Timestamp};

/// An order of an earlier plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EarlierOrder {
    /// Its number.
    pub number: u32,
    /// Its time.
    pub at: Timestamp,
    /// Its account.
    pub account: String,
    /// Its profile.
    pub profile: String,
    /// Its names.
    pub names: Vec<String>,
    /// The certificate it renews, if it does.
    pub replaces: Option<String>,
    /// What it waited for.
    pub bound_by: Option<(Cause, String)>,
}

/// An earlier plan.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Earlier {
    /// How late its orders may be.
    pub margin: Span,
    /// Its orders.
    pub orders: Vec<EarlierOrder>,
    /// The largest number that an order of it, or of a plan before it, has had, if that order is not among them any more.
    pub last_number: u32,
}

/// What of an earlier plan has not changed.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Its orders for new certificates, by time; the certificates of a plan's grouping start with these, in this order.
    certificates: Vec<KeptOrder>,
    /// By certificate held: number and time.
    renewals: FxHashMap<u32, (u32, Timestamp)>,
    /// The largest number that the earlier plan has given.
    last_number: u32,
}

#[derive(Debug)]
struct KeptOrder {
    number: u32,
    at: Timestamp,
    bound_by: Option<(Cause, String)>,
}

impl Kept {
    /// The number and time of the renewal of a certificate held.
    pub(super) fn renewal(&self, held: u32) -> Option<(u32, Timestamp)> {
        self.renewals.get(&held).copied()
    }

    /// The number of an order for a new certificate.
    pub(super) fn number(&self, certificate: u32) -> Option<u32> {
        self.certificates.get(certificate as usize).map(|order| order.number)
    }

    /// The largest number that is taken.
    pub(super) fn last_number(&self) -> u32 {
        self.last_number
    }
}

/// Finds what has not changed, and groups the rest.
pub(super) fn keep(usable: &Usable<'_>, earlier: &Earlier) -> (Kept, Grouping) {
    let Usable { inventory, limits, ref options, .. } = *usable;
    let mut domain_of = vec![0_u32; inventory.wanted().len()];
    let mut by_name: FxHashMap<&[u8], u32> = FxHashMap::default();
    for domain in 0..inventory.domain_count() {
        for place in inventory.wanted_of(domain) {
            domain_of[place] = dense(domain);
            by_name.insert(inventory.bytes(inventory.wanted()[place].name), dense(place));
        }
    }
    let by_id: FxHashMap<&str, u32> =
        inventory.held.iter().zip(0..).map(|(held, place)| (held.certificate.as_str(), place)).collect();
    let mut taken = group::folded(inventory, &limits.policy, options);

    let mut kept = Kept { last_number: earlier.last_number, ..Kept::default() };
    let mut grouping = Grouping::default();
    let mut orders: Vec<&_> = earlier.orders.iter().collect();
    orders.sort_by_key(|order| (order.at, order.number));
    for order in orders {
        kept.last_number = kept.last_number.max(order.number);
        if let Some(held) = order.replaces.as_deref() {
            if let Some(held) = by_id.get(held) {
                kept.renewals.insert(*held, (order.number, order.at));
            }
            continue;
        }
        let members: Option<Vec<u32>> = order.names.iter().map(|name| by_name.get(name.as_bytes()).copied()).collect();
        let Some(mut members) = members.filter(|members| !members.is_empty()) else { continue };
        members.sort_unstable();
        let wanted = |member: u32| inventory.wanted()[member as usize];
        let of_group = inventory.group_of(wanted(members[0]));
        let group = &inventory.groups[of_group as usize];
        let profile = &limits.policy.profiles[group.profile as usize];
        let mut pieces: Vec<(u32, &[u32])> = members
            .chunk_by(|a, b| domain_of[*a as usize] == domain_of[*b as usize])
            .map(|same| (domain_of[same[0] as usize], same))
            .collect();
        let unchanged = members.windows(2).all(|pair| pair[0] != pair[1])
            && members.iter().all(|member| inventory.group_of(wanted(*member)) == of_group && !taken[*member as usize])
            && inventory.accounts[group.account as usize] == order.account
            && profile.name == order.profile
            && members.len() <= options.names_per_certificate.capacity(profile)
            && (pieces.len() == 1 || options.mix == Mix::Tenant)
            && !has_covered_name(&order.names);
        if unchanged {
            pieces.sort_unstable_by_key(|(domain, _)| inventory.domain_place(*domain));
            grouping.push(of_group, group::most_urgent(inventory, &members), &pieces);
            members.iter().for_each(|member| taken[*member as usize] = true);
            kept.certificates.push(KeptOrder { number: order.number, at: order.at, bound_by: order.bound_by.clone() });
        }
    }
    let rest = group::group_rest(inventory, &limits.policy, options, &taken);
    grouping.append(&rest);
    (kept, grouping)
}

/// Whether a wildcard stands beside a name that it covers, which the CA refuses: a plan edited by hand may have it.
fn has_covered_name(names: &[String]) -> bool {
    let wildcards: Vec<&str> = names.iter().filter_map(|name| name.strip_prefix("*.")).collect();
    let is_covered =
        |name: &String| name.split_once('.').is_some_and(|(label, of)| label != "*" && wildcards.contains(&of));
    names.iter().any(is_covered)
}

/// Schedules: what is kept at its time, or as soon after as the limits allow; what is new where it moves nothing of that.
pub(super) fn schedule(
    jobs: &Jobs<'_>,
    tight: &TightLanes,
    usable: &Usable<'_>,
    margin: Span,
    kept: &Kept,
) -> Vec<Placed> {
    let start = usable.options.start;
    let accounts = jobs.account_count();
    let timeline = |stock| Timeline::new(stock, start, margin);
    let account = |account: usize| Lines::new(usable.account(account).map(timeline), start);
    let mut accounts_lines: Vec<Lines> = (0..accounts).map(account).collect();
    let mut lanes: Vec<Timeline> = tight.lanes.iter().map(|(_, stock)| timeline(*stock)).collect();
    let kept_count = kept.certificates.len();
    let in_order =
        (0..dense(kept_count)).chain(jobs.by_urgency().into_iter().filter(|job| *job as usize >= kept_count));
    let mut placed = Vec::with_capacity(jobs.len());
    for job in in_order {
        let of = &mut accounts_lines[jobs.job(job).account as usize];
        let number = jobs.job(job).account as usize;
        let places: Vec<usize> = jobs.lanes(job).into_iter().filter_map(|(lane, _)| tight.place(lane)).collect();
        let before = kept.certificates.get(job as usize);
        let wish = before.map_or(start, |order| order.at.max(start));
        let (mut at, mut bound) = (wish, Bound::NOTHING);
        if let Some((place, until)) = jobs.delay(job).filter(|(_, until)| *until >= wish) {
            (at, bound) = (until, Bound::lane(accounts, tight.lanes.len() + place));
        }
        loop {
            let token = of.earliest(at);
            let mut latest = token;
            if token > at {
                bound = Bound::account(number);
            }
            for place in &places {
                let release = lanes[*place].earliest(latest);
                if release > latest {
                    (latest, bound) = (release, Bound::lane(accounts, *place));
                }
            }
            if latest == at {
                break;
            }
            at = latest;
        }
        if let Some(order) = before.filter(|_| at == wish && at > start) {
            bound = bound_before(order, number, accounts, tight, usable).unwrap_or(bound);
        }
        of.insert(at);
        places.iter().for_each(|place| lanes[*place].insert(at));
        placed.push(Placed { at, job, bound });
    }
    placed.sort_by_key(|order| order.at);
    placed
}

/// The bucket that an order which keeps its time waited for, as the earlier plan says.
fn bound_before(
    order: &KeptOrder,
    account: usize,
    accounts: usize,
    tight: &TightLanes,
    usable: &Usable<'_>,
) -> Option<Bound> {
    let (limit, key) = order.bound_by.as_ref()?;
    if *limit == Cause::Limit(LimitName::NewOrdersPerAccount) {
        return Some(Bound::account(account));
    }
    let of_key = |domain: u32| {
        let domain = usable.inventory.domain(domain);
        key == domain || key.ends_with(&format!(" {domain}"))
    };
    let place = tight.lanes.iter().position(|(lane, _)| of_key(lane.domain));
    place.map(|place| Bound::lane(accounts, place))
}

/// An account's orders. What does not fit now never will: the search goes on from where the last one ended.
struct Lines {
    line: Option<Timeline>,
    searched: Timestamp,
}

impl Lines {
    fn new(line: Option<Timeline>, start: Timestamp) -> Self {
        Self { line, searched: start }
    }

    fn earliest(&mut self, from: Timestamp) -> Timestamp {
        let Some(line) = &self.line else { return from };
        let found = line.earliest(from.max(self.searched));
        if from <= self.searched {
            self.searched = found;
        }
        found
    }

    fn insert(&mut self, at: Timestamp) {
        if let Some(line) = &mut self.line {
            line.insert(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_covers_one_label() {
        let check = |names: &[&str]| has_covered_name(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert!(check(&["*.example.com", "www.example.com"]));
        assert!(!check(&["*.example.com", "example.com", "a.b.example.com", "*.a.example.com"]));
    }
}

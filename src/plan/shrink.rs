//! Makes certificates smaller where tokens are left to spare and all of an account's certificates go out at once: the largest first,
//! until half of the account's or a domain's burst would be gone. Pairs of names that belong together stay together.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use rustc_hash::FxHashMap;

use super::group::{Grouping, ids, most_urgent};
use super::pack::{Fill, Item, pack, unit_count};
use crate::inventory::Inventory;

/// How many certificates may be made of what goes out at once.
pub(super) struct Spare<'a> {
    /// By account: half its burst.
    pub(super) account_half: &'a dyn Fn(u32) -> usize,
    /// By account and domain: half the burst of the buckets that its certificates take from.
    pub(super) domain_half: &'a dyn Fn(u32, u32) -> usize,
    /// Certificates held whose renewal takes tokens too: places in [`Inventory::held`].
    pub(super) renewals: &'a [u32],
    /// The most certificates in all.
    pub(super) certificates_max: usize,
}

/// What decides between units whose largest certificates are alike, and a unit's place.
type Tie = ((u32, u32), usize);

/// The certificates of one domain and one group.
struct Unit<'a> {
    account: u32,
    domain: u32,
    old: Range<usize>,
    count: usize,
    items: Vec<Item<'a>>,
}

impl Unit<'_> {
    fn largest(&self) -> usize {
        self.items.len().div_ceil(self.count)
    }
}

/// Makes certificates smaller, as the module says; `None` where no account has tokens to spare. Certificates of several domains are
/// left alone.
pub(super) fn shrink(grouping: &Grouping, inventory: &Inventory, spare: &Spare<'_>) -> Option<Grouping> {
    let mut by_account = vec![0_usize; inventory.accounts.len()];
    let renewed = spare.renewals.iter().map(|held| inventory.held[*held as usize].group);
    for group in grouping.certificates.iter().map(|of| of.group).chain(renewed) {
        by_account[inventory.groups[group as usize].account as usize] += 1;
    }
    let grows = |(account, count): (u32, &usize)| *count > 0 && *count < (spare.account_half)(account);
    let may_grow: Vec<bool> = (0..).zip(&by_account).map(grows).collect();
    let is_mixed = |certificate| grouping.pieces(certificate).nth(1).is_some();
    if !may_grow.contains(&true) || (0..grouping.certificates.len()).any(is_mixed) {
        return None;
    }
    let mut by_domain: FxHashMap<u32, usize> = FxHashMap::default();
    grouping.certificates.iter().for_each(|of| *by_domain.entry(of.first.domain).or_default() += 1);
    for held in spare.renewals {
        // The names of a certificate held are sorted by domain.
        let names = inventory.held_names(*held as usize).chunk_by(|a, b| a.domain == b.domain);
        names.for_each(|same| *by_domain.entry(same[0].domain).or_default() += 1);
    }
    let mut units = units(grouping, inventory);
    let mut total = grouping.certificates.len();
    let may = units.iter().enumerate().filter(|(_, unit)| may_grow[unit.account as usize]);
    // Of equals, in an order that depends on contents alone.
    let tie = |unit: &Unit<'_>| (inventory.domain_place(unit.domain), grouping.certificates[unit.old.start].group);
    let mut largest: BinaryHeap<(usize, Reverse<Tie>)> =
        may.map(|(place, unit)| (unit.largest(), Reverse((tie(unit), place)))).collect();
    while let Some((_, Reverse((tie, place)))) = largest.pop() {
        let unit = &mut units[place];
        let (of_account, of_domain) =
            (&mut by_account[unit.account as usize], by_domain.entry(unit.domain).or_default());
        let room = *of_account < (spare.account_half)(unit.account)
            && *of_domain < (spare.domain_half)(unit.account, unit.domain)
            && total < spare.certificates_max
            && unit.count < unit_count(&unit.items);
        if room {
            unit.count += 1;
            *of_account += 1;
            *of_domain += 1;
            total += 1;
            largest.push((unit.largest(), Reverse((tie, place))));
        }
    }
    let goes_at_once = |unit: &Unit<'_>| {
        let of_domain = by_domain.get(&unit.domain).copied().unwrap_or_default();
        may_grow[unit.account as usize] && of_domain <= (spare.domain_half)(unit.account, unit.domain)
    };
    Some(rebuild(grouping, units, inventory, &goes_at_once))
}

fn units<'a>(grouping: &Grouping, inventory: &'a Inventory) -> Vec<Unit<'a>> {
    let mut units: Vec<Unit<'_>> = Vec::new();
    for (place, certificate) in grouping.certificates.iter().enumerate() {
        let piece = certificate.first;
        let item = |id: u32| Item { id, rank: 0, name: inventory.bytes(inventory.wanted()[id as usize].name) };
        let members = grouping.members(piece);
        let items = members.iter().map(item);
        match units.last_mut() {
            Some(last)
                if last.domain == piece.domain && grouping.certificates[last.old.start].group == certificate.group =>
            {
                last.old.end += 1;
                last.count += 1;
                last.items.extend(items);
            }
            _ => units.push(Unit {
                account: inventory.groups[certificate.group as usize].account,
                domain: piece.domain,
                old: place..place + 1,
                count: 1,
                items: items.collect(),
            }),
        }
    }
    units.iter_mut().for_each(|unit| unit.items.sort_unstable_by_key(|item| item.name));
    units
}

fn rebuild(
    old: &Grouping,
    units: Vec<Unit<'_>>,
    inventory: &Inventory,
    goes_at_once: &dyn Fn(&Unit<'_>) -> bool,
) -> Grouping {
    let mut new = old.emptied();
    for mut unit in units {
        let group = old.certificates[unit.old.start].group;
        // Where some have to wait, the first ones are to cover the most: these stay full.
        if goes_at_once(&unit) {
            let capacity =
                unit.old.clone().map(|certificate| old.certificates[certificate].names as usize).max().unwrap_or(1);
            for cut in pack(&mut unit.items, capacity, Fill::Even(unit.count)) {
                let members = ids(&unit.items[cut]);
                new.push(group, most_urgent(inventory, &members), &[(unit.domain, &members)]);
            }
        } else {
            for certificate in unit.old {
                let pieces = old.pieces(certificate);
                new.push_pieces(group, old.certificates[certificate].urgency, old, pieces);
            }
        }
    }
    new
}

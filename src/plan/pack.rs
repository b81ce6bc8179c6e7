//! Packs the names of one registered domain and one group into as few certificates as can be.
//!
//! A wildcard and the names it covers never share a certificate: the CA refuses such an order. Each wildcard with its covered names
//! is a star, and the stars share nothing, since one label decides by which wildcard a name can be covered. `x` with `www.x`, and
//! `*.x` with `x`, are kept together where that takes no certificate more. What is left over of several domains is put together by best fit.

use std::collections::VecDeque;
use std::ops::Range;

/// How the certificates of a pack are filled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fill {
    /// One after the other, so that the first ones cover as many names as they can.
    Full,
    /// Into this many (at least), as evenly as can be.
    Even(usize),
}

/// One name to pack, with what is the same for all comparisons.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item<'a> {
    /// What the caller knows it by.
    pub(super) id: u32,
    /// The smaller one is placed first.
    pub(super) rank: u32,
    pub(super) name: &'a [u8],
}

/// Packs `items`, which are sorted by name and distinct, into certificates of at most `capacity`: they are put in order, and cut.
pub(super) fn pack(items: &mut Vec<Item<'_>>, capacity: usize, fill: Fill) -> Vec<Range<usize>> {
    let least = items.len().div_ceil(capacity);
    let wanted = match fill {
        Fill::Full => least,
        Fill::Even(count) => count.clamp(least, items.len()),
    };
    let stars = stars(items);
    if stars.is_empty() {
        return match fill {
            Fill::Full if least == 1 => std::iter::once(0..items.len()).collect(),
            Fill::Full => fill_in_order(items, least, capacity),
            Fill::Even(_) => fill_evenly(items, wanted, capacity),
        };
    }
    let mut count = wanted.max(2);
    loop {
        let attempts = match fill {
            Fill::Full => &[Spread::ByRank, Spread::CoveredFirst, Spread::Even][..],
            Fill::Even(_) => &[Spread::Even][..],
        };
        for &spread in attempts {
            if let Some(bins) = place(items, &stars, count, capacity, spread) {
                return reorder(items, bins);
            }
        }
        count += 1;
    }
}

/// How names are spread over certificates where wildcards cover some of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Spread {
    /// The first in rank into the first certificates with room.
    ByRank,
    /// The same, but covered names, which may not go everywhere, before all others.
    CoveredFirst,
    /// Each into the emptiest.
    Even,
}

/// A wildcard and the names of the pack that it covers, by their places.
struct Star {
    wildcard: usize,
    covered: Vec<usize>,
}

/// What a wildcard would have to be a wildcard of to cover `name`.
fn parent(name: &[u8]) -> &[u8] {
    memchr::memchr(b'.', name).map_or(&[], |dot| &name[dot + 1..])
}

/// The stars with at least one covered name; those with the most first.
fn stars(items: &[Item<'_>]) -> Vec<Star> {
    // Sorted by bytes, the wildcards stand first, in the order of what they are wildcards of.
    let wildcards = items.partition_point(|item| item.name.starts_with(b"*."));
    let mut stars: Vec<Star> = (0..wildcards).map(|wildcard| Star { wildcard, covered: Vec::new() }).collect();
    if wildcards == 0 {
        return stars;
    }
    for (place, item) in items.iter().enumerate().skip(wildcards) {
        let parent = parent(item.name);
        if let Ok(found) = items[..wildcards].binary_search_by(|wildcard| wildcard.name[2..].cmp(parent)) {
            stars[found].covered.push(place);
        }
    }
    stars.retain(|star| !star.covered.is_empty());
    stars.sort_by_key(|star| std::cmp::Reverse(star.covered.len()));
    stars
}

/// Fills `count` certificates one after the other, in the order of the names as far as that splits no pair. A pair is split only
/// where not all of them can stay whole; where they can, a place may stay free for it.
fn fill_in_order(items: &mut Vec<Item<'_>>, count: usize, capacity: usize) -> Vec<Range<usize>> {
    let (mut pairs, mut singles) = (VecDeque::new(), VecDeque::new());
    for (place, (first, mate)) in units(items).into_iter().enumerate() {
        match mate {
            Some(second) => pairs.push_back((place, first, second)),
            None => singles.push_back((place, first)),
        }
    }
    let mut packed = Vec::with_capacity(items.len());
    let mut cuts = Vec::with_capacity(count);
    for rest in (0..count).rev() {
        let start = packed.len();
        while packed.len() - start < capacity {
            let free = capacity - (packed.len() - start);
            let fit_whole = |pairs: usize, singles: usize, free: usize| {
                pairs <= free / 2 + rest * (capacity / 2) && 2 * pairs + singles <= free + rest * capacity
            };
            let whole = fit_whole(pairs.len(), singles.len(), free);
            let single = singles.front().filter(|_| !whole || fit_whole(pairs.len(), singles.len() - 1, free - 1));
            let pair = pairs.front().filter(|_| free >= 2);
            match (pair, single) {
                (Some((place, first, second)), single) if single.is_none_or(|(other, _)| place < other) => {
                    packed.extend([*first, *second]);
                    pairs.pop_front();
                }
                (_, Some((_, name))) => {
                    packed.push(*name);
                    singles.pop_front();
                }
                _ if whole => break,
                _ => {
                    let Some((place, first, second)) = pairs.pop_front() else { break };
                    packed.push(first);
                    singles.push_front((place, second));
                }
            }
        }
        cuts.push(start..packed.len());
    }
    *items = packed;
    cuts
}

/// Fills `count` certificates evenly, no pair split unless there is no room for it.
fn fill_evenly(items: &mut Vec<Item<'_>>, count: usize, capacity: usize) -> Vec<Range<usize>> {
    let mut units = units(items);
    units.sort_by_key(|(_, mate)| mate.is_none());
    let mut bins: Vec<Vec<Item<'_>>> = vec![Vec::new(); count];
    for (first, second) in units {
        for item in [Some(first), second].into_iter().flatten() {
            // The pair's second name follows the first one if there is room, and it has not made that the fullest by two.
            let emptiest = (0..count).min_by_key(|bin| bins[*bin].len()).unwrap_or_default();
            let home = bins.iter().position(|bin| bin.last().is_some_and(|last| last.id == first.id));
            let bin = home.filter(|home| item.id != first.id && bins[*home].len() < capacity).unwrap_or(emptiest);
            bins[bin].push(item);
        }
    }
    bins.retain(|bin| !bin.is_empty());
    let mut cuts = Vec::with_capacity(bins.len());
    items.clear();
    for bin in bins {
        cuts.push(items.len()..items.len() + bin.len());
        items.extend(bin);
    }
    cuts
}

/// How many certificates there can be at most with every pair kept together.
pub(super) fn unit_count(items: &[Item<'_>]) -> usize {
    units(items).len()
}

/// Names in order, those that belong together as pairs: `*.x` with `x`, else `x` with `www.x`.
fn units<'a>(items: &[Item<'a>]) -> Vec<(Item<'a>, Option<Item<'a>>)> {
    let mates = mates(items);
    let mut taken = vec![false; items.len()];
    let mut units = Vec::with_capacity(items.len());
    for (place, item) in items.iter().enumerate() {
        if taken[place] {
            continue;
        }
        let mate = mates[place].filter(|mate| !taken[*mate]);
        taken[place] = true;
        units.push((*item, mate.map(|mate| items[mate])));
        if let Some(mate) = mate {
            taken[mate] = true;
        }
    }
    units
}

/// By name: which one it belongs together with, if that is not taken. What starts alike stands together, and is mostly little: from
/// there the others are looked up, before which or behind which they may stand.
fn mates(items: &[Item<'_>]) -> Vec<Option<usize>> {
    let mut mates = vec![None; items.len()];
    for prefix in [&b"*."[..], b"www."] {
        let first = items.partition_point(|item| item.name < prefix);
        let bases = items[first..].iter().map_while(|item| item.name.strip_prefix(prefix));
        for (place, base) in (first..).zip(bases) {
            let found = items.binary_search_by(|item| item.name.cmp(base)).ok();
            mates[place] = found;
            if let Some(found) = found.filter(|_| prefix == b"www." && !base.starts_with(prefix)) {
                mates[found] = Some(place);
            }
        }
    }
    mates
}

/// Tries to place everything into `count` certificates: first each wildcard (the ones with many covered names apart), with its own
/// domain where there is room, then what they cover elsewhere and the rest.
fn place(items: &[Item<'_>], stars: &[Star], count: usize, capacity: usize, spread: Spread) -> Option<Vec<Vec<usize>>> {
    let even = spread == Spread::Even;
    let share = if even { items.len().div_ceil(count).max(1) } else { capacity };
    let mut bins: Vec<Vec<usize>> = vec![Vec::new(); count];
    let mut placed = vec![false; items.len()];
    // For a covered name: where the wildcard is.
    let mut apart_from: Vec<Option<usize>> = vec![None; items.len()];
    for (index, star) in stars.iter().enumerate() {
        let bin = if even { index % count } else { index / capacity };
        star.covered.iter().for_each(|place| apart_from[*place] = Some(bin));
        bins.get_mut(bin).filter(|bin| bin.len() < capacity)?.push(star.wildcard);
        placed[star.wildcard] = true;
    }
    for star in stars {
        let home = star.covered.first().and_then(|place| apart_from[*place]);
        let base = &items[star.wildcard].name[2..];
        let mate = items.binary_search_by(|item| item.name.cmp(base)).ok();
        let mate = mate.filter(|mate| apart_from[*mate].is_none() && !placed[*mate]);
        if let (Some(mate), Some(home)) = (mate, home)
            && bins[home].len() < share
        {
            bins[home].push(mate);
            placed[mate] = true;
        }
    }
    let mut rest: Vec<usize> = (0..items.len()).filter(|place| !placed[*place]).collect();
    rest.sort_by_key(|place| match spread {
        Spread::ByRank => (items[*place].rank, apart_from[*place].is_none()),
        Spread::CoveredFirst | Spread::Even => (0, apart_from[*place].is_none()),
    });
    for place in rest {
        let bin = choose(&bins, apart_from[place], capacity, even)?;
        bins[bin].push(place);
    }
    bins.retain(|bin| !bin.is_empty());
    Some(bins)
}

/// A certificate with room that is not `home`.
fn choose(bins: &[Vec<usize>], home: Option<usize>, capacity: usize, even: bool) -> Option<usize> {
    let mut open = (0..bins.len()).filter(|bin| Some(*bin) != home && bins[*bin].len() < capacity);
    if even { open.min_by_key(|bin| bins[*bin].len()) } else { open.next() }
}

fn reorder(items: &mut Vec<Item<'_>>, bins: Vec<Vec<usize>>) -> Vec<Range<usize>> {
    let mut packed = Vec::with_capacity(items.len());
    let mut cuts = Vec::with_capacity(bins.len());
    for bin in bins {
        let start = packed.len();
        packed.extend(bin.into_iter().map(|place| items[place]));
        cuts.push(start..packed.len());
    }
    *items = packed;
    cuts
}

/// Best fit: sizes come largest first, each goes where the least room is left over.
pub(super) fn best_fit(sizes: impl Iterator<Item = (usize, u32)> + Clone, capacity: usize) -> Vec<Vec<u32>> {
    if sizes.clone().map(|(size, _)| size).sum::<usize>() <= capacity {
        return std::iter::once(sizes.map(|(_, thing)| thing).collect()).collect();
    }
    let mut bins: Vec<Vec<u32>> = Vec::new();
    let mut by_room: Vec<Vec<usize>> = vec![Vec::new(); capacity + 1];
    for (size, thing) in sizes {
        let found = (size..=capacity).find_map(|room| by_room[room].pop().map(|bin| (room, bin)));
        let (room, bin) = found.unwrap_or_else(|| {
            bins.push(Vec::new());
            (capacity, bins.len() - 1)
        });
        bins[bin].push(thing);
        by_room[room - size].push(bin);
    }
    bins
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(names: &[&str], capacity: usize, fill: Fill, sizes: &[usize]) -> Vec<Vec<String>> {
        let mut sorted: Vec<&str> = names.to_vec();
        sorted.sort_unstable();
        let mut items: Vec<Item<'_>> =
            sorted.iter().zip(0..).map(|(name, id)| Item { id, rank: 0, name: name.as_bytes() }).collect();
        let cuts = pack(&mut items, capacity, fill);
        assert_eq!(cuts.iter().map(ExactSizeIterator::len).collect::<Vec<_>>(), sizes);
        let text = |item: &Item<'_>| String::from_utf8(item.name.to_vec()).unwrap();
        cuts.into_iter().map(|cut| items[cut].iter().map(text).collect()).collect()
    }

    #[test]
    fn certificates_are_filled_one_after_the_other() {
        check(&["a.x", "b.x", "c.x", "d.x", "e.x"], 2, Fill::Full, &[2, 2, 1]);
        check(&["a.x", "b.x", "c.x", "d.x", "e.x"], 100, Fill::Even(2), &[3, 2]);
    }

    #[test]
    fn pairs_stay_together() {
        let packed = check(&["a.x", "www.a.x", "b.x", "www.b.x", "c.x"], 3, Fill::Full, &[3, 2]);
        assert_eq!(packed, [["a.x", "www.a.x", "c.x"].to_vec(), ["b.x", "www.b.x"].to_vec()]);
    }

    #[test]
    fn what_belongs_together_is_found_from_either_side() {
        let names = ["*.b", "*.c", "b", "www.a", "www.b", "www.www.www.a", "www.www.z", "www.z", "z"];
        let items: Vec<Item<'_>> =
            names.iter().zip(0..).map(|(name, id)| Item { id, rank: 0, name: name.as_bytes() }).collect();
        let expected = [Some(2), None, Some(4), None, Some(2), None, Some(7), Some(8), Some(7)];
        assert_eq!(mates(&items), expected);
        assert_eq!(unit_count(&items), 7);
    }

    #[test]
    fn a_pair_is_split_rather_than_a_certificate_added() {
        check(&["a.x", "www.a.x", "b.x", "www.b.x", "c.x", "www.c.x"], 3, Fill::Full, &[3, 3]);
    }

    #[test]
    fn a_place_stays_free_rather_than_a_pair_split() {
        check(&["a.x", "www.a.x", "b.x", "www.b.x"], 3, Fill::Full, &[2, 2]);
        check(&["a.x", "b.x", "www.b.x"], 2, Fill::Full, &[1, 2]);
    }

    #[test]
    fn a_wildcard_and_what_it_covers_are_kept_apart() {
        let packed = check(&["*.x", "x", "a.x", "b.x", "a.b.x"], 100, Fill::Full, &[3, 2]);
        assert!(packed[0].contains(&"*.x".to_owned()) && packed[0].contains(&"x".to_owned()));
        assert!(!packed[0].contains(&"a.x".to_owned()));
    }

    #[test]
    fn one_star_alone_takes_one_certificate_more() {
        check(&["*.x", "a.x", "b.x", "c.x", "d.x"], 2, Fill::Full, &[1, 2, 2]);
    }

    #[test]
    fn two_stars_share_each_others_certificates() {
        check(&["*.a.x", "*.b.x", "1.a.x", "2.a.x", "1.b.x", "2.b.x"], 3, Fill::Full, &[3, 3]);
    }
}

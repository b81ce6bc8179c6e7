//! Groups the hostnames wanted into certificates.
//!
//! Tokens are the budget, so certificates are filled; only where an account's certificates all go out at once, and tokens are left to
//! spare, are they made smaller, the largest first: small certificates are faster to serve, and one bad name spoils fewer others.
//! Domains are grouped side by side.

use std::cmp::Reverse;
use std::ops::Range;

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use super::pack::{Fill, Item, best_fit, pack};
use super::{Mix, Options};
use crate::dense::counting_sort;
use crate::inventory::{Group, Inventory, Wanted};
use crate::limits::Policy;

/// A part of a certificate: names of one registered domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    pub(super) domain: u32,
    /// Its first name in [`Inventory::wanted`], where the others follow; with [`LISTED`]: a place in [`Grouping::listed`].
    start: u32,
    len: u32,
}

/// Marks names that do not follow each other in the inventory: nearly all of them do, and then a list would say nothing.
const LISTED: u32 = 1 << 31;

/// The names of a piece, as places in [`Inventory::wanted`].
#[derive(Clone)]
pub(super) enum Members<'a> {
    /// A whole domain, or what follows each other in it: sorted by text.
    Run(Range<u32>),
    List(&'a [u32]),
}

impl Members<'_> {
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let (run, list) = match self {
            Self::Run(run) => (run.clone(), &[][..]),
            Self::List(list) => (0..0, *list),
        };
        run.chain(list.iter().copied())
    }
}

/// The names of one order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Certificate {
    /// Which names it may hold: a place in [`Inventory::groups`].
    pub(super) group: u32,
    /// That of its most urgent name: a place in [`Inventory::urgencies`].
    pub(super) urgency: u32,
    pub(super) names: u32,
    /// Its first part, mostly the only one: so it is looked up with it.
    pub(super) first: Piece,
    /// Where its other parts start in [`Grouping::others`].
    others: u32,
}

/// All certificates that are to be ordered newly.
#[derive(Clone, Debug, Default)]
pub(super) struct Grouping {
    pub(super) certificates: Vec<Certificate>,
    /// The parts of certificates but for the first ones.
    others: Vec<Piece>,
    /// Places in [`Inventory::wanted`], for the pieces that need a list.
    listed: Vec<u32>,
    pub(super) covered: u64,
    pub(super) folded: u64,
    /// Whether any of them needs dns-01.
    pub(super) has_wildcard: bool,
}

impl Grouping {
    /// The parts of a certificate.
    pub(super) fn pieces(&self, certificate: usize) -> impl Iterator<Item = Piece> + Clone + '_ {
        let Certificate { first, others, .. } = self.certificates[certificate];
        let end = self.certificates.get(certificate + 1).map_or(self.others.len(), |next| next.others as usize);
        std::iter::once(first).chain(self.others[others as usize..end].iter().copied())
    }

    /// The names of a piece, as places in [`Inventory::wanted`].
    pub(super) fn members(&self, piece: Piece) -> Members<'_> {
        let start = piece.start & !LISTED;
        if piece.start == start {
            Members::Run(start..start + piece.len)
        } else {
            Members::List(&self.listed[start as usize..(start + piece.len) as usize])
        }
    }

    /// A certificate of names of these domains: of one at least.
    pub(super) fn push(&mut self, group: u32, urgency: u32, domains: &[(u32, &[u32])]) {
        let piece = |grouping: &mut Self, (domain, members): &(u32, &[u32])| {
            let follow = members.windows(2).all(|pair| pair[0] + 1 == pair[1]);
            let start = match members.first() {
                Some(first) if follow => *first,
                _ => grouping.list(members),
            };
            Piece { domain: *domain, start, len: index(members.len()) }
        };
        self.push_each(group, urgency, domains.iter(), piece);
    }

    /// A certificate of names that stand one after the other in the inventory.
    fn push_run(&mut self, group: u32, urgency: u32, domain: u32, wanted: Range<usize>) {
        let piece = Piece { domain, start: index(wanted.start), len: index(wanted.len()) };
        self.push_each(group, urgency, std::iter::once(piece), |_, piece| piece);
    }

    /// A certificate of pieces of `other`: of one at least.
    pub(super) fn push_pieces(&mut self, group: u32, urgency: u32, other: &Self, pieces: impl Iterator<Item = Piece>) {
        let piece = |grouping: &mut Self, piece| {
            let start = match other.members(piece) {
                Members::Run(run) => run.start,
                Members::List(list) => grouping.list(list),
            };
            Piece { start, ..piece }
        };
        self.push_each(group, urgency, pieces, piece);
    }

    /// A certificate of what `piece` makes of each of `parts`, of which there is one at least.
    fn push_each<T>(
        &mut self,
        group: u32,
        urgency: u32,
        mut parts: impl Iterator<Item = T>,
        piece: impl Fn(&mut Self, T) -> Piece,
    ) {
        let others = index(self.others.len());
        let Some(first) = parts.next().map(|part| piece(self, part)) else { unreachable!("a certificate has a name") };
        let mut names = first.len;
        for part in parts {
            let other = piece(self, part);
            names += other.len;
            self.others.push(other);
        }
        self.certificates.push(Certificate { group, urgency, names, first, others });
    }

    /// Keeps names that do not follow each other: the start of their piece.
    fn list(&mut self, members: &[u32]) -> u32 {
        let start = index(self.listed.len());
        self.listed.extend_from_slice(members);
        start | LISTED
    }

    /// All parts of all certificates.
    pub(super) fn all_pieces(&self) -> impl Iterator<Item = Piece> + '_ {
        self.certificates.iter().map(|of| of.first).chain(self.others.iter().copied())
    }

    /// No certificates, and what was counted.
    pub(super) fn emptied(&self) -> Self {
        let Self { covered, folded, has_wildcard, .. } = *self;
        Self { covered, folded, has_wildcard, ..Self::default() }
    }

    pub(super) fn append(&mut self, other: &Self) {
        let (others, listed) = (index(self.others.len()), index(self.listed.len()));
        let moved =
            |piece: Piece| if piece.start < LISTED { piece } else { Piece { start: piece.start + listed, ..piece } };
        let certificate = |of: &Certificate| Certificate { first: moved(of.first), others: of.others + others, ..*of };
        self.certificates.extend(other.certificates.iter().map(certificate));
        self.others.extend(other.others.iter().copied().map(moved));
        self.listed.extend_from_slice(&other.listed);
        self.covered += other.covered;
        self.folded += other.folded;
        self.has_wildcard |= other.has_wildcard;
    }
}

/// A place that can be marked with [`LISTED`].
fn index(index: usize) -> u32 {
    let small = u32::try_from(index).ok().filter(|index| *index < LISTED);
    small.unwrap_or_else(|| unreachable!("2 billion names outlast memory"))
}

/// Groups all hostnames wanted into full certificates.
pub(super) fn group(inventory: &Inventory, policy: &Policy, options: &Options) -> Grouping {
    group_rest(inventory, policy, options, &[])
}

/// Which hostnames wanted are left out because a wildcard covers them.
pub(super) fn folded(inventory: &Inventory, policy: &Policy, options: &Options) -> Vec<bool> {
    let mut folded = vec![false; inventory.wanted().len()];
    if options.fold_wildcards {
        let grouper = Grouper::new(inventory, policy, options, &[]);
        for domain in 0..inventory.domain_count() {
            let range = inventory.wanted_of(domain);
            folded[range].copy_from_slice(&grouper.covered(index(domain), &grouper.items(index(domain))));
        }
    }
    folded
}

/// Groups the hostnames wanted that are not `taken` into full certificates.
pub(super) fn group_rest(inventory: &Inventory, policy: &Policy, options: &Options, taken: &[bool]) -> Grouping {
    let grouper = Grouper::new(inventory, policy, options, taken);
    let domains = inventory.domain_count();
    let parts: Vec<Grouping> = (0..domains.div_ceil(4096))
        .into_par_iter()
        .map(|part| {
            let mut grouping = Grouping::default();
            for domain in part * 4096..((part + 1) * 4096).min(domains) {
                grouper.domain(index(domain), &mut grouping);
            }
            grouping
        })
        .collect();
    let mut grouping = Grouping::default();
    grouping.certificates.reserve(parts.iter().map(|part| part.certificates.len()).sum());
    grouping.others.reserve(parts.iter().map(|part| part.others.len()).sum());
    grouping.listed.reserve(parts.iter().map(|part| part.listed.len()).sum());
    parts.iter().for_each(|part| grouping.append(part));
    match options.mix {
        Mix::None => grouping,
        Mix::Tenant => mixed(&grouping, inventory, policy, options),
    }
}

/// Who owns a name: a name is folded only into a wildcard of the same owner.
type Owner = (u32, u32, u32);

fn owner(group: &Group) -> Owner {
    (group.account, group.tenant, group.profile)
}

/// The wildcards on certificates held: what they are wildcards of, by domain.
fn held_wildcards(inventory: &Inventory) -> FxHashMap<u32, Vec<(Owner, &[u8])>> {
    let mut wildcards: FxHashMap<u32, Vec<(Owner, &[u8])>> = FxHashMap::default();
    for (certificate, terms) in inventory.held.iter().enumerate() {
        for held in inventory.held_names(certificate) {
            if let Some(base) = inventory.bytes(held.name).strip_prefix(b"*.") {
                let owner = owner(&inventory.groups[terms.group as usize]);
                wildcards.entry(held.domain).or_default().push((owner, base));
            }
        }
    }
    wildcards
}

struct Grouper<'a> {
    inventory: &'a Inventory,
    options: &'a Options,
    /// By group: how many names a certificate may hold.
    capacities: Vec<usize>,
    held_wildcards: FxHashMap<u32, Vec<(Owner, &'a [u8])>>,
    /// By name wanted: whether it has its certificate already. Empty where none has.
    taken: &'a [bool],
}

/// How many names a certificate of each group may hold.
fn capacities(inventory: &Inventory, policy: &Policy, options: &Options) -> Vec<usize> {
    let capacity = |profile| options.names_per_certificate.capacity(profile);
    let of_profile: Vec<usize> = policy.profiles.iter().map(capacity).collect();
    inventory.groups.iter().map(|group| of_profile[group.profile as usize]).collect()
}

impl<'a> Grouper<'a> {
    fn new(inventory: &'a Inventory, policy: &Policy, options: &'a Options, taken: &'a [bool]) -> Self {
        let capacities = capacities(inventory, policy, options);
        Self { inventory, options, capacities, held_wildcards: held_wildcards(inventory), taken }
    }

    fn is_taken(&self, wanted: u32) -> bool {
        self.taken.get(wanted as usize).copied().unwrap_or_default()
    }

    fn capacity(&self, group: u32) -> usize {
        self.capacities[group as usize]
    }

    /// One domain's certificates.
    fn domain(&self, domain: u32, grouping: &mut Grouping) {
        let range = self.inventory.wanted_of(domain as usize);
        let wanted = &self.inventory.wanted()[range.clone()];
        let Some(first) = wanted.first() else { return };
        let has_wildcard = self.inventory.bytes(first.name).starts_with(b"*.");
        grouping.has_wildcard |= has_wildcard;
        let group = self.inventory.group_of(*first);
        let simple = self.taken.is_empty()
            && !has_wildcard
            && !self.held_wildcards.contains_key(&domain)
            && wanted.len() <= self.capacity(group);
        if simple && wanted[1..].iter().all(|other| other.attributes == first.attributes) {
            // Nearly all domains are of this kind.
            return grouping.push_run(group, self.inventory.urgency_of(*first), domain, range);
        }
        let mut items = self.items(domain);
        self.fold(domain, &mut items, grouping);
        items.retain(|(.., item)| !self.is_taken(item.id));
        // Stable: within a group and urgency the names stay sorted.
        items.sort_by_key(|(group, urgency, _)| (*group, *urgency));
        for of_group in items.chunk_by(|a, b| a.0 == b.0) {
            self.pack(domain, of_group, grouping);
        }
    }

    /// The names of a domain: group, urgency, name.
    fn items(&self, domain: u32) -> Vec<(u32, u32, Item<'a>)> {
        let range = self.inventory.wanted_of(domain as usize);
        let ids = index(range.start)..;
        let item = |(of, id): (&Wanted, u32)| {
            let (group, urgency) = (self.inventory.group_of(*of), self.inventory.urgency_of(*of));
            (group, urgency, Item { id, rank: urgency, name: self.inventory.bytes(of.name) })
        };
        self.inventory.wanted()[range].iter().zip(ids).map(item).collect()
    }

    /// Which names a wildcard of their owner covers.
    fn covered(&self, domain: u32, items: &[(u32, u32, Item<'a>)]) -> Vec<bool> {
        let owner_of = |group: u32| owner(&self.inventory.groups[group as usize]);
        let mut wildcards: Vec<(Owner, &[u8])> = self.held_wildcards.get(&domain).cloned().unwrap_or_default();
        let wanted =
            items.iter().filter_map(|(group, _, item)| Some((owner_of(*group), item.name.strip_prefix(b"*.")?)));
        wildcards.extend(wanted);
        if wildcards.is_empty() {
            return vec![false; items.len()];
        }
        wildcards.sort_unstable();
        let is_covered = |(group, _, item): &(u32, u32, Item<'_>)| {
            let parent = memchr::memchr(b'.', item.name).map(|dot| &item.name[dot + 1..]);
            let by = |parent| wildcards.binary_search(&(owner_of(*group), parent)).is_ok();
            !item.name.starts_with(b"*.") && parent.is_some_and(by)
        };
        items.iter().map(is_covered).collect()
    }

    /// Counts the names that a wildcard of their owner covers, and leaves them out if they are to be folded.
    fn fold(&self, domain: u32, items: &mut Vec<(u32, u32, Item<'a>)>, grouping: &mut Grouping) {
        let covered = self.covered(domain, items);
        let count = covered.iter().filter(|covered| **covered).count() as u64;
        grouping.covered += count;
        if self.options.fold_wildcards {
            grouping.folded += count;
            let mut covered = covered.into_iter();
            items.retain(|_| covered.next() == Some(false));
        }
    }

    /// Packs names of one group, which are sorted by urgency and name: the urgent ones together, so that they need not wait.
    fn pack(&self, domain: u32, items: &[(u32, u32, Item<'a>)], grouping: &mut Grouping) {
        let Some(&(group, ..)) = items.first() else { return };
        let capacity = self.capacity(group);
        let mut apart = Vec::new();
        for of_urgency in items.chunk_by(|a, b| a.1 == b.1) {
            let mut names: Vec<Item<'_>> = of_urgency.iter().map(|(.., item)| *item).collect();
            let cuts = pack(&mut names, capacity, Fill::Full);
            apart.extend(cuts.into_iter().map(|cut| ids(&names[cut])));
        }
        if items[0].1 != items[items.len() - 1].1 && apart.len() > items.len().div_ceil(capacity) {
            // Tokens are the budget: together they may take fewer. Without wildcards the urgent ones still stand in front.
            let mut names: Vec<Item<'_>> = items.iter().map(|(.., item)| *item).collect();
            let together: Vec<Vec<u32>> = if names.iter().any(|item| item.name.starts_with(b"*.")) {
                names.sort_unstable_by_key(|item| item.name);
                let cuts = pack(&mut names, capacity, Fill::Full);
                cuts.into_iter().map(|cut| ids(&names[cut])).collect()
            } else {
                names.chunks(capacity).map(ids).collect()
            };
            if together.len() < apart.len() {
                apart = together;
            }
        }
        for members in apart {
            grouping.push(group, most_urgent(self.inventory, &members), &[(domain, &members)]);
        }
    }
}

/// A certificate with room for more, with all that decides where it goes: there may be millions, from anywhere in the inventory.
#[derive(Clone, Copy, Default)]
struct LeftOver {
    names: u32,
    domain_place: u32,
    group: u32,
    certificate: u32,
}

/// Puts what is left over from different domains of a tenant together, the largest first, each where it fits best.
pub(super) fn mixed(apart: &Grouping, inventory: &Inventory, policy: &Policy, options: &Options) -> Grouping {
    let capacities = capacities(inventory, policy, options);
    let of = |certificate: u32| apart.certificates[certificate as usize];
    let domain = |certificate: u32| of(certificate).first.domain;
    let mut mixed = apart.emptied();
    let (mut left_over, mut groups) = (Vec::new(), Vec::new());
    let (mut next, end) = (0, index(apart.certificates.len()));
    while next < end {
        let unit = (domain(next), of(next).group);
        let after = (next..end).find(|other| (domain(*other), of(*other).group) != unit).unwrap_or(end);
        // One a domain and group: two of them may hold a wildcard and what it covers.
        let smallest = (next..after).min_by_key(|certificate| of(*certificate).names);
        for certificate in next..after {
            let Certificate { group, urgency, names, .. } = of(certificate);
            let has_room = (names as usize) < capacities[group as usize];
            if inventory.has_tenant(group) && Some(certificate) == smallest && has_room {
                let domain_place = inventory.domain_place(unit.0);
                left_over.push(LeftOver { names, domain_place, group, certificate });
                groups.push(group);
            } else {
                mixed.push_pieces(group, urgency, apart, apart.pieces(certificate as usize));
            }
        }
        next = after;
    }
    let mut left_over = counting_sort(left_over.into_iter(), &groups, inventory.groups.len());
    for of_group in left_over.chunk_by_mut(|a, b| a.group == b.group) {
        of_group.sort_by_key(|one| (Reverse(one.names), one.domain_place));
        let group = of_group[0].group;
        let sizes = of_group.iter().map(|one| (one.names as usize, one.certificate));
        for bin in best_fit(sizes, capacities[group as usize]) {
            let urgency = bin.iter().map(|certificate| of(*certificate).urgency).min();
            let pieces = bin.iter().map(|certificate| of(*certificate).first);
            mixed.push_pieces(group, urgency.unwrap_or_default(), apart, pieces);
        }
    }
    mixed
}

/// The urgency of the most urgent name of a certificate.
pub(super) fn most_urgent(inventory: &Inventory, members: &[u32]) -> u32 {
    members.iter().map(|id| inventory.urgency_of(inventory.wanted()[*id as usize])).min().unwrap_or_default()
}

pub(super) fn ids(items: &[Item<'_>]) -> Vec<u32> {
    items.iter().map(|item| item.id).collect()
}

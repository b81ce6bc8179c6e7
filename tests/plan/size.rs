//! Smaller certificates cost nothing: neither time nor tokens that anyone would miss.

use std::collections::BTreeMap;

use certpace::limits::{LimitName, Limits};
use certpace::plan::{Mix, NamesPerCertificate, Options, plan};
use certpace::time::Timestamp;
use proptest::prelude::*;

use super::world::{Ordered, Quotas, Row, Tokens, World, at_most, config, exact, inventory, orders, worlds};

fn planned(world: &World, names_per_certificate: NamesPerCertificate) -> Vec<Ordered> {
    let options = Options { names_per_certificate, ..world.options.clone() };
    let (inventory, limits) = (inventory(&world.rows), world.quotas.limits());
    orders(&plan(&inventory, &limits, options).unwrap())
}

/// How many names new certificates have covered by when.
fn coverage(orders: &[Ordered]) -> BTreeMap<Timestamp, usize> {
    let (mut covered, mut sum) = (BTreeMap::new(), 0);
    for order in orders.iter().filter(|order| order.held.is_none()) {
        sum += order.names.len();
        covered.insert(order.at, sum);
    }
    covered
}

/// How many orders take from each account's and each domain's bucket.
fn taken(orders: &[Ordered]) -> BTreeMap<(LimitName, String), u64> {
    let mut taken = BTreeMap::new();
    for order in orders.iter().filter(|order| order.exemption == "none") {
        *taken.entry((LimitName::NewOrdersPerAccount, order.account.clone())).or_default() += 1;
        for domain in &order.domains {
            *taken.entry((LimitName::CertificatesPerDomain, domain.clone())).or_default() += 1;
        }
    }
    taken
}

fn check(world: &World) -> Result<(), TestCaseError> {
    let (full, auto) = (planned(world, NamesPerCertificate::AtMost(100)), planned(world, NamesPerCertificate::Auto));
    // Of orders that take tokens a renewal may be the last one.
    let unexempt =
        |orders: &[Ordered]| orders.iter().filter(|order| order.exemption == "none").map(|order| order.at).max();
    prop_assert_eq!(unexempt(&auto), unexempt(&full));
    let (with_full, with_auto) = (coverage(&full), coverage(&auto));
    // Tenants take turns, and more certificates of one may let another's larger one go first: that is another order of choice.
    let one_tenant = world.rows.iter().all(|row| row.tenant == world.rows[0].tenant);
    let with_full = if one_tenant { with_full } else { BTreeMap::new() };
    for (at, names) in &with_full {
        let so_far = with_auto.range(..=at).next_back().map_or(0, |(_, names)| *names);
        prop_assert!(so_far >= *names, "at {} {} names are covered, with full certificates {}", at, so_far, names);
    }
    let (by_full, limits) = (taken(&full), world.quotas.limits());
    for ((limit, key), count) in taken(&auto) {
        let of_full = by_full.get(&(limit, key.clone())).copied().unwrap_or_default();
        let half = u64::from(limits.quota(limit, &key).unwrap().burst()) / 2;
        prop_assert!(count <= of_full.max(half), "{} of {} takes {}, full certificates {}", limit, key, count, of_full);
        prop_assert!(count >= of_full);
    }
    Ok(())
}

/// Limits that leave tokens to spare, or hardly.
fn quotas() -> impl Strategy<Value = Quotas> {
    let tokens = |burst: std::ops::Range<i64>| (burst, 1..400_i64).prop_map(|(burst, every)| Tokens::new(burst, every));
    (tokens(4..60), tokens(2..30), tokens(2..30), any::<[bool; 3]>()).prop_map(|(account, domain, other, some)| {
        let mut quotas = Quotas::new(account, domain);
        let mut put = |chosen: bool, own: bool, key: &str| {
            let map = if own { &mut quotas.own } else { &mut quotas.domains };
            chosen.then(|| map.insert(key.to_owned(), other));
        };
        put(some[0], false, "d0.com");
        put(some[1], true, "second");
        put(some[2], false, "d3.com");
        quotas
    })
}

/// Rows of a few domains, each with so many names and one tenant.
fn rows(counts: &[usize]) -> Vec<Row> {
    let names = counts.iter().enumerate().flat_map(|(domain, count)| (0..*count).map(move |name| (domain, name)));
    names.map(|(domain, name)| Row::named(format!("h{name}.d{domain}.com"))).collect()
}

/// The sizes of each domain's certificates.
fn sizes(orders: &[Ordered]) -> BTreeMap<&str, Vec<usize>> {
    let mut sizes: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    orders.iter().for_each(|order| sizes.entry(&order.domains[0]).or_default().push(order.names.len()));
    sizes
}

fn auto_sizes(limits: &Limits, rows: &[Row]) -> BTreeMap<String, Vec<usize>> {
    let inventory = inventory(rows);
    let orders = orders(&plan(&inventory, limits, exact()).unwrap());
    sizes(&orders).into_iter().map(|(domain, sizes)| (domain.to_owned(), sizes)).collect()
}

proptest! {
    #![proptest_config(config(600))]

    #[test]
    fn smaller_certificates_cost_neither_time_nor_tokens(world in worlds(), quotas in quotas(), mix in proptest::bool::weighted(0.1), tenants in any::<bool>()) {
        let mut world = World { quotas, ..world };
        if !tenants {
            world.rows.iter_mut().for_each(|row| row.tenant.clear());
        }
        world.options.mix = if mix { Mix::Tenant } else { Mix::None };
        check(&world)?;
    }

    #[test]
    fn with_many_names_too(counts in proptest::collection::vec(1..900_usize, 1..6), quotas in quotas(), headroom in 0..600_000_u32) {
        let headroom = certpace::plan::Share::parts_per_million(headroom);
        check(&World { rows: rows(&counts), quotas, options: Options { headroom, ..exact() } })?;
    }

    #[test]
    fn the_largest_certificates_shrink_first_and_evenly(
        counts in proptest::collection::vec(1..300_usize, 1..8),
        account in 2..80_usize,
        domain in 2..40_usize,
    ) {
        let (every, rows) = (36, rows(&counts));
        let tokens = |burst| Tokens::new(i64::try_from(burst).unwrap(), every);
        let limits = Quotas::new(tokens(account), tokens(domain)).limits();
        let full: usize = counts.iter().map(|count| count.div_ceil(100)).sum();
        let sizes = auto_sizes(&limits, &rows);
        let (account_half, domain_half) = (account / 2, domain / 2);
        let total: usize = sizes.values().map(Vec::len).sum();
        // The size before a domain's last certificate was added, of those that have more than they need.
        let least_split = counts.iter().enumerate().filter_map(|(index, count)| {
            let sizes = &sizes[format!("d{index}.com").as_str()];
            (sizes.len() > count.div_ceil(100)).then(|| count.div_ceil(sizes.len() - 1))
        });
        let least_split = least_split.min();
        for (index, count) in counts.iter().enumerate() {
            let sizes = &sizes[format!("d{index}.com").as_str()];
            let (most, least) = (*sizes.iter().max().unwrap(), *sizes.iter().min().unwrap());
            if sizes.len() > count.div_ceil(100) {
                prop_assert!(most - least <= 1, "{:?}", sizes);
                prop_assert!(sizes.len() <= domain_half);
            }
            let may_grow = sizes.len() < domain_half && sizes.len() < *count;
            if full < account_half && may_grow {
                prop_assert_eq!(total, account_half, "tokens are left, and {} names stay in {}", count, sizes.len());
                prop_assert!(least_split.is_none_or(|split| split >= most), "{} was split before {}", least_split.unwrap_or_default(), most);
            }
        }
        prop_assert!(total <= full.max(account_half));
    }
}

/// Renewals that are exempt from nothing take tokens as well: what they take can't be spent on size.
#[test]
fn tokens_of_renewals_are_not_spent_on_size() {
    use super::world::{Held, START};
    use certpace::time::Span;
    let issued_at = START.minus(Span::from_days(150));
    let held = |index: usize| Row {
        held: Some(Held {
            certificate: format!("c{index}"),
            issued_at,
            expires_at: issued_at.plus(Span::from_days(90)),
        }),
        ..Row::named(format!("held{index}.org"))
    };
    let mut rows = rows(&[90, 80]);
    rows.extend((0..15).map(held));
    let world = World { rows, quotas: Quotas::new(Tokens::new(20, 36), Tokens::new(50, 100)), options: at_most(100) };
    check(&world).unwrap();
}

/// The CA's own limits: half of 300 orders for a hundred domains of 40 names.
#[test]
fn half_of_the_accounts_burst_is_spent() {
    let sizes = auto_sizes(&Quotas::documented().limits(), &rows(&[40; 100]));
    assert_eq!(sizes.values().map(Vec::len).sum::<usize>(), 150);
    assert!(sizes.values().flatten().all(|size| [20, 40].contains(size)), "{sizes:?}");
}

//! What every plan holds: each wanted name once, in certificates that the CA takes; and the same plan for the same rows.

use std::collections::{BTreeMap, BTreeSet};

use certpace::plan::{Mix, NamesPerCertificate, plan};
use proptest::prelude::*;

use super::world::{Ordered, POLICY, Row, World, at_most, config, csv, inventory, orders, read, read_bad, worlds};

fn is_covered_by(name: &str, wildcard: &str) -> bool {
    let parent = |name: &str| name.split_once('.').map(|(_, parent)| parent.to_owned());
    wildcard.starts_with("*.") && !name.starts_with("*.") && parent(name) == parent(wildcard)
}

/// The part of an owner in which a wildcard stands for the names it covers: account, tenant, profile.
fn folds_into(row: &Row, wildcard: &Row) -> bool {
    is_covered_by(&row.hostname, &wildcard.hostname) && row.owner()[..3] == wildcard.owner()[..3]
}

fn names_max(row: &Row, of: NamesPerCertificate) -> usize {
    let profile = POLICY.profile(row.owner()[2]).unwrap().1.names_max;
    match of {
        NamesPerCertificate::Auto => profile,
        NamesPerCertificate::AtMost(most) => most.min(profile),
    }
}

/// The names that new certificates are to hold, and the names of each certificate held.
fn expected(world: &World) -> (BTreeSet<String>, BTreeMap<String, BTreeSet<String>>) {
    let ready = || world.rows.iter().filter(|row| !row.not_ready);
    let fold = world.options.fold_wildcards;
    let is_folded = |row: &Row| fold && ready().any(|wildcard| folds_into(row, wildcard));
    let wanted = ready().filter(|row| row.held.is_none() && !is_folded(row)).map(|row| row.hostname.clone()).collect();
    let mut held: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in ready() {
        if let Some(of) = &row.held {
            held.entry(of.certificate.clone()).or_default().insert(row.hostname.clone());
        }
    }
    (wanted, held)
}

fn check_shape(world: &World) -> Result<(), TestCaseError> {
    let inventory = inventory(&world.rows);
    let limits = world.quotas.limits();
    let plan = plan(&inventory, &limits, world.options.clone()).unwrap();
    let orders = orders(&plan);
    let by_name: BTreeMap<&str, &Row> = world.rows.iter().map(|row| (row.hostname.as_str(), row)).collect();
    let (wanted, held) = expected(world);
    prop_assert!(orders.windows(2).all(|pair| pair[0].at <= pair[1].at), "not in the order of their times");
    prop_assert!(orders.iter().all(|order| order.at >= world.options.start), "before the start");
    let (renewals, new): (Vec<&Ordered>, Vec<&Ordered>) = orders.iter().partition(|order| order.held.is_some());

    let mut names: Vec<&String> = new.iter().flat_map(|order| &order.names).collect();
    names.sort_unstable();
    prop_assert_eq!(names, wanted.iter().collect::<Vec<_>>(), "every name wanted exactly once");
    prop_assert_eq!(plan.summary.certificates, new.len() as u64);
    prop_assert_eq!(plan.summary.orders, orders.len() as u64);
    for order in &new {
        let rows: Vec<&Row> = order.names.iter().map(|name| by_name[name.as_str()]).collect();
        prop_assert!(rows.iter().all(|row| row.owner() == rows[0].owner()), "owners mixed: {:?}", order.names);
        prop_assert_eq!(order.account.as_str(), rows[0].owner()[0]);
        prop_assert!(order.names.len() <= names_max(rows[0], world.options.names_per_certificate));
        prop_assert!(order.domains.len() == 1 || world.options.mix == Mix::Tenant, "domains mixed: {:?}", order.names);
        let redundant = |name| order.names.iter().any(|wildcard| is_covered_by(name, wildcard));
        prop_assert!(!order.names.iter().any(|name| redundant(name)), "redundant: {:?}", order.names);
        prop_assert_eq!(
            order.deadline,
            rows.iter().filter(|row| row.priority == most(&rows)).filter_map(|row| row.deadline).min()
        );
        prop_assert_eq!(order.exemption, "none");
    }
    let mut seen = BTreeSet::new();
    for order in &renewals {
        let certificate = &inventory.held[order.held.unwrap()].certificate;
        prop_assert!(seen.insert(certificate), "renewed twice: {}", certificate);
        prop_assert_eq!(order.names.iter().cloned().collect::<BTreeSet<_>>(), held[certificate].clone());
    }
    Ok(())
}

/// The highest priority of a certificate's names: with it goes the deadline that counts.
fn most(rows: &[&Row]) -> i32 {
    rows.iter().map(|row| row.priority).max().unwrap_or_default()
}

/// Unmixed and without covered names, certificates are as few as can be, and pairs stay together where that takes no more.
fn check_few(rows: &[Row], size: usize) -> Result<(), TestCaseError> {
    let rows: Vec<Row> = rows.iter().filter(|row| row.held.is_none() && !row.not_ready).cloned().collect();
    let inventory = inventory(&rows);
    let limits = super::world::Quotas::documented().limits();
    let plan = plan(&inventory, &limits, at_most(size)).unwrap();
    let orders = orders(&plan);
    let by_name: BTreeMap<&str, &Row> = rows.iter().map(|row| (row.hostname.as_str(), row)).collect();
    let mut units: BTreeMap<(&str, [&str; 5]), Vec<&Ordered>> = BTreeMap::new();
    for order in &orders {
        units.entry((&order.domains[0], by_name[order.names[0].as_str()].owner())).or_default().push(order);
    }
    for of_unit in units.values() {
        let names: BTreeSet<&str> = of_unit.iter().flat_map(|order| order.names.iter().map(String::as_str)).collect();
        if names.iter().any(|name| names.iter().any(|wildcard| is_covered_by(name, wildcard))) {
            continue;
        }
        prop_assert_eq!(of_unit.len(), names.len().div_ceil(size), "{:?}", names);
        let mut urgencies: Vec<_> = names.iter().map(|name| (by_name[name].priority, by_name[name].deadline)).collect();
        urgencies.sort_unstable();
        urgencies.dedup();
        // A name is in one pair at most: `*.x` with `x` before `x` with `www.x`.
        let paired = |name: &&&str| {
            names.contains(format!("*.{name}").as_str()) || names.contains(format!("www.{name}").as_str())
        };
        let pairs: Vec<&str> = names.iter().filter(paired).copied().collect();
        if urgencies.len() > 1 || pairs.len() > of_unit.len() * (size / 2) {
            continue;
        }
        for name in pairs {
            let wildcard = format!("*.{name}");
            let mate = if names.contains(wildcard.as_str()) { wildcard } else { format!("www.{name}") };
            let whole = |order: &&&Ordered| order.names.iter().any(|of| of == name) && order.names.contains(&mate);
            prop_assert!(of_unit.iter().any(|order| whole(&order)), "{} and {} are apart: {:?}", name, mate, of_unit);
        }
    }
    Ok(())
}

fn on_threads<T: Send>(threads: usize, run: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run)
}

fn planned(files: &[String], world: &World) -> (Vec<Ordered>, String) {
    let inventory = read(files);
    let limits = world.quotas.limits();
    let plan = plan(&inventory, &limits, world.options.clone()).unwrap();
    (orders(&plan), serde_json::to_string(&plan.summary).unwrap())
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn a_plan_holds_every_wanted_name_once_and_keeps_the_rules(world in worlds()) {
        check_shape(&world)?;
    }

    #[test]
    fn certificates_are_few_and_pairs_stay_together(world in worlds(), size in 1..7_usize) {
        check_few(&world.rows, size)?;
    }
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn neither_rows_nor_threads_nor_files_show(world in worlds(), order in any::<u64>(), files in 1..4_usize) {
        let first = planned(&[csv(&world.rows)], &world);
        let mut rows = world.rows.clone();
        let mut state = order | 1;
        for place in (1..rows.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            rows.swap(place, (state >> 33) as usize % (place + 1));
        }
        let parts: Vec<String> = rows.chunks(rows.len().div_ceil(files).max(1)).map(csv).collect();
        for threads in [1, 2, 5] {
            let again = on_threads(threads, || planned(&[csv(&rows)], &world));
            prop_assert_eq!(&first, &again, "{} threads", threads);
            if !parts.is_empty() {
                let split = on_threads(threads, || planned(&parts, &world));
                prop_assert_eq!(&first, &split, "{} files, {} threads", parts.len(), threads);
            }
        }
    }
}

/// The same with so many rows that they are read in several chunks and grouped in several parts.
#[test]
fn a_large_plan_is_the_same_on_any_number_of_threads() {
    let tenant = |domain: usize| format!("t{}", domain % 97);
    let row = |index: usize| Row {
        tenant: tenant(index % 9_001),
        ..Row::named(format!("host{index}.domain{}.org", index % 9_001))
    };
    let mut rows: Vec<Row> = (0..30_000).map(row).collect();
    let world = World { rows: Vec::new(), quotas: super::world::Quotas::documented(), options: at_most(3) };
    let first = on_threads(1, || planned(&[csv(&rows)], &world));
    rows.reverse();
    rows.rotate_left(7_777);
    for threads in [2, 5] {
        assert!(on_threads(threads, || planned(&[csv(&rows)], &world)) == first, "{threads} threads");
    }
}

/// So many names of one registered domain are sorted by all threads together.
#[test]
fn a_large_domain_has_each_name_once_whoever_says_it_twice() {
    let count = 40_000;
    let name = |index: usize| format!("host{index}.example.org");
    // 7,919 has no factor in common with the count: all names, in no order.
    let mut rows: Vec<Row> = (0..count).map(|place| Row::named(name(place * 7_919 % count))).collect();
    rows.extend((0..count).step_by(3).map(|index| Row::named(name(index))));
    let world = World { rows: Vec::new(), quotas: super::world::Quotas::documented(), options: at_most(100) };
    let inventory = on_threads(2, || read(&[csv(&rows)]));
    assert_eq!(inventory.counts.duplicates, count.div_ceil(3) as u64);
    let limits = world.quotas.limits();
    let plan = plan(&inventory, &limits, world.options.clone()).unwrap();
    let names: Vec<String> = orders(&plan).into_iter().flat_map(|order| order.names).collect();
    let mut expected: Vec<String> = (0..count).map(name).collect();
    assert!(names.len() == count && names.iter().collect::<BTreeSet<_>>() == expected.iter().collect());
    expected.sort_unstable();
    // Sorted, so that neighbours share a certificate.
    assert!(names.chunks(100).all(|names| names.is_sorted()));

    rows.push(Row { tenant: "another".into(), ..Row::named(name(count / 2)) });
    let rejects = on_threads(2, || read_bad(&[csv(&rows)])).rejects;
    assert!(!rejects.is_empty() && rejects.iter().all(|reject| reject.hostname == name(count / 2)), "{rejects:?}");
}

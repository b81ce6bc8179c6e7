//! Plans made from earlier plans: what has not changed stays, nothing is lost, and nothing is refused either.

use std::collections::{BTreeMap, BTreeSet};

use certpace::inventory::Inventory;
use certpace::plan::replan::{Earlier, EarlierOrder};
use certpace::plan::{Plan, plan, replan};
use proptest::prelude::*;

use super::opening::Past;
use super::replay::never_refused;
use super::world::{Ordered, Row, World, config, inventory, orders, worlds};

/// A plan as it is read back from its file.
pub(super) fn earlier(plan: &Plan<'_>) -> Earlier {
    let profile = |order| {
        let group = &plan.inventory.groups[plan.group_of(order) as usize];
        plan.limits.policy.profiles[group.profile as usize].name.clone()
    };
    let read_back = |(order, ordered): (_, Ordered)| EarlierOrder {
        number: ordered.number,
        at: ordered.at,
        account: ordered.account,
        profile: profile(order),
        names: ordered.names,
        replaces: ordered.held.map(|held| plan.inventory.held[held].certificate.clone()),
        bound_by: ordered.bound_by,
    };
    let orders = plan.orders.iter().zip(orders(plan)).map(read_back).collect();
    Earlier { margin: plan.margin(), orders, last_number: 0 }
}

/// The rows that are left of `before` when those that `gone` picks have gone, and the new ones of `after`.
fn changed(before: &[Row], after: &[Row], gone: u64) -> Vec<Row> {
    let stays = |place: usize| gone >> (place % 64) & 1 == 0 || place.is_multiple_of(7);
    let mut rows: BTreeMap<&str, &Row> = BTreeMap::new();
    for (_, row) in before.iter().enumerate().filter(|(place, row)| stays(*place) || row.held.is_some()) {
        rows.insert(&row.hostname, row);
    }
    for row in after.iter().filter(|row| row.held.is_none() && !before.iter().any(|of| of.hostname == row.hostname)) {
        rows.insert(&row.hostname, row);
    }
    rows.into_values().cloned().collect()
}

/// New certificates, by their names.
fn by_names(orders: &[Ordered]) -> BTreeMap<&[String], &Ordered> {
    orders.iter().filter(|order| order.held.is_none()).map(|order| (&order.names[..], order)).collect()
}

fn wanted(inventory: &Inventory) -> BTreeSet<String> {
    inventory.wanted().iter().map(|wanted| inventory.text(wanted.name).to_owned()).collect()
}

fn check(world: &World, other: &World, gone: u64, seed: u64) -> Result<(), TestCaseError> {
    let mut options = world.options.clone();
    options.fold_wildcards = false;
    let limits = world.quotas.limits();
    let first_inventory = inventory(&world.rows);
    let first = plan(&first_inventory, &limits, options.clone()).unwrap();
    let second_inventory = inventory(&changed(&world.rows, &other.rows, gone));
    let second = replan(&second_inventory, &limits, options, &earlier(&first)).unwrap();
    never_refused(&second, &world.quotas, &Past::default(), seed)?;

    let (before, after) = (orders(&first), orders(&second));
    let names: Vec<&String> =
        after.iter().filter(|order| order.held.is_none()).flat_map(|order| &order.names).collect();
    let distinct: BTreeSet<String> = names.iter().map(|name| (*name).clone()).collect();
    prop_assert_eq!(names.len(), distinct.len(), "a name is ordered twice");
    let still_wanted = wanted(&second_inventory);
    prop_assert_eq!(&distinct, &still_wanted);

    let (kept, numbers) = (by_names(&after), after.iter().map(|order| order.number));
    prop_assert_eq!(numbers.collect::<BTreeSet<u32>>().len(), after.len(), "a number is given twice");
    for order in by_names(&before).into_values().filter(|order| order.names.iter().all(|of| still_wanted.contains(of)))
    {
        let Some(again) = kept.get(&order.names[..]) else {
            return Err(TestCaseError::fail(format!("{order:?} is torn apart")));
        };
        prop_assert_eq!(again.number, order.number);
        if world.quotas.own.is_empty() {
            // Accounts with domain buckets of their own take tokens unasked, which an insertion is more careful with.
            prop_assert_eq!(again.at, order.at);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(600))]

    #[test]
    fn what_has_not_changed_stays_and_nothing_is_refused(
        world in worlds(),
        other in worlds(),
        gone in any::<u64>(),
        seed in any::<u64>(),
    ) {
        check(&world, &other, gone, seed)?;
    }
}

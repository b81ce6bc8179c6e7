//! Plans that start from what was spent before: nothing is refused, nothing better could be found, and it says what holds it back.

use std::collections::BTreeMap;

use certpace::buckets::BucketId;
use certpace::inventory::Inventory;
use certpace::limits::{LimitName, Limits};
use certpace::name::{NameSet, SetKey};
use certpace::plan::opening::{Cause, Delay, Opening, Spent, Whose};
use certpace::plan::{NamesPerCertificate, Options, Plan, plan, plan_from};
use certpace::rules::Model;
use certpace::time::{Span, Timestamp};
use proptest::prelude::*;

use super::again::earlier;
use super::replay::never_refused;
use super::search::{Bucket, SEARCHED, cases, levels};
use super::world::{Ordered, START, Tokens, World, config, finish, inventory, orders, worlds};

/// What was spent and set aside before, by limit and key.
#[derive(Clone, Debug, Default)]
pub(super) struct Past(BTreeMap<(LimitName, String), Spent>);

impl Past {
    /// Puts a CA's buckets where they are at the start. Returns each token that is set aside, by its bucket.
    pub(super) fn begin(&self, model: &mut Model) -> Vec<BucketId> {
        let mut held = Vec::new();
        let buckets: Vec<BucketId> = model.all_buckets().collect();
        for bucket in buckets {
            if let Some(spent) = self.0.get(&model.describe(bucket)) {
                model.set_tat(bucket, spent.full_at);
                held.extend((0..spent.held).map(|_| bucket));
            }
        }
        held
    }

    /// The same where orders come back slower: as many of them are lacking at the start.
    pub(super) fn slowed(&self, reserve: u32) -> Self {
        let mut slowed = self.clone();
        for ((limit, _), spent) in &mut slowed.0 {
            if *limit == LimitName::NewOrdersPerAccount {
                let rest = i128::from(1_000_000 - reserve);
                let lacks = spent.full_at.map_or(0, |at| at.since(START).nanos());
                let lacks = i64::try_from(i128::from(lacks) * 1_000_000 / rest).unwrap();
                spent.full_at = Some(START.plus(Span::from_nanos(lacks)));
            }
        }
        slowed
    }

    /// As a plan takes it.
    fn opening(&self, inventory: &Inventory, limits: &Limits) -> Opening {
        let mut delays = Vec::new();
        for ((limit, key), spent) in &self.0 {
            if *limit == LimitName::CertificatesPerFqdnSet {
                let quota = limits.quota(*limit, key).unwrap();
                let back = quota.emission().nanos() * i64::from(quota.burst() - 1 - spent.held);
                let until = spent.full_at.unwrap_or(START).max(START).minus(Span::from_nanos(back));
                let delay = Delay { until, cause: Cause::Limit(*limit), key: key.clone() };
                delays.push((delay, Whose::Set(SetKey::parse(key).unwrap())));
            }
        }
        let mut opening = Opening::new(START, limits).delayed(delays);
        for ((limit, key), spent) in &self.0 {
            opening.spent(inventory, *limit, key, *spent);
        }
        opening
    }
}

/// A state of a bucket: so many hundredths of the time in which it fills up until it is full, and what is set aside.
type Pick = (i64, u32);

fn pick() -> impl Strategy<Value = Pick> {
    let full = prop_oneof![3 => -20..120_i64, 1 => 90..110_i64, 1 => 100..500_i64];
    let held = prop_oneof![2 => Just(0), 1 => 0..8_u32];
    (full, held)
}

fn picks() -> impl Strategy<Value = Vec<Option<Pick>>> {
    proptest::collection::vec(proptest::option::of(pick()), 24)
}

/// Something in every bucket of the world that `picks` has something for; sets are those of `sets`.
fn past(world: &World, sets: &[Vec<String>], picks: &[Option<Pick>]) -> Past {
    let accounts = ["main", "second", "third"];
    let mut keys: Vec<(LimitName, String)> = Vec::new();
    keys.extend(accounts.map(|account| (LimitName::NewOrdersPerAccount, account.to_owned())));
    keys.extend((0..5).map(|domain| (LimitName::CertificatesPerDomain, format!("d{domain}.com"))));
    for account in world.quotas.own.keys() {
        let key = |domain: i32| (LimitName::CertificatesPerDomainPerAccount, format!("{account} d{domain}.com"));
        keys.extend((0..3).map(key));
    }
    for names in sets.iter().take(8) {
        let key = NameSet::parse(names.iter().map(String::as_str)).unwrap().key();
        keys.push((LimitName::CertificatesPerFqdnSet, key.to_string()));
    }
    let limits = world.quotas.limits();
    let mut past = Past::default();
    for ((limit, key), pick) in keys.into_iter().zip(picks) {
        let Some((hundredths, held)) = *pick else { continue };
        let id = key.split(' ').next().unwrap();
        let Some(quota) = limits.quota(limit, id) else { continue };
        // A set is in one hand at most.
        let held = if limit == LimitName::CertificatesPerFqdnSet { held.min(1) } else { held };
        let full_at = START.plus(Span::from_nanos(quota.offset().nanos() / 100 * hundredths));
        past.0.insert((limit, key), Spent { full_at: Some(full_at), held });
    }
    past
}

fn sets(plan: &Plan<'_>) -> Vec<Vec<String>> {
    orders(plan).into_iter().map(|order| order.names).collect()
}

/// That every order is where what it waits for, by itself, lets it: never earlier.
fn no_earlier_than(orders: &[Ordered], opening: &Past, limits: &Limits) -> Result<(), TestCaseError> {
    for order in orders.iter().filter(|order| order.exemption == "none") {
        let key = NameSet::parse(order.names.iter().map(String::as_str)).unwrap().key().to_string();
        let set = (LimitName::CertificatesPerFqdnSet, key);
        if let Some(Spent { full_at: Some(full_at), held }) = opening.0.get(&set) {
            let quota = limits.quota(set.0, &set.1).unwrap();
            let back = quota.emission().nanos() * i64::from(quota.burst() - 1 - held);
            prop_assert!(order.at >= full_at.minus(Span::from_nanos(back)), "{:?}", order);
        }
        prop_assert!(order.at >= START);
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(1_500))]

    #[test]
    fn no_order_is_ever_refused(world in worlds(), picks in picks(), seed in any::<u64>()) {
        let (inventory, limits) = (inventory(&world.rows), world.quotas.limits());
        let full = plan(&inventory, &limits, world.options.clone()).unwrap();
        let past = past(&world, &sets(&full), &picks);
        let opening = past.opening(&inventory, &limits);
        let from = plan_from(&inventory, &limits, world.options.clone(), None, Some(&opening)).unwrap();
        never_refused(&from, &world.quotas, &past, seed)?;
        no_earlier_than(&orders(&from), &past, &limits)?;
        if let (Some(finish), Some(bound)) = (from.summary.last_at, from.summary.bound_at) {
            let unexempt = from.orders.iter().map(|order| order.at).max().unwrap_or(finish);
            prop_assert!(bound <= unexempt, "the bound {} lies behind the plan's end {}", bound, unexempt);
        }
    }

    #[test]
    fn smaller_certificates_cost_no_time(world in worlds(), picks in picks()) {
        let (inventory, limits) = (inventory(&world.rows), world.quotas.limits());
        let past = past(&world, &[], &picks);
        let opening = past.opening(&inventory, &limits);
        let last_of = |names_per_certificate| {
            let options = Options { names_per_certificate, ..world.options.clone() };
            let plan = plan_from(&inventory, &limits, options, None, Some(&opening)).unwrap();
            orders(&plan).iter().filter(|order| order.exemption == "none").map(|order| order.at).max()
        };
        prop_assert_eq!(last_of(NamesPerCertificate::Auto), last_of(NamesPerCertificate::AtMost(100)));
    }

    #[test]
    fn nothing_spent_changes_nothing(world in worlds(), ago in 0..1_000_i64) {
        let (inventory, limits) = (inventory(&world.rows), world.quotas.limits());
        let full = plan(&inventory, &limits, world.options.clone()).unwrap();
        let picks = vec![Some((-ago, 0)); 24];
        let past = past(&world, &[], &picks);
        let opening = past.opening(&inventory, &limits);
        let from = plan_from(&inventory, &limits, world.options.clone(), None, Some(&opening)).unwrap();
        prop_assert_eq!(orders(&full), orders(&from));
        prop_assert_eq!(full.summary, from.summary);
    }
}

proptest! {
    #![proptest_config(config(600))]

    #[test]
    fn an_earlier_plan_and_what_was_spent_both_hold(
        world in worlds(), before in picks(), after in picks(), same in any::<bool>(), seed in any::<u64>(),
    ) {
        let (inventory, limits) = (inventory(&world.rows), world.quotas.limits());
        let mut options = world.options.clone();
        options.fold_wildcards = false;
        let full = plan(&inventory, &limits, options.clone()).unwrap();
        let first_past = past(&world, &sets(&full), &before);
        let opening = first_past.opening(&inventory, &limits);
        let first = plan_from(&inventory, &limits, options.clone(), None, Some(&opening)).unwrap();
        let second_past = if same { first_past.clone() } else { past(&world, &sets(&full), &after) };
        let opening = second_past.opening(&inventory, &limits);
        let second = plan_from(&inventory, &limits, options, Some(&earlier(&first)), Some(&opening)).unwrap();
        never_refused(&second, &world.quotas, &second_past, seed)?;
        no_earlier_than(&orders(&second), &second_past, &limits)?;
        let new = |plan: &Plan<'_>| -> BTreeMap<Vec<String>, (u32, Timestamp)> {
            let new = orders(plan).into_iter().filter(|order| order.held.is_none());
            new.map(|order| (order.names, (order.number, order.at))).collect()
        };
        let (first, second) = (new(&first), new(&second));
        for (names, (number, at)) in &first {
            let Some((again, moved)) = second.get(names) else {
                return Err(TestCaseError::fail(format!("{names:?} is torn apart")));
            };
            prop_assert_eq!(number, again);
            // Accounts with domain buckets of their own take tokens unasked, which an insertion is more careful with.
            if same && world.quotas.own.is_empty() {
                prop_assert_eq!(at, moved, "{:?} moved", names);
            }
        }
    }
}

/// The buckets of a search after a past, in its order: the account's, then each domain's.
fn spent(tokens: Tokens, (hundredths, held): Pick) -> (Spent, Bucket) {
    let offset = tokens.burst * tokens.every.nanos();
    let full_at = START.plus(Span::from_nanos(offset / 100 * hundredths));
    let held = held.min(u32::try_from(tokens.burst).unwrap());
    let all = full_at.max(START).plus(Span::from_nanos(tokens.every.nanos() * i64::from(held)));
    (Spent { full_at: Some(full_at), held }, Bucket::full_at(tokens, all.unix_nanos()))
}

proptest! {
    #![proptest_config(config(800))]

    #[test]
    fn no_search_finishes_before_the_bound_or_before_the_plan(
        of in cases(),
        picks in proptest::collection::vec(pick(), 5),
    ) {
        let (inventory, limits) = (of.inventory(), of.quotas.limits());
        let mut past = Past::default();
        let (of_account, account_bucket) = spent(of.quotas.account, picks[4]);
        past.0.insert((LimitName::NewOrdersPerAccount, "main".to_owned()), of_account);
        let mut buckets = Vec::new();
        for (place, (tokens, pick)) in of.domains.iter().zip(&picks).enumerate() {
            let (of_domain, bucket) = spent(*tokens, *pick);
            past.0.insert((LimitName::CertificatesPerDomain, format!("d{place}.com")), of_domain);
            buckets.push(bucket);
        }
        let opening = past.opening(&inventory, &limits);
        let plan = plan_from(&inventory, &limits, of.options(), None, Some(&opening)).unwrap();
        prop_assume!(plan.orders.len() <= SEARCHED);
        let best = of.best(account_bucket, &buckets);
        let finish = finish(&orders(&plan));
        let bound = plan.summary.bound_at.unwrap();
        prop_assert!(bound <= best, "the bound {} is none: {} can be had", bound, best);
        let late = finish.since(best).nanos();
        // Where the account lacks tokens, a domain's first order has to wait for it.
        let is_full = of_account.held == 0 && of_account.full_at <= Some(START);
        let most = of.margin.nanos() * if is_full { levels(of.names.len(), of.quotas.account) } else { 2 };
        prop_assert!(late <= most, "{} instead of {}, {}", finish, best, of.margin);
        if is_full {
            prop_assert_eq!(bound, best);
        }
    }
}

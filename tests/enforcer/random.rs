//! Random exchanges give the decisions of a model that is told the same in its own words, and leave the same in every bucket.

use certpace::buckets::Batch;
use certpace::limits::{LimitName, Limits};
use certpace::name::{Identifier, NameSet};
use certpace::rules::{Decision, Exemption, Model};
use certpace::time::{Span, Timestamp};
use proptest::prelude::*;

use super::world::{Order, SUFFIXES, World, tight, url};

const ACCOUNTS: [&str; 2] = ["1", "2"];
const SETS: [&[&str]; 5] = [
    &["a.example.com"],
    &["b.example.com"],
    &["a.example.com", "b.example.com"],
    &["example.org"],
    &["*.example.org", "example.org"],
];

#[derive(Clone, Copy, Debug)]
enum Step {
    Order { account: usize, set: usize, status: u16 },
    Finalize { order: usize },
    Poll { order: usize },
    Authorization { order: usize, place: usize, status: &'static str },
    Wait { seconds: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    let status = prop::sample::select(vec!["pending", "valid", "invalid", "deactivated"]);
    prop_oneof![
        6 => (0..2_usize, 0..5_usize, prop::sample::select(vec![201, 201, 201, 400, 500]))
            .prop_map(|(account, set, status)| Step::Order { account, set, status }),
        3 => (0..8_usize).prop_map(|order| Step::Finalize { order }),
        1 => (0..8_usize).prop_map(|order| Step::Poll { order }),
        4 => (0..8_usize, 0..2_usize, status)
            .prop_map(|(order, place, status)| Step::Authorization { order, place, status }),
        2 => (0..5_000_i64).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

fn limits() -> Limits {
    tight(&[
        (LimitName::NewOrdersPerAccount, 4, "20m"),
        (LimitName::CertificatesPerDomain, 3, "1h"),
        (LimitName::CertificatesPerFqdnSet, 2, "2h"),
        (LimitName::FailedAuthorizationsPerDomainPerAccount, 2, "30m"),
        (LimitName::FailedAuthorizationsForPausingPerDomainPerAccount, 3, "24h"),
    ])
}

/// What the model is told.
struct Oracle {
    model: Model,
    batch: Batch,
    second: Batch,
    /// By order: whether it was issued, and for each name how its authorization stood.
    orders: Vec<(Order, bool, Vec<&'static str>)>,
}

impl Oracle {
    fn order(&mut self, account: &str, names: &[&str], status: u16, now: Timestamp) -> bool {
        let id = self.model.order(&url(account), &NameSet::parse(names.iter().copied()).unwrap());
        let exemption = self.model.exemption(id, false, now);
        let allowed = self.model.new_order(id, exemption, now, &mut self.batch) == Decision::Allow;
        if allowed && status != 201 {
            self.model.refund_order(id, exemption, now, &mut self.batch);
        }
        allowed
    }

    fn issue(&mut self, order: usize, now: Timestamp) {
        let (of, issued, _) = &mut self.orders[order];
        if !std::mem::replace(issued, true) {
            let names = NameSet::parse(of.names.iter().map(String::as_str)).unwrap();
            let id = self.model.order(&url(&of.account), &names);
            let renewal = self.model.exemption(id, false, now) == Exemption::SameSet;
            self.model.issued(id, renewal, now, &mut self.batch);
        }
    }

    fn authorization(&mut self, order: usize, place: usize, status: &'static str, now: Timestamp) {
        let (of, _, states) = &mut self.orders[order];
        let before = std::mem::replace(&mut states[place], status);
        let (account, name) = (url(&of.account), Identifier::parse(&of.names[place]).unwrap());
        let batches = [&mut self.batch, &mut self.second];
        match (before, status) {
            ("new" | "pending", "invalid" | "deactivated") => {
                self.model.validation_failed(&account, &name, now, batches);
            }
            ("new" | "pending", "valid") => self.model.validation_succeeded(&account, &name, now, &mut self.batch),
            _ => {}
        }
    }
}

fn told(model: &Model, now: Timestamp) -> Vec<(LimitName, String, i64)> {
    let buckets = model.all_buckets().map(|bucket| {
        let (limit, key) = model.describe(bucket);
        (limit, key, model.buckets().used(bucket, now).max(0))
    });
    let mut told: Vec<_> = buckets.filter(|(.., used)| *used > 0).collect();
    told.sort();
    told
}

/// What can follow: an authorization that is over stays so.
fn follows(before: &str, status: &str) -> bool {
    match before {
        "new" | "pending" => true,
        "valid" => matches!(status, "valid" | "deactivated"),
        _ => before == status,
    }
}

proptest! {
    #[test]
    fn what_passes_on_the_wire_is_what_the_model_is_told(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new(limits());
        let model = Model::new(limits(), SUFFIXES.clone());
        let mut oracle = Oracle { model, batch: Batch::default(), second: Batch::default(), orders: Vec::new() };
        for step in steps {
            let now = world.now;
            match step {
                Step::Wait { seconds } => world.now = now.plus(Span::from_seconds(seconds)),
                Step::Order { account, set, status } => {
                    let (account, names) = (ACCOUNTS[account], SETS[set]);
                    let allowed = oracle.order(account, names, status, now);
                    let order = world.order_with(account, names, (None, None), status);
                    prop_assert_eq!(order.is_ok(), allowed);
                    if let (Ok(order), 201) = (order, status) {
                        let states = vec!["new"; order.names.len()];
                        oracle.orders.push((order, false, states));
                    }
                }
                Step::Finalize { order } | Step::Poll { order } if order < oracle.orders.len() => {
                    oracle.issue(order, now);
                    let of = oracle.orders[order].0.clone();
                    if matches!(step, Step::Poll { .. }) { world.poll(&of, "valid") } else { world.finalize(&of) }
                }
                Step::Authorization { order, place, status } if order < oracle.orders.len() => {
                    let (of, _, states) = &oracle.orders[order];
                    if states.get(place).is_some_and(|before| follows(before, status)) {
                        let of = of.clone();
                        oracle.authorization(order, place, status, now);
                        world.authorization(&of, place, status);
                    }
                }
                Step::Finalize { .. } | Step::Poll { .. } | Step::Authorization { .. } => {}
            }
            prop_assert_eq!(told(world.enforcer.model(), world.now), told(&oracle.model, world.now));
        }
    }
}

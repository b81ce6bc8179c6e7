//! Plans from a ledger: what it holds, and the gate over it lets every order of the plan go, late as it may be.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use certpace::clock::{FixedClock, Timescale};
use certpace::gate::{Dispatch, Gate, PAUSED, Refusal, Request, Scope, Verdict};
use certpace::inventory::Inventory;
use certpace::ledger::{MemoryStore, Realm};
use certpace::limits::{LimitName, Limits};
use certpace::name::NameSet;
use certpace::plan::opening::Cause;
use certpace::plan::{Options, Plan, plan, plan_from};
use certpace::time::{Span, Timestamp};
use proptest::prelude::*;

use super::world::{Held, Ordered, Quotas, Row, START, SUFFIXES, Tokens, at_most, config, inventory, orders};

const MARGIN: Span = Span::from_seconds(600);

fn quotas() -> Quotas {
    Quotas::new(Tokens::new(6, 40), Tokens::new(4, 300))
}

fn gate() -> Gate {
    let store = Box::new(MemoryStore::new(FixedClock(START)));
    let realm = Realm::new("https://ca.example/directory");
    Gate::new(store, realm, quotas().limits(), SUFFIXES.clone(), Timescale::stopped(START), [7; 32]).unwrap()
}

fn at(gate: &mut Gate, now: Timestamp) {
    gate.set_timescale(Timescale::stopped(now));
}

fn second(seconds: i64) -> Timestamp {
    START.plus(Span::from_seconds(seconds))
}

fn request(names: &[String], holder: &str) -> Request {
    Request::of("main", NameSet::parse(names.iter().map(String::as_str)).unwrap(), holder)
}

/// A permit of somebody else's, which ends when an order of the plan would at the latest; `None`: not now.
fn reserve(gate: &mut Gate, name: &str) -> Option<String> {
    let request = Request { lease: MARGIN, ..request(&[name.to_owned()], "other") };
    match gate.reserve(&request).unwrap().verdict {
        Verdict::Allow { permit: Some(permit), .. } => Some(permit.permit),
        _ => None,
    }
}

fn send(gate: &mut Gate, permit: &str) {
    assert!(matches!(gate.sent(permit), Ok(Dispatch::Go(_))), "{permit}");
}

/// A plan that starts from the ledger as it is.
fn planned(gate: &mut Gate, inventory: &mut Inventory, limits: &Limits, with: impl FnOnce(&Plan<'_>)) {
    gate.board().unwrap().withhold(inventory);
    let opening = gate.opening(inventory, START).unwrap();
    let options = Options { margin: Some(MARGIN), ..at_most(1) };
    with(&plan_from(inventory, limits, options, None, Some(&opening)).unwrap());
}

/// What happens before a plan: how long before, for which name, and what becomes of it.
type Happening = (i64, usize, u8);

fn name(place: usize) -> String {
    format!("h{}.d{}.com", place / 3, place % 3)
}

/// Others use the same ledger up to the start.
fn happen(gate: &mut Gate, mut happenings: Vec<Happening>) {
    happenings.sort_unstable();
    for (ago, place, what) in happenings.into_iter().rev() {
        at(gate, second(-ago));
        let name = name(place);
        let Some(permit) = reserve(gate, &name) else { continue };
        let Ok(Dispatch::Go(_)) = gate.sent(&permit) else { continue };
        let retry_after = Some(Span::from_seconds(20 * ago % 5_000));
        // As the CA says it, of a registered domain.
        let sentence = certpace::rules::Refusal {
            limit: LimitName::CertificatesPerDomain,
            of: Some(format!("d{}.com", place % 3).into()),
            burst: 50,
            period: Span::from_days(7),
            retry_at: second(20 * ago % 5_000 - ago),
        };
        let refused = match what {
            0..3 => {
                gate.commit(&permit).unwrap();
                continue;
            }
            3 => {
                gate.fail(&permit, &[name]).unwrap();
                continue;
            }
            4 => Refusal { retry_after, ..Refusal::default() },
            5 => Refusal { retry_after, detail: Some(sentence.to_string()) },
            6 => Refusal { detail: Some(PAUSED.to_owned()), ..Refusal::default() },
            // It is under way when the plan starts, or its lease has run out.
            _ => continue,
        };
        gate.refused(&permit, &refused).unwrap();
    }
    at(gate, START);
}

/// Asks the gate for every order of a plan when it goes out late, and issues it later still.
fn all_go(gate: &mut Gate, ordered: &[Ordered], delays: &[(i64, i64)]) -> Result<(), TestCaseError> {
    let mut events = Vec::new();
    for (place, order) in ordered.iter().enumerate() {
        let (a, b) = delays[place % delays.len()];
        events.push(Reverse((order.at.plus(Span::from_seconds(a.min(b))), place, false)));
        events.push(Reverse((order.at.plus(Span::from_seconds(a.max(b))), place, true)));
    }
    events.sort_unstable();
    let mut permits = vec![String::new(); ordered.len()];
    for Reverse((now, place, is_issue)) in events.into_iter().rev() {
        at(gate, now);
        if is_issue {
            gate.commit(&permits[place]).unwrap();
            continue;
        }
        let order = &ordered[place];
        let answer = gate.reserve(&request(&order.names, "plan")).unwrap();
        let Verdict::Allow { permit: Some(permit), .. } = &answer.verdict else {
            return Err(TestCaseError::fail(format!("{order:?} at {now}: {:?}", answer.verdict)));
        };
        send(gate, &permit.permit);
        permits[place].clone_from(&permit.permit);
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn the_gate_lets_every_order_go(
        happenings in proptest::collection::vec((0..4_000_i64, 0..30_usize, 0..10_u8), 0..40),
        wanted in proptest::collection::btree_set(0..30_usize, 1..24),
        lost in proptest::option::weighted(0.1, 0..3_000_i64),
        frozen in proptest::bool::weighted(0.1),
        delays in proptest::collection::vec((0..=600_i64, 0..=600_i64), 24),
    ) {
        let mut gate = gate();
        happen(&mut gate, happenings);
        if let Some(ago) = lost {
            at(&mut gate, second(-ago));
            gate.assume_empty(&[], true, "test").unwrap();
            at(&mut gate, START);
        }
        if frozen {
            gate.freeze(&Scope::Domain("d1.com".to_owned()), "test", "test").unwrap();
        }
        let board = gate.board().unwrap();
        let rows: Vec<Row> = wanted.iter().map(|place| Row::named(name(*place))).collect();
        let (mut inventory, limits) = (inventory(&rows), quotas().limits());
        let mut ordered = Vec::new();
        planned(&mut gate, &mut inventory, &limits, |plan| ordered = orders(plan));

        let stopped = |name: &String| {
            board.paused.iter().any(|paused| paused.name == *name) || frozen && name.ends_with(".d1.com")
        };
        let expected: BTreeSet<String> = wanted.iter().map(|place| name(*place)).filter(|name| !stopped(name)).collect();
        let all: BTreeSet<String> = ordered.iter().flat_map(|order| order.names.clone()).collect();
        prop_assert_eq!(all, expected);
        all_go(&mut gate, &ordered, &delays)?;
    }
}

/// When each name is ordered, in seconds after the start, and what it waits for.
fn waits(gate: &mut Gate, names: &[&str]) -> Vec<(String, i64, Option<Cause>)> {
    let rows: Vec<Row> = names.iter().map(|name| Row::named(*name)).collect();
    let (mut inventory, limits) = (inventory(&rows), quotas().limits());
    let mut waits = Vec::new();
    planned(gate, &mut inventory, &limits, |plan| {
        let wait = |order: Ordered| {
            let seconds = order.at.since(START).nanos() / 1_000_000_000;
            (order.names[0].clone(), seconds, order.bound_by.map(|(cause, _)| cause))
        };
        waits = orders(plan).into_iter().map(wait).collect();
    });
    waits
}

#[test]
fn a_set_in_hand_a_failed_name_and_a_spent_set_have_to_wait() {
    let mut gate = gate();
    let failed = reserve(&mut gate, "failed.d0.com").unwrap();
    send(&mut gate, &failed);
    gate.fail(&failed, &["failed.d0.com".to_owned()]).unwrap();
    reserve(&mut gate, "hand.d1.com").unwrap();
    let waited = waits(&mut gate, &["failed.d0.com", "hand.d1.com", "new.d2.com"]);
    let expected = [
        ("new.d2.com", 0, None),
        ("failed.d0.com", 60, Some(Cause::Backoff)),
        ("hand.d1.com", 600, Some(Cause::InHand)),
    ];
    assert_eq!(waited, expected.map(|(name, seconds, cause)| (name.to_owned(), seconds, cause)));
    // After a loss every bucket was empty: a set has a token again after a fifth of a week.
    gate.assume_empty(&[], true, "test").unwrap();
    let waited = waits(&mut gate, &["new.d2.com"]);
    let cause = Cause::Limit(LimitName::CertificatesPerFqdnSet);
    assert_eq!(waited, [("new.d2.com".to_owned(), 7 * 86_400 / 5, Some(cause))]);
}

#[test]
fn the_buckets_of_one_limit_alone_hold_back_their_own() {
    let mut gate = gate();
    gate.assume_empty(&[LimitName::NewOrdersPerAccount], false, "test").unwrap();
    let cause = Some(Cause::Limit(LimitName::NewOrdersPerAccount));
    let waited = waits(&mut gate, &["a.d0.com", "b.d1.com"]).into_iter();
    assert_eq!(waited.map(|(_, at, why)| (at, why)).collect::<Vec<_>>(), [(40, cause), (80, cause)]);
}

#[test]
fn what_is_frozen_or_paused_is_left_out_and_counted() {
    let mut gate = gate();
    let paused = reserve(&mut gate, "paused.d0.com").unwrap();
    send(&mut gate, &paused);
    gate.refused(&paused, &Refusal { detail: Some(PAUSED.to_owned()), ..Refusal::default() }).unwrap();
    let stopped = [Scope::Domain("d1.com".into()), Scope::Tenant("stopped".into()), Scope::Account("second".into())];
    for scope in stopped {
        gate.freeze(&scope, "a reason", "me").unwrap();
    }
    let row = |name: &str, tenant: &str, account: &str| Row {
        tenant: tenant.to_owned(),
        account: account.to_owned(),
        ..Row::named(name)
    };
    let held = |certificate: &str, name: &str| {
        let (issued_at, expires_at) = (START.minus(Span::from_days(80)), START.plus(Span::from_days(10)));
        Row { held: Some(Held { certificate: certificate.to_owned(), issued_at, expires_at }), ..Row::named(name) }
    };
    let rows = [
        row("paused.d0.com", "", ""),
        row("paused.d0.org", "", ""),
        row("a.d1.com", "", ""),
        row("b.d1.com", "", ""),
        row("tenant.d2.com", "stopped", ""),
        row("account.d3.com", "", "second"),
        row("goes.d4.com", "other", ""),
        held("c1", "held.d1.com"),
        held("c1", "with.d5.com"),
        held("c2", "renewed.d6.com"),
    ];
    let (mut inventory, limits) = (inventory(&rows), quotas().limits());
    planned(&mut gate, &mut inventory, &limits, |plan| {
        let names: BTreeSet<String> = orders(plan).into_iter().flat_map(|order| order.names).collect();
        assert_eq!(names, ["goes.d4.com", "paused.d0.org", "renewed.d6.com"].map(str::to_owned).into());
        let withheld = &plan.inventory.counts.withheld;
        let counts: Vec<u64> = withheld.iter().map(|of| of.hostnames).collect();
        assert_eq!((counts, plan.inventory.counts.hostnames), (vec![4, 1, 1, 1], 3), "{withheld:?}");
        assert!(withheld[0].reason.ends_with("d1.com, by me: a reason"), "{withheld:?}");
        assert_eq!(withheld[3].reason, "paused at the CA for account main");
    });
}

/// A ledger that nobody has written to is full buckets.
#[test]
fn an_empty_ledger_changes_nothing() {
    let rows: Vec<Row> = (0..30).map(|place| Row::named(name(place))).collect();
    let (full, mut from, limits) = (inventory(&rows), inventory(&rows), quotas().limits());
    let full = plan(&full, &limits, Options { margin: Some(MARGIN), ..at_most(1) }).unwrap();
    planned(&mut gate(), &mut from, &limits, |plan| {
        assert_eq!((orders(plan), &plan.summary), (orders(&full), &full.summary));
    });
}

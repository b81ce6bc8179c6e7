//! What stops orders beside the buckets: freezes, paused names, a ledger that went back, what was lost; limits that change; shadow mode.

use std::sync::{Arc, Mutex};

use certpace::clock::FixedClock;
use certpace::gate::{Dispatch, GateError, Never, Refusal, Replaces, Request, Scope, Verdict};
use certpace::ledger::{LedgerError, MemoryStore};
use certpace::limits::LimitName;
use certpace::permits::State;

use super::world::{Place, START, World, after, letsencrypt, limit, limits_of, of, over_every_store, permit_of, realm};

fn a() -> Request {
    of(&["a.example.com"])
}

#[track_caller]
fn is_frozen(world: &mut World, request: &Request) -> bool {
    match world.ask(request).verdict {
        Verdict::Never(Never::Frozen(freeze)) => {
            assert_eq!((freeze.reason.as_str(), freeze.by.as_str()), ("rollback", "ops"));
            true
        }
        Verdict::Allow { permit: Some(permit), .. } => {
            world.gate().cancel(&permit.permit).unwrap();
            false
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_account_a_tenant_or_a_domain_is_frozen_and_thawed() {
    over_every_store(&letsencrypt(), |world| {
        let tenant = Request { tenant: Some("t".to_owned()), ..of(&["example.net"]) };
        let other = Request { account: "2".to_owned(), ..of(&["example.org"]) };
        let all = [a(), tenant, other];
        for (scope, stops) in [
            (Scope::Account("1".to_owned()), [true, true, false]),
            (Scope::Tenant("t".to_owned()), [false, true, false]),
            (Scope::Domain("example.com".to_owned()), [true, false, false]),
            (Scope::Domain("example.org".to_owned()), [false, false, true]),
            (Scope::Everything, [true, true, true]),
        ] {
            world.gate().freeze(&scope, "mistake", "somebody").unwrap();
            world.gate().freeze(&scope, "rollback", "ops").unwrap();
            assert_eq!(world.gate().board().unwrap().frozen.len(), 1);
            assert_eq!(all.each_ref().map(|request| is_frozen(world, request)), stops, "{scope:?}");
            assert_eq!(world.gate().thaw(&scope, "ops").unwrap().len(), 1);
            assert_eq!(all.each_ref().map(|request| is_frozen(world, request)), [false; 3]);
        }
        let lines: Vec<_> = world.records().iter().map(|line| line.body.clone()).collect();
        assert!(lines.iter().any(|line| line.contains("rollback")), "why is in the record: {lines:?}");
    });
}

#[test]
fn what_was_reserved_before_a_freeze_does_not_go_out() {
    over_every_store(&letsencrypt(), |world| {
        let permit = world.allowed(&a());
        let issued = world.allowed(&of(&["b.example.com"]));
        world.gate().commit(&issued).unwrap();
        world.gate().freeze(&Scope::Domain("example.com".to_owned()), "rollback", "ops").unwrap();
        assert!(matches!(world.gate().sent(&permit), Ok(Dispatch::Frozen(_))));
        assert_eq!(world.gate().permit(&permit).unwrap().life.state, State::Reserved);
        assert!(matches!(world.gate().sent(&issued), Err(GateError::Permit { .. })), "that is over anyway");
        world.gate().thaw(&Scope::Everything, "ops").unwrap();
        assert!(matches!(world.gate().sent(&permit), Ok(Dispatch::Go(_))));
        world.gate().freeze(&Scope::Account("1".to_owned()), "rollback", "ops").unwrap();
        // What is under way is told of as ever.
        world.gate().accepted(&permit).unwrap();
        world.gate().commit(&permit).unwrap();
    });
}

#[test]
fn paused_names_wait_for_a_person() {
    over_every_store(&letsencrypt(), |world| {
        let permit = world.allowed(&a());
        let _go = world.gate().sent(&permit).unwrap();
        let detail =
            "Your account is temporarily prevented from requesting certificates for a.example.com and possibly others.";
        let refusal = Refusal { detail: Some(detail.to_owned()), ..Refusal::default() };
        world.at(5).gate().refused(&permit, &refusal).unwrap();
        let both = of(&["a.example.com", "b.example.com"]);
        let Verdict::Never(Never::Paused { names, since }) = world.at(9).ask(&both).verdict else { panic!() };
        assert_eq!((names, since), (vec!["a.example.com".to_owned()], after(5)));
        // Neither for another account, nor for another name.
        world.allowed(&Request { account: "2".to_owned(), ..a() });
        world.allowed(&of(&["b.example.com"]));
        assert_eq!(world.gate().unpause("2", &[], "ops").unwrap(), 0);
        assert_eq!(world.gate().unpause("1", &[], "ops").unwrap(), 1);
        world.allowed(&both);
    });
}

#[test]
fn late_failures_pause_a_name_as_they_do_at_the_ca() {
    let mut limits = letsencrypt();
    limits.policy.set_limit(LimitName::FailedAuthorizationsForPausingPerDomainPerAccount, limit(2, 100_000));
    over_every_store(&limits, |world| {
        let retry = Request { retry_now: true, ..a() };
        // What is unknown may have failed: that counts.
        let permits = [(); 2].map(|()| {
            let permit = world.allowed(&retry);
            world.gate().lost(&permit).unwrap();
            permit
        });
        let (_, blocking) = world.later(&retry);
        assert_eq!(limits_of(&blocking), [Some(LimitName::FailedAuthorizationsForPausingPerDomainPerAccount)]);
        // And what failed late is counted again: by now the CA may have paused the name.
        world.gate().fail(&permits[0], &["a.example.com".to_owned()]).unwrap();
        assert!(matches!(world.ask(&retry).verdict, Verdict::Never(Never::Paused { .. })));
    });
}

#[test]
fn a_ledger_that_went_back_is_refused_until_somebody_says_what_was_lost() {
    over_every_store(&letsencrypt(), |world| {
        let mut mark = world.ask(&a()).mark;
        mark.sequence += 100;
        for gate in &mut world.gates {
            gate.has_seen(mark);
        }
        let error = world.gate().reserve(&a()).unwrap_err();
        assert!(matches!(error.ledger(), Some(LedgerError::WentBack { .. })), "{error}");
        world.join(realm());
        let opened = world.gates.last_mut().unwrap().assume_empty(&[], true, "ops").unwrap();
        assert!(opened.epoch > mark.epoch);
        // Those who saw more before the loss go on; every bucket is empty now.
        let (at, blocking) = world.later(&of(&["b.example.com"]));
        assert_eq!(blocking.len(), 4);
        assert_eq!(at, after(120_960));
        world.at(120_960).allowed(&of(&["b.example.com"]));
    });
}

/// Gates keep what they have read, and a document of the new ledger may have the very version of another one in the lost ledger.
#[test]
fn what_was_read_of_a_lost_ledger_is_read_again_of_the_new_one() {
    let store = Arc::new(Mutex::new(MemoryStore::new(FixedClock(START))));
    let mut world = World::new(Place::of(&store), letsencrypt());
    // The first change of the first ledger, and of the second.
    world.gates[0].assume_empty(&[LimitName::CertificatesPerDomain], false, "ops").unwrap();
    let seen = world.gates[1].board().unwrap();
    assert!(matches!(world.gates[1].reserve(&a()).unwrap().verdict, Verdict::Later { .. }));
    *store.lock().unwrap() = MemoryStore::new(FixedClock(START));
    world.join(realm());
    world.gates.last_mut().unwrap().assume_empty(&[], true, "ops").unwrap();
    assert_ne!(world.gates[1].board().unwrap(), seen);
    let Verdict::Later { blocking, .. } = world.gates[1].reserve(&a()).unwrap().verdict else { panic!("all is empty") };
    assert_eq!(blocking.len(), 4);
}

#[test]
fn buckets_of_one_limit_alone_may_be_unknown() {
    over_every_store(&letsencrypt(), |world| {
        world.gate().assume_empty(&[LimitName::CertificatesPerDomain], false, "ops").unwrap();
        let (at, blocking) = world.later(&a());
        assert_eq!((at, limits_of(&blocking)), (after(12_096), vec![Some(LimitName::CertificatesPerDomain)]));
    });
}

#[test]
fn a_limit_that_is_switched_off_and_on_leaves_nothing_held() {
    over_every_store(&letsencrypt(), |world| {
        let permits = ["a.example.com", "b.example.com"].map(|name| world.allowed(&of(&[name])));
        let mut without = letsencrypt();
        without.policy.set_limit(LimitName::CertificatesPerDomain, None);
        without.policy.set_limit(LimitName::FailedAuthorizationsPerDomainPerAccount, None);
        world.change_limits(without);
        world.gate().commit(&permits[0]).unwrap();
        world.gate().cancel(&permits[1]).unwrap();
        let third = world.allowed(&of(&["c.example.com"]));
        world.change_limits(letsencrypt());
        assert!(
            world
                .cells()
                .iter()
                .filter(|(name, _)| name.contains("PerDomain"))
                .all(|(_, cell)| { (cell.tally.held, cell.asked) == (0, 0) })
        );
        world.gate().commit(&third).unwrap();
        assert_eq!(world.all_left(), [298, 5, 50, 4], "a limit that is off counts nothing");
    });
}

#[test]
fn limits_that_change_in_between_hold_for_what_is_under_way() {
    over_every_store(&letsencrypt(), |world| {
        let permit = world.allowed(&a());
        let mut narrow = letsencrypt();
        narrow.policy.set_limit(LimitName::CertificatesPerDomain, limit(1, 1_000));
        world.change_limits(narrow);
        world.later(&of(&["b.example.com"]));
        world.at(10).gate().commit(&permit).unwrap();
        assert_eq!(world.later(&of(&["b.example.com"])).0, after(1_010));
    });
}

#[test]
fn shadow_mode_decides_and_lets_pass_apart_from_the_real_tokens() {
    let mut limits = letsencrypt();
    limits.policy.set_limit(LimitName::CertificatesPerDomain, limit(1, 1_000));
    over_every_store(&limits, |world| {
        world.join(realm().shadow());
        let shadow = |world: &mut World, set: &[&str]| world.gates[3].shadow(&of(set)).unwrap();
        let (answer, would) = shadow(world, &["a.example.com"]);
        assert_eq!((answer.verdict.word(), would.verdict.word()), ("allow", "allow"));
        let first = permit_of(answer);
        let (answer, would) = shadow(world, &["b.example.com"]);
        assert_eq!((answer.verdict.word(), would.verdict.word()), ("allow", "later"));
        let permit = permit_of(answer);
        let said = permit.shadow.unwrap();
        assert_eq!((said.verdict.as_str(), said.retry_at), ("later", Some(after(1_000))));
        assert_eq!(said.blocking, ["CertificatesPerDomain example.com"]);
        let never = permit_of(shadow(world, &["co.uk"]).0).shadow.unwrap();
        assert_eq!(never.verdict, "never");
        for permit in [&first.permit, &permit.permit] {
            world.gates[3].commit(permit).unwrap();
        }
        // Nothing of it is known in earnest.
        assert!(world.cells().is_empty());
        world.gates.truncate(3);
        world.allowed(&a());
        assert!(world.gate().permit(&first.permit).is_err());
    });
}

#[test]
fn a_renewal_that_went_out_without_the_ledger_has_its_permit_all_the_same() {
    let mut limits = letsencrypt();
    limits.policy.set_limit(LimitName::CertificatesPerDomain, limit(1, 1_000));
    over_every_store(&limits, |world| {
        let first = world.allowed(&a());
        let window = Some((after(-7_200), after(-3_600)));
        let replaces = Some(Replaces { certificate: "c".to_owned(), window });
        let renewal = Request { replaces, ..of(&["b.example.com"]) };
        let second = permit_of(world.gate().replay(&renewal).unwrap());
        assert_eq!(permit_of(world.gate().replay(&renewal).unwrap()), second, "told again");
        let cell = world.cell("CertificatesPerDomain example.com");
        assert_eq!((cell.tally.held, cell.asked), (2, 1));
        world.gate().commit(&first).unwrap();
        world.gate().commit(&second.permit).unwrap();
        assert_eq!(world.later(&of(&["c.example.com"])).0, after(1_000), "the CA has dropped what did not fit");
    });
}

#[test]
fn what_is_not_known_any_more_is_unknown() {
    over_every_store(&letsencrypt(), |world| {
        let open = world.allowed(&a());
        assert_eq!(world.gates[0].lose_since(after(-100), "ops").unwrap(), 1);
        assert_eq!(world.gate().permit(&open).unwrap().life.state, State::Unknown);
        assert_eq!(world.gate().board().unwrap().unknown_since, Some(after(-100)));
        world.later(&of(&["b.example.com"]));
    });
}

//! What becomes of a permit: sent, committed, failed, cancelled, refused, lost; and leases that run out.

use certpace::clock::Timescale;
use certpace::gate::{Dispatch, GateError, Refusal, Request};
use certpace::ledger::{LedgerError, Step, Write};
use certpace::limits::LimitName;
use certpace::permits::{Sending, State};
use certpace::rules;
use certpace::time::{Span, Timestamp};

use super::world::{World, after, letsencrypt, limits_of, of, over_every_store, permit_of, realm};

fn a() -> Request {
    of(&["a.example.com"])
}

fn sent(world: &mut World) -> String {
    let permit = world.allowed(&a());
    assert!(matches!(world.gate().sent(&permit), Ok(Dispatch::Go(_))));
    permit
}

#[track_caller]
fn is_nonsense<T: std::fmt::Debug>(result: Result<T, GateError>) {
    assert!(matches!(result, Err(GateError::Permit { .. })), "{result:?}");
}

#[test]
fn tokens_are_held_and_then_spent_as_the_ca_does() {
    over_every_store(&letsencrypt(), |world| {
        let permit = world.allowed(&a());
        assert_eq!(world.all_left(), [299, 4, 49, 4]);
        // What is held does not come back by waiting.
        world.at(1_000);
        assert_eq!(world.all_left(), [299, 4, 49, 4]);
        let _go = world.gate().sent(&permit).unwrap();
        world.gate().accepted(&permit).unwrap();
        world.at(1_036);
        assert_eq!(world.all_left(), [300, 4, 49, 4]);
        // At issue, by the ledger's clock: it may be long after the order.
        assert_eq!(world.at(1_100).gate().commit(&permit).unwrap().at, after(1_100));
        world.at(1_100 + 12_095);
        assert_eq!(world.all_left(), [300, 5, 49, 4]);
        world.at(1_100 + 12_096);
        assert_eq!(world.all_left(), [300, 5, 50, 4]);
        is_nonsense(world.gate().cancel(&permit));
    });
}

#[test]
fn told_twice_is_told_once() {
    over_every_store(&letsencrypt(), |world| {
        let permit = sent(world);
        let lines = world.records().len();
        let _go = world.at(1).gate().sent(&permit).unwrap();
        world.gate().accepted(&permit).unwrap();
        world.at(2).gate().accepted(&permit).unwrap();
        world.gate().commit(&permit).unwrap();
        let cells = world.cells();
        assert_eq!(world.at(500).gate().commit(&permit).unwrap().state(), State::Issued);
        assert_eq!(world.cells(), cells);
        assert_eq!(world.records().len(), lines + 2, "{:?}", world.records());
        let permit = world.allowed(&of(&["b.example.com"]));
        world.gate().cancel(&permit).unwrap();
        assert_eq!(world.at(600).gate().cancel(&permit).unwrap().state(), State::Cancelled);
        is_nonsense(world.gate().commit(&permit));
        assert_eq!(world.records().len(), lines + 4);
    });
}

#[test]
fn a_permit_that_was_never_sent_gives_everything_back() {
    over_every_store(&letsencrypt(), |world| {
        let permit = world.allowed(&a());
        world.gate().cancel(&permit).unwrap();
        assert_eq!(world.all_left(), [300, 5, 50, 5]);
        let permit = sent(world);
        is_nonsense(world.gate().cancel(&permit));
        assert!(matches!(world.gate().cancel("0123456789abcdef"), Err(GateError::NoPermit(_))));
    });
}

#[test]
fn a_failure_costs_the_order_and_the_names_that_failed() {
    over_every_store(&letsencrypt(), |world| {
        let permit = world.allowed(&of(&["a.example.com", "b.example.com"]));
        let _go = world.gate().sent(&permit).unwrap();
        let stranger = world.gate().fail(&permit, &["c.example.com".to_owned()]).unwrap_err();
        assert!(stranger.to_string().contains("has no name `c.example.com`"), "{stranger}");
        let told = world.gate().fail(&permit, &["a.example.com".to_owned()]).unwrap();
        assert_eq!((told.state(), told.permit.failed), (State::Failed, vec!["a.example.com".to_owned()]));
        assert_eq!(world.all_left(), [299, 4, 50, 5]);
        assert_eq!(world.left("FailedAuthorizationsPerDomainPerAccount 1 b.example.com"), 5);
    });
}

/// What the CA says of a domain that is full until then.
fn full(domain: &str, retry_at: Timestamp) -> Refusal {
    let limit = LimitName::CertificatesPerDomain;
    let of = Some(domain.into());
    let sentence = rules::Refusal { limit, of, burst: 50, period: Span::from_days(7), retry_at };
    Refusal { retry_after: None, detail: Some(sentence.to_string()) }
}

#[test]
fn a_refusal_raises_the_bucket_that_it_names() {
    over_every_store(&letsencrypt(), |world| {
        let second = world.allowed(&of(&["b.example.com"]));
        let permit = sent(world);
        let refusal = full("example.com", after(5_001));
        let told = world.at(1).gate().refused(&permit, &refusal).unwrap();
        assert_eq!((told.state(), told.permit.refusal), (State::Failed, refusal.detail.clone()));
        assert_eq!(world.all_left(), [299, 5, 0, 5], "the other order holds its tokens still");
        // What was reserved before the refusal does not go out before the time that was told, nor does anything new.
        let dispatch = world.at(2).gate().sent(&second).unwrap();
        let Dispatch::Later { at, blocking } = dispatch else { panic!("{dispatch:?}") };
        assert_eq!((at, limits_of(&blocking)), (after(5_002), vec![Some(LimitName::CertificatesPerDomain)]));
        world.gate().cancel(&second).unwrap();
        assert_eq!(world.at(5_001).later(&a()).0, after(5_002));
        world.at(5_002).allowed(&a());
    });
}

#[test]
fn a_refusal_that_names_no_bucket_raises_all_that_were_asked() {
    for detail in [None, Some("too many new moons".to_owned()), full("example.net", after(99)).detail] {
        over_every_store(&letsencrypt(), |world| {
            let permit = sent(world);
            let refusal = Refusal { retry_after: Some(Span::from_seconds(99)), detail: detail.clone() };
            world.gate().refused(&permit, &refusal).unwrap();
            assert_eq!(world.later(&a()).1.len(), 4);
            world.at(100).allowed(&a());
        });
    }
}

#[test]
fn a_domain_is_not_taken_for_one_that_ends_alike() {
    over_every_store(&letsencrypt(), |world| {
        let permit = world.allowed(&of(&["an-example.com", "example.com"]));
        let _go = world.gate().sent(&permit).unwrap();
        world.gate().refused(&permit, &full("example.com", after(99))).unwrap();
        world.allowed(&of(&["an-example.com"]));
        assert_eq!(world.later(&a()).0, after(100));
    });
}

#[test]
fn a_lease_that_ran_out_counts_as_issued_and_exempts_from_nothing() {
    over_every_store(&letsencrypt(), |world| {
        let permit = sent(world);
        world.at(1_799).gate().extend(&permit, Span::from_seconds(1_801)).unwrap();
        world.gate().extend(&permit, Span::from_seconds(1)).unwrap();
        let yours = Request { holder: "you".to_owned(), ..a() };
        assert_eq!(world.at(3_599).ask(&yours).verdict.word(), "in-hand");
        // It ends exactly now.
        let next = permit_of(world.at(3_600).ask(&yours));
        assert_eq!(next.claim, certpace::permits::Claim::None);
        assert_eq!(world.gate().permit(&permit).unwrap().life.state, State::Unknown);
        assert_eq!(world.all_left(), [298, 3, 48, 3]);
        is_nonsense(world.gate().extend(&permit, Span::from_hours(9)));
        is_nonsense(world.gate().sent(&permit));
        world.gate().cancel(&next.permit).unwrap();
        // The certificate came after all: it is spent again, now.
        world.at(4_000).gate().commit(&permit).unwrap();
        assert_eq!(world.all_left(), [299, 4, 48, 3], "the first order token is back by now");
        assert_eq!(permit_of(world.ask(&a())).claim.exemption(), rules::Exemption::SameSet);
    });
}

#[test]
fn what_is_unknown_is_found_or_not() {
    over_every_store(&letsencrypt(), |world| {
        let permit = sent(world);
        world.at(10).gate().lost(&permit).unwrap();
        world.at(2_000).gate().found(&permit, after(9)).unwrap();
        // It was issued before it counted as such: nothing more is spent.
        assert_eq!(world.all_left(), [300, 5, 49, 4]);
        let renewal = permit_of(world.ask(&a()));
        assert_eq!(renewal.claim.exemption(), rules::Exemption::SameSet);
        let until = after(9).plus(world.limits.policy.renewal.same_set_memory);
        assert_eq!(renewal.claim.until(), Some(until));
        let other = world.allowed(&of(&["c.example.com"]));
        world.gate().lost(&other).unwrap();
        assert_eq!(world.gate().not_found(&other).unwrap().state(), State::Failed);
        assert_eq!(world.left("CertificatesPerDomain example.com"), 48, "what was spent does not come back");
    });
}

#[test]
fn a_certificate_that_was_found_last_counts() {
    over_every_store(&letsencrypt(), |world| {
        let permit = sent(world);
        world.at(100).gate().commit(&permit).unwrap();
        // In the same instant.
        world.gate().found(&permit, after(100)).unwrap();
        let memory = world.limits.policy.renewal.same_set_memory;
        let renewal = permit_of(world.ask(&a()));
        assert_eq!(renewal.claim.until(), Some(after(100).plus(memory)));
        world.gate().cancel(&renewal.permit).unwrap();
        // None comes from the future: the CA would have forgotten it before we had.
        world.gate().found(&permit, after(1_000_000_000)).unwrap();
        assert_eq!(permit_of(world.ask(&a())).claim.until(), Some(after(100).plus(memory)));
    });
}

#[test]
fn a_reservation_that_was_never_sent_comes_back_unless_its_holder_is_silent() {
    over_every_store(&letsencrypt(), |world| {
        let announced = world.allowed(&a());
        let silent = world.allowed(&Request { sending: Sending::Silent, ..of(&["b.example.com"]) });
        world.at(1_800).later_or_allowed(&of(&["example.net"]));
        assert_eq!(world.gate().permit(&announced).unwrap().life.state, State::Expired);
        assert_eq!(world.gate().permit(&silent).unwrap().life.state, State::Unknown);
        assert_eq!(world.all_left(), [298, 5, 49, 5]);
        assert_eq!(world.left("FailedAuthorizationsPerDomainPerAccount 1 b.example.com"), 4);
        // It was sent all the same, and nobody said so.
        world.gate().commit(&announced).unwrap();
        assert_eq!(world.all_left(), [297, 5, 48, 4]);
    });
}

#[test]
fn hundreds_of_leases_end_at_once() {
    over_every_store(&letsencrypt(), |world| {
        for index in 0..150 {
            world.allowed(&of(&[&format!("h{index}.example{}.com", index % 5)]));
        }
        let cells = world.at(1_800).cells();
        assert_eq!(cells.iter().find(|(name, _)| name == "NewOrdersPerAccount 1").unwrap().1.tally.held, 150);
        world.allowed(&a());
        let held: u32 = world.cells().iter().map(|(_, cell)| cell.tally.held + cell.asked).sum();
        assert_eq!(held, 8);
        assert!(world.gates[0].permits().unwrap().iter().filter(|permit| permit.life.state.is_live()).count() == 1);
    });
}

#[test]
fn a_lease_of_no_whole_microseconds_ends() {
    over_every_store(&letsencrypt(), |world| {
        let permit = world.allowed(&Request { lease: Span::from_nanos(1_500), ..a() });
        world.set_now(after(0).plus(Span::from_nanos(1_000)));
        assert_eq!(world.allowed(&a()), permit);
        world.set_now(after(0).plus(Span::from_nanos(2_000)));
        assert!(world.allowed(&a()) != permit);
    });
}

#[test]
fn a_clock_that_goes_back_gives_nothing_early() {
    over_every_store(&letsencrypt(), |world| {
        let permit = world.at(1_000).allowed(&a());
        let _go = world.gate().sent(&permit).unwrap();
        let told = world.at(0).gate().commit(&permit).unwrap();
        assert_eq!(told.permit.life.last_at(), after(1_000));
        assert_eq!(world.all_left(), [299, 5, 49, 4]);
        let permit = permit_of(world.ask(&of(&["b.example.com"])));
        assert_eq!(permit.life.reserved_at, after(0));
        world.gate().extend(&permit.permit, Span::from_seconds(10)).unwrap();
        world.gate().cancel(&permit.permit).unwrap();
    });
}

impl World {
    /// Asks, whatever the answer.
    fn later_or_allowed(&mut self, request: &Request) {
        let _answer = self.ask(request);
    }
}

#[test]
fn a_permit_that_makes_no_sense_is_told() {
    over_every_store(&letsencrypt(), |world| {
        let permit = sent(world);
        let (mut store, code) = (world.place.open(), realm().code());
        let mut found = Vec::new();
        store.documents(&code, "", &mut |document| found.push(document)).unwrap();
        let document = found.into_iter().find(|document| document.name.ends_with(&permit)).unwrap();
        let mut step = Step::new(code, store.mark().unwrap());
        let body = document.body.replace("a.example.com", "a..example.com");
        assert_ne!(body, document.body);
        step.writes.push(Write { name: document.name, body: Some(body), lease: Some(world.now) });
        store.transact(&[step], Timescale::stopped(world.now)).unwrap();
        // Neither it is taken for one that is gone, nor is its lease passed over.
        for error in [world.gate().commit(&permit).unwrap_err(), world.gate().reserve(&a()).unwrap_err()] {
            let Some(LedgerError::Row { what, reason }) = error.ledger() else { panic!("{error}") };
            assert!(what.contains(&permit) && reason.contains("a..example.com"), "{error}");
        }
    });
}

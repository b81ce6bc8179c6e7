//! The life of permits in a book, step by step.

use certpace::limits::{LimitName, Limits, Overrides, Policy};
use certpace::name::{Identifier, NameSet};
use certpace::permits::{Answer, Book, Dispatch, Event, Holder, Never, PermitError, PermitId, Request, Sending, State};
use certpace::plan::Share;
use certpace::rules::{Model, OrderId, Part};
use certpace::time::{Span, Timestamp};

use super::SUFFIXES;

const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);
const ME: Holder = Holder::new(0);
const YOU: Holder = Holder::new(1);

fn after(seconds: i64) -> Timestamp {
    NOW.plus(Span::from_seconds(seconds))
}

fn book() -> Book {
    let limits = Limits { policy: Policy::built_in("letsencrypt").unwrap(), overrides: Overrides::none() };
    Book::new(Model::new(limits, SUFFIXES.clone()))
}

fn order(book: &mut Book, names: &[&str]) -> OrderId {
    book.order("1", &NameSet::parse(names.iter().copied()).unwrap())
}

fn allowed(answer: Answer) -> PermitId {
    let Answer::Allow(id) = answer else { panic!("{answer:?}") };
    id
}

/// Tokens left of the order's buckets: the account's, the first name's failures, the first domain's, the set's.
fn left(book: &Book, order: OrderId, now: Timestamp) -> [u32; 4] {
    [Part::Order, Part::Failures(0), Part::Domain, Part::Set].map(|part| {
        let exemption = certpace::rules::Exemption::None;
        let stake = book.model().stakes(order, exemption).find(|stake| stake.part == part).unwrap();
        book.tally(stake.bucket).left(book.model().buckets().quota(stake.bucket), now)
    })
}

#[test]
fn tokens_are_held_and_then_spent_as_the_ca_does() {
    let mut book = book();
    let of = order(&mut book, &["a.example.com"]);
    assert_eq!(left(&book, of, NOW), [300, 5, 50, 5]);
    let id = allowed(book.reserve(&Request::of(of, ME), NOW));
    assert_eq!(left(&book, of, NOW), [299, 4, 49, 4]);
    // What is held does not come back by waiting.
    assert_eq!(left(&book, of, after(1_000)), [299, 4, 49, 4]);
    assert_eq!(book.sent(id, after(1_000)), Ok(Dispatch::Go));
    // The CA takes the order: its token comes back 36 seconds later.
    book.apply(id, Event::Accepted, after(1_000)).unwrap();
    assert_eq!(left(&book, of, after(1_035)), [299, 4, 49, 4]);
    assert_eq!(left(&book, of, after(1_036)), [300, 4, 49, 4]);
    // The certificate comes: its domain's token is back 12,096 seconds later, its set's after 120,960.
    assert_eq!(book.apply(id, Event::Issued, after(1_100)), Ok(State::Issued));
    assert_eq!(left(&book, of, after(1_100 + 12_095)), [300, 5, 49, 4]);
    assert_eq!(left(&book, of, after(1_100 + 12_096)), [300, 5, 50, 4]);
    assert_eq!(left(&book, of, after(1_100 + 120_960)), [300, 5, 50, 5]);
    assert_eq!(
        book.apply(id, Event::Cancelled, after(1_101)).unwrap_err().to_string(),
        "a permit that is Issued can't be Cancelled"
    );
}

#[test]
fn a_cancelled_permit_gives_everything_back() {
    let mut book = book();
    let of = order(&mut book, &["a.example.com"]);
    let id = allowed(book.reserve(&Request::of(of, ME), NOW));
    book.apply(id, Event::Cancelled, NOW).unwrap();
    assert_eq!(left(&book, of, NOW), [300, 5, 50, 5]);
    let error = book.apply(id, Event::Issued, NOW).unwrap_err();
    assert_eq!(error, PermitError::Nonsense { state: State::Cancelled, event: Event::Issued });
    let again = allowed(book.reserve(&Request::of(of, ME), NOW));
    book.apply(again, Event::Sent, NOW).unwrap();
    assert!(book.apply(again, Event::Cancelled, NOW).is_err(), "what was sent can't be unsent");
}

#[test]
fn a_failure_spends_the_order_and_the_failed_name_alone() {
    let mut book = book();
    let of = order(&mut book, &["a.example.com", "b.example.com"]);
    let id = allowed(book.reserve(&Request::of(of, ME), NOW));
    book.apply(id, Event::Sent, NOW).unwrap();
    assert_eq!(book.failed(id, &[0], NOW), Ok(State::Failed));
    assert_eq!(left(&book, of, NOW), [299, 4, 50, 5]);
    let other = order(&mut book, &["b.example.com"]);
    assert_eq!(left(&book, other, NOW), [299, 5, 50, 5]);
    // Four more, and no order with that name goes out for 12 minutes.
    for _ in 0..4 {
        let id = allowed(book.reserve(&Request::of(of, ME), NOW));
        book.failed(id, &[0], NOW).unwrap();
    }
    let Answer::Later { at, blocking } = book.reserve(&Request::of(of, ME), NOW) else { panic!() };
    assert_eq!(at, after(720));
    let described = book.model().describe(blocking[0].bucket);
    assert_eq!(described, (LimitName::FailedAuthorizationsPerDomainPerAccount, "1 a.example.com".to_owned()));
    let _other = allowed(book.reserve(&Request::of(other, ME), NOW));
}

#[test]
fn no_name_is_ever_paused() {
    let mut book = book();
    let of = order(&mut book, &["dead.example.com"]);
    let (mut now, mut failures) = (NOW, 0);
    // As fast as the hourly budget allows, for a month.
    while now < NOW.plus(Span::from_days(30)) {
        match book.reserve(&Request::of(of, ME), now) {
            Answer::Allow(id) => {
                book.failed(id, &[0], now).unwrap();
                failures += 1;
            }
            Answer::Later { at, .. } => now = at,
            other => panic!("{other:?}"),
        }
        assert!(!book.model().is_paused(of));
    }
    // 1,152 and one a day.
    assert_eq!(failures, 1_152 + 29);
    // Where a name is paused all the same, it is refused until a person lifts it.
    let name = Identifier::parse("dead.example.com").unwrap();
    let (mut a, mut b) = Default::default();
    while !book.model_mut().validation_failed("1", &name, now, [&mut a, &mut b]) {}
    assert_eq!(book.reserve(&Request::of(of, ME), now), Answer::Never(Never::Paused));
}

#[test]
fn one_of_two_holders_gets_a_set() {
    let mut book = book();
    let of = order(&mut book, &["a.example.com"]);
    let id = allowed(book.reserve(&Request::of(of, ME), NOW));
    assert_eq!(book.reserve(&Request::of(of, ME), after(60)), Answer::Allow(id));
    assert_eq!(left(&book, of, NOW), [299, 4, 49, 4], "the same permit holds no more");
    assert_eq!(book.reserve(&Request::of(of, YOU), after(60)), Answer::InHand { holder: ME, until: after(1_800) });
    let elsewhere = book.order("2", &NameSet::parse(["a.example.com"]).unwrap());
    assert!(matches!(book.reserve(&Request::of(elsewhere, ME), after(60)), Answer::InHand { .. }), "sets are the CA's");
    book.apply(id, Event::Extended { lease_end: after(7_200) }, after(1_799)).unwrap();
    assert!(matches!(book.reserve(&Request::of(of, YOU), after(7_199)), Answer::InHand { .. }));
    // Never sent: when its lease is over all comes back, and the other one has it.
    let yours = allowed(book.reserve(&Request::of(of, YOU), after(7_200)));
    assert_eq!(book.permit(id).unwrap().state(), State::Expired);
    assert_eq!(left(&book, of, after(7_200)), [299, 4, 49, 4]);
    assert_eq!(book.sent(id, after(7_200)), Err(PermitError::Nonsense { state: State::Expired, event: Event::Sent }));
    assert_eq!(book.sent(yours, after(7_200)), Ok(Dispatch::Go));
    assert!(!book.forget(yours) && book.forget(id));
    assert_eq!(book.permits().map(|(id, _)| id).collect::<Vec<_>>(), [yours]);
}

#[test]
fn a_lease_that_ran_out_counts_as_issued_for_buckets_and_not_for_exemptions() {
    let mut book = book();
    let of = order(&mut book, &["a.example.com"]);
    let id = allowed(book.reserve(&Request::of(of, ME), NOW));
    book.apply(id, Event::Sent, NOW).unwrap();
    assert_eq!(book.next_lapse(), Some(after(1_800)));
    assert_eq!(book.lapse(after(1_799)), 0);
    assert_eq!(
        book.apply(id, Event::Extended { lease_end: after(9_000) }, after(1_800)),
        Err(PermitError::LeaseOver(after(1_800)))
    );
    assert_eq!((book.lapse(after(1_800)), book.next_lapse()), (1, None));
    assert_eq!(book.permit(id).unwrap().state(), State::Unknown);
    assert_eq!(left(&book, of, after(1_800)), [299, 4, 49, 4]);
    assert_eq!(book.model().seen(of), None);
    // It comes after all: spent again, and now it counts for exemptions, from its reservation on.
    book.apply(id, Event::Issued, after(1_900)).unwrap();
    assert_eq!(left(&book, of, after(1_900)), [298 + 1, 4, 48, 3], "the first order token is back by now");
    assert_eq!(book.model().seen(of), Some(NOW));
    // What a script that reports nothing has reserved may have been sent.
    let silent = Request { sending: Sending::Silent, ..Request::of(order(&mut book, &["b.example.com"]), ME) };
    let id = allowed(book.reserve(&silent, after(2_000)));
    book.lapse(after(4_000));
    assert_eq!(book.permit(id).unwrap().state(), State::Unknown);
    book.apply(id, Event::NotFound, after(4_000)).unwrap();
    assert_eq!(left(&book, of, after(4_000))[2], 47, "what was spent does not come back");
}

#[test]
fn a_renewal_of_the_same_set_takes_no_tokens_of_account_and_domain() {
    let mut book = book();
    let of = order(&mut book, &["a.example.com"]);
    let issued = NOW.minus(Span::from_days(60));
    book.model_mut().see(of, issued);
    let id = allowed(book.reserve(&Request::of(of, ME), NOW));
    assert_eq!(left(&book, of, NOW), [300, 4, 50, 4]);
    book.apply(id, Event::Issued, NOW).unwrap();
    assert_eq!(left(&book, of, NOW), [300, 5, 50, 4]);
    // The memory has to last as long as the lease.
    let other = order(&mut book, &["b.example.com"]);
    book.model_mut().see(other, after(1_800).minus(Span::from_days(120)));
    let id = allowed(book.reserve(&Request::of(other, ME), NOW));
    assert_eq!(left(&book, other, NOW), [299, 4, 49, 4]);
    book.apply(id, Event::Cancelled, NOW).unwrap();
    // One that was reserved in time and extended beyond takes its domain token at issue.
    let short = Request { lease: Span::from_seconds(60), ..Request::of(other, ME) };
    let id = allowed(book.reserve(&short, NOW));
    assert_eq!(left(&book, other, NOW), [300, 4, 50, 4]);
    assert_eq!(book.sent(id, NOW), Ok(Dispatch::Go));
    book.apply(id, Event::Extended { lease_end: after(4_000) }, NOW).unwrap();
    book.apply(id, Event::Issued, after(1_800)).unwrap();
    assert_eq!(left(&book, other, after(1_800)), [300, 5, 49, 4]);
}

#[test]
fn ari_exempts_inside_its_window_alone() {
    let mut book = book();
    let of = order(&mut book, &["a.example.com"]);
    let ask = |start, end| Request { replaces: Some((after(start), after(end))), ..Request::of(of, ME) };
    for (start, end, counts) in [(0, 301, false), (-9, 9_999, false), (1, 9_999, true), (-9, 300, true)] {
        let id = allowed(book.reserve(&ask(start, end), NOW));
        assert_eq!(left(&book, of, NOW)[0], if counts { 299 } else { 300 }, "{start} {end}");
        // Its certificate takes the set's token, and the domain's: no certificate of this set is known.
        assert_eq!(left(&book, of, NOW)[2..], [49, 4]);
        book.apply(id, Event::Cancelled, NOW).unwrap();
    }
    let id = allowed(book.reserve(&ask(-9, 400), NOW));
    assert_eq!(book.sent(id, after(400)), Err(PermitError::ClaimOver(after(400))));
}

#[test]
fn a_refusal_teaches() {
    let mut book = book();
    let of = order(&mut book, &["a.example.com"]);
    let other = order(&mut book, &["b.example.com"]);
    let (first, second) =
        (allowed(book.reserve(&Request::of(of, ME), NOW)), allowed(book.reserve(&Request::of(other, ME), NOW)));
    book.apply(first, Event::Sent, NOW).unwrap();
    // Somebody else has emptied the domain's bucket: the CA says so.
    let stakes = book.model().stakes(of, certpace::rules::Exemption::None);
    let domain = stakes.filter(|stake| stake.part == Part::Domain).map(|stake| stake.bucket).next();
    assert_eq!(book.refused(first, domain, Some(after(5_000)), after(1)), Ok(State::Failed));
    assert_eq!(left(&book, of, after(1)), [299, 5, 0, 5], "the second one's order is held still");
    // What was reserved before the refusal does not go out, nor does anything new, before the time that was told.
    let Ok(Dispatch::Later(blocked)) = book.sent(second, after(2)) else { panic!() };
    assert_eq!((Some(blocked.bucket), blocked.at), (domain, after(5_000)));
    book.apply(second, Event::Cancelled, after(2)).unwrap();
    assert!(matches!(book.reserve(&Request::of(of, ME), after(4_999)), Answer::Later { at, .. } if at == after(5_000)));
    let _id = allowed(book.reserve(&Request::of(of, ME), after(5_000)));
}

#[test]
fn headroom_is_left_for_the_urgent() {
    let mut book = book();
    let careful = |of| Request { headroom: Share::parse("10%").unwrap(), ..Request::of(of, ME) };
    for index in 0..45 {
        let of = order(&mut book, &[&format!("h{index}.example.com")]);
        let _id = allowed(book.reserve(&careful(of), NOW));
    }
    let next = order(&mut book, &["next.example.com"]);
    let Answer::Later { blocking, .. } = book.reserve(&careful(next), NOW) else { panic!() };
    assert_eq!(book.model().describe(blocking[0].bucket).0, LimitName::CertificatesPerDomain);
    let _id = allowed(book.reserve(&Request::of(next, ME), NOW));
}

#[test]
fn what_is_held_is_held_under_other_limits_too() {
    let mut book = book();
    let of = order(&mut book, &["a.example.com"]);
    let id = allowed(book.reserve(&Request::of(of, ME), NOW));
    let mut limits = book.model().limits().clone();
    let wide = certpace::limits::Limit::new(1_000, 1_000, Span::from_days(7)).unwrap();
    limits.overrides.set(LimitName::CertificatesPerDomainPerAccount, "1", wide);
    let of = book.change_limits(limits)[of.index()];
    // The account has domain buckets of its own now; its certificate takes from the common one as well.
    let domains: Vec<_> = book.model().stakes(of, certpace::rules::Exemption::None).collect();
    let domains = domains.iter().filter(|stake| stake.part == Part::Domain).map(|stake| book.tally(stake.bucket).held);
    assert_eq!(domains.collect::<Vec<_>>(), [1, 1]);
    book.apply(id, Event::Issued, NOW).unwrap();
    assert_eq!(left(&book, of, NOW), [299, 5, 999, 4]);
}

//! What is asked before an order goes out: all that it needs in one step, and once for each set.

use certpace::gate::{Never, Replaces, Request, Verdict};
use certpace::limits::{LimitName, Overrides};
use certpace::permits::State;
use certpace::plan::Share;
use certpace::rules::Exemption;
use certpace::time::Span;

use super::world::{after, letsencrypt, limit, limits_of, names, of, over_every_store, permit_of};

#[test]
fn all_that_an_order_needs_is_held_or_nothing() {
    let mut limits = letsencrypt();
    limits.policy.set_limit(LimitName::CertificatesPerDomain, limit(1, 100));
    limits.policy.set_limit(LimitName::NewOrdersPerAccount, limit(2, 10));
    over_every_store(&limits, |world| {
        world.allowed(&of(&["a.example.com"]));
        assert_eq!(world.all_left(), [1, 4, 0, 4]);
        world.allowed(&of(&["example.net"]));
        let before = world.cells();
        // Both in the way are told, each with its time, and nothing is taken of what there is.
        let both = of(&["b.example.com", "example.org"]);
        let (at, blocking) = world.later(&both);
        let expected = [Some(LimitName::NewOrdersPerAccount), Some(LimitName::CertificatesPerDomain)];
        assert_eq!((limits_of(&blocking), at), (expected.to_vec(), after(100)));
        assert_eq!(blocking.iter().map(|blocking| blocking.at).collect::<Vec<_>>(), [after(10), after(100)]);
        assert_eq!(world.cells(), before);
        // A question changes nothing either.
        let checked = world.gate().check(&of(&["example.org"])).unwrap().verdict;
        assert!(matches!(checked, Verdict::Later { .. }));
        assert_eq!(world.cells(), before);
    });
}

#[test]
fn one_of_many_holders_has_a_set() {
    over_every_store(&letsencrypt(), |world| {
        let mine = of(&["a.example.com"]);
        let yours = Request { holder: "you".to_owned(), ..mine.clone() };
        let other_account = Request { account: "2".to_owned(), ..mine.clone() };
        let permit = world.allowed(&mine);
        for _ in 0..3 {
            assert_eq!(world.allowed(&mine), permit, "the same again, whichever process asks");
            let in_hand = |holder: &str| Verdict::InHand {
                holder: holder.to_owned(),
                permit: permit.clone(),
                until: after(1_800),
            };
            assert_eq!(world.ask(&yours).verdict, in_hand("me"));
            assert_eq!(world.ask(&other_account).verdict, in_hand("me"));
        }
        assert_eq!(world.all_left(), [299, 4, 49, 4]);
        let _go = world.gate().sent(&permit).unwrap();
        assert_eq!(permit_of(world.ask(&mine)).life.state, State::Sent);
        world.gate().commit(&permit).unwrap();
        // Another one, for a renewal of the same names, which is exempt.
        let yours = permit_of(world.ask(&yours));
        assert!(yours.permit != permit && yours.claim.exemption() == Exemption::SameSet);
        assert_eq!(world.all_left(), [299, 4, 49, 3]);
        // What is told of the first one now has no say in who has the set.
        world.gate().found(&permit, after(0)).unwrap();
        assert!(matches!(world.at(10).ask(&mine).verdict, Verdict::InHand { holder, .. } if holder == "you"));
    });
}

#[test]
fn who_comes_late_does_not_move_anothers_lease() {
    over_every_store(&letsencrypt(), |world| {
        let long = Request { lease: Span::from_hours(10), ..of(&["a.example.com"]) };
        let first = world.allowed(&long);
        world.gate().lost(&first).unwrap();
        let yours = Request { holder: "you".to_owned(), ..of(&["a.example.com"]) };
        world.allowed(&yours);
        world.gate().commit(&first).unwrap();
        let Verdict::InHand { until, .. } = world.ask(&long).verdict else { panic!() };
        assert_eq!(until, after(1_800));
    });
}

#[test]
fn a_permit_comes_again_even_if_nothing_new_would_be_let_go() {
    over_every_store(&letsencrypt(), |world| {
        let mine = of(&["a.example.com"]);
        let permit = world.allowed(&mine);
        let _go = world.gate().sent(&permit).unwrap();
        world.gate().freeze(&certpace::gate::Scope::Everything, "rollback", "ops").unwrap();
        // It crashed, and has to learn what it was doing.
        assert_eq!(world.allowed(&mine), permit);
        world.gate().commit(&permit).unwrap();
        assert!(matches!(world.ask(&mine).verdict, Verdict::Never(Never::Frozen(_))));
    });
}

#[test]
fn ari_exempts_where_now_and_five_minutes_from_now_lie_in_the_window() {
    over_every_store(&letsencrypt(), |world| {
        let ask = |start, end| Request {
            replaces: Some(Replaces { certificate: "c".to_owned(), window: Some((after(start), after(end))) }),
            ..of(&["a.example.com"])
        };
        for (start, end, exempt) in [(0, 301, true), (-9, 9_999, true), (1, 9_999, false), (-9, 300, false)] {
            let permit = permit_of(world.at(0).ask(&ask(start, end)));
            assert_eq!(permit.claim.exemption() == Exemption::Ari, exempt, "{start} {end}");
            assert_eq!(permit.replaces.as_deref(), Some("c"));
            // Its certificate takes tokens of set and domain all the same.
            assert_eq!(world.all_left(), [if exempt { 300 } else { 299 }, 4, 49, 4]);
            world.gate().cancel(&permit.permit).unwrap();
            assert_eq!(world.all_left(), [300, 5, 50, 5]);
        }
        let permit = world.allowed(&ask(-9, 400));
        let error = world.at(400).gate().sent(&permit).unwrap_err();
        assert!(error.to_string().contains("the exemption ended"), "{error}");
        world.gate().cancel(&permit).unwrap();
        // A window that is not known exempts from nothing.
        let unknown = Replaces { certificate: "c".to_owned(), window: None };
        let permit = permit_of(world.ask(&Request { replaces: Some(unknown), ..of(&["a.example.com"]) }));
        assert_eq!(permit.claim.exemption(), Exemption::None);
    });
}

#[test]
fn headroom_is_left_for_the_urgent() {
    let mut limits = letsencrypt();
    limits.policy.set_limit(LimitName::CertificatesPerDomain, limit(4, 1_000));
    over_every_store(&limits, |world| {
        let ask = |name: &str| Request { headroom: Share::parse("50%").unwrap(), ..of(&[name]) };
        for name in ["a.example.com", "b.example.com"] {
            world.allowed(&ask(name));
        }
        let (_, blocking) = world.later(&ask("c.example.com"));
        assert_eq!(limits_of(&blocking), [Some(LimitName::CertificatesPerDomain)]);
        for name in ["c.example.com", "d.example.com"] {
            world.allowed(&Request { urgent: true, ..ask(name) });
        }
        world.later(&Request { urgent: true, ..ask("e.example.com") });
    });
}

#[test]
fn what_the_ca_never_takes_is_refused_for_good() {
    over_every_store(&letsencrypt(), |world| {
        let of_many = |count: usize| {
            let all: Vec<_> = (0..count).map(|index| format!("h{index}.example.com")).collect();
            of(&all.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let never = |world: &mut super::world::World, request: &Request| match world.ask(request).verdict {
            Verdict::Never(never) => never,
            other => panic!("{other:?}"),
        };
        assert!(matches!(never(world, &of_many(101)), Never::TooManyNames { count: 101, most: 100, .. }));
        assert!(matches!(never(world, &of(&["*.example.com", "a.example.com"])), Never::Redundant { .. }));
        assert!(matches!(never(world, &of(&["co.uk"])), Never::Name { .. }));
        let address = of(&["2001:db8::1"]);
        assert!(matches!(never(world, &address), Never::WrongKind { .. } | Never::Name { .. }));
        let nowhere = Request { profile: Some("nowhere".to_owned()), ..of(&["a.example.com"]) };
        assert!(matches!(never(world, &nowhere), Never::NoProfile { .. }));
        assert!(world.cells().is_empty() && world.records().is_empty());
        // A hundred are taken, each with a failure at stake.
        let permit = permit_of(world.ask(&of_many(100)));
        assert_eq!(permit.stakes.len(), 1 + 100 + 1 + 1);
        world.gate().fail(&permit.permit, &permit.names[..50]).unwrap();
        let left =
            permit.names.iter().map(|name| world.left(&format!("FailedAuthorizationsPerDomainPerAccount 1 {name}")));
        assert_eq!(left.sum::<u32>(), 50 * 4 + 50 * 5);
    });
}

#[test]
fn names_of_all_kinds_come_through_a_whole_life() {
    over_every_store(&letsencrypt(), |world| {
        let short = |set: &[&str]| Request { profile: Some("shortlived".to_owned()), ..of(set) };
        for request in
            [short(&["8.8.4.4", "2606:4700::1111"]), of(&["bücher.example.com"]), of(&["*.straße.example.com"])]
        {
            let permit = permit_of(world.ask(&request));
            let _go = world.gate().sent(&permit.permit).unwrap();
            world.gate().fail(&permit.permit, &permit.names).unwrap();
            let again = Request { retry_now: true, ..request };
            let permit = permit_of(world.ask(&again));
            assert_eq!(world.gate().commit(&permit.permit).unwrap().state(), State::Issued);
            assert_eq!(permit_of(world.ask(&again)).claim.exemption(), Exemption::SameSet);
        }
    });
}

#[test]
fn an_account_may_have_any_text_and_its_own_limits() {
    let mut limits = letsencrypt();
    let account = "acct of  Köln 7";
    limits.overrides = Overrides::none();
    limits.overrides.set(LimitName::FailedAuthorizationsPerDomainPerAccount, account, limit(1, 100).unwrap());
    limits.overrides.set(LimitName::CertificatesPerDomainPerAccount, account, limit(2, 100).unwrap());
    over_every_store(&limits, |world| {
        let ask = |set: &[&str]| Request { account: account.to_owned(), retry_now: true, ..of(set) };
        let permit = world.allowed(&ask(&["a.example.com"]));
        assert_eq!(world.left(&format!("FailedAuthorizationsPerDomainPerAccount {account} a.example.com")), 0);
        assert_eq!(world.left(&format!("CertificatesPerDomainPerAccount {account} example.com")), 1);
        world.gate().fail(&permit, &["a.example.com".to_owned()]).unwrap();
        assert_eq!(world.later(&ask(&["a.example.com"])).0, after(100));
        world.allowed(&ask(&["b.example.com"]));
        assert_eq!(world.gate().permit(&permit).unwrap().account, account);
    });
}

#[test]
fn the_order_of_names_and_their_spelling_makes_no_other_set() {
    over_every_store(&letsencrypt(), |world| {
        let permit = world.allowed(&of(&["b.example.com", "a.example.com"]));
        assert_eq!(world.allowed(&of(&["A.example.com.", "b.example.com", "a.example.com"])), permit);
        assert_eq!(
            names(&["a.example.com", "b.example.com"]).key().to_string(),
            world.gate().permit(&permit).unwrap().set()
        );
    });
}

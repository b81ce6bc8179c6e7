//! Whatever happens to a permit, in whatever order: what is held is spent or released, once.

use certpace::limits::{Limits, Overrides, Policy};
use certpace::name::NameSet;
use certpace::permits::{Act, Claim, Event, Holder, Moves, Permit, PermitError, Sending, State, Terms};
use certpace::rules::{Model, OrderId};
use certpace::time::{Span, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;

use super::SUFFIXES;

const START: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);
const LEASE: Span = Span::from_seconds(1_800);

fn at(seconds: i64) -> Timestamp {
    START.plus(Span::from_seconds(seconds))
}

fn order() -> OrderId {
    let limits = Limits { policy: Policy::built_in("letsencrypt").unwrap(), overrides: Overrides::none() };
    Model::new(limits, SUFFIXES.clone()).order("1", &NameSet::parse(["example.com"]).unwrap())
}

fn claim() -> impl Strategy<Value = Claim> {
    // What is claimed may end before the lease does.
    let until = || (600..4_000_i64).prop_map(at);
    prop_oneof![
        Just(Claim::None),
        until().prop_map(|until| Claim::SameSet { until }),
        (until(), proptest::option::of(until()))
            .prop_map(|(until, same_set_until)| Claim::Ari { until, same_set_until }),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => Just(Event::Sent),
        1 => Just(Event::Accepted),
        1 => Just(Event::Issued),
        1 => Just(Event::Failed),
        1 => proptest::option::of((0..9_000_i64).prop_map(at)).prop_map(|retry_at| Event::Refused { retry_at }),
        1 => Just(Event::Cancelled),
        1 => (0..9_000_i64).prop_map(|end| Event::Extended { lease_end: at(end) }),
        2 => Just(Event::Lapsed),
        1 => Just(Event::Lost),
        1 => (0..9_000_i64).prop_map(|issued| Event::Found { issued_at: at(issued) }),
        1 => Just(Event::NotFound),
    ]
}

fn acts(moves: &Moves) -> [Act; 5] {
    [moves.order, moves.domains, moves.set, moves.failed, moves.unfailed]
}

/// What a token goes through: held at most once, then spent or released once, and nothing but charged afterwards.
fn check_token(acts: &[Act], live: bool) -> Result<(), TestCaseError> {
    let count = |act| acts.iter().filter(|of| **of == act).count();
    prop_assert!(count(Act::Hold) <= 1);
    let ended = count(Act::Spend) + count(Act::Release);
    prop_assert!(ended <= count(Act::Hold), "{acts:?}");
    if !live {
        prop_assert_eq!(ended, count(Act::Hold), "{:?}", acts);
    }
    if let Some(charge) = acts.iter().position(|act| *act == Act::Charge) {
        prop_assert!(!acts[charge..].iter().any(|act| matches!(act, Act::Spend | Act::Release)), "{acts:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn tokens_held_are_spent_or_released(
        claim in claim(),
        silent in any::<bool>(),
        events in vec((0..1_500_i64, event()), 0..12),
    ) {
        let sending = if silent { Sending::Silent } else { Sending::Announced };
        let terms = Terms { order: order(), holder: Holder::new(0), claim, sending };
        let (mut permit, moves) = Permit::reserve(terms, START.plus(LEASE), START);
        let mut tokens: [Vec<Act>; 5] = acts(&moves).map(|act| vec![act]);
        let (mut now, mut last) = (START, START);
        let mut ended = None;
        let mut certificate = false;
        // Time may stand still or be told wrong: the machine's never goes back.
        for (seconds, event) in events.into_iter().chain([(10_000, Event::Lapsed)]) {
            now = now.plus(Span::from_seconds(seconds - 200));
            let before = permit;
            let moves = match permit.apply(event, now) {
                Ok(moves) => moves,
                Err(error) => {
                    prop_assert_eq!(permit, before, "an error changes nothing");
                    let known = matches!(error, PermitError::Nonsense { .. } | PermitError::LeaseOver(_) | PermitError::ClaimOver(_));
                    prop_assert!(known);
                    continue;
                }
            };
            prop_assert!(moves.at >= last && moves.at >= now && permit.life().last_at() == moves.at);
            last = moves.at;
            tokens.iter_mut().zip(acts(&moves)).for_each(|(token, act)| token.push(act));
            // An exemption is earned by a certificate, and by nothing else.
            let tells_of_one = matches!(event, Event::Issued | Event::Found { .. });
            certificate |= tells_of_one;
            prop_assert!(moves.seen.is_none() || tells_of_one);
            prop_assert!(certificate || permit.state() != State::Issued);
            for token in &tokens {
                check_token(token, permit.state().is_live())?;
            }
            // What has ended stays as it is, unless a certificate is found.
            if let Some(ended) = ended {
                let found = matches!(event, Event::Found { .. });
                prop_assert!(found || permit.state() == ended);
            }
            if matches!(permit.state(), State::Issued | State::Failed | State::Cancelled) {
                ended = Some(permit.state());
            }
            // Told again at once, it changes nothing more: a lost reply costs nothing.
            let mut again = permit;
            if let Ok(repeated) = again.apply(event, now) {
                prop_assert_eq!(again, permit);
                prop_assert_eq!(acts(&repeated), [Act::Nothing; 5]);
            } else {
                // Nothing that was taken is refused when it comes again.
                let lease_over = matches!(event, Event::Extended { .. });
                prop_assert!(lease_over || event == Event::Accepted, "{event:?}");
            }
        }
        prop_assert!(!permit.state().is_live(), "every permit ends");
        // What is exempt holds no token.
        prop_assert_eq!(tokens[0].contains(&Act::Hold), claim == Claim::None);
        prop_assert_eq!(tokens[1].contains(&Act::Hold), claim.domains_free_until().is_none());
        let stored = Permit::restore(permit.terms(), permit.life());
        prop_assert_eq!(stored, permit);
    }

    /// What nobody knows counts as all that it may have cost.
    #[test]
    fn the_unknown_is_spent(claim in claim(), lost in any::<bool>(), accepted in any::<bool>()) {
        let terms = Terms { order: order(), holder: Holder::new(0), claim, sending: Sending::Announced };
        let (mut permit, held) = Permit::reserve(terms, START.plus(LEASE), START);
        permit.apply(Event::Sent, START).unwrap();
        let mut order_spent = Act::Nothing;
        if accepted {
            order_spent = permit.apply(Event::Accepted, at(1)).unwrap().order;
        }
        let (event, when) = if lost { (Event::Lost, at(2)) } else { (Event::Lapsed, START.plus(LEASE)) };
        let mut moves = permit.apply(event, when).unwrap();
        prop_assert_eq!(permit.state(), State::Unknown);
        prop_assert_eq!(moves.seen, None);
        if accepted {
            prop_assert_eq!(moves.order, Act::Nothing);
            moves.order = order_spent;
        }
        let spent = acts(&held).map(|act| if act == Act::Hold { Act::Spend } else { Act::Nothing });
        prop_assert_eq!(acts(&moves), spent);
    }
}

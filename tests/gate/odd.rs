//! Limits whose tokens come back in no whole microseconds: the gate may be later by what it rounds, and is never early.

use certpace::gate::{Replaces, Request};
use certpace::limits::{Limit, LimitName, Limits};
use certpace::time::Span;
use proptest::collection::vec;
use proptest::prelude::*;

use super::model::{Both, op, tight};
use super::world::{Place, World, after, over_every_store};

/// The limits of the other suite with emission intervals in odd nanoseconds.
fn odd() -> Limits {
    let mut limits = tight();
    let limit = |burst, count, seconds| Some(Limit::new(burst, count, Span::from_seconds(seconds)).unwrap());
    limits.policy.set_limit(LimitName::NewOrdersPerAccount, limit(5, 7, 311));
    limits.policy.set_limit(LimitName::CertificatesPerDomain, limit(3, 11, 1_009));
    limits.policy.set_limit(LimitName::CertificatesPerFqdnSet, limit(2, 3, 1_201));
    limits.policy.set_limit(LimitName::FailedAuthorizationsPerDomainPerAccount, limit(2, 7, 901));
    limits
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn the_gate_is_never_early(ops in vec(op(), 1..120)) {
        // Each token is rounded by less than a microsecond; no history here spends a thousand.
        let mut both = Both::new(Place::memory(), odd(), Span::from_nanos(1_000_000));
        for op in &ops {
            both.run(op)?;
        }
        both.compare()?;
    }
}

/// The instants at which an answer changes are met to the microsecond.
#[test]
fn a_window_and_a_retry_time_are_exact() {
    over_every_store(&odd(), |world: &mut World| {
        let ask = |name: &str| Request { retry_now: true, ..super::world::of(&[name]) };
        for index in 0..3 {
            let permit = world.allowed(&ask(&format!("h{index}.example.com")));
            world.gate().commit(&permit).unwrap();
        }
        let (at, _) = world.later(&ask("next.example.com"));
        // 1,009 s / 11 in whole microseconds, rounded up.
        assert_eq!(at, after(0).plus(Span::from_nanos(91_727_273_000)));
        world.set_now(at.minus(Span::from_nanos(1)));
        assert_eq!(world.later(&ask("next.example.com")).0, at);
        world.set_now(at);
        world.allowed(&ask("next.example.com"));
        let micro = Span::from_nanos(1_000);
        let ari = |end| Request {
            replaces: Some(Replaces { certificate: "c".to_owned(), window: Some((at, end)) }),
            ..ask("other.example.net")
        };
        for (end, word) in
            [(at.plus(Span::from_seconds(300)), "none"), (at.plus(Span::from_seconds(300)).plus(micro), "ari")]
        {
            let permit = super::world::permit_of(world.ask(&ari(end)));
            assert_eq!(serde_json::to_value(permit.claim.exemption()).unwrap(), word);
            world.gate().cancel(&permit.permit).unwrap();
        }
    });
}

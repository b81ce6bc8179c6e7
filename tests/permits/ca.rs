//! A book in front of a CA that counts by itself and hears of everything at another time: what the book lets go is never refused.

use std::collections::BTreeMap;

use certpace::buckets::Batch;
use certpace::limits::{Limit, LimitName, Limits, Overrides, Policy};
use certpace::name::{Identifier, NameSet};
use certpace::permits::{Answer, Book, Dispatch, Event, Holder, PermitId, Request};
use certpace::rules::{Decision, Exemption, Model, OrderId};
use certpace::time::{Span, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;

use super::SUFFIXES;

const START: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

/// Small bursts, so that every one of them is run into.
fn limits(own_domain_buckets: bool) -> Limits {
    let mut policy = Policy::built_in("letsencrypt").unwrap();
    let limit = |burst, seconds| Some(Limit::new(burst, 1, Span::from_seconds(seconds)).unwrap());
    policy.set_limit(LimitName::NewOrdersPerAccount, limit(4, 50));
    policy.set_limit(LimitName::CertificatesPerDomain, limit(3, 90));
    policy.set_limit(LimitName::CertificatesPerFqdnSet, limit(2, 400));
    policy.set_limit(LimitName::FailedAuthorizationsPerDomainPerAccount, limit(2, 120));
    policy.set_limit(LimitName::FailedAuthorizationsForPausingPerDomainPerAccount, limit(3, 900));
    policy.renewal.same_set_memory = Span::from_seconds(6_000);
    let mut overrides = Overrides::none();
    if own_domain_buckets {
        overrides.set(LimitName::CertificatesPerDomainPerAccount, "0", limit(2, 60).unwrap());
    }
    Limits { policy, overrides }
}

/// One order: when it is asked for, and how long each step then takes, in tenths of a second.
#[derive(Clone, Debug)]
struct Attempt {
    gap: i64,
    account: u8,
    names: u8,
    steps: [i64; 5],
    ends: Ends,
    tells_accepted: bool,
    ari: bool,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Ends {
    Issued,
    /// It is issued, and the holder never says so.
    IssuedUnheard,
    /// The same, and it is found after the lease.
    IssuedFound,
    Failed,
    FailedUnheard,
    NeverSent,
}

fn attempt() -> impl Strategy<Value = Attempt> {
    use Ends::{Failed, FailedUnheard, Issued, IssuedFound, IssuedUnheard, NeverSent};
    let ends = prop_oneof![
        5 => Just(Issued),
        1 => Just(IssuedUnheard),
        1 => Just(IssuedFound),
        2 => Just(Failed),
        1 => Just(FailedUnheard),
        1 => Just(NeverSent),
    ];
    let gap = prop_oneof![Just(0), 0..300_i64, 0..9_000_i64];
    let step = || prop_oneof![Just(0), 0..20_i64, 0..600_i64];
    let steps = [step(), step(), step(), step(), step()];
    (gap, 0..2_u8, 1..16_u8, steps, ends, any::<bool>(), proptest::bool::weighted(0.15)).prop_map(
        |(gap, account, names, steps, ends, tells_accepted, ari)| Attempt {
            gap,
            account,
            names,
            steps,
            ends,
            tells_accepted,
            ari,
        },
    )
}

/// What happens next to an attempt that has a permit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Step {
    Send,
    Arrive,
    Accepted,
    CaEnds,
    Told,
    Found,
}

struct World {
    ca: Model,
    book: Book,
    batches: [Batch; 2],
    allowed: usize,
    later: usize,
    /// When the CA issued for which permit.
    issued: BTreeMap<PermitId, Timestamp>,
}

impl World {
    fn names(bits: u8) -> NameSet {
        let names = ["a.example.com", "b.example.com", "a.example.net", "b.example.org"];
        NameSet::parse((0..4).filter(|bit| bits & 1 << bit != 0).map(|bit| names[bit])).unwrap()
    }

    fn order(&mut self, attempt: &Attempt) -> (OrderId, OrderId) {
        let (account, names) = (attempt.account.to_string(), Self::names(attempt.names));
        (self.book.order(&account, &names), self.ca.order(&account, &names))
    }

    /// Asks the book; a refusal for want of tokens is tight if nothing is held.
    fn reserve(&mut self, attempt: &Attempt, now: Timestamp) -> Result<Option<PermitId>, TestCaseError> {
        let (order, _) = self.order(attempt);
        let replaces = attempt.ari.then(|| (now, now.plus(Span::from_seconds(1_000))));
        let request = Request { replaces, ..Request::of(order, Holder::new(0)) };
        // Two attempts for one set are two holders'.
        let request = Request { holder: Holder::new(u32::try_from(self.allowed).unwrap()), ..request };
        match self.book.reserve(&request, now) {
            Answer::Allow(id) => {
                self.allowed += 1;
                return Ok(Some(id));
            }
            Answer::Later { at, .. } => {
                self.later += 1;
                if self.book.permits().all(|(_, permit)| !permit.state().is_live()) {
                    let asked = |at| matches!(self.book.clone().reserve(&request, at), Answer::Allow(_));
                    prop_assert!(!asked(at.minus(Span::from_nanos(1))) && asked(at));
                }
            }
            Answer::Never(_) | Answer::InHand { .. } => {}
        }
        Ok(None)
    }

    fn step(&mut self, attempt: &Attempt, id: PermitId, step: Step, now: Timestamp) -> Result<(), TestCaseError> {
        let (_, order) = self.order(attempt);
        let [a, b] = &mut self.batches;
        match step {
            Step::Send => prop_assert_eq!(self.book.sent(id, now), Ok(Dispatch::Go)),
            Step::Arrive => {
                let exemption = self.ca.exemption(order, false, now);
                let claimed = self.book.permit(id).unwrap().terms().claim.exemption();
                // Who claims an exemption has it.
                prop_assert!(claimed != Exemption::SameSet || exemption == Exemption::SameSet);
                let exemption = if claimed == Exemption::Ari { claimed } else { exemption };
                prop_assert_eq!(self.ca.new_order(order, exemption, now, a), Decision::Allow);
            }
            Step::Accepted => {
                self.book.apply(id, Event::Accepted, now).unwrap();
            }
            Step::CaEnds => match attempt.ends {
                Ends::Issued | Ends::IssuedUnheard | Ends::IssuedFound => {
                    let renewal = self.ca.exemption(order, false, now) == Exemption::SameSet;
                    self.ca.issued(order, renewal, now, a);
                    self.issued.insert(id, now);
                }
                Ends::Failed | Ends::FailedUnheard => {
                    let (account, name) =
                        (attempt.account.to_string(), &Self::names(attempt.names).identifiers()[0].clone());
                    let name: &Identifier = name;
                    prop_assert!(!self.ca.validation_failed(&account, name, now, [a, b]), "it is paused");
                }
                Ends::NeverSent => {}
            },
            Step::Told => {
                match attempt.ends {
                    Ends::Issued => self.book.apply(id, Event::Issued, now),
                    Ends::Failed => self.book.failed(id, &[0], now),
                    Ends::NeverSent => self.book.apply(id, Event::Cancelled, now),
                    Ends::IssuedUnheard | Ends::IssuedFound | Ends::FailedUnheard => {
                        self.book.apply(id, Event::Lapsed, now)
                    }
                }
                .unwrap();
            }
            Step::Found => {
                self.book.apply(id, Event::Found { issued_at: self.issued[&id] }, now).unwrap();
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn the_ca_never_refuses_what_has_a_permit(own in any::<bool>(), attempts in vec(attempt(), 1..80)) {
        let ca = Model::new(limits(own), SUFFIXES.clone());
        let book = Book::new(ca.clone());
        let mut world = World { ca, book, batches: Default::default(), allowed: 0, later: 0, issued: BTreeMap::new() };
        let mut steps: Vec<(Timestamp, usize, Step, PermitId)> = Vec::new();
        let mut now = START;
        for (number, attempt) in attempts.iter().enumerate() {
            now = now.plus(Span::from_nanos(attempt.gap * 100_000_000));
            steps.sort();
            while let Some(&(at, number, step, id)) = steps.first().filter(|(at, ..)| *at <= now) {
                steps.remove(0);
                world.step(&attempts[number], id, step, at)?;
            }
            world.book.lapse(now);
            let Some(id) = world.reserve(attempt, now)? else { continue };
            let mut at = now;
            let kinds = [Step::Send, Step::Arrive, Step::Accepted, Step::CaEnds, Step::Told];
            for (step, tenths) in kinds.into_iter().zip(attempt.steps) {
                at = at.plus(Span::from_nanos(tenths * 100_000_000));
                let sent = attempt.ends != Ends::NeverSent || step == Step::Told;
                if sent && (step != Step::Accepted || attempt.tells_accepted) {
                    steps.push((at, number, step, id));
                }
            }
            if attempt.ends == Ends::IssuedFound {
                steps.push((now.plus(Span::from_hours(1)), number, Step::Found, id));
            }
        }
    }
}

/// The property above has teeth: under such attempts limits are met, and permits are given.
#[test]
fn limits_are_met() {
    let ca = Model::new(limits(false), SUFFIXES.clone());
    let book = Book::new(ca.clone());
    let mut world = World { ca, book, batches: Default::default(), allowed: 0, later: 0, issued: BTreeMap::new() };
    for number in 0..40_u8 {
        let attempt = Attempt {
            gap: 0,
            account: number % 2,
            names: number % 15 + 1,
            steps: [0; 5],
            ends: Ends::Issued,
            tells_accepted: true,
            ari: false,
        };
        let now = START.plus(Span::from_seconds(i64::from(number) * 20));
        if let Some(id) = world.reserve(&attempt, now).unwrap() {
            for step in [Step::Send, Step::Arrive, Step::CaEnds, Step::Told] {
                world.step(&attempt, id, step, now).unwrap();
            }
        }
    }
    assert!(world.allowed >= 20 && world.later >= 5, "{} {}", world.allowed, world.later);
}

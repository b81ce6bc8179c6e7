//! Callers whose clocks are ten minutes slow and fast: where machines share a store, its clock decides, and they all get the same answers.

use certpace::clock::{Clock, SystemClock, Timescale};
use certpace::gate::{Gate, Replaces, Request, Verdict};
use certpace::ledger::{Access, LedgerUrl, open};
use certpace::limits::{LimitName, Limits};
use certpace::permits::State;
use certpace::rules::Exemption;
use certpace::time::{Span, Timestamp};

use super::world::{Place, STORES, SUFFIXES, letsencrypt, limit, limits_of, of, permit_of, realm};

/// A machine's clock that is so far from the true time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Off(Span);

impl Off {
    /// The clock of machine `number`: ten minutes slow, right, or ten minutes fast.
    pub(super) fn of(number: usize) -> Self {
        Self([Span::from_seconds(-600), Span::ZERO, Span::from_seconds(600)][number % 3])
    }
}

impl Clock for Off {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus(self.0)
    }
}

/// A gate of each machine.
fn gates(url: &LedgerUrl, limits: &Limits) -> [Gate; 3] {
    std::array::from_fn(|number| {
        let (store, _) = open(url, Access::MustExist, Off::of(number)).unwrap();
        let seed = [u8::try_from(number).unwrap(); 32];
        Gate::new(store, realm(), limits.clone(), SUFFIXES.clone(), Timescale::REAL, seed).unwrap()
    })
}

/// How far apart the times are that these gates have, asked one after the other.
fn spread(gates: &mut [Gate; 3]) -> Span {
    let times = gates.each_mut().map(|gate| gate.now().unwrap());
    times.iter().max().unwrap().since(*times.iter().min().unwrap())
}

fn over_shared_stores(limits: &Limits, tell: impl Fn(&mut [Gate; 3])) {
    let shared: Vec<Place> = STORES.iter().map(|(_, make)| make()).filter(is_shared).collect();
    assert_eq!(shared.len(), 2);
    shared.iter().for_each(|place| tell(&mut gates(place.url.as_ref().unwrap(), limits)));
}

fn is_shared(place: &Place) -> bool {
    place.url.as_ref().is_some_and(LedgerUrl::is_shared)
}

#[test]
fn the_time_is_the_stores_where_machines_share_it_and_the_machines_own_in_a_file() {
    over_shared_stores(&letsencrypt(), |gates| assert!(spread(gates) < Span::from_seconds(60)));
    let file = Place::sqlite();
    let spread = spread(&mut gates(file.url.as_ref().unwrap(), &letsencrypt()));
    assert!(spread >= Span::from_seconds(1_200), "{spread:?}");
}

#[test]
fn a_lease_of_five_minutes_has_not_ended_for_one_who_is_ten_minutes_ahead() {
    over_shared_stores(&letsencrypt(), |gates| {
        let five_minutes = Request { lease: Span::from_seconds(300), ..of(&["a.example.com"]) };
        for number in 0..3 {
            let given = permit_of(gates[number].reserve(&five_minutes).unwrap());
            for other in &mut *gates {
                let stranger = Request { holder: "other".to_owned(), ..five_minutes.clone() };
                let answer = other.reserve(&stranger).unwrap();
                let Verdict::InHand { until, .. } = answer.verdict else { panic!("{number}: {answer:?}") };
                assert_eq!(until, given.life.lease_end);
                assert_eq!(other.permit(&given.permit).unwrap().life.state, State::Reserved);
            }
            gates[(number + 1) % 3].cancel(&given.permit).unwrap();
        }
    });
}

#[test]
fn a_window_that_is_open_for_minutes_is_open_for_all() {
    over_shared_stores(&letsencrypt(), |gates| {
        let now = gates[1].now().unwrap();
        // Exempt while now and five minutes from now lie inside; two minutes are left for the test to run.
        for (start, end, exemption) in [
            (-60, 420, Exemption::Ari),
            // Both begin and end within the ten minutes that a clock may be off.
            (180, 900, Exemption::None),
            (-900, -60, Exemption::None),
        ] {
            let window = Some((now.plus(Span::from_seconds(start)), now.plus(Span::from_seconds(end))));
            let replaces = Some(Replaces { certificate: "c".to_owned(), window });
            let renewal = Request { replaces, ..of(&["a.example.com"]) };
            for gate in &mut *gates {
                let given = permit_of(gate.reserve(&renewal).unwrap());
                assert_eq!(given.claim.exemption(), exemption, "{start} {end}");
                gate.cancel(&given.permit).unwrap();
            }
        }
    });
}

#[test]
fn limits_hold_and_answers_are_equal() {
    let mut limits = letsencrypt();
    limits.policy.set_limit(LimitName::CertificatesPerDomain, limit(3, 300));
    over_shared_stores(&limits, |gates| {
        let start = gates[1].now().unwrap();
        for (number, name) in ["a.example.com", "b.example.com", "c.example.com"].iter().enumerate() {
            let given = permit_of(gates[number].reserve(&of(&[name])).unwrap());
            // Whoever tells, it is issued by the store's clock.
            let told = gates[(number + 1) % 3].commit(&given.permit).unwrap();
            assert!(told.at >= start && told.at < start.plus(Span::from_seconds(60)), "{told:?}");
        }
        // A token comes back every five minutes: one who is ten minutes ahead would have two of them.
        let mut told = Vec::new();
        for gate in &mut *gates {
            let answer = gate.reserve(&of(&["d.example.com"])).unwrap();
            let Verdict::Later { at, blocking } = answer.verdict else { panic!("{answer:?}") };
            assert_eq!(limits_of(&blocking), [Some(LimitName::CertificatesPerDomain)]);
            told.push(at);
        }
        assert!(told.iter().all(|at| *at == told[0]), "{told:?}");
        assert!(told[0] >= start.plus(Span::from_seconds(300)));
        // A name that failed waits for a minute, for all of them.
        let given = permit_of(gates[0].reserve(&of(&["example.net"])).unwrap());
        gates[2].fail(&given.permit, &["example.net".to_owned()]).unwrap();
        for gate in gates {
            assert_eq!(gate.reserve(&of(&["example.net"])).unwrap().verdict.word(), "later");
        }
    });
}

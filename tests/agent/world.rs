//! Agents with a book of permits in front of a CA that counts by itself, through failures, crashes and churn.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::*;
use certpace::buckets::Batch;
use certpace::limits::{Limit, LimitName, Limits, Overrides};
use certpace::name::{Identifier, NameSet};
use certpace::permits::{self, Answer, Book, Dispatch, Holder, Request};
use certpace::rules::{BucketKey, Decision, Exemption, Model, OrderId};
use proptest::collection::vec;
use proptest::prelude::*;

const LIFE: Span = Span::from_days(9);
const END: Span = Span::from_days(30);

/// What the world is like.
#[derive(Clone, Debug)]
struct Terms {
    /// The names of each certificate wanted, as bits, and its tenant.
    wanted: Vec<(u16, u8)>,
    /// Until when names fail, in hours.
    fails_until: BTreeMap<u32, i64>,
    /// Hours at which the client dies and is started again.
    crashes: Vec<i64>,
    /// How long the CA takes, in seconds.
    takes: i64,
    ari: bool,
    in_flight_max: u32,
}

fn terms() -> impl Strategy<Value = Terms> {
    let wanted = vec((1..1_u16 << 9, 0..3_u8), 1..12);
    let fails = proptest::collection::btree_map(0..9_u32, prop_oneof![1..100_i64, Just(10_000)], 0..3);
    (wanted, fails, vec(0..700_i64, 0..4), 0..900_i64, any::<bool>(), 1..6_u32).prop_map(
        |(wanted, fails_until, crashes, takes, ari, in_flight_max)| Terms {
            wanted,
            fails_until,
            crashes,
            takes,
            ari,
            in_flight_max,
        },
    )
}

/// What is on its way from the CA.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Arrives {
    Crash,
    Outcome(CertificateId, PermitId, bool),
    Window(CertificateId),
}

struct World {
    terms: Terms,
    ca: Model,
    book: Book,
    agent: Agent,
    now: Timestamp,
    coming: BinaryHeap<Reverse<(Timestamp, u64, Arrives)>>,
    sent: u64,
    /// The names of every order that was sent.
    orders: BTreeMap<PermitId, NameSet>,
    certificates: Vec<(NameSet, Timestamp)>,
    failures: BTreeMap<u32, Vec<Timestamp>>,
    asked: BTreeMap<CertificateId, Vec<Timestamp>>,
    draws: u64,
    waited: usize,
}

fn limits() -> Limits {
    let mut policy = Policy::built_in("letsencrypt").unwrap();
    let limit = |burst, minutes: i64| Some(Limit::new(burst, 1, Span::from_seconds(minutes * 60)).unwrap());
    policy.set_limit(LimitName::NewOrdersPerAccount, limit(4, 20));
    policy.set_limit(LimitName::CertificatesPerDomain, limit(3, 60));
    policy.renewal.same_set_memory = Span::from_days(12);
    Limits { policy, overrides: Overrides::none() }
}

/// Nine names of three domains.
fn text(name: u32) -> String {
    format!("n{name}.example{}.com", name % 3)
}

impl World {
    fn new(terms: &Terms, suffixes: &SuffixList) -> Self {
        let ca = Model::new(limits(), suffixes.clone());
        let config = Config { ari: terms.ari, in_flight_max: terms.in_flight_max, ..config() };
        let mut world = Self {
            terms: terms.clone(),
            book: Book::new(ca.clone()),
            ca,
            agent: Agent::new(config),
            now: NOW,
            coming: BinaryHeap::new(),
            sent: 0,
            orders: BTreeMap::new(),
            certificates: Vec::new(),
            failures: BTreeMap::new(),
            asked: BTreeMap::new(),
            draws: 1,
            waited: 0,
        };
        for (bits, tenant) in &terms.wanted {
            let names: Vec<u32> = (0..9).filter(|bit| bits & 1 << bit != 0).collect();
            let gates = Self::gates(&names);
            let wanted = Wanted::new(names.into_iter().map(NameId::new), TenantId::new((*tenant).into()), gates);
            world.agent.add(wanted, NOW, world.draws);
        }
        terms.crashes.iter().for_each(|hour| world.later(Span::from_hours(*hour), Arrives::Crash));
        world
    }

    /// The account's, and those of the domains.
    fn gates(names: &[u32]) -> Vec<GateId> {
        let mut gates: Vec<_> = names.iter().map(|name| GateId::new(1 + name % 3)).collect();
        gates.sort();
        gates.dedup();
        gates.push(GateId::new(0));
        gates
    }

    fn draw(&mut self) -> u64 {
        self.draws = self.draws.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.draws
    }

    fn later(&mut self, span: Span, arrives: Arrives) {
        self.sent += 1;
        self.coming.push(Reverse((self.now.plus(span), self.sent, arrives)));
    }

    fn names(&self, id: CertificateId) -> NameSet {
        let names: Vec<String> = self.agent.names(id).iter().map(|name| text(name.number())).collect();
        NameSet::parse(names.iter().map(String::as_str)).unwrap()
    }

    fn order(&mut self, id: CertificateId) -> (OrderId, OrderId) {
        let names = self.names(id);
        (self.book.order("1", &names), self.ca.order("1", &names))
    }

    fn fails(&self, name: u32) -> bool {
        self.terms.fails_until.get(&name).is_some_and(|hours| self.now < NOW.plus(Span::from_hours(*hours)))
    }

    fn run(&mut self) -> Result<(), TestCaseError> {
        let end = NOW.plus(END);
        for _step in 0..200_000 {
            while let Some(action) = self.agent.poll(self.now) {
                self.act(action)?;
            }
            let coming = self.coming.peek().map(|Reverse((at, ..))| *at);
            let wake = self.agent.next_wake();
            prop_assert!(wake.is_none_or(|wake| wake > self.now), "a wake that wakes nobody");
            let Some(next) = [coming, wake].into_iter().flatten().min().filter(|at| *at < end) else { return Ok(()) };
            self.now = next;
            if coming == Some(next)
                && let Some(Reverse((.., arrives))) = self.coming.pop()
            {
                self.arrive(arrives);
            }
            self.book.lapse(self.now);
        }
        Err(TestCaseError::fail("it does not come to rest"))
    }

    fn act(&mut self, action: Action) -> Result<(), TestCaseError> {
        match action {
            Action::Reserve { certificate, replaces, .. } => self.reserve(certificate, replaces),
            Action::Order { certificate, permit, .. } => {
                prop_assert_eq!(self.book.sent(permit, self.now), Ok(Dispatch::Go));
                let (_, order) = self.order(certificate);
                self.orders.insert(permit, self.names(certificate));
                let claimed = self.book.permit(permit).unwrap().terms().claim.exemption();
                let exemption = self.ca.exemption(order, claimed == Exemption::Ari, self.now);
                // Nothing is refused.
                let decision = self.ca.new_order(order, exemption, self.now, &mut Batch::default());
                prop_assert_eq!(decision, Decision::Allow);
                self.book.apply(permit, permits::Event::Accepted, self.now).unwrap();
                let takes = Span::from_seconds(self.terms.takes);
                self.later(takes, Arrives::Outcome(certificate, permit, false));
            }
            Action::Resume { certificate, permit } => {
                self.later(Span::from_seconds(1), Arrives::Outcome(certificate, permit, true));
            }
            Action::Cancel { permit } => {
                self.book.apply(permit, permits::Event::Cancelled, self.now).unwrap();
            }
            Action::AskRenewalInfo { certificate } => {
                self.asked.entry(certificate).or_default().push(self.now);
                self.later(Span::from_seconds(1), Arrives::Window(certificate));
            }
            Action::Split { certificate, name, .. } => {
                self.agent.set_gates(certificate, Self::gates(&[name.number()]), self.now);
            }
        }
        Ok(())
    }

    fn reserve(&mut self, id: CertificateId, replaces: Option<Window>) {
        let (order, _) = self.order(id);
        let replaces = replaces.map(|window| (window.start, window.end));
        let holder = Holder::new(id.number());
        let event = match self.book.reserve(&Request { replaces, ..Request::of(order, holder) }, self.now) {
            Answer::Allow(permit) => Event::Allowed(permit),
            Answer::Later { at, blocking } => {
                self.waited += 1;
                let last = blocking.last().unwrap().bucket;
                let (_, key) = self.book.model().describe(last);
                let gate = match self.book.model().key(last) {
                    BucketKey::NewOrdersPerAccount(_) => Some(GateId::new(0)),
                    BucketKey::CertificatesPerDomain(_) => {
                        let domain = (0..3).find(|domain| key == format!("example{domain}.com")).unwrap();
                        Some(GateId::new(1 + domain))
                    }
                    _ => None,
                };
                Event::Later { at, gate }
            }
            Answer::InHand { until, .. } => Event::InHand { until },
            Answer::Never(_) => Event::Never,
        };
        self.agent.handle(id, event, self.now, 0);
    }

    fn arrive(&mut self, arrives: Arrives) {
        match arrives {
            Arrives::Outcome(id, permit, _) if self.agent.wanted(id).unwrap().open == Some(permit) => {
                self.outcome(id, permit);
            }
            // The client that ordered it is dead; the one after it asks again.
            Arrives::Outcome(..) => {}
            Arrives::Window(id) => {
                if let Some(held) = self.agent.held(id) {
                    let (start, end) = limits().policy.renewal.window(held.issued_at, held.expires_at);
                    let retry_after = Some(Span::from_hours(6));
                    let draw = self.draw();
                    let event = Event::RenewalInfo { window: Window { start, end }, retry_after };
                    self.agent.handle(id, event, self.now, draw);
                }
            }
            Arrives::Crash => self.restart(),
        }
    }

    fn restart(&mut self) {
        let config = Config { ari: self.terms.ari, in_flight_max: self.terms.in_flight_max, ..config() };
        let mut kept = Vec::new();
        for number in 0.. {
            let id = CertificateId::new(number);
            if number as usize >= self.agent.len() {
                break;
            }
            kept.push((self.agent.wanted(id).unwrap(), self.draw()));
        }
        // Windows that were asked for are asked for again.
        self.coming.retain(|Reverse((.., arrives))| !matches!(arrives, Arrives::Window(_)));
        self.asked.clear();
        self.agent = Agent::restore(config, self.agent.backoffs(), kept, self.now);
    }

    fn outcome(&mut self, id: CertificateId, permit: PermitId) {
        let names = self.orders[&permit].clone();
        let order = self.ca.order("1", &names);
        let (mut a, mut b) = <(Batch, Batch)>::default();
        let failing: Vec<u32> = (0..9)
            .filter(|name| names.identifiers().contains(&Identifier::parse(&text(*name)).unwrap()) && self.fails(*name))
            .collect();
        if failing.is_empty() {
            let renewal = self.ca.exemption(order, false, self.now) == Exemption::SameSet;
            self.ca.issued(order, renewal, self.now, &mut a);
            self.book.apply(permit, permits::Event::Issued, self.now).unwrap();
            self.certificates.push((names, self.now.plus(LIFE)));
            let draw = self.draw();
            let event = Event::Issued { issued_at: self.now, expires_at: self.now.plus(LIFE) };
            return self.agent.handle(id, event, self.now, draw);
        }
        let mut places = Vec::new();
        for name in &failing {
            let identifier = Identifier::parse(&text(*name)).unwrap();
            let paused = self.ca.validation_failed("1", &identifier, self.now, [&mut a, &mut b]);
            assert!(!paused);
            self.failures.entry(*name).or_default().push(self.now);
            let place = names.identifiers().iter().position(|known| *known == identifier).unwrap();
            places.push(u16::try_from(place).unwrap());
        }
        self.book.failed(permit, &places, self.now).unwrap();
        let names: Vec<NameId> = failing.into_iter().map(NameId::new).collect();
        self.agent.handle(id, Event::Failed { names: &names }, self.now, 0);
    }

    fn has_valid(&self, name: u32) -> bool {
        let name = Identifier::parse(&text(name)).unwrap();
        self.certificates.iter().any(|(names, expires)| *expires > self.now && names.identifiers().contains(&name))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn nothing_is_refused_and_what_can_be_had_is_had(terms in terms()) {
        let mut world = World::new(&terms, &SUFFIXES);
        world.run()?;
        for (bits, _) in &terms.wanted {
            for name in (0..9).filter(|bit| bits & 1 << bit != 0) {
                // Whatever name fails, the others have certificates that are valid, for ever.
                prop_assert!(world.fails(name) || world.has_valid(name), "{name}");
            }
        }
        // The failure budget is never used up: of 5 an hour at most 4.
        for times in world.failures.values() {
            for five in times.windows(5) {
                prop_assert!(five[4].since(five[0]) > Span::from_hours(1), "{five:?}");
            }
        }
        // Asked twice a day at least, as long as the certificate is not being ordered.
        for (id, times) in &world.asked {
            let Some(held) = world.agent.held(*id) else { continue };
            let mine: Vec<_> = times.iter().filter(|at| **at >= held.issued_at).collect();
            for pair in mine.windows(2) {
                prop_assert!(pair[1].since(*pair[0]) <= Span::from_hours(12) || world.fails_any(*id));
            }
        }
    }
}

impl World {
    fn fails_any(&self, id: CertificateId) -> bool {
        self.agent.names(id).iter().any(|name| self.terms.fails_until.contains_key(&name.number()))
    }
}

/// The property above has teeth: the limits are met.
#[test]
fn limits_are_met() {
    let wanted = (0..9).map(|bit| (1 << bit, 0)).collect();
    let terms = Terms { wanted, fails_until: BTreeMap::new(), crashes: vec![], takes: 60, ari: true, in_flight_max: 5 };
    let mut world = World::new(&terms, &SUFFIXES);
    world.run().unwrap();
    assert!(world.waited > 3, "{}", world.waited);
    // Every four or five days each is renewed: 9 days live half.
    let renewals = world.certificates.len() / 9;
    assert!((6..=7).contains(&renewals), "{renewals}");
}

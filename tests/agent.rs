//! What an issuing client does: told step by step, and as properties of agents in front of a CA that counts by itself.
#![expect(clippy::unwrap_used, reason = "a case that can't be built is a failure")]

#[path = "agent/renewals.rs"]
mod renewals;
#[path = "agent/story.rs"]
mod story;
#[path = "agent/world.rs"]
mod world;

use std::sync::LazyLock;

use certpace::agent::{Action, Agent, CertificateId, Class, Config, Event, GateId, NameId, TenantId, Wanted, Window};
use certpace::limits::Policy;
use certpace::permits::PermitId;
use certpace::psl::SuffixList;
use certpace::time::{Span, Timestamp};

/// One parse serves all cases.
static SUFFIXES: LazyLock<SuffixList> = LazyLock::new(SuffixList::embedded);
const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);
const HALF: u64 = 1 << 63;

fn after(seconds: i64) -> Timestamp {
    NOW.plus(Span::from_seconds(seconds))
}

fn day(days: i64) -> Timestamp {
    NOW.plus(Span::from_days(days))
}

fn config() -> Config {
    Config::new(Policy::built_in("letsencrypt").unwrap().renewal)
}

/// An agent with a clock, and the shortest ways to say what happens.
struct Story {
    agent: Agent,
    now: Timestamp,
}

impl Story {
    fn new(config: Config) -> Self {
        Self { agent: Agent::new(config), now: NOW }
    }

    /// A new certificate of the first tenant, behind the first gate.
    fn wants(&mut self, names: &[u32]) -> CertificateId {
        self.wants_of(0, names)
    }

    fn wants_of(&mut self, tenant: u32, names: &[u32]) -> CertificateId {
        let names = names.iter().copied().map(NameId::new);
        self.agent.add(Wanted::new(names, TenantId::new(tenant), [GateId::new(0)]), self.now, HALF)
    }

    fn tell(&mut self, id: CertificateId, event: Event<'_>) {
        self.agent.handle(id, event, self.now, HALF);
    }

    /// All that is to be done now.
    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.agent.poll(self.now)).collect()
    }

    /// The one certificate that is asked for, and nothing else.
    fn reserves(&mut self) -> CertificateId {
        match self.actions()[..] {
            [Action::Reserve { certificate, .. }] => certificate,
            ref other => panic!("{other:?}"),
        }
    }

    /// A permit comes, and the order goes out.
    fn allow(&mut self, id: CertificateId) {
        let permit = PermitId::new(id.number());
        self.tell(id, Event::Allowed(permit));
        let order = self.agent.poll(self.now);
        assert!(matches!(order, Some(Action::Order { certificate, .. }) if certificate == id), "{order:?}");
    }

    fn issue(&mut self, id: CertificateId) {
        self.issue_for(id, Span::from_days(90));
    }

    fn issue_for(&mut self, id: CertificateId, life: Span) {
        self.allow(id);
        self.tell(id, Event::Issued { issued_at: self.now, expires_at: self.now.plus(life) });
    }

    fn fail(&mut self, id: CertificateId, names: &[u32]) {
        self.allow(id);
        let names: Vec<NameId> = names.iter().copied().map(NameId::new).collect();
        self.tell(id, Event::Failed { names: &names });
    }

    fn sleep(&mut self) {
        self.now = self.agent.next_wake().unwrap();
    }

    /// Sleeps, in vain if need be, until something is to be done.
    fn next_actions(&mut self) -> Vec<Action> {
        loop {
            let actions = self.actions();
            if !actions.is_empty() {
                return actions;
            }
            self.sleep();
        }
    }
}

fn hours(start: i64, end: i64) -> Window {
    Window { start: after(start * 3_600), end: after(end * 3_600) }
}

fn is_reserve(action: &Action, id: CertificateId, of: Class) -> bool {
    matches!(action, Action::Reserve { certificate, class, .. } if (*certificate, *class) == (id, of))
}

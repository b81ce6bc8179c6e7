//! The decisions: which requests pass, and what the CA's answers cost. No sockets and no clock: everything comes with its time.

mod answers;

use std::net::IpAddr;

use rustc_hash::FxHashMap;

use super::answer::Answer;
use super::bodies::IdentifierBody;
use super::call::{Account, Call, Signer};
use super::journal::{Client, Done, Entry, Event, Journal, Refused};
use super::passed::Passed;
use crate::buckets::{Batch, BucketId};
use crate::dense::dense;
use crate::limits::{LimitName, Limits};
use crate::name::{Identifier, NameSet};
use crate::psl::SuffixList;
use crate::rules::{Decision, Door, Exemption, Model, OrderId, Pair, Request, refusal};
use crate::sim::Seed;
use crate::sim::random::{Purpose, Stream};
use crate::time::{Span, Timestamp};

/// A point in the time of the limits and in that of the CA and its clients, which is slower in a rehearsal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// Buckets fill by this one.
    pub limits: Timestamp,
    /// The suggested windows of the CA behind, and authorizations, are in this one.
    pub wall: Timestamp,
}

/// When the CA suggests to renew: start (inside) and end (outside), in its own time.
pub type Window = (Timestamp, Timestamp);

/// What to do with a request.
#[derive(Debug)]
#[must_use]
pub enum Step {
    /// Send it on, and say what came of it.
    Forward(Box<Pending>),
    /// Answer it so.
    Answer(Answer),
}

/// A request that was let through: what it has cost, and what the answer can mean.
#[derive(Debug)]
pub struct Pending {
    call: Call,
    account: Option<String>,
    charge: Charge,
    entry: Entry,
}

/// What comes back if the CA refuses.
#[derive(Debug)]
enum Charge {
    Nothing,
    Account { ip: IpAddr, key: String },
    KnownKey(String),
    Order { id: OrderId, exemption: Exemption, replaces: Option<String>, missing: Vec<Pair> },
}

/// What the CA says.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The type of the body.
    pub content_type: &'a str,
    /// The body.
    pub body: &'a [u8],
}

/// What the CA behind the proxy counts: decides requests, and learns from answers.
#[derive(Debug)]
pub struct Enforcer {
    model: Model,
    door: Door,
    addresses: FxHashMap<IpAddr, u32>,
    /// The same, by number.
    by_number: Vec<IpAddr>,
    passed: Passed,
    journal: Journal,
    jitter: Stream,
    speed: u32,
    /// Where a person lifts a pause.
    unpause: String,
    batch: Batch,
    second: Batch,
}

/// What the jitter of `Retry-After` comes from: the same requests are told the same.
const SEED: Seed = Seed(1);

impl Enforcer {
    /// All buckets are full. The limits' time runs `speed` times faster than the clients'; `unpause` is where people lift a pause.
    #[must_use]
    pub fn new(limits: Limits, suffixes: SuffixList, speed: u32, unpause: String) -> Self {
        Self {
            door: Door::new(&limits.policy),
            model: Model::new(limits, suffixes),
            addresses: FxHashMap::default(),
            by_number: Vec::new(),
            passed: Passed::default(),
            journal: Journal::default(),
            jitter: Stream::new(SEED, Purpose::RetryAfter),
            speed,
            unpause,
            batch: Batch::default(),
            second: Batch::default(),
        }
    }

    /// The model and its buckets.
    #[must_use]
    pub const fn model(&self) -> &Model {
        &self.model
    }

    /// What happened so far.
    #[must_use]
    pub const fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Accounts and names that are paused.
    #[must_use]
    pub fn paused(&self) -> &[(String, Identifier)] {
        &self.passed.paused
    }

    /// The requests of each address, as [`Door::used`] has them.
    pub fn requests(&self, now: Timestamp) -> impl Iterator<Item = (IpAddr, Request, i64, Timestamp)> + '_ {
        self.by_number.iter().enumerate().flat_map(move |(number, address)| {
            let used = self.door.used(dense(number), now);
            used.map(|(request, left, full_at)| (*address, request, left, full_at))
        })
    }

    /// A person lifts all pauses of the account with that URL. Returns how many.
    pub fn unpause(&mut self, account: &str) -> usize {
        let account = self.passed.account(&Account::new(account));
        let Self { passed, model, .. } = self;
        let before = passed.paused.len();
        passed.paused.retain(|(of, name)| *of != account || !model.unpause(of, name));
        before - passed.paused.len()
    }

    /// A request of `client` comes. `window` is when the CA suggests to renew the certificate that it replaces ([`Call::replaces`]), if
    /// it does.
    pub fn request(&mut self, at: Moment, client: Client, call: Call, window: Option<Window>) -> Step {
        let account = call.account().map(|account| self.passed.account(account));
        let ip = client.address;
        let entry = Entry {
            at: at.limits,
            client_at: at.wall,
            client,
            method: call.method.clone(),
            path: call.path.clone(),
            request: call.request,
            account: account.clone(),
            names: Vec::new(),
            done: Done::Forwarded,
            status: 0,
            refused: None,
            events: Vec::new(),
        };
        let mut pending = Box::new(Pending { call, account, charge: Charge::Nothing, entry });
        let refused = self.at_the_door(at, ip, &mut pending).or_else(|| match pending.call.request {
            Request::NewAccount => self.new_account(at, ip, &mut pending),
            Request::NewOrder => self.new_order(at, &mut pending, window),
            Request::Directory | Request::NewNonce | Request::RevokeCert | Request::RenewalInfo | Request::Other => {
                None
            }
        });
        match refused {
            None => Step::Forward(pending),
            Some(answer) => {
                pending.entry.status = answer.status;
                self.journal.add(pending.entry);
                Step::Answer(answer)
            }
        }
    }

    /// The load balancer.
    fn at_the_door(&mut self, at: Moment, ip: IpAddr, pending: &mut Pending) -> Option<Answer> {
        let by_number = &mut self.by_number;
        let number = *self.addresses.entry(ip).or_insert_with(|| {
            by_number.push(ip);
            dense(by_number.len() - 1)
        });
        let request = pending.call.request;
        let wait = self.door.pass(number, request, 1, at.limits).err()?;
        let answer = Answer::busy(wait, self.speed);
        pending.entry.done = Done::Busy;
        self.note(at, pending, request.path().to_owned(), ip.to_string(), &answer);
        Some(answer)
    }

    /// Boulder looks for an account of that key first, and counts only those that it makes.
    fn new_account(&mut self, at: Moment, ip: IpAddr, pending: &mut Pending) -> Option<Answer> {
        let Signer::Key(key) = pending.call.signer.clone() else { return None };
        if pending.call.payload.only_return_existing || self.passed.keys.contains(&key) {
            pending.charge = Charge::KnownKey(key);
            return None;
        }
        match self.model.new_registration(ip, at.limits, &mut self.batch) {
            Decision::Allow => {
                pending.charge = Charge::Account { ip, key };
                None
            }
            Decision::Wait(_) | Decision::Paused => Some(self.refuse(at, pending)),
        }
    }

    fn new_order(&mut self, at: Moment, pending: &mut Pending, window: Option<Window>) -> Option<Answer> {
        let account = pending.account.clone()?;
        let names = match IdentifierBody::names(&pending.call.payload.identifiers) {
            Ok(names) => names,
            Err(why) => {
                pending.entry.events.push(Event::NotCounted { why });
                return None;
            }
        };
        pending.entry.names = names.identifiers().iter().map(ToString::to_string).collect();
        let id = self.model.order(&account, &names);
        if self.model.is_paused(id) {
            return Some(self.paused_order(at, pending, &account, &names));
        }
        let replaces = pending.call.replaces().filter(|_| self.has_ari()).map(str::to_owned);
        if let Some(certificate) = replaces.as_deref().filter(|certificate| self.passed.is_replaced(certificate)) {
            pending.entry.done = Done::AlreadyReplaced;
            return Some(Answer::already_replaced(certificate));
        }
        let inside = window.is_some_and(|(start, end)| start <= at.wall && at.wall < end);
        let own = replaces.as_deref().is_some_and(|of| self.passed.may_replace(of, &account, &names));
        let exemption = self.model.exemption(id, inside && own, at.limits);
        let missing = self.missing(at, id);
        let until = at.limits.plus(self.pending_time(pending));
        match self.model.new_order_needing(id, exemption, (&missing, until), at.limits, &mut self.batch) {
            Decision::Allow => {
                pending.charge = Charge::Order { id, exemption, replaces, missing };
                None
            }
            Decision::Wait(_) => Some(self.refuse(at, pending)),
            Decision::Paused => Some(self.paused_order(at, pending, &account, &names)),
        }
    }

    fn has_ari(&self) -> bool {
        self.model.limits().policy.renewal.ari
    }

    /// The pairs of the order that have no valid authorization, where pending ones are counted.
    fn missing(&self, at: Moment, id: OrderId) -> Vec<Pair> {
        if !self.model.limits_pending() {
            return Vec::new();
        }
        let is_missing = |pair: &Pair| self.passed.authorized_until.get(pair).is_none_or(|until| *until <= at.wall);
        self.model.pairs(id).filter(is_missing).collect()
    }

    /// How long the authorizations of the order stay pending.
    fn pending_time(&self, pending: &Pending) -> Span {
        let policy = &self.model.limits().policy;
        let asked = pending.call.payload.profile.as_deref().and_then(|name| policy.profile(name));
        asked
            .map(|(_, profile)| profile)
            .or_else(|| policy.profiles.first())
            .map_or(Span::ZERO, |of| of.pending_authorization)
    }

    /// Names the strictest of the limits in the way.
    fn refuse(&mut self, at: Moment, pending: &mut Pending) -> Answer {
        let (bucket, wait): (BucketId, Span) =
            Model::named(&self.batch).unwrap_or_else(|| unreachable!("a bucket was in the way"));
        let wait = wait.plus(self.jitter.span(refusal::jitter_max(wait)));
        let answer = Answer::refused(&self.model.refusal(bucket, at.limits.plus(wait)), wait, self.speed);
        let (limit, key) = self.model.describe(bucket);
        pending.entry.done = Done::Refused;
        self.note(at, pending, limit.to_string(), key, &answer);
        answer
    }

    fn paused_order(&mut self, at: Moment, pending: &mut Pending, account: &str, names: &NameSet) -> Answer {
        let is_paused =
            |name: &&Identifier| self.passed.paused.iter().any(|(of, paused)| of == account && paused == *name);
        let paused: Vec<&Identifier> = names.identifiers().iter().filter(is_paused).collect();
        let visit = format!("{}?account={}", self.unpause, account.replace('%', "%25"));
        let answer = Answer::paused(paused.iter().copied(), &visit);
        pending.entry.done = Done::Paused;
        let key = paused.first().map_or_else(String::new, |name| format!("{account} {name}"));
        let limit = LimitName::FailedAuthorizationsForPausingPerDomainPerAccount;
        self.note(at, pending, limit.to_string(), key, &answer);
        answer
    }

    /// Notes which limit was in the way, and whether the client had been told to wait for it. It waits by its own time, which is in whole
    /// seconds: where it is told none it may come at once.
    fn note(&mut self, at: Moment, pending: &mut Pending, limit: String, key: String, answer: &Answer) {
        let who = pending.account.clone().unwrap_or_else(|| pending.entry.client.address.to_string());
        let wait =
            if pending.entry.done == Done::Paused { None } else { Some(answer.retry_after.unwrap_or(Span::ZERO)) };
        let too_early = self.journal.tell(&who, &limit, &key, at.wall, wait);
        let retry_after_seconds = answer.retry_after.map(|wait| wait.nanos() / crate::time::NS_PER_S);
        pending.entry.refused =
            Some(Refused { limit, key, detail: answer.detail.clone(), retry_after_seconds, too_early });
    }
}

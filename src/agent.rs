//! What an issuing client does next, as a pure function of events and time: it orders when the gate allows, backs off, asks for renewal
//! information, renews, and splits a failing name off its certificate. Simulator and issuer drive this same agent.
//!
//! A driver hands in what happens ([`Agent::handle`]), carries out what [`Agent::poll`] answers until there is nothing more to do, and
//! comes back at [`Agent::next_wake`]. It has no clock, no network and no randomness of its own: time comes as `now`, chance as a
//! `draw` of 64 random bits. Certificates, names, tenants and buckets are numbers of the driver's.
//!
//! # What it decides
//!
//! *When.* A new certificate at once. A certificate held at a random time of the window that the CA suggests (ARI), which is asked for
//! as often as the CA says and at least twice a day; at once if the window has passed; where the CA can't be asked, at a random time of
//! the window that it would suggest by its [`RenewalTerms`], around two thirds of the lifetime (half, for short-lived ones). Inside
//! the told window an order `replaces`; elsewhere it is an ordinary renewal of its set.
//!
//! *In which order.* Certificates with less than a tenth of their life left, and revoked ones, before all ([`Class::Urgent`]); then new
//! ones; then renewals that can wait. Within a class tenants take turns.
//!
//! *Not before.* What a bucket is short of waits behind that bucket's [`GateId`]: when it opens one certificate asks, and the next one
//! only once that was let through. So a refusal costs one question however many wait, and after a 429 nothing that needs the same
//! bucket goes out before its time. If the CA can't be reached all wait, and then one tries.
//!
//! *After a failure.* Each name that failed is tried again after 1 min, 10 min, 100 min, then daily ([`RETRIES`]), unless an operator
//! asks for it earlier; that is 3 times in the first hour, of the 5 that are allowed. The other names of a new or urgent certificate
//! are ordered without it at once; a renewal that can wait stays whole for three tries, since a changed set loses its exemption.
//!
//! ```
//! use certpace::agent::{Action, Agent, Class, Config, Event, NameId, TenantId, Wanted};
//! use certpace::limits::Policy;
//! use certpace::permits::PermitId;
//! use certpace::time::{Span, Timestamp};
//!
//! let mut agent = Agent::new(Config::new(Policy::built_in("letsencrypt").unwrap().renewal));
//! let now = Timestamp::from_unix_seconds(1_800_000_000);
//! let (good, bad) = (NameId::new(0), NameId::new(1));
//! let both = agent.add(Wanted::new([good, bad], TenantId::new(0), []), now, 0);
//!
//! // It asks for a permit, and orders once it has one.
//! assert_eq!(agent.poll(now), Some(Action::Reserve { certificate: both, class: Class::New, replaces: None }));
//! let permit = PermitId::new(7);
//! agent.handle(both, Event::Allowed(permit), now, 0);
//! assert_eq!(agent.poll(now), Some(Action::Order { certificate: both, permit, replaces: false }));
//!
//! // A name fails: the other one is ordered without it, and the failing one by itself a minute later.
//! agent.handle(both, Event::Failed { names: &[bad] }, now, 0);
//! let Some(Action::Split { certificate: alone, .. }) = agent.poll(now) else { panic!() };
//! assert_eq!((agent.names(both), agent.names(alone)), (&[good][..], &[bad][..]));
//! assert!(matches!(agent.poll(now), Some(Action::Reserve { certificate, .. }) if certificate == both));
//! assert_eq!(agent.poll(now), None);
//! let minute = now.plus(Span::from_seconds(60));
//! assert_eq!(agent.next_wake(), Some(minute));
//! assert!(matches!(agent.poll(minute), Some(Action::Reserve { certificate, .. }) if certificate == alone));
//! ```

mod certificate;
mod choice;
mod events;
mod gates;
mod names;
mod queue;
mod renewal;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::dense::id;
use crate::limits::RenewalTerms;
use crate::permits::PermitId;
use crate::time::{Span, Timestamp};

use certificate::Certificate;
use gates::Gate;
use names::Names;
pub use names::{Backoff, RETRIES};
use queue::{Queue, Turns};

id! {
    /// A certificate wanted or held: the agent hands the numbers out, from 0.
    CertificateId
}
id! {
    /// A name of an account: two accounts' same name are two. The driver's number.
    NameId
}
id! {
    /// Whose certificate it is: tenants take turns. The driver's number; dense, from 0.
    TenantId
}
id! {
    /// A bucket that several certificates need, such as an account's or a domain's. The driver's number; dense, from 0.
    GateId
}

/// How an agent goes about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// When the CA suggests to renew, where it can't be asked.
    pub renewal: RenewalTerms,
    /// Whether the CA is asked.
    pub ari: bool,
    /// Whether a failing name is split off; else its certificate waits for it.
    pub split: bool,
    /// How many certificates may be asked for or ordered at a time; at least 1.
    pub in_flight_max: u32,
}

impl Config {
    /// Asks the CA, splits, 100 at a time.
    #[must_use]
    pub const fn new(renewal: RenewalTerms) -> Self {
        Self { renewal, ari: true, split: true, in_flight_max: 100 }
    }
}

/// A certificate that is wanted, with what is known of it: also what is to be kept for a restart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// Its names; at least one. They are sorted, and distinct.
    pub names: Box<[NameId]>,
    /// Whose it is.
    pub tenant: TenantId,
    /// The buckets that an order which is not exempt needs beside its own: domains first, the account last.
    pub gates: Box<[GateId]>,
    /// Not before.
    pub not_before: Timestamp,
    /// The certificate held.
    pub held: Option<Held>,
    /// An order that was sent and whose outcome is not known yet.
    pub open: Option<PermitId>,
    /// Failures in a row that were no name's.
    pub failures: u32,
}

impl Wanted {
    /// A new certificate for `names`, as soon as can be.
    #[must_use]
    pub fn new(
        names: impl IntoIterator<Item = NameId>,
        tenant: TenantId,
        gates: impl IntoIterator<Item = GateId>,
    ) -> Self {
        let (names, gates) = (names.into_iter().collect(), gates.into_iter().collect());
        let not_before = Timestamp::from_unix_nanos(i64::MIN);
        Self { names, tenant, gates, not_before, held: None, open: None, failures: 0 }
    }

    /// The same with a certificate held.
    #[must_use]
    pub fn held(self, held: Held) -> Self {
        Self { held: Some(held), ..self }
    }
}

/// Before all others, once less than the life divided by this is left.
const URGENT_DIVISOR: i64 = 10;

/// A certificate held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
    /// When it is to be renewed, if that was drawn already.
    pub renew_at: Option<Timestamp>,
    /// The window for which it was drawn, as the CA told it last.
    pub window: Option<Window>,
    /// It is revoked, and to be replaced by then.
    pub deadline: Option<Timestamp>,
    /// The CA says that another certificate has replaced it: no order can name it any more.
    pub replaced: bool,
}

impl Held {
    /// A certificate of which no more is known.
    #[must_use]
    pub const fn new(issued_at: Timestamp, expires_at: Timestamp) -> Self {
        Self { issued_at, expires_at, renew_at: None, window: None, deadline: None, replaced: false }
    }

    /// From when on its renewal goes before all others: from the first instant at which less than a tenth of its life is left; from the
    /// start, if it is revoked.
    #[must_use]
    pub fn urgent_at(&self) -> Timestamp {
        if self.deadline.is_some() {
            return self.issued_at;
        }
        let life = self.expires_at.since(self.issued_at).nanos();
        self.expires_at.minus(Span::from_nanos(life / URGENT_DIVISOR)).plus(Span::from_nanos(1))
    }
}

/// A suggested window (RFC 9773).
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Window {
    /// Its first instant.
    pub start: Timestamp,
    /// The first instant after it.
    pub end: Timestamp,
}

/// How urgent an order is. The smaller goes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Class {
    /// Less than a tenth of the life is left, or it is revoked.
    Urgent,
    /// There is no certificate yet.
    New,
    /// A renewal that can wait.
    Renewal,
}

/// What has happened to a certificate. What comes late or makes no sense where the certificate is does no harm: a permit that is not
/// waited for is cancelled, a certificate that was issued is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event<'a> {
    /// Answers [`Action::Reserve`]: there is a permit.
    Allowed(PermitId),
    /// Answers [`Action::Reserve`], or [`Action::Order`] if nothing was sent: not before `at`.
    Later {
        /// When it fits.
        at: Timestamp,
        /// The bucket in the way, if others need it too; `None`: it is this certificate's matter.
        gate: Option<GateId>,
    },
    /// Answers [`Action::Reserve`]: not until a person does something; see [`Agent::resume`].
    Never,
    /// Answers [`Action::Reserve`]: another holder is about it, until then at the latest.
    InHand {
        /// When its lease ends.
        until: Timestamp,
    },
    /// The CA has taken the order. It need not be told; it says that an outage is over before the certificate comes.
    Accepted,
    /// A certificate has come: of this order, or of one whose outcome was unknown.
    Issued {
        /// When it was issued.
        issued_at: Timestamp,
        /// When it expires.
        expires_at: Timestamp,
    },
    /// The order is dead: validations of these names failed; none: it is another matter.
    Failed {
        /// Names of the certificate.
        names: &'a [NameId],
    },
    /// The CA has refused the order (429): not before `at`.
    Refused {
        /// The first instant at which it may say yes.
        at: Timestamp,
        /// The bucket that it named, if others need it too.
        gate: Option<GateId>,
    },
    /// The CA has refused the order since names are paused: those wait until [`Agent::retry`].
    Paused {
        /// Names of the certificate.
        names: &'a [NameId],
    },
    /// The CA has refused the order since another certificate has replaced the one it names (409).
    AlreadyReplaced,
    /// Nobody knows what came of the order.
    Lost,
    /// The CA could not be reached, or was overloaded (503): the order was not sent.
    Unreachable {
        /// When it may be tried again, if the CA said so.
        retry_at: Option<Timestamp>,
    },
    /// Answers [`Action::AskRenewalInfo`].
    RenewalInfo {
        /// The window.
        window: Window,
        /// When the CA wants to be asked again, from now.
        retry_after: Option<Span>,
    },
    /// Answers [`Action::AskRenewalInfo`]: there was no answer. The next try comes soon if the reason may be gone then.
    NoRenewalInfo {
        /// Whether it is a lasting error.
        lasting: bool,
    },
    /// The certificate held is or will be revoked: a new one is wanted at once, by then.
    Revoked {
        /// The last moment.
        deadline: Timestamp,
    },
}

/// What the driver is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Ask the gate for a permit; answer with [`Event::Allowed`], [`Event::Later`], [`Event::Never`] or [`Event::InHand`].
    Reserve {
        /// For which certificate: [`Agent::names`].
        certificate: CertificateId,
        /// How urgent it is.
        class: Class,
        /// The window in which the order replaces the certificate held; `None`: no exemption by ARI can be claimed.
        replaces: Option<Window>,
    },
    /// Send the order.
    Order {
        /// Which.
        certificate: CertificateId,
        /// With which permit.
        permit: PermitId,
        /// Whether it names the certificate held as the one it replaces.
        replaces: bool,
    },
    /// After a restart: find out what came of an order, and finish it.
    Resume {
        /// Which.
        certificate: CertificateId,
        /// With which permit it was sent.
        permit: PermitId,
    },
    /// Give a permit back: nothing was sent.
    Cancel {
        /// Which.
        permit: PermitId,
    },
    /// Ask the CA for the suggested window of the certificate held; answer with [`Event::RenewalInfo`] or [`Event::NoRenewalInfo`].
    AskRenewalInfo {
        /// Which.
        certificate: CertificateId,
    },
    /// Take note: a name has left its certificate for one of its own. (Its gates are those of the old one: [`Agent::set_gates`].)
    Split {
        /// The old one; [`Agent::names`] has the rest.
        from: CertificateId,
        /// The new one.
        certificate: CertificateId,
        /// The name.
        name: NameId,
    },
}

/// An issuing client.
#[derive(Clone, Debug)]
pub struct Agent {
    config: Config,
    certificates: Vec<Certificate>,
    names: Names,
    /// Those that may be asked for as soon as there is room.
    ready: Queue,
    gates: Vec<Gate>,
    turns: Turns,
    /// When the CA may be tried again after it could not be reached, and how often in a row it could not.
    outage: Option<(Timestamp, u32)>,
    wakes: BinaryHeap<Reverse<(Timestamp, Wake)>>,
    actions: VecDeque<Action>,
    in_flight: u32,
}

/// What to look at when its time has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Wake {
    Outage,
    Gate(GateId),
    Certificate(CertificateId),
}

impl Agent {
    /// An agent that has nothing to do.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            certificates: Vec::new(),
            names: Names::default(),
            ready: Queue::default(),
            gates: Vec::new(),
            turns: Turns::default(),
            outage: None,
            wakes: BinaryHeap::new(),
            actions: VecDeque::new(),
            in_flight: 0,
        }
    }

    /// An agent made anew from what was kept: names that back off ([`Self::backoffs`]) and certificates with a draw each
    /// ([`Self::wanted`]), which have the numbers from 0 in this order.
    #[must_use]
    pub fn restore(
        config: Config,
        backoffs: impl IntoIterator<Item = (NameId, Backoff)>,
        certificates: impl IntoIterator<Item = (Wanted, u64)>,
        now: Timestamp,
    ) -> Self {
        let mut agent = Self::new(config);
        backoffs.into_iter().for_each(|(name, backoff)| agent.names.set(name, backoff));
        certificates.into_iter().for_each(|(wanted, draw)| _ = agent.add(wanted, now, draw));
        agent
    }

    /// What is to be done at `now`; `None`: nothing before [`Self::next_wake`], or an event.
    pub fn poll(&mut self, now: Timestamp) -> Option<Action> {
        loop {
            if let Some(action) = self.actions.pop_front() {
                return Some(action);
            }
            if !self.wake(now) && !self.dispatch(now) {
                self.pass_over_stale_wakes();
                return None;
            }
        }
    }

    /// The next instant that matters, once [`Self::poll`] has answered `None`. It may turn out that nothing is to be done then.
    #[must_use]
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.wakes.peek().map(|Reverse((at, _))| *at)
    }
}

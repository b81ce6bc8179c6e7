//! The life of a permit: a reservation which lets one order go out. A pure state machine: an event and the time in, the next state
//! out, and with it, as data ([`Moves`]), what becomes of the tokens. Simulator, gate and ledger drive this same machine.
//!
//! The CA counts an order when it comes, a certificate when it is issued, a failure when a validation fails, and tells none of it
//! before. So a permit *holds* a token of every bucket its order has at stake from the moment it is reserved, and each is *spent* or
//! *released* once it is known what came of it. Whoever asks later finds a bucket as if all that is held were spent already. A token
//! held is spent when the CA has counted it for sure, never before: a spend that is moved to an earlier time would refill too soon.
//!
//! # The machine
//!
//! | event | reserved | sent | unknown | expired |
//! |---|---|---|---|---|
//! | [`Sent`](Event::Sent) | sent | – | error | error |
//! | [`Accepted`](Event::Accepted) | sent; order spent | order spent | order charged | error |
//! | [`Issued`](Event::Issued) | issued: order, domains, set spent; failures released | the same | issued; order, domains, set charged | the same |
//! | [`Failed`](Event::Failed) | failed: order and failed names spent; all else released | the same | failed; order and failed names charged | the same |
//! | [`Refused`](Event::Refused) | failed: all released, bucket raised | the same | failed; bucket raised | the same |
//! | [`Cancelled`](Event::Cancelled) | cancelled: all released | error | error | cancelled |
//! | [`Extended`](Event::Extended) | longer lease | longer lease | error | error |
//! | [`Lapsed`](Event::Lapsed) | expired: all released; unknown if [silent](Sending::Silent): all spent | unknown: all spent | – | – |
//! | [`Lost`](Event::Lost) | unknown: all spent | the same | – | error |
//! | [`Found`](Event::Found) | issued, as above | the same | issued; order, domains, set charged if it was issued later than they were spent | issued; order, domains, set charged |
//! | [`NotFound`](Event::NotFound) | error | error | failed | – |
//!
//! In an end state (issued, failed, cancelled) the event that led there changes nothing when it comes again (a lost reply costs
//! nothing); a certificate found after all makes it issued; all else is an error. `–` changes nothing. *Charged* is spent without a
//! token held for it: what is late is spent again at its own time, and nothing that was spent ever comes back, since a bucket forgets
//! by itself and a refund could give back more than is left of a spend.
//!
//! Only [`Issued`](Event::Issued) and [`Found`](Event::Found) say that a certificate has been [seen](Moves::seen). What is unknown counts
//! as issued for every bucket and as not issued for every exemption.
//!
//! An order token that is exempt is not held; nor are domain tokens where exactly this set is being renewed, unless the CA's memory of
//! it has ended by the time of issue: then they are charged. An earlier `now` than the last counts as that: time never goes back.
//!
//! ```
//! use certpace::limits::{Limits, Overrides, Policy};
//! use certpace::name::NameSet;
//! use certpace::permits::{Answer, Book, Event, Holder, Request, State};
//! use certpace::psl::SuffixList;
//! use certpace::rules::Model;
//! use certpace::time::{Span, Timestamp};
//!
//! let limits = Limits { policy: Policy::built_in("letsencrypt").unwrap(), overrides: Overrides::none() };
//! let mut book = Book::new(Model::new(limits, SuffixList::embedded()));
//! let order = book.order("1", &NameSet::parse(["example.com", "www.example.com"]).unwrap());
//! let now = Timestamp::from_unix_seconds(1_800_000_000);
//!
//! // One replica gets the permit; the same one asking again gets it again; another one learns that it is in hand.
//! let Answer::Allow(permit) = book.reserve(&Request::of(order, Holder::new(0)), now) else { panic!("all is full") };
//! assert_eq!(book.reserve(&Request::of(order, Holder::new(0)), now), Answer::Allow(permit));
//! assert!(matches!(book.reserve(&Request::of(order, Holder::new(1)), now), Answer::InHand { .. }));
//!
//! // It is sent, and the process dies: when the lease has run out, what came of it is unknown.
//! book.apply(permit, Event::Sent, now).unwrap();
//! let later = now.plus(Span::from_hours(1));
//! assert_eq!(book.lapse(later), 1);
//! assert_eq!(book.permit(permit).unwrap().state(), State::Unknown);
//! // For an exemption a certificate has to be seen.
//! assert_eq!(book.model().seen(order), None);
//! book.apply(permit, Event::Found { issued_at: now }, later).unwrap();
//! assert_eq!(book.model().seen(order), Some(now));
//! ```

mod book;
mod machine;
mod tally;

pub use book::{Answer, Blocked, Book, Dispatch, LEASE, Never, Request};
pub use tally::Tally;

use crate::dense::id;
use crate::rules::{Exemption, OrderId, Part};
use crate::time::{Span, Timestamp};

/// An exemption by ARI is claimed only if the window is still open this much later: the order has to get there in time.
pub const WINDOW_LEAD: Span = Span::from_seconds(300);

id! {
    /// Who has a permit: a process, a replica, a CI job. The text behind the number is the caller's.
    Holder
}
id! {
    /// A permit of a [`Book`].
    PermitId
}

/// Where a permit is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The tokens are held; the order has not gone out, as far as was told.
    Reserved,
    /// The order goes out, or is at the CA.
    Sent,
    /// A certificate came of it.
    Issued,
    /// None did, and the order is dead.
    Failed,
    /// The order never went out.
    Cancelled,
    /// The lease ran out before the order went out.
    Expired,
    /// It went out and nobody knows what came of it.
    Unknown,
}

impl State {
    /// Whether tokens are held, so that the set is in its holder's hand.
    #[must_use]
    pub const fn is_live(self) -> bool {
        match self {
            Self::Reserved | Self::Sent => true,
            Self::Issued | Self::Failed | Self::Cancelled | Self::Expired | Self::Unknown => false,
        }
    }
}

/// Whether a holder says so before it sends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sending {
    /// Always: a reservation whose lease has run out was not sent, and gives its tokens back.
    Announced,
    /// Not always, like a script which asks, issues and reports: a lease that has run out says nothing.
    Silent,
}

/// Why the order counts less, and until when.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Claim {
    /// It counts in full.
    None,
    /// Exactly this set was issued, and a certificate seen: no order token, no domain token.
    SameSet {
        /// When the CA forgets the earlier certificate.
        until: Timestamp,
    },
    /// `replaces` names a certificate whose suggested window is open: nothing is asked. The set loses a token all the same, and so do
    /// the domains unless exactly this set was issued.
    Ari {
        /// The window's end.
        until: Timestamp,
        /// When the CA forgets the earlier certificate of exactly this set, if there is one.
        same_set_until: Option<Timestamp>,
    },
}

impl Claim {
    /// What it exempts from, for the CA's questions.
    #[must_use]
    pub const fn exemption(self) -> Exemption {
        match self {
            Self::None => Exemption::None,
            Self::SameSet { .. } => Exemption::SameSet,
            Self::Ari { .. } => Exemption::Ari,
        }
    }

    /// Until when an order may go out under it.
    #[must_use]
    pub const fn until(self) -> Option<Timestamp> {
        match self {
            Self::None => None,
            Self::SameSet { until } | Self::Ari { until, .. } => Some(until),
        }
    }

    /// Until when a certificate takes no domain tokens.
    #[must_use]
    pub const fn domains_free_until(self) -> Option<Timestamp> {
        match self {
            Self::None => None,
            Self::SameSet { until } => Some(until),
            Self::Ari { same_set_until, .. } => same_set_until,
        }
    }

    /// What reserving under it at `now` does to the buckets, as [`Permit::reserve`] tells it.
    #[must_use]
    pub fn reserves(self, now: Timestamp) -> Moves {
        self.held(now, Act::Hold)
    }

    /// `act` for every token that is held under it as long as the order is not accepted.
    fn held(self, at: Timestamp, act: Act) -> Moves {
        let mut moves = Moves::all(at, act);
        if self.exemption() != Exemption::None {
            moves.order = Act::Nothing;
        }
        if self.domains_free_until().is_some() {
            moves.domains = Act::Nothing;
        }
        moves
    }
}

/// What happens to a permit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// The holder is about to send the order. It is durable before the first byte goes out.
    Sent,
    /// The CA has taken the order: its token is spent. Without this event that is known at the end only.
    Accepted,
    /// The certificate has come (commit).
    Issued,
    /// The order is dead, without a certificate: because of validations that failed, or for another reason.
    Failed,
    /// The CA has refused the order: nothing of it counts, and a bucket is emptier than was thought.
    Refused {
        /// The first instant at which the CA may say yes; `None`: it did not say.
        retry_at: Option<Timestamp>,
    },
    /// The holder gives it back; the order was never sent.
    Cancelled,
    /// The holder needs longer.
    Extended {
        /// When the lease is to end; an earlier end than it has changes nothing.
        lease_end: Timestamp,
    },
    /// The lease may have run out: if so, it has.
    Lapsed,
    /// The holder does not know what came of the order (a timeout after sending, a crash).
    Lost,
    /// A certificate has been seen that came of it.
    Found {
        /// When it was issued.
        issued_at: Timestamp,
    },
    /// It is known that no certificate came, nor will.
    NotFound,
}

/// What becomes of one token.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Act {
    /// Nothing.
    #[default]
    Nothing,
    /// It is set aside.
    Hold,
    /// The one set aside is spent.
    Spend,
    /// The one set aside is given back.
    Release,
    /// One that was not set aside is spent.
    Charge,
}

/// What must be done to the buckets of a permit's order, at [`Self::at`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Moves {
    /// When: the time of the event, but never before the one that was told last.
    pub at: Timestamp,
    /// The account's order bucket.
    pub order: Act,
    /// Every domain's bucket.
    pub domains: Act,
    /// The set's bucket.
    pub set: Act,
    /// The failure bucket of each name that failed. A spend or a charge goes to the name's pausing bucket as well.
    pub failed: Act,
    /// The failure bucket of every other name.
    pub unfailed: Act,
    /// The bucket which the CA named is empty until then; if it named none, all that the order asks.
    pub raise: Option<Timestamp>,
    /// A certificate of exactly this set was seen, issued no earlier than then: from now on its renewals are exempt.
    pub seen: Option<Timestamp>,
}

impl Moves {
    fn all(at: Timestamp, act: Act) -> Self {
        Self { at, order: act, domains: act, set: act, failed: act, unfailed: act, raise: None, seen: None }
    }

    /// What becomes of the token of `part`; `failed`: its name is one of those that failed.
    #[must_use]
    pub const fn act(&self, part: Part, failed: bool) -> Act {
        match part {
            Part::Order => self.order,
            Part::Domain => self.domains,
            Part::Set => self.set,
            Part::Failures(_) if failed => self.failed,
            Part::Failures(_) => self.unfailed,
        }
    }
}

/// An event that makes no sense for a permit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PermitError {
    /// There is none of that number.
    #[error("there is no permit {}", .0.0)]
    Missing(PermitId),
    /// The machine has no such transition.
    #[error("a permit that is {state:?} can't be {event:?}")]
    Nonsense {
        /// Where the permit is.
        state: State,
        /// What was told.
        event: Event,
    },
    /// Too late to send or to extend: others may have the set by now.
    #[error("the lease has run out at {0}")]
    LeaseOver(Timestamp),
    /// Too late to send: it would count in full. Cancel it and ask again.
    #[error("the exemption ended at {0}")]
    ClaimOver(Timestamp),
}

/// What a permit is given for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// Account and name set.
    pub order: OrderId,
    /// To whom.
    pub holder: Holder,
    /// What exempts it.
    pub claim: Claim,
    /// Whether the holder says when it sends.
    pub sending: Sending,
}

/// What is stored of a permit's life beside its [`Terms`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Life {
    /// Where it is.
    pub state: State,
    /// When it was reserved.
    pub reserved_at: Timestamp,
    /// When the lease ends: the first instant outside.
    pub lease_end: Timestamp,
    /// When it was changed last; `None`: it is as it was reserved. Every decision writes one of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<Timestamp>,
    /// Whether the CA has counted the order for sure, and its token is spent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub accepted: bool,
    /// When all that it held was spent because nobody knew what came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_at: Option<Timestamp>,
}

impl Life {
    /// When something happened to it last.
    #[must_use]
    pub fn last_at(&self) -> Timestamp {
        self.changed_at.unwrap_or(self.reserved_at)
    }
}

/// A permit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Permit {
    terms: Terms,
    life: Life,
}

impl Permit {
    /// Reserves: the caller has found that all tokens are there.
    #[must_use]
    pub fn reserve(terms: Terms, lease_end: Timestamp, now: Timestamp) -> (Self, Moves) {
        let life = Life {
            state: State::Reserved,
            reserved_at: now,
            lease_end,
            changed_at: None,
            accepted: false,
            lost_at: None,
        };
        (Self { terms, life }, terms.claim.reserves(now))
    }

    /// A permit that was stored.
    #[must_use]
    pub const fn restore(terms: Terms, life: Life) -> Self {
        Self { terms, life }
    }

    /// What it is given for.
    #[must_use]
    pub const fn terms(&self) -> Terms {
        self.terms
    }

    /// What is to be stored of its life.
    #[must_use]
    pub const fn life(&self) -> Life {
        self.life
    }

    /// Where it is in its life.
    #[must_use]
    pub const fn state(&self) -> State {
        self.life.state
    }

    /// When its lease ends: the first instant outside.
    #[must_use]
    pub const fn lease_end(&self) -> Timestamp {
        self.life.lease_end
    }

    /// `act` for every token that it holds.
    fn held(&self, at: Timestamp, act: Act) -> Moves {
        let mut moves = self.terms.claim.held(at, act);
        if self.life.accepted {
            moves.order = Act::Nothing;
        }
        moves
    }
}

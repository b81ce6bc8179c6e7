//! What a run tells while it goes on, for those who want to see every step.

use crate::limits::LimitName;
use crate::rules::Exemption;
use crate::time::{Span, Timestamp};

/// A step of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// Whose it is: [`super::Setup::client`] has the name.
    pub client: Option<u32>,
    /// The certificate it is about, through all its renewals. The set-up's come first, then those split off from others.
    pub lineage: Option<u32>,
    /// Its names: [`super::Setup::name`] has the text.
    pub names: Box<[u32]>,
    /// What.
    pub step: Step,
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// The ledger of a `certpace` client gave a permit, for an order that is exempt or not.
    Permitted(Exemption),
    /// It gave none: not before then.
    Waits {
        /// The limit that takes longest.
        limit: LimitName,
        /// Whose bucket.
        key: String,
        /// When it has the token.
        until: Timestamp,
    },
    /// The certificate's names are fewer from now on, or it is new: one name of another certificate.
    Split,
    /// A client does not know what came of its order.
    Forgotten,
    /// An order was let through.
    Ordered(Exemption),
    /// It was refused: 429.
    Refused {
        /// The limit that the CA named.
        limit: LimitName,
        /// Whose bucket.
        key: String,
        /// What it said, if anything.
        retry_after: Option<Span>,
    },
    /// It was refused because a name is paused.
    Paused,
    /// It was refused: the certificate that it names is replaced already.
    AlreadyReplaced,
    /// A request was answered with 503.
    Busy(Span),
    /// A request was not answered.
    Unreachable,
    /// The order's names were validated.
    Validated,
    /// So many of its names failed.
    Invalid(u32),
    /// It took too long, or an authorization ran out under it.
    Expired,
    /// Its certificate was issued, valid until then.
    Issued(Timestamp),
    /// The same, and nobody was there to get it.
    Lost(Timestamp),
    /// An order was given up by a client that had crashed.
    Abandoned,
    /// Somebody else got a certificate on one of our registered domains, or was refused.
    Stranger(bool),
    /// An event of the scenario, by its place, begins or ends.
    Event {
        /// Which.
        place: usize,
        /// Whether it begins.
        begins: bool,
    },
}

//! What a store is asked: one decision, all or nothing. It is plain data, made from the model by the gate; a store does the spend
//! arithmetic alone and knows no limit.

use crate::gcra::Quota;
use crate::permits::Act;
use crate::time::Timestamp;

/// How far a ledger has come. Every change moves the sequence number on; [a recovery](Step::opens_epoch) moves the epoch on. A ledger that
/// shows less than was seen of it has lost something.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Mark {
    /// Which life of the ledger it is: 1, or the second since 1970 in which it was recovered or made anew after a loss. So a later life is
    /// always above an earlier one, also if nothing is left that would say how many there were.
    pub epoch: u64,
    /// How many changes there were.
    pub sequence: u64,
}

/// One decision, and what is to be done if it is a yes.
///
/// A store goes through it in this order, within one atomic step, with the time read after it has got hold of the rows:
/// 1. [`known`](Self::known) is higher than the ledger's mark: [`Outcome::WentBack`].
/// 2. The time lies outside [`valid`](Self::valid), a document of [`expect`](Self::expect) has another version, or leases are overdue and
///    [`settled`](Self::settled) is set: [`Outcome::Moved`], with what the caller did not know. Of an earlier epoch than the ledger's it
///    knows no document any more.
/// 3. A bucket is in the way: [`Outcome::Blocked`], with every one of them.
/// 4. All moves and writes are done, in order; the record is appended: [`Outcome::Done`].
///
/// Nothing changes but in 4. A step without moves, writes and record is a question: it changes nothing at all, the mark included.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// Whose rows they are: [`super::Realm::code`].
    pub realm: String,
    /// The highest mark that the caller has seen.
    pub known: Mark,
    /// The instants for which the step was made: from the first, to before the second.
    pub valid: (Timestamp, Timestamp),
    /// Documents by name, and the version that the caller knows of each.
    pub expect: Vec<(String, Version)>,
    /// Whether overdue leases have to be dealt with first.
    pub settled: bool,
    /// The buckets that asks and moves speak of, by place.
    pub buckets: Vec<Bucket>,
    /// What has to fit.
    pub asks: Vec<Ask>,
    /// What becomes of tokens.
    pub moves: Vec<Move>,
    /// Documents to be written.
    pub writes: Vec<Write>,
    /// What is to be appended to the record. Where a write says the same, a store that is far away is sent it once.
    pub record: Option<String>,
    /// Whether a new epoch begins.
    pub opens_epoch: bool,
}

/// What a caller knows of a document.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// Nothing: it asks for it.
    Unknown,
    /// There was none.
    Absent,
    /// It was written by the change of this sequence number.
    Written(u64),
}

/// A bucket as a store sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bucket {
    /// Limit and key: [`super::bucket_name`].
    pub name: String,
    /// How much it holds and how fast it fills, in whole microseconds: [`Quota::in_micros`].
    pub quota: Quota,
    /// A TAT which it has at least, whatever the store knows: after a loss.
    pub floor: Option<Timestamp>,
}

/// A question to a bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ask {
    /// Its place among the step's buckets.
    pub bucket: usize,
    /// How much of its burst may be used: at least 1, at most all.
    pub burst: u32,
    /// How many tokens have to fit beside those that are held. With 0 what is held has to fit.
    pub tokens: u32,
    /// Whether the CA asks the bucket. If not, it stands in the way only of those whom it has been asked for.
    pub asked: bool,
    /// As many tokens more as this other bucket holds; no more than the burst in all.
    pub beside: Option<usize>,
}

/// What becomes of a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Move {
    /// The bucket's place among the step's buckets.
    pub bucket: usize,
    /// What.
    pub motion: Motion,
}

/// How a bucket changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Motion {
    /// One token is set aside; `asked`: the CA will ask for it.
    Hold {
        /// Whether the CA asks.
        asked: bool,
    },
    /// The one set aside is spent.
    Spend {
        /// As it was held.
        asked: bool,
    },
    /// The one set aside is given back.
    Release {
        /// As it was held.
        asked: bool,
    },
    /// One that was not set aside is spent, then or at the time of the step.
    Charge {
        /// When it was spent, if that is past.
        at: Option<Timestamp>,
    },
    /// One is spent if it is there; if not, [`Outcome::Done`] says so.
    Try,
    /// The CA gives no token before then.
    Raise {
        /// When it may.
        until: Timestamp,
    },
}

impl Motion {
    /// The motion for `act`; `None` for [`Act::Nothing`].
    #[must_use]
    pub const fn of(act: Act, asked: bool) -> Option<Self> {
        match act {
            Act::Nothing => None,
            Act::Hold => Some(Self::Hold { asked }),
            Act::Spend => Some(Self::Spend { asked }),
            Act::Release => Some(Self::Release { asked }),
            Act::Charge => Some(Self::Charge { at: None }),
        }
    }
}

/// A document to be written. Its version becomes the sequence number of the change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Write {
    /// Its name.
    pub name: String,
    /// What it says from now on; `None`: it is taken away.
    pub body: Option<String>,
    /// When somebody has to look after it, if ever.
    pub lease: Option<Timestamp>,
}

/// A document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Document {
    /// Its name.
    pub name: String,
    /// Its version: [`Version::Absent`] if there is none.
    pub version: Version,
    /// What it says; empty if there is none.
    pub body: String,
}

/// The answer to a step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// When it was decided, by the store's clock.
    pub at: Timestamp,
    /// How far the ledger has come, with this step.
    pub mark: Mark,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is done; durable when the store returns.
    Done {
        /// Buckets of [`Motion::Try`] that had no token.
        denied: Vec<usize>,
    },
    /// Every bucket in the way, and when it has the tokens.
    Blocked(Vec<(usize, Timestamp)>),
    /// The caller did not know what it has to know.
    Moved {
        /// The documents of which it knew another version.
        documents: Vec<Document>,
        /// Names of documents whose lease has ended, not all if there are many. Only if [`Step::settled`] is set.
        overdue: Vec<String>,
    },
    /// The caller has seen a higher mark.
    WentBack,
}

impl Step {
    /// A step for `realm` that asks and does nothing yet.
    #[must_use]
    pub fn new(realm: String, known: Mark) -> Self {
        Self {
            realm,
            known,
            valid: (Timestamp::from_unix_nanos(i64::MIN), Timestamp::from_unix_nanos(i64::MAX)),
            expect: Vec::new(),
            settled: false,
            buckets: Vec::new(),
            asks: Vec::new(),
            moves: Vec::new(),
            writes: Vec::new(),
            record: None,
            opens_epoch: false,
        }
    }

    /// Whether it may change something.
    #[must_use]
    pub fn changes(&self) -> bool {
        !self.moves.is_empty() || !self.writes.is_empty() || self.record.is_some() || self.opens_epoch
    }
}

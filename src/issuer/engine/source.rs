//! Where an engine's work comes from: a plan, the store, or nowhere.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::Holding;
use crate::agent::Held;
use crate::issuer::order::Item;
use crate::issuer::store::{OpenOrder, Slot};
use crate::time::Timestamp;

/// A certificate that is wanted, or held and to be kept fresh.
#[derive(Clone, Debug)]
pub struct Work {
    /// What to order.
    pub item: Item,
    /// Not before.
    pub at: Timestamp,
    /// The certificate held.
    pub held: Option<(Held, Holding)>,
    /// An order of it that an earlier process has left, and in which slot.
    pub open: Option<(OpenOrder, Arc<Slot>)>,
}

/// Why nothing comes from a source.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// Where orders come from, by time: there may be millions.
pub trait Source {
    /// When the next one is to go out; `None`: there are no more.
    ///
    /// # Errors
    /// Where it can't be read.
    fn next_at(&mut self) -> Result<Option<Timestamp>, SourceError>;

    /// The next one.
    ///
    /// # Errors
    /// Where it can't be read.
    fn take(&mut self) -> Result<Option<Work>, SourceError>;

    /// How many orders were not taken yet; `None`: it is no plan, or nobody knows.
    fn to_come(&self) -> Option<u64> {
        None
    }

    /// How many orders it has left out, since nobody asked for them.
    fn left_out(&self) -> u64 {
        0
    }

    /// Looks whether it has changed. Called again and again; `None`: it has not, as far as is known.
    ///
    /// # Errors
    /// Where nothing can go on.
    fn look(&mut self) -> Result<Option<News>, SourceError> {
        Ok(None)
    }

    /// How long until it is to be looked at, by the clock; `None`: it never changes, and what it has is all that will come.
    fn look_in(&self) -> Option<Duration> {
        None
    }
}

/// How a source has changed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct News {
    /// Orders of the plan that it gave and that are not wanted any more, by number.
    pub withdrawn: BTreeSet<u64>,
    /// What people should know.
    pub told: Option<String>,
    /// Something is wrong with it, and it is as it was: what.
    pub trouble: Option<String>,
}

/// A source that has nothing.
#[derive(Clone, Copy, Debug)]
pub struct Nothing;

impl Source for Nothing {
    fn next_at(&mut self) -> Result<Option<Timestamp>, SourceError> {
        Ok(None)
    }

    fn take(&mut self) -> Result<Option<Work>, SourceError> {
        Ok(None)
    }
}

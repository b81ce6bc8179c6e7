//! Which orders of a plan are issued, as the ledger knows it: for a plan that goes on with another one.

use std::collections::{BTreeMap, BTreeSet};

use super::Gate;
use super::document::{PERMIT, SET, SetState, Task, read};
use super::permitted::Permitted;
use super::request::GateError;
use crate::ledger::{Document, LedgerError};
use crate::name::SetKey;
use crate::permits::State;

/// What is issued of a plan, by the numbers of its orders.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IssuedOrders {
    sets: BTreeSet<(u64, SetKey)>,
    /// The names of each certificate.
    parts: BTreeMap<u64, Vec<Vec<String>>>,
}

impl IssuedOrders {
    /// Whether that order is issued, which has the set `set` in the plan.
    #[must_use]
    pub fn has(&self, order: u64, set: SetKey) -> bool {
        self.sets.contains(&(order, set))
    }

    /// The names of each certificate that came of an order, also where it was split; without those that nobody remembers any more.
    #[must_use]
    pub fn parts(&self, order: u64) -> &[Vec<String>] {
        self.parts.get(&order).map_or(&[], Vec::as_slice)
    }

    /// Whether nothing is issued.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty() && self.parts.is_empty()
    }

    fn learn(&mut self, plan: &str, document: &Document) -> Result<(), LedgerError> {
        let of_plan = |task: Option<Task>| task.filter(|task| task.plan == plan).map(|task| task.order);
        if let Some(set) = document.name.strip_prefix(SET).and_then(SetKey::parse) {
            let state: Option<SetState> = read(document)?;
            let order = state.and_then(|state| of_plan(state.task));
            self.sets.extend(order.map(|order| (order, set)));
        } else if let Some(permit) = read::<Permitted>(document)?.filter(|permit| permit.life.state == State::Issued)
            && let Some(order) = of_plan(permit.task)
        {
            self.parts.entry(order).or_default().push(permit.names);
        }
        Ok(())
    }
}

impl Gate {
    /// What is issued of the plan with that hash. A set says by which order it was issued last; an order that was split, because one of its
    /// names failed, has left sets that no plan knows, of which the permits tell the names for as long as they are kept.
    ///
    /// # Errors
    /// [`GateError`] where the ledger can't be read, or is shared within the process.
    pub fn issued_orders(&mut self, plan: &str) -> Result<IssuedOrders, GateError> {
        let code = self.code.clone();
        // There may be a million documents: only those of the plan are read.
        let of_plan = memchr::memmem::Finder::new(plan);
        let mut issued = Ok(IssuedOrders::default());
        self.with_store(|store| {
            for prefix in [SET, PERMIT] {
                store.documents(&code, prefix, &mut |document| {
                    if let Ok(known) = &mut issued
                        && of_plan.find(document.body.as_bytes()).is_some()
                        && let Err(error) = known.learn(plan, &document)
                    {
                        issued = Err(error);
                    }
                })?;
            }
            Ok(())
        })?;
        Ok(issued?)
    }
}

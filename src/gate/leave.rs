//! Leave to send one order: what the one function that can send an order takes.

use super::Gate;
use super::document::{SetState, Task, set_document, text};
use super::permitted::Permitted;
use super::record::Entry;
use super::request::{GateError, Told};
use crate::ledger::{Realm, Step, Write};
use crate::name::NameSet;

/// Leave to send one order. Only the gate makes one, at the moment when it has noted that the order goes out, and it can't be had twice: it is
/// no `Clone`, and whoever sends an order takes it away. So the compiler holds that no order goes out which the ledger does not know.
///
/// Nobody else can make one:
///
/// ```compile_fail,E0451
/// fn forged(told: certpace::gate::Told, realm: certpace::ledger::Realm) -> certpace::gate::Permit {
///     certpace::gate::Permit { told: Box::new(told), realm }
/// }
/// ```
///
/// nor use one twice:
///
/// ```compile_fail,E0382
/// # use certpace::gate::Permit;
/// # fn send(permit: Permit) {}
/// fn twice(permit: Permit) {
///     send(permit);
///     send(permit);
/// }
/// ```
#[derive(Debug)]
#[must_use = "the ledger has noted that the order goes out"]
pub struct Permit {
    told: Box<Told>,
    realm: Realm,
}

impl Permit {
    pub(super) fn new(told: Told, realm: Realm) -> Self {
        Self { told: Box::new(told), realm }
    }

    /// What was noted.
    #[must_use]
    pub fn told(&self) -> &Told {
        &self.told
    }

    /// For which order: account, names, profile, and what it replaces.
    #[must_use]
    pub fn order(&self) -> &Permitted {
        &self.told.permit
    }

    /// At which CA.
    #[must_use]
    pub const fn realm(&self) -> &Realm {
        &self.realm
    }
}

impl Gate {
    /// An order of a plan is settled without its set being issued: its names go out another way. Nobody gets a permit for it any more.
    ///
    /// # Errors
    /// [`GateError`] where the ledger can't be written.
    pub fn settle(&mut self, names: &NameSet, task: &Task, by: &str) -> Result<(), GateError> {
        let set = set_document(&names.key().to_string());
        self.decide(std::slice::from_ref(&set), false, |gate, view| {
            let state: SetState = view.read(&set)?.unwrap_or_default();
            let mut step = Step::new(gate.code.clone(), gate.known);
            if state.task.as_ref() != Some(task) {
                let state = SetState { task: Some(task.clone()), ..state };
                step.writes.push(Write { name: set.clone(), body: Some(text(&state)), lease: None });
                step.record = Some(Entry::new("settle", None, by).with("task", Some(task)).text_with(&step));
            }
            Ok((step, ()))
        })?;
        Ok(())
    }
}

//! Leave to send one order: what the one function that can send an order takes.

use super::document::Permitted;
use super::request::Told;
use crate::ledger::Realm;

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

//! What is ordered, and by whom.

use std::sync::Arc;

use crate::issuer::challenge::Kind;
use crate::issuer::key::AccountKey;
use crate::issuer::store::PlanOrder;
use crate::name::NameSet;

/// An account that orders.
#[derive(Clone, Debug)]
pub struct Orderer {
    /// What it is called in the store.
    pub name: String,
    /// Its URL.
    pub url: String,
    /// Its key.
    pub key: Arc<AccountKey>,
}

/// What is ordered.
#[derive(Clone, Debug)]
pub struct Item {
    /// The names.
    pub names: NameSet,
    /// By whom.
    pub account: Arc<Orderer>,
    /// Under which profile; `None`: the CA's choice.
    pub profile: Option<String>,
    /// Whose certificate it is.
    pub tenant: Option<String>,
    /// How its names are to be validated; `None`: as it fits.
    pub challenge: Option<Kind>,
    /// Which order of which plan it is.
    pub plan: Option<PlanOrder>,
}

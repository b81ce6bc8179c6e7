//! What has passed of orders, authorizations and certificates. URLs are known by their paths, since the proxy may have several names.

use rustc_hash::{FxHashMap, FxHashSet};

use super::call::Account;
use crate::name::{Identifier, NameSet};
use crate::rules::{OrderId, Pair};
use crate::time::Timestamp;

/// An order that the CA has made.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) id: OrderId,
    /// The paths of its authorizations.
    pub(super) authorizations: Vec<String>,
    /// Whether its certificate has been counted.
    pub(super) issued: bool,
    /// Whether the CA says that nothing will come of it.
    pub(super) invalid: bool,
}

/// How an authorization stood when it was seen last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum State {
    #[default]
    Unseen,
    Pending,
    Valid,
    /// Failed, deactivated, expired or revoked: it is over.
    Over,
}

/// An authorization: whose it is and how it stood.
#[derive(Clone, Debug, Default)]
pub(super) struct Authorization {
    pub(super) name: Option<Identifier>,
    pub(super) state: State,
}

/// A certificate that was downloaded.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    /// The account that did.
    pub(super) account: String,
    pub(super) names: NameSet,
}

/// All that has passed.
#[derive(Debug, Default)]
pub(super) struct Passed {
    /// By path: an account's URL as it was written first.
    accounts: FxHashMap<String, String>,
    /// Keys that have an account.
    pub(super) keys: FxHashSet<String>,
    /// By the path of finalize, which is in every order's object.
    pub(super) orders: FxHashMap<String, Order>,
    pub(super) authorizations: FxHashMap<String, Authorization>,
    /// By path of a challenge: that of its authorization.
    pub(super) challenges: FxHashMap<String, String>,
    /// By id in renewal information.
    pub(super) certificates: FxHashMap<String, Certificate>,
    /// By the same: the path of finalize of the order that replaces it.
    pub(super) replacements: FxHashMap<String, String>,
    /// Until when account and name need no new validation, in the CA's own time.
    pub(super) authorized_until: FxHashMap<Pair, Timestamp>,
    /// Accounts and names that are paused, in the order in which they were.
    pub(super) paused: Vec<(String, Identifier)>,
}

impl Passed {
    /// The one name under which the account is counted.
    pub(super) fn account(&mut self, account: &Account) -> String {
        self.accounts.entry(account.path.clone()).or_insert_with(|| account.url.clone()).clone()
    }

    /// Whether an order that replaces the certificate can still be finished, or was.
    pub(super) fn is_replaced(&self, certificate: &str) -> bool {
        let order = self.replacements.get(certificate).and_then(|finalize| self.orders.get(finalize));
        let is_over = |path: &String| self.authorizations.get(path).is_some_and(|of| of.state == State::Over);
        order.is_some_and(|order| order.issued || !(order.invalid || order.authorizations.iter().any(is_over)))
    }

    /// Whether `replaces` may name that certificate for an order of `account` for `names`: it is the account's own and shares a name. One
    /// that never passed is the CA's to judge.
    pub(super) fn may_replace(&self, certificate: &str, account: &str, names: &NameSet) -> bool {
        let shares = |of: &Certificate| of.names.identifiers().iter().any(|name| names.identifiers().contains(name));
        self.certificates.get(certificate).is_none_or(|of| of.account == account && shares(of))
    }
}

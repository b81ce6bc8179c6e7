//! Sending a new order: the one place that does, and it takes a permit.

use instant_acme::{CertificateIdentifier, Identifier as Wanted, NewOrder, Order};

use super::wire::{AcmeError, Session, Wire};
use crate::gate::Permit;
use crate::name::Identifier;

/// An order that the CA has made.
pub(super) struct Sent {
    /// Its URL.
    pub(super) url: String,
    /// The order; `None` where the CA made one and the answer could not be taken for it, such as without the `replaces` that was asked for.
    pub(super) order: Option<Order>,
}

/// Sends the order that the permit is for: its names, its profile, what it replaces, and nothing else.
///
/// # Errors
/// What came instead of an order. The permit is used up all the same: what became of it is to be told to the gate.
pub(super) async fn new_order(wire: &Wire, session: &Session, permit: Permit) -> Result<Sent, AcmeError> {
    let local = |what: String| AcmeError::Local { what };
    let wanted = permit.order();
    let account = session.account();
    if wanted.account != account.id() || permit.realm().directory() != wire.directory().url {
        let (of, at) = (&wanted.account, permit.realm());
        let (to, directory) = (account.id(), &wire.directory().url);
        return Err(local(format!("the permit is for the account {of} at {at}, not for {to} at {directory}")));
    }
    let mut identifiers = Vec::with_capacity(wanted.names.len());
    for name in &wanted.names {
        identifiers.push(match Identifier::parse(name) {
            Ok(Identifier::Dns(name)) => Wanted::Dns(name.to_string()),
            Ok(Identifier::Ip(address)) => Wanted::Ip(address),
            Err(error) => return Err(local(format!("`{name}`: {error}"))),
        });
    }
    let mut order = NewOrder::new(&identifiers);
    // As JSON, since the library reads it from there alone.
    let replaces = wanted.replaces.as_ref().map(|id| serde_json::Value::from(id.as_str()).to_string());
    if let Some(replaces) = &replaces {
        let id: CertificateIdentifier<'_> =
            serde_json::from_str(replaces).map_err(|error| local(format!("the certificate id {replaces}: {error}")))?;
        order = order.replaces(id);
    }
    // A CA that has no profiles refuses to be told one.
    if let Some(profile) = wanted.profile.as_ref().filter(|_| !wire.directory().profiles.is_empty()) {
        order = order.profile(profile);
    }
    let made = account.new_order(&order).await;
    match made {
        Ok(order) => Ok(Sent { url: order.url().to_owned(), order: Some(order) }),
        Err(error) => {
            let seen = session.seen();
            match (seen.status, seen.location) {
                (Some(200..300), Some(url)) => Ok(Sent { url, order: None }),
                _ => Err(session.error(error)),
            }
        }
    }
}

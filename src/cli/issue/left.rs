//! What an earlier process has left: orders under way, parts of orders of which a name failed, and commands that are still to run.

use std::sync::Arc;

use super::start::AccountBook;
use crate::issuer::challenge::Kind;
use crate::issuer::engine::Work;
use crate::issuer::order::{Item, Orders};
use crate::issuer::store::{OpenOrder, Slot, Split};
use crate::name::NameSet;

/// What it has left, of accounts at this CA.
pub struct Left {
    /// Orders that may have been sent: in the slot of this process, and in slots that nobody has any more.
    pub open: Vec<Work>,
    /// Parts that are not split themselves, each with the names that it was split from.
    pub parts: Vec<(Work, NameSet)>,
    /// Certificates after which a command is still to run, whoever ordered them.
    pub undeployed: Vec<Undeployed>,
}

/// A certificate after which a command is still to run: the slot says so until it has.
pub struct Undeployed {
    /// Its names.
    pub names: NameSet,
    /// The slot.
    pub slot: Arc<Slot>,
    /// Under which permit.
    pub permit: String,
}

/// Finds what was left: of a plan, and all orders that are under way; or with `None` only what is of no plan.
///
/// # Errors
/// Where the store can't be read, or an account is gone from it.
pub fn find(plan: Option<&str>, orders: &Orders, accounts: &mut AccountBook) -> anyhow::Result<Left> {
    let mut left = Left { open: Vec::new(), parts: Vec::new(), undeployed: Vec::new() };
    let others = orders.store.orphans()?.into_iter().map(Arc::new);
    for slot in std::iter::once(Arc::clone(&orders.slot)).chain(others) {
        let undeployed = slot.undeployed()?.into_iter();
        left.undeployed.extend(undeployed.map(|(permit, names)| Undeployed { names, slot: Arc::clone(&slot), permit }));
        for open in slot.open_orders()? {
            if (plan.is_some() || open.plan.is_none()) && !accounts.is_elsewhere(&open.account)? {
                let (item, at) = (item_of_order(&open, accounts)?, open.sent_at.unwrap_or_default());
                left.open.push(Work { item, at, held: None, open: Some((open, Arc::clone(&slot))) });
            }
        }
    }
    for (names, split) in orders.store.parts(plan)? {
        if !accounts.is_elsewhere(&split.account)? {
            let item = item_of_part(names, &split, accounts)?;
            left.parts.push((Work { item, at: orders.desk.now(), held: None, open: None }, split.names));
        }
    }
    Ok(left)
}

fn item_of_order(open: &OpenOrder, accounts: &mut AccountBook) -> anyhow::Result<Item> {
    Ok(Item {
        names: open.names.clone(),
        account: accounts.of(&open.account)?,
        profile: open.profile.clone(),
        tenant: open.tenant.clone(),
        challenge: open.challenge.as_deref().and_then(Kind::parse),
        plan: open.plan.clone(),
    })
}

fn item_of_part(names: NameSet, split: &Split, accounts: &mut AccountBook) -> anyhow::Result<Item> {
    Ok(Item {
        names,
        account: accounts.of(&split.account)?,
        profile: split.profile.clone(),
        tenant: split.tenant.clone(),
        challenge: split.challenge.as_deref().and_then(Kind::parse),
        plan: split.plan.clone(),
    })
}

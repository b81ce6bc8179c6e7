//! What an order waited for, by name: a bucket, or a delay.

use super::jobs::Lane;
use super::opening::{Cause, Opening};
use super::schedule::Bound;
use crate::inventory::Inventory;
use crate::limits::LimitName;

/// What orders wait for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Bucket {
    Account(u32),
    Lane(Lane),
    /// None, but a delay: a place among the opening's.
    Delay(u32),
}

/// What a bound stands for, given how many accounts there are and the lanes that were tight.
pub(super) fn bucket_of(bound: Bound, accounts: usize, lanes: &[Lane]) -> Option<Bucket> {
    Some(match bound.bucket(accounts)? {
        Ok(account) => Bucket::Account(u32::try_from(account).ok()?),
        Err(place) => match lanes.get(place) {
            Some(lane) => Bucket::Lane(*lane),
            None => Bucket::Delay(u32::try_from(place - lanes.len()).ok()?),
        },
    })
}

impl Bucket {
    /// What it is and its key, as text.
    pub(super) fn describe(self, inventory: &Inventory, opening: Option<&Opening>) -> Option<(Cause, String)> {
        let (limit, key) = match self {
            Self::Account(account) => (LimitName::NewOrdersPerAccount, inventory.accounts[account as usize].clone()),
            Self::Lane(lane) => match lane.account() {
                None => (LimitName::CertificatesPerDomain, inventory.domain(lane.domain).to_owned()),
                Some(account) => {
                    let account = &inventory.accounts[account as usize];
                    (LimitName::CertificatesPerDomainPerAccount, format!("{account} {}", inventory.domain(lane.domain)))
                }
            },
            Self::Delay(place) => {
                let delay = opening?.delay(place);
                return Some((delay.cause, delay.key.clone()));
            }
        };
        Some((Cause::Limit(limit), key))
    }
}

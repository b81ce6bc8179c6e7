//! What headroom, reserve and overrides leave of the limits for a plan.

use super::Options;
use super::jobs::Lane;
use crate::gcra::Quota;
use crate::inventory::Inventory;
use crate::limits::{LimitName, Limits};

/// What is left of the limits for the plan.
pub(super) struct Usable<'a> {
    pub(super) inventory: &'a Inventory,
    pub(super) limits: &'a Limits,
    pub(super) options: &'a Options,
    domain_overrides: bool,
}

impl<'a> Usable<'a> {
    pub(super) fn new(inventory: &'a Inventory, limits: &'a Limits, options: &'a Options) -> Self {
        let domain_overrides = limits.overrides.has_any(LimitName::CertificatesPerDomain);
        Self { inventory, limits, options, domain_overrides }
    }

    pub(super) fn full_account(&self, account: usize) -> Option<Quota> {
        self.limits.quota(LimitName::NewOrdersPerAccount, &self.inventory.accounts[account])
    }

    pub(super) fn account(&self, account: usize) -> Option<Quota> {
        let quota = self.full_account(account)?;
        let quota = quota.with_burst_at_most(self.options.headroom.leaves(quota.burst()));
        // `plan` has refused a reserve that leaves nothing.
        quota.slowed(self.options.reserve_rate.parts()).ok().or(Some(quota))
    }

    pub(super) fn full_lane(&self, lane: Lane) -> Option<Quota> {
        match lane.account() {
            Some(account) => self
                .limits
                .quota(LimitName::CertificatesPerDomainPerAccount, &self.inventory.accounts[account as usize]),
            None if self.domain_overrides => {
                self.limits.quota(LimitName::CertificatesPerDomain, self.inventory.domain(lane.domain))
            }
            None => self.limits.policy.limit(LimitName::CertificatesPerDomain).map(|limit| limit.quota),
        }
    }

    pub(super) fn lane(&self, lane: Lane) -> Option<Quota> {
        self.full_lane(lane).map(|quota| quota.with_burst_at_most(self.options.headroom.leaves(quota.burst())))
    }
}

//! What headroom, reserve, overrides and what was spent before leave of the limits for a plan.

use rustc_hash::FxHashMap;

use super::Options;
use super::jobs::Lane;
use super::opening::Opening;
use super::stock::Stock;
use crate::dense::dense;
use crate::gcra::Quota;
use crate::inventory::Inventory;
use crate::limits::{LimitName, Limits};

/// What is left of the limits for the plan.
pub(super) struct Usable<'a> {
    pub(super) inventory: &'a Inventory,
    pub(super) limits: &'a Limits,
    pub(super) options: Options,
    /// `None`: all buckets are full.
    pub(super) opening: Option<&'a Opening>,
    /// Overrides by domain, as far as the inventory has it.
    domain_overrides: FxHashMap<u32, Quota>,
}

impl<'a> Usable<'a> {
    pub(super) fn new(
        inventory: &'a Inventory,
        limits: &'a Limits,
        options: Options,
        opening: Option<&'a Opening>,
    ) -> Self {
        let overrides = limits.overrides.iter().filter(|of| of.name == LimitName::CertificatesPerDomain);
        let domain_overrides =
            overrides.filter_map(|of| Some((inventory.domain_named(of.id)?, of.limit.quota))).collect();
        Self { inventory, limits, options, opening, domain_overrides }
    }

    pub(super) fn full_account(&self, account: usize) -> Option<Quota> {
        self.limits.quota(LimitName::NewOrdersPerAccount, &self.inventory.accounts[account])
    }

    pub(super) fn account(&self, account: usize) -> Option<Stock> {
        let full = self.full_account(account)?;
        let quota = self.but_headroom(full);
        // `plan` has refused a reserve that leaves nothing.
        let quota = quota.slowed(self.options.reserve_rate.parts()).unwrap_or(quota);
        let spent = self.opening.map(|opening| opening.of_account(self.inventory, dense(account)));
        Some(Stock::new(full, quota, spent.unwrap_or_default(), self.options.start))
    }

    pub(super) fn full_lane(&self, lane: Lane) -> Option<Quota> {
        match lane.account() {
            Some(account) => self
                .limits
                .quota(LimitName::CertificatesPerDomainPerAccount, &self.inventory.accounts[account as usize]),
            None => self.domain_overrides.get(&lane.domain).copied().or_else(|| self.full_domain()),
        }
    }

    /// A domain's bucket over all accounts, where it has no override.
    fn full_domain(&self) -> Option<Quota> {
        self.limits.policy.limit(LimitName::CertificatesPerDomain).map(|limit| limit.quota)
    }

    /// Less what is left to orders that nobody planned.
    fn but_headroom(&self, full: Quota) -> Quota {
        full.with_burst_at_most(self.options.headroom.leaves(full.burst()))
    }

    /// What every domain's bucket over all accounts can give at the start, whichever domain it is; 0 where that is not known.
    pub(super) fn ample(&self) -> u32 {
        let bursts = self.domain_overrides.values().copied().chain(self.full_domain());
        let bursts = bursts.map(|full| self.but_headroom(full).burst());
        if self.opening.is_some() { 0 } else { bursts.min().unwrap_or_default() }
    }

    pub(super) fn lane(&self, lane: Lane) -> Option<Stock> {
        let full = self.full_lane(lane)?;
        let quota = self.but_headroom(full);
        let spent = self.opening.map(|opening| opening.of_lane(self.inventory, lane));
        Some(Stock::new(full, quota, spent.unwrap_or_default(), self.options.start))
    }
}

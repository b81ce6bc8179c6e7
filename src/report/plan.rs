//! `certpace plan`: the summary of a plan, and what to do next.
//!
//! The data is its JSON, of which `certpace_plan_summary` is the version; `summary` is that of the plan file ([`super::plan_file`]).

pub mod text;

use serde::Serialize;

use super::plan_file::LedgerIdentity;
use crate::inventory::Counts;
use crate::plan::advise::Advice;
use crate::plan::{Plan, Summary};
use crate::time::Timestamp;

/// What `certpace plan` answers.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct PlanReport<'a> {
    /// The version of this shape.
    pub certpace_plan_summary: u32,
    /// The policy's name.
    pub policy: &'a str,
    /// What the policy is.
    pub policy_title: &'a str,
    /// The first instant at which an order may go out.
    pub start: Timestamp,
    /// The share of bursts that is left alone.
    pub headroom: String,
    /// The share of the order bucket's refill that is left alone.
    pub reserve_rate: String,
    /// How late orders and issues may be.
    pub margin: String,
    /// What it starts from, where that is not full buckets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ledger: Option<LedgerIdentity>,
    /// What was read.
    pub inventory: &'a Counts,
    /// The plan in numbers.
    pub summary: &'a Summary,
    /// What would help.
    pub advice: Advice,
    /// Where the plan was written.
    pub plan_file: Option<String>,
    #[serde(skip)]
    accounts: usize,
    #[serde(skip)]
    mixed: bool,
}

impl<'a> PlanReport<'a> {
    /// The report on a plan that was written to `plan_file`.
    #[must_use]
    pub fn new(plan: &'a Plan<'_>, ledger: Option<LedgerIdentity>, advice: Advice, plan_file: Option<String>) -> Self {
        Self {
            certpace_plan_summary: 1,
            policy: &plan.limits.policy.name,
            policy_title: &plan.limits.policy.title,
            start: plan.options.start,
            headroom: plan.options.headroom.to_string(),
            reserve_rate: plan.options.reserve_rate.to_string(),
            margin: plan.margin().compact(),
            ledger,
            inventory: &plan.inventory.counts,
            summary: &plan.summary,
            advice,
            plan_file,
            accounts: plan.inventory.accounts.len(),
            mixed: plan.options.mix == crate::plan::Mix::Tenant,
        }
    }
}

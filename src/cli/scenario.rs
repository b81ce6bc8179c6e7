//! Reading scenarios and what they name: files beside them, a built-in policy or a file.

use std::path::Path;

use anyhow::Context as _;

use super::context::{overrides, policy, read};
use super::failure::Hint as _;
use super::plan_file::PlanFile;
use super::{Context, input};
use crate::limits::{Limits, Overrides};
use crate::plan::PlanError;
use crate::report::plan_file::read_order;
use crate::sim::scenario::InventorySource;
use crate::sim::setup::{PlannedOrder, SetupError};
use crate::sim::{Scenario, Setup, Surroundings};
use crate::time::Span;

/// A scenario with the files that it names.
#[derive(Debug)]
pub struct Loaded {
    /// What it says.
    pub scenario: Scenario,
    limits: Limits,
    sources: Vec<crate::inventory::Source>,
}

/// Reads a scenario and the files that it names, which lie relative to it.
///
/// # Errors
/// With the file, the line and the key.
pub fn load(path: &Path, context: &Context) -> anyhow::Result<Loaded> {
    let text = read(path, "the scenario")?;
    let scenario =
        Scenario::parse(&text).with_context(|| format!("{} is no valid scenario", path.display())).hint(KEYS)?;
    let beside = |file: &String| path.parent().unwrap_or_else(|| Path::new("")).join(file);
    let named = beside(&scenario.policy);
    let policy_name = if named.is_file() { named.display().to_string() } else { scenario.policy.clone() };
    let policy = policy(&policy_name).with_context(|| format!("{}: policy", path.display()))?;
    let overrides = match &scenario.overrides {
        Some(file) => overrides(&beside(file), &policy, context.suffixes(), context.terminal)?,
        None => Overrides::none(),
    };
    let sources = match &scenario.inventory {
        InventorySource::File(file) => {
            input::sources(&[beside(file)]).with_context(|| format!("{}: inventory.file", path.display()))?
        }
        InventorySource::Generated(_) => Vec::new(),
    };
    Ok(Loaded { scenario, limits: Limits { policy, overrides }, sources })
}

impl Loaded {
    /// Makes it ready to run.
    ///
    /// # Errors
    /// Where its inventory can't be used, or one of its clients can't be.
    pub fn set_up(&self, context: &Context) -> anyhow::Result<Setup> {
        let around = Surroundings { limits: &self.limits, suffixes: context.suffixes(), sources: self.sources.clone() };
        let setup = Setup::new(&self.scenario, &around);
        match setup {
            Err(SetupError::Plan(PlanError::NotTokenBuckets(_))) => {
                setup.hint("no client that plans can be simulated under it: use another, or policy = \"letsencrypt\"")
            }
            setup => Ok(setup?),
        }
    }
}

/// Makes the performance of a plan ready to run, under the limits of the command line.
///
/// # Errors
/// Where the plan can't be read, or was made under another policy.
pub fn plan(path: &Path, context: &Context) -> anyhow::Result<Setup> {
    let mut file = PlanFile::open(path)?;
    let limits = &context.limits;
    if file.head.policy.name != limits.policy.name {
        let (planned, now) = (&file.head.policy.name, &limits.policy.name);
        context.terminal.warn(&format!("the plan was made for the policy {planned}, and is simulated under {now}"));
    }
    let margin =
        Span::parse(&file.head.margin).with_context(|| format!("{}: the margin can't be read", path.display()))?;
    let start = file.head.start;
    let mut orders = Vec::new();
    file.each(&[], |line, number| {
        let order = read_order(line, number)?;
        orders.push(PlannedOrder {
            at: order.at,
            account: order.account.into_owned(),
            profile: order.profile.into_owned(),
            names: order.names.into_iter().map(std::borrow::Cow::into_owned).collect(),
            held: order.held.map(|held| (held.issued_at, held.expires_at)),
        });
        Ok(())
    })?;
    Ok(Setup::of_plan(orders, start, margin, limits, context.suffixes())?)
}

const KEYS: &str = "certpace simulate --help names the keys";

//! Reading scenarios and what they name: files beside them, a built-in policy or a file.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use toml::de::DeTable;

use super::context::{overrides, policy, read};
use super::failure::hinted;
use super::plan_file::PlanFile;
use super::{Context, input};
use crate::inventory::Source;
use crate::limits::{Limits, NotTokenBuckets, Overrides};
use crate::plan::PlanError;
use crate::report::plan_file::{PlanHead, read_order};
use crate::sim::scenario::{Client, InventorySource};
use crate::sim::setup::PlannedOrder;
use crate::sim::{Scenario, Setup, SetupError, Surroundings};

/// A scenario with the files that it names.
#[derive(Debug)]
pub struct Loaded {
    /// What it says.
    pub scenario: Scenario,
    limits: Limits,
    sources: Vec<Source>,
    path: PathBuf,
    text: String,
}

/// Why a scenario can't be used, and the line of its file that is to blame, where one is.
#[derive(Debug)]
pub struct Unusable {
    /// From 1.
    pub line: Option<usize>,
    /// What is wrong, with the file and its cause.
    pub error: anyhow::Error,
}

impl From<Unusable> for anyhow::Error {
    fn from(unusable: Unusable) -> Self {
        unusable.error
    }
}

/// Reads a scenario and the files that it names, which lie relative to it.
///
/// # Errors
/// With the file, the line and the key.
pub fn load(path: &Path, context: &Context) -> Result<Loaded, Unusable> {
    let text = read(path, "the scenario").map_err(|error| Unusable { line: None, error })?;
    let scenario = Scenario::parse(&text).map_err(|error| Unusable {
        line: Some(error.line()),
        error: hinted(anyhow!(error).context(format!("{} is no valid scenario", path.display())), KEYS),
    })?;
    let beside = |file: &String| path.parent().unwrap_or_else(|| Path::new("")).join(file);
    let named = beside(&scenario.policy);
    let policy_name = if named.is_file() { named.display().to_string() } else { scenario.policy.clone() };
    let at = |key: &'static [&'static str]| {
        let line = line_of(&text, key);
        move |error: anyhow::Error| unusable(path, line, &key.join("."), error)
    };
    let policy = policy(&policy_name).map_err(at(&["policy"]))?;
    let overrides = match &scenario.overrides {
        Some(file) => {
            overrides(&beside(file), &policy, context.suffixes(), context.terminal).map_err(at(&["overrides"]))?
        }
        None => Overrides::none(),
    };
    let sources = match &scenario.inventory {
        InventorySource::File(file) => input::sources(&[beside(file)]).map_err(at(&["inventory", "file"]))?,
        InventorySource::Generated(_) => Vec::new(),
    };
    Ok(Loaded { scenario, limits: Limits { policy, overrides }, sources, path: path.to_owned(), text })
}

fn unusable(path: &Path, line: Option<usize>, key: &str, error: anyhow::Error) -> Unusable {
    let place = line.map_or_else(String::new, |line| format!(":{line}"));
    Unusable { line, error: error.context(format!("{}{place}: {key}", path.display())) }
}

/// The line on which the table of that place among several starts, from 1.
fn line_of_table(text: &str, key: &str, place: usize) -> Option<usize> {
    let document = DeTable::parse(text).ok()?.into_inner();
    let start = document.get(key)?.as_ref().as_array()?.get(place)?.span().start;
    Some(text.get(..start)?.matches('\n').count() + 1)
}

/// The line on which the value of a key starts, from 1.
fn line_of(text: &str, key: &[&str]) -> Option<usize> {
    let (last, tables) = key.split_last()?;
    let document = DeTable::parse(text).ok()?.into_inner();
    let mut table = &document;
    for name in tables {
        table = table.get(*name)?.as_ref().as_table()?;
    }
    let start = table.get(*last)?.span().start;
    Some(text.get(..start)?.matches('\n').count() + 1)
}

impl Loaded {
    /// Makes it ready to run.
    ///
    /// # Errors
    /// Where its inventory can't be used, or one of its clients can't be.
    pub fn set_up(&self, context: &Context) -> Result<Setup, Unusable> {
        let around = Surroundings { limits: &self.limits, suffixes: context.suffixes(), sources: self.sources.clone() };
        Setup::new(&self.scenario, &around).map_err(|error| {
            let (key, line) = self.to_blame(&error);
            let looks_ahead = matches!(error, SetupError::Plan(PlanError::NotTokenBuckets(_)));
            let unusable = unusable(&self.path, line, key, error.into());
            if looks_ahead { Unusable { error: hinted(unusable.error, NO_PLANS), ..unusable } } else { unusable }
        })
    }

    /// The key whose value can't be set up, and its line.
    fn to_blame(&self, error: &SetupError) -> (&'static str, Option<usize>) {
        let client = |is: &dyn Fn(&Client) -> bool| {
            let place = self.scenario.clients.iter().position(is)?;
            line_of_table(&self.text, "client", place)
        };
        match error {
            SetupError::Profile(name) => ("client.profile", client(&|client| client.profile == *name)),
            SetupError::Plan(PlanError::NotTokenBuckets(NotTokenBuckets { policy, .. })) => {
                // It is the scenario's own, or one that it changes to.
                let own = line_of(&self.text, &["policy"]).filter(|_| *policy == self.limits.policy.name);
                (if own.is_some() { "policy" } else { "event.name" }, own)
            }
            SetupError::Inventory(_) | SetupError::Rows { .. } | SetupError::Plan(_) | SetupError::Name { .. } => {
                ("inventory", line_of(&self.text, &["inventory"]))
            }
        }
    }
}

/// Makes the performance of a plan ready to run, under the limits of the command line; and says how these differ from the plan's.
///
/// # Errors
/// Where the plan can't be read, or was made under another policy.
pub fn plan(path: &Path, context: &Context) -> anyhow::Result<(Setup, Option<String>)> {
    let mut file = PlanFile::open(path)?;
    let limits = &context.limits;
    let other = other_limits(&file.head, limits);
    let (margin, start, issued) = (file.margin()?, file.head.start, file.head.issued);
    let mut orders = Vec::new();
    file.each(&[], |line, number| {
        // Those that are issued come first, behind the plan's first line.
        if number as u64 <= issued + 1 {
            return Ok(());
        }
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
    Ok((Setup::of_plan(orders, start, margin, limits, context.suffixes())?, other))
}

/// How the limits differ under which the plan was made; `None`: they are the same.
fn other_limits(head: &PlanHead, limits: &Limits) -> Option<String> {
    let (planned, now) = (&head.policy.name, &limits.policy.name);
    let overrides = head.overrides.as_ref().map(|overrides| &overrides.sha256);
    if planned != now {
        Some(format!("the plan was made for the policy {planned}, and is simulated under {now}"))
    } else if head.policy.sha256 != limits.policy.sha256 {
        Some(format!("the plan was made for an earlier or later version of the policy {now}"))
    } else if overrides != limits.overrides.sha256.as_ref() {
        Some("the plan was made with other overrides than --overrides has".to_owned())
    } else {
        None
    }
}

const NO_PLANS: &str =
    "clients that look ahead (plan, certpace) can't be simulated under it: use others, or policy = \"letsencrypt\"";
const KEYS: &str = "certpace simulate --help names the keys";

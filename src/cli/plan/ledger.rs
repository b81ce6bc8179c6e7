//! What a plan starts from, if that is a ledger.

use std::borrow::Cow;
use std::path::Path;

use rustc_hash::FxHashSet;

use super::super::Context;
use super::super::ledger::session::{LedgerOptions, Session, Use};
use super::super::plan_file::PlanFile;
use crate::clock::Timescale;
use crate::gate::IssuedOrders;
use crate::inventory::Inventory;
use crate::name::NameSet;
use crate::plan::opening::Opening;
use crate::report::plan_file::{LedgerIdentity, PlanOrder, read_order};
use crate::time::Timestamp;

/// Which ledger, if any. The environment has no say: a plan would change, and nothing would show why.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Ledger")]
pub struct LedgerArgs {
    /// Start from what this ledger says is spent and held, rather than from full buckets; CERTPACE_LEDGER is not read
    #[arg(long, value_name = "URL")]
    pub ledger: Option<String>,
    /// Refuse an SQLite file that is not there, rather than take all buckets to be full
    #[arg(long, requires = "ledger")]
    pub must_exist: bool,
    /// The CA's directory URL; each has a ledger of its own [default: the policy's]
    #[arg(long, value_name = "URL", requires = "ledger")]
    pub directory: Option<String>,
}

/// An open ledger that a plan starts from.
pub(super) struct FromLedger {
    session: Session,
    /// The ledger's time.
    at: Timestamp,
    /// Whether that is a rehearsal's, which has nothing to do with the clock.
    rehearses: bool,
}

impl LedgerArgs {
    /// Opens it, if one is named.
    pub(super) fn open(&self, context: &Context) -> anyhow::Result<Option<FromLedger>> {
        if self.ledger.is_none() {
            return Ok(None);
        }
        let Self { ledger, must_exist, directory } = self.clone();
        let mut session = LedgerOptions { ledger, must_exist, directory }.open(context, Use::Read, false)?;
        let rehearses = context.timescale == Timescale::REAL && session.gate.follow_rehearsal()?;
        let at = session.gate.now()?;
        Ok(Some(FromLedger { session, at, rehearses }))
    }
}

/// What is issued of an order: all of it, or each part of one that was split.
fn parts<'a>(order: &PlanOrder<'a>, issued: &IssuedOrders) -> anyhow::Result<Vec<PlanOrder<'a>>> {
    let number = u64::from(order.order);
    if issued.has(number, NameSet::parse(order.names.iter().map(AsRef::as_ref))?.key()) {
        return Ok(vec![order.clone()]);
    }
    let has = |part: &&Vec<String>| part.iter().all(|name| order.names.iter().any(|own| own == name));
    let part = |names: &Vec<String>| {
        let is_of = |domain: &str| names.iter().any(|name| name.ends_with(domain));
        let domains = order.registered_domains.iter().filter(|domain| is_of(domain)).cloned().collect();
        let names = names.iter().map(|name| Cow::Owned(name.clone())).collect();
        PlanOrder { names, registered_domains: domains, ..order.clone() }
    };
    Ok(issued.parts(number).iter().filter(has).map(part).collect())
}

impl FromLedger {
    /// When the plan starts: no earlier than the ledger's time, since what it has was spent by then.
    pub(super) fn start(&self, asked: Option<Timestamp>, context: &Context) -> Timestamp {
        if let Some(asked) = asked.filter(|asked| *asked < self.at) {
            context.terminal.warn(&format!(
                "--start {asked} has passed: by the ledger it is {}, and the plan starts then",
                self.at
            ));
        }
        let now = if self.rehearses { self.at } else { context.now };
        asked.unwrap_or(now).max(self.at)
    }

    /// Leaves out of the inventory what the plan in `file`, which the ledger knows as `plan`, has issued: the names of orders for new
    /// certificates, and the certificates whose renewals are there. Returns these orders as lines of the next plan, and how many there are.
    pub(super) fn leave_out_issued(
        &mut self,
        inventory: &mut Inventory,
        file: &Path,
        plan: &str,
    ) -> anyhow::Result<(Vec<u8>, u64)> {
        let issued = self.session.gate.issued_orders(plan)?;
        let (mut lines, mut count) = (Vec::new(), 0);
        if issued.is_empty() {
            return Ok((lines, count));
        }
        let (mut names, mut renewed) = (FxHashSet::default(), FxHashSet::default());
        PlanFile::open(file)?.each(&[], |line, number| {
            let order = read_order(line, number)?;
            for part in parts(&order, &issued)? {
                if part.names == order.names {
                    lines.extend_from_slice(line);
                } else {
                    serde_json::to_writer(&mut lines, &part)?;
                    lines.push(b'\n');
                }
                count += 1;
                match &part.replaces {
                    None => names.extend(part.names.iter().map(|name| name.to_string())),
                    Some(certificate) => _ = renewed.insert(certificate.to_string()),
                }
            }
            Ok(())
        })?;
        inventory.withhold(vec!["issued by the plan that this one goes on with".to_owned()], &|of| {
            let is_there = of.certificate.map_or_else(|| names.contains(of.name), |of| renewed.contains(of));
            is_there.then_some(0)
        });
        Ok((lines, count))
    }

    /// What it says at `start`. What is frozen or paused is left out of the inventory.
    pub(super) fn opening(&mut self, inventory: &mut Inventory, start: Timestamp) -> anyhow::Result<Opening> {
        self.session.gate.board()?.withhold(inventory);
        let opening = self.session.gate.opening(inventory, start)?;
        self.session.remember();
        Ok(opening)
    }

    /// Which it is, for the plan's first line.
    pub(super) fn identity(&self) -> LedgerIdentity {
        let mark = self.session.gate.mark();
        LedgerIdentity {
            url: self.session.url.to_string(),
            directory: self.session.gate.realm().directory().to_owned(),
            epoch: mark.epoch,
            sequence: mark.sequence,
            at: self.at,
        }
    }
}

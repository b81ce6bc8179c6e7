//! What a plan starts from, if that is a ledger.

use super::super::Context;
use super::super::ledger::session::{LedgerOptions, Session, Use};
use crate::inventory::Inventory;
use crate::plan::opening::Opening;
use crate::report::plan_file::LedgerIdentity;
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
}

impl LedgerArgs {
    /// Opens it, if one is named.
    pub(super) fn open(&self, context: &Context) -> anyhow::Result<Option<FromLedger>> {
        if self.ledger.is_none() {
            return Ok(None);
        }
        let Self { ledger, must_exist, directory } = self.clone();
        let mut session = LedgerOptions { ledger, must_exist, directory }.open(context, Use::Read, false)?;
        let at = session.gate.now()?;
        Ok(Some(FromLedger { session, at }))
    }
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
        asked.unwrap_or(context.now).max(self.at)
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

//! When the ledger is gone: closed, or open for renewals that the CA exempts.

use anyhow::{Context as _, anyhow};

use super::super::failure::Hint as _;
use super::super::ledger::session::{LedgerOptions, Use, seed};
use super::super::{Context, Exit};
use super::print;
use crate::gate::journal::{self, LOCAL, News, Pass};
use crate::gate::{GateError, Request, Told};
use crate::ledger::Mark;
use crate::report::gate::GateReport;
use crate::time::Timestamp;

/// What a command that asks for one permit does without a ledger. Those that go on asking wait for it.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Ledger")]
pub struct LossOptions {
    /// Without a ledger: closed, nothing goes out; exempt, a renewal inside its ARI window does, and is told to the ledger later
    #[arg(long, value_name = "closed|exempt", default_value = "closed", hide_possible_values = true)]
    pub on_ledger_loss: OnLoss,
}

/// What to do without a ledger.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum OnLoss {
    /// Nothing goes out.
    Closed,
    /// A renewal inside its ARI window does; it is written to a journal, and the ledger learns of it later.
    Exempt,
}

/// An order that passes without a ledger, and the exit if it does not.
pub enum Passed {
    /// Its number, and until when.
    Go(String, Timestamp),
    /// The answer was printed.
    Not(Exit),
}

/// Whether the error says that the ledger can't be relied on.
pub fn is_loss(error: &anyhow::Error) -> bool {
    Exit::of_error(error) == Exit::NO_LEDGER
}

/// Lets a renewal pass, if that is wanted and it is exempt.
///
/// # Errors
/// `error` if not.
pub fn pass(
    request: &Request,
    on_loss: &LossOptions,
    options: &LedgerOptions,
    context: &Context,
    error: anyhow::Error,
) -> anyhow::Result<Passed> {
    if on_loss.on_ledger_loss == OnLoss::Closed || !is_loss(&error) {
        return Err(error);
    }
    let mut journal = options.journal(context)?;
    let number = seed()?.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>();
    let passed = journal.pass(request, &number, context.now).context("can't write the journal, so nothing goes out")?;
    match passed {
        Pass::Go(permit, until) => {
            context.terminal.warn(&format!(
                "{error:#}; the renewal is exempt until its window ends and goes out, the ledger learns of it when it is back"
            ));
            Ok(Passed::Go(permit, until))
        }
        Pass::InHand(holder, until) => {
            let verdict = crate::gate::Verdict::InHand { holder, permit: String::new(), until };
            let answer = crate::gate::Answer { at: context.now, mark: Mark::default(), verdict };
            print(&GateReport::of(&answer), context)?;
            Ok(Passed::Not(Exit::IN_HAND))
        }
        Pass::No => {
            Err(error).hint("only a renewal inside its ARI window (--replaces, --window) goes out without a ledger")
        }
    }
}

/// Tells what became of a permit that may have been given without a ledger: the ledger if it is back, else the journal.
///
/// # Errors
/// Where neither can be told.
pub fn tell(
    permit: &str,
    news: &News,
    options: &LedgerOptions,
    shadow: bool,
    context: &Context,
) -> anyhow::Result<Option<Told>> {
    if !permit.starts_with(LOCAL) {
        let mut session = options.open(context, Use::Write, shadow)?;
        let told = journal::tell(&mut session.gate, permit, news)?;
        session.remember();
        return Ok(Some(told));
    }
    match options.open(context, Use::Write, shadow) {
        Ok(mut session) => {
            // It has learned of the permit by being opened.
            let number = options.journal(context)?.number(permit).map(ToOwned::to_owned);
            let number = number.ok_or_else(|| GateError::NoPermit(permit.to_owned()))?;
            let told = journal::tell(&mut session.gate, &number, news)?;
            session.remember();
            Ok(Some(told))
        }
        Err(error) if is_loss(&error) => {
            let known = options.journal(context)?.tell(permit, news.clone(), context.now);
            if !known.context("can't write the journal")? {
                return Err(anyhow!("there is no permit {permit} in this machine's journal"));
            }
            context.terminal.warn(&format!("{error:#}; it is noted, and the ledger learns of it when it is back"));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

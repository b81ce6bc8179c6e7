//! `certpace check --inventory FILE`: what could go out now, and when each next.

use std::path::Path;

use serde::Serialize;

use super::super::ledger::session::{LedgerOptions, Use};
use super::super::{Context, Exit, Format, input};
use super::asked::OrderOptions;
use crate::gate::{Request, Verdict, parse};
use crate::inventory::{Inventory, Settings};
use crate::name::NameSet;
use crate::permits::Sending;
use crate::report::gate::GateReport;
use crate::report::json;
use crate::report::style::{BAD, FAINT, GOOD, NAME, PLAIN, WARN};
use crate::report::table::{Align, Table};
use crate::report::words::grouped;

/// Rows of the table for people; all of them are in the JSON.
const ROWS_MAX: usize = 40;

#[derive(Serialize)]
struct ManyReport {
    certpace_check: u32,
    allow: usize,
    later: usize,
    never: usize,
    in_hand: usize,
    sets: Vec<SetReport>,
}

#[derive(Serialize)]
struct SetReport {
    names: Vec<String>,
    account: String,
    #[serde(flatten)]
    answer: GateReport,
}

/// Asks about each certificate by itself.
///
/// # Errors
/// Where the inventory or the ledger can't be read.
pub fn run(path: &Path, order: &OrderOptions, ledger: &LedgerOptions, context: &Context) -> anyhow::Result<Exit> {
    let settings = Settings {
        account: &order.account,
        profile: order.profile.as_deref().unwrap_or("classic"),
        deadline: None,
        start: context.now,
        policy: &context.limits.policy,
        suffixes: context.suffixes(),
    };
    let inventory = input::inventory(input::sources(&[path.to_owned()])?, &settings, context.terminal)?;
    input::tell_rejects(&inventory, false, context.terminal)?;
    let mut session = ledger.open(context, Use::Read, false)?;
    let mut report = ManyReport { certpace_check: 1, allow: 0, later: 0, never: 0, in_hand: 0, sets: Vec::new() };
    for (names, group) in sets(&inventory) {
        let group = &inventory.groups[group as usize];
        let Some(set) = parse(names.iter().map(String::as_str)).ok().and_then(NameSet::new) else { continue };
        let account = &inventory.accounts[group.account as usize];
        let asked = order.request(&names, None, Sending::Announced)?;
        let Ok(asked) = asked else { continue };
        let request = Request {
            account: account.clone(),
            names: set,
            profile: Some(context.limits.policy.profiles[group.profile as usize].name.clone()),
            tenant: inventory.tenants.get(group.tenant as usize).cloned(),
            ..asked
        };
        let answer = session.gate.check(&request)?;
        *(match &answer.verdict {
            Verdict::Allow { .. } => &mut report.allow,
            Verdict::Later { .. } => &mut report.later,
            Verdict::Never(_) => &mut report.never,
            Verdict::InHand { .. } => &mut report.in_hand,
        }) += 1;
        report.sets.push(SetReport { names, account: account.clone(), answer: GateReport::of(&answer) });
    }
    session.remember();
    // What can go first, then by time.
    report.sets.sort_by(|a, b| (a.answer.retry_at, &a.names).cmp(&(b.answer.retry_at, &b.names)));
    context.terminal.answer(&match context.format {
        Format::Json => json::pretty(&report),
        Format::Text => text(&report),
    })?;
    Ok(if report.later > 0 {
        Exit::NOT_NOW
    } else if report.never > 0 {
        Exit::NEVER
    } else if report.in_hand > 0 {
        Exit::IN_HAND
    } else {
        Exit::DONE
    })
}

/// The certificates held, and each other name by itself; with the group of each.
fn sets(inventory: &Inventory) -> impl Iterator<Item = (Vec<String>, u32)> + '_ {
    let held = inventory.held.iter().enumerate().map(|(certificate, terms)| {
        let names = inventory.held_names(certificate).iter().map(|name| inventory.text(name.name).to_owned());
        (names.collect(), terms.group)
    });
    let wanted = inventory.wanted().iter();
    held.chain(wanted.map(|of| (vec![inventory.text(of.name).to_owned()], inventory.group_of(*of))))
}

fn text(report: &ManyReport) -> String {
    let count = |count: usize| grouped(count as u64);
    let mut out = format!(
        "{} could go out now, {} later, {} never, {} in hand; each by itself\n\n",
        count(report.allow),
        count(report.later),
        count(report.never),
        count(report.in_hand)
    );
    let mut table = Table::new([
        ("verdict", Align::Left),
        ("when", Align::Left),
        ("names", Align::Left),
        ("in the way", Align::Left),
    ]);
    for set in report.sets.iter().take(ROWS_MAX) {
        let style = match set.answer.verdict {
            "allow" => GOOD,
            "never" => BAD,
            _ => WARN,
        };
        let when = set.answer.retry_at.map(|at| at.to_string()).unwrap_or_default();
        let last = set.answer.blocking.last();
        let limit = last.and_then(|last| last.limit).map_or_else(String::new, |limit| format!("{limit} of "));
        let why =
            last.map_or_else(|| set.answer.reason.clone().unwrap_or_default(), |last| format!("{limit}{}", last.key));
        let names = match set.names.as_slice() {
            [first, _, ..] => format!("{first} and {} more", set.names.len() - 1),
            names => names.concat(),
        };
        table.row([(style, set.answer.verdict.to_owned()), (FAINT, when), (NAME, names), (PLAIN, why)]);
    }
    out.push_str(&table.render());
    if report.sets.len() > ROWS_MAX {
        out.push_str(&format!("… and {} more: --format json has all\n", count(report.sets.len() - ROWS_MAX)));
    }
    out
}

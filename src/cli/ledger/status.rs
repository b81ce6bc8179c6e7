//! `certpace ledger status` and `agreement`.

use std::collections::BTreeMap;

use super::super::{Context, Exit, Format, TEMPLATE};
use super::session::{LedgerOptions, Use};
use crate::gate::{Board, Permitted, quota_of};
use crate::gcra::Quota;
use crate::ledger::{Cell, limit_and_key};
use crate::limits::LimitName;
use crate::name::{Identifier, NameSet};
use crate::permits::State;
use crate::report::json;
use crate::report::ledger::{AgreementReport, BucketReport, Difference, HeldBy, LimitEmpty, StatusReport};
use crate::time::Timestamp;

/// Its arguments.
#[derive(clap::Args, Clone, Debug)]
#[command(help_template = TEMPLATE, before_help = EXAMPLES)]
pub struct Args {
    /// Only the buckets of this registered domain
    #[arg(long, value_name = "DOMAIN")]
    pub domain: Option<String>,
    /// Only the buckets of this account
    #[arg(long, value_name = "ID")]
    pub account: Option<String>,
    /// Only the bucket of exactly these names
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub set: Vec<String>,
    /// In shadow mode
    #[arg(long)]
    pub shadow: bool,
    /// The ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
}

const EXAMPLES: &str = "Examples:
  certpace ledger status                            the tightest buckets first
  certpace ledger status --domain example.com
  certpace ledger status --set example.com,www.example.com
  certpace ledger status --format json | jq '.buckets[] | select(.left == 0)'";

/// Shows it.
///
/// # Errors
/// Where the ledger can't be read.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let mut session = args.ledger.open(context, Use::Read, args.shadow)?;
    let wanted = Wanted::of(args, context)?;
    let at = session.gate.now()?;
    let board = session.gate.board()?;
    let permits = session.gate.permits()?;
    let (code, directory) = (session.gate.realm().code(), session.gate.realm().to_string());
    let mut cells = Vec::new();
    let notes = session.gate.with_store(|store| {
        store.cells(&code, &mut |name, cell| {
            if wanted.takes(&name) {
                cells.push((name, cell));
            }
        })?;
        Ok(store.notes())
    })?;
    let mut holders: BTreeMap<String, Vec<HeldBy>> = BTreeMap::new();
    for permit in permits.iter().filter(|permit| permit.life.state.is_live()) {
        for (bucket, ..) in permit.buckets()? {
            let held = HeldBy { permit: permit.permit.clone(), holder: permit.holder.clone() };
            holders.entry(bucket).or_default().push(held);
        }
    }
    let names_of: BTreeMap<String, &[String]> =
        permits.iter().map(|permit| (permit.set(), permit.names.as_slice())).collect();
    let mut buckets: Vec<_> = cells
        .iter()
        .filter_map(|(name, cell)| {
            let quota = quota_of(&context.limits, name)?;
            let held_by = holders.get(name.as_str()).cloned().unwrap_or_default();
            let names =
                name.rsplit(' ').next().and_then(|key| names_of.get(key)).map_or_else(Vec::new, |names| names.to_vec());
            bucket(name, *cell, quota, &board, at).map(|bucket| BucketReport { names, held_by, ..bucket })
        })
        .collect();
    // The tightest first: by the share that is left, without a division.
    let tightness = |a: &BucketReport, b: &BucketReport| {
        let share = (u64::from(a.left) * u64::from(b.burst)).cmp(&(u64::from(b.left) * u64::from(a.burst)));
        share.then(b.full_at.cmp(&a.full_at)).then(a.key.cmp(&b.key)).then(a.limit.cmp(&b.limit))
    };
    buckets.sort_by(tightness);
    session.remember();
    let count = |wanted: fn(State) -> bool| permits.iter().filter(|permit| wanted(permit.life.state)).count();
    let mark = session.gate.mark();
    let report = StatusReport {
        certpace_ledger: 1,
        ledger: session.url.to_string(),
        directory,
        epoch: mark.epoch,
        sequence: mark.sequence,
        at,
        notes,
        empty_at: board.empty_at,
        limits_empty: limits_empty(&board, context, at),
        permits_live: count(State::is_live),
        permits_unknown: count(|state| state == State::Unknown),
        frozen: board.frozen,
        paused: board.paused,
        buckets,
    };
    context.terminal.answer(&match context.format {
        Format::Json => json::pretty(&report),
        Format::Text => report.text(),
    })?;
    Ok(Exit::DONE)
}

/// Limits whose buckets count as empty at some time and are not full yet, by the quota that holds for whoever has no override.
fn limits_empty(board: &Board, context: &Context, at: Timestamp) -> Vec<LimitEmpty> {
    let of = |(name, empty_at): (&String, &Timestamp)| {
        let limit = LimitName::parse(name)?;
        let full_at = empty_at.plus(context.limits.policy.limit(limit)?.quota.offset());
        (full_at > at).then_some(LimitEmpty { limit, empty_at: *empty_at, full_at })
    };
    board.limits_empty_at.iter().filter_map(of).collect()
}

fn bucket(name: &str, mut cell: Cell, quota: Quota, board: &Board, at: Timestamp) -> Option<BucketReport> {
    let (limit, key) = match limit_and_key(name) {
        Some((limit, key)) => (Some(limit), key),
        None => (None, name.split_once(' ')?.1),
    };
    cell.tally.tat = cell.tally.tat.max(board.empty_at.map(|empty_at| empty_at.plus(quota.offset())));
    let full_at = cell.tally.tat.unwrap_or(at).max(at);
    if full_at == at && cell.tally.held == 0 {
        return None;
    }
    let next_at = cell.tally.fits_at(quota, 1, at);
    Some(BucketReport {
        limit,
        key: key.to_owned(),
        left: cell.tally.left(quota, at),
        held: cell.tally.held,
        burst: quota.burst(),
        refill: quota.emission(),
        next_at: (next_at > at).then_some(next_at),
        full_at,
        names: Vec::new(),
        held_by: Vec::new(),
    })
}

/// Which buckets were asked for.
struct Wanted {
    domain: Option<String>,
    account: Option<String>,
    set: Option<String>,
}

impl Wanted {
    fn of(args: &Args, context: &Context) -> anyhow::Result<Self> {
        let domain = args.domain.as_ref().map(|domain| Identifier::parse(domain)).transpose()?;
        let set = if args.set.is_empty() { None } else { Some(NameSet::parse(args.set.iter().map(String::as_str))?) };
        Ok(Self {
            domain: domain.map(|domain| context.suffixes().domain_of(&domain)),
            account: args.account.clone(),
            set: set.map(|set| set.key().to_string()),
        })
    }

    fn takes(&self, name: &str) -> bool {
        let Some((limit, key)) = limit_and_key(name) else {
            return self.domain.is_none() && self.account.is_none() && self.set.is_none();
        };
        let last = key.rsplit(' ').next().unwrap_or(key);
        let by_domain = self.domain.as_ref().is_none_or(|domain| {
            matches!(limit, LimitName::CertificatesPerDomain | LimitName::CertificatesPerDomainPerAccount)
                && last == domain
        });
        let by_account = self.account.as_ref().is_none_or(|account| {
            key.strip_prefix(account.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        });
        let by_set = self.set.as_ref().is_none_or(|set| limit == LimitName::CertificatesPerFqdnSet && key == set);
        by_domain && by_account && by_set
    }
}

/// Arguments of `agreement`.
#[derive(clap::Args, Clone, Debug)]
#[command(help_template = TEMPLATE)]
pub struct AgreementArgs {
    /// Orders asked for from then on [default: all]
    #[arg(long, value_name = "RFC3339")]
    pub since: Option<Timestamp>,
    /// The ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
}

/// Compares.
///
/// # Errors
/// Where the ledger can't be read.
pub fn agreement(args: &AgreementArgs, context: &Context) -> anyhow::Result<Exit> {
    let mut session = args.ledger.open(context, Use::Read, true)?;
    let permits = session.gate.permits()?;
    session.remember();
    let mut report = AgreementReport { certpace_agreement: 1, since: args.since, ..AgreementReport::default() };
    for permit in permits.iter().filter(|permit| args.since.is_none_or(|since| permit.life.reserved_at >= since)) {
        compare(permit, &mut report);
    }
    context.terminal.answer(&match context.format {
        Format::Json => json::pretty(&report),
        Format::Text => report.text(),
    })?;
    Ok(Exit::DONE)
}

fn compare(permit: &Permitted, report: &mut AgreementReport) {
    let Some(shadow) = &permit.shadow else { return };
    let refused = permit.refusal.is_some();
    let taken = permit.life.accepted || matches!(permit.life.state, State::Issued | State::Failed);
    let allowed = shadow.verdict == "allow" || shadow.verdict == "in-hand";
    let counted = match (allowed, refused, taken) {
        (_, false, false) => return report.open += 1,
        (true, true, _) => &mut report.allowed_refused,
        (true, false, true) => return report.allowed_taken += 1,
        (false, true, _) => return report.denied_refused += 1,
        (false, false, true) => &mut report.denied_taken,
    };
    *counted += 1;
    report.differences.push(Difference {
        permit: permit.permit.clone(),
        at: permit.life.reserved_at,
        names: permit.names.clone(),
        would: shadow.verdict.clone(),
        blocking: shadow.blocking.clone(),
        ca: if refused { "refused" } else { "taken" },
        detail: permit.refusal.clone().filter(|detail| !detail.is_empty()),
    });
}

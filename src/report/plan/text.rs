//! The summary of a plan, for people: one screen.

use std::fmt::Write as _;

use super::PlanReport;
use crate::limits::LimitName;
use crate::plan::advise::{Asked, Change, SlowerTier, Step};
use crate::plan::{RenewalSummary, Summary};
use crate::report::style::{BAD, FAINT, GOOD, HEAD, NAME, PLAIN, WARN, paint};
use crate::report::table::{Align, Table};
use crate::report::words::{grouped, wrapped};
use crate::time::{Span, Timestamp};

/// Columns of the chart.
const CHART_WIDTH: usize = 60;

/// The whole summary.
#[must_use]
pub fn summary(report: &PlanReport<'_>) -> String {
    let of = report.summary;
    let mut out = String::new();
    push_head(&mut out, report);
    push_times(&mut out, report);
    push_bottlenecks(&mut out, of);
    push_chart(&mut out, report);
    if let Some(renewals) = &of.renewals {
        push_renewals(&mut out, renewals);
    }
    push_outlook(&mut out, of);
    push_deadline(&mut out, report);
    push_next(&mut out, report);
    out
}

fn line(out: &mut String, title: &str, text: &str) {
    for (index, part) in wrapped(text, 82).iter().enumerate() {
        let title = if index == 0 { title } else { "" };
        let _infallible = writeln!(
            out,
            "{}{} {part}",
            paint(HEAD, title),
            " ".repeat(13_usize.saturating_sub(title.chars().count()))
        );
    }
}

fn count(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { one } else { many })
}

fn push_head(out: &mut String, report: &PlanReport<'_>) {
    let of = report.summary;
    let mut text = format!(
        "{} under {} in {}",
        count(of.hostnames, "hostname", "hostnames"),
        count(of.registered_domains, "registered domain", "registered domains"),
        count(of.orders, "order", "orders"),
    );
    let renewals = of.renewals.as_ref().map_or(0, |renewals| renewals.orders);
    if of.certificates > 0 {
        let _infallible = write!(text, ": {}", count(of.certificates, "new certificate", "new certificates"));
        let _infallible = write!(text, " of at most {}", count(of.largest_certificate, "name", "names"));
    }
    if renewals > 0 {
        let joint = if of.certificates > 0 { " and" } else { ":" };
        let _infallible = write!(text, "{joint} {}", count(renewals, "renewal", "renewals"));
    }
    line(out, "Plan", &text);
    let mut notes = Vec::new();
    let inventory = report.inventory;
    let mut note = |number: u64, text: &str| {
        if number > 0 {
            notes.push(format!("{} {text}", grouped(number)));
        }
    };
    note(of.rejected, "rejected");
    note(inventory.not_ready, "not ready");
    note(inventory.duplicates, "said twice");
    note(inventory.converted, "converted (case, dot or Unicode)");
    note(of.covered_by_wildcard - of.folded, "covered by a wildcard as well");
    note(of.folded, "folded into a wildcard");
    notes.extend(inventory.withheld.iter().map(|of| format!("{} {}", grouped(of.hostnames), of.reason)));
    if !notes.is_empty() {
        line(out, "Names", &notes.join(", "));
    }
    line(out, "Policy", &format!("{} ({})", report.policy, report.policy_title));
    if let Some(ledger) = &report.ledger {
        line(out, "Ledger", &format!("{} as of {}, change {}", ledger.url, ledger.at, grouped(ledger.sequence)));
    }
}

fn when(at: Timestamp, start: Timestamp) -> String {
    match at.since(start) {
        Span::ZERO => format!("{} UTC", at.minute()),
        after => format!("{} UTC ({after} after the start)", at.minute()),
    }
}

fn push_times(out: &mut String, report: &PlanReport<'_>) {
    let of = report.summary;
    let (Some(first), Some(last)) = (of.first_at, of.last_at) else {
        line(out, "Nothing", "There is nothing to order.");
        return;
    };
    line(out, "First order", &when(first, report.start));
    line(out, "Last order", &when(last, report.start));
    let Some(bound) = of.bound_at else { return };
    let margin = Span::parse(&report.margin).unwrap_or_default();
    let verdict = if of.gap <= Span::ZERO {
        paint(GOOD, "the earliest possible")
    } else if of.gap <= margin {
        format!("{}, but for the margin of {margin} that it can be late", paint(GOOD, "the earliest possible"))
    } else if of.finish_moved_by_urgency {
        format!("{} after the bound of {}: deadlines or priorities go first", of.gap, bound.minute())
    } else if report.mixed || report.accounts > 1 {
        format!("at most {} later than the earliest possible (no plan finishes before {})", of.gap, bound.minute())
    } else {
        format!(
            "at most {} later than the earliest possible: every bucket in the way adds its margin of {margin}",
            of.gap
        )
    };
    line(out, "", &verdict);
    if let Some(without) = of.bound_without_reserve_at {
        line(out, "", &format!("without the reserve of {} it could be {}", report.reserve_rate, without.minute()));
    }
}

fn push_bottlenecks(out: &mut String, of: &Summary) {
    if of.bottlenecks.is_empty() {
        if of.certificates > 0 {
            line(out, "Held back", "by nothing: every order goes out at the start");
        }
        return;
    }
    out.push('\n');
    let mut table = Table::new([
        ("Held back by", Align::Left),
        ("of", Align::Left),
        ("orders", Align::Right),
        ("the last by", Align::Right),
    ]);
    for bottleneck in of.bottlenecks.iter().take(5) {
        let limit = (NAME, bottleneck.limit.to_string());
        let key: String = bottleneck.key.chars().take(40).collect();
        table.row([limit, (PLAIN, key), (PLAIN, grouped(bottleneck.orders)), (PLAIN, bottleneck.delay.to_string())]);
    }
    let more = of.bottleneck_count.saturating_sub(5);
    if more > 0 {
        table.line(paint(FAINT, &format!("and {} more", count(more, "bucket", "buckets"))));
    }
    out.push_str(&table.render());
}

/// A bar a day; where there are too many, a bar for several days.
fn push_chart(out: &mut String, report: &PlanReport<'_>) {
    let days = &report.summary.days;
    if days.len() < 2 {
        return;
    }
    let each = days.len().div_ceil(CHART_WIDTH);
    let sums: Vec<u64> =
        days.chunks(each).map(|days| days.iter().map(|(new, renewals)| new + renewals).sum()).collect();
    let most = sums.iter().copied().max().unwrap_or_default().max(1);
    let bars = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let bar = |sum: u64| match sum {
        0 => ' ',
        _ => usize::try_from((sum * 8).div_ceil(most))
            .ok()
            .and_then(|height| bars.get(height.saturating_sub(1)))
            .copied()
            .unwrap_or('█'),
    };
    let chart: String = sums.iter().map(|sum| bar(*sum)).collect();
    let day = if each == 1 { "day".to_owned() } else { format!("{each} days") };
    let from = report.start.day();
    let _infallible =
        writeln!(out, "\n{} from {from}, at most {}", paint(HEAD, &format!("Orders every {day}")), grouped(most));
    let _infallible = writeln!(out, "{}\n", paint(NAME, &chart));
}

fn push_renewals(out: &mut String, renewals: &RenewalSummary) {
    let mut kinds = Vec::new();
    let mut kind = |number: u64, text: &str| {
        if number > 0 {
            kinds.push(format!("{} {text}", grouped(number)));
        }
    };
    kind(renewals.ari, "by ARI");
    kind(renewals.same_set, "as same set");
    kind(renewals.unexempt, "exempt from nothing");
    let text = format!(
        "{} ({}) until {}; the busiest hour has {}, the mean {}",
        grouped(renewals.orders),
        kinds.join(", "),
        renewals.last_at.minute(),
        grouped(renewals.peak_hour),
        grouped(renewals.mean_hour)
    );
    line(out, "Renewals", &text);
}

fn push_outlook(out: &mut String, of: &Summary) {
    let mut parts = Vec::new();
    let mut shown = String::new();
    for (index, steady) in of.steady.iter().enumerate() {
        let tenths = steady.renewals_per_day_thousandths.div_ceil(100);
        let number =
            if tenths < 100 { format!("{}.{}", tenths / 10, tenths % 10) } else { grouped(tenths.div_ceil(10)) };
        if number == shown {
            continue;
        }
        shown.clone_from(&number);
        parts.push(if index == 0 {
            format!("{number} renewals a day")
        } else {
            format!("{number} from {}", steady.from.day())
        });
    }
    if !parts.is_empty() && of.orders > 0 {
        line(out, "For ever", &parts.join(", "));
    }
    if of.largest_certificate > 0 {
        let fails = 100.0 * (1.0 - 0.99_f64.powi(i32::try_from(of.largest_certificate).unwrap_or(i32::MAX)));
        let text = format!(
            "if 1 % of names are bad, a certificate of {} fails with {fails:.0} %",
            count(of.largest_certificate, "name", "names")
        );
        line(out, "Risk", &text);
    }
}

fn push_deadline(out: &mut String, report: &PlanReport<'_>) {
    let Some(late) = report.summary.lateness else { return };
    if late <= Span::ZERO {
        let text = format!("{}, the tightest with {} to spare", paint(GOOD, "met"), Span::from_nanos(-late.nanos()));
        line(out, "Deadlines", &text);
        return;
    }
    line(out, "Deadlines", &format!("{} by {late}", paint(BAD, "missed")));
    match &report.advice.smallest {
        Some(step) => line(out, "", &format!("the smallest change that meets them: {}", step_text(step, report.start))),
        None => line(out, "", "nothing that was tried meets them: no option, and no override tier"),
    }
}

/// A change, what it brings, and what to beware of.
fn step_text(step: &Step, start: Timestamp) -> String {
    let change = match &step.change {
        Change::LargerCertificates => "larger certificates (--names-per-cert auto)".to_owned(),
        Change::FoldWildcards => "leave names out that a wildcard covers (--fold-wildcards)".to_owned(),
        Change::MixTenant => "let the domains of a tenant share certificates (--mix tenant)".to_owned(),
        Change::NoHeadroom => "leave nothing for what nobody planned (--headroom 0)".to_owned(),
        Change::NoReserve => "reserve nothing of the refill (--reserve-rate 0)".to_owned(),
        Change::Overrides { overrides } => overrides_text(overrides),
    };
    format!("{change}: {}", finish_text(step.finish_at, start))
}

fn finish_text(finish: Timestamp, start: Timestamp) -> String {
    format!("done {} ({})", finish.minute(), finish.since(start))
}

fn overrides_text(overrides: &[Asked]) -> String {
    let shown: Vec<String> = overrides.iter().take(3).map(asked_text).collect();
    let more = overrides.len().saturating_sub(3);
    let more = if more > 0 { format!(" and {more} more (--format json lists them)") } else { String::new() };
    format!("ask for {}{more}", shown.join(" and "))
}

fn asked_text(asked: &Asked) -> String {
    let period = Span::from_seconds(asked.period_seconds);
    let slower = asked.falls_behind_after_seconds.map_or_else(String::new, |after| {
        format!(
            " (slower than the default after {:.2} days of steady demand)",
            Span::from_seconds(after).seconds_f64() / 86_400.0
        )
    });
    format!("an override of {} for {} to {} in {period}{slower}", asked.limit, asked.key, grouped(asked.tier))
}

fn slower_text(slower: &SlowerTier) -> String {
    let days = Span::from_seconds(slower.falls_behind_after_seconds).seconds_f64() / 86_400.0;
    format!("{} after {days:.2} days", grouped(slower.tier))
}

fn push_next(out: &mut String, report: &PlanReport<'_>) {
    let missed = report.summary.lateness.is_some_and(|late| late > Span::ZERO);
    // Where a deadline is missed, the smallest change has been named, and only others that meet it are worth naming.
    let worth_naming = |step: &&Step| !missed || step.meets_deadlines && report.advice.smallest.as_ref() != Some(*step);
    let steps = report.advice.steps.iter().filter(worth_naming);
    let mut steps: Vec<String> = steps.map(|step| step_text(step, report.start)).collect();
    let unnamed = |asked: &Asked| asked.limit == LimitName::NewOrdersPerAccount && asked.key == "default";
    let overrides = report.advice.smallest.iter().chain(&report.advice.steps).filter_map(|step| match &step.change {
        Change::Overrides { overrides } => Some(overrides),
        Change::LargerCertificates
        | Change::FoldWildcards
        | Change::MixTenant
        | Change::NoHeadroom
        | Change::NoReserve => None,
    });
    if overrides.flatten().any(unnamed) {
        steps.push("name your account, so that overrides find it: --account URL".to_owned());
    }
    match &report.plan_file {
        Some(path) => steps.push(format!("see when a name is issued: certpace show {path} --hostname NAME")),
        None => steps.push("keep the plan: add -o plan.jsonl".to_owned()),
    }
    out.push('\n');
    for (index, step) in steps.iter().enumerate() {
        line(out, if index == 0 { "Next" } else { "" }, &format!("→ {step}"));
    }
    let slower: Vec<String> = report.advice.slower_tiers.iter().map(slower_text).collect();
    if !slower.is_empty() {
        let text =
            format!("beware of smaller tiers: under steady demand they fall behind the default: {}", slower.join(", "));
        line(out, "", &text);
    }
    if report.summary.rejected > 0 {
        line(out, "", &paint(WARN, "→ mend the rejected rows and plan them with the rest"));
    }
}

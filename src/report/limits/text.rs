//! The policy in force as text for a terminal: an overview, or one limit in detail.

use std::fmt::Write as _;

use super::{Allowance, LimitEntry, LimitsReport, ProfileEntry, RenewalEntry, TermsEntry, TiersEntry};
use crate::limits::{Algorithm, LimitName, OverrideScope, SameSetExempt};
use crate::report::WIDTH;
use crate::report::style::{FAINT, GOOD, HEAD, NAME, PLAIN, WARN, paint};
use crate::report::table::{Align, Table};
use crate::report::words::{days, exact, grouped, wrapped};
use crate::time::Timestamp;

/// As many overrides of a limit as the overview lists.
const OVERRIDES_LISTED: usize = 5;

/// The overview: all limits, tiers, renewals, endpoints and profiles.
#[must_use]
pub fn overview(report: &LimitsReport<'_>) -> String {
    let policy = &report.policy;
    let mut out = format!("{} {}\n", paint(HEAD, policy.title), paint(FAINT, &format!("(policy {})", policy.name)));
    for directory in policy.directories {
        out.push_str(&faint(&format!("directory {directory}")));
    }
    let source = format!("source    {}", policy.source);
    let fits = source.len() + ", read ".len() + policy.read.len() <= WIDTH;
    let separator = if fits { ", " } else { "\n          " };
    out.push_str(&faint(&format!("{source}{separator}read {}", policy.read)));
    out.push('\n');
    out.push_str(&limits_table(report));
    if report.limits.iter().any(|limit| limit.override_tiers.is_some()) {
        out.push_str(&section("Override tiers", "burst and count are the tier; what is granted is not public"));
        report.limits.iter().for_each(|limit| tiers(&mut out, limit));
    }
    if let Some(renewal) = &report.renewal {
        out.push_str(&section("Renewals", ""));
        renewals(&mut out, renewal);
    }
    endpoints(&mut out, report);
    profiles(&mut out, report);
    let _ = write!(out, "\n{}", faint("One limit in detail: certpace limits NAME"));
    out
}

fn renewals(out: &mut String, renewal: &RenewalEntry) {
    let earlier = renewal.same_set_memory.map_or_else(
        || "any earlier certificate".to_owned(),
        |memory| format!("a certificate issued in the last {}", exact(memory)),
    );
    let same_set =
        format!("An order for exactly the names of {earlier} is a renewal, whichever account has that certificate.");
    paragraph(out, PLAIN, &same_set);
    if renewal.same_set_exempt == SameSetExempt::Domains {
        paragraph(out, PLAIN, "It is exempt from CertificatesPerDomain, and from nothing else.");
    }
    let left = format!(
        "when 1/{} of the validity is left, 1/{} if the validity is below {}",
        renewal.centre_divisor,
        renewal.centre_divisor_short_lived,
        exact(renewal.short_lived_below)
    );
    let window = if renewal.ari {
        let width = renewal.half_width_divisor;
        format!("The CA suggests to renew {left}; its window (ARI) reaches 1/{width} of the validity to either side.")
    } else {
        format!("The CA suggests no window to renew in (ARI); clients renew {left}.")
    };
    paragraph(out, PLAIN, &window);
}

/// One limit in detail.
#[must_use]
pub fn detail(report: &LimitsReport<'_>) -> String {
    let mut out = String::new();
    for limit in &report.limits {
        let _ = writeln!(
            out,
            "{}  {}",
            paint(NAME, limit.name.as_str()),
            paint(FAINT, &format!("(policy {})", report.policy.name))
        );
        paragraph(&mut out, PLAIN, &format!("Counts {}.", limit.counts));
        paragraph(&mut out, PLAIN, limit.asked);
        out.push('\n');
        match &limit.allows {
            Some(allows) => allowance(&mut out, limit.algorithm, allows),
            None if limit.name == LimitName::PendingAuthorizationsPerAccount => {
                fact(&mut out, "default", "none: the CA had this limit in the policy letsencrypt-2021");
            }
            None => fact(&mut out, "default", "none: it holds for those with an override alone"),
        }
        fact(&mut out, "override", scope_sentence(limit));
        if let (Some(source), Some(read)) = (limit.source, limit.read) {
            fact(&mut out, "source", source);
            fact(&mut out, "read", read);
        }
        if limit.override_tiers.is_some() {
            out.push_str(&section("Override tiers", "burst and count are the tier; what is granted is not public"));
            tiers_table(&mut out, limit);
        }
        if !limit.overrides.is_empty() {
            out.push_str(&section("Overrides in force", ""));
            out.push_str(&overrides_table(limit));
        }
    }
    out
}

fn section(title: &str, note: &str) -> String {
    let note = if note.is_empty() { String::new() } else { format!("  {}", paint(FAINT, note)) };
    format!("\n{}{note}\n", paint(HEAD, title))
}

fn faint(text: &str) -> String {
    format!("{}\n", paint(FAINT, text))
}

fn paragraph(out: &mut String, style: anstyle::Style, text: &str) {
    for line in wrapped(text, WIDTH - 2) {
        let _ = writeln!(out, "  {}", paint(style, &line));
    }
}

fn fact(out: &mut String, key: &str, value: &str) {
    let _ = writeln!(out, "  {} {value}", paint(FAINT, &format!("{key:<14}")));
}

fn refill(allows: &Allowance) -> String {
    let count = grouped(allows.count);
    allows.period.map_or_else(|| format!("{count} at a time"), |period| format!("{count} in {}", exact(period)))
}

fn allowance_cells(allows: &Allowance) -> [(anstyle::Style, String); 3] {
    let none = || "–".to_owned();
    let burst = allows.burst.map_or_else(none, grouped);
    [burst, refill(allows), allows.emission_interval.map_or_else(none, exact)].map(|text| (PLAIN, text))
}

fn limits_table(report: &LimitsReport<'_>) -> String {
    let columns =
        [("Limit", Align::Left), ("burst", Align::Right), ("refill", Align::Right), ("one every", Align::Right)];
    let mut table = Table::new(columns);
    for limit in &report.limits {
        let name = (NAME, limit.name.to_string());
        match &limit.allows {
            Some(allows) => {
                let [burst, refill, every] = allowance_cells(allows);
                table.row([name, burst, refill, every]);
            }
            None => table.row([name, (FAINT, "–".into()), (FAINT, "–".into()), (FAINT, "–".into())]),
        }
        let mut about = Vec::from([limit.counts.to_owned()]);
        match limit.algorithm {
            Algorithm::TokenBucket => {}
            Algorithm::SlidingWindow => about.push("sliding window".to_owned()),
            Algorithm::Concurrent => about.push("no rate: a count of what is there at a time".to_owned()),
        }
        about.push(match limit.override_scope {
            Some(OverrideScope::None) => "no overrides".to_owned(),
            Some(OverrideScope::Account) => "override for an account".to_owned(),
            Some(OverrideScope::RegisteredDomain) => "override for a registered domain".to_owned(),
            None => "off without an override".to_owned(),
        });
        if let (Some(source), Some(read)) = (limit.source, limit.read) {
            about.push(format!("{}, read {read}", short_source(source, report.policy.source)));
        }
        for line in joined(&about, " · ", WIDTH - 2) {
            table.line(format!("  {}", paint(FAINT, &line)));
        }
        for entry in limit.overrides.iter().take(OVERRIDES_LISTED) {
            let id = format!("  + {}", entry.id);
            let [burst, refill, every] = allowance_cells(&entry.allows);
            if id.chars().count() <= 49 {
                table.row([(GOOD, id), burst, refill, every]);
            } else {
                table.line(paint(GOOD, &id));
                table.row([(PLAIN, String::new()), burst, refill, every]);
            }
        }
        if let Some(more) = limit.overrides.len().checked_sub(OVERRIDES_LISTED).filter(|more| *more > 0) {
            let hint = format!("  + {} more: certpace limits {}", grouped(more as u64), limit.name);
            table.line(paint(FAINT, &hint));
        }
    }
    table.render()
}

/// What of a limit's source the policy's source does not say already: `#new-orders-per-account`.
fn short_source<'a>(source: &'a str, policy: &str) -> &'a str {
    source.strip_prefix(policy).filter(|rest| rest.starts_with('#')).unwrap_or(source)
}

/// Parts set apart by `separator`, in as few lines as fit.
fn joined(parts: &[String], separator: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        match lines.last_mut() {
            Some(line) if line.chars().count() + separator.chars().count() + part.chars().count() <= width => {
                line.push_str(separator);
                line.push_str(part);
            }
            _ => lines.extend(wrapped(part, width)),
        }
    }
    lines
}

fn tiers(out: &mut String, limit: &LimitEntry<'_>) {
    let Some(tiers) = &limit.override_tiers else { return };
    let about = format!("in {}", exact(tiers.period));
    let _ = writeln!(out, "{}  {}", paint(NAME, limit.name.as_str()), paint(FAINT, &about));
    let sizes: Vec<_> = tiers.tiers.iter().map(|tier| grouped(tier.tier)).collect();
    for line in joined(&sizes, " ", WIDTH - 2) {
        let _ = writeln!(out, "  {line}");
    }
    if let Some(sentence) = slower(tiers) {
        paragraph(out, WARN, &sentence);
    }
    out.push_str(&faint(&format!("  {}, read {}", tiers.source, tiers.read)));
}

/// Which tiers lower the sustained rate, and after how long that tells.
fn slower(tiers: &TiersEntry<'_>) -> Option<String> {
    let slower: Vec<_> =
        tiers.tiers.iter().filter_map(|tier| Some((grouped(tier.tier), days(tier.falls_behind_after?)))).collect();
    let sizes: Vec<_> = slower.iter().map(|(tier, _after)| tier.as_str()).collect();
    let after: Vec<_> = slower.iter().map(|(_tier, after)| after.trim_end_matches(" days")).collect();
    (!slower.is_empty()).then(|| {
        let (sizes, after) = (sizes.join(", "), after.join(", "));
        format!("! {sizes}: slower than the default under steady demand after {after} days")
    })
}

fn tiers_table(out: &mut String, limit: &LimitEntry<'_>) {
    let Some(tiers) = &limit.override_tiers else { return };
    let mut table =
        Table::new([("tier", Align::Right), ("refill", Align::Right), ("one every", Align::Right), ("", Align::Left)]);
    for tier in &tiers.tiers {
        let note = tier
            .falls_behind_after
            .map(|after| format!("! slower than the default under steady demand after {}", days(after)));
        let refill = format!("{} in {}", grouped(tier.tier), exact(tiers.period));
        let cells = [grouped(tier.tier), refill, exact(tier.emission_interval)].map(|text| (PLAIN, text));
        let [size, refill, every] = cells;
        table.row([size, refill, every, (WARN, note.unwrap_or_default())]);
    }
    out.push_str(&table.render());
    out.push_str(&faint(&format!("{}, read {}", tiers.source, tiers.read)));
}

fn overrides_table(limit: &LimitEntry<'_>) -> String {
    let columns =
        [("burst", Align::Right), ("refill", Align::Right), ("one every", Align::Right), ("for", Align::Left)];
    let mut table = Table::new(columns);
    for entry in &limit.overrides {
        let [burst, refill, every] = allowance_cells(&entry.allows);
        table.row([burst, refill, every, (GOOD, entry.id.to_owned())]);
    }
    table.render()
}

fn allowance(out: &mut String, algorithm: Algorithm, allows: &Allowance) {
    let (Some(burst), Some(every)) = (allows.burst, allows.emission_interval) else {
        fact(out, "allows", &refill(allows));
        fact(
            out,
            "algorithm",
            match algorithm {
                Algorithm::Concurrent => "a count of what is there at a time, whenever it began",
                Algorithm::SlidingWindow | Algorithm::TokenBucket => {
                    "sliding window: each event counts for exactly the period"
                }
            },
        );
        return;
    };
    let tokens = if burst == 1 { "token" } else { "tokens" };
    fact(out, "burst", &format!("{} {tokens} in a full bucket", grouped(burst)));
    fact(out, "refill", &format!("{}, evenly: one token every {}", refill(allows), exact(every)));
    let full = crate::time::Span::from_nanos(every.nanos().saturating_mul(i64::try_from(burst).unwrap_or(i64::MAX)));
    fact(out, "full again", &format!("{} after it was empty", exact(full)));
}

const fn scope_sentence(limit: &LimitEntry<'_>) -> &'static str {
    match limit.override_scope {
        Some(OverrideScope::None) => "the CA grants none",
        Some(OverrideScope::Account) => "can be asked for, for an account",
        Some(OverrideScope::RegisteredDomain) => "can be asked for, for a registered domain",
        None => "for an account",
    }
}

fn endpoints(out: &mut String, report: &LimitsReport<'_>) {
    let Some(first) = report.endpoints.first() else { return };
    out.push_str(&section("Requests", "per client IP address; over them: HTTP 503 with Retry-After"));
    let mut table =
        Table::new([("Endpoint", Align::Left), ("rate/s", Align::Right), ("burst", Align::Right), ("", Align::Left)]);
    let one_source = report.endpoints.iter().all(|entry| (entry.source, entry.read) == (first.source, first.read));
    let about = |source: &str, read: &str| format!("{}, read {read}", short_source(source, report.policy.source));
    for entry in &report.endpoints {
        let burst = entry.burst.map_or_else(|| "–".to_owned(), grouped);
        let source = if one_source { String::new() } else { about(entry.source, entry.read) };
        let path = (NAME, entry.path.to_owned());
        table.row([path, (PLAIN, grouped(entry.rate_per_second)), (PLAIN, burst), (FAINT, source)]);
    }
    out.push_str(&table.render());
    if one_source {
        out.push_str(&faint(&format!("  {}", about(first.source, first.read))));
    }
}

fn profiles(out: &mut String, report: &LimitsReport<'_>) {
    out.push_str(&section("Profiles", &format!("* holds on {}", report.now.day())));
    let columns = [
        ("Profile", Align::Left),
        ("names", Align::Right),
        ("kinds", Align::Left),
        ("", Align::Left),
        ("from", Align::Left),
        ("valid for", Align::Right),
        ("authorizations reused for", Align::Right),
    ];
    let mut table = Table::new(columns);
    for profile in &report.profiles {
        for (index, terms) in profile.terms.iter().enumerate() {
            let [from, valid, reuse] = terms_cells(terms);
            let mark = (GOOD, if terms.in_force { "*" } else { "" }.to_owned());
            let [name, names, kinds] = if index == 0 { profile_cells(profile) } else { Default::default() };
            table.row([name, names, kinds, mark, from, valid, reuse]);
        }
        let about = [
            format!("order lives {}", exact(profile.pending_order)),
            format!("pending authorization {}", exact(profile.pending_authorization)),
            format!("{}, read {}", profile.source, profile.read),
        ];
        for line in joined(&about, " · ", WIDTH - 2) {
            table.line(format!("  {}", paint(FAINT, &line)));
        }
    }
    out.push_str(&table.render());
}

fn profile_cells(profile: &ProfileEntry<'_>) -> [(anstyle::Style, String); 3] {
    let kinds = profile.identifiers.join(", ").to_uppercase();
    [(NAME, profile.name.to_owned()), (PLAIN, grouped(profile.names_max as u64)), (PLAIN, kinds)]
}

fn terms_cells(terms: &TermsEntry) -> [(anstyle::Style, String); 3] {
    let style = if terms.in_force { GOOD } else { PLAIN };
    let from = if terms.from == Timestamp::default() { "ever".to_owned() } else { terms.from.day() };
    [from, exact(terms.validity), exact(terms.authorization_reuse)].map(|text| (style, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{Limits, Overrides, Policy};

    #[test]
    fn overviews_fit_a_terminal() {
        for name in Policy::built_in_names() {
            let limits = Limits { policy: Policy::built_in(name).unwrap(), overrides: Overrides::none() };
            let text = overview(&LimitsReport::all(&limits, Timestamp::from_unix_seconds(1_800_000_000)));
            for line in anstream::adapter::strip_str(&text).to_string().lines() {
                assert!(line.chars().count() <= WIDTH, "{name}: {line}");
                assert_eq!(line, line.trim_end(), "{name}");
            }
        }
    }
}

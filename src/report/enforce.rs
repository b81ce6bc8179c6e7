//! What came of `certpace enforce`: was a client ever refused? [`Verdict`] is its JSON.

use std::fmt::Write as _;

use super::WIDTH;
use super::junit::{self, Problem, Suite, TestCase};
use super::style::{BAD, FAINT, GOOD, NAME, WARN, paint};
use super::words::{grouped, wrapped};
use crate::enforce::journal::{Counts, Entry, Refused};
use crate::enforce::{Ready, Verdict};
use crate::limits::LimitName;

/// Refusals that people read; JSON and JUnit have all.
const SHOWN: usize = 20;

/// What whoever started it has to tell clients, beside the directory's URL.
#[must_use]
pub fn ready(ready: &Ready, root: Option<&str>) -> String {
    let trust = root.map_or_else(String::new, |root| format!(", which trust the root in {root}"));
    format!("point clients at {}{trust}; Ctrl-C or SIGTERM ends it and tells the verdict", ready.directory)
}

/// The verdict for people.
#[must_use]
pub fn text(verdict: &Verdict) -> String {
    let mut out = String::new();
    let Counts { requests, accounts, orders, orders_same_set, orders_ari, certificates, .. } = verdict.counts;
    let Counts { failed_validations, too_early, unanswered, not_counted, .. } = verdict.counts;
    let line = if verdict.passed {
        paint(GOOD, &format!("✓ nobody was refused under the policy {}", verdict.policy))
    } else {
        paint(BAD, &format!("✗ {} under the policy {}", refusals(&verdict.counts), verdict.policy))
    };
    let _infallible = writeln!(out, "{line}");
    let passed = format!(
        "{}, {}, {} ({} of the same names, {} by ARI), {}, {}",
        count(requests, "request", "requests"),
        count(accounts, "account", "accounts"),
        count(orders, "order", "orders"),
        grouped(orders_same_set),
        grouped(orders_ari),
        count(certificates, "certificate", "certificates"),
        count(failed_validations, "failed validation", "failed validations"),
    );
    for line in wrapped(&passed, WIDTH - 2) {
        let _infallible = writeln!(out, "  {}", paint(FAINT, &line));
    }
    for (times, what) in [
        (too_early, "told to wait, and came too early all the same"),
        (unanswered, "the CA did not answer"),
        (not_counted, "passed without being counted: the log says why"),
    ] {
        if times > 0 {
            let _infallible = writeln!(out, "  {}", paint(WARN, &format!("{} {what}", self::times(times))));
        }
    }
    for (entry, refused) in refused(verdict).take(SHOWN) {
        push(&mut out, entry, refused);
    }
    let more = refused(verdict).count().saturating_sub(SHOWN);
    if more > 0 {
        let _infallible = writeln!(out, "  … and {more} more: --report FILE has them");
    }
    out
}

fn push(out: &mut String, entry: &Entry, refused: &Refused) {
    let Refused { limit, key, detail, .. } = refused;
    let _infallible = writeln!(out, "\n  {} {} of {key}", entry.at, paint(NAME, limit));
    let names = if entry.names.is_empty() { String::new() } else { format!("for {}; ", entry.names.join(", ")) };
    let client = format!("{names}{}, {}", entry.client.address, entry.client.user_agent);
    for line in wrapped(detail, WIDTH - 4).iter().chain(&wrapped(&client, WIDTH - 4)) {
        let _infallible = writeln!(out, "    {line}");
    }
}

fn count(number: u64, one: &str, more: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { one } else { more })
}

fn times(number: u64) -> String {
    if number == 1 { "once".to_owned() } else { format!("{} times", grouped(number)) }
}

fn refusals(counts: &Counts) -> String {
    let Counts { refused, paused, busy, .. } = *counts;
    let parts = [(refused, "refused"), (paused, "refused as paused"), (busy, "refused as too busy")];
    let parts = parts.into_iter().filter(|(number, _)| *number > 0);
    parts.map(|(number, what)| format!("{what} {}", times(number))).collect::<Vec<_>>().join(", ")
}

fn refused(verdict: &Verdict) -> impl Iterator<Item = (&Entry, &Refused)> {
    verdict.refusals.iter().filter_map(|entry| Some((entry, entry.refused.as_ref()?)))
}

/// The verdict as JUnit XML: a test case for each limit, and one for the requests a second.
#[must_use]
pub fn junit(verdict: &Verdict) -> String {
    let of = |limit: LimitName| case(limit.as_str().to_owned(), verdict, |refused| refused.limit == limit.as_str());
    let mut cases: Vec<TestCase> = verdict.limits.iter().map(|limit| of(*limit)).collect();
    cases.push(case("requests a second".to_owned(), verdict, |refused| LimitName::parse(&refused.limit).is_none()));
    let properties = vec![
        ("policy", verdict.policy.clone()),
        ("upstream", verdict.upstream.clone()),
        ("speed", verdict.speed.to_string()),
    ];
    junit::report("certpace enforce", &[Suite { name: &verdict.policy, file: &verdict.policy, properties, cases }])
}

fn case(name: String, verdict: &Verdict, is_of: impl Fn(&Refused) -> bool) -> TestCase {
    let of: Vec<_> = refused(verdict).filter(|(_, refused)| is_of(refused)).collect();
    let problem = of.first().map(|(_, first)| Problem {
        element: "failure",
        kind: "refused",
        message: format!("refused {}: {}", times(u64::try_from(of.len()).unwrap_or(u64::MAX)), first.detail),
        text: of.iter().map(|(entry, refused)| told(entry, refused)).collect(),
    });
    TestCase { name, problem }
}

fn told(entry: &Entry, refused: &Refused) -> String {
    let who = entry.account.as_deref().unwrap_or_default();
    let early = if refused.too_early { ", too early" } else { "" };
    format!(
        "{} {} {} {who} {} {}{early}: {}\n",
        entry.at, entry.client.address, entry.client.user_agent, refused.limit, refused.key, refused.detail
    )
}

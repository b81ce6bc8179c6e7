//! The report for people: a mark a line, and for what failed the difference and how to see it again.

use std::fmt::Write as _;

use super::{Broken, Determinism, Expected, TestReport, Tested, Verdict};
use crate::report::WIDTH;
use crate::report::style::{BAD, FAINT, GOOD, HEAD, PLAIN, paint};
use crate::report::words::wrapped;

/// The whole report.
#[must_use]
pub fn text(report: &TestReport) -> String {
    let mut out = String::new();
    for tested in &report.scenarios {
        push_scenario(&mut out, tested);
    }
    let style = if report.failed + report.broken == 0 { GOOD } else { BAD };
    let _infallible = writeln!(out, "\n{}", paint(style, &report.sum()));
    out
}

fn mark(good: bool) -> String {
    if good { paint(GOOD, "✓") } else { paint(BAD, "✗") }
}

fn push_scenario(out: &mut String, tested: &Tested) {
    let good = tested.verdict == Verdict::Passed;
    let _infallible = writeln!(out, "{} {}", mark(good), paint(HEAD, &tested.file));
    for line in tested.title.iter().flat_map(|title| wrapped(title, WIDTH - 2)) {
        let _infallible = writeln!(out, "  {}", paint(FAINT, &line));
    }
    let conditions: Vec<String> = tested.expectations.iter().map(Expected::condition).collect();
    let width = conditions.iter().map(|condition| condition.chars().count()).max().unwrap_or(0);
    for (expected, condition) in tested.expectations.iter().zip(conditions) {
        push_expectation(out, tested, expected, &format!("{condition:<width$}"));
    }
    if let Some(determinism) = &tested.determinism {
        push_determinism(out, tested, determinism);
    }
    if let Some(error) = &tested.error {
        push_broken(out, tested, error);
    }
}

fn push_expectation(out: &mut String, tested: &Tested, expected: &Expected, condition: &str) {
    if expected.holds {
        let came = paint(FAINT, &format!("came {}", expected.came()));
        let _infallible = writeln!(out, "  {} {condition}  {came}", mark(true));
        return;
    }
    let place = paint(FAINT, &format!("line {}", expected.line));
    let _infallible = writeln!(out, "  {} {condition}  {place}", mark(false));
    let wanted = format!("{} {}", expected.op, super::told(expected.expected.0));
    let mut told = vec![
        (GOOD, "- expected", wanted),
        (BAD, "+ came", expected.came()),
        (PLAIN, "  repeat", tested.repeat(expected.seed)),
    ];
    told.extend(expected.failing(tested.runs).map(|seeds| (PLAIN, "  failed", seeds)));
    for (style, what, text) in told {
        let _infallible = writeln!(out, "    {}", paint(style, &format!("{what:<12}{text}")));
    }
}

fn push_determinism(out: &mut String, tested: &Tested, determinism: &Determinism) {
    let Some(difference) = &determinism.difference else {
        let told = format!("every step the same again with {} threads", determinism.threads);
        let _infallible = writeln!(out, "  {} {told}", mark(true));
        return;
    };
    let told = format!("step {} with seed {} differs from run to run", difference.line, difference.seed);
    let _infallible = writeln!(out, "  {} {told}", mark(false));
    let threads = format!("+ {} threads", determinism.threads);
    for (style, what, text) in [
        (GOOD, "- 1 thread", difference.first.clone()),
        (BAD, threads.as_str(), difference.second.clone()),
        (PLAIN, "  repeat", tested.repeat(difference.seed)),
    ] {
        let _infallible = writeln!(out, "    {}", paint(style, &format!("{what:<12}{text}")));
    }
}

fn push_broken(out: &mut String, tested: &Tested, error: &Broken) {
    let place = error.line.map_or_else(|| tested.file.clone(), |line| format!("{}:{line}", tested.file));
    let _infallible = writeln!(out, "  {}", paint(BAD, &format!("broken: {place}")));
    for line in error.messages.iter().flat_map(|message| message.lines()) {
        let _infallible = writeln!(out, "    {line}");
    }
}

//! The report as GitHub's workflow commands: a failed expectation becomes an annotation at its line.
//!
//! <https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions>

use std::fmt::Write as _;

use super::{TestReport, Tested};

/// A command a line for what is wrong, and how it went in all as the last line.
#[must_use]
pub fn github(report: &TestReport) -> String {
    let mut out = String::new();
    for tested in &report.scenarios {
        push_errors(&mut out, tested);
    }
    let _infallible = writeln!(out, "{}", report.sum());
    out
}

fn push_errors(out: &mut String, tested: &Tested) {
    for expected in tested.expectations.iter().filter(|expected| !expected.holds) {
        let seeds = expected.failing(tested.runs).map_or_else(String::new, |seeds| format!("failed with {seeds}\n"));
        let text = format!(
            "expected {} {}\ncame {}\n{seeds}repeat: {}",
            expected.op,
            super::told(expected.expected.0),
            expected.came(),
            tested.repeat(expected.seed),
        );
        push(out, tested, Some(expected.line), &expected.condition(), &text);
    }
    if let Some(difference) = tested.determinism.as_ref().and_then(|determinism| determinism.difference.as_ref()) {
        let text = format!(
            "step {} with seed {} was\n{}\nand then\n{}",
            difference.line, difference.seed, difference.first, difference.second
        );
        push(out, tested, None, "not the same twice", &text);
    }
    if let Some(error) = &tested.error {
        push(out, tested, error.line, "broken scenario", &error.messages.join("\n"));
    }
}

fn push(out: &mut String, tested: &Tested, line: Option<usize>, title: &str, text: &str) {
    let line = line.map_or_else(String::new, |line| format!(",line={line}"));
    let _infallible =
        writeln!(out, "::error file={}{line},title={}::{}", property(&tested.file), property(title), data(text));
}

/// A message: what would end it is escaped.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property: so is what would end one of these.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::test::{Broken, Tested};

    #[test]
    fn what_would_end_a_command_is_escaped() {
        let error = Broken { line: Some(3), messages: vec!["100 %".to_owned(), "a\r\nb".to_owned()] };
        let report = TestReport::new(vec![Tested::broken("a,b:c.toml".to_owned(), None, error)]);
        let expected = "::error file=a%2Cb%3Ac.toml,line=3,title=broken scenario::100 %25%0Aa%0D%0Ab\n";
        assert_eq!(github(&report), format!("{expected}1 scenario: 1 broken\n"));
    }
}

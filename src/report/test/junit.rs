//! The report as JUnit XML: a scenario is a `testsuite`, an expectation a `testcase`. There are no times in it: the same scenarios give
//! the same bytes.

use super::{Broken, Determinism, Expected, TestReport, Tested};
use crate::report::junit::{self, Problem, Suite, TestCase};

/// The whole report.
#[must_use]
pub fn junit(report: &TestReport) -> String {
    let suites: Vec<Suite<'_>> = report.scenarios.iter().map(suite).collect();
    junit::report("certpace test", &suites)
}

fn suite(tested: &Tested) -> Suite<'_> {
    let seed = tested.first_seed.map(|seed| [("seed", seed.to_string()), ("runs", tested.runs.to_string())]);
    Suite {
        name: tested.title.as_deref().unwrap_or(&tested.file),
        file: &tested.file,
        properties: seed.into_iter().flatten().collect(),
        cases: cases(tested),
    }
}

fn cases(tested: &Tested) -> Vec<TestCase> {
    let mut cases: Vec<TestCase> = tested.expectations.iter().map(|expected| expectation(tested, expected)).collect();
    cases.extend(tested.determinism.as_ref().map(|found| determinism(tested, found)));
    cases.extend(tested.error.as_ref().map(|error| broken(tested, error)));
    cases
}

fn expectation(tested: &Tested, expected: &Expected) -> TestCase {
    let problem = || {
        let seeds = expected.failing(tested.runs).map_or_else(String::new, |seeds| format!("failed with {seeds}\n"));
        Problem {
            element: "failure",
            kind: "expectation",
            message: format!("expected {}, came {}", expected.condition(), expected.came()),
            text: format!(
                "{}:{}\nexpected {} {}\ncame {}\n{seeds}repeat: {}",
                tested.file,
                expected.line,
                expected.op,
                super::told(expected.expected.0),
                expected.came(),
                tested.repeat(expected.seed),
            ),
        }
    };
    TestCase { name: expected.condition(), problem: (!expected.holds).then(problem) }
}

fn determinism(tested: &Tested, found: &Determinism) -> TestCase {
    let problem = found.difference.as_ref().map(|difference| Problem {
        element: "failure",
        kind: "determinism",
        message: format!("step {} with seed {} differs from run to run", difference.line, difference.seed),
        text: format!("{}\n{}\n{}", tested.repeat(difference.seed), difference.first, difference.second),
    });
    TestCase { name: "every step the same again".to_owned(), problem }
}

fn broken(tested: &Tested, error: &Broken) -> TestCase {
    let place = error.line.map_or_else(|| tested.file.clone(), |line| format!("{}:{line}", tested.file));
    let first = error.messages.first().map_or("", |message| message.lines().next().unwrap_or_default());
    let problem = Problem {
        element: "error",
        kind: "scenario",
        message: first.to_owned(),
        text: format!("{place}\n{}", error.messages.join("\n")),
    };
    TestCase { name: "can be run".to_owned(), problem: Some(problem) }
}

//! The report as JUnit XML, in the shape that Jenkins reads (`junit-10.xsd` of its xunit plugin) and others too.
//!
//! A scenario is a `testsuite`, an expectation a `testcase`. There are no times in it: the same scenarios give the same bytes.
//! `quick-junit` writes attributes that the schema does not know (`skipped` of `testsuites`), so this is written by hand.

use std::io::{self, Write};

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::{Broken, Determinism, Expected, TestReport, Tested};

/// The whole report.
///
/// # Panics
/// Never: memory takes what is written.
#[must_use]
pub fn junit(report: &TestReport) -> String {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    write(&mut writer, report).unwrap_or_else(|error| unreachable!("memory takes what is written: {error}"));
    let mut text = String::from_utf8_lossy(&writer.into_inner()).into_owned();
    text.push('\n');
    text
}

/// What came of one test, in JUnit's words.
struct Problem {
    element: &'static str,
    kind: &'static str,
    message: String,
    text: String,
}

/// A `testcase`.
struct TestCase {
    name: String,
    problem: Option<Problem>,
}

fn write(writer: &mut Writer<impl Write>, report: &TestReport) -> io::Result<()> {
    let suites: Vec<Vec<TestCase>> = report.scenarios.iter().map(cases).collect();
    let all: Vec<&TestCase> = suites.iter().flatten().collect();
    let [tests, failures, errors] = counts(&all);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let root = writer.create_element("testsuites").with_attributes([
        ("name", "certpace test"),
        ("tests", &*tests),
        ("failures", &*failures),
        ("errors", &*errors),
    ]);
    root.write_inner_content(|writer| {
        report.scenarios.iter().zip(&suites).try_for_each(|(tested, cases)| write_suite(writer, tested, cases))
    })?;
    Ok(())
}

/// All tests, failures and errors among `cases`, as text.
fn counts(cases: &[&TestCase]) -> [String; 3] {
    let of = |element: &str| {
        let is = |case: &&&TestCase| case.problem.as_ref().is_some_and(|problem| problem.element == element);
        cases.iter().filter(is).count().to_string()
    };
    [cases.len().to_string(), of("failure"), of("error")]
}

fn write_suite(writer: &mut Writer<impl Write>, tested: &Tested, cases: &[TestCase]) -> io::Result<()> {
    let [tests, failures, errors] = counts(&cases.iter().collect::<Vec<_>>());
    let file = clean(&tested.file);
    let suite = writer.create_element("testsuite").with_attributes([
        ("name", &*clean(tested.title.as_deref().unwrap_or(&tested.file))),
        ("file", &*file),
        ("tests", &*tests),
        ("failures", &*failures),
        ("errors", &*errors),
    ]);
    suite.write_inner_content(|writer| {
        if let Some(seed) = tested.first_seed {
            writer.create_element("properties").write_inner_content(|writer| {
                for (name, value) in [("seed", seed.to_string()), ("runs", tested.runs.to_string())] {
                    let property = writer.create_element("property");
                    property.with_attributes([("name", name), ("value", &*value)]).write_empty()?;
                }
                Ok(())
            })?;
        }
        // Readers cut a class name at its last dot.
        let class = file.strip_suffix(".toml").unwrap_or(&file);
        cases.iter().try_for_each(|case| write_case(writer, class, case))
    })?;
    Ok(())
}

fn write_case(writer: &mut Writer<impl Write>, class: &str, case: &TestCase) -> io::Result<()> {
    let name = clean(&case.name);
    let element = writer.create_element("testcase").with_attributes([("name", &*name), ("classname", class)]);
    let Some(problem) = &case.problem else {
        element.write_empty()?;
        return Ok(());
    };
    element.write_inner_content(|writer| {
        let message = clean(&problem.message);
        writer
            .create_element(problem.element)
            .with_attributes([("message", &*message), ("type", problem.kind)])
            .write_text_content(BytesText::new(&clean(&problem.text)))?;
        Ok(())
    })?;
    Ok(())
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

/// Without what XML can't hold, however escaped.
fn clean(text: &str) -> String {
    let fits = |c: char| matches!(c, '\t' | '\n' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    text.chars().map(|c| if fits(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

//! JUnit XML, in the shape that Jenkins reads (`junit-10.xsd` of its xunit plugin) and others too.
//!
//! `quick-junit` writes attributes that the schema does not know (`skipped` of `testsuites`), so this is written by hand.

use std::io::{self, Write};

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

/// A `testsuite`.
pub(super) struct Suite<'a> {
    pub(super) name: &'a str,
    /// What is tested; of test cases it is the class.
    pub(super) file: &'a str,
    pub(super) properties: Vec<(&'static str, String)>,
    pub(super) cases: Vec<TestCase>,
}

/// A `testcase`.
pub(super) struct TestCase {
    pub(super) name: String,
    pub(super) problem: Option<Problem>,
}

/// What came of one test, in JUnit's words.
pub(super) struct Problem {
    pub(super) element: &'static str,
    pub(super) kind: &'static str,
    pub(super) message: String,
    pub(super) text: String,
}

/// The whole report of `name`.
pub(super) fn report(name: &str, suites: &[Suite<'_>]) -> String {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    write(&mut writer, name, suites).unwrap_or_else(|error| unreachable!("memory takes what is written: {error}"));
    let mut text = String::from_utf8_lossy(&writer.into_inner()).into_owned();
    text.push('\n');
    text
}

fn write(writer: &mut Writer<impl Write>, name: &str, suites: &[Suite<'_>]) -> io::Result<()> {
    let [tests, failures, errors] = counts(suites.iter().flat_map(|suite| &suite.cases));
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let root = writer.create_element("testsuites").with_attributes([
        ("name", name),
        ("tests", &*tests),
        ("failures", &*failures),
        ("errors", &*errors),
    ]);
    root.write_inner_content(|writer| suites.iter().try_for_each(|suite| write_suite(writer, suite)))?;
    Ok(())
}

/// All tests, failures and errors among `cases`, as text.
fn counts<'a>(cases: impl Iterator<Item = &'a TestCase>) -> [String; 3] {
    let (mut tests, mut failures, mut errors) = (0_usize, 0_usize, 0_usize);
    for case in cases {
        tests += 1;
        match &case.problem {
            Some(problem) if problem.element == "failure" => failures += 1,
            Some(_) => errors += 1,
            None => {}
        }
    }
    [tests, failures, errors].map(|count| count.to_string())
}

fn write_suite(writer: &mut Writer<impl Write>, suite: &Suite<'_>) -> io::Result<()> {
    let [tests, failures, errors] = counts(suite.cases.iter());
    let file = clean(suite.file);
    let element = writer.create_element("testsuite").with_attributes([
        ("name", &*clean(suite.name)),
        ("file", &*file),
        ("tests", &*tests),
        ("failures", &*failures),
        ("errors", &*errors),
    ]);
    element.write_inner_content(|writer| {
        if !suite.properties.is_empty() {
            writer.create_element("properties").write_inner_content(|writer| {
                for (name, value) in &suite.properties {
                    let property = writer.create_element("property");
                    property.with_attributes([("name", *name), ("value", &*clean(value))]).write_empty()?;
                }
                Ok(())
            })?;
        }
        // Readers cut a class name at its last dot.
        let class = file.strip_suffix(".toml").unwrap_or(&file);
        suite.cases.iter().try_for_each(|case| write_case(writer, class, case))
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

/// Without what XML can't hold, however escaped.
fn clean(text: &str) -> String {
    let fits = |c: char| matches!(c, '\t' | '\n' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    text.chars().map(|c| if fits(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

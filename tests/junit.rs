//! What `certpace test --format junit` writes against Jenkins's schema for it, `tests/junit/junit-10.xsd` (MIT, from
//! jenkinsci/xunit-plugin, commit 8c515de2).
//!
//! The schema itself is read: elements, their attributes, which of them must be there, and what may stand inside. It uses no more of XML
//! Schema than that, but for the pattern of times, of which the report has none.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::process::Command;

use roxmltree::{Document, Node};

/// What a schema says of one element.
#[derive(Default)]
struct Element {
    /// By name: whether it must be there.
    attributes: BTreeMap<String, bool>,
    children: Vec<String>,
    text: bool,
}

fn schema() -> BTreeMap<String, Element> {
    let text = std::fs::read_to_string("tests/junit/junit-10.xsd").unwrap();
    let document = Document::parse(&text).unwrap();
    let elements = document.root_element().children().filter(|node| node.has_tag_name(node_name("element")));
    elements.map(|node| (node.attribute("name").unwrap().to_owned(), element(node))).collect()
}

const fn node_name(name: &str) -> (&str, &str) {
    ("http://www.w3.org/2001/XMLSchema", name)
}

fn element(node: Node<'_, '_>) -> Element {
    let mut of = Element { text: node.attribute("type") == Some("xs:string"), ..Element::default() };
    for part in node.descendants() {
        of.text |= part.attribute("mixed") == Some("true");
        if let (Some(name), true) = (part.attribute("name"), part.has_tag_name(node_name("attribute"))) {
            of.attributes.insert(name.to_owned(), part.attribute("use") == Some("required"));
        }
        of.children.extend(part.attribute("ref").map(str::to_owned));
    }
    of
}

/// All that is wrong with a document.
fn violations(xml: &str) -> Vec<String> {
    let schema = schema();
    let document = Document::parse(xml).unwrap();
    let mut found = Vec::new();
    for node in document.descendants().filter(Node::is_element) {
        let name = node.tag_name().name();
        let Some(of) = schema.get(name) else {
            found.push(format!("no element is called {name}"));
            continue;
        };
        let unknown = node.attributes().filter(|attribute| !of.attributes.contains_key(attribute.name()));
        found.extend(unknown.map(|attribute| format!("{name} has no attribute {}", attribute.name())));
        let missing = of.attributes.iter().filter(|(key, required)| **required && !node.has_attribute(&***key));
        found.extend(missing.map(|(key, _)| format!("{name} lacks its attribute {key}")));
        assert!(!node.has_attribute("time"), "its pattern is not checked here");
        for child in node.children() {
            let inside = child.tag_name().name();
            if child.is_element() && !of.children.iter().any(|known| known == inside) {
                found.push(format!("{name} has no {inside} inside"));
            }
            if child.is_text() && !of.text && !child.text().unwrap_or_default().trim().is_empty() {
                found.push(format!("{name} has no text inside"));
            }
        }
    }
    found
}

fn report(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_certpace"));
    let output = command.current_dir("tests/cmd/files").args(["test", "--format", "junit"]).args(arguments).output();
    let output = output.unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn reports_are_valid() {
    let all = ["redeployed.toml", "test-fails.toml", "scenario-bad-date.toml", "missing.toml", "--check-determinism"];
    for arguments in [&all[..], &["redeployed.toml"], &["test-fails.toml", "--seeds", "1..20"]] {
        let (_, xml) = report(arguments);
        assert_eq!(violations(&xml), [""; 0], "{xml}");
    }
}

#[test]
fn counts_are_those_of_the_elements() {
    let (code, xml) = report(&["redeployed.toml", "test-fails.toml", "scenario-bad-date.toml"]);
    assert_eq!(code, Some(1));
    let document = Document::parse(&xml).unwrap();
    let count = |node: Node<'_, '_>, name: &str| node.descendants().filter(|node| node.has_tag_name(name)).count();
    let counted = document.descendants().filter(|node| node.has_attribute("tests"));
    for node in counted {
        let attribute = |name| node.attribute(name).unwrap().parse::<usize>().unwrap();
        assert_eq!(attribute("tests"), count(node, "testcase"));
        assert_eq!(attribute("failures"), count(node, "failure"));
        assert_eq!(attribute("errors"), count(node, "error"));
    }
    assert!(count(document.root_element(), "failure") > 0 && count(document.root_element(), "error") == 1, "{xml}");
}

#[test]
fn what_the_schema_does_not_know_is_found() {
    let check = |xml: &str, expected: &str| assert_eq!(violations(xml), [expected], "{xml}");
    check("<testsuites skipped='0'/>", "testsuites has no attribute skipped");
    check("<testsuites><testcase name='x'/></testsuites>", "testsuites has no testcase inside");
    check("<testcase classname='x'/>", "testcase lacks its attribute name");
    check("<testsuites>x</testsuites>", "testsuites has no text inside");
    check("<reports/>", "no element is called reports");
}

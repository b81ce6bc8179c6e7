//! The Public Suffix List's own test cases, and what Boulder's own functions say of many names: under which registered domain or
//! address block their certificates are counted, and which an order may not hold. `CERTPACE_PSL_ANSWERS` names a further file of such answers.
#![expect(clippy::disallowed_macros, reason = "the number of names compared is for the reader of the log")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use certpace::name::{Identifier, NameError};
use certpace::psl::SuffixList;
use serde::Deserialize;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/psl").join(name)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Under what certificates for `name` are counted, whether or not the CA would take it; `None` where it is no name.
fn covering(suffixes: &SuffixList, name: &str) -> Option<String> {
    if let Ok(address) = name.parse() {
        return Some(suffixes.domain_of(&Identifier::Ip(address)));
    }
    let ascii = ascii(name);
    let well_formed = ascii.split('.').all(|label| !label.is_empty());
    well_formed.then(|| String::from_utf8_lossy(suffixes.registered_domain(ascii.as_bytes())).into_owned())
}

fn ascii(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    idna::domain_to_ascii(name).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Whether an order may hold the name as it stands.
fn check(suffixes: &SuffixList, name: &str) -> Result<(), NameError> {
    let identifier = Identifier::parse(name)?;
    suffixes.check(&identifier)?;
    if identifier.to_string() == name { Ok(()) } else { Err(NameError::NotCanonical) }
}

/// One of the list's cases: a name, and its registered domain or `null`.
fn check_case(suffixes: &SuffixList, name: &str, domain: &str) {
    // What is a suffix has no registered domain for the list, and stands for itself with the CA.
    let expected = if domain == "null" { name } else { domain };
    match covering(suffixes, name) {
        Some(found) => assert_eq!(found, ascii(expected), "{name}"),
        None => assert_eq!(domain, "null", "{name}"),
    }
}

#[test]
fn the_lists_own_cases() {
    let suffixes = SuffixList::embedded();
    let mut cases = 0;
    for text in [read(&file("test_psl.txt")), read(&file("tests.txt"))] {
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with("//")) {
            let line = line.trim_start_matches("checkPublicSuffix(").trim_end_matches(");");
            let (name, domain) = line.split_once(' ').unwrap_or_else(|| panic!("no case: {line}"));
            let plain = |text: &str| text.trim_matches([',', '\'']).to_owned();
            // The case of no name at all can't be put to us.
            if name.trim_matches(',') != "null" {
                check_case(&suffixes, &plain(name), &plain(domain));
                cases += 1;
            }
        }
    }
    assert!(cases > 150, "{cases} cases");
    println!("{cases} cases compared");
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    name: String,
    covering: Option<String>,
    #[serde(default)]
    error: bool,
    #[serde(default)]
    refused: bool,
}

#[test]
fn every_answer_is_boulders() {
    let suffixes = SuffixList::embedded();
    let further = std::env::var_os("CERTPACE_PSL_ANSWERS").map(PathBuf::from);
    for path in [Some(file("answers.jsonl")), further].into_iter().flatten() {
        let text = read(&path);
        for line in text.lines() {
            let answer: Answer = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(answer.covering.is_none(), answer.error, "{line}");
            assert_eq!(covering(&suffixes, &answer.name), answer.covering, "{line}");
            let checked = check(&suffixes, &answer.name);
            assert_eq!(checked.is_err(), answer.refused, "{line}: {checked:?}");
        }
        assert!(!text.is_empty(), "{} is empty", path.display());
        println!("{} names compared", text.lines().count());
    }
}

/// The list's rules, by their text in ASCII, and whether they stand in its ICANN section.
fn rules() -> BTreeMap<String, bool> {
    let list = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("data/public_suffix_list.dat"));
    let (mut rules, mut icann) = (BTreeMap::new(), false);
    for line in list.lines() {
        if line.starts_with("//") {
            icann = (icann || line.contains("BEGIN ICANN")) && !line.contains("BEGIN PRIVATE");
        } else if let Some(rule) = line.split_whitespace().next() {
            let (sign, rule) = rule.strip_prefix('!').map_or(("", rule), |rule| ("!", rule));
            rules.insert(format!("{sign}{}", ascii(rule)), icann);
        }
    }
    rules
}

/// The public suffix of `name` as <https://publicsuffix.org/list/> defines it, slowly: an exception prevails, else the rule with the
/// most labels, else `*`. With `icann` only that section's rules are looked at, and there may be none.
fn suffix<'a>(rules: &BTreeMap<String, bool>, name: &'a str, icann: bool) -> Option<&'a str> {
    let known = |rule: &str| rules.get(rule).is_some_and(|in_icann| *in_icann || !icann);
    let shorter = |name: &'a str| name.split_once('.').map(|(_, rest)| rest);
    let tails = || std::iter::successors(Some(name), move |tail| shorter(tail));
    if let Some(exception) = tails().find(|tail| known(&format!("!{tail}"))) {
        return shorter(exception);
    }
    let wildcard = |tail: &'a str| shorter(tail).is_some_and(|base| known(&format!("*.{base}")));
    let listed = tails().find(|tail| known(tail) || wildcard(tail));
    listed.or_else(|| tails().last().filter(|_| !icann))
}

/// Every rule, and names around it, against the definition.
#[test]
fn every_rule_holds() {
    let (suffixes, rules) = (SuffixList::embedded(), rules());
    let mut names: Vec<String> = Vec::new();
    for rule in rules.keys() {
        let rule = rule.trim_start_matches('!').replace('*', "w");
        let above = rule.split_once('.').map_or(rule.as_str(), |(_, rest)| rest).to_owned();
        names.extend(["a", "b.a", "*", "*.a"].map(|label| format!("{label}.{rule}")));
        names.extend([format!("a.{above}"), above, rule]);
    }
    for name in &names {
        let suffix_at = |icann| suffix(&rules, name, icann).map(|suffix| name.len() - suffix.len());
        let at = suffix_at(false).and_then(|at| at.checked_sub(1));
        let domain_at = at.map_or(0, |dot| name[..dot].rfind('.').map_or(0, |dot| dot + 1));
        let domain = &name[domain_at..];
        assert_eq!(suffixes.registered_domain(name.as_bytes()), domain.as_bytes(), "{name}");
        let refused = match suffix_at(true) {
            None | Some(0) => true,
            Some(at) => at == 2 && name.starts_with("*."),
        };
        assert_eq!(suffixes.covering(name.as_bytes()).is_err(), refused, "{name}");
    }
    println!("{} names compared", names.len());
}

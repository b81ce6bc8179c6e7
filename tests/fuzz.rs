//! Arbitrary and broken input: nothing that reads text from people ever panics, and the inventory says what a plain CSV reader says.
//!
//! Each property runs a few hundred cases; `PROPTEST_CASES=100000 cargo test --release --test fuzz` runs for long.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use certpace::inventory::{self, Inventory, InventoryError, Settings, Source};
use certpace::limits::{Limits, Overrides, Policy};
use certpace::plan::{Options, plan};
use certpace::psl::SuffixList;
use certpace::report::plan_file::{self, Lines};
use certpace::report::rejects;
use certpace::time::Timestamp;
use proptest::prelude::*;
use proptest::sample::Index;

static SUFFIXES: LazyLock<SuffixList> = LazyLock::new(SuffixList::embedded);
static POLICY: LazyLock<Policy> = LazyLock::new(|| Policy::built_in("letsencrypt").unwrap());
static START: LazyLock<Timestamp> = LazyLock::new(|| Timestamp::parse("2026-12-01").unwrap());

fn read(texts: &[&[u8]]) -> Result<Inventory, InventoryError> {
    let settings = Settings {
        account: "default",
        profile: "classic",
        deadline: None,
        start: *START,
        policy: &POLICY,
        suffixes: &SUFFIXES,
    };
    let source = |(number, bytes): (usize, &&[u8])| Source::new(&format!("{number}.csv"), bytes.to_vec());
    inventory::read(texts.iter().enumerate().map(source).collect(), &settings, &|_| {})
}

/// What mostly means something.
const TELLING: &[&[u8]] = &[
    b"\"",
    b"\"\"",
    b"\n",
    b"\r",
    b"\r\n",
    b",",
    b";",
    b"\t",
    b"\0",
    b"\xff",
    b"*.",
    b"..",
    b"-",
    b"_",
    "ü".as_bytes(),
    b"\xef\xbb\xbf",
    b"[",
    b"]",
    b"{",
    b"}",
    b"=",
    b"0",
    b"-1",
    b"99999999999999999999",
    b"1e999",
    b"null",
    b"2199-12-31T23:59:59.999999999Z",
    b"1970-01-01",
    b"\\",
    b"#",
];

/// A change to a text: bytes at some place taken out, put in, or doubled.
#[derive(Clone, Debug)]
struct Mutation {
    at: Index,
    len: usize,
    kind: u8,
    bytes: Vec<u8>,
}

impl Mutation {
    fn any() -> impl Strategy<Value = Self> {
        let telling = prop::sample::select(TELLING);
        let bytes = prop_oneof![
            3 => telling.prop_map(<[u8]>::to_vec),
            1 => prop::collection::vec(any::<u8>(), 0..4),
        ];
        (any::<Index>(), 0..12_usize, 0..4_u8, bytes).prop_map(|(at, len, kind, bytes)| Self { at, len, kind, bytes })
    }

    fn apply(&self, text: &mut Vec<u8>) {
        let at = self.at.index(text.len() + 1);
        let end = (at + self.len).min(text.len());
        match self.kind {
            0 => drop(text.splice(at..end, self.bytes.iter().copied())),
            1 => drop(text.splice(at..at, self.bytes.iter().copied())),
            2 => {
                let again = text[at..end].to_vec();
                text.splice(at..at, again);
            }
            _ => text.truncate(at),
        }
    }
}

fn mutated(valid: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let mutations = prop::collection::vec(Mutation::any(), 1..6);
    (prop::sample::select(valid), mutations).prop_map(|(text, mutations)| {
        let mut text = text.as_bytes().to_vec();
        mutations.iter().for_each(|mutation| mutation.apply(&mut text));
        text
    })
}

fn arbitrary() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        "[ -~\n\t]{0,200}".prop_map(String::into_bytes),
        "(hostname|fqdn;tenant|name,certificate,issued_at,expires_at)\n(\\PC|[\n,;\"*.]){0,100}"
            .prop_map(String::into_bytes),
    ]
}

const INVENTORIES: &[&str] = &[
    include_str!("cmd/files/small.csv"),
    include_str!("cmd/files/attributes.csv"),
    include_str!("cmd/files/bom.csv"),
    include_str!("cmd/files/held.csv"),
    include_str!("cmd/files/list.txt"),
    include_str!("cmd/files/unicode.csv"),
    include_str!("cmd/files/wildcards.csv"),
    include_str!("cmd/files/bad/mixed.csv"),
    include_str!("cmd/files/bad/torn-certificate.csv"),
    include_str!("cmd/files/bad/values.csv"),
];

const POLICIES: &[&str] = &[
    include_str!("../data/letsencrypt.toml"),
    include_str!("../data/letsencrypt-staging.toml"),
    include_str!("../data/letsencrypt-2025.toml"),
    include_str!("../data/letsencrypt-2021.toml"),
];

const OVERRIDES: &[&str] = &[include_str!("cmd/files/overrides.toml"), include_str!("cmd/files/domain-override.toml")];

const PLANS: &[&str] = &[include_str!("cmd/plan-then-show.out/plan.jsonl")];

/// Reads what may be an inventory, and does with it all that the command line does.
fn plan_all(texts: &[&[u8]]) -> Result<(), TestCaseError> {
    let Ok(inventory) = read(texts) else { return Ok(()) };
    let told = rejects::text(&inventory);
    prop_assert_eq!(inventory.rejects.is_empty(), told.is_empty());
    prop_assert!(inventory.counts.rows >= inventory.rejects.len() as u64);
    let _rejects = rejects::file(&inventory);
    let limits = Limits { policy: POLICY.clone(), overrides: Overrides::none() };
    let plan = plan(&inventory, &limits, Options::starting(*START)).unwrap();
    let head = plan_file::head(&plan, &SUFFIXES, &plan_file::Origin::default());
    prop_assert_eq!(plan_file::read_head(&head).unwrap().orders(), Some(plan.orders.len() as u64));
    let lines = Lines::new(&plan).render(0..plan.orders.len());
    for (line, number) in lines.split_inclusive(|byte| *byte == b'\n').zip(2..) {
        prop_assert!(plan_file::read_order(line, number).is_ok(), "{}", String::from_utf8_lossy(line));
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_bytes_are_an_inventory_or_none(bytes in arbitrary(), other in arbitrary()) {
        plan_all(&[&bytes, &other])?;
    }

    #[test]
    fn broken_inventories_are_told(bytes in mutated(INVENTORIES), other in mutated(INVENTORIES)) {
        plan_all(&[&bytes])?;
        plan_all(&[&bytes, &other])?;
    }

    #[test]
    fn rejects_are_rejected_again(bytes in mutated(INVENTORIES)) {
        let Ok(inventory) = read(&[&bytes]) else { return Ok(()) };
        let file = rejects::file(&inventory);
        if inventory.rejects.is_empty() {
            prop_assert!(file.is_empty());
        } else if let Ok(again) = read(&[&file]) {
            // A row may have been wrong for its neighbours alone, but none comes to what was not there, and all come back.
            prop_assert_eq!(again.counts.rows, inventory.rejects.len() as u64, "{}", String::from_utf8_lossy(&file));
        }
    }

    #[test]
    fn any_text_is_a_policy_or_none(bytes in prop_oneof![1 => arbitrary(), 4 => mutated(POLICIES)]) {
        if let Ok(policy) = Policy::parse(&String::from_utf8_lossy(&bytes)) {
            // What is taken can be planned with.
            let inventory = read(&[b"hostname\nexample.com\nwww.example.com\nexample.org\n"]).unwrap();
            if policy.profile("classic").is_some() && policy.profiles.len() == POLICY.profiles.len() {
                let limits = Limits { policy, overrides: Overrides::none() };
                prop_assert!(plan(&inventory, &limits, Options::starting(*START)).is_ok());
            }
        }
    }

    #[test]
    fn any_text_is_overrides_or_none(bytes in prop_oneof![1 => arbitrary(), 4 => mutated(OVERRIDES)]) {
        if let Ok(overrides) = Overrides::parse(&String::from_utf8_lossy(&bytes), &POLICY, &SUFFIXES) {
            let inventory = read(&[INVENTORIES[0].as_bytes()]).unwrap();
            let limits = Limits { policy: POLICY.clone(), overrides };
            prop_assert!(plan(&inventory, &limits, Options::starting(*START)).is_ok());
        }
    }

    #[test]
    fn any_bytes_are_a_plan_or_none(bytes in prop_oneof![1 => arbitrary(), 4 => mutated(PLANS)]) {
        for (line, number) in bytes.split_inclusive(|byte| *byte == b'\n').zip(1..) {
            if let Ok(head) = plan_file::read_head(line) {
                let _orders = head.orders();
            }
            if let Err(error) = plan_file::read_order(line, number) {
                let start = format!("line {number}: ");
                prop_assert!(error.to_string().starts_with(&start));
            }
        }
    }

    #[test]
    fn an_inventory_is_what_a_plain_reader_reads(file in csv_file()) {
        let ours = read(&[file.as_bytes()]).unwrap();
        prop_assert_eq!(&ours.rejects, &[]);
        let mut seen = BTreeSet::new();
        for domain in 0..ours.domain_count() {
            for wanted in &ours.wanted()[ours.wanted_of(domain)] {
                let group = &ours.groups[ours.group_of(*wanted) as usize];
                let urgency = &ours.urgencies[ours.urgency_of(*wanted) as usize];
                seen.insert(Row {
                    hostname: ours.text(wanted.name).to_owned(),
                    account: ours.accounts[group.account as usize].clone(),
                    tenant: ours.tenants[group.tenant as usize].clone(),
                    group: group.label.clone(),
                    priority: urgency.priority.0,
                });
            }
        }
        let plain = plain_reader(&file);
        prop_assert_eq!(ours.counts.hostnames, plain.len() as u64);
        prop_assert_eq!(seen, plain);
    }
}

/// What a row comes to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Row {
    hostname: String,
    account: String,
    tenant: String,
    group: String,
    priority: i32,
}

/// Reads an inventory without a thought for speed.
fn plain_reader(file: &str) -> BTreeSet<Row> {
    let header = file.split('\n').next().unwrap();
    let delimiter = [b',', b';', b'\t'].into_iter().find(|byte| header.as_bytes().contains(byte)).unwrap_or(b',');
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(file.as_bytes());
    let rows = reader.deserialize::<BTreeMap<String, String>>().map(|row| {
        let row = row.unwrap();
        let field = |name: &str| row.get(name).map_or("", |field| field.trim_ascii()).to_owned();
        let or = |text: String, default: &str| if text.is_empty() { default.to_owned() } else { text };
        Row {
            hostname: field("hostname").to_lowercase().trim_end_matches('.').to_owned(),
            account: or(field("account"), "default"),
            tenant: field("tenant"),
            group: field("group"),
            priority: or(field("priority"), "0").parse().unwrap(),
        }
    });
    rows.collect()
}

/// A valid inventory whose rows say nothing that contradicts another: each name is in one row, or in some that are alike.
fn csv_file() -> impl Strategy<Value = String> {
    let columns = Just(vec!["hostname", "account", "tenant", "group", "priority", "note"]).prop_shuffle();
    let delimiter = prop::sample::select(vec![',', ';', '\t']);
    let end = prop::sample::select(vec!["\n", "\r\n"]);
    let rows = prop::collection::btree_map(name(), row_text(), 0..20);
    let repeats = prop::collection::vec(any::<Index>(), 0..4);
    let shape = (columns, delimiter, end, any::<bool>(), any::<bool>());
    (shape, rows, repeats).prop_map(|((columns, delimiter, end, quote_all, cut), rows, repeats)| {
        let mut rows: Vec<(String, BTreeMap<&str, String>)> = rows.into_iter().collect();
        let distinct = rows.len();
        for index in repeats.iter().filter(|_| distinct > 0) {
            let (name, fields) = rows[index.index(distinct)].clone();
            rows.push((name.to_uppercase() + ".", fields));
        }
        let quoted = |text: &str| {
            let special = text.contains(['"', '\n', '\r', delimiter]);
            if special || quote_all { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
        };
        let line = |fields: Vec<String>| fields.join(&delimiter.to_string()) + end;
        let mut file = line(columns.iter().map(|column| (*column).to_owned()).collect());
        for (name, fields) in &rows {
            let field = |column: &&str| quoted(if *column == "hostname" { name } else { &fields[column] });
            file += &line(columns.iter().map(field).collect());
        }
        if cut {
            file.truncate(file.trim_end_matches(['\r', '\n']).len());
        }
        file
    })
}

fn name() -> impl Strategy<Value = String> {
    let label = "[a-z0-9]([a-z0-9-]?[a-z0-9])?";
    let suffix = prop::sample::select(vec!["com", "co.uk", "github.io", "example.org", "com.br"]);
    (prop::option::of(Just("*.")), prop::collection::vec(label, 1..3), suffix)
        // A wildcard is to lie below a registered domain.
        .prop_map(|(wildcard, labels, suffix)| format!("{}{}.x.{suffix}", wildcard.unwrap_or(""), labels.join(".")))
}

/// The fields beside the hostname.
fn row_text() -> impl Strategy<Value = BTreeMap<&'static str, String>> {
    let text =
        || prop_oneof![2 => Just(String::new()), 2 => "[a-c]{1,2}", 1 => "[ -~é]{0,8}", 1 => "[ab\"\n,;\t ]{0,8}"];
    let priority = prop_oneof![Just(String::new()), (-9..9_i32).prop_map(|number| number.to_string())];
    (text(), text(), text(), priority, text()).prop_map(|(account, tenant, group, priority, note)| {
        BTreeMap::from([
            ("account", account),
            ("tenant", tenant),
            ("group", group),
            ("priority", priority),
            ("note", note),
        ])
    })
}

//! Certificates that were issued before the ledger was there, or beside it: each is counted once, whatever tells of it, how often, and in
//! which order; the buckets are what a CA's would be that had counted them itself.

use std::collections::BTreeMap;

use certpace::clock::Timescale;
use certpace::gate::{Gate, GateError, ImportedLedger};
use certpace::import::{Import, Imported, Issuers, Options, SearchNames};
use certpace::ledger::{Cell, Document, LedgerError, Mark, Record, Reply, Step, Store, bucket_name, limit_and_key};
use certpace::limits::{LimitName, Limits};
use certpace::time::{Span, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::world::{Place, START, SUFFIXES, after, letsencrypt, limit, over_every_store, realm};

const DAY: i64 = 86_400;
/// How long the CA remembers a set, and how long an order may live: a renewal is sure only between the two.
const MEMORY: i64 = 20 * DAY;

/// Buckets that are short of full for long: three of a domain, one back in a day; two of a set, one back in three days.
fn narrow() -> Limits {
    let mut limits = letsencrypt();
    limits.policy.set_limit(LimitName::CertificatesPerDomain, limit(3, DAY));
    limits.policy.set_limit(LimitName::CertificatesPerFqdnSet, limit(2, 3 * DAY));
    limits.policy.renewal.same_set_memory = Span::from_seconds(MEMORY);
    limits
}

/// A row of a table: the names' number, when it was issued in seconds before now, the serial number.
type Row = (usize, i64, usize);

const SETS: [&[&str]; 5] = [
    &["a.example.com"],
    &["b.example.com"],
    &["a.example.com", "b.example.com"],
    &["example.net"],
    &["example.net", "c.example.com"],
];

/// A table of issuances.
fn table(rows: &[Row]) -> String {
    let row = |(set, ago, serial): &Row| format!("{},{},{serial:x}\n", SETS[*set].join(" "), after(-ago));
    format!("hostname,issued_at,serial\n{}", rows.iter().map(row).collect::<String>())
}

fn read(files: &[&str]) -> Imported {
    let options = Options {
        issuers: Issuers::Of(vec!["Let's Encrypt".to_owned()]),
        suffixes: &SUFFIXES,
        search_names: SearchNames::AllOfEach,
    };
    let mut import = Import::new(&options);
    files.iter().for_each(|text| import.reader("file", text.as_bytes()));
    let imported = import.finish();
    assert!(imported.broken.is_empty(), "{:?}", imported.broken);
    imported
}

fn count(gate: &mut Gate, imported: &Imported) -> ImportedLedger {
    gate.import("1", &imported.issuances, &imported.sources, &|_| {}).unwrap()
}

fn gate(place: &Place, limits: &Limits) -> Gate {
    let timescale = Timescale::stopped(START);
    Gate::new(place.open(), realm(), limits.clone(), SUFFIXES.clone(), timescale, [1; 32]).unwrap()
}

/// The buckets of certificates that are short of full now, by name: until when.
fn short(store: &mut dyn Store) -> BTreeMap<String, Timestamp> {
    let mut short = BTreeMap::new();
    let mut show = |name: String, cell: Cell| {
        let (limit, _) = limit_and_key(&name).unwrap();
        let of_certificates = matches!(limit, LimitName::CertificatesPerDomain | LimitName::CertificatesPerFqdnSet);
        if let Some(tat) = cell.tally.tat.filter(|tat| of_certificates && *tat > START) {
            short.insert(name, tat);
        }
    };
    store.cells(&realm().code(), &mut show).unwrap();
    short
}

/// What a CA would have counted: each certificate once, in the order of their issue, a domain's token unless the same names had been issued
/// no longer ago than it remembers and before this one can have been ordered. What does not fit into an empty bucket is dropped. Also
/// tells whether anything was.
fn at_the_ca(rows: &[Row], limits: &Limits) -> (BTreeMap<String, Timestamp>, bool) {
    let mut once: BTreeMap<usize, Row> = BTreeMap::new();
    // Of two times that are told for one certificate the later.
    for row in rows {
        let known = once.entry(row.2).or_insert(*row);
        known.1 = known.1.min(row.1);
    }
    let mut rows: Vec<Row> = once.into_values().collect();
    rows.sort_by_key(|(_, ago, serial)| (-ago, *serial));
    let order_life = limits.policy.profiles.iter().map(|profile| profile.pending_order).max().unwrap();
    let mut buckets: BTreeMap<String, Timestamp> = BTreeMap::new();
    let mut dropped = false;
    for (set, ago, _) in &rows {
        let at = after(-ago);
        let is_renewal = rows.iter().any(|(other, before, _)| {
            // A table's certificates are valid from an hour before.
            other == set
                && after(-before) <= at.minus(order_life)
                && after(-before - 3_600) > at.minus(Span::from_seconds(MEMORY))
        });
        let mut domains: Vec<&str> =
            SETS[*set].iter().map(|name| if name.ends_with("net") { "example.net" } else { "example.com" }).collect();
        domains.dedup();
        let set = bucket_name(LimitName::CertificatesPerFqdnSet, &super::world::names(SETS[*set]).key().to_string());
        let spent = domains.iter().filter(|_| !is_renewal);
        let spent = spent.map(|domain| (bucket_name(LimitName::CertificatesPerDomain, domain), 3, DAY));
        for (bucket, burst, emission) in spent.chain([(set, 2, 3 * DAY)]) {
            let full_at = buckets.get(&bucket).copied().unwrap_or(at).max(at);
            let spent = full_at.plus(Span::from_seconds(emission));
            let empty = at.plus(Span::from_seconds(burst * emission));
            dropped |= spent > empty;
            buckets.insert(bucket, spent.min(empty).max(full_at));
        }
    }
    buckets.retain(|_, full_at| *full_at > START);
    (buckets, dropped)
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    // Some within an order's life of each other, some as far apart as a set is remembered.
    let ago = prop_oneof![3 => 0..4 * DAY, 3 => 0..15 * DAY, 1 => 0..MEMORY - 1];
    vec((0..SETS.len(), ago), 0..40)
        .prop_map(|rows| rows.into_iter().enumerate().map(|(serial, (set, ago))| (set, ago, serial + 1)).collect())
}

/// Rows and a second order of them, some of them twice.
fn shuffled() -> impl Strategy<Value = (Vec<Row>, Vec<Row>)> {
    (rows(), vec(any::<Index>(), 0..8)).prop_flat_map(|(rows, again)| {
        let twice: Vec<_> =
            again.iter().filter(|_| !rows.is_empty()).map(|place| rows[place.index(rows.len())]).collect();
        let all = [rows.clone(), twice].concat();
        (Just(rows), Just(all).prop_shuffle())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn each_certificate_is_counted_once_whatever_the_order_of_the_rows((rows, others) in shuffled(), cut in any::<Index>()) {
        let limits = narrow();
        let (expected, _) = at_the_ca(&rows, &limits);
        let place = Place::memory();
        let mut gate = gate(&place, &limits);
        // Two files which share some rows.
        let cut = cut.index(others.len() + 1);
        let imported = read(&[&table(&others[..cut]), &table(&others[cut..])]);
        let counted = count(&mut gate, &imported);
        prop_assert_eq!(counted.counted, rows.len() as u64);
        prop_assert_eq!(short(place.open().as_mut()), expected);
        // Again, as it was written down first: all is known, and nothing changes.
        let mark = place.open().mark().unwrap();
        let again = count(&mut gate, &read(&[&table(&rows)]));
        prop_assert_eq!((again.counted, again.known), (0, rows.len() as u64));
        prop_assert_eq!(place.open().mark().unwrap(), mark);
    }

    /// One source after the other: what lies between what is known already is never counted for less than it is.
    #[test]
    fn two_imports_never_come_to_less_than_one(rows in rows(), of_first in vec(any::<bool>(), 40)) {
        let limits = narrow();
        let place = Place::memory();
        let mut gate = gate(&place, &limits);
        let recent = |row: &&Row| row.1 < 3 * DAY;
        let rows: Vec<Row> = rows.iter().filter(recent).copied().collect();
        let (first, second): (Vec<Row>, Vec<Row>) = rows.iter().partition(|row| of_first[row.2 - 1]);
        count(&mut gate, &read(&[&table(&first)]));
        count(&mut gate, &read(&[&table(&second), &table(&first)]));
        let told = short(place.open().as_mut());
        let (expected, dropped) = at_the_ca(&rows, &limits);
        for (bucket, full_at) in expected {
            let told = told.get(&bucket).copied().unwrap_or(START);
            prop_assert!(dropped || told >= full_at, "{}: {} before {}", bucket, told, full_at);
        }
    }

    /// One that was broken off comes to the same when it is done again.
    #[test]
    fn what_was_broken_off_goes_on(rows in rows(), cut in any::<Index>()) {
        goes_on(&rows, cut.index(rows.len() + 1));
    }
}

/// Counts the oldest `cut` certificates, then all of them.
#[track_caller]
fn goes_on(rows: &[Row], cut: usize) {
    let limits = narrow();
    let place = Place::memory();
    let mut gate = gate(&place, &limits);
    let imported = read(&[&table(rows)]);
    let begun = Imported { issuances: imported.issuances[..cut].to_vec(), ..imported.clone() };
    assert_eq!(count(&mut gate, &begun).counted, cut as u64);
    let rest = count(&mut gate, &imported);
    assert_eq!((rest.counted, rest.known), ((rows.len() - cut) as u64, cut as u64));
    let (expected, dropped) = at_the_ca(rows, &limits);
    if !dropped {
        assert_eq!(short(place.open().as_mut()), expected);
    }
}

/// What the first import takes for flowed back keeps the bucket short of full for what comes next.
#[test]
fn what_was_broken_off_among_old_certificates_goes_on() {
    let ago = [530_545, 432_000, 345_600, 279_846, 184_946, 98_546, 20_646];
    let sets = [2, 1, 1, 0, 0, 2, 0];
    let rows: Vec<Row> = sets.into_iter().zip(ago).zip(1..).map(|((set, ago), serial)| (set, ago, serial)).collect();
    (0..=rows.len()).for_each(|cut| goes_on(&rows, cut));
}

/// The properties' histories are of all kinds.
#[test]
fn such_rows_have_renewals_and_busy_buckets() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut renewals, mut busy, mut dropped) = (0, 0, 0);
    for _ in 0..200 {
        let rows = rows().new_tree(&mut runner).unwrap().current();
        let imported = read(&[&table(&rows)]);
        renewals += count(&mut gate(&Place::memory(), &narrow()), &imported).renewals;
        let (expected, drops) = at_the_ca(&rows, &narrow());
        busy += expected.len();
        dropped += usize::from(drops);
    }
    assert!(renewals > 50 && busy > 200 && dropped > 20 && dropped < 180, "{renewals} {busy} {dropped}");
}

/// A domain that is always used as much as its limit allows: what was spent long ago still counts.
#[test]
fn a_bucket_that_was_never_full_remembers_more_than_a_period() {
    over_every_store(&narrow(), |world| {
        // Three at once fifteen days ago, and one a day since.
        let rows: Vec<Row> = (0..18_i32)
            .map(|number| (3, (17 - i64::from(number)).min(15) * DAY, usize::try_from(number).unwrap() + 1))
            .collect();
        let names = |(_, ago, serial): &Row| format!("n{serial}.example.net,{},{serial:x}\n", after(-ago));
        let text = format!("hostname,issued_at,serial\n{}", rows.iter().map(names).collect::<String>());
        assert_eq!(count(&mut world.gates[0], &read(&[&text])).counted, 18);
        assert_eq!(world.left("CertificatesPerDomain example.net"), 0);
        assert_eq!(world.cell("CertificatesPerDomain example.net").tally.tat, Some(after(3 * DAY)));
    });
}

fn search(rows: &[(&str, i64, &str)]) -> String {
    let row = |(name, ago, serial): &(&str, i64, &str)| {
        let bare = |at: Timestamp| at.to_string().trim_end_matches('Z').to_owned();
        serde_json::json!({
            "issuer_name": "C=US, O=Let's Encrypt, CN=E7", "name_value": name, "serial_number": serial,
            "not_before": bare(after(-ago - 3_600)), "not_after": bare(after(90 * DAY - ago)),
        })
    };
    serde_json::to_string(&rows.iter().map(row).collect::<Vec<_>>()).unwrap()
}

#[test]
fn a_precertificate_its_certificate_and_another_sources_row_are_one() {
    over_every_store(&letsencrypt(), |world| {
        // As crt.sh has them, beside a table's row for the first; and one that only the table knows.
        let search =
            search(&[("a.example.com", 900, "0a"), ("a.example.com", 900, "0a"), ("b.example.com", 800, "0b")]);
        let table =
            format!("hostname,issued_at,serial\na.example.com,{},A\nc.example.net,{},C\n", after(-900), after(-700));
        let imported = read(&[&search, &table]);
        let counted = count(&mut world.gates[0], &imported);
        assert_eq!((counted.counted, counted.known, imported.counts.duplicates), (3, 0, 2));
        assert_eq!(world.left("CertificatesPerDomain example.com"), 48);
        assert_eq!(world.left("CertificatesPerDomain example.net"), 49);
        let (domains, kinds) = &counted.domains["example.com"];
        assert_eq!((*domains, kinds.len()), (2, 2));
        // By itself, later: the union as well.
        let more =
            format!("hostname,issued_at,serial\nd.example.com,{},D\na.example.com,{},A\n", after(-600), after(-900));
        let counted = count(&mut world.gates[1], &read(&[&more]));
        assert_eq!((counted.counted, counted.known), (1, 1));
        assert_eq!(world.left("CertificatesPerDomain example.com"), 47);
        assert_eq!(world.gates[1].verify().unwrap().differences, []);
    });
}

/// A store that fails when it has done so many steps.
struct Fails {
    store: Box<dyn Store>,
    left: usize,
}

impl Store for Fails {
    fn transact(&mut self, steps: &[Step], timescale: Timescale) -> Result<Vec<Reply>, LedgerError> {
        let Some(left) = self.left.checked_sub(1) else {
            return Err(LedgerError::Unreachable { url: "test:".to_owned(), reason: "it is gone".to_owned() });
        };
        self.left = left;
        self.store.transact(steps, timescale)
    }

    fn init(&mut self) -> Result<bool, LedgerError> {
        self.store.init()
    }

    fn cells(&mut self, realm: &str, show: &mut dyn FnMut(String, Cell)) -> Result<(), LedgerError> {
        self.store.cells(realm, show)
    }

    fn documents(&mut self, realm: &str, prefix: &str, show: &mut dyn FnMut(Document)) -> Result<(), LedgerError> {
        self.store.documents(realm, prefix, show)
    }

    fn records(&mut self, from: u64, most: usize, show: &mut dyn FnMut(Record)) -> Result<bool, LedgerError> {
        self.store.records(from, most, show)
    }

    fn sweep(&mut self, realm: &str, full: Timestamp, record: u64) -> Result<(u64, u64), LedgerError> {
        self.store.sweep(realm, full, record)
    }

    fn mark(&mut self) -> Result<Mark, LedgerError> {
        self.store.mark()
    }

    fn check(&mut self) -> Result<(), LedgerError> {
        self.store.check()
    }

    fn notes(&mut self) -> Vec<String> {
        self.store.notes()
    }
}

/// Wherever the store goes away under an import, the next one counts the rest and no more.
#[test]
fn a_store_that_goes_away_in_the_middle_has_counted_some_and_the_next_import_does_the_rest() {
    // More names than are counted in one change.
    let names = |number: usize| (0..90).map(|name| format!("h{name}.d{number}.com")).collect::<Vec<_>>().join(" ");
    let rows = (0..500).map(|number| format!("{},{},{:x}\n", names(number), after(-1_000), number + 1));
    let imported = read(&[&format!("hostname,issued_at,serial\n{}", rows.collect::<String>())]);
    let whole = Place::memory();
    let counted = count(&mut gate(&whole, &letsencrypt()), &imported).counted;
    assert_eq!(counted, 500);
    let (broken, mut known) = (Place::memory(), Vec::new());
    for steps in 1.. {
        let store = Box::new(Fails { store: broken.open(), left: steps });
        let (limits, timescale) = (letsencrypt(), Timescale::stopped(START));
        let mut gate = Gate::new(store, realm(), limits, SUFFIXES.clone(), timescale, [2; 32]).unwrap();
        match gate.import("1", &imported.issuances, &imported.sources, &|_| {}) {
            Ok(done) => {
                known.push(done.known);
                break;
            }
            Err(GateError::Ledger(LedgerError::Unreachable { .. })) => {}
            Err(error) => panic!("{error}"),
        }
        known.push(broken.open().mark().unwrap().sequence);
    }
    assert!(known.len() > 5 && known.last() > Some(&0), "it was never broken off in the middle: {known:?}");
    assert_eq!(short(broken.open().as_mut()), short(whole.open().as_mut()));
}

//! What the tests plan: rows, limits and options, made up by hand or by proptest; and a plan's orders as plain data.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

use certpace::gcra::Quota;
use certpace::inventory::{self, Inventory, Settings, Source};
use certpace::limits::{Limit, LimitName, Limits, Overrides, Policy};
use certpace::plan::opening::Cause;
use certpace::plan::{Mix, NamesPerCertificate, Options, Plan, Share, Subject};
use certpace::psl::SuffixList;
use certpace::rules::Exemption;
use certpace::time::{NS_PER_S, Span, Timestamp};
use proptest::prelude::*;

/// 2026-09-21T14:13:20Z.
pub(super) const START: Timestamp = Timestamp::from_unix_seconds(1_790_000_000);

pub(super) const HOUR: Span = Span::from_hours(1);

/// A list of two suffixes: the committed one takes longer to copy than a case takes to plan.
pub(super) static SUFFIXES: LazyLock<SuffixList> = LazyLock::new(|| {
    SuffixList::parse("// ===BEGIN ICANN DOMAINS===\ncom\norg\n// ===END ICANN DOMAINS===\n").unwrap()
});

pub(super) static POLICY: LazyLock<Policy> = LazyLock::new(|| Policy::built_in("letsencrypt").unwrap());

/// A row of an inventory; what is empty is left to the default.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Row {
    pub(super) hostname: String,
    pub(super) account: String,
    pub(super) tenant: String,
    pub(super) group: String,
    pub(super) profile: String,
    pub(super) challenge: String,
    pub(super) priority: i32,
    pub(super) deadline: Option<Timestamp>,
    pub(super) not_ready: bool,
    pub(super) held: Option<Held>,
}

/// The certificate held that a row's name is on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Held {
    pub(super) certificate: String,
    pub(super) issued_at: Timestamp,
    pub(super) expires_at: Timestamp,
}

impl Row {
    pub(super) fn named(hostname: impl Into<String>) -> Self {
        Self { hostname: hostname.into(), ..Self::default() }
    }

    /// The names it may share a certificate with have the same.
    pub(super) fn owner(&self) -> [&str; 5] {
        let account = if self.account.is_empty() { "main" } else { &self.account };
        let profile = if self.profile.is_empty() { "classic" } else { &self.profile };
        [account, &self.tenant, profile, &self.challenge, &self.group]
    }
}

/// The rows as a file.
pub(super) fn csv<'a>(rows: impl IntoIterator<Item = &'a Row>) -> String {
    let mut text =
        "hostname,account,tenant,group,profile,challenge,priority,deadline,ready,certificate,issued_at,expires_at\n"
            .to_owned();
    for row in rows {
        let date = |at: Option<Timestamp>| at.map_or_else(String::new, |at| at.to_string());
        let held = row.held.as_ref();
        let Row { hostname, account, tenant, group, profile, challenge, priority, .. } = row;
        write!(text, "{hostname},{account},{tenant},{group},{profile},{challenge},{priority},").unwrap();
        writeln!(
            text,
            "{},{},{},{},{}",
            date(row.deadline),
            if row.not_ready { "no" } else { "yes" },
            held.map_or("", |held| &held.certificate),
            date(held.map(|held| held.issued_at)),
            date(held.map(|held| held.expires_at)),
        )
        .unwrap();
    }
    text
}

/// Reads files of rows that are all good.
pub(super) fn read(files: &[String]) -> Inventory {
    let read = read_bad(files);
    assert!(read.rejects.is_empty(), "{:?}", read.rejects);
    read
}

/// Whatever is rejected of it.
pub(super) fn read_bad(files: &[String]) -> Inventory {
    let source = |(index, text): (usize, &String)| Source::new(&format!("{index}.csv"), text.clone().into_bytes());
    let settings = Settings {
        account: "main",
        profile: "classic",
        deadline: None,
        start: START,
        policy: &POLICY,
        suffixes: &SUFFIXES,
    };
    inventory::read(files.iter().enumerate().map(source).collect(), &settings, &|_| ()).unwrap()
}

pub(super) fn inventory(rows: &[Row]) -> Inventory {
    read(&[csv(rows)])
}

/// An emission interval and a burst.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tokens {
    pub(super) burst: i64,
    pub(super) every: Span,
}

impl Tokens {
    pub(super) const fn new(burst: i64, every_seconds: i64) -> Self {
        Self { burst, every: Span::from_seconds(every_seconds) }
    }

    fn limit(self) -> Limit {
        Limit::new(self.burst.unsigned_abs(), 1, self.every).unwrap()
    }

    fn of(quota: Quota) -> Self {
        Self { burst: i64::from(quota.burst()), every: quota.emission() }
    }

    /// Without the part that is left for others.
    fn less(self, headroom: u32, reserve: u32) -> Self {
        let kept = (self.burst * i64::from(headroom) + 999_999) / 1_000_000;
        let rest = i128::from(1_000_000 - reserve);
        let every = (i128::from(self.every.nanos()) * 1_000_000 + rest - 1) / rest;
        Self { burst: (self.burst - kept).max(1), every: Span::from_nanos(i64::try_from(every).unwrap()) }
    }
}

/// The limits that hold orders back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Quotas {
    pub(super) account: Tokens,
    pub(super) domain: Tokens,
    pub(super) accounts: BTreeMap<String, Tokens>,
    pub(super) domains: BTreeMap<String, Tokens>,
    /// Accounts with domain buckets of their own.
    pub(super) own: BTreeMap<String, Tokens>,
}

impl Quotas {
    pub(super) const fn new(account: Tokens, domain: Tokens) -> Self {
        Self { account, domain, accounts: BTreeMap::new(), domains: BTreeMap::new(), own: BTreeMap::new() }
    }

    /// Those of the CA's documentation.
    pub(super) fn documented() -> Self {
        let of = |name| Tokens::of(POLICY.limit(name).unwrap().quota);
        Self::new(of(LimitName::NewOrdersPerAccount), of(LimitName::CertificatesPerDomain))
    }

    pub(super) fn limits(&self) -> Limits {
        let (account, domain) = (LimitName::NewOrdersPerAccount, LimitName::CertificatesPerDomain);
        let mut policy = POLICY.clone();
        policy.set_limit(account, Some(self.account.limit()));
        policy.set_limit(domain, Some(self.domain.limit()));
        let mut overrides = Overrides::none();
        let own = LimitName::CertificatesPerDomainPerAccount;
        for (name, of) in [(account, &self.accounts), (domain, &self.domains), (own, &self.own)] {
            of.iter().for_each(|(id, tokens)| overrides.set(name, id, tokens.limit()));
        }
        Limits { policy, overrides }
    }

    /// Without headroom and reserve, in parts per million.
    pub(super) fn less(&self, headroom: u32, reserve: u32) -> Self {
        let all = |of: &BTreeMap<String, Tokens>, reserve| {
            of.iter().map(|(id, tokens)| (id.clone(), tokens.less(headroom, reserve))).collect()
        };
        Self {
            account: self.account.less(headroom, reserve),
            domain: self.domain.less(headroom, 0),
            accounts: all(&self.accounts, reserve),
            domains: all(&self.domains, 0),
            own: all(&self.own, 0),
        }
    }
}

/// Options that leave nothing to others and allow no delay.
pub(super) fn exact() -> Options {
    Options { margin: Some(Span::ZERO), headroom: Share::default(), ..Options::starting(START) }
}

pub(super) fn at_most(names: usize) -> Options {
    Options { names_per_certificate: NamesPerCertificate::AtMost(names), ..exact() }
}

/// An order as plain data.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Ordered {
    pub(super) at: Timestamp,
    pub(super) number: u32,
    pub(super) names: Vec<String>,
    pub(super) domains: Vec<String>,
    pub(super) account: String,
    /// The place of the certificate held in the inventory, if it is a renewal.
    pub(super) held: Option<usize>,
    pub(super) exemption: &'static str,
    pub(super) deadline: Option<Timestamp>,
    pub(super) bound_by: Option<(Cause, String)>,
}

pub(super) fn orders(plan: &Plan<'_>) -> Vec<Ordered> {
    let (mut names, mut domains) = (Vec::new(), Vec::new());
    let mut ordered = Vec::with_capacity(plan.orders.len());
    for order in &plan.orders {
        plan.names_of(order, &mut names, &mut domains);
        let group = &plan.inventory.groups[plan.group_of(order) as usize];
        ordered.push(Ordered {
            at: order.at,
            number: order.number,
            names: names.iter().map(|name| String::from_utf8(name.to_vec()).unwrap()).collect(),
            domains: domains.iter().map(|domain| String::from_utf8(domain.to_vec()).unwrap()).collect(),
            account: plan.inventory.accounts[group.account as usize].clone(),
            held: match order.subject {
                Subject::New(_) => None,
                Subject::Renewal(held) => Some(held as usize),
            },
            exemption: match order.exemption {
                Exemption::None => "none",
                Exemption::SameSet => "same-set",
                Exemption::Ari => "ari",
            },
            deadline: plan.deadline_of(order),
            bound_by: plan.bound_by(order),
        });
    }
    ordered
}

/// When the last new certificate is ordered.
pub(super) fn finish(orders: &[Ordered]) -> Timestamp {
    orders.iter().filter(|order| order.held.is_none()).map(|order| order.at).max().unwrap_or(START)
}

/// Everything that a plan depends on.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) rows: Vec<Row>,
    pub(super) quotas: Quotas,
    pub(super) options: Options,
}

/// Few cases, the same ones every time, and no files left behind.
pub(super) fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(20_260_807),
        max_shrink_iters: 4_000,
        ..ProptestConfig::default()
    }
}

const LABELS: [&str; 12] = ["", "www.", "*.", "a.", "www.a.", "*.a.", "b.a.", "c.a.", "b.", "www.b.", "c.", "d.c."];

/// What a row has beside its name; rows pick one of a few, so that names can meet in a certificate.
fn attributes() -> impl Strategy<Value = Row> {
    let text = |values: &'static [&'static str]| proptest::sample::select(values).prop_map(str::to_owned);
    let deadline = proptest::option::weighted(0.2, (1..5_000_i64).prop_map(|s| START.plus(Span::from_seconds(s))));
    (
        text(&["", "", "", "second", "third"]),
        text(&["", "t1", "t2"]),
        text(&["", "", "blue"]),
        text(&["", "", "tlsserver", "shortlived"]),
        text(&["", "", "dns-01", "http-01"]),
        prop_oneof![5 => Just(0), 1 => -2..3_i32],
        deadline,
        proptest::bool::weighted(0.1),
    )
        .prop_map(|(account, tenant, group, profile, challenge, priority, deadline, not_ready)| Row {
            hostname: String::new(),
            account,
            tenant,
            group,
            profile,
            challenge,
            priority,
            deadline,
            not_ready,
            held: None,
        })
}

/// The name of `label` in a domain; the last domain stands for addresses.
fn name_in(domain: usize, label: usize) -> String {
    match domain {
        5 if label.is_multiple_of(2) => format!("8.8.4.{}", label + 1),
        5 => format!("2606:4700::{:x}", label + 1),
        _ => {
            LABELS.get(label).map_or_else(|| format!("h{label}.d{domain}.com"), |label| format!("{label}d{domain}.com"))
        }
    }
}

/// Whether the CA takes the name with these attributes.
fn is_legal(row: &Row) -> bool {
    let is_ip = !row.hostname.ends_with(".com");
    !(row.hostname.starts_with("*.") && row.challenge == "http-01"
        || is_ip && (row.profile != "shortlived" || row.challenge == "dns-01"))
}

/// A certificate held: its names' domain and number, its age and validity in hours.
fn held() -> impl Strategy<Value = (usize, usize, bool, usize, i64, i64)> {
    let validity = proptest::sample::select(vec![90 * 24, 90 * 24, 64 * 24, 45 * 24, 160, 300 * 24_i64]);
    (0..5_usize, 1..4_usize, any::<bool>(), 0..8_usize, 0..1_300_i64, validity).prop_map(
        |(domain, names, wild, palette, age, validity)| {
            (domain, names, wild, palette, validity * age / 1_000, validity)
        },
    )
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let palette = proptest::collection::vec(attributes(), 1..5);
    let few = proptest::collection::vec((0..6_usize, 0..24_usize, 0..8_usize), 0..40);
    // Many names of one domain, to empty its bucket.
    let many = proptest::collection::vec((0..5_usize, 1..60_usize, 0..8_usize), 0..4);
    (palette, few, many, proptest::collection::vec(held(), 0..8)).prop_map(|(palette, few, many, held)| {
        let mut by_name: BTreeMap<String, Row> = BTreeMap::new();
        let bulk = many.iter().flat_map(|(domain, count, of)| (100..100 + count).map(|label| (*domain, label, *of)));
        for (domain, label, of) in few.iter().copied().chain(bulk) {
            let row = Row { hostname: name_in(domain, label), ..palette[of % palette.len()].clone() };
            if is_legal(&row) {
                by_name.entry(row.hostname.clone()).or_insert(row);
            }
        }
        for (place, (domain, names, wild, of, age, validity)) in held.into_iter().enumerate() {
            let issued_at = START.minus(Span::from_seconds(age * 3_600 + 7));
            let held = Held {
                certificate: format!("c{place}"),
                issued_at,
                expires_at: issued_at.plus(Span::from_hours(validity)),
            };
            for name in 0..names {
                let wild = if wild && name == 0 { "*." } else { "" };
                let hostname = format!("{wild}held{place}-{name}.d{}.com", (domain + name / 2) % 5);
                let row = Row { hostname, held: Some(held.clone()), ..palette[of % palette.len()].clone() };
                if is_legal(&row) {
                    by_name.insert(row.hostname.clone(), row);
                }
            }
        }
        by_name.into_values().collect()
    })
}

fn tokens(every: std::ops::Range<i64>) -> impl Strategy<Value = Tokens> {
    (1..6_i64, every).prop_map(|(burst, every)| Tokens { burst, every: Span::from_nanos(every * NS_PER_S / 7) })
}

fn quotas() -> impl Strategy<Value = Quotas> {
    let some =
        |chance| move |tokens: Vec<Tokens>| tokens.into_iter().enumerate().filter(move |(i, _)| chance >> i & 1 == 1);
    let three = || proptest::collection::vec(tokens(1..400), 3);
    let scaled = (tokens(1..300), tokens(1..1_500), three(), three(), three(), any::<[u8; 3]>()).prop_map(
        move |(account, domain, accounts, domains, own, mut chosen)| {
            // Overrides are the exception.
            chosen.iter_mut().for_each(|of| *of &= of.rotate_left(3));
            let accounts = some(chosen[0])(accounts).map(|(i, of)| (ACCOUNTS[i].to_owned(), of)).collect();
            let domains = some(chosen[1])(domains).map(|(i, of)| (format!("d{i}.com"), of)).collect();
            let own = some(chosen[2])(own).map(|(i, of)| (ACCOUNTS[i].to_owned(), of)).collect();
            Quotas { account, domain, accounts, domains, own }
        },
    );
    prop_oneof![1 => Just(Quotas::documented()), 5 => scaled]
}

const ACCOUNTS: [&str; 3] = ["main", "second", "third"];

/// Any world in which the sizes of certificates, mixing, folding, renewals and limits differ.
pub(super) fn worlds() -> impl Strategy<Value = World> {
    let names =
        prop_oneof![1 => Just(NamesPerCertificate::Auto), 4 => (1..5_usize).prop_map(NamesPerCertificate::AtMost)];
    let margin = prop_oneof![Just(0), 1..60_i64, 1..1_500_i64, Just(3_600)];
    let share = || prop_oneof![Just(0_u32), 0..500_000_u32].prop_map(Share::parts_per_million);
    let options = (names, margin, share(), share(), any::<[bool; 3]>(), 0..40_i64).prop_map(
        |(names_per_certificate, margin, headroom, reserve_rate, [mix, fold_wildcards, ari], days)| Options {
            margin: Some(Span::from_seconds(margin)),
            headroom,
            reserve_rate,
            names_per_certificate,
            mix: if mix { Mix::Tenant } else { Mix::None },
            fold_wildcards,
            ari,
            horizon: Span::from_days(days),
            ..Options::starting(START)
        },
    );
    (rows(), quotas(), options).prop_map(|(rows, quotas, options)| World { rows, quotas, options })
}

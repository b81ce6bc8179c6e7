//! Replays decisions recorded from Boulder's own limiter (`tests/traces/README.md`) and compares every one to the nanosecond:
//! the answer, and each transaction of its batches. `CERTPACE_TRACES` names a further folder of such traces.
#![expect(clippy::unwrap_used, reason = "a trace that can't be read is a failure")]
#![expect(clippy::disallowed_macros, reason = "the number of rows compared is for the reader of the log")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use certpace::buckets::{Batch, Mode, Transaction};
use certpace::gcra::Outcome;
use certpace::limits::overrides::canonical_id;
use certpace::limits::{Limit, LimitName, Limits, Overrides, Policy};
use certpace::name::{Identifier, NameError, NameSet};
use certpace::psl::SuffixList;
use certpace::rules::{Decision, Exemption, Model};
use certpace::time::{Span, Timestamp};
use serde::Deserialize;

/// The override form's own limit, which is no part of ACME.
const NOT_ACME: &str = "LimitOverrideRequestsPerIPAddress";
const PAUSING: LimitName = LimitName::FailedAuthorizationsForPausingPerDomainPerAccount;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsFile {
    defaults: BTreeMap<String, Numbers>,
    overrides: Vec<OverrideEntry>,
    pausing: bool,
}

#[derive(Deserialize)]
struct Numbers {
    burst: u64,
    count: u64,
    period_ns: i64,
}

#[derive(Deserialize)]
struct OverrideEntry {
    limit: String,
    #[serde(flatten)]
    numbers: Numbers,
    ids: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Debug, Default)]
#[serde(rename_all = "snake_case")]
enum Op {
    #[default]
    NewAccount,
    NewOrder,
    Issued,
    FailedValidation,
    DeactivateAuthz,
    SuccessfulValidation,
    OverrideRequest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Operation {
    t_ns: i64,
    op: Op,
    account: Option<u64>,
    name: Option<String>,
    names: Option<Vec<String>>,
    ip: Option<IpAddr>,
    renewal: Option<bool>,
    #[serde(default)]
    ari: bool,
    #[serde(default)]
    fail: bool,
}

#[derive(PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    i: usize,
    t_ns: i64,
    op: Op,
    allowed: bool,
    limit: String,
    key: String,
    retry_in_ns: i64,
    remaining: i64,
    reset_in_ns: i64,
    renewal: Option<bool>,
    #[serde(default)]
    ari_exempt: bool,
    #[serde(default)]
    would_pause: bool,
    /// That there is an error is compared, not its words.
    error: Option<String>,
    ignored_error: Option<String>,
    txns: Vec<Txn>,
    #[serde(default)]
    refund_txns: Vec<Txn>,
}

#[derive(PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Txn {
    batch: u8,
    key: String,
    limit: String,
    #[serde(default, rename = "override")]
    overridden: bool,
    cost: u32,
    mode: String,
    allowed: bool,
    remaining: i64,
    retry_in_ns: i64,
    reset_in_ns: i64,
    tat_before_ns: Option<i64>,
    tat_after_ns: Option<i64>,
}

impl Numbers {
    fn limit(&self) -> Limit {
        Limit::new(self.burst, self.count, Span::from_nanos(self.period_ns)).unwrap()
    }
}

/// The model under the limits of one trace.
struct Replay {
    model: Model,
    suffixes: SuffixList,
    pausing: bool,
}

impl Replay {
    fn new(file: LimitsFile, suffixes: SuffixList) -> Self {
        let mut limits = Limits { policy: Policy::built_in("letsencrypt").unwrap(), overrides: Overrides::none() };
        let on = |name: LimitName| file.pausing || name != PAUSING;
        for name in file.defaults.keys().filter(|name| *name != NOT_ACME) {
            assert!(LimitName::parse(name).is_some(), "{name}");
        }
        for name in LimitName::ALL {
            let default = file.defaults.get(name.as_str()).filter(|_| on(name));
            limits.policy.set_limit(name, default.map(Numbers::limit));
        }
        for entry in file.overrides.iter().filter(|entry| entry.limit != NOT_ACME) {
            let name = LimitName::parse(&entry.limit).unwrap();
            for id in entry.ids.iter().filter(|_| on(name)) {
                match canonical_id(name, id, &suffixes) {
                    Ok(id) => limits.overrides.set(name, &id, entry.numbers.limit()),
                    // Boulder takes an override for a name below a registered domain, and never comes across it.
                    Err(reason) => assert!(reason.contains("is no registered domain"), "{id}: {reason}"),
                }
            }
        }
        Self { model: Model::new(limits, suffixes.clone()), suffixes, pausing: file.pausing }
    }

    /// What the model answers; `None` where Boulder answered nothing to compare with.
    fn answer(&mut self, i: usize, operation: &Operation, boulder_failed: bool) -> Option<Answer> {
        let now = Timestamp::from_unix_nanos(operation.t_ns);
        let answer = Answer { i, t_ns: operation.t_ns, op: operation.op, allowed: true, ..Answer::default() };
        match operation.op {
            Op::OverrideRequest => None,
            Op::NewAccount => Some(self.new_account(operation, now, answer)),
            Op::NewOrder | Op::Issued => match self.names(operation.names.as_deref().unwrap()) {
                Err(error) => Some(Answer { allowed: false, error: Some(error.to_string()), ..answer }),
                Ok(names) if boulder_failed => {
                    self.failed_by_boulder(operation, &names, now);
                    None
                }
                Ok(names) if operation.op == Op::NewOrder => Some(self.new_order(operation, &names, now, answer)),
                Ok(names) => Some(self.issued(operation, &names, now, answer)),
            },
            Op::FailedValidation | Op::DeactivateAuthz => Some(self.validation_failed(operation, now, answer)),
            Op::SuccessfulValidation => Some(self.validation_succeeded(operation, now, answer)),
        }
    }

    fn names(&self, names: &[String]) -> Result<NameSet, NameError> {
        let identifiers = names.iter().map(|name| {
            let name = name.to_ascii_lowercase();
            let identifier = Identifier::parse(&name)?;
            self.suffixes.check(&identifier)?;
            // A trailing dot or Unicode is refused. (Addresses were taken in any notation.)
            let as_ordered = matches!(identifier, Identifier::Ip(_)) || identifier.to_string() == name;
            if as_ordered { Ok(identifier) } else { Err(NameError::NotCanonical) }
        });
        NameSet::new(identifiers.collect::<Result<Vec<_>, _>>()?).ok_or(NameError::Empty)
    }

    fn new_account(&mut self, operation: &Operation, now: Timestamp, mut answer: Answer) -> Answer {
        let (ip, mut batch) = (operation.ip.unwrap(), Batch::default());
        let decision = self.model.new_registration(ip, now, &mut batch);
        self.decided(decision, &batch, now, &mut answer);
        if operation.fail && answer.allowed {
            self.model.refund_registration(ip, now, &mut batch);
            answer.refund_txns = self.txns(1, &batch);
        }
        answer
    }

    fn new_order(&mut self, operation: &Operation, names: &NameSet, now: Timestamp, mut answer: Answer) -> Answer {
        let order = self.model.order(&account(operation), names);
        let exemption = match operation.renewal {
            _ if operation.ari => Exemption::Ari,
            Some(true) => Exemption::SameSet,
            Some(false) => Exemption::None,
            None => self.model.exemption(order, false, now),
        };
        match exemption {
            Exemption::Ari => answer.ari_exempt = true,
            Exemption::SameSet => answer.renewal = Some(true),
            Exemption::None => answer.renewal = Some(false),
        }
        let mut batch = Batch::default();
        let decision = self.model.new_order(order, exemption, now, &mut batch);
        self.decided(decision, &batch, now, &mut answer);
        if operation.fail && answer.allowed {
            self.model.refund_order(order, exemption, now, &mut batch);
            answer.refund_txns = self.txns(1, &batch);
        }
        answer
    }

    fn issued(&mut self, operation: &Operation, names: &NameSet, now: Timestamp, mut answer: Answer) -> Answer {
        let order = self.model.order(&account(operation), names);
        let same_set = self.model.exemption(order, false, now) == Exemption::SameSet;
        let renewal = operation.renewal.unwrap_or(same_set);
        let mut batch = Batch::default();
        self.model.issued(order, renewal, now, &mut batch);
        self.strictest(&batch, &mut answer);
        Answer { renewal: Some(renewal), txns: self.txns(0, &batch), ..answer }
    }

    /// Boulder can't make more than 100 transactions of a kind. An order with more names passes unchecked; its issue spends the set's
    /// token alone, and is remembered.
    fn failed_by_boulder(&mut self, operation: &Operation, names: &NameSet, now: Timestamp) {
        if operation.op == Op::Issued {
            let order = self.model.order(&account(operation), names);
            self.model.issued(order, true, now, &mut Batch::default());
        }
    }

    fn validation_failed(&mut self, operation: &Operation, now: Timestamp, mut answer: Answer) -> Answer {
        let (account, name) = (account(operation), name(operation));
        let (mut failures, mut pausing) = (Batch::default(), Batch::default());
        answer.would_pause = self.model.validation_failed(&account, &name, now, [&mut failures, &mut pausing]);
        self.strictest(if answer.would_pause { &pausing } else { &failures }, &mut answer);
        // The traces tell that it would pause, and go on as if it had not.
        assert_eq!(self.model.unpause(&account, &name), answer.would_pause);
        answer.txns = self.txns(0, &failures);
        answer.txns.extend(self.pausing_txns(1, &pausing));
        answer
    }

    fn validation_succeeded(&mut self, operation: &Operation, now: Timestamp, answer: Answer) -> Answer {
        let mut batch = Batch::default();
        self.model.validation_succeeded(&account(operation), &name(operation), now, &mut batch);
        Answer { txns: self.pausing_txns(0, &batch), ..answer }
    }

    /// Where pausing is off as a whole Boulder makes no transaction at all; the model makes one that asks for nothing.
    fn pausing_txns(&self, number: u8, batch: &Batch) -> Vec<Txn> {
        let txns = self.txns(number, batch);
        if self.pausing {
            return txns;
        }
        assert!(txns.iter().all(|txn| txn.mode == "allow-only"), "{txns:?}");
        Vec::new()
    }

    fn decided(&self, decision: Decision, batch: &Batch, now: Timestamp, answer: &mut Answer) {
        answer.allowed = decision == Decision::Allow;
        answer.txns = self.txns(0, batch);
        if let Some((_, strictest)) = batch.strictest().filter(|_| !answer.allowed) {
            assert_eq!(decision, Decision::Wait(now.plus(strictest.retry_in)));
        }
        self.strictest(batch, answer);
    }

    /// What the strictest transaction of the batch says; its limit is named only where it denies. Where none has a say more than
    /// enough remains, and of no transactions nothing.
    fn strictest(&self, batch: &Batch, answer: &mut Answer) {
        let Some((transaction, outcome)) = batch.strictest() else {
            answer.remaining = if batch.results().len() == 0 { 0 } else { i64::MAX };
            return;
        };
        let Txn { limit, key, .. } = self.txn(0, transaction, outcome);
        answer.limit = if outcome.allowed { String::new() } else { limit };
        answer.key = key;
        answer.retry_in_ns = outcome.retry_in.nanos();
        answer.remaining = outcome.remaining;
        answer.reset_in_ns = outcome.reset_in.nanos();
    }

    fn txns(&self, number: u8, batch: &Batch) -> Vec<Txn> {
        batch.results().map(|(transaction, outcome)| self.txn(number, transaction, outcome)).collect()
    }

    fn txn(&self, batch: u8, transaction: Transaction, outcome: Outcome) -> Txn {
        let bucket = transaction.bucket();
        let described = bucket.map(|bucket| self.model.describe(bucket));
        let (limit, key) = described.map_or_else(Default::default, |(limit, of)| {
            (limit.to_string(), format!("{}:{}", number(limit), of.replacen(' ', ":", 1)))
        });
        Txn {
            batch,
            key,
            limit,
            overridden: bucket.is_some_and(|bucket| self.model.is_overridden(bucket)),
            cost: transaction.cost().tokens(),
            mode: mode(transaction.mode()).to_owned(),
            allowed: outcome.allowed,
            remaining: outcome.remaining,
            retry_in_ns: outcome.retry_in.nanos(),
            reset_in_ns: outcome.reset_in.nanos(),
            tat_before_ns: outcome.tat_before.map(Timestamp::unix_nanos),
            tat_after_ns: outcome.tat_after.map(Timestamp::unix_nanos),
        }
    }
}

fn account(operation: &Operation) -> String {
    operation.account.unwrap().to_string()
}

fn name(operation: &Operation) -> Identifier {
    Identifier::parse(operation.name.as_ref().unwrap()).unwrap()
}

/// What Boulder's keys start with.
const fn number(limit: LimitName) -> u8 {
    match limit {
        LimitName::NewRegistrationsPerIpAddress => 1,
        LimitName::NewRegistrationsPerIpv6Range => 2,
        LimitName::NewOrdersPerAccount => 3,
        LimitName::FailedAuthorizationsPerDomainPerAccount => 4,
        LimitName::CertificatesPerDomain => 5,
        LimitName::CertificatesPerDomainPerAccount => 6,
        LimitName::CertificatesPerFqdnSet => 7,
        LimitName::FailedAuthorizationsForPausingPerDomainPerAccount => 8,
        LimitName::PendingAuthorizationsPerAccount => panic!("its limiter has none"),
    }
}

const fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::CheckAndSpend => "check-and-spend",
        Mode::CheckOnly => "check-only",
        Mode::SpendOnly => "spend-only",
        Mode::Reset => "reset-only",
        Mode::AllowOnly => "allow-only",
    }
}

fn lines<T: for<'de> Deserialize<'de>>(path: &Path) -> impl Iterator<Item = T> {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    BufReader::new(file).lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap())
}

/// Replays one trace; returns the number of rows compared.
fn replay(stem: &Path, suffixes: &SuffixList) -> usize {
    let path = |end: &str| PathBuf::from(format!("{}.{end}", stem.display()));
    let limits = serde_json::from_slice(&fs::read(path("limits.json")).unwrap()).unwrap();
    let mut replay = Replay::new(limits, suffixes.clone());
    let operations: Vec<Operation> = lines(&path("in.jsonl")).collect();
    let answers: Vec<Answer> = lines(&path("out.jsonl")).collect();
    assert_eq!(operations.len(), answers.len(), "{}", stem.display());
    let mut compared = 0;
    for (i, (operation, mut theirs)) in operations.iter().zip(answers).enumerate() {
        let Some(mut ours) = replay.answer(i, operation, theirs.ignored_error.is_some()) else { continue };
        assert_eq!(ours.error.is_some(), theirs.error.is_some(), "{} {i}: {ours:?}", stem.display());
        (ours.error, theirs.error) = (None, None);
        for (ours, theirs) in ours.txns.iter().zip(&theirs.txns).chain(ours.refund_txns.iter().zip(&theirs.refund_txns))
        {
            assert_eq!(ours, theirs, "{} row {i}", stem.display());
        }
        assert_eq!(ours, theirs, "{} row {i}", stem.display());
        compared += 1;
    }
    compared
}

#[test]
fn every_decision_is_boulders() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces");
    let further = std::env::var_os("CERTPACE_TRACES").map(PathBuf::from);
    let suffixes = SuffixList::embedded();
    let mut total = 0;
    for folder in [Some(own), further].into_iter().flatten() {
        let mut stems: Vec<PathBuf> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .filter_map(|entry| Some(PathBuf::from(entry.unwrap().path().to_str()?.strip_suffix(".in.jsonl")?)))
            .collect();
        stems.sort();
        assert!(!stems.is_empty(), "{} holds no traces", folder.display());
        total += stems.iter().map(|stem| replay(stem, &suffixes)).sum::<usize>();
    }
    assert!(total > 0, "the traces hold no rows");
    println!("{total} rows compared");
}

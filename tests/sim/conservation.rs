//! What is spent is what spends: a model of its own, told every step of a run, counts the same, strangers and failures included; and no
//! certificate comes without a valid authorization for each of its names.

use std::collections::BTreeMap;

use certpace::buckets::{Batch, Mode};
use certpace::limits::{LimitName, Limits};
use certpace::name::{Identifier, NameSet};
use certpace::rules::{Decision, Exemption, Model};
use certpace::sim::trace::{Entry, Step};
use certpace::sim::{Measures, Seed, Setup};
use certpace::time::Timestamp;
use proptest::prelude::*;

use super::world::{SUFFIXES, client, event, names_of, scenario, set_up_under, tight, traced};

/// Counts by itself what a trace tells.
struct Count {
    model: Model,
    batches: [Batch; 2],
    /// Until when a name is authorized.
    authorized: BTreeMap<String, Timestamp>,
    /// By limit: the fewest tokens left, and the first bucket by key that had so few.
    least: BTreeMap<LimitName, (i64, String)>,
    last: Timestamp,
}

impl Count {
    fn note(&mut self, now: Timestamp) {
        for batch in &self.batches {
            for transaction in batch.transactions() {
                let spends = matches!(transaction.mode(), Mode::CheckAndSpend | Mode::SpendOnly);
                let Some(bucket) = transaction.bucket().filter(|_| spends) else { continue };
                let quota = self.model.buckets().quota(bucket);
                let lead = self.model.buckets().tat(bucket).map_or(0, |tat| tat.since(now).nanos().max(0));
                let left = ((quota.offset().nanos() - lead).div_euclid(quota.emission().nanos())).max(0);
                let (limit, key) = self.model.describe(bucket);
                let known = self.least.entry(limit).or_insert((i64::MAX, String::new()));
                if (left, &key) < (known.0, &known.1) {
                    *known = (left, key);
                }
            }
        }
        self.batches = Default::default();
    }

    fn count(&mut self, setup: &Setup, entry: &Entry) -> Result<(), TestCaseError> {
        let now = entry.at;
        prop_assert!(now >= self.last, "time goes back");
        self.last = now;
        let Self { model, batches: [a, b], authorized, .. } = &mut *self;
        if let Step::Stranger { account, name, issued } = &entry.step {
            let order = model.order(account, &NameSet::parse([name.as_str()]).unwrap());
            let exemption = model.exemption(order, false, now);
            let allowed = model.new_order(order, exemption, now, a) == Decision::Allow;
            prop_assert_eq!(allowed, *issued);
            if allowed {
                self.model.issued(order, exemption == Exemption::SameSet, now, &mut self.batches[1]);
                // The order's own token is a stranger's account's: the simulation looks at ours.
                self.batches[0] = Batch::default();
                self.note(now);
            }
            self.batches = Default::default();
            return Ok(());
        }
        let names = names_of(setup, entry);
        let Some(set) = NameSet::parse(names.iter().copied()).ok() else { return Ok(()) };
        let order = model.order("default", &set);
        match &entry.step {
            Step::Ordered(exemption) => {
                prop_assert_eq!(*exemption, model.exemption(order, *exemption == Exemption::Ari, now));
                prop_assert_eq!(model.new_order(order, *exemption, now, a), Decision::Allow);
            }
            Step::Refused { limit, key, .. } => {
                let exemption = model.exemption(order, false, now);
                prop_assert!(matches!(model.new_order(order, exemption, now, a), Decision::Wait(_)));
                let (denied, _) = a.strictest().unwrap();
                prop_assert_eq!(&model.describe(denied.bucket().unwrap()), &(*limit, key.clone()));
                self.batches = Default::default();
            }
            Step::Paused => prop_assert_eq!(model.new_order(order, Exemption::None, now, a), Decision::Paused),
            Step::Validated | Step::Invalid(_) => {
                let (_, profile) = model.limits().policy.profile("classic").unwrap();
                let until = now.plus(profile.terms_at(now).authorization_reuse);
                let failed: Vec<&str> = match &entry.step {
                    Step::Invalid(failed) => failed.iter().map(|name| setup.name(*name)).collect(),
                    _ => Vec::new(),
                };
                for name in names {
                    if self.authorized.get(name).is_some_and(|until| *until > now) {
                        prop_assert!(!failed.contains(&name), "what is authorized is not validated");
                        continue;
                    }
                    let identifier = Identifier::parse(name).unwrap();
                    if failed.contains(&name) {
                        self.model.validation_failed("default", &identifier, now, self.batches.each_mut());
                        self.note(now);
                    } else {
                        self.authorized.insert(name.to_owned(), until);
                        self.model.validation_succeeded("default", &identifier, now, &mut Batch::default());
                    }
                }
            }
            Step::Issued(_) | Step::Lost(_) => {
                for name in &names {
                    prop_assert!(authorized.get(*name).is_some_and(|until| *until > now), "{name} is not authorized");
                }
                let renewal = model.exemption(order, false, now) == Exemption::SameSet;
                model.issued(order, renewal, now, b);
            }
            _ => {}
        }
        self.note(now);
        Ok(())
    }
}

fn world() -> impl Strategy<Value = (Setup, u64)> {
    let inventory = (1..80_u32, 1..8_u32).prop_map(|(hostnames, domains)| {
        format!("hostnames = {}\ndomains = {domains}\ntenants = 3", hostnames.max(domains))
    });
    let behaviour =
        || prop_oneof![Just("naive"), Just("caddy"), Just("certbot"), Just("cert-manager"), Just("certpace")];
    let clients = (behaviour(), behaviour(), 1..5_u32, any::<bool>(), 1..3_u32).prop_map(
        |(a, b, names, deactivates, replicas)| {
            let keys = format!("names_per_cert = {names}\ndeactivates = {deactivates}");
            client(a, &format!("name = \"a\"\nshare = \"60%\"\nreplicas = {replicas}\n{keys}"))
                + &client(b, &format!("name = \"b\"\nshare = \"60%\"\n{keys}\ntick = \"1h\""))
        },
    );
    let events = (0..100_u32, 1..60_u32, 1..50_u32, 1..200_u32, any::<[bool; 5]>()).prop_map(
        |(share, certificates, hours, at, which)| {
            let all = [
                event("failing-names", "0s", &format!("share = \"{share}%\"\nprobability = \"70%\"\nuntil = \"9d\"")),
                event("strangers", "1h", &format!("certificates = {certificates}\nevery = \"{hours}h\"")),
                event("crash", &format!("{at}h"), "downtime = \"20m\""),
                event("lose-storage", &format!("{at}h"), ""),
                event("outage", &format!("{at}h"), &format!("until = \"{}h\"\nendpoint = \"others\"", at + hours)),
            ];
            all.into_iter().zip(which).filter(|(_, which)| *which).map(|(event, _)| event).collect::<String>()
        },
    );
    let limits = ((1..8_u64, 1..3_000_i64), (1..6_u64, 1..20_000_i64));
    (inventory, clients, events, limits, any::<u64>()).prop_map(|(inventory, clients, events, limits, seed)| {
        let limits: Limits = tight(limits.0, limits.1);
        (set_up_under(&scenario(12, &inventory, &(clients + &events)), &limits), seed)
    })
}

fn conserved(setup: &Setup, limits: Limits, measures: &Measures, entries: &[Entry]) -> Result<(), TestCaseError> {
    let mut count = Count {
        model: Model::new(limits, SUFFIXES.clone()),
        batches: Default::default(),
        authorized: BTreeMap::new(),
        least: BTreeMap::new(),
        last: Timestamp::from_unix_nanos(i64::MIN),
    };
    for entry in entries {
        count.count(setup, entry)?;
    }
    for tightest in &measures.tightest {
        let known = count.least.get(&tightest.limit).map(|(left, _)| *left);
        prop_assert_eq!(known, i64::try_from(tightest.tokens_left).ok(), "{:?}", tightest);
    }
    prop_assert_eq!(measures.tightest.len(), count.least.len());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 120,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(20_261_204),
        ..ProptestConfig::default()
    })]

    #[test]
    fn tokens_spent_are_events_that_spend((setup, seed) in world()) {
        let (measures, entries) = traced(&setup, Seed(seed));
        conserved(&setup, setup.limits().clone(), &measures, &entries)?;
    }
}

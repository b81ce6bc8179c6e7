//! The numbers that the CA documents, by the model alone: what its pages and their arithmetic promise.
#![expect(clippy::unwrap_used, reason = "a policy that can't be read is a failure")]

use certpace::buckets::Batch;
use certpace::limits::{Limit, LimitName, Limits, Overrides, Policy, SameSetExempt};
use certpace::name::NameSet;
use certpace::psl::SuffixList;
use certpace::rules::{Decision, Exemption, Model, OrderId};
use certpace::time::{Span, Timestamp};

const START: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

fn model(policy: &str) -> Model {
    let limits = Limits { policy: Policy::built_in(policy).unwrap(), overrides: Overrides::none() };
    Model::new(limits, SuffixList::embedded())
}

fn order(model: &mut Model, account: &str, names: &[&str]) -> OrderId {
    model.order(account, &NameSet::parse(names.iter().copied()).unwrap())
}

#[test]
fn the_same_set_every_day_passes_fifteen_times() {
    let (mut model, mut batch) = (model("letsencrypt"), Batch::default());
    let order = order(&mut model, "1", &["example.com", "www.example.com"]);
    let passed = (0..).position(|day| {
        let now = START.plus(Span::from_days(day));
        let exemption = model.exemption(order, false, now);
        let decision = model.new_order(order, exemption, now, &mut batch);
        let renewal = exemption == Exemption::SameSet;
        assert_eq!(renewal, day > 0, "only the first is no renewal");
        if decision == Decision::Allow {
            model.issued(order, renewal, now, &mut batch);
        }
        decision != Decision::Allow
    });
    assert_eq!(passed, Some(15));
}

#[test]
fn three_hundred_orders_at_once_and_then_one_every_36_seconds() {
    let (mut model, mut batch) = (model("letsencrypt"), Batch::default());
    let mut now = START;
    for index in 0..400 {
        let order = order(&mut model, "1", &[&format!("customer-{index}.com")]);
        let decision = model.new_order(order, Exemption::None, now, &mut batch);
        if index < 300 {
            assert_eq!(decision, Decision::Allow, "{index}");
            continue;
        }
        now = now.plus(Span::from_seconds(36));
        assert_eq!(decision, Decision::Wait(now), "{index}");
        assert_eq!(model.new_order(order, Exemption::None, now, &mut batch), Decision::Allow);
    }
}

#[test]
fn fifty_certificates_a_domain_and_then_one_every_201_6_minutes() {
    let (mut model, mut batch) = (model("letsencrypt"), Batch::default());
    let mut now = START;
    for index in 0..100 {
        // Accounts share the domain's tokens.
        let order = order(&mut model, &(index % 3).to_string(), &[&format!("n{index}.example.co.uk")]);
        if index >= 50 {
            let next = now.plus(Span::parse("201.6m").unwrap());
            assert_eq!(model.new_order(order, Exemption::None, now, &mut batch), Decision::Wait(next), "{index}");
            now = next;
        }
        assert_eq!(model.new_order(order, Exemption::None, now, &mut batch), Decision::Allow, "{index}");
        model.issued(order, false, now, &mut batch);
    }
}

fn check_limits(policy: &str, expected: &[(LimitName, u64, u64, &str, &str)]) {
    let policy = Policy::built_in(policy).unwrap();
    for (name, burst, count, period, emission) in expected {
        let limit = policy.limit(*name).unwrap();
        assert_eq!((limit.burst, limit.count), (*burst, *count), "{name}");
        assert_eq!(limit.period, Span::parse(period).unwrap(), "{name}");
        assert_eq!(limit.quota.emission(), Span::parse(emission).unwrap(), "{name}");
    }
    assert_eq!(LimitName::ALL.iter().filter(|name| policy.limit(**name).is_some()).count(), expected.len());
}

#[test]
fn production_numbers() {
    check_limits(
        "letsencrypt",
        &[
            (LimitName::NewRegistrationsPerIpAddress, 10, 10, "3h", "1080s"),
            (LimitName::NewRegistrationsPerIpv6Range, 500, 500, "3h", "21.6s"),
            (LimitName::NewOrdersPerAccount, 300, 300, "3h", "36s"),
            (LimitName::CertificatesPerDomain, 50, 50, "7d", "12096s"),
            (LimitName::CertificatesPerFqdnSet, 5, 5, "7d", "120960s"),
            (LimitName::FailedAuthorizationsPerDomainPerAccount, 5, 5, "1h", "720s"),
            (LimitName::FailedAuthorizationsForPausingPerDomainPerAccount, 1_152, 1, "24h", "86400s"),
        ],
    );
}

#[test]
fn numbers_of_the_oldest_policy() {
    let policy = Policy::built_in("letsencrypt-2021").unwrap();
    let window = |name, count, period: &str| {
        let limit = Limit::sliding_window(count, Span::parse(period).unwrap()).unwrap();
        assert_eq!(policy.limit(name), Some(&limit), "{name}");
    };
    window(LimitName::NewRegistrationsPerIpAddress, 10, "3h");
    window(LimitName::NewRegistrationsPerIpv6Range, 500, "3h");
    window(LimitName::NewOrdersPerAccount, 300, "3h");
    window(LimitName::CertificatesPerDomain, 50, "7d");
    window(LimitName::CertificatesPerFqdnSet, 5, "7d");
    window(LimitName::FailedAuthorizationsPerDomainPerAccount, 5, "1h");
    let pending = policy.limit(LimitName::PendingAuthorizationsPerAccount);
    assert_eq!(pending, Some(&Limit::concurrent(300).unwrap()));
    assert_eq!(LimitName::ALL.iter().filter(|name| policy.limit(**name).is_some()).count(), 7);
    let profile = policy.profile("classic").unwrap().1;
    assert_eq!((profile.names_max, profile.pending_authorization), (100, Span::from_days(7)));
    assert_eq!(policy.renewal.same_set_exempt, SameSetExempt::Domains);
    assert!(!policy.renewal.ari && !policy.deactivation_fails);
    let rates: Vec<_> = policy.endpoints.iter().map(|limit| (limit.path.as_str(), limit.rate_per_second)).collect();
    let twenty =
        ["/acme/new-nonce", "/acme/new-account", "/acme/new-order", "/acme/revoke-cert"].map(|path| (path, 20));
    assert_eq!(rates, [twenty.as_slice(), &[("/acme/*", 40), ("/directory", 40)]].concat());
}

#[test]
fn staging_numbers() {
    check_limits(
        "letsencrypt-staging",
        &[
            (LimitName::NewRegistrationsPerIpAddress, 50, 50, "3h", "216s"),
            (LimitName::NewRegistrationsPerIpv6Range, 500, 500, "3h", "21.6s"),
            (LimitName::NewOrdersPerAccount, 1_500, 1_500, "3h", "7.2s"),
            (LimitName::CertificatesPerDomain, 30_000, 30_000, "1s", "33333ns"),
            (LimitName::CertificatesPerFqdnSet, 30_000, 30_000, "7d", "20.16s"),
            (LimitName::FailedAuthorizationsPerDomainPerAccount, 200, 200, "1h", "18s"),
            (LimitName::FailedAuthorizationsForPausingPerDomainPerAccount, 3_600, 3_600, "6h", "6s"),
        ],
    );
}

#[test]
fn endpoint_numbers() {
    let check = |policy: &str, expected: [(&str, u32, u32); 7]| {
        let policy = Policy::built_in(policy).unwrap();
        let mut found: Vec<_> = policy
            .endpoints
            .iter()
            .map(|limit| (limit.path.as_str(), limit.rate_per_second, limit.burst.unwrap()))
            .collect();
        let mut expected = expected.to_vec();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected);
    };
    let (nonce, account, directory) =
        (("/acme/new-nonce", 20, 10), ("/acme/new-account", 5, 15), ("/directory", 40, 40));
    let (revoke, info) = (("/acme/revoke-cert", 10, 100), ("/acme/renewal-info", 1_000, 100));
    check(
        "letsencrypt",
        [nonce, account, revoke, info, directory, ("/acme/new-order", 300, 200), ("/acme/*", 250, 125)],
    );
    check(
        "letsencrypt-staging",
        [nonce, account, revoke, info, directory, ("/acme/new-order", 20, 40), ("/acme/*", 20, 20)],
    );
}

#[test]
fn override_tiers() {
    let policy = Policy::built_in("letsencrypt").unwrap();
    let common = [25_000, 50_000, 75_000, 100_000, 175_000, 250_000, 500_000];
    let check = |name: LimitName, small: &[u64], large: &[u64], behind: &[&str]| {
        let tiers = policy.tiers_of(name).unwrap();
        assert_eq!(tiers.tiers, [small, &common, large].concat(), "{name}");
        assert_eq!(tiers.period, Span::from_days(7));
        let default = policy.limit(name).unwrap();
        let falls_behind = |tier: &u64| {
            tiers.falls_behind_after(*tier, default).map(|after| format!("{:.2}", after.seconds_f64() / 86_400.0))
        };
        assert_eq!(tiers.tiers.iter().filter_map(falls_behind).collect::<Vec<_>>(), behind, "{name}");
    };
    check(LimitName::NewOrdersPerAccount, &[1_000, 5_000, 10_000], &[750_000, 1_000_000], &["0.31", "2.79", "9.99"]);
    check(LimitName::CertificatesPerDomain, &[300, 1_000, 5_000, 10_000], &[1_000_000], &[]);
}

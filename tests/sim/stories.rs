//! What people have told, and what the simulation makes of it.

use certpace::limits::LimitName;
use certpace::sim::{Measure, Value};
use certpace::time::Span;

use super::world::{client, event, scenario, simulate};

#[test]
fn six_redeployments_in_a_day_hit_the_limit_on_exact_sets() {
    let redeployed = |times: usize| {
        let events: String = (1..=times).map(|time| event("lose-storage", &format!("{time}h"), "")).collect();
        let measures = simulate(&scenario(10, "hostnames = 1", &(client("naive", "") + &events)));
        measures.count(Measure::RefusalsBy(LimitName::CertificatesPerFqdnSet))
    };
    assert_eq!(redeployed(4), 0, "five certificates in all");
    assert!(redeployed(5) > 0, "the sixth");
}

/// Orders in flight hold no token at the CA: ten at one instant all get theirs. The next day none does.
#[test]
fn replicas_without_a_common_storage_order_the_same_certificate() {
    let scenario = |more: &str| scenario(2, "hostnames = 1", &(client("traefik", "replicas = 10") + more));
    let measures = simulate(&scenario(""));
    assert_eq!((measures.count(Measure::Certificates), measures.count(Measure::Refusals)), (10, 0));
    let measures = simulate(&scenario(&event("lose-storage", "1d", "")));
    assert_eq!(measures.count(Measure::Certificates), 10, "{measures:?}");
    assert!(measures.count(Measure::RefusalsBy(LimitName::CertificatesPerFqdnSet)) >= 10);
    assert_eq!(measures.count(Measure::HostnamesCovered), 0);
}

#[test]
fn a_fixed_threshold_breaks_with_six_day_certificates() {
    let measures = simulate(&scenario(30, "hostnames = 1", &client("traefik", "profile = \"shortlived\"")));
    assert!(measures.count(Measure::Renewals) > 15, "it renews every day: {measures:?}");
    assert!(measures.count(Measure::RefusalsBy(LimitName::CertificatesPerFqdnSet)) > 0);
}

#[test]
fn lifetimes_change_on_their_date() {
    let ari = |days| simulate(&scenario(days, "hostnames = 10", &client("certbot", ""))).count(Measure::Certificates);
    // Issued on 2026-12-01 for 90 days, renewed about 2027-01-30 for 90 more, about 2027-03-31 for 64.
    assert_eq!(ari(55), 10);
    assert_eq!(ari(65), 20);
    assert_eq!(ari(125), 30);
    assert_eq!(ari(170), 40, "two thirds of 64 days after that");
}

#[test]
fn a_name_that_never_validates_is_paused_in_the_end() {
    let events = event("failing-names", "0s", "");
    let measures = simulate(&scenario(60, "hostnames = 1", &(client("naive", "tick = \"12m\"") + &events)));
    assert_eq!(measures.count(Measure::PausedNames), 1, "{measures:?}");
    assert_eq!(measures.count(Measure::Certificates), 0);
    assert!(measures.count(Measure::RefusalsPaused) > 0);
    assert_eq!(measures.value(Measure::FullCoverageAfter), Value::Never);
}

#[test]
fn an_outage_delays_and_a_revocation_costs_hours() {
    let outage = event("outage", "0s", "until = \"6h\"");
    let measures = simulate(&scenario(2, "hostnames = 5", &(client("caddy", "") + &outage)));
    let Value::Span(full) = measures.value(Measure::FullCoverageAfter) else { panic!() };
    assert!(full >= Span::from_hours(6) && full < Span::from_hours(13), "{full}");
    let revoked = |behaviour| {
        let events = event("revocation", "10d", "deadline = \"24h\"");
        simulate(&scenario(40, "hostnames = 5", &(client(behaviour, "") + &events)))
    };
    assert_eq!(revoked("caddy").count(Measure::HostnameHoursLapsed), 0, "it asks for renewal information");
    assert!(revoked("cert-manager").count(Measure::HostnameHoursLapsed) > 5 * 24 * 20, "it does not");
}

#[test]
fn strangers_spend_our_registered_domains() {
    let covered = |certificates: u32| {
        let events = event("strangers", "0s", &format!("certificates = {certificates}\nevery = \"7d\""));
        let scenario = scenario(7, "hostnames = 200\ndomains = 1", &(client("lego", "tick = \"6h\"") + &events));
        simulate(&scenario).count(Measure::HostnamesCovered)
    };
    let (alone, crowded) = (covered(1), covered(5_000));
    assert!((95..=100).contains(&alone), "50 at once, and one in 201.6 minutes: {alone}");
    assert!(crowded + 25 < alone, "{crowded}");
}

#[test]
fn a_run_that_hits_its_bound_says_so() {
    let mut scenario = scenario(1, "hostnames = 50", &client("naive", ""));
    scenario.steps_max = 20;
    let measures = simulate(&scenario);
    assert_eq!((measures.count(Measure::StepBoundHit), measures.count(Measure::Steps)), (1, 20));
}

#[test]
fn an_override_and_a_policy_change_what_is_let_through() {
    let refused = |more: &str| {
        let scenario = scenario(1, "hostnames = 500", &(client("caddy", "") + more));
        simulate(&scenario).count(Measure::Refusals)
    };
    assert!(refused("") > 0);
    let numbers = "burst = 1000\ncount = 1000\nperiod = \"7d\"\nlimit = \"NewOrdersPerAccount\"\nid = \"default\"";
    assert_eq!(refused(&event("override", "0s", numbers)), 0);
    assert_eq!(refused(&event("policy", "0s", "name = \"letsencrypt-staging\"")), 0);
}

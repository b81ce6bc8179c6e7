//! What is charged when, rule by rule.

use certpace::enforce::Answer;
use certpace::limits::LimitName;
use certpace::time::Span;
use serde_json::json;

use super::world::{World, policy, signed, tight};

const ORDERS: LimitName = LimitName::NewOrdersPerAccount;
const DOMAIN: LimitName = LimitName::CertificatesPerDomain;
const SET: LimitName = LimitName::CertificatesPerFqdnSet;
const FAILURES: LimitName = LimitName::FailedAuthorizationsPerDomainPerAccount;
const PAUSING: LimitName = LimitName::FailedAuthorizationsForPausingPerDomainPerAccount;

/// A refusal whose sentence begins so, with so many seconds to wait, up to 3 % more.
#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Result<T, Answer>, sentence: &str, seconds: i64) {
    let answer = outcome.unwrap_err();
    assert_eq!((answer.status, answer.kind, answer.has_nonce), (429, "rateLimited", true));
    assert!(answer.detail.starts_with(sentence), "{}", answer.detail);
    let wait = answer.retry_after.unwrap();
    let most = Span::from_nanos(seconds * 1_030_000_000 + 500_000_000);
    assert!(Span::from_seconds(seconds) <= wait && wait <= most, "{wait} is not {seconds} s");
}

#[test]
fn an_order_is_charged_at_once_and_paid_back_if_the_ca_makes_none() {
    let mut world = World::new(tight(&[(ORDERS, 1, "1h")]));
    world.order_with("1", &["a.example.com"], (None, None), 400).unwrap();
    world.order("1", &["a.example.com"]).unwrap();
    let sentence = "too many new orders (1) from this account in the last 1h0m0s, retry after 2027-01-15 09:";
    refused(world.order("1", &["b.example.com"]), sentence, 3_600);
    world.order("2", &["b.example.com"]).unwrap();
    world.wait("1h");
    world.order("1", &["b.example.com"]).unwrap();
}

#[test]
fn an_order_without_an_answer_is_paid_back() {
    let mut world = World::new(tight(&[(ORDERS, 1, "1h")]));
    let body = signed(
        &json!({ "kid": "https://ca/acct/1" }),
        &json!({ "identifiers": [{ "type": "dns", "value": "a.example.com" }] }),
    );
    assert_eq!(world.send("POST", "/order", &body, None, None), Ok(502));
    world.order("1", &["a.example.com"]).unwrap();
}

#[test]
fn domain_and_set_are_charged_when_the_certificate_is_issued() {
    let mut world = World::new(tight(&[(DOMAIN, 1, "10h")]));
    let orders = [world.order("1", &["a.example.com"]).unwrap(), world.order("2", &["b.example.com"]).unwrap()];
    orders.iter().for_each(|order| world.finalize(order));
    let sentence = "too many certificates (1) already issued for \"example.com\" in the last 10h0m0s";
    refused(world.order("3", &["c.example.com"]), sentence, 36_000);
    world.order("3", &["c.example.org"]).unwrap();
}

#[test]
fn a_certificate_counts_once_however_often_its_order_is_seen() {
    let mut world = World::new(tight(&[(SET, 2, "10h")]));
    let order = world.order("1", &["a.example.com"]).unwrap();
    world.poll(&order, "ready");
    world.finalize(&order);
    world.finalize(&order);
    world.poll(&order, "valid");
    world.issue("1", &["A.example.com"]).unwrap();
    let sentence = "too many certificates (2) already issued for this exact set of identifiers in the last";
    refused(world.order("2", &["a.example.com"]), sentence, 36_000);
    assert_eq!(world.enforcer.journal().counts().certificates, 2);
}

#[test]
fn a_certificate_whose_finalize_went_unseen_counts_when_it_is_seen() {
    let mut world = World::new(tight(&[(DOMAIN, 1, "10h")]));
    let order = world.order("1", &["a.example.com"]).unwrap();
    world.poll(&order, "valid");
    assert_eq!(world.enforcer.journal().counts().certificates, 1);
    world.order("1", &["b.example.com"]).unwrap_err();
}

#[test]
fn the_same_names_again_take_neither_order_nor_domain_tokens() {
    let mut world = World::new(tight(&[(ORDERS, 1, "1h"), (DOMAIN, 1, "10h")]));
    world.issue("1", &["a.example.com", "b.example.com"]).unwrap();
    world.issue("1", &["b.example.com", "A.example.com"]).unwrap();
    world.order("1", &["a.example.com"]).unwrap_err();
    let counts = world.enforcer.journal().counts();
    assert_eq!((counts.orders, counts.orders_same_set, counts.refused), (2, 1, 1));
}

#[test]
fn failures_count_at_first_sight_and_by_name_with_its_star() {
    let mut world = World::new(tight(&[(FAILURES, 2, "12m")]));
    let order = world.order("1", &["*.example.com", "example.com"]).unwrap();
    for _ in 0..3 {
        world.authorization(&order, 0, "invalid");
    }
    world.authorization(&order, 1, "valid");
    world.fail("1", "*.example.com").unwrap();
    let sentence = "too many failed authorizations (2) for \"*.example.com\" in the last 12m0s";
    refused(world.order("1", &["example.com", "*.example.com"]), sentence, 720);
    world.order("1", &["example.com"]).unwrap();
    world.order("2", &["*.example.com"]).unwrap();
    assert_eq!(world.enforcer.journal().counts().failed_validations, 2);
}

#[test]
fn a_client_that_looks_at_challenges_alone_is_seen_to_fail() {
    let mut world = World::new(tight(&[(FAILURES, 1, "12m")]));
    let order = world.order("1", &["a.example.com"]).unwrap();
    world.authorization(&order, 0, "pending");
    for status in ["processing", "invalid", "invalid"] {
        let body = json!({ "type": "http-01", "url": "https://ca/x", "status": status }).to_string();
        world.post("1", &order.challenge(0), &json!({}), (200, &body)).unwrap();
    }
    assert_eq!(world.enforcer.journal().counts().failed_validations, 1);
    world.order("1", &["a.example.com"]).unwrap_err();
}

#[test]
fn a_pending_authorization_that_is_deactivated_counts_and_a_valid_one_does_not() {
    let mut world = World::new(tight(&[(FAILURES, 1, "12m")]));
    let order = world.order("1", &["a.example.com", "b.example.com"]).unwrap();
    world.authorization(&order, 0, "valid");
    world.authorization(&order, 0, "deactivated");
    world.authorization(&order, 1, "pending");
    world.authorization(&order, 1, "deactivated");
    world.order("1", &["a.example.com"]).unwrap();
    world.order("1", &["b.example.com"]).unwrap_err();
}

#[test]
fn a_paused_name_is_refused_for_ever_until_a_person_lifts_it() {
    let mut world = World::new(tight(&[(PAUSING, 2, "24h")]));
    (0..3).for_each(|_| world.fail("1", "dead.example.com").unwrap());
    let answer = world.order("1", &["dead.example.com", "well.example.com"]).unwrap_err();
    assert_eq!((answer.status, answer.kind, answer.retry_after), (429, "rateLimited", None));
    let told = "Your account is temporarily prevented from requesting certificates for dead.example.com and possibly others. \
                Please visit: https://ca/-/unpause?account=https://ca/acct/1";
    assert_eq!(answer.detail, told);
    world.order("1", &["well.example.com"]).unwrap();
    assert_eq!(world.enforcer.unpause("https://ca/acct/2"), 0);
    assert_eq!(world.enforcer.unpause("https://ca/acct/1"), 1);
    world.order("1", &["dead.example.com"]).unwrap();
}

#[test]
fn a_success_between_forgives_the_failures_that_pause() {
    let mut world = World::new(tight(&[(PAUSING, 2, "24h")]));
    for _ in 0..3 {
        world.fail("1", "a.example.com").unwrap();
        let order = world.order("1", &["a.example.com"]).unwrap();
        world.authorization(&order, 0, "valid");
    }
    assert_eq!(world.enforcer.journal().counts().paused, 0);
}

#[test]
fn accounts_are_counted_by_address_and_only_if_they_are_new() {
    let mut world = World::new(tight(&[(LimitName::NewRegistrationsPerIpAddress, 2, "1h")]));
    let register = |world: &mut World, key: &str, payload, status| {
        world.send("POST", "/account", &signed(&json!({ "jwk": { "x": key } }), &payload), None, Some((status, "{}")))
    };
    let new = json!({ "termsOfServiceAgreed": true });
    register(&mut world, "a", new.clone(), 201).unwrap();
    register(&mut world, "a", new.clone(), 200).unwrap();
    register(&mut world, "b", new.clone(), 400).unwrap();
    register(&mut world, "old", new.clone(), 200).unwrap();
    register(&mut world, "c", new.clone(), 201).unwrap();
    refused(register(&mut world, "d", new.clone(), 201), "too many new registrations (2) from this IP address", 3_600);
    register(&mut world, "e", json!({ "onlyReturnExisting": true }), 400).unwrap();
    register(&mut world, "old", new.clone(), 200).unwrap();
    world.from = "2001:db8::1";
    register(&mut world, "d", new, 201).unwrap();
    assert_eq!(world.enforcer.journal().counts().accounts, 3);
}

#[test]
fn too_many_requests_at_once_are_busy_by_address_and_endpoint() {
    let mut world = World::new(policy("letsencrypt"));
    let nonce = |world: &mut World| world.send("HEAD", "/nonce", b"", None, Some((200, "")));
    assert!((0..10).all(|_| nonce(&mut world).is_ok()));
    let busy = nonce(&mut world).unwrap_err();
    assert_eq!((busy.status, busy.kind, busy.has_nonce), (503, "rateLimited", false));
    assert_eq!((busy.detail.as_str(), busy.retry_after), ("Service busy; retry later.", Some(Span::from_seconds(1))));
    world.send("GET", "/directory", b"", None, Some((200, "{}"))).unwrap();
    world.from = "192.0.2.2";
    nonce(&mut world).unwrap();
    world.from = "192.0.2.1";
    world.wait("50ms");
    nonce(&mut world).unwrap();
}

#[test]
fn in_a_rehearsal_clients_wait_by_their_own_clock_and_read_the_limits() {
    let mut world = World::fast(tight(&[(ORDERS, 1, "1000s")]), 100);
    world.order("1", &["a.example.com"]).unwrap();
    let answer = world.order("1", &["a.example.com"]).unwrap_err();
    assert!(answer.detail.contains("in the last 16m40s, retry after 2027-01-15 08:1"), "{}", answer.detail);
    let wait = answer.retry_after.unwrap();
    assert!(wait >= Span::from_seconds(10) && wait <= Span::from_seconds(11), "{wait}");
    world.wait("9s");
    world.order("1", &["a.example.com"]).unwrap_err();
    world.wait("1s");
    world.order("1", &["a.example.com"]).unwrap();
}

#[test]
fn an_account_is_one_under_all_names_of_the_proxy() {
    let mut world = World::new(tight(&[(ORDERS, 1, "1h")]));
    world.order("https://localhost:14443/acct/1", &["a.example.com"]).unwrap();
    world.order("https://127.0.0.1:14443/acct/1", &["a.example.com"]).unwrap_err();
    let key = world.enforcer.model().all_buckets().next().map(|bucket| world.enforcer.model().describe(bucket).1);
    assert_eq!(key.as_deref(), Some("https://localhost:14443/acct/1"));
}

#[test]
fn names_that_the_model_cannot_count_pass_and_are_told() {
    let mut world = World::new(tight(&[(ORDERS, 1, "1h")]));
    for _ in 0..3 {
        world.order("1", &["localhost"]).unwrap();
    }
    let counts = world.enforcer.journal().counts();
    assert_eq!((counts.requests, counts.orders, counts.not_counted), (3, 0, 3));
}

#[test]
fn who_comes_back_too_early_is_told_apart() {
    let mut world = World::new(tight(&[(ORDERS, 1, "1h")]));
    world.order("1", &["a.example.com"]).unwrap();
    world.order("1", &["a.example.com"]).unwrap_err();
    assert_eq!(world.enforcer.journal().counts().too_early, 0);
    world.wait("59m");
    world.order("1", &["a.example.com"]).unwrap_err();
    let counts = world.enforcer.journal().counts();
    assert_eq!((counts.refused, counts.too_early), (2, 1));
}

#[test]
fn the_verdict_lists_what_was_refused() {
    let limits = tight(&[(ORDERS, 1, "1h")]);
    let mut world = World::new(limits.clone());
    let verdict = |world: &World| {
        let times = (super::world::START, world.now);
        world.enforcer.journal().verdict("https://ca/directory", &limits, 1, times)
    };
    world.order("1", &["a.example.com"]).unwrap();
    assert!(verdict(&world).passed);
    world.order("1", &["b.example.com"]).unwrap_err();
    let verdict = verdict(&world);
    let refused = verdict.refusals[0].refused.as_ref().unwrap();
    assert_eq!((verdict.passed, verdict.counts.refused, &*refused.limit), (false, 1, "NewOrdersPerAccount"));
    assert_eq!((&*refused.key, &*verdict.refusals[0].names), ("https://ca/acct/1", &["b.example.com".to_owned()][..]));
}

#[test]
fn the_oldest_policy_counts_what_is_pending() {
    let mut limits = policy("letsencrypt-2021");
    let limit = certpace::limits::Limit::concurrent(2).unwrap();
    limits.policy.set_limit(LimitName::PendingAuthorizationsPerAccount, Some(limit));
    let mut world = World::new(limits);
    world.order_with("1", &["x.example.com", "y.example.com"], (None, None), 400).unwrap();
    let order = world.order("1", &["a.example.com", "b.example.com"]).unwrap();
    world.order("1", &["c.example.com"]).unwrap_err();
    world.order("1", &["a.example.com"]).unwrap();
    world.authorization(&order, 0, "valid");
    world.order("1", &["a.example.com", "c.example.com"]).unwrap();
    world.order("1", &["d.example.com"]).unwrap_err();
    world.authorization(&order, 1, "deactivated");
    world.order("1", &["d.example.com"]).unwrap();
    assert_eq!(world.enforcer.journal().counts().failed_validations, 1);
}

//! certbot and lego behind the proxy: refused when the model says, in the CA's words, and let through after the wait. certbot stops when
//! it is refused; lego 4.35 waits for `Retry-After` and orders again.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::proxy::Enforced;
use crate::servers::clients::{AcmeClient, python};
use crate::servers::process::{free_ports, wait};

const REPORT: [&str; 2] = ["--report", "verdict.json"];
/// A week passes in ten minutes.
const FAST: [&str; 4] = ["--speed", "1000", "--report", "verdict.json"];

/// What the proxy has written of its first refusal: the limit, the sentence, seconds to wait.
fn refusal(verdict: &Value) -> (&str, &str, Option<u64>) {
    let refused = &verdict["refusals"][0]["refused"];
    let text = |key: &str| refused[key].as_str().unwrap();
    (text("limit"), text("detail"), refused["retry_after_seconds"].as_u64())
}

/// The numbers of these counts.
fn counts<const N: usize>(verdict: &Value, names: [&str; N]) -> [u64; N] {
    names.map(|name| verdict["counts"][name].as_u64().unwrap())
}

/// Asks the proxy for a page over TLS.
fn page(enforced: &Enforced, path: &str, method: &str) -> String {
    let url = format!("https://{}{path}", enforced.address);
    let script = "import requests, sys; print(requests.request(sys.argv[2], sys.argv[1]).text)";
    let ran = python(script, &[&url, method], &enforced.folder.path().join("certpace-root.pem"));
    assert!(ran.succeeded, "{}", ran.said);
    ran.said
}

#[test]
fn lego_waits_as_it_is_told_and_is_let_through() {
    // 10 s of real time a token.
    let mut enforced = Enforced::start(&[("NewOrdersPerAccount", 1, "10000s")], &FAST);
    let client = enforced.client("lego");
    let first = client.lego(&["a.example.com"]);
    assert!(first.succeeded, "{}", first.said);
    let second = client.lego(&["b.example.com"]);
    assert!(second.succeeded, "{}", second.said);

    let (status, verdict) = enforced.end();
    assert_eq!((status.code(), &verdict["passed"]), (Some(0), &json!(false)));
    assert_eq!(counts(&verdict, ["orders", "certificates", "refused", "too_early"]), [2, 2, 1, 0]);
    let (limit, detail, seconds) = refusal(&verdict);
    assert_eq!(limit, "NewOrdersPerAccount");
    assert!(seconds.is_some_and(|seconds| (1..=11).contains(&seconds)), "{seconds:?}");
    let sentence = "too many new orders (1) from this account in the last 2h46m40s, retry after ";
    assert!(detail.starts_with(sentence) && second.said.contains(detail), "{}", second.said);
}

#[test]
fn certbot_is_refused_in_the_cas_words_with_header_and_nonce() {
    let arguments = ["--report", "verdict.json", "--fail-on-refusal"];
    let mut enforced = Enforced::start(&[("CertificatesPerDomain", 2, "3h")], &arguments);
    let client = enforced.client("certbot");
    for names in [&["a.example.com"][..], &["b.example.com", "c.example.com"]] {
        let ran = client.certbot(names);
        assert!(ran.succeeded, "{}", ran.said);
    }
    let refused = client.certbot(&["d.example.com"]);
    assert!(!refused.succeeded);
    let log = fs::read_to_string(client.certbot_folder().join("letsencrypt.log")).unwrap();
    let answer = log.split("Received response:\nHTTP 429\n").nth(1).unwrap_or_else(|| panic!("{log}"));
    let header = |name: &str| {
        let mut lines = answer.lines().take_while(|line| !line.is_empty());
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    };
    let seconds: u64 = header("Retry-After").unwrap_or_else(|| panic!("{answer}")).parse().unwrap();
    // Some of the three hours have passed since the first certificate was issued; up to 3 % are added.
    assert!((10_700..=11_125).contains(&seconds), "{seconds}");
    assert!(header("Replay-Nonce").is_some(), "{answer}");
    assert_eq!(header("Content-Type"), Some("application/problem+json"));

    let (status, verdict) = enforced.end();
    assert_eq!(status.code(), Some(5));
    let (limit, detail, told) = refusal(&verdict);
    assert_eq!((limit, told), ("CertificatesPerDomain", Some(seconds)));
    let words = "too many certificates (2) already issued for \"example.com\" in the last 3h0m0s, retry after ";
    let page = " UTC: see https://letsencrypt.org/docs/rate-limits/#new-certificates-per-registered-domain";
    assert!(detail.starts_with(words) && detail.ends_with(page), "{detail}");
    assert!(refused.said.contains(detail), "{}", refused.said);
}

#[test]
fn certbot_is_let_through_after_the_wait_and_the_same_names_are_a_renewal() {
    // 20 s of real time a token.
    let mut enforced = Enforced::start(&[("CertificatesPerFQDNSet", 1, "20000s")], &FAST);
    let client = enforced.client("certbot");
    assert!(client.certbot(&["a.example.com"]).succeeded);
    // On a machine so slow that the wait is over before, nothing is to be refused.
    let seconds = refused_renewal(&enforced, &client).unwrap_or_default();
    wait(Duration::from_secs(seconds));
    fs::remove_dir_all(client.certbot_folder()).unwrap();
    let again = client.certbot(&["a.example.com"]);
    assert!(again.succeeded, "{}", again.said);
    let (_, verdict) = enforced.end();
    let expected = if seconds > 0 { [1, 1] } else { [2, 0] };
    assert_eq!(counts(&verdict, ["orders_same_set", "refused"]), expected);
}

/// certbot loses its storage and orders the same names again: seconds to wait, if it is refused.
fn refused_renewal(enforced: &Enforced, client: &AcmeClient) -> Option<u64> {
    fs::remove_dir_all(client.certbot_folder()).unwrap();
    let ran = client.certbot(&["a.example.com"]);
    let log = page(enforced, "/-/log", "GET");
    let lines = log.lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str::<Value>(line).unwrap());
    let refused = lines.map(|line| line["refused"].clone()).find(|refused| !refused.is_null());
    assert_eq!(ran.succeeded, refused.is_none(), "{}", ran.said);
    let sentence = "too many certificates (1) already issued for this exact set of identifiers in the last 5h33m20s";
    assert!(ran.succeeded || ran.said.contains(sentence), "{}", ran.said);
    refused?["retry_after_seconds"].as_u64()
}

#[test]
fn failed_validations_are_counted_and_pause_in_the_end() {
    let limits = [
        ("FailedAuthorizationsPerDomainPerAccount", 2, "6h"),
        ("FailedAuthorizationsForPausingPerDomainPerAccount", 1, "24h"),
    ];
    let mut enforced = Enforced::start(&limits, &REPORT);
    let mut client = enforced.client("certbot");
    let well = client.http_port;
    [client.http_port] = free_ports();
    for _ in 0..2 {
        let failed = client.certbot(&["dead.example.com"]);
        assert!(failed.said.contains("Some challenges have failed"), "{}", failed.said);
    }
    let paused = client.certbot(&["dead.example.com"]);
    let told =
        "Your account is temporarily prevented from requesting certificates for dead.example.com and possibly others.";
    assert!(paused.said.contains(told), "{}", paused.said);

    let visit = paused.said.split("/-/unpause").nth(1).unwrap().split_whitespace().next().unwrap();
    assert!(page(&enforced, &format!("/-/unpause{visit}"), "POST").contains("\"unpaused\":1"));
    let refused = client.certbot(&["dead.example.com"]);
    let sentence = "too many failed authorizations (2) for \"dead.example.com\" in the last 6h0m0s";
    assert!(refused.said.contains(sentence), "{}", refused.said);

    client.http_port = well;
    assert!(client.certbot(&["well.example.com"]).succeeded);
    let (_, verdict) = enforced.end();
    assert_eq!(counts(&verdict, ["failed_validations", "paused", "refused", "certificates"]), [2, 1, 1, 1]);
    assert_eq!(refusal(&verdict).2, None);
}

#[test]
fn a_renewal_that_the_ca_suggests_is_exempt() {
    let mut enforced = Enforced::start(&[("NewOrdersPerAccount", 1, "24h")], &REPORT);
    let client = enforced.client("lego");
    let first = client.lego(&["a.example.com"]);
    assert!(first.succeeded, "{}", first.said);
    // The CA suggests to renew just now: a window that is almost over, so that lego's random time in it has come.
    let script = "
import datetime, json, requests, sys
now = datetime.datetime.now(datetime.timezone.utc)
time = lambda days: (now + datetime.timedelta(days=days)).strftime('%Y-%m-%dT%H:%M:%SZ')
window = {'suggestedWindow': {'start': time(-1000), 'end': time(0.02)}}
body = {'Certificate': open(sys.argv[2]).read(), 'ARIResponse': json.dumps(window)}
requests.post(sys.argv[1] + '/set-renewal-info/', json=body).raise_for_status()";
    let certificate = client.folder.join("lego/certificates/a.example.com.crt");
    let set = python(script, &[&enforced.pebble.management, certificate.to_str().unwrap()], &enforced.pebble.root);
    assert!(set.succeeded, "{}", set.said);
    let renewed = client.lego_renew(&["a.example.com"]);
    assert!(renewed.succeeded, "{}", renewed.said);
    let (_, verdict) = enforced.end();
    assert_eq!(counts(&verdict, ["orders", "orders_ari", "certificates", "refused"]), [2, 1, 2, 0]);
}

#[test]
fn the_verdict_is_written_as_junit_and_told_to_people() {
    let mut enforced = Enforced::start(&[("NewOrdersPerAccount", 1, "24h")], &["--report", "verdict.xml"]);
    let client = enforced.client("certbot");
    assert!(client.certbot(&["a.example.com"]).succeeded);
    assert!(!client.certbot(&["b.example.com"]).succeeded);
    assert!(enforced.proxy.terminate().success());
    let xml = fs::read_to_string(enforced.folder.path().join("verdict.xml")).unwrap();
    let document = roxmltree::Document::parse(&xml).unwrap();
    let failed: Vec<_> = document.descendants().filter(|node| node.has_tag_name("failure")).collect();
    let of = failed[0].parent().unwrap();
    assert_eq!((failed.len(), of.attribute("name")), (1, Some("NewOrdersPerAccount")));
    assert!(failed[0].attribute("message").unwrap().starts_with("refused once: too many new orders (1)"), "{xml}");
    assert!(enforced.proxy.out().contains("✗ refused once under the policy tight"), "{}", enforced.proxy.out());
}

//! Each client under the gate: certificates, renewals, full buckets, failures, and a 429 that somebody else has caused.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::servers::clients::AcmeClient;
use crate::servers::enforced::Limits;
use crate::servers::process::free_ports;
use crate::world::{Client, Ended, Site, as_str, end};

const NAMES: [&str; 2] = ["example.com", "www.example.com"];
const LIST: &str = "example.com,www.example.com";

/// `gate run` around the client, with the certificate that comes of it.
fn gate_run(site: &Site, client: Client, acme: &AcmeClient, names: &[&str], options: &[&str]) -> Ended {
    let certificate = client.certificate(acme, names[0]);
    let options = [&["--certificate", as_str(&certificate)], options].concat();
    end(&mut site.gated.gate_run(&names.join(","), &options, &site.command(client, acme, names)))
}

/// The time until which `gate run` says that there is nothing to do, in seconds from then, and the bucket that it names last.
fn later(site: &Site, names: &str, script: &str) -> (f64, Value) {
    let ended = end(&mut site.gated.gate_run_script(names, &["--format", "json"], script));
    let report: Value = serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    assert_eq!((ended.code, &report["verdict"]), (Some(3), &"later".into()), "{ended:?}");
    (
        seconds(&report["retry_at"]) - seconds(&report["at"]),
        report["blocking"].as_array().unwrap().last().unwrap().clone(),
    )
}

/// A time in RFC 3339 as seconds.
fn seconds(time: &Value) -> f64 {
    let time: certpace::time::Timestamp = serde_json::from_value(time.clone()).unwrap();
    time.since(certpace::time::Timestamp::from_unix_seconds(0)).seconds_f64()
}

/// A certificate, a renewal which is exempt from all but the set's limit, and a wait until that has a token again.
fn story(client: Client) {
    // Longer than two orders take.
    let period = if client == Client::AcmeSh { "25s" } else { "12s" };
    let limits: Limits<'_> = &[
        ("CertificatesPerFQDNSet", 2, period),
        ("CertificatesPerDomain", 1, "24h"),
        ("NewOrdersPerAccount", 1, "24h"),
    ];
    let mut site = Site::start(limits);
    let acme = site.enforced.client("client");
    let server = (client == Client::AcmeSh).then(|| site.web_server());
    let certificate = client.certificate(&acme, NAMES[0]);

    let first = gate_run(&site, client, &acme, &NAMES, &[]);
    assert_eq!((first.code, site.counts()), (Some(0), [1, 0, 1, 0]), "{first:?}");
    assert!(first.err.contains("permit ") && first.err.contains(": issued"), "{first:?}");
    let limits = ["CertificatesPerFQDNSet", "CertificatesPerDomain", "NewOrdersPerAccount"];
    assert_eq!(limits.map(|limit| site.gated.left(limit)), [Some(1), Some(0), Some(0)]);
    assert_eq!(site.gated.states(), ["issued"]);
    let of_first = fs::read(&certificate).unwrap();

    let second = gate_run(&site, client, &acme, &NAMES, &[]);
    assert_eq!((second.code, site.counts()), (Some(0), [2, 1, 2, 0]), "{second:?}");
    let of_second = fs::read(&certificate).unwrap();
    assert!(of_first != of_second);

    // On a machine so slow that a token has come back meanwhile, there is nothing to wait for.
    let third = gate_run(&site, client, &acme, &NAMES, &[]);
    if third.code == Some(0) {
        return assert_eq!(site.counts(), [3, 2, 3, 0]);
    }
    assert_eq!((third.code, site.counts()), (Some(3), [2, 1, 2, 0]), "{third:?}");
    assert!(third.out.contains("CertificatesPerFQDNSet of exactly these names"), "{third:?}");
    assert_eq!(fs::read(&certificate).unwrap(), of_second);

    let fourth = gate_run(&site, client, &acme, &NAMES, &["--wait=2m"]);
    assert_eq!((fourth.code, site.counts()), (Some(0), [3, 2, 3, 0]), "{fourth:?}");
    assert_eq!(site.gated.states(), ["issued", "issued", "issued"]);

    // The permits have counted what lies in the client's folder. All of its sets were exempt but the first.
    let imported = site.gated.json(["ledger", "import"], &["--all-issuers", as_str(&client.tree(&acme))]);
    let counted = ["counted", "permits"].map(|key| imported[key].as_u64().unwrap());
    let lies_there = if client == Client::Certbot { 3 } else { 1 };
    assert_eq!((counted, imported["known"].as_u64()), ([0, 0], Some(lies_there)), "{imported}");
    let again = site.gated.json(["ledger", "import"], &["--all-issuers", as_str(&client.tree(&acme))]);
    assert_eq!((&again["counted"], &again["known"]), (&0.into(), &lies_there.into()), "{again}");
    drop(server);
    let (_, verdict) = site.enforced.end();
    assert_eq!(verdict["passed"], true, "{verdict}");
}

#[test]
fn certbot_takes_and_renews_and_waits_at_the_gate() {
    story(Client::Certbot);
}

#[test]
fn lego_takes_and_renews_and_waits_at_the_gate() {
    story(Client::Lego);
}

#[test]
fn acme_sh_takes_and_renews_and_waits_at_the_gate() {
    story(Client::AcmeSh);
}

/// Somebody else has taken the last token of the registered domain: the client gets its one 429, and the ledger learns of it.
fn refused(client: Client, expected: i32) {
    let site = Site::start(&[("CertificatesPerDomain", 1, "3h")]);
    let somebody = site.enforced.client("somebody").lego(&["else.example.com"]);
    assert!(somebody.succeeded, "{}", somebody.said);
    let acme = site.enforced.client("client");

    let ended = gate_run(&site, client, &acme, &NAMES, &["--wait"]);
    assert_eq!((ended.code, site.counts()[3]), (Some(expected), 1), "{ended:?}");
    assert!(ended.err.contains(": failed"), "{ended:?}");
    let (wait, blocking) = later(&site, "other.example.com", "true");
    assert_eq!((&blocking["limit"], &blocking["key"]), (&"CertificatesPerDomain".into(), &"example.com".into()));
    // Three hours and up to 3 %, of which some have passed.
    assert!((10_600.0..11_130.0).contains(&wait), "{wait}");
    assert_eq!(gate_run(&site, client, &acme, &NAMES, &[]).code, Some(3));
    assert_eq!(site.counts()[3], 1, "one 429 only");
}

#[test]
fn a_429_that_certbot_prints_is_learned() {
    refused(Client::Certbot, 1);
}

#[test]
fn a_429_that_lego_would_wait_for_is_learned_and_lego_ended() {
    refused(Client::Lego, 3);
}

#[test]
fn a_429_that_acme_sh_prints_is_learned() {
    refused(Client::AcmeSh, 1);
}

/// Nobody answers the validation: the name failed, at the CA and in the ledger.
fn fails(client: Client) {
    let site = Site::start(&[]);
    let mut acme = site.enforced.client("client");
    [acme.http_port] = free_ports();
    let ended = gate_run(&site, client, &acme, &["dead.example.com"], &[]);
    assert_eq!((ended.code, site.gated.states()), (Some(1), vec!["failed".to_owned()]), "{ended:?}");
    for limit in ["FailedAuthorizationsPerDomainPerAccount", "NewOrdersPerAccount"] {
        assert_eq!(site.gated.left(limit), site.left_at_the_ca(limit), "{limit}");
    }
    assert_eq!(site.gated.left("FailedAuthorizationsPerDomainPerAccount"), Some(4));
    let (wait, blocking) = later(&site, "dead.example.com,www.example.com", "true");
    assert_eq!((&blocking["limit"], &blocking["key"]), (&Value::Null, &"default dead.example.com".into()));
    assert!((0.0..60.0).contains(&wait), "{wait}");
    assert_eq!(end(&mut site.gated.gate_run_script("www.example.com", &[], "true")).code, Some(0));
}

#[test]
fn certbots_failed_name_waits() {
    fails(Client::Certbot);
}

#[test]
fn legos_failed_name_waits() {
    fails(Client::Lego);
}

#[test]
fn certbots_own_hook_cant_stop_it() {
    let site = Site::start(&[]);
    let acme = site.enforced.client("certbot");
    let mut certbot = acme.certbot_command(&["a.example.com"]);
    let ended = end(certbot.args(["--pre-hook", "sh -c 'exit 3'"]));
    assert!(ended.err.contains("Hook 'pre-hook' reported error code 3"), "{ended:?}");
    assert_eq!((ended.code, site.counts()), (Some(0), [1, 0, 1, 0]), "{ended:?}");
}

#[test]
fn what_was_interrupted_is_found_where_the_client_left_it() {
    let site = Site::start(&[]);
    let acme = site.enforced.client("certbot");
    let certbot = acme.certbot_command(&NAMES);
    // The certificate has come, and then the script takes its time.
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"trap 'exit 7' TERM; "$@" && touch come; while :; do sleep 0.1; done"#, "sh"]);
    shell.arg(certbot.get_program()).args(certbot.get_args());
    shell.envs(certbot.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut running = site.gated.start(site.gated.gate_run(LIST, &[], &shell), "run");
    crate::servers::process::wait_until("certbot has no certificate", || site.gated.path("come").exists());
    assert_eq!(running.terminate().code(), Some(7));
    assert_eq!(site.gated.states(), ["unknown"], "{}", running.said());
    let tree = Client::Certbot.tree(&acme);
    let open = site.gated.json(["gate", "reconcile"], &["--all-issuers", as_str(&tree)]);
    assert_eq!(open["permits"], Value::Array(Vec::new()));
    assert_eq!(site.gated.states(), ["issued"]);
    let imported = site.gated.json(["ledger", "import"], &["--all-issuers", as_str(&tree)]);
    assert_eq!((&imported["counted"], &imported["known"]), (&0.into(), &1.into()), "{imported}");
    // Pebble's certificates have no SCT: it may have been issued up to an hour later, after its permit was given up, and counts then as well.
    for limit in ["CertificatesPerFQDNSet", "CertificatesPerDomain"] {
        assert_eq!(site.gated.left(limit).map(|left| left + 1), site.left_at_the_ca(limit), "{limit}");
    }
}

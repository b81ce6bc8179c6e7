//! `certpace issue` as it is run: every challenge, profile and kind of key; what fails; what is run again.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::servers::process::{Process, free_ports, tool};
use crate::world::{World, read};

/// A script for dns-01 that tells Pebble's DNS server.
fn dns_hook(world: &World) -> String {
    let set = "curl -fsS -d \"{\\\"host\\\":\\\"$CERTPACE_RECORD.\\\",\\\"value\\\":\\\"$CERTPACE_VALUE\\\"}\"";
    let script = format!(
        "echo \"$CERTPACE_ACTION $CERTPACE_IDENTIFIER\" >> hooks.txt\n{set} http://{}/$CERTPACE_ACTION-txt",
        world.pebble.dns.management
    );
    world.script("dns-hook", &script)
}

/// Tells the DNS server that a name is where nobody listens.
fn nobody_at(world: &World, name: &str) {
    let body = json!({ "host": format!("{name}."), "addresses": ["127.0.0.2"] }).to_string();
    let url = format!("http://{}/add-a", world.pebble.dns.management);
    assert!(Command::new("curl").args(["-fsS", "-d", &body, &url]).status().unwrap().success());
}

/// A web server for http-01, on a folder.
fn web_server(world: &World, folder: &str) -> Process {
    let mut server = Command::new(tool("certbot/bin/python"));
    server.args(["-m", "http.server", "--bind", "127.0.0.1", "--directory"]).arg(world.path(folder));
    server.arg(world.pebble.http_port.to_string());
    let mut server = Process::start(server, world.folder.path(), "web");
    assert!(server.listens(&[world.pebble.http_port]));
    server
}

const THREE: &str = "hostname\nexample.com\nwww.example.com\nshop.example.com\n";

fn three() -> Value {
    json!(["example.com", "shop.example.com", "www.example.com"])
}

#[test]
fn three_names_on_one_certificate() {
    let world = World::plain();
    world.plan(THREE, &["--names-per-cert", "3"]);
    let ran = world.issue(&["-v"]).issued(1);
    assert_eq!((world.ordered(), world.issued()), (1, 1));
    // At most n + 7 requests for n fresh names, and nonces.
    assert!(ran.answer["requests"].as_u64().is_some_and(|requests| requests <= 10 + 2), "{ran:?}");
    let [certificate] = &world.certificates()[..] else { panic!("one") };
    assert_eq!(
        (&certificate["names"], &certificate["days"], &certificate["key"]),
        (&three(), &json!(90), &json!("secp256r1"))
    );
    let modes =
        ["0o600 privkey.pem", "0o644 cert.pem", "0o644 certificate.json", "0o644 chain.pem", "0o644 fullchain.pem"];
    assert_eq!(certificate["modes"], json!(modes));
    assert_eq!(world.open_orders(), Vec::<String>::new());
    assert_eq!(world.left("CertificatesPerDomain", "example.com"), Some(49));

    // Once more: there is nothing to do, and the CA is not asked for anything.
    let again = world.issue(&[]).issued(0);
    assert_eq!((&again.answer["issued_elsewhere"], world.ordered()), (&json!(1), 1), "{again:?}");
}

#[test]
fn web_servers_answer_http_01() {
    let world = World::plain();
    fs::create_dir(world.path("www")).unwrap();
    let _server = web_server(&world, "www");
    world.plan(THREE, &["--names-per-cert", "3"]);
    world.issue_by(&["--webroot", "www"]).issued(1);

    // A folder that is served as /.well-known/acme-challenge.
    let shared = world.path("www/.well-known/acme-challenge");
    fs::create_dir(world.path("shared")).unwrap();
    fs::remove_dir_all(&shared).unwrap();
    std::os::unix::fs::symlink(world.path("shared"), &shared).unwrap();
    world.plan("hostname\nexample.org\n", &[]);
    world.issue_by(&["--http-folder", "shared"]).issued(1);
    assert_eq!(fs::read_dir(world.path("shared")).unwrap().count(), 0, "answers are cleared");
    assert_eq!(world.names_and("days"), [json!([three(), 90]), json!([["example.org"], 90])]);
}

#[test]
fn each_name_is_validated_as_the_inventory_says() {
    let world = World::plain();
    let hook = dns_hook(&world);
    world.plan(
        "hostname,challenge
www.example.com,http-01
www.example.net,tls-alpn-01
example.org,dns-01
*.example.org,dns-01
*.example.info,
",
        &[],
    );
    let tls = format!("127.0.0.1:{}", world.pebble.tls_port);
    world.issue(&["--dns-set", &hook, "--dns-clear", &hook, "--tls-alpn-listen", &tls]).issued(4);
    let names: Vec<_> = world.certificates().into_iter().map(|of| of["names"].clone()).collect();
    let expected = [
        json!(["*.example.info"]),
        json!(["*.example.org", "example.org"]),
        json!(["www.example.com"]),
        json!(["www.example.net"]),
    ];
    assert_eq!(names, expected);
    let mut told: Vec<_> = read(&world.path("hooks.txt")).lines().map(str::to_owned).collect();
    told.sort();
    let names = ["*.example.info", "*.example.org", "example.org"];
    let expected: Vec<_> = ["clear", "set"].iter().flat_map(|act| names.map(|name| format!("{act} {name}"))).collect();
    assert_eq!(told, expected);
}

#[test]
fn profiles_are_asked_for() {
    let profiles = json!({ "profiles": {
        "classic": { "description": "ninety days", "validityPeriod": 7_776_000 },
        "shortlived": { "description": "six days", "validityPeriod": 518_400 },
    }});
    let world = World::new(&profiles, &[]);
    world.plan("hostname,profile\nwww.example.com,shortlived\nwww.example.net,classic\n", &[]);
    world.issue(&[]).issued(2);
    assert_eq!(world.names_and("days"), [json!([["www.example.com"], 6]), json!([["www.example.net"], 90])]);
}

#[test]
fn an_account_that_is_bound_to_an_external_one_orders() {
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let config = json!({ "externalAccountBindingRequired": true, "externalAccountMACKeys": { "kid-1": key } });
    let world = World::bare(&config, &[]);
    world.plan(THREE, &["--names-per-cert", "3"]);
    let ran = world.issue(&[]);
    assert!(ran.code == Some(1) && ran.said.contains("account create"), "without an account: {ran:?}");
    fs::write(world.path("eab.key"), key).unwrap();
    world.account(&["--eab-kid", "kid-1", "--eab-hmac-key", "eab.key"]);
    world.issue(&[]).issued(1);
}

/// Keys of certificates and of accounts, one of which certbot has made.
#[test]
fn keys_are_of_every_kind() {
    let world = World::bare(&json!({}), &[]);
    let ran = world.client().certbot(&["certbot.example.com"]);
    assert!(ran.succeeded, "{}", ran.said);
    let imported = world.run(&["account", "import", "certbot", "--name", "certbot", "--directory", &world.directory]);
    assert_eq!(imported.code, Some(0), "{imported:?}");
    world.account(&["--name", "rsa", "--key-type", "rsa2048"]);
    world.account(&["--name", "p384", "--key-type", "p384"]);
    for (account, kind) in [("certbot", "ecdsa-p384"), ("rsa", "rsa-2048"), ("p384", "ecdsa-p256")] {
        world.plan(&format!("hostname\n{account}.example.com\n"), &[]);
        world.issue(&["--account", account, "--key-type", kind]).issued(1);
    }
    let expected = [
        json!([["certbot.example.com"], "secp384r1"]),
        json!([["p384.example.com"], "secp256r1"]),
        json!([["rsa.example.com"], "rsa2048"]),
    ];
    assert_eq!(world.names_and("key"), expected);

    // The account may be the inventory's to say; else, where there are several, it is to be named.
    world.plan("hostname,account\na.example.net,rsa\nb.example.net,p384\n", &[]);
    let ran = world.issue(&["--account", "certbot"]).issued(2);
    assert_eq!(ran.answer["failed"], json!(0));
    let ran = world.issue(&[]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.said.contains("there are several accounts") && ran.said.contains("--account NAME"), "{ran:?}");
}

/// Ten in a hundred nonces are bad at Let's Encrypt's staging, three in ten here: some requests meet three in a row.
#[test]
fn bad_nonces_and_slow_validations_cost_time_alone() {
    let world = World::new(
        &json!({}),
        &[("PEBBLE_WFE_NONCEREJECT", "30"), ("PEBBLE_VA_NOSLEEP", "0"), ("PEBBLE_VA_SLEEPTIME", "3")],
    );
    let names: String = (0..20).map(|index| format!("www.example{index}.com\n")).collect();
    world.plan(&format!("hostname\n{names}"), &[]);
    let ran = world.issue(&["--concurrency", "20", "--speed", "20"]).issued(20);
    let none = [&ran.answer["failed"], &ran.answer["lost"]];
    assert_eq!((none, world.ordered(), world.issued()), ([&json!(0); 2], 20, 20), "{ran:?}");
    assert_eq!(world.certificates().len(), 20);
}

/// Commands that note what they are told.
fn noted(world: &World) -> [String; 2] {
    ["deploy", "error"]
        .map(|what| world.script(what, &format!("env | grep ^CERTPACE_ | sort >> {what}.txt\necho noted")))
}

#[test]
fn without_split_failing_a_certificate_waits_for_all_its_names() {
    let world = World::plain();
    nobody_at(&world, "shop.example.com");
    world.plan(THREE, &["--names-per-cert", "3"]);
    let [deploy, error] = noted(&world);
    let ran = world.issue(&["--precheck", "off", "--speed", "3000", "--deploy", &deploy, "--on-error", &error]);
    assert_eq!(ran.ended(), (Some(1), Some(0)), "{ran:?}");
    assert_eq!(
        (&ran.answer["ended"], &ran.answer["failed"], &ran.answer["open"][0]["names"]),
        (&json!("stuck"), &json!(4), &three())
    );
    assert!(
        ran.answer["open"][0]["last_error"].as_str().is_some_and(|why| why.contains("shop.example.com: ")),
        "{ran:?}"
    );
    assert!(!world.path("deploy.txt").exists());
    let told = read(&world.path("error.txt"));
    assert_eq!(told.matches("CERTPACE_FAILED=shop.example.com\n").count(), 4, "{told}");
    assert_eq!(told.matches("CERTPACE_NAMES=example.com shop.example.com www.example.com\n").count(), 4, "{told}");
    assert_eq!(told.matches("CERTPACE_ERROR=shop.example.com: ").count(), 4, "{told}");
    let left = world.left("FailedAuthorizationsPerDomainPerAccount", "shop.example.com");
    assert!(left.is_some_and(|left| left <= 4), "{left:?}");
    assert_eq!(world.left("FailedAuthorizationsPerDomainPerAccount", "www.example.com"), None);

    // Somebody has mended it: a day later it is had.
    let mended = json!({ "host": "shop.example.com." }).to_string();
    let url = format!("http://{}/clear-a", world.pebble.dns.management);
    assert!(Command::new("curl").args(["-fsS", "-d", &mended, &url]).status().unwrap().success());
    world.issue(&["--precheck", "off", "--speed", "3000", "--deploy", &deploy, "--on-error", &error]).issued(1);
    let live = fs::read_dir(world.path("store/certificates")).unwrap().next().unwrap().unwrap().path().join("live");
    let live = fs::canonicalize(world.path("store")).unwrap().join(live.strip_prefix(world.path("store")).unwrap());
    let told = read(&world.path("deploy.txt"));
    let told_live = told.lines().find_map(|line| line.strip_prefix("CERTPACE_LIVE=")).unwrap();
    assert_eq!(fs::canonicalize(world.path(told_live)).unwrap(), fs::canonicalize(live).unwrap(), "{told}");
    assert!(told.contains("CERTPACE_NAMES=example.com shop.example.com www.example.com\n"), "{told}");
}

/// Looked up first: the CA sees no failure, and its validations of the good names, which take seconds here, find their answers.
#[test]
fn with_split_failing_the_others_get_theirs() {
    let world = World::new(&json!({}), &[("PEBBLE_VA_NOSLEEP", "0"), ("PEBBLE_VA_SLEEPTIME", "3")]);
    nobody_at(&world, "shop.example.com");
    world.plan(THREE, &["--names-per-cert", "3"]);
    let ran = world.issue(&["--speed", "500", "--split-failing"]);
    assert_eq!(ran.ended(), (Some(1), Some(1)), "{ran:?}");
    assert_eq!(ran.answer["open"][0]["names"], json!(["shop.example.com"]), "{ran:?}");
    assert_eq!(world.names_and("days"), [json!([["example.com", "www.example.com"], 90])]);
    assert_eq!(world.pebble_says("set INVALID"), 0, "{}", world.pebble.server.said());
}

/// The plan was rehearsed at another CA, with the same store: parts of an order there are none of the order here.
#[test]
fn what_was_split_at_another_ca_is_whole_here() {
    let other = World::bare(&json!({}), &[]);
    let elsewhere = World::plain();
    nobody_at(&elsewhere, "shop.example.com");
    elsewhere.plan(THREE, &["--names-per-cert", "3"]);
    let ran = elsewhere.issue(&["--speed", "500", "--split-failing"]);
    assert_eq!(ran.ended(), (Some(1), Some(1)), "{ran:?}");
    let here = World { folder: elsewhere.folder, ..other };
    here.account(&["--name", "here"]);
    let ran = here.issue(&["-v"]).issued(1);
    assert!(ran.said.contains("order 1, example.com and 2 more is issued"), "{ran:?}");
}

#[test]
fn a_part_of_a_plan_is_performed() {
    let world = World::plain();
    world.plan("hostname\nwww.example.com\nwww.example.net\nwww.example.org\n", &[]);
    let ran = world.run(&["issue", "plan.jsonl", "--dry-run", "--directory", &world.directory]);
    assert!(
        ran.code == Some(0) && ran.said.contains("3 orders are due") && ran.said.contains("3 may go out now"),
        "{ran:?}"
    );
    assert_eq!(world.ordered(), 0);
    let until = world.issue(&["--until", "2020-01-01"]);
    assert_eq!((until.ended(), world.ordered()), ((Some(3), Some(0)), 0), "{until:?}");
    let only = world.issue(&["--only", "example.net", "--only", "www.example.org"]).issued(2);
    assert_eq!(only.answer["left_out"], json!(1));
    let ran = world.run(&["issue", "plan.jsonl", "--dry-run", "--directory", &world.directory]);
    assert!(ran.said.contains("1 may go out now") && ran.said.contains("2 issued already"), "{ran:?}");
    let rest = world.issue(&[]).issued(1);
    assert_eq!((&rest.answer["issued_elsewhere"], world.issued()), (&json!(2), 3));
}

/// The account may order once a week, which only those know who ask for it by its URL.
#[test]
fn what_would_go_out_is_asked_as_it_will_be() {
    let world = World::plain();
    let url = world.run(&["account", "list", "--format", "json"]).answer["accounts"][0]["url"].clone();
    let one = format!(
        "[[override]]\nlimit = \"NewOrdersPerAccount\"\nburst = 1\ncount = 1\nperiod = \"7d\"\nids = [{url}]\n"
    );
    fs::write(world.path("overrides.toml"), one).unwrap();
    world.plan("hostname\nwww.example.com\nwww.example.net\nwww.example.org\n", &[]);
    world.issue(&["--overrides", "overrides.toml", "--only", "WWW.example.com"]).issued(1);
    let asked = ["issue", "plan.jsonl", "--dry-run", "--overrides", "overrides.toml", "--directory", &world.directory];
    let ran = world.run(&[&asked[..], &["--only", "Example.NET"]].concat());
    assert!(
        ran.code == Some(0) && ran.said.contains("1 orders are due") && ran.said.contains("1 would have to wait"),
        "{ran:?}"
    );
    let ran = world.run(&[&asked[..], &["--account", "nobody"]].concat());
    assert!(ran.code == Some(1) && ran.said.contains("there is no account `nobody`"), "{ran:?}");
}

#[test]
fn what_can_not_begin_says_why() {
    let world = World::plain();
    world.plan(THREE, &["--names-per-cert", "3"]);
    let says = |ran: crate::world::Ran, code: i32, what: &str| {
        assert!(ran.code == Some(code) && ran.said.contains(what), "{what}: {ran:?}");
    };
    says(world.issue_by(&[]), 1, "--http-listen [::]:80");
    says(world.issue_by(&["--webroot", "missing"]), 1, "missing is no folder");
    says(world.issue(&["--account", "nobody"]), 1, "nobody");
    let [port] = free_ports();
    let away = World { directory: format!("https://localhost:{port}/dir"), ..world };
    says(away.issue(&[]), 1, "account");
    assert_eq!(away.ordered(), 0);
}

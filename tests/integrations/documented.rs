//! docs/integrations.md as it is written: its commands with other paths, around the real clients.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::servers::clients::AcmeClient;
use crate::servers::process::tool;
use crate::world::{Ended, Site, as_str, end};

/// The `number`th block of commands under a heading of the document.
fn block(heading: &str, number: usize) -> String {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/integrations.md")).unwrap();
    let section = text.split("\n## ").find(|section| section.lines().next() == Some(heading)).unwrap().to_owned();
    let inside =
        section.split("\n```").nth(2 * number - 1).unwrap_or_else(|| panic!("{heading} has no block {number}"));
    inside.split_once('\n').unwrap().1.to_owned()
}

/// A folder of programs that go by the names of the document's, and know the test's CA and ledger.
fn programs(site: &Site, acme: &AcmeClient) {
    let bin = site.gated.path("bin");
    fs::create_dir_all(&bin).unwrap();
    let write = |name: &str, text: &str| {
        fs::write(bin.join(name), format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    };
    let options = site.gated.certpace(["a", "b"], &[]);
    let options: Vec<_> = options.get_args().skip(2).map(|option| option.to_str().unwrap()).collect();
    let certpace = env!("CARGO_BIN_EXE_certpace");
    let options = options.join(" ");
    write(
        "certpace",
        &format!(
            "a=$1 b=$2; shift 2\n[ $a = inventory ] && exec {certpace} $a $b --all-issuers \"$@\"\nexec {certpace} $a $b {options} \"$@\""
        ),
    );
    let (root, directory, port) = (as_str(&acme.root), &acme.directory, acme.http_port);
    let tree = acme.certbot_folder();
    let tree = as_str(&tree);
    let certbot = as_str(&tool("certbot/bin/certbot")).to_owned();
    write(
        "certbot",
        &format!(
            "v=$1; shift; [ $v = renew ] || set -- \"$@\" -m a@example.com --server {directory}\nREQUESTS_CA_BUNDLE={root} exec {certbot} \
             $v --config-dir {tree} --work-dir {tree} --logs-dir {tree} \"$@\""
        ),
    );
    let lego = as_str(&tool("lego/lego")).to_owned();
    write(
        "lego",
        &format!("LEGO_CA_CERTIFICATES={root} exec {lego} --server {directory} --http.port 127.0.0.1:{port} \"$@\""),
    );
    let acme_sh = as_str(&tool("acme.sh/acme.sh")).to_owned();
    write("acme.sh", &format!("exec {acme_sh} \"$@\" --server {directory} --ca-bundle {root}"));
}

/// Runs a script of the document, with paths below the test's folder in place of the machine's.
fn run(site: &Site, acme: &AcmeClient, script: &str) -> Ended {
    programs(site, acme);
    let script = script
        .replace("/etc/letsencrypt", as_str(&acme.certbot_folder()))
        .replace("/srv/www", as_str(&site.webroot()))
        .replace("https://acme-v02.api.letsencrypt.org/acme/renewal-info", &renewal_info(site));
    let path = format!("{}:{}", as_str(&site.gated.path("bin")), std::env::var("PATH").unwrap());
    let mut shell = Command::new("bash");
    shell.current_dir(&site.gated.folder).env("PATH", path).env("HOME", site.gated.folder.path());
    shell.env("XDG_STATE_HOME", site.gated.path("state")).env("CURL_CA_BUNDLE", &acme.root);
    end(shell.args(["-euo", "pipefail", "-c", &script]))
}

/// Where the CA tells when to renew.
fn renewal_info(site: &Site) -> String {
    let directory: serde_json::Value = serde_json::from_str(&site.enforced.page("/dir", "GET")).unwrap();
    directory["renewalInfo"].as_str().unwrap().to_owned()
}

fn exists(path: &Path) {
    assert!(path.exists(), "{}", path.display());
}

#[test]
fn certbot_takes_one_and_renews_those_that_are_due() {
    let site = Site::start(&[]);
    let acme = site.enforced.client("client");
    let server = site.web_server();
    let first = run(&site, &acme, &block("certbot", 1));
    assert_eq!((first.code, site.counts()), (Some(0), [1, 0, 1, 0]), "{first:?}");
    let certificate = acme.certbot_folder().join("live/example.com/cert.pem");
    exists(&certificate);

    // One more, which is not due.
    drop(server);
    assert!(acme.certbot(&["fresh.example.com"]).succeeded);
    let _server = site.web_server();
    site.enforced.suggest_renewal(&certificate);
    let renewed = run(&site, &acme, &block("certbot", 2));
    assert_eq!((renewed.code, site.counts()), (Some(0), [3, 1, 3, 0]), "{renewed:?}");
    assert_eq!(site.gated.states(), ["issued", "issued", "failed"], "{renewed:?}");
}

#[test]
fn lego_takes_and_renews() {
    let site = Site::start(&[("NewOrdersPerAccount", 1, "24h"), ("CertificatesPerFQDNSet", 1, "24h")]);
    let acme = site.enforced.client("client");
    let first = run(&site, &acme, &block("lego", 1));
    assert_eq!((first.code, site.counts()), (Some(0), [1, 0, 1, 0]), "{first:?}");
    let certificate = site.gated.path(".lego/certificates/example.com.crt");
    exists(&certificate);

    site.enforced.suggest_renewal(&certificate);
    let renewed = run(&site, &acme, &block("lego", 2));
    assert_eq!((renewed.code, site.counts()), (Some(0), [2, 0, 2, 0]), "exempt from all limits: {renewed:?}");
    assert_eq!(site.gated.states(), ["issued", "issued"]);
}

#[test]
fn acme_sh_takes_one() {
    let site = Site::start(&[]);
    let acme = site.enforced.client("client");
    let _server = site.web_server();
    let first = run(&site, &acme, &block("acme.sh", 1));
    assert_eq!((first.code, site.counts()), (Some(0), [1, 0, 1, 0]), "{first:?}");
    exists(&site.gated.path(".acme.sh/example.com_ecc/example.com.cer"));
    assert_eq!(site.gated.states(), ["issued"]);
}

#[test]
fn a_script_reserves_sends_and_tells() {
    let site = Site::start(&[("CertificatesPerDomain", 1, "24h")]);
    let acme = site.enforced.client("client");
    let script = block("A script of your own", 1);
    let check = |issue: &str, name: &str, code: i32, state: &str| {
        let script = format!("CI_JOB_NAME={name}\nissue() {{ {issue}; }}\n{}", script.replace("example.com", name));
        let ended = run(&site, &acme, &script);
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert_eq!(site.gated.states().last().map(String::as_str), Some(state), "{ended:?}");
    };
    let lego = "lego --accept-tos --email me@example.com --http --domains \"$1\" run";
    check("false", "a.example.org", 0, "failed");
    check(lego, "a.example.com", 0, "issued");
    check(lego, "b.example.com", 3, "issued");
    assert_eq!(site.counts(), [1, 0, 1, 0]);
}

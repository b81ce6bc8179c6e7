//! Accounts: made once, bound to others, taken over from certbot, lego and acme.sh, with keys of every kind.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::servers::process::{Process, tool};
use crate::world::{Ran, World, read};

impl World {
    fn without_account() -> Self {
        Self::bare(&json!({}), &[])
    }

    fn accounts(&self, arguments: &[&str]) -> Ran {
        self.accounts_at(&self.directory, arguments)
    }

    /// `certpace account …` in JSON.
    fn accounts_at(&self, directory: &str, arguments: &[&str]) -> Ran {
        let at = if arguments[0] == "list" { &[][..] } else { &["--directory", directory] };
        self.run(&[&["account", "--format", "json"], arguments, at].concat())
    }

    /// The account that was made, found or taken over.
    fn url(&self, arguments: &[&str], outcome: &str) -> String {
        let ran = self.accounts(arguments);
        assert_eq!((ran.code, ran.answer["outcome"].as_str()), (Some(0), Some(outcome)), "{ran:?}");
        ran.answer["account"]["url"].as_str().unwrap().to_owned()
    }
}

#[test]
fn an_account_is_made_once() {
    let world = World::bare(&json!({}), &[("PEBBLE_WFE_NONCEREJECT", "30")]);
    let create = ["create", "--agree-tos", "--contact", "mailto:a@example.com"];
    let url = world.url(&create, "made");
    assert_eq!(world.url(&create, "known"), url);
    let second = world.url(&["create", "--agree-tos", "--name", "second", "--key-type", "p384"], "made");
    let third = world.url(&["create", "--agree-tos", "--name", "third", "--key-type", "rsa2048"], "made");
    let list = world.accounts(&["list"]).answer;
    let rows: Vec<_> =
        list["accounts"].as_array().unwrap().iter().map(|of| json!([of["name"], of["url"], of["key"]])).collect();
    let expected = [
        json!(["default", url, "ECDSA P-256"]),
        json!(["second", second, "ECDSA P-384"]),
        json!(["third", third, "RSA 2048"]),
    ];
    assert_eq!(rows, expected);
    assert_eq!(list["accounts"][0]["contact"], json!(["mailto:a@example.com"]));
}

#[test]
fn terms_are_not_agreed_to_silently() {
    let world = World::without_account();
    let ran = world.accounts(&["create"]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.said.contains("terms that an account has to agree to: ") && ran.said.contains("--agree-tos"),
        "{}",
        ran.said
    );
    assert!(!world.path("store/accounts/default").exists());
}

/// A run that was killed after the CA had made the account, or before it heard of it.
#[test]
fn what_was_broken_off_is_found_again() {
    let world = World::without_account();
    let url = world.url(&["create", "--agree-tos"], "made");
    let path = world.path("store/accounts/default/account.json");
    let mut file: Value = serde_json::from_str(&read(&world.path("store/accounts/default/account.json"))).unwrap();
    file["url"] = Value::Null;
    fs::write(&path, file.to_string()).unwrap();
    assert_eq!(world.url(&["create", "--agree-tos"], "recovered"), url);
    // A CA that has never heard of the key: it makes the account of it.
    fs::write(&path, file.to_string()).unwrap();
    let other = World::without_account();
    file["directory"] = json!(other.pebble.directory);
    fs::create_dir_all(other.path("store/accounts/default")).unwrap();
    fs::write(other.path("store/accounts/default/account.json"), file.to_string()).unwrap();
    other.url(&["create", "--agree-tos"], "made");
    let kept: Value = serde_json::from_str(&read(&other.path("store/accounts/default/account.json"))).unwrap();
    assert_eq!(kept["key"], file["key"]);
}

#[test]
fn accounts_are_bound_to_external_ones() {
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let config = json!({ "externalAccountBindingRequired": true, "externalAccountMACKeys": { "kid-1": key } });
    let world = World::bare(&config, &[]);
    let ran = world.accounts(&["create", "--agree-tos"]);
    assert!(ran.said.contains("external account binding") && ran.said.contains("--eab-kid"), "{}", ran.said);

    fs::write(world.path("eab.key"), format!("{key}\n")).unwrap();
    fs::write(world.path("wrong.key"), "AAAA").unwrap();
    let create = |name: &'static str, kid: &'static str, key: &'static str| {
        ["create", "--agree-tos", "--name", name, "--eab-kid", kid, "--eab-hmac-key", key, "--key-type", "p384"]
    };
    let wrong = world.accounts(&create("wrong", "kid-1", "wrong.key"));
    assert_eq!(wrong.code, Some(1), "{wrong:?}");
    assert!(!world.path("store/accounts/wrong").exists(), "nothing is left of it");
    let unknown = world.accounts(&create("unknown", "kid-2", "eab.key"));
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    let ran = world.accounts(&create("right", "kid-1", "eab.key"));
    assert_eq!((ran.code, &ran.answer["account"]["external_account"]), (Some(0), &json!("kid-1")), "{ran:?}");
}

/// Ten from one address in three hours: the eleventh is refused here, and the CA is not asked.
#[test]
fn the_limit_on_new_accounts_holds() {
    let world = World::without_account();
    for index in 0..10 {
        world.url(&["create", "--agree-tos", "--name", &format!("a{index}"), "--now", "2026-12-01T08:00:00Z"], "made");
    }
    let ran = world.accounts(&["create", "--agree-tos", "--name", "more", "--now", "2026-12-01T08:00:00Z"]);
    let expected = (Some(3), &json!("later"), &json!("2026-12-01T08:18:00Z"));
    assert_eq!((ran.code, &ran.answer["outcome"], &ran.answer["retry_at"]), expected, "{ran:?}");
    world.url(&["create", "--agree-tos", "--name", "more", "--now", "2026-12-01T08:18:00Z"], "made");
}

#[test]
fn an_account_of_certbot_is_taken_over() {
    let world = World::without_account();
    let client = world.client();
    let ran = client.certbot(&["a.example.com"]);
    assert!(ran.succeeded, "{}", ran.said);
    let url = world.url(&["import", "certbot"], "imported");
    assert!(find(&client.certbot_folder(), "regr.json").contains(&url));
    assert_eq!(world.url(&["import", "certbot"], "known"), url);
    let list = world.accounts(&["list"]).answer;
    assert!(
        list["accounts"][0]["key"].as_str().is_some_and(|key| key.contains("ECDSA") || key.contains("RSA")),
        "{list}"
    );
}

#[test]
fn an_account_of_lego_is_taken_over() {
    let world = World::without_account();
    let ran = world.client().lego(&["a.example.com"]);
    assert!(ran.succeeded, "{}", ran.said);
    let url = world.url(&["import", "lego", "--name", "lego"], "imported");
    assert!(find(&world.path("lego/accounts"), "account.json").contains(&url));
    let elsewhere = world.accounts_at("https://acme-v02.api.letsencrypt.org/directory", &["import", "lego"]);
    assert_eq!(elsewhere.code, Some(1));
    assert!(
        elsewhere.said.contains("no account of https://acme-v02.api.letsencrypt.org/directory"),
        "{}",
        elsewhere.said
    );
    assert!(elsewhere.said.contains("(lego, at localhost_"), "{}", elsewhere.said);
}

#[test]
fn accounts_of_acme_sh_are_taken_over_with_either_kind_of_key() {
    for length in ["ec-256", "ec-384", "2048"] {
        let world = World::without_account();
        let home = world.path("acme.sh");
        let mut command = Command::new(tool("acme.sh/acme.sh"));
        command.args(["--register-account", "-m", "a@example.com", "--accountkeylength", length]).env("HOME", &home);
        command.args(["--server", &world.pebble.directory, "--ca-bundle"]).arg(&world.pebble.root);
        command.arg("--home").arg(&home);
        fs::create_dir(&home).unwrap();
        let mut client = Process::start(command, world.folder.path(), "acme");
        assert_eq!(client.succeeds_within(std::time::Duration::from_secs(60)), Some(true), "{}", client.said());
        let url = world.url(&["import", "acme.sh"], "imported");
        assert!(find(&home, "ca.conf").contains(&url));
    }
}

#[test]
fn a_key_that_the_ca_does_not_know_makes_no_account() {
    let world = World::without_account();
    world.url(&["create", "--agree-tos"], "made");
    let file: Value = serde_json::from_str(&read(&world.path("store/accounts/default/account.json"))).unwrap();
    let other = World::without_account();
    fs::write(other.path("account.key"), file["key"].as_str().unwrap()).unwrap();
    let ran = other.accounts(&["import", "account.key"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.said.contains("has no account with this key") && ran.said.contains("account create"), "{}", ran.said);
    assert!(!other.path("store/accounts/default").exists());
}

/// The text of the first file of that name below a folder.
fn find(folder: &Path, name: &str) -> String {
    let mut files = walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap);
    let file = files.find(|entry| entry.file_name() == name).unwrap();
    fs::read_to_string(file.path()).unwrap()
}

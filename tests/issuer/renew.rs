//! `certpace renew` as people run it, against Pebble with renewal information: what is due, and what is not; what fails, is revoked, broken
//! off, or asked for twice.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use crate::servers::enforced::Enforced;
use crate::servers::pebble::Pebble;
use crate::servers::process::{Process, free_ports, wait};
use crate::world::{Ran, World, read};

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(90);

impl World {
    /// One certificate for each of these names, which the CA takes in an order that replaces it.
    fn with(config: &Value, names: &[&str]) -> Self {
        let worlds = std::iter::repeat_with(|| {
            let world = Self::bare(config, &[]);
            world.holds(names);
            world
        });
        worlds.take(5).find(|world| names.iter().all(|name| world.is_known(name))).unwrap()
    }

    /// Pebble does not find a certificate by its serial number where that begins with a byte of zero in DER, before a bit that is set: one of 512.
    fn is_known(&self, name: &str) -> bool {
        let certificate = self.certificate(name);
        let (_, serial) = certificate["ari_id"].as_str().unwrap().split_once('.').unwrap();
        BASE64URL_NOPAD.decode(serial.as_bytes()).unwrap()[0] != 0
    }

    fn with_one() -> Self {
        Self::with(&json!({}), &["a.example.com"])
    }

    fn plans(&self, names: &[&str]) {
        self.plan(&format!("hostname\n{}\n", names.join("\n")), &[]);
    }

    /// From now on there is an account, and a certificate for each of these names.
    fn holds(&self, names: &[&str]) {
        self.account(&[]);
        self.plans(names);
        self.orders("issue", &["plan.jsonl"]).issued(u64::try_from(names.len()).unwrap());
    }

    /// A command that orders, and proves names by http-01.
    fn by_http(&self, verb: &str, arguments: &[&str]) -> Command {
        self.ordering(&[&[verb, "--http-listen", &self.listen()], arguments].concat())
    }

    /// The same by dns-01: two may run at a time.
    fn by_dns(&self, verb: &str, arguments: &[&str]) -> Command {
        let management = self.pebble.dns.management;
        let post = |path: &str, more: &str| {
            format!(r#"curl -sf -d "{{\"host\":\"$CERTPACE_RECORD.\"{more}}}" http://{management}/{path}"#)
        };
        let (set, clear) = (post("set-txt", r#",\"value\":\"$CERTPACE_VALUE\""#), post("clear-txt", ""));
        self.ordering(&[&[verb, "--dns-set", &set, "--dns-clear", &clear], arguments].concat())
    }

    fn ran(&self, verb: &str, arguments: &[&str]) -> Ran {
        self.run(&[&[verb, "--format", "json"], arguments].concat())
    }

    fn orders(&self, verb: &str, arguments: &[&str]) -> Ran {
        self.wait_for(self.by_http(verb, arguments))
    }

    /// `certpace renew`, which is to end with that code and to have issued so many.
    fn renews(&self, arguments: &[&str], code: i32, issued: u64) -> Ran {
        let ran = self.orders("renew", arguments);
        assert_eq!((ran.code, &ran.answer["issued"]), (Some(code), &json!(issued)), "{ran:?}");
        ran
    }

    /// The same while nobody answers where the CA asks: nothing is issued, and that is told.
    fn fails(&self, arguments: &[&str]) -> Value {
        let [elsewhere] = free_ports();
        let listen = format!("127.0.0.1:{elsewhere}");
        let ran = self.wait_for(self.ordering(&[&["renew", "--http-listen", &listen], arguments].concat()));
        assert_eq!((ran.code, &ran.answer["issued"]), (Some(1), &json!(0)), "{ran:?}");
        ran.answer
    }

    /// The folder of the certificates for a name.
    fn lineage(&self, name: &str) -> PathBuf {
        let certificates = fs::read_dir(self.path("store/certificates")).unwrap().map(Result::unwrap);
        let mut of = certificates.filter(|entry| entry.file_name().to_str().unwrap().starts_with(name));
        of.next().unwrap().path()
    }

    fn live(&self, name: &str, file: &str) -> PathBuf {
        self.lineage(name).join("live").join(file)
    }

    fn certificate(&self, name: &str) -> Value {
        json_of(self.live(name, "certificate.json"))
    }

    fn notes(&self, name: &str) -> Value {
        json_of(self.lineage(name).join("notes.json"))
    }

    /// How many certificates there were for a name.
    fn versions(&self, name: &str) -> usize {
        fs::read_dir(self.lineage(name).join("archive")).unwrap().count()
    }

    /// How `certpace status` has a name.
    fn status(&self, name: &str) -> Value {
        self.ran("status", &[name]).answer["certificates"][0].clone()
    }

    /// The permits that the ledger has had, the last one last: exemption, and whether it was issued.
    fn permits(&self) -> Vec<Value> {
        let list = self.ran("gate", &["list", "--all", "--directory", &self.directory]);
        let mut permits = list.answer["permits"].as_array().unwrap_or_else(|| panic!("{list:?}")).clone();
        permits.sort_by_key(|permit| permit["reserved_at"].as_str().unwrap().to_owned());
        permits
    }

    /// From now on the CA answers so when it is asked about the certificate in use for a name.
    fn answers(&self, name: &str, text: &str) {
        self.pebble.set_renewal_info(&self.live(name, "cert.pem"), text);
    }

    /// From now on the CA suggests a window that is almost over, so that a random time in it has come.
    fn opens_window(&self, name: &str) {
        self.answers(name, &window(-1000.0, 0.02));
    }
}

/// A window from now, in days.
fn window(start: f64, end: f64) -> String {
    let now = time::OffsetDateTime::now_utc();
    let at = |days: f64| {
        let at = now + time::Duration::seconds_f64(days * 86_400.0);
        let (date, clock) = (at.date(), at.time());
        format!("{date}T{:02}:{:02}:{:02}Z", clock.hour(), clock.minute(), clock.second())
    };
    json!({ "suggestedWindow": { "start": at(start), "end": at(end) } }).to_string()
}

fn json_of(path: PathBuf) -> Value {
    serde_json::from_str(&read(&path)).unwrap()
}

/// How often Pebble was asked for renewal information.
fn asked(pebble: &Pebble) -> usize {
    pebble.server.said().matches("/draft-ietf-acme-ari-").count()
}

#[test]
fn nothing_is_due() {
    let world = World::with_one();
    world.renews(&[], 0, 0);
    let notes = world.notes("a.example.com");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let (start, end, at) = (text(&notes["window"]["start"]), text(&notes["window"]["end"]), text(&notes["renew_at"]));
    assert!(start <= at && at < end, "{notes}");
    let status = world.status("a.example.com");
    assert_eq!((&status["window"], &status["next"]["at"]), (&notes["window"], &notes["renew_at"]), "{status}");
    assert_eq!(status["next"]["action"], "renew-at");

    // The CA has said when it wants to be asked again.
    let before = asked(&world.pebble);
    assert!(before > 0, "{}", world.pebble.server.said());
    world.renews(&[], 0, 0);
    assert_eq!((asked(&world.pebble), world.notes("a.example.com")), (before, notes));
}

#[test]
fn a_window_that_is_open_is_used_once() {
    let world = World::with_one();
    let first = world.certificate("a.example.com");
    world.opens_window("a.example.com");
    world.renews(&[], 0, 1);
    let second = world.certificate("a.example.com");
    assert_eq!(second["replaces"], first["ari_id"]);
    assert_eq!(world.permits().last().unwrap()["exemption"], "ari", "{:?}", world.permits());

    // A backup of before is put back: the CA has seen a replacement of that certificate, and says so.
    let live = world.lineage("a.example.com").join("live");
    fs::remove_file(&live).unwrap();
    symlink("archive/0001", &live).unwrap();
    fs::remove_dir_all(world.lineage("a.example.com").join("archive/0002")).unwrap();
    fs::remove_file(world.lineage("a.example.com").join("notes.json")).unwrap();
    world.renews(&[], 0, 1);
    let third = world.certificate("a.example.com");
    assert!(third["replaces"].is_null() && third["serial"] != first["serial"], "{third}");
    assert_eq!(world.versions("a.example.com"), 2);
}

#[test]
fn a_revoked_certificate_is_replaced_at_once() {
    let world = World::with(&json!({}), &["a.example.com", "b.example.org"]);
    let first = world.certificate("a.example.com");
    let [certificate, key] = ["cert.pem", "privkey.pem"].map(|file| world.live("a.example.com", file));
    let revoked = world.client().revoke(&certificate, &key);
    assert!(revoked.succeeded, "{}", revoked.said);
    world.renews(&[], 0, 1);
    assert_ne!(world.certificate("a.example.com")["serial"], first["serial"]);
    assert_eq!((world.versions("a.example.com"), world.versions("b.example.org")), (2, 1));
    world.renews(&[], 0, 0);
}

/// Broken, impossible, long past and far away at once: none of it does harm.
#[test]
fn wrong_answers_do_no_harm() {
    let world = World::with_one();
    for answer in ["{", "[]", &window(5.0, -1000.0), &window(-999.0, -1000.0), &window(7.0, 7.0)] {
        let _none = fs::remove_file(world.lineage("a.example.com").join("notes.json"));
        world.answers("a.example.com", answer);
        world.renews(&[], 0, 0);
        let notes = world.notes("a.example.com");
        assert!(
            notes["window"].is_null() && notes["deadline"].is_null() && notes["ask_again_at"].is_string(),
            "{notes}"
        );
        assert_eq!(world.status("a.example.com")["next"]["action"], "renew-at");
    }

    // Once its time has come by its life, it is renewed whatever the CA answers.
    let path = world.lineage("a.example.com").join("notes.json");
    let mut notes = json_of(path.clone());
    notes["renew_at"] = json!("2026-01-01T00:00:00Z");
    fs::write(&path, notes.to_string()).unwrap();
    world.renews(&[], 0, 1);
    assert!(world.certificate("a.example.com")["replaces"].is_null());
}

#[test]
fn what_is_named_is_forced_and_nothing_else() {
    let world = World::with(&json!({}), &["a.example.com", "b.example.org"]);
    world.renews(&["a.example.com"], 0, 0);
    assert!(!world.lineage("b.example.org").join("notes.json").exists());
    world.renews(&["--force", "b.example.org"], 0, 1);
    // Also one whose window is known, and to come.
    world.renews(&["--force", "a.example.com"], 0, 1);
    assert_eq!((world.versions("a.example.com"), world.versions("b.example.org")), (2, 2));
    let unknown = world.orders("renew", &["c.example.net"]);
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.said.contains("has the name c.example.net"), "{}", unknown.said);
    assert_eq!(world.orders("renew", &["--force"]).code, Some(2));
}

#[test]
fn a_failure_is_told_until_it_is_made_good() {
    let world = World::with(&json!({}), &["a.example.com", "b.example.org"]);
    world.opens_window("a.example.com");
    assert_eq!(world.fails(&[])["failed"], 1);
    let status = world.status("a.example.com");
    assert_eq!(status["failures"], 1, "{status}");
    assert!(status["last_error"]["text"].as_str().is_some_and(|text| text.contains("can't be reached")), "{status}");

    // At once it is not tried again, since the ledger knows that the name failed; not even where that is asked for.
    for arguments in [&[][..], &["--force", "a.example.com"]] {
        let again = world.fails(arguments);
        assert_eq!((&again["failed"], &again["open"][0]["failures"]), (&json!(0), &json!(1)), "{again}");
        assert_eq!(world.status("a.example.com")["last_error"], status["last_error"]);
    }
    world.renews(&["b.example.org"], 0, 0);
}

/// Ten minutes in each second: after the second failure it is tried again in one.
#[test]
fn failures_are_counted_over_processes() {
    let mut world = World::bare(&json!({}), &[]);
    world.more = ["--speed", "600"].map(str::to_owned).to_vec();
    world.holds(&["a.example.com"]);
    world.answers("a.example.com", &window(-1000.0, 3.0));
    let failures = || {
        world.fails(&[]);
        world.status("a.example.com")["failures"].as_u64().unwrap()
    };
    assert_eq!(failures(), 1);
    assert!((0..20).any(|_| failures() == 2));
    let mended = (0..40).any(|_| {
        wait(Duration::from_millis(250));
        world.orders("renew", &[]).code == Some(0)
    });
    assert!(mended, "{}", world.status("a.example.com"));
    let status = world.status("a.example.com");
    assert_eq!((&status["failures"], &status["last_error"]), (&json!(0), &Value::Null), "{status}");
    assert_eq!(world.versions("a.example.com"), 2);
}

#[test]
fn an_order_that_was_broken_off_is_finished() {
    let world = World::with(&json!({ "retryAfter": { "authz": 4, "order": 4 } }), &["a.example.com"]);
    world.opens_window("a.example.com");
    // By dns-01: whoever is killed resets no connection in which the CA is asking him.
    let mut renew = Process::start(world.by_dns("renew", &[]), world.folder.path(), "killed");
    let orders = world.path("store/orders/1");
    let sent = || {
        let files = fs::read_dir(&orders).unwrap().map(Result::unwrap).map(|entry| entry.path());
        let mut texts = files.filter(|path| path.extension().is_some_and(|end| end == "json")).map(fs::read_to_string);
        texts.find_map(|text| serde_json::from_str::<Value>(&text.ok()?).ok().filter(|of| of["url"].is_string()))
    };
    let mut open = None;
    renew.within(PATIENCE, || {
        open = sent();
        open.is_some()
    });
    renew.kill();
    let open = open.unwrap_or_else(|| panic!("no order is sent: {}", renew.said()));
    assert_eq!(world.status("a.example.com")["next"]["action"], "ordering");
    let ran = world.wait_for(world.by_dns("renew", &[]));
    assert_eq!((ran.code, &ran.answer["issued"]), (Some(0), &json!(1)), "{ran:?}");
    let certificate = world.certificate("a.example.com");
    assert_eq!((&certificate["permit"], &certificate["replaces"]), (&open["permit"], &open["replaces"]));
    assert_eq!((world.versions("a.example.com"), world.permits().len()), (2, 2));
    world.renews(&[], 0, 0);
}

#[test]
fn two_at_once_renew_nothing_twice() {
    let names = ["a.example.com", "b.example.org", "c.example.net", "d.example.edu"];
    let world = World::with(&json!({}), &names);
    names.iter().for_each(|name| world.opens_window(name));
    let mut both = ["one", "two"].map(|name| Process::start(world.by_dns("renew", &[]), world.folder.path(), name));
    for process in &mut both {
        assert_eq!(process.succeeds_within(PATIENCE), Some(true), "{}", process.said());
    }
    let issued = |process: &Process| serde_json::from_str::<Value>(&process.out()).unwrap()["issued"].as_u64().unwrap();
    assert_eq!(both.iter().map(issued).sum::<u64>(), 4, "{} {}", both[0].said(), both[1].said());
    assert!(names.iter().all(|name| world.versions(name) == 2));
}

/// An hour in each second, so that the CA is asked again soon.
#[test]
fn a_daemon_renews_what_becomes_due_and_what_others_bring() {
    let mut world = World::bare(&json!({}), &[]);
    world.more = ["--speed", "3600"].map(str::to_owned).to_vec();
    world.holds(&["a.example.com"]);
    let mut command = world.by_http("renew", &["--daemon", "--look-every", "1h"]);
    command.args(["--deploy", "echo $CERTPACE_NAMES >> deployed"]);
    let mut daemon = Process::start(command, world.folder.path(), "daemon");
    let asked = daemon.within(PATIENCE, || world.lineage("a.example.com").join("notes.json").exists());
    assert!(asked, "{}", daemon.said());

    let renewed = |daemon: &mut Process, name: &str| {
        world.answers(name, &window(-1000.0, 3.0));
        let renewed = daemon.within(PATIENCE, || world.versions(name) > 1);
        assert!(renewed, "{name}: {}", daemon.said());
    };
    renewed(&mut daemon, "a.example.com");
    world.plans(&["b.example.org"]);
    let issue = world.wait_for(world.by_dns("issue", &["plan.jsonl"]));
    assert_eq!(issue.code, Some(0), "{issue:?}");
    renewed(&mut daemon, "b.example.org");
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.said());
    let deployed = fs::read_to_string(world.path("deployed")).unwrap();
    assert!(deployed.contains("a.example.com\n") && deployed.contains("b.example.org\n"), "{deployed}");
}

/// Certificates of three days, with 10,000 s in each: no limit is met, and each replaces the one before.
#[test]
fn a_rehearsal_renews_again_and_again() {
    let config = json!({ "profiles": { "classic": { "description": "short", "validityPeriod": 259_200 } } });
    let Enforced { mut proxy, pebble, folder, directory, .. } =
        Enforced::start_with(&config, &[], &["--speed", "10000", "--report", "verdict.json"]);
    let root = folder.path().join("certpace-root.pem");
    let more = ["--speed", "10000"].map(str::to_owned).to_vec();
    let world = World { pebble, folder, directory, root, more };
    world.holds(&["a.example.com"]);
    let mut daemon = Process::start(world.by_http("renew", &["--daemon"]), world.folder.path(), "daemon");
    let done = daemon.within(PATIENCE, || world.versions("a.example.com") >= 4);
    assert!(done, "{} certificates: {}", world.versions("a.example.com"), daemon.said());
    assert_eq!(daemon.terminate().code(), Some(0), "{}", daemon.said());
    assert!(proxy.terminate().success(), "{}", proxy.said());
    let verdict = json_of(world.path("verdict.json"));
    assert_eq!((&verdict["passed"], &verdict["counts"]["refused"]), (&json!(true), &json!(0)), "{verdict}");
}

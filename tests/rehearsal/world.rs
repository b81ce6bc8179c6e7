//! A rehearsal: Pebble, the proxy in front of it, a web server that has the answers to challenges, and `certpace` as it is run.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use certpace::issuer::store::{Lineage, Store};
use certpace::time::Timestamp;
use serde_json::Value;

use crate::servers::clients::python;
use crate::servers::enforced::{Enforced, Limits};
use crate::servers::process::Process;

/// Held by a rehearsal that takes all that the machine has.
static ALONE: Mutex<()> = Mutex::new(());

/// All that stands still while clients come and go.
pub(crate) struct World {
    pub(crate) enforced: Enforced,
    pub(crate) speed: u32,
    _alone: Option<MutexGuard<'static, ()>>,
}

impl World {
    /// Today's policy but for `limits`, in a time that runs `speed` times as fast. Only one such world is there at a time.
    pub(crate) fn start(limits: Limits<'_>, speed: u32) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        Self { _alone: Some(alone), ..Self::start_idle(limits, speed) }
    }

    /// The same for clients that mostly wait: others may be there beside it.
    pub(crate) fn start_idle(limits: Limits<'_>, speed: u32) -> Self {
        let enforced = Enforced::start(limits, &["--speed", &speed.to_string(), "--report", "verdict.json"]);
        let answers = enforced.folder.path().join("answers");
        fs::create_dir(&answers).unwrap();
        serve(enforced.pebble.http_port, answers);
        Self { enforced, speed, _alone: None }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.enforced.folder.path()
    }

    /// `certpace` with the policy of this world, and with nothing of the user's.
    fn certpace(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_certpace"));
        command.current_dir(self.folder()).env("XDG_STATE_HOME", self.folder()).env("HOME", self.folder());
        command.args(arguments).args(["--policy", "policy.toml"]);
        command
    }

    /// What it answers, which has to be well.
    fn run(&self, arguments: &[&str]) -> String {
        let output = self.certpace(arguments).output().unwrap();
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{arguments:?}: {}{}", said(&output.stdout), said(&output.stderr));
        said(&output.stdout)
    }

    /// Plans these hostnames in a file of that name, and returns the head of the plan.
    pub(crate) fn plan(&self, file: &str, hostnames: &[String], options: &[&str]) -> Value {
        fs::write(self.folder().join("names.txt"), hostnames.join("\n")).unwrap();
        self.run(&[&["plan", "names.txt", "-o", file], options].concat());
        let plan = fs::read_to_string(self.folder().join(file)).unwrap();
        serde_json::from_str(plan.lines().next().unwrap()).unwrap()
    }

    /// Makes stores of these names: the first with a new account, the others with the same one, imported by its key.
    pub(crate) fn account(&self, stores: &[&str]) {
        let (first, others) = stores.split_first().unwrap();
        let to = ["--directory", &self.enforced.directory, "--root", "certpace-root.pem", "--store"];
        self.run(&[&["account", "create", "--agree-tos"], &to[..], &[first]].concat());
        let made = fs::read_to_string(self.folder().join(first).join("accounts/default/account.json")).unwrap();
        let made: Value = serde_json::from_str(&made).unwrap();
        fs::write(self.folder().join("account.pem"), made["key"].as_str().unwrap()).unwrap();
        for store in others {
            self.run(&[&["account", "import", "account.pem"], &to[..], &[store]].concat());
        }
    }

    /// Makes a ledger that machines share.
    pub(crate) fn init(&self, ledger: &str) {
        self.run(&["ledger", "init", "--ledger", ledger, "--directory", &self.enforced.directory]);
    }

    /// `certpace issue` with the plan, the store and the ledger of those names; its output is in files called as the store.
    pub(crate) fn issue(&self, [plan, store, ledger]: [&str; 3], options: &[&str]) -> Process {
        let (speed, port) = (self.speed.to_string(), self.enforced.pebble.http_port.to_string());
        let mut command = self.certpace(&["issue", plan, "--store", store, "--ledger", ledger]);
        command.args(["--directory", &self.enforced.directory, "--root", "certpace-root.pem", "--speed", &speed]);
        command.args(["--http-folder", "answers", "--validation-http-port", &port, "--format", "json"]);
        command.args(["--dns-server", &self.enforced.pebble.dns.address.to_string()]).args(options);
        Process::start(command, self.folder(), store)
    }

    /// Every decision of the proxy.
    pub(crate) fn log(&self) -> Vec<Value> {
        let log = self.enforced.page("/-/log", "GET");
        log.lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The names of all certificates that were issued, each as often as it was.
    pub(crate) fn issued(&self) -> Vec<String> {
        let mut issued: Vec<_> = self
            .log()
            .iter()
            .flat_map(|entry| entry["events"].as_array().cloned().unwrap_or_default())
            .filter(|event| event["what"] == "issued")
            .map(|event| {
                event["names"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|name| name.as_str().unwrap())
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect();
        issued.sort();
        issued
    }

    /// The certificates of a store.
    pub(crate) fn held(&self, store: &str) -> Vec<Lineage> {
        let store = Store::find(&self.folder().join(store)).unwrap().unwrap();
        store.lineages().unwrap().into_iter().map(|lineage| lineage.unwrap()).collect()
    }

    /// The root that Pebble's certificates come from.
    pub(crate) fn issuer_root(&self) -> PathBuf {
        let url = format!("{}/roots/0", self.enforced.pebble.management);
        let root =
            python("import requests, sys; print(requests.get(sys.argv[1]).text)", &[&url], &self.enforced.pebble.root);
        assert!(root.succeeded, "{}", root.said);
        let path = self.folder().join("issuer-root.pem");
        fs::write(&path, root.said).unwrap();
        path
    }
}

/// Waits for a process that has to end within that time; what it answered.
pub(crate) fn report(mut process: Process, within: Duration) -> Value {
    let ended = process.succeeds_within(within);
    let report = serde_json::from_str(&process.out());
    report.unwrap_or_else(|error| panic!("{error}, {ended:?}: {}", process.said()))
}

/// The numbers of these keys.
pub(crate) fn numbers<const N: usize>(of: &Value, keys: [&str; N]) -> [u64; N] {
    keys.map(|key| of[key].as_u64().unwrap_or_else(|| panic!("no {key} in {of}")))
}

/// The time that a text says.
pub(crate) fn time(of: &Value) -> Timestamp {
    Timestamp::parse(of.as_str().unwrap()).unwrap()
}

/// Names of so many hosts of a domain.
pub(crate) fn hosts(domain: &str, count: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |number| format!("n{number}.{domain}"))
}

/// A ledger in a file.
pub(crate) const FILE: &str = "sqlite:ledger.sqlite";

/// Serves the files in `folder` as answers to http-01 challenges, until the test binary ends. Names that begin with `bad` have none.
fn serve(port: u16, folder: PathBuf) {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let folder = folder.clone();
            std::thread::spawn(move || answer(stream, &folder));
        }
    });
}

/// Who has gone away needs no answer.
fn answer(stream: TcpStream, folder: &Path) -> std::io::Result<()> {
    let (mut path, mut host) = (String::new(), String::new());
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line = line?;
        if let Some(rest) = line.strip_prefix("GET ") {
            rest.split(' ').next().unwrap_or_default().clone_into(&mut path);
        } else if let Some(name) = line.to_ascii_lowercase().strip_prefix("host: ") {
            name.clone_into(&mut host);
        } else if line.is_empty() {
            break;
        }
    }
    let token = path.strip_prefix("/.well-known/acme-challenge/").filter(|_| !host.starts_with("bad"));
    let found = token.and_then(|token| fs::read_to_string(folder.join(token)).ok());
    let (status, body) = found.map_or(("404 Not Found", String::new()), |found| ("200 OK", found));
    let length = body.len();
    write!(&stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

//! A CA, a store and a ledger, certpace as it is run, and what Python's `cryptography` says of the certificates that came.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::servers::clients::{AcmeClient, python};
use crate::servers::pebble::Pebble;
use crate::servers::process::Process;

/// Whoever takes longer waits for something that never comes.
const PATIENCE: Duration = Duration::from_secs(90);

/// Pebble, and a folder with a store, a ledger and plans.
pub(crate) struct World {
    pub(crate) pebble: Pebble,
    pub(crate) folder: TempDir,
    /// The directory that certpace is told: Pebble's, unless something is in front of it.
    pub(crate) directory: String,
    /// The root of its server's certificate.
    pub(crate) root: PathBuf,
    /// What each command that orders is told beside.
    pub(crate) more: Vec<String>,
}

/// What a command has answered and said, and its exit code.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) answer: Value,
    pub(crate) said: String,
    pub(crate) code: Option<i32>,
}

impl Ran {
    /// The exit code, and how many certificates came.
    pub(crate) fn ended(&self) -> (Option<i32>, Option<u64>) {
        (self.code, self.answer["issued"].as_u64())
    }

    #[track_caller]
    pub(crate) fn issued(self, count: u64) -> Self {
        assert_eq!(self.ended(), (Some(0), Some(count)), "{self:?}");
        self
    }
}

/// Reads what is in use of a store: certificates that do not fit their key, or that their chain or the CA's root did not sign, are errors.
const CERTIFICATES: &str = "
import json, pathlib, requests, sys
from cryptography import x509
from cryptography.hazmat.primitives import serialization
folders, management = sorted(pathlib.Path(sys.argv[1], 'certificates').iterdir()), sys.argv[2]
root = x509.load_pem_x509_certificate(requests.get(management + '/roots/0').content)
told = []
for folder in folders:
    live = folder / 'live'
    read = lambda name: x509.load_pem_x509_certificates((live / name).read_bytes())
    [leaf], chain = read('cert.pem'), read('chain.pem')
    path = [leaf, *chain, root]
    assert read('fullchain.pem') == path[:-1], folder
    for below, above in zip(path, path[1:]):
        below.verify_directly_issued_by(above)
    key = serialization.load_pem_private_key((live / 'privkey.pem').read_bytes(), None).public_key()
    assert key == leaf.public_key(), folder
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    told.append({
        'names': sorted([*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]),
        'serial': format(leaf.serial_number, 'x'),
        'days': round(life.total_seconds() / 86400),
        'key': key.curve.name if hasattr(key, 'curve') else f'rsa{key.key_size}',
        'kept': sum(1 for _ in (folder / 'archive').iterdir()),
        'modes': sorted({oct(file.stat().st_mode & 0o777) + ' ' + file.name for file in live.iterdir()}),
    })
print(json.dumps(told))";

impl World {
    /// Without an account.
    pub(crate) fn bare(config: &Value, environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pebble = Pebble::start_with(folder.path(), config, environment);
        let (directory, root) = (pebble.directory.clone(), pebble.root.clone());
        Self { pebble, folder, directory, root, more: Vec::new() }
    }

    /// With an account.
    pub(crate) fn new(config: &Value, environment: &[(&str, &str)]) -> Self {
        let world = Self::bare(config, environment);
        world.account(&[]);
        world
    }

    pub(crate) fn plain() -> Self {
        Self::new(&json!({}), &[])
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// `certpace` in the folder, with what belongs to this world in its environment.
    pub(crate) fn certpace(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_certpace"));
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("CERTPACE_STORE", "store").env("CERTPACE_CA_ROOT", &self.root);
        command.env("CERTPACE_LEDGER", "sqlite:ledger.sqlite").env("XDG_STATE_HOME", self.path("state"));
        command
    }

    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let output = self.certpace(arguments).output().unwrap();
        Ran {
            answer: serde_json::from_slice(&output.stdout).unwrap_or_default(),
            said: String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap(),
            code: output.status.code(),
        }
    }

    /// Makes an account.
    #[track_caller]
    pub(crate) fn account(&self, more: &[&str]) {
        let mut create = vec!["account", "create", "--agree-tos", "--directory", &self.directory];
        create.extend(more);
        let ran = self.run(&create);
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }

    /// Plans an inventory from now on: `plan.jsonl`.
    #[track_caller]
    pub(crate) fn plan(&self, inventory: &str, more: &[&str]) {
        fs::write(self.path("names.csv"), inventory).unwrap();
        let mut plan = vec!["plan", "names.csv", "-o", "plan.jsonl"];
        plan.extend(more);
        let ran = self.run(&plan);
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }

    /// `certpace` with `arguments`, and what whoever orders needs to know of this CA; how names are proved is still to be said.
    pub(crate) fn ordering(&self, arguments: &[&str]) -> Command {
        let mut command = self.certpace(arguments);
        command.args(["--format", "json", "--directory", &self.directory]);
        command.args(["--dns-server", &self.pebble.dns.address.to_string()]);
        command.args(["--validation-http-port", &self.pebble.http_port.to_string()]);
        command.args(["--validation-tls-port", &self.pebble.tls_port.to_string()]);
        command.args(&self.more);
        command
    }

    /// `certpace issue` of the plan with `more`; challenges are to be among these.
    pub(crate) fn issue_command(&self, more: &[&str]) -> Command {
        self.ordering(&[&["issue", "plan.jsonl"], more].concat())
    }

    /// `certpace issue` with `more`.
    pub(crate) fn issue_by(&self, more: &[&str]) -> Ran {
        self.wait_for(self.issue_command(more))
    }

    /// Waits until a command has ended.
    pub(crate) fn wait_for(&self, command: Command) -> Ran {
        let mut process = Process::start(command, self.folder.path(), "issue");
        let code = process.code_within(PATIENCE);
        let (out, all) = (process.out(), process.said());
        let answer = serde_json::from_str(&out).unwrap_or_default();
        assert!(code.is_some(), "it does not end: {all}{}", self.pebble.server.said());
        Ran { answer, said: all, code }
    }

    /// Where http-01 is answered by a listener.
    pub(crate) fn listen(&self) -> String {
        format!("127.0.0.1:{}", self.pebble.http_port)
    }

    /// `certpace issue` with http-01 by a listener.
    pub(crate) fn issue(&self, more: &[&str]) -> Ran {
        self.issue_by(&[&["--http-listen", &self.listen()], more].concat())
    }

    /// Certificates in use, by folder; all are valid and match their keys.
    #[track_caller]
    pub(crate) fn certificates(&self) -> Vec<Value> {
        let store = self.path("store");
        let ran = python(CERTIFICATES, &[store.to_str().unwrap(), &self.pebble.management], &self.pebble.root);
        assert!(ran.succeeded, "{}", ran.said);
        serde_json::from_str(&ran.said).unwrap()
    }

    /// The names of each certificate in use, and one more thing that is known of it.
    #[track_caller]
    pub(crate) fn names_and(&self, what: &str) -> Vec<Value> {
        self.certificates().into_iter().map(|of| json!([of["names"], of[what]])).collect()
    }

    /// How often Pebble says so in its log.
    pub(crate) fn pebble_says(&self, text: &str) -> usize {
        self.pebble.server.said().matches(text).count()
    }

    /// How many certificates Pebble has issued.
    pub(crate) fn issued(&self) -> usize {
        self.pebble_says("Issued certificate serial")
    }

    /// How many orders Pebble has made.
    pub(crate) fn ordered(&self) -> usize {
        self.pebble_says("Added order")
    }

    /// What the ledger says is left of a bucket, and its burst; `None`: it is full.
    pub(crate) fn left(&self, limit: &str, key: &str) -> Option<u64> {
        let status = self.run(&["ledger", "status", "--format", "json", "--directory", &self.directory]);
        let buckets = status.answer["buckets"].as_array().unwrap_or_else(|| panic!("{status:?}"));
        let found =
            buckets.iter().find(|of| of["limit"] == limit && of["key"].as_str().is_some_and(|of| of.contains(key)));
        found.map(|of| of["left"].as_u64().unwrap())
    }

    /// What is left in the folders of open orders.
    pub(crate) fn open_orders(&self) -> Vec<String> {
        let files = walkdir::WalkDir::new(self.path("store/orders")).into_iter().map(Result::unwrap);
        let files = files.filter(|entry| entry.file_type().is_file() && entry.file_name() != ".lock");
        files.map(|entry| entry.file_name().to_str().unwrap().to_owned()).collect()
    }

    /// A script in the folder: its path.
    pub(crate) fn script(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\nset -eu\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn client(&self) -> AcmeClient {
        AcmeClient {
            folder: self.folder.path().to_owned(),
            directory: self.directory.clone(),
            root: self.root.clone(),
            http_port: self.pebble.http_port,
        }
    }
}

/// The text of a file.
pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

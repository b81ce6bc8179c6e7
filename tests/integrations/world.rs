//! A ledger, commands under its gate, and Pebble behind `certpace enforce` with the same policy.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::servers::clients::AcmeClient;
use crate::servers::enforced::{Enforced, Limits};
use crate::servers::process::{Process, tool};

/// A ledger in a folder of its own, with certpace's options to use it.
#[derive(Debug)]
pub(crate) struct Gated {
    pub(crate) folder: TempDir,
    options: Vec<String>,
    /// Folders that live as long.
    kept: Vec<TempDir>,
}

/// How a command ended that somebody waited for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A CA with limits, and a ledger for it.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) enforced: Enforced,
    pub(crate) gated: Gated,
}

/// The clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Client {
    Certbot,
    Lego,
    AcmeSh,
}

impl Gated {
    /// A new ledger.
    pub(crate) fn new(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = format!("sqlite:{}", folder.path().join("ledger.sqlite").display());
        let options = ["--ledger", &ledger].iter().chain(options).map(|option| (*option).to_owned()).collect();
        Self { folder, options, kept: Vec::new() }
    }

    /// Keeps a folder for as long as this one.
    pub(crate) fn keep(&mut self, folder: TempDir) {
        self.kept.push(folder);
    }

    /// `certpace gate …` or `certpace ledger …`, with arguments behind it.
    pub(crate) fn certpace(&self, command: [&str; 2], arguments: &[&str]) -> Command {
        let mut certpace = Command::new(env!("CARGO_BIN_EXE_certpace"));
        certpace.current_dir(self.folder.path()).env("XDG_STATE_HOME", self.folder.path().join("state"));
        certpace.args(command).args(&self.options).args(arguments).stdin(Stdio::null());
        certpace
    }

    /// `certpace gate run --names NAMES OPTIONS -- COMMAND`.
    pub(crate) fn gate_run(&self, names: &str, options: &[&str], command: &Command) -> Command {
        let mut certpace = self.certpace(["gate", "run"], &["--names", names]);
        certpace.args(options).arg("--").arg(command.get_program()).args(command.get_args());
        certpace.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        certpace
    }

    /// The same with a script for the shell.
    pub(crate) fn gate_run_script(&self, names: &str, options: &[&str], script: &str) -> Command {
        let mut shell = Command::new("sh");
        self.gate_run(names, options, shell.args(["-c", script]))
    }

    /// What certpace answers as JSON.
    pub(crate) fn json(&self, command: [&str; 2], arguments: &[&str]) -> Value {
        let ended = end(self.certpace(command, arguments).args(["--format", "json"]));
        serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
    }

    /// Tokens that are left of the first bucket of that limit; `None` where all is full.
    pub(crate) fn left(&self, limit: &str) -> Option<u64> {
        let status = self.json(["ledger", "status"], &[]);
        let of_limit = |bucket: &&Value| bucket["limit"] == limit;
        status["buckets"].as_array().unwrap().iter().find(of_limit)?["left"].as_u64()
    }

    /// The states of all permits that there ever were.
    pub(crate) fn states(&self) -> Vec<String> {
        let list = self.json(["gate", "list"], &["--all"]);
        let state = |permit: &Value| permit["state"].as_str().unwrap().to_owned();
        list["permits"].as_array().unwrap().iter().map(state).collect()
    }

    /// Starts it, with its output in the folder.
    pub(crate) fn start(&self, command: Command, name: &str) -> Process {
        Process::start(command, self.folder.path(), name)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Site {
    /// Both, with the same limits.
    pub(crate) fn start(limits: Limits<'_>) -> Self {
        let enforced = Enforced::start(limits, &["--report", "verdict.json"]);
        let policy = enforced.folder.path().join("policy.toml");
        let gated = Gated::new(&["--policy", policy.to_str().unwrap(), "--directory", &enforced.directory]);
        Self { enforced, gated }
    }

    /// The command with which the client orders a certificate for names, whatever it has already.
    pub(crate) fn command(&self, client: Client, acme: &AcmeClient, names: &[&str]) -> Command {
        match client {
            Client::Certbot => {
                let mut certbot = acme.certbot_command(names);
                certbot.arg("--force-renewal");
                certbot
            }
            Client::Lego => acme.lego_command(names, &["run"]),
            Client::AcmeSh => {
                let mut acme_sh = Command::new(tool("acme.sh/acme.sh"));
                acme_sh.args(["--issue", "--force", "--server", &acme.directory, "--ca-bundle"]).arg(&acme.root);
                acme_sh.arg("--home").arg(acme.folder.join("acme.sh")).arg("-w").arg(self.webroot());
                acme_sh.args(names.iter().flat_map(|name| ["-d", name]));
                acme_sh
            }
        }
    }

    /// What lies there answers validations, while [`Self::web_server`] runs.
    pub(crate) fn webroot(&self) -> PathBuf {
        let webroot = self.gated.path("www");
        fs::create_dir_all(&webroot).unwrap();
        webroot
    }

    /// A web server for clients that have none.
    pub(crate) fn web_server(&self) -> Process {
        let port = self.enforced.pebble.http_port;
        let mut python = Command::new(tool("certbot/bin/python"));
        python
            .args(["-m", "http.server", "--bind", "127.0.0.1", "--directory"])
            .arg(self.webroot())
            .arg(port.to_string());
        let mut server = self.gated.start(python, "www");
        assert!(server.listens(&[port]), "{}", server.said());
        server
    }

    /// So many: orders, orders for the same names, certificates, refusals.
    pub(crate) fn counts(&self) -> [u64; 4] {
        let page: Value = serde_json::from_str(&self.enforced.page("/-/buckets", "GET")).unwrap();
        ["orders", "orders_same_set", "certificates", "refused"].map(|name| page["counts"][name].as_u64().unwrap())
    }

    /// Tokens that are left of the CA's first bucket of that limit.
    pub(crate) fn left_at_the_ca(&self, limit: &str) -> Option<u64> {
        let page: Value = serde_json::from_str(&self.enforced.page("/-/buckets", "GET")).unwrap();
        let of_limit = |bucket: &&Value| bucket["limit"] == limit;
        page["buckets"].as_array().unwrap().iter().find(of_limit)?["remaining"].as_u64()
    }
}

impl Client {
    /// Where the certificate whose first name this is lies.
    pub(crate) fn certificate(self, acme: &AcmeClient, name: &str) -> PathBuf {
        acme.folder.join(match self {
            Self::Certbot => format!("certbot/live/{name}/cert.pem"),
            Self::Lego => format!("lego/certificates/{name}.crt"),
            Self::AcmeSh => format!("acme.sh/{name}_ecc/{name}.cer"),
        })
    }

    /// The folder that it keeps everything in.
    pub(crate) fn tree(self, acme: &AcmeClient) -> PathBuf {
        acme.folder.join(match self {
            Self::Certbot => "certbot",
            Self::Lego => "lego",
            Self::AcmeSh => "acme.sh",
        })
    }
}

/// Runs it to its end.
pub(crate) fn end(command: &mut Command) -> Ended {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ended { code: status.code(), out: text(stdout), err: text(stderr) }
}

/// `path` as an argument.
pub(crate) fn as_str(path: &Path) -> &str {
    AsRef::<OsStr>::as_ref(path).to_str().unwrap()
}

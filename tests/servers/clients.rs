//! ACME clients as people run them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::process::{Process, tool};

/// An ACME client, with what it keeps in a folder of its own.
#[derive(Clone, Debug)]
pub(crate) struct AcmeClient {
    pub(crate) folder: PathBuf,
    /// The directory of the CA.
    pub(crate) directory: String,
    /// The root of the CA's TLS certificate.
    pub(crate) root: PathBuf,
    /// Where it answers http-01 validations.
    pub(crate) http_port: u16,
}

/// What came of a run of a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ran {
    pub(crate) succeeded: bool,
    /// All that it has printed.
    pub(crate) said: String,
}

impl AcmeClient {
    /// `lego run` for names.
    pub(crate) fn lego(&self, names: &[&str]) -> Ran {
        run(self.lego_command(names, &["run"]), &self.folder, "lego")
    }

    /// `lego renew` for names.
    pub(crate) fn lego_renew(&self, names: &[&str]) -> Ran {
        run(self.lego_command(names, &["renew", "--no-random-sleep"]), &self.folder, "lego")
    }

    /// lego as it would be run.
    pub(crate) fn lego_command(&self, names: &[&str], verb: &[&str]) -> Command {
        let mut lego = Command::new(tool("lego/lego"));
        lego.env("LEGO_CA_CERTIFICATES", &self.root).args(["--accept-tos", "--email", "admin@example.com"]);
        lego.args(["--server", &self.directory, "--http", "--http.port", &format!("127.0.0.1:{}", self.http_port)]);
        lego.arg("--path").arg(self.folder.join("lego"));
        lego.args(names.iter().flat_map(|name| ["-d", name])).args(verb);
        lego
    }

    /// `certbot certonly` for names.
    pub(crate) fn certbot(&self, names: &[&str]) -> Ran {
        run(self.certbot_command(names), &self.folder, "certbot")
    }

    /// `certbot certonly` as it would be run.
    pub(crate) fn certbot_command(&self, names: &[&str]) -> Command {
        let mut certbot = Command::new(tool("certbot/bin/certbot"));
        certbot.env("REQUESTS_CA_BUNDLE", &self.root).args(["certonly", "--non-interactive"]);
        for option in ["--config-dir", "--work-dir", "--logs-dir"] {
            certbot.arg(option).arg(self.certbot_folder());
        }
        let port = self.http_port.to_string();
        certbot.args(["--standalone", "--http-01-port", &port, "--agree-tos", "-m", "admin@example.com"]);
        certbot.args(["--server", &self.directory]).args(names.iter().flat_map(|name| ["-d", name]));
        certbot
    }

    /// `certbot revoke` for a certificate, by its own key.
    pub(crate) fn revoke(&self, certificate: &Path, key: &Path) -> Ran {
        let mut certbot = Command::new(tool("certbot/bin/certbot"));
        certbot.env("REQUESTS_CA_BUNDLE", &self.root).args(["revoke", "--non-interactive", "--no-delete-after-revoke"]);
        for option in ["--config-dir", "--work-dir", "--logs-dir"] {
            certbot.arg(option).arg(self.certbot_folder());
        }
        certbot.args(["--server", &self.directory, "--cert-path"]).arg(certificate).arg("--key-path").arg(key);
        run(certbot, &self.folder, "certbot")
    }

    /// Where certbot keeps everything; its log has each answer with its headers.
    pub(crate) fn certbot_folder(&self) -> PathBuf {
        self.folder.join("certbot")
    }
}

/// Python with `requests`, which certbot brings along: for questions to servers that no client asks.
pub(crate) fn python(script: &str, arguments: &[&str], root: &Path) -> Ran {
    let folder = root.parent().unwrap();
    let mut python = Command::new(tool("certbot/bin/python"));
    python.env("REQUESTS_CA_BUNDLE", root).args(["-c", script]).args(arguments);
    run(python, folder, "python")
}

/// A client that has not ended by then is ended: some wait for as long as they are told.
const PATIENCE: Duration = Duration::from_secs(60);

fn run(command: Command, folder: &Path, name: &str) -> Ran {
    let mut client = Process::start(command, folder, name);
    let succeeded = client.succeeds_within(PATIENCE) == Some(true);
    Ran { succeeded, said: client.said() }
}

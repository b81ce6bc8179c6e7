//! `certpace enforce` as a process in front of Pebble, and a policy for it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::clients::{AcmeClient, python};
use super::pebble::Pebble;
use super::process::{Process, wait_until};

/// Pebble with the proxy in front of it.
#[derive(Debug)]
pub(crate) struct Enforced {
    pub(crate) proxy: Process,
    pub(crate) pebble: Pebble,
    pub(crate) folder: TempDir,
    /// The first line that the proxy prints.
    pub(crate) directory: String,
    pub(crate) address: SocketAddr,
}

/// Today's policy, but for some limits: so many in a burst, and so many in a period.
pub(crate) type Limits<'a> = &'a [(&'a str, i64, &'a str)];

impl Enforced {
    /// Starts both; the proxy speaks TLS unless `arguments` say `--plain`.
    pub(crate) fn start(limits: Limits<'_>, arguments: &[&str]) -> Self {
        Self::start_with(&json!({}), limits, arguments)
    }

    /// The same, with more in Pebble's configuration.
    pub(crate) fn start_with(config: &Value, limits: Limits<'_>, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pebble = Pebble::start_with(folder.path(), config, &[]);
        let mut command = Command::new(env!("CARGO_BIN_EXE_certpace"));
        command.current_dir(folder.path()).args(["enforce", "--upstream", &pebble.directory, "--upstream-root"]);
        command.arg(&pebble.root).args(["--listen", "127.0.0.1:0", "--policy"]).arg(policy(folder.path(), limits));
        command.args(arguments);
        let mut proxy = Process::start(command, folder.path(), "enforce");
        wait_until("the proxy does not say where it is", || {
            assert!(proxy.runs(), "{}", proxy.said());
            proxy.out().contains('\n')
        });
        let directory = proxy.out().lines().next().unwrap().to_owned();
        let port = directory.split(['/', ':']).find_map(|part| part.parse::<u16>().ok()).unwrap();
        Self { proxy, pebble, folder, directory, address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    /// A client of its own behind the proxy, whose validations succeed.
    pub(crate) fn client(&self, name: &str) -> AcmeClient {
        let folder = self.folder.path().join(name);
        fs::create_dir_all(&folder).unwrap();
        let root = self.folder.path().join("certpace-root.pem");
        AcmeClient { folder, directory: self.directory.clone(), root, http_port: self.pebble.http_port }
    }

    /// Asks the proxy for a page over TLS.
    pub(crate) fn page(&self, path: &str, method: &str) -> String {
        let url = format!("https://{}{path}", self.address);
        let script = "import requests, sys; print(requests.request(sys.argv[2], sys.argv[1]).text)";
        let ran = python(script, &[&url, method], &self.folder.path().join("certpace-root.pem"));
        assert!(ran.succeeded, "{}", ran.said);
        ran.said
    }

    /// From now on the CA suggests to renew the certificate in that file just now: in a window that is almost over, so that a client's random
    /// time in it has come.
    pub(crate) fn suggest_renewal(&self, certificate: &Path) {
        let script = "
import datetime, json, requests, sys
now = datetime.datetime.now(datetime.timezone.utc)
time = lambda days: (now + datetime.timedelta(days=days)).strftime('%Y-%m-%dT%H:%M:%SZ')
window = {'suggestedWindow': {'start': time(-1000), 'end': time(0.02)}}
body = {'Certificate': open(sys.argv[2]).read(), 'ARIResponse': json.dumps(window)}
requests.post(sys.argv[1] + '/set-renewal-info/', json=body).raise_for_status()";
        let set = python(script, &[&self.pebble.management, certificate.to_str().unwrap()], &self.pebble.root);
        assert!(set.succeeded, "{}", set.said);
    }

    /// Ends the proxy, and gives its exit status and the verdict that it wrote to `verdict.json`.
    pub(crate) fn end(&mut self) -> (ExitStatus, Value) {
        let status = self.proxy.terminate();
        let verdict = fs::read_to_string(self.folder.path().join("verdict.json"));
        let verdict = verdict.unwrap_or_else(|error| panic!("{error}: {}", self.proxy.said()));
        (status, serde_json::from_str(&verdict).unwrap())
    }
}

/// Writes a policy, and says where it is.
fn policy(folder: &Path, limits: Limits<'_>) -> PathBuf {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("data/letsencrypt.toml")).unwrap();
    let mut policy: toml::Table = text.parse().unwrap();
    policy.insert("name".to_owned(), "tight".into());
    for (limit, burst, period) in limits {
        let of = policy["limits"][*limit].as_table_mut().unwrap();
        of.insert("burst".to_owned(), (*burst).into());
        of.insert("count".to_owned(), 1.into());
        of.insert("period".to_owned(), (*period).into());
    }
    let path = folder.join("policy.toml");
    fs::write(&path, policy.to_string()).unwrap();
    path
}

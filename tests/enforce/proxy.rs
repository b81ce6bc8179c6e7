//! `certpace enforce` as a process, and a policy for it.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use serde_json::Value;
use tempfile::TempDir;

use crate::servers::clients::AcmeClient;
use crate::servers::pebble::Pebble;
use crate::servers::process::{Process, wait_until};

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

/// An answer on the wire.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Enforced {
    /// Starts both; the proxy speaks TLS unless `arguments` say `--plain`.
    pub(crate) fn start(limits: Limits<'_>, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pebble = Pebble::start(folder.path());
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

    /// A request to a proxy without TLS.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nUser-Agent: test\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        read_answer(stream)
    }

    /// The same with the proxy's own name.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &format!("Host: {}\r\n", self.address), "")
    }

    /// Ends the proxy, and gives its exit status and the verdict that it wrote to `verdict.json`.
    pub(crate) fn end(&mut self) -> (ExitStatus, Value) {
        let status = self.proxy.terminate();
        let verdict = fs::read_to_string(self.folder.path().join("verdict.json"));
        let verdict = verdict.unwrap_or_else(|error| panic!("{error}: {}", self.proxy.said()));
        (status, serde_json::from_str(&verdict).unwrap())
    }
}

/// Reads an answer up to its end. The proxy may close before it has read all that it was sent.
fn read_answer(stream: TcpStream) -> Answer {
    let mut reader = BufReader::new(stream);
    let mut lines = reader.by_ref().lines().map(|line| line.unwrap());
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.take_while(|line| !line.is_empty()).map(|line| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_ascii_lowercase(), value.to_owned())
    });
    let headers = headers.collect();
    let mut body = String::new();
    reader.read_to_string(&mut body).unwrap();
    Answer { status, headers, body }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
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

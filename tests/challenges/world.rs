//! Proofs, a DNS server that is told what to answer, and plain HTTP.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use certpace::issuer::challenge::{ChallengeError, Kind, Proof, Settings};
use certpace::name::Identifier;
use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;
use tempfile::TempDir;

use super::servers::pebble::TestDns;
use super::servers::process::{Process, tool};

/// A DNS server for which every name is at 127.0.0.1.
pub(crate) struct World {
    pub(crate) dns: TestDns,
    pub(crate) folder: TempDir,
}

impl World {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { dns: TestDns::start(folder.path()), folder }
    }

    /// Asks that server, and does not wait for what is not there.
    pub(crate) fn settings(&self) -> Settings {
        Settings { dns_server: Some(self.dns.address), propagation: Duration::from_secs(1), ..Settings::default() }
    }

    /// A web server on `http`, and on `https` with a certificate of its own, that serves `folder` for all names but these: old.example.com
    /// is moved to www.example.com, safe.example.com there by https, loop.example.com to itself, away.example.com to another port.
    pub(crate) fn redirecting(&self, [http, https, elsewhere]: [u16; 3], folder: &Path) -> Process {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(["elsewhere.example.net".to_owned()]).unwrap().self_signed(&key).unwrap();
        let pem = self.folder.path().join("web.pem");
        fs::write(&pem, key.serialize_pem() + &certificate.pem()).unwrap();
        let mut server = Command::new(tool("certbot/bin/python"));
        server
            .args(["-c", REDIRECTING])
            .args([http, https, elsewhere].map(|port| port.to_string()))
            .arg(folder)
            .arg(pem);
        let mut server = Process::start(server, self.folder.path(), "redirecting");
        assert!(server.listens(&[http, https]), "{}", server.said());
        server
    }

    /// Tells it something.
    pub(crate) fn tell(&self, path: &str, body: &Value) {
        let body = body.to_string();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: dns\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = exchange(self.dns.management, &request);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

const REDIRECTING: &str = "
import http.server, functools, ssl, sys, threading
port, tls_port, elsewhere, folder, pem = sys.argv[1:]
class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        name = self.headers['Host'].split('.')[0]
        to = {
            'old': f'http://www.example.com:{port}{self.path}',
            'safe': f'https://www.example.com:{tls_port}{self.path}',
            'loop': self.path,
            'away': f'http://www.example.com:{elsewhere}/',
        }.get(name)
        if to is None:
            return super().do_GET()
        self.send_response(301)
        self.send_header('Location', to)
        self.end_headers()
handler = functools.partial(Handler, directory=folder)
plain, safe = (http.server.ThreadingHTTPServer(('127.0.0.1', int(at)), handler) for at in (port, tls_port))
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(pem)
safe.socket = context.wrap_socket(safe.socket, server_side=True)
threading.Thread(target=safe.serve_forever, daemon=True).start()
plain.serve_forever()";

pub(crate) fn proof(name: &str, kind: Kind, token: &str) -> Proof {
    let (name, wildcard) = name.strip_prefix("*.").map_or((name, false), |base| (base, true));
    Proof {
        identifier: Identifier::parse(name).unwrap(),
        wildcard,
        kind,
        token: token.to_owned(),
        key_authorization: format!("{token}.thumbprint"),
        account_uri: None,
    }
}

/// `None` where it went well, else what is said.
pub(crate) fn said<T>(result: Result<T, ChallengeError>) -> Option<String> {
    let error = result.err()?;
    assert!(!error.hint().is_empty());
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
    Some(format!("{error}{}", cause.unwrap_or_default()))
}

/// All went well.
pub(crate) fn well(results: Vec<Result<(), ChallengeError>>) {
    let said: Vec<_> = results.into_iter().filter_map(said).collect();
    assert!(said.is_empty(), "{said:?}");
}

/// Sends a request and reads the whole answer.
pub(crate) fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

//! Pebble, Let's Encrypt's test CA, and the DNS server that answers its validations: every name is at 127.0.0.1.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use super::clients::python;
use super::process::{Process, free_ports, tool};

/// A Pebble of its own for each test: it starts within a second and keeps all in memory.
#[derive(Debug)]
pub(crate) struct Pebble {
    pub(crate) server: Process,
    pub(crate) dns: TestDns,
    /// The URL of its directory.
    pub(crate) directory: String,
    /// The root of its own TLS certificate.
    pub(crate) root: PathBuf,
    /// Where its management listens: `https://localhost:port`.
    pub(crate) management: String,
    /// Where it looks for http-01 responses.
    pub(crate) http_port: u16,
    /// Where it looks for tls-alpn-01 responses.
    pub(crate) tls_port: u16,
}

/// A DNS server for which every name is at 127.0.0.1, until it is told otherwise.
#[derive(Debug)]
pub(crate) struct TestDns {
    _server: Process,
    pub(crate) address: SocketAddr,
    /// Where it is told: JSON by POST.
    pub(crate) management: SocketAddr,
}

impl TestDns {
    /// Starts one; its output is in `folder`.
    pub(crate) fn start(folder: &Path) -> Self {
        let started = (0..5).find_map(|_| Self::try_start(folder));
        started.unwrap_or_else(|| panic!("pebble-challtestsrv does not start"))
    }

    fn try_start(folder: &Path) -> Option<Self> {
        let [address, management] = free_ports().map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let mut challtestsrv = Command::new(tool("pebble/pebble-challtestsrv"));
        challtestsrv.args(["-dnsserver", &address.to_string(), "-management", &management.to_string()]);
        challtestsrv.args(["-doh=", "-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", ""]);
        let mut server = Process::start(challtestsrv, folder, "challtestsrv");
        server.listens(&[management.port()]).then_some(Self { _server: server, address, management })
    }
}

impl Pebble {
    /// Starts one; its files are in `folder`.
    pub(crate) fn start(folder: &Path) -> Self {
        Self::start_with(folder, &json!({}), &[])
    }

    /// The same, with more in its configuration and its environment.
    pub(crate) fn start_with(folder: &Path, config: &Value, environment: &[(&str, &str)]) -> Self {
        let started = (0..5).find_map(|_| Self::try_start(folder, config, environment));
        started.unwrap_or_else(|| {
            panic!("Pebble does not start: {}", fs::read_to_string(folder.join("pebble.out")).unwrap())
        })
    }

    /// From now on it answers so when it is asked about the certificate in that file: the text of renewal information.
    pub(crate) fn set_renewal_info(&self, certificate: &Path, answer: &str) {
        let script = "
import requests, sys
body = {'Certificate': open(sys.argv[2]).read(), 'ARIResponse': sys.argv[3]}
requests.post(sys.argv[1] + '/set-renewal-info/', json=body).raise_for_status()";
        let set = python(script, &[&self.management, certificate.to_str().unwrap(), answer], &self.root);
        assert!(set.succeeded, "{}", set.said);
    }

    /// A port that is free may be taken by somebody else before the servers have it.
    fn try_start(folder: &Path, more: &Value, environment: &[(&str, &str)]) -> Option<Self> {
        let dns = TestDns::try_start(folder)?;
        let [port, management, http_port, tls_port] = free_ports();
        let root = certificates(folder);
        let at = |port: u16| format!("127.0.0.1:{port}");
        let mut config = json!({ "pebble": {
            "listenAddress": at(port), "managementListenAddress": at(management),
            "certificate": folder.join("pebble.pem"), "privateKey": folder.join("pebble.key"),
            "httpPort": http_port, "tlsPort": tls_port, "retryAfter": { "authz": 1, "order": 1 },
            "profiles": { "classic": { "description": "as the CA's", "validityPeriod": 7_776_000 } },
        }});
        for (name, value) in more.as_object().into_iter().flatten() {
            config["pebble"][name] = value.clone();
        }
        let config_path = folder.join("pebble.json");
        fs::write(&config_path, config.to_string()).unwrap();

        let mut pebble = Command::new(tool("pebble/pebble"));
        pebble.arg("-config").arg(&config_path).args(["-dnsserver", &dns.address.to_string()]);
        pebble.envs([("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_WFE_NONCEREJECT", "0"), ("PEBBLE_AUTHZREUSE", "0")]);
        pebble.envs(environment.iter().copied());
        let mut server = Process::start(pebble, folder, "pebble");
        server.listens(&[port, management]).then(|| Self {
            server,
            dns,
            directory: format!("https://localhost:{port}/dir"),
            root,
            management: format!("https://localhost:{management}"),
            http_port,
            tls_port,
        })
    }
}

/// A root, and a certificate of it for Pebble: it comes with none. Returns where the root is.
fn certificates(folder: &Path) -> PathBuf {
    let mut root = CertificateParams::default();
    root.distinguished_name.push(DnType::CommonName, "a root for tests");
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root_key = KeyPair::generate().unwrap();
    let root_path = folder.join("pebble-root.pem");
    fs::write(&root_path, root.self_signed(&root_key).unwrap().pem()).unwrap();
    let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &Issuer::new(root, root_key)).unwrap();
    fs::write(folder.join("pebble.pem"), certificate.pem()).unwrap();
    fs::write(folder.join("pebble.key"), key.serialize_pem()).unwrap();
    root_path
}

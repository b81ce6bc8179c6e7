//! Encrypted connections: where they are asked for, a server's certificate must come from an authority that is known.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::child::{acknowledged, writer};
use crate::ports::free_port;
use crate::postgres::{Postgres, is_root};
use crate::redis::Redis;

/// An authority's certificate, and that of a server here with its key.
struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(folder.path().join("for"), "subjectAltName=DNS:localhost\n").unwrap();
        let script = "
            key() { openssl ecparam -name prime256v1 -genkey -noout -out $1.key; }
            key ca && openssl req -x509 -new -key ca.key -subj /CN=authority -days 2 -out ca.pem
            key server && openssl req -new -key server.key -subj /CN=localhost -out server.csr
            openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile for -out server.pem
            chmod 600 server.key
        ";
        let made = Command::new("bash").args(["-ec", script]).current_dir(folder.path()).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self { folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// What a process says first that writes the ledger at `url` and knows that authority, or those of this machine.
fn said(url: &str, authority: Option<&Path>) -> String {
    let mut command = writer(&std::env::current_exe().unwrap(), &url.parse().unwrap(), &[]);
    if let Some(authority) = authority {
        command.env("SSL_CERT_FILE", authority);
    }
    let mut child = command.env("CERTPACE_TEST_LEDGER", url).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let first = lines.into_iter().find(|line| acknowledged(line).is_some() || line.starts_with("failed"));
    child.kill().unwrap();
    child.wait().unwrap();
    first.unwrap_or_default()
}

#[test]
fn redis() {
    let certificates = Certificates::new();
    let port = free_port().to_string();
    let file = |name: &str| certificates.file(name).display().to_string();
    let server = Redis::start(&[
        "--tls-port",
        &port,
        "--tls-auth-clients",
        "no",
        "--tls-cert-file",
        &file("server.pem"),
        "--tls-key-file",
        &file("server.key"),
        "--tls-ca-cert-file",
        &file("ca.pem"),
    ]);
    let url = format!("rediss://localhost:{port}/");
    assert!(said(&url, Some(&certificates.file("ca.pem"))).starts_with("acknowledged"));
    let refused = said(&url, None);
    assert!(refused.contains("certificate"), "{refused}");
    // A certificate for `localhost` is none for an address.
    assert!(said(&url.replace("localhost", "127.0.0.1"), Some(&certificates.file("ca.pem"))).starts_with("failed"));
    assert!(said(&server.url(), None).starts_with("acknowledged"));
}

#[test]
fn postgres() {
    let certificates = Certificates::new();
    if is_root() {
        let owned = Command::new("chown").arg("postgres").arg(certificates.file("server.key")).status().unwrap();
        assert!(owned.success());
    }
    let setting = |name: &str, file: &str| format!("{name}={}", certificates.file(file).display());
    let server =
        Postgres::start(&["ssl=on", &setting("ssl_cert_file", "server.pem"), &setting("ssl_key_file", "server.key")]);
    // Whoever is not encrypted is not let in.
    let url = server.url().replace("127.0.0.1", "localhost");
    server.ask("CREATE ROLE clerk LOGIN SUPERUSER");
    server.restrict("hostnossl all clerk all reject\nhost all all all trust\n");
    let clerk = url.replace("postgres@", "clerk@");
    let known = certificates.file("ca.pem");
    for mode in ["require", "verify-full"] {
        assert!(said(&format!("{clerk}?sslmode={mode}"), Some(&known)).starts_with("acknowledged"), "{mode}");
        let refused = said(&format!("{clerk}?sslmode={mode}"), None);
        assert!(refused.contains("certificate"), "{refused}");
    }
    assert!(said(&clerk, Some(&known)).starts_with("acknowledged"));
    assert!(said(&format!("{clerk}?sslmode=disable"), Some(&known)).starts_with("failed"));
    // Without a mode a server that can't prove itself is still used, unencrypted, as by other clients.
    assert!(said(&url, None).starts_with("acknowledged"));
}

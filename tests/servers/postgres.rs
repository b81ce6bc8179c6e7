//! A PostgreSQL server of its own for tests, on a free port of this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, Weak};

use tempfile::TempDir;

use super::redis::wait_until;
use crate::ports::free_port;

/// A server. It ends, by its process id, when this is dropped.
pub(crate) struct Postgres {
    folder: TempDir,
    port: u16,
    options: Vec<String>,
    child: Option<Child>,
}

impl Postgres {
    /// The server that tests share, each with ledgers of its own; it lives as long as somebody uses it.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start(&[]));
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// Starts a server with settings (`name=value`) of its own.
    pub(crate) fn start(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        if is_root() {
            let owned = Command::new("chown").arg("postgres:postgres").arg(folder.path()).status().unwrap();
            assert!(owned.success(), "there is no user postgres: apt-get install postgresql");
        }
        let data = folder.path().join("data");
        let made = command("initdb")
            .args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-locale", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(made.success(), "initdb failed");
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut server = Self { folder, port: free_port(), options, child: None };
        server.go_on();
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Starts the server, which has not been started or was stopped, with the data that lie there; returns when it answers.
    pub(crate) fn go_on(&mut self) {
        let mut server = command("postgres");
        server.arg("-D").arg(self.data()).args(["-p", &self.port.to_string(), "-h", "127.0.0.1", "-k", ""]);
        for option in &self.options {
            server.args(["-c", option]);
        }
        server
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.folder.path().join("log")).unwrap());
        self.child = Some(server.spawn().unwrap());
        wait_until("PostgreSQL answers", || self.ask("SELECT 1") == "1");
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Ends it and all its sessions at once; what was committed is kept.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // `immediate`: as a crash, but that no process is left behind.
            _ = Command::new("kill").args(["-QUIT", &child.id().to_string()]).status();
            child.wait().unwrap();
        }
    }

    /// Lets in only whom these lines of `pg_hba.conf` do.
    pub(crate) fn restrict(&self, lines: &str) {
        fs::write(self.data().join("pg_hba.conf"), lines).unwrap();
        assert_eq!(self.ask("SELECT pg_reload_conf()"), "t");
    }

    /// What `psql` says to that.
    pub(crate) fn ask(&self, query: &str) -> String {
        let output = Command::new("psql").args(["-XAtq", "-d", &self.url(), "-c", query]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// One of PostgreSQL's programs, newest version first; as another user where this one is root, which it refuses to run as.
fn command(program: &str) -> Command {
    let mut versions: Vec<_> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    let number = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    versions.sort_by_key(number);
    let path = versions
        .last()
        .map(|version| version.join("bin").join(program))
        .expect("PostgreSQL is missing: apt-get install postgresql");
    if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(path).current_dir(Path::new("/"));
        command
    } else {
        Command::new(path)
    }
}

//! Processes on loopback: started with their output in a file, ended by their ids, also when a test panics.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::ports::free_port;

/// How long a server may take to start, or to end.
const PATIENCE: Duration = Duration::from_secs(15);
const MOMENT: Duration = Duration::from_millis(50);

/// A program in the folder that `tests/get-tools` fills: `tools` in cargo's target folder.
pub(crate) fn tool(path: &str) -> PathBuf {
    let tools = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("tools");
    let tool = tools.join(path);
    assert!(tool.exists(), "{} is missing: run tests/get-tools {}", tool.display(), tools.display());
    tool
}

/// So many ports that are free now, all different.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    std::array::from_fn(|_| free_port())
}

/// So much real time passes.
pub(crate) fn wait(time: Duration) {
    std::thread::sleep(time);
}

/// Waits until `done`, and says what is missing if that takes too long.
pub(crate) fn wait_until(what: &str, done: impl FnMut() -> bool) {
    assert!(done_within(PATIENCE, done), "{what}: not in time");
}

/// Whether it is done within so much real time.
fn done_within(time: Duration, mut done: impl FnMut() -> bool) -> bool {
    let moments = time.as_millis() / MOMENT.as_millis();
    (0..moments).any(|_| {
        done() || {
            wait(MOMENT);
            false
        }
    })
}

/// A process that ends with its owner.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Process {
    /// Starts `command`, with its output in `folder`.
    pub(crate) fn start(mut command: Command, folder: &Path, name: &str) -> Self {
        let (out, err) = (folder.join(format!("{name}.out")), folder.join(format!("{name}.err")));
        command.stdin(Stdio::null()).stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, out, err }
    }

    /// What it has written to stdout.
    pub(crate) fn out(&self) -> String {
        fs::read_to_string(&self.out).unwrap()
    }

    /// All that it has written, for the message of a failure.
    pub(crate) fn said(&self) -> String {
        format!("{}{}", self.out(), fs::read_to_string(&self.err).unwrap())
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until all of its ports take connections. Returns whether it still runs: somebody else may have taken a port.
    pub(crate) fn listens(&mut self, ports: &[u16]) -> bool {
        let connect = |port: &u16| TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], *port))).is_ok();
        wait_until("a server does not listen", || !self.runs() || ports.iter().all(connect));
        self.runs()
    }

    /// Whether it has succeeded within so much real time; `None`: it still runs.
    pub(crate) fn succeeds_within(&mut self, time: Duration) -> Option<bool> {
        done_within(time, || !self.runs()).then(|| self.child.wait().unwrap().success())
    }

    /// Its exit code, if it has ended within so much real time.
    pub(crate) fn code_within(&mut self, time: Duration) -> Option<i32> {
        done_within(time, || !self.runs()).then(|| self.child.wait().unwrap().code())?
    }

    /// Whether that is so within so much real time, while it runs.
    pub(crate) fn within(&mut self, time: Duration, mut so: impl FnMut() -> bool) -> bool {
        let mut is_so = false;
        done_within(time, || {
            is_so = so();
            is_so || !self.runs()
        });
        is_so
    }

    /// The code that it has ended with.
    pub(crate) fn code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// Ends it without asking.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        let asked = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(asked.success());
        let mut ended = None;
        wait_until("a server does not end", || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

//! Commands of the user's after certificates that came and orders that failed: one after the other, beside the orders.

use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use super::super::Terminal;
use crate::issuer::store::StoreError;

/// A command, what it is told, and what is to be done once it has ended, however that was.
struct Job {
    command: String,
    environment: Vec<(&'static str, String)>,
    ended: Box<dyn FnOnce() -> Result<(), StoreError> + Send>,
}

/// What runs them.
pub(super) struct Hooks {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Hooks {
    pub(super) fn start(terminal: Terminal) -> Self {
        let (jobs, queue) = channel::<Job>();
        let thread = std::thread::spawn(move || {
            for Job { command, environment, ended } in queue {
                let mut shell = Command::new("sh");
                // What it prints is not our answer.
                shell.arg("-c").arg(&command).envs(environment).stdin(Stdio::null()).stdout(std::io::stderr());
                match shell.status() {
                    Ok(status) if status.success() => {}
                    Ok(status) => terminal.warn(&format!("`{command}` ended with {status}")),
                    Err(error) => terminal.warn(&format!("can't run `{command}`: {error}")),
                }
                if let Err(error) = ended() {
                    terminal.warn(&error.to_string());
                }
            }
        });
        Self { jobs: Some(jobs), thread: Some(thread) }
    }

    pub(super) fn run(
        &self,
        command: &str,
        environment: Vec<(&'static str, String)>,
        ended: impl FnOnce() -> Result<(), StoreError> + Send + 'static,
    ) {
        if let Some(jobs) = &self.jobs {
            let _over = jobs.send(Job { command: command.to_owned(), environment, ended: Box::new(ended) });
        }
    }

    /// Waits for those that are waiting.
    pub(super) fn end(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

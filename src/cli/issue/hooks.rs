//! Commands of the user's after certificates that came and orders that failed: one after the other, beside the orders.

use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use super::super::Terminal;

/// A command and what it is told.
type Job = (String, Vec<(&'static str, String)>);

/// What runs them.
pub(super) struct Hooks {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Hooks {
    pub(super) fn start(terminal: Terminal) -> Self {
        let (jobs, queue) = channel::<Job>();
        let thread = std::thread::spawn(move || {
            for (command, environment) in queue {
                let mut shell = Command::new("sh");
                // What it prints is not our answer.
                shell.arg("-c").arg(&command).envs(environment).stdin(Stdio::null()).stdout(std::io::stderr());
                match shell.status() {
                    Ok(status) if status.success() => {}
                    Ok(status) => terminal.warn(&format!("`{command}` ended with {status}")),
                    Err(error) => terminal.warn(&format!("can't run `{command}`: {error}")),
                }
            }
        });
        Self { jobs: Some(jobs), thread: Some(thread) }
    }

    pub(super) fn run(&self, command: &str, environment: Vec<(&'static str, String)>) {
        if let Some(jobs) = &self.jobs {
            let _ended = jobs.send((command.to_owned(), environment));
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

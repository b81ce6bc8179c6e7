//! One thread that asks the store for all who wait in a process: whoever comes while it is busy goes with its next call, and so many
//! decisions are made durable by one sync or one journey (group commit).

use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::sync::{Arc, mpsc};
use std::thread;

use super::{LedgerError, Reply, Step, Store};
use crate::clock::Timescale;

/// How many callers' steps go together at most.
const TOGETHER: usize = 64;
/// How many may wait before the next has to wait to be let in.
const WAITING: usize = 1_024;

type Answer = Result<Vec<Reply>, Arc<LedgerError>>;

struct Job {
    steps: Vec<Step>,
    timescale: Timescale,
    answer: mpsc::Sender<Answer>,
}

/// A handle to the thread; clones share it. It ends with the last of them.
#[derive(Clone, Debug)]
pub struct Writer {
    jobs: SyncSender<Job>,
}

impl Writer {
    /// Starts the thread.
    #[must_use]
    pub fn start(store: Box<dyn Store>) -> Self {
        let (jobs, queue) = sync_channel(WAITING);
        thread::spawn(move || serve(store, &queue));
        Self { jobs }
    }

    /// As [`Store::transact`].
    ///
    /// # Errors
    /// Those of the store; all whose steps went together get the same.
    pub fn transact(&self, steps: Vec<Step>, timescale: Timescale) -> Answer {
        let gone = || {
            let reason = "its thread has ended".to_owned();
            Arc::new(LedgerError::Unreachable { url: "in this process".to_owned(), reason })
        };
        let (answer, answered) = channel();
        self.jobs.send(Job { steps, timescale, answer }).map_err(|_ended| gone())?;
        answered.recv().map_err(|_ended| gone())?
    }
}

fn serve(mut store: Box<dyn Store>, queue: &Receiver<Job>) {
    while let Ok(first) = queue.recv() {
        let timescale = first.timescale;
        let mut jobs = vec![first];
        let mut other = None;
        while jobs.len() < TOGETHER
            && let Ok(job) = queue.try_recv()
        {
            if job.timescale == timescale {
                jobs.push(job);
            } else {
                other = Some(job);
                break;
            }
        }
        together(store.as_mut(), jobs, timescale);
        if let Some(job) = other {
            let timescale = job.timescale;
            together(store.as_mut(), vec![job], timescale);
        }
    }
}

/// Carries out all jobs in one call.
fn together(store: &mut dyn Store, jobs: Vec<Job>, timescale: Timescale) {
    let (mut steps, mut waiting) = (Vec::with_capacity(jobs.len()), Vec::with_capacity(jobs.len()));
    for mut job in jobs {
        waiting.push((job.steps.len(), job.answer));
        steps.append(&mut job.steps);
    }
    let mut replies = store.transact(&steps, timescale).map(Vec::into_iter).map_err(Arc::new);
    for (count, answer) in waiting {
        let own = match &mut replies {
            Ok(replies) => Ok(replies.by_ref().take(count).collect()),
            Err(error) => Err(Arc::clone(error)),
        };
        // Whoever does not wait any more is not told.
        let _gone = answer.send(own);
    }
}

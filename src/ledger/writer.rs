//! One thread that asks the store for all who wait in a process: whoever comes while it is busy goes with its next call, and so many
//! decisions are made durable by one sync or one journey (group commit). Where the store leaves syncing to its caller ([`Store::log`]) another
//! thread does that: while it syncs what was decided, the first decides for those who came since.

use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::sync::{Arc, mpsc};
use std::thread;

use super::{LedgerError, Log, Reply, Step, Store};
use crate::clock::Timescale;

/// How many callers' steps go together at most.
const TOGETHER: usize = 64;
/// How many may wait before the next has to wait to be let in.
const WAITING: usize = 1_024;

/// Each reply, and its step back.
type Answer = Result<Vec<(Reply, Step)>, Arc<LedgerError>>;

struct Job {
    steps: Vec<Step>,
    timescale: Timescale,
    answer: mpsc::Sender<Answer>,
}

/// What was carried out in one call.
struct Done {
    answers: Vec<(mpsc::Sender<Answer>, Answer)>,
    /// Whether there may be something to sync.
    changes: bool,
}

/// A handle to the thread; clones share it. It ends with the last of them.
#[derive(Clone, Debug)]
pub struct Writer {
    jobs: SyncSender<Job>,
}

impl Writer {
    /// Starts the thread.
    #[must_use]
    pub fn start(mut store: Box<dyn Store>) -> Self {
        let (jobs, queue) = sync_channel(WAITING);
        match store.log() {
            None => {
                let answer = |call: Done| {
                    call.answer(&Ok(()));
                    true
                };
                thread::spawn(move || serve(store, &queue, answer));
            }
            Some(log) => {
                // One call may wait for the sync of another, no more: those who come then go together.
                let (done, to_sync) = sync_channel(1);
                thread::spawn(move || sync(&log, &to_sync));
                thread::spawn(move || serve(store, &queue, |call| done.send(call).is_ok()));
            }
        }
        Self { jobs }
    }

    /// As [`Store::transact`]; gives the steps back beside the replies.
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

/// Carries out what is in the queue and hands on what came of it, as long as somebody takes it.
fn serve(mut store: Box<dyn Store>, queue: &Receiver<Job>, hand_on: impl Fn(Done) -> bool) {
    let mut other = None;
    while let Some(first) = other.take().or_else(|| queue.recv().ok()) {
        let timescale = first.timescale;
        let mut jobs = vec![first];
        while jobs.len() < TOGETHER
            && other.is_none()
            && let Ok(job) = queue.try_recv()
        {
            if job.timescale == timescale {
                jobs.push(job);
            } else {
                other = Some(job);
            }
        }
        if !hand_on(together(store.as_mut(), jobs, timescale)) {
            return;
        }
    }
}

/// Carries out all jobs in one call.
fn together(store: &mut dyn Store, jobs: Vec<Job>, timescale: Timescale) -> Done {
    let (mut steps, mut waiting) = (Vec::with_capacity(jobs.len()), Vec::with_capacity(jobs.len()));
    for mut job in jobs {
        waiting.push((job.steps.len(), job.answer));
        steps.append(&mut job.steps);
    }
    let changes = steps.iter().any(Step::changes);
    let mut replies = store.transact(&steps, timescale).map(|replies| replies.into_iter().zip(steps)).map_err(Arc::new);
    let own = |(count, answer)| match &mut replies {
        Ok(replies) => (answer, Ok(replies.by_ref().take(count).collect())),
        Err(error) => (answer, Err(Arc::clone(error))),
    };
    Done { answers: waiting.into_iter().map(own).collect(), changes }
}

/// Answers what is done when it is durable: all that waits by one sync.
fn sync(log: &Log, to_sync: &Receiver<Done>) {
    while let Ok(first) = to_sync.recv() {
        let calls: Vec<_> = std::iter::once(first).chain(to_sync.try_iter()).collect();
        let synced = if calls.iter().any(|call| call.changes) { log.sync().map_err(Arc::new) } else { Ok(()) };
        calls.into_iter().for_each(|call| call.answer(&synced));
        if synced.is_err() {
            // A later sync may succeed without what this one should have written: nothing is decided here any more.
            return;
        }
    }
}

impl Done {
    /// Tells all who wait, or that it could not be made durable.
    fn answer(self, synced: &Result<(), Arc<LedgerError>>) {
        for (waiting, own) in self.answers {
            // Whoever does not wait any more is not told.
            let _gone = waiting.send(synced.clone().and(own));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What somebody is told whose call is synced by a file that can't be.
    fn told(changes: bool) -> Result<usize, String> {
        let log = Log { url: "sqlite:x".to_owned(), file: std::fs::File::open("/dev/null").unwrap() };
        let (done, to_sync) = sync_channel(1);
        let (answer, answered) = channel();
        done.send(Done { answers: vec![(answer, Ok(Vec::new()))], changes }).unwrap();
        drop(done);
        sync(&log, &to_sync);
        answered.recv().unwrap().map(|replies| replies.len()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_could_not_be_synced_is_an_error() {
        let error = told(true).unwrap_err();
        assert!(error.starts_with("the ledger sqlite:x can't be reached: "), "{error}");
    }

    #[test]
    fn a_question_needs_no_sync() {
        assert_eq!(told(false), Ok(0));
    }
}

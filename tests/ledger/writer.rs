//! One thread that asks for many: everybody gets the own answers, and everybody is told of an error.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use certpace::clock::{SystemClock, Timescale};
use certpace::ledger::{
    Cell, Document, LedgerError, Mark, MemoryStore, Motion, Outcome, Record, Reply, Step, Store, Writer,
};
use certpace::time::Timestamp;

use super::rows::{moving, step};
use super::stores::{Place, START, at, records};

#[test]
fn sixteen_get_the_answers_to_their_own_steps_in_order() {
    let place = Place::sqlite();
    let writer = Writer::start(place.open());
    thread::scope(|scope| {
        for own in 0..16_i64 {
            let writer = writer.clone();
            scope.spawn(move || {
                let timescale = Timescale::stopped(at(own % 2));
                for round in 0..20 {
                    let said = |part| Some(format!("{own} {round} {part}"));
                    let spend = |part| Step { record: said(part), ..moving(&format!("b{own}"), 40, &[Motion::Try]) };
                    let replies = writer.transact(vec![spend(0), step(), spend(1)], timescale).unwrap();
                    let replies: Vec<_> = replies.into_iter().map(|(reply, _)| reply).collect();
                    let [first, question, second] = <[Reply; 3]>::try_from(replies).unwrap();
                    assert!([&first, &question, &second].iter().all(|reply| reply.at == at(own % 2)));
                    assert_eq!(second.mark.sequence, first.mark.sequence + 1);
                    assert_eq!(question.mark, first.mark);
                    assert_eq!([first.outcome, second.outcome], [const { Outcome::Done { denied: Vec::new() } }; 2]);
                }
                let last = writer.transact(vec![moving(&format!("b{own}"), 40, &[Motion::Try])], timescale).unwrap();
                assert_eq!(last[0].0.outcome, Outcome::Done { denied: vec![0] });
            });
        }
    });
    let mut store = place.open();
    let record = records(store.as_mut(), 0);
    assert_eq!(record.len(), 16 * 20 * 2);
    for own in 0..16 {
        let prefix = format!("{own} ");
        let lines: Vec<_> =
            record.iter().filter(|line| line.body.starts_with(&prefix)).map(|line| &line.body).collect();
        let expected: Vec<_> = (0..40).map(|line| format!("{own} {} {}", line / 2, line % 2)).collect();
        assert_eq!(lines, expected.iter().collect::<Vec<_>>());
    }
}

/// A store in memory that lets a test hold back its calls, tells how many steps each has, and can be broken.
struct Slow {
    memory: MemoryStore<SystemClock>,
    calls: SyncSender<usize>,
    go_on: Receiver<bool>,
}

impl Store for Slow {
    fn transact(&mut self, steps: &[Step], timescale: Timescale) -> Result<Vec<Reply>, LedgerError> {
        self.calls.send(steps.len()).unwrap();
        if self.go_on.recv().unwrap() {
            self.memory.transact(steps, timescale)
        } else {
            Err(LedgerError::Unreachable { url: "slow:".to_owned(), reason: "broken".to_owned() })
        }
    }

    fn init(&mut self) -> Result<bool, LedgerError> {
        self.memory.init()
    }

    fn cells(&mut self, realm: &str, show: &mut dyn FnMut(String, Cell)) -> Result<(), LedgerError> {
        self.memory.cells(realm, show)
    }

    fn documents(&mut self, realm: &str, prefix: &str, show: &mut dyn FnMut(Document)) -> Result<(), LedgerError> {
        self.memory.documents(realm, prefix, show)
    }

    fn records(&mut self, from: u64, most: usize, show: &mut dyn FnMut(Record)) -> Result<bool, LedgerError> {
        self.memory.records(from, most, show)
    }

    fn sweep(&mut self, realm: &str, full: Timestamp, record: u64) -> Result<(u64, u64), LedgerError> {
        self.memory.sweep(realm, full, record)
    }

    fn mark(&mut self) -> Result<Mark, LedgerError> {
        self.memory.mark()
    }

    fn check(&mut self) -> Result<(), LedgerError> {
        self.memory.check()
    }

    fn notes(&mut self) -> Vec<String> {
        self.memory.notes()
    }
}

#[test]
fn who_comes_while_the_store_is_busy_goes_with_the_next_call_and_errors_reach_all() {
    let (calls, called) = sync_channel(0);
    let (say, go_on) = sync_channel(1);
    let writer = Writer::start(Box::new(Slow { memory: MemoryStore::new(SystemClock), calls, go_on }));
    let timescale = Timescale::stopped(START);
    thread::scope(|scope| {
        let ask = |writer: Writer| move || writer.transact(vec![step(), step()], timescale);
        let first = scope.spawn(ask(writer.clone()));
        assert_eq!(called.recv().unwrap(), 2);
        let others: Vec<_> = (0..9).map(|_| scope.spawn(ask(writer.clone()))).collect();
        say.send(true).unwrap();
        assert_eq!(first.join().unwrap().unwrap().len(), 2);
        let mut steps = 0;
        while steps < 18 {
            steps += called.recv().unwrap();
            say.send(false).unwrap();
        }
        for other in others {
            assert_eq!(other.join().unwrap().unwrap_err().to_string(), "the ledger slow: can't be reached: broken");
        }
        let again = scope.spawn(ask(writer.clone()));
        assert_eq!(called.recv().unwrap(), 2);
        say.send(true).unwrap();
        assert_eq!(again.join().unwrap().unwrap().len(), 2);
    });
}

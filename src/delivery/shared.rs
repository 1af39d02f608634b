//! A sink that the worker which feeds it and whoever commits its epochs share.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};

use super::epoch::Deliver;
use crate::sink::staged::failed;
use crate::sink::{Sink, SinkError, Staged};

/// So many rows wait for a sink that is busy; then the worker waits with them.
const MOST_WAITING: u64 = 1 << 16;

/// A sink behind a lock that does not hold up the worker which feeds it.
///
/// A commit or a transaction for early rows takes as long as a database does. What is written meanwhile waits in memory, in its order,
/// and goes in before anything else is asked of the sink. Whoever asks gets no error of that which could be taken for an answer to
/// what it asked: a batch that was not taken is lost, and from then on everything fails for good.
pub struct Shared<S: Sink> {
    sink: Mutex<S>,
    waiting: Mutex<Waiting<S::Batch>>,
    /// Why a batch that had waited was not taken.
    broken: OnceLock<String>,
}

struct Waiting<B> {
    batches: VecDeque<(u64, B, u64)>,
    rows: u64,
}

impl<S: Sink> Shared<S> {
    /// Shares `sink`. One worker writes to it.
    pub fn new(sink: S) -> Self {
        let waiting = Waiting { batches: VecDeque::new(), rows: 0 };
        Shared { sink: Mutex::new(sink), waiting: Mutex::new(waiting), broken: OnceLock::new() }
    }

    /// Stages a batch of so many `rows`, as [`Sink::write`] does; where the sink is busy, before its next epoch is prepared.
    ///
    /// # Errors
    /// As there; [`SinkError::Failed`] when a batch that had waited was not taken, or a thread panicked that used the sink.
    pub fn write(&self, epoch: u64, batch: S::Batch, rows: u64) -> Result<(), SinkError> {
        let sink = match self.sink.try_lock() {
            Ok(sink) => sink,
            Err(TryLockError::Poisoned(_)) => return Err(poisoned()),
            Err(TryLockError::WouldBlock) => {
                let mut waiting = self.waiting();
                if waiting.rows < MOST_WAITING {
                    waiting.batches.push_back((epoch, batch, rows));
                    waiting.rows += rows;
                    return Ok(());
                }
                drop(waiting);
                self.sink.lock().map_err(|_| poisoned())?
            }
        };
        self.caught_up(sink)?.write(epoch, batch)
    }

    /// The sink, with all that was written.
    pub(super) fn lock(&self) -> Result<MutexGuard<'_, S>, SinkError> {
        self.caught_up(self.sink.lock().map_err(|_| poisoned())?)
    }

    fn caught_up<'s>(&self, mut sink: MutexGuard<'s, S>) -> Result<MutexGuard<'s, S>, SinkError> {
        // Taken out one by one: nobody who writes is to wait for what others wrote.
        while let (None, Some((epoch, batch))) = (self.broken.get(), self.next_waiting()) {
            if let Err(error) = sink.write(epoch, batch) {
                self.broken.get_or_init(|| format!("rows of epoch {epoch} were not taken: {error}"));
            }
        }
        match self.broken.get() {
            None => Ok(sink),
            Some(cause) => Err(failed("embedded", cause)),
        }
    }

    fn next_waiting(&self) -> Option<(u64, S::Batch)> {
        let mut waiting = self.waiting();
        let (epoch, batch, rows) = waiting.batches.pop_front()?;
        waiting.rows -= rows;
        Some((epoch, batch))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting<S::Batch>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Sink<Batch: Send> + Send> Deliver for Shared<S> {
    fn prepare(&self, epoch: u64) -> Result<Staged, SinkError> {
        self.lock()?.prepare(epoch)
    }
    fn commit(&self, epoch: u64, generation: u64, staged: &Staged) -> Result<(), SinkError> {
        self.lock()?.commit(epoch, generation, staged)
    }
    fn take_back(&self, generation: u64) -> Result<(), SinkError> {
        self.lock()?.take_back(generation)
    }
    fn committed(&self) -> Result<Option<u64>, SinkError> {
        self.lock()?.committed()
    }
    fn refused(&self) -> u64 {
        // What a panic left is of no interest: the next commit says so.
        self.sink.lock().map_or(0, |sink| sink.refused())
    }
    fn finish(&self) -> Result<(), SinkError> {
        self.lock()?.finish()
    }
}

fn poisoned() -> SinkError {
    failed("embedded", "a worker panicked while it wrote; the run cannot go on")
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};
    use std::time::Duration;

    use super::*;

    /// Keeps what is written but 13, and stays in a commit until it is told to go on.
    struct Slow {
        written: Vec<(u64, u64)>,
        entered: mpsc::Sender<()>,
        leave: mpsc::Receiver<()>,
    }

    impl Sink for Slow {
        type Batch = u64;
        fn write(&mut self, epoch: u64, batch: u64) -> Result<(), SinkError> {
            if batch == 13 {
                return Err(SinkError::Unavailable { sink: "slow".to_owned(), cause: "no room".to_owned() });
            }
            self.written.push((epoch, batch));
            Ok(())
        }
        fn prepare(&mut self, _epoch: u64) -> Result<Staged, SinkError> {
            Ok(Staged::default())
        }
        fn commit(&mut self, _epoch: u64, _generation: u64, _staged: &Staged) -> Result<(), SinkError> {
            self.entered.send(()).ok();
            self.leave.recv().ok();
            Ok(())
        }
    }

    fn slow() -> (Arc<Shared<Slow>>, mpsc::Receiver<()>, mpsc::Sender<()>) {
        let ((entered, has_entered), (goes_on, leave)) = (mpsc::channel(), mpsc::channel());
        (Arc::new(Shared::new(Slow { written: Vec::new(), entered, leave })), has_entered, goes_on)
    }

    #[test]
    fn who_writes_does_not_wait_for_a_commit_until_too_much_waits() {
        let (shared, has_entered, goes_on) = slow();
        shared.write(1, 100, 1).expect("nobody else is there");
        let committing = Arc::clone(&shared);
        let commit = std::thread::spawn(move || committing.commit(1, 1, &Staged::default()));
        has_entered.recv().expect("the commit has begun");
        for batch in 101..103 {
            shared.write(2, batch, MOST_WAITING / 2).expect("there is room");
        }
        assert_eq!(shared.waiting().rows, MOST_WAITING);
        let one_more = Arc::clone(&shared);
        let (writes, has_written) = mpsc::channel();
        let waits = std::thread::spawn(move || {
            one_more.write(3, 103, 1).expect("the commit ends");
            writes.send(()).ok();
        });
        let waited = has_written.recv_timeout(Duration::from_millis(200));
        assert_eq!(waited, Err(mpsc::RecvTimeoutError::Timeout), "it waits for the commit");
        goes_on.send(()).expect("it waits for that");
        commit.join().expect("no panic").expect("no error");
        has_written.recv().expect("it is written");
        waits.join().expect("no panic");
        let expected = [(1, 100), (2, 101), (2, 102), (3, 103)];
        assert_eq!(shared.lock().expect("sound").written, expected, "all is there, in its order");
        assert_eq!(shared.waiting().rows, 0);
    }

    #[test]
    fn what_waits_is_in_before_an_epoch_is_prepared() {
        let (shared, ..) = slow();
        let busy = shared.sink.lock().expect("sound");
        shared.write(1, 5, 1).expect("it waits");
        drop(busy);
        shared.prepare(1).expect("no error");
        assert_eq!(shared.sink.lock().expect("sound").written, [(1, 5)]);
    }

    /// Whoever comes first is told, and nobody after it can take the epoch for whole, however often it asks.
    #[test]
    fn a_batch_that_waited_and_was_not_taken_ends_everything() {
        let (shared, ..) = slow();
        let busy = shared.sink.lock().expect("sound");
        [7, 13, 8].into_iter().for_each(|batch| shared.write(1, batch, 1).expect("it waits"));
        drop(busy);
        let lasting = |result: Result<(), SinkError>| {
            let error = result.expect_err("rows are lost");
            assert!(
                error.to_string().contains("epoch 1") && error.to_string().contains("no room"),
                "{error}"
            );
            assert!(!error.is_retriable(), "{error}");
        };
        lasting(shared.committed().map(drop));
        (0..3).for_each(|_| lasting(shared.prepare(1).map(drop)));
        lasting(shared.write(2, 1, 1));
        lasting(shared.finish());
    }
}

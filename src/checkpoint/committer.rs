//! Who decides epochs: on a thread of its own, so that the dataflow goes on meanwhile, or in line where a test wants each step in
//! order. Early rows are written between two epochs.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use super::CheckpointError;
use super::commit::{Decided, Decision, Pen};
use crate::delivery::{EarlyRows, Show};

/// So many early rows of a sink may wait; more are dropped.
const MOST_EARLY: usize = 1 << 17;
/// So many sinks may have early rows that wait.
const MOST_SINKS: usize = 63;

/// Decides epochs, one after the other.
pub trait Committer {
    /// Begins to decide an epoch; the one before has been answered.
    fn submit(&mut self, decision: Decision);
    /// The answer, once it is there.
    fn poll(&mut self) -> Option<Result<Decided, CheckpointError>>;
}

/// Decides at once, in the caller's thread; early rows are written when it is asked for anything.
pub struct Inline {
    pen: Pen,
    waiting: Arc<Waiting>,
    answer: Option<Result<Decided, CheckpointError>>,
}

impl Inline {
    /// A committer with `pen`.
    pub fn new(pen: Pen) -> Self {
        let waiting = Arc::<Waiting>::default();
        let offered = Arc::clone(&waiting);
        pen.early.open(move |show| {
            offered.enters(show);
        });
        Inline { pen, waiting, answer: None }
    }

    fn show(&mut self) {
        while let Some(show) = self.waiting.first() {
            self.pen.show(show);
        }
    }
}

impl Committer for Inline {
    fn submit(&mut self, decision: Decision) {
        self.show();
        self.answer = Some(self.pen.decide(decision));
    }
    fn poll(&mut self) -> Option<Result<Decided, CheckpointError>> {
        self.show();
        self.answer.take()
    }
}

impl Drop for Inline {
    fn drop(&mut self) {
        self.pen.early.close();
    }
}

/// What the thread of a committer is asked for.
enum Work {
    Decide(Box<Decision>),
    /// To show what waits for this sink.
    Show(usize),
}

/// Early rows that wait for a committer's thread.
#[derive(Default)]
struct Waiting {
    /// By sink: what comes while a database takes its time grows together into one transaction.
    shows: Mutex<BTreeMap<usize, Show>>,
    /// Whether an epoch is to be decided, or the run to end: its end gives all early rows again, so those that wait are of no use.
    decides: AtomicBool,
}

impl Waiting {
    /// Takes early rows; whether their sink is to be asked for.
    fn enters(&self, show: Show) -> bool {
        match self.shows.lock().unwrap_or_else(PoisonError::into_inner).entry(show.sink) {
            Entry::Vacant(entry) => {
                entry.insert(show);
                true
            }
            Entry::Occupied(mut entry) => {
                let waiting = entry.get_mut();
                if waiting.epoch != show.epoch {
                    // The end of that epoch has given them again.
                    *waiting = show;
                } else if waiting.rows() + show.rows() <= MOST_EARLY {
                    waiting.extend(show);
                }
                false
            }
        }
    }

    fn leaves(&self, sink: usize) -> Option<Show> {
        self.shows.lock().unwrap_or_else(PoisonError::into_inner).remove(&sink)
    }

    fn first(&self) -> Option<Show> {
        self.shows.lock().unwrap_or_else(PoisonError::into_inner).pop_first().map(|(_, show)| show)
    }
}

/// Decides on a thread of its own, and writes early rows in between.
pub struct Threaded {
    work: Option<SyncSender<Work>>,
    waiting: Arc<Waiting>,
    early: EarlyRows,
    answers: Receiver<Result<Decided, CheckpointError>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Threaded {
    /// Starts the thread with `pen`.
    pub fn start(mut pen: Pen) -> Self {
        // There is always room for the one decision.
        let (work, waiting) = sync_channel::<Work>(MOST_SINKS + 1);
        let (answer, answers) = sync_channel(1);
        let (early, account) = (pen.early.clone(), Arc::<Waiting>::default());
        let (to, offered, taken) = (work.clone(), Arc::clone(&account), Arc::clone(&account));
        early.open(move |show| {
            let sink = show.sink;
            if sink < MOST_SINKS && offered.enters(show) && to.try_send(Work::Show(sink)).is_err() {
                offered.leaves(sink);
            }
        });
        let thread = std::thread::spawn(move || {
            for work in waiting {
                match work {
                    Work::Show(sink) => {
                        if let Some(show) = taken.leaves(sink)
                            && !taken.decides.load(Ordering::Acquire)
                        {
                            pen.show(show);
                        }
                    }
                    Work::Decide(decision) => {
                        taken.decides.store(false, Ordering::Release);
                        if answer.send(pen.decide(*decision)).is_err() {
                            break;
                        }
                    }
                }
            }
        });
        Threaded { work: Some(work), waiting: account, early, answers, thread: Some(thread) }
    }
}

impl Committer for Threaded {
    fn submit(&mut self, decision: Decision) {
        if let Some(work) = &self.work {
            self.waiting.decides.store(true, Ordering::Release);
            // A thread that has gone has answered, or the process is ending.
            drop(work.send(Work::Decide(Box::new(decision))));
        }
    }
    fn poll(&mut self) -> Option<Result<Decided, CheckpointError>> {
        self.answers.try_recv().ok()
    }
}

impl Drop for Threaded {
    fn drop(&mut self) {
        self.early.close();
        self.waiting.decides.store(true, Ordering::Release);
        self.work.take();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

//! Who decides epochs: on a thread of its own, so that the dataflow goes on meanwhile, or in line where a test wants each step in
//! order. Early rows are written between two epochs.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use super::CheckpointError;
use super::commit::{Decided, Decision, Pen};
use crate::delivery::{EarlyRows, Show};

/// So many batches of early rows may wait, and so many rows in all but the first; more are dropped.
const MOST_EARLY: usize = 63;
const MOST_EARLY_ROWS: usize = 1 << 17;

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
    early: Arc<Mutex<VecDeque<Show>>>,
    answer: Option<Result<Decided, CheckpointError>>,
}

impl Inline {
    /// A committer with `pen`.
    pub fn new(pen: Pen) -> Self {
        let early = Arc::<Mutex<VecDeque<Show>>>::default();
        let offered = Arc::clone(&early);
        pen.early.open(move |show| {
            let mut waiting = offered.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.len() < MOST_EARLY {
                waiting.push_back(show);
            }
        });
        Inline { pen, early, answer: None }
    }

    fn show(&mut self) {
        let waiting = std::mem::take(&mut *self.early.lock().unwrap_or_else(PoisonError::into_inner));
        for show in waiting {
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
    Show(Show),
}

/// What waits for a committer's thread.
#[derive(Default)]
struct Waiting {
    batches: AtomicUsize,
    rows: AtomicUsize,
    /// Whether an epoch is to be decided, or the run to end: its end gives all early rows again, so those that wait are of no use.
    decides: AtomicBool,
}

impl Waiting {
    /// Takes account of early rows that are offered; whether there is room for them.
    fn enters(&self, rows: usize) -> bool {
        let batches = self.batches.fetch_add(1, Ordering::AcqRel);
        let before = self.rows.fetch_add(rows, Ordering::AcqRel);
        batches < MOST_EARLY && (batches == 0 || before + rows <= MOST_EARLY_ROWS)
    }

    fn leaves(&self, rows: usize) {
        self.batches.fetch_sub(1, Ordering::AcqRel);
        self.rows.fetch_sub(rows, Ordering::AcqRel);
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
        let (work, waiting) = sync_channel::<Work>(MOST_EARLY + 1);
        let (answer, answers) = sync_channel(1);
        let (early, account) = (pen.early.clone(), Arc::<Waiting>::default());
        let (to, offered, taken) = (work.clone(), Arc::clone(&account), Arc::clone(&account));
        early.open(move |show| {
            let rows = show.rows;
            if !offered.enters(rows) || to.try_send(Work::Show(show)).is_err() {
                offered.leaves(rows);
            }
        });
        let thread = std::thread::spawn(move || {
            for work in waiting {
                match work {
                    Work::Show(show) => {
                        taken.leaves(show.rows);
                        if !taken.decides.load(Ordering::Acquire) {
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

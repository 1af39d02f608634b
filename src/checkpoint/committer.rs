//! Who decides epochs: on a thread of its own, so that the dataflow goes on meanwhile, or in line where a test wants each step in
//! order. Early rows are written beside it, by another thread: an epoch that takes its time does not hold up those of the next. So is
//! removed what is old, by a third.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::warn;

use super::CheckpointError;
use super::commit::{Decided, Decision, Order, Pen};
use super::tidy::Janitor;
use crate::delivery::{EarlyRows, Show};

/// So many early rows of a sink may wait; more are dropped.
const MOST_EARLY: usize = 1 << 17;
/// So many times may sinks be asked for that have early rows waiting: each once an epoch.
const MOST_ASKED: usize = 63;

/// Decides epochs, one after the other.
pub trait Committer {
    /// Begins to decide an epoch; the one before has been answered.
    fn submit(&mut self, decision: Decision);
    /// The answer, once it is there.
    fn poll(&mut self) -> Option<Result<Decided, CheckpointError>>;
}

/// Writes early rows. After an error their sink gets none until the next epoch: one that is away is not tried by each batch.
struct Shower {
    generation: u64,
    /// The epoch in which it last failed, by the sink's number among those that show.
    failed: BTreeMap<usize, u64>,
}

impl Shower {
    fn of(pen: &Pen) -> Self {
        Shower { generation: pen.generation, failed: BTreeMap::new() }
    }

    fn show(&mut self, show: Show) {
        let (sink, epoch) = (show.sink, show.epoch);
        if self.failed.get(&sink) != Some(&epoch)
            && let Err(error) = show.write(self.generation)
        {
            warn!(%error, "rows of open windows are not shown before the end of their epoch");
            self.failed.insert(sink, epoch);
        }
    }
}

/// Decides at once, in the caller's thread; early rows are written when it is asked for anything.
pub struct Inline {
    pen: Pen,
    janitor: Janitor,
    shower: Shower,
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
        Inline { shower: Shower::of(&pen), janitor: pen.janitor(), pen, waiting, answer: None }
    }

    fn show(&mut self) {
        while let Some(show) = self.waiting.first() {
            self.shower.show(show);
        }
    }
}

impl Committer for Inline {
    fn submit(&mut self, decision: Decision) {
        self.show();
        let first = decision.epoch as usize;
        let answer = self.pen.decide(decision, Order::InTurn(first));
        if answer.is_ok()
            && let Some(written) = self.pen.written()
        {
            self.janitor.tidy(written);
        }
        self.answer = Some(answer);
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

/// Early rows that wait to be written.
#[derive(Default)]
struct Waiting {
    /// By sink and epoch: what comes while a database takes its time grows together into one transaction.
    shows: Mutex<BTreeMap<(usize, u64), Show>>,
    /// Whether the run ends: nobody needs them any more.
    ends: AtomicBool,
}

impl Waiting {
    /// Takes early rows; whether their sink is to be asked for.
    fn enters(&self, show: Show) -> bool {
        let (sink, epoch) = (show.sink, show.epoch);
        let mut shows = self.shows.lock().unwrap_or_else(PoisonError::into_inner);
        // Those of the epoch before are wanted as long as it is not decided. What is older comes with the end of its epoch.
        shows.retain(|(of, older), _| *of != sink || *older + 1 >= epoch);
        match shows.entry((sink, epoch)) {
            Entry::Vacant(entry) => {
                entry.insert(show);
                true
            }
            Entry::Occupied(mut entry) => {
                let waiting = entry.get_mut();
                if waiting.rows() + show.rows() <= MOST_EARLY {
                    waiting.extend(show);
                }
                false
            }
        }
    }

    /// The oldest of a sink's.
    fn leaves(&self, sink: usize) -> Option<Show> {
        let mut shows = self.shows.lock().unwrap_or_else(PoisonError::into_inner);
        let first = *shows.range((sink, 0)..=(sink, u64::MAX)).next()?.0;
        shows.remove(&first)
    }

    fn first(&self) -> Option<Show> {
        self.shows.lock().unwrap_or_else(PoisonError::into_inner).pop_first().map(|(_, show)| show)
    }
}

/// Decides on a thread of its own, and writes early rows and tidies up on others.
pub struct Threaded {
    decisions: Option<SyncSender<Box<Decision>>>,
    waiting: Arc<Waiting>,
    early: EarlyRows,
    answers: Receiver<Result<Decided, CheckpointError>>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Threaded {
    /// Starts the threads with `pen`.
    pub fn start(mut pen: Pen) -> Self {
        // There is always room for the one decision.
        let (decisions, to_decide) = sync_channel::<Box<Decision>>(1);
        let (answer, answers) = sync_channel(1);
        let (sinks, to_show) = sync_channel(MOST_ASKED);
        let (early, waiting) = (pen.early.clone(), Arc::<Waiting>::default());
        let (offered, taken) = (Arc::clone(&waiting), Arc::clone(&waiting));
        early.open(move |show| {
            let sink = show.sink;
            // A sink is asked for once an epoch, whatever waits for it.
            if offered.enters(show) && sinks.try_send(sink).is_err() {
                offered.leaves(sink);
            }
        });
        let (mut shower, mut janitor) = (Shower::of(&pen), pen.janitor());
        let (to_tidy, tidied) = sync_channel(1);
        let shows = std::thread::spawn(move || {
            for sink in to_show {
                if let Some(show) = taken.leaves(sink)
                    && !taken.ends.load(Ordering::Acquire)
                {
                    shower.show(show);
                }
            }
        });
        let decides = std::thread::spawn(move || {
            let mut goes_on = false;
            for decision in to_decide {
                let decided = pen.decide(*decision, Order::Beside);
                goes_on = decided.is_ok();
                if answer.send(decided).is_err() {
                    break;
                }
                // One that has still to do hears of it with the next epoch.
                if goes_on
                    && let Some(written) = pen.written()
                    && let Err(TrySendError::Full(written) | TrySendError::Disconnected(written)) =
                        to_tidy.try_send(written)
                {
                    pen.still_written(written);
                }
            }
            // The last epoch's, which may have been told already.
            if goes_on && let Some(written) = pen.written() {
                drop(to_tidy.send(written));
            }
        });
        let tidies = std::thread::spawn(move || {
            for written in tidied {
                janitor.tidy(written);
            }
        });
        Threaded {
            decisions: Some(decisions),
            waiting,
            early,
            answers,
            threads: vec![shows, decides, tidies],
        }
    }
}

impl Committer for Threaded {
    fn submit(&mut self, decision: Decision) {
        if let Some(decisions) = &self.decisions {
            // A thread that has gone has answered, or the process is ending.
            drop(decisions.send(Box::new(decision)));
        }
    }
    fn poll(&mut self) -> Option<Result<Decided, CheckpointError>> {
        self.answers.try_recv().ok()
    }
}

impl Drop for Threaded {
    fn drop(&mut self) {
        // With the way of early rows the end of their thread's queue is gone.
        self.early.close();
        self.waiting.ends.store(true, Ordering::Release);
        self.decisions.take();
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;
    use crate::checkpoint::DirStore;
    use crate::delivery::Deliver;
    use crate::ingest::Counts;
    use crate::runtime::SystemClock;
    use crate::sink::{SinkError, Staged};

    /// What happens in a commit.
    type InCommit = Box<dyn Fn() -> Result<(), SinkError> + Send + Sync>;

    struct Doing(InCommit);

    impl Deliver for Doing {
        fn prepare(&self, _epoch: u64) -> Result<Staged, SinkError> {
            Ok(Staged::default())
        }
        fn commit(&self, _epoch: u64, _generation: u64, _staged: &Staged) -> Result<(), SinkError> {
            (self.0)()
        }
        fn take_back(&self, _generation: u64) -> Result<(), SinkError> {
            Ok(())
        }
        fn committed(&self) -> Result<Option<u64>, SinkError> {
            Ok(None)
        }
        fn refused(&self) -> u64 {
            0
        }
        fn finish(&self) -> Result<(), SinkError> {
            Ok(())
        }
    }

    fn decision(epoch: u64) -> Decision {
        Decision {
            epoch,
            watermark_us: 0,
            wall_us: None,
            open: Vec::new(),
            partitions: Vec::new(),
            counts: Counts::default(),
            tallies: Vec::new(),
            blocks: Vec::new(),
            finished: false,
            idle: Vec::new(),
        }
    }

    /// Decides into `dir`, with sinks of these names that do this.
    fn pen(dir: &Path, early: &EarlyRows, sinks: Vec<(&str, InCommit)>) -> Pen {
        let sink = |(name, commit): (&str, InCommit)| {
            let sink: Arc<dyn Deliver> = Arc::new(Doing(commit));
            (name.to_owned(), sink)
        };
        Pen {
            store: Arc::new(DirStore::open(dir).expect("a store")),
            mirror: None,
            sinks: sinks.into_iter().map(sink).collect(),
            pipeline: "test".to_owned(),
            schema: String::new(),
            generation: 1,
            decided: None,
            deltas: Vec::new(),
            unread: Vec::new(),
            input: Default::default(),
            idle_lines: None,
            early: early.clone(),
            compactions: Arc::default(),
            board: Arc::default(),
            keep: 1,
            clock: Arc::new(SystemClock),
            retry: Box::new(|tries| tries < 1_000),
        }
    }

    fn answer(committer: &mut Threaded) -> Result<Decided, CheckpointError> {
        loop {
            match committer.poll() {
                Some(answer) => break answer,
                None => std::thread::yield_now(),
            }
        }
    }

    #[test]
    fn a_sink_that_is_away_does_not_keep_from_the_others_what_is_decided() {
        let dir = tempfile::tempdir().expect("a directory");
        let (visible, shows) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let unavailable =
            |sink: &str| SinkError::Unavailable { sink: sink.to_owned(), cause: "it is away".to_owned() };
        // Away until the other one has come back, which is away once.
        let (comes_back, tries) = (Arc::clone(&visible), AtomicBool::new(false));
        let away: InCommit = Box::new(move || {
            let is_first = !tries.swap(true, Ordering::AcqRel);
            if is_first || !comes_back.load(Ordering::Acquire) { Err(unavailable("away")) } else { Ok(()) }
        });
        let was_away = AtomicBool::new(false);
        let other: InCommit = Box::new(move || {
            if !was_away.swap(true, Ordering::AcqRel) {
                return Err(unavailable("other"));
            }
            visible.store(true, Ordering::Release);
            Ok(())
        });
        let fails = Arc::clone(&shows);
        let broken: InCommit = Box::new(move || match fails.load(Ordering::Acquire) {
            true => Err(SinkError::Failed { sink: "broken".to_owned(), cause: "it is broken".to_owned() }),
            false => Ok(()),
        });
        let sinks = vec![("away", away), ("broken", broken), ("other", other)];
        let mut committer = Threaded::start(pen(dir.path(), &EarlyRows::default(), sinks));
        committer.submit(decision(1));
        assert_eq!(answer(&mut committer).expect("it comes back"), Decided { epoch: 1, finished: false });
        shows.store(true, Ordering::Release);
        committer.submit(decision(2));
        let error = answer(&mut committer).expect_err("one of them is broken").to_string();
        assert!(error.contains("it is broken"), "{error}");
    }

    #[test]
    fn early_rows_do_not_wait_for_the_commit_of_the_epoch_before() {
        let dir = tempfile::tempdir().expect("a directory");
        let ((entered, has_entered), (goes_on, leave)) = (channel(), channel::<()>());
        let leave = Mutex::new(leave);
        // Stays in a commit until it is told to go on.
        let slow: InCommit = Box::new(move || {
            entered.send(()).ok();
            leave.lock().unwrap_or_else(PoisonError::into_inner).recv().ok();
            Ok(())
        });
        let early = EarlyRows::default();
        let mut committer = Threaded::start(pen(dir.path(), &early, vec![("slow", slow)]));
        let (shows, shown) = channel();
        let offer = |sink, epoch| {
            let shows = shows.clone();
            early.offer(Show::of(sink, epoch, move || {
                shows.send((sink, epoch)).ok();
            }));
        };
        let next = || shown.recv_timeout(Duration::from_secs(60)).expect("they are written");
        offer(0, 1);
        assert_eq!(next(), (0, 1));
        committer.submit(decision(1));
        has_entered.recv().expect("its commit has begun");
        offer(0, 2);
        assert_eq!(next(), (0, 2), "while it goes on");
        offer(0, 1);
        assert_eq!(next(), (0, 1), "its commit may take its time");
        offer(1, 2);
        assert_eq!(next(), (1, 2));
        goes_on.send(()).expect("it waits for that");
        assert_eq!(answer(&mut committer).expect("no error"), Decided { epoch: 1, finished: false });
        drop(committer);
        offer(0, 3);
        drop(shows);
        assert!(shown.try_recv().is_err(), "nobody is there any more");
    }

    #[test]
    fn early_rows_of_two_epochs_wait_for_a_sink() {
        let waiting = Waiting::default();
        let enters = |sink, epoch| waiting.enters(Show::of(sink, epoch, || {}));
        assert!(enters(0, 1) && enters(1, 1));
        assert!(!enters(0, 1), "they grow together");
        assert!(enters(0, 2));
        assert!(enters(0, 3), "and the end of the first has given its own by now");
        let left = |sink| waiting.leaves(sink).map(|show| (show.sink, show.epoch));
        assert_eq!([left(0), left(0), left(0)], [Some((0, 2)), Some((0, 3)), None]);
        assert_eq!([left(1), left(1)], [Some((1, 1)), None]);
    }
}

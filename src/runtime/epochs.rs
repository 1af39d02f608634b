//! Epochs as a worker's operators see them.
//!
//! ```text
//! source    reads epoch e ── told to end it ── flushes, notes where it stands, moves to e + 1 ── waits ── reads
//! operators                                    save their state, and only then let go of e
//! probe                                                              has passed e: nothing of e is under way
//! ```
//!
//! Sources are **aligned**: none sends data of epoch e + 1 before everything of epoch e has come to rest on all
//! workers. So operators hold the state of one epoch and keep no versions, and what they save is a consistent cut
//! (Chandy and Lamport, 1985, with empty channels). The price is one round of messages an epoch.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use timely::dataflow::operators::probe::Handle as ProbeHandle;
use timely::scheduling::Activator;

use crate::checkpoint::PartitionCut;
use crate::ingest::IdleDecision;
use crate::record::Partition;
use crate::state::StateHub;
use crate::tick::{Tick, open_epoch, watermark_us};

/// Where a run with checkpoints begins, the same on all its workers.
#[derive(Debug, Default)]
pub struct EpochPlan {
    /// From the dataflow's epochs to the run's: what is added.
    pub base: i64,
    /// Output of the run's epochs up to this one has been decided before, and is thrown away.
    pub decided: u64,
    /// Whether the state is that of an earlier epoch. The dataflow's first epoch is then that of the restoring.
    pub is_restored: bool,
    /// Where each partition stood at the end of the restored epoch, in its order then.
    pub start: Vec<PartitionCut>,
    /// Where the dataflow's event time stood then. Windows up to it have closed.
    pub start_watermark_us: Option<i64>,
    /// Where the dataflow's second epoch ends, if it only repeats what is decided.
    pub until: Option<Vec<PartitionCut>>,
    /// Where the dataflow's event time stood at that end. It must stand there again: an earlier time would give windows a second
    /// time in the next epoch, a later one would throw away what was never given.
    pub until_watermark_us: Option<i64>,
    /// What was decided about idle partitions in the epochs that are repeated.
    pub idle: Vec<IdleDecision>,
    /// Where partitions were to be read from when the run first began, for those of which nothing has been read.
    pub starts: BTreeMap<Partition, i64>,
}

impl EpochPlan {
    /// The run's epoch of the dataflow's epoch `tick`.
    pub fn epoch(&self, tick: u64) -> u64 {
        u64::try_from(tick as i64 + self.base).unwrap_or(0)
    }

    /// Where a partition of which nothing has been read begins; `by_source` is what the source says now. One that came after
    /// the run had begun is read from its beginning.
    pub fn begin_of(&self, id: &Partition, by_source: i64) -> i64 {
        if self.starts.is_empty() { by_source } else { self.starts.get(id).copied().unwrap_or(0) }
    }

    /// The dataflow's first epoch whose output is not thrown away.
    pub fn first_given(&self) -> u64 {
        u64::try_from(self.decided as i64 + 1 - self.base).unwrap_or(0)
    }

    /// The dataflow's epoch in which sources begin.
    pub fn first(&self) -> u64 {
        if self.is_restored { Tick::FIRST_EPOCH + 1 } else { Tick::FIRST_EPOCH }
    }
}

/// How many batches of an epoch are told apart for the latency's sake.
const MOST_BATCHES: usize = 1_024;

/// Where a worker's live partitions stand in event time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standing {
    /// The earliest time of the partitions that hold windows open; `None` when none does.
    pub(crate) holding_us: Option<i64>,
    /// Whether a partition is released, and follows the others.
    pub(crate) released: bool,
    /// The largest watermark of all partitions, `i64::MIN` before the first record.
    pub(crate) largest_us: i64,
    /// When the last record was read, by the worker's own monotonic clock.
    pub(crate) read_us: i64,
}

struct Inner {
    plan: Arc<EpochPlan>,
    /// Behind all operators.
    probe: ProbeHandle<Tick>,
    hub: StateHub,
    /// Whether epochs end before the input does.
    checkpoints: bool,
    /// The last epoch that sources were told to end.
    end: Cell<u64>,
    /// The last epoch that sources may work in.
    begun: Cell<u64>,
    /// When worker 0 began it, by its clock; `None` where the input is no live one.
    wall_us: Cell<Option<i64>>,
    cuts: RefCell<Vec<PartitionCut>>,
    batches: RefCell<Vec<(i64, u64)>>,
    idle: RefCell<Vec<IdleDecision>>,
    /// Of a live source.
    standing: Cell<Option<Standing>>,
    /// The earliest time of all partitions of the run that hold windows open, as worker 0 has found it.
    agreed_us: Cell<i64>,
    source: RefCell<Vec<Activator>>,
}

/// A worker's epochs: shared by its operators and by the loop that drives it.
#[derive(Clone)]
pub struct Epochs(Rc<Inner>);

impl Epochs {
    /// A single epoch that ends with the input, of which nothing is kept: a replay.
    pub fn single() -> Self {
        let epochs = Epochs::make(Arc::default(), StateHub::none(), false);
        epochs.begin(epochs.plan().first(), None);
        epochs
    }

    /// Epochs that are ended and begun by [`drive`](super::drive()).
    pub fn with_checkpoints(plan: Arc<EpochPlan>, hub: StateHub) -> Self {
        Epochs::make(plan, hub, true)
    }

    fn make(plan: Arc<EpochPlan>, hub: StateHub, checkpoints: bool) -> Self {
        Epochs(Rc::new(Inner {
            plan,
            probe: ProbeHandle::new(),
            hub,
            checkpoints,
            end: Cell::new(0),
            // Nothing is read before all workers have come out of the restoring: an operator that saw its frontier leap from
            // there into the first epoch would give what closes on the way to the epoch of the restoring, which nobody delivers.
            begun: Cell::new(0),
            wall_us: Cell::new(None),
            cuts: RefCell::default(),
            batches: RefCell::default(),
            idle: RefCell::default(),
            standing: Cell::new(None),
            agreed_us: Cell::new(i64::MIN),
            source: RefCell::default(),
        }))
    }

    /// Where the run begins.
    pub fn plan(&self) -> &EpochPlan {
        &self.0.plan
    }

    /// Where operators' state comes from and goes to.
    pub fn hub(&self) -> &StateHub {
        &self.0.hub
    }

    /// The probe that every last operator of the dataflow is to be attached to.
    pub fn probe(&self) -> &ProbeHandle<Tick> {
        &self.0.probe
    }

    /// Whether the restoring is over, everywhere as far as is known here.
    pub(super) fn is_restored(&self) -> bool {
        !self.0.plan.is_restored || self.open().is_none_or(|open| open > Tick::FIRST_EPOCH)
    }

    /// Whether epochs end before the input does.
    pub(crate) fn has_checkpoints(&self) -> bool {
        self.0.checkpoints
    }

    /// Whether sources were told to end `epoch`.
    pub(crate) fn is_to_end(&self, epoch: u64) -> bool {
        self.0.end.get() >= epoch
    }

    /// Whether sources may work in `epoch`.
    pub(crate) fn has_begun(&self, epoch: u64) -> bool {
        self.0.begun.get() >= epoch
    }

    /// What columns of wall-clock time have in the epoch under way, on all workers alike: microseconds since the Unix epoch.
    /// `None` where they repeat Kafka's timestamps: the input is not [live](crate::source::Source::is_live).
    pub fn wall_us(&self) -> Option<i64> {
        self.0.wall_us.get()
    }

    /// Keeps where the worker's partitions stand, and what was decided about them in the epoch; the next call replaces it.
    pub(crate) fn note_cuts(&self, cuts: Vec<PartitionCut>, idle: Vec<IdleDecision>) {
        self.0.cuts.replace(cuts);
        self.0.idle.replace(idle);
    }

    /// Says where the worker's partitions stand in event time.
    pub(crate) fn note_standing(&self, standing: Standing) {
        self.0.standing.set(Some(standing));
    }

    /// The event time that released partitions follow.
    pub(crate) fn agreed_us(&self) -> i64 {
        self.0.agreed_us.get()
    }

    pub(super) fn standing(&self) -> Option<Standing> {
        self.0.standing.get()
    }

    pub(super) fn agree(&self, agreed_us: i64) {
        if agreed_us > self.0.agreed_us.get() {
            self.0.agreed_us.set(agreed_us);
            self.wake();
        }
    }

    /// What was decided about idle partitions in the epoch that the source last ended. It is taken once.
    pub(super) fn take_idle(&self) -> Vec<IdleDecision> {
        self.0.idle.take()
    }

    /// Where the worker's partitions stood when the source last ended an epoch, or its input.
    pub(super) fn cuts(&self) -> Vec<PartitionCut> {
        self.0.cuts.borrow().clone()
    }

    /// Notes a batch of `records` accepted records by the event time of the last of them, so that their latency is known
    /// when their epoch is visible. Nothing is kept where epochs are not decided one by one.
    pub(crate) fn note_batch(&self, time_us: i64, records: u64) {
        if !self.0.checkpoints {
            return;
        }
        let mut batches = self.0.batches.borrow_mut();
        let is_full = batches.len() >= MOST_BATCHES;
        match batches.last_mut() {
            // An epoch of very many batches is told by its first ones.
            Some(last) if is_full => last.1 += records,
            _ => batches.push((time_us, records)),
        }
    }

    /// Takes out the batches noted since the last call.
    pub(super) fn batches(&self) -> Vec<(i64, u64)> {
        self.0.batches.take()
    }

    /// Wakes `source` when an epoch is to be ended or begun.
    pub(crate) fn wakes(&self, source: Activator) {
        self.0.source.borrow_mut().push(source);
    }

    pub(super) fn end(&self, epoch: u64) {
        self.0.end.set(epoch.max(self.0.end.get()));
        self.wake();
    }

    /// The sources may work in `epoch`, which began at `wall_us`. All that the epoch before has given has come to rest.
    pub(super) fn begin(&self, epoch: u64, wall_us: Option<i64>) {
        if epoch > self.0.begun.get() {
            self.0.begun.set(epoch);
            self.0.wall_us.set(wall_us);
        }
        self.wake();
    }

    /// Schedules the sources.
    pub(super) fn wake(&self) {
        self.0.source.borrow().iter().for_each(Activator::activate);
    }

    /// The oldest epoch that is under way anywhere; `None` when the input has ended and nothing is.
    pub(super) fn open(&self) -> Option<u64> {
        self.0.probe.with_frontier(open_epoch)
    }

    /// The dataflow's event time; `None` when the input has ended.
    pub(super) fn watermark_us(&self) -> Option<i64> {
        self.0.probe.with_frontier(watermark_us)
    }
}

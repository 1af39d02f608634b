//! Where a run's facts are stated, one board a pipeline and process.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::time::Duration;

use super::conservation::Conservation;
use super::epochs::EpochBoard;
use super::families::Family;
use super::partition::PartitionBoard;
use super::sample::{Sample, Samples};
use super::sinks::SinkBoard;
use super::snapshot::{OutputView, Snapshot, ValueView, mark_holder};
use super::steps::{Step, Trace};
use crate::checkpoint::Manifest;
use crate::delivery::Tallies;
use crate::record::{Partition, Record};
use crate::state::StateBlock;

/// How many partitions, and how many of a pipeline's own figures, are told apart at most: what somebody else decides
/// must not decide how much there is to scrape.
const MOST: usize = 2_000;

/// A metric's name, and its labels with their values.
type Figure = (&'static str, Vec<(&'static str, String)>);

/// Who a board is of.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// The pipeline.
    pub pipeline: String,
    /// The process, from 0.
    pub process: usize,
    /// How many workers the process has.
    pub workers: usize,
    /// Every output, in the pipeline's order; those that records meet come first.
    pub outputs: Vec<String>,
}

/// The sinks of a stream.
#[derive(Clone, Debug, Default)]
pub struct Fed(Vec<Arc<SinkBoard>>);

impl Fed {
    /// States that rows were given to the sinks.
    pub fn rows(&self, rows: u64) {
        self.0.iter().for_each(|sink| sink.rows(rows));
    }
}

/// The facts of a pipeline's run in one process.
#[derive(Debug, Default)]
pub struct Board {
    identity: RwLock<Identity>,
    partitions: RwLock<BTreeMap<Partition, Arc<PartitionBoard>>>,
    sinks: RwLock<Vec<Arc<SinkBoard>>>,
    fed: RwLock<BTreeMap<String, Vec<Arc<SinkBoard>>>>,
    epochs: EpochBoard,
    frontier_us: AtomicI64,
    phase: Mutex<Option<&'static str>>,
    tallies: Mutex<Option<Arc<Tallies>>>,
    values: Mutex<BTreeMap<Figure, f64>>,
    late: Samples,
    rejected: Samples,
    spoken_for: AtomicBool,
    others: Mutex<BTreeMap<usize, Snapshot>>,
    trace: OnceLock<Box<dyn Trace>>,
}

impl Board {
    /// Says whose board it is.
    pub fn identify(&self, identity: Identity) {
        if let Ok(mut mine) = self.identity.write() {
            *mine = identity;
        }
    }

    /// The board of a partition that is read here. Beyond a number that nobody scrapes gladly, partitions share one.
    pub fn partition(&self, id: &Partition) -> Arc<PartitionBoard> {
        let known = |all: &BTreeMap<_, Arc<PartitionBoard>>| all.get(id).map(Arc::clone);
        let found = self.partitions.read().ok().and_then(|all| known(&all));
        if let Some(found) = found {
            return found;
        }
        let Ok(mut all) = self.partitions.write() else { return Arc::new(PartitionBoard::new(id.clone())) };
        let id = if all.len() < MOST { id.clone() } else { Partition::new("(others)", -1) };
        Arc::clone(all.entry(id.clone()).or_insert_with(|| Arc::new(PartitionBoard::new(id))))
    }

    /// States the dataflow's event time as a worker sees it.
    pub fn frontier(&self, us: i64) {
        self.frontier_us.store(us, Ordering::Relaxed);
    }

    /// Gives the outputs' rows, which are counted elsewhere.
    pub fn tallied(&self, tallies: &Arc<Tallies>) {
        if let Ok(mut mine) = self.tallies.lock() {
            *mine = Some(Arc::clone(tallies));
        }
    }

    /// States that the run is over: `finished`, `stopped` or `failed`.
    pub fn over(&self, phase: &'static str) {
        if let Ok(mut mine) = self.phase.lock() {
            *mine = Some(phase);
        }
    }

    /// Keeps a late record as a sample.
    pub(crate) fn late_sample(&self, partition: &Partition, record: &Record<'_>, late_by_us: i64) {
        // Rounded up, as the header of the late record has it.
        let detail = format!("{} ms", late_by_us.saturating_add(999).div_euclid(1000));
        self.late.keep(Sample::of(partition, record, "late", detail));
    }

    /// Keeps a refused record as a sample.
    pub(crate) fn rejected_sample(
        &self,
        partition: &Partition,
        record: &Record<'_>,
        reason: &str,
        detail: &str,
    ) {
        self.rejected.keep(Sample::of(partition, record, reason, detail.to_owned()));
    }

    /// Sets a figure of the pipeline's own, one of `family`, whose labels beside `pipeline` have these values.
    pub fn set(&self, family: &'static Family, labels: &[&str], value: f64) {
        self.change(family, labels, |old| *old = value);
    }

    /// Sets figures without further labels that are all of the moment `as_of`, itself one of them, unless a worker
    /// has set those of a later one: workers come to them in no order. What that moment has not is no figure.
    pub fn set_newest(&self, as_of: (&'static Family, f64), figures: &[(&'static Family, Option<f64>)]) {
        let Ok(mut values) = self.values.lock() else { return };
        let (moment, at) = as_of;
        if values.get(&(moment.name, Vec::new())).is_some_and(|newest| *newest > at) {
            return;
        }
        values.insert((moment.name, Vec::new()), at);
        for (family, value) in figures {
            match value {
                Some(value) => values.insert((family.name, Vec::new()), *value),
                None => values.remove(&(family.name, Vec::new())),
            };
        }
    }

    /// Adds to a figure of the pipeline's own.
    pub fn add(&self, family: &'static Family, labels: &[&str], n: u64) {
        self.change(family, labels, |old| *old += n as f64);
    }

    fn change(&self, family: &'static Family, labels: &[&str], change: impl FnOnce(&mut f64)) {
        let names = family.labels.iter().skip(1).copied();
        let labels = names.zip(labels.iter().map(|value| (*value).to_owned())).collect();
        let Ok(mut values) = self.values.lock() else { return };
        if values.len() < MOST || values.contains_key(&(family.name, Vec::clone(&labels))) {
            change(values.entry((family.name, labels)).or_default());
        }
    }

    fn sink(&self, name: &str) -> Arc<SinkBoard> {
        let find = |all: &[Arc<SinkBoard>]| all.iter().find(|sink| sink.name == name).map(Arc::clone);
        let found = self.sinks.read().ok().and_then(|all| find(&all));
        found.unwrap_or_else(|| {
            let new = Arc::new(SinkBoard::new(name));
            let Ok(mut all) = self.sinks.write() else { return new };
            // Another may have been quicker.
            find(&all).unwrap_or_else(|| {
                all.push(Arc::clone(&new));
                new
            })
        })
    }

    /// States which sinks get everything of a stream.
    pub fn feeds<'n>(&self, stream: &str, sinks: impl Iterator<Item = &'n str>) {
        let sinks = sinks.map(|name| self.sink(name)).collect();
        if let Ok(mut fed) = self.fed.write() {
            fed.insert(stream.to_owned(), sinks);
        }
    }

    /// The sinks that get everything of a stream, to state its rows.
    pub fn fed_by(&self, stream: &str) -> Fed {
        Fed(self.fed.read().ok().and_then(|fed| fed.get(stream).cloned()).unwrap_or_default())
    }

    /// Has every step of the run told to `trace`, once: a second one is not asked.
    pub fn traced_by(&self, trace: Box<dyn Trace>) {
        // The first one goes on.
        drop(self.trace.set(trace));
    }

    /// Tells whoever traces the run, if anybody does.
    pub(crate) fn step(&self, step: &Step<'_>) {
        if let Some(trace) = self.trace.get() {
            trace.step(step);
        }
    }

    /// The rows that each sink was given so far, by its name, in an order that stays.
    pub fn sink_rows(&self) -> Vec<(String, u64)> {
        let Ok(sinks) = self.sinks.read() else { return Vec::new() };
        sinks.iter().map(|sink| (sink.name.clone(), sink.given())).collect()
    }

    /// States that a sink failed and is tried again.
    pub fn sink_failed(&self, name: &str, error: &str) {
        self.sink(name).failed(error);
        self.step(&Step::Failed { sink: Some(name), error });
    }

    /// States that a sink that may have failed answers.
    pub fn sink_answers(&self, name: &str) {
        self.sink(name).answers();
    }

    /// States that a sink has made an epoch durable.
    pub fn sink_prepared(&self, name: &str, took: Duration) {
        self.sink(name).prepared(took);
        self.step(&Step::Prepared { sink: name, took });
    }

    /// States that a sink has made an epoch visible, and how many rows its target has refused so far.
    pub fn sink_committed(&self, name: &str, epoch: u64, took: Duration, refused: u64) {
        self.sink(name).committed(epoch, took, refused);
        self.step(&Step::Committed { sink: name, epoch, took });
    }

    /// States that an epoch has begun.
    pub fn epoch_began(&self, epoch: u64) {
        self.epochs.began(epoch);
    }

    /// States that an epoch was open for `took`, of which it was open for `waited` because it could not be decided.
    pub fn epoch_ended(&self, took: Duration, waited: Duration) {
        self.epochs.ended(took, waited);
        self.step(&Step::Ended { open: took });
    }

    /// States that an epoch is decided and visible. `state_bytes` is the size of its state files.
    pub fn epoch_decided(&self, manifest: &Manifest, took: Duration, bytes: u64, now_us: i64) {
        let names = self.identity.read().map(|identity| identity.outputs.clone()).unwrap_or_default();
        let ledger = Conservation::of(manifest, &names);
        self.epochs.decided(now_us, took, bytes, ledger);
        self.step(&Step::Visible { manifest, bytes });
    }

    /// States that a checkpoint could not be written and is tried again.
    pub fn checkpoint_failed(&self, error: &str) {
        self.epochs.failed();
        self.step(&Step::Failed { sink: None, error });
    }

    /// States what operators have saved: whole state, or what has changed of it.
    pub fn saved(&self, blocks: &[StateBlock]) {
        self.epochs.saved(blocks, false);
    }

    /// States what is left of everything that operators have saved as changes, once that was folded.
    pub fn folded(&self, blocks: &[StateBlock]) {
        self.epochs.saved(blocks, true);
    }

    /// States how many windows of each operator are open on each worker.
    pub fn open_windows(&self, windows: &[(String, u64)]) {
        self.epochs.open_windows(windows);
    }

    /// States that `records` records were visible so long after their event time.
    pub fn latency(&self, seconds: f64, records: u64) {
        self.epochs.latency(seconds, records);
    }

    /// Whether the caller speaks for this process: the first that asks does.
    pub(crate) fn speaks(&self) -> bool {
        !self.spoken_for.swap(true, Ordering::Relaxed)
    }

    /// Keeps what another process says of itself; what this one says is known here.
    pub fn hear(&self, other: Snapshot) {
        let mine = self.identity.read().map(|identity| identity.process).unwrap_or_default();
        if other.process != mine
            && let Ok(mut others) = self.others.lock()
        {
            others.insert(other.process, other);
        }
    }

    /// What the other processes said last, by process.
    pub fn others(&self) -> Vec<Snapshot> {
        self.others.lock().map(|others| others.values().cloned().collect()).unwrap_or_default()
    }

    /// All facts at `now_us`.
    pub fn snapshot(&self, now_us: i64) -> Snapshot {
        let identity = self.identity.read().map(|identity| identity.clone()).unwrap_or_default();
        let mut partitions: Vec<_> = match self.partitions.read() {
            Ok(all) => all.values().map(|partition| partition.view()).collect(),
            Err(_) => Vec::new(),
        };
        mark_holder(&mut partitions);
        let (epochs, operators, ledger) = self.epochs.view();
        let tallies = self.tallies.lock().ok().and_then(|tallies| tallies.clone());
        let rows = tallies.map(|tallies| tallies.read()).unwrap_or_default();
        let outputs = identity.outputs.iter().zip(rows);
        let frontier_us = self.frontier_us.load(Ordering::Relaxed);
        Snapshot {
            pipeline: identity.pipeline.clone(),
            process: identity.process,
            workers: identity.workers,
            phase: self.phase.lock().ok().and_then(|phase| *phase).unwrap_or("running").to_owned(),
            taken_us: now_us,
            records: partitions.iter().map(|partition| partition.read).sum(),
            // 0 stands on a board that no worker has written to.
            frontier_us: Some(frontier_us).filter(|us| !matches!(*us, i64::MIN | 0 | i64::MAX)),
            partitions,
            epochs,
            sinks: self
                .sinks
                .read()
                .map(|sinks| sinks.iter().map(|sink| sink.view()).collect())
                .unwrap_or_default(),
            outputs: outputs
                .map(|(output, tally)| OutputView { output: output.clone(), rows: tally.rows })
                .collect(),
            operators,
            ledger,
            values: self.values(),
            late_samples: self.late.view(),
            rejected_samples: self.rejected.view(),
        }
    }

    fn values(&self) -> Vec<ValueView> {
        let Ok(values) = self.values.lock() else { return Vec::new() };
        let view = |((name, labels), value): (&Figure, &f64)| ValueView {
            name: (*name).to_owned(),
            labels: labels.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            value: *value,
        };
        values.iter().map(view).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_hears_of_others_and_not_of_itself() {
        let board = Board::default();
        board.identify(Identity { process: 0, workers: 2, ..Identity::default() });
        let said = |process, records| Snapshot { process, records, workers: 2, ..Snapshot::default() };
        for snapshot in [said(0, 5), said(1, 6), said(1, 7)] {
            board.hear(snapshot);
        }
        let others = board.others();
        assert_eq!(others.iter().map(|other| (other.process, other.records)).collect::<Vec<_>>(), [(1, 7)]);
        let mut whole = board.snapshot(0);
        whole.absorb(&others[0]);
        assert_eq!((whole.records, whole.workers), (7, 4));
    }

    #[test]
    fn figures_of_a_moment_stay_when_an_earlier_one_comes_later() {
        const fn figure(name: &'static str) -> Family {
            Family { name, kind: crate::telemetry::Kind::Gauge, labels: &["pipeline"], help: "a figure" }
        }
        const AT: Family = figure("tidegate_test_at");
        const MEAN: Family = figure("tidegate_test_mean");
        let board = Board::default();
        let values = || board.values.lock().expect("no panic").values().copied().collect::<Vec<_>>();
        board.set_newest((&AT, 2.0), &[(&MEAN, Some(20.0))]);
        board.set_newest((&AT, 1.0), &[(&MEAN, Some(10.0))]);
        assert_eq!(values(), [2.0, 20.0]);
        board.set_newest((&AT, 3.0), &[(&MEAN, Some(30.0))]);
        assert_eq!(values(), [3.0, 30.0]);
        board.set_newest((&AT, 4.0), &[(&MEAN, None)]);
        assert_eq!(values(), [4.0]);
    }

    #[test]
    fn figures_are_set_and_added_by_their_labels() {
        const FOUND: Family = Family {
            name: "tidegate_test_found_total",
            kind: crate::telemetry::Kind::Counter,
            labels: &["pipeline", "rule"],
            help: "what was found",
        };
        let board = Board::default();
        board.add(&FOUND, &["a"], 2);
        board.add(&FOUND, &["a"], 3);
        board.set(&FOUND, &["b"], 1.5);
        let values: Vec<_> = board
            .snapshot(0)
            .values
            .into_iter()
            .map(|value| (value.labels["rule"].clone(), value.value))
            .collect();
        assert_eq!(values, [("a".to_owned(), 5.0), ("b".to_owned(), 1.5)]);
    }
}

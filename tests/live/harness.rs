//! A live run of `activity`: its logs, its clock, and what it leaves.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidegate::checkpoint::{DirStore, Manifest, survey};
use tidegate::ingest::{IdleDecision, IdlePolicy, Interleave, read_decisions};
use tidegate::record::{KafkaTime, Partition};
use tidegate::rows::Cell;
use tidegate::runtime::{Clock, Cluster, Pace, Run, RunError, SystemClock};
use tidegate::sink::Durability;
use tidegate::sink::Sink;
use tidegate::sink::sqlite::{SqliteTables, TableBatch, read_rows};
use tidegate::source::Source;
use tidegate::source::growing::{GrowingLog, GrowingSource, GrowingTopics};
use tidegate::source::memory::{MemorySource, OwnedRecord};
use tidegate::summary::PipelineSummary;
use tidegate::time;
use tidegate_dataflows::activity::{Config, table_schemas};
use tidegate_dataflows::run::{Ended, Job, Options, RunFailure, run};
use tidegate_dataflows::targets::Targets;

/// 2026-01-01T00:00:00Z, the zero of all times in these tests.
pub(crate) const ZERO_US: i64 = 1_767_225_600_000_000;
/// A second in microseconds.
pub(crate) const SECOND: i64 = 1_000_000;
/// The idle timeout of all runs here.
pub(crate) const IDLE: Duration = Duration::from_secs(30);

/// Wall time as it is, and durations as the test says.
#[derive(Default)]
pub(crate) struct HandClock(AtomicI64);

impl HandClock {
    pub(crate) fn pass(&self, seconds: i64) {
        self.pass_us(seconds * SECOND);
    }

    fn pass_us(&self, us: i64) {
        self.0.fetch_add(us, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now_us(&self) -> i64 {
        SystemClock.now_us()
    }
    fn elapsed_us(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// A page view at `second` after [`ZERO_US`].
pub(crate) fn view(offset: i64, second: i64, user: &str, page: &str) -> OwnedRecord {
    let us = ZERO_US + second * SECOND;
    let at = String::from_utf8_lossy(&time::format(us)).into_owned();
    let value =
        format!(r#"{{"event_time":"{at}","user_id":"{user}","page_url":"{page}","event_type":"page_view"}}"#);
    OwnedRecord { kafka_time: KafkaTime::Create(us / 1000), ..OwnedRecord::of_value(offset, value) }
}

/// Waits until `condition` gives something.
pub(crate) fn wait<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(120), "it never came: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Everything that outlives a start of the run.
pub(crate) struct Place {
    dir: TempDir,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) logs: Vec<GrowingLog>,
    pub(crate) topics: GrowingTopics,
}

impl Place {
    /// `partitions` empty logs.
    pub(crate) fn new(partitions: usize) -> Place {
        let dir = tempfile::tempdir().expect("a directory");
        let mut place = Place { dir, clock: Arc::default(), logs: Vec::new(), topics: Default::default() };
        (0..partitions).for_each(|_| place.add_partition());
        place
    }

    /// Adds a partition, which a run that goes on finds by itself.
    pub(crate) fn add_partition(&mut self) {
        let log = GrowingLog::default();
        self.topics.add(Partition::new("user_activity", self.logs.len() as i32), log.clone());
        self.logs.push(log);
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    /// Appends page views at these seconds, each by its own user to one of three pages.
    pub(crate) fn views(&self, partition: usize, seconds: &[i64]) {
        let log = &self.logs[partition];
        let next = log.records().last().map_or(0, |record| record.offset + 1);
        let record = |(offset, second): (i64, &i64)| {
            view(offset, *second, &format!("user-{}", second % 7), &format!("/{}", second % 3))
        };
        log.append((next..).zip(seconds).map(record));
    }

    /// Starts the run, live.
    pub(crate) fn start(&self, workers: usize) -> Started {
        self.start_source(GrowingSource::new(&self.topics), workers)
    }

    /// The same, with the time of day in columns of wall-clock time.
    pub(crate) fn start_by_the_clock(&self, workers: usize) -> Started {
        self.start_source(GrowingSource::new(&self.topics).live(), workers)
    }

    fn start_source(&self, source: GrowingSource, workers: usize) -> Started {
        let idle = IdlePolicy { timeout: Some(IDLE), recorded: Vec::new() };
        start(Arc::new(source), self.dir.path(), workers, idle, Arc::clone(&self.clock), &PLAIN)
    }

    /// Starts the run, live, in update mode and with epochs of `interval`.
    pub(crate) fn start_updating(
        &self,
        workers: usize,
        update_every: Duration,
        interval: Duration,
    ) -> Started {
        let (source, clock) = (GrowingSource::new(&self.topics), Arc::clone(&self.clock));
        let mode = RunMode { interval, update_every: Some(update_every) };
        start(Arc::new(source), self.dir.path(), workers, IdlePolicy::default(), clock, &mode)
    }

    /// Shows a row of `page_view_counts` that no log accounts for, as a run might that is not there any more: one view of `page`.
    pub(crate) fn leave_behind(&self, epoch: u64, generation: u64, page: &str) {
        let schemas = table_schemas();
        let mut rows = schemas[0].batch();
        let times = [ZERO_US, ZERO_US + 60 * SECOND].map(Cell::Time);
        rows.push(&[times[0], times[1], Cell::Text(page.as_bytes()), Cell::Int(1)]);
        let mut sink = SqliteTables::open(&self.out(), "activity", schemas.to_vec(), Durability::Process)
            .expect("the file");
        sink.show(epoch, generation, &[TableBatch { table: 0, rows, provisional: true }]).expect("shown");
    }

    /// The pages that have been viewed and how often, as the table says it now.
    pub(crate) fn page_views(&self) -> Vec<(String, i64)> {
        let schema = &table_schemas()[0];
        let mut views = Vec::new();
        let mut row = |row: Vec<Option<String>>| {
            let text = |column: usize| row[column].clone().unwrap_or_default();
            views.push((text(2), text(3).parse().expect("a number")));
        };
        // It is being written.
        if read_rows(&self.out(), schema, &mut row).is_err() {
            views.clear();
        }
        views.sort();
        views
    }

    /// The lines of an output topic.
    pub(crate) fn lines(&self, topic: &str) -> Vec<String> {
        let file = self.out().join("topics").join(format!("{topic}.jsonl"));
        let text = std::fs::read_to_string(file).expect("the topic is there");
        text.lines().map(str::to_owned).collect()
    }

    /// The newest manifest, if there is one.
    pub(crate) fn manifest(&self) -> Option<Manifest> {
        let store = DirStore::unlocked(&self.dir.path().join("checkpoint").join("activity"));
        // A file may go while it is looked for.
        let found = survey(&store).ok()?;
        found.into_iter().find_map(|found| found.manifest.ok())
    }

    /// Removes the newest state: the run has to go on from an older one.
    pub(crate) fn damage(&self) -> bool {
        let Some(manifest) = self.manifest() else { return false };
        // Whoever has read nothing has nothing to keep.
        let Some(file) = manifest.state.first() else { return false };
        std::fs::remove_file(self.dir.path().join("checkpoint").join("activity").join(&file.name)).is_ok()
    }

    /// Waits until a manifest says so.
    pub(crate) fn decided(&self, what: &str, mut holds: impl FnMut(&Manifest) -> bool) -> Manifest {
        wait(what, || self.manifest().filter(|manifest| holds(manifest)))
    }

    /// The decisions that the run has written.
    pub(crate) fn decisions(&self) -> Vec<IdleDecision> {
        let file = self.out().join("topics").join("user_activity.idle.jsonl");
        let text = std::fs::read_to_string(file).unwrap_or_default();
        read_decisions(&text).expect("the run's own lines")
    }

    /// What the same logs give, read from their beginning to their end with the run's decisions.
    pub(crate) fn replayed(&self, workers: usize) -> PipelineSummary {
        let dir = tempfile::tempdir().expect("a directory");
        let ids = (0..).map(|number| Partition::new("user_activity", number));
        let logs = ids.zip(self.logs.iter().map(GrowingLog::records)).collect();
        let idle = IdlePolicy { timeout: None, recorded: self.decisions() };
        let started =
            start(Arc::new(MemorySource::new(logs)), dir.path(), workers, idle, Arc::default(), &PLAIN);
        started.finished()
    }
}

/// A run that goes on beside the test.
pub(crate) struct Started {
    /// The newest: it begins again when it has found a new partition.
    run: Arc<Mutex<Option<Arc<Run>>>>,
    clock: Arc<HandClock>,
    thread: JoinHandle<Result<Ended, RunFailure>>,
}

/// How long epochs are, and how often rows of open windows are wanted.
struct RunMode {
    interval: Duration,
    update_every: Option<Duration>,
}

const PLAIN: RunMode = RunMode { interval: Duration::from_millis(20), update_every: None };

fn start(
    source: Arc<dyn Source>,
    dir: &Path,
    workers: usize,
    idle: IdlePolicy,
    clock: Arc<HandClock>,
    mode: &RunMode,
) -> Started {
    let options = Options {
        out: dir.join("out"),
        credentials: Default::default(),
        memory_limit: None,
        checkpoint: tidegate::storage::Location::Dir(dir.join("checkpoint")),
        interval: mode.interval,
        keep: 3,
        refresh: Duration::from_millis(10),
        cluster: Cluster::threads(workers),
        pace: Pace::Max,
        batch: 5,
        interleave: Interleave::Aligned,
        clock: Arc::clone(&clock) as _,
    };
    let targets = Targets { idle: true, ..Targets::embedded(Durability::Process) };
    let newest: Arc<Mutex<Option<Arc<Run>>>> = Arc::default();
    let tell = Arc::clone(&newest);
    let config = Config { update_every: mode.update_every, update_sessions: true, ..Config::default() };
    let thread = std::thread::spawn(move || {
        let job = Job { pipeline: Arc::new(config), source, targets, idle };
        run(&options, &[job], &|_, run, _| *tell.lock().expect("no panic") = Some(Arc::clone(run)))
    });
    wait("a start", || (newest.lock().expect("no panic").is_some() || thread.is_finished()).then_some(()));
    Started { run: newest, clock, thread }
}

impl Started {
    fn newest(&self) -> Arc<Run> {
        self.run.lock().expect("no panic").clone().expect("it has begun")
    }

    /// What became of it. Time goes on meanwhile: what workers have to say to each other they say after each other, by the clock.
    fn ended(self) -> Result<Ended, RunFailure> {
        while !self.thread.is_finished() {
            self.clock.pass_us(10_000);
            std::thread::sleep(Duration::from_millis(1));
        }
        self.thread.join().expect("no panic")
    }

    /// Waits for the end of its input.
    pub(crate) fn finished(self) -> PipelineSummary {
        match self.ended().expect("nothing fails") {
            Ended::Finished(summary) => summary.pipelines.get("activity").expect("the pipeline").clone(),
            other => panic!("it did not end: {other:?}"),
        }
    }

    /// Why it failed.
    pub(crate) fn refused(self) -> String {
        self.ended().expect_err("a refusal").to_string()
    }

    /// Stops it as SIGTERM does.
    pub(crate) fn stop(self) {
        self.newest().ask_to_stop();
        assert!(matches!(self.ended(), Ok(Ended::Stopped(_))));
    }

    /// Ends it where it stands, with nothing decided that is not yet.
    pub(crate) fn crash(self) {
        self.newest().fail(RunError::Stopped);
        drop(self.ended());
    }
}

/// What can be compared of two runs: all but the seconds that they took.
pub(crate) fn same(mut summary: PipelineSummary) -> PipelineSummary {
    summary.seconds = 0.0;
    summary
}

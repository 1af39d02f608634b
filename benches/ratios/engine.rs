//! The engine over one source, and what of it is measured beside its speed.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tidegate::aggregate::{Aggregate, Count};
use tidegate::delivery::OutputTally;
use tidegate::digest::Digest;
use tidegate::ingest::{Counts, Interleave, Ledger, Verdict};
use tidegate::keys::{KeyColumn, key_hash};
use tidegate::record::{Headers, KafkaTime, Partition, Record, Value};
use tidegate::runtime::{Cluster, Pace, Run, SystemClock};
use tidegate::source::Source;
use tidegate::source::fixture::{Codec, FixtureSource, SegmentWriter};
use tidegate::source::memory::NdjsonSource;
use tidegate::window::{PaneBlock, PaneStore, WindowCloser, WindowSpec};
use tidegate_dataflows::activity::{Config, OUTPUTS, Selection};
use tidegate_dataflows::outputs::{Outputs, Plan};
use tidegate_dataflows::pipeline::{Pipeline, execute};

use crate::limit::Found;
use crate::measure::{Timed, in_turns};

const TOPIC: &str = "user_activity";
/// The year 9000.
const LATE_MS: i64 = 221_845_392_000_000;
const BATCH: usize = tidegate_dataflows::replay::BATCH;
/// How many times smaller the batches are where progress tracking is to cost as many times more.
const FINER: usize = 16;

/// `pipeline` over `source` without sinks: what became of the records, and rows and digest of each output; late and unusable records
/// are only counted where `count_only` says so, and results of `activity`.
pub(crate) fn drive(
    pipeline: &Arc<dyn Pipeline>,
    source: &Arc<dyn Source>,
    workers: usize,
    batch: usize,
    count_only: bool,
) -> (Counts, Vec<OutputTally>) {
    let run = Arc::new(Run::new(Arc::clone(source), Arc::new(SystemClock), Pace::Max));
    let outputs = Outputs::counted(pipeline.outputs().len());
    let tallies = Arc::clone(&outputs.tallies);
    let plan = Plan {
        cluster: Cluster::threads(workers),
        batch,
        interleave: Interleave::Aligned,
        interval: None,
        count_only,
    };
    let counts = execute(pipeline, &plan, &run, outputs).expect("workers start");
    run.outcome().expect("nothing fails");
    (counts.expect("worker 0 is here").expect("every process is well"), tallies.read())
}

/// The engine over one source.
pub(crate) struct Engine {
    source: Arc<dyn Source>,
    /// Keeps the segments on disk as long as they are read.
    _dir: Option<tempfile::TempDir>,
}

impl Engine {
    /// No output at all.
    pub(crate) const NOTHING: Selection =
        Selection { page_views: false, active_users: false, sessions: false, lake: false, enriched: false };

    /// Over lines in memory.
    pub(crate) fn in_memory(partitions: &[Vec<u8>]) -> Self {
        let lines: BTreeMap<_, _> = partitions
            .iter()
            .enumerate()
            .map(|(p, bytes)| (Partition::new(TOPIC, p as i32), bytes.clone()))
            .collect();
        Engine { source: Arc::new(NdjsonSource::new(lines)), _dir: None }
    }

    /// Over uncompressed log segments on disk with the same values, and with keys and timestamps as producers make them.
    pub(crate) fn on_segments(partitions: &[Vec<u8>]) -> Self {
        let dir = tempfile::tempdir().expect("a directory for the segments");
        for (number, bytes) in partitions.iter().enumerate() {
            let partition = Partition::new(TOPIC, number as i32);
            let mut writer =
                SegmentWriter::create(dir.path(), &partition, 0, Codec::None, 1000).expect("a segment");
            for (offset, line) in
                bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).enumerate()
            {
                let key = format!("user-{:06}", offset % 100_000);
                let record = Record {
                    offset: offset as i64,
                    // Late enough that no event is ahead of it.
                    kafka_time: KafkaTime::Create(LATE_MS + offset as i64),
                    key: Some(key.as_bytes()),
                    value: Some(Value::exact(line)),
                    headers: Headers::default(),
                };
                writer.write(&record).expect("room for the segments");
            }
            writer.finish().expect("room for the segments");
        }
        Engine { source: Arc::new(open(dir.path())), _dir: Some(dir) }
    }

    fn measure(&self, workers: usize, batch: usize, config: Config) -> Timed<Found> {
        self.execute(workers, batch, config, true).map(|(found, _)| found)
    }

    /// The digests of the rows of the selected outputs, which are not made where only counted.
    pub(crate) fn digests(&self, workers: usize, outputs: Selection) -> [Digest; 3] {
        let config = Config { outputs, ..Config::default() };
        let (_, tallies) = self.execute(workers, BATCH, config, false).found;
        std::array::from_fn(|output| tallies[output].digest)
    }

    fn execute(
        &self,
        workers: usize,
        batch: usize,
        config: Config,
        count_only: bool,
    ) -> Timed<(Found, Vec<OutputTally>)> {
        let pipeline: Arc<dyn Pipeline> = Arc::new(config);
        Timed::of(|| {
            let (counts, tallies) = drive(&pipeline, &self.source, workers, batch, count_only);
            let found = Found {
                rejected: counts.rejected.iter().sum(),
                late: std::array::from_fn(|output| counts.outputs[output].late),
                rows: std::array::from_fn(|output| tallies[output].rows),
                views: counts.outputs[0].counted,
            };
            (found, tallies)
        })
    }

    /// The selected outputs: results are counted when they leave their windows, late and unusable records in
    /// the ledger, as in the limit; nothing is written.
    pub(crate) fn run(&self, workers: usize, outputs: Selection) -> Timed<Found> {
        self.measure(workers, BATCH, Config { outputs, ..Config::default() })
    }

    /// Page views in windows of 5 minutes that slide by 1 second.
    pub(crate) fn run_sliding(&self, workers: usize) -> Timed<Found> {
        let windows = WindowSpec::sliding(300_000_000, 1_000_000).expect("a window");
        let outputs = Selection { page_views: true, ..Engine::NOTHING };
        self.measure(workers, BATCH, Config { outputs, page_view_windows: windows, ..Config::default() })
    }

    /// The share of the time that progress tracking and the ledger take: an estimate, since the engine cannot run without them. It is
    /// what batches 16 times smaller cost more, which is 15 times what activations of the usual size cost, and the ledger's own time for
    /// as many records.
    pub(crate) fn overhead(&self, outputs: Selection, records: u64, rounds: usize) -> f64 {
        let config = || Config { outputs, ..Config::default() };
        let [usual, finer] = in_turns(
            rounds,
            [&mut || self.measure(1, BATCH, config()), &mut || self.measure(1, BATCH / FINER, config())],
        );
        let more = finer.paired(&usual, |finer, usual| finer.cpu - usual.cpu).max(0.0);
        let progress = more / (FINER - 1) as f64;
        let ledger = Timed::of(|| {
            let ledger = Ledger::new(1);
            for record in 0..records {
                ledger.note(1, 1);
                ledger.file(0, if black_box(record) % 4 == 0 { Verdict::Filtered } else { Verdict::Counted });
            }
            Found { views: black_box(ledger).counts().read, ..Found::default() }
        });
        let with = usual.best().cpu;
        with / (with - progress - ledger.cpu)
    }

    /// Milliseconds from opening the source to the first record at the first operator.
    pub(crate) fn first_record_ms(&self) -> f64 {
        let dir = self._dir.as_ref().expect("the segments are on disk");
        let began = Instant::now();
        let source: Arc<dyn Source> = Arc::new(open(dir.path()));
        let run = Arc::new(Run::new(source, Arc::new(SystemClock), Pace::Max));
        let watched = Arc::clone(&run);
        let watcher = std::thread::spawn(move || {
            while watched.records() == 0 {
                std::thread::yield_now();
            }
            watched.stop();
            began.elapsed().as_secs_f64() * 1e3
        });
        let plan = Plan {
            cluster: Cluster::threads(1),
            batch: BATCH,
            interleave: Interleave::Aligned,
            interval: None,
            count_only: false,
        };
        let pipeline: Arc<dyn Pipeline> = Arc::new(Config::default());
        execute(&pipeline, &plan, &run, Outputs::counted(OUTPUTS.len())).expect("a worker starts");
        watcher.join().expect("the watcher ends with the first record")
    }
}

fn open(dir: &Path) -> FixtureSource {
    FixtureSource::open(dir, &|topic| topic == TOPIC).expect("the segments can be read")
}

/// Bytes for each open (key, window), where both stages hold it: the one that accumulates before the exchange, and the one behind it
/// that closes windows. 10 open minutes with 100,000 pages each, keys of 40 bytes.
pub(crate) fn bytes_per_open_entry() -> f64 {
    let minute = WindowSpec::tumbling(60_000_000).expect("a minute is a window");
    let mut store = PaneStore::<Count>::new(minute);
    let mut closer = WindowCloser::<Count>::new(minute, false);
    let mut one = Count::default();
    one.add(());
    for window in 0..10 {
        let time_us = window * 60_000_000;
        let mut keys = KeyColumn::default();
        for page in 0..100_000 {
            let key = format!("https://example.com/catalogue/page/{page:05}");
            let slot = store.reach(time_us, i64::MIN).expect("nothing is late");
            let hash = key_hash(key.as_bytes());
            store.update(slot, || hash, key.as_bytes(), |count| count.add(()));
            keys.push(hash, key.as_bytes());
        }
        let at = minute.eligible(time_us, i64::MIN).expect("nothing is late");
        closer.merge(&PaneBlock { target: 0, at, partials: vec![one.clone(); keys.len()], keys });
    }
    assert_eq!((store.entries(), closer.entries()), (1_000_000, 1_000_000));
    (store.heap_bytes() + closer.heap_bytes()) as f64 / 1e6
}

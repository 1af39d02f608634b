//! A pipeline of one's own over a bounded log, in one call: workers, late records, dead letters, and sinks that show
//! all of its output or none.
//!
//! [`Replay`] is the shortest way from a dataflow to files that can be trusted; `examples/own_pipeline.rs` is a whole
//! program. It has one epoch and no checkpoint: stopped, it begins again. What goes on where it was, from Kafka and
//! on several processes, is built of the same parts by the package `tidegate-dataflows` (its trait `Pipeline`).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use timely::dataflow::operators::Concat;
use timely::dataflow::{Scope, StreamVec};

use crate::delivery::{
    Deliver, EpochError, OutputTally, Shared, SharedSink, TableBlock, Tallies, decide_epoch, deliver,
};
use crate::ingest::{Counts, Decode, FrontSet, Ingested, Interleave, Ledger, Settings, SideTopics, ingest};
use crate::runtime::{Cluster, ClusterError, Epochs, Pace, Run, RunError, SystemClock, run_to_end};
use crate::sink::tables::TableBatch;
use crate::sink::topic::{TopicBatch, TopicFiles};
use crate::sink::{AnySink, Durability, SinkError};
use crate::source::Source;
use crate::state::StateHub;
use crate::tick::{Tick, micros, step_us};
use crate::topic_lines::{TopicBlock, TopicLines};
use crate::window::WindowSpec;

/// The one epoch.
const EPOCH: u64 = 1;
const GENERATION: u64 = 1;
/// Records per activation.
const BATCH: usize = 4_096;
/// A worker this far ahead of the others in event time waits for them.
const MAX_SKEW_US: i64 = 600_000_000;

/// Why a replay failed. Unless it says so, nothing of it is visible.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The workers could not be started.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The input could not be read, or a sink could not stage.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The files of late and unusable records could not be opened.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The epoch could not be decided or committed.
    #[error(transparent)]
    Epoch(#[from] EpochError),
    /// Another process or worker ended early.
    #[error("{0}")]
    Elsewhere(String),
}

/// A log, and how it is replayed.
pub struct Replay {
    source: Arc<dyn Source>,
    cluster: Cluster,
    delay: Duration,
    max_ahead: Duration,
    pace: Pace,
    windows: Vec<WindowSpec>,
}

/// What a replay did.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// Where every record went.
    pub counts: Counts,
    /// Rows and digest of each table, then of the late records and of the dead letters.
    pub outputs: Vec<OutputTally>,
}

impl Replay {
    /// A replay of all of `source` by one worker, with a delay of 2 minutes.
    pub fn of(source: impl Source + 'static) -> Self {
        Replay {
            source: Arc::new(source),
            cluster: Cluster::threads(1),
            delay: Duration::from_secs(120),
            max_ahead: Duration::from_secs(3_600),
            pace: Pace::Max,
            windows: Vec::new(),
        }
    }

    /// By so many workers; the result does not depend on it.
    #[must_use]
    pub fn workers(self, workers: usize) -> Self {
        Replay { cluster: Cluster::threads(workers), ..self }
    }

    /// How far a partition's watermark stays behind its largest event time.
    #[must_use]
    pub fn delay(self, delay: Duration) -> Self {
        Replay { delay, ..self }
    }

    /// How far an event time may be after its record's Kafka timestamp; 1 hour by default.
    #[must_use]
    pub fn max_ahead(self, max_ahead: Duration) -> Self {
        Replay { max_ahead, ..self }
    }

    /// How fast, by the recorded timestamps.
    #[must_use]
    pub fn pace(self, pace: Pace) -> Self {
        Replay { pace, ..self }
    }

    /// The windows of the dataflow: event time then goes in steps that divide their ends, which costs less.
    #[must_use]
    pub fn windows(self, windows: &[WindowSpec]) -> Self {
        Replay { windows: windows.to_vec(), ..self }
    }

    /// Builds a dataflow on every worker, runs it to the end of the log, and makes what the sinks were given visible.
    ///
    /// `outputs` names the outputs that records meet, a table each: front number i files its verdicts under the i-th.
    /// `sinks` each take all rows that [`Flow::write`] is given. Late records and dead letters become lines in
    /// `dir/topics`, as `<topic>.late.jsonl` and `<topic>.dlq.jsonl`.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub fn run<B>(
        self,
        dir: &Path,
        outputs: &[&'static str],
        sinks: Vec<AnySink<TableBatch>>,
        build: B,
    ) -> Result<Replayed, ReplayError>
    where
        B: Fn(&Flow<'_, '_>) + Send + Sync + 'static,
    {
        let judged: Arc<[&'static str]> = Arc::from(outputs);
        let mut inputs: Vec<Arc<str>> =
            self.source.partitions().iter().map(|info| Arc::clone(&info.id.topic)).collect();
        inputs.dedup();
        let names: Vec<String> = ["late", "dlq"]
            .iter()
            .flat_map(|side| inputs.iter().map(move |topic| format!("{topic}.{side}")))
            .collect();
        let named: Vec<&str> = names.iter().map(String::as_str).collect();
        let side = TopicFiles::open(&dir.join("topics"), "topics", &named, Durability::Process)?;
        let side: SharedSink<AnySink<TopicBatch>> = Arc::new(Shared::new(Box::new(side)));
        let tables: Vec<SharedSink<AnySink<TableBatch>>> =
            sinks.into_iter().map(|sink| Arc::new(Shared::new(sink))).collect();
        let tallies = Arc::new(Tallies::new(judged.len() + names.len()));
        let run = Arc::new(Run::new(Arc::clone(&self.source), Arc::new(SystemClock), self.pace));

        let parts = Parts {
            settings: self.settings(),
            run: Arc::clone(&run),
            judged: Arc::clone(&judged),
            inputs,
            tables: tables.clone(),
            side: Arc::clone(&side),
            tallies: Arc::clone(&tallies),
        };
        let judged = judged.len();
        let counts = run_to_end(&self.cluster, &run, judged, move |scope, ledger, epochs| {
            build(&Flow { scope, parts: &parts, ledger, epochs });
        })?;
        run.outcome()?;
        let counts = counts.ok_or_else(|| ReplayError::Elsewhere("no worker has counted".to_owned()))?;
        let counts = counts.map_err(ReplayError::Elsewhere)?;
        let mut sinks: Vec<(String, &dyn Deliver)> = Vec::new();
        for (index, sink) in tables.iter().enumerate() {
            sinks.push((format!("tables{index}"), &**sink));
        }
        sinks.push(("topics".to_owned(), &*side));
        let sinks: Vec<(&str, &dyn Deliver)> =
            sinks.iter().map(|(name, sink)| (name.as_str(), *sink)).collect();
        decide_epoch(&sinks, &dir.join(".tidegate").join("replay"), EPOCH, GENERATION)?;
        for (_, sink) in &sinks {
            sink.finish()?;
        }
        Ok(Replayed { counts, outputs: tallies.read() })
    }

    fn settings(&self) -> Settings {
        let panes: Vec<i64> = self.windows.iter().map(WindowSpec::pane_us).collect();
        Settings {
            delay_us: micros(self.delay),
            max_ahead_us: micros(self.max_ahead),
            batch: BATCH,
            interleave: Interleave::Aligned,
            step_us: step_us(&panes),
            max_skew_us: MAX_SKEW_US,
            early: None,
        }
    }
}

/// What all workers of a replay share.
struct Parts {
    settings: Settings,
    run: Arc<Run>,
    judged: Arc<[&'static str]>,
    inputs: Vec<Arc<str>>,
    tables: Vec<SharedSink<AnySink<TableBatch>>>,
    side: SharedSink<AnySink<TopicBatch>>,
    tallies: Arc<Tallies>,
}

/// A worker's dataflow while it is built.
pub struct Flow<'scope, 'run> {
    scope: Scope<'scope, Tick>,
    parts: &'run Parts,
    ledger: &'run Ledger,
    epochs: &'run Epochs,
}

impl<'scope> Flow<'scope, '_> {
    /// How many workers there are, which the near ends of windows want to know.
    pub fn peers(&self) -> usize {
        self.scope.peers()
    }

    /// What operators save their state with. A replay has no checkpoint: it is there for their signatures.
    pub fn state(&self) -> &StateHub {
        self.epochs.hub()
    }

    /// Reads the log: every record that `decoder` can read is shown to `fronts`, whose streams come back. What is
    /// late for an output, or cannot be used, is written aside.
    pub fn read<D: Decode, F: FrontSet<D>>(&self, decoder: D, fronts: F) -> F::Streams<'scope> {
        let parts = self.parts;
        let first = parts.judged.len() as u32;
        let lines =
            |side: u32, name: &str| {
                let begin = first + side * parts.inputs.len() as u32;
                TopicLines::new(parts.inputs.iter().zip(begin..).map(|(topic, output)| {
                    (Arc::clone(topic), (output, Arc::from(format!("{topic}.{name}"))))
                }))
            };
        let side = SideTopics::new(Arc::clone(&parts.judged), lines(0, "late"), lines(1, "dlq"));
        let Ingested { streams, side } = ingest(
            self.scope,
            &parts.run,
            parts.settings,
            decoder,
            fronts,
            self.ledger.clone(),
            side,
            self.epochs,
        );
        deliver(
            side,
            "Topics",
            0,
            &parts.run,
            self.epochs,
            &parts.tallies,
            vec![Arc::clone(&parts.side)],
            |block: &TopicBlock| (block.topic as usize, block.count as i64, &block.digest),
            move |block| TopicBatch {
                topic: (block.topic - first) as usize,
                partition: block.partition,
                lines: block.lines,
                count: block.count,
            },
        );
        streams
    }

    /// Writes rows to every sink of tables.
    pub fn write(&self, rows: impl IntoIterator<Item = StreamVec<'scope, Tick, TableBlock>>) {
        let parts = self.parts;
        let mut rows = rows.into_iter();
        let Some(first) = rows.next() else { return };
        deliver(
            rows.fold(first, |all, more| all.concat(more)),
            "Tables",
            0,
            &parts.run,
            self.epochs,
            &parts.tallies,
            parts.tables.clone(),
            |block: &TableBlock| (block.table as usize, block.net_rows, &block.digest),
            |block| TableBatch {
                table: block.table as usize,
                rows: block.rows,
                provisional: !block.firing.is_final(),
            },
        );
    }
}

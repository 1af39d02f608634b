//! A replay: a recorded fixture through pipelines into embedded sinks, with one epoch that is decided at
//! the end of the input.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use thiserror::Error;
use tidegate::decode::Reason;
use tidegate::delivery::{Deliver, EpochError, OutputTally, Tallies, decide_epoch};
use tidegate::ingest::{Counts, Interleave};
use tidegate::rows::Schema;
use tidegate::runtime::{Cluster, ClusterError, Pace, Run, RunError, SystemClock};
use tidegate::sink::lake::ParquetLake;
use tidegate::sink::out_dir::{OutDir, OutDirError};
use tidegate::sink::sqlite::SqliteTables;
use tidegate::sink::topic::TopicFiles;
use tidegate::sink::{Durability, SinkError};
use tidegate::source::fixture::FixtureSource;
use tidegate::source::{Source, SourceError};
use tidegate::summary::{OutputSummary, PipelineSummary, Summary};

use crate::activity::{self, Outputs, Plan};
use crate::hydraulic;

/// The names of the pipelines, in the order of the contract.
pub const PIPELINES: [&str; 2] = ["activity", "hydraulic"];

/// Records per activation where nobody says otherwise.
pub const BATCH: usize = 4096;

/// A replay has one epoch, and nobody to be fenced from.
const EPOCH: u64 = 1;
const GENERATION: u64 = 1;

/// What a replay reads, writes and runs on.
#[derive(Clone, Debug)]
pub struct Options {
    /// The fixture's directory.
    pub fixture: PathBuf,
    /// The output directory.
    pub out: PathBuf,
    /// The workers.
    pub cluster: Cluster,
    /// How fast.
    pub pace: Pace,
    /// Records per activation.
    pub batch: usize,
    /// The order of lanes.
    pub interleave: Interleave,
    /// The settings of `activity`.
    pub activity: activity::Config,
    /// The settings of `hydraulic`.
    pub hydraulic: hydraulic::Config,
}

/// What a pipeline reads and writes under the settings of a replay.
struct Shape {
    name: &'static str,
    /// The input topics.
    inputs: Vec<String>,
    /// The outputs, in the order of the summary; those that records meet come first.
    outputs: Vec<String>,
    tables: Vec<Arc<Schema>>,
    /// The lake's directory below the output directory.
    lake: &'static str,
    /// The embedded topics.
    topics: Vec<Arc<str>>,
}

impl Shape {
    fn of(pipeline: &'static str, options: &Options) -> Shape {
        if pipeline == "hydraulic" {
            let config = &options.hydraulic;
            return Shape {
                name: pipeline,
                inputs: config.topics(),
                outputs: hydraulic::outputs(config),
                tables: hydraulic::table_schemas().to_vec(),
                lake: hydraulic::LAKE,
                topics: hydraulic::topics(config),
            };
        }
        let topic = &options.activity.topic;
        Shape {
            name: pipeline,
            inputs: vec![topic.clone()],
            outputs: activity::OUTPUTS.map(str::to_owned).to_vec(),
            tables: activity::table_schemas().to_vec(),
            lake: activity::LAKE,
            topics: activity::topics(topic).map(|(_, name)| name).to_vec(),
        }
    }
}

/// Why a replay failed. Nothing of it is visible, unless it failed in the very last step.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The fixture cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The fixture holds nothing for the pipeline.
    #[error(
        "the fixture {fixture:?} holds no record of {topic}, which pipeline {pipeline:?} reads; \
         it holds {found}"
    )]
    NoInput {
        /// The pipeline.
        pipeline: &'static str,
        /// Its input topics, in words.
        topic: String,
        /// The fixture's directory.
        fixture: PathBuf,
        /// The topics that are there.
        found: String,
    },
    /// The output directory cannot be used.
    #[error(transparent)]
    OutDir(#[from] OutDirError),
    /// A sink failed.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The epoch could not be decided or committed.
    #[error(transparent)]
    Epoch(#[from] EpochError),
    /// The workers could not be started, or one ended early.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The run failed or was stopped.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Another process of the run failed; its own message says why.
    #[error("another process of this run failed: {0}")]
    Elsewhere(String),
    /// The counts do not add up: a defect of tidegate. Nothing is made visible.
    #[error("the ledger of pipeline {pipeline:?} does not balance: {what}; please report this")]
    Unbalanced {
        /// The pipeline.
        pipeline: &'static str,
        /// Which equation fails.
        what: String,
    },
}

/// Replays `pipelines` one after the other, and makes the results of each visible at its end.
///
/// With several pipelines, those that the fixture holds nothing for are passed over, but for all of them.
/// `started` is called for each with its name, its run and the number of records to expect, for progress and for
/// stopping. Returns the summary on process 0, nothing on the others.
///
/// # Errors
/// See [`ReplayError`].
pub fn replay(
    options: &Options,
    pipelines: &[&str],
    started: &dyn Fn(&'static str, &Arc<Run>, u64),
) -> Result<Option<Summary>, ReplayError> {
    let writes = options.cluster.process == 0;
    // Look at the input before touching anything that an earlier replay left.
    let mut sources = Vec::new();
    let mut nothing = None;
    for pipeline in PIPELINES.into_iter().filter(|name| pipelines.contains(name)) {
        let shape = Shape::of(pipeline, options);
        match open_source(options, &shape) {
            Ok(source) => sources.push((shape, source)),
            Err(error @ ReplayError::NoInput { .. }) => nothing = nothing.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    if let Some(error) = nothing.filter(|_| sources.is_empty()) {
        return Err(error);
    }
    let out = if writes { Some(OutDir::prepare_replay(&options.out)?) } else { None };
    let mut summary = Summary::default();
    for (shape, source) in sources {
        let done = run(options, &shape, source, writes.then_some(options.out.as_path()), started)?;
        if let Some(done) = done {
            summary.pipelines.insert(shape.name.to_owned(), done);
        }
    }
    if let Some(out) = out {
        summary.write(&options.out)?;
        out.finish()?;
        return Ok(Some(summary));
    }
    Ok(None)
}

fn open_source(options: &Options, shape: &Shape) -> Result<Arc<dyn Source>, ReplayError> {
    let source =
        FixtureSource::open(&options.fixture, &|name| shape.inputs.iter().any(|topic| topic == name))?;
    if source.partitions().is_empty() {
        let all = FixtureSource::open(&options.fixture, &|_| true)?.topics();
        let topic = match &shape.inputs[..] {
            [only] => format!("topic {only:?}"),
            [first, ..] => format!("topic {first:?} and {} others", shape.inputs.len() - 1),
            [] => "any topic".to_owned(),
        };
        return Err(ReplayError::NoInput {
            pipeline: shape.name,
            topic,
            fixture: options.fixture.clone(),
            found: if all.is_empty() { "no record at all".to_owned() } else { all.join(", ") },
        });
    }
    Ok(Arc::new(source))
}

struct Sinks {
    tables: Arc<Mutex<SqliteTables>>,
    lake: Arc<Mutex<ParquetLake>>,
    topics: Arc<Mutex<TopicFiles>>,
}

impl Sinks {
    fn open(out: &Path, shape: &Shape) -> Result<Self, SinkError> {
        let names: Vec<&str> = shape.topics.iter().map(|name| &**name).collect();
        let (sink, durability) = (shape.name, Durability::Process);
        Ok(Sinks {
            tables: Arc::new(Mutex::new(SqliteTables::open(out, sink, shape.tables.clone(), durability)?)),
            lake: Arc::new(Mutex::new(ParquetLake::open(&out.join(shape.lake), sink, durability)?)),
            topics: Arc::new(Mutex::new(TopicFiles::open(&out.join("topics"), sink, &names, durability)?)),
        })
    }

    fn decide(&self, out: &Path, shape: &Shape) -> Result<(), ReplayError> {
        let sinks: [(&str, &dyn Deliver); 3] =
            [("tables", &*self.tables), ("lake", &*self.lake), ("topics", &*self.topics)];
        decide_epoch(&sinks, &out.join(".tidegate").join(shape.name), EPOCH, GENERATION)?;
        let mut topics = self.topics.lock().map_err(|_| SinkError::Failed {
            sink: "topics".to_owned(),
            cause: "a worker panicked while it wrote; replay again".to_owned(),
        })?;
        Ok(topics.finish()?)
    }
}

fn run(
    options: &Options,
    shape: &Shape,
    source: Arc<dyn Source>,
    out: Option<&Path>,
    started: &dyn Fn(&'static str, &Arc<Run>, u64),
) -> Result<Option<PipelineSummary>, ReplayError> {
    let began = Instant::now();
    let expected = source.partitions().iter().map(|partition| partition.records_hint).sum();
    let run = Arc::new(Run::new(source, Arc::new(SystemClock), options.pace));
    started(shape.name, &run, expected);
    let sinks = out.map(|out| Sinks::open(out, shape)).transpose()?;
    let tallies = Arc::new(Tallies::new(shape.outputs.len()));
    let outputs = Outputs {
        tables: sinks.as_ref().map(|sinks| Arc::clone(&sinks.tables)),
        lake: sinks.as_ref().map(|sinks| Arc::clone(&sinks.lake)),
        topics: sinks.as_ref().map(|sinks| Arc::clone(&sinks.topics)),
        tallies: Arc::clone(&tallies),
    };
    let plan = Plan {
        cluster: options.cluster.clone(),
        batch: options.batch,
        interleave: options.interleave,
        count_only: false,
    };
    let counts = match shape.name {
        "hydraulic" => hydraulic::execute(&options.hydraulic, &plan, &run, outputs)?,
        _ => activity::execute(&options.activity, &plan, &run, outputs)?,
    };
    run.outcome()?;
    let (Some(counts), Some(sinks), Some(out)) = (counts, sinks, out) else { return Ok(None) };
    let counts = counts.map_err(ReplayError::Elsewhere)?;
    let mut done = summarise(&shape.outputs, &counts, &tallies.read());
    let mut ledger = Summary::default();
    ledger.pipelines.insert(shape.name.to_owned(), done.clone());
    let unbalanced = |what: String| ReplayError::Unbalanced { pipeline: shape.name, what };
    ledger.check().map_err(|what| unbalanced(what.to_string()))?;
    sinks.decide(out, shape)?;
    done.seconds = began.elapsed().as_secs_f64();
    Ok(Some(done))
}

fn summarise(outputs: &[String], counts: &Counts, tallies: &[OutputTally]) -> PipelineSummary {
    let rejected = Reason::ALL.iter().zip(counts.rejected).filter(|(_, n)| *n > 0);
    let outputs = outputs.iter().enumerate().map(|(index, name)| {
        let judged = counts.outputs.get(index);
        let summary = OutputSummary {
            counted: judged.map(|judged| judged.counted),
            filtered: judged.map(|judged| judged.filtered),
            late: judged.map(|judged| judged.late),
            idle: judged.map(|judged| judged.idle),
            rows: tallies[index].rows,
            digest: tallies[index].digest.hex(),
        };
        (name.clone(), summary)
    });
    PipelineSummary {
        read: counts.read,
        duplicate_offsets: counts.duplicate_offsets,
        rejected: rejected.map(|(reason, n)| (reason.as_str().to_owned(), n)).collect(),
        accepted: counts.accepted,
        seconds: 0.0,
        outputs: outputs.collect(),
    }
}

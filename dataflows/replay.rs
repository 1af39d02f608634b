//! A replay: a recorded fixture through pipelines into embedded sinks, with one epoch that is decided at
//! the end of the input.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use thiserror::Error;
use tidegate::decode::Reason;
use tidegate::delivery::{Deliver, EpochError, OutputTally, Tallies, decide_epoch};
use tidegate::ingest::{Counts, IdleDecision, IdlePolicy, Interleave};
use tidegate::runtime::{Cluster, ClusterError, Pace, Run, RunError, SystemClock};
use tidegate::sink::out_dir::{OutDir, OutDirError};
use tidegate::sink::{Durability, SinkError};
use tidegate::source::fixture::FixtureSource;
use tidegate::source::{Source, SourceError};
use tidegate::summary::{OutputSummary, PipelineSummary, Summary};

use crate::outputs::{Outputs, Plan};
pub use crate::pipeline::{PIPELINES, Pipeline, Pipelines};
use crate::pipeline::{execute, identity};
use crate::run::partitions_of;
use crate::targets::{Opened, Targets};

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
    /// The decisions of a live run about idle partitions, which are repeated.
    pub idle: Vec<IdleDecision>,
    /// The settings of all pipelines.
    pub pipelines: Pipelines,
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
    /// The fixture holds readings from before validation and from behind it.
    #[error(
        "the fixture {fixture:?} holds both {raw:?} and {validated:?}: the second is made from the first, and \
         every reading would count twice"
    )]
    BothStages {
        /// The fixture's directory.
        fixture: PathBuf,
        /// The topic before validation.
        raw: String,
        /// The topic behind it.
        validated: String,
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

/// Called when a pipeline begins, with its run and the number of records to expect.
pub type Started<'a> = &'a dyn Fn(&dyn Pipeline, &Arc<Run>, u64);

/// Replays `pipelines` one after the other, and makes their results visible together; when none is named, all
/// that the fixture holds records for.
///
/// `started` is called for each with its run and the number of records to expect, for progress and for
/// stopping. Returns the summary on process 0, nothing on the others.
///
/// # Errors
/// See [`ReplayError`].
pub fn replay(
    options: &Options,
    pipelines: &[&str],
    started: Started<'_>,
) -> Result<Option<Summary>, ReplayError> {
    let writes = options.cluster.process == 0;
    // Look at the input before touching anything that an earlier replay left.
    let mut chosen = Vec::new();
    let mut missing = None;
    for name in PIPELINES.into_iter().filter(|name| pipelines.is_empty() || pipelines.contains(name)) {
        let pipeline = options.pipelines.of_fixture(name, &options.fixture)?;
        match open_source(&options.fixture, &*pipeline) {
            Ok(source) => chosen.push((pipeline, source)),
            Err(error @ ReplayError::NoInput { .. }) if pipelines.is_empty() => {
                missing.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    if let Some(error) = missing.filter(|_| chosen.is_empty()) {
        return Err(error);
    }
    let out = if writes { Some(OutDir::prepare_replay(&options.out)?) } else { None };
    let mut summary = Summary::default();
    let mut all = Vec::new();
    for (pipeline, source) in chosen {
        let done =
            run_pipeline(options, &pipeline, source, writes.then_some(options.out.as_path()), started)?;
        if let Some((done, sinks)) = done {
            all.push((pipeline.name(), done, sinks));
        }
    }
    // Nothing is visible before all have reached their end.
    for (name, mut done, sinks) in all {
        let began = Instant::now();
        decide(&sinks, name, &options.out)?;
        done.seconds += began.elapsed().as_secs_f64();
        summary.pipelines.insert(name.to_owned(), done);
    }
    if let Some(out) = out {
        summary.write(&options.out)?;
        out.finish()?;
        return Ok(Some(summary));
    }
    Ok(None)
}

/// Opens what `pipeline` reads of the fixture in `dir`.
///
/// # Errors
/// When the fixture is damaged or holds nothing for it.
pub fn open_source(dir: &Path, pipeline: &dyn Pipeline) -> Result<Arc<dyn Source>, ReplayError> {
    let inputs = pipeline.inputs();
    let source = FixtureSource::open(dir, &|name| inputs.iter().any(|topic| topic == name))?;
    if source.partitions().is_empty() {
        let all = FixtureSource::open(dir, &|_| true)?.topics();
        let topic = match &inputs[..] {
            [only] => format!("topic {only:?}"),
            [first, ..] => format!("topic {first:?} and {} others", inputs.len() - 1),
            [] => "any topic".to_owned(),
        };
        return Err(ReplayError::NoInput {
            pipeline: pipeline.name(),
            topic,
            fixture: dir.to_owned(),
            found: if all.is_empty() { "no record at all".to_owned() } else { all.join(", ") },
        });
    }
    Ok(Arc::new(source))
}

/// Makes what a replay has staged visible.
fn decide(sinks: &Opened, pipeline: &str, out: &Path) -> Result<(), ReplayError> {
    let sinks_by_name = sinks.deliver();
    let all: Vec<(&str, &dyn Deliver)> =
        sinks_by_name.iter().map(|(name, sink)| (&**name, &**sink)).collect();
    decide_epoch(&all, &out.join(".tidegate").join(pipeline), EPOCH, GENERATION)?;
    Ok(sinks.finish()?)
}

fn run_pipeline(
    options: &Options,
    pipeline: &Arc<dyn Pipeline>,
    source: Arc<dyn Source>,
    out: Option<&Path>,
    started: Started<'_>,
) -> Result<Option<(PipelineSummary, Opened)>, ReplayError> {
    let began = Instant::now();
    let expected = source.partitions().iter().map(|partition| partition.records_hint).sum();
    let inputs = pipeline.inputs();
    let mine = options.idle.iter().filter(|decision| inputs.iter().any(|t| **t == *decision.partition.topic));
    let idle = IdlePolicy { timeout: None, recorded: mine.cloned().collect() };
    let run = Arc::new(Run::new(source, Arc::new(SystemClock), options.pace).with_idle(idle));
    run.board().identify(identity(&**pipeline, &options.cluster));
    started(&**pipeline, &run, expected);
    let repeats = !run.idle().recorded.is_empty();
    let targets = Targets { idle: repeats, ..Targets::embedded(Durability::Process) };
    let sinks =
        out.map(|out| targets.open(out, &**pipeline, partitions_of(run.source()), &run)).transpose()?;
    if let Some(sinks) = &sinks {
        sinks.show(run.board());
    }
    let tallies = Arc::new(Tallies::new(pipeline.outputs().len()));
    run.board().tallied(&tallies);
    let outputs = match &sinks {
        Some(sinks) => sinks.outputs(&tallies),
        None => Outputs::counted(pipeline.outputs().len()),
    };
    let plan = Plan {
        cluster: options.cluster.clone(),
        batch: options.batch,
        interleave: options.interleave,
        interval: None,
        count_only: false,
    };
    let counts = execute(pipeline, &plan, &run, outputs)?;
    run.outcome()?;
    let (Some(counts), Some(sinks)) = (counts, sinks) else { return Ok(None) };
    let counts = counts.map_err(ReplayError::Elsewhere)?;
    if let Some(mut lines) = sinks.idle_lines(&**pipeline) {
        lines(EPOCH, &run.idle().recorded)?;
    }
    let mut done = summarise(&**pipeline, &counts, &tallies.read());
    let mut ledger = Summary::default();
    let pipeline = pipeline.name();
    ledger.pipelines.insert(pipeline.to_owned(), done.clone());
    ledger.check().map_err(|what| ReplayError::Unbalanced { pipeline, what: what.to_string() })?;
    done.seconds = began.elapsed().as_secs_f64();
    Ok(Some((done, sinks)))
}

pub(crate) fn summarise(
    pipeline: &dyn Pipeline,
    counts: &Counts,
    tallies: &[OutputTally],
) -> PipelineSummary {
    let rejected = Reason::ALL.iter().zip(counts.rejected).filter(|(_, n)| *n > 0);
    let outputs = pipeline.outputs().into_iter().enumerate().map(|(index, name)| {
        let judged = counts.outputs.get(index).filter(|_| pipeline.is_on(index));
        let summary = OutputSummary {
            counted: judged.map(|judged| judged.counted),
            filtered: judged.map(|judged| judged.filtered),
            late: judged.map(|judged| judged.late),
            idle: judged.map(|judged| judged.idle),
            rows: tallies[index].rows,
            digest: tallies[index].digest.hex(),
        };
        (name, summary)
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

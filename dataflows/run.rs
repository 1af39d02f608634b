//! A run with checkpoints: it can be killed at any instant and goes on where it was, with any number of workers.
//!
//! ```text
//! recover ─► claim a generation ─► commit what is decided ─► restore ─► epochs … ─► finished, or stopped at one
//! ```

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use thiserror::Error;
use tidegate::checkpoint::{
    CheckpointError, Committer, DirStore, Manifest, Pen, Recovered, Store, Threaded, backoff,
    claim_generation, recover,
};
use tidegate::delivery::{Deliver, SharedSink, Tallies};
use tidegate::ingest::{Interleave, Ledger};
use tidegate::runtime::{
    Cluster, ClusterError, EpochPlan, Epochs, Lead, Outcome, Pace, Run, RunError, SystemClock, drive,
};
use tidegate::sink::lake::{LakeBatch, ParquetLake};
use tidegate::sink::out_dir::{OutDir, OutDirError};
use tidegate::sink::sqlite::{SqliteTables, TableBatch};
use tidegate::sink::topic::{TopicBatch, TopicFiles};
use tidegate::sink::{AnySink, Durability, SinkError};
use tidegate::source::Source;
use tidegate::state::{Compactions, Restored, StateHub};
use tidegate::summary::Summary;

use crate::activity::{self, OUTPUTS, Outputs, Plan};
use crate::replay::{ReplayError, summarise};

/// The pipeline that exists so far.
const PIPELINE: &str = "activity";

/// What a run reads, writes and runs on.
#[derive(Clone, Debug)]
pub struct Options {
    /// The output directory.
    pub out: PathBuf,
    /// Where checkpoints lie, one directory a pipeline below it.
    pub checkpoint: PathBuf,
    /// How long an epoch lasts.
    pub interval: Duration,
    /// How many checkpoints stay.
    pub keep: usize,
    /// The workers.
    pub cluster: Cluster,
    /// How fast a fixture is read.
    pub pace: Pace,
    /// Records per activation.
    pub batch: usize,
    /// The order of lanes.
    pub interleave: Interleave,
    /// The settings of `activity`.
    pub activity: activity::Config,
}

/// How a run ended.
#[derive(Debug)]
pub enum Ended {
    /// The input has ended; the figures of all runs together.
    Finished(Box<Summary>),
    /// It was asked to stop, after this epoch.
    Stopped(u64),
    /// On a process that does not lead.
    Quietly,
}

/// Why a run failed. What is decided stays so; start it again.
#[derive(Debug, Error)]
pub enum RunFailure {
    /// As in a replay.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The checkpoint cannot be written or used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Something failed on a worker or in a sink.
    #[error("{0}")]
    Failed(String),
}

impl From<OutDirError> for RunFailure {
    fn from(error: OutDirError) -> Self {
        RunFailure::Replay(error.into())
    }
}
impl From<SinkError> for RunFailure {
    fn from(error: SinkError) -> Self {
        RunFailure::Replay(error.into())
    }
}
impl From<ClusterError> for RunFailure {
    fn from(error: ClusterError) -> Self {
        RunFailure::Replay(error.into())
    }
}
impl From<RunError> for RunFailure {
    fn from(error: RunError) -> Self {
        RunFailure::Replay(error.into())
    }
}

/// The sinks of a run on the process that writes them.
struct Sinks {
    tables: SharedSink<AnySink<TableBatch>>,
    lake: SharedSink<AnySink<LakeBatch>>,
    topics: SharedSink<AnySink<TopicBatch>>,
}

fn shared<B>(sink: impl tidegate::sink::Sink<Batch = B> + Send + 'static) -> SharedSink<AnySink<B>> {
    Arc::new(Mutex::new(Box::new(sink)))
}

impl Sinks {
    fn embedded(out: &Path, config: &activity::Config) -> Result<Self, SinkError> {
        let topics = activity::topics(&config.topic);
        let names: Vec<&str> = topics.iter().map(|(_, name)| &**name).collect();
        let power = Durability::Power;
        Ok(Sinks {
            tables: shared(SqliteTables::open(out, "tables", activity::table_schemas().to_vec(), power)?),
            lake: shared(ParquetLake::open(&out.join(activity::LAKE), "lake", power)?),
            topics: shared(TopicFiles::open(&out.join("topics"), "topics", &names, power)?),
        })
    }

    fn deliver(&self) -> Vec<(String, Arc<dyn Deliver>)> {
        vec![
            ("tables".to_owned(), Arc::clone(&self.tables) as Arc<dyn Deliver>),
            ("lake".to_owned(), Arc::clone(&self.lake) as Arc<dyn Deliver>),
            ("topics".to_owned(), Arc::clone(&self.topics) as Arc<dyn Deliver>),
        ]
    }
}

/// Runs `activity` from where its checkpoint stands until its input has ended or `started`'s run is asked to stop.
///
/// # Errors
/// See [`RunFailure`].
pub fn run(
    options: &Options,
    source: Arc<dyn Source>,
    started: &dyn Fn(&Arc<Run>, Option<&Manifest>),
) -> Result<Ended, RunFailure> {
    let began = Instant::now();
    let leads = options.cluster.process == 0;
    let out = if leads { Some(OutDir::prepare_run(&options.out)?) } else { None };
    let dir = options.checkpoint.join(PIPELINE);
    let store = if leads { DirStore::open(&dir)? } else { DirStore::unlocked(&dir) };
    let store: Arc<dyn Store> = Arc::new(store);
    let mirror: Arc<dyn Store> = Arc::new(mirror(&options.out)?);
    let schema = options.activity.state_schema();
    let found = recover(&*store, Some(&*mirror), PIPELINE, &schema)?;
    for warning in found.iter().flat_map(|found| &found.warnings) {
        tracing::warn!("checkpoint: {warning}; using what is whole");
    }
    let run = Run::new(Arc::clone(&source), Arc::new(SystemClock), options.pace).with_checkpoints();
    let run = Arc::new(run);
    let start = Start::of(found, &*source);
    started(&run, start.decided.as_ref());

    let compactions = Arc::new(Compactions::default());
    let mut sinks = None;
    let mut lead = None;
    if leads {
        let opened = Sinks::embedded(&options.out, &options.activity)?;
        let generation =
            claim_generation(&*store, start.decided.as_ref().map_or(0, |decided| decided.generation))?;
        let stopping = Arc::clone(&run);
        let mut pen = Pen {
            store: Arc::clone(&store),
            mirror: Some(mirror),
            sinks: opened.deliver(),
            pipeline: PIPELINE.to_owned(),
            schema,
            generation,
            decided: start.decided.clone(),
            deltas: start.deltas.clone(),
            compactions: Arc::clone(&compactions),
            keep: options.keep.max(1),
            clock: Arc::new(SystemClock),
            retry: backoff(move || stopping.stopping()),
        };
        pen.commit_decided()?;
        lead = Some(pen);
        sinks = Some(opened);
    }
    let tallies = Arc::new(match &start.decided {
        Some(decided) => Tallies::of(decided.tallies.clone()),
        None => Tallies::new(OUTPUTS.len()),
    });
    let is_finished = start.decided.as_ref().is_some_and(|decided| decided.finished);
    let (outcome, pen) = if is_finished {
        (Outcome::Finished, lead)
    } else {
        (work(options, &run, start, sinks.as_ref(), &tallies, lead, compactions)?, None)
    };
    drop(pen);
    if let Err(error) = run.failure() {
        return Err(error.into());
    }
    let Some(out) = out else { return Ok(Ended::Quietly) };
    match outcome {
        Outcome::Failed(what) => Err(RunFailure::Failed(what)),
        Outcome::Stopped(epoch) => {
            finish(sinks)?;
            Ok(Ended::Stopped(epoch))
        }
        Outcome::Finished => {
            finish(sinks)?;
            let last = recover(&*store, None, PIPELINE, &options.activity.state_schema())?;
            let mut summary = Summary::default();
            if let Some(Recovered { decided, .. }) = last {
                let mut done = summarise(&OUTPUTS.map(str::to_owned), &decided.counts, &decided.tallies);
                done.seconds = began.elapsed().as_secs_f64();
                summary.pipelines.insert(PIPELINE.to_owned(), done);
            }
            summary
                .check()
                .map_err(|what| ReplayError::Unbalanced { pipeline: PIPELINE, what: what.to_string() })?;
            summary.write(&options.out)?;
            out.finish()?;
            Ok(Ended::Finished(Box::new(summary)))
        }
    }
}

fn finish(sinks: Option<Sinks>) -> Result<(), RunFailure> {
    if let Some(sinks) = sinks {
        let broken =
            |_| SinkError::Failed { sink: "topics".to_owned(), cause: "a worker panicked".to_owned() };
        sinks.topics.lock().map_err(broken)?.finish()?;
    }
    Ok(())
}

/// Further copies of manifests, beside the output that they decide.
fn mirror(out: &Path) -> Result<DirStore, RunFailure> {
    let dir = out.join(".tidegate").join("manifests").join(PIPELINE);
    std::fs::create_dir_all(&dir)
        .map_err(|cause| OutDirError::Io(format!("cannot make {dir:?}: {cause}")))?;
    Ok(DirStore::unlocked(&dir))
}

/// Where a run begins.
struct Start {
    decided: Option<Manifest>,
    plan: EpochPlan,
    restored: Option<Restored>,
    counts: tidegate::ingest::Counts,
    deltas: Vec<tidegate::checkpoint::StateFile>,
}

impl Start {
    fn of(found: Option<Recovered>, source: &dyn Source) -> Self {
        let Some(Recovered { decided, base, blocks, .. }) = found else {
            let (plan, counts) = (EpochPlan::default(), Default::default());
            return Start { decided: None, plan, restored: None, counts, deltas: Vec::new() };
        };
        let repeats = base.as_ref().is_none_or(|base| base.epoch < decided.epoch);
        // The dataflow's first epoch restores; its second is the first that is read.
        let first = decided.epoch as i64 + i64::from(!repeats);
        let plan = EpochPlan {
            base: first - 2,
            decided: decided.epoch,
            is_restored: true,
            start: base.as_ref().map(|base| base.partitions.clone()).unwrap_or_default(),
            until: repeats.then(|| decided.partitions.clone()),
        };
        let present = source.partitions();
        let rank_map = plan.start.iter().map(|cut| {
            present.iter().position(|info| info.id == cut.id).map_or(u32::MAX, |rank| rank as u32)
        });
        let restored = base.as_ref().map(|base| Restored::new(base.watermark_us, rank_map.collect(), blocks));
        Start {
            counts: base.as_ref().map(|base| base.counts.clone()).unwrap_or_default(),
            deltas: base
                .map(|base| base.state.into_iter().filter(|file| file.is_delta()).collect())
                .unwrap_or_default(),
            decided: Some(decided),
            plan,
            restored,
        }
    }
}

fn work(
    options: &Options,
    run: &Arc<Run>,
    start: Start,
    sinks: Option<&Sinks>,
    tallies: &Arc<Tallies>,
    pen: Option<Pen>,
    compactions: Arc<Compactions>,
) -> Result<Outcome, RunFailure> {
    let plan = Plan {
        cluster: options.cluster.clone(),
        batch: options.batch,
        interleave: options.interleave,
        count_only: false,
    };
    let outputs = Outputs {
        tables: sinks.map(|sinks| Arc::clone(&sinks.tables)),
        lake: sinks.map(|sinks| Arc::clone(&sinks.lake)),
        topics: sinks.map(|sinks| Arc::clone(&sinks.topics)),
        tallies: Arc::clone(tallies),
    };
    let (epoch_plan, restored) = (Arc::new(start.plan), start.restored.map(Arc::new));
    let pen = Mutex::new(pen);
    let (config, interval, counts) = (options.activity.clone(), options.interval, start.counts);
    let (run, tallies) = (Arc::clone(run), Arc::clone(tallies));
    let outcomes = tidegate::runtime::execute(&options.cluster, move |worker| {
        let hub = StateHub::new(
            restored.clone(),
            worker.index(),
            worker.peers(),
            epoch_plan.first(),
            Arc::clone(&compactions),
        );
        let epochs = Epochs::with_checkpoints(Arc::clone(&epoch_plan), hub);
        let ledger = Ledger::new(activity::JUDGED_OUTPUTS);
        worker.dataflow(|scope| activity::build(scope, &config, &plan, &run, &ledger, &epochs, &outputs));
        let pen = if worker.index() == 0 { pen.lock().ok().and_then(|mut pen| pen.take()) } else { None };
        let lead = pen.map(|pen| Lead {
            committer: Box::new(Threaded::start(pen)) as Box<dyn Committer>,
            interval,
            tallies: Arc::clone(&tallies),
            counts: counts.clone(),
        });
        drive(worker, &run, &epochs, &ledger, lead)
    })?;
    Ok(outcomes.into_iter().next().unwrap_or(Outcome::Finished))
}

//! Pipelines with checkpoints: a run can be killed at any instant and goes on where it was, with any number of workers.
//!
//! ```text
//! recover ─► claim a generation ─► commit what is decided ─► restore ─► epochs … ─► finished, or stopped at one
//! ```

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;
use tidegate::checkpoint::{
    CheckpointError, Committer, DirStore, Manifest, Pen, Recovered, S3Store, Store, backoff,
    claim_generation, newest, recover, still_ours,
};
use tidegate::delivery::{Deliver, EarlyRows, Tallies};
use tidegate::ingest::{IdleDecision, IdlePolicy, Interleave, Ledger};
use tidegate::keys::key_hash;
use tidegate::runtime::{
    Clock, Cluster, ClusterError, EpochPlan, Epochs, Lead, Outcome, Pace, Run, RunError, drive,
};
use tidegate::sink::SinkError;
use tidegate::sink::out_dir::{OutDir, OutDirError};
use tidegate::source::{InputMark, Source, SourceError};
use tidegate::spill::Budget;
use tidegate::state::{Compactions, Restored, StateHub};
use tidegate::storage::{Credentials, Location};
use tidegate::summary::{PipelineSummary, Summary};
use tidegate::telemetry::Board;
use timely::worker::Worker;

use crate::outputs::{Outputs, Plan};
use crate::pipeline::{Pipeline, Site, identity};
use crate::replay::{ReplayError, summarise};
use crate::targets::Targets;
use crate::told::Told;
use crate::watch::Watch;

/// What a run writes and runs on, for all of its pipelines.
#[derive(Clone)]
pub struct Options {
    /// The output directory.
    pub out: PathBuf,
    /// Where checkpoints lie, one directory a pipeline below it: a local directory, or S3.
    pub checkpoint: Location,
    /// What S3 is reached with.
    pub credentials: Credentials,
    /// How long an epoch lasts.
    pub interval: Duration,
    /// How many bytes the state of this process may take in memory; what is beyond goes to `.tidegate/spill` in `out`.
    pub memory_limit: Option<usize>,
    /// How many checkpoints stay.
    pub keep: usize,
    /// How often a live input is asked for new partitions.
    pub refresh: Duration,
    /// The workers of each pipeline.
    pub cluster: Cluster,
    /// How fast a fixture is read.
    pub pace: Pace,
    /// Records per activation.
    pub batch: usize,
    /// The order of lanes.
    pub interleave: Interleave,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// A pipeline of a run, what it reads and what it writes to.
pub struct Job {
    /// The pipeline.
    pub pipeline: Arc<dyn Pipeline>,
    /// Its input.
    pub source: Arc<dyn Source>,
    /// Its sinks.
    pub targets: Targets,
    /// What is done about partitions that fall silent.
    pub idle: IdlePolicy,
}

/// Called when a pipeline begins or goes on, with the manifest of the epoch that it goes on from.
pub type Started<'a> = &'a (dyn Fn(&dyn Pipeline, &Arc<Run>, Option<&Manifest>) + Sync);

/// How a run ended.
#[derive(Debug)]
pub enum Ended {
    /// All input has ended; the figures of all runs together.
    Finished(Box<Summary>),
    /// It was asked to stop; the epochs after which its pipelines did.
    Stopped(Vec<(&'static str, u64)>),
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
impl From<SourceError> for RunFailure {
    fn from(error: SourceError) -> Self {
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

/// How one pipeline of a run ended.
enum JobEnded {
    /// Its input has ended: the last manifest.
    Finished(Box<PipelineSummary>),
    /// After this epoch.
    Stopped(u64),
    /// On a process that does not lead.
    Quietly,
}

/// Runs each pipeline from where its checkpoint stands until its input has ended or its run is asked to stop.
///
/// Pipelines have their own workers, epochs and checkpoints: one whose sink is away waits for it alone. One that fails
/// makes the others stop at their next checkpoint.
///
/// # Errors
/// See [`RunFailure`]: that of the first pipeline that failed.
pub fn run(options: &Options, jobs: &[Job], started: Started<'_>) -> Result<Ended, RunFailure> {
    let leads = options.cluster.process == 0;
    let out = if leads { Some(OutDir::prepare_run(&options.out)?) } else { None };
    // The limit is the process's, and its pipelines share it.
    let memory_limit = options.memory_limit.map(|bytes| bytes / jobs.len().max(1));
    let options = &Options { memory_limit, ..options.clone() };
    let runs: Mutex<Vec<Arc<Run>>> = Mutex::default();
    let stop_all = || runs.lock().iter().flat_map(|runs| runs.iter()).for_each(|run| run.ask_to_stop());
    let failed = AtomicBool::new(false);
    let one = |job: &Job| {
        let begins = |pipeline: &dyn Pipeline, run: &Arc<Run>, decided: Option<&Manifest>| {
            if let Ok(mut runs) = runs.lock() {
                runs.push(Arc::clone(run));
            }
            started(pipeline, run, decided);
            if failed.load(Ordering::SeqCst) {
                run.ask_to_stop();
            }
        };
        let board = Mutex::new(None);
        let begins = |pipeline: &dyn Pipeline, run: &Arc<Run>, decided: Option<&Manifest>| {
            begins(pipeline, run, decided);
            if let Ok(mut board) = board.lock() {
                *board = Some(Arc::clone(run.board()));
            }
        };
        let ended = run_job(options, job, begins);
        let phase = match &ended {
            Err(_) => "failed",
            Ok(JobEnded::Stopped(_)) => "stopped",
            Ok(_) => "finished",
        };
        if let Some(board) = board.lock().ok().and_then(|mut board| board.take()) {
            board.over(phase);
        }
        if ended.is_err() {
            failed.store(true, Ordering::SeqCst);
            stop_all();
        }
        ended
    };
    let ended: Vec<Result<JobEnded, RunFailure>> = match jobs {
        [job] => vec![one(job)],
        jobs => std::thread::scope(|scope| {
            let threads: Vec<_> = jobs.iter().map(|job| scope.spawn(|| one(job))).collect();
            let panicked = |_| Err(RunFailure::Failed("a pipeline's thread panicked".to_owned()));
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
        }),
    };
    let (mut summary, mut stopped) = (Summary::default(), Vec::new());
    for (job, ended) in jobs.iter().zip(ended) {
        let name = job.pipeline.name();
        match ended? {
            JobEnded::Finished(done) => {
                summary.pipelines.insert(name.to_owned(), *done);
            }
            JobEnded::Stopped(epoch) => stopped.push((name, epoch)),
            JobEnded::Quietly => {}
        }
    }
    let Some(out) = out else { return Ok(Ended::Quietly) };
    if !stopped.is_empty() {
        return Ok(Ended::Stopped(stopped));
    }
    summary.write(&options.out)?;
    out.finish()?;
    Ok(Ended::Finished(Box::new(summary)))
}

/// What a store of checkpoints is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To write: no other process may.
    Write,
    /// To read, while another process may write.
    Look,
}

/// Opens the place where the checkpoints of one pipeline lie.
///
/// # Errors
/// When it cannot be used, or another process writes there.
pub fn open_store(
    place: &Location,
    credentials: &Credentials,
    access: Access,
) -> Result<Arc<dyn Store>, CheckpointError> {
    match place {
        Location::Dir(dir) if access == Access::Write => Ok(Arc::new(DirStore::open(dir)?)),
        Location::Dir(dir) => Ok(Arc::new(DirStore::unlocked(dir))),
        Location::S3 { bucket, prefix } => Ok(Arc::new(S3Store::open(bucket, prefix, credentials)?)),
        Location::Hdfs { .. } => Err(CheckpointError::Store {
            place: place.to_string(),
            name: String::new(),
            cause: "checkpoints lie in a directory or in S3".to_owned(),
        }),
    }
}

/// Runs a pipeline, again whenever its input has more partitions: it stops at a checkpoint and goes on with all of them.
fn run_job(
    options: &Options,
    job: &Job,
    started: impl Fn(&dyn Pipeline, &Arc<Run>, Option<&Manifest>),
) -> Result<JobEnded, RunFailure> {
    let mut source = Arc::clone(&job.source);
    loop {
        let (ended, grown) = run_once(options, job, &source, &started)?;
        // On processes that do not lead nobody has asked: the one that leads may have stopped them for this.
        let grown = match (&ended, grown) {
            (JobEnded::Finished(_), _) => None,
            (JobEnded::Stopped(_), grown) => grown,
            (JobEnded::Quietly, _) => source.grown()?,
        };
        let Some(more) = grown else { return Ok(ended) };
        let (before, now) = (source.partitions().len(), more.partitions().len());
        tracing::info!(
            pipeline = job.pipeline.name(),
            before,
            now,
            "the input has new partitions: reading them too"
        );
        source = more;
    }
}

/// Runs a pipeline until its input has ended or its run is asked to stop; with the source as it is now, where it has grown.
fn run_once(
    options: &Options,
    job: &Job,
    source: &Arc<dyn Source>,
    started: impl Fn(&dyn Pipeline, &Arc<Run>, Option<&Manifest>),
) -> Result<(JobEnded, Option<Arc<dyn Source>>), RunFailure> {
    let began = Instant::now();
    let leads = options.cluster.process == 0;
    let (pipeline, name) = (&job.pipeline, job.pipeline.name());
    let access = if leads { Access::Write } else { Access::Look };
    let store = open_store(&options.checkpoint.join(name), &options.credentials, access)?;
    let mirror: Arc<dyn Store> = Arc::new(mirror(&options.out, name, leads)?);
    let clock = Arc::clone(&options.clock);
    let (keep, idle) = (options.keep.max(1), job.idle.recorded.clone());
    let spill = options.memory_limit.map(|_| spill_directory(options));
    let run = Run::new(Arc::clone(source), Arc::clone(&clock), options.pace);
    let run = Arc::new(run.with_checkpoints().with_idle(job.idle.clone()));
    let board = Arc::clone(run.board());
    let ground = Ground { store, mirror, clock, keep, idle, spill, board };
    let start = ground.recover(&**pipeline, &**source)?;
    run.board().identify(identity(&**pipeline, &options.cluster));
    match &start.decided {
        Some(decided) => source.resume(&decided.input)?,
        None => source.begin()?,
    }
    started(&**pipeline, &run, start.decided.as_ref());

    let compactions = Arc::new(Compactions::default());
    let mut sinks = None;
    let mut lead = None;
    if leads {
        let opened = job.targets.open(&options.out, &**pipeline, partitions_of(&**source), &run)?;
        let stopping = Arc::clone(&run);
        let retry = backoff(move || stopping.stopping());
        let mut pen = ground.lead(&**pipeline, &start, opened.deliver(), &compactions, retry)?;
        let mut input = source.mark();
        if !start.plan.starts.is_empty() {
            let begin = |(id, from)| {
                let begin = start.plan.begin_of(&id, from);
                (id, begin)
            };
            input.starts = input.starts.into_iter().map(begin).collect();
        }
        opened.show(run.board());
        (pen.input, pen.idle_lines) = (input, opened.idle_lines(&**pipeline));
        pen.early = opened.early.clone();
        lead = Some(pen);
        sinks = Some(opened);
    }
    let generation = lead.as_ref().map(|pen| pen.generation);
    let output_count = pipeline.outputs().len();
    let tallies = Arc::new(start.tallies(output_count));
    run.board().tallied(&tallies);
    let finished = start.decided.as_ref().filter(|decided| decided.finished);
    let mut grown = None;
    let (outcome, pen) = if let Some(finished) = finished {
        // It stays so: sessions have been closed on that end.
        if leads {
            let seen = finished.partitions.iter().map(|cut| (cut.id.clone(), cut.seen)).collect();
            source.check_ended(&finished.input, &seen)?;
        }
        (Outcome::Finished, lead)
    } else {
        let outputs = match &sinks {
            Some(sinks) => sinks.outputs(&tallies),
            None => Outputs { tallies: Arc::clone(&tallies), ..Outputs::counted(output_count) },
        };
        let outcome = std::thread::scope(|scope| {
            let watch = leads.then(|| Watch::start(scope, source, &run, options.refresh));
            let outcome = work(options, pipeline, &run, start, outputs, lead, compactions);
            grown = watch.and_then(Watch::grown);
            outcome
        });
        // What a run trips over whose files another one has removed is not what has to be mended.
        if let Some(ours) = generation
            && !matches!(outcome, Ok(Outcome::Finished | Outcome::Stopped(_)))
            && let Err(taken @ CheckpointError::TakenOver { .. }) = still_ours(&*ground.store, ours)
        {
            return Err(taken.into());
        }
        (outcome?, None)
    };
    drop(pen);
    if let Err(error) = run.failure() {
        return Err(error.into());
    }
    let Some(sinks) = sinks else { return Ok((JobEnded::Quietly, grown)) };
    match outcome {
        Outcome::Failed(what) => Err(RunFailure::Failed(what)),
        Outcome::Stopped(epoch) => {
            sinks.finish()?;
            Ok((JobEnded::Stopped(epoch), grown))
        }
        Outcome::Finished => {
            sinks.finish()?;
            let mut done = PipelineSummary::default();
            if let Some(decided) = newest(&*ground.store, Some(&*ground.mirror))? {
                done = summarise(&**pipeline, &decided.counts, &decided.tallies);
            }
            done.seconds = began.elapsed().as_secs_f64();
            let mut ledger = Summary::default();
            ledger.pipelines.insert(name.to_owned(), done.clone());
            ledger
                .check()
                .map_err(|what| ReplayError::Unbalanced { pipeline: name, what: what.to_string() })?;
            Ok((JobEnded::Finished(Box::new(done)), None))
        }
    }
}

/// How many partitions the topics need whose records keep the number of their input's partition.
pub(crate) fn partitions_of(source: &dyn Source) -> i32 {
    source.partitions().iter().map(|info| info.id.number + 1).max().unwrap_or(1)
}

/// Further copies of manifests, beside the output that they decide. The process that leads makes the directory, once it has taken
/// that of the output: where another one made it before, the output would look like somebody else's.
fn mirror(out: &Path, pipeline: &str, leads: bool) -> Result<DirStore, RunFailure> {
    let dir = out.join(".tidegate").join("manifests").join(pipeline);
    if leads {
        std::fs::create_dir_all(&dir)
            .map_err(|cause| OutDirError::Io(format!("cannot make {dir:?}: {cause}")))?;
    }
    Ok(DirStore::unlocked(&dir))
}

/// Where the checkpoints of a pipeline lie, and how they are kept.
pub(crate) struct Ground {
    /// State and manifests.
    pub(crate) store: Arc<dyn Store>,
    /// Further copies of manifests.
    pub(crate) mirror: Arc<dyn Store>,
    /// The time of manifests.
    pub(crate) clock: Arc<dyn Clock>,
    /// How many checkpoints stay, at least 1.
    pub(crate) keep: usize,
    /// The decisions about idle partitions that are repeated.
    pub(crate) idle: Vec<IdleDecision>,
    /// Where state waits that is restored and must not be in memory at once; `None` without a memory limit.
    pub(crate) spill: Option<PathBuf>,
    /// Where the run's facts are stated.
    pub(crate) board: Arc<Board>,
}

impl Ground {
    /// What a checkpoint's state depends on: the pipeline's settings, and the decisions that are repeated, if any.
    fn schema(&self, pipeline: &dyn Pipeline) -> String {
        let mut schema = pipeline.state_schema();
        if !self.idle.is_empty() {
            let mut lines = Vec::new();
            self.idle.iter().for_each(|decision| decision.line(&mut lines));
            schema.push_str(&format!(", idle decisions {:016x}", key_hash(&lines)));
        }
        schema
    }

    /// Where a run of `pipeline` over `source` begins.
    pub(crate) fn recover(
        &self,
        pipeline: &dyn Pipeline,
        source: &dyn Source,
    ) -> Result<Start, CheckpointError> {
        let schema = self.schema(pipeline);
        let spill = self.spill.as_deref();
        let found = recover(&*self.store, Some(&*self.mirror), pipeline.name(), &schema, spill)?;
        for warning in found.iter().flat_map(|found| &found.warnings) {
            tracing::warn!("checkpoint: {warning}; using what is whole");
        }
        if let Some(Recovered { decided, base, .. }) = &found
            && base.as_ref().is_none_or(|base| base.epoch < decided.epoch)
        {
            let whole = base.as_ref().map_or_else(
                || "no state is whole: the log is read again from its beginning".to_owned(),
                |base| {
                    format!(
                        "the newest whole state is that of epoch {}: the log is read again from there",
                        base.epoch
                    )
                },
            );
            tracing::warn!(
                "checkpoint: {whole} to the end of epoch {}, which stays as it was decided",
                decided.epoch
            );
        }
        Start::of(found, source)
    }

    /// Claims the next generation, and makes visible what is decided: from here on no older run can commit.
    pub(crate) fn lead(
        &self,
        pipeline: &dyn Pipeline,
        start: &Start,
        sinks: Vec<(String, Arc<dyn Deliver>)>,
        compactions: &Arc<Compactions>,
        retry: Box<dyn FnMut(u32) -> bool + Send>,
    ) -> Result<Pen, CheckpointError> {
        let newest = start.decided.as_ref().map_or(0, |decided| decided.generation);
        let generation = claim_generation(&*self.store, newest)?;
        let mut pen = Pen {
            store: Arc::clone(&self.store),
            mirror: Some(Arc::clone(&self.mirror)),
            sinks,
            pipeline: pipeline.name().to_owned(),
            schema: self.schema(pipeline),
            generation,
            decided: start.decided.clone(),
            input: InputMark::default(),
            idle_lines: None,
            early: EarlyRows::default(),
            deltas: start.deltas.clone(),
            unread: Vec::new(),
            compactions: Arc::clone(compactions),
            keep: self.keep,
            clock: Arc::clone(&self.clock),
            board: Arc::clone(&self.board),
            retry,
        };
        pen.commit_decided()?;
        Ok(pen)
    }
}

/// Where a run begins.
pub(crate) struct Start {
    pub(crate) decided: Option<Manifest>,
    pub(crate) plan: EpochPlan,
    restored: Option<Restored>,
    pub(crate) counts: tidegate::ingest::Counts,
    pub(crate) open: tidegate::ingest::OpenCounts,
    deltas: Vec<tidegate::checkpoint::StateFile>,
}

impl Start {
    /// The rows of `outputs` outputs so far.
    pub(crate) fn tallies(&self, outputs: usize) -> Tallies {
        match &self.decided {
            Some(decided) => Tallies::of(decided.tallies.clone()),
            None => Tallies::new(outputs),
        }
    }

    /// What the workers share.
    pub(crate) fn stage(
        self,
        pipeline: &Arc<dyn Pipeline>,
        plan: Plan,
        run: &Arc<Run>,
        outputs: Outputs,
        compactions: Arc<Compactions>,
    ) -> Stage {
        Stage {
            pipeline: Arc::clone(pipeline),
            plan,
            run: Arc::clone(run),
            outputs,
            epochs: Arc::new(self.plan),
            restored: Mutex::new((self.restored.map(Arc::new), 0)),
            counts: self.counts,
            open: self.open,
            compactions,
            memory: None,
        }
    }

    fn of(found: Option<Recovered>, source: &dyn Source) -> Result<Self, CheckpointError> {
        let Some(Recovered { decided, base, blocks, .. }) = found else {
            let (plan, counts, open) = Default::default();
            return Ok(Start { decided: None, plan, restored: None, counts, open, deltas: Vec::new() });
        };
        let repeats = base.as_ref().is_none_or(|base| base.epoch < decided.epoch);
        let idle = decided.idle_since(base.as_ref().map_or(0, |base| base.epoch));
        let idle =
            idle.map_err(|epoch| CheckpointError::NoIdleDecisions { epoch, from: decided.idle_from })?;
        // The dataflow's first epoch restores; its second is the first that is read.
        let first = decided.epoch as i64 + i64::from(!repeats);
        let plan = EpochPlan {
            base: first - 2,
            decided: decided.epoch,
            is_restored: true,
            start: base.as_ref().map(|base| base.partitions.clone()).unwrap_or_default(),
            start_watermark_us: base.as_ref().map(|base| base.watermark_us),
            until: repeats.then(|| decided.partitions.clone()),
            until_watermark_us: repeats.then_some(decided.watermark_us),
            idle,
            starts: decided.input.starts.clone(),
        };
        let present = source.partitions();
        let rank_map = plan.start.iter().map(|cut| {
            present.iter().position(|info| info.id == cut.id).map_or(u32::MAX, |rank| rank as u32)
        });
        let restored = base.as_ref().map(|base| Restored::new(base.watermark_us, rank_map.collect(), blocks));
        let mut open = tidegate::ingest::OpenCounts::default();
        // What is open until it is settled, its operator knows.
        let open_before = base.iter().flat_map(|base| base.open.iter().copied());
        open.add(open_before.filter(|open| open.until_us != i64::MAX));
        Ok(Start {
            counts: base.as_ref().map(|base| base.counts.clone()).unwrap_or_default(),
            open,
            deltas: base
                .map(|base| base.state.into_iter().filter(|file| file.is_delta()).collect())
                .unwrap_or_default(),
            decided: Some(decided),
            plan,
            restored,
        })
    }
}

/// Where state goes that memory is too short for.
fn spill_directory(options: &Options) -> PathBuf {
    options.out.join(".tidegate").join("spill")
}

fn work(
    options: &Options,
    pipeline: &Arc<dyn Pipeline>,
    run: &Arc<Run>,
    start: Start,
    outputs: Outputs,
    pen: Option<Pen>,
    compactions: Arc<Compactions>,
) -> Result<Outcome, RunFailure> {
    let plan = Plan {
        cluster: options.cluster.clone(),
        batch: options.batch,
        interleave: options.interleave,
        interval: Some(options.interval),
        count_only: false,
    };
    let (mut stage, pen) = (start.stage(pipeline, plan, run, outputs, compactions), Mutex::new(pen));
    if let Some(bytes) = options.memory_limit {
        let directory = spill_directory(options);
        std::fs::create_dir_all(&directory)
            .map_err(|cause| OutDirError::Io(format!("cannot make {directory:?}: {cause}")))?;
        stage.memory = Some((bytes / options.cluster.threads.max(1), directory));
    }
    let interval = options.interval;
    let outcomes = tidegate::runtime::execute(&options.cluster, move |worker| {
        let (epochs, ledger) = stage.build(worker);
        let pen = if worker.index() == 0 { pen.lock().ok().and_then(|mut pen| pen.take()) } else { None };
        let lead = pen.map(|pen| stage.lead(Box::new(Told::start(pen, &*stage.pipeline)), interval));
        drive(worker, &stage.run, &epochs, &ledger, lead)
    })?;
    Ok(outcomes.into_iter().next().unwrap_or(Outcome::Finished))
}

/// What the workers of a run share.
pub(crate) struct Stage {
    pipeline: Arc<dyn Pipeline>,
    plan: Plan,
    pub(crate) run: Arc<Run>,
    outputs: Outputs,
    epochs: Arc<EpochPlan>,
    /// The checkpoint's state, until all workers have taken theirs.
    restored: Mutex<(Option<Arc<Restored>>, usize)>,
    counts: tidegate::ingest::Counts,
    open: tidegate::ingest::OpenCounts,
    compactions: Arc<Compactions>,
    /// What the state of a worker may take in memory, and where what is beyond goes.
    memory: Option<(usize, PathBuf)>,
}

impl Stage {
    /// Builds the dataflow on a worker, with the state that it owns.
    pub(crate) fn build(&self, worker: &mut Worker) -> (Epochs, Ledger) {
        let hub = StateHub::new(
            self.take_restored(),
            worker.index(),
            worker.peers(),
            self.epochs.first(),
            Arc::clone(&self.compactions),
        );
        let budget = self.memory.as_ref().map(|(bytes, directory)| Budget::limited(*bytes, directory));
        let hub = hub.within(budget.unwrap_or_default());
        let epochs = Epochs::with_checkpoints(Arc::clone(&self.epochs), hub);
        let ledger = Ledger::with_open(self.pipeline.judged());
        worker.dataflow(|scope| {
            let (plan, run, outputs) = (&self.plan, &self.run, &self.outputs);
            self.pipeline.build(Site { scope, plan, run, ledger: &ledger, epochs: &epochs, outputs });
        });
        epochs.hub().forget_restored();
        (epochs, ledger)
    }

    /// The state to be restored; the last of this process's workers takes it away.
    fn take_restored(&self) -> Option<Arc<Restored>> {
        let mut restored = self.restored.lock().unwrap_or_else(PoisonError::into_inner);
        restored.1 += 1;
        if restored.1 >= self.plan.cluster.threads { restored.0.take() } else { restored.0.clone() }
    }

    /// What worker 0 has beside the others.
    pub(crate) fn lead(&self, committer: Box<dyn Committer>, interval: Duration) -> Lead {
        let (tallies, counts) = (Arc::clone(&self.outputs.tallies), self.counts.clone());
        Lead { committer, interval, tallies, counts, open: self.open.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_process_that_leads_makes_something_in_the_output() {
        let out = tempfile::tempdir().expect("a directory");
        let looked_at = mirror(out.path(), "activity", false).expect("nothing to be made");
        assert_eq!(looked_at.names().expect("none"), Vec::<String>::new());
        assert_eq!(std::fs::read_dir(out.path()).expect("there").count(), 0);
        mirror(out.path(), "activity", true).expect("made");
        assert!(out.path().join(".tidegate/manifests/activity").is_dir());
    }
}

//! One life of a process: from recovery to the end of the input, or to its death.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidegate::checkpoint::{CheckpointError, Inline, Manifest, Store, newest};
use tidegate::delivery::{Deliver, Shared, SharedSink};
use tidegate::ingest::{Counts, IdlePolicy, Interleave};
use tidegate::runtime::{Clock, Cluster, Driver, ManualClock, Outcome, Pace, Run};
use tidegate::sink::{AnySink, Sink, SinkError};
use tidegate::source::Source;
use tidegate::state::Compactions;
use timely::communication::Config as Communication;
use timely::worker::{Config as WorkerConfig, Worker};

use super::baton::{Baton, Place};
use super::disk::{Disk, DiskStore};
use super::log::Log;
use super::sinks::{Content, Held, MemorySink, lake, tables, topics};
use super::steps::Steps;
use super::{Plant, SinkContents};
use crate::outputs::{Outputs, Plan};
use crate::pipeline::Pipeline;
use crate::run::{Ground, Stage, Start};

/// No run of these logs needs so many turns of its workers.
const MOST_TURNS: u64 = 200_000;

/// Sinks by name, for deciding epochs.
pub(super) type Named = Vec<(String, Arc<dyn Deliver>)>;

/// What outlives every process: the disks, the servers.
pub(super) struct World {
    pub(super) pipeline: Arc<dyn Pipeline>,
    pub(super) source: Arc<dyn Source>,
    idle: IdlePolicy,
    pub(super) checkpoint: Arc<Mutex<Disk>>,
    pub(super) mirror: Arc<Mutex<Disk>>,
    pub(super) steps: Arc<Steps>,
    pub(super) plant: Plant,
    tables: Arc<Mutex<Held>>,
    lake: Arc<Mutex<Held>>,
    topics: Arc<Mutex<Held>>,
}

/// How a process lives: drawn by its simulation.
#[derive(Clone, Debug)]
pub(super) struct How {
    pub(super) workers: usize,
    pub(super) batch: usize,
    pub(super) seed: u64,
    /// How long an epoch lasts, by the simulation's clock.
    pub(super) interval_us: u64,
    /// The step before which it is killed.
    pub(super) dies_at: Option<u64>,
    /// The turn after which it is asked to stop.
    pub(super) stops_at: Option<u64>,
    /// One step in so many is refused; 0: none.
    pub(super) refused_every: u64,
    /// Whether the clock is set forward and back.
    pub(super) clock_steps: bool,
}

/// How a life ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    Finished,
    Stopped,
    Died,
    Failed(String),
    /// It found at its start that a sink has seen a newer generation.
    Fenced,
    /// It goes on for ever.
    Stuck,
}

impl World {
    pub(super) fn new(pipeline: Arc<dyn Pipeline>, log: &Log, plant: Plant) -> Self {
        World {
            pipeline,
            source: Arc::clone(&log.source),
            idle: log.idle.clone(),
            checkpoint: Arc::default(),
            mirror: Arc::default(),
            steps: Arc::new(Steps::new()),
            plant,
            tables: Arc::default(),
            lake: Arc::default(),
            topics: Arc::default(),
        }
    }

    /// What readers see.
    pub(super) fn visible(&self) -> SinkContents {
        let all = [&self.tables, &self.lake, &self.topics].into_iter();
        all.flat_map(|held| held.lock().unwrap_or_else(PoisonError::into_inner).visible.clone()).collect()
    }

    fn sink<B: Clone + 'static>(
        &self,
        name: &'static str,
        held: &Arc<Mutex<Held>>,
        render: Box<dyn Fn(B) -> Vec<(String, super::sinks::Entry)> + Send>,
    ) -> SharedSink<AnySink<B>> {
        let sink = MemorySink::new(name, held, &self.steps, self.plant, render);
        Arc::new(Shared::new(Box::new(sink) as Box<dyn Sink<Batch = B> + Send>))
    }

    /// The sinks of a new process.
    pub(super) fn open(&self, start: Option<&Start>) -> (Outputs, Named) {
        let pipeline = &self.pipeline;
        let of_tables = self.sink("tables", &self.tables, tables(pipeline.tables()));
        let of_lake = self.sink("lake", &self.lake, lake());
        let of_topics = self.sink("topics", &self.topics, topics(pipeline.topics()));
        let all: Named = vec![
            ("tables".to_owned(), Arc::clone(&of_tables) as _),
            ("lake".to_owned(), Arc::clone(&of_lake) as _),
            ("topics".to_owned(), Arc::clone(&of_topics) as _),
        ];
        let names = pipeline.outputs().len();
        let mut outputs = Outputs::counted(names);
        if let Some(start) = start {
            outputs.tallies = Arc::new(start.tallies(names));
        }
        outputs.tables.push(of_tables);
        outputs.lake.push(of_lake);
        outputs.topics.push(of_topics);
        (outputs, all)
    }

    fn ground(&self, clock: &Arc<ManualClock>) -> Ground {
        let store =
            |place, disk| Arc::new(DiskStore::new(place, disk, &self.steps, self.plant)) as Arc<dyn Store>;
        Ground {
            store: store("checkpoint", &self.checkpoint),
            mirror: store("mirror", &self.mirror),
            clock: Arc::clone(clock) as Arc<dyn Clock>,
            keep: 3,
            idle: self.idle.recorded.clone(),
            spill: None,
            board: Arc::default(),
        }
    }

    /// The manifest of the last decided epoch.
    pub(super) fn decided(&self) -> Result<Manifest, String> {
        let ground = self.ground(&Arc::default());
        let decided = newest(&*ground.store, Some(&*ground.mirror)).map_err(|error| error.to_string())?;
        decided.ok_or_else(|| "nothing is decided".to_owned())
    }

    /// Its counts and digests, for comparing.
    pub(super) fn figures(&self) -> Result<(Counts, Vec<(u64, String)>), String> {
        let decided = self.decided()?;
        let tallies = decided.tallies.iter().map(|tally| (tally.rows, tally.digest.hex())).collect();
        Ok((decided.counts, tallies))
    }

    /// Starts a process and lets it live.
    pub(super) fn live(&self, how: &How) -> End {
        self.steps.begin(how.dies_at, how.refused_every, how.seed ^ 0xfa11);
        let ended = self.try_to_live(how);
        match ended {
            // Whatever it says of its last moments, it is dead.
            _ if self.steps.is_dead() => End::Died,
            Ok(end) => end,
            Err(error) => End::Failed(error),
        }
    }

    fn try_to_live(&self, how: &How) -> Result<End, String> {
        let clock = Arc::new(ManualClock::default());
        let ground = self.ground(&clock);
        let said = |error: CheckpointError| error.to_string();
        let mut start = ground.recover(&*self.pipeline, &*self.source).map_err(said)?;
        self.plant.spoil(&mut start);
        let run = Run::new(Arc::clone(&self.source), Arc::clone(&clock) as _, Pace::Max);
        let run = Arc::new(run.with_checkpoints().with_idle(self.idle.clone()));
        let compactions = Arc::new(Compactions::default());
        let (outputs, sinks) = self.open(Some(&start));
        let steps = Arc::clone(&self.steps);
        // Refusals end; a process that is dead waits for nothing.
        let retry = Box::new(move |_tries| !steps.is_dead());
        let pen = ground.lead(&*self.pipeline, &start, sinks, &compactions, retry);
        if let Err(CheckpointError::Sink(SinkError::Fenced { .. })) = pen {
            return Ok(End::Fenced);
        }
        let mut pen = pen.map_err(said)?;
        pen.early = outputs.early.clone();
        let left = self.tables.lock().unwrap_or_else(PoisonError::into_inner).shown().cloned();
        if let Some((place, key)) = left {
            return Err(format!("{place}: {key:?} was shown by a process that is gone, and is still there"));
        }
        if start.decided.as_ref().is_some_and(|decided| decided.finished) {
            return Ok(End::Finished);
        }
        let plan = Plan {
            cluster: Cluster::threads(how.workers),
            batch: how.batch,
            interleave: Interleave::Shuffled(how.seed),
            interval: Some(Duration::from_micros(how.interval_us)),
            count_only: false,
        };
        let stage = start.stage(&self.pipeline, plan, &run, outputs, compactions);
        let baton = Baton::new(how.workers, how.seed, &clock, how.clock_steps, MOST_TURNS);
        let outcome = self.work(how, stage, Arc::new(baton), pen)?;
        run.failure().map_err(|error| error.to_string())?;
        match outcome {
            None => Ok(End::Stuck),
            Some(Outcome::Finished) => Ok(End::Finished),
            Some(Outcome::Stopped(_)) => Ok(End::Stopped),
            Some(Outcome::Failed(what)) => Err(what),
        }
    }

    /// Steps the workers by turns, until the run is over or the process dead.
    fn work(
        &self,
        how: &How,
        stage: Stage,
        baton: Arc<Baton>,
        pen: tidegate::checkpoint::Pen,
    ) -> Result<Option<Outcome>, String> {
        let (steps, how, of_workers) = (Arc::clone(&self.steps), how.clone(), Arc::clone(&baton));
        let pen = Mutex::new(Some(pen));
        let (builders, others) = Communication::Process(how.workers).try_build()?;
        let guards = timely::communication::initialize_from(builders, others, move |allocator| {
            // Without a clock: a worker that is told to wait a while comes again at its next turn.
            let mut worker = Worker::new(WorkerConfig::default(), allocator, None);
            let (baton, me) = (&*of_workers, worker.index());
            baton.wait(me);
            let place = Place { baton, me };
            let outcome = one_worker(&mut worker, &stage, baton, &steps, &how, &pen);
            // The worker goes before the baton does: what it still does is done in its turn.
            drop(worker);
            drop(place);
            outcome
        })?;
        let mut outcomes = guards.join().into_iter().collect::<Result<Vec<_>, String>>()?;
        if baton.is_hopeless() && !self.steps.is_dead() {
            return Ok(None);
        }
        Ok(outcomes.swap_remove(0))
    }
}

fn one_worker(
    worker: &mut Worker,
    stage: &Stage,
    baton: &Baton,
    steps: &Steps,
    how: &How,
    pen: &Mutex<Option<tidegate::checkpoint::Pen>>,
) -> Option<Outcome> {
    let me = worker.index();
    let over = || steps.is_dead() || baton.is_hopeless();
    let (epochs, ledger) = stage.build(worker);
    let pen = if me == 0 { pen.lock().unwrap_or_else(PoisonError::into_inner).take() } else { None };
    let lead = pen.map(|pen| stage.lead(Box::new(Inline::new(pen)), Duration::from_micros(how.interval_us)));
    let mut driver = Driver::new(worker, &stage.run, &epochs, lead);
    let outcome = loop {
        if over() {
            return None;
        }
        if how.stops_at.is_some_and(|turn| baton.turns() >= turn) {
            stage.run.ask_to_stop();
        }
        worker.step();
        if let Some(outcome) = driver.turn(worker, &stage.run, &epochs, &ledger) {
            break outcome;
        }
        baton.pass(me);
    };
    driver.end(&stage.run, &epochs);
    while worker.has_dataflows() && !over() {
        worker.step();
        baton.pass(me);
    }
    Some(outcome)
}

/// The first place in which two contents differ, in words.
pub(super) fn difference(expected: &SinkContents, found: &SinkContents) -> Option<String> {
    let places = expected.keys().chain(found.keys());
    for place in places {
        match (expected.get(place), found.get(place)) {
            (a, b) if a == b => {}
            (Some(Content::Keyed(a)), Some(Content::Keyed(b))) => {
                let key = a.keys().chain(b.keys()).find(|key| a.get(*key) != b.get(*key))?;
                return Some(format!("{place}: {key:?} is {:?} and not {:?}", b.get(key), a.get(key)));
            }
            (Some(Content::Bag(a)), Some(Content::Bag(b))) => {
                let row = a.keys().chain(b.keys()).find(|row| a.get(*row) != b.get(*row))?;
                let times =
                    |bag: &std::collections::BTreeMap<String, u64>| bag.get(row).copied().unwrap_or(0);
                return Some(format!("{place}: {row:?} is there {} times and not {}", times(b), times(a)));
            }
            (Some(Content::Lines(a)), Some(Content::Lines(b))) => {
                let at = a.lines().zip(b.lines()).take_while(|(a, b)| a == b).count();
                let line = |lines: &str| lines.lines().nth(at).map(str::to_owned);
                return Some(format!("{place}: line {at} is {:?} and not {:?}", line(b), line(a)));
            }
            (a, b) => return Some(format!("{place}: {} and not {}", b.is_some(), a.is_some())),
        }
    }
    None
}

//! Crash anywhere: a run that is killed before any of its steps, started again with other workers, and must leave what
//! an undisturbed run leaves.
//!
//! ```text
//! seed ─► log ─► lives: workers, batches, order of workers, clock, refusals ─┬─ killed before step k … ─► finished
//!           │                                                               └─ disks and servers outlive them
//!           └─► the same log, replayed in one epoch ───────────────────────────► equal?
//! ```
//!
//! Recovery, dataflow, checkpoints and commits are those of a real run ([`crate::run`]); the file system of checkpoints,
//! the sinks, the clock and the order of workers are this module's. So a seed says everything that happens, and a
//! failure can be had again. What is told at the end is the first place that differs.
//!
//! A test that cannot fail shows nothing: [`Plant`] is what could be wrong in a run, and tests see that each is found.

mod baton;
mod disk;
mod ledger;
mod life;
mod log;
mod sinks;
mod steps;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tidegate::delivery::Tallies;
use tidegate::ingest::{Counts, Interleave, OpenCounts};
use tidegate::runtime::{Cluster, Pace, Run, SystemClock};

use self::ledger::contradiction;
use self::life::{End, How, World, difference};
use self::log::Log;
use self::sinks::Content;
use crate::activity;
use crate::generate::random::Random;
use crate::outputs::Plan;
use crate::pipeline::{Pipeline, execute};
use crate::run::Start;

/// Logs that simulations choose from.
const LOGS: u64 = 4;
/// After so many lives that were disturbed, one is left alone.
const DISTURBED: u64 = 4;
/// Lives that fail by themselves are few: a process that is refused for ever has failed.
const MOST_LIVES: usize = 60;

/// What readers see, by place.
type SinkContents = BTreeMap<String, Content>;

/// What could be wrong in a run. For tests: a simulation that does not find it is worth nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// Nothing.
    None,
    /// A sink makes visible what it is to prepare.
    CommitBeforeManifest,
    /// Files of checkpoints are not forced to the device.
    FileNotForced,
    /// Names of files of checkpoints are not.
    NameNotForced,
    /// A sink sets its mark after the transaction, and not in it.
    MarkApart,
    /// A partition's watermark is not restored.
    LostWatermark,
    /// What was decided about a partition that had been idle is not.
    LostIdleDecision,
    /// The ledger is not restored.
    LostCounts,
    /// What of it is open is not.
    LostOpen,
    /// A partition goes on a record too late.
    SkippedRecord,
    /// What a process had shown of an epoch that it did not decide stays when another takes over.
    ShownStays,
}

impl Plant {
    /// Everything that can be planted.
    pub const ALL: [Plant; 10] = [
        Plant::CommitBeforeManifest,
        Plant::FileNotForced,
        Plant::NameNotForced,
        Plant::MarkApart,
        Plant::LostWatermark,
        Plant::LostIdleDecision,
        Plant::LostCounts,
        Plant::LostOpen,
        Plant::SkippedRecord,
        Plant::ShownStays,
    ];

    fn spoil(self, start: &mut Start) {
        let cuts = &mut start.plan.start;
        match self {
            Plant::LostWatermark => cuts.iter_mut().take(1).for_each(|cut| cut.watermark_us = i64::MIN),
            Plant::LostIdleDecision => cuts.iter_mut().for_each(|cut| cut.floor_us = i64::MIN),
            Plant::LostCounts => start.counts = Counts::default(),
            Plant::LostOpen => start.open = OpenCounts::default(),
            Plant::SkippedRecord => cuts.iter_mut().take(1).for_each(|cut| {
                cut.seen += 1;
                cut.last_offset = cut.last_offset.map(|last| last + 1);
            }),
            _ => {}
        }
    }
}

/// What an undisturbed run leaves.
struct Answer {
    visible: SinkContents,
    counts: Counts,
    tallies: Vec<(u64, String)>,
}

/// A run that left something else than an undisturbed one, or failed.
#[derive(Debug)]
pub struct Divergence {
    /// The seed of the simulation.
    pub seed: u64,
    /// What differs.
    pub what: String,
    /// Its lives, in words.
    pub lives: Vec<String>,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: {}", self.seed, self.what)?;
        self.lives.iter().try_for_each(|life| write!(f, "\n    {life}"))
    }
}

impl std::error::Error for Divergence {}

/// What a simulation was like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// How often the process was killed.
    pub deaths: u64,
    /// How often it was stopped while results were open.
    pub open: u64,
    /// How many steps all lives did.
    pub steps: u64,
    /// A hash over all steps, in order.
    pub trace: u64,
}

impl Told {
    /// Adds what another simulation was like.
    pub fn add(&mut self, other: &Told) {
        self.deaths += other.deaths;
        self.open += other.open;
        self.steps += other.steps;
        self.trace ^= other.trace;
    }
}

/// Logs and their answers, for any number of simulations of `activity`.
pub struct Simulator {
    /// In final mode, and in update mode with results within epochs.
    pipelines: [Arc<dyn Pipeline>; 2],
    logs: Vec<(Log, Answer)>,
}

impl Simulator {
    /// A simulator over logs of about `records` records.
    ///
    /// # Errors
    /// When an undisturbed run fails; in words.
    pub fn new(records: u64) -> Result<Self, String> {
        let config = activity::Config::default();
        let topic = config.topic.clone();
        let every = Some(Duration::from_millis(1));
        let updating = activity::Config { update_every: every, update_sessions: true, ..config.clone() };
        let pipeline: Arc<dyn Pipeline> = Arc::new(config);
        let logs = (0..LOGS).map(|seed| {
            let log = log::activity(&topic, seed, records).map_err(|error| error.to_string())?;
            let answer = undisturbed(&pipeline, &log)?;
            Ok((log, answer))
        });
        let logs = logs.collect::<Result<_, String>>()?;
        Ok(Simulator { logs, pipelines: [pipeline, Arc::new(updating)] })
    }

    /// The simulation of `seed`: killed before steps that it draws.
    ///
    /// # Errors
    /// [`Divergence`].
    pub fn run(&self, seed: u64, plant: Plant) -> Result<Told, Divergence> {
        self.simulate(seed, None, plant)
    }

    /// The simulation of `seed`, whose first life is killed before step `first`. `None` when it has fewer steps.
    ///
    /// # Errors
    /// [`Divergence`].
    pub fn run_to(&self, seed: u64, first: u64, plant: Plant) -> Result<Option<Told>, Divergence> {
        let told = self.simulate(seed, Some(first), plant)?;
        Ok((told.deaths > 0).then_some(told))
    }

    fn simulate(&self, seed: u64, first: Option<u64>, plant: Plant) -> Result<Told, Divergence> {
        let mut random = Random::new(seed);
        let (log, answer) = &self.logs[random.below(LOGS) as usize];
        // In the end both modes leave the same rows.
        let pipeline = &self.pipelines[random.below(2) as usize];
        let world = World::new(Arc::clone(pipeline), log, plant);
        let (mut told, mut lives) = (Told::default(), Vec::new());
        let mut claim_is_lost = false;
        let diverged = |what: String, lives: &[String]| Divergence { seed, what, lives: lives.to_vec() };
        loop {
            let number = lives.len() as u64;
            let mut how = draw(&mut random, number < DISTURBED);
            if number == 0 && first.is_some() {
                (how.dies_at, how.stops_at, how.refused_every) = (first, None, 0);
            }
            let end = world.live(&how);
            told.steps += world.steps.taken();
            told.deaths += u64::from(end == End::Died);
            let mut life = format!("{how:?}: {end:?} after {} steps", world.steps.taken());
            if end == End::Died {
                life += &format!(", before it could {}", world.steps.last());
            }
            match &end {
                End::Finished => {
                    lives.push(life);
                    break;
                }
                // In final mode rows show just what is final.
                End::Stopped if Arc::ptr_eq(pipeline, &self.pipelines[0]) => {
                    // Whoever looks is refused nothing.
                    world.steps.begin(None, 0, 0);
                    let decided = world.decided().map_err(|what| diverged(what, &lives))?;
                    if let Some(what) = contradiction(&decided, &pipeline.outputs(), &world.visible()) {
                        lives.push(life);
                        return Err(diverged(what, &lives));
                    }
                    told.open += u64::from(!decided.open.is_empty());
                }
                // Refused at a place where it does not try again: it is started again.
                End::Failed(what) if how.refused_every == 0 => {
                    lives.push(life);
                    return Err(diverged(what.clone(), &lives));
                }
                End::Stuck => {
                    lives.push(life);
                    return Err(diverged("it does not come to its end".to_owned(), &lives));
                }
                // Nobody can know that a generation was claimed whose claim is gone but its sinks: started again, it claims the next.
                End::Fenced if claim_is_lost => {}
                End::Fenced => {
                    lives.push(life);
                    return Err(diverged("it is fenced off by nobody".to_owned(), &lives));
                }
                End::Failed(_) | End::Stopped | End::Died => {}
            }
            // With the process, sometimes the machine goes; and sometimes a disk tells something else than it was told.
            if end == End::Died && random.below(2) == 0 {
                life += ", and the machine lost power";
                for disk in [&world.checkpoint, &world.mirror] {
                    let mut disk = disk.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    disk.lose_power(&mut random);
                }
            }
            if random.below(8) == 0 {
                let disk = world.checkpoint.lock();
                let mut disk = disk.unwrap_or_else(std::sync::PoisonError::into_inner);
                if let Some(damage) = disk.damage(&mut random) {
                    claim_is_lost |= damage.contains("generation-");
                    life += &format!(", and somebody {damage}");
                }
            }
            lives.push(life);
            if lives.len() > MOST_LIVES {
                return Err(diverged("it never comes to its end".to_owned(), &lives));
            }
        }
        told.trace = world.steps.trace();
        // A run that is done stays done.
        let again = How { dies_at: None, stops_at: None, refused_every: 0, ..draw(&mut random, false) };
        let end = world.live(&again);
        if end != End::Finished {
            return Err(diverged(format!("started again after its end: {end:?}"), &lives));
        }
        let figures = world.figures().map_err(|what| diverged(what, &lives))?;
        if let Some(what) = difference(&answer.visible, &world.visible()) {
            return Err(diverged(what, &lives));
        }
        if figures.0 != answer.counts {
            return Err(diverged(format!("counts are {:?} and not {:?}", figures.0, answer.counts), &lives));
        }
        if figures.1 != answer.tallies {
            return Err(diverged(
                format!("digests are {:?} and not {:?}", figures.1, answer.tallies),
                &lives,
            ));
        }
        Ok(told)
    }
}

/// The next life. Most deaths come early in a life: recovery and the first epochs are its most delicate time.
fn draw(random: &mut Random, disturbed: bool) -> How {
    let pick = |random: &mut Random, of: &[u64]| of[random.below(of.len() as u64) as usize];
    let workers = pick(random, &[1, 1, 2, 2, 3, 4]) as usize;
    let (batch, seed) = (pick(random, &[1, 5, 20, 64]) as usize, random.bits());
    let interval_us = pick(random, &[2_000, 8_000, 20_000]);
    let ends = random.below(10);
    let span = pick(random, &[25, 60, 150, 500]);
    let dies_at = (disturbed && ends < 8).then(|| random.below(span));
    let stops_at = (disturbed && ends == 8).then(|| random.below(600));
    let refused_every = if disturbed { pick(random, &[0, 0, 25, 100]) } else { 0 };
    let clock_steps = random.below(4) == 0;
    How { workers, batch, seed, interval_us, dies_at, stops_at, refused_every, clock_steps }
}

/// The log in one epoch and without a checkpoint, as a replay reads it.
fn undisturbed(pipeline: &Arc<dyn Pipeline>, log: &Log) -> Result<Answer, String> {
    let world = World::new(Arc::clone(pipeline), log, Plant::None);
    let (outputs, sinks) = world.open(None);
    let tallies: Arc<Tallies> = Arc::clone(&outputs.tallies);
    let run = Run::new(Arc::clone(&log.source), Arc::new(SystemClock), Pace::Max);
    let run = Arc::new(run.with_idle(log.idle.clone()));
    let plan = Plan {
        cluster: Cluster::threads(1),
        batch: 4096,
        interleave: Interleave::Aligned,
        interval: None,
        count_only: false,
    };
    let counts = execute(pipeline, &plan, &run, outputs).map_err(|error| error.to_string())?;
    run.outcome().map_err(|error| error.to_string())?;
    for (_, sink) in sinks {
        let staged = sink.prepare(1).map_err(|error| error.to_string())?;
        sink.commit(1, 1, &staged).map_err(|error| error.to_string())?;
    }
    let counts = counts.ok_or("no counts")??;
    let tallies = tallies.read().iter().map(|tally| (tally.rows, tally.digest.hex())).collect();
    Ok(Answer { visible: world.visible(), counts, tallies })
}

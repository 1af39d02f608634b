//! The timely operator around a reader and a set of fronts.

use std::sync::Arc;
use std::time::Duration;

use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::probe::Handle as ProbeHandle;
use timely::dataflow::operators::{Capability, Probe};
use timely::dataflow::{Scope, StreamVec};

use super::front::{Edge, FrontSet, Port, Position, Verdicts};
use super::idle::{IdleDecision, by_partition};
use super::ledger::Ledger;
use super::partition::stated_watermark;
use super::partition_state::{Attention, PartitionState, Until};
use super::shown::Shown;
use super::validate::{AcceptAll, Validate};
use super::{Decode, Part, SideTopics, remembered};
use crate::checkpoint::PartitionCut;
use crate::decode::{Reason, Rejected};
use crate::record::{KafkaTime, Partition, Record};
use crate::runtime::{Epochs, Run, Standing};
use crate::source::{Assignment, Poll, Reader, SourceError, Visit};
use crate::telemetry::PartitionStanding;
use crate::tick::{Tick, micros, watermark_us};
use crate::topic_lines::TopicBlock;

/// In which order a worker reads its lanes, and how much at a time. Results do not depend on it.
#[derive(Clone, Copy, Debug)]
pub enum Interleave {
    /// The lane that is furthest behind in event time, in full batches.
    Aligned,
    /// Lanes and batch sizes drawn from this seed, for proofs.
    Shuffled(u64),
}

/// How a pipeline reads.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How far a partition's watermark stays behind its largest event time.
    pub delay_us: i64,
    /// How far an event time may be after its record's own Kafka timestamp.
    pub max_ahead_us: i64,
    /// Records per activation, at most.
    pub batch: usize,
    /// The order of lanes.
    pub interleave: Interleave,
    /// The steps in which the worker's capability follows its watermark, at least 1. Where it divides the
    /// ends of all windows it delays no window; only sessions close up to a step later.
    pub step_us: i64,
    /// A worker this far ahead of the frontier in event time waits for the others.
    pub max_skew_us: i64,
    /// How often what windows are made of leaves though no window closes and no epoch ends; `None` where nobody wants results
    /// then.
    pub early: Option<Duration>,
}

impl Settings {
    /// The last step at or before `time_us`.
    fn step_before(&self, time_us: i64) -> i64 {
        time_us.saturating_sub(time_us.rem_euclid(self.step_us))
    }
}

/// What the source operator gives to the dataflow.
pub struct Ingested<'scope, S> {
    /// The streams of the fronts.
    pub streams: S,
    /// Late records and dead letters.
    pub side: StreamVec<'scope, Tick, TopicBlock>,
}

struct Lane {
    partitions: Vec<usize>,
    ended: bool,
    /// It has ended within an epoch that is only repeated, which is to stop where it stopped the first time: the end
    /// of the input is for the next epoch.
    drained: bool,
    /// Records of the next epoch were passed over in one that is only repeated: the lane is to be read again.
    passed: bool,
}

/// How a batch was read.
struct Polled {
    poll: Poll,
    /// Records shown and taken.
    taken: u64,
    /// Records of the next epoch that were passed over.
    passed: u64,
}

/// Everything a worker knows while reading; the operator's closure owns one.
struct Worker<D: Decode, V: Validate<D>, F: FrontSet<D>> {
    run: Arc<Run>,
    settings: Settings,
    reader: Box<dyn Reader>,
    /// What the reader was opened for.
    assigned: Vec<Assignment>,
    lanes: Vec<Lane>,
    partitions: Vec<Option<PartitionState>>,
    decoder: D,
    validator: V,
    fronts: F,
    ledger: Ledger,
    side: SideTopics,
    random: u64,
    epochs: Epochs,
    /// The dataflow's epoch that records are read into.
    epoch: u64,
    /// Whether the source goes on by offset, and not by the number of records.
    by_offset: bool,
    /// Where the worker's capability stands in event time, or an earlier run's frontier stood: windows up to it may have closed.
    standing_us: i64,
    /// What was decided about idle partitions in this epoch.
    decided: Vec<IdleDecision>,
    /// When the last record was read, by the run's monotonic clock.
    read_us: i64,
    /// How many records are still to be shown a second time to this run.
    again: u64,
    /// When what windows are made of last left for early results, by the run's monotonic clock.
    early_us: i64,
}

/// Reads the run's source on this worker, and shows every accepted record to `fronts`.
///
/// Partition `i` of the source is read by worker `i mod peers`.
///
/// # Guarantees
/// * Verdicts and what the fronts see depend on the log alone, partition by partition.
/// * The capability is at the smallest watermark of the worker's partitions that have not ended; it is
///   dropped when all have.
/// * A live partition that is idle is released (`idle.rs`): the capability then follows the run's partitions that
///   are not. A partition that an earlier run did not know of is released from the start.
/// * A worker far ahead of the frontier in event time waits, so that open state stays bounded.
///
/// # Epochs
/// Told to end an epoch ([`Epochs`]), it hands over what its fronts hold, notes where its partitions stand, moves on
/// to the next epoch, and reads again when that one has begun.
///
/// # Errors
/// A source that fails ends the run: see [`Run::fail`].
#[allow(clippy::too_many_arguments)] // A pipeline says once what its near end consists of.
pub fn ingest<'scope, D: Decode, F: FrontSet<D>>(
    scope: Scope<'scope, Tick>,
    run: &Arc<Run>,
    settings: Settings,
    decoder: D,
    fronts: F,
    ledger: Ledger,
    side: SideTopics,
    epochs: &Epochs,
) -> Ingested<'scope, F::Streams<'scope>> {
    ingest_validated(scope, run, settings, decoder, AcceptAll, fronts, ledger, side, epochs)
}

/// As [`ingest`], with records that `validator` refuses among the dead letters.
///
/// # Guarantees
/// Those of [`ingest`]. A refused record is nowhere else: no front sees it, and it moves no watermark.
///
/// # Errors
/// As [`ingest`].
#[allow(clippy::too_many_arguments)] // A pipeline names them once, in the order in which a record meets them.
pub fn ingest_validated<'scope, D: Decode, V: Validate<D>, F: FrontSet<D>>(
    scope: Scope<'scope, Tick>,
    run: &Arc<Run>,
    settings: Settings,
    decoder: D,
    validator: V,
    fronts: F,
    ledger: Ledger,
    side: SideTopics,
    epochs: &Epochs,
) -> Ingested<'scope, F::Streams<'scope>> {
    let mut builder = OperatorBuilder::new("Ingest".to_owned(), scope);
    let (mut side_port, side_stream) = Port::<TopicBlock>::open(&mut builder);
    let (mut ports, streams) = fronts.open(&mut builder);
    let activator = scope.activator_for(builder.operator_info().address);

    let probe = ProbeHandle::new();
    let side_stream = side_stream.probe_with(&probe);

    let mut worker = Worker::open(scope, run, settings, decoder, validator, fronts, ledger, side, epochs);
    epochs.wakes(scope.activator_for(builder.operator_info().address));
    builder.build(move |mut capabilities: Vec<Capability<Tick>>| {
        move |_frontiers| {
            if capabilities.is_empty() {
                return;
            }
            let Some(worker) = worker.as_mut().filter(|worker| !worker.run.stopping()) else {
                capabilities.clear();
                return;
            };
            for capability in &mut capabilities {
                // Of a restored run: nothing that is read belongs to the epoch of the restoring.
                if capability.time().epoch < worker.epoch {
                    let now = *capability.time();
                    capability.downgrade(&Tick { epoch: worker.epoch, ..now });
                }
            }
            if !worker.epochs.has_begun(worker.epoch) {
                // Woken when it has.
                return;
            }
            let outcome = worker.step(&probe);
            worker.stand();
            let edge = match worker.is_over() {
                false => Edge::Advance(worker.standing_us),
                true => {
                    worker.decide_ends();
                    Edge::End(worker.final_watermark_us())
                }
            };
            side_port.send(&capabilities, |send| worker.side.drain(edge, send));
            worker.fronts.drain(&mut ports, &capabilities, edge, &worker.ledger);
            match edge {
                Edge::Advance(mut time_us) => {
                    let ends = worker.is_to_end();
                    if ends {
                        side_port.send(&capabilities, |send| worker.side.drain(Edge::Flush, send));
                        worker.fronts.drain(&mut ports, &capabilities, Edge::Flush, &worker.ledger);
                        time_us = worker.epoch_end_us(time_us);
                        worker.note_cuts();
                        worker.epoch += 1;
                        if let Err(error) = worker.end_repeating() {
                            worker.run.fail(error.into());
                        }
                    } else if worker.is_early_due() {
                        worker.fronts.drain(&mut ports, &capabilities, Edge::Trigger, &worker.ledger);
                    }
                    for capability in &mut capabilities {
                        let now = *capability.time();
                        let next = Tick::new(worker.epoch, time_us.max(now.time_us));
                        if next != now {
                            capability.downgrade(&next);
                        }
                    }
                    if ends {
                        return;
                    }
                }
                Edge::Trigger | Edge::Flush | Edge::End(_) => {
                    worker.take_all_due();
                    worker.note_cuts();
                    capabilities.clear();
                }
            }
            match outcome {
                Step::Busy => activator.activate(),
                Step::Wait(pause) => activator.activate_after(pause),
            }
        }
    });
    Ingested { streams, side: side_stream }
}

/// What to do after an activation.
enum Step {
    /// Come again at once.
    Busy,
    /// Nothing can be read before this has passed.
    Wait(Duration),
}

impl<D: Decode, V: Validate<D>, F: FrontSet<D>> Worker<D, V, F> {
    /// `None`, and a failed run, when the source cannot be opened.
    #[allow(clippy::too_many_arguments)] // What the operator was given, and nothing else.
    fn open(
        scope: Scope<'_, Tick>,
        run: &Arc<Run>,
        settings: Settings,
        decoder: D,
        validator: V,
        fronts: F,
        ledger: Ledger,
        side: SideTopics,
        epochs: &Epochs,
    ) -> Option<Self> {
        let (mut fronts, mut side, mut validator) = (fronts, side, validator);
        let all = run.source().partitions();
        let by_offset = run.source().resumes_by_offset();
        let plan = epochs.plan();
        let mine = (0..all.len()).filter(|index| index % scope.peers() == scope.index());
        let (mut assigned, mut partitions) = (Vec::new(), Vec::new());
        let mut decisions = by_partition(&run.idle().recorded, &plan.idle);
        partitions.resize_with(all.len(), || None);
        for partition in mine {
            let id = all[partition].id.clone();
            let due = decisions.remove(&id).unwrap_or_default();
            let shown = Shown::new(run.board().partition(&id), all[partition].records_hint);
            let mut state = PartitionState::new(id, partition as u32, settings.delay_us, due, shown);
            let cut_of = |cuts: &[PartitionCut]| cuts.iter().find(|cut| cut.id == *state.id()).cloned();
            let until = plan.until.as_deref().map(cut_of);
            let start = cut_of(&plan.start);
            let mut from_offset = plan.begin_of(state.id(), all[partition].from_offset);
            if let Some(start) = start {
                state.restore(&start, by_offset);
                if by_offset {
                    from_offset = start.next_offset().unwrap_or(from_offset);
                }
                let rank = partition as u32;
                let restored = fronts
                    .restore_partition(rank, state.id(), &start.fronts)
                    .and_then(|()| side.restore_partition(rank, state.id(), &start.side));
                restored.map_err(|error| run.fail(error.into())).ok()?;
            } else if plan.start_watermark_us.is_some() || matches!(until, Some(None)) {
                // Nobody knew of it, and windows have closed without it.
                if !by_offset {
                    run.fail(SourceError::Grown { partition: state.id().clone() }.into());
                    return None;
                }
                state.release();
            }
            state.stop_at(until.map(Until::of));
            assigned.push(Assignment { partition, from_offset });
            partitions[partition] = Some(state);
        }
        let rank_of = |id: &Partition| {
            let read = (0..)
                .zip(&partitions)
                .find(|(_, state)| state.as_ref().is_some_and(|state| state.id() == id));
            read.map(|(rank, _)| rank)
        };
        remembered::restore(&mut validator, epochs.hub(), rank_of)
            .map_err(|error| run.fail(error.into()))
            .ok()?;
        let reader = run.source().reader(&assigned).map_err(|error| run.fail(error.into())).ok()?;
        let lanes = (0..reader.lanes())
            .map(|lane| Lane {
                partitions: reader.lane_partitions(lane).to_vec(),
                ended: false,
                drained: false,
                passed: false,
            })
            .collect();
        let random = match settings.interleave {
            Interleave::Aligned => 0,
            Interleave::Shuffled(seed) => {
                seed ^ (scope.index() as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
            }
        };
        let standing_us = plan.start_watermark_us.unwrap_or(i64::MIN);
        let read_us = run.clock().elapsed_us();
        let (run, epochs, epoch) = (Arc::clone(run), epochs.clone(), epochs.plan().first());
        Some(Worker {
            run,
            settings,
            reader,
            assigned,
            lanes,
            partitions,
            decoder,
            validator,
            fronts,
            ledger,
            side,
            random,
            epochs,
            epoch,
            by_offset,
            standing_us,
            decided: Vec::new(),
            read_us,
            again: 0,
            early_us: read_us,
        })
    }

    /// Whether results are wanted within the epoch by now.
    fn is_early_due(&mut self) -> bool {
        let Some(period) = self.settings.early.filter(|_| !self.repeats()) else { return false };
        let now_us = self.run.clock().elapsed_us();
        let is_due = now_us.saturating_sub(self.early_us) >= micros(period);
        if is_due {
            self.early_us = now_us;
        }
        is_due
    }

    /// Moves to where the worker's capability can stand, and says so.
    fn stand(&mut self) {
        let holding_us = self.holding_us();
        let open = || self.open_partitions().filter(|state| !state.has_ended);
        let released = open().any(|state| state.released);
        let time_us = match (holding_us, released) {
            (Some(holding_us), false) => holding_us,
            (Some(holding_us), true) => holding_us.min(self.epochs.agreed_us()),
            (None, true) => self.epochs.agreed_us(),
            (None, false) => self.standing_us,
        };
        let time_us = match self.repeats_until_us() {
            Some(until_us) => time_us.min(until_us),
            None => time_us,
        };
        self.standing_us = self.standing_us.max(self.settings.step_before(time_us));
        if self.by_offset && !self.repeats() {
            let watermarks = self.partitions.iter().flatten().map(|state| state.watermark.us());
            // Where all were idle, event time had gone further than any record.
            let began_us = self.epochs.plan().start_watermark_us.unwrap_or(i64::MIN);
            let largest_us = watermarks.max().unwrap_or(i64::MIN).max(began_us);
            let read_us = self.read_us;
            self.epochs.note_standing(Standing { holding_us, released, largest_us, read_us });
        }
    }

    /// Where event time stands at the end of the epoch, by itself at `time_us`: what is repeated ends where and as it ended the first time.
    fn epoch_end_us(&mut self, time_us: i64) -> i64 {
        let Some(until_us) = self.repeats_until_us() else { return time_us };
        let time_us = time_us.max(until_us);
        self.standing_us = self.standing_us.max(time_us);
        for state in self.partitions.iter_mut().flatten() {
            state.end_of_repeated();
        }
        time_us
    }

    fn repeats_until_us(&self) -> Option<i64> {
        self.epochs.plan().until_watermark_us.filter(|_| self.repeats())
    }

    /// Decisions behind the last record take effect: an earlier run stopped while partitions were idle.
    fn take_all_due(&mut self) {
        for state in self.partitions.iter_mut().flatten() {
            state.take_due(i64::MAX, -1, &mut self.decided);
        }
    }

    /// The input has ended. Where a partition is idle, event time has gone on without it: a replay is to know how far.
    fn decide_ends(&mut self) {
        if self.repeats() {
            return;
        }
        let Worker { partitions, standing_us, decided, .. } = self;
        let behind = |state: &&mut PartitionState| {
            state.released && !state.has_ended && state.bound_us() < *standing_us
        };
        for state in partitions.iter_mut().flatten().filter(behind) {
            let next = state.last_offset().map_or(0, |last| last + 1);
            state.decide(next, *standing_us, -1, decided);
        }
    }

    /// Whether the epoch is to be ended: because worker 0 says so, or because it only repeats what is decided and
    /// has come to its end.
    fn is_to_end(&self) -> bool {
        if self.repeats() {
            // Where a lane had ended, its end is to be seen again.
            let is_where_it_was = |lane: usize| self.lanes[lane].ended || !self.ended_there(lane);
            return self.partitions.iter().flatten().all(|state| state.is_at_cut(self.by_offset))
                && (0..self.lanes.len()).all(is_where_it_was);
        }
        self.epochs.has_checkpoints() && self.epochs.is_to_end(self.epoch)
    }

    /// Whether the epoch only repeats what is decided.
    fn repeats(&self) -> bool {
        self.epochs.plan().until.is_some() && self.epoch == self.epochs.plan().first()
    }

    /// Notes where the worker's partitions stand.
    fn note_cuts(&mut self) {
        if !self.epochs.has_checkpoints() {
            return;
        }
        let Worker { partitions, fronts, side, validator, lanes, decided, reader, by_offset, .. } = self;
        let read =
            (0..).zip(partitions.iter()).filter_map(|(rank, state)| Some((rank, state.as_ref()?.id())));
        self.epochs.hub().save(self.epoch, remembered::save(validator, read));
        let mut ended = vec![false; partitions.len()];
        lanes
            .iter()
            .filter(|lane| lane.ended)
            .flat_map(|lane| &lane.partitions)
            .for_each(|partition| ended[*partition] = true);
        let mut read_to = vec![None; partitions.len()];
        for (number, lane) in lanes.iter().enumerate().filter(|(_, lane)| *by_offset && !lane.passed) {
            // A position is that of one partition.
            if let ([partition], Some(status)) = (&lane.partitions[..], reader.status(number)) {
                read_to[*partition] = Some(status.position);
            }
        }
        let cuts = partitions.iter().enumerate().filter_map(|(index, state)| {
            let (state, rank) = (state.as_ref()?, index as u32);
            Some(PartitionCut {
                id: state.id().clone(),
                seen: state.seen + state.skip,
                last_offset: state.last_offset(),
                read_to: read_to[index],
                watermark_us: state.watermark.us(),
                accepted: state.accepted,
                floor_us: state.place.floor_us,
                decisions: state.decisions,
                released: state.released,
                ended: state.has_ended || ended[index],
                fronts: fronts.save_partition(rank),
                side: side.save_partition(rank),
            })
        });
        let cuts = cuts.collect();
        self.epochs.note_cuts(cuts, std::mem::take(decided));
    }

    /// Goes on behind what was only repeated. Lanes that ended in it have ended; where records of the next epoch were passed over,
    /// reading begins anew: what was seen before is shown again, and skipped.
    fn end_repeating(&mut self) -> Result<(), SourceError> {
        for lane in 0..self.lanes.len() {
            let Lane { drained, passed, ended, .. } = &mut self.lanes[lane];
            if std::mem::take(drained) && !*passed {
                *ended = true;
                self.show(lane);
            }
        }
        if !self.lanes.iter().any(|lane| lane.passed) {
            return Ok(());
        }
        for one in &mut self.assigned {
            let Some(state) = self.partitions[one.partition].as_mut() else { continue };
            match self.by_offset {
                true => {
                    let behind_last = state.last_offset().map(|last| last + 1);
                    one.from_offset = one.from_offset.max(behind_last.unwrap_or(0));
                }
                false => self.again += state.see_again(),
            }
        }
        self.reader = self.run.source().reader(&self.assigned)?;
        for lane in self.lanes.iter_mut().filter(|lane| lane.passed) {
            (lane.ended, lane.passed) = (false, false);
        }
        Ok(())
    }

    /// Whether the lane had ended when the epoch that is repeated was.
    fn ended_there(&self, lane: usize) -> bool {
        let mut states = self.lanes[lane].partitions.iter().filter_map(|p| self.partitions[*p].as_ref());
        states.all(PartitionState::ended_there)
    }

    /// The lane has ended: what is decided must have been in it.
    fn check_end(&self, lane: usize) -> Result<(), SourceError> {
        let open = self.lanes[lane].partitions.iter().filter_map(|p| self.partitions[*p].as_ref());
        for state in open {
            if state.skip > 0 || (self.repeats() && !state.is_at_cut(self.by_offset)) {
                return Err(SourceError::Shorter { partition: state.id().clone() });
            }
        }
        Ok(())
    }

    /// Reads one batch from one lane.
    fn step(&mut self, probe: &ProbeHandle<Tick>) -> Step {
        if self.has_ended() {
            return Step::Busy;
        }
        let frontier_us = probe.with_frontier(watermark_us).unwrap_or(i64::MIN);
        self.run.board().frontier(frontier_us);
        // Beyond the memory limit only those read that hold the frontier back.
        let is_over = self.epochs.hub().budget().is_over();
        let skew_us = if is_over { self.settings.step_us } else { self.settings.max_skew_us };
        // An epoch that is only repeated ends where it ended the first time, whoever is ahead there: one that waited for
        // others, which have come to their end of it, would wait for ever.
        let is_ahead = |us: i64| us.saturating_sub(skew_us) > frontier_us;
        if !self.repeats() && self.holding_us().is_some_and(is_ahead) {
            return Step::Wait(Duration::from_micros(200));
        }
        let (first, budget) = self.choose();
        if let Some(step) = self.read(first, budget) {
            return step;
        }
        let others = self.others(first);
        others
            .into_iter()
            .find_map(|lane| self.read(lane, budget))
            .unwrap_or(Step::Wait(Duration::from_millis(5)))
    }

    /// Reads one batch from `lane`; `None` where there is nothing.
    fn read(&mut self, lane: usize, budget: usize) -> Option<Step> {
        if self.lanes[lane].ended || self.lanes[lane].drained {
            return None;
        }
        let polled = self.poll(lane, budget);
        if let Ok(Polled { poll: Poll::End, .. }) = polled {
            match self.repeats() && !self.ended_there(lane) {
                true => self.lanes[lane].drained = true,
                false => self.lanes[lane].ended = true,
            }
        }
        self.show(lane);
        match polled {
            Ok(Polled { poll: Poll::End, taken, .. }) => {
                if let Err(error) = self.check_end(lane) {
                    self.run.fail(error.into());
                }
                self.progress(taken);
            }
            Ok(Polled { taken, passed, .. }) if taken + passed > 0 => {
                self.progress(taken);
                self.note_read(lane);
            }
            Ok(_) => {
                self.rest(lane);
                return None;
            }
            Err(error) => self.run.fail(error.into()),
        }
        Some(Step::Busy)
    }

    /// Notes records read, but for those that this run has read before.
    fn progress(&mut self, taken: u64) {
        let again = taken.min(self.again);
        self.again -= again;
        self.run.progress(taken - again);
    }

    /// Records of `lane` were read just now.
    fn note_read(&mut self, lane: usize) {
        if self.by_offset {
            self.read_us = self.run.clock().elapsed_us();
            for &partition in &self.lanes[lane].partitions {
                if let Some(state) = &mut self.partitions[partition] {
                    state.at_end_us = None;
                }
            }
        }
    }

    /// There is nothing to read in `lane`: its partitions are released when that has been so for long, and the brokers say
    /// that it is so now. That we were slow meanwhile makes no difference, since the end has not moved.
    fn rest(&mut self, lane: usize) {
        let Some(timeout) = self.run.idle().timeout.filter(|_| !self.repeats()) else { return };
        let at_end = self.reader.status(lane).is_some_and(|status| status.at_end);
        let now_us = self.run.clock().elapsed_us();
        for at in 0..self.lanes[lane].partitions.len() {
            let partition = self.lanes[lane].partitions[at];
            let Some(state) = self.partitions[partition].as_mut().filter(|state| state.holds()) else {
                continue;
            };
            if !at_end {
                state.at_end_us = None;
                continue;
            }
            let since_us = *state.at_end_us.get_or_insert(now_us);
            if i128::from(now_us.saturating_sub(since_us)) < timeout.as_micros() as i128 {
                continue;
            }
            state.at_end_us = None;
            if self.reader.confirm_end(lane) {
                tracing::debug!(partition = %state.id(), "idle: it holds no window open until its next record");
                state.release();
            }
        }
    }

    /// The lane to begin with, and how many records to take.
    fn choose(&mut self) -> (usize, usize) {
        if let Interleave::Shuffled(_) = self.settings.interleave {
            let lane = self.draw() as usize % self.lanes.len();
            return (lane, 1 + self.draw() as usize % self.settings.batch);
        }
        let open = self.lanes.iter().enumerate().filter(|(_, lane)| !lane.ended && !lane.drained);
        let first = open.min_by_key(|(_, lane)| self.behind_us(lane)).map_or(0, |(index, _)| index);
        (first, self.settings.batch)
    }

    /// The lanes after the first, in the order in which they are read where it has nothing. The first may be that of an idle
    /// partition, which stays behind the others: they must not get ahead of each other meanwhile.
    fn others(&self, first: usize) -> Vec<usize> {
        let mut others: Vec<usize> = (first + 1..self.lanes.len()).chain(0..first).collect();
        if let Interleave::Aligned = self.settings.interleave {
            others.sort_by_key(|lane| self.behind_us(&self.lanes[*lane]));
        }
        others
    }

    fn behind_us(&self, lane: &Lane) -> i64 {
        let states = lane.partitions.iter().filter_map(|p| self.partitions[*p].as_ref());
        // One that has ended stays where it is, and says nothing about the others.
        states.filter(|state| !state.has_ended).map(PartitionState::bound_us).min().unwrap_or(i64::MIN)
    }

    /// xorshift64* (Vigna 2016): small, seeded, good enough to shuffle.
    fn draw(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33
    }

    /// The partitions that have not been read to the end of a bounded input.
    fn open_partitions(&self) -> impl Iterator<Item = &PartitionState> {
        let open = self.lanes.iter().filter(|lane| !lane.ended);
        open.flat_map(|lane| &lane.partitions).filter_map(|p| self.partitions[*p].as_ref())
    }

    /// Whether all input of this worker has ended, and nothing more can come of it. Never in an epoch that is only repeated: the
    /// run did not end with it, so what closes with the end of the input is for the next one.
    fn is_over(&self) -> bool {
        !self.repeats() && self.has_ended()
    }

    fn has_ended(&self) -> bool {
        self.lanes.iter().all(|lane| lane.ended)
    }

    /// The smallest bound of the partitions that hold windows open; `None` when none does.
    fn holding_us(&self) -> Option<i64> {
        self.open_partitions().filter(|state| state.holds()).map(PartitionState::bound_us).min()
    }

    /// The largest bound that any of this worker's partitions has reached, or is said to have reached behind its last record.
    fn final_watermark_us(&self) -> i64 {
        let states = || self.partitions.iter().flatten();
        let due = states().flat_map(|state| &state.due).map(|due| due.floor_us);
        states().map(PartitionState::bound_us).chain(due).max().unwrap_or(i64::MIN)
    }

    /// States what the last poll of `lane` changed, for those who watch.
    fn show(&mut self, lane: usize) {
        let status = self.reader.status(lane);
        let Lane { partitions, ended, .. } = &self.lanes[lane];
        for index in partitions {
            let Some(state) = self.partitions[*index].as_mut() else { continue };
            let (read, accepted) = state.tell(status);
            self.ledger.note(read, accepted);
            if accepted > 0 {
                self.epochs.note_batch(state.time_us, accepted);
            }
            state.shown.stands(match (*ended || state.has_ended, state.released) {
                (true, _) => PartitionStanding::Ended,
                (false, true) => PartitionStanding::Released,
                (false, false) => PartitionStanding::Open,
            });
        }
    }

    fn poll(&mut self, lane: usize, budget: usize) -> Result<Polled, SourceError> {
        let repeats = self.repeats();
        let wakes_at = (!repeats).then_some(self.standing_us);
        let is_paced = self.run.is_paced();
        let Worker {
            run,
            settings,
            reader,
            lanes,
            partitions,
            decoder,
            validator,
            fronts,
            ledger,
            side,
            by_offset,
            decided,
            ..
        } = self;
        let (by_offset, lane_partitions) = (*by_offset, &lanes[lane].partitions);
        let seen = |partitions: &[Option<PartitionState>]| -> u64 {
            lane_partitions.iter().filter_map(|p| partitions[*p].as_ref()).map(|state| state.seen).sum()
        };
        let (seen_before, mut passed, mut grown) = (seen(partitions), 0, None);
        let mut judge = Judge { run, settings, validator, fronts, ledger, side };
        let poll = reader.poll(lane, budget, &mut |index, record| {
            let Some(state) = partitions[index].as_mut() else { return Visit::Taken };
            if record.offset >= state.attend_from || is_paced {
                match state.attend(repeats, by_offset) {
                    Attention::Judge if is_paced && !judge.run.may_read(record.kafka_time) => {
                        return Visit::Stop;
                    }
                    Attention::Judge => state.wake(record, wakes_at, decided),
                    Attention::Skip => return Visit::Taken,
                    Attention::Grown => {
                        grown = Some(state.id().clone());
                        return Visit::Stop;
                    }
                    Attention::Cut => {
                        // Where workers read the lane's partitions apart, they did not come to their cuts at one record of it.
                        if are_at_cut(partitions, lane_partitions, by_offset) {
                            return Visit::Stop;
                        }
                        passed += 1;
                        return Visit::Taken;
                    }
                }
            }
            state.seen += 1;
            if record.offset <= state.last_offset {
                state.read += 1;
                judge.ledger.duplicate_offset();
                state.shown.duplicate_offset();
                return Visit::Taken;
            }
            state.last_offset = record.offset;
            if let Some(time_us) = stated_watermark(record) {
                state.watermark.raise(time_us);
                judge.fronts.stated(index as u32, state.id(), record);
                return Visit::Taken;
            }
            // All events of a record are judged by the watermark before it.
            let watermark_us = state.watermark.us();
            if D::MANY {
                decoder.decode_each(record, |part, event| {
                    judge.event(state, record, watermark_us, part, event);
                });
            } else {
                judge.event(state, record, watermark_us, Part::WHOLE, decoder.decode(record));
            }
            Visit::Taken
        });
        let taken = seen(partitions) - seen_before;
        lanes[lane].passed |= passed > 0;
        match grown {
            Some(partition) => Err(SourceError::Grown { partition }),
            None => Ok(Polled { poll: poll?, taken, passed }),
        }
    }
}

/// Whether all of `which` have come to their cuts.
#[cold]
fn are_at_cut(partitions: &[Option<PartitionState>], which: &[usize], by_offset: bool) -> bool {
    which.iter().filter_map(|p| partitions[*p].as_ref()).all(|state| state.is_at_cut(by_offset))
}

/// What judges an event and takes it in.
struct Judge<'w, V, F> {
    run: &'w Run,
    settings: &'w Settings,
    validator: &'w mut V,
    fronts: &'w mut F,
    ledger: &'w Ledger,
    side: &'w mut SideTopics,
}

impl<V, F> Judge<'_, V, F> {
    // Inlined for sure, and with it the decoder: an event that is handed over through memory is read before its parts have
    // been written there, which costs more than all the rest of the call.
    #[inline(always)]
    fn event<D: Decode>(
        &mut self,
        state: &mut PartitionState,
        record: &Record<'_>,
        watermark_us: i64,
        part: Part<'_>,
        event: Result<D::Event<'_>, Rejected>,
    ) where
        V: Validate<D>,
        F: FrontSet<D>,
    {
        state.read += 1;
        let event = match event {
            Ok(event) => event,
            Err(why) => {
                self.validator.refused(None, &why);
                return self.set_aside(state, record, part, &why);
            }
        };
        let time_us = D::event_time_us(&event);
        if let Some(why) = ahead(time_us, record.kafka_time, self.settings.max_ahead_us) {
            self.validator.refused(Some(&event), &why);
            return self.set_aside(state, record, part, &why);
        }
        let at = Position { record, time_us, watermark_us, place: &state.place };
        if let Err(why) = self.validator.check(&at, &event) {
            return self.set_aside(state, record, part, &why);
        }
        let mut verdicts = Verdicts::new(self.ledger);
        self.fronts.observe(&at, &event, &mut verdicts);
        if verdicts.late() | verdicts.idle() != 0 {
            self.side.late(&at, part, verdicts.late(), verdicts.idle());
        }
        if verdicts.idle() != 0 {
            state.shown.idle();
        }
        if verdicts.late() != 0 {
            state.shown.late(self.run.board(), record, watermark_us.saturating_sub(time_us));
        }
        state.accepted += 1;
        state.time_us = time_us;
        state.watermark.observe(time_us);
    }

    #[cold]
    #[inline(never)]
    fn set_aside(&mut self, state: &PartitionState, record: &Record<'_>, part: Part<'_>, why: &Rejected) {
        self.ledger.rejected(why.reason);
        state.shown.rejected(self.run.board(), record, why);
        self.side.dead(state.place.rank, state.id(), record, part, why);
    }
}

/// One bad clock must not make everybody else late: an event time too far after its own Kafka timestamp.
#[inline(always)]
fn ahead(time_us: i64, kafka_time: KafkaTime, max_ahead_us: i64) -> Option<Rejected> {
    let kafka_ms = kafka_time.ms()?;
    let latest_us = kafka_ms.saturating_mul(1000).saturating_add(max_ahead_us);
    (time_us > latest_us).then(|| too_far_ahead(time_us, kafka_ms, max_ahead_us))
}

#[cold]
fn too_far_ahead(time_us: i64, kafka_ms: i64, max_ahead_us: i64) -> Rejected {
    let ahead_ms = (i128::from(time_us) - i128::from(kafka_ms) * 1000) / 1000;
    let allowed_ms = max_ahead_us / 1000;
    let detail = format!(
        "the event time is {ahead_ms} ms after the record's Kafka timestamp; allowed are {allowed_ms} ms"
    );
    Rejected::new(Reason::Ahead, detail)
}

//! Deciding an epoch and making it visible.
//!
//! ```text
//! prepare all sinks, state files ─► manifest ─► its copy, its mirror ─► commit all sinks ─► answer ─► remove what is old
//!                                   decides
//! ```
//!
//! The work is done by a [`Committer`](super::Committer) with a [`Pen`]; nobody waits for the last step (`tidy.rs`). A place that is full or away is tried again, with
//! backoff, as long as the run goes on: the epoch is not decided until then, and the source waits.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{iter, thread};

use tracing::{info, warn};

use super::fold::{MOST_UNPARTED, Share, first_to_fold};
use super::frame::pack;
use super::recover::still_ours;
use super::tidy::{Janitor, Written};
use super::{CheckpointError, Manifest, PartitionCut, StateFile, Store};
use crate::delivery::{Deliver, EarlyRows, OutputTally};
use crate::ingest::{Counts, IdleDecision, OpenRecords};
use crate::runtime::Clock;
use crate::sink::retry::{Backoff, pause};
use crate::sink::{SinkError, Staged};
use crate::source::InputMark;
use crate::state::{Compactions, StateBlock};
use crate::telemetry::{self, Board};

/// Whether what does not depend on each other is done at the same time: each waits for a disk or a server, and for a processor afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// One after the other, from the one of this number on and round to the one before it: so is every order of two of them once come by.
    InTurn(usize),
    /// Beside each other.
    Beside,
}

/// What is done before an epoch is decided.
enum Prepared {
    /// A sink of this name has staged this.
    Sink(String, Staged),
    /// The state is written, which took so long.
    State(Duration),
}

/// A file of what operators saved, before it is written.
struct Packed {
    name: String,
    bytes: Vec<u8>,
    is_delta: bool,
}

/// Something that may be tried more than once.
type Step<'a, T> = Box<dyn Fn() -> Result<T, CheckpointError> + Send + Sync + 'a>;

/// An epoch that all workers have finished: what the manifest will say beside the sinks' part.
#[derive(Debug)]
pub struct Decision {
    /// The epoch.
    pub epoch: u64,
    /// See [`Manifest::watermark_us`].
    pub watermark_us: i64,
    /// See [`Manifest::wall_us`].
    pub wall_us: Option<i64>,
    /// All partitions, in their order.
    pub partitions: Vec<PartitionCut>,
    /// See [`Manifest::counts`].
    pub counts: Counts,
    /// See [`Manifest::open`].
    pub open: Vec<OpenRecords>,
    /// See [`Manifest::tallies`].
    pub tallies: Vec<OutputTally>,
    /// What operators saved.
    pub blocks: Vec<StateBlock>,
    /// Whether the input has ended.
    pub finished: bool,
    /// What was decided about idle partitions.
    pub idle: Vec<IdleDecision>,
}

/// An epoch that is decided and visible in every sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The epoch.
    pub epoch: u64,
    /// Whether the input has ended.
    pub finished: bool,
}

/// How many decisions about idle partitions a manifest keeps of epochs that no kept checkpoint needs.
const MOST_IDLE: usize = 10_000;

/// Writes decisions about idle partitions, as output of an epoch, where they are kept for replays.
pub type IdleLines = Box<dyn FnMut(u64, &[IdleDecision]) -> Result<(), SinkError> + Send>;

/// What a committer works with.
pub struct Pen {
    /// Where checkpoints lie.
    pub store: Arc<dyn Store>,
    /// A further copy of each manifest, beside the output.
    pub mirror: Option<Arc<dyn Store>>,
    /// The pipeline's sinks.
    pub sinks: Vec<(String, Arc<dyn Deliver>)>,
    /// See [`Manifest::pipeline`].
    pub pipeline: String,
    /// See [`Manifest::schema`].
    pub schema: String,
    /// This run's generation.
    pub generation: u64,
    /// The newest epoch that was decided before this run, with what is staged in it.
    pub decided: Option<Manifest>,
    /// See [`Manifest::input`].
    pub input: InputMark,
    /// Where decisions about idle partitions are written, if anywhere.
    pub idle_lines: Option<IdleLines>,
    /// Rows that sinks show before their epoch ends.
    pub early: EarlyRows,
    /// The delta files that the state so far consists of.
    pub deltas: Vec<StateFile>,
    /// The state files that were written and that the janitor has not heard of; none at the start.
    pub unread: Vec<StateFile>,
    /// How deltas of an operator are folded.
    pub compactions: Arc<Compactions>,
    /// How many checkpoints stay, at least 1.
    pub keep: usize,
    /// The time for manifests.
    pub clock: Arc<dyn Clock>,
    /// Where facts are stated for those who watch.
    pub board: Arc<Board>,
    /// Waits before another try; says whether to try at all.
    pub retry: Box<dyn FnMut(u32) -> bool + Send>,
}

impl Pen {
    /// Makes the last decided epoch visible in every sink, where it is not yet.
    ///
    /// # Errors
    /// When a sink refuses, or is ahead of the manifests.
    pub fn commit_decided(&mut self) -> Result<(), CheckpointError> {
        let decided = self.decided.as_ref().map_or(0, |manifest| manifest.epoch);
        for (name, sink) in self.sinks.clone() {
            let visible = self.retried(Some(&name), || Ok(sink.committed()?))?.unwrap_or(0);
            if visible > decided {
                let (sink, place) = (name, self.store.place());
                return Err(CheckpointError::SinkAhead { sink, visible, decided, place });
            }
        }
        if let Some(manifest) = self.decided.clone() {
            self.mend_copies(&manifest)?;
            self.commit(manifest.epoch, &manifest.staged, Order::InTurn(0))?;
        }
        let generation = self.generation;
        for (name, sink) in self.sinks.clone() {
            self.retried(Some(&name), || Ok(sink.take_back(generation)?))?;
        }
        Ok(())
    }

    /// Writes the copies of the decided manifest that are missing or damaged: what becomes visible now must not hang on
    /// the one that was found.
    fn mend_copies(&mut self, manifest: &Manifest) -> Result<(), CheckpointError> {
        let epoch = manifest.epoch;
        let [name, copy] = Manifest::names(epoch);
        let mut places = vec![(Arc::clone(&self.store), name.clone()), (Arc::clone(&self.store), copy)];
        places.extend(self.mirror.iter().map(|mirror| (Arc::clone(mirror), name.clone())));
        for (store, name) in places {
            let found = self.retried(None, || store.read(&name))?;
            if found.is_none_or(|bytes| Manifest::unpack(&bytes).is_err()) {
                let bytes = manifest.pack().map_err(|damage| self.unwritable(epoch, &damage))?;
                self.retried(None, || store.write(&name, &bytes))?;
            }
        }
        Ok(())
    }

    pub(super) fn decide(&mut self, decision: Decision, order: Order) -> Result<Decided, CheckpointError> {
        let Decision { epoch, finished, .. } = decision;
        let began = Instant::now();
        let known = self.decided.clone().filter(|manifest| manifest.epoch >= epoch);
        match &known {
            // Computed again to rebuild its state: what came out the first time stands.
            Some(manifest) if manifest.counts != decision.counts => {
                let what = format!("it counted {:?}, and now {:?}", manifest.counts, decision.counts);
                return Err(CheckpointError::OtherLog { epoch, what });
            }
            Some(_) => {}
            None => {
                if let Some(lines) = self.idle_lines.as_mut().filter(|_| !decision.idle.is_empty()) {
                    lines(epoch, &decision.idle)?;
                }
            }
        }
        // What came out the first time has the time of then.
        let wall_us = known.as_ref().map_or(decision.wall_us, |manifest| manifest.wall_us);
        let (idle, idle_from) = match &known {
            Some(manifest) => (manifest.idle.clone(), manifest.idle_from),
            None => self.idle_with(epoch, decision.idle),
        };
        // After a start event time begins at what is read first, below where it stood: what has closed stays closed.
        let passed_us = self.decided.as_ref().map_or(i64::MIN, |decided| decided.watermark_us);
        let packed = self.pack_state(epoch, decision.blocks)?;
        let (prepared, wrote) = self.prepare(epoch, known.is_none(), &packed, order)?;
        let staged = known.as_ref().map_or(prepared, |manifest| manifest.staged.clone());
        let folding = Instant::now();
        let state = self.written_state(epoch, decision.watermark_us, packed)?;
        self.board.step(&telemetry::Step::Saved { took: wrote + folding.elapsed() });
        let manifest = Manifest {
            pipeline: self.pipeline.clone(),
            schema: self.schema.clone(),
            epoch,
            generation: self.generation,
            decided_us: self.clock.now_us(),
            watermark_us: decision.watermark_us.max(passed_us),
            partitions: match &known {
                Some(manifest) => with_decisions(decision.partitions, &manifest.partitions),
                None => decision.partitions,
            },
            counts: decision.counts,
            open: decision.open,
            tallies: known.map_or(decision.tallies, |manifest| manifest.tallies),
            staged,
            state,
            finished,
            input: self.input.clone(),
            idle,
            idle_from,
            wall_us,
        };
        let writing = Instant::now();
        let bytes = manifest.pack().map_err(|damage| self.unwritable(epoch, &damage))?;
        let [name, copy] = Manifest::names(epoch);
        self.write_manifest(&[(Arc::clone(&self.store), name.clone())], &bytes, order)?;
        let mut copies = vec![(Arc::clone(&self.store), copy)];
        copies.extend(self.mirror.iter().map(|mirror| (Arc::clone(mirror), name.clone())));
        self.write_manifest(&copies, &bytes, order)?;
        self.board.step(&telemetry::Step::Decided { took: writing.elapsed() });
        self.commit(epoch, &manifest.staged, order)?;
        let size = bytes.len() as u64 + manifest.state.iter().map(|file| file.bytes).sum::<u64>();
        self.board.epoch_decided(&manifest, began.elapsed(), size, self.clock.now_us());
        self.decided = Some(manifest);
        Ok(Decided { epoch, finished })
    }

    fn write_manifest(
        &mut self,
        places: &[(Arc<dyn Store>, String)],
        bytes: &[u8],
        order: Order,
    ) -> Result<(), CheckpointError> {
        let generation = self.generation;
        let steps = places.iter().map(|(place, name)| {
            let store = Arc::clone(&self.store);
            let write = move || {
                // Of an epoch that somebody else may have decided since.
                if !store.fences() {
                    still_ours(&*store, generation)?;
                }
                place.write(name, bytes)
            };
            Box::new(write) as Step<'_, ()>
        });
        let steps: Vec<_> = steps.collect();
        self.each(&vec![None; places.len()], &steps, order).map(drop)
    }

    /// Looks after what this pen writes.
    pub(super) fn janitor(&self) -> Janitor {
        let (store, mirror) = (Arc::clone(&self.store), self.mirror.clone());
        Janitor { store, mirror, keep: self.keep, generation: self.generation, unread: Vec::new() }
    }

    /// What has been written since it was asked last, for the janitor; nothing before the first epoch is decided.
    pub(super) fn written(&mut self) -> Option<Written> {
        let epoch = self.decided.as_ref()?.epoch;
        Some(Written { epoch, files: std::mem::take(&mut self.unread) })
    }

    /// Takes back what the janitor had no time for.
    pub(super) fn still_written(&mut self, written: Written) {
        self.unread.extend(written.files);
    }

    /// All decisions so far, and from which epoch on: those of the checkpoints that stay, and more as long as they are few.
    fn idle_with(&self, epoch: u64, new: Vec<IdleDecision>) -> (Vec<(u64, IdleDecision)>, u64) {
        let (mut idle, mut from) =
            self.decided.as_ref().map_or((Vec::new(), 0), |last| (last.idle.clone(), last.idle_from));
        idle.extend(new.into_iter().map(|decision| (epoch, decision)));
        if idle.len() > MOST_IDLE {
            from = from.max(epoch.saturating_sub(self.keep as u64));
            idle.retain(|(of, _)| *of >= from);
        }
        (idle, from)
    }

    /// Has what the sinks got made durable, out of sight, where that is not done (`sinks`), and writes what operators saved; gives how
    /// long the latter took.
    fn prepare(
        &mut self,
        epoch: u64,
        sinks: bool,
        state: &[Packed],
        order: Order,
    ) -> Result<(Vec<(String, Staged)>, Duration), CheckpointError> {
        let sinks = if sinks { &*self.sinks } else { &[] };
        let mut names: Vec<_> = sinks.iter().map(|(name, _)| Some(name.clone())).collect();
        let mut steps = Vec::with_capacity(sinks.len() + 1);
        for (name, sink) in sinks {
            let (name, sink, board) = (name.clone(), Arc::clone(sink), Arc::clone(&self.board));
            let prepare = move || {
                let began = Instant::now();
                let part = sink.prepare(epoch)?;
                board.sink_prepared(&name, began.elapsed());
                Ok(Prepared::Sink(name.clone(), part))
            };
            steps.push(Box::new(prepare) as Step<'_, _>);
        }
        let store = Arc::clone(&self.store);
        let save = move || {
            let began = Instant::now();
            state.iter().try_for_each(|file| store.write(&file.name, &file.bytes))?;
            Ok(Prepared::State(began.elapsed()))
        };
        names.push(None);
        steps.push(Box::new(save));
        let (mut staged, mut wrote) = (Vec::new(), Duration::ZERO);
        for prepared in self.each(&names, &steps, order)? {
            match prepared {
                Prepared::Sink(name, part) => staged.push((name, part)),
                Prepared::State(took) => wrote = took,
            }
        }
        Ok((staged, wrote))
    }

    /// Does every step, of the sink of that name if of one. Those that fail and can be tried again are tried, all of them each time, until
    /// they work: one that is away keeps no other from coming back.
    fn each<T: Send>(
        &mut self,
        names: &[Option<String>],
        steps: &[Step<'_, T>],
        order: Order,
    ) -> Result<Vec<T>, CheckpointError> {
        let names: Vec<_> = names.iter().map(Option::as_deref).collect();
        self.all_retried(&names, |open| tried(open.iter().map(|&number| &steps[number]).collect(), order))
    }

    fn commit(
        &mut self,
        epoch: u64,
        staged: &[(String, Staged)],
        order: Order,
    ) -> Result<(), CheckpointError> {
        let generation = self.generation;
        if !self.store.fences() {
            // Who has been taken over since disturbs no sink, also none that the newer run has not come to yet.
            let store = Arc::clone(&self.store);
            self.retried(None, || still_ours(&*store, generation))?;
        }
        // A sink that was added since has nothing in an older epoch.
        let nothing = Staged::default();
        let steps = self.sinks.iter().map(|(name, sink)| {
            let (name, sink, board) = (name.clone(), Arc::clone(sink), Arc::clone(&self.board));
            let part = staged.iter().find(|(of, _)| *of == name).map_or(&nothing, |(_, part)| part);
            let commit = move || {
                let began = Instant::now();
                sink.commit(epoch, generation, part)?;
                board.sink_committed(&name, epoch, began.elapsed(), sink.refused());
                Ok(())
            };
            Box::new(commit) as Step<'_, ()>
        });
        let steps: Vec<_> = steps.collect();
        let names: Vec<_> = self.sinks.iter().map(|(name, _)| Some(name.clone())).collect();
        self.each(&names, &steps, order).map(drop)
    }

    /// What operators saved, as files: those that change in part, and those that are whole.
    fn pack_state(&self, epoch: u64, blocks: Vec<StateBlock>) -> Result<Vec<Packed>, CheckpointError> {
        self.board.saved(&blocks);
        let (deltas, whole): (Vec<_>, Vec<_>) = blocks.into_iter().partition(StateBlock::is_delta);
        let generation = self.generation;
        let mut files = Vec::new();
        if !whole.is_empty() {
            files.push((format!("state-{epoch:010}-{generation}.tg"), false, whole));
        }
        if deltas.iter().any(|block| !block.is_empty()) {
            files.push((format!("delta-{epoch:010}-{generation}.tg"), true, deltas));
        }
        let pack = |(name, is_delta, blocks): (String, bool, Vec<StateBlock>)| {
            let bytes = pack(&blocks).map_err(|damage| self.unwritable(epoch, &damage))?;
            Ok(Packed { name, bytes, is_delta })
        };
        files.into_iter().map(pack).collect()
    }

    /// The files that the state consists of, once these are written.
    fn written_state(
        &mut self,
        epoch: u64,
        watermark_us: i64,
        packed: Vec<Packed>,
    ) -> Result<Vec<StateFile>, CheckpointError> {
        let mut state = Vec::new();
        for Packed { name, bytes, is_delta } in packed {
            let file = StateFile { name, bytes: bytes.len() as u64 };
            self.unread.push(file.clone());
            if is_delta { self.deltas.push(file) } else { state.push(file) }
        }
        if let Some(first) = first_to_fold(&self.deltas) {
            self.fold(epoch, watermark_us, first)?;
        }
        state.extend(self.deltas.iter().cloned());
        Ok(state)
    }

    /// Folds the deltas from place `first` on, so that recovery reads about what is there and not all that ever was.
    fn fold(&mut self, epoch: u64, watermark_us: i64, first: usize) -> Result<(), CheckpointError> {
        let older = self.deltas.split_off(first);
        let folded = self.fold_files(epoch, watermark_us, &older, first == 0);
        // The ones that were, should the new ones not be there.
        self.deltas.extend(folded.as_ref().cloned().unwrap_or(older));
        folded.map(drop)
    }

    fn fold_files(
        &mut self,
        epoch: u64,
        watermark_us: i64,
        older: &[StateFile],
        begins: bool,
    ) -> Result<Vec<StateFile>, CheckpointError> {
        // Those that are not parted hold keys of every share. As many as may be in memory are read once, and more, which only former versions
        // have left, once a share.
        let (mut whole, mut held) = (BTreeMap::<&str, Vec<StateBlock>>::new(), 0);
        for file in older.iter().filter(|file| Share::of_file(file).is_all()) {
            if held == 0 || held + file.bytes <= 2 * MOST_UNPARTED {
                held += file.bytes;
                whole.insert(&file.name, self.read_blocks(file)?);
            }
        }
        let mut files = Vec::new();
        for share in Share::of_bytes(older.iter().map(|file| file.bytes).sum()) {
            let mut blocks = Vec::new();
            for file in older {
                let of_file = Share::of_file(file);
                let is_first = share.is_first_of(of_file);
                match whole.get_mut(&*file.name) {
                    Some(all) if share.is_all() => blocks.append(all),
                    Some(all) => {
                        blocks.extend(all.iter().map(|block| block.share(share.number, share.of, is_first)))
                    }
                    None if share.meets(of_file) => {
                        let all = self.read_blocks(file)?;
                        blocks.extend(all.iter().map(|block| block.share(share.number, share.of, is_first)));
                    }
                    None => {}
                }
            }
            let folded = self.compactions.fold(blocks, watermark_us, begins);
            if begins && share.is_all() {
                self.board.folded(&folded);
            }
            files.push(self.write_blocks(epoch, share.file_name(epoch, self.generation), &folded)?);
        }
        Ok(files)
    }

    fn read_blocks(&mut self, file: &StateFile) -> Result<Vec<StateBlock>, CheckpointError> {
        let store = Arc::clone(&self.store);
        let bytes = self.retried(None, || store.read(&file.name))?.unwrap_or_default();
        super::unpack(&bytes).map_err(|damage| self.broken(&file.name, &damage))
    }

    fn write_blocks(
        &mut self,
        epoch: u64,
        name: String,
        blocks: &[StateBlock],
    ) -> Result<StateFile, CheckpointError> {
        let bytes = pack(&blocks).map_err(|damage| self.unwritable(epoch, &damage))?;
        self.write(&name, &bytes)?;
        let file = StateFile { name, bytes: bytes.len() as u64 };
        self.unread.push(file.clone());
        Ok(file)
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), CheckpointError> {
        let store = Arc::clone(&self.store);
        self.retried(None, || store.write(name, bytes))
    }

    /// Tries until it works, where trying again can help. `sink` names the one that is tried, if it is one.
    fn retried<T>(
        &mut self,
        sink: Option<&str>,
        mut step: impl FnMut() -> Result<T, CheckpointError>,
    ) -> Result<T, CheckpointError> {
        Ok(self.all_retried(&[sink], |_| vec![step()])?.swap_remove(0))
    }

    /// The same of several: `attempt` tries those of these numbers once. Ends as soon as one fails in a way that no other try mends.
    fn all_retried<T>(
        &mut self,
        sinks: &[Option<&str>],
        mut attempt: impl FnMut(&[usize]) -> Vec<Result<T, CheckpointError>>,
    ) -> Result<Vec<T>, CheckpointError> {
        let mut done: Vec<Option<T>> = sinks.iter().map(|_| None).collect();
        let mut tries = 0;
        loop {
            let open: Vec<usize> = (0..done.len()).filter(|&number| done[number].is_none()).collect();
            if open.is_empty() {
                return Ok(done.into_iter().flatten().collect());
            }
            let mut failed = Vec::new();
            for (&number, outcome) in open.iter().zip(attempt(&open)) {
                match outcome {
                    Ok(made) => {
                        done[number] = Some(made);
                        if tries > 0 {
                            info!(tries, "it works again");
                            sinks[number].inspect(|name| self.board.sink_answers(name));
                        }
                    }
                    Err(error) => failed.push((sinks[number], error)),
                }
            }
            if let Some(worst) = failed.iter().position(|(_, error)| !can_wait(error)) {
                return Err(failed.swap_remove(worst).1);
            }
            for (sink, error) in &failed {
                self.tell_failure(*sink, error);
            }
            if failed.is_empty() {
                continue;
            }
            if !(self.retry)(tries) {
                return Err(failed.swap_remove(0).1);
            }
            if tries == 0 {
                failed.iter().for_each(|(_, error)| warn!(%error, "waiting for it, and trying again"));
            }
            tries += 1;
        }
    }

    /// States that something is tried again.
    fn tell_failure(&self, sink: Option<&str>, error: &CheckpointError) {
        match sink {
            Some(name) => self.board.sink_failed(name, &error.to_string()),
            None => self.board.checkpoint_failed(&error.to_string()),
        }
    }

    fn unwritable(&self, epoch: u64, cause: &dyn std::fmt::Display) -> CheckpointError {
        self.broken(&format!("of epoch {epoch}"), cause)
    }

    fn broken(&self, name: &str, cause: &dyn std::fmt::Display) -> CheckpointError {
        CheckpointError::Store { place: self.store.place(), name: name.to_owned(), cause: cause.to_string() }
    }
}

/// The cuts of an epoch that was repeated, with what had been decided about idle partitions at its end.
fn with_decisions(mut cuts: Vec<PartitionCut>, decided: &[PartitionCut]) -> Vec<PartitionCut> {
    for cut in &mut cuts {
        if let Some(decided) = decided.iter().find(|decided| decided.id == cut.id) {
            (cut.floor_us, cut.decisions) = (decided.floor_us, decided.decisions);
            (cut.released, cut.ended) = (decided.released, decided.ended);
            cut.read_to = cut.read_to.max(decided.read_to);
        }
    }
    cuts
}

/// Does every step once, and gives what came of each, in their order.
fn tried<T: Send>(steps: Vec<&Step<'_, T>>, order: Order) -> Vec<Result<T, CheckpointError>> {
    match (order, &*steps) {
        (Order::InTurn(first), [_, ..]) => {
            let first = first % steps.len();
            let mut outcomes: Vec<_> =
                steps[first..].iter().chain(&steps[..first]).map(|step| step()).collect();
            outcomes.rotate_right(first);
            outcomes
        }
        (Order::Beside, [here, others @ ..]) if !others.is_empty() => thread::scope(|scope| {
            let others: Vec<_> = others.iter().map(|step| scope.spawn(step)).collect();
            let others = iter::once(here()).chain(others.into_iter().map(|other| match other.join() {
                Ok(done) => done,
                Err(panic) => resume_unwind(panic),
            }));
            others.collect()
        }),
        _ => steps.iter().map(|step| step()).collect(),
    }
}

fn can_wait(error: &CheckpointError) -> bool {
    match error {
        CheckpointError::Store { .. } => true,
        CheckpointError::Sink(error) => error.is_retriable(),
        _ => false,
    }
}

/// Waits that grow up to 10 s, until `stopped` says so: for [`Pen::retry`].
pub fn backoff(stopped: impl Fn() -> bool + Send + 'static) -> Box<dyn FnMut(u32) -> bool + Send> {
    let seed = u64::from(std::process::id());
    let backoff = Backoff { longest: Duration::from_secs(10), seed, ..Backoff::default() };
    Box::new(move |tries| pause(&backoff, tries, &stopped))
}

//! What all workers of a process share during a run.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use thiserror::Error;

use super::clock::Clock;
use crate::ingest::IdlePolicy;
use crate::record::KafkaTime;
use crate::sink::SinkError;
use crate::source::{Source, SourceError};
use crate::state::StateError;
use crate::telemetry::Board;

/// Why a run failed. None of them can be mended by going on: the run stops, and commits nothing more.
#[derive(Debug, Error)]
pub enum RunError {
    /// The input cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// An output cannot be written.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// A checkpoint's state cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The run was told to stop before its end.
    #[error("stopped before the end; nothing of this run was made visible")]
    Stopped,
}

/// How fast a recorded log is replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As fast as it goes.
    Max,
    /// This many seconds of Kafka time a second, from the earliest Kafka timestamp that a partition of the
    /// source begins with: the same for all workers and processes, whichever partitions they read.
    Times(f64),
}

/// A run: its source, its pace, and whether it still goes on.
pub struct Run {
    source: Arc<dyn Source>,
    clock: Arc<dyn Clock>,
    pace: Pace,
    /// (clock, Kafka time in ms) at which the pace begins.
    origin: OnceLock<(i64, i64)>,
    stopping: AtomicBool,
    asked_to_stop: AtomicBool,
    /// Whether the run can stop at a checkpoint, with its windows open.
    has_checkpoints: bool,
    failure: Mutex<Option<RunError>>,
    records: AtomicU64,
    beats: AtomicU64,
    board: Arc<Board>,
    idle: IdlePolicy,
}

impl Run {
    /// A run that reads `source`.
    pub fn new(source: Arc<dyn Source>, clock: Arc<dyn Clock>, pace: Pace) -> Self {
        Run {
            source,
            clock,
            pace,
            origin: OnceLock::new(),
            stopping: AtomicBool::new(false),
            asked_to_stop: AtomicBool::new(false),
            has_checkpoints: false,
            failure: Mutex::new(None),
            records: AtomicU64::new(0),
            beats: AtomicU64::new(0),
            board: Arc::default(),
            idle: IdlePolicy::default(),
        }
    }

    /// The same run with a policy for partitions that fall silent; without one they hold windows open for ever.
    pub fn with_idle(self, idle: IdlePolicy) -> Self {
        Run { idle, ..self }
    }

    /// What is done about partitions that fall silent.
    pub fn idle(&self) -> &IdlePolicy {
        &self.idle
    }

    /// The same run with checkpoints: asked to stop, it ends its epoch first.
    pub fn with_checkpoints(self) -> Self {
        Run { has_checkpoints: true, ..self }
    }

    /// Where facts of the run are stated for those who watch it.
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Asks for a clean stop: with checkpoints when the epoch has been decided, otherwise at once.
    pub fn ask_to_stop(&self) {
        self.asked_to_stop.store(true, Ordering::SeqCst);
        if !self.has_checkpoints {
            self.stop();
        }
    }

    /// Whether somebody has asked for a clean stop.
    pub fn is_asked_to_stop(&self) -> bool {
        self.asked_to_stop.load(Ordering::Relaxed)
    }

    /// The first failure, if there was one.
    ///
    /// # Errors
    /// That failure.
    pub fn failure(&self) -> Result<(), RunError> {
        let failure = self.failure.lock().ok().and_then(|mut failure| failure.take());
        failure.map_or(Ok(()), Err)
    }

    /// What went wrong, if something did.
    pub(crate) fn failure_text(&self) -> Option<String> {
        self.failure.lock().ok().and_then(|failure| failure.as_ref().map(ToString::to_string))
    }

    /// Shows that the run's processes reach one another and go on.
    pub(crate) fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// A number that grows as long as the run's processes reach one another and go on.
    pub fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    /// The source.
    pub fn source(&self) -> &dyn Source {
        &*self.source
    }

    /// Ends the run with `error`; the first error is kept.
    pub fn fail(&self, error: RunError) {
        if let Ok(mut failure) = self.failure.lock() {
            failure.get_or_insert(error);
        }
        self.stop();
    }

    /// Asks all workers to stop reading.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    /// Whether workers should stop.
    #[inline]
    pub fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// How the run ended: `Ok` when it reached the end of its input.
    ///
    /// # Errors
    /// The first failure, or [`RunError::Stopped`].
    pub fn outcome(&self) -> Result<(), RunError> {
        self.failure()?;
        if self.stopping() { Err(RunError::Stopped) } else { Ok(()) }
    }

    /// Notes records read, for progress display.
    pub(crate) fn progress(&self, records: u64) {
        self.records.fetch_add(records, Ordering::Relaxed);
    }

    /// Records read so far by this process, duplicates and watermark records included.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Whether records wait for their time.
    pub(crate) fn is_paced(&self) -> bool {
        !matches!(self.pace, Pace::Max)
    }

    /// Whether a record with this Kafka time may be read already.
    pub(crate) fn may_read(&self, kafka_time: KafkaTime) -> bool {
        match self.pace {
            Pace::Max => true,
            Pace::Times(speed) => self.due(kafka_time, speed),
        }
    }

    #[inline(never)]
    fn due(&self, kafka_time: KafkaTime, speed: f64) -> bool {
        let Some(ms) = kafka_time.ms() else { return true };
        let now_us = self.clock.now_us();
        let begin = || (now_us, earliest_ms(&*self.source).unwrap_or(ms));
        let (began_us, began_ms) = *self.origin.get_or_init(begin);
        (ms.saturating_sub(began_ms)) as f64 * 1000.0 <= now_us.saturating_sub(began_us) as f64 * speed
    }
}

/// The earliest of the Kafka timestamps with which the lanes of the whole source begin. What cannot be read is
/// left out here: whoever reads it for its records will say so.
fn earliest_ms(source: &dyn Source) -> Option<i64> {
    use crate::source::{Assignment, Visit};
    let all = (0..source.partitions().len()).map(|partition| Assignment { partition, from_offset: 0 });
    let mut reader = source.reader(&all.collect::<Vec<_>>()).ok()?;
    let lanes = reader.lanes();
    let first_ms = |lane| {
        let mut first = None;
        let look = &mut |_partition, record: &crate::record::Record<'_>| {
            first = record.kafka_time.ms();
            Visit::Stop
        };
        reader.poll(lane, 1, look).ok().and(first)
    };
    (0..lanes).filter_map(first_ms).min()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::record::Partition;
    use crate::runtime::ManualClock;
    use crate::source::memory::{MemorySource, OwnedRecord};

    #[test]
    fn the_pace_begins_with_the_earliest_partition_whichever_record_is_read_first() {
        let record = |ms| OwnedRecord { kafka_time: KafkaTime::Create(ms), ..OwnedRecord::default() };
        let logs = [(0, vec![record(9_000)]), (1, vec![record(5_000), record(6_000)]), (2, vec![])];
        let logs: BTreeMap<_, _> =
            logs.into_iter().map(|(number, log)| (Partition::new("t", number), log)).collect();
        let clock = Arc::new(ManualClock::default());
        let run = Run::new(Arc::new(MemorySource::new(logs)), Arc::clone(&clock) as _, Pace::Times(2.0));
        // This process reads partition 0 alone, which begins 4 s after partition 1: 2 s at twice the speed.
        assert!(!run.may_read(KafkaTime::Create(9_000)));
        clock.set(1_999_999);
        assert!(!run.may_read(KafkaTime::Create(9_000)));
        assert!(run.may_read(KafkaTime::None), "without a timestamp there is nothing to wait for");
        clock.set(2_000_000);
        assert!(run.may_read(KafkaTime::Create(9_000)));
    }
}

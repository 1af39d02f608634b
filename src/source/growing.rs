//! Partitions in memory that grow while they are read: a live source for tests, which needs no broker.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::memory::OwnedRecord;
use super::{Assignment, LaneStatus, PartitionInfo, Poll, Reader, Source, SourceError, Visit};
use crate::record::Partition;

#[derive(Default)]
struct Log {
    records: Vec<OwnedRecord>,
    closed: bool,
    away: bool,
}

/// The log of one partition, and the hand that writes it.
#[derive(Clone, Default)]
pub struct GrowingLog(Arc<Mutex<Log>>);

impl GrowingLog {
    fn lock(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends records.
    pub fn append(&self, records: impl IntoIterator<Item = OwnedRecord>) {
        self.lock().records.extend(records);
    }

    /// Ends the partition, as the end of a bounded input does.
    pub fn close(&self) {
        self.lock().closed = true;
    }

    /// Whether the partition's broker is away: its records are still read, its end cannot be confirmed.
    pub fn set_away(&self, away: bool) {
        self.lock().away = away;
    }

    /// All records so far.
    pub fn records(&self) -> Vec<OwnedRecord> {
        self.lock().records.clone()
    }
}

/// Topics that get further partitions, and the hand that adds them.
#[derive(Clone, Default)]
pub struct GrowingTopics(Arc<Mutex<Topics>>);

#[derive(Default)]
struct Topics {
    partitions: BTreeMap<Partition, GrowingLog>,
    /// Which was deleted and made again.
    replaced: Option<String>,
}

impl GrowingTopics {
    fn lock(&self) -> MutexGuard<'_, Topics> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a partition.
    pub fn add(&self, id: Partition, log: GrowingLog) {
        self.lock().partitions.insert(id, log);
    }

    /// Makes a topic another one of the same name.
    pub fn replace(&self, topic: &str) {
        self.lock().replaced = Some(topic.to_owned());
    }
}

/// Partitions that grow; each is a lane of its own.
pub struct GrowingSource {
    partitions: Vec<PartitionInfo>,
    logs: Vec<GrowingLog>,
    topics: GrowingTopics,
    is_live: bool,
}

impl GrowingSource {
    /// A source of the partitions that there are now.
    pub fn new(topics: &GrowingTopics) -> GrowingSource {
        let info = |id| PartitionInfo { id, records_hint: 0, from_offset: 0 };
        let now = topics.lock().partitions.clone();
        let (ids, logs): (Vec<_>, Vec<_>) = now.into_iter().unzip();
        let partitions = ids.into_iter().map(info).collect();
        GrowingSource { partitions, logs, topics: topics.clone(), is_live: false }
    }

    /// The same as a live source. Otherwise it is one but for columns of wall-clock time, so that runs can be compared.
    pub fn live(self) -> GrowingSource {
        GrowingSource { is_live: true, ..self }
    }
}

impl Source for GrowingSource {
    fn partitions(&self) -> &[PartitionInfo] {
        &self.partitions
    }

    fn resumes_by_offset(&self) -> bool {
        true
    }

    fn is_live(&self) -> bool {
        self.is_live
    }

    fn grown(&self) -> Result<Option<Arc<dyn Source>>, SourceError> {
        let topics = self.topics.lock();
        if let Some(topic) = topics.replaced.clone() {
            return Err(SourceError::Replaced { topic, what: "it was made again".to_owned() });
        }
        let grown = topics.partitions.len() > self.partitions.len();
        drop(topics);
        Ok(grown.then(|| {
            Arc::new(GrowingSource { is_live: self.is_live, ..GrowingSource::new(&self.topics) })
                as Arc<dyn Source>
        }))
    }

    fn reader(&self, assigned: &[Assignment]) -> Result<Box<dyn Reader>, SourceError> {
        let lanes = assigned.iter().map(|&Assignment { partition, from_offset }| {
            let log = self.logs[partition].clone();
            let next = log.lock().records.iter().take_while(|record| record.offset < from_offset).count();
            Lane { partition, log, next, at_end: false }
        });
        Ok(Box::new(GrowingReader(lanes.collect())))
    }
}

struct Lane {
    partition: usize,
    log: GrowingLog,
    next: usize,
    at_end: bool,
}

struct GrowingReader(Vec<Lane>);

impl Reader for GrowingReader {
    fn lanes(&self) -> usize {
        self.0.len()
    }

    fn lane_partitions(&self, lane: usize) -> &[usize] {
        std::slice::from_ref(&self.0[lane].partition)
    }

    fn poll(
        &mut self,
        lane: usize,
        budget: usize,
        visit: &mut dyn FnMut(usize, &crate::record::Record<'_>) -> Visit,
    ) -> Result<Poll, SourceError> {
        let Lane { partition, log, next, at_end } = &mut self.0[lane];
        let (batch, closed) = {
            let log = log.lock();
            let batch: Vec<OwnedRecord> = log.records[*next..].iter().take(budget).cloned().collect();
            *at_end = batch.is_empty();
            (batch, log.closed && *next == log.records.len())
        };
        for record in &batch {
            if record.with(|record| visit(*partition, record)) == Visit::Stop {
                return Ok(Poll::More);
            }
            *next += 1;
        }
        Ok(match (batch.is_empty(), closed) {
            (false, _) => Poll::More,
            (true, true) => Poll::End,
            (true, false) => Poll::Idle,
        })
    }

    fn status(&self, lane: usize) -> Option<LaneStatus> {
        let Lane { log, next, at_end, .. } = &self.0[lane];
        let log = log.lock();
        let position = next.checked_sub(1).and_then(|last| log.records.get(last)).map_or(0, |r| r.offset + 1);
        Some(LaneStatus { position, end: None, at_end: *at_end, lost: 0 })
    }

    fn confirm_end(&mut self, lane: usize) -> bool {
        let Lane { log, next, .. } = &self.0[lane];
        let log = log.lock();
        !log.away && *next == log.records.len()
    }
}

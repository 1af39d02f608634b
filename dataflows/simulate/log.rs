//! Short logs with everything in them: stragglers, unusable records, offsets that come twice, stated watermarks, decisions
//! about idle partitions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidegate::ingest::{IdleDecision, IdlePolicy};
use tidegate::record::{KafkaTime, Partition};
use tidegate::source::memory::{MemorySource, OwnedRecord};
use tidegate::source::{Assignment, PartitionInfo, Reader, Source, SourceError};

use crate::generate::activity::{BadSpec, Clickstream, Spec};
use crate::generate::random::Random;

/// What a simulation reads.
pub(super) struct Log {
    pub(super) source: Arc<dyn Source>,
    /// What an earlier run has decided about its partitions.
    pub(super) idle: IdlePolicy,
}

/// A partition that had been idle is given a floor so far behind its next record.
const FLOOR_US: i64 = 300_000_000;

/// A log in memory that goes on by offset, as Kafka does.
struct ByOffset(MemorySource);

impl Source for ByOffset {
    fn partitions(&self) -> &[PartitionInfo] {
        self.0.partitions()
    }
    fn resumes_by_offset(&self) -> bool {
        true
    }
    fn reader(&self, assigned: &[Assignment]) -> Result<Box<dyn Reader>, SourceError> {
        self.0.reader(assigned)
    }
}

/// The log of `seed`: about `records` events of `activity` on `topic`, in three partitions and an empty one. Every other
/// log goes on by offset, and has a partition that had been idle; the rest repeat some offsets, and half of them are in one lane,
/// as in one recorded file.
pub(super) fn activity(topic: &str, seed: u64, records: u64) -> Result<Log, BadSpec> {
    let by_offset = seed % 2 == 1;
    let span = Duration::from_secs(records * 12);
    let spec =
        Spec { seed, records, partitions: 3, pages: 5, users: 12, late_every: 8, span, ..Spec::default() };
    let mut random = Random::new(seed ^ 0x5eed);
    let mut logs: BTreeMap<Partition, Vec<OwnedRecord>> = BTreeMap::new();
    // A partition that never has a record.
    logs.insert(Partition::new(topic, 3), Vec::new());
    let mut events = Clickstream::new(spec)?;
    let mut idle = IdlePolicy::default();
    while let Some(event) = events.next_event() {
        let partition = Partition::new(topic, event.partition);
        let log = logs.entry(partition.clone()).or_default();
        if by_offset && event.partition == 1 && idle.recorded.is_empty() && event.offset as u64 > records / 10
        {
            let (offset, kafka_ms, number) = (event.offset * 3, event.kafka_ms, 0);
            let floor_us = kafka_ms * 1000 + FLOOR_US;
            idle.recorded.push(IdleDecision { partition, offset, floor_us, kafka_ms, number });
        }
        // Room for what is put in between.
        let mut record = OwnedRecord {
            offset: event.offset * 3,
            kafka_time: KafkaTime::Create(event.kafka_ms),
            key: Some(event.key.to_vec()),
            value: Some(event.payload.to_vec()),
            headers: Vec::new(),
        };
        let again = record.clone();
        log.push(record.clone());
        match random.below(20) {
            0 => {
                record.value = Some(b"not an event".to_vec());
                record.offset += 1;
                log.push(record);
            }
            1 => {
                let at_us = event.kafka_ms * 1000 - 100_000_000;
                record.headers = vec![(b"tidegate-watermark".to_vec(), Some(at_us.to_string().into_bytes()))];
                (record.offset, record.value) = (record.offset + 2, None);
                log.push(record);
            }
            2 if !by_offset => log.push(again),
            _ => {}
        }
    }
    let source = MemorySource::new(logs);
    let source: Arc<dyn Source> = match seed % 4 {
        1 | 3 => Arc::new(ByOffset(source)),
        2 => Arc::new(source.in_one_lane()),
        _ => Arc::new(source),
    };
    Ok(Log { source, idle })
}

//! The sink's mark in Kafka: which epoch was committed last, by which generation.
//!
//! It is an offset of a private consumer group, committed in the transaction of the epoch's records, so that it is
//! there exactly when they are. The offset is the epoch; its metadata also states the generation.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};

use crate::kafka::{Properties, Watch, explain};

/// What the mark states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Committed {
    pub(super) epoch: u64,
    pub(super) generation: u64,
}

/// Why a mark cannot be read.
pub(super) enum MarkError {
    /// Kafka did not answer, or refused.
    Kafka(KafkaError),
    /// Somebody else's offset, or a later version's.
    Foreign(String),
}

/// Reads and states marks.
pub(super) struct MarkStore {
    consumer: BaseConsumer<Watch>,
    /// The group's offset of this topic's partition 0 is the mark.
    topic: String,
}

/// How a mark is read that stands in a transaction which has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pending {
    /// Its end is waited for: right behind a take-over, when it is near.
    Wait,
    /// The mark before it counts: before a take-over, when nobody but the brokers' timeout would end it.
    Ignore,
}

impl MarkStore {
    pub(super) fn open(
        properties: &Properties,
        group: &str,
        topic: &str,
        pending: Pending,
    ) -> Result<MarkStore, String> {
        let isolation = match pending {
            Pending::Wait => "read_committed",
            Pending::Ignore => "read_uncommitted",
        };
        let properties = properties
            .clone()
            .with("group.id", group)
            .with("enable.auto.commit", "false")
            .with("isolation.level", isolation)
            .without("transactional.id")
            .without("transaction.timeout.ms");
        let watch = Watch::new("kafka sink");
        let consumer = properties.client().create_with_context(watch).map_err(|error| explain(&error))?;
        Ok(MarkStore { consumer, topic: topic.to_owned() })
    }

    /// The mark, `None` before the first.
    pub(super) fn read(&self, timeout: Duration) -> Result<Option<Committed>, MarkError> {
        let deadline = Instant::now() + timeout;
        let found = loop {
            let mut wanted = TopicPartitionList::new();
            wanted.add_partition(&self.topic, 0);
            let left = deadline.saturating_duration_since(Instant::now());
            match self.consumer.committed_offsets(wanted, left) {
                Ok(found) => break found,
                // The group's coordinator is starting or moving.
                Err(error) if moves(&error) && !left.is_zero() => self.pause(),
                Err(error) => return Err(MarkError::Kafka(error)),
            }
        };
        let Some(element) = found.find_partition(&self.topic, 0) else { return Ok(None) };
        element.error().map_err(MarkError::Kafka)?;
        let Offset::Offset(offset) = element.offset() else { return Ok(None) };
        let text = element.metadata();
        match serde_json::from_str::<Committed>(text) {
            Ok(mark) if i64::try_from(mark.epoch) == Ok(offset) => Ok(Some(mark)),
            _ => Err(MarkError::Foreign(format!("offset {offset} with metadata {text:?}"))),
        }
    }

    /// Waits a little, and hears what the client has to say.
    fn pause(&self) {
        // There are no messages here, so that nothing is lost.
        drop(self.consumer.poll(Duration::from_millis(100)));
    }

    /// The mark as offsets, and the group they belong to, for a transaction.
    pub(super) fn state(
        &self,
        mark: Committed,
    ) -> KafkaResult<(TopicPartitionList, Option<ConsumerGroupMetadata>)> {
        let mut offsets = TopicPartitionList::new();
        let offset = i64::try_from(mark.epoch).unwrap_or(i64::MAX);
        let text = format!(r#"{{"epoch":{},"generation":{}}}"#, mark.epoch, mark.generation);
        let mut element = offsets.add_partition(&self.topic, 0);
        element.set_offset(Offset::Offset(offset))?;
        element.set_metadata(text);
        Ok((offsets, self.consumer.group_metadata()))
    }
}

fn moves(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator};
    let code = error.rdkafka_error_code();
    matches!(code, Some(CoordinatorLoadInProgress | CoordinatorNotAvailable | NotCoordinator))
}

//! A worker's cursor over its partitions: a lane for each.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;

use super::native::{Log, Next};
use super::{OutOfRange, Settings, position_error, range_error, refused};
use crate::kafka::Watch;
use crate::record::{Partition, Record};
use crate::source::{LaneStatus, Poll, Reader, SourceError, Visit};

/// How many messages are taken from librdkafka at a time.
const BATCH: usize = 1_000;

/// How long the worker waits for an answer to whether a partition has been read to its end.
const CONFIRM: Duration = Duration::from_secs(1);

/// The client's own messages are heard at least once in so many batches.
const LISTEN_EVERY: u32 = 64;

/// Reads partitions with a client of its own.
pub(super) struct KafkaReader {
    // Logs are dropped before the client that they belong to.
    lanes: Vec<Lane>,
    client: Arc<BaseConsumer<Watch>>,
    settings: Arc<Settings>,
    batches: u32,
}

struct Lane {
    /// Index among the source's partitions.
    index: usize,
    id: Partition,
    log: Log,
    /// The offset behind the last record that was taken.
    position: i64,
    /// The offset at which the partition ended when it was last read to its end.
    end: Option<i64>,
    /// See [`LaneStatus::lost`].
    lost: u64,
}

impl KafkaReader {
    /// Begins to read the partitions at the given offsets.
    pub(super) fn start(
        client: BaseConsumer<Watch>,
        settings: Arc<Settings>,
        assigned: impl Iterator<Item = (usize, Partition, i64)>,
    ) -> Result<KafkaReader, SourceError> {
        let client = Arc::new(client);
        let lanes = assigned.map(|(index, id, position)| {
            let log = Log::start(&client, &id.topic, id.number, position)
                .map_err(|code| refused(format!("to read {id}"), code))?;
            Ok(Lane { index, id, log, position, end: None, lost: 0 })
        });
        let lanes = lanes.collect::<Result<_, SourceError>>()?;
        Ok(KafkaReader { lanes, client, settings, batches: 0 })
    }

    /// Hears what the client has to say.
    fn listen(&self) {
        // Errors come through the context; here are only events that nobody else takes.
        while self.client.poll(Duration::ZERO).is_some() {}
    }

    /// Takes more messages into `lane`; whether there are some.
    fn fill(&mut self, lane: usize) -> bool {
        let more = self.lanes[lane].log.fill(BATCH);
        self.batches = self.batches.wrapping_add(1);
        if more {
            self.client.context().hears_broker();
        }
        if self.batches.is_multiple_of(LISTEN_EVERY) {
            self.listen();
        }
        more
    }

    /// Does what can be done about an error that stands in a lane.
    #[cold]
    fn mend(&mut self, lane: usize, code: RDKafkaErrorCode, text: &str) -> Result<(), SourceError> {
        use RDKafkaErrorCode as Code;
        let id = &self.lanes[lane].id;
        match code {
            Code::AutoOffsetReset | Code::OffsetOutOfRange => self.out_of_range(lane),
            Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::UnknownTopicId => {
                let what = format!("partition {} is not there any more", id.number);
                Err(SourceError::Replaced { topic: id.topic.to_string(), what })
            }
            Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::SaslAuthenticationFailed => Err(refused(format!("to read {id}"), code)),
            Code::BadMessage | Code::InvalidMessage | Code::InvalidMessageSize | Code::BadCompression => {
                let at = self.lanes[lane].position;
                Err(refused(format!("{id} at offset {at}, which is damaged"), text))
            }
            Code::Fatal => Err(refused(format!("to read {id} on"), text)),
            _ => {
                self.client.context().misses_broker(&format!("{id}: {text}"));
                Ok(())
            }
        }
    }

    /// The broker does not have the offset that was asked for.
    fn out_of_range(&mut self, lane: usize) -> Result<(), SourceError> {
        let Lane { id, log, position, lost: all_lost, .. } = &mut self.lanes[lane];
        let bounds = self.client.fetch_watermarks(&id.topic, id.number, self.settings.timeout);
        let Ok((earliest, end)) = bounds else {
            // Nobody answers now: ask for the same offset again.
            return log.restart(*position).map_err(|code| refused(format!("to read {id}"), code));
        };
        let next = match (range_error(id, *position, earliest, end), self.settings.out_of_range) {
            (None, _) => *position,
            (Some(SourceError::Gone { .. }), OutOfRange::Skip) => {
                let lost = (earliest - *position).unsigned_abs();
                *all_lost += lost;
                tracing::warn!(
                    "{id}: skipped {lost} offsets, {position} to {}: they are gone, and the policy is skip",
                    earliest - 1
                );
                earliest
            }
            (Some(error), _) => return Err(error),
        };
        *position = next;
        log.restart(next).map_err(|code| refused(format!("to read {id}"), code))
    }
}

impl Reader for KafkaReader {
    fn lanes(&self) -> usize {
        self.lanes.len()
    }

    fn lane_partitions(&self, lane: usize) -> &[usize] {
        std::slice::from_ref(&self.lanes[lane].index)
    }

    fn poll(
        &mut self,
        lane: usize,
        budget: usize,
        visit: &mut dyn FnMut(usize, &Record<'_>) -> Visit,
    ) -> Result<Poll, SourceError> {
        let mut left = budget;
        loop {
            let Lane { index, log, position, end, .. } = &mut self.lanes[lane];
            let trouble = loop {
                match log.peek() {
                    None => break None,
                    Some(Next::Record(record)) => {
                        if record.offset >= *position {
                            if left == 0 || visit(*index, &record) == Visit::Stop {
                                return Ok(Poll::More);
                            }
                            left -= 1;
                            *position = record.offset + 1;
                        }
                        log.pop();
                    }
                    Some(Next::End(offset)) => {
                        *end = Some(offset);
                        log.pop();
                    }
                    Some(Next::Trouble(code, text)) => {
                        log.pop();
                        break Some((code, text));
                    }
                }
            };
            if let Some((code, text)) = trouble {
                self.mend(lane, code, &text)?;
            } else if !self.fill(lane) {
                self.listen();
                return Ok(Poll::Idle);
            }
        }
    }

    fn status(&self, lane: usize) -> Option<LaneStatus> {
        let Lane { log, position, end, lost, .. } = &self.lanes[lane];
        // The end lies behind the last record where a transaction's marker stands there.
        let position = end.map_or(*position, |end| end.max(*position));
        let known = log.high_watermark();
        let at_end = log.is_empty() && *end == Some(position) && known.is_none_or(|known| known <= position);
        Some(LaneStatus { position, end: known.or(*end), at_end, lost: *lost })
    }

    fn confirm_end(&mut self, lane: usize) -> bool {
        let Some(LaneStatus { position, at_end: true, .. }) = self.status(lane) else { return false };
        let id = &self.lanes[lane].id;
        let bounds = self.client.fetch_watermarks(&id.topic, id.number, self.settings.timeout.min(CONFIRM));
        bounds.is_ok_and(|(_, end)| end <= position)
    }
}

/// Checks where reading is to begin against what is there.
pub(super) fn check_position(
    client: &BaseConsumer<Watch>,
    settings: &Settings,
    id: &Partition,
    position: i64,
) -> Result<(), SourceError> {
    let (_, end) = super::bounds(client, settings, id)?;
    position_error(id, position, end).map_or(Ok(()), Err)
}

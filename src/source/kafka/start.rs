//! Where a first start begins.

use std::collections::BTreeMap;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use super::{OutOfRange, Settings, bounds, range_error, unreachable};
use crate::kafka::Watch;
use crate::record::Partition;
use crate::source::{PartitionInfo, SourceError};

/// Where a run begins that has no checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Start {
    /// At the earliest record that is there.
    #[default]
    Earliest,
    /// Behind the last record.
    Latest,
    /// At the first record whose Kafka timestamp is not before this, in milliseconds since the epoch; behind the
    /// last record where there is none.
    Timestamp(i64),
    /// At these offsets; partitions that are not named begin at the earliest record.
    Offsets(BTreeMap<Partition, i64>),
}

impl Start {
    pub(super) fn resolve(
        &self,
        client: &BaseConsumer<Watch>,
        settings: &Settings,
        partitions: &[PartitionInfo],
    ) -> Result<Vec<i64>, SourceError> {
        let by_time = match self {
            Start::Timestamp(ms) => Some(at_time(client, settings, partitions, *ms)?),
            _ => None,
        };
        let mut offsets = Vec::with_capacity(partitions.len());
        for (index, PartitionInfo { id, .. }) in partitions.iter().enumerate() {
            let (earliest, end) = bounds(client, settings, id)?;
            let found = by_time.as_ref().and_then(|found| found[index]);
            offsets.push(match self {
                Start::Earliest => earliest,
                Start::Latest => end,
                Start::Timestamp(_) => found.unwrap_or(end),
                Start::Offsets(given) => match given.get(id) {
                    None => earliest,
                    Some(&offset) => match range_error(id, offset, earliest, end) {
                        None => offset,
                        Some(SourceError::Gone { .. }) if settings.out_of_range == OutOfRange::Skip => {
                            tracing::warn!("{id}: offset {offset} is gone, beginning at {earliest}");
                            earliest
                        }
                        Some(error) => return Err(error),
                    },
                },
            });
        }
        Ok(offsets)
    }
}

/// The first offset at or after `ms` of each partition, `None` where there is none.
fn at_time(
    client: &BaseConsumer<Watch>,
    settings: &Settings,
    partitions: &[PartitionInfo],
    ms: i64,
) -> Result<Vec<Option<i64>>, SourceError> {
    let mut wanted = TopicPartitionList::new();
    for PartitionInfo { id, .. } in partitions {
        wanted
            .add_partition_offset(&id.topic, id.number, Offset::Offset(ms.max(0)))
            .map_err(|error| unreachable(client, settings, &error))?;
    }
    let found = client
        .offsets_for_times(wanted, settings.timeout)
        .map_err(|error| unreachable(client, settings, &error))?;
    partitions
        .iter()
        .map(|PartitionInfo { id, .. }| {
            let Some(element) = found.find_partition(&id.topic, id.number) else { return Ok(None) };
            element.error().map_err(|error| unreachable(client, settings, &error))?;
            Ok(match element.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            })
        })
        .collect()
}

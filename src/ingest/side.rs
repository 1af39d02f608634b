//! Late records and dead letters: what a record leaves behind where it does not count.
//!
//! Nothing is dropped silently. A record that is late for at least one output, and a record that cannot be
//! used, becomes one line of the input topic's late or dead-letter topic, with its original key and payload.

use std::sync::Arc;

use super::front::{Edge, Position};
use crate::decode::Rejected;
use crate::record::{Partition, Record};
use crate::topic_lines::{TopicBlock, TopicLines};

/// The late and dead-letter topics of a pipeline's input topics, on one worker.
pub struct SideTopics {
    outputs: Arc<[&'static str]>,
    late: TopicLines,
    dead: TopicLines,
}

impl SideTopics {
    /// `late` and `dead` take the lines; `outputs` names the outputs that records meet, in order.
    pub fn new(outputs: Arc<[&'static str]>, late: TopicLines, dead: TopicLines) -> Self {
        SideTopics { outputs, late, dead }
    }

    /// Keeps a record that is late for the outputs in the bit set `late`.
    pub(super) fn late(&mut self, at: &Position<'_>, late: u32) {
        let names =
            self.outputs.iter().enumerate().filter(|(i, _)| late >> i & 1 == 1).map(|(_, name)| *name);
        let names = names.collect::<Vec<_>>().join(",");
        let late_by_us = i128::from(at.watermark_us) - i128::from(at.time_us);
        let late_by_ms = late_by_us.div_euclid(1000) + i128::from(late_by_us.rem_euclid(1000) != 0);
        let (late_by, number, offset) =
            (late_by_ms.to_string(), at.partition.number.to_string(), at.record.offset.to_string());
        self.late.push(
            at.rank,
            at.partition,
            at.record,
            &[
                ("reason", b"late"),
                ("outputs", names.as_bytes()),
                ("late_by_ms", late_by.as_bytes()),
                ("topic", at.partition.topic.as_bytes()),
                ("partition", number.as_bytes()),
                ("offset", offset.as_bytes()),
            ],
            at.record.value.map(|value| value.bytes()),
        );
    }

    /// Keeps a record that cannot be used.
    pub(super) fn dead(&mut self, rank: u32, partition: &Partition, record: &Record<'_>, why: &Rejected) {
        let (number, offset) = (partition.number.to_string(), record.offset.to_string());
        self.dead.push(
            rank,
            partition,
            record,
            &[
                ("reason", why.reason.as_str().as_bytes()),
                ("detail", why.detail.as_bytes()),
                ("topic", partition.topic.as_bytes()),
                ("partition", number.as_bytes()),
                ("offset", offset.as_bytes()),
            ],
            record.value.map(|value| value.bytes()),
        );
    }

    pub(super) fn drain(&mut self, edge: Edge, send: &mut dyn FnMut(TopicBlock)) {
        self.late.drain(edge, send);
        self.dead.drain(edge, send);
    }
}

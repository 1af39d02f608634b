//! Late records and dead letters: what a record leaves behind where it does not count.
//!
//! Nothing is dropped silently. A record that is late for at least one output, and a record that cannot be
//! used, becomes one line of the input topic's late or dead-letter topic, with its original key and payload.

use std::sync::Arc;

use super::Part;
use super::front::{Edge, Position, unreadable};
use crate::decode::Rejected;
use crate::record::{Partition, Record};
use crate::state::StateError;
use crate::topic_lines::{TopicBlock, TopicLines};

/// The late and dead-letter topics of a pipeline's input topics, on one worker.
pub struct SideTopics {
    outputs: Arc<[&'static str]>,
    /// The names of the sets of outputs met so far, comma-separated.
    named: Vec<(u32, String)>,
    late: TopicLines,
    dead: TopicLines,
    count_only: bool,
}

impl SideTopics {
    /// `late` and `dead` take the lines; `outputs` names the outputs that records meet, in order.
    pub fn new(outputs: Arc<[&'static str]>, late: TopicLines, dead: TopicLines) -> Self {
        SideTopics { outputs, named: Vec::new(), late, dead, count_only: false }
    }

    /// Only the ledger's counts are kept, no lines; for benches whose rival keeps none.
    pub fn count_only(mut self, count_only: bool) -> Self {
        self.count_only = count_only;
        self
    }

    /// Keeps a record, or a part of one, that is late for the outputs in the bit set `late`, and idle for those in `idle`. It
    /// is one line: its reason is `idle` where it is late for no output. `late_by_ms` is counted from what it is late by.
    pub(super) fn late(&mut self, at: &Position<'_>, part: Part<'_>, late: u32, idle: u32) {
        if self.count_only {
            return;
        }
        let outputs = late | idle;
        let names = match self.named.iter().position(|(set, _)| *set == outputs) {
            Some(known) => &self.named[known].1,
            None => {
                let of_set = self.outputs.iter().enumerate().filter(|(i, _)| outputs >> i & 1 == 1);
                let names = of_set.map(|(_, name)| *name).collect::<Vec<_>>().join(",");
                self.named.push((outputs, names));
                &self.named[self.named.len() - 1].1
            }
        };
        let (reason, by_us): (&[u8], _) =
            if late != 0 { (b"late", at.watermark_us) } else { (b"idle", at.place.floor_us) };
        let late_by_us = i128::from(by_us) - i128::from(at.time_us);
        let late_by_ms = late_by_us.div_euclid(1000) + i128::from(late_by_us.rem_euclid(1000) != 0);
        let (mut late_by, mut number, mut offset) =
            (itoa::Buffer::new(), itoa::Buffer::new(), itoa::Buffer::new());
        let headers: [(&str, &[u8]); 7] = [
            ("reason", reason),
            ("outputs", names.as_bytes()),
            ("late_by_ms", late_by.format(late_by_ms).as_bytes()),
            ("topic", at.place.partition.topic.as_bytes()),
            ("partition", number.format(at.place.partition.number).as_bytes()),
            ("offset", offset.format(at.record.offset).as_bytes()),
            ("entity_id", part.id.unwrap_or_default()),
        ];
        let headers = if part.id.is_some() { &headers[..] } else { &headers[..6] };
        let alone = part.alone.map(|alone| alone());
        let payload = alone.as_deref().or(at.record.value.map(|value| value.bytes()));
        self.late.push(at.place.rank, &at.place.partition, at.record, headers, payload);
    }

    /// Keeps a record that cannot be used.
    pub(super) fn dead(
        &mut self,
        rank: u32,
        partition: &Partition,
        record: &Record<'_>,
        part: Part<'_>,
        why: &Rejected,
    ) {
        if self.count_only {
            return;
        }
        let (mut number, mut offset) = (itoa::Buffer::new(), itoa::Buffer::new());
        let headers: [(&str, &[u8]); 6] = [
            ("reason", why.reason.as_str().as_bytes()),
            ("detail", why.detail.as_bytes()),
            ("topic", partition.topic.as_bytes()),
            ("partition", number.format(partition.number).as_bytes()),
            ("offset", offset.format(record.offset).as_bytes()),
            ("entity_id", part.id.unwrap_or_default()),
        ];
        let headers = if part.id.is_some() { &headers[..] } else { &headers[..5] };
        let alone = part.alone.map(|alone| alone());
        let payload = alone.as_deref().or(record.value.map(|value| value.bytes()));
        self.dead.push(rank, partition, record, headers, payload);
    }

    /// The next offsets of the late and of the dead lines of a partition.
    pub(super) fn save_partition(&self, rank: u32) -> Vec<u8> {
        let offsets = [self.late.next_offset(rank), self.dead.next_offset(rank)];
        offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect()
    }

    pub(super) fn restore_partition(
        &mut self,
        rank: u32,
        partition: &Partition,
        saved: &[u8],
    ) -> Result<(), StateError> {
        if saved.is_empty() {
            // Of a partition that was not there.
            return Ok(());
        }
        let (late, dead) =
            saved.split_at_checked(8).ok_or_else(|| unreadable(partition, "two offsets have 16 bytes"))?;
        for (lines, offset) in [(&mut self.late, late), (&mut self.dead, dead)] {
            let bytes = offset.try_into().map_err(|_| unreadable(partition, "an offset has 8 bytes"))?;
            lines.go_on(rank, partition, i64::from_le_bytes(bytes));
        }
        Ok(())
    }

    pub(super) fn drain(&mut self, edge: Edge, send: &mut dyn FnMut(TopicBlock)) {
        self.late.drain(edge, send);
        self.dead.drain(edge, send);
    }
}

//! Lines of embedded topics, rendered where the records are and sent on in blocks.
//!
//! A line made from one input record keeps that record's partition, key and Kafka timestamp and stands in
//! its offset order. As a partition is read by one worker, in order, that worker can number the lines.

use std::sync::Arc;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::ingest::Edge;
use crate::record::{Partition, Record};
use crate::sink::kcat::{Line, kcat_line};

/// A block is sent on when it has reached this size.
const BLOCK_BYTES: usize = 256 << 10;

/// Consecutive lines of one partition of an embedded topic.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TopicBlock {
    /// Index of the topic among the run's embedded topics.
    pub topic: u32,
    /// The partition.
    pub partition: i32,
    /// Whole lines, in offset order.
    pub lines: Vec<u8>,
    /// How many lines.
    pub count: u64,
    /// Their digest.
    pub digest: Digest,
}

struct Open {
    partition: i32,
    topic: u32,
    name: Arc<str>,
    next_offset: i64,
    lines: Vec<u8>,
    count: u64,
    digest: Digest,
}

impl Open {
    fn of(topics: &HashMap<Arc<str>, (u32, Arc<str>)>, partition: &Partition) -> Self {
        let (topic, name) = topics.get(&partition.topic).expect("the pipeline reads this topic");
        Open {
            partition: partition.number,
            topic: *topic,
            name: Arc::clone(name),
            next_offset: 0,
            lines: Vec::new(),
            count: 0,
            digest: Digest::default(),
        }
    }
}

/// The lines that a worker adds to embedded topics, one output topic for each input topic.
pub struct TopicLines {
    /// From input topic to (index, name) of the topic that takes its lines.
    topics: HashMap<Arc<str>, (u32, Arc<str>)>,
    open: Vec<Option<Open>>,
    encoded: Vec<u8>,
}

impl TopicLines {
    /// Lines made from records of the input topics `topics` go to the topics with the given index and name.
    pub fn new(topics: impl IntoIterator<Item = (Arc<str>, (u32, Arc<str>))>) -> Self {
        TopicLines { topics: topics.into_iter().collect(), open: Vec::new(), encoded: Vec::new() }
    }

    /// Adds the line made from `record`.
    ///
    /// # Panics
    /// When the record's topic is none of the input topics.
    pub fn push(
        &mut self,
        rank: u32,
        partition: &Partition,
        record: &Record<'_>,
        headers: &[(&str, &[u8])],
        payload: Option<&[u8]>,
    ) {
        let rank = rank as usize;
        if rank >= self.open.len() {
            self.open.resize_with(rank + 1, || None);
        }
        let open = self.open[rank].get_or_insert_with(|| Open::of(&self.topics, partition));
        let line = Line {
            topic: &open.name,
            partition: open.partition,
            offset: open.next_offset,
            kafka_time: record.kafka_time,
            headers,
            key: record.key,
            payload,
        };
        kcat_line(&mut open.lines, &line);
        self.encoded.clear();
        line.encode(&mut self.encoded);
        open.digest.add_encoded(&self.encoded);
        open.next_offset += 1;
        open.count += 1;
    }

    /// The offset of the next line made from the partition with this rank.
    pub fn next_offset(&self, rank: u32) -> i64 {
        self.open.get(rank as usize).and_then(Option::as_ref).map_or(0, |open| open.next_offset)
    }

    /// Goes on with `next_offset` in the partition that now has this rank.
    pub fn go_on(&mut self, rank: u32, partition: &Partition, next_offset: i64) {
        let rank = rank as usize;
        if next_offset == 0 || !self.topics.contains_key(&partition.topic) {
            return;
        }
        if rank >= self.open.len() {
            self.open.resize_with(rank + 1, || None);
        }
        self.open[rank].get_or_insert_with(|| Open::of(&self.topics, partition)).next_offset = next_offset;
    }

    /// Sends what has grown to a block, or everything where the edge asks for it.
    pub fn drain(&mut self, edge: Edge, send: &mut dyn FnMut(TopicBlock)) {
        for open in self.open.iter_mut().flatten() {
            let due = edge.is_end() || open.lines.len() >= BLOCK_BYTES;
            if due && open.count > 0 {
                send(TopicBlock {
                    topic: open.topic,
                    partition: open.partition,
                    lines: std::mem::take(&mut open.lines),
                    count: std::mem::take(&mut open.count),
                    digest: std::mem::take(&mut open.digest),
                });
            }
        }
    }
}

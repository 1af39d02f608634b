//! What is known of a partition that is being read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::decode::Reason;
use crate::record::Partition;

/// No value yet.
const UNKNOWN: i64 = i64::MIN;

/// Whether a partition takes part in event time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartitionStanding {
    /// It holds the frontier at its watermark, or would.
    #[default]
    Open,
    /// It is silent, and the frontier does not wait for it.
    Released,
    /// It has been read to its end, and nothing will come.
    Ended,
}

/// The facts of a partition, stated by the worker that reads it and read by anybody.
#[derive(Debug)]
pub struct PartitionBoard {
    id: Partition,
    read: AtomicU64,
    accepted: AtomicU64,
    late: AtomicU64,
    idle: AtomicU64,
    duplicate_offsets: AtomicU64,
    lost: AtomicU64,
    rejected: [AtomicU64; Reason::ALL.len()],
    watermark_us: AtomicI64,
    position: AtomicI64,
    end: AtomicI64,
    standing: AtomicU8,
    /// Whether a late and a refused record were kept as samples since the last batch.
    sampled: [AtomicBool; 2],
}

impl PartitionBoard {
    pub(super) fn new(id: Partition) -> Self {
        PartitionBoard {
            id,
            read: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            late: AtomicU64::new(0),
            idle: AtomicU64::new(0),
            duplicate_offsets: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            rejected: Default::default(),
            watermark_us: AtomicI64::new(UNKNOWN),
            position: AtomicI64::new(UNKNOWN),
            end: AtomicI64::new(UNKNOWN),
            standing: AtomicU8::new(0),
            sampled: Default::default(),
        }
    }

    /// Which partition it is.
    pub fn id(&self) -> &Partition {
        &self.id
    }

    /// States how many records were read since the last statement (watermark records aside), how many of them were
    /// accepted, and the watermark now. Once a batch.
    pub fn batch(&self, read: u64, accepted: u64, watermark_us: i64) {
        self.read.fetch_add(read, Ordering::Relaxed);
        self.accepted.fetch_add(accepted, Ordering::Relaxed);
        self.watermark_us.store(watermark_us, Ordering::Relaxed);
        for sampled in &self.sampled {
            sampled.store(false, Ordering::Relaxed);
        }
    }

    /// States the next offset to be read, and the offset behind the partition's last record where it is known.
    pub fn position(&self, position: i64, end: Option<i64>) {
        self.position.store(position, Ordering::Relaxed);
        if let Some(end) = end {
            self.end.store(end, Ordering::Relaxed);
        }
    }

    /// States that everything has been read.
    pub fn nothing_left(&self) {
        self.end.store(self.position.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// States whether the partition takes part in event time.
    pub fn stands(&self, standing: PartitionStanding) {
        self.standing.store(standing as u8, Ordering::Relaxed);
    }

    /// Counts a record that is late for at least one output.
    pub fn late(&self) {
        self.late.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a record that is too late for at least one output by an idle floor only.
    pub fn idle(&self) {
        self.idle.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a repeated offset.
    pub fn duplicate_offset(&self) {
        self.duplicate_offsets.fetch_add(1, Ordering::Relaxed);
    }

    /// States how many offsets a reader has passed over because their records were gone. Another reader of the partition begins anew.
    pub fn lost(&self, lost: u64) {
        self.lost.fetch_max(lost, Ordering::Relaxed);
    }

    /// Counts a record that was set aside.
    pub fn rejected(&self, reason: Reason) {
        self.rejected[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Whether a late (or a refused) record is to be kept as a sample: the first of each batch is.
    pub(crate) fn wants_sample(&self, refused: bool) -> bool {
        !self.sampled[usize::from(refused)].swap(true, Ordering::Relaxed)
    }

    /// What is known now. The frontier's holder is not: it takes all partitions to tell.
    pub fn view(&self) -> PartitionView {
        let known = |value: &AtomicI64| Some(value.load(Ordering::Relaxed)).filter(|value| *value != UNKNOWN);
        let count = |value: &AtomicU64| value.load(Ordering::Relaxed);
        let (position, end) = (known(&self.position), known(&self.end));
        let rejected = Reason::ALL.iter().zip(&self.rejected);
        PartitionView {
            topic: self.id.topic.to_string(),
            partition: self.id.number,
            read: count(&self.read),
            accepted: count(&self.accepted),
            late: count(&self.late),
            idle: count(&self.idle),
            duplicate_offsets: count(&self.duplicate_offsets),
            lost: count(&self.lost),
            rejected: rejected
                .map(|(reason, n)| (reason.as_str().to_owned(), count(n)))
                .filter(|(_, n)| *n > 0)
                .collect(),
            watermark_us: known(&self.watermark_us),
            position,
            end,
            lag: end.map(|end| end.saturating_sub(position.unwrap_or(0)).max(0).unsigned_abs()),
            standing: match self.standing.load(Ordering::Relaxed) {
                1 => PartitionStanding::Released,
                2 => PartitionStanding::Ended,
                _ => PartitionStanding::Open,
            },
            holds_frontier: false,
        }
    }
}

/// A partition as it stands. Counts are of this process since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionView {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub partition: i32,
    /// Records read, watermark records aside.
    pub read: u64,
    /// Records accepted.
    pub accepted: u64,
    /// Records late for at least one output.
    pub late: u64,
    /// Records too late by an idle floor only.
    pub idle: u64,
    /// Repeated offsets.
    pub duplicate_offsets: u64,
    /// Offsets passed over because their records were gone.
    pub lost: u64,
    /// Records set aside, by reason; only reasons that occurred.
    pub rejected: BTreeMap<String, u64>,
    /// The watermark, in microseconds since the epoch; `None` before the first record.
    pub watermark_us: Option<i64>,
    /// The next offset to be read.
    pub position: Option<i64>,
    /// The offset behind the last record; `None` where the log ends by itself.
    pub end: Option<i64>,
    /// Offsets still to be read.
    pub lag: Option<u64>,
    /// Whether it takes part in event time.
    pub standing: PartitionStanding,
    /// Whether event time waits for this partition.
    pub holds_frontier: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sample_of_each_kind_is_wanted_a_batch() {
        let board = PartitionBoard::new(Partition::new("t", 0));
        assert!(board.wants_sample(true) && board.wants_sample(false));
        assert!(!board.wants_sample(true) && !board.wants_sample(false));
        board.batch(1, 1, 0);
        assert!(board.wants_sample(true));
    }

    #[test]
    fn lag_is_known_where_the_end_is() {
        let board = PartitionBoard::new(Partition::new("t", 0));
        assert_eq!(board.view().lag, None);
        board.position(7, Some(10));
        assert_eq!(board.view().lag, Some(3));
        board.position(11, None);
        assert_eq!(board.view().lag, Some(0), "an end is never behind what was read");
    }
}

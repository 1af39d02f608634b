//! What the source operator states of a partition for those who watch: once a batch what all records have in common, and at once
//! what few do.

use std::sync::Arc;

use crate::decode::Rejected;
use crate::record::Record;
use crate::source::LaneStatus;
use crate::telemetry::{Board, PartitionBoard, PartitionStanding};

/// Where a partition's facts are stated.
pub(super) struct Shown {
    board: Arc<PartitionBoard>,
    /// Roughly how many records there are, in a log that ends by itself; 0 where it does not.
    records_hint: u64,
}

impl Shown {
    pub(super) fn new(board: Arc<PartitionBoard>, records_hint: u64) -> Self {
        Shown { board, records_hint }
    }

    pub(super) fn duplicate_offset(&self) {
        self.board.duplicate_offset();
    }

    /// Notes a late record.
    #[cold]
    pub(super) fn late(&self, all: &Board, record: &Record<'_>, late_by_us: i64) {
        self.board.late();
        if self.board.wants_sample(false) {
            all.late_sample(self.board.id(), record, late_by_us);
        }
    }

    /// Notes a record that was set aside.
    #[cold]
    pub(super) fn rejected(&self, all: &Board, record: &Record<'_>, why: &Rejected) {
        self.board.rejected(why.reason);
        if self.board.wants_sample(true) {
            all.rejected_sample(self.board.id(), record, why.reason.as_str(), &why.detail);
        }
    }

    /// States where it stands in its log, of which `seen` records were shown.
    pub(super) fn position(&self, last_offset: Option<i64>, seen: u64, lane: Option<LaneStatus>) {
        match (lane, last_offset) {
            (Some(status), _) => {
                self.board.position(status.position, status.end);
                self.board.lost(status.lost);
            }
            (None, Some(last)) => {
                // What a recording holds is known roughly, and what is left of it as well.
                let left = i64::try_from(self.records_hint.saturating_sub(seen)).unwrap_or(0);
                let position = last.saturating_add(1);
                self.board.position(position, Some(position.saturating_add(left)));
            }
            (None, None) => {}
        }
    }

    /// States what was read since the last time.
    pub(super) fn batch(&self, read: u64, accepted: u64, watermark_us: i64) {
        self.board.batch(read, accepted, watermark_us);
    }

    /// States whether it holds windows open.
    pub(super) fn stands(&self, standing: PartitionStanding) {
        self.board.stands(standing);
        if standing == PartitionStanding::Ended {
            self.board.nothing_left();
        }
    }

    /// Notes a record that is too late only by the floor of an idle partition.
    #[cold]
    pub(super) fn idle(&self) {
        self.board.idle();
    }
}

//! What the source operator states of a partition for those who watch: plain numbers a record, one statement a batch.

use std::sync::Arc;

use crate::decode::Rejected;
use crate::record::Record;
use crate::source::LaneStatus;
use crate::telemetry::{Board, PartitionBoard, PartitionStanding};

/// A partition's facts since the last statement.
pub(super) struct Shown {
    board: Arc<PartitionBoard>,
    /// Roughly how many records there are, in a log that ends by itself; 0 where it does not.
    records_hint: u64,
    read: u64,
    accepted: u64,
    /// The event time of the last accepted record.
    time_us: i64,
}

impl Shown {
    pub(super) fn new(board: Arc<PartitionBoard>, records_hint: u64) -> Self {
        Shown { board, records_hint, read: 0, accepted: 0, time_us: 0 }
    }

    /// Notes a record read.
    #[inline(always)]
    pub(super) fn read(&mut self) {
        self.read += 1;
    }

    /// Notes an accepted record.
    #[inline(always)]
    pub(super) fn accepted(&mut self, time_us: i64) {
        self.accepted += 1;
        self.time_us = time_us;
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

    /// States everything since the last statement, with how many records were seen in all; gives the event time of the last accepted record and how many were
    /// accepted, where there are any.
    pub(super) fn state(
        &mut self,
        watermark_us: i64,
        last_offset: Option<i64>,
        seen: u64,
        lane: Option<LaneStatus>,
    ) -> Option<(i64, u64)> {
        match (lane, last_offset) {
            (Some(status), _) => self.board.position(status.position, status.end),
            (None, Some(last)) => {
                // What a recording holds is known roughly, and what is left of it as well.
                let left = i64::try_from(self.records_hint.saturating_sub(seen)).unwrap_or(0);
                let position = last.saturating_add(1);
                self.board.position(position, Some(position.saturating_add(left)));
            }
            (None, None) => {}
        }
        if self.read == 0 {
            return None;
        }
        let accepted = std::mem::take(&mut self.accepted);
        self.board.batch(std::mem::take(&mut self.read), accepted, watermark_us);
        (accepted > 0).then_some((self.time_us, accepted))
    }

    /// States that the partition has been read to its end.
    pub(super) fn ended(&self) {
        self.board.stands(PartitionStanding::Ended);
        self.board.nothing_left();
    }
}

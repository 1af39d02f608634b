//! What a worker knows of a partition that it reads: where it stands in its log and in event time, and what is to be done
//! about its next records besides judging them.

use std::collections::VecDeque;

use super::front::Place;
use super::idle::{Due, IdleDecision};
use super::partition::PartitionWatermark;
use super::shown::Shown;
use crate::checkpoint::PartitionCut;
use crate::record::{Partition, Record};
use crate::source::LaneStatus;

/// Where a partition stood at the end of what is repeated.
pub(super) struct Until {
    /// How many records had been shown.
    seen: u64,
    /// The next offset.
    next: i64,
    floor_us: i64,
    decisions: i64,
    released: bool,
    ended: bool,
}

impl Until {
    pub(super) fn of(cut: Option<PartitionCut>) -> Self {
        match cut {
            // A partition that was not there has nothing to repeat.
            None => {
                Until { seen: 0, next: 0, floor_us: i64::MIN, decisions: 0, released: true, ended: false }
            }
            Some(PartitionCut { seen, last_offset, floor_us, decisions, released, ended, .. }) => {
                let next = last_offset.map_or(0, |last| last + 1);
                Until { seen, next, floor_us, decisions, released, ended }
            }
        }
    }
}

/// What is to be done about a record that is not simply judged.
pub(super) enum Attention {
    /// Nothing is in its way.
    Judge,
    /// It was seen before.
    Skip,
    /// It is behind the end of what is repeated.
    Cut,
    /// It is behind an end that was final.
    Grown,
}

/// Before the first record.
const NO_OFFSET: i64 = i64::MIN;

pub(super) struct PartitionState {
    pub(super) place: Place,
    pub(super) watermark: PartitionWatermark,
    /// See [`last_offset`](Self::last_offset()); [`NO_OFFSET`] where there is none.
    pub(super) last_offset: i64,
    pub(super) accepted: i64,
    /// Records shown and taken or skipped, whatever they were, since reading began.
    pub(super) seen: u64,
    /// Records that were seen before, by an earlier run or by this one, and that the source shows again.
    pub(super) skip: u64,
    /// Where to stop, in an epoch that is only repeated.
    until: Option<Until>,
    /// Whether a checkpoint has seen its end: it holds nothing open, and must not go on.
    pub(super) has_ended: bool,
    /// Whether it is idle: it holds nothing open until its next record.
    pub(super) released: bool,
    /// Since when it is at its end, by the run's monotonic clock.
    pub(super) at_end_us: Option<i64>,
    /// Decisions that are to be repeated.
    pub(super) due: VecDeque<Due>,
    /// From which offset on a record may change the floor.
    floor_from: i64,
    /// From which offset on a record is to be [attended](Self::attend) to: what is looked at for each.
    pub(super) attend_from: i64,
    pub(super) decisions: i64,
    /// Events read since the last statement.
    pub(super) read: u64,
    /// The event time of the last accepted record.
    pub(super) time_us: i64,
    /// How many accepted records have been stated.
    told: i64,
    /// What is stated of it for those who watch.
    pub(super) shown: Shown,
}

impl PartitionState {
    pub(super) fn new(
        partition: Partition,
        rank: u32,
        delay_us: i64,
        due: VecDeque<Due>,
        shown: Shown,
    ) -> Self {
        let mut state = PartitionState {
            place: Place { partition, rank, floor_us: i64::MIN },
            watermark: PartitionWatermark::new(delay_us),
            last_offset: NO_OFFSET,
            accepted: 0,
            seen: 0,
            skip: 0,
            until: None,
            has_ended: false,
            released: false,
            at_end_us: None,
            due,
            floor_from: i64::MAX,
            attend_from: i64::MIN,
            decisions: 0,
            read: 0,
            time_us: 0,
            told: 0,
            shown,
        };
        state.look_out();
        state
    }

    /// Goes on from where it stood at the end of an epoch, in a source that goes on by offset or shows everything again.
    pub(super) fn restore(&mut self, start: &PartitionCut, by_offset: bool) {
        if start.watermark_us > i64::MIN {
            self.watermark.raise(start.watermark_us);
        }
        self.has_ended = start.ended;
        self.released = start.released;
        self.place.floor_us = start.floor_us;
        self.decisions = start.decisions;
        let last = start.last_offset.unwrap_or(-1);
        self.due.retain(|due| due.offset > last);
        self.last_offset = start.last_offset.unwrap_or(NO_OFFSET);
        (self.accepted, self.told) = (start.accepted, start.accepted);
        *(if by_offset { &mut self.seen } else { &mut self.skip }) = start.seen;
        self.look_out();
    }

    /// What was seen is shown again, and skipped; gives how many records that are.
    pub(super) fn see_again(&mut self) -> u64 {
        let seen = std::mem::take(&mut self.seen);
        self.skip += seen;
        self.look_out();
        seen
    }

    pub(super) fn id(&self) -> &Partition {
        &self.place.partition
    }

    /// The largest offset so far.
    pub(super) fn last_offset(&self) -> Option<i64> {
        (self.last_offset > NO_OFFSET).then_some(self.last_offset)
    }

    /// What the partition's records are judged by, and where it holds the frontier.
    pub(super) fn bound_us(&self) -> i64 {
        self.watermark.us().max(self.place.floor_us)
    }

    pub(super) fn holds(&self) -> bool {
        !self.released && !self.has_ended
    }

    pub(super) fn release(&mut self) {
        self.released = true;
        self.look_out();
    }

    /// In an epoch that is only repeated, where to stop.
    pub(super) fn stop_at(&mut self, until: Option<Until>) {
        self.until = until;
        self.look_out();
    }

    pub(super) fn is_at_cut(&self, by_offset: bool) -> bool {
        self.until.as_ref().is_some_and(|until| match by_offset {
            true => self.last_offset().map_or(0, |last| last + 1) >= until.next,
            false => self.skip == 0 && self.seen >= until.seen,
        })
    }

    /// Whether it had ended at the end of what is repeated.
    pub(super) fn ended_there(&self) -> bool {
        self.until.as_ref().is_some_and(|until| until.ended)
    }

    /// What is repeated ends as it ended the first time.
    pub(super) fn end_of_repeated(&mut self) {
        let Some(until) = self.until.take() else { return };
        let Until { floor_us, decisions, released, ended, .. } = until;
        self.has_ended |= ended;
        self.place.floor_us = self.place.floor_us.max(floor_us);
        self.decisions = decisions;
        self.due.retain(|due| !due.decided);
        self.released |= released && !self.has_ended;
        self.look_out();
    }

    fn look_out(&mut self) {
        let due = self.due.front().map_or(i64::MAX, |due| due.offset);
        self.floor_from = if self.released { i64::MIN } else { due };
        let all = self.skip > 0 || self.until.is_some() || self.has_ended;
        self.attend_from = if all { i64::MIN } else { self.floor_from };
    }

    /// What is to be done about a record: to be asked for those from `attend_from` on, and no harm for others. `repeats` says
    /// whether the epoch is only repeated.
    #[cold]
    #[inline(never)]
    pub(super) fn attend(&mut self, repeats: bool, by_offset: bool) -> Attention {
        if self.skip > 0 {
            self.skip -= 1;
            self.seen += 1;
            if self.skip == 0 {
                self.look_out();
            }
            return Attention::Skip;
        }
        if repeats && self.is_at_cut(by_offset) {
            return if self.ended_there() { Attention::Grown } else { Attention::Cut };
        }
        if self.has_ended { Attention::Grown } else { Attention::Judge }
    }

    /// A record is about to be judged. Beyond `floor_from` recorded decisions take effect, and a partition that was released is
    /// so no longer. Where nothing is repeated (`standing_us` is given), its floor is where its worker's capability stands.
    /// What is new of it goes to `decided`.
    #[cold]
    #[inline(never)]
    pub(super) fn wake(
        &mut self,
        record: &Record<'_>,
        standing_us: Option<i64>,
        decided: &mut Vec<IdleDecision>,
    ) {
        if record.offset <= self.last_offset || record.offset < self.floor_from {
            return;
        }
        let was_released = std::mem::take(&mut self.released);
        self.take_due(record.offset, record.kafka_time.ms().unwrap_or(-1), decided);
        if let Some(floor_us) = standing_us.filter(|us| was_released && *us > self.bound_us()) {
            self.decide(record.offset, floor_us, record.kafka_time.ms().unwrap_or(-1), decided);
        }
        self.look_out();
    }

    /// Recorded decisions up to `offset` take effect.
    pub(super) fn take_due(&mut self, offset: i64, kafka_ms: i64, decided: &mut Vec<IdleDecision>) {
        while let Some(&due) = self.due.front().filter(|due| due.offset <= offset) {
            self.due.pop_front();
            match due.decided {
                false => self.decide(due.offset, due.floor_us, kafka_ms, decided),
                true => {
                    self.place.floor_us = self.place.floor_us.max(due.floor_us);
                    self.decisions += 1;
                }
            }
        }
    }

    pub(super) fn decide(
        &mut self,
        offset: i64,
        floor_us: i64,
        kafka_ms: i64,
        decided: &mut Vec<IdleDecision>,
    ) {
        self.place.floor_us = self.place.floor_us.max(floor_us);
        let (partition, number) = (self.id().clone(), self.decisions);
        self.decisions += 1;
        decided.push(IdleDecision { partition, offset, floor_us, kafka_ms, number });
    }

    /// States everything since the last statement for those who watch; gives how many events were read and accepted.
    pub(super) fn tell(&mut self, lane: Option<LaneStatus>) -> (u64, u64) {
        let read = std::mem::take(&mut self.read);
        let accepted = (self.accepted - std::mem::replace(&mut self.told, self.accepted)).unsigned_abs();
        self.shown.position(self.last_offset(), self.seen + self.skip, lane);
        if read > 0 {
            self.shown.batch(read, accepted, self.watermark.us());
        }
        (read, accepted)
    }
}

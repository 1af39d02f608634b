//! A live source as a bounded one: its end as it stood when the run began is the end of the input.
//!
//! For back-fills, and for tests that compare a run from Kafka with a replay. The ends are part of the checkpoint: a run that goes
//! on ends where it would have ended, however much has come meanwhile.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::{Assignment, InputMark, LaneStatus, PartitionInfo, Poll, Reader, Source, SourceError, Visit};
use crate::record::{Partition, Record};

/// A source whose partitions end at given offsets.
pub struct Bounded {
    inner: Arc<dyn Source>,
    ends: Mutex<Vec<i64>>,
}

impl Bounded {
    /// `ends` gives, by index among `inner`'s partitions, the first offset that is not read any more.
    pub fn new(inner: Arc<dyn Source>, ends: Vec<i64>) -> Self {
        Bounded { inner, ends: Mutex::new(ends) }
    }

    fn ends(&self) -> Vec<i64> {
        self.ends.lock().map(|ends| ends.clone()).unwrap_or_default()
    }
}

impl Source for Bounded {
    fn partitions(&self) -> &[PartitionInfo] {
        self.inner.partitions()
    }

    fn resumes_by_offset(&self) -> bool {
        self.inner.resumes_by_offset()
    }

    fn is_live(&self) -> bool {
        self.inner.is_live()
    }

    fn mark(&self) -> InputMark {
        let ids = self.partitions().iter().map(|info| info.id.clone());
        InputMark { ends: ids.zip(self.ends()).collect(), ..self.inner.mark() }
    }

    fn begin(&self) -> Result<(), SourceError> {
        self.inner.begin()
    }

    /// Takes over the former ends. What has come behind them is not part of this input.
    fn resume(&self, former: &InputMark) -> Result<(), SourceError> {
        self.inner.resume(former)?;
        if !former.ends.is_empty()
            && let Ok(mut ends) = self.ends.lock()
        {
            for (end, info) in ends.iter_mut().zip(self.partitions()) {
                *end = former.ends.get(&info.id).copied().unwrap_or(0);
            }
        }
        Ok(())
    }

    /// Partitions that come later are no part of it.
    fn grown(&self) -> Result<Option<Arc<dyn Source>>, SourceError> {
        self.inner.grown().map(|_| None)
    }

    fn check_ended(&self, former: &InputMark, seen: &BTreeMap<Partition, u64>) -> Result<(), SourceError> {
        self.inner.check_ended(former, seen)
    }

    fn reader(&self, assigned: &[Assignment]) -> Result<Box<dyn Reader>, SourceError> {
        let inner = self.inner.reader(assigned)?;
        let ends = self.ends();
        let from: Vec<i64> = (0..ends.len())
            .map(|index| assigned.iter().find(|a| a.partition == index).map_or(0, |a| a.from_offset))
            .collect();
        Ok(Box::new(BoundedReader { inner, ends, from }))
    }
}

struct BoundedReader {
    inner: Box<dyn Reader>,
    ends: Vec<i64>,
    from: Vec<i64>,
}

impl BoundedReader {
    fn is_over(&self, lane: usize) -> bool {
        // Behind the last record a transaction's marker may stand, which is never shown but passed over.
        let position = self.inner.status(lane).map(|status| status.position);
        self.inner.lane_partitions(lane).iter().all(|partition| {
            let at = position.unwrap_or(0).max(self.from[*partition]);
            at >= self.ends[*partition]
        })
    }
}

impl Reader for BoundedReader {
    fn lanes(&self) -> usize {
        self.inner.lanes()
    }

    fn lane_partitions(&self, lane: usize) -> &[usize] {
        self.inner.lane_partitions(lane)
    }

    fn poll(
        &mut self,
        lane: usize,
        budget: usize,
        visit: &mut dyn FnMut(usize, &Record<'_>) -> Visit,
    ) -> Result<Poll, SourceError> {
        if self.is_over(lane) {
            return Ok(Poll::End);
        }
        let mut passed = false;
        let ends = &self.ends;
        let poll = self.inner.poll(lane, budget, &mut |partition, record| {
            if record.offset >= ends[partition] {
                passed = true;
                return Visit::Stop;
            }
            visit(partition, record)
        })?;
        Ok(if passed || self.is_over(lane) { Poll::End } else { poll })
    }

    fn status(&self, lane: usize) -> Option<LaneStatus> {
        self.inner.status(lane)
    }

    fn confirm_end(&mut self, lane: usize) -> bool {
        self.inner.confirm_end(lane)
    }
}

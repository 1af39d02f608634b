//! The conservation ledger: where every record that was read went to.
//!
//! `read = duplicate_offsets + Σ rejected + accepted`, and for each output that records meet
//! `accepted = counted + filtered + late + idle`. Each worker keeps its own; they are added at the end.
//!
//! A record is counted when it is judged, while the result that it is in may be open for long. Where that is watched, the ledger also
//! knows until when: [`OpenRecords`].

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use crate::decode::Reason;

/// What became of an accepted record at one output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is in a result.
    Counted,
    /// It is not of the output's kind.
    Filtered,
    /// It came too late by its partition's watermark.
    Late,
    /// It is too late only by the floor that an idle partition was given.
    Idle,
}

/// The counts of one output that records meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputCounts {
    /// Records in results.
    pub counted: u64,
    /// Records of another kind.
    pub filtered: u64,
    /// Records too late.
    pub late: u64,
    /// Records too late by an idle floor only.
    pub idle: u64,
}

/// Counted records of an output that are in no final result before event time reaches `until_us`; or for ever, until they are
/// settled: `i64::MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRecords {
    /// The output's index.
    pub output: u32,
    /// Until when.
    pub until_us: i64,
    /// How many more of them there are; fewer, where those are settled that another worker counted.
    pub records: i64,
}

/// What is open at the end of an epoch: of several workers, and of the epochs before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenCounts(BTreeMap<(u32, i64), i64>);

impl OpenCounts {
    /// Adds what has changed.
    pub fn add(&mut self, changed: impl IntoIterator<Item = OpenRecords>) {
        for OpenRecords { output, until_us, records } in changed {
            *self.0.entry((output, until_us)).or_default() += records;
        }
    }

    /// Lets go of what is final once event time has reached `watermark_us`.
    pub fn pass(&mut self, watermark_us: i64) {
        self.0.retain(|(_, until_us), records| *until_us > watermark_us && *records != 0);
    }

    /// All that is open.
    pub fn list(&self) -> Vec<OpenRecords> {
        let all = self.0.iter();
        all.map(|(&(output, until_us), &records)| OpenRecords { output, until_us, records }).collect()
    }
}

/// All counts of a pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Records read, watermark records aside.
    pub read: u64,
    /// Records whose offset was not above an earlier one of their partition.
    pub duplicate_offsets: u64,
    /// Records set aside, by [`Reason`].
    pub rejected: [u64; Reason::ALL.len()],
    /// Records accepted.
    pub accepted: u64,
    /// By output, in the pipeline's order.
    pub outputs: Vec<OutputCounts>,
}

impl Counts {
    /// Adds another worker's counts of the same pipeline.
    pub fn merge(&mut self, other: &Counts) {
        self.read = self.read.wrapping_add(other.read);
        self.duplicate_offsets += other.duplicate_offsets;
        self.accepted += other.accepted;
        for (mine, theirs) in self.rejected.iter_mut().zip(other.rejected) {
            *mine += theirs;
        }
        self.outputs.resize(self.outputs.len().max(other.outputs.len()), OutputCounts::default());
        for (mine, theirs) in self.outputs.iter_mut().zip(&other.outputs) {
            mine.counted = mine.counted.wrapping_add(theirs.counted);
            mine.filtered += theirs.filtered;
            mine.late += theirs.late;
            mine.idle += theirs.idle;
        }
    }
}

#[derive(Default)]
struct Cells {
    read: Cell<u64>,
    duplicate_offsets: Cell<u64>,
    rejected: [Cell<u64>; Reason::ALL.len()],
    accepted: Cell<u64>,
    /// In place, so that a record finds them without a further look.
    outputs: [[Cell<u64>; 4]; MOST_OUTPUTS],
    /// Counted records by output that are to be settled, without those that were.
    unsettled: [Cell<i64>; MOST_OUTPUTS],
    /// What else is open since it was taken, by output and until when; `None` where nobody asks.
    open: Option<RefCell<BTreeMap<(u32, i64), i64>>>,
    len: usize,
}

/// How many outputs of a pipeline records can meet: they are told apart by the bits of a number.
const MOST_OUTPUTS: usize = u32::BITS as usize;

/// A worker's ledger of one pipeline, shared by its operators.
#[derive(Clone)]
pub struct Ledger(Rc<Cells>);

#[inline(always)]
fn add(cell: &Cell<u64>, n: u64) {
    cell.set(cell.get().wrapping_add(n));
}

impl Ledger {
    /// An empty ledger for a pipeline with `outputs` outputs that records meet.
    ///
    /// # Panics
    /// When there are more than 32.
    pub fn new(outputs: usize) -> Self {
        Self::of(outputs, None)
    }

    /// The same, where somebody asks for what is open ([`Ledger::take_open`]) at the end of every epoch.
    ///
    /// # Panics
    /// Likewise.
    pub fn with_open(outputs: usize) -> Self {
        Self::of(outputs, Some(RefCell::default()))
    }

    fn of(outputs: usize, open: Option<RefCell<BTreeMap<(u32, i64), i64>>>) -> Self {
        assert!(outputs <= MOST_OUTPUTS, "records meet at most {MOST_OUTPUTS} outputs");
        Ledger(Rc::new(Cells { len: outputs, open, ..Cells::default() }))
    }

    /// Notes records read, and how many of them were accepted.
    pub fn note(&self, read: u64, accepted: u64) {
        add(&self.0.read, read);
        add(&self.0.accepted, accepted);
    }

    /// Notes a repeated offset.
    pub fn duplicate_offset(&self) {
        add(&self.0.duplicate_offsets, 1);
    }

    /// Notes a record set aside.
    pub fn rejected(&self, reason: Reason) {
        add(&self.0.rejected[reason as usize], 1);
    }

    /// Files an accepted record under `verdict` for `output`.
    #[inline(always)]
    pub fn file(&self, output: usize, verdict: Verdict) {
        debug_assert!(output < self.0.len, "there are {} outputs", self.0.len);
        add(&self.0.outputs[output % MOST_OUTPUTS][verdict as usize], 1);
    }

    /// Notes that `n` counted records of `output` are in no final result before event time reaches `until_us`.
    pub fn open_until(&self, output: usize, until_us: i64, n: u64) {
        if let Some(open) = &self.0.open {
            *open.borrow_mut().entry((output as u32, until_us)).or_default() += n as i64;
        }
    }

    /// Notes that `n` counted records of `output` are in no final result until they are [settled](Ledger::settle): those that were just
    /// judged, or what an earlier run has left.
    #[inline(always)]
    pub fn open(&self, output: usize, n: u64) {
        let cell = &self.0.unsettled[output % MOST_OUTPUTS];
        cell.set(cell.get() + n as i64);
    }

    /// Notes that `n` [open](Ledger::open) records of `output` are in a final result now, or in none; it need not be the worker that
    /// counted them.
    pub fn settle(&self, output: usize, n: u64) {
        let cell = &self.0.unsettled[output % MOST_OUTPUTS];
        cell.set(cell.get() - n as i64);
    }

    /// What has been opened and settled since this was called last. With several workers only the sum means something.
    pub fn take_open(&self) -> Vec<OpenRecords> {
        let Some(open) = &self.0.open else { return Vec::new() };
        let until = std::mem::take(&mut *open.borrow_mut());
        let until =
            until.into_iter().map(|((output, until_us), records)| OpenRecords { output, until_us, records });
        let unsettled = (0..).zip(&self.0.unsettled[..self.0.len]);
        let unsettled =
            unsettled.map(|(output, cell)| OpenRecords { output, until_us: i64::MAX, records: cell.take() });
        until.chain(unsettled).filter(|open| open.records != 0).collect()
    }

    /// Moves `n` records of `output` from counted to filtered: an operator behind the exchange found that
    /// they mean nothing there. Counts are added over workers modulo 2^64, so it need not be the worker
    /// that counted them.
    pub fn refile_as_filtered(&self, output: usize, n: u64) {
        debug_assert!(output < self.0.len, "there are {} outputs", self.0.len);
        let [counted, filtered, ..] = &self.0.outputs[output % MOST_OUTPUTS];
        add(counted, n.wrapping_neg());
        add(filtered, n);
    }

    /// The counts so far. With several workers only their sum means something, see [`Counts::merge`].
    pub fn counts(&self) -> Counts {
        let cells = &*self.0;
        Counts {
            read: cells.read.get(),
            duplicate_offsets: cells.duplicate_offsets.get(),
            rejected: std::array::from_fn(|i| cells.rejected[i].get()),
            accepted: cells.accepted.get(),
            outputs: cells.outputs[..cells.len]
                .iter()
                .map(|[counted, filtered, late, idle]| OutputCounts {
                    counted: counted.get(),
                    filtered: filtered.get(),
                    late: late.get(),
                    idle: idle.get(),
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_is_added_over_workers_and_passes_with_event_time() {
        let (one, other) = (Ledger::with_open(2), Ledger::with_open(2));
        one.open_until(0, 60, 3);
        one.open_until(0, 60, 1);
        one.open_until(0, 120, 2);
        other.open_until(0, 120, 5);
        // The first counts two records of a session; the second, which owns its key, settles one of them.
        one.open(1, 1);
        one.open(1, 1);
        other.settle(1, 1);
        let mut open = OpenCounts::default();
        open.add(one.take_open());
        open.add(other.take_open());
        let at = |output, until_us, records| OpenRecords { output, until_us, records };
        assert_eq!(open.list(), [at(0, 60, 4), at(0, 120, 7), at(1, i64::MAX, 1)]);
        open.pass(60);
        assert_eq!(open.list(), [at(0, 120, 7), at(1, i64::MAX, 1)]);
        assert_eq!((one.take_open(), other.take_open()), (vec![], vec![]), "it is told once");
        other.settle(1, 1);
        open.add(other.take_open());
        open.pass(i64::MAX - 1);
        assert_eq!(open.list(), []);
    }

    #[test]
    fn where_nobody_asks_nothing_is_kept() {
        let ledger = Ledger::new(1);
        ledger.open_until(0, 60, 3);
        ledger.open(0, 1);
        assert_eq!(ledger.take_open(), []);
    }
}

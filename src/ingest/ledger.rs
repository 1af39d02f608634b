//! The conservation ledger: where every record that was read went to.
//!
//! `read = duplicate_offsets + Σ rejected + accepted`, and for each output that records meet
//! `accepted = counted + filtered + late + idle`. Each worker keeps its own; they are added at the end.

use std::cell::Cell;
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
        assert!(outputs <= MOST_OUTPUTS, "records meet at most {MOST_OUTPUTS} outputs");
        Ledger(Rc::new(Cells { len: outputs, ..Cells::default() }))
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

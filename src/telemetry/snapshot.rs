//! All facts of a run in one process at one instant, as plain data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::conservation::Conservation;
use super::epochs::EpochView;
use super::partition::{PartitionStanding, PartitionView};
use super::sample::Sample;
use super::sinks::SinkView;

/// A pipeline's run in one process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The pipeline.
    pub pipeline: String,
    /// The process, from 0; process 0 decides epochs and writes.
    pub process: usize,
    /// How many workers this process has.
    pub workers: usize,
    /// `running`, `finished`, `stopped` or `failed`.
    pub phase: String,
    /// When the snapshot was taken, in microseconds since the epoch.
    pub taken_us: i64,
    /// Records read since the start of this process, watermark records aside.
    pub records: u64,
    /// The dataflow's event time, in microseconds since the epoch.
    pub frontier_us: Option<i64>,
    /// The partitions that this process reads, in their order.
    pub partitions: Vec<PartitionView>,
    /// Epochs and checkpoints; on process 0.
    pub epochs: EpochView,
    /// The sinks; on process 0.
    pub sinks: Vec<SinkView>,
    /// The outputs and their rows; on process 0.
    pub outputs: Vec<OutputView>,
    /// The state of operators in the newest checkpoint; on process 0.
    pub operators: Vec<OperatorView>,
    /// The ledger of the newest decided epoch; on process 0.
    pub ledger: Option<Conservation>,
    /// The pipeline's own figures.
    pub values: Vec<ValueView>,
    /// Late records, the newest first.
    pub late_samples: Vec<Sample>,
    /// Refused records, the newest first.
    pub rejected_samples: Vec<Sample>,
}

impl Snapshot {
    /// Takes in what another process of the same run shows, and marks anew which partition event time waits for.
    ///
    /// Epochs, sinks, outputs and the ledger stay: process 0 alone knows them.
    pub fn absorb(&mut self, other: &Snapshot) {
        self.records += other.records;
        self.workers += other.workers;
        self.partitions.extend(other.partitions.iter().cloned());
        self.partitions.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        self.partitions.iter_mut().for_each(|partition| partition.holds_frontier = false);
        mark_holder(&mut self.partitions);
        self.values.extend(other.values.iter().cloned());
        self.late_samples.extend(other.late_samples.iter().cloned());
        self.rejected_samples.extend(other.rejected_samples.iter().cloned());
    }
}

/// An output as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputView {
    /// Its name.
    pub output: String,
    /// Its rows, from the first start of the run on; not yet visible ones of the open epoch included.
    pub rows: u64,
}

/// The state of an operator as it was saved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorView {
    /// Its name.
    pub operator: String,
    /// Entries, in most operators one a key and window. One that has changed again counts again until changes are folded.
    pub keys: u64,
    /// Their size in serialised form.
    pub bytes: u64,
    /// Windows that are open; `None` where the operator has none.
    pub open_windows: Option<u64>,
}

impl OperatorView {
    /// What was saved is no more; the windows stay.
    pub(super) fn forget(&mut self) {
        (self.keys, self.bytes) = (0, 0);
    }
}

/// A figure of a pipeline's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ValueView {
    /// The metric's name.
    pub name: String,
    /// Values of its labels beside the pipeline's.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

/// Marks the partition that event time waits for: of those that take part, the first with the smallest watermark.
pub(super) fn mark_holder(partitions: &mut [PartitionView]) {
    let open = partitions.iter_mut().filter(|partition| partition.standing == PartitionStanding::Open);
    if let Some(holder) = open.min_by_key(|partition| partition.watermark_us.unwrap_or(i64::MIN)) {
        holder.holds_frontier = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_open_partition_that_is_furthest_behind_holds_the_frontier() {
        let partition =
            |standing, watermark_us| PartitionView { standing, watermark_us, ..Default::default() };
        use PartitionStanding::{Ended, Open, Released};
        let mut all = [
            partition(Ended, Some(1)),
            partition(Released, None),
            partition(Open, Some(9)),
            partition(Open, Some(7)),
            partition(Open, Some(7)),
        ];
        mark_holder(&mut all);
        let holders: Vec<usize> = (0..all.len()).filter(|at| all[*at].holds_frontier).collect();
        assert_eq!(holders, [3]);
        let mut ended = [partition(Ended, Some(1))];
        mark_holder(&mut ended);
        assert!(!ended[0].holds_frontier);
    }
}

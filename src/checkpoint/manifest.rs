//! The manifest: the one write that decides an epoch.

use serde::{Deserialize, Serialize};

use crate::delivery::OutputTally;
use crate::ingest::Counts;
use crate::record::Partition;
use crate::sink::Staged;

/// Where a partition stands at the end of an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionCut {
    /// Which partition.
    pub id: Partition,
    /// How many records of it were shown, duplicates and watermark records included: where a fixture goes on.
    pub seen: u64,
    /// The offset of the last new record, if there was one: Kafka goes on behind it.
    pub last_offset: Option<i64>,
    /// The partition's watermark, `i64::MIN` before the first record.
    pub watermark_us: i64,
    /// How many records were accepted.
    pub accepted: i64,
    /// Whether it had ended by then, and held nothing back any more: an epoch that is repeated must close the same windows.
    pub ended: bool,
    /// What the near ends of outputs remember of the partition.
    pub fronts: Vec<u8>,
    /// What the late and dead-letter topics remember of it.
    pub side: Vec<u8>,
}

/// A file of operators' state that a manifest needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateFile {
    /// Its name in the store.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

impl StateFile {
    /// Whether it holds what changed, and not all there is.
    pub fn is_delta(&self) -> bool {
        self.name.starts_with("delta-")
    }
}

/// Everything that an epoch decides.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// The pipeline's name.
    pub pipeline: String,
    /// What its state depends on: windows, gap, delay, topics. Another text is another pipeline.
    pub schema: String,
    /// The epoch, from 1.
    pub epoch: u64,
    /// The generation of the run that decided it.
    pub generation: u64,
    /// When it was decided, by the clock, in microseconds.
    pub decided_us: i64,
    /// The dataflow's event-time watermark at the end of the epoch.
    pub watermark_us: i64,
    /// Every partition, in the order of [`Partition`]: a partition's index is its rank.
    pub partitions: Vec<PartitionCut>,
    /// The ledger from the beginning of the first run on.
    pub counts: Counts,
    /// Rows and digests of the outputs, likewise.
    pub tallies: Vec<OutputTally>,
    /// Each sink's name and staged content.
    pub staged: Vec<(String, Staged)>,
    /// Operators' state: files of whole state, then what changed since, in order.
    pub state: Vec<StateFile>,
    /// Whether the input has ended, and with it the run.
    pub finished: bool,
}

impl Manifest {
    /// The names of an epoch's manifest and of its copy.
    pub fn names(epoch: u64) -> [String; 2] {
        [format!("manifest-{epoch:010}.tg"), format!("manifest-{epoch:010}.copy")]
    }

    /// The epoch of a manifest by its file's name.
    pub fn epoch_of(name: &str) -> Option<u64> {
        let (number, ending) = name.strip_prefix("manifest-")?.split_once('.')?;
        matches!(ending, "tg" | "copy").then(|| number.parse().ok())?
    }
}

//! Where a pipeline's results go: any number of sinks for each kind of output.

use std::sync::Arc;
use std::time::Duration;

use tidegate::delivery::{EarlyRows, SharedSink, Tallies};
use tidegate::ingest::Interleave;
use tidegate::runtime::Cluster;
use tidegate::sink::AnySink;
use tidegate::sink::lake::LakeBatch;
use tidegate::sink::tables::TableBatch;
use tidegate::sink::topic::TopicBatch;

/// Sinks that all take the same output.
pub type Sinks<B> = Vec<SharedSink<AnySink<B>>>;

/// Where the outputs of a pipeline go on this process. An output without a sink is counted and not written.
#[derive(Clone)]
pub struct Outputs {
    /// Take table rows.
    pub tables: Sinks<TableBatch>,
    /// Take lake rows.
    pub lake: Sinks<LakeBatch>,
    /// Take topic lines.
    pub topics: Sinks<TopicBatch>,
    /// Rows and digest of each of the pipeline's outputs.
    pub tallies: Arc<Tallies>,
    /// Where early rows go.
    pub early: EarlyRows,
}

impl Outputs {
    /// `outputs` outputs that are counted and not written.
    pub fn counted(outputs: usize) -> Self {
        let tallies = Arc::new(Tallies::new(outputs));
        let early = EarlyRows::default();
        Outputs { tables: Vec::new(), lake: Vec::new(), topics: Vec::new(), tallies, early }
    }
}

/// How a pipeline is run: what does not change its results.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The workers.
    pub cluster: Cluster,
    /// Records per activation.
    pub batch: usize,
    /// The order of lanes.
    pub interleave: Interleave,
    /// How long epochs last, where results of open windows may be given within them; `None` where epochs end with the input.
    pub interval: Option<Duration>,
    /// Whether results of windows by key are counted as they close and not made into rows, and late and
    /// unusable records are counted and not kept: for benches.
    pub count_only: bool,
}

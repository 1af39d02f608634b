//! What a run shows of itself while it goes on: facts, their snapshot, and the metrics made of it.
//!
//! ```text
//! source operator ─ a batch ─► PartitionBoard ┐
//! worker 0        ─ an epoch ─► EpochBoard    ├─ Board ─ on demand ─► Snapshot ─► metrics, API, page
//! committer       ─ a step ──► SinkBoard      ┘
//! ```
//!
//! Whoever does the work **states facts**, and never renders them: a few relaxed stores a batch or an epoch, and nothing
//! per record except where a record is rare and dear anyway (late, refused). Whoever wants to know takes a [`Snapshot`];
//! it is plain data, so that metrics, API and page show the same numbers, and that one process can send its own to
//! another. Nothing here is read back by the dataflow: what is shown decides nothing.
//!
//! Counts are those of this process since its start, as is usual for metrics. The [`Conservation`] ledger alone is the
//! run's from its first start on, as its newest manifest has it.

mod board;
mod conservation;
mod epochs;
pub mod families;
mod histogram;
mod metrics;
mod partition;
mod process;
mod sample;
mod sinks;
mod snapshot;
mod steps;

pub use board::{Board, Fed, Identity};
pub use conservation::{Conservation, OutputConservation};
pub use epochs::EpochView;
pub use families::{Family, Kind};
pub use histogram::{Histogram, HistogramView};
pub use metrics::{Telemetry, describe};
pub use partition::{PartitionBoard, PartitionStanding, PartitionView};
pub use process::ProcessView;
pub use sample::Sample;
pub use sinks::SinkView;
pub use snapshot::{OperatorView, OutputView, Snapshot, ValueView};
pub use steps::{Step, Trace};

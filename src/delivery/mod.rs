//! From the dataflow to the sinks, and from staged output to a decided epoch.
//!
//! ```text
//! stream of blocks ──► worker that owns the sink: Sink::write, tally ──► end of epoch: prepare ─► manifest ─► commit
//! ```

mod attach;
mod blocks;
mod early;
mod epoch;
mod shared;
mod tally;

pub use attach::{SharedSink, count, deliver};
pub use blocks::{TableBlock, TableChanges, TableRows};
pub use early::{EarlyRows, Show, show_early};
pub use epoch::{Deliver, EpochError, Manifest, decide_epoch};
pub use shared::Shared;
pub use tally::{OutputTally, Tallies};

//! tidegate: event-time stream pipelines on timely and differential dataflow.
//!
//! The promise is **same log, same answer**: the final results of a pipeline are a function of the
//! Kafka log alone, bit for bit, whatever the number of workers, the interleaving of partitions or
//! the size of batches. `ARCHITECTURE.md` says how, and in which order data flows through
//! the modules below.

pub mod aggregate;
pub mod causes;
pub mod checkpoint;
pub mod decode;
pub mod delivery;
pub mod digest;
pub mod ingest;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod keys;
pub mod operators;
pub mod prelude;
pub mod record;
pub mod replay;
pub mod rows;
pub mod runtime;
pub mod sink;
pub mod source;
pub mod spill;
pub mod state;
pub mod storage;
pub mod summary;
pub mod telemetry;
pub mod tick;
pub mod time;
pub mod topic_lines;
pub mod window;

#[cfg(doctest)]
mod prose {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../ARCHITECTURE.md")]
    struct Architecture;
}

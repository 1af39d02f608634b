//! Runs: workers, clock, pace, failure and shutdown.

mod clock;
mod cluster;
mod gather;
mod run;
mod trigger;

pub use clock::{Clock, ManualClock, SystemClock};
pub use cluster::{Cluster, ClusterError, abort_on_panic, execute};
pub use gather::gather;
pub use run::{Pace, Run, RunError};
pub use trigger::Trigger;

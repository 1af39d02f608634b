//! Runs: workers, clock, pace, failure and shutdown.

mod agreement;
mod bounded;
mod clock;
mod cluster;
mod control;
mod drive;
mod epochs;
mod gather;
mod run;
mod trigger;

pub use bounded::{Counted, run_to_end};
pub use clock::{Clock, ManualClock, SystemClock};
pub use cluster::{Cluster, ClusterError, execute, exit_on_panic};
pub use control::Outcome;
pub use drive::{Driver, Lead, drive};
pub(crate) use epochs::Standing;
pub use epochs::{EpochPlan, Epochs};
pub use gather::gather;
pub use run::{Pace, Run, RunError};
pub use trigger::Trigger;

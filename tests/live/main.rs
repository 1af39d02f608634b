//! Live runs from partitions in memory, with a clock that the test moves: idle partitions, their recorded decisions, and what becomes
//! of a run that is started again on a log that has changed.
//!
//! | module | asserts |
//! | --- | --- |
//! | [`idle`] | a silent partition is released; the decisions, replayed, give what the live run gave |
//! | [`random`] | the same for random logs, clocks, crashes, damaged checkpoints and numbers of workers |
//! | [`again`] | a run whose log has grown goes on, or is refused, and gives no window twice |
//! | [`early`] | rows of open windows are there before their epoch ends, and in the end both modes leave the same |
//! | [`wall`] | wall-clock columns have one time an epoch, which its manifest keeps |

mod again;
mod early;
mod harness;
mod idle;
mod random;
mod wall;

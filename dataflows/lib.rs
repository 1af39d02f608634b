//! tidegate's pipelines, and how they are run.
//!
//! | module | is |
//! | --- | --- |
//! | [`activity`] | clickstream → page views, active users, sessions |
//! | [`replay`] | a recorded fixture through pipelines into embedded sinks |
//! | [`settings`] | configuration from files and the environment, and everything that is wrong with it |
//! | [`generate`] | synthetic input, a function of its seed |
//! | [`graph`] | what a pipeline consists of, as a picture |
//! | [`prove`] | the same fixture run in many ways, and the first difference |
//! | [`verify`] | tables of a run against what the log gives |

pub mod activity;
pub mod generate;
pub mod graph;
pub mod prove;
pub mod replay;
pub mod settings;
pub mod verify;

//! tidegate's pipelines, and how they are run.
//!
//! | module | is |
//! | --- | --- |
//! | [`activity`] | clickstream → page views, active users, sessions |
//! | [`replay`] | a recorded fixture through pipelines into embedded sinks |

pub mod activity;
pub mod replay;

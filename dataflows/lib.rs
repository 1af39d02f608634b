//! tidegate's pipelines, and how they are run.
//!
//! | module | is |
//! | --- | --- |
//! | [`activity`] | clickstream → page views, active users, sessions |
//! | [`iot`] | readings of sensors → validated readings, aggregates by sensor |
//! | [`outputs`] | where results go while a pipeline runs |
//! | [`pipeline`] | what runs a pipeline needs to know of it |
//! | [`hydraulic`] | the sensors of a rig → features by the second, anomalies, alerts |
//! | [`replay`] | a recorded fixture through pipelines into embedded sinks |
//! | [`run`] | a pipeline with checkpoints, that goes on where it stopped |
//! | [`services`] | what a live run reads from and writes to, as it is set |
//! | [`settings`] | configuration from files and the environment, and everything that is wrong with it |
//! | [`record`] | Kafka topics as a fixture |
//! | [`sync`] | aggregates from MongoDB to PostgreSQL |
//! | [`targets`] | the sinks of a run, by kind and by name |
//! | [`dataset`] | the training set: a row a cycle, with its label |
//! | [`cycles`] | cycles of a lake side by side, as tables and pictures |
//! | [`generate`] | synthetic input, a function of its seed |
//! | [`graph`] | what a pipeline consists of, as a picture |
//! | [`produce`] | records from feeds, an entity each |
//! | [`prove`] | the same fixture run in many ways, and the first difference |
//! | [`set_aside`] | late records and dead letters, read back and put before a pipeline again |
//! | [`simulate`] | a run that is killed before any of its steps, in memory and by a seed |
//! | [`transit`] | GTFS-Realtime feeds, entity by entity, into Delta tables |
//! | [`verify`] | what a run has left against what the log gives, and a deployment as it stands |
//! | [`web`] | what a run shows of itself: metrics, health, an API and a page |

pub mod activity;
pub mod cycles;
pub mod dataset;
pub mod generate;
pub mod graph;
pub mod hydraulic;
pub mod iot;
pub mod outputs;
mod parts;
pub mod pipeline;
pub mod produce;
pub mod prove;
pub mod record;
pub mod replay;
pub mod run;
pub mod services;
pub mod set_aside;
pub mod settings;
pub mod simulate;
pub mod sync;
pub mod targets;
mod told;
pub mod traces;
pub mod transit;
pub mod verify;
mod watch;
pub mod web;

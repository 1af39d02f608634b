//! Replays in process: every fault that a log can hold, by name, with what the contract says becomes of it.
//!
//! | module | asserts |
//! | --- | --- |
//! | [`payloads`] | which values are used and which go to the dead letters, and why |
//! | [`times`] | which spellings of a time are read, and as which instant |
//! | [`logs`] | what offsets, keys, headers and timestamps of records do |
//! | [`lateness`] | windows, watermarks and clocks that are wrong |
//! | [`sessions`] | sessions whose markers are missing or repeated |
//! | [`hydraulic`] | sensors that repeat themselves, that are missing or silent |
//! | [`distinct`] | that approximate users are reproducible, and near the exact ones |
//! | [`same_answer`] | that workers, interleaving and batch size change nothing |
//! | [`fixtures`] | recordings on disk: golden, in all codecs, hostile, and damaged |
//! | [`corpus`] | the seeds of the fuzz targets, each through its target |
//! | [`allocations`] | that an ordinary record asks for no memory |
//!
//! What is expected is derived from the contract by hand, never from what the program printed.

mod allocations;
mod corpus;
mod distinct;
mod fixtures;
mod harness;
mod hydraulic;
mod lateness;
mod logs;
mod payloads;
mod same_answer;
mod sessions;
mod times;

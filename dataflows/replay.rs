//! A replay: a recorded fixture through pipelines into embedded sinks, with one epoch that is decided at
//! the end of the input.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use thiserror::Error;
use tidegate::delivery::{EpochError, OutputTally, Tallies, decide_epoch};
use tidegate::decode::Reason;
use tidegate::ingest::{Counts, Interleave, Ledger};
use tidegate::runtime::{Cluster, ClusterError, Pace, Run, RunError, SystemClock, execute, gather};
use tidegate::sink::SinkError;
use tidegate::sink::lake::ParquetLake;
use tidegate::sink::out_dir::{OutDir, OutDirError};
use tidegate::sink::sqlite::SqliteTables;
use tidegate::sink::topic::TopicFiles;
use tidegate::source::{Source, SourceError};
use tidegate::source::fixture::FixtureSource;
use tidegate::summary::{OutputSummary, PipelineSummary, Summary};
use timely::dataflow::operators::probe::Handle as ProbeHandle;

use crate::activity;

/// The names of the pipelines, in the order of the contract.
pub const PIPELINES: [&str; 1] = ["activity"];

/// What a replay reads, writes and runs on.
#[derive(Clone, Debug)]
pub struct Options {
    /// The fixture's directory.
    pub fixture: PathBuf,
    /// The output directory.
    pub out: PathBuf,
    /// The workers.
    pub cluster: Cluster,
    /// How fast.
    pub pace: Pace,
    /// Records per activation.
    pub batch: usize,
    /// The order of lanes.
    pub interleave: Interleave,
    /// The settings of `activity`.
    pub activity: activity::Config,
}

/// Records per activation where nobody says otherwise.
pub const BATCH: usize = 4096;

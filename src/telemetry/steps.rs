//! The steps by which an epoch becomes visible, for whoever traces them.
//!
//! ```text
//! Ended ─► Prepared, one a sink, in any order ─► Saved ─► Decided ─► Committed, one a sink, in any order ─► Visible
//! ```
//!
//! Sinks prepare beside each other, with the state written meanwhile, and commit beside each other: how long each took is its last try.
//!
//! Each is told when it is over, by the thread that did it, on the process that leads. [`Step::Failed`] may come before any
//! of them, and then again: what fails is tried again.

use std::fmt::Debug;
use std::time::Duration;

use crate::checkpoint::Manifest;

/// A step that is over, or has failed.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// No record comes into the epoch any more.
    Ended {
        /// How long it took records.
        open: Duration,
    },
    /// A sink has made the epoch's rows durable, out of sight.
    Prepared {
        /// The sink.
        sink: &'a str,
        /// How long it took.
        took: Duration,
    },
    /// The operators' state is written, and what was written before is folded where it was its turn.
    Saved {
        /// How long it took by itself; a part of it beside what sinks prepared.
        took: Duration,
    },
    /// The manifest and its copies are written: the epoch stands.
    Decided {
        /// How long it took.
        took: Duration,
    },
    /// A sink shows the epoch's rows. At a start also those of an epoch that was decided before.
    Committed {
        /// The sink.
        sink: &'a str,
        /// The epoch.
        epoch: u64,
        /// How long it took.
        took: Duration,
    },
    /// Something is away, and is tried again.
    Failed {
        /// The sink; `None` for the checkpoint.
        sink: Option<&'a str>,
        /// What it said.
        error: &'a str,
    },
    /// The epoch is visible in every sink.
    Visible {
        /// What was decided.
        manifest: &'a Manifest,
        /// The bytes of its state and manifest.
        bytes: u64,
    },
}

/// Follows the epochs of a pipeline.
pub trait Trace: Debug + Send + Sync {
    /// Takes note of a step. The run waits meanwhile: it must not wait for anything itself.
    fn step(&self, step: &Step<'_>);
}

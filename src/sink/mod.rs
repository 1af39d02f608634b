//! Where results go: the contract of a sink, and its implementations.
//!
//! An epoch is decided by one write, its manifest. A sink therefore works in three steps:
//!
//! ```text
//! write*  ──►  prepare  ──►  (the run writes the manifest)  ──►  commit  (as often as it takes)
//! staged       durable         decides the epoch                 visible
//! ```
//!
//! * [`Sink::write`] takes output of an epoch and keeps it where no reader sees it.
//! * [`Sink::prepare`] makes what was staged durable and describes it; the description goes into the manifest.
//! * [`Sink::commit`] makes exactly the described content visible. It may be called again after a crash,
//!   by another process: the sink's own mark makes the second time a no-op.
//!
//! Beside them, where rows replace each other by key, [`Sink::show`] writes rows of open windows before their epoch ends, and
//! [`Sink::take_back`] removes what a run that was killed has shown.

pub mod console;
pub mod console_topics;
#[cfg(feature = "delta")]
pub mod delta;
mod disk;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod kcat;
#[cfg(feature = "lake")]
pub mod lake;
#[cfg(feature = "mongo")]
pub mod mongo;
pub mod out_dir;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod retry;
#[cfg(feature = "sqlite")]
pub mod sqlite;
pub(crate) mod staged;
mod staged_lines;
pub mod tables;
pub mod topic;
#[cfg(test)]
mod trial;

pub use disk::Durability;
pub(crate) use disk::{Disk, DiskError};
pub(crate) use staged::nonce;

use std::sync::Arc;

use thiserror::Error;

/// A place for results that delivers whole epochs.
pub trait Sink {
    /// What it takes at a time.
    type Batch;

    /// Stages `batch` as output of `epoch`.
    ///
    /// # Errors
    /// See [`SinkError`]; whether to try again is [`SinkError::is_retriable`].
    fn write(&mut self, epoch: u64, batch: Self::Batch) -> Result<(), SinkError>;

    /// Makes all that was staged for `epoch` durable, and describes it for the manifest.
    ///
    /// # Errors
    /// As for [`Sink::write`].
    fn prepare(&mut self, epoch: u64) -> Result<Staged, SinkError>;

    /// Makes the described content of `epoch` visible; a no-op where it is already.
    ///
    /// # Errors
    /// As for [`Sink::write`]; [`SinkError::Fenced`] when a newer generation has committed.
    fn commit(&mut self, epoch: u64, generation: u64, staged: &Staged) -> Result<(), SinkError>;

    /// Whether [`Sink::show`] does anything.
    fn shows(&self) -> bool {
        false
    }

    /// Makes early rows of `epoch`, which goes on, visible at once. They are provisional: the end of the epoch gives their keys
    /// again. Rows of an epoch that is in already are left out. The epoch before may not be committed yet: its commit must not bring back
    /// what these rows have replaced.
    ///
    /// # Errors
    /// As for [`Sink::commit`]; nothing is lost by one.
    fn show(&mut self, epoch: u64, generation: u64, batches: &[Self::Batch]) -> Result<(), SinkError> {
        let _ = (epoch, generation, batches);
        Ok(())
    }

    /// Who does what [`Sink::show`] does without waiting for the sink, where there is such a way; `None` where it is asked itself.
    fn shows_beside(&self) -> Option<Arc<dyn ShowBeside<Self::Batch>>> {
        None
    }

    /// Removes the rows that were shown of epochs behind the last committed one. Whoever showed them is gone, and may have known
    /// what nobody will know again; the end of the next epoch gives the rows of all open windows. The generation is only compared,
    /// and not noted: no manifest says it yet.
    ///
    /// # Errors
    /// As for [`Sink::commit`].
    fn take_back(&mut self, generation: u64) -> Result<(), SinkError> {
        let _ = generation;
        Ok(())
    }

    /// The last epoch that is visible in it, by whatever process; `None` before the first, or where nobody can know.
    ///
    /// # Errors
    /// As for [`Sink::write`].
    fn committed(&mut self) -> Result<Option<u64>, SinkError> {
        Ok(None)
    }

    /// Rows that the target has refused for what they hold since the sink was opened. They are kept apart in the target, with its
    /// reasons, and did not hold up the others.
    fn refused(&self) -> u64 {
        0
    }

    /// Ends a run or pauses it: brings what is committed into the form that readers expect. May be called again.
    ///
    /// # Errors
    /// As for [`Sink::write`].
    fn finish(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Shows early rows beside a sink, which may stage or commit meanwhile.
pub trait ShowBeside<B>: Send + Sync {
    /// See [`Sink::show`].
    ///
    /// # Errors
    /// As there.
    fn show(&self, epoch: u64, generation: u64, batches: &[B]) -> Result<(), SinkError>;
}

/// A sink whose kind is chosen when the program runs.
pub type AnySink<B> = Box<dyn Sink<Batch = B> + Send>;

impl<B> Sink for AnySink<B> {
    type Batch = B;
    fn write(&mut self, epoch: u64, batch: B) -> Result<(), SinkError> {
        (**self).write(epoch, batch)
    }
    fn prepare(&mut self, epoch: u64) -> Result<Staged, SinkError> {
        (**self).prepare(epoch)
    }
    fn commit(&mut self, epoch: u64, generation: u64, staged: &Staged) -> Result<(), SinkError> {
        (**self).commit(epoch, generation, staged)
    }
    fn shows(&self) -> bool {
        (**self).shows()
    }
    fn show(&mut self, epoch: u64, generation: u64, batches: &[B]) -> Result<(), SinkError> {
        (**self).show(epoch, generation, batches)
    }
    fn shows_beside(&self) -> Option<Arc<dyn ShowBeside<B>>> {
        (**self).shows_beside()
    }
    fn take_back(&mut self, generation: u64) -> Result<(), SinkError> {
        (**self).take_back(generation)
    }
    fn committed(&mut self) -> Result<Option<u64>, SinkError> {
        (**self).committed()
    }
    fn refused(&self) -> u64 {
        (**self).refused()
    }
    fn finish(&mut self) -> Result<(), SinkError> {
        (**self).finish()
    }
}

/// What a sink staged for an epoch: opaque to the engine, kept in the manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Staged(pub Vec<u8>);

impl Staged {
    /// Whether the epoch has output here: one without any need not leave a trace in its target.
    pub fn has_output(&self) -> bool {
        #[derive(serde::Deserialize)]
        struct Files {
            files: Vec<serde::de::IgnoredAny>,
        }
        // What cannot be read is not said to be nothing.
        let files = |bytes| serde_json::from_slice::<Files>(bytes).map_or(1, |found| found.files.len());
        !self.0.is_empty() && files(&self.0) > 0
    }
}

/// Why a sink could not do what it was asked.
#[derive(Debug, Error)]
pub enum SinkError {
    /// The target cannot be reached or is busy: try again later.
    #[error("sink {sink:?} is not available: {cause}")]
    Unavailable {
        /// The sink's name.
        sink: String,
        /// What happened.
        cause: String,
    },
    /// The target refuses what it is given, whatever the number of tries: stop and look.
    #[error("sink {sink:?} failed: {cause}")]
    Failed {
        /// The sink's name.
        sink: String,
        /// What happened, where, and what to do.
        cause: String,
    },
    /// A newer run has taken over: this one must stop.
    #[error("sink {sink:?} was taken over by generation {newer}; this run is generation {ours}")]
    Fenced {
        /// The sink's name.
        sink: String,
        /// Our generation.
        ours: u64,
        /// The generation that committed after us.
        newer: u64,
    },
    /// The place holds the output of another sink, whose epochs would be taken for ours.
    #[error(
        "sink {sink:?} cannot write to {place}: the lake there is that of {owner:?}; give each a place of its own \
         (or, if {owner:?} was renamed to {sink:?}, remove _tidegate/owner.json)"
    )]
    NotOurs {
        /// The sink's name.
        sink: String,
        /// The name of the sink that the place belongs to.
        owner: String,
        /// The place.
        place: String,
    },
}

impl SinkError {
    /// Whether trying again can help.
    pub fn is_retriable(&self) -> bool {
        matches!(self, SinkError::Unavailable { .. })
    }
}

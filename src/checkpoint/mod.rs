//! Checkpoints: consistent cuts of a run, each decided by one write, its manifest.
//!
//! ```text
//! <dir>/lock                       held by the process that writes here
//! <dir>/generation-0000000003      claimed once, by put-if-absent: the number of a run's start
//! <dir>/state-0000000012-3.tg      operators' state at the end of epoch 12, by generation 3
//! <dir>/delta-0000000012-3.tg      what epoch 12 changed of state that only grows
//! <dir>/delta-0000000012-3-folded-0-of-1.tg   the same of a run of epochs up to 12, for a share of the keys
//! <dir>/manifest-0000000012.tg     the decision: offsets, watermarks, counts, staged output, names of state files
//! <dir>/manifest-0000000012.copy   the same again: what is decided must not hang on one sector
//! ```
//!
//! State is written first, then the manifest; sinks commit after it. So an epoch without a manifest has left
//! nothing that counts, and an epoch with one can be finished from it by anybody. Every file carries a format
//! version, its length and a checksum (`frame`); a damaged one is passed over and said.
//!
//! **A damaged newest checkpoint** is not simply the one before it: sinks may have made its epoch visible, and
//! nothing decided may be computed again. Recovery therefore takes two things apart. The newest manifest that is
//! whole (in either copy, or in the mirror that lies beside the output) says what is *decided*. The newest state that
//! is whole says where computing can *begin*. Where the state is older, the run reads the log from there to the
//! decided offsets and throws away what comes out (it is committed from the manifest), and goes on after it.

mod commit;
mod committer;
mod fold;
mod frame;
mod manifest;
mod recover;
#[cfg(feature = "s3")]
mod s3;
mod store;
mod tidy;

use thiserror::Error;

pub use commit::{Decided, Decision, IdleLines, Pen, backoff};
pub use committer::{Committer, Inline, Threaded};
pub use frame::{Damage, VERSION, pack, unpack};
pub(crate) use manifest::whole_cuts;
pub use manifest::{Manifest, PartitionCut, StateFile};
pub use recover::{Found, Recovered, claim_generation, manifests, newest, recover, still_ours, survey};
#[cfg(feature = "s3")]
pub use s3::S3Store;
pub use store::{DirStore, Store};

use crate::sink::SinkError;

/// Why a checkpoint cannot be written or used.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// The place where checkpoints lie refused. Trying again may help where it is full or busy.
    #[error("checkpoint {name:?} in {place}: {cause}")]
    Store {
        /// The place.
        place: String,
        /// The file.
        name: String,
        /// What happened.
        cause: String,
    },
    /// Another process writes there. Stop it, or wait for its end.
    #[error(
        "the checkpoint directory {place} is in use by another process; stop that one first, or give each its own"
    )]
    InUse {
        /// The place.
        place: String,
    },
    /// It is the checkpoint of something else. Nothing was changed.
    #[error("{place} holds a checkpoint of {found}, and this is {wanted}: {hint}")]
    OtherRun {
        /// The place.
        place: String,
        /// What it is of.
        found: String,
        /// What was to go on from it.
        wanted: String,
        /// What to do.
        hint: String,
    },
    /// A newer run has taken over, which the lock of this one's place has not kept out: this one must stop.
    #[error("the checkpoint in {place} was taken over by generation {newer}; this run is generation {ours}")]
    TakenOver {
        /// The place.
        place: String,
        /// Our generation.
        ours: u64,
        /// The newest that was claimed.
        newer: u64,
    },
    /// It was written by a later version of tidegate.
    #[error(
        "{name:?} in {place} has format {found}; this program reads formats up to {VERSION}: use the version that wrote it"
    )]
    TooNew {
        /// The place.
        place: String,
        /// The file.
        name: String,
        /// Its format.
        found: u32,
    },
    /// A sink has made epochs visible that no manifest knows.
    #[error(
        "sink {sink:?} holds epoch {visible}, but the newest whole manifest in {place} decides {decided}: manifests are lost or \
         damaged, and going on would repeat output; restore them from a backup, or start anew with an empty checkpoint and output"
    )]
    SinkAhead {
        /// The sink.
        sink: String,
        /// The last epoch visible in it.
        visible: u64,
        /// The last epoch decided.
        decided: u64,
        /// The place.
        place: String,
    },
    /// The log, read again up to the place where an epoch ended, does not say what it said the first time.
    #[error(
        "the log up to the end of epoch {epoch} is not the one that was read before: {what}; give the log that the checkpoint is of"
    )]
    OtherLog {
        /// The epoch.
        epoch: u64,
        /// What differs.
        what: String,
    },
    /// The log has to be read again from a place before which decisions about idle partitions were let go.
    #[error(
        "the state of the newest checkpoints is damaged, and the log would be read again from epoch {epoch} on, but the \
         decisions about idle partitions are in the manifest only from epoch {from} on; restore the checkpoint from a backup, or \
         start anew with an empty checkpoint and output"
    )]
    NoIdleDecisions {
        /// The epoch that would be read again first.
        epoch: u64,
        /// The first epoch whose decisions are there.
        from: u64,
    },
    /// A sink failed.
    #[error(transparent)]
    Sink(#[from] SinkError),
}

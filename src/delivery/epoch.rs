//! Deciding an epoch: one write, the manifest, between what is staged and what is visible.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::sink::{SinkError, Staged};

/// A sink without its batch type: the part that an epoch's decision needs.
pub trait Deliver: Send + Sync {
    /// See [`Sink::prepare`](crate::sink::Sink::prepare).
    ///
    /// # Errors
    /// As there.
    fn prepare(&self, epoch: u64) -> Result<Staged, SinkError>;
    /// See [`Sink::commit`](crate::sink::Sink::commit).
    ///
    /// # Errors
    /// As there.
    fn commit(&self, epoch: u64, generation: u64, staged: &Staged) -> Result<(), SinkError>;
    /// See [`Sink::take_back`](crate::sink::Sink::take_back).
    ///
    /// # Errors
    /// As there.
    fn take_back(&self, generation: u64) -> Result<(), SinkError>;
    /// See [`Sink::committed`](crate::sink::Sink::committed).
    ///
    /// # Errors
    /// As there.
    fn committed(&self) -> Result<Option<u64>, SinkError>;
    /// See [`Sink::refused`](crate::sink::Sink::refused).
    fn refused(&self) -> u64;
    /// See [`Sink::finish`](crate::sink::Sink::finish).
    ///
    /// # Errors
    /// As there.
    fn finish(&self) -> Result<(), SinkError>;
}

/// What an epoch consists of. Once it is written the epoch is decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The format of this file.
    pub version: u32,
    /// The epoch.
    pub epoch: u64,
    /// The generation of the run that decided it.
    pub generation: u64,
    /// Each sink's name and staged content.
    pub staged: Vec<(String, Staged)>,
}

/// Why an epoch could not be decided or committed.
#[derive(Debug, Error)]
pub enum EpochError {
    /// A sink failed.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The manifest could not be written: nothing of the epoch is visible.
    #[error("cannot write the manifest {path:?}: {cause}")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
}

/// Prepares all `sinks`, writes the manifest `manifest-<epoch>.json` into `dir`, and commits.
///
/// # Errors
/// See [`EpochError`]. After an error in a commit the epoch is decided all the same, and the commit is to
/// be repeated from the manifest.
pub fn decide_epoch(
    sinks: &[(&str, &dyn Deliver)],
    dir: &Path,
    epoch: u64,
    generation: u64,
) -> Result<Manifest, EpochError> {
    let mut staged = Vec::new();
    for (name, sink) in sinks {
        staged.push(((*name).to_owned(), sink.prepare(epoch)?));
    }
    let manifest = Manifest { version: 1, epoch, generation, staged };
    let path = dir.join(format!("manifest-{epoch}.json"));
    write_manifest(dir, &path, &manifest).map_err(|cause| EpochError::Manifest { path, cause })?;
    for ((_, sink), (_, staged)) in sinks.iter().zip(&manifest.staged) {
        sink.commit(epoch, generation, staged)?;
    }
    Ok(manifest)
}

fn write_manifest(dir: &Path, path: &Path, manifest: &Manifest) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let unfinished = path.with_extension("tmp");
    let mut file = File::create(&unfinished)?;
    file.write_all(&serde_json::to_vec(manifest)?)?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    File::open(dir)?.sync_all()
}

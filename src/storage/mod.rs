//! Places that hold whole files by path: a local directory, S3, HDFS.
//!
//! What tidegate keeps beside tables and topics, the files of a lake and checkpoints, asks five things of a place:
//! a file appears whole or not at all; it can be created only where there is none; a staged file can be published under
//! its final name, as often as it takes; files can be listed; files can be removed. Each kind of place has its own means:
//!
//! | | whole or not at all | only if absent | publish |
//! | --- | --- | --- | --- |
//! | local directory | temporary name, sync, rename | hard link | rename |
//! | S3 | one PUT | PUT with `If-None-Match: *` | PUT of the staged content with `If-None-Match: *` |
//! | HDFS | temporary name, close, rename | rename that does not overwrite | rename that does not overwrite |
//!
//! Everything here blocks; a remote place drives its client on a thread of its own, so it must not be called from
//! inside of an asynchronous runtime.

mod credentials;
mod dir;
#[cfg(test)]
pub(crate) mod failing;
#[cfg(feature = "hdfs")]
mod hdfs;
#[cfg(any(feature = "s3", feature = "hdfs"))]
mod remote;
#[cfg(feature = "s3")]
mod s3;
mod url;

use std::fmt::Debug;
use std::path::PathBuf;

use thiserror::Error;

use crate::sink::SinkError;

pub use self::credentials::{Credentials, VARIABLES};
pub use self::dir::Dir;
#[cfg(feature = "s3")]
pub use self::s3::{S3, Version};
pub use self::url::{Location, open};

/// Paths below a place are relative, their parts separated by `/`.
pub trait Storage: Send + Sync + Debug {
    /// What messages call it; never holds a secret.
    fn place(&self) -> String;

    /// The names in the directory `dir` (empty: the place itself), files and directories, in byte order; none where there
    /// is no such directory.
    ///
    /// # Errors
    /// When the place cannot be read.
    fn names(&self, dir: &str) -> Result<Vec<String>, StorageError>;

    /// All files below `dir`, in byte order of their path.
    ///
    /// # Errors
    /// When the place cannot be read.
    fn list(&self, dir: &str) -> Result<Vec<StoredFile>, StorageError>;

    /// The bytes of a file; `None` where there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, StorageError>;

    /// The bytes of several files, in their order; `None` for those that are not there.
    ///
    /// # Errors
    /// When one cannot be read.
    fn read_all(&self, paths: &[String]) -> Result<Vec<Option<Vec<u8>>>, StorageError> {
        paths.iter().map(|path| self.read(path)).collect()
    }

    /// The length of a file in bytes; `None` where there is none.
    ///
    /// # Errors
    /// When it cannot be found out.
    fn len(&self, path: &str) -> Result<Option<u64>, StorageError>;

    /// Makes a file hold `bytes`, in place of what it held.
    ///
    /// # Errors
    /// When it cannot be written; what it held is then still there, or, where the outcome is not known, perhaps not.
    fn replace(&self, path: &str, bytes: &[u8]) -> Result<(), StorageError>;

    /// Makes a file hold `bytes` if there is none of that path, and says whether it did. `false` is also what a try
    /// answers that follows one of unknown outcome.
    ///
    /// # Errors
    /// When it cannot be written.
    fn create(&self, path: &str, bytes: &[u8]) -> Result<bool, StorageError>;

    /// Puts local files there, in place of what is there under their paths.
    ///
    /// # Errors
    /// When one cannot be written; to be repeated as a whole.
    fn upload(&self, files: &[Upload]) -> Result<(), StorageError>;

    /// Puts staged files under their final paths; those that are there already, with the same length, stay.
    ///
    /// # Errors
    /// When one cannot be published, or is neither staged nor there; to be repeated as a whole.
    fn publish(&self, files: &[Publish]) -> Result<(), StorageError>;

    /// Removes files; those that are not there do not matter.
    ///
    /// # Errors
    /// When one cannot be removed.
    fn remove(&self, paths: &[String]) -> Result<(), StorageError>;

    /// Removes a directory with all that is in it, if it is there.
    ///
    /// # Errors
    /// When something cannot be removed.
    fn remove_dir(&self, dir: &str) -> Result<(), StorageError> {
        let files: Vec<_> = self.list(dir)?.into_iter().map(|file| file.path).collect();
        self.remove(&files)
    }
}

/// A file of a place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredFile {
    /// Its path below the place.
    pub path: String,
    /// Its length.
    pub bytes: u64,
}

/// A local file, and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The local file.
    pub from: PathBuf,
    /// Its path below the place.
    pub to: String,
    /// Its length.
    pub bytes: u64,
}

/// A staged file, and the path under which it is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Its path below the place while it is staged.
    pub from: String,
    /// Its final path.
    pub to: String,
    /// Its length.
    pub bytes: u64,
    /// The CRC-32 of its content, where it is to be checked: what a process that died has staged.
    pub crc32: Option<u32>,
}

/// A place that could not be read or changed.
#[derive(Debug, Error)]
#[error("cannot {verb} {path:?} in {place}: {cause}")]
pub struct StorageError {
    /// The place.
    pub place: String,
    /// What was tried.
    pub verb: &'static str,
    /// The file or directory.
    pub path: String,
    /// What the place said.
    pub cause: String,
    /// Whether another try can help: the place is away, busy or full.
    pub is_away: bool,
}

impl StorageError {
    /// The error as a sink's.
    pub fn of(self, sink: &str) -> SinkError {
        let (sink, cause) = (sink.to_owned(), self.to_string());
        if self.is_away { SinkError::Unavailable { sink, cause } } else { SinkError::Failed { sink, cause } }
    }
}

/// Whether a path stays below its place.
fn check(place: &str, path: &str) -> Result<(), StorageError> {
    let plain = path.is_empty() || path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if plain && !path.contains('\0') {
        return Ok(());
    }
    Err(StorageError {
        place: place.to_owned(),
        verb: "use",
        path: path.to_owned(),
        cause: "it is not a path below it".to_owned(),
        is_away: false,
    })
}

#[cfg(test)]
mod tests;

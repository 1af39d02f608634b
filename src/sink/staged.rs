//! What the embedded sinks have in common: the staging directory, the description of what lies there, and
//! the mark that says which epoch and generation came last.
//!
//! ```text
//! <root>/staging/<epoch>-<nonce>/…     output of one epoch, written by one process, not visible
//! <root>/mark.json                     the last committed epoch and the newest generation seen
//! <root>/lock                          held while committing, so that two processes never commit at once
//! ```
//!
//! The nonce keeps apart what two processes stage for the same epoch: after a crash before the manifest the
//! next process stages it again, and only the directory that the manifest names is ever published. A commit
//! removes the directories of its epoch and of earlier ones, so nothing piles up.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::path::{Component, Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::disk::{Disk, DiskError};
use super::{SinkError, Staged};

/// The version of descriptions and marks that this program writes; it reads every version up to it.
const FORMAT: u32 = 1;

/// A name for what this process stages, unlike that of any other.
pub(crate) fn nonce() -> String {
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}

/// What a sink staged for an epoch: the content of a [`Staged`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Description<F> {
    format: u32,
    /// What kind of sink staged it.
    kind: String,
    epoch: u64,
    /// The staging directory's name; empty when nothing was staged.
    pub(crate) dir: String,
    pub(crate) files: Vec<F>,
}

impl<F: Serialize + DeserializeOwned> Description<F> {
    pub(crate) fn new(kind: &str, epoch: u64, dir: String, files: Vec<F>) -> Self {
        Description { format: FORMAT, kind: kind.to_owned(), epoch, dir, files }
    }

    pub(crate) fn to_staged(&self, sink: &str) -> Result<Staged, SinkError> {
        let bytes = serde_json::to_vec(self).map_err(|error| failed(sink, error))?;
        Ok(Staged(bytes))
    }

    /// Reads a description back. One of no bytes at all describes an epoch without output.
    pub(crate) fn of(staged: &Staged, sink: &str, kind: &str, epoch: u64) -> Result<Self, SinkError> {
        if staged.0.is_empty() {
            return Ok(Description::new(kind, epoch, String::new(), Vec::new()));
        }
        let found: Description<F> = serde_json::from_slice(&staged.0)
            .map_err(|error| failed(sink, format!("the manifest's description of epoch {epoch}: {error}")))?;
        if found.format > FORMAT {
            let found = found.format;
            return Err(failed(
                sink,
                format!("epoch {epoch} was staged in format {found}; this program knows {FORMAT}"),
            ));
        }
        if found.kind != kind || found.epoch != epoch || !is_plain(&found.dir) {
            let (kind_found, epoch_found) = (found.kind, found.epoch);
            return Err(failed(
                sink,
                format!("asked to commit {kind} of epoch {epoch}, given {kind_found} of epoch {epoch_found}"),
            ));
        }
        Ok(found)
    }
}

/// Whether a path stays below the directory that it is joined to.
pub(crate) fn is_plain(path: &str) -> bool {
    Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

/// An error that no further try can mend.
pub(crate) fn failed(sink: &str, cause: impl ToString) -> SinkError {
    SinkError::Failed { sink: sink.to_owned(), cause: cause.to_string() }
}

/// The last committed epoch of a sink, and the newest generation that it has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark<T> {
    format: u32,
    /// The last committed epoch, `None` before the first.
    pub(crate) epoch: Option<u64>,
    pub(crate) generation: u64,
    /// What else the sink must know of what is committed.
    pub(crate) state: T,
}

/// What a commit has to do, by the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The epoch is in already.
    Done,
    /// The epoch is to be published.
    Publish,
}

/// Decides on a commit; [`SinkError::Fenced`] when a newer generation was here.
pub(crate) fn turn(
    sink: &str,
    last: Option<u64>,
    newest: u64,
    epoch: u64,
    generation: u64,
) -> Result<Turn, SinkError> {
    if generation < newest {
        return Err(SinkError::Fenced { sink: sink.to_owned(), ours: generation, newer: newest });
    }
    Ok(if last.is_some_and(|last| epoch <= last) { Turn::Done } else { Turn::Publish })
}

/// The bookkeeping directory of a sink.
#[derive(Clone, Debug)]
pub(crate) struct Books {
    pub(crate) disk: Disk,
    pub(crate) root: PathBuf,
    pub(crate) sink: String,
    nonce: String,
}

impl Books {
    /// The bookkeeping in `root` of the sink that errors call `sink`.
    pub(crate) fn open(disk: Disk, root: PathBuf, sink: &str) -> Result<Self, SinkError> {
        let books = Books { disk, root, sink: sink.to_owned(), nonce: nonce() };
        books.disk.create_dirs(&books.staging()).map_err(|error| books.lift(error))?;
        Ok(books)
    }

    pub(crate) fn lift(&self, error: DiskError) -> SinkError {
        error.of(&self.sink)
    }

    pub(crate) fn failed(&self, cause: impl ToString) -> SinkError {
        failed(&self.sink, cause)
    }

    fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    /// The name of the directory in which this process stages `epoch`.
    pub(crate) fn dir_name(&self, epoch: u64) -> String {
        format!("{epoch}-{}", self.nonce)
    }

    /// The staging directory called `name`.
    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        self.staging().join(name)
    }

    /// Makes this process's directory for `epoch`, durably.
    pub(crate) fn make_dir(&self, epoch: u64) -> Result<PathBuf, DiskError> {
        let dir = self.dir(&self.dir_name(epoch));
        self.disk.create_dirs(&dir)?;
        Ok(dir)
    }

    /// Forces the names in a staging directory, and its own.
    pub(crate) fn force_dir(&self, name: &str) -> Result<(), DiskError> {
        self.disk.force_dirs_up_to(&self.dir(name), &self.root)
    }

    /// Removes what was staged for `epoch` and earlier ones, by whomever.
    pub(crate) fn clear(&self, epoch: u64) -> Result<(), DiskError> {
        for name in self.disk.names(&self.staging())? {
            let staged = name.to_str().and_then(|name| name.split_once('-')?.0.parse::<u64>().ok());
            if staged.is_some_and(|staged| staged <= epoch) {
                self.disk.remove_tree(&self.staging().join(name))?;
            }
        }
        Ok(())
    }

    /// Holds the sink's lock until the result is dropped.
    pub(crate) fn lock(&self) -> Result<File, DiskError> {
        self.disk.lock(&self.root.join("lock"))
    }

    /// The sink's mark, or a fresh one.
    pub(crate) fn mark<T: Default + DeserializeOwned>(&self) -> Result<Mark<T>, SinkError> {
        let path = self.root.join("mark.json");
        let Some(bytes) = self.disk.read(&path).map_err(|error| self.lift(error))? else {
            return Ok(Mark { format: FORMAT, epoch: None, generation: 0, state: T::default() });
        };
        let mark: Mark<T> = serde_json::from_slice(&bytes)
            .map_err(|error| self.failed(format!("{path:?} is damaged: {error}")))?;
        if mark.format > FORMAT {
            let found = mark.format;
            return Err(self.failed(format!("{path:?} is of format {found}; this program knows {FORMAT}")));
        }
        Ok(mark)
    }

    /// Ends a commit whose epoch is in already: a newer generation is noted, so that older ones are fenced.
    pub(crate) fn note_generation<T: Serialize>(
        &self,
        mut mark: Mark<T>,
        generation: u64,
    ) -> Result<(), SinkError> {
        if generation > mark.generation {
            mark.generation = generation;
            self.set_mark(&mark)?;
        }
        Ok(())
    }

    /// Replaces the sink's mark, durably.
    pub(crate) fn set_mark<T: Serialize>(&self, mark: &Mark<T>) -> Result<(), SinkError> {
        let bytes = serde_json::to_vec(mark).map_err(|error| self.failed(error))?;
        self.disk.replace(&self.root.join("mark.json"), &bytes).map_err(|error| self.lift(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn description_of_another_epoch_or_kind_is_refused() {
        let staged = Description::<String>::new("tables", 3, "3-a".into(), vec![]).to_staged("s").unwrap();
        assert!(Description::<String>::of(&staged, "s", "tables", 3).is_ok());
        assert!(Description::<String>::of(&staged, "s", "tables", 4).is_err());
        assert!(Description::<String>::of(&staged, "s", "lake", 3).is_err());
        assert!(Description::<String>::of(&Staged(b"{".to_vec()), "s", "lake", 3).is_err());
    }

    #[test]
    fn description_that_leads_out_of_the_sink_is_refused() {
        let staged = Description::<String>::new("tables", 3, "../3".into(), vec![]).to_staged("s").unwrap();
        assert!(Description::<String>::of(&staged, "s", "tables", 3).is_err());
    }

    #[test]
    fn older_generation_is_fenced_even_from_an_epoch_that_is_in() {
        assert_eq!(turn("s", None, 0, 1, 1).unwrap(), Turn::Publish);
        assert_eq!(turn("s", Some(1), 1, 1, 1).unwrap(), Turn::Done);
        assert_eq!(turn("s", Some(1), 1, 2, 2).unwrap(), Turn::Publish);
        assert!(matches!(turn("s", Some(2), 2, 2, 1), Err(SinkError::Fenced { ours: 1, newer: 2, .. })));
    }
}

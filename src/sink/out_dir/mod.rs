//! The directory that `--out` names: whose it is, who uses it, and what may be removed from it.
//!
//! ```text
//! out/.tidegate/out.json      the marker: a replay's or a run's, finished or not
//! out/.tidegate/lock          locked by the process that writes here
//! out/tables.sqlite, lake/, delta/, topics/, summary.json
//! ```
//!
//! A replay starts afresh and replaces what an earlier replay left, but nothing else is ever removed: the
//! directory must carry a replay's marker, every file in it must be one that tidegate makes (`inventory.rs`), and
//! all of it is looked at before the first is removed. Then exactly the files that were looked at go, the
//! visible ones first and the bookkeeping that explains them last, so that a clean-up that dies halfway leaves
//! a directory that the next replay knows as its own.

mod inventory;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::inventory::Inventory;
use super::disk::{Disk, DiskError, Durability};

/// The directory of tidegate's own bookkeeping in the output directory.
pub const BOOKS: &str = ".tidegate";

const MARKER: &str = "out.json";
const LOCK: &str = "lock";
const FORMAT: u32 = 1;

/// Why an output directory cannot be used.
#[derive(Debug, Error)]
pub enum OutDirError {
    /// It holds something that a replay did not make. Nothing was removed.
    #[error(
        "the output directory {dir:?} holds {entries}, which no replay made; \
         give another directory, or move it away yourself"
    )]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// Some of the entries, and how many more there are.
        entries: String,
    },
    /// It holds the output of the other kind: of a run where a replay was asked for, or the reverse.
    #[error(
        "the output directory {dir:?} holds the output of a {found}, not of a {wanted}; give another directory"
    )]
    OtherKind {
        /// The directory.
        dir: PathBuf,
        /// What it holds.
        found: &'static str,
        /// What was to use it.
        wanted: &'static str,
    },
    /// Another process writes to it. Wait for its end, or stop it.
    #[error("the output directory {dir:?} is in use by another process{by}; wait until it has ended")]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// ` (process 12)`, if that is known.
        by: String,
    },
    /// Its marker is damaged or of a later version of tidegate.
    #[error("the output directory {dir:?} has an unreadable marker {path:?}: {cause}")]
    Marker {
        /// The directory.
        dir: PathBuf,
        /// The marker's file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The system refused. The message names the file.
    #[error("{0}")]
    Io(String),
}

impl From<DiskError> for OutDirError {
    fn from(error: DiskError) -> Self {
        OutDirError::Io(error.to_string())
    }
}

/// Whose output a directory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Replay,
    Run,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Replay => "replay",
            Kind::Run => "run",
        }
    }
}

/// The marker that makes a directory tidegate's.
#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    format: u32,
    kind: Kind,
    /// Whether the last replay or run in it came to its end.
    finished: bool,
}

/// An output directory in the hands of this process, until it is dropped.
#[derive(Debug)]
pub struct OutDir {
    dir: PathBuf,
    disk: Disk,
    kind: Kind,
    /// Whoever holds it has the directory; the system lets go of it when the process ends in whatever way.
    _lock: File,
}

impl OutDir {
    /// Takes `dir` for a replay: creates it, or removes what an earlier replay left in it.
    ///
    /// # Errors
    /// See [`OutDirError`]. Whatever was not made by a replay is still there.
    pub fn prepare_replay(dir: &Path) -> Result<Self, OutDirError> {
        Self::prepare(Disk::new(Durability::Process), dir, Kind::Replay)
    }

    /// Takes `dir` for a run that goes on from its checkpoint: creates it, or leaves all that is in it.
    ///
    /// # Errors
    /// See [`OutDirError`].
    pub fn prepare_run(dir: &Path) -> Result<Self, OutDirError> {
        Self::prepare(Disk::new(Durability::Power), dir, Kind::Run)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Notes in the marker that the replay or run has come to its end, and lets go of the directory.
    ///
    /// # Errors
    /// When the marker cannot be written.
    pub fn finish(self) -> Result<(), OutDirError> {
        self.mark(true)
    }

    fn prepare(disk: Disk, dir: &Path, kind: Kind) -> Result<Self, OutDirError> {
        // Looked at before anything is written into what may be somebody else's, and again under the lock.
        check(dir, kind)?;
        let books = dir.join(BOOKS);
        disk.create_dirs(&books)?;
        let lock = take_lock(dir, &books.join(LOCK))?;
        let inventory = check(dir, kind)?;
        let out = OutDir { dir: dir.to_owned(), disk, kind, _lock: lock };
        out.mark(false)?;
        if kind == Kind::Replay {
            inventory.remove(&out.disk)?;
        }
        Ok(out)
    }

    fn mark(&self, finished: bool) -> Result<(), OutDirError> {
        let marker = Marker { format: FORMAT, kind: self.kind, finished };
        let bytes = serde_json::to_vec(&marker).map_err(|error| OutDirError::Io(error.to_string()))?;
        Ok(self.disk.replace(&self.dir.join(BOOKS).join(MARKER), &bytes)?)
    }
}

/// What is in `dir`, if it may be used for `kind`.
fn check(dir: &Path, kind: Kind) -> Result<Inventory, OutDirError> {
    let refused =
        |cause: io::Error| OutDirError::Io(format!("cannot read the output directory {dir:?}: {cause}"));
    let inventory = Inventory::of(dir).map_err(refused)?;
    let path = dir.join(BOOKS).join(MARKER);
    let marker = match fs::read(&path) {
        Ok(bytes) => Some(bytes),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => None,
        Err(cause) => return Err(refused(cause)),
    };
    let Some(bytes) = marker else {
        // A directory that is new, or whose first user died before it could set its marker.
        let entries = inventory.all();
        return if entries.is_empty() { Ok(inventory) } else { Err(foreign(dir, &entries)) };
    };
    let unreadable = |cause: String| OutDirError::Marker { dir: dir.to_owned(), path: path.clone(), cause };
    let marker: Marker = serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
    if marker.format > FORMAT {
        return Err(unreadable(format!("format {} of a later version of tidegate", marker.format)));
    }
    if marker.kind != kind {
        return Err(OutDirError::OtherKind {
            dir: dir.to_owned(),
            found: marker.kind.name(),
            wanted: kind.name(),
        });
    }
    // A run removes nothing, so what else lies there is in nobody's way.
    if kind == Kind::Replay && !inventory.foreign.is_empty() {
        return Err(foreign(dir, &inventory.foreign));
    }
    Ok(inventory)
}

fn foreign(dir: &Path, entries: &[PathBuf]) -> OutDirError {
    const SHOWN: usize = 3;
    let named: Vec<_> = entries
        .iter()
        .take(SHOWN)
        .map(|path| format!("{:?}", path.strip_prefix(dir).unwrap_or(path)))
        .collect();
    let more = entries.len() - named.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    OutDirError::Foreign { dir: dir.to_owned(), entries: named.join(", ") + &more }
}

/// Locks the directory, and leaves this process's number in the lock file for others to name.
fn take_lock(dir: &Path, path: &Path) -> Result<File, OutDirError> {
    let refused = |cause: io::Error| OutDirError::Io(format!("cannot lock {path:?}: {cause}"));
    let mut file =
        OpenOptions::new().create(true).read(true).write(true).truncate(false).open(path).map_err(refused)?;
    match file.try_lock() {
        Ok(()) => (),
        Err(TryLockError::Error(cause)) => return Err(refused(cause)),
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let known = file.read_to_string(&mut holder).is_ok() && holder.trim().parse::<u32>().is_ok();
            let by = if known { format!(" (process {})", holder.trim()) } else { String::new() };
            return Err(OutDirError::InUse { dir: dir.to_owned(), by });
        }
    }
    let note = |file: &mut File| {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    note(&mut file).map_err(refused)?;
    Ok(file)
}

#[cfg(test)]
mod tests;

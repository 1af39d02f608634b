//! Where checkpoints lie: a flat set of named files that appear whole or not at all.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::CheckpointError;
use crate::sink::{Disk, DiskError, Durability};

/// A place for the files of checkpoints.
///
/// Every method is atomic and, when it has returned, durable.
pub trait Store: Send + Sync {
    /// What messages call it.
    fn place(&self) -> String;
    /// The names of all files.
    ///
    /// # Errors
    /// When the place cannot be read.
    fn names(&self) -> Result<Vec<String>, CheckpointError>;
    /// The bytes of a file; `None` when there is none of that name.
    ///
    /// # Errors
    /// When it cannot be read.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, CheckpointError>;
    /// Writes a file, in place of one of the same name.
    ///
    /// # Errors
    /// When it cannot be written; the former one is then still there.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), CheckpointError>;
    /// Writes a file if there is none of that name; says whether it did.
    ///
    /// # Errors
    /// When it cannot be written.
    fn create(&self, name: &str, bytes: &[u8]) -> Result<bool, CheckpointError>;
    /// Removes a file, if it is there.
    ///
    /// # Errors
    /// When it cannot be removed.
    fn remove(&self, name: &str) -> Result<(), CheckpointError>;
    /// Whether it refuses by itself the manifests of a run that another one has taken over from.
    fn fences(&self) -> bool {
        false
    }
}

/// A local directory.
pub struct DirStore {
    dir: PathBuf,
    disk: Disk,
    /// Held by the process that writes; the system lets go of it when the process ends in whatever way.
    _lock: Option<File>,
}

impl DirStore {
    /// Takes `dir`, which is created if it is missing, for writing.
    ///
    /// # Errors
    /// [`CheckpointError::InUse`] when another process has it; otherwise when it cannot be made.
    pub fn open(dir: &Path) -> Result<Self, CheckpointError> {
        DirStore::open_on(Disk::new(Durability::Power), dir)
    }

    pub(crate) fn open_on(disk: Disk, dir: &Path) -> Result<Self, CheckpointError> {
        let place = || format!("{dir:?}");
        let lift = |name: &str, error: &dyn std::fmt::Display| CheckpointError::Store {
            place: place(),
            name: name.to_owned(),
            cause: error.to_string(),
        };
        disk.create_dirs(dir).map_err(|error| lift("", &error))?;
        let path = dir.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(|error| lift("lock", &error))?;
        match lock.try_lock() {
            Ok(()) => Ok(DirStore { dir: dir.to_owned(), disk, _lock: Some(lock) }),
            Err(std::fs::TryLockError::WouldBlock) => Err(CheckpointError::InUse { place: place() }),
            Err(std::fs::TryLockError::Error(error)) => Err(lift("lock", &error)),
        }
    }

    /// Uses `dir`, which is there, without taking it: to look at it while another process writes, or where the
    /// directory is guarded by another lock.
    pub fn unlocked(dir: &Path) -> Self {
        DirStore { dir: dir.to_owned(), disk: Disk::new(Durability::Power), _lock: None }
    }

    fn lift(&self, name: &str, error: &DiskError) -> CheckpointError {
        CheckpointError::Store { place: self.place(), name: name.to_owned(), cause: error.to_string() }
    }

    fn unfinished(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.{}.unfinished", std::process::id()))
    }
}

impl Store for DirStore {
    fn place(&self) -> String {
        format!("{:?}", self.dir)
    }

    fn names(&self) -> Result<Vec<String>, CheckpointError> {
        let names = self.disk.names(&self.dir).map_err(|error| self.lift("", &error))?;
        Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect())
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, CheckpointError> {
        self.disk.read(&self.dir.join(name)).map_err(|error| self.lift(name, &error))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), CheckpointError> {
        self.disk.replace(&self.dir.join(name), bytes).map_err(|error| self.lift(name, &error))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<bool, CheckpointError> {
        // A link to a finished file: whole or not there, and only where the name is free.
        let (path, unfinished) = (self.dir.join(name), self.unfinished(name));
        let made = self.disk.replace(&unfinished, bytes).and_then(|()| {
            let made = self.disk.link(&unfinished, &path)?;
            self.disk.remove(&unfinished)?;
            self.disk.force_dir(&self.dir)?;
            Ok(made)
        });
        made.map_err(|error| self.lift(name, &error))
    }

    fn remove(&self, name: &str) -> Result<(), CheckpointError> {
        let path = self.dir.join(name);
        let gone =
            self.disk.len(&path).and_then(|len| if len.is_some() { self.disk.remove(&path) } else { Ok(()) });
        gone.map_err(|error| self.lift(name, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_process_is_refused_and_a_reader_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let store = DirStore::open(dir.path()).unwrap();
        assert!(matches!(DirStore::open(dir.path()), Err(CheckpointError::InUse { .. })));
        store.write("a", b"1").unwrap();
        assert_eq!(DirStore::unlocked(dir.path()).read("a").unwrap().as_deref(), Some(&b"1"[..]));
        drop(store);
        assert!(DirStore::open(dir.path()).is_ok());
    }

    #[test]
    fn create_gives_way_to_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let store = DirStore::open(dir.path()).unwrap();
        assert!(store.create("g", b"1").unwrap());
        assert!(!store.create("g", b"2").unwrap());
        assert_eq!(store.read("g").unwrap().as_deref(), Some(&b"1"[..]));
        store.remove("g").unwrap();
        store.remove("g").unwrap();
        assert_eq!(store.read("g").unwrap(), None);
    }
}

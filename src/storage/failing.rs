//! A place that dies, for tests.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

use super::{Dir, Publish, Storage, StorageError, StoredFile, Upload};

/// A place that refuses every change from some one on.
#[derive(Debug)]
pub(crate) struct Failing {
    place: Dir,
    left: AtomicI64,
}

impl Failing {
    /// The directory `dir`, for `changes` changes.
    pub(crate) fn after(dir: &Path, changes: i64) -> Self {
        Failing { place: Dir::new(dir), left: AtomicI64::new(changes) }
    }

    /// Lets it live again.
    pub(crate) fn revive(&self) {
        self.left.store(i64::MAX, Ordering::SeqCst);
    }

    fn allow(&self) -> Result<(), StorageError> {
        if self.left.fetch_sub(1, Ordering::SeqCst) > 0 {
            return Ok(());
        }
        let (place, path) = (self.place.place(), String::new());
        Err(StorageError { place, verb: "change", path, cause: "it died".to_owned(), is_away: true })
    }
}

impl Storage for Failing {
    fn place(&self) -> String {
        self.place.place()
    }
    fn names(&self, dir: &str) -> Result<Vec<String>, StorageError> {
        self.place.names(dir)
    }
    fn list(&self, dir: &str) -> Result<Vec<StoredFile>, StorageError> {
        self.place.list(dir)
    }
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, StorageError> {
        self.place.read(path)
    }
    fn len(&self, path: &str) -> Result<Option<u64>, StorageError> {
        self.place.len(path)
    }
    fn replace(&self, path: &str, bytes: &[u8]) -> Result<(), StorageError> {
        self.allow()?;
        self.place.replace(path, bytes)
    }
    fn create(&self, path: &str, bytes: &[u8]) -> Result<bool, StorageError> {
        self.allow()?;
        self.place.create(path, bytes)
    }
    fn upload(&self, files: &[Upload]) -> Result<(), StorageError> {
        files.iter().try_for_each(|file| {
            self.allow()?;
            self.place.upload(std::slice::from_ref(file))
        })
    }
    fn publish(&self, files: &[Publish]) -> Result<(), StorageError> {
        files.iter().try_for_each(|file| {
            self.allow()?;
            self.place.publish(std::slice::from_ref(file))
        })
    }
    fn remove(&self, paths: &[String]) -> Result<(), StorageError> {
        paths.iter().try_for_each(|path| {
            self.allow()?;
            self.place.remove(std::slice::from_ref(path))
        })
    }
}

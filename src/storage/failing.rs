//! A place that dies, or where something else happens meanwhile, for tests.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

use super::{Dir, Publish, Storage, StorageError, StoredFile, Upload};

/// A place that refuses every change from some one on, or does something else before it.
#[derive(Debug)]
pub(crate) struct Failing {
    place: Dir,
    left: AtomicI64,
    meanwhile: Option<Meanwhile>,
}

/// What is done in the place by somebody else.
struct Meanwhile(Box<dyn Fn() + Send + Sync>);

impl fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meanwhile")
    }
}

impl Failing {
    /// The directory `dir`, for `changes` changes.
    pub(crate) fn after(dir: &Path, changes: i64) -> Self {
        Failing { place: Dir::new(dir), left: AtomicI64::new(changes), meanwhile: None }
    }

    /// The directory `dir`, where `other` happens after `changes` changes, before the next one; none is refused.
    pub(crate) fn interrupted(dir: &Path, changes: i64, other: impl Fn() + Send + Sync + 'static) -> Self {
        Failing { meanwhile: Some(Meanwhile(Box::new(other))), ..Failing::after(dir, changes) }
    }

    /// Whether all the changes were made that it was made for.
    pub(crate) fn exhausted(&self) -> bool {
        self.left.load(Ordering::SeqCst) < 0
    }

    /// Lets it live again.
    pub(crate) fn revive(&self) {
        self.left.store(i64::MAX, Ordering::SeqCst);
    }

    fn allow(&self) -> Result<(), StorageError> {
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        if left > 0 {
            return Ok(());
        }
        if let Some(Meanwhile(other)) = &self.meanwhile {
            if left == 0 {
                other();
            }
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

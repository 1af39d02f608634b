//! Checkpoints in S3.
//!
//! A directory is guarded by a lock that ends with its process; a bucket has none. So every write is conditional: a file is
//! replaced only if it still is what we last saw of it, and created only if it is not there. A run that was taken for dead
//! and is not loses its first such race, or sees that a newer generation was claimed, and stops: it has decided nothing
//! that the newer one does not know.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{CheckpointError, Manifest, Store};
use crate::storage::{Credentials, S3, Storage, StorageError, Version};

/// A prefix of a bucket.
#[derive(Debug)]
pub struct S3Store {
    s3: S3,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// What each file was when we last saw it.
    versions: BTreeMap<String, Version>,
    /// The generation that we have claimed.
    generation: Option<u64>,
}

impl S3Store {
    /// Uses `prefix` of `bucket`.
    ///
    /// # Errors
    /// When the bucket cannot be used.
    pub fn open(bucket: &str, prefix: &str, credentials: &Credentials) -> Result<Self, CheckpointError> {
        let lift = |error: StorageError| CheckpointError::Store {
            place: error.place.clone(),
            name: error.path.clone(),
            cause: error.to_string(),
        };
        let s3 = S3::open(bucket, prefix, credentials).map_err(lift)?;
        let versions = s3.versions("").map_err(lift)?.into_iter().collect();
        Ok(S3Store { s3, seen: Mutex::new(Seen { versions, generation: None }) })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lift(&self, name: &str) -> impl Fn(StorageError) -> CheckpointError + use<'_> {
        let name = name.to_owned();
        move |error| {
            let (place, name) = (self.place(), name.clone());
            CheckpointError::Store { place, name, cause: error.to_string() }
        }
    }

    fn taken(&self) -> CheckpointError {
        CheckpointError::InUse { place: self.place() }
    }
}

/// The number in a name like `generation-0000000003`.
fn generation_of(name: &str) -> Option<u64> {
    name.strip_prefix("generation-")?.parse().ok()
}

impl Store for S3Store {
    fn place(&self) -> String {
        self.s3.place()
    }

    fn names(&self) -> Result<Vec<String>, CheckpointError> {
        self.s3.names("").map_err(self.lift(""))
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, CheckpointError> {
        let found = self.s3.read_version(name).map_err(self.lift(name))?;
        let Some((bytes, version)) = found else { return Ok(None) };
        self.seen().versions.insert(name.to_owned(), version);
        Ok(Some(bytes))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), CheckpointError> {
        let ours = self.seen().generation;
        if let (Some(ours), Some(_)) = (ours, Manifest::epoch_of(name)) {
            let newest = self.names()?.iter().filter_map(|name| generation_of(name)).max();
            if newest.is_some_and(|newest| newest > ours) {
                return Err(self.taken());
            }
        }
        let version = self.seen().versions.get(name).cloned();
        let written = self.s3.write_version(name, bytes, version.as_ref()).map_err(self.lift(name))?;
        let written = match written {
            Some(version) => version,
            // Ours, if a try before it came through without an answer.
            None => match self.s3.read_version(name).map_err(self.lift(name))? {
                Some((found, version)) if found == bytes => version,
                _ => return Err(self.taken()),
            },
        };
        self.seen().versions.insert(name.to_owned(), written);
        Ok(())
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<bool, CheckpointError> {
        let Some(version) = self.s3.write_version(name, bytes, None).map_err(self.lift(name))? else {
            return Ok(false);
        };
        let mut seen = self.seen();
        seen.versions.insert(name.to_owned(), version);
        seen.generation = generation_of(name).or(seen.generation);
        Ok(true)
    }

    fn remove(&self, name: &str) -> Result<(), CheckpointError> {
        self.s3.remove(&[name.to_owned()]).map_err(self.lift(name))?;
        self.seen().versions.remove(name);
        Ok(())
    }

    fn fences(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Location;

    /// A store in the first S3 place of `TIDEGATE_TEST_PLACES`, opened as often as wanted.
    fn place() -> Option<(String, String)> {
        let named = std::env::var("TIDEGATE_TEST_PLACES").unwrap_or_default();
        let found = named.split_whitespace().find_map(|url| match Location::parse(url) {
            Ok(Location::S3 { bucket, prefix }) => Some((bucket, prefix)),
            _ => None,
        });
        if found.is_none() {
            eprintln!("skipped: no S3 server in TIDEGATE_TEST_PLACES");
        }
        found.map(|(bucket, prefix)| (bucket, format!("{prefix}/{}", crate::sink::nonce())))
    }

    #[test]
    fn older_run_cannot_write_what_a_newer_one_has_written() {
        let Some((bucket, prefix)) = place() else { return };
        let old = S3Store::open(&bucket, &prefix, &Credentials::of_process()).unwrap();
        assert!(old.create("generation-0000000001", b"").unwrap());
        old.write("manifest-0000000001.tg", b"1").unwrap();
        old.write("state-1", b"1").unwrap();
        let new = S3Store::open(&bucket, &prefix, &Credentials::of_process()).unwrap();
        assert_eq!(new.read("manifest-0000000001.tg").unwrap().as_deref(), Some(&b"1"[..]));
        new.write("state-1", b"2").unwrap();
        assert!(matches!(old.write("state-1", b"3"), Err(CheckpointError::InUse { .. })));
        new.write("state-1", b"4").unwrap();
        assert!(!new.create("generation-0000000001", b"").unwrap());
        assert!(new.create("generation-0000000002", b"").unwrap());
        let name = &Manifest::names(2)[0];
        assert!(matches!(old.write(name, b"1"), Err(CheckpointError::InUse { .. })));
        new.write(name, b"2").unwrap();
        new.write(name, b"22").unwrap();
        new.remove(name).unwrap();
        assert_eq!(new.read(name).unwrap(), None);
    }
}

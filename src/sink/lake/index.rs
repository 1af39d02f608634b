//! What is in a lake: the manifests of its epochs, and the snapshots that compactions leave.
//!
//! ```text
//! <lake>/_tidegate/manifest-0000000007.json                       the files of epoch 7
//! <lake>/_tidegate/state/snapshot-0000000002-0000000006.json      all files of epochs up to 6, as compaction 2 left them
//! <lake>/_tidegate/mark.json                                      of a local lake: the last epoch that is whole
//! ```
//!
//! The newest snapshot and the manifests behind it list each row of the lake once. A compaction may remove a manifest
//! between our listing and our reading of it: then all is read again.

use serde::{Deserialize, Serialize};

use super::{BOOKS, LakeFile, LakeManifest};
use crate::storage::{Storage, StorageError};

/// What the names of manifests begin with.
pub(super) const MANIFEST: &str = "manifest-";
/// The directory of generations, snapshots and decisions on compactions, below the bookkeeping.
pub(super) const STATE: &str = "state";

/// So often a lake is read again that changes meanwhile.
const TRIES: usize = 20;

/// All files of the epochs up to one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Snapshot {
    pub(super) format: u32,
    /// Which compaction left it, from 1.
    pub(super) number: u64,
    /// The epochs that it takes up: all up to this one.
    pub(super) through: u64,
    pub(super) files: Vec<LakeFile>,
    /// The files that it replaces, which are to be removed.
    pub(super) replaced: Vec<String>,
}

/// What is in a lake at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LakeIndex {
    /// The files, in the order in which they came.
    pub files: Vec<LakeFile>,
    /// The newest epoch that is in; `None` for a lake without any.
    pub epoch: Option<u64>,
    /// The number of the newest compaction; 0 before the first. One that was taken back has a number too.
    pub compactions: u64,
}

pub(super) fn manifest_name(epoch: u64) -> String {
    format!("{MANIFEST}{epoch:010}.json")
}

pub(super) fn snapshot_name(number: u64, through: u64) -> String {
    format!("snapshot-{number:010}-{through:010}.json")
}

/// The number in a name like `manifest-0000000007.json`.
pub(super) fn number_of(name: &str, prefix: &str) -> Option<u64> {
    name.strip_prefix(prefix)?.strip_suffix(".json")?.parse().ok()
}

/// The number of a snapshot and the epoch it reaches to, from its name.
pub(super) fn snapshot_of(name: &str) -> Option<(u64, u64)> {
    let (number, through) = name.strip_prefix("snapshot-")?.strip_suffix(".json")?.split_once('-')?;
    Some((number.parse().ok()?, through.parse().ok()?))
}

#[derive(Deserialize)]
struct MarkEpoch {
    epoch: Option<u64>,
}

impl LakeIndex {
    /// Reads what is in the lake in `place`.
    ///
    /// # Errors
    /// When the place cannot be read, or what tidegate keeps there is damaged.
    pub fn read(place: &dyn Storage) -> Result<Self, StorageError> {
        for _ in 0..TRIES {
            if let Some(index) = LakeIndex::try_read(place)? {
                return Ok(index);
            }
        }
        Err(damaged(place, BOOKS, "it changes faster than it can be read", true))
    }

    fn try_read(place: &dyn Storage) -> Result<Option<Self>, StorageError> {
        let names = place.names(BOOKS)?;
        let newest = newest_snapshot(place)?.unwrap_or_default();
        let upper = match place.read(&format!("{BOOKS}/mark.json"))? {
            None => u64::MAX,
            Some(bytes) => {
                let mark: MarkEpoch = parse(place, "mark.json", &bytes)?;
                mark.epoch.unwrap_or(0)
            }
        };
        // A manifest beyond the mark is of a commit that died; it counts when the commit is repeated.
        let mut epochs: Vec<u64> = names.iter().filter_map(|name| number_of(name, MANIFEST)).collect();
        epochs.retain(|&epoch| newest.through < epoch && epoch <= upper);
        epochs.sort_unstable();
        let manifests: Vec<_> = epochs.iter().map(|&epoch| manifest_name(epoch)).collect();
        let paths: Vec<_> = manifests.iter().map(|name| format!("{BOOKS}/{name}")).collect();
        let mut files = newest.files;
        for (name, bytes) in manifests.iter().zip(place.read_all(&paths)?) {
            let Some(bytes) = bytes else { return Ok(None) };
            let manifest: LakeManifest = parse(place, name, &bytes)?;
            files.extend(manifest.files);
        }
        let in_snapshot = (newest.number > 0).then_some(newest.through);
        let epoch = epochs.last().copied().or(in_snapshot);
        Ok(Some(LakeIndex { files, epoch, compactions: newest.number }))
    }

    /// How many rows are in the lake.
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }
}

/// The newest snapshot of a lake.
pub(super) fn newest_snapshot(place: &dyn Storage) -> Result<Option<Snapshot>, StorageError> {
    for _ in 0..TRIES {
        let names = place.names(&format!("{BOOKS}/{STATE}"))?;
        let newest = names.iter().filter_map(|name| snapshot_of(name)).max();
        let Some((number, through)) = newest else { return Ok(None) };
        let name = format!("{STATE}/{}", snapshot_name(number, through));
        if let Some(bytes) = place.read(&format!("{BOOKS}/{name}"))? {
            return Ok(Some(parse(place, &name, &bytes)?));
        }
    }
    Err(damaged(place, STATE, "it changes faster than it can be read", true))
}

pub(super) fn parse<'b, T: Deserialize<'b>>(
    place: &dyn Storage,
    name: &str,
    bytes: &'b [u8],
) -> Result<T, StorageError> {
    serde_json::from_slice(bytes)
        .map_err(|error| damaged(place, name, &format!("it is damaged: {error}"), false))
}

pub(super) fn damaged(place: &dyn Storage, name: &str, cause: &str, is_away: bool) -> StorageError {
    let path = format!("{BOOKS}/{name}");
    StorageError { place: place.place(), verb: "read", path, cause: cause.to_owned(), is_away }
}

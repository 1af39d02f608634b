//! From merged files to a lake that consists of them, and what becomes of compactions that stopped on the way.
//!
//! A compaction that is taken for dead may be alive and go on at any moment. So each has a number, and what comes of a
//! number is decided by one file, `_tidegate/state/decision-<number>.json`, created where there is none: the compaction
//! creates it as "publish" when all its files are there, whoever finds an undecided one creates it as "back". A decision
//! never changes. After "publish" anybody can create the snapshot, which waits in the intent; after "back" nobody does,
//! and the files can go.
//!
//! A number is the next one after all that were decided, taken before the lake is read. A compaction is published only if
//! the lake is still the one that it has read: no other snapshot has come, and none of a smaller number can come still.
//! Decisions up to the newest snapshot's number are removed with what it replaces: who creates one of them again finds
//! that snapshot, and stops.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::sink::lake::epoch::StagedFile;
use crate::sink::lake::index::{
    MANIFEST, STATE, Snapshot, damaged, newest_snapshot, number_of, parse, snapshot_name, snapshot_of,
};
use crate::sink::lake::{BOOKS, LakeFile, LakeIndex};
use crate::sink::staged::nonce;
use crate::storage::{Publish, Storage, StorageError, Upload};

const DECISION: &str = "decision-";
const INTENT: &str = "intent.json";

/// What a compaction that is not decided may have published, and what it would make of the lake. Number 0 stands in
/// the place of one that came too late.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Intent {
    number: u64,
    files: Vec<String>,
    /// Before decisions there was none: such an intent can only be taken back.
    #[serde(default)]
    snapshot: Snapshot,
}

/// What comes of a number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// The compaction whose workshop is called so is in.
    Publish(String),
    /// No compaction of this number will ever be.
    Back,
}

/// The number of a compaction that begins now: taken before the lake is read.
pub(super) fn next_number(place: &dyn Storage) -> Result<u64, StorageError> {
    let state = place.names(&format!("{BOOKS}/{STATE}"))?;
    let of =
        |name: &String| snapshot_of(name).map(|(number, _)| number).or_else(|| number_of(name, DECISION));
    Ok(state.iter().filter_map(of).max().unwrap_or(0) + 1)
}

/// Publishes the merged files, which lie in the local directory `dir`, decides, and removes what they replace.
pub(super) fn swap(
    place: &dyn Storage,
    index: &LakeIndex,
    number: u64,
    staged: Vec<StagedFile>,
    replaced: Vec<String>,
    dir: &Path,
) -> Result<(), StorageError> {
    let name = format!("{number}-{}", nonce());
    let workshop = workshop(&name);
    let upload = |file: &StagedFile| Upload {
        from: dir.join(&file.name),
        to: format!("{workshop}/{}", file.name),
        bytes: file.bytes,
    };
    let publish = |file: &StagedFile| Publish {
        from: format!("{workshop}/{}", file.name),
        to: file.path.clone(),
        bytes: file.bytes,
        crc32: None,
    };
    let merged: Vec<String> = staged.iter().map(|file| file.path.clone()).collect();
    let gone: BTreeSet<&String> = replaced.iter().collect();
    let stays = |file: &&LakeFile| !gone.contains(&file.path);
    let mut files: Vec<LakeFile> = index.files.iter().filter(stays).cloned().collect();
    let (uploads, published): (Vec<_>, Vec<_>) =
        staged.iter().map(|file| (upload(file), publish(file))).unzip();
    files.extend(staged.into_iter().map(StagedFile::into_published));
    let snapshot = Snapshot { format: 1, number, through: index.epoch.unwrap_or(0), files, replaced };
    let intent = Intent { number, files: merged, snapshot };
    place.upload(&uploads)?;
    let path = format!("{workshop}/{INTENT}");
    let bytes = json(place, &intent)?;
    if !place.create(&path, &bytes)? && place.read(&path)?.as_deref() != Some(&bytes[..]) {
        return Err(beaten(place));
    }
    place.publish(&published)?;
    let ours = Verdict::Publish(name);
    let wanted = if is_current(place, index, number)? { &ours } else { &Verdict::Back };
    let verdict = decide(place, number, wanted)?;
    let newest = newest_snapshot(place)?.unwrap_or_default();
    if verdict != ours || newest.number != index.compactions {
        // Ours never comes: away with it. Where that is still open, the next compaction finds our intent.
        if verdict == Verdict::Back || newest.number >= number {
            remove_orphans(place, &newest, intent.files)?;
            place.remove_dir(&workshop)?;
        }
        return Err(beaten(place));
    }
    intent.snapshot.create(place)?;
    place.remove_dir(&workshop)?;
    finish(place)
}

/// Brings compactions that stopped on the way to their end: forwards what is decided, back what is not.
pub(super) fn settle(place: &dyn Storage) -> Result<(), StorageError> {
    let mut left = Vec::new();
    for name in place.names(&format!("{BOOKS}/compact"))? {
        let path = format!("{}/{INTENT}", workshop(&name));
        let mut bytes = place.read(&path)?;
        if bytes.is_none() {
            // Unfinished. Should it live, it must not write its intent now, for us to remove it unread.
            place.create(&path, &json(place, &Intent::default())?)?;
            bytes = place.read(&path)?;
        }
        let intent: Intent = match bytes {
            Some(bytes) => parse(place, &format!("compact/{name}/{INTENT}"), &bytes)?,
            None => return Err(busy(place)),
        };
        left.push((name, intent));
    }
    let newest = newest_snapshot(place)?.unwrap_or_default().number;
    let mut decided = newest;
    for (name, intent) in left.iter().filter(|(_, intent)| intent.number > newest) {
        if let Verdict::Publish(of) = decide(place, intent.number, &Verdict::Back)? {
            decided = decided.max(intent.number);
            if of == *name {
                intent.snapshot.create(place)?;
            }
        }
    }
    let newest = newest_snapshot(place)?.unwrap_or_default();
    if newest.number < decided {
        return Err(busy(place));
    }
    for (name, intent) in left {
        // What is staged goes first, so that one that lives publishes nothing behind our back, and the intent last.
        let dir = workshop(&name);
        let staged =
            place.list(&dir)?.into_iter().map(|file| file.path).filter(|path| !path.ends_with(INTENT));
        place.remove(&staged.collect::<Vec<_>>())?;
        remove_orphans(place, &newest, intent.files)?;
        place.remove_dir(&dir)?;
    }
    Ok(())
}

/// Removes what the newest snapshot replaces.
pub(super) fn finish(place: &dyn Storage) -> Result<(), StorageError> {
    let Some(newest) = newest_snapshot(place)? else { return Ok(()) };
    place.remove(&newest.replaced)?;
    let in_books = |name: &String| format!("{BOOKS}/{name}");
    let taken_up = |name: &&String| number_of(name, MANIFEST).is_some_and(|epoch| epoch <= newest.through);
    place.remove(&place.names(BOOKS)?.iter().filter(taken_up).map(in_books).collect::<Vec<_>>())?;
    let in_state = |name: &String| format!("{BOOKS}/{STATE}/{name}");
    let is_old = |name: &&String| {
        snapshot_of(name).is_some_and(|(number, _)| number < newest.number)
            || number_of(name, DECISION).is_some_and(|number| number <= newest.number)
    };
    let state = place.names(&format!("{BOOKS}/{STATE}"))?;
    place.remove(&state.iter().filter(is_old).map(in_state).collect::<Vec<_>>())?;
    if newest.replaced.is_empty() {
        return Ok(());
    }
    // All of them are gone: the next compaction need not look for them.
    let snapshot = Snapshot { replaced: Vec::new(), ..newest };
    place.replace(&snapshot.path(), &json(place, &snapshot)?)
}

impl Snapshot {
    fn path(&self) -> String {
        format!("{BOOKS}/{STATE}/{}", snapshot_name(self.number, self.through))
    }

    /// Puts a snapshot that is decided where readers find it. One that is there already is the same, or newer ones have
    /// replaced it.
    fn create(&self, place: &dyn Storage) -> Result<(), StorageError> {
        place.create(&self.path(), &json(place, self)?).map(drop)
    }
}

/// Where a compaction keeps what is not decided.
fn workshop(name: &str) -> String {
    format!("{BOOKS}/compact/{name}")
}

/// Whether the lake is still as `index` says, and stays so until `number` is decided.
fn is_current(place: &dyn Storage, index: &LakeIndex, number: u64) -> Result<bool, StorageError> {
    for smaller in index.compactions + 1..number {
        if matches!(verdict(place, smaller)?, Some(Verdict::Publish(_))) {
            return Ok(false);
        }
    }
    let newest = newest_snapshot(place)?.unwrap_or_default().number;
    Ok(newest == index.compactions && newest < number)
}

/// Decides on a number if nobody has; what is decided.
fn decide(place: &dyn Storage, number: u64, wanted: &Verdict) -> Result<Verdict, StorageError> {
    if place.create(&format!("{BOOKS}/{}", decision(number)), &json(place, wanted)?)? {
        return Ok(wanted.clone());
    }
    verdict(place, number)?.ok_or_else(|| busy(place))
}

fn verdict(place: &dyn Storage, number: u64) -> Result<Option<Verdict>, StorageError> {
    let name = decision(number);
    let bytes = place.read(&format!("{BOOKS}/{name}"))?;
    bytes.map(|bytes| parse(place, &name, &bytes)).transpose()
}

fn decision(number: u64) -> String {
    format!("{STATE}/{DECISION}{number:010}.json")
}

/// Removes those of `files`, merged by a compaction that is settled, that are not in the lake.
fn remove_orphans(place: &dyn Storage, newest: &Snapshot, files: Vec<String>) -> Result<(), StorageError> {
    let known: BTreeSet<&String> = newest.files.iter().map(|file| &file.path).collect();
    let orphans = files.into_iter().filter(|path| !known.contains(path));
    place.remove(&orphans.collect::<Vec<_>>())
}

fn beaten(place: &dyn Storage) -> StorageError {
    damaged(place, STATE, "another compaction came first; run one at a time", false)
}

fn busy(place: &dyn Storage) -> StorageError {
    damaged(place, STATE, "another compaction is under way; run one at a time", true)
}

fn json(place: &dyn Storage, value: &impl Serialize) -> Result<Vec<u8>, StorageError> {
    serde_json::to_vec(value).map_err(|error| damaged(place, STATE, &error.to_string(), false))
}

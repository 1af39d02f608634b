//! Merging a lake's small files.
//!
//! ```text
//! merge ─► upload (staged) ─► intent ─► publish ─► decision ─► snapshot ─► remove the old files, manifests, snapshot
//! ```
//!
//! The snapshot is one file, created where there is none: before it a reader that goes by the lake's manifests reads
//! the old files, after it the merged ones, and each row once. Who lists files instead sees the rows of merged files
//! twice between the first published and the last removed one, and never misses any. A compaction that died is cleared
//! away by the next one, forwards when it had decided and back when not; and one that only seemed dead finds that it was
//! (`swap.rs`).
//!
//! A run may write to the lake meanwhile: the snapshot takes up what was in the lake when the compaction began, and the
//! manifests of later epochs stand behind it. An epoch that a snapshot takes up is never published again.
//!
//! Files of one directory are merged with each other; with a *level*, those of all directories below a directory of that
//! level, whose values of deeper levels then become columns.

mod swap;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::epoch::{Limits, OpenEpoch, StagedFile};
use super::index::damaged;
use super::read::{partition_values, read_file};
use super::{LakeBatch, LakeFile, LakeIndex};
use crate::rows::{Cell, ColumnDef, ColumnType, RowBatch, Schema};
use crate::sink::disk::{Disk, Durability};
use crate::sink::staged::nonce;
use crate::storage::{Storage, StorageError};

/// So many bytes of files are read at once.
const AT_ONCE: u64 = 64 << 20;

/// `files` in portions that may be read at once, at least one file each.
pub(in crate::sink) fn portions<T>(files: &[T], bytes: impl Fn(&T) -> u64) -> impl Iterator<Item = &[T]> {
    let mut rest = files;
    std::iter::from_fn(move || {
        let mut sum = 0;
        let fits = |file: &&T| {
            sum += bytes(file);
            sum <= AT_ONCE
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (now, later) = rest.split_at_checked(count)?;
        rest = later;
        Some(now)
    })
}

/// What is merged, and into what.
#[derive(Clone, Debug)]
pub struct Compaction {
    /// A file with at least half of this many bytes stays as it is; merged files have about so many. 128 MiB.
    pub target_bytes: u64,
    /// A row group has at most about this many rows: 256 Ki.
    pub group_rows: usize,
    /// The level up to which directories are merged: the name of a partition column. `None`: each directory by itself.
    pub level: Option<String>,
}

impl Default for Compaction {
    fn default() -> Self {
        Compaction { target_bytes: 128 << 20, group_rows: 256 << 10, level: None }
    }
}

/// What a compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Compacted {
    /// Files in the lake before.
    pub files_before: usize,
    /// Files in the lake after.
    pub files_after: usize,
    /// Files that were merged.
    pub merged: usize,
    /// Files that they became.
    pub into: usize,
    /// Rows that were moved.
    pub rows: u64,
    /// Bytes of the merged files before.
    pub bytes_before: u64,
    /// Bytes of what they became.
    pub bytes_after: u64,
}

impl Compaction {
    /// Merges small files of the lake in `place`. One at a time: the caller sees to it.
    ///
    /// # Errors
    /// When the place cannot be read or changed, or a file is damaged. What the lake holds stays as it is; run it again.
    pub fn run(&self, place: &dyn Storage) -> Result<Compacted, StorageError> {
        swap::settle(place)?;
        swap::finish(place)?;
        let number = swap::next_number(place)?;
        let index = LakeIndex::read(place)?;
        let mut done = Compacted { files_before: index.files.len(), ..Compacted::default() };
        done.files_after = done.files_before;
        let plan = self.plan(place, &index)?;
        if plan.is_empty() {
            return Ok(done);
        }
        let dir = std::env::temp_dir().join(format!("tidegate-compact-{}", nonce()));
        let outcome = self.merge(place, &plan, number, &dir).and_then(|staged| {
            let replaced: Vec<&LakeFile> = plan.values().flatten().copied().collect();
            done.merged = replaced.len();
            done.into = staged.len();
            done.rows = staged.iter().map(|file| file.rows).sum();
            done.bytes_before = replaced.iter().map(|file| file.bytes).sum();
            done.bytes_after = staged.iter().map(|file| file.bytes).sum();
            done.files_after = done.files_before - done.merged + done.into;
            let rows: u64 = replaced.iter().map(|file| file.rows).sum();
            if rows != done.rows {
                let what = format!("{rows} rows became {}: nothing was changed", done.rows);
                return Err(damaged(place, "", &what, false));
            }
            let replaced: Vec<String> = replaced.into_iter().map(|file| file.path.clone()).collect();
            swap::swap(place, &index, number, staged, replaced, &dir)
        });
        // The system clears its temporary directory where we cannot.
        drop(std::fs::remove_dir_all(&dir));
        outcome.map(|()| done)
    }

    /// The files that are merged, by the directory where what they become will lie.
    fn plan<'i>(
        &self,
        place: &dyn Storage,
        index: &'i LakeIndex,
    ) -> Result<BTreeMap<String, Vec<&'i LakeFile>>, StorageError> {
        let mut plan: BTreeMap<String, Vec<&LakeFile>> = BTreeMap::new();
        let mut is_known = self.level.is_none() || index.files.is_empty();
        for file in &index.files {
            let dir = file.path.rsplit_once('/').map_or("", |(dir, _)| dir);
            // What was merged up to a higher level stays there.
            let target = self.level.as_ref().and_then(|level| up_to(dir, level));
            is_known |= target.is_some();
            let target = target.unwrap_or_else(|| dir.to_owned());
            if target != dir || file.bytes < self.target_bytes / 2 {
                plan.entry(target).or_default().push(file);
            }
        }
        if let (false, Some(level)) = (is_known, &self.level) {
            let what = format!("no file has a level {level:?}: name one of its partition columns");
            return Err(damaged(place, "", &what, false));
        }
        // A file alone in its place gains nothing.
        plan.retain(|_, files| files.len() > 1);
        Ok(plan)
    }

    /// Writes the merged files to the local directory `dir`.
    fn merge(
        &self,
        place: &dyn Storage,
        plan: &BTreeMap<String, Vec<&LakeFile>>,
        number: u64,
        dir: &std::path::Path,
    ) -> Result<Vec<StagedFile>, StorageError> {
        let wrong = |path: &str, what: String| damaged(place, &format!("../{path}"), &what, false);
        std::fs::create_dir_all(dir).map_err(|error| wrong("", error.to_string()))?;
        let limits = Limits {
            group_rows: self.group_rows,
            file_bytes: self.target_bytes as usize,
            open_files: 4,
            ..Limits::default()
        };
        let disk = Disk::new(Durability::Process);
        let mut open = OpenEpoch::new(disk, dir.to_owned(), number, limits).named("compact");
        for (target, files) in plan {
            for now in portions(files, |file| file.bytes) {
                let paths: Vec<String> = now.iter().map(|file| file.path.clone()).collect();
                for (file, bytes) in now.iter().zip(place.read_all(&paths)?) {
                    let path = &file.path;
                    let bytes = bytes.ok_or_else(|| wrong(path, "it is not there".to_owned()))?;
                    if bytes.len() as u64 != file.bytes || crc32fast::hash(&bytes) != file.crc32 {
                        return Err(wrong(path, "it is not the file that the manifest describes".to_owned()));
                    }
                    for batch in batches(bytes, path, target).map_err(|what| wrong(path, what))? {
                        open.write(batch).map_err(|what| wrong(path, what))?;
                    }
                }
            }
            open.end_all().map_err(|what| wrong(target, what))?;
        }
        open.finish().map_err(|what| wrong("", what))
    }
}

/// The directory of `dir`'s level called `level`.
fn up_to(dir: &str, level: &str) -> Option<String> {
    let mut end = 0;
    for part in dir.split('/') {
        end += part.len();
        if part.split_once('=').is_some_and(|(name, _)| name == level) {
            return Some(dir[..end].to_owned());
        }
        end += 1;
    }
    None
}

/// The rows of a file, with the partition columns that `target` does not name.
fn batches(bytes: Vec<u8>, path: &str, target: &str) -> Result<Vec<LakeBatch>, String> {
    let mut rows = read_file(bytes, &|_| true)?;
    let below = path[target.len()..].trim_start_matches('/');
    let mut extra = partition_values(below);
    extra.retain(|(name, _)| rows.schema.columns.iter().all(|column| column.name != **name));
    let extra: Vec<_> =
        extra.into_iter().map(|(name, value)| (name, value.parse::<i64>().ok(), value)).collect();
    let mut columns = rows.schema.columns;
    columns.extend(extra.iter().map(|(name, number, _)| ColumnDef {
        name: name.clone().into(),
        kind: if number.is_some() { ColumnType::Int } else { ColumnType::Text },
        nullable: true,
    }));
    let schema = Arc::new(Schema { name: rows.schema.name, columns, key: Vec::new() });
    for batch in &mut rows.batches {
        for (_, number, value) in &extra {
            let cell = number.map_or(Cell::Text(value.as_bytes()), Cell::Int);
            batch.add_constant(if number.is_some() { ColumnType::Int } else { ColumnType::Text }, cell);
        }
    }
    let batch = |rows: RowBatch| LakeBatch {
        partition_dir: target.to_owned(),
        writer_partition: 0,
        schema: Arc::clone(&schema),
        rows,
    };
    Ok(rows.batches.into_iter().map(batch).collect())
}

#[cfg(test)]
mod tests;

//! Seconds from a lake of `hydraulic`, and what has changed in it since the last look.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;
use tidegate::rows::{Cell, ColumnType};
use tidegate::sink::lake::{LakeFile, LakeIndex, partition_values, read_file};
use tidegate::storage::{Storage, StorageError};

use super::Second;
use crate::hydraulic::table_schemas;

/// So many files are read at once.
const AT_ONCE: usize = 256;

/// So often a lake is read again in which a compaction removed a file meanwhile.
const TRIES: usize = 10;

/// Why a lake or its labels cannot be read.
#[derive(Debug, Error)]
pub enum FeedError {
    /// The place cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A file is not what it should be.
    #[error("{path:?} in {place}: {what}")]
    File {
        /// The lake.
        place: String,
        /// The file.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// There is nothing in it.
    #[error("there is no lake in {place}, or nothing is in it yet: name the directory that holds _tidegate/")]
    Empty {
        /// The place.
        place: String,
    },
    /// The labels cannot be read.
    #[error("cannot read the labels {path:?}: {cause}")]
    Labels {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
}

/// The names of the features: the numeric columns of `synchronized_features`, in their order.
pub fn features() -> Vec<String> {
    let [_, synchronized, _] = table_schemas();
    let columns = synchronized.columns.iter().filter(|column| column.name != "cycle");
    let numeric = columns.filter(|column| matches!(column.kind, ColumnType::Int | ColumnType::Float));
    numeric.map(|column| column.name.to_string()).collect()
}

/// A lake that is looked at again and again.
#[derive(Debug)]
pub struct Feed {
    place: Arc<dyn Storage>,
    features: Vec<String>,
    only: Option<BTreeSet<i64>>,
    /// What was put in, by file: what a compaction has replaced is taken out again.
    files: BTreeMap<String, Vec<(i64, Second)>>,
}

/// Seconds by cycle that are put in (1) and taken out (−1).
type Seconds = Vec<(i64, Second, isize)>;

impl Feed {
    /// A lake, and the columns of it that are wanted.
    pub fn new(place: Arc<dyn Storage>, features: Vec<String>) -> Self {
        Feed { place, features, only: None, files: BTreeMap::new() }
    }

    /// Just these cycles of it.
    pub fn only(self, cycles: impl IntoIterator<Item = i64>) -> Self {
        Feed { only: Some(cycles.into_iter().collect()), ..self }
    }

    fn wants(&self, cycle: i64) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(&cycle))
    }

    /// What has come and gone since the last look.
    ///
    /// # Errors
    /// See [`FeedError`].
    pub fn poll(&mut self) -> Result<Seconds, FeedError> {
        for _ in 0..TRIES {
            let index = LakeIndex::read(&*self.place)?;
            if index.epoch.is_none() {
                return Err(FeedError::Empty { place: self.place.place() });
            }
            if let Some(changes) = self.follow(&index)? {
                return Ok(changes);
            }
        }
        let (place, path) = (self.place.place(), String::new());
        Err(FeedError::File { place, path, what: "it changes faster than it can be read".to_owned() })
    }

    /// `None` when a file is gone that the index lists.
    fn follow(&mut self, index: &LakeIndex) -> Result<Option<Seconds>, FeedError> {
        let there: BTreeSet<&String> = index.files.iter().map(|file| &file.path).collect();
        // A file whose path says that it holds another cycle need not be read.
        let may_hold = |file: &&LakeFile| in_path(&file.path).is_none_or(|cycle| self.wants(cycle));
        let unread = |file: &&LakeFile| !self.files.contains_key(&file.path);
        let new: Vec<&LakeFile> = index.files.iter().filter(unread).filter(may_hold).collect();
        let mut read = Vec::with_capacity(new.len());
        for some in new.chunks(AT_ONCE) {
            let paths: Vec<String> = some.iter().map(|file| file.path.clone()).collect();
            for (path, bytes) in paths.iter().zip(self.place.read_all(&paths)?) {
                let Some(bytes) = bytes else { return Ok(None) };
                let seconds = self.seconds(path, bytes).map_err(|what| FeedError::File {
                    place: self.place.place(),
                    path: path.clone(),
                    what,
                })?;
                read.push((path.clone(), seconds));
            }
        }
        let gone: Vec<String> = self.files.keys().filter(|path| !there.contains(path)).cloned().collect();
        let mut changes = Vec::new();
        for seconds in gone.iter().filter_map(|path| self.files.remove(path)) {
            changes.extend(seconds.into_iter().map(|(cycle, second)| (cycle, second, -1)));
        }
        for (path, seconds) in read {
            changes.extend(seconds.iter().map(|(cycle, second)| (*cycle, second.clone(), 1)));
            self.files.insert(path, seconds);
        }
        Ok(Some(changes))
    }

    /// The seconds of a file.
    fn seconds(&self, path: &str, bytes: Vec<u8>) -> Result<Vec<(i64, Second)>, String> {
        let wanted = |name: &str| {
            name == "window_start" || name == "cycle" || self.features.iter().any(|feature| feature == name)
        };
        let rows = read_file(bytes, &wanted)?;
        let at = |name: &str| rows.schema.columns.iter().position(|column| column.name == name);
        let Some(start) = at("window_start") else {
            return Err("it has no column window_start: this is no lake of the hydraulic pipeline".to_owned());
        };
        let in_path = in_path(path);
        let cycle = at("cycle");
        let columns: Vec<Option<usize>> = self.features.iter().map(|feature| at(feature)).collect();
        let mut seconds = Vec::new();
        for batch in &rows.batches {
            let columns_of = batch.columns();
            for row in 0..batch.len() {
                let cycle = match cycle.map(|cycle| columns_of[cycle].get(row)) {
                    Some(Cell::Int(cycle)) => Some(cycle),
                    _ => in_path,
                };
                let (Some(cycle), Cell::Time(start_us)) = (cycle, columns_of[start].get(row)) else {
                    return Err(format!("row {row} has no cycle or no window_start"));
                };
                if !self.wants(cycle) {
                    continue;
                }
                let value = |column: &Option<usize>| match column.map(|column| columns_of[column].get(row)) {
                    Some(Cell::Float(value)) => Some(value),
                    Some(Cell::Int(value)) => Some(value as f64),
                    _ => None,
                };
                seconds.push((cycle, Second::new(start_us, columns.iter().map(value))));
            }
        }
        Ok(seconds)
    }
}

/// The cycle that a path names.
fn in_path(path: &str) -> Option<i64> {
    let levels = partition_values(path);
    levels.into_iter().find(|(name, _)| name == "cycle").and_then(|(_, value)| value.parse().ok())
}

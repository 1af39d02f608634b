//! Looking after Delta tables: their history, and files that nobody needs any more.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::action::Action;
use super::log::{Log, Snapshot};
use crate::runtime::{Clock, SystemClock};
use crate::sink::SinkError;
use crate::sink::staged::failed;
use crate::storage::{Dir, Storage};

/// A version of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its number.
    pub version: u64,
    /// When it was put, ms, by the clock of who put it.
    pub timestamp_ms: Option<i64>,
    /// What was done.
    pub operation: String,
    /// How many files it added.
    pub added: usize,
    /// How many it removed.
    pub removed: usize,
    /// How many rows the added files have, where they say so.
    pub rows: u64,
}

/// The versions of the table that is `table`, the newest first, as far back as the log goes.
///
/// # Errors
/// When it is no Delta table, or a commit cannot be read.
pub fn history(table: &Arc<dyn Storage>) -> Result<Vec<Commit>, SinkError> {
    let log = Log::new(Arc::clone(table), "", "delta");
    let newest = present(&log, &**table)?.version.unwrap_or(0);
    let mut commits = Vec::new();
    for version in (0..=newest).rev() {
        let Some(actions) = log.commit(version)? else { break };
        let mut commit =
            Commit { version, timestamp_ms: None, operation: "?".to_owned(), added: 0, removed: 0, rows: 0 };
        for action in actions {
            match action {
                Action::CommitInfo(info) => {
                    commit.timestamp_ms = info["timestamp"].as_i64();
                    commit.operation = info["operation"].as_str().unwrap_or("?").to_owned();
                }
                Action::Add(add) => {
                    commit.added += 1;
                    let stats: serde_json::Value =
                        add.stats.and_then(|stats| serde_json::from_str(&stats).ok()).unwrap_or_default();
                    commit.rows += stats["numRecords"].as_u64().unwrap_or(0);
                }
                Action::Remove(_) => commit.removed += 1,
                _ => {}
            }
        }
        commits.push(commit);
    }
    Ok(commits)
}

/// What a vacuum removed, or would remove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vacuumed {
    /// Files, below the table.
    pub files: Vec<PathBuf>,
    /// Their bytes.
    pub bytes: u64,
}

/// Removes the data files of the table in `dir` that its newest version does not have and that are older than
/// `retention`; only looks for them where `dry_run`. Versions that had them cannot be read any more.
///
/// # Errors
/// When it is no Delta table, or a file cannot be removed.
pub fn vacuum(dir: &Path, retention: Duration, dry_run: bool) -> Result<Vacuumed, SinkError> {
    let table: Arc<dyn Storage> = Arc::new(Dir::new(dir));
    let log = Log::new(Arc::clone(&table), "", "delta");
    let snapshot = present(&log, &*table)?;
    let before_ms = before_ms(retention);
    let kept: BTreeSet<&str> = snapshot.files.keys().map(String::as_str).collect();
    // A file that was taken out lately is younger than its making says.
    let lately = |path: &str| {
        let removed = snapshot.removed.get(path).and_then(|removed| removed.deletion_timestamp);
        removed.is_some_and(|at_ms| at_ms > before_ms)
    };
    let mut vacuumed = Vacuumed::default();
    let wrong = |path: &Path, error: std::io::Error| failed("delta", format!("{path:?}: {error}"));
    let mut dirs = vec![PathBuf::new()];
    while let Some(below) = dirs.pop() {
        let at = dir.join(&below);
        for entry in fs::read_dir(&at).map_err(|error| wrong(&at, error))? {
            let entry = entry.map_err(|error| wrong(&at, error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let (path, meta) = (below.join(&name), entry.metadata().map_err(|error| wrong(&at, error))?);
            let text = path.to_string_lossy().into_owned();
            if name.starts_with(['_', '.']) {
                continue;
            }
            if meta.is_dir() {
                dirs.push(path);
                continue;
            }
            let modified = meta.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
            let old = modified.is_some_and(|since| (since.as_millis() as i64) <= before_ms);
            if !name.ends_with(".parquet") || kept.contains(&*text) || lately(&text) || !old {
                continue;
            }
            if !dry_run {
                fs::remove_file(dir.join(&path)).map_err(|error| wrong(&path, error))?;
            }
            vacuumed.bytes += meta.len();
            vacuumed.files.push(path);
        }
    }
    vacuumed.files.sort();
    Ok(vacuumed)
}

/// The same for a table in a remote place, which does not say how old a file is: what a version has taken out so long ago is
/// removed, and files that no version has ever had stay.
///
/// # Errors
/// As [`vacuum`].
pub fn vacuum_remote(
    table: &Arc<dyn Storage>,
    retention: Duration,
    dry_run: bool,
) -> Result<Vacuumed, SinkError> {
    let log = Log::new(Arc::clone(table), "", "delta");
    let snapshot = present(&log, &**table)?;
    let before_ms = before_ms(retention);
    let is_old = |path: &str| {
        let removed = snapshot.removed.get(path).and_then(|removed| removed.deletion_timestamp);
        removed.is_some_and(|at_ms| at_ms <= before_ms) && !snapshot.files.contains_key(path)
    };
    let lift = |error: crate::storage::StorageError| error.of("delta");
    let old = table.list("").map_err(lift)?.into_iter().filter(|file| is_old(&file.path));
    let (paths, bytes): (Vec<String>, Vec<u64>) = old.map(|file| (file.path, file.bytes)).unzip();
    if !dry_run {
        table.remove(&paths).map_err(lift)?;
    }
    Ok(Vacuumed { files: paths.into_iter().map(PathBuf::from).collect(), bytes: bytes.iter().sum() })
}

/// So long ago, ms.
fn before_ms(retention: Duration) -> i64 {
    SystemClock.now_us() / 1000 - i64::try_from(retention.as_millis()).unwrap_or(i64::MAX)
}

/// A table as of its newest version; it must be one.
pub(super) fn present(log: &Log, table: &dyn Storage) -> Result<Snapshot, SinkError> {
    let snapshot = log.snapshot(None)?;
    match snapshot.version {
        Some(_) => Ok(snapshot),
        None => {
            let what = format!("{} is no Delta table: it has no _delta_log with commits", table.place());
            Err(failed("delta", what))
        }
    }
}

//! What lies in an output directory, told apart by what tidegate makes and what it does not.

use std::collections::BTreeSet;
use std::fs::{self, FileType};
use std::io;
use std::path::{Path, PathBuf};

use super::{BOOKS, LOCK, MARKER};
use crate::sink::disk::{Disk, DiskError};

/// The contents of an output directory.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    /// Results: files that users read.
    visible: Vec<PathBuf>,
    /// Trees of bookkeeping, to be removed after the results that they explain.
    books: Vec<PathBuf>,
    /// Directories of results, each after those in it.
    dirs: Vec<PathBuf>,
    /// What tidegate did not make.
    pub(super) foreign: Vec<PathBuf>,
}

impl Inventory {
    /// Looks at all of `dir`; empty where there is no such directory. Symbolic links are never followed.
    pub(super) fn of(dir: &Path) -> io::Result<Self> {
        let mut found = Inventory::default();
        for (path, name, kind) in entries(dir)? {
            match &*name {
                "lake" if kind.is_dir() => found.tables_of_files(&path, "_tidegate")?,
                "delta" if kind.is_dir() => found.tables_of_files(&path, "_delta_log")?,
                "topics" if kind.is_dir() => found.topics(&path)?,
                BOOKS if kind.is_dir() => found.own_books(&path)?,
                "summary.json"
                | "summary.json.tmp"
                | "tables.sqlite"
                | "tables.sqlite-journal"
                | "tables.sqlite-wal"
                | "tables.sqlite-shm"
                    if kind.is_file() =>
                {
                    found.visible.push(path);
                }
                _ => found.foreign.push(path),
            }
        }
        // The summary says that the rest is whole, so it is the first to go.
        found.visible.sort_by_key(|path| !path.to_string_lossy().contains("summary.json"));
        Ok(found)
    }

    /// Every entry but the lock and the marker, for a directory that should hold none.
    pub(super) fn all(&self) -> Vec<PathBuf> {
        [&self.foreign, &self.visible, &self.dirs, &self.books].into_iter().flatten().cloned().collect()
    }

    /// Removes what tidegate made. What has appeared since it was looked at stays, and is an error.
    pub(super) fn remove(self, disk: &Disk) -> Result<(), DiskError> {
        self.visible.iter().try_for_each(|path| disk.remove(path))?;
        self.books.iter().try_for_each(|path| disk.remove_tree(path))?;
        self.dirs.iter().try_for_each(|path| disk.remove_dir(path))
    }

    /// The directory's own bookkeeping, without the lock that is held and the marker that stays.
    fn own_books(&mut self, books: &Path) -> io::Result<()> {
        let kept = |name: &str| name == LOCK || name == MARKER || name == format!("{MARKER}.tmp");
        let others = entries(books)?.into_iter().filter(|(_, name, _)| !kept(name));
        self.books.extend(others.map(|(path, ..)| path));
        Ok(())
    }

    /// Lakes or Delta tables: a directory each.
    fn tables_of_files(&mut self, dir: &Path, log: &str) -> io::Result<()> {
        for (path, _, kind) in entries(dir)? {
            if kind.is_dir() {
                self.table_of_files(&path, &["_tidegate", log])?;
            } else {
                self.foreign.push(path);
            }
        }
        self.dirs.push(dir.to_owned());
        Ok(())
    }

    /// The partition directories and data files of one lake or Delta table, and its bookkeeping.
    fn table_of_files(&mut self, dir: &Path, books: &[&str]) -> io::Result<()> {
        for (path, name, kind) in entries(dir)? {
            if kind.is_dir() && books.contains(&&*name) {
                self.books.push(path);
            } else if kind.is_dir() && name.contains('=') {
                self.table_of_files(&path, &[])?;
            } else if kind.is_file() && is_data_file(&name) {
                self.visible.push(path);
            } else {
                self.foreign.push(path);
            }
        }
        self.dirs.push(dir.to_owned());
        Ok(())
    }

    /// Topics: a file is tidegate's if a sink's mark names its topic.
    fn topics(&mut self, dir: &Path) -> io::Result<()> {
        let ours = marked_topics(&dir.join(BOOKS))?;
        for (path, name, kind) in entries(dir)? {
            if name == BOOKS && kind.is_dir() {
                self.books.push(path);
            } else if kind.is_file() && name.strip_suffix(".jsonl").is_some_and(|topic| ours.contains(topic))
            {
                self.visible.push(path);
            } else {
                self.foreign.push(path);
            }
        }
        self.dirs.push(dir.to_owned());
        Ok(())
    }
}

/// The topics that the marks of the sinks in `books` name.
fn marked_topics(books: &Path) -> io::Result<BTreeSet<String>> {
    let mut topics = BTreeSet::new();
    for (path, ..) in entries(books)? {
        let Ok(bytes) = fs::read(path.join("mark.json")) else { continue };
        let mark: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        topics.extend(mark["state"].as_object().into_iter().flat_map(|state| state.keys().cloned()));
    }
    Ok(topics)
}

/// Whether a name is `part-<epoch>-<number>-<checksum>.parquet`.
fn is_data_file(name: &str) -> bool {
    let Some(parts) = name.strip_prefix("part-").and_then(|name| name.strip_suffix(".parquet")) else {
        return false;
    };
    let parts: Vec<_> = parts.split('-').collect();
    let digits =
        |part: &str, least: usize| part.len() >= least && part.bytes().all(|byte| byte.is_ascii_digit());
    let hex = |part: &str| part.len() == 8 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    matches!(parts[..], [epoch, seq, sum] if digits(epoch, 10) && digits(seq, 5) && hex(sum))
}

/// The entries of a directory in the order of their names; none where there is no such directory. A name that
/// is not UTF-8 is none that tidegate makes, and neither is its lossy form.
fn entries(dir: &Path) -> io::Result<Vec<(PathBuf, String, FileType)>> {
    let listing = match fs::read_dir(dir) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listing => listing?,
    };
    let mut entries = Vec::new();
    for entry in listing {
        let entry = entry?;
        entries.push((entry.path(), entry.file_name().to_string_lossy().into_owned(), entry.file_type()?));
    }
    entries.sort_by(|(_, a, _), (_, b, _)| a.cmp(b));
    Ok(entries)
}

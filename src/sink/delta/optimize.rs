//! Merging a Delta table's small files.
//!
//! ```text
//! newest version ─► merge, upload (no commit names it yet) ─► one commit: small files out, merged ones in, no row new
//! ```
//!
//! A run may write to the table meanwhile: what it adds stays beside the merged files, and where it takes out one of the files
//! that were merged, the merging begins again. Older versions keep what they had until a vacuum.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::action::{Action, Add, Remove};
use super::add;
use super::log::{Log, Put, Snapshot};
use super::maintain::present;
use crate::runtime::{Clock, SystemClock};
use crate::sink::SinkError;
use crate::sink::disk::{Disk, Durability};
use crate::sink::lake::epoch::{OpenEpoch, StagedFile};
use crate::sink::lake::{LakeBatch, Limits, portions, read_file};
use crate::sink::staged::{failed, nonce};
use crate::storage::{Storage, StorageError, Upload};

/// So often it begins again where a writer takes out what it merges.
const TRIES: usize = 5;

/// What merging did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Optimized {
    /// The version that has the merged files; `None` where there was nothing to merge.
    pub version: Option<u64>,
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

/// Merges files of the table that is `table` which have less than half of `target_bytes` bytes, with those of the same partition.
///
/// # Errors
/// When it is no Delta table, asks for more than is written here, has columns that tidegate does not write, or a file is damaged;
/// the table stays as it is then.
pub fn optimize(table: &Arc<dyn Storage>, target_bytes: u64) -> Result<Optimized, SinkError> {
    let work = Work {
        limits: Limits { file_bytes: target_bytes as usize, ..Limits::default() },
        dir: std::env::temp_dir().join(format!("tidegate-optimize-{}", nonce())),
        most_bytes: u64::MAX,
        stop: &AtomicBool::new(false),
    };
    optimize_in(&TablePlace { place: Arc::clone(table), table: String::new() }, &work)
}

/// How merging is done.
#[derive(Debug)]
pub(super) struct Work<'w> {
    /// Of the merged files; a file with at least half of `file_bytes` stays as it is.
    pub(super) limits: Limits,
    /// A local directory for merged files on their way, which is removed again.
    pub(super) dir: PathBuf,
    /// About so many bytes of small files are merged in one go.
    pub(super) most_bytes: u64,
    /// Whether it is to be given up.
    pub(super) stop: &'w AtomicBool,
}

impl Work<'_> {
    fn go_on(&self) -> Result<(), SinkError> {
        if self.stop.load(Ordering::Relaxed) { Err(failed("delta", "it was stopped")) } else { Ok(()) }
    }
}

/// A table in a place.
#[derive(Clone, Debug)]
pub(super) struct TablePlace {
    pub(super) place: Arc<dyn Storage>,
    /// Its directory there; empty where it is the place itself.
    pub(super) table: String,
}

impl TablePlace {
    /// A path below the table as one below the place.
    fn at(&self, path: &str) -> String {
        if self.table.is_empty() { path.to_owned() } else { format!("{}/{path}", self.table) }
    }
}

impl fmt::Display for TablePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place.place();
        if self.table.is_empty() { f.write_str(&place) } else { write!(f, "{place}/{}", self.table) }
    }
}

/// As [`optimize`], wherever the table lies.
pub(super) fn optimize_in(table: &TablePlace, work: &Work<'_>) -> Result<Optimized, SinkError> {
    let log = Log::new(Arc::clone(&table.place), &table.table, "delta");
    for _ in 0..TRIES {
        let snapshot = present(&log, &*table.place)?;
        check(&snapshot)?;
        let plan = plan(&snapshot, work);
        if plan.is_empty() {
            return Ok(Optimized::default());
        }
        let done = merge(table, &snapshot, &plan, work)
            .and_then(|staged| commit(table, &log, &snapshot, &plan, staged, work));
        // What cannot be removed is no reason to say that nothing was merged.
        drop(std::fs::remove_dir_all(&work.dir));
        if let Some(done) = done? {
            return Ok(done);
        }
    }
    Err(failed("delta", format!("a writer of {table} takes out what is merged, again and again")))
}

/// The files that are merged, by their directory.
type Plan<'s> = BTreeMap<&'s str, Vec<&'s Add>>;

fn check(snapshot: &Snapshot) -> Result<(), SinkError> {
    let asked = snapshot.protocol.as_ref().filter(|asked| asked.is_beyond_us());
    asked.map_or(Ok(()), |asked| {
        let (reader, writer) = (asked.min_reader_version, asked.min_writer_version);
        let what = format!(
            "the table asks for reader version {reader} and writer version {writer}; tidegate writes 1 and 2"
        );
        Err(failed("delta", what))
    })
}

fn plan<'s>(snapshot: &'s Snapshot, work: &Work<'_>) -> Plan<'s> {
    let mut plan = Plan::new();
    let target_bytes = work.limits.file_bytes as u64;
    let small = snapshot.files.values().filter(|add| add.size.unsigned_abs() < target_bytes / 2);
    // A file of another table's, or one whose name is written otherwise than it is: left alone.
    for add in small.filter(|add| !add.path.contains(['%', ':']) && !add.path.starts_with('/')) {
        plan.entry(directory(&add.path)).or_default().push(add);
    }
    // A file alone in its place gains nothing.
    plan.retain(|_, adds| adds.len() > 1);
    let (mut bytes, mut least) = (0, 2);
    for adds in plan.values_mut() {
        let fits = adds.iter().take_while(|add| {
            let is_enough = bytes >= work.most_bytes;
            bytes += add.size.unsigned_abs();
            !is_enough
        });
        let fits = fits.count();
        adds.truncate(fits.max(std::mem::take(&mut least)));
    }
    plan.retain(|_, adds| adds.len() > 1);
    plan
}

fn directory(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

/// How many rows a file has, where it says so.
fn rows_of(add: &Add) -> Option<u64> {
    let stats: Value = serde_json::from_str(add.stats.as_deref()?).ok()?;
    stats["numRecords"].as_u64()
}

/// Writes the merged files to the local directory of `work`.
fn merge(
    table: &TablePlace,
    snapshot: &Snapshot,
    plan: &Plan<'_>,
    work: &Work<'_>,
) -> Result<Vec<StagedFile>, SinkError> {
    let dir = &work.dir;
    let wrong = |path: &str, what: String| failed("delta", format!("{path:?} in {table}: {what}"));
    std::fs::create_dir_all(dir).map_err(|error| failed("delta", format!("{dir:?}: {error}")))?;
    let limits = Limits { open_files: 4, ..work.limits };
    let version = snapshot.version.map_or(0, |version| version + 1);
    let mut open =
        OpenEpoch::new(Disk::new(Durability::Process), dir.to_owned(), version, limits).named("optimized");
    for (target, adds) in plan {
        for now in portions(adds, |add| add.size.unsigned_abs()) {
            work.go_on()?;
            let paths: Vec<String> = now.iter().map(|add| table.at(&add.path)).collect();
            let read = table.place.read_all(&paths).map_err(|error| error.of("delta"))?;
            for (add, bytes) in now.iter().zip(read) {
                let path = &add.path;
                let bytes = bytes.filter(|bytes| bytes.len() as i64 == add.size);
                let bytes =
                    bytes.ok_or_else(|| wrong(path, "it is not the file that the log names".to_owned()))?;
                let found = read_file(bytes, &|_| true).map_err(|what| wrong(path, what))?;
                let rows: u64 = found.batches.iter().map(|batch| batch.len() as u64).sum();
                if rows_of(add).is_some_and(|stated| stated != rows) {
                    return Err(wrong(path, format!("it has {rows} rows, and the log says otherwise")));
                }
                let schema = Arc::new(found.schema);
                for rows in found.batches {
                    let (partition_dir, schema) = ((*target).to_owned(), Arc::clone(&schema));
                    let batch = LakeBatch { partition_dir, writer_partition: 0, schema, rows };
                    open.write(batch).map_err(|what| wrong(path, what))?;
                }
            }
        }
        open.end_all().map_err(|what| wrong(target, what))?;
    }
    open.finish().map_err(|what| wrong("", what))
}

/// Puts the merged files in place of the small ones; `None` where these are not all there any more.
fn commit(
    table: &TablePlace,
    log: &Log,
    snapshot: &Snapshot,
    plan: &Plan<'_>,
    staged: Vec<StagedFile>,
    work: &Work<'_>,
) -> Result<Option<Optimized>, SinkError> {
    let uploads: Vec<_> = staged
        .iter()
        .map(|file| Upload { from: work.dir.join(&file.name), to: table.at(&file.path), bytes: file.bytes })
        .collect();
    let lift = |error: StorageError| error.of("delta");
    for (number, upload) in uploads.iter().enumerate() {
        let up = work.go_on().and_then(|()| table.place.upload(std::slice::from_ref(upload)).map_err(lift));
        if let Err(error) = up {
            let before: Vec<_> = uploads[..number].iter().map(|upload| upload.to.clone()).collect();
            // Where that fails too they stay, and no version names them.
            drop(table.place.remove(&before));
            return Err(error);
        }
    }
    let now_ms = SystemClock.now_us() / 1000;
    let replaced = || plan.values().flatten();
    let mut actions = vec![Action::CommitInfo(json!({
        "timestamp": now_ms,
        "operation": "OPTIMIZE",
        "operationParameters": {},
        "isBlindAppend": false,
        "engineInfo": concat!("tidegate/", env!("CARGO_PKG_VERSION")),
    }))];
    actions.extend(replaced().map(|add| {
        Action::Remove(Remove {
            path: add.path.clone(),
            deletion_timestamp: Some(now_ms),
            data_change: false,
        })
    }));
    actions.extend(staged.iter().map(|file| {
        let of_partition = plan.get(directory(&file.path)).and_then(|adds| adds.first());
        let partition_values = of_partition.map(|add| add.partition_values.clone()).unwrap_or_default();
        Action::Add(Add { partition_values, data_change: false, ..add(file, now_ms) })
    }));
    let mut version = snapshot.version.map_or(0, |version| version + 1);
    let is_ours = |action: &Action| match action {
        Action::Add(add) => staged.iter().any(|file| file.path == add.path),
        _ => false,
    };
    while log.put(version, &actions)? == Put::Taken {
        // A try of which no answer came may have been the one that took it.
        if log.commit(version)?.is_some_and(|actions| actions.iter().any(is_ours)) {
            break;
        }
        // Whoever was quicker has added rows beside ours, or taken out what we merged.
        let now = log.snapshot(None)?;
        if replaced().any(|add| !now.files.contains_key(&add.path)) {
            let is_named = |path: &String| now.files.contains_key(path) || now.removed.contains_key(path);
            let unnamed = staged.into_iter().map(|file| file.path).filter(|path| !is_named(path));
            let unnamed: Vec<_> = unnamed.map(|path| table.at(&path)).collect();
            table.place.remove(&unnamed).map_err(lift)?;
            return Ok(None);
        }
        version = now.version.map_or(0, |newest| newest + 1);
    }
    Ok(Some(Optimized {
        version: Some(version),
        merged: replaced().count(),
        into: staged.len(),
        rows: staged.iter().map(|file| file.rows).sum(),
        bytes_before: replaced().map(|add| add.size.unsigned_abs()).sum(),
        bytes_after: staged.iter().map(|file| file.bytes).sum(),
    }))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{epoch, numbers, open, snapshot};
    use super::super::{Options, vacuum, vacuum_remote};
    use super::*;
    use crate::storage::Dir;
    use std::path::Path;
    use std::time::Duration;

    fn table(root: &Path) -> Arc<dyn Storage> {
        Arc::new(Dir::new(&root.join("dated")))
    }

    #[test]
    fn small_files_become_one_and_the_rows_stay() {
        let root = tempfile::tempdir().unwrap();
        let mut sink = open(root.path(), Options::default());
        (1..=5).for_each(|number| drop(epoch(&mut sink, number, number as i64)));
        let (before, rows) = (snapshot(root.path(), "dated"), numbers(root.path()));
        let place = table(root.path());
        let done = optimize(&place, 1 << 20).unwrap();
        assert_eq!((done.version, done.merged, done.into, done.rows), (Some(5), 5, 1, 15));
        let after = snapshot(root.path(), "dated");
        assert_eq!((after.version, after.files.len(), after.removed.len()), (Some(5), 1, 5));
        assert_eq!(numbers(root.path()), rows);
        let add = after.files.values().next().unwrap();
        assert_eq!(add.partition_values["event_date"].as_deref(), Some("2024-01-28"));
        assert_eq!(after.txns, before.txns, "how far applications have come is not touched");
        // The run goes on, and there is nothing more to do but for what it adds.
        assert_eq!(optimize(&place, 1 << 20).unwrap(), Optimized::default());
        epoch(&mut sink, 6, 2);
        assert_eq!(optimize(&place, 1 << 20).unwrap().rows, 17);
        // Versions are there as long as their files are.
        let log = Log::new(Arc::clone(&place), "", "test");
        assert_eq!(log.snapshot(Some(4)).unwrap().files, before.files);
        assert_eq!(vacuum_remote(&place, Duration::from_secs(60), false).unwrap().files.len(), 0);
        assert_eq!(vacuum_remote(&place, Duration::ZERO, true).unwrap().files.len(), 7);
        assert_eq!(vacuum_remote(&place, Duration::ZERO, false).unwrap().files.len(), 7);
        assert_eq!(vacuum(&root.path().join("dated"), Duration::ZERO, false).unwrap().files.len(), 0);
        assert_eq!(numbers(root.path()).len(), 17);
    }

    #[test]
    fn writer_that_was_quicker_is_passed_or_waited_for() {
        let root = tempfile::tempdir().unwrap();
        let mut sink = open(root.path(), Options::default());
        (1..=3).for_each(|number| drop(epoch(&mut sink, number, 2)));
        let place = table(root.path());
        let of_place = TablePlace { place: Arc::clone(&place), table: String::new() };
        let log = Log::new(Arc::clone(&place), "", "test");
        let dir = tempfile::tempdir().unwrap();
        let (limits, stop) = (Limits { file_bytes: 1 << 20, ..Limits::default() }, AtomicBool::new(false));
        let work = |old: &Snapshot| {
            let dir = dir.path().join(format!("{:?}", old.version));
            Work { limits, dir, most_bytes: u64::MAX, stop: &stop }
        };
        let merged = |old: &Snapshot| merge(&of_place, old, &plan(old, &work(old)), &work(old)).unwrap();
        let commit =
            |old: &Snapshot, staged| commit(&of_place, &log, old, &plan(old, &work(old)), staged, &work(old));

        // Rows that were added meanwhile stay beside, also where the log has got a checkpoint since, which says less of a file.
        let old = log.snapshot(None).unwrap();
        let staged = merged(&old);
        epoch(&mut sink, 4, 1);
        log.checkpoint(false).unwrap();
        let done = commit(&old, staged).unwrap().unwrap();
        assert_eq!((done.version, numbers(root.path()).len()), (Some(4), 7));
        // A merged file that is out already is not taken out again, and nothing that was uploaded for it stays.
        let old = log.snapshot(None).unwrap();
        let staged = merged(&old);
        let uploaded: Vec<_> = staged.iter().map(|file| file.path.clone()).collect();
        let out = |add: &Add| Remove { path: add.path.clone(), deletion_timestamp: None, data_change: true };
        let all: Vec<_> =
            log.snapshot(None).unwrap().files.values().map(|add| Action::Remove(out(add))).collect();
        assert_eq!(log.put(5, &all).unwrap(), Put::Done);
        assert_eq!(commit(&old, staged).unwrap(), None);
        assert!(uploaded.iter().all(|path| place.len(path).unwrap().is_none()), "{uploaded:?}");
        assert_eq!(log.snapshot(None).unwrap().version, Some(5));
        // In portions, and not at all once it is to stop.
        (5..=9).for_each(|number| drop(epoch(&mut sink, number, 2)));
        let old = log.snapshot(None).unwrap();
        let portion = Work { most_bytes: 1, ..work(&old) };
        let lens = |work: &Work<'_>| plan(&old, work).values().map(Vec::len).collect::<Vec<_>>();
        assert_eq!((lens(&portion), lens(&work(&old))), (vec![2], vec![5]));
        let size = old.files.values().map(|add| add.size.unsigned_abs()).max().unwrap();
        assert_eq!(lens(&Work { most_bytes: 2 * size + 1, ..work(&old) }), [3]);
        stop.store(true, Ordering::Relaxed);
        let error = optimize_in(&of_place, &work(&old)).unwrap_err().to_string();
        assert!(error.contains("stopped"), "{error}");
        assert_eq!(log.snapshot(None).unwrap(), old);
    }
}

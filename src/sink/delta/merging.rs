//! Merging a table's small files while a run writes to it.
//!
//! Exactly once makes an epoch's files a commit of their own, so that epochs of a second leave many small ones. After so many of
//! them [`optimize`](super::optimize()) goes over the table, on a thread of its own: the epochs do not wait for it. It is another
//! writer of the log: whichever of the two comes second takes the next version.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};

use super::optimize::{TablePlace, Work, optimize_in};
use crate::sink::lake::Limits;
use crate::sink::staged::nonce;
use crate::storage::Storage;

/// When small files become larger ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merge {
    /// After so many new files of a table.
    pub after_files: usize,
    /// What the merged files are like: how large, and their row groups.
    pub limits: Limits,
}

impl Merge {
    fn work(self, dir: PathBuf, stop: &AtomicBool) -> Work<'_> {
        Work { limits: self.limits, dir, most_bytes: IN_ONE_GO * self.limits.file_bytes as u64, stop }
    }
}

/// The merging of some tables, one at a time.
#[derive(Debug, Default)]
pub(super) struct Merging {
    under_way: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

/// So many target sizes are merged in one go: what lies on this disk meanwhile, and what a run that ends gives up.
const IN_ONE_GO: u64 = 4;

impl Merging {
    /// Whether so many new files are enough, and nothing is being merged.
    pub(super) fn is_due(&self, merge: Merge, new_files: usize) -> bool {
        new_files >= merge.after_files.max(2) && self.under_way.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Begins to merge the small files of `table`, by way of the local directory `dir`, which is its own. Where that fails the table
    /// is as it was, which is said; it is tried again after as many files more.
    pub(super) fn begin(&mut self, place: &Arc<dyn Storage>, table: &str, merge: Merge, dir: PathBuf) {
        let table = TablePlace { place: Arc::clone(place), table: table.to_owned() };
        let stop = Arc::clone(&self.stop);
        // What a killed run has left of its own.
        drop(std::fs::remove_dir_all(&dir));
        // Of this process alone: one that was taken for dead must not find the files of another under its names.
        let work = move || while merged(&table, &merge.work(dir.join(nonce()), &stop)) {};
        match Builder::new().name("merge".to_owned()).spawn(work) {
            Ok(thread) => self.under_way = Some(thread),
            Err(error) => tracing::warn!("no thread to merge small files on: {error}"),
        }
    }
}

/// Merges a portion; whether there was more than that. What has come since waits for its turn: it would be merged with what is merged
/// already, again and again.
fn merged(table: &TablePlace, work: &Work<'_>) -> bool {
    match optimize_in(table, work) {
        Ok(done) => {
            if let Some(version) = done.version {
                tracing::info!(
                    "merged {} files of {table} into {}: version {version}",
                    done.merged,
                    done.into
                );
            }
            done.bytes_before >= work.most_bytes
        }
        Err(_) if work.stop.load(Ordering::Relaxed) => false,
        Err(error) => {
            tracing::warn!("the small files of {table} stay as they are: {error}");
            false
        }
    }
}

impl Drop for Merging {
    /// Has what is under way given up, and waits until it is.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.under_way.take()
            && thread.join().is_err()
        {
            tracing::warn!("merging small files has ended by a panic");
        }
    }
}

//! Merging a table's small files while a run writes to it.
//!
//! Exactly once makes an epoch's files a commit of their own, so that epochs of a second leave many small ones. After so many of
//! them [`optimize`](super::optimize()) goes over the table, on a thread of its own: the epochs do not wait for it. It is another
//! writer of the log: whichever of the two comes second takes the next version.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use super::optimize::{TablePlace, optimize_in};
use crate::storage::Storage;

/// When small files become larger ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merge {
    /// After so many new files of a table.
    pub after_files: usize,
    /// How large they become, about, in bytes.
    pub target_bytes: u64,
}

/// The merging of some tables, one at a time.
#[derive(Debug, Default)]
pub(super) struct Merging {
    under_way: Option<JoinHandle<()>>,
}

impl Merging {
    /// Whether so many new files are enough, and nothing is being merged.
    pub(super) fn is_due(&self, merge: Merge, new_files: usize) -> bool {
        new_files >= merge.after_files.max(2) && self.under_way.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Begins to merge the small files of `table`. Where that fails the table is as it was, which is said; it is tried again
    /// after as many files more.
    pub(super) fn begin(&mut self, place: &Arc<dyn Storage>, table: &str, merge: Merge) {
        let table = TablePlace { place: Arc::clone(place), table: table.to_owned() };
        let work = move || match optimize_in(&table, merge.target_bytes) {
            Ok(done) => {
                let Some(version) = done.version else { return };
                tracing::info!(
                    "merged {} files of {table} into {}: version {version}",
                    done.merged,
                    done.into
                );
            }
            Err(error) => tracing::warn!("the small files of {table} stay as they are: {error}"),
        };
        match Builder::new().name("merge".to_owned()).spawn(work) {
            Ok(thread) => self.under_way = Some(thread),
            Err(error) => tracing::warn!("no thread to merge small files on: {error}"),
        }
    }
}

impl Drop for Merging {
    /// Waits for what is under way: a place that is away ends it with an error.
    fn drop(&mut self) {
        if let Some(thread) = self.under_way.take()
            && thread.join().is_err()
        {
            tracing::warn!("merging small files has ended by a panic");
        }
    }
}

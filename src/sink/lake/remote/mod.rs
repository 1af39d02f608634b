//! A lake that does not lie on this machine's disk: S3 or HDFS, written exactly once.
//!
//! ```text
//! <lake>/event_date=2024-01-28/part-0000000001-00000-5f2ab31c.parquet   what readers see
//! <lake>/_tidegate/staging/<epoch>-<nonce>/<seq>.staged                 not decided yet
//! <lake>/_tidegate/manifest-0000000001.json                             what the epoch added, created once
//! <lake>/_tidegate/state/generation-0000000003                          the newest run, created once
//! <lake>/_tidegate/owner.json                                           the sink that writes it, created once
//! ```
//!
//! Rows are staged in a local directory, as those of a local lake are; to prepare an epoch uploads its files, so
//! that whoever recovers, on whatever machine, can publish them. The epoch's manifest is created where there is
//! none: the set of manifests only grows, and no mark is there that an older run could set back. A run makes its
//! generation known before its first commit, and a commit looks for a newer one first. Between that look and the last
//! file a newer run may come; what the older one then publishes is what was decided, under the names that were
//! decided, as the newer one does.

use std::path::Path;
use std::sync::Arc;

use super::epoch::StagedFile;
use super::index::{MANIFEST, STATE, manifest_name, number_of, snapshot_of};
use super::{BOOKS, KIND, LakeBatch, LakeManifest, Limits, ParquetLake, owner};
use crate::sink::disk::{Disk, Durability};
use crate::sink::staged::{Description, failed, is_plain};
use crate::sink::{Sink, SinkError, Staged};
use crate::storage::{Publish, Storage, StorageError, Upload};

/// The sink of one lake in a remote place.
#[derive(Debug)]
pub struct RemoteLake {
    /// Where epochs wait that are not prepared: a lake that never commits.
    local: ParquetLake,
    place: Arc<dyn Storage>,
    sink: String,
    /// The generation that we have made known.
    known: u64,
    /// What is uploaded already.
    uploaded: Option<u64>,
}

impl RemoteLake {
    /// Opens the lake in `place`; `sink` names it in errors. Rows wait in `state_dir`, which may be empty at each start.
    ///
    /// # Errors
    /// [`SinkError::Failed`] when `state_dir` cannot be written, [`SinkError::NotOurs`] when another sink writes to
    /// `place`, and as the place says.
    pub fn open(place: Arc<dyn Storage>, state_dir: &Path, sink: &str) -> Result<Self, SinkError> {
        owner::claim(&*place, sink)?;
        let dir = state_dir.join(".tidegate").join("lake").join(sink);
        let local = ParquetLake::open_on(Disk::new(Durability::Process), &dir, sink)?;
        Ok(RemoteLake { local, place, sink: sink.to_owned(), known: 0, uploaded: None })
    }

    /// The same lake with other limits on memory, files and row groups.
    pub fn with_limits(self, limits: Limits) -> Self {
        RemoteLake { local: self.local.with_limits(limits), ..self }
    }

    fn lift<T>(&self, result: Result<T, StorageError>) -> Result<T, SinkError> {
        result.map_err(|error| error.of(&self.sink))
    }

    /// Makes our generation known, and refuses when a newer one is. The newest epoch that a compaction took up.
    fn enter(&mut self, generation: u64) -> Result<u64, SinkError> {
        let name = |generation: u64| format!("{BOOKS}/{STATE}/generation-{generation:010}");
        if generation > self.known {
            self.lift(self.place.create(&name(generation), b""))?;
        }
        let names = self.lift(self.place.names(&format!("{BOOKS}/{STATE}")))?;
        let generations: Vec<u64> =
            names.iter().filter_map(|name| name.strip_prefix("generation-")?.parse().ok()).collect();
        let newest = generations.iter().copied().max().unwrap_or(0);
        if newest > generation {
            return Err(SinkError::Fenced { sink: self.sink.clone(), ours: generation, newer: newest });
        }
        if generation > self.known {
            let older: Vec<_> = generations.into_iter().filter(|&of| of < generation).map(name).collect();
            self.lift(self.place.remove(&older))?;
            self.known = generation;
        }
        Ok(names.iter().filter_map(|name| snapshot_of(name)).map(|(_, through)| through).max().unwrap_or(0))
    }

    fn staging(dir: &str) -> String {
        format!("{BOOKS}/staging/{dir}")
    }

    fn publish(&self, epoch: u64, generation: u64, staged: Description<StagedFile>) -> Result<(), SinkError> {
        let ours = self.local.is_prepared(epoch);
        let publish = |file: &StagedFile| {
            if !is_plain(&file.path) || !is_plain(&file.name) {
                return Err(failed(&self.sink, format!("{:?} is not a path below the lake", file.path)));
            }
            Ok(Publish {
                from: format!("{}/{}", Self::staging(&staged.dir), file.name),
                to: file.path.clone(),
                bytes: file.bytes,
                // What was staged by a process that died is read again before it is let in.
                crc32: (!ours).then_some(file.crc32),
            })
        };
        let files: Vec<_> = staged.files.iter().map(publish).collect::<Result<_, _>>()?;
        self.lift(self.place.publish(&files))?;
        let files = staged.files.into_iter().map(StagedFile::into_published).collect();
        let manifest = LakeManifest { format: 1, epoch, generation, files };
        let bytes = serde_json::to_vec_pretty(&manifest).map_err(|error| failed(&self.sink, error))?;
        // One that is there says the same: the epoch was decided once.
        self.lift(self.place.create(&format!("{BOOKS}/{}", manifest_name(epoch)), &bytes)).map(drop)
    }

    /// Removes what was staged for `epoch` and earlier ones, by whomever.
    fn clear(&self, epoch: u64) -> Result<(), SinkError> {
        let staged = |name: &String| name.split_once('-').and_then(|(epoch, _)| epoch.parse::<u64>().ok());
        for name in self.lift(self.place.names(&format!("{BOOKS}/staging")))? {
            if staged(&name).is_some_and(|staged| staged <= epoch) {
                self.lift(self.place.remove_dir(&Self::staging(&name)))?;
            }
        }
        Ok(())
    }
}

impl Sink for RemoteLake {
    type Batch = LakeBatch;

    /// Stages rows on the local disk. An error is final: the run starts again from its last manifest.
    fn write(&mut self, epoch: u64, batch: LakeBatch) -> Result<(), SinkError> {
        self.local.write(epoch, batch)
    }

    fn prepare(&mut self, epoch: u64) -> Result<Staged, SinkError> {
        let staged = self.local.prepare(epoch)?;
        if self.uploaded == Some(epoch) {
            return Ok(staged);
        }
        let description: Description<StagedFile> = Description::of(&staged, &self.sink, KIND, epoch)?;
        let dir = self.local.staging_dir(&description.dir);
        let upload = |file: &StagedFile| Upload {
            from: dir.join(&file.name),
            to: format!("{}/{}", Self::staging(&description.dir), file.name),
            bytes: file.bytes,
        };
        let files: Vec<_> = description.files.iter().map(upload).collect();
        self.lift(self.place.upload(&files))?;
        self.uploaded = Some(epoch);
        Ok(staged)
    }

    fn commit(&mut self, epoch: u64, generation: u64, staged: &Staged) -> Result<(), SinkError> {
        let description: Description<StagedFile> = Description::of(staged, &self.sink, KIND, epoch)?;
        let compacted = self.enter(generation)?;
        // Files of a compacted epoch are gone because their rows lie in others: to publish it again would repeat them.
        if epoch > compacted && !description.files.is_empty() {
            let manifest = format!("{BOOKS}/{}", manifest_name(epoch));
            if self.lift(self.place.len(&manifest))?.is_none() {
                self.publish(epoch, generation, description)?;
            }
            self.clear(epoch)?;
        }
        self.local.forget(epoch)
    }

    fn committed(&mut self) -> Result<Option<u64>, SinkError> {
        let names = self.lift(self.place.names(BOOKS))?;
        let state = self.lift(self.place.names(&format!("{BOOKS}/{STATE}")))?;
        let manifests = names.iter().filter_map(|name| number_of(name, MANIFEST));
        let snapshots = state.iter().filter_map(|name| snapshot_of(name)).map(|(_, through)| through);
        Ok(manifests.chain(snapshots).max())
    }
}

#[cfg(test)]
mod tests;

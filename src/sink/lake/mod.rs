//! A data lake of Parquet files, written exactly once.
//!
//! ```text
//! lake/<name>/event_date=2024-01-28/part-0000000001-00000-5f2ab31c.parquet   what readers see
//! lake/<name>/_tidegate/staging/<epoch>-<nonce>/<seq>.staged                 not decided yet
//! lake/<name>/_tidegate/manifest-0000000001.json                             what the epoch added
//! lake/<name>/_tidegate/mark.json                                            the last epoch and generation
//! lake/<name>/_tidegate/owner.json                                           the sink that writes it: no other may
//! ```
//!
//! Rows wait in memory by partition directory and writer partition, become row groups, and row groups become
//! files ([`Limits`] says when, and bounds memory and open files however many partitions there are). The names
//! that files will have are fixed when the epoch is prepared: epoch, number within the epoch, checksum, so that
//! no name is used twice. A commit renames every staged file to its name, forces the directories, writes the
//! epoch's manifest, sets the mark, in this order: each step can be repeated, and a reader who wants whole
//! epochs only reads what the manifests list. Readers of a directory tree pass over names that begin with `_`;
//! staged files do not end in `.parquet` for those that do not.
//!
//! Columns may come and go from batch to batch. A file has those that its rows have; they are null in the rows
//! that lack them.

pub(in crate::sink) mod buffer;
mod compact;
pub(in crate::sink) mod directory;
pub(in crate::sink) mod epoch;
mod file;
mod index;
mod owner;
pub(in crate::sink) mod publish;
mod read;
mod remote;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

#[cfg(feature = "delta")]
pub(in crate::sink) use self::compact::portions;
pub use self::compact::{Compacted, Compaction};
pub use self::directory::partition_dir;
pub use self::epoch::Limits;
use self::epoch::{OpenEpoch, StagedFile};
pub use self::index::LakeIndex;
pub use self::read::{FileRows, partition_values, read_file};
pub use self::remote::RemoteLake;
use super::disk::{Disk, Durability};
use super::staged::{self, Books, Description, Turn, turn};
use super::{Sink, SinkError, Staged};
use crate::rows::{RowBatch, Schema};

/// The directory of the lake's bookkeeping, below the lake.
pub const BOOKS: &str = "_tidegate";

const KIND: &str = "lake";

/// Rows for one directory of the lake.
#[derive(Clone, Debug)]
pub struct LakeBatch {
    /// The partition's directory below the lake, as [`partition_dir`] makes it; empty for the lake itself.
    pub partition_dir: String,
    /// Rows with different values never share a file: the rank of the Kafka partition they come from.
    pub writer_partition: u32,
    /// The columns of `rows`. Columns called `x_…` may come and go; they stand behind the others in a file.
    pub schema: Arc<Schema>,
    /// The rows.
    pub rows: RowBatch,
}

/// What an epoch added to the lake: `_tidegate/manifest-<epoch>.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LakeManifest {
    /// The version of this form, 1.
    pub format: u32,
    /// The epoch.
    pub epoch: u64,
    /// The generation of the run that published it.
    pub generation: u64,
    /// The files, in the order they were written.
    pub files: Vec<LakeFile>,
}

/// A file of the lake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LakeFile {
    /// Its path below the lake.
    pub path: String,
    /// How many rows it has.
    pub rows: u64,
    /// How many bytes it has.
    pub bytes: u64,
    /// The CRC-32 of its bytes.
    pub crc32: u32,
}

/// The sink of one lake.
#[derive(Debug)]
pub struct ParquetLake {
    dir: PathBuf,
    books: Books,
    limits: Limits,
    open: BTreeMap<u64, OpenEpoch>,
    prepared: BTreeMap<u64, Staged>,
}

/// What the lake's mark holds besides epoch and generation: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct NoState {}

impl ParquetLake {
    /// Opens the lake in `dir`, usually `lake/<name>` below `--out`; `sink` names it in errors.
    ///
    /// # Errors
    /// [`SinkError::Failed`] when the directory cannot be written, [`SinkError::NotOurs`] when another sink writes there.
    pub fn open(dir: &Path, sink: &str, durability: Durability) -> Result<Self, SinkError> {
        Self::open_on(Disk::new(durability), dir, sink)
    }

    /// The same lake with other limits on memory, files and row groups.
    pub fn with_limits(self, limits: Limits) -> Self {
        ParquetLake { limits, ..self }
    }

    fn open_on(disk: Disk, dir: &Path, sink: &str) -> Result<Self, SinkError> {
        let books = Books::open(disk, dir.join(BOOKS), sink)?;
        owner::claim_dir(&books, dir)?;
        let limits = Limits::default();
        Ok(ParquetLake {
            dir: dir.to_owned(),
            books,
            limits,
            open: BTreeMap::new(),
            prepared: BTreeMap::new(),
        })
    }

    fn is_prepared(&self, epoch: u64) -> bool {
        self.prepared.contains_key(&epoch)
    }

    /// The directory in which files are staged that a description says lie in `name`.
    fn staging_dir(&self, name: &str) -> PathBuf {
        self.books.dir(name)
    }

    /// Lets go of what was staged for epochs up to `epoch`.
    fn forget(&mut self, epoch: u64) -> Result<(), SinkError> {
        self.open.retain(|&open, _| open > epoch);
        self.prepared.retain(|&prepared, _| prepared > epoch);
        self.books.clear(epoch).map_err(|error| self.books.lift(error))
    }

    /// The last epoch that this lake has taken in, from whatever process; `None` before the first.
    ///
    /// # Errors
    /// When the mark cannot be read.
    pub fn committed(&self) -> Result<Option<u64>, SinkError> {
        Ok(self.books.mark::<NoState>()?.epoch)
    }

    /// The newest epoch that a compaction took up; 0 before the first.
    fn compacted(&self) -> Result<u64, SinkError> {
        let state = self.books.root.join(index::STATE);
        let names = self.books.disk.names(&state).map_err(|error| self.books.lift(error))?;
        let through = |name: &std::ffi::OsString| Some(index::snapshot_of(name.to_str()?)?.1);
        Ok(names.iter().filter_map(through).max().unwrap_or(0))
    }

    /// Publishes an epoch, writes its manifest and sets the mark.
    fn publish_all(
        &self,
        epoch: u64,
        generation: u64,
        staged: Description<StagedFile>,
    ) -> Result<(), SinkError> {
        if epoch <= self.compacted()? {
            // Its rows lie in merged files: to publish it again would repeat them.
            return Ok(());
        }
        let dir = self.books.dir(&staged.dir);
        let verify = !self.prepared.contains_key(&epoch);
        publish::files(&self.books, &dir, &self.dir, &staged.files, verify)?;
        if !staged.files.is_empty() {
            let files = staged.files.into_iter().map(StagedFile::into_published).collect();
            let manifest = LakeManifest { format: 1, epoch, generation, files };
            let bytes = serde_json::to_vec_pretty(&manifest).map_err(|error| self.books.failed(error))?;
            let path = self.books.root.join(format!("manifest-{epoch:010}.json"));
            self.books.disk.replace(&path, &bytes).map_err(|error| self.books.lift(error))?;
        }
        let mut mark = self.books.mark::<NoState>()?;
        (mark.epoch, mark.generation) = (Some(epoch), generation);
        self.books.set_mark(&mark)
    }

    /// Keeps what waits in memory, over all epochs that are open, within its bound.
    fn shed(&mut self) -> Result<(), String> {
        loop {
            let waiting: usize = self.open.values().map(OpenEpoch::waiting_bytes).sum();
            if waiting <= self.limits.memory_bytes {
                return Ok(());
            }
            let Some(largest) = self.open.values_mut().max_by_key(|open| open.waiting_bytes()) else {
                return Ok(());
            };
            largest.flush_largest()?;
        }
    }
}

impl Sink for ParquetLake {
    type Batch = LakeBatch;

    /// Stages rows. An error is final: the run starts again from its last manifest.
    fn write(&mut self, epoch: u64, batch: LakeBatch) -> Result<(), SinkError> {
        directory::check(&batch.partition_dir)
            .and_then(|()| batch.schema.check(&batch.rows))
            .map_err(|cause| self.books.failed(cause))?;
        if self.prepared.contains_key(&epoch) {
            return Err(self.books.failed(format!("epoch {epoch} is prepared and takes no more rows")));
        }
        if batch.rows.is_empty() {
            return Ok(());
        }
        if !self.open.contains_key(&epoch) {
            let dir = self.books.make_dir(epoch).map_err(|error| self.books.failed(error))?;
            self.open.insert(epoch, OpenEpoch::new(self.books.disk.clone(), dir, epoch, self.limits));
        }
        let written = self.open.get_mut(&epoch).map_or(Ok(()), |open| open.write(batch));
        written.and_then(|()| self.shed()).map_err(|cause| self.books.failed(cause))
    }

    fn prepare(&mut self, epoch: u64) -> Result<Staged, SinkError> {
        if let Some(staged) = self.prepared.get(&epoch) {
            return Ok(staged.clone());
        }
        let (mut dir, mut files) = (String::new(), Vec::new());
        if let Some(open) = self.open.remove(&epoch) {
            dir = self.books.dir_name(epoch);
            files = open.finish().map_err(|cause| self.books.failed(cause))?;
            self.books.force_dir(&dir).map_err(|error| self.books.failed(error))?;
        }
        let staged = Description::new(KIND, epoch, dir, files).to_staged(&self.books.sink)?;
        self.prepared.insert(epoch, staged.clone());
        Ok(staged)
    }

    fn committed(&mut self) -> Result<Option<u64>, SinkError> {
        Self::committed(self)
    }

    fn commit(&mut self, epoch: u64, generation: u64, staged: &Staged) -> Result<(), SinkError> {
        let description = Description::of(staged, &self.books.sink, KIND, epoch)?;
        let _lock = self.books.lock().map_err(|error| self.books.lift(error))?;
        let mark = self.books.mark::<NoState>()?;
        match turn(&self.books.sink, mark.epoch, mark.generation, epoch, generation)? {
            Turn::Done => self.books.note_generation(mark, generation)?,
            Turn::Publish => self.publish_all(epoch, generation, description)?,
        }
        self.forget(epoch)
    }
}

/// Writes rows to one Parquet file, in place of what is there: a file that is no lake's.
///
/// # Errors
/// When it cannot be written.
pub fn write_rows(path: &Path, schema: &Schema, rows: &RowBatch) -> Result<(), SinkError> {
    let fail = |cause: String| staged::failed("file", cause);
    let disk = Disk::new(Durability::Power);
    let mut draft = path.as_os_str().to_owned();
    draft.push(".tmp");
    let draft = PathBuf::from(draft);
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = disk.create_dirs(parent).and_then(|()| disk.create(&draft));
    let file = written.map_err(|error| fail(error.to_string()))?;
    let mut buffer = buffer::Buffer::default();
    buffer.append(schema, rows).map_err(fail)?;
    let parquet =
        |error: parquet::errors::ParquetError| fail(format!("cannot write a Parquet file: {error}"));
    let mut open = file::OpenFile::create(file, 0, &buffer).map_err(parquet)?;
    open.write(buffer).map_err(parquet)?;
    let finished = open.close().map_err(parquet)?.finish();
    let renamed = finished.and_then(|_| disk.rename(&draft, path)).and_then(|()| disk.force_dir(parent));
    renamed.map_err(|error| error.of("file"))
}

/// Makes a file hold `bytes`, in place of what is there, in one step.
///
/// # Errors
/// When it cannot be written.
pub fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), SinkError> {
    let disk = Disk::new(Durability::Power);
    // A bare name has an empty parent, which is no directory to force.
    let path = if path.parent() == Some(Path::new("")) { &Path::new(".").join(path) } else { path };
    let parent = path.parent().unwrap_or(Path::new("/"));
    disk.create_dirs(parent).and_then(|()| disk.replace(path, bytes)).map_err(|error| error.of("file"))
}

#[cfg(test)]
mod tests;

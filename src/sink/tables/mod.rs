//! What the sinks of tables have in common: what they take, and how the rows of an epoch that is not decided
//! are kept.
//!
//! Such rows lie in one local file an epoch, as frames that carry their own checksum (`frames`), and not in the
//! database: an epoch that is never decided leaves nothing there to clean up, and a database that is away holds
//! up a commit but not the run. The manifest names the file, its length and its CRC-32, so that whatever process
//! commits the epoch, also after a crash, sends exactly what was staged.

mod early;
mod frames;
mod key;
mod standing;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub(crate) use self::early::{Shown, TableKey};
use self::frames::{FrameReader, FrameWriter};
pub(crate) use self::key::key_of;
pub use self::standing::{Standing, TableCount};
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) use self::standing::{answer, query};
use super::disk::Disk;
use super::staged::{Books, Description, failed};
use super::{SinkError, Staged};
use crate::rows::{RowBatch, Schema};

/// The kind of sink in descriptions: all of them stage alike.
const KIND: &str = "tables";

/// Rows for one table.
#[derive(Clone, Debug)]
pub struct TableBatch {
    /// Index into the schemas that the sink was opened with.
    pub table: usize,
    /// The rows, in the schema's columns. Of two rows with the same key the later one stays.
    pub rows: RowBatch,
    /// Whether the rows are those of open windows, so that others of their keys will follow. Whoever appends leaves them out;
    /// what replaces by key need not know, and staged rows do not say.
    pub provisional: bool,
}

/// The staged file of an epoch.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StagedRows {
    name: String,
    bytes: u64,
    crc32: u32,
    rows: u64,
    /// What the frames' table numbers mean.
    pub(crate) tables: Vec<String>,
}

/// What a store cannot hold, found out before the epoch is decided, when it can still be refused.
pub(crate) type Refuses = fn(&Schema, &RowBatch) -> Result<(), String>;

/// The rows of epochs that are not committed.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) schemas: Vec<Arc<Schema>>,
    pub(crate) books: Books,
    refuses: Refuses,
    open: BTreeMap<u64, FrameWriter>,
    prepared: BTreeMap<u64, Staged>,
}

/// Whether a batch for the sink that errors call `sink` is what its schema says and the store can hold it.
fn check(sink: &str, schemas: &[Arc<Schema>], refuses: Refuses, batch: &TableBatch) -> Result<(), SinkError> {
    let Some(schema) = schemas.get(batch.table) else {
        return Err(failed(sink, format!("there is no table number {}", batch.table)));
    };
    schema.check(&batch.rows).and_then(|()| refuses(schema, &batch.rows)).map_err(|cause| failed(sink, cause))
}

impl Stage {
    /// Stages in `root`, for the sink that errors call `sink`.
    pub(crate) fn open(
        disk: Disk,
        root: PathBuf,
        sink: &str,
        schemas: Vec<Arc<Schema>>,
        refuses: Refuses,
    ) -> Result<Self, SinkError> {
        let books = Books::open(disk, root, sink)?;
        Ok(Stage { schemas, books, refuses, open: BTreeMap::new(), prepared: BTreeMap::new() })
    }

    /// See [`super::Sink::write`]. An error is final: the run starts again from its last manifest.
    pub(crate) fn write(&mut self, epoch: u64, batch: &TableBatch) -> Result<(), SinkError> {
        check(&self.books.sink, &self.schemas, self.refuses, batch)?;
        if self.prepared.contains_key(&epoch) {
            return Err(self.books.failed(format!("epoch {epoch} is prepared and takes no more rows")));
        }
        if batch.rows.is_empty() {
            return Ok(());
        }
        let frames = match self.open.entry(epoch) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let dir = self.books.make_dir(epoch).map_err(|error| error.of(&self.books.sink))?;
                let file =
                    self.books.disk.create(&dir.join("rows")).map_err(|error| error.of(&self.books.sink))?;
                entry.insert(FrameWriter::new(file))
            }
        };
        frames.push(batch.table, &batch.rows).map_err(|cause| self.books.failed(cause))
    }

    /// See [`super::Sink::prepare`].
    pub(crate) fn prepare(&mut self, epoch: u64) -> Result<Staged, SinkError> {
        if let Some(staged) = self.prepared.get(&epoch) {
            return Ok(staged.clone());
        }
        let mut dir = String::new();
        let mut files = Vec::new();
        if let Some(frames) = self.open.remove(&epoch) {
            let rows = frames.rows();
            let (bytes, crc32) = frames.finish().map_err(|cause| self.books.failed(cause))?;
            dir = self.books.dir_name(epoch);
            self.books.force_dir(&dir).map_err(|error| self.books.lift(error))?;
            let tables = self.schemas.iter().map(|schema| schema.name.to_string()).collect();
            files.push(StagedRows { name: "rows".into(), bytes, crc32, rows, tables });
        }
        let staged = Description::new(KIND, epoch, dir, files).to_staged(&self.books.sink)?;
        self.prepared.insert(epoch, staged.clone());
        Ok(staged)
    }

    /// What a commit is asked to make visible.
    pub(crate) fn description(
        &self,
        epoch: u64,
        staged: &Staged,
    ) -> Result<Description<StagedRows>, SinkError> {
        Description::of(staged, &self.books.sink, KIND, epoch)
    }

    /// Ends a commit: what was staged for `epoch` and before is not needed any more.
    pub(crate) fn clear(&mut self, epoch: u64) -> Result<(), SinkError> {
        self.open.retain(|&open, _| open > epoch);
        self.prepared.retain(|&prepared, _| prepared > epoch);
        self.books.clear(epoch).map_err(|error| self.books.lift(error))
    }
}

/// Reads a staged file back, and finds out whether it is the one that the manifest describes.
#[derive(Debug)]
pub(crate) struct StagedReader<'a> {
    books: &'a Books,
    path: PathBuf,
    file: &'a StagedRows,
    frames: FrameReader,
    rows: u64,
    /// Indices into the sink's schemas, by the frames' table numbers.
    tables: Vec<Option<usize>>,
}

impl<'a> StagedReader<'a> {
    pub(crate) fn open(stage: &'a Stage, dir: &str, file: &'a StagedRows) -> Result<Self, SinkError> {
        let books = &stage.books;
        let path = books.dir(dir).join(&file.name);
        let input = books.disk.open(&path).map_err(|error| books.lift(error))?;
        let place = |table: &String| stage.schemas.iter().position(|schema| schema.name == *table);
        let tables = file.tables.iter().map(place).collect();
        Ok(StagedReader { books, path, file, frames: FrameReader::new(input, file.bytes), rows: 0, tables })
    }

    /// The next batch, its table as the sink numbers it; `None` at the end of a file that is whole.
    pub(crate) fn next(&mut self) -> Result<Option<TableBatch>, SinkError> {
        let path = &self.path;
        let next = self.frames.next();
        let next = next.map_err(|cause| failed(&self.books.sink, format!("{path:?}: {cause}")))?;
        let Some((number, rows)) = next else {
            if self.rows != self.file.rows || self.frames.crc32() != self.file.crc32 {
                let cause = format!("{path:?} is not the file that the manifest describes");
                return Err(self.books.failed(cause));
            }
            return Ok(None);
        };
        self.rows += rows.len() as u64;
        let Some(table) = self.tables.get(number).copied().flatten() else {
            let name = self.file.tables.get(number).map_or("?", String::as_str);
            let cause = format!("{path:?} holds rows for table {name:?}, which this pipeline does not have");
            return Err(self.books.failed(cause));
        };
        Ok(Some(TableBatch { table, rows, provisional: false }))
    }
}

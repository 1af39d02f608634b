//! Tables in one SQLite file, written exactly once: rows are upserted by key, and the epoch's mark is set in
//! the same transaction.
//!
//! Rows of an epoch that is not decided lie in a staged file outside of the database, as frames that carry
//! their own checksum ([`frames`]). A commit is one transaction:
//!
//! ```text
//! begin immediate ─► mark of this sink newer or done? ─► upsert every staged row ─► set mark ─► commit
//! ```
//!
//! so that a reader sees all rows of an epoch or none, and a commit that is repeated after a crash, by whatever
//! process, finds the mark and does nothing. Several sinks (one a pipeline) share the file; their marks are
//! rows of `tidegate_epochs` and SQLite makes their transactions wait for each other.
//!
//! Times are stored as RFC 3339 UTC text with exactly six fraction digits, truth values as 0 and 1. The file
//! uses a rollback journal, not a write-ahead log: at rest it is one file that can be copied, and opened from a
//! read-only directory.

mod frames;
mod statements;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use serde::{Deserialize, Serialize};

use self::frames::{FrameReader, FrameWriter};
use self::statements::Upsert;
use super::disk::{Disk, Durability};
use super::staged::{Books, Description, Turn, failed, turn};
use super::{Sink, SinkError, Staged};
use crate::rows::{ColumnType, RowBatch, Schema, Values};

/// The file's name below `--out`.
pub const FILE: &str = "tables.sqlite";

/// How long a transaction waits for another sink's, or for a person's tool that reads the file.
const BUSY: Duration = Duration::from_secs(300);

const KIND: &str = "tables";

/// Rows for one table.
#[derive(Clone, Debug)]
pub struct TableBatch {
    /// Index into the schemas that the sink was opened with.
    pub table: usize,
    /// The rows, in the schema's columns. Of two rows with the same key the later one stays.
    pub rows: RowBatch,
}

/// The staged file of an epoch.
#[derive(Debug, Serialize, Deserialize)]
struct StagedRows {
    name: String,
    bytes: u64,
    crc32: u32,
    rows: u64,
    /// What the frames' table numbers mean.
    tables: Vec<String>,
}

/// The sink of one pipeline's tables.
#[derive(Debug)]
pub struct SqliteTables {
    connection: Connection,
    schemas: Vec<Arc<Schema>>,
    books: Books,
    open: BTreeMap<u64, FrameWriter>,
    prepared: BTreeMap<u64, Staged>,
}

impl SqliteTables {
    /// Opens `tables.sqlite` in `out_dir` and creates the tables of `schemas` that are missing.
    ///
    /// `sink` names this sink among those that share the file, in marks and in errors: the pipeline's name.
    ///
    /// # Errors
    /// [`SinkError::Failed`] when the directory or the file cannot be written, when the file is not a SQLite
    /// database, or when it holds a table of the same name with other columns.
    pub fn open(
        out_dir: &Path,
        sink: &str,
        schemas: Vec<Arc<Schema>>,
        durability: Durability,
    ) -> Result<Self, SinkError> {
        Self::open_on(Disk::new(durability), out_dir, sink, schemas)
    }

    fn open_on(disk: Disk, out_dir: &Path, sink: &str, schemas: Vec<Arc<Schema>>) -> Result<Self, SinkError> {
        let books = Books::open(disk, out_dir.join(".tidegate").join("tables").join(sink), sink)?;
        let path = out_dir.join(FILE);
        let connection = Connection::open(&path).map_err(|error| lift(sink, error))?;
        connection.busy_timeout(BUSY).map_err(|error| lift(sink, error))?;
        let force = if books.disk.forces() { "FULL" } else { "OFF" };
        let setup = format!(
            "PRAGMA page_size = 8192; PRAGMA journal_mode = DELETE; PRAGMA synchronous = {force};
             PRAGMA cache_size = -131072; PRAGMA temp_store = MEMORY;
             CREATE TABLE IF NOT EXISTS tidegate_epochs
                 (sink TEXT NOT NULL PRIMARY KEY, epoch INTEGER, generation INTEGER NOT NULL) WITHOUT ROWID;"
        );
        connection.execute_batch(&setup).map_err(|error| lift(sink, error))?;
        for schema in &schemas {
            statements::create_table(&connection, schema)
                .map_err(|error| lift(sink, error))?
                .map_err(|cause| failed(sink, format!("{path:?}: {cause}")))?;
        }
        books.disk.force_dir(out_dir).map_err(|error| books.lift(error))?;
        Ok(SqliteTables { connection, schemas, books, open: BTreeMap::new(), prepared: BTreeMap::new() })
    }

    /// The last epoch that this sink has committed, by whatever process; `None` before the first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn committed(&self) -> Result<Option<u64>, SinkError> {
        let (epoch, _) = mark(&self.connection, &self.books.sink).map_err(|error| self.lift(error))?;
        Ok(epoch)
    }

    fn lift(&self, error: rusqlite::Error) -> SinkError {
        lift(&self.books.sink, error)
    }

    /// Runs the transaction of a commit.
    fn publish(
        &mut self,
        epoch: u64,
        generation: u64,
        staged: &Description<StagedRows>,
    ) -> Result<(), SinkError> {
        let sink = &self.books.sink;
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|error| lift(sink, error))?;
        let (last, newest) = mark(&transaction, sink).map_err(|error| lift(sink, error))?;
        let done = turn(sink, last, newest, epoch, generation)? == Turn::Done;
        if done && generation == newest {
            return Ok(());
        }
        if !done {
            for file in &staged.files {
                upsert_all(&transaction, &self.schemas, &self.books, &staged.dir, file)?;
            }
        }
        let epoch = if done { last } else { Some(epoch) };
        let set = "INSERT INTO tidegate_epochs VALUES (?1, ?2, ?3)
                   ON CONFLICT (sink) DO UPDATE SET epoch = excluded.epoch, generation = excluded.generation";
        // SQLite's integers are signed; the bits are kept.
        let row = params![sink, epoch.map(|epoch| epoch as i64), generation as i64];
        transaction.execute(set, row).map_err(|error| lift(sink, error))?;
        transaction.commit().map_err(|error| lift(sink, error))
    }
}

impl Sink for SqliteTables {
    type Batch = TableBatch;

    /// Stages rows. An error is final: the run starts again from its last manifest.
    fn write(&mut self, epoch: u64, batch: TableBatch) -> Result<(), SinkError> {
        let Some(schema) = self.schemas.get(batch.table) else {
            return Err(self.books.failed(format!("there is no table number {}", batch.table)));
        };
        fits(schema, &batch.rows).map_err(|cause| self.books.failed(cause))?;
        if self.prepared.contains_key(&epoch) {
            return Err(self.books.failed(format!("epoch {epoch} is prepared and takes no more rows")));
        }
        if batch.rows.is_empty() {
            return Ok(());
        }
        let frames = match self.open.entry(epoch) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let dir = self.books.make_dir(epoch).map_err(|error| error.of(&self.books.sink))?;
                let file =
                    self.books.disk.create(&dir.join("rows")).map_err(|error| error.of(&self.books.sink))?;
                entry.insert(FrameWriter::new(file))
            }
        };
        frames.push(batch.table, &batch.rows).map_err(|cause| self.books.failed(cause))
    }

    fn prepare(&mut self, epoch: u64) -> Result<Staged, SinkError> {
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

    fn committed(&mut self) -> Result<Option<u64>, SinkError> {
        Self::committed(self)
    }

    fn commit(&mut self, epoch: u64, generation: u64, staged: &Staged) -> Result<(), SinkError> {
        let description = Description::of(staged, &self.books.sink, KIND, epoch)?;
        self.publish(epoch, generation, &description)?;
        self.open.retain(|&open, _| open > epoch);
        self.prepared.retain(|&prepared, _| prepared > epoch);
        self.books.clear(epoch).map_err(|error| self.books.lift(error))
    }
}

/// Whether a batch is what the schema says; found out before the epoch is decided, when it can still be refused.
fn fits(schema: &Schema, rows: &RowBatch) -> Result<(), String> {
    let name = &schema.name;
    if rows.columns().len() != schema.columns.len() {
        let (got, want) = (rows.columns().len(), schema.columns.len());
        return Err(format!("table {name:?} has {want} columns, the batch has {got}"));
    }
    for (column, def) in rows.columns().iter().zip(&schema.columns) {
        let kind = match &column.values {
            Values::Int(_) => ColumnType::Int,
            Values::Float(_) => ColumnType::Float,
            Values::Bool(_) => ColumnType::Bool,
            Values::Time(_) => ColumnType::Time,
            Values::Text(_) => ColumnType::Text,
        };
        if kind != def.kind {
            return Err(format!(
                "column {:?} of table {name:?} is {:?}, the batch has {kind:?}",
                def.name, def.kind
            ));
        }
        if !def.nullable && !column.nulls.is_empty() {
            return Err(format!("column {:?} of table {name:?} must not be null", def.name));
        }
        if let Values::Float(values) = &column.values
            && values.iter().any(|value| value.is_nan())
        {
            return Err(format!(
                "column {:?} of table {name:?} holds NaN, which SQLite cannot store",
                def.name
            ));
        }
    }
    Ok(())
}

/// Upserts every row of a staged file; the transaction is rolled back by the caller's return where one fails.
fn upsert_all(
    transaction: &Transaction<'_>,
    schemas: &[Arc<Schema>],
    books: &Books,
    dir: &str,
    file: &StagedRows,
) -> Result<(), SinkError> {
    let sink = &books.sink;
    let path = books.dir(dir).join(&file.name);
    let input = books.disk.open(&path).map_err(|error| books.lift(error))?;
    let mut upserts = Vec::new();
    for table in &file.tables {
        let schema = schemas.iter().find(|schema| schema.name == *table);
        let upsert = schema.map(|schema| Upsert::prepare(transaction, schema)).transpose();
        upserts.push(upsert.map_err(|error| lift(sink, error))?);
    }
    let mut frames = FrameReader::new(input, file.bytes);
    let mut rows = 0;
    while let Some((table, batch)) =
        frames.next().map_err(|cause| failed(sink, format!("{path:?}: {cause}")))?
    {
        let upsert = upserts.get_mut(table).and_then(Option::as_mut).ok_or_else(|| {
            let name = file.tables.get(table).map_or("?", String::as_str);
            failed(sink, format!("{path:?} holds rows for table {name:?}, which this pipeline does not have"))
        })?;
        rows += batch.len() as u64;
        upsert.take(batch).map_err(|error| lift(sink, error))?;
    }
    for upsert in upserts.iter_mut().flatten() {
        upsert.run().map_err(|error| lift(sink, error))?;
    }
    if rows != file.rows || frames.crc32() != file.crc32 {
        return Err(failed(sink, format!("{path:?} is not the file that the manifest describes")));
    }
    Ok(())
}

/// The sink's mark: its last epoch and the newest generation.
fn mark(connection: &Connection, sink: &str) -> rusqlite::Result<(Option<u64>, u64)> {
    let found: Option<(Option<i64>, i64)> = connection
        .query_row("SELECT epoch, generation FROM tidegate_epochs WHERE sink = ?1", [sink], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let (epoch, generation) = found.unwrap_or((None, 0));
    Ok((epoch.map(|epoch| epoch as u64), generation as u64))
}

fn lift(sink: &str, error: rusqlite::Error) -> SinkError {
    use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked, DiskFull, OutOfMemory};
    let retriable =
        matches!(error.sqlite_error_code(), Some(DatabaseBusy | DatabaseLocked | DiskFull | OutOfMemory));
    let (sink, cause) = (sink.to_owned(), format!("{FILE}: {error}"));
    if retriable { SinkError::Unavailable { sink, cause } } else { SinkError::Failed { sink, cause } }
}

#[cfg(test)]
mod tests;

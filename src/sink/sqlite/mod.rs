//! Tables in one SQLite file, written exactly once: rows are upserted by key, and the epoch's mark is set in
//! the same transaction.
//!
//! Rows of an epoch that is not decided lie in a staged file outside of the database, as frames that carry
//! their own checksum (`sink/tables/`). A commit is one transaction:
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

mod read;
mod statements;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashSet;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use self::statements::{Delete, Upsert};
use super::disk::{Disk, Durability};
use super::staged::{Description, Turn, failed, turn};
pub use super::tables::TableBatch;
use super::tables::{Shown, Stage, StagedReader, StagedRows};
use super::{Sink, SinkError, Staged};
use crate::rows::{RowBatch, Schema, Values};

pub use self::read::{first_rows, read_rows, standing};

/// The file's name below `--out`.
pub const FILE: &str = "tables.sqlite";

/// How long a transaction waits for another sink's, or for a person's tool that reads the file.
const BUSY: Duration = Duration::from_secs(300);

/// The sink of one pipeline's tables.
#[derive(Debug)]
pub struct SqliteTables {
    connection: Connection,
    stage: Stage,
    shown: Shown,
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
        let root = out_dir.join(".tidegate").join("tables").join(sink);
        let shown = Shown::new(sink, &schemas, refuses);
        let stage = Stage::open(disk, root, sink, schemas, refuses)?;
        let books = &stage.books;
        let path = out_dir.join(FILE);
        let connection = Connection::open(&path).map_err(|error| lift(sink, error))?;
        connection.busy_timeout(BUSY).map_err(|error| lift(sink, error))?;
        let force = if books.disk.forces() { "FULL" } else { "OFF" };
        let setup = format!(
            "PRAGMA page_size = 8192; PRAGMA journal_mode = DELETE; PRAGMA synchronous = {force};
             PRAGMA cache_size = -131072; PRAGMA temp_store = MEMORY;
             CREATE TABLE IF NOT EXISTS tidegate_epochs
                 (sink TEXT NOT NULL PRIMARY KEY, epoch INTEGER, generation INTEGER NOT NULL) WITHOUT ROWID;
             CREATE TABLE IF NOT EXISTS tidegate_early
                 (sink TEXT NOT NULL, epoch INTEGER NOT NULL, table_name TEXT NOT NULL, rows BLOB NOT NULL);"
        );
        connection.execute_batch(&setup).map_err(|error| lift(sink, error))?;
        for schema in &stage.schemas {
            statements::create_table(&connection, schema)
                .map_err(|error| lift(sink, error))?
                .map_err(|cause| failed(sink, format!("{path:?}: {cause}")))?;
        }
        books.disk.force_dir(out_dir).map_err(|error| books.lift(error))?;
        Ok(SqliteTables { connection, stage, shown })
    }

    /// The last epoch that this sink has committed, by whatever process; `None` before the first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn committed(&self) -> Result<Option<u64>, SinkError> {
        let (epoch, _) = mark(&self.connection, &self.stage.books.sink).map_err(|error| self.lift(error))?;
        Ok(epoch)
    }

    fn lift(&self, error: rusqlite::Error) -> SinkError {
        lift(&self.stage.books.sink, error)
    }

    /// Runs the transaction of a commit.
    fn publish(
        &mut self,
        epoch: u64,
        generation: u64,
        staged: &Description<StagedRows>,
    ) -> Result<(), SinkError> {
        let sink = &self.stage.books.sink;
        let Begun { transaction, last, newest, turn } = begin(&mut self.connection, sink, epoch, generation)?;
        let done = turn == Turn::Done;
        if done && generation == newest {
            return Ok(());
        }
        if !done {
            for file in &staged.files {
                upsert_all(&transaction, &self.stage, &staged.dir, file)?;
            }
            upsert_early(&transaction, &self.stage, &self.shown.ahead_of(epoch, &mut HashSet::new()))?;
        }
        if self.shown.has_notes(epoch) {
            let given = "DELETE FROM tidegate_early WHERE sink = ?1 AND epoch <= ?2";
            transaction.execute(given, params![sink, epoch as i64]).map_err(|error| lift(sink, error))?;
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
        self.stage.write(epoch, &batch)
    }

    fn prepare(&mut self, epoch: u64) -> Result<Staged, SinkError> {
        self.stage.prepare(epoch)
    }

    fn committed(&mut self) -> Result<Option<u64>, SinkError> {
        Self::committed(self)
    }

    fn commit(&mut self, epoch: u64, generation: u64, staged: &Staged) -> Result<(), SinkError> {
        let description = self.stage.description(epoch, staged)?;
        self.publish(epoch, generation, &description)?;
        self.shown.clear(epoch);
        self.stage.clear(epoch)
    }

    fn shows(&self) -> bool {
        true
    }

    fn show(&mut self, epoch: u64, generation: u64, batches: &[TableBatch]) -> Result<(), SinkError> {
        self.shown.check_all(batches)?;
        let notes = self.shown.notes_of(epoch, batches, true);
        let sink = &self.stage.books.sink;
        let Begun { transaction, last, turn, .. } = begin(&mut self.connection, sink, epoch, generation)?;
        if turn == Turn::Done {
            return Ok(());
        }
        upsert_early(&transaction, &self.stage, batches)?;
        for (table, rows) in self.shown.encoded(&notes)? {
            let note = "INSERT INTO tidegate_early (sink, epoch, table_name, rows) VALUES (?1, ?2, ?3, ?4)";
            let row = params![sink, epoch as i64, table, rows];
            transaction.execute(note, row).map_err(|error| lift(sink, error))?;
        }
        transaction.commit().map_err(|error| lift(sink, error))?;
        self.shown.note_shown(epoch, last, batches, notes);
        Ok(())
    }

    fn take_back(&mut self, generation: u64) -> Result<(), SinkError> {
        let (sink, schemas) = (&self.stage.books.sink, &self.stage.schemas);
        let Begun { transaction, last, .. } = begin(&mut self.connection, sink, 0, generation)?;
        for (epoch, table, rows) in noted(&transaction, sink).map_err(|error| lift(sink, error))? {
            if last.is_none_or(|last| epoch > last)
                && let Some(TableBatch { table, rows, .. }) = self.shown.decoded(&table, &rows)
            {
                let delete = Delete::prepare(&transaction, &schemas[table]);
                delete.and_then(|mut delete| delete.run(&rows)).map_err(|error| lift(sink, error))?;
            }
        }
        let forget = "DELETE FROM tidegate_early WHERE sink = ?1";
        transaction.execute(forget, [sink]).map_err(|error| lift(sink, error))?;
        transaction.commit().map_err(|error| lift(sink, error))?;
        self.shown.forget();
        Ok(())
    }
}

/// SQLite stores NaN as null.
fn refuses(schema: &Schema, rows: &RowBatch) -> Result<(), String> {
    for (column, def) in rows.columns().iter().zip(&schema.columns) {
        if let Values::Float(values) = &column.values
            && values.iter().any(|value| value.is_nan())
        {
            let (table, column) = (&schema.name, &def.name);
            return Err(format!("column {column:?} of table {table:?} holds NaN, which SQLite cannot store"));
        }
    }
    Ok(())
}

/// Upserts every row of a staged file; the transaction is rolled back by the caller's return where one fails.
fn upsert_all(
    transaction: &Transaction<'_>,
    stage: &Stage,
    dir: &str,
    file: &StagedRows,
) -> Result<(), SinkError> {
    let sink = &stage.books.sink;
    let mut rows = StagedReader::open(stage, dir, file)?;
    let mut upserts = Vec::new();
    for schema in &stage.schemas {
        // Only those that the file names: a table may have gone from the pipeline since.
        let named = file.tables.iter().any(|table| *table == schema.name);
        let upsert = named.then(|| Upsert::prepare(transaction, schema)).transpose();
        upserts.push(upsert.map_err(|error| lift(sink, error))?);
    }
    while let Some(batch) = rows.next()? {
        if let Some(upsert) = &mut upserts[batch.table] {
            upsert.take(batch.rows).map_err(|error| lift(sink, error))?;
        }
    }
    for upsert in upserts.iter_mut().flatten() {
        upsert.run().map_err(|error| lift(sink, error))?;
    }
    Ok(())
}

/// Upserts early rows, in their order.
fn upsert_early<'b>(
    transaction: &Transaction<'_>,
    stage: &Stage,
    batches: impl IntoIterator<Item = &'b TableBatch>,
) -> Result<(), SinkError> {
    for TableBatch { table, rows, .. } in batches {
        let upsert = Upsert::prepare(transaction, &stage.schemas[*table]);
        let done = upsert.and_then(|mut upsert| upsert.take(rows.clone()).and_then(|()| upsert.run()));
        done.map_err(|error| lift(&stage.books.sink, error))?;
    }
    Ok(())
}

/// A transaction, and what the sink's mark says in it.
struct Begun<'c> {
    transaction: Transaction<'c>,
    last: Option<u64>,
    newest: u64,
    turn: Turn,
}

/// Begins a transaction on `epoch`; [`SinkError::Fenced`] when a newer generation was here.
fn begin<'c>(
    connection: &'c mut Connection,
    sink: &str,
    epoch: u64,
    generation: u64,
) -> Result<Begun<'c>, SinkError> {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(|error| lift(sink, error))?;
    let (last, newest) = mark(&transaction, sink).map_err(|error| lift(sink, error))?;
    let turn = turn(sink, last, newest, epoch, generation)?;
    Ok(Begun { transaction, last, newest, turn })
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

/// What is noted as shown for `sink`: epoch, table, rows.
fn noted(connection: &Connection, sink: &str) -> rusqlite::Result<Vec<(u64, String, Vec<u8>)>> {
    let mut select =
        connection.prepare("SELECT epoch, table_name, rows FROM tidegate_early WHERE sink = ?1")?;
    let rows =
        select.query_map([sink], |row| Ok((row.get::<_, i64>(0)? as u64, row.get(1)?, row.get(2)?)))?;
    rows.collect()
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

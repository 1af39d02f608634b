//! Tables in PostgreSQL, written exactly once: rows are upserted by key, and the epoch's mark is set in the same
//! transaction.
//!
//! Rows of an epoch that is not decided lie in a local staged file (`sink/tables/`). A commit is one transaction:
//!
//! ```text
//! begin ─► select mark for update ─► newer? Fenced. done? no-op. ─► COPY into a temporary table ─► upsert ─► mark ─► commit
//! ```
//!
//! so that a reader sees all rows of an epoch or none. When the connection is lost while COMMIT is under way
//! nobody knows the outcome: the sink connects again and reads the mark. Rows are upserted in the order of their
//! keys and tables in that of their names, so that two writers do not deadlock; where they do with somebody
//! else, PostgreSQL ends one of them and it is tried again (`sink/retry.rs`).
//!
//! A row that the server refuses for what it holds does not hold up the others (`refused.rs`).
//!
//! Works through PgBouncer in transaction mode (`session.rs` says why).

mod config;
mod copy;
mod error;
mod merge;
mod read;
mod refused;
mod session;
mod sql;

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Runtime;
use tracing::warn;

pub use self::config::{Config, Password, TlsMode};
use self::error::Fault;
pub use self::merge::Merge;
pub use self::read::{read_rows, server_version, standing};
use self::refused::Sent;
use self::session::{Session, runtime, with_session};
use self::sql::{literal, quoted};
use super::disk::{Disk, Durability};
use super::staged::{Description, Turn, failed, turn};
use super::tables::{Stage, StagedReader, StagedRows, TableBatch};
use super::{Sink, SinkError, Staged};
use crate::rows::Schema;

/// The statements that create the marks and the tables of `schemas`, as the sink does it by itself.
pub fn definition(schemas: &[Arc<Schema>]) -> String {
    let tables = schemas.iter().map(|schema| sql::create_table("", schema));
    [sql::create_marks(""), sql::create_refused(""), sql::create_early("")]
        .into_iter()
        .chain(tables)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Held while tables are created: two processes that create the same one at the same time would fail by each other's
/// catalogue rows.
const CREATING: &str = "SELECT pg_advisory_xact_lock(8387230094862147941)";

/// The sink of one pipeline's tables.
///
/// It drives its connection by itself and blocks: it must not be used inside of an asynchronous runtime.
#[derive(Debug)]
pub struct PostgresTables {
    config: Config,
    /// The quoted schema and its dot.
    at: String,
    stage: Stage,
    session: Option<Session>,
    /// The number of the connection by which early rows were noted.
    noted_by: u64,
    runtime: Runtime,
    /// Rows that the server has refused since it was opened.
    refused: u64,
    /// Rows that it refused in the transaction that was sent last, which may not be known to have happened.
    in_doubt: Cell<u64>,
}

impl PostgresTables {
    /// Connects, and creates the tables of `schemas` that are missing.
    ///
    /// `sink` names this sink among those of the database, in marks and in errors: the pipeline's name. Epochs
    /// that are not decided are staged in `state_dir`; a process that takes over needs the same directory.
    ///
    /// # Errors
    /// [`SinkError::Unavailable`] when the server cannot be reached; [`SinkError::Failed`] when it refuses the
    /// role, or a table is there with other columns or without the key: the error names the difference.
    pub fn open(
        config: Config,
        state_dir: &Path,
        sink: &str,
        schemas: Vec<Arc<Schema>>,
        durability: Durability,
    ) -> Result<Self, SinkError> {
        let root = state_dir.join(".tidegate").join("postgres").join(sink);
        let stage = Stage::open(Disk::new(durability), root, sink, schemas, copy::refuses)?;
        let runtime = runtime().map_err(|error| failed(sink, error))?;
        let at = format!("{}.", quoted(&config.schema));
        let mut tables = PostgresTables {
            config,
            at,
            stage,
            session: None,
            noted_by: 0,
            runtime,
            refused: 0,
            in_doubt: Cell::new(0),
        };
        tables.work("creating and verifying the tables", async |this, session| this.set_up(session).await)?;
        Ok(tables)
    }

    /// The last epoch that this sink has committed, by whatever process; `None` before the first.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub fn committed(&mut self) -> Result<Option<u64>, SinkError> {
        self.work("reading the mark", async |this, session| Ok(this.mark(session, "").await?.0))
    }

    /// Runs `work` over a connection; after an error the connection, and with it the transaction, is given up.
    fn work<T>(
        &mut self,
        doing: &str,
        work: impl AsyncFn(&Self, &Session) -> Result<T, Fault>,
    ) -> Result<T, SinkError> {
        self.attempt(work).map_err(|fault| fault.of(&self.stage.books.sink, &self.config.place(), doing))
    }

    fn attempt<T>(&mut self, work: impl AsyncFn(&Self, &Session) -> Result<T, Fault>) -> Result<T, Fault> {
        let held = self.session.take();
        let this = &*self;
        let (session, done) =
            with_session(&this.runtime, &this.config, held, async |session| work(this, session).await)?;
        self.session = Some(session);
        Ok(done)
    }

    async fn set_up(&self, session: &Session) -> Result<(), Fault> {
        let namespace = &self.config.schema;
        session.begin(&self.config).await?;
        session.run(CREATING).await?;
        let marks = ["sink text NOT NULL", "epoch bigint", "generation bigint NOT NULL"];
        let mut wanted = vec![
            ("tidegate_epochs".to_owned(), sql::create_marks(&self.at), owned(&marks), "sink".to_owned()),
            (
                "tidegate_refused".to_owned(),
                sql::create_refused(&self.at),
                owned(&sql::REFUSED),
                String::new(),
            ),
            ("tidegate_early".to_owned(), sql::create_early(&self.at), owned(&sql::EARLY), String::new()),
        ];
        for schema in &self.stage.schemas {
            let create = sql::create_table(&self.at, schema);
            let name = schema.name.to_string();
            wanted.push((name, create, sql::wanted_columns(schema), sql::wanted_key(schema)));
        }
        for (table, create, columns, key) in wanted {
            ensure_table(session, namespace, &table, &create, &columns, &key)
                .await?
                .map_err(|cause| self.stage.books.failed(cause))?;
        }
        let sink = literal(&self.stage.books.sink);
        session
            .run(&format!(
                "INSERT INTO {}tidegate_epochs VALUES ({sink}, NULL, 0) ON CONFLICT DO NOTHING; COMMIT",
                self.at
            ))
            .await
    }

    /// The mark: the last epoch and the newest generation.
    async fn mark(&self, session: &Session, lock: &str) -> Result<(Option<u64>, u64), Fault> {
        let sink = literal(&self.stage.books.sink);
        let query =
            format!("SELECT epoch, generation FROM {}tidegate_epochs WHERE sink = {sink}{lock}", self.at);
        let rows = session.rows(&query).await?;
        let number = |column: usize| {
            let text = rows.first().and_then(|row| row.get(column)?.as_ref());
            // The server's integers are signed; the bits are kept.
            text.and_then(|text| text.parse::<i64>().ok()).map(|number| number as u64)
        };
        if rows.is_empty() {
            let cause =
                format!("the mark of sink {sink} is gone from tidegate_epochs: start again to make it");
            return Err(self.stage.books.failed(cause).into());
        }
        Ok((number(0), number(1).unwrap_or(0)))
    }

    /// The numbers of the tables, by name.
    fn in_order(&self) -> Vec<usize> {
        let schemas = &self.stage.schemas;
        let mut order: Vec<usize> = (0..schemas.len()).collect();
        order.sort_by(|&a, &b| schemas[a].name.cmp(&schemas[b].name));
        order
    }

    /// Deletes the rows of these keys.
    async fn delete(&self, session: &Session, batches: &[TableBatch]) -> Result<(), Fault> {
        for table in self.in_order() {
            let schema = &self.stage.schemas[table];
            let mut batches = batches.iter().filter(|batch| batch.table == table).peekable();
            if batches.peek().is_some() {
                session.send(table, schema, &mut || Ok(batches.next().cloned())).await?;
                session.run(&sql::delete_sent(&self.at, table, schema)).await?;
            }
        }
        Ok(())
    }

    /// Upserts early rows.
    async fn upsert_early(
        &self,
        session: &Session,
        batches: impl Iterator<Item = &TableBatch> + Clone,
    ) -> Result<(), Fault> {
        for table in self.in_order() {
            let of_table = batches.clone().filter(|batch| batch.table == table);
            let rows: Vec<_> = of_table.map(|batch| &batch.rows).collect();
            if !rows.is_empty() {
                session.upsert_at_once(&self.at, &self.stage.schemas[table], &rows).await?;
            }
        }
        Ok(())
    }

    /// Sends and upserts what is staged, in the transaction that is open; gives the number of rows that the server refuses.
    async fn load(
        &self,
        session: &Session,
        epoch: u64,
        staged: &Description<StagedRows>,
    ) -> Result<u64, Fault> {
        let mut refused = 0;
        let (schemas, order) = (&self.stage.schemas, self.in_order());
        for file in &staged.files {
            // The first pass finds out whether the file is whole, before anything is sent.
            let mut there = vec![false; schemas.len()];
            let mut reader = StagedReader::open(&self.stage, &staged.dir, file)?;
            while let Some(batch) = reader.next()? {
                there[batch.table] = true;
            }
            for &table in order.iter().filter(|&&table| there[table]) {
                let mut reader = StagedReader::open(&self.stage, &staged.dir, file)?;
                let (schema, sink) = (&schemas[table], &*self.stage.books.sink);
                let rows = session.send(table, schema, &mut || reader.next()).await?;
                refused += Sent { sink, epoch, table, schema, rows }.upsert(session, &self.at).await?;
            }
        }
        Ok(refused)
    }

    /// Runs the transaction of a commit.
    fn publish(
        &mut self,
        epoch: u64,
        generation: u64,
        staged: &Description<StagedRows>,
    ) -> Result<(), Fault> {
        self.attempt(async |this, session| {
            let sink = &this.stage.books.sink;
            session.begin(&this.config).await?;
            let (last, newest) = this.mark(session, " FOR UPDATE").await?;
            let done = turn(sink, last, newest, epoch, generation)? == Turn::Done;
            if done && generation == newest {
                return session.run("ROLLBACK").await;
            }
            if !done {
                this.in_doubt.set(this.load(session, epoch, staged).await?);
                let mut ahead = this.stage.ahead_of(epoch).peekable();
                if ahead.peek().is_some() {
                    session.or_nothing(this.upsert_early(session, ahead)).await?;
                }
            }
            let (at, generation, name) = (&this.at, generation as i64, literal(sink));
            if this.stage.has_notes(epoch) {
                let epoch = epoch as i64;
                let given =
                    format!("DELETE FROM {at}tidegate_early WHERE sink = {name} AND epoch <= {epoch}");
                session.run(&given).await?;
            }
            let set_epoch = if done { String::new() } else { format!("epoch = {}, ", epoch as i64) };
            let set = format!(
                "UPDATE {at}tidegate_epochs SET {set_epoch}generation = {generation} WHERE sink = {name}"
            );
            session.run(&set).await?;
            session.run("COMMIT").await
        })
    }

    /// Counts and tells the rows that the server has refused, now that the transaction has happened.
    fn tell_refused(&mut self, epoch: u64) {
        let rows = self.in_doubt.take();
        if rows > 0 {
            let sink = &self.stage.books.sink;
            warn!(
                sink,
                epoch, rows, "PostgreSQL refused rows; they are in tidegate_refused, with its reasons"
            );
        }
        self.refused += rows;
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

/// Creates a table where it is missing; the inner error is what is wrong with one that is there.
async fn ensure_table(
    session: &Session,
    namespace: &str,
    table: &str,
    create: &str,
    columns: &[String],
    key: &str,
) -> Result<Result<(), String>, Fault> {
    let texts =
        |rows: Vec<Vec<Option<String>>>| rows.into_iter().flatten().flatten().collect::<Vec<String>>();
    let mut found = texts(session.rows(&sql::columns_of(namespace, table)).await?);
    if found.is_empty() {
        session.run(create).await?;
        found = texts(session.rows(&sql::columns_of(namespace, table)).await?);
    }
    if found != columns {
        return Ok(Err(format!(
            "table {table:?} in schema {namespace:?} has the columns ({}), needed are ({}): rename or drop it, and it \
             is created anew, or name another schema",
            found.join(", "),
            columns.join(", ")
        )));
    }
    let keys = texts(session.rows(&sql::keys_of(namespace, table)).await?);
    if !key.is_empty() && !keys.iter().any(|found| found == key) {
        return Ok(Err(format!(
            "table {table:?} in schema {namespace:?} has no primary key or unique index over ({key}): add it, or \
             rename or drop the table, and it is created anew"
        )));
    }
    Ok(Ok(()))
}

impl Sink for PostgresTables {
    type Batch = TableBatch;

    /// Stages rows. An error is final: the run starts again from its last manifest.
    fn write(&mut self, epoch: u64, batch: TableBatch) -> Result<(), SinkError> {
        self.stage.write(epoch, &batch)
    }

    fn prepare(&mut self, epoch: u64) -> Result<Staged, SinkError> {
        self.stage.prepare(epoch)
    }

    fn commit(&mut self, epoch: u64, generation: u64, staged: &Staged) -> Result<(), SinkError> {
        let description = self.stage.description(epoch, staged)?;
        self.in_doubt.set(0);
        if let Err(fault) = self.publish(epoch, generation, &description) {
            let lost = fault.lost();
            let error =
                fault.of(&self.stage.books.sink, &self.config.place(), &format!("committing epoch {epoch}"));
            // Lost while COMMIT was under way: the mark tells whether it happened. By the lock that publish
            // takes, a transaction that is still under way is waited for.
            if !lost || self.publish(epoch, generation, &description).is_err() {
                return Err(error);
            }
        }
        self.tell_refused(epoch);
        self.stage.clear(epoch)
    }

    fn shows(&self) -> bool {
        true
    }

    /// One transaction, for whose way to the server's disk nobody waits: what a crash of the server loses comes again. A row that
    /// the server refuses is told by the commit of the epoch, which sets it aside.
    fn show(&mut self, epoch: u64, generation: u64, batches: &[TableBatch]) -> Result<(), SinkError> {
        self.stage.check_all(batches)?;
        let shown = self.work("showing rows of open windows", async |this, session| {
            session.begin(&this.config).await?;
            let (last, newest) = this.mark(session, " FOR SHARE").await?;
            if turn(&this.stage.books.sink, last, newest, epoch, generation)? == Turn::Done {
                session.run("ROLLBACK").await?;
                return Ok(None);
            }
            this.upsert_early(session, batches.iter()).await?;
            // A server that was away may have lost what it was told last, for whose way to the disk nobody waited.
            let notes = this.stage.notes_of(epoch, batches, session.serial() == this.noted_by);
            for (table, rows) in this.stage.encoded(&notes)? {
                let sink = &this.stage.books.sink;
                session.note_early(&this.at, sink, epoch, (table, &rows)).await?;
            }
            session.run("SET LOCAL synchronous_commit = off; COMMIT").await?;
            Ok(Some((last, notes, session.serial())))
        })?;
        if let Some((last, notes, serial)) = shown {
            if serial != self.noted_by {
                self.stage.doubt_notes();
                self.noted_by = serial;
            }
            self.stage.note_shown(epoch, last, batches, notes);
        }
        Ok(())
    }

    fn take_back(&mut self, generation: u64) -> Result<(), SinkError> {
        self.work("taking back rows of open windows", async |this, session| {
            let (at, sink) = (&this.at, &this.stage.books.sink);
            session.begin(&this.config).await?;
            let (last, newest) = this.mark(session, " FOR UPDATE").await?;
            turn(sink, last, newest, 0, generation)?;
            let noted = session.noted_early(at, sink).await?;
            if noted.is_empty() {
                return session.run("ROLLBACK").await;
            }
            let undecided = noted.iter().filter(|(epoch, ..)| last.is_none_or(|last| *epoch > last));
            let shown: Vec<_> =
                undecided.filter_map(|(_, table, rows)| this.stage.decoded(table, rows)).collect();
            this.delete(session, &shown).await?;
            let sink = literal(sink);
            session.run(&format!("DELETE FROM {at}tidegate_early WHERE sink = {sink}; COMMIT")).await
        })?;
        self.stage.forget_shown();
        Ok(())
    }

    fn refused(&self) -> u64 {
        self.refused
    }
}

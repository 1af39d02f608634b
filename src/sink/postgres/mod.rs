//! Tables in PostgreSQL, written exactly once: rows are upserted by key, and the epoch's mark is set in the same
//! transaction.
//!
//! Rows of an epoch that is not decided lie in a local staged file (`sink/tables/`). A commit is one transaction:
//!
//! ```text
//! begin ─► newer? Fenced. done? no-op. ─► COPY into temporary tables ─► compare ─► the same again, mark locked ─► upsert ─► mark ─► commit
//! ```
//!
//! so that a reader sees all rows of an epoch or none. Where rows of open windows are shown early, most rows are there already as they are
//! to stay. Those that are not are found before the mark is locked: early rows wait for that lock. Few rows go with the statement that
//! upserts them: an epoch that has no others
//! makes no temporary table and locks the mark at once. When the connection is lost while COMMIT is under way
//! nobody knows the outcome: the sink connects again and reads the mark. Rows are upserted in the order of their
//! keys and tables in that of their names, so that two writers do not deadlock; where they do with somebody
//! else, PostgreSQL ends one of them and it is tried again (`sink/retry.rs`).
//!
//! A row that the server refuses for what it holds does not hold up the others (`refused.rs`).
//!
//! Works through PgBouncer in transaction mode (`session.rs` says why).

mod config;
mod copy;
mod early;
mod error;
mod merge;
mod read;
mod refused;
mod session;
mod sql;
mod target;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use hashbrown::HashSet;
use tokio::runtime::Runtime;
use tokio::sync::MutexGuard;
use tracing::warn;

pub use self::config::{Config, Password, TlsMode};
use self::early::Early;
use self::error::Fault;
pub use self::merge::{Merge, Merged};
pub use self::read::{first_rows, read_rows, server_version, standing};
use self::refused::Sent;
use self::session::{Session, runtime, with_session};
use self::sql::{EpochOf, Replace, literal, quoted};
use self::target::Target;
use super::disk::{Disk, Durability};
use super::staged::{Description, Turn, failed, turn};
use super::tables::{Shown, Stage, StagedReader, StagedRows, TableBatch, TableKey};
use super::{ShowBeside, Sink, SinkError, Staged};
use crate::rows::{RowBatch, Schema};

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
    target: Arc<Target>,
    stage: Stage,
    early: Arc<Early>,
    session: Option<Session>,
    runtime: Runtime,
    /// Rows that the server has refused since it was opened.
    refused: u64,
    /// Rows that it refused in the transaction that was sent last, which may not be known to have happened.
    in_doubt: Cell<u64>,
    /// The number of the connection by which the last commit was made; 0 before the first.
    committed_by: Cell<u64>,
}

/// So many rows of a table, of so many bytes, go with the statement that upserts them; to make a temporary table takes the server longer.
const FEW: usize = 500;
const FEW_BYTES: usize = 1 << 20;

/// Few rows of so many tables are sent without waiting for each other's answers.
const MOST_AT_ONCE: usize = 30;

/// Rows of an epoch for the table of this number.
#[derive(Debug)]
struct Part {
    table: usize,
    /// The files that they are staged in, by their places among the epoch's.
    files: Vec<usize>,
    rows: usize,
    bytes: usize,
    /// Themselves, where they are few.
    here: Vec<RowBatch>,
}

/// What of a commit was done before the mark was locked.
#[derive(Debug, Default)]
struct Beforehand {
    /// The parts that are written.
    written: BTreeSet<usize>,
    /// How many of their rows the server has refused.
    refused: u64,
    /// The parts of which it is known what is to be written.
    compared: BTreeSet<usize>,
    /// The keys of rows that the next epoch has replaced already: they are not to be written there. `None` where that cannot be relied
    /// on: a server that was away since the last commit may have lost rows for whose way to its disk nobody waited.
    ahead: Option<HashSet<TableKey>>,
}

impl Part {
    fn is_here(&self) -> bool {
        !self.here.is_empty()
    }
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
        let shown = Shown::new(sink, &schemas, copy::refuses);
        let stage = Stage::open(Disk::new(durability), root, sink, schemas.clone(), copy::refuses)?;
        let new_runtime = || runtime().map_err(|error| failed(sink, error));
        let at = format!("{}.", quoted(&config.schema));
        let target = Arc::new(Target { config, at, sink: sink.to_owned(), schemas });
        let early = Arc::new(Early::new(&target, shown, new_runtime()?));
        let mut tables = PostgresTables {
            target,
            stage,
            early,
            session: None,
            runtime: new_runtime()?,
            refused: 0,
            in_doubt: Cell::new(0),
            committed_by: Cell::new(0),
        };
        tables.work("creating and verifying the tables", async |this, session| this.set_up(session).await)?;
        Ok(tables)
    }

    /// The last epoch that this sink has committed, by whatever process; `None` before the first.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub fn committed(&mut self) -> Result<Option<u64>, SinkError> {
        self.work("reading the mark", async |this, session| Ok(this.target.mark(session, "").await?.0))
    }

    /// Runs `work` over a connection; after an error the connection, and with it the transaction, is given up.
    fn work<T>(
        &mut self,
        doing: &str,
        work: impl AsyncFn(&Self, &Session) -> Result<T, Fault>,
    ) -> Result<T, SinkError> {
        self.attempt(work).map_err(|fault| self.target.error(fault, doing))
    }

    fn attempt<T>(&mut self, work: impl AsyncFn(&Self, &Session) -> Result<T, Fault>) -> Result<T, Fault> {
        let held = self.session.take();
        let this = &*self;
        let (session, done) = with_session(&this.runtime, &this.target.config, held, async |session| {
            work(this, session).await
        })?;
        self.session = Some(session);
        Ok(done)
    }

    async fn set_up(&self, session: &Session) -> Result<(), Fault> {
        let Target { config, at, sink, schemas } = &*self.target;
        let namespace = &config.schema;
        session.begin(config).await?;
        session.run(CREATING).await?;
        let marks = ["sink text NOT NULL", "epoch bigint", "generation bigint NOT NULL"];
        let mut wanted = vec![
            ("tidegate_epochs".to_owned(), sql::create_marks(at), owned(&marks), "sink".to_owned()),
            ("tidegate_refused".to_owned(), sql::create_refused(at), owned(&sql::REFUSED), String::new()),
            ("tidegate_early".to_owned(), sql::create_early(at), owned(&sql::EARLY), String::new()),
        ];
        for schema in schemas {
            let create = sql::create_table(at, schema);
            let name = schema.name.to_string();
            wanted.push((name, create, sql::wanted_columns(schema), sql::wanted_key(schema)));
        }
        for (table, create, columns, key) in wanted {
            ensure_table(session, namespace, &table, &create, &columns, &key)
                .await?
                .map_err(|cause| self.target.failed(cause))?;
        }
        let sink = literal(sink);
        session
            .run(&format!(
                "INSERT INTO {at}tidegate_epochs VALUES ({sink}, NULL, 0) ON CONFLICT DO NOTHING; COMMIT"
            ))
            .await
    }

    /// What is staged, by table and in the order of their names. Every file is found to be whole, before anything is sent.
    fn parts(&self, staged: &Description<StagedRows>) -> Result<Vec<Part>, SinkError> {
        let mut parts = Vec::new();
        for table in self.target.in_order() {
            parts.push(Part { table, files: Vec::new(), rows: 0, bytes: 0, here: Vec::new() });
        }
        let mut place = vec![0; parts.len()];
        parts.iter().enumerate().for_each(|(number, part)| place[part.table] = number);
        for (number, file) in staged.files.iter().enumerate() {
            let mut reader = StagedReader::open(&self.stage, &staged.dir, file)?;
            while let Some(batch) = reader.next()? {
                let Part { files, rows, bytes, here, .. } = &mut parts[place[batch.table]];
                if files.last() != Some(&number) {
                    files.push(number);
                }
                *rows += batch.rows.len();
                *bytes += batch.rows.byte_len();
                if *rows <= FEW && *bytes <= FEW_BYTES {
                    here.push(batch.rows);
                } else {
                    here.clear();
                }
            }
        }
        parts.retain(|part| part.rows > 0);
        Ok(parts)
    }

    /// Sends the rows that are many into temporary tables, in the transaction that is open.
    async fn send(
        &self,
        session: &Session,
        staged: &Description<StagedRows>,
        parts: &[Part],
    ) -> Result<(), Fault> {
        for (stage, part) in parts.iter().enumerate().filter(|(_, part)| !part.is_here()) {
            let (mut files, mut reader) = (part.files.iter(), None);
            let mut of_table = || loop {
                let Some(open) = &mut reader else {
                    let Some(&file) = files.next() else { return Ok(None) };
                    reader = Some(StagedReader::open(&self.stage, &staged.dir, &staged.files[file])?);
                    continue;
                };
                match open.next()? {
                    Some(batch) if batch.table != part.table => {}
                    Some(batch) => return Ok(Some(batch.rows)),
                    None => reader = None,
                }
            };
            session.send(stage, &self.target.schemas[part.table], &mut of_table).await?;
        }
        Ok(())
    }

    /// Writes, before the mark is locked, the tables of which nothing is shown early: whoever shows rows of others does not wait for them.
    async fn write_first(
        &self,
        session: &Session,
        parts: &[Part],
        epoch: u64,
        done: &mut Beforehand,
    ) -> Result<(), Fault> {
        let tables = self.early.state().await.begin_writing(parts.iter().map(|part| part.table));
        for (stage, part) in parts.iter().enumerate().filter(|(_, part)| tables.contains(&part.table)) {
            done.refused +=
                self.sent(part, stage, epoch, Replace::Any).upsert(session, &self.target.at).await?.refused;
            done.written.insert(stage);
        }
        Ok(())
    }

    /// Finds, before the mark is locked, which of the other rows sent differ from those in the table, so that early rows need not wait for
    /// it. Those that the next epoch has replaced already are left out. Nothing is compared where a connection by which rows were shown is
    /// lost: more may come from it.
    async fn compare(
        &self,
        session: &Session,
        parts: &[Part],
        epoch: u64,
        done: &mut Beforehand,
    ) -> Result<(), Fault> {
        let ahead = {
            let mut early = self.early.state().await;
            if !early.begin_comparing() {
                return Ok(());
            }
            done.ahead.as_mut().map(|known| early.shown.ahead_of(epoch, known)).unwrap_or_default()
        };
        let target = &*self.target;
        for (stage, part) in parts.iter().enumerate().filter(|(_, part)| !part.is_here()) {
            let schema = &target.schemas[part.table];
            if sql::is_looked_up(schema) && !done.written.contains(&stage) {
                session.run(&sql::create_differing(&target.at, stage, schema)).await?;
                done.compared.insert(stage);
            }
        }
        let tables: Vec<usize> = done.compared.iter().map(|stage| parts[*stage].table).collect();
        done.ahead.iter_mut().for_each(|known| known.retain(|(table, _)| tables.contains(table)));
        self.leave_out(session, parts, &done.compared, &ahead).await
    }

    /// Leaves rows that are `ahead` out of those to be written, in the parts that were compared.
    async fn leave_out(
        &self,
        session: &Session,
        parts: &[Part],
        compared: &BTreeSet<usize>,
        ahead: &[TableBatch],
    ) -> Result<(), Fault> {
        for stage in compared {
            let table = parts[*stage].table;
            for batch in ahead.iter().filter(|batch| batch.table == table) {
                session.leave_out(*stage, &self.target.schemas[table], &batch.rows).await?;
            }
        }
        Ok(())
    }

    fn sent<'a>(&'a self, part: &'a Part, stage: usize, epoch: u64, replace: Replace<'a>) -> Sent<'a> {
        let (sink, schema) = (&*self.target.sink, &*self.target.schemas[part.table]);
        let (here, rows) = (&*part.here, part.rows as i64);
        Sent { sink, epoch: EpochOf::All(epoch), stage, here, schema, rows, replace }
    }

    /// Runs the transaction of a commit.
    fn publish(
        &mut self,
        epoch: u64,
        generation: u64,
        staged: &Description<StagedRows>,
    ) -> Result<(), Fault> {
        let is_done = self.attempt(async |this, session| {
            let target = &*this.target;
            // What is in already may be staged no more: it is read first, so that rows may go with the first lock, and missed later.
            let parts = this.parts(staged);
            let is_sent = |parts: &Vec<Part>| !parts.iter().all(Part::is_here);
            let is_trusted = session.serial() == this.committed_by.get();
            let mut done = Beforehand { ahead: is_trusted.then(HashSet::new), ..Beforehand::default() };
            let (mut early, mark) = match &parts {
                Ok(parts) if is_sent(parts) => {
                    // While rows are on their way nothing is locked, so that nobody who shows others waits for them.
                    let (before, newest) = target.begin(session, "").await?;
                    if turn(&target.sink, before, newest, epoch, generation)? == Turn::Publish {
                        this.send(session, staged, parts).await?;
                        // A process that was taken over may still show rows until this one has committed.
                        if newest == generation && this.early.state().await.is_used() {
                            this.write_first(session, parts, epoch, &mut done).await?;
                            this.compare(session, parts, epoch, &mut done).await?;
                        }
                    }
                    let early = this.early.state().await;
                    let mark = target.mark(session, " FOR UPDATE").await?;
                    if mark.0 < before {
                        let cause =
                            "the mark in tidegate_epochs went back while rows were on their way: somebody changed it";
                        return Err(target.failed(cause).into());
                    }
                    (early, mark)
                }
                _ => {
                    let early = this.early.state().await;
                    (early, target.begin(session, " FOR UPDATE").await?)
                }
            };
            early.locked();
            let parts = match turn(&target.sink, mark.0, mark.1, epoch, generation)? {
                Turn::Done if !done.written.is_empty() => {
                    // Somebody else was quicker: nothing of it may stay.
                    session.run("ROLLBACK").await?;
                    early.has_written();
                    return Ok(false);
                }
                Turn::Done => None,
                Turn::Publish => Some(parts?),
            };
            if !early.holds(epoch) {
                done.compared.clear();
                done.ahead = None;
            }
            this.replace(session, early, (epoch, generation), mark.1, parts.as_deref(), done).await?;
            Ok(true)
        })?;
        if is_done { Ok(()) } else { self.publish(epoch, generation, staged) }
    }

    /// Replaces rows by `parts`, which are none where the epoch is in already, but for what was `done` before the mark was locked; sets the
    /// mark, which has generation `newest`, and commits.
    async fn replace(
        &self,
        session: &Session,
        mut early: MutexGuard<'_, early::State>,
        (epoch, generation): (u64, u64),
        newest: u64,
        parts: Option<&[Part]>,
        mut done: Beforehand,
    ) -> Result<(), Fault> {
        let target = &*self.target;
        if parts.is_none() && generation == newest {
            session.run("ROLLBACK").await?;
            early.shown.clear(epoch);
            early.has_written();
            return Ok(());
        }
        let (at, sink) = (&target.at, &*target.sink);
        // The server's integers are signed; the bits are kept.
        let (name, generation, signed) = (literal(sink), generation as i64, epoch as i64);
        let given = match early.shown.has_notes(epoch) {
            true => format!("DELETE FROM {at}tidegate_early WHERE sink = {name} AND epoch <= {signed}; "),
            false => String::new(),
        };
        let set_epoch = if parts.is_some() { format!("epoch = {signed}, ") } else { String::new() };
        let finish = format!(
            "{given}UPDATE {at}tidegate_epochs SET {set_epoch}generation = {generation} WHERE sink = {name}; COMMIT"
        );
        if let Some(parts) = parts {
            let few = !early.is_used() && parts.len() <= MOST_AT_ONCE && parts.iter().all(Part::is_here);
            let rows = || parts.iter().map(|part| (&*target.schemas[part.table], &*part.here));
            if few && session.upsert_all(at, rows().collect(), &finish).await? {
                self.in_doubt.set(0);
                self.committed_by.set(session.serial());
                early.shown.clear(epoch);
                return Ok(());
            }
            // Those of the next epoch that have been shown since.
            let leaves_out = done.ahead.is_some();
            let ahead = early.shown.ahead_of(epoch, done.ahead.get_or_insert_default());
            if leaves_out {
                self.leave_out(session, parts, &done.compared, &ahead).await?;
            }
            let mut refused = done.refused;
            for (stage, part) in parts.iter().enumerate().filter(|(stage, _)| !done.written.contains(stage)) {
                let replace = match early.is_used() {
                    true if done.compared.contains(&stage) => Replace::Differed,
                    true => Replace::Different,
                    false => Replace::Any,
                };
                refused += self.sent(part, stage, epoch, replace).upsert(session, at).await?.refused;
            }
            self.in_doubt.set(refused);
            // What was not left out is written once more; most of it is still there.
            let left_out = done.compared.iter().filter(|_| leaves_out);
            let left_out: Vec<usize> = left_out.map(|stage| parts[*stage].table).collect();
            let mut undone = ahead.iter().filter(|batch| !left_out.contains(&batch.table)).peekable();
            if undone.peek().is_some() {
                let undone = target.upsert_early(session, undone, Replace::Different);
                session.or_nothing(undone).await?;
            }
        }
        session.run(&finish).await?;
        self.committed_by.set(session.serial());
        early.shown.clear(epoch);
        early.has_written();
        Ok(())
    }

    /// Counts and tells the rows that the server has refused, now that the transaction has happened.
    fn tell_refused(&mut self, epoch: u64) {
        let rows = self.in_doubt.take();
        if rows > 0 {
            warn!(
                sink = self.target.sink,
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
            let error = self.target.error(fault, &format!("committing epoch {epoch}"));
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

    fn show(&mut self, epoch: u64, generation: u64, batches: &[TableBatch]) -> Result<(), SinkError> {
        self.early.show(epoch, generation, batches)
    }

    fn shows_beside(&self) -> Option<Arc<dyn ShowBeside<TableBatch>>> {
        Some(Arc::clone(&self.early) as Arc<dyn ShowBeside<TableBatch>>)
    }

    fn take_back(&mut self, generation: u64) -> Result<(), SinkError> {
        self.work("taking back rows of open windows", async |this, session| {
            let (target, mut early) = (&*this.target, this.early.state().await);
            let (last, newest) = target.begin(session, " FOR UPDATE").await?;
            turn(&target.sink, last, newest, 0, generation)?;
            let noted = session.noted_early(&target.at, &target.sink).await?;
            if noted.is_empty() {
                session.run("ROLLBACK").await?;
            } else {
                let undecided = noted.iter().filter(|(epoch, ..)| last.is_none_or(|last| *epoch > last));
                let shown: Vec<_> =
                    undecided.filter_map(|(_, table, rows)| early.shown.decoded(table, rows)).collect();
                target.delete(session, &shown).await?;
                let (at, sink) = (&target.at, literal(&target.sink));
                session.run(&format!("DELETE FROM {at}tidegate_early WHERE sink = {sink}; COMMIT")).await?;
            }
            early.shown.forget();
            Ok(())
        })
    }

    fn refused(&self) -> u64 {
        self.refused
    }
}

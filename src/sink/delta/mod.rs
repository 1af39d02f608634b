//! Delta tables, written exactly once.
//!
//! ```text
//! delta/<table>/event_date=2024-01-28/part-0000000001-00000-5f2ab31c.parquet   data
//! delta/<table>/_delta_log/00000000000000000000.json                           commits: what is in
//! delta/<first table>/_tidegate/                                               staged files, the sink's mark
//! ```
//!
//! Rows become staged Parquet files as those of a lake do ([`super::lake`]). A commit of an epoch renames a table's files
//! to their names, where no reader looks for them yet, and then puts one commit into its log, which makes all of them
//! visible in one step. That commit carries a `txn` action, (application, epoch). Before it is put, the application's last
//! one is read from the log: an epoch that is in is not put again, whoever asks and however often. The number of a commit
//! is taken, not given: where another writer has taken it, what he put is read, and the next one is tried.
//!
//! The log is written by us and not by the `deltalake` crate: what is needed of the protocol is small (versions 1 and 2),
//! while the crate brings two hundred and fifty others, an SQL parser and two TLS stacks among them, into a build that has
//! to be short. Tables are read back by delta-rs in the tests, and their files by DuckDB.
//!
//! A table without rows in an epoch gets no commit, but for the first one that makes it. A generation stands in the log as
//! a `txn` of its own, so that an older run is refused wherever the table lies.
//!
//! In S3 or HDFS files go under their names when an epoch is prepared: what no commit names is not in. The log is all that
//! there is of marks then, and a commit is put where there is none of its number, by the place's own means.

mod action;
mod checkpoint;
mod log;
mod maintain;
mod merging;
mod optimize;
mod read;
mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;
use xxhash_rust::xxh3::xxh3_128;

pub use self::action::{Action, Add, Format, MetaData, Protocol, Remove, Txn};
pub use self::log::{LOG, Log, PROTOCOL, Put, Snapshot};
pub use self::maintain::{Commit, Vacuumed, history, vacuum, vacuum_remote};
pub use self::merging::Merge;
use self::merging::Merging;
pub use self::optimize::{Optimized, optimize};
pub use self::rows::DeltaRows;
use super::disk::{Disk, Durability};
use super::lake::epoch::{OpenEpoch, StagedFile};
use super::lake::{BOOKS, LakeBatch, Limits, directory, publish};
use super::staged::{Books, Description, Turn, is_plain, nonce, turn};
use super::{Sink, SinkError, Staged};
use crate::rows::{RowBatch, Schema};
use crate::runtime::{Clock, SystemClock};
use crate::storage::{Dir, Storage, StorageError, Upload};

const KIND: &str = "delta";

/// What becomes of a table whose columns are not ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SchemaMode {
    /// It is refused.
    #[default]
    Enforce,
    /// Columns that it lacks are added to it, nullable.
    Evolve,
}

/// How tables are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// What becomes of a table whose columns are not ours.
    pub schema: SchemaMode,
    /// After so many commits a table's log gets a checkpoint; default 100.
    pub checkpoint_every: u64,
    /// When rows become files, and what may be held at once.
    pub limits: Limits,
    /// When small files are merged, of tables that only grow; default never.
    pub merge: Option<Merge>,
}

impl Default for Options {
    fn default() -> Self {
        let (schema, limits) = (SchemaMode::default(), Limits::default());
        Options { schema, checkpoint_every: 100, limits, merge: None }
    }
}

impl Options {
    /// How many checkpoints a log has up to this version.
    fn turns(&self, version: u64) -> u64 {
        (version + 1) / self.checkpoint_every.max(1)
    }
}

/// A table to write: its columns, and the columns that are directories.
#[derive(Clone, Debug)]
pub struct DeltaTable {
    /// Its columns; its name is the table's directory.
    pub schema: Arc<Schema>,
    /// The columns that rows are partitioned by, all of them dates.
    pub partition_columns: Vec<String>,
    /// Whether an epoch's files take the place of all that are there, as [`DeltaRows`] makes them of rows that replace
    /// others by key. Older versions keep what they had.
    pub replaces: bool,
}

/// A staged file, and whose it is.
#[derive(Debug, Serialize, Deserialize)]
struct TableFile {
    table: String,
    #[serde(flatten)]
    file: StagedFile,
}

/// How far we know a table's log.
#[derive(Clone, Debug, Default)]
struct Tip {
    version: Option<u64>,
    /// How many checkpoints have had their turn.
    turns: u64,
    metadata: Option<MetaData>,
    epoch: Option<i64>,
    generation: Option<i64>,
    /// The files that are in, of a table in which an epoch's take the place of all others: looking for them in the log would cost more
    /// with every commit.
    files: BTreeSet<String>,
}

#[derive(Debug)]
struct Table {
    of: DeltaTable,
    log: Log,
    tip: Tip,
    /// How many files have been added since small ones were merged.
    new_files: usize,
}

/// The sink of some Delta tables.
#[derive(Debug)]
pub struct DeltaTables {
    app: String,
    options: Options,
    books: Books,
    place: Arc<dyn Storage>,
    /// The place where it is a directory of this machine, into which staged files are renamed.
    local: Option<PathBuf>,
    tables: Vec<Table>,
    open: BTreeMap<(u64, usize), OpenEpoch>,
    prepared: BTreeMap<u64, Staged>,
    /// The epoch whose files have been uploaded last.
    uploaded: Option<u64>,
    merging: Merging,
}

/// What the sink's mark holds besides epoch and generation: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct NoState {}

impl DeltaTables {
    /// Opens `tables` below `root`, usually `delta` below `--out`; `sink` names it in errors and in the logs.
    ///
    /// # Errors
    /// [`SinkError::Failed`] when a directory cannot be written, a log cannot be read, or a table is not what it should be.
    pub fn open(
        root: &Path,
        sink: &str,
        tables: Vec<DeltaTable>,
        options: Options,
        durability: Durability,
    ) -> Result<Self, SinkError> {
        let disk = Disk::new(durability);
        let books = root.join(first(&tables)).join(BOOKS);
        let place = Arc::new(Dir::on(disk.clone(), root));
        let opened = Self::open_in(place, Books::open(disk, books, sink)?, tables, options)?;
        Ok(DeltaTables { local: Some(root.to_owned()), ..opened })
    }

    /// Opens `tables` in a remote place. Rows wait in `state_dir`, which may be empty at each start.
    ///
    /// # Errors
    /// As [`DeltaTables::open`]; [`SinkError::Unavailable`] while the place is away.
    pub fn open_remote(
        place: Arc<dyn Storage>,
        state_dir: &Path,
        sink: &str,
        tables: Vec<DeltaTable>,
        options: Options,
    ) -> Result<Self, SinkError> {
        let books = state_dir.join(".tidegate").join(KIND).join(sink).join(first(&tables));
        let books = Books::open(Disk::new(Durability::Process), books, sink)?;
        Self::open_in(place, books, tables, options)
    }

    fn open_in(
        place: Arc<dyn Storage>,
        books: Books,
        tables: Vec<DeltaTable>,
        options: Options,
    ) -> Result<Self, SinkError> {
        let app = format!("tidegate/{}", books.sink);
        let table = |of: DeltaTable| {
            let log = Log::new(Arc::clone(&place), &of.schema.name, &books.sink);
            let mut table = Table { of, log, tip: Tip::default(), new_files: 0 };
            table.open(&app, options).map_err(|cause| cause.of(&books))?;
            Ok(table)
        };
        let tables = tables.into_iter().map(table).collect::<Result<_, SinkError>>()?;
        let (open, prepared) = (BTreeMap::new(), BTreeMap::new());
        let (local, uploaded, merging) = (None, None, Merging::default());
        Ok(DeltaTables { app, options, books, place, local, tables, open, prepared, uploaded, merging })
    }

    fn lift<T>(&self, result: Result<T, StorageError>) -> Result<T, SinkError> {
        result.map_err(|error| error.of(&self.books.sink))
    }

    /// The rows that are in the table called `name`, which has no directories.
    ///
    /// # Errors
    /// When its log or a file of it cannot be read.
    pub fn rows(&self, name: &str) -> Result<RowBatch, SinkError> {
        let table = self.tables.iter().find(|table| table.of.schema.name == name);
        let table = table.ok_or_else(|| self.books.failed(format!("there is no Delta table {name:?}")))?;
        let mut rows = table.of.schema.batch();
        for path in table.log.snapshot(None)?.files.into_keys() {
            let path = format!("{name}/{path}");
            let read = match self.lift(self.place.read(&path))? {
                Some(bytes) => read::append(bytes, &table.of.schema, &mut rows),
                None => Err("the log names it, and it is not there".to_owned()),
            };
            read.map_err(|cause| self.books.failed(format!("{path:?} in {}: {cause}", self.place.place())))?;
        }
        Ok(rows)
    }

    /// Puts the files of a prepared epoch into a remote place, under names that no commit has yet.
    fn upload(&mut self, epoch: u64, staged: &Staged) -> Result<(), SinkError> {
        if self.local.is_some() || self.uploaded == Some(epoch) {
            return Ok(());
        }
        let Description { dir, files, .. } =
            Description::<TableFile>::of(staged, &self.books.sink, KIND, epoch)?;
        let dir = self.books.dir(&dir);
        let upload = |TableFile { table, file }: TableFile| Upload {
            from: dir.join(&table).join(&file.name),
            to: format!("{table}/{}", file.path),
            bytes: file.bytes,
        };
        let files: Vec<_> = files.into_iter().map(upload).collect();
        self.lift(self.place.upload(&files))?;
        self.uploaded = Some(epoch);
        Ok(())
    }

    /// Makes sure that the files of an epoch lie under their names in `table`.
    fn publish(&self, table: &str, dir: &str, files: &[StagedFile], verify: bool) -> Result<(), SinkError> {
        if let Some(root) = &self.local {
            let staged = self.books.dir(dir).join(table);
            return publish::files(&self.books, &staged, &root.join(table), files, verify);
        }
        for file in files.iter().filter(|_| verify) {
            let path = format!("{table}/{}", file.path);
            if !is_plain(&file.path) || self.lift(self.place.len(&path))? != Some(file.bytes) {
                let place = self.place.place();
                let what = format!("{path:?} in {place} is not the file that the manifest describes");
                return Err(self.books.failed(what));
            }
        }
        Ok(())
    }

    /// Publishes a table's files and commits them.
    fn commit_table(
        &mut self,
        index: usize,
        epoch: u64,
        generation: u64,
        dir: &str,
        files: Vec<StagedFile>,
    ) -> Result<(), SinkError> {
        let now_ms = SystemClock.now_us() / 1000;
        let table = &self.tables[index];
        let verify = !self.prepared.contains_key(&epoch);
        // A table that has taken the epoch in may have been rewritten since: its files are nobody's to look for.
        let known = table.tip.epoch.is_some_and(|known| known >= epoch as i64);
        let files = if known { Vec::new() } else { files };
        self.publish(&table.of.schema.name, dir, &files, verify)?;
        let adds: Vec<_> = files.iter().map(|file| Action::Add(add(file, now_ms))).collect();
        let DeltaTables { app, options, books, tables, place, merging, .. } = self;
        let table = &mut tables[index];
        table.new_files += adds.len();
        table.commit(app, *options, books, epoch, generation, adds, now_ms)?;
        let due = options.merge.filter(|_| !table.of.replaces);
        if let Some(merge) = due.filter(|merge| merging.is_due(*merge, table.new_files)) {
            table.new_files = 0;
            merging.begin(place, &table.of.schema.name, merge, books.root.join("merging"));
        }
        Ok(())
    }
}

/// What is wrong with a table, before it is known whose sink it is.
enum Fault {
    Sink(SinkError),
    Table(String),
}

impl From<SinkError> for Fault {
    fn from(error: SinkError) -> Self {
        Fault::Sink(error)
    }
}

impl Fault {
    fn of(self, books: &Books) -> SinkError {
        match self {
            Fault::Sink(error) => error,
            Fault::Table(cause) => books.failed(cause),
        }
    }
}

impl Table {
    /// Reads the whole log once, and looks whether the table can take our rows.
    fn open(&mut self, app: &str, options: Options) -> Result<(), Fault> {
        let snapshot = self.log.snapshot(None)?;
        if let Some(protocol) = &snapshot.protocol {
            self.check_protocol(protocol)?;
        }
        self.tip = Tip {
            version: snapshot.version,
            turns: snapshot.version.map_or(0, |version| options.turns(version)),
            metadata: snapshot.metadata,
            epoch: snapshot.txns.get(app).copied(),
            generation: snapshot.txns.get(&generations(app)).copied(),
            files: if self.of.replaces { snapshot.files.into_keys().collect() } else { BTreeSet::new() },
        };
        self.metadata(options.schema).map(drop)
    }

    fn check_protocol(&self, protocol: &Protocol) -> Result<(), Fault> {
        let Protocol { min_reader_version: reader, min_writer_version: writer } = *protocol;
        if protocol.is_beyond_us() {
            let cause = format!(
                "the Delta table {:?} asks for reader version {reader} and writer version {writer}; tidegate writes \
                 tables of versions 1 and 2: write to a new table",
                self.of.schema.name
            );
            return Err(Fault::Table(cause));
        }
        Ok(())
    }

    /// What the table has to become for our rows, where that is not what it is.
    fn metadata(&self, mode: SchemaMode) -> Result<Option<MetaData>, Fault> {
        let ours = action::schema_json(&self.of.schema, &self.of.partition_columns);
        let Some(there) = &self.tip.metadata else {
            let id = xxh3_128(format!("{:?} {}", self.of.schema.name, nonce()).as_bytes());
            let hex = format!("{id:032x}");
            return Ok(Some(MetaData {
                id: [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"),
                name: Some(self.of.schema.name.to_string()),
                format: Format { provider: "parquet".to_owned(), options: BTreeMap::new() },
                schema_string: ours.to_string(),
                partition_columns: self.of.partition_columns.clone(),
                configuration: BTreeMap::new(),
                created_time: Some(SystemClock.now_us() / 1000),
            }));
        };
        if there.partition_columns != self.of.partition_columns {
            let (is, ours) = (&there.partition_columns, &self.of.partition_columns);
            let cause =
                format!("the Delta table {:?} is partitioned by {is:?}, not {ours:?}", self.of.schema.name);
            return Err(Fault::Table(cause));
        }
        let theirs = serde_json::from_str(&there.schema_string)
            .map_err(|error| Fault::Table(format!("the schema of {:?}: {error}", self.of.schema.name)))?;
        let merged = action::merged(&theirs, &ours)
            .map_err(|cause| Fault::Table(format!("the Delta table {:?}: {cause}", self.of.schema.name)))?;
        match (merged, mode) {
            (None, _) => Ok(None),
            (Some(merged), SchemaMode::Evolve) => {
                Ok(Some(MetaData { schema_string: merged.to_string(), ..there.clone() }))
            }
            (Some(_), SchemaMode::Enforce) => Err(Fault::Table(format!(
                "the Delta table {:?} lacks columns that are written: set the schema to evolve, or write to a new table",
                self.of.schema.name
            ))),
        }
    }

    /// Reads what others have put since we looked.
    fn refresh(&mut self, app: &str) -> Result<(), Fault> {
        loop {
            let next = self.tip.version.map_or(0, |version| version + 1);
            let Some(actions) = self.log.commit(next)? else { return Ok(()) };
            for action in actions {
                self.note_file(&action);
                match action {
                    Action::MetaData(metadata) => self.tip.metadata = Some(*metadata),
                    Action::Protocol(protocol) => self.check_protocol(&protocol)?,
                    Action::Txn(txn) if txn.app_id == app => self.tip.epoch = Some(txn.version),
                    Action::Txn(txn) if txn.app_id == generations(app) => {
                        self.tip.generation = Some(txn.version);
                    }
                    _ => {}
                }
            }
            self.tip.version = Some(next);
        }
    }

    /// Notes a file that has come or gone, where they are to be known.
    fn note_file(&mut self, action: &Action) {
        match action {
            Action::Add(add) if self.of.replaces => drop(self.tip.files.insert(add.path.clone())),
            Action::Remove(remove) => drop(self.tip.files.remove(&remove.path)),
            _ => {}
        }
    }

    #[allow(clippy::too_many_arguments)] // A commit consists of these.
    fn commit(
        &mut self,
        app: &str,
        options: Options,
        books: &Books,
        epoch: u64,
        generation: u64,
        adds: Vec<Action>,
        now_ms: i64,
    ) -> Result<(), SinkError> {
        loop {
            self.refresh(app).map_err(|fault| fault.of(books))?;
            if let Some(newer) = self.tip.generation.filter(|newer| *newer > generation as i64) {
                let (sink, newer) = (books.sink.clone(), newer as u64);
                return Err(SinkError::Fenced { sink, ours: generation, newer });
            }
            if self.tip.epoch.is_some_and(|known| known >= epoch as i64) {
                return Ok(());
            }
            let metadata = self.metadata(options.schema).map_err(|fault| fault.of(books))?;
            if adds.is_empty() && metadata.is_none() {
                return Ok(());
            }
            let txn = |app_id: String, version: u64| {
                Action::Txn(Txn { app_id, version: version as i64, last_updated: Some(now_ms) })
            };
            let version = self.tip.version.map_or(0, |version| version + 1);
            let mut actions = Vec::with_capacity(adds.len() + 5);
            actions.push(Action::CommitInfo(json!({
                "timestamp": now_ms,
                "operation": "STREAMING UPDATE",
                "operationParameters": {
                    "outputMode": if self.of.replaces { "Complete" } else { "Append" },
                    "queryId": app,
                    "epochId": epoch.to_string(),
                },
                "isBlindAppend": !self.of.replaces,
                "engineInfo": concat!("tidegate/", env!("CARGO_PKG_VERSION")),
            })));
            if self.tip.version.is_none() {
                actions.push(Action::Protocol(PROTOCOL));
            }
            actions.extend(metadata.clone().map(|metadata| Action::MetaData(Box::new(metadata))));
            actions.push(txn(app.to_owned(), epoch));
            actions.push(txn(generations(app), generation));
            actions.extend(adds.iter().cloned());
            // What an epoch without rows leaves stays.
            let gone = self.tip.files.iter().filter(|_| !adds.is_empty()).cloned();
            let out =
                |path| Action::Remove(Remove { path, deletion_timestamp: Some(now_ms), data_change: true });
            actions.extend(gone.map(out));
            if self.log.put(version, &actions)? == Put::Taken {
                continue;
            }
            self.tip.version = Some(version);
            self.tip.epoch = Some(epoch as i64);
            self.tip.generation = Some(generation as i64);
            self.tip.metadata = metadata.or(self.tip.metadata.take());
            actions.iter().for_each(|action| self.note_file(action));
            // Somebody else may have put the version whose turn it was.
            let turns = options.turns(version);
            if turns > std::mem::replace(&mut self.tip.turns, turns) {
                self.log.checkpoint(self.of.replaces || options.merge.is_some())?;
            }
            return Ok(());
        }
    }
}

/// The table that the sink's own files are named after.
fn first(tables: &[DeltaTable]) -> &str {
    tables.first().map_or("", |table| &*table.schema.name)
}

/// The application under which generations stand in a log.
fn generations(app: &str) -> String {
    format!("{app}/generation")
}

fn add(file: &StagedFile, now_ms: i64) -> Add {
    let levels = file.path.split('/').filter_map(|level| level.split_once('='));
    Add {
        path: file.path.clone(),
        partition_values: levels.map(|(name, value)| (name.to_owned(), Some(value.to_owned()))).collect(),
        size: file.bytes as i64,
        modification_time: now_ms,
        data_change: true,
        stats: Some(json!({"numRecords": file.rows}).to_string()),
    }
}

impl Sink for DeltaTables {
    type Batch = LakeBatch;

    /// Stages rows. An error is final: the run starts again from its last manifest.
    fn write(&mut self, epoch: u64, batch: LakeBatch) -> Result<(), SinkError> {
        directory::check(&batch.partition_dir)
            .and_then(|()| batch.schema.check(&batch.rows))
            .map_err(|cause| self.books.failed(cause))?;
        let name = &batch.schema.name;
        let index = self.tables.iter().position(|table| table.of.schema.name == *name);
        let Some(index) = index.filter(|index| self.tables[*index].of.schema == batch.schema) else {
            return Err(self.books.failed(format!("there is no Delta table {name:?} with these columns")));
        };
        if self.prepared.contains_key(&epoch) {
            return Err(self.books.failed(format!("epoch {epoch} is prepared and takes no more rows")));
        }
        if batch.rows.is_empty() {
            return Ok(());
        }
        if !self.open.contains_key(&(epoch, index)) {
            let dir = self.books.make_dir(epoch).map_err(|error| self.books.lift(error))?.join(&**name);
            self.books.disk.create_dirs(&dir).map_err(|error| self.books.lift(error))?;
            let open = OpenEpoch::new(self.books.disk.clone(), dir, epoch, self.options.limits);
            self.open.insert((epoch, index), open);
        }
        let written = self.open.get_mut(&(epoch, index)).map_or(Ok(()), |open| open.write(batch));
        written.map_err(|cause| self.books.failed(cause))
    }

    fn prepare(&mut self, epoch: u64) -> Result<Staged, SinkError> {
        if let Some(staged) = self.prepared.get(&epoch).cloned() {
            self.upload(epoch, &staged)?;
            return Ok(staged);
        }
        let (mut dir, mut files) = (String::new(), Vec::new());
        for (index, table) in self.tables.iter().enumerate() {
            let Some(open) = self.open.remove(&(epoch, index)) else { continue };
            dir = self.books.dir_name(epoch);
            let done = open.finish().map_err(|cause| self.books.failed(cause))?;
            let name = table.of.schema.name.to_string();
            let within = self.books.dir(&dir).join(&name);
            self.books
                .disk
                .force_dirs_up_to(&within, &self.books.root)
                .map_err(|error| self.books.lift(error))?;
            files.extend(done.into_iter().map(|file| TableFile { table: name.clone(), file }));
        }
        let staged = Description::new(KIND, epoch, dir, files).to_staged(&self.books.sink)?;
        self.prepared.insert(epoch, staged.clone());
        self.upload(epoch, &staged)?;
        Ok(staged)
    }

    fn committed(&mut self) -> Result<Option<u64>, SinkError> {
        if self.local.is_some() {
            return Ok(self.books.mark::<NoState>()?.epoch);
        }
        let DeltaTables { app, books, tables, .. } = self;
        tables.iter_mut().try_for_each(|table| table.refresh(app)).map_err(|fault| fault.of(books))?;
        let newest = self.tables.iter().filter_map(|table| table.tip.epoch).max();
        Ok(newest.and_then(|epoch| u64::try_from(epoch).ok()))
    }

    fn commit(&mut self, epoch: u64, generation: u64, staged: &Staged) -> Result<(), SinkError> {
        let description = Description::<TableFile>::of(staged, &self.books.sink, KIND, epoch)?;
        let _lock = self.books.lock().map_err(|error| self.books.lift(error))?;
        let mut mark = self.books.mark::<NoState>()?;
        let turn = match self.local {
            Some(_) => turn(&self.books.sink, mark.epoch, mark.generation, epoch, generation)?,
            // The logs say what is in.
            None => Turn::Publish,
        };
        match turn {
            Turn::Done => self.books.note_generation(mark, generation)?,
            Turn::Publish => {
                let Description { dir, files, .. } = description;
                let mut of_tables: Vec<Vec<StagedFile>> = Vec::new();
                of_tables.resize_with(self.tables.len(), Vec::new);
                for TableFile { table, file } in files {
                    let index = self.tables.iter().position(|known| known.of.schema.name == *table);
                    let index = index
                        .ok_or_else(|| self.books.failed(format!("there is no Delta table {table:?}")))?;
                    of_tables[index].push(file);
                }
                for (index, files) in of_tables.into_iter().enumerate() {
                    self.commit_table(index, epoch, generation, &dir, files)?;
                }
                (mark.epoch, mark.generation) = (Some(epoch), generation);
                self.books.set_mark(&mark)?;
            }
        }
        self.open.retain(|(open, _), _| *open > epoch);
        self.prepared.retain(|&prepared, _| prepared > epoch);
        self.books.clear(epoch).map_err(|error| self.books.lift(error))
    }
}

#[cfg(test)]
mod tests;

//! Tables in MongoDB, exactly once in effect: documents are upserted by a unique key, guarded by (epoch, revision).
//!
//! Rows of an epoch that is not decided lie in a local staged file (`sink/tables/`). A commit is
//!
//! ```text
//! claim the generation ─► newer? Fenced. done? no-op. ─► guarded upserts, in bulk ─► mark
//! ```
//!
//! Without a transaction over all of it, since that needs a replica set: a crash in between leaves some documents
//! of the epoch visible, and the commit is repeated from the staged file. Each document says which write it is from
//! ([`Stamp`]) and gives way to a later one only, so that repeating, also of an older epoch by a process that does
//! not know of the newer one, changes nothing. The mark comes last: what it says is whole.
//!
//! A document that the server refuses for its content (a validator of the collection, a unique index that somebody
//! added) does not hold up the others: it goes to the collection `tidegate_refused` with the server's reason, and
//! is counted in the log.

mod config;
mod connection;
mod document;
mod error;
mod read;

use std::path::Path;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use mongodb::bson::{Bson, Document, doc};
use tracing::{info, warn};

pub use self::config::{Config, Uri};
use self::connection::Connection;
pub use self::document::Stamp;
use self::document::{STAMP, Upsert, create_indexes, refuses};
use self::error::{Fault, is_about_content};
pub use self::read::{Changes, Found, committed, read_rows};
use super::disk::{Disk, Durability};
use super::staged::{Description, Turn, failed, turn};
use super::tables::{Stage, StagedReader, StagedRows, TableBatch, key_of};
use super::{Sink, SinkError, Staged};
use crate::rows::Schema;

/// The collection with the mark of each sink.
const MARKS: &str = "tidegate_epochs";
/// The collection with the documents that were refused.
const REFUSED: &str = "tidegate_refused";

/// The sink of one pipeline's tables, a collection each.
///
/// It drives its connection by itself and blocks: it must not be used inside of an asynchronous runtime.
#[derive(Debug)]
pub struct MongoTables {
    connection: Connection,
    stage: Stage,
    /// By table.
    collections: Vec<String>,
    /// Whether the indexes are there.
    is_set_up: bool,
    batches: u64,
    /// Documents that the server has refused since it was opened.
    refused: u64,
}

/// What became of a batch.
#[derive(Default)]
struct Done {
    written: u64,
    refused: u64,
}

impl MongoTables {
    /// Opens the sink, and makes the indexes of the collections that are missing.
    ///
    /// The collection of a table has the table's name, or another one by `names`. `sink` names this sink among those
    /// of the database, in marks and in errors: the pipeline's name. Epochs that are not decided are staged in
    /// `state_dir`; a process that takes over needs the same directory.
    ///
    /// # Errors
    /// [`SinkError::Unavailable`] when the server cannot be reached; [`SinkError::Failed`] when it refuses the user or
    /// an index cannot be made: the error says why.
    pub fn open(
        config: &Config,
        state_dir: &Path,
        sink: &str,
        schemas: Vec<Arc<Schema>>,
        names: &[(&str, &str)],
        durability: Durability,
    ) -> Result<Self, SinkError> {
        let root = state_dir.join(".tidegate").join("mongo").join(sink);
        let renamed =
            |table: &str| names.iter().find(|(from, _)| *from == table).map(|(_, to)| (*to).to_owned());
        let collections: Vec<String> =
            schemas.iter().map(|schema| renamed(&schema.name).unwrap_or(schema.name.to_string())).collect();
        let known = collections.iter().map(String::as_str).chain([MARKS, REFUSED]);
        if known.collect::<HashSet<&str>>().len() != collections.len() + 2 {
            return Err(failed(
                sink,
                format!("two collections of {collections:?} have one name: choose others"),
            ));
        }
        for schema in &schemas {
            if schema.key.is_empty() || schema.columns.iter().any(|column| STAMP.contains(&&*column.name)) {
                let cause = format!(
                    "table {:?} cannot be a collection: it needs a key, and no column \"epoch\" or \"revision\"",
                    schema.name
                );
                return Err(failed(sink, cause));
            }
        }
        let stage = Stage::open(Disk::new(durability), root, sink, schemas, refuses)?;
        let connection = Connection::open(config, sink)?;
        let mut tables =
            MongoTables { connection, stage, collections, is_set_up: false, batches: 0, refused: 0 };
        tables.set_up().map_err(|fault| tables.lift(fault, "making the indexes"))?;
        Ok(tables)
    }

    fn lift(&self, fault: Fault, doing: &str) -> SinkError {
        fault.of(&self.stage.books.sink, self.connection.config(), doing)
    }

    fn set_up(&mut self) -> Result<(), Fault> {
        if self.is_set_up {
            return Ok(());
        }
        for (collection, schema) in self.collections.iter().zip(&self.stage.schemas) {
            self.connection.write(create_indexes(collection, schema))?;
        }
        let fresh = doc! { "$setOnInsert": { "epoch": Bson::Null, "generation": 0_i64 } };
        self.mark_command(doc! { "q": { "_id": &self.stage.books.sink }, "u": fresh, "upsert": true })?;
        self.is_set_up = true;
        Ok(())
    }

    /// The last epoch and the newest generation.
    fn mark(&self) -> Result<(Option<u64>, u64), Fault> {
        let sink = &self.stage.books.sink;
        let Some(mark) = self.connection.first(MARKS, doc! { "_id": sink }, doc! {})? else {
            let cause = format!("the mark of {sink:?} is gone from {MARKS}: start again to make it");
            return Err(self.stage.books.failed(cause).into());
        };
        let number = |name: &str| mark.get_i64(name).ok().map(|number| number as u64);
        Ok((number("epoch"), number("generation").unwrap_or(0)))
    }

    /// Runs one update of the marks; says whether a mark was there and fitted.
    fn mark_command(&self, update: Document) -> Result<bool, Fault> {
        let answer = self.connection.write(doc! { "update": MARKS, "updates": [update] })?;
        if let Some((code, message, _)) = write_errors(&answer).next() {
            return Err(Fault::Server(code, message));
        }
        Ok(number(&answer, "n") > 0)
    }

    /// Takes the sink over for `generation`, and says whether `epoch` is to be published.
    fn claim(&self, epoch: u64, generation: u64) -> Result<Turn, Fault> {
        let sink = &self.stage.books.sink;
        let claim = doc! { "$set": { "generation": generation as i64 } };
        let older = doc! { "_id": sink, "generation": { "$lt": generation as i64 } };
        self.mark_command(doc! { "q": older, "u": claim })?;
        let (last, newest) = self.mark()?;
        Ok(turn(sink, last, newest, epoch, generation)?)
    }

    /// Upserts what is staged for an epoch: of several rows of a key the last one.
    fn upsert(&self, epoch: u64, staged: &Description<StagedRows>) -> Result<Done, Fault> {
        let stamp = Stamp { epoch: epoch as i64, revision: 0 };
        // The first pass also finds out whether a staged file is whole, before anything is sent.
        let (mut last, mut number) = (HashMap::<(usize, Vec<u8>), u64>::new(), 0);
        let mut batches = StagedBatches::new(&self.stage, staged);
        while let Some(TableBatch { table, rows, .. }) = batches.next()? {
            for row in 0..rows.len() {
                last.insert((table, key_of(&self.stage.schemas[table], &rows, row)), number);
                number += 1;
            }
        }
        let kept: HashSet<u64> = last.into_values().collect();
        let mut waiting: Vec<Vec<Upsert>> = self.collections.iter().map(|_| Vec::new()).collect();
        let mut done = Done::default();
        number = 0;
        batches = StagedBatches::new(&self.stage, staged);
        while let Some(TableBatch { table, rows, .. }) = batches.next()? {
            for row in 0..rows.len() {
                if kept.contains(&number) {
                    waiting[table].push(Upsert::new(&self.stage.schemas[table], rows.row(row), stamp));
                }
                number += 1;
                if waiting[table].len() >= self.connection.config().batch {
                    self.send(table, std::mem::take(&mut waiting[table]), &mut done)?;
                }
            }
        }
        for (table, upserts) in waiting.into_iter().enumerate() {
            self.send(table, upserts, &mut done)?;
        }
        Ok(done)
    }

    /// Sends one command, and sets aside what is refused for its content.
    fn send(&self, table: usize, upserts: Vec<Upsert>, done: &mut Done) -> Result<(), Fault> {
        let mut left = upserts;
        for last_try in [false, true] {
            if left.is_empty() {
                return Ok(());
            }
            let updates: Vec<Document> = left.iter().map(Upsert::update).collect();
            let command = doc! { "update": &self.collections[table], "ordered": false, "updates": updates };
            let answer = self.connection.write(command)?;
            let mut failures = HashMap::new();
            for (code, message, index) in write_errors(&answer) {
                if !is_about_content(code) {
                    return Err(Fault::Server(code, message));
                }
                failures.insert(index, (code, message));
            }
            done.written += (left.len() - failures.len()) as u64;
            let mut again = Vec::new();
            for (index, upsert) in left.into_iter().enumerate() {
                let Some((code, message)) = failures.get(&index) else { continue };
                // A repeated key may have been another writer's at the same moment.
                if *code == 11000 && !last_try {
                    again.push(upsert);
                } else {
                    self.set_aside(table, &upsert, *code, message)?;
                    done.refused += 1;
                }
            }
            left = again;
        }
        Ok(())
    }

    fn set_aside(&self, table: usize, upsert: &Upsert, code: i32, message: &str) -> Result<(), Fault> {
        let (sink, collection) = (&self.stage.books.sink, &self.collections[table]);
        let id = doc! { "sink": sink, "collection": collection, "key": upsert.query.to_string() };
        // As text, so that it can be kept whatever is wrong with it.
        let set =
            doc! { "$set": { "code": code, "reason": message, "document": upsert.document.to_string() } };
        let update = doc! { "q": { "_id": id }, "u": set, "upsert": true };
        let answer = self.connection.write(doc! { "update": REFUSED, "updates": [update] })?;
        match write_errors(&answer).next() {
            Some((code, message, _)) => Err(Fault::Server(code, message)),
            None => Ok(()),
        }
    }

    /// The log line of a batch, as people know it.
    fn tell(&mut self, done: &Done) {
        let (sink, batch) = (&self.stage.books.sink, self.batches);
        info!(sink, "Batch {batch}: wrote {} rows to MongoDB", done.written);
        if done.refused > 0 {
            let rows = done.refused;
            warn!(sink, batch, rows, "MongoDB refused rows; they are in {REFUSED}, with its reasons");
        }
        self.batches += 1;
    }

    fn publish(
        &mut self,
        epoch: u64,
        generation: u64,
        staged: &Description<StagedRows>,
    ) -> Result<(), Fault> {
        self.set_up()?;
        if self.claim(epoch, generation)? == Turn::Done {
            return Ok(());
        }
        let done = self.upsert(epoch, staged)?;
        let sink = &self.stage.books.sink;
        let ours = doc! { "_id": sink, "generation": generation as i64 };
        let set = doc! { "$set": { "epoch": epoch as i64 } };
        if !self.mark_command(doc! { "q": ours, "u": set })? {
            let (last, newest) = self.mark()?;
            turn(sink, last, newest, epoch, generation)?;
        }
        self.refused += done.refused;
        if !staged.files.is_empty() {
            self.tell(&done);
        }
        Ok(())
    }
}

/// The batches that are staged for an epoch, one by one.
struct StagedBatches<'a> {
    stage: &'a Stage,
    dir: &'a str,
    left: std::slice::Iter<'a, StagedRows>,
    open: Option<StagedReader<'a>>,
}

impl<'a> StagedBatches<'a> {
    fn new(stage: &'a Stage, staged: &'a Description<StagedRows>) -> Self {
        StagedBatches { stage, dir: &staged.dir, left: staged.files.iter(), open: None }
    }

    fn next(&mut self) -> Result<Option<TableBatch>, SinkError> {
        loop {
            if let Some(open) = &mut self.open
                && let Some(batch) = open.next()?
            {
                return Ok(Some(batch));
            }
            let Some(file) = self.left.next() else { return Ok(None) };
            self.open = Some(StagedReader::open(self.stage, self.dir, file)?);
        }
    }
}

impl Sink for MongoTables {
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
        let done = self.publish(epoch, generation, &description);
        done.map_err(|fault| self.lift(fault, &format!("committing epoch {epoch}")))?;
        self.stage.clear(epoch)
    }

    fn committed(&mut self) -> Result<Option<u64>, SinkError> {
        let mark = self.set_up().and_then(|()| self.mark());
        Ok(mark.map_err(|fault| self.lift(fault, "reading the mark"))?.0)
    }

    fn refused(&self) -> u64 {
        self.refused
    }
}

/// The errors about single updates: code, message, index.
fn write_errors(answer: &Document) -> impl Iterator<Item = (i32, String, usize)> {
    let errors = answer.get_array("writeErrors").map(Vec::as_slice).unwrap_or_default();
    errors.iter().filter_map(Bson::as_document).map(|error| {
        let message = error.get_str("errmsg").unwrap_or("no reason given").to_owned();
        (number(error, "code") as i32, message, number(error, "index") as usize)
    })
}

/// A whole number, whichever of the types it has; 0 where there is none.
fn number(document: &Document, name: &str) -> i64 {
    match document.get(name) {
        Some(Bson::Int32(number)) => i64::from(*number),
        Some(Bson::Int64(number)) => *number,
        Some(Bson::Double(number)) => *number as i64,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_single_updates_are_read_whatever_their_numbers_are() {
        let answer = doc! { "n": 1.0, "writeErrors": [{ "index": 2_i64, "code": 121, "errmsg": "x" }] };
        assert_eq!(number(&answer, "n"), 1);
        assert_eq!(write_errors(&answer).collect::<Vec<_>>(), [(121, "x".to_owned(), 2)]);
        assert_eq!(write_errors(&doc! {}).count(), 0);
    }
}

//! `iot`'s aggregates from MongoDB to PostgreSQL: what has changed since the last time.
//!
//! ```text
//! position p in PostgreSQL ─┬─► documents of epochs p − 1 to m, by epoch ─► merged by key, newer (epoch, revision) stays
//! newest epoch m in MongoDB ┘                                               and p moves on, in one transaction
//! ```
//!
//! Documents change while they are read: one that is written behind the reader's place is not seen. m is asked for
//! before, and epochs are committed one after the other, so such a document is of epoch m or later; nothing beyond m is
//! read and p does not get beyond m, so the next round, which begins at p − 1, finds it. Without that bound a round that
//! outlasts two epochs would go past it for ever.
//!
//! A document that PostgreSQL cannot take is counted and stays in MongoDB; one that it refuses, by a constraint on the table, is in
//! `tidegate_refused` as well. A round that is ended anywhere leaves rows
//! and position of its last transaction; run again, it changes nothing that is in.

use std::sync::Arc;

use thiserror::Error;
use tidegate::rows::{Cell, ColumnDef, ColumnType, RowBatch, Schema};
use tidegate::sink::SinkError;
use tidegate::sink::mongo::{self, Changes, Found, Stamp};
use tidegate::sink::postgres::{self, Merge, Merged};

use crate::iot;

/// Rows in one transaction, at most.
const CHUNK: usize = 5000;

/// The columns that PostgreSQL has beside those of the documents.
const STAMP: [&str; 2] = ["epoch", "revision"];
/// The columns of it that get an index.
const INDEXED: [&str; 3] = ["window_start", "sensor_id", "location"];

/// From where to where.
#[derive(Clone, Debug)]
pub struct Options {
    /// The MongoDB database.
    pub mongo: mongo::Config,
    /// Its collection.
    pub collection: String,
    /// The PostgreSQL database.
    pub postgres: postgres::Config,
}

/// What one round did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Documents read.
    pub read: u64,
    /// Rows that are new or changed.
    pub changed: u64,
    /// Documents that PostgreSQL cannot take, or refuses.
    pub refused: u64,
    /// What was wrong with the first of them.
    pub first_refused: Option<String>,
    /// The last epoch that was read.
    pub epoch: Option<i64>,
}

/// Why a round did not come to its end.
#[derive(Debug, Error)]
pub enum SyncError {
    /// An end is away or refuses: as its own error says, try again or look.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// MongoDB is behind PostgreSQL: trying again does not help before somebody has looked.
    #[error(
        "PostgreSQL has {name:?} up to epoch {position}, and the newest in MongoDB is {newest}: the collection was begun \
         afresh, or its latest documents were deleted, and what has a lower epoch than {position} would never be read; \
         delete the row of {positions} whose name is {name:?}, and all is read again"
    )]
    Behind {
        /// What is followed: the name of the row.
        name: String,
        /// The table with the row.
        positions: String,
        /// The epoch up to which PostgreSQL was brought.
        position: i64,
        /// The newest epoch of a document.
        newest: i64,
        /// The statements that make it go on.
        mend: String,
    },
}

/// Both ends, open.
#[derive(Debug)]
pub struct Sync {
    name: String,
    /// The schema in PostgreSQL.
    namespace: String,
    changes: Changes,
    merge: Merge,
    documents: Schema,
    rows: Arc<Schema>,
}

impl Sync {
    /// Opens both ends; the servers are reached by the first [`round`](Sync::round).
    ///
    /// # Errors
    /// When the connection string is wrong.
    pub fn open(options: &Options) -> Result<Sync, SinkError> {
        let [documents, _] = iot::table_schemas();
        let rows = Arc::new(with_stamp(&documents));
        let name = format!("{}.{}", options.mongo.database, options.collection);
        let changes = Changes::open(&options.mongo, &options.collection)?;
        let merge = Merge::new(options.postgres.clone(), &name, Arc::clone(&rows), STAMP, &INDEXED)?;
        let namespace = options.postgres.schema.clone();
        Ok(Sync { name, namespace, changes, merge, documents: (*documents).clone(), rows })
    }

    /// Brings PostgreSQL up to what MongoDB holds now, until `stop` says so.
    ///
    /// # Errors
    /// When a server is away or refuses, or MongoDB is behind; what was merged before stays.
    pub fn round(&mut self, stop: &dyn Fn() -> bool) -> Result<Round, SyncError> {
        let position = self.merge.position()?;
        let newest = self.changes.newest()?;
        if let (Some(position), Some(newest)) = (position, newest)
            && newest < position
        {
            return Err(behind(&self.name, &self.namespace, &self.rows.name, position, newest));
        }
        let from = position.map(|position| position.saturating_sub(1));
        // Documents of no epoch count as of epoch 0.
        let to = newest.unwrap_or(0);
        let Sync { changes, merge, documents, rows, .. } = self;
        let mut merge = |rows: &RowBatch, position: Option<i64>| merge.merge(rows, position);
        let mut reading = Reading::new(rows, &mut merge);
        changes.since(documents, from, to, &mut |stamp, cells| {
            if stop() {
                let cause = "asked to stop".to_owned();
                return Err(SinkError::Unavailable { sink: "sync".to_owned(), cause });
            }
            reading.take(stamp, cells)
        })?;
        Ok(reading.finish()?)
    }
}

/// Merges rows and moves the position on where there is one.
type MergeRows<'a> = dyn FnMut(&RowBatch, Option<i64>) -> Result<Merged, SinkError> + 'a;

/// The documents of a round on their way, so many in a transaction.
struct Reading<'a> {
    rows: &'a Schema,
    merge: &'a mut MergeRows<'a>,
    batch: RowBatch,
    /// The last epoch that was read to its end.
    whole: Option<i64>,
    round: Round,
}

impl<'a> Reading<'a> {
    fn new(rows: &'a Schema, merge: &'a mut MergeRows<'a>) -> Self {
        Reading { rows, merge, batch: rows.batch(), whole: None, round: Round::default() }
    }

    /// Takes the next document, in the order of epochs.
    fn take(&mut self, stamp: Stamp, cells: Found<'_>) -> Result<(), SinkError> {
        self.round.read += 1;
        if self.round.epoch.is_some_and(|epoch| epoch < stamp.epoch) {
            self.whole = self.round.epoch;
        }
        if self.batch.len() >= CHUNK {
            // Within an epoch the position stays before it, since its documents come in any order: who goes on from
            // here merges some of them twice, which changes nothing.
            self.flush(self.whole)?;
        }
        self.round.epoch = self.round.epoch.max(Some(stamp.epoch));
        match cells.and_then(|cells| fits(self.rows, cells, stamp)) {
            Ok(row) => self.batch.append(&row),
            Err(what) => {
                self.round.refused += 1;
                self.round.first_refused.get_or_insert(what);
            }
        }
        Ok(())
    }

    /// All documents were taken.
    fn finish(mut self) -> Result<Round, SinkError> {
        if self.round.epoch.is_some() {
            self.flush(self.round.epoch)?;
        }
        Ok(self.round)
    }

    fn flush(&mut self, position: Option<i64>) -> Result<(), SinkError> {
        let full = std::mem::replace(&mut self.batch, self.rows.batch());
        let Merged { changed, refused, first_refused } = (self.merge)(&full, position)?;
        self.round.changed += changed;
        self.round.refused += refused;
        self.round.first_refused = self.round.first_refused.take().or(first_refused);
        Ok(())
    }
}

/// The error that names the row of the position of `name`, whose table in the schema `namespace` is `table`.
fn behind(name: &str, namespace: &str, table: &str, position: i64, newest: i64) -> SyncError {
    let positions = format!("\"{namespace}\".tidegate_sync");
    // A row of the collection that was may have a higher epoch than its successor, and would stay.
    let mend = format!(
        "UPDATE \"{namespace}\".\"{table}\" SET epoch = -1; DELETE FROM {positions} WHERE name = '{}'; \
         rows stay until documents of their keys are read",
        name.replace('\'', "''"),
    );
    SyncError::Behind { name: name.to_owned(), positions, position, newest, mend }
}

/// The row of a document, if PostgreSQL can hold it.
fn fits(schema: &Schema, cells: &[Cell<'_>], stamp: Stamp) -> Result<RowBatch, String> {
    let mut row = schema.batch();
    let stamp = [Cell::Int(stamp.epoch), Cell::Int(stamp.revision)];
    row.push_cells(cells.iter().copied().chain(stamp));
    Merge::holds(schema, &row)?;
    Ok(row)
}

/// The table's schema: that of the documents, and what tells which of two is newer.
fn with_stamp(documents: &Schema) -> Schema {
    let mut schema = documents.clone();
    let stamp =
        |name: &&'static str| ColumnDef { name: (*name).into(), kind: ColumnType::Int, nullable: false };
    schema.columns.extend(STAMP.iter().map(stamp));
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_of_a_document_has_its_stamp_and_is_refused_where_it_cannot_be_held() {
        let schema = with_stamp(&Schema::new("t", &[("s", ColumnType::Text)], &["s"]));
        let stamp = Stamp { epoch: 7, revision: 2 };
        let row = fits(&schema, &[Cell::Text(b"a")], stamp).unwrap();
        assert_eq!(row.row(0).collect::<Vec<_>>(), [Cell::Text(b"a"), Cell::Int(7), Cell::Int(2)]);
        assert!(fits(&schema, &[Cell::Text(b"a\0")], stamp).unwrap_err().contains("U+0000"));
    }

    /// What is merged, as rows and position, of so many documents of each epoch, and the round.
    fn merged(epochs: &[(i64, usize)]) -> (Vec<(usize, Option<i64>)>, Round) {
        let schema = with_stamp(&Schema::new("t", &[("s", ColumnType::Text)], &["s"]));
        let mut merges = Vec::new();
        let mut merge = |rows: &RowBatch, position: Option<i64>| {
            merges.push((rows.len(), position));
            Ok(Merged { changed: rows.len() as u64, ..Merged::default() })
        };
        let mut reading = Reading::new(&schema, &mut merge);
        for &(epoch, documents) in epochs {
            for _ in 0..documents {
                reading.take(Stamp { epoch, revision: 0 }, Ok(&[Cell::Text(b"a")])).unwrap();
            }
        }
        let round = reading.finish().unwrap();
        (merges, round)
    }

    #[test]
    fn transaction_is_of_no_more_than_a_chunk_and_the_position_of_whole_epochs() {
        // As of another program: no epoch ends before the reading does.
        let (merges, round) = merged(&[(0, 2 * CHUNK + 1)]);
        assert_eq!(merges, [(CHUNK, None), (CHUNK, None), (1, Some(0))]);
        assert_eq!((round.read, round.changed, round.epoch), (10_001, 10_001, Some(0)));
        let (merges, _) = merged(&[(7, CHUNK), (8, CHUNK + 1), (9, 1)]);
        assert_eq!(merges, [(CHUNK, Some(7)), (CHUNK, Some(7)), (2, Some(9))]);
        // Nothing read moves nothing.
        assert_eq!(merged(&[]), (vec![], Round::default()));
        // An epoch that is no number comes last and counts as 0.
        assert_eq!(merged(&[(7, 1), (0, 1)]).0, [(2, Some(7))]);
    }

    #[test]
    fn first_refused_document_is_told_and_the_others_are_counted() {
        let schema = with_stamp(&Schema::new("t", &[("s", ColumnType::Text)], &["s"]));
        let mut merge = |_: &RowBatch, _: Option<i64>| Ok(Merged::default());
        let mut reading = Reading::new(&schema, &mut merge);
        for what in ["document z: bad", "document a: bad"] {
            reading.take(Stamp::default(), Err(what.to_owned())).unwrap();
        }
        let round = reading.finish().unwrap();
        assert_eq!((round.refused, round.first_refused.as_deref()), (2, Some("document z: bad")));
    }

    #[test]
    fn row_that_keeps_sync_from_a_collection_begun_afresh_is_named() {
        let error = behind("iot_data.it's", "public", "t", 500, 3);
        let text = error.to_string();
        assert!(text.contains("row of \"public\".tidegate_sync whose name is \"iot_data.it's\""), "{text}");
        let SyncError::Behind { mend, .. } = error else { panic!("{error}") };
        assert!(
            mend.contains("DELETE FROM \"public\".tidegate_sync WHERE name = 'iot_data.it''s'"),
            "{mend}"
        );
    }
}

//! `iot`'s aggregates from MongoDB to PostgreSQL: what has changed since the last time.
//!
//! ```text
//! position p in PostgreSQL ─► documents of epoch p − 1 and later, by epoch ─► merged by key, newer (epoch, revision) stays
//!                                                                             and p moves on, in one transaction
//! ```
//!
//! Rows change while they are read; by what a document's epoch means (`sink::mongo`), whatever is written after it was
//! read is of the last two epochs that were seen, or of later ones, so those are read again the next time. A document
//! that PostgreSQL cannot take is counted and stays in MongoDB. A run that is ended anywhere leaves rows and position
//! of its last transaction; run again, it changes nothing that is in.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate::rows::{Cell, ColumnDef, ColumnType, RowBatch, Schema};
use tidegate::sink::SinkError;
use tidegate::sink::mongo::{self, Changes, Stamp};
use tidegate::sink::postgres::{self, Merge};

use crate::iot;

/// Rows in one transaction, at most; more where it takes more to get past an epoch.
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
    /// Documents that PostgreSQL cannot take.
    pub refused: u64,
    /// What was wrong with the first of them.
    pub first_refused: Option<String>,
    /// The last epoch that was read.
    pub epoch: Option<i64>,
}

/// Both ends, open.
#[derive(Debug)]
pub struct Sync {
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
        let merge = Merge::new(options.postgres.clone(), &name, Arc::clone(&rows), &STAMP, &INDEXED)?;
        Ok(Sync { changes, merge, documents: (*documents).clone(), rows })
    }

    /// Brings PostgreSQL up to what MongoDB holds now, until `stop` says so.
    ///
    /// # Errors
    /// When a server is away or refuses; what was merged before stays.
    pub fn round(&mut self, stop: &dyn Fn() -> bool) -> Result<Round, SinkError> {
        let position = self.merge.position()?;
        let from = position.map(|position| position.saturating_sub(1));
        let (mut round, mut batch) = (Round::default(), self.rows.batch());
        let Sync { changes, merge, documents, rows } = self;
        let mut flush = |batch: &mut RowBatch, epoch: i64, round: &mut Round| {
            let full = std::mem::replace(batch, rows.batch());
            round.changed += merge.merge(&full, epoch)?;
            Ok::<(), SinkError>(())
        };
        let mut refused: BTreeMap<String, u64> = BTreeMap::new();
        changes.since(documents, from, &mut |stamp, cells| {
            if stop() {
                let cause = "asked to stop".to_owned();
                return Err(SinkError::Unavailable { sink: "sync".to_owned(), cause });
            }
            round.read += 1;
            // Only past an epoch: its documents may come in any order, and some may be still to come.
            if batch.len() >= CHUNK && round.epoch != Some(stamp.epoch) {
                flush(&mut batch, round.epoch.unwrap_or(0), &mut round)?;
            }
            round.epoch = Some(stamp.epoch);
            match cells.and_then(|cells| fits(rows, cells, stamp)) {
                Ok(row) => batch.append(&row),
                Err(what) => {
                    *refused.entry(what).or_default() += 1;
                    round.refused += 1;
                }
            }
            Ok(())
        })?;
        if let Some(epoch) = round.epoch {
            flush(&mut batch, epoch, &mut round)?;
        }
        round.first_refused = refused.into_keys().next();
        Ok(round)
    }
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
}

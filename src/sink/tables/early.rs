//! What has been shown of an epoch that goes on, so that it can be taken back.
//!
//! The first row of each key that is shown is noted in the database's table `tidegate_early`, by the transaction that shows it. The
//! commit of the epoch removes the notes: it has given the rows of these keys again. A run that is killed before leaves them to the
//! next one, on whatever machine.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashSet;

use super::{Refuses, TableBatch, check, key_of};
use crate::rows::{RowBatch, Schema};
use crate::sink::SinkError;
use crate::sink::staged::failed;
use crate::tick::Tick;

/// So many rows are kept to be written once more. Where there are more, those before are not: rows are then those of the epoch before
/// until they change.
const MOST_AHEAD: usize = 1 << 17;

/// Rows that were shown before an epoch was committed that comes before theirs. Its commit must not bring back what these have replaced,
/// so that it writes them once more. With their epochs, in the order in which they were shown.
#[derive(Debug, Default)]
struct Ahead(Vec<(u64, TableBatch)>);

impl Ahead {
    fn extend(&mut self, epoch: u64, batches: &[TableBatch]) {
        self.0.extend(batches.iter().map(|batch| (epoch, batch.clone())));
        if self.0.iter().map(|(_, batch)| batch.rows.len()).sum::<usize>() > MOST_AHEAD {
            self.0.clear();
        }
    }

    /// `epoch` is in: its commit has written them, and so does that of their own.
    fn clear(&mut self, epoch: u64) {
        self.0.retain(|(of, _)| *of > epoch + 1);
    }
}

/// A key of a table.
pub(crate) type TableKey = (usize, Vec<u8>);

/// What is noted in the database: the keys, by epoch. Those of two epochs may come in turns, as long as the first is not decided.
#[derive(Debug, Default)]
struct Noted(BTreeMap<u64, HashSet<TableKey>>);

impl Noted {
    fn has(&self, epoch: u64, key: &TableKey) -> bool {
        self.0.get(&epoch).is_some_and(|keys| keys.contains(key))
    }

    fn extend(&mut self, epoch: u64, keys: HashSet<TableKey>) {
        self.0.entry(epoch).or_default().extend(keys);
    }

    /// Those of `epoch` and before are gone.
    fn clear(&mut self, epoch: u64) {
        self.0.retain(|of, _| *of > epoch);
    }
}

/// What is to be noted of early rows, by the transaction that shows them.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    keys: HashSet<TableKey>,
    rows: BTreeMap<usize, RowBatch>,
}

impl Notes {
    fn add(&mut self, noted: &Noted, epoch: u64, schema: &Schema, batch: &TableBatch) {
        for row in 0..batch.rows.len() {
            let key = (batch.table, key_of(schema, &batch.rows, row));
            if !noted.has(epoch, &key) && self.keys.insert(key) {
                let fresh = self.rows.entry(batch.table).or_insert_with(|| schema.batch());
                fresh.push_cells(batch.rows.row(row));
            }
        }
    }
}

/// What has been shown of epochs that are not committed.
#[derive(Debug)]
pub(crate) struct Shown {
    sink: String,
    schemas: Vec<Arc<Schema>>,
    refuses: Refuses,
    noted: Noted,
    /// What of it commits of epochs before are to write once more.
    ahead: Ahead,
}

impl Shown {
    /// Nothing yet, in tables of `schemas`, by the sink that errors call `sink`.
    pub(crate) fn new(sink: &str, schemas: &[Arc<Schema>], refuses: Refuses) -> Self {
        let (sink, schemas) = (sink.to_owned(), schemas.to_vec());
        Shown { sink, schemas, refuses, noted: Noted::default(), ahead: Ahead::default() }
    }

    /// Whether early rows are what their schemas say and the store can hold them.
    pub(crate) fn check_all(&self, batches: &[TableBatch]) -> Result<(), SinkError> {
        batches.iter().try_for_each(|batch| check(&self.sink, &self.schemas, self.refuses, batch))
    }

    /// What is to be noted of these early rows of `epoch`: all of them, where it is not `sure` that the database has what was noted.
    pub(crate) fn notes_of(&self, epoch: u64, batches: &[TableBatch], sure: bool) -> Notes {
        let (mut notes, nothing) = (Notes::default(), Noted::default());
        let noted = if sure { &self.noted } else { &nothing };
        for batch in batches {
            notes.add(noted, epoch, &self.schemas[batch.table], batch);
        }
        notes
    }

    /// Notes as rows of the database: the table's name, and the rows as they are kept there.
    pub(crate) fn encoded(&self, notes: &Notes) -> Result<Vec<(&str, Vec<u8>)>, SinkError> {
        let encode = |(table, rows): (&usize, &RowBatch)| {
            let bytes = bincode::serialize(rows).map_err(|error| failed(&self.sink, error))?;
            Ok((&*self.schemas[*table].name, bytes))
        };
        notes.rows.iter().map(encode).collect()
    }

    /// What was shown of an epoch that nobody has decided, from a row of the database. Nothing, where this pipeline has no such table:
    /// it is not its own to clean up.
    pub(crate) fn decoded(&self, table: &str, rows: &[u8]) -> Option<TableBatch> {
        let number = self.schemas.iter().position(|schema| *schema.name == *table);
        let batch = number.and_then(|table| {
            let rows: RowBatch = bincode::deserialize(rows).ok()?;
            self.schemas[table].check(&rows).ok()?;
            Some(TableBatch { table, rows, provisional: true })
        });
        if batch.is_none() {
            tracing::warn!(
                sink = self.sink,
                table,
                "rows shown before by another version of the pipeline stay as they are"
            );
        }
        batch
    }

    /// Whether a commit of `epoch` has notes to remove.
    pub(crate) fn has_notes(&self, epoch: u64) -> bool {
        self.noted.0.first_key_value().is_some_and(|(oldest, _)| *oldest <= epoch)
    }

    /// Notes that rows of `epoch` have been shown, and `notes` with them, when `last` was the last one that was committed.
    pub(crate) fn note_shown(&mut self, epoch: u64, last: Option<u64>, batches: &[TableBatch], notes: Notes) {
        self.noted.extend(epoch, notes.keys);
        if last.map_or(Tick::FIRST_EPOCH, |last| last + 1) < epoch {
            self.ahead.extend(epoch, batches);
        }
    }

    /// The rows that have been shown last, by key, of epochs after `epoch`, which is about to be committed, without those of keys that
    /// are in `known`, where their keys are kept: a batch a table. Where an epoch was long in being committed, most keys have been shown
    /// many times.
    pub(crate) fn ahead_of(&self, epoch: u64, known: &mut HashSet<TableKey>) -> Vec<TableBatch> {
        let mut chosen = Vec::new();
        let ahead = self.ahead.0.iter().rev().filter(|(of, _)| *of > epoch);
        for TableBatch { table, rows, .. } in ahead.map(|(_, batch)| batch) {
            let schema = &self.schemas[*table];
            for row in (0..rows.len()).rev() {
                if schema.key.is_empty() || known.insert((*table, key_of(schema, rows, row))) {
                    chosen.push((*table, rows.row(row)));
                }
            }
        }
        let mut last = BTreeMap::<usize, RowBatch>::new();
        // In their order again.
        for (table, row) in chosen.into_iter().rev() {
            last.entry(table).or_insert_with(|| self.schemas[table].batch()).push_cells(row);
        }
        last.into_iter().map(|(table, rows)| TableBatch { table, rows, provisional: true }).collect()
    }

    /// The database may have lost what it was told last, notes and rows: keys are noted anew.
    pub(crate) fn doubt_notes(&mut self) {
        self.noted.0.values_mut().for_each(HashSet::clear);
    }

    /// Ends the commit of `epoch`: it has given the rows of its keys, and written what was ahead.
    pub(crate) fn clear(&mut self, epoch: u64) {
        self.ahead.clear(epoch);
        self.noted.clear(epoch);
    }

    /// What was shown has been taken back.
    pub(crate) fn forget(&mut self) {
        (self.noted, self.ahead) = (Noted::default(), Ahead::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{Cell, ColumnType};

    #[test]
    fn what_is_ahead_is_the_last_row_of_each_key() {
        let columns = [("k", ColumnType::Int), ("v", ColumnType::Int)];
        let (keyed, bare) = (Schema::new("keyed", &columns, &["k"]), Schema::new("bare", &columns, &[]));
        let batch = |table: usize, rows: &[(i64, i64)]| {
            let mut batch = keyed.batch();
            rows.iter().for_each(|&(k, v)| batch.push(&[Cell::Int(k), Cell::Int(v)]));
            TableBatch { table, rows: batch, provisional: true }
        };
        let schemas = [Arc::new(keyed.clone()), Arc::new(bare)];
        let mut shown = Shown::new("p", &schemas, |_, _| Ok(()));
        // Epoch 1 is in: what is shown of the second is its own commit's.
        let steps = [
            (2, batch(0, &[(9, 9)])),
            (3, batch(0, &[(1, 1), (2, 1), (1, 2)])),
            (3, batch(1, &[(1, 1)])),
            (4, batch(0, &[(2, 5)])),
            (3, batch(0, &[(3, 1)])),
            (4, batch(1, &[(1, 1)])),
        ];
        for (epoch, batch) in steps {
            shown.note_shown(epoch, Some(1), &[batch], Notes::default());
        }
        let ahead = |epoch: u64| {
            let rows = |TableBatch { table, rows, .. }: &TableBatch| {
                let number = |column: usize, row: usize| match rows.columns()[column].get(row) {
                    Cell::Int(number) => number,
                    other => panic!("{other:?}"),
                };
                let mut found: Vec<_> = (0..rows.len()).map(|row| (number(0, row), number(1, row))).collect();
                found.sort_unstable();
                (*table, found)
            };
            shown.ahead_of(epoch, &mut HashSet::new()).iter().map(rows).collect::<Vec<_>>()
        };
        assert_eq!(ahead(2), [(0, vec![(1, 2), (2, 5), (3, 1)]), (1, vec![(1, 1), (1, 1)])]);
        assert_eq!(ahead(3), [(0, vec![(2, 5)]), (1, vec![(1, 1)])]);
        assert_eq!(ahead(4), []);
        let mut known = HashSet::new();
        assert_eq!(shown.ahead_of(3, &mut known).len(), 2);
        shown.note_shown(4, Some(1), &[batch(0, &[(2, 6), (7, 1)])], Notes::default());
        let more = shown.ahead_of(3, &mut known);
        assert_eq!((more[0].table, more[0].rows.len()), (0, 1), "a key is given once");
    }

    #[test]
    fn notes_are_known_until_their_epoch_is_in() {
        let key = |name: &str| (0, name.as_bytes().to_vec());
        let keys = |names: &[&str]| names.iter().map(|name| key(name)).collect::<HashSet<_>>();
        let mut noted = Noted::default();
        assert!(!noted.has(0, &key("a")));
        noted.extend(1, keys(&["a"]));
        noted.extend(1, keys(&["b"]));
        assert!(noted.has(1, &key("a")) && noted.has(1, &key("b")) && !noted.has(2, &key("a")));
        // The next epoch begins before this one is committed: both have notes.
        noted.extend(2, keys(&["a"]));
        assert!(noted.has(2, &key("a")) && !noted.has(2, &key("b")));
        noted.extend(1, keys(&["c"]));
        assert!(noted.has(1, &key("c")) && noted.has(1, &key("a")) && !noted.has(2, &key("c")));
        noted.clear(1);
        assert!(!noted.has(1, &key("a")));
        assert!(noted.has(2, &key("a")), "they are not noted twice");
        noted.clear(2);
        assert!(noted.0.is_empty());
    }
}

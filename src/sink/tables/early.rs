//! What has been shown of an epoch that goes on, so that it can be taken back.
//!
//! The first row of each key that is shown is noted in the database's table `tidegate_early`, by the transaction that shows it. The
//! commit of the epoch removes the notes: it has given the rows of these keys again. A run that is killed before leaves them to the
//! next one, on whatever machine.

use hashbrown::HashSet;

use super::{Stage, TableBatch, key_of};
use crate::rows::{RowBatch, Schema};
use crate::sink::SinkError;
use crate::tick::Tick;

/// So many rows are kept to be written once more. Where there are more, those before are not: rows are then those of the epoch before
/// until they change.
const MOST_AHEAD: usize = 1 << 17;

/// Rows that were shown before an epoch was committed that comes before theirs. Its commit must not bring back what these have replaced,
/// so that it writes them once more.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// With their epochs, in the order in which they were shown.
    batches: Vec<(u64, TableBatch)>,
    rows: usize,
}

impl Ahead {
    fn extend(&mut self, epoch: u64, batches: &[TableBatch]) {
        self.rows += batches.iter().map(|batch| batch.rows.len()).sum::<usize>();
        self.batches.extend(batches.iter().map(|batch| (epoch, batch.clone())));
        if self.rows > MOST_AHEAD {
            *self = Ahead::default();
        }
    }

    /// `epoch` is in: its commit has written them, and so does that of their own.
    pub(super) fn clear(&mut self, epoch: u64) {
        self.batches.retain(|(of, _)| *of > epoch + 1);
        self.rows = self.batches.iter().map(|(_, batch)| batch.rows.len()).sum();
    }
}

/// A key of a table.
type TableKey = (usize, Vec<u8>);

/// What is noted in the database.
#[derive(Debug, Default)]
pub(super) struct Noted {
    /// The oldest epoch that has notes.
    oldest: Option<u64>,
    /// The newest, and the keys that it has.
    epoch: u64,
    keys: HashSet<TableKey>,
}

impl Noted {
    fn has(&self, epoch: u64, key: &TableKey) -> bool {
        self.epoch == epoch && self.keys.contains(key)
    }

    fn extend(&mut self, epoch: u64, keys: HashSet<TableKey>) {
        if self.epoch == epoch && self.oldest.is_some() {
            self.keys.extend(keys);
        } else {
            (self.epoch, self.keys) = (epoch, keys);
        }
        self.oldest = self.oldest.or(Some(epoch));
    }

    /// Those of `epoch` and before are gone.
    pub(super) fn clear(&mut self, epoch: u64) {
        if self.epoch <= epoch {
            *self = Noted::default();
        } else {
            self.oldest = self.oldest.map(|_| self.epoch);
        }
    }
}

/// What is to be noted of early rows, by the transaction that shows them.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    keys: HashSet<TableKey>,
    rows: Vec<(usize, RowBatch)>,
}

impl Notes {
    fn add(&mut self, noted: &Noted, epoch: u64, schema: &Schema, batch: &TableBatch) {
        let mut fresh = schema.batch();
        for row in 0..batch.rows.len() {
            let key = (batch.table, key_of(schema, &batch.rows, row));
            if !noted.has(epoch, &key) && self.keys.insert(key) {
                fresh.push_cells(batch.rows.row(row));
            }
        }
        if !fresh.is_empty() {
            self.rows.push((batch.table, fresh));
        }
    }
}

impl Stage {
    /// What is to be noted of these early rows of `epoch`.
    pub(crate) fn notes_of(&self, epoch: u64, batches: &[TableBatch]) -> Result<Notes, SinkError> {
        let mut notes = Notes::default();
        for batch in batches {
            self.check(batch)?;
            notes.add(&self.noted, epoch, &self.schemas[batch.table], batch);
        }
        Ok(notes)
    }

    /// Notes as rows of the database: the table's name, and the rows as they are kept there.
    pub(crate) fn encoded(&self, notes: &Notes) -> Result<Vec<(&str, Vec<u8>)>, SinkError> {
        let encode = |(table, rows): &(usize, RowBatch)| {
            let bytes = bincode::serialize(rows).map_err(|error| self.books.failed(error.to_string()))?;
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
            let sink = &self.books.sink;
            tracing::warn!(
                sink,
                table,
                "rows shown before by another version of the pipeline stay as they are"
            );
        }
        batch
    }

    /// Whether a commit of `epoch` has notes to remove.
    pub(crate) fn has_notes(&self, epoch: u64) -> bool {
        self.noted.oldest.is_some_and(|oldest| oldest <= epoch)
    }

    /// Notes that rows of `epoch` have been shown, and `notes` with them, when `last` was the last one that was committed.
    pub(crate) fn note_shown(&mut self, epoch: u64, last: Option<u64>, batches: &[TableBatch], notes: Notes) {
        self.noted.extend(epoch, notes.keys);
        if last.map_or(Tick::FIRST_EPOCH, |last| last + 1) < epoch {
            self.ahead.extend(epoch, batches);
        }
    }

    /// The rows that have been shown of epochs after `epoch`, which is about to be committed, in their order.
    pub(crate) fn ahead_of(&self, epoch: u64) -> Vec<TableBatch> {
        let of_later = self.ahead.batches.iter().filter(|(of, _)| *of > epoch);
        of_later.map(|(_, batch)| batch.clone()).collect()
    }

    /// What was shown has been taken back.
    pub(crate) fn forget_shown(&mut self) {
        (self.noted, self.ahead) = (Noted::default(), Ahead::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(noted.oldest, Some(1));
        noted.clear(1);
        assert_eq!(noted.oldest, Some(2));
        assert!(noted.has(2, &key("a")), "they are not noted twice");
        noted.clear(2);
        assert_eq!(noted.oldest, None);
        assert!(!noted.has(2, &key("a")));
    }
}

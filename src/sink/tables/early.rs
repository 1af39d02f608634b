//! What has been shown of an epoch that goes on, so that it can be taken back.
//!
//! The first row of each key that is shown is written to `early` in the epoch's staging directory before. The commit of the epoch
//! removes the directory: it has given the rows of these keys again. A run that is killed before leaves the file to the next one.

use hashbrown::HashSet;

use super::frames::{FrameReader, FrameWriter};
use super::{Stage, TableBatch, key_of};
use crate::rows::{RowBatch, Schema};
use crate::sink::SinkError;
use crate::tick::Tick;

/// So many rows are kept to be written once more. Where there are more, none is: rows are those of the epoch before until they change.
const MOST_AHEAD: usize = 1 << 17;

/// Rows of an epoch that were shown before the one before it was committed. Its commit must not bring back what these have replaced, so
/// that it writes them once more.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    epoch: u64,
    batches: Vec<TableBatch>,
    rows: usize,
}

/// The file's name in a staging directory.
const FILE: &str = "early";

/// The file of the epoch that goes on.
#[derive(Debug)]
pub(super) struct EarlyFile {
    epoch: u64,
    frames: FrameWriter,
    /// The keys that are in it, by table.
    noted: HashSet<(usize, Vec<u8>)>,
}

impl EarlyFile {
    /// The rows of a batch whose keys are not in it.
    fn fresh(&mut self, schema: &Schema, batch: &TableBatch) -> RowBatch {
        let mut fresh = schema.batch();
        for row in 0..batch.rows.len() {
            if self.noted.insert((batch.table, key_of(schema, &batch.rows, row))) {
                fresh.push_cells(batch.rows.row(row));
            }
        }
        fresh
    }
}

impl Stage {
    /// Notes that rows of `epoch` are about to be shown.
    pub(crate) fn note_early(&mut self, epoch: u64, batches: &[TableBatch]) -> Result<(), SinkError> {
        batches.iter().try_for_each(|batch| self.check(batch))?;
        if self.cleared.is_some_and(|cleared| epoch <= cleared) {
            // Too late, and its directory is gone.
            return Ok(());
        }
        let books = &self.books;
        let dir = books.dir_name(epoch);
        let path = books.dir(&dir).join(FILE);
        if self.early.as_ref().is_none_or(|early| early.epoch != epoch) {
            let dir = books.make_dir(epoch).map_err(|error| books.lift(error))?;
            let file = books.disk.create(&dir.join(FILE)).map_err(|error| books.lift(error))?;
            self.early = Some(EarlyFile { epoch, frames: FrameWriter::new(file), noted: HashSet::new() });
            books.force_dir(&books.dir_name(epoch)).map_err(|error| books.lift(error))?;
        }
        let Some(early) = &mut self.early else { return Ok(()) };
        let before = early.noted.len();
        for batch in batches {
            let fresh = early.fresh(&self.schemas[batch.table], batch);
            if !fresh.is_empty() {
                early.frames.push(batch.table, &fresh).map_err(|cause| books.failed(cause))?;
            }
        }
        if early.noted.len() > before {
            early.frames.flush().map_err(|cause| books.failed(cause))?;
            if books.disk.forces() {
                books.disk.force(&path).map_err(|error| books.lift(error))?;
            }
        }
        Ok(())
    }

    /// Notes that rows of `epoch` have been shown, when `last` was the last one that was committed.
    pub(crate) fn note_shown(&mut self, epoch: u64, last: Option<u64>, batches: &[TableBatch]) {
        let ahead = &mut self.ahead;
        if ahead.epoch != epoch {
            *ahead = Ahead { epoch, ..Ahead::default() };
        }
        if last.map_or(Tick::FIRST_EPOCH, |last| last + 1) < epoch {
            ahead.rows += batches.iter().map(|batch| batch.rows.len()).sum::<usize>();
            ahead.batches.extend_from_slice(batches);
            if ahead.rows > MOST_AHEAD {
                ahead.batches = Vec::new();
            }
        }
    }

    /// The rows that have been shown of epochs after `epoch`, which is about to be committed, in their order.
    pub(crate) fn ahead_of(&self, epoch: u64) -> &[TableBatch] {
        if self.ahead.epoch > epoch { &self.ahead.batches } else { &[] }
    }

    /// What was shown, by whomever, of epochs after `committed`, and is not theirs as long as they are not decided.
    pub(crate) fn shown_after(&self, committed: Option<u64>) -> Result<Vec<TableBatch>, SinkError> {
        let mut shown = Vec::new();
        for dir in self.books.staged_after(committed).map_err(|error| self.books.lift(error))? {
            let path = dir.join(FILE);
            let Some(bytes) = self.books.disk.len(&path).map_err(|error| self.books.lift(error))? else {
                continue;
            };
            let file = self.books.disk.open(&path).map_err(|error| self.books.lift(error))?;
            let mut frames = FrameReader::new(file, bytes);
            loop {
                match frames.next() {
                    Ok(None) => break,
                    Ok(Some((table, rows))) if self.fits(table, &rows) => {
                        shown.push(TableBatch { table, rows, provisional: true });
                    }
                    Ok(Some(_)) => {}
                    // What is cut short at the end was never shown.
                    Err(cause) => {
                        tracing::warn!(?path, cause, "the rest of what was shown before is not known");
                        break;
                    }
                }
            }
        }
        Ok(shown)
    }

    /// What was shown after `committed` has been taken back.
    pub(crate) fn forget_shown_after(&mut self, committed: Option<u64>) -> Result<(), SinkError> {
        (self.early, self.ahead) = (None, Ahead::default());
        for dir in self.books.staged_after(committed).map_err(|error| self.books.lift(error))? {
            let path = dir.join(FILE);
            if self.books.disk.len(&path).map_err(|error| self.books.lift(error))?.is_some() {
                self.books.disk.remove(&path).map_err(|error| self.books.lift(error))?;
            }
        }
        Ok(())
    }

    fn fits(&self, table: usize, rows: &RowBatch) -> bool {
        self.schemas.get(table).is_some_and(|schema| schema.check(rows).is_ok())
    }
}

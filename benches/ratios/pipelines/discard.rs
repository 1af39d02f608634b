//! Where rows and lines of the loops by hand go: into the columns that a sink would take, and away.

use std::hint::black_box;
use std::sync::Arc;

use tidegate::delivery::OutputTally;
use tidegate::rows::{Cell, RowBatch, Schema};
use tidegate::sink::kcat::{Line, kcat_line};

/// So many rows are a batch.
const BATCH_ROWS: usize = 4_096;
/// So many bytes of lines are a block.
const BLOCK_BYTES: usize = 256 << 10;

/// Rows of one output.
pub(super) struct Table {
    schema: Arc<Schema>,
    batch: RowBatch,
    tally: OutputTally,
    digests: bool,
}

impl Table {
    /// No rows yet; there will be a digest of them where `digests` says so.
    pub(super) fn new(schema: &Arc<Schema>, digests: bool) -> Self {
        let (schema, batch) = (Arc::clone(schema), schema.batch());
        Table { schema, batch, tally: OutputTally::default(), digests }
    }

    /// Adds a row.
    pub(super) fn push(&mut self, cells: &[Cell<'_>]) {
        self.batch.push(cells);
        if self.batch.len() == BATCH_ROWS {
            self.flush();
        }
    }

    /// How many rows there were, and their digest.
    pub(super) fn end(mut self) -> OutputTally {
        self.flush();
        self.tally
    }

    fn flush(&mut self) {
        let batch = black_box(std::mem::replace(&mut self.batch, self.schema.batch()));
        self.tally.rows += batch.len() as u64;
        if self.digests {
            self.tally.digest.add_batch(&batch);
        }
    }
}

/// Lines of one topic.
#[derive(Default)]
pub(super) struct Lines {
    block: Vec<u8>,
    encoded: Vec<u8>,
    tally: OutputTally,
    digests: bool,
}

impl Lines {
    /// No lines yet; there will be a digest of them where `digests` says so.
    pub(super) fn new(digests: bool) -> Self {
        Lines { digests, ..Lines::default() }
    }

    /// Adds a line.
    pub(super) fn push(&mut self, line: &Line<'_>) {
        kcat_line(&mut self.block, line);
        self.tally.rows += 1;
        if self.digests {
            self.encoded.clear();
            line.encode(&mut self.encoded);
            self.tally.digest.add_encoded(&self.encoded);
        }
        if self.block.len() >= BLOCK_BYTES {
            black_box(&self.block);
            self.block.clear();
        }
    }

    /// How many lines there were, and their digest.
    pub(super) fn end(self) -> OutputTally {
        black_box(self.block);
        self.tally
    }
}

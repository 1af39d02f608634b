//! Rows of several tables made from a pipeline's events: an event gives any number of rows to any of them.
//!
//! The tables have fixed columns. Rows wait by Kafka partition, table and directory, and leave as blocks, so that
//! a sink gets them in columns and with their digest.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Decode;
use super::front::{Edge, Front, Position, Verdicts};
use crate::digest::{Digest, encode_cell};
use crate::rows::{Cell, RowBatch, Schema};

const BLOCK_BYTES: usize = 4 << 20;
const MOST_OPEN: usize = 256;

/// What tables take from an event.
pub trait EventRows<D: Decode>: 'static {
    /// The partition directory of the rows with this key, as `name=value` levels; empty for none.
    fn directory(&self, key: i64) -> String;
    /// Calls `row` for every row: the table's number, the key of its directory, the values of its columns.
    fn rows(&self, at: &Position<'_>, event: &D::Event<'_>, row: &mut dyn FnMut(usize, i64, &[Cell<'_>]));
}

/// Rows of one table for one directory, from one partition.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RowsBlock {
    /// The table's number.
    pub table: u32,
    /// The partition directory.
    pub directory: String,
    /// The rows.
    pub rows: RowBatch,
    /// Their digest.
    pub digest: Digest,
}

/// The near end of tables that take every accepted event, late ones too.
pub struct RowsFront<R> {
    make: R,
    schemas: Vec<Arc<Schema>>,
    open: BTreeMap<(u32, usize, i64), RowsBlock>,
    full: Vec<RowsBlock>,
    /// Of a row, for its digest.
    encoded: Vec<u8>,
}

impl<R> RowsFront<R> {
    /// Rows as `make` makes them, of tables with these schemas.
    pub fn new(make: R, schemas: Vec<Arc<Schema>>) -> Self {
        RowsFront { make, schemas, open: BTreeMap::new(), full: Vec::new(), encoded: Vec::new() }
    }

    fn flush(&mut self) {
        self.full.extend(std::mem::take(&mut self.open).into_values());
    }
}

impl<D: Decode, R: EventRows<D>> Front<D> for RowsFront<R> {
    type Item = RowsBlock;

    fn observe(&mut self, at: &Position<'_>, event: &D::Event<'_>, _verdicts: &mut Verdicts<'_>) {
        let RowsFront { make, schemas, open, full, encoded } = self;
        make.rows(at, event, &mut |table, key, cells| {
            let place = (at.place.rank, table, key);
            let block = open.entry(place).or_insert_with(|| RowsBlock {
                table: table as u32,
                directory: make.directory(key),
                rows: schemas[table].batch(),
                digest: Digest::default(),
            });
            encoded.clear();
            cells.iter().for_each(|cell| encode_cell(encoded, *cell));
            block.digest.add_encoded(encoded);
            block.rows.push(cells);
            if block.rows.len().is_multiple_of(64) && block.rows.byte_len() >= BLOCK_BYTES {
                full.extend(open.remove(&place));
            }
        });
        if self.open.len() > MOST_OPEN {
            self.flush();
        }
    }

    fn drain(&mut self, edge: Edge, send: &mut dyn FnMut(RowsBlock)) {
        if edge.is_end() {
            self.flush();
        }
        self.full.drain(..).for_each(send);
    }
}

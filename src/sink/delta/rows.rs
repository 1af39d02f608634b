//! Rows of results in Delta tables: what the sinks of tables take, for tables without directories.
//!
//! Rows that are final are appended; provisional ones are left out. Where a row replaces the one of its key, a table is small (it has a
//! row a key), and an epoch writes all of it anew: what is in, read from the files, and the epoch's rows over it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{DeltaTable, DeltaTables};
use crate::rows::{Cell, RowBatch, Schema};
use crate::sink::lake::LakeBatch;
use crate::sink::tables::TableBatch;
use crate::sink::{Sink, SinkError, Staged};

/// Delta tables that take result rows, by their number.
#[derive(Debug)]
pub struct DeltaRows {
    of: Vec<DeltaTable>,
    tables: DeltaTables,
    /// Rows that replace others, by epoch and table.
    waiting: BTreeMap<(u64, usize), RowBatch>,
}

impl DeltaRows {
    /// `tables`, which were opened with `of`, in the order of the tables' numbers.
    pub fn new(of: Vec<DeltaTable>, tables: DeltaTables) -> Self {
        DeltaRows { of, tables, waiting: BTreeMap::new() }
    }

    /// Stages rows as they are.
    fn stage(&mut self, epoch: u64, schema: Arc<Schema>, rows: RowBatch) -> Result<(), SinkError> {
        let (partition_dir, writer_partition) = (String::new(), 0);
        self.tables.write(epoch, LakeBatch { partition_dir, writer_partition, schema, rows })
    }
}

/// The rows of both batches, of those with the same key the last, in the order of their keys.
fn latest(schema: &Schema, batches: [&RowBatch; 2]) -> RowBatch {
    let mut by_key = BTreeMap::new();
    for (of, batch) in batches.into_iter().enumerate() {
        for row in 0..batch.len() {
            let cells: Vec<Cell<'_>> = batch.row(row).collect();
            let key: Vec<String> = schema.key.iter().map(|column| format!("{:?}", cells[*column])).collect();
            by_key.insert(key, (of, row));
        }
    }
    let mut rows = schema.batch();
    by_key.into_values().for_each(|(of, row)| rows.push_cells(batches[of].row(row)));
    rows
}

impl Sink for DeltaRows {
    type Batch = TableBatch;

    fn write(&mut self, epoch: u64, batch: TableBatch) -> Result<(), SinkError> {
        let Some(table) = self.of.get(batch.table) else {
            let cause = format!("there is no table number {}", batch.table);
            return Err(SinkError::Failed { sink: "delta".to_owned(), cause });
        };
        let schema = Arc::clone(&table.schema);
        if table.replaces {
            let waiting = self.waiting.entry((epoch, batch.table)).or_insert_with(|| schema.batch());
            waiting.append(&batch.rows);
            return Ok(());
        }
        if batch.provisional {
            return Ok(());
        }
        self.stage(epoch, schema, batch.rows)
    }

    fn prepare(&mut self, epoch: u64) -> Result<Staged, SinkError> {
        let tables: Vec<usize> =
            self.waiting.keys().filter(|(of, _)| *of == epoch).map(|(_, table)| *table).collect();
        for table in tables {
            let schema = Arc::clone(&self.of[table].schema);
            // Before the rows are taken: where it cannot be read now, this is tried again.
            let there = self.tables.rows(&schema.name)?;
            if let Some(waiting) = self.waiting.remove(&(epoch, table)).filter(|rows| !rows.is_empty()) {
                let rows = latest(&schema, [&there, &waiting]);
                self.stage(epoch, schema, rows)?;
            }
        }
        self.tables.prepare(epoch)
    }

    fn committed(&mut self) -> Result<Option<u64>, SinkError> {
        self.tables.committed()
    }

    fn commit(&mut self, epoch: u64, generation: u64, staged: &Staged) -> Result<(), SinkError> {
        self.tables.commit(epoch, generation, staged)
    }
}

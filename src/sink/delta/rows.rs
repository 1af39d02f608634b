//! Rows of results in Delta tables: what the sinks of tables take, for tables without directories.

use std::sync::Arc;

use super::DeltaTables;
use crate::rows::Schema;
use crate::sink::lake::LakeBatch;
use crate::sink::tables::TableBatch;
use crate::sink::{Sink, SinkError, Staged};

/// Delta tables that take result rows, by their number.
#[derive(Debug)]
pub struct DeltaRows {
    schemas: Vec<Arc<Schema>>,
    tables: DeltaTables,
}

impl DeltaRows {
    /// `tables`, which were opened with `schemas`.
    pub fn new(schemas: Vec<Arc<Schema>>, tables: DeltaTables) -> Self {
        DeltaRows { schemas, tables }
    }
}

impl Sink for DeltaRows {
    type Batch = TableBatch;

    fn write(&mut self, epoch: u64, batch: TableBatch) -> Result<(), SinkError> {
        let Some(schema) = self.schemas.get(batch.table) else {
            let cause = format!("there is no table number {}", batch.table);
            return Err(SinkError::Failed { sink: "delta".to_owned(), cause });
        };
        let schema = Arc::clone(schema);
        let (partition_dir, writer_partition) = (String::new(), 0);
        self.tables.write(epoch, LakeBatch { partition_dir, writer_partition, schema, rows: batch.rows })
    }

    fn prepare(&mut self, epoch: u64) -> Result<Staged, SinkError> {
        self.tables.prepare(epoch)
    }

    fn committed(&mut self) -> Result<Option<u64>, SinkError> {
        self.tables.committed()
    }

    fn commit(&mut self, epoch: u64, generation: u64, staged: &Staged) -> Result<(), SinkError> {
        self.tables.commit(epoch, generation, staged)
    }
}

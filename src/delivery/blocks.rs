//! Blocks of table rows.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use crate::digest::Digest;
use crate::rows::{RowBatch, Schema};
use crate::tick::Tick;

/// Rows for one table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TableBlock {
    /// Index of the table among the run's tables.
    pub table: u32,
    /// The rows.
    pub rows: RowBatch,
    /// Their digest.
    pub digest: Digest,
}

/// Extension trait for making rows of results.
pub trait TableRows<'scope, C> {
    /// Makes rows of `schema` from results: `write` appends the rows of one result.
    ///
    /// # Shape
    /// | port | record | timestamp | partitioned by |
    /// | --- | --- | --- | --- |
    /// | in | `C` | any | any |
    /// | out | [`TableBlock`] | as it came | as the input |
    fn table_rows<W>(self, table: u32, schema: Arc<Schema>, write: W) -> StreamVec<'scope, Tick, TableBlock>
    where
        W: Fn(C, &mut RowBatch) + 'static;
}

impl<'scope, C: Clone + 'static> TableRows<'scope, C> for StreamVec<'scope, Tick, C> {
    fn table_rows<W>(self, table: u32, schema: Arc<Schema>, write: W) -> StreamVec<'scope, Tick, TableBlock>
    where
        W: Fn(C, &mut RowBatch) + 'static,
    {
        self.unary(Pipeline, "TableRows", move |_capability, _info| {
            move |input, output| {
                input.for_each_time(|time, batches| {
                    let mut rows = schema.batch();
                    for result in batches.flat_map(|batch| batch.drain(..)) {
                        write(result, &mut rows);
                    }
                    if !rows.is_empty() {
                        let mut digest = Digest::default();
                        digest.add_batch(&rows);
                        output.session(&time).give(TableBlock { table, rows, digest });
                    }
                });
            }
        })
    }
}

//! Blocks of table rows.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use crate::digest::Digest;
use crate::rows::{RowBatch, Schema};
use crate::tick::Tick;
use crate::window::Firing;

/// Rows for one table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TableBlock {
    /// Index of the table among the run's tables.
    pub table: u32,
    /// The rows.
    pub rows: RowBatch,
    /// Which results the rows are of.
    pub firing: Firing,
    /// By how many rows the table grows: those that replace others less those replaced.
    pub net_rows: i64,
    /// The digest of the rows less that of the replaced ones.
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

    /// The same, with results that others of their keys will follow: only those that are final, as `firing` says, are in the
    /// count and the digest.
    fn table_rows_fired<W>(
        self,
        table: u32,
        schema: Arc<Schema>,
        firing: impl Fn(&C) -> Firing + 'static,
        write: W,
    ) -> StreamVec<'scope, Tick, TableBlock>
    where
        W: Fn(C, &mut RowBatch) + 'static;
}

impl<'scope, C: Clone + 'static> TableRows<'scope, C> for StreamVec<'scope, Tick, C> {
    fn table_rows<W>(self, table: u32, schema: Arc<Schema>, write: W) -> StreamVec<'scope, Tick, TableBlock>
    where
        W: Fn(C, &mut RowBatch) + 'static,
    {
        self.table_rows_fired(table, schema, |_| Firing::Final, write)
    }

    fn table_rows_fired<W>(
        self,
        table: u32,
        schema: Arc<Schema>,
        firing: impl Fn(&C) -> Firing + 'static,
        write: W,
    ) -> StreamVec<'scope, Tick, TableBlock>
    where
        W: Fn(C, &mut RowBatch) + 'static,
    {
        self.unary(Pipeline, "TableRows", move |_capability, _info| {
            move |input, output| {
                input.for_each_time(|time, batches| {
                    // In the order in which they come, so that of a key the final row stays.
                    let mut fired =
                        [Firing::Early, Firing::Epoch, Firing::Final].map(|of| (of, schema.batch()));
                    for result in batches.flat_map(|batch| batch.drain(..)) {
                        let (_, rows) = &mut fired[firing(&result) as usize];
                        write(result, rows);
                    }
                    for (firing, rows) in fired.into_iter().filter(|(_, rows)| !rows.is_empty()) {
                        let (mut net_rows, mut digest) = (0, Digest::default());
                        if firing.is_final() {
                            digest.add_batch(&rows);
                            net_rows = rows.len() as i64;
                        }
                        output.session(&time).give(TableBlock { table, rows, firing, net_rows, digest });
                    }
                });
            }
        })
    }
}

/// Extension trait for making rows of a relation's changes.
pub trait TableChanges<'scope, C> {
    /// Makes rows of `schema` from what a relation added (a positive difference); what it took back is replaced in the table by
    /// key, and only leaves the count and the digest.
    ///
    /// # Shape
    /// | port | record | timestamp | partitioned by |
    /// | --- | --- | --- | --- |
    /// | in | `(C, ±1)` | any | any |
    /// | out | [`TableBlock`] | as it came | as the input |
    fn table_changes<W>(
        self,
        table: u32,
        schema: Arc<Schema>,
        write: W,
    ) -> StreamVec<'scope, Tick, TableBlock>
    where
        W: Fn(C, &mut RowBatch) + 'static;
}

impl<'scope, C: Clone + 'static> TableChanges<'scope, C> for StreamVec<'scope, Tick, (C, isize)> {
    fn table_changes<W>(
        self,
        table: u32,
        schema: Arc<Schema>,
        write: W,
    ) -> StreamVec<'scope, Tick, TableBlock>
    where
        W: Fn(C, &mut RowBatch) + 'static,
    {
        self.unary(Pipeline, "TableChanges", move |_capability, _info| {
            move |input, output| {
                input.for_each_time(|time, batches| {
                    let (mut rows, mut gone) = (schema.batch(), schema.batch());
                    for (entry, diff) in batches.flat_map(|batch| batch.drain(..)) {
                        write(entry, if diff > 0 { &mut rows } else { &mut gone });
                    }
                    if rows.is_empty() && gone.is_empty() {
                        return;
                    }
                    let mut digest = Digest::default();
                    digest.add_batch(&rows);
                    digest.remove_batch(&gone);
                    let net_rows = rows.len() as i64 - gone.len() as i64;
                    output.session(&time).give(TableBlock {
                        table,
                        rows,
                        firing: Firing::Final,
                        net_rows,
                        digest,
                    });
                });
            }
        })
    }
}

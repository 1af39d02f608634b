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
    /// Whether the rows are those of open windows: others of their keys will follow.
    pub provisional: bool,
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

    /// The same, with results that others of their keys will follow: only those that are final, as `is_final` says, are in the
    /// count and the digest.
    fn table_rows_final<W>(
        self,
        table: u32,
        schema: Arc<Schema>,
        is_final: impl Fn(&C) -> bool + 'static,
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
        self.table_rows_final(table, schema, |_| true, write)
    }

    fn table_rows_final<W>(
        self,
        table: u32,
        schema: Arc<Schema>,
        is_final: impl Fn(&C) -> bool + 'static,
        write: W,
    ) -> StreamVec<'scope, Tick, TableBlock>
    where
        W: Fn(C, &mut RowBatch) + 'static,
    {
        self.unary(Pipeline, "TableRows", move |_capability, _info| {
            move |input, output| {
                input.for_each_time(|time, batches| {
                    let (mut rows, mut provisional) = (schema.batch(), schema.batch());
                    for result in batches.flat_map(|batch| batch.drain(..)) {
                        let is_final = is_final(&result);
                        write(result, if is_final { &mut rows } else { &mut provisional });
                    }
                    // First, so that of a key the final row stays.
                    if !provisional.is_empty() {
                        output.session(&time).give(TableBlock {
                            table,
                            rows: provisional,
                            provisional: true,
                            net_rows: 0,
                            digest: Digest::default(),
                        });
                    }
                    if !rows.is_empty() {
                        let mut digest = Digest::default();
                        digest.add_batch(&rows);
                        let net_rows = rows.len() as i64;
                        let block = TableBlock { table, rows, provisional: false, net_rows, digest };
                        output.session(&time).give(block);
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
                        provisional: false,
                        net_rows,
                        digest,
                    });
                });
            }
        })
    }
}

//! What the connections of a sink have in common: the database, the sink's name, and its tables.

use std::sync::Arc;

use super::config::Config;
use super::error::Fault;
use super::session::Session;
use super::sql::{self, Replace, literal};
use crate::rows::Schema;
use crate::sink::SinkError;
use crate::sink::staged::failed;
use crate::sink::tables::TableBatch;

/// Where a sink writes.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) config: Config,
    /// The quoted schema and its dot.
    pub(super) at: String,
    /// The sink's name among those of the database.
    pub(super) sink: String,
    pub(super) schemas: Vec<Arc<Schema>>,
}

impl Target {
    /// A fault as the sink's error; `doing` is the step that failed.
    pub(super) fn error(&self, fault: Fault, doing: &str) -> SinkError {
        fault.of(&self.sink, &self.config.place(), doing)
    }

    pub(super) fn failed(&self, cause: impl ToString) -> SinkError {
        failed(&self.sink, cause)
    }

    /// The mark: the last epoch and the newest generation.
    pub(super) async fn mark(&self, session: &Session, lock: &str) -> Result<(Option<u64>, u64), Fault> {
        self.mark_after("", session, lock).await
    }

    /// The same as the first thing in a new transaction: the server is asked once.
    pub(super) async fn begin(&self, session: &Session, lock: &str) -> Result<(Option<u64>, u64), Fault> {
        let begin = Session::beginning(&self.config);
        self.mark_after(&format!("{begin}; "), session, lock).await
    }

    async fn mark_after(
        &self,
        statements: &str,
        session: &Session,
        lock: &str,
    ) -> Result<(Option<u64>, u64), Fault> {
        let (at, sink) = (&self.at, literal(&self.sink));
        let mark = format!("SELECT epoch, generation FROM {at}tidegate_epochs WHERE sink = {sink}{lock}");
        let rows = session.rows(&format!("{statements}{mark}")).await?;
        let number = |column: usize| {
            let text = rows.first().and_then(|row| row.get(column)?.as_ref());
            // The server's integers are signed; the bits are kept.
            text.and_then(|text| text.parse::<i64>().ok()).map(|number| number as u64)
        };
        if rows.is_empty() {
            let cause =
                format!("the mark of sink {sink} is gone from tidegate_epochs: start again to make it");
            return Err(self.failed(cause).into());
        }
        Ok((number(0), number(1).unwrap_or(0)))
    }

    /// The numbers of the tables, by name.
    pub(super) fn in_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.schemas.len()).collect();
        order.sort_by(|&a, &b| self.schemas[a].name.cmp(&self.schemas[b].name));
        order
    }

    /// Deletes the rows of these keys.
    pub(super) async fn delete(&self, session: &Session, batches: &[TableBatch]) -> Result<(), Fault> {
        for table in self.in_order() {
            let schema = &self.schemas[table];
            let mut batches = batches.iter().filter(|batch| batch.table == table).peekable();
            if batches.peek().is_some() {
                session
                    .send(table, schema, &mut || Ok(batches.next().map(|batch| batch.rows.clone())))
                    .await?;
                session.run(&sql::delete_sent(&self.at, table, schema)).await?;
            }
        }
        Ok(())
    }

    /// Upserts early rows.
    pub(super) async fn upsert_early(
        &self,
        session: &Session,
        batches: impl Iterator<Item = &TableBatch> + Clone,
        replace: Replace<'_>,
    ) -> Result<(), Fault> {
        for table in self.in_order() {
            let of_table = batches.clone().filter(|batch| batch.table == table);
            let mut rows = of_table.map(|batch| &batch.rows).peekable();
            if rows.peek().is_some() {
                session.upsert_at_once(&self.at, &self.schemas[table], rows, replace).await?;
            }
        }
        Ok(())
    }
}

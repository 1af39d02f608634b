//! A table that follows another store: rows are merged by key, the newer one stays, and the position up to which the
//! other store was read is kept in the same transaction.
//!
//! So a merge can be repeated and resumed at will: what is in already changes nothing, and a crash leaves rows and
//! position as they were before the transaction or as they are after it. Like the sink's, the statements fit PgBouncer
//! in transaction mode (`session.rs`).

use std::sync::Arc;

use tokio::runtime::Runtime;

use super::config::Config;
use super::error::Fault;
use super::session::{Session, runtime, with_session};
use super::sql::{literal, quoted};
use super::{CREATING, copy, ensure_table, sql};
use crate::rows::{RowBatch, Schema};
use crate::sink::SinkError;
use crate::sink::staged::failed;
use crate::sink::tables::TableBatch;

/// The table that follows.
#[derive(Debug)]
pub struct Merge {
    config: Config,
    /// The quoted schema and its dot.
    at: String,
    /// Whose position it is.
    name: String,
    schema: Arc<Schema>,
    /// The columns by which the newer of two rows of a key is told.
    stamp: Vec<&'static str>,
    indexed: Vec<&'static str>,
    session: Option<Session>,
    runtime: Runtime,
}

impl Merge {
    /// A table of `schema`, whose `stamp` columns, compared in their order, say which of two rows of a key stays, with
    /// an index over each column of `indexed`. `name` is what is followed; its position is kept under it. The server is
    /// reached by the first call of [`position`](Merge::position).
    ///
    /// # Errors
    /// When the system gives no room for the connection's runtime.
    pub fn new(
        config: Config,
        name: &str,
        schema: Arc<Schema>,
        stamp: &[&'static str],
        indexed: &[&'static str],
    ) -> Result<Merge, SinkError> {
        let runtime = runtime().map_err(|error| failed(name, error))?;
        let at = format!("{}.", quoted(&config.schema));
        let (stamp, indexed) = (stamp.to_vec(), indexed.to_vec());
        Ok(Merge { config, at, name: name.to_owned(), schema, stamp, indexed, session: None, runtime })
    }

    /// How far the other store was read; `None` before the first merge. Creates table, indexes and position that are
    /// missing.
    ///
    /// # Errors
    /// [`SinkError::Unavailable`] when the server cannot be reached; [`SinkError::Failed`] when it refuses, or the table
    /// is there with other columns or without the key.
    pub fn position(&mut self) -> Result<Option<i64>, SinkError> {
        self.transact("creating and verifying the table", async |this, session| {
            session.run(CREATING).await?;
            session.run(&sql::create_positions(&this.at)).await?;
            let schema = &this.schema;
            let (create, key) = (sql::create_table(&this.at, schema), sql::wanted_key(schema));
            let (namespace, columns) = (&this.config.schema, sql::wanted_columns(schema));
            ensure_table(session, namespace, &schema.name, &create, &columns, &key)
                .await?
                .map_err(|cause| failed(&this.name, cause))?;
            for column in &this.indexed {
                session.run(&sql::create_index(&this.at, schema, column)).await?;
            }
            let (at, name) = (&this.at, literal(&this.name));
            let insert =
                format!("INSERT INTO {at}tidegate_sync VALUES ({name}, NULL) ON CONFLICT DO NOTHING");
            session.run(&insert).await?;
            let select = format!("SELECT position FROM {at}tidegate_sync WHERE name = {name}");
            let rows = session.rows(&select).await?;
            Ok(rows.into_iter().flatten().flatten().next().and_then(|text| text.parse().ok()))
        })
    }

    /// Whether PostgreSQL can hold rows of `schema`.
    ///
    /// # Errors
    /// What is wrong.
    pub fn holds(schema: &Schema, rows: &RowBatch) -> Result<(), String> {
        copy::refuses(schema, rows)
    }

    /// Merges rows and moves the position on to `position`, both or none; gives the number of rows that changed.
    ///
    /// With `None` the position stays. It never goes back: another process may have gone further.
    ///
    /// # Errors
    /// As for [`position`](Merge::position).
    pub fn merge(&mut self, rows: &RowBatch, position: Option<i64>) -> Result<u64, SinkError> {
        self.transact("merging rows", async |this, session| {
            let mut batch = (!rows.is_empty()).then(|| TableBatch { table: 0, rows: rows.clone(), provisional: false });
            let (at, name) = (&this.at, literal(&this.name));
            // The lock keeps two processes from merging at once, each in its own order of rows.
            session.run(&format!("SELECT 1 FROM {at}tidegate_sync WHERE name = {name} FOR UPDATE")).await?;
            session.send(0, &this.schema, &mut || Ok(batch.take())).await?;
            let changed = session.rows(&sql::upsert_newer(at, 0, &this.schema, &this.stamp)).await?;
            if let Some(position) = position {
                let set = format!(
                    "UPDATE {at}tidegate_sync SET position = greatest(position, {position}) WHERE name = {name}"
                );
                session.run(&set).await?;
            }
            Ok(changed.into_iter().flatten().flatten().next().and_then(|text| text.parse().ok()).unwrap_or(0))
        })
    }

    /// Runs `work` in a transaction; after an error the connection, and with it the transaction, is given up.
    fn transact<T>(
        &mut self,
        doing: &str,
        work: impl AsyncFn(&Self, &Session) -> Result<T, Fault>,
    ) -> Result<T, SinkError> {
        let held = self.session.take();
        let this = &*self;
        let outcome = with_session(&this.runtime, &this.config, held, async |session| {
            session.begin(&this.config).await?;
            let done = work(this, session).await?;
            session.run("COMMIT").await?;
            Ok(done)
        });
        let (session, done) = outcome.map_err(|fault| fault.of(&self.name, &self.config.place(), doing))?;
        self.session = Some(session);
        Ok(done)
    }
}

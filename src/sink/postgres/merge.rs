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
use super::refused::Sent;
use super::session::{Session, runtime, with_session};
use super::sql::{EpochOf, Replace, literal, quoted};
use super::{CREATING, copy, ensure_table, owned, sql};
use crate::rows::{RowBatch, Schema};
use crate::sink::SinkError;
use crate::sink::staged::failed;

/// What a merge has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// How many rows are new or changed.
    pub changed: u64,
    /// How many rows the server has refused for what they hold. They are in `tidegate_refused`, each once however often it comes.
    pub refused: u64,
    /// What it said of the first of them.
    pub first_refused: Option<String>,
}

/// The table that follows.
#[derive(Debug)]
pub struct Merge {
    config: Config,
    /// The quoted schema and its dot.
    at: String,
    /// Whose position it is.
    name: String,
    schema: Arc<Schema>,
    /// The columns by which the newer of two rows of a key is told: its epoch, and what comes after.
    stamp: [&'static str; 2],
    indexed: Vec<&'static str>,
    session: Option<Session>,
    runtime: Runtime,
}

impl Merge {
    /// A table of `schema`, whose `stamp` columns, the epoch before the other, say which of two rows of a key stays, with an
    /// index over each column of `indexed`. `name` is what is followed; its position is kept under it. The server is reached
    /// by the first call of [`position`](Merge::position).
    ///
    /// # Errors
    /// When the system gives no room for the connection's runtime.
    pub fn new(
        config: Config,
        name: &str,
        schema: Arc<Schema>,
        stamp: [&'static str; 2],
        indexed: &[&'static str],
    ) -> Result<Merge, SinkError> {
        let runtime = runtime().map_err(|error| failed(name, error))?;
        let at = format!("{}.", quoted(&config.schema));
        let indexed = indexed.to_vec();
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
            let (schema, namespace) = (&this.schema, &this.config.schema);
            let wanted = [
                ("tidegate_refused", sql::create_refused(&this.at), owned(&sql::REFUSED), String::new()),
                (
                    &*schema.name,
                    sql::create_table(&this.at, schema),
                    sql::wanted_columns(schema),
                    sql::wanted_key(schema),
                ),
            ];
            for (table, create, columns, key) in wanted {
                ensure_table(session, namespace, table, &create, &columns, &key)
                    .await?
                    .map_err(|cause| failed(&this.name, cause))?;
            }
            for column in &this.indexed {
                let known = session.rows(&sql::has_index(&this.at, schema, column)).await?;
                if known.into_iter().flatten().flatten().next().is_none() {
                    session.run(&sql::create_index(&this.at, schema, column)).await?;
                }
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

    /// Merges rows and moves the position on to `position`, both or none.
    ///
    /// With `None` the position stays. It never goes back: another process may have gone further. A row that the server refuses for
    /// what it holds does not hold up the others: it is set aside in the same transaction.
    ///
    /// # Errors
    /// As for [`position`](Merge::position).
    pub fn merge(&mut self, rows: &RowBatch, position: Option<i64>) -> Result<Merged, SinkError> {
        self.transact("merging rows", async |this, session| {
            let mut batch = (!rows.is_empty()).then(|| rows.clone());
            let (at, name) = (&this.at, literal(&this.name));
            // The lock keeps two processes from merging at once, each in its own order of rows.
            session.run(&format!("SELECT 1 FROM {at}tidegate_sync WHERE name = {name} FOR UPDATE")).await?;
            let rows = session.send(0, &this.schema, &mut || Ok(batch.take())).await?;
            let epoch = EpochOf::Column(this.stamp[0]);
            let (sink, schema, replace) = (&*this.name, &*this.schema, Replace::Older(&this.stamp));
            let sent = Sent { sink, epoch, stage: 0, here: &[], schema, rows, replace };
            let merged = sent.upsert(session, at).await?;
            if let Some(position) = position {
                let set = format!(
                    "UPDATE {at}tidegate_sync SET position = greatest(position, {position}) WHERE name = {name}"
                );
                session.run(&set).await?;
            }
            Ok(Merged { changed: merged.changed, refused: merged.refused, first_refused: merged.first })
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

//! One connection, and what is said over it.
//!
//! Nearly everything goes by the simple protocol, which names no prepared statement; COPY's own is made and
//! closed inside the transaction, those with parameters have no name. Settings are `SET LOCAL`. So nothing of a session outlives its
//! transaction, and PgBouncer may give each transaction another server connection.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::{join3, maybe_done, try_join_all};
use futures_util::{SinkExt, StreamExt};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, SimpleQueryMessage};

use super::config::Config;
use super::copy;
use super::error::{Fault, Refusal};
use super::sql::{self, Replace};
use crate::rows::{RowBatch, Schema};
use crate::sink::SinkError;

/// Bytes are sent in pieces of about this size.
const PIECE: usize = 1 << 18;

/// How much longer than the server's own limit an answer may take.
const SLACK: Duration = Duration::from_secs(5);

/// A connection that has rested so long is asked whether it is still there, before anything else is.
const REST: Duration = Duration::from_secs(1);

/// How long the end of a connection is waited for.
const FAREWELL: Duration = Duration::from_secs(1);

/// A connection, on the runtime that drives it.
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    patience: Option<Duration>,
    /// Drives the connection, and closes it once the client is gone.
    driver: JoinHandle<()>,
    /// Told apart from all others of the process by it.
    serial: u64,
    /// When it was given back last.
    rests_since: Instant,
}

impl Session {
    pub(super) async fn connect(config: &Config) -> Result<Session, Fault> {
        let tls = config
            .tls()
            .map_err(|cause| Fault::Sink(SinkError::Failed { sink: "postgres".to_owned(), cause }))?;
        // The client's own limit ends with the TCP connection; a server that then says nothing is caught here.
        let client = config.client();
        let connecting = client.connect(tls);
        let connected = tokio::time::timeout(config.connect_timeout + SLACK, connecting).await;
        let (client, connection) = connected.map_err(|_| Fault::Silent)??;
        let driver = tokio::spawn(async move {
            // How it ended is told to whoever uses the client next.
            drop(connection.await);
        });
        let patience = (!config.statement_timeout.is_zero()).then(|| config.statement_timeout + SLACK);
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        Ok(Session { client, patience, driver, serial, rests_since: Instant::now() })
    }

    /// Closes the connection, so that its transaction and the locks are gone at once, and not when somebody next drives it.
    async fn close(self) {
        let Session { client, mut driver, .. } = self;
        drop(client);
        // A server that is away does not take its leave: the connection is dropped then.
        if tokio::time::timeout(FAREWELL, &mut driver).await.is_err() {
            driver.abort();
            drop(driver.await);
        }
    }

    /// The connection's number, never 0.
    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    async fn patiently<T>(
        &self,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Fault> {
        match self.patience {
            None => Ok(work.await?),
            Some(patience) => Ok(tokio::time::timeout(patience, work).await.map_err(|_| Fault::Silent)??),
        }
    }

    /// Runs statements that return nothing.
    pub(super) async fn run(&self, statements: &str) -> Result<(), Fault> {
        self.patiently(self.client.batch_execute(statements)).await
    }

    /// The rows of a query as texts.
    pub(super) async fn rows(&self, query: &str) -> Result<Vec<Vec<Option<String>>>, Fault> {
        let mut rows = Vec::new();
        self.each_row(query, &mut |row| rows.push(row)).await?;
        Ok(rows)
    }

    /// Gives each row of a query as texts, as it comes.
    pub(super) async fn each_row(
        &self,
        query: &str,
        row: &mut dyn FnMut(Vec<Option<String>>),
    ) -> Result<(), Fault> {
        let stream = self.patiently(self.client.simple_query_raw(query)).await?;
        let mut stream = std::pin::pin!(stream);
        while let Some(message) = self.patiently(async { stream.next().await.transpose() }).await? {
            if let SimpleQueryMessage::Row(found) = message {
                row((0..found.len()).map(|column| found.get(column).map(str::to_owned)).collect());
            }
        }
        Ok(())
    }

    /// Begins a transaction with the configured limits. Each of its statements sees what was committed before it.
    pub(super) async fn begin(&self, config: &Config) -> Result<(), Fault> {
        self.run(&Session::beginning(config)).await
    }

    /// What begins a transaction.
    pub(super) fn beginning(config: &Config) -> String {
        let (statement, lock) = (config.statement_timeout.as_millis(), config.lock_timeout.as_millis());
        // A writer that hangs must not keep the mark locked. Compiling a statement takes longer than any of these, once each.
        format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = {statement}; SET LOCAL lock_timeout = {lock}; \
             SET LOCAL idle_in_transaction_session_timeout = {statement}; \
             SET LOCAL client_min_messages = warning; SET LOCAL jit = off"
        )
    }

    /// Runs a statement inside the open transaction, and gives the number that it gives, 0 where it gives none. Where the server
    /// refuses it for the content of rows, the transaction goes on as if it had not been run, and what the server said is given.
    pub(super) async fn guarded(&self, statement: &str) -> Result<Result<u64, Refusal>, Fault> {
        let guarded = format!("SAVEPOINT tidegate; {statement}; RELEASE SAVEPOINT tidegate");
        match self.rows(&guarded).await {
            Ok(rows) => {
                let number = rows.into_iter().flatten().flatten().next();
                Ok(Ok(number.and_then(|text| text.parse().ok()).unwrap_or(0)))
            }
            Err(fault) => self.taken_back(fault).await.map(Err),
        }
    }

    /// Goes back to where the transaction was before a statement that was refused for the content of rows.
    async fn taken_back(&self, fault: Fault) -> Result<Refusal, Fault> {
        let refusal = fault.about_content().ok_or(fault)?;
        self.run("ROLLBACK TO SAVEPOINT tidegate; RELEASE SAVEPOINT tidegate").await?;
        Ok(refusal)
    }

    /// Does `work` inside the open transaction. Where the server refuses it, for whatever reason, the transaction goes on without.
    pub(super) async fn or_nothing(
        &self,
        work: impl Future<Output = Result<(), Fault>>,
    ) -> Result<(), Fault> {
        self.run("SAVEPOINT tidegate").await?;
        match work.await {
            Ok(()) => self.run("RELEASE SAVEPOINT tidegate").await,
            Err(fault) if !fault.lost() => {
                self.run("ROLLBACK TO SAVEPOINT tidegate; RELEASE SAVEPOINT tidegate").await
            }
            Err(fault) => Err(fault),
        }
    }

    /// Upserts rows by one statement that has them with it. It has no name, so that none outlives its transaction.
    pub(super) async fn upsert_at_once<'a>(
        &self,
        at: &str,
        schema: &Schema,
        batches: impl IntoIterator<Item = &'a RowBatch>,
        replace: Replace<'_>,
    ) -> Result<(), Fault> {
        self.patiently(self.upsert_arrays(at, schema, batches, replace)).await
    }

    async fn upsert_arrays<'a>(
        &self,
        at: &str,
        schema: &Schema,
        batches: impl IntoIterator<Item = &'a RowBatch>,
        replace: Replace<'_>,
    ) -> Result<(), tokio_postgres::Error> {
        let all: Vec<usize> = (0..schema.columns.len()).collect();
        self.run_arrays(&sql::upsert_arrays(at, schema, replace), schema, &all, batches).await
    }

    /// Runs a statement over arrays, one for each of these columns.
    async fn run_arrays<'a>(
        &self,
        statement: &str,
        schema: &Schema,
        numbers: &[usize],
        batches: impl IntoIterator<Item = &'a RowBatch>,
    ) -> Result<(), tokio_postgres::Error> {
        let mut columns = vec![Vec::new(); numbers.len()];
        for rows in batches {
            for (column, number) in columns.iter_mut().zip(numbers) {
                let cells = &rows.columns()[*number];
                column.extend((0..rows.len()).map(|row| copy::Element(cells.get(row))));
            }
        }
        let kinds = numbers.iter().map(|number| copy::array_type(schema.columns[*number].kind));
        let parameters: Vec<(&(dyn ToSql + Sync), Type)> =
            columns.iter().map(|column| column as &(dyn ToSql + Sync)).zip(kinds).collect();
        self.client.query_typed(statement, &parameters).await.map(drop)
    }

    /// Takes rows with the keys of `known` out of those that [differ](sql::create_differing).
    pub(super) async fn leave_out(
        &self,
        stage: usize,
        schema: &Schema,
        known: &RowBatch,
    ) -> Result<(), Fault> {
        let statement = sql::delete_differing(stage, schema);
        self.patiently(self.run_arrays(&statement, schema, &schema.key, [known])).await
    }

    /// The same, [guarded](Session::guarded); the server is waited for once.
    pub(super) async fn upsert_at_once_guarded(
        &self,
        at: &str,
        schema: &Schema,
        batches: &[RowBatch],
        replace: Replace<'_>,
    ) -> Result<Result<(), Refusal>, Fault> {
        // Each is sent when it is polled first, in this order.
        let (_, upserted, released) = join3(
            self.run("SAVEPOINT tidegate"),
            self.upsert_at_once(at, schema, batches, replace),
            self.run("RELEASE SAVEPOINT tidegate"),
        )
        .await;
        match upserted {
            Ok(()) => released.map(Ok),
            Err(fault) => self.taken_back(fault).await.map(Err),
        }
    }

    /// Upserts rows of several tables and runs `finish`, which commits; the server is waited for once. `false` where it has refused rows
    /// for their content: the transaction is then as it was.
    pub(super) async fn upsert_all(
        &self,
        at: &str,
        tables: Vec<(&Schema, &[RowBatch])>,
        finish: &str,
    ) -> Result<bool, Fault> {
        let (client, requests) = (&self.client, tables.len() as u32 + 2);
        let upserts =
            tables.into_iter().map(|(schema, rows)| self.upsert_arrays(at, schema, rows, Replace::Any));
        // Behind one that is refused the server refuses all, `finish` with its COMMIT too.
        let finish = format!("RELEASE SAVEPOINT tidegate; {finish}");
        let all = async {
            let mut saved = pin!(maybe_done(client.batch_execute("SAVEPOINT tidegate")));
            let mut upserted = pin!(maybe_done(try_join_all(upserts)));
            // Each is sent when it is polled first, in this order. One that cannot be sent has failed then: nothing may commit without it.
            poll_fn(|context| {
                let _done =
                    saved.as_mut().poll(context).is_ready() & upserted.as_mut().poll(context).is_ready();
                Poll::Ready(())
            })
            .await;
            if matches!(upserted.as_mut().output_mut(), Some(Err(_)))
                && let Some(failed) = upserted.as_mut().take_output()
            {
                return (failed.map(drop), Ok(()));
            }
            let finished = client.batch_execute(&finish);
            let (_, (), finished) = join3(saved, upserted.as_mut(), finished).await;
            (upserted.take_output().unwrap_or_else(|| Ok(Vec::new())).map(drop), finished)
        };
        let (upserted, finished) = match self.patience {
            None => all.await,
            // The server takes its time for each.
            Some(patience) => {
                tokio::time::timeout(patience * requests, all).await.map_err(|_| Fault::Silent)?
            }
        };
        match upserted {
            Ok(()) => finished.map(|()| true).map_err(Fault::from),
            Err(error) => self.taken_back(error.into()).await.map(|_| false),
        }
    }

    /// Notes for `sink` that rows of a table are shown in `epoch`.
    pub(super) async fn note_early(
        &self,
        at: &str,
        sink: &str,
        epoch: u64,
        (table, rows): (&str, &[u8]),
    ) -> Result<(), Fault> {
        let statement =
            format!("INSERT INTO {at}tidegate_early (sink, epoch, table_name, rows) VALUES ($1, $2, $3, $4)");
        // The server's integers are signed; the bits are kept.
        let epoch = epoch as i64;
        let parameters: [(&(dyn ToSql + Sync), Type); 4] =
            [(&sink, Type::TEXT), (&epoch, Type::INT8), (&table, Type::TEXT), (&rows, Type::BYTEA)];
        self.patiently(self.client.query_typed(&statement, &parameters)).await.map(drop)
    }

    /// What is noted for `sink`: epoch, table, rows.
    pub(super) async fn noted_early(
        &self,
        at: &str,
        sink: &str,
    ) -> Result<Vec<(u64, String, Vec<u8>)>, Fault> {
        let statement = format!("SELECT epoch, table_name, rows FROM {at}tidegate_early WHERE sink = $1");
        let rows = self.patiently(self.client.query_typed(&statement, &[(&sink, Type::TEXT)])).await?;
        let noted = |row: &tokio_postgres::Row| {
            Ok((row.try_get::<_, i64>(0)? as u64, row.try_get(1)?, row.try_get(2)?))
        };
        rows.iter().map(|row| noted(row).map_err(|error: tokio_postgres::Error| error.into())).collect()
    }

    /// Sends rows into a new temporary table, number `stage`; gives how many they are.
    pub(super) async fn send(
        &self,
        stage: usize,
        schema: &Schema,
        next: &mut dyn FnMut() -> Result<Option<RowBatch>, SinkError>,
    ) -> Result<i64, Fault> {
        self.run(&sql::create_stage(stage, schema)).await?;
        let command = format!("COPY {} FROM STDIN (FORMAT binary)", sql::stage_name(stage));
        // The statement is closed when `copy_in` returns, behind the copy and before the end of the transaction.
        let stream = self.patiently(self.client.copy_in::<_, Bytes>(&*command)).await?;
        let mut stream = std::pin::pin!(stream);
        let mut piece = copy::HEADER.to_vec();
        let mut rows = 0;
        while let Some(batch) = next()? {
            copy::encode(&batch, rows, &mut piece);
            rows += batch.len() as i64;
            if piece.len() >= PIECE {
                let full = std::mem::replace(&mut piece, Vec::with_capacity(PIECE * 5 / 4));
                self.patiently(stream.send(full.into())).await?;
            }
        }
        piece.extend_from_slice(copy::TRAILER);
        self.patiently(stream.send(piece.into())).await?;
        self.patiently(stream.finish()).await?;
        Ok(rows)
    }
}

/// A runtime for one thread, owned by a sink.
pub(super) fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()
}

/// Runs `work` over the connection that is held, or a new one where it is gone, and gives the connection back. After an
/// error the connection, and with it the transaction, is given up.
pub(super) fn with_session<T>(
    runtime: &Runtime,
    config: &Config,
    held: Option<Session>,
    work: impl AsyncFnOnce(&Session) -> Result<T, Fault>,
) -> Result<(Session, T), Fault> {
    runtime.block_on(on_session(config, held, work))
}

/// The same where a runtime runs already.
pub(super) async fn on_session<T>(
    config: &Config,
    held: Option<Session>,
    work: impl AsyncFnOnce(&Session) -> Result<T, Fault>,
) -> Result<(Session, T), Fault> {
    // A connection that ended while it was idle is noticed once its task has run.
    tokio::task::yield_now().await;
    let mut session = match held.filter(|session| !session.is_closed()) {
        // One that has rested may be dead without anybody having said so.
        Some(session) if session.rests_since.elapsed() < REST || session.run("").await.is_ok() => session,
        lost => {
            if let Some(lost) = lost {
                lost.close().await;
            }
            Session::connect(config).await?
        }
    };
    match work(&session).await {
        Ok(done) => {
            session.rests_since = Instant::now();
            Ok((session, done))
        }
        Err(fault) => {
            session.close().await;
            Err(fault)
        }
    }
}

//! A client, the runtime that drives it, and commands with a limit of time.
//!
//! The driver watches the servers in the background, so its runtime has a thread of its own that also runs while no
//! command is under way. It knows no time-out for an answer that never comes; the limit here is ours.

use std::future::Future;

use mongodb::bson::{Bson, Document, doc};
use mongodb::options::{ReadPreference, SelectionCriteria};
use mongodb::{Client, Cursor};
use tokio::runtime::Runtime;

use super::config::Config;
use super::error::Fault;
use crate::sink::SinkError;

/// Whatever the connection string says: a secondary may be behind, and marks and newest epochs of the past mislead.
const PRIMARY: SelectionCriteria = SelectionCriteria::ReadPreference(ReadPreference::Primary);

/// A connection to one database.
#[derive(Debug)]
pub(super) struct Connection {
    /// Taken in `drop`, within the runtime: the driver ends its connections by tasks.
    client: Option<Client>,
    config: Config,
    /// The write concern of the connection string, or the majority.
    concern: Document,
    runtime: Runtime,
}

impl Connection {
    /// Reads the connection string; the server is reached by the first command.
    pub(super) fn open(config: &Config, sink: &str) -> Result<Connection, SinkError> {
        let failed = |cause: String| SinkError::Failed { sink: sink.to_owned(), cause };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("mongo")
            .enable_io()
            .enable_time()
            .build()
            .map_err(|error| failed(format!("cannot start a thread for MongoDB: {error}")))?;
        let options = runtime.block_on(config.options()).map_err(failed)?;
        let mut concern = doc! { "w": "majority" };
        if let Some(own) =
            options.write_concern.as_ref().and_then(|own| mongodb::bson::serialize_to_document(own).ok())
            && !own.is_empty()
        {
            concern = own;
        }
        let client = runtime.block_on(async { Client::with_options(options) });
        let client = client.map_err(|error| Fault::from(error).of(sink, config, "opening"))?;
        Ok(Connection { client: Some(client), config: config.clone(), concern, runtime })
    }

    /// How it was opened.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    fn wait<T>(&self, work: impl Future<Output = mongodb::error::Result<T>>) -> Result<T, Fault> {
        let patience = self.config.patience;
        let done = self.runtime.block_on(async { tokio::time::timeout(patience, work).await });
        Ok(done.map_err(|_| Fault::Silent)??)
    }

    fn database(&self) -> Result<mongodb::Database, Fault> {
        let client = self.client.as_ref().ok_or(Fault::Silent)?;
        Ok(client.database(&self.config.database))
    }

    /// Runs a command, and gives its answer.
    pub(super) fn command(&self, command: Document) -> Result<Document, Fault> {
        let database = self.database()?;
        self.wait(async { database.run_command(command).await })
    }

    /// Runs a command that writes, with the write concern.
    pub(super) fn write(&self, mut command: Document) -> Result<Document, Fault> {
        command.insert("writeConcern", self.concern.clone());
        let answer = self.command(command)?;
        if let Some(Bson::Document(error)) = answer.get("writeConcernError") {
            let code = error.get_i32("code").unwrap_or(64);
            return Err(Fault::Server(code, error.get_str("errmsg").unwrap_or("write concern").to_owned()));
        }
        Ok(answer)
    }

    /// The document of `collection` that comes first, by `sort`, of those that `filter` takes.
    pub(super) fn first(
        &self,
        collection: &str,
        filter: Document,
        sort: Document,
    ) -> Result<Option<Document>, Fault> {
        let collection = self.database()?.collection::<Document>(collection);
        self.wait(async { collection.find_one(filter).sort(sort).selection_criteria(PRIMARY).await })
    }

    /// Gives the documents of `collection` that `filter` takes, in the order of `sort`.
    pub(super) fn find(
        &self,
        collection: &str,
        filter: Document,
        sort: Document,
        each: &mut dyn FnMut(Document) -> Result<(), SinkError>,
    ) -> Result<(), Fault> {
        let collection = self.database()?.collection::<Document>(collection);
        let find = collection.find(filter).sort(sort).batch_size(1000).selection_criteria(PRIMARY);
        // Within the runtime, also where `each` fails: a cursor that is dropped may end itself by a task.
        let _guard = self.runtime.enter();
        let mut cursor: Cursor<Document> = self.wait(async { find.await })?;
        while self.wait(cursor.advance())? {
            each(cursor.deserialize_current()?)?;
        }
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let _guard = self.runtime.enter();
        self.client.take();
    }
}

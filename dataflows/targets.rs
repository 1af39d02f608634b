//! The sinks that a run writes to, by kind and by name.
//!
//! Embedded ones stand for the real ones of contract section 5; a configured run names its own, any number for each
//! kind of output, and each gets the whole of it.

use std::path::Path;
use std::sync::Arc;

use tidegate::checkpoint::IdleLines;
use tidegate::delivery::{Deliver, EarlyRows, Shared, SharedSink, Tallies};
use tidegate::ingest::{IdleDecision, idle_topic};
use tidegate::kafka::Properties;
use tidegate::runtime::Run;
use tidegate::sink::console::{Console, ConsoleFormat};
use tidegate::sink::console_topics::ConsoleTopics;
use tidegate::sink::delta::{self, DeltaRows, DeltaTable, DeltaTables, Merge, SchemaMode};
use tidegate::sink::kafka::{KafkaTopics, Settings as KafkaSettings, TargetTopic};
use tidegate::sink::lake::{LakeBatch, Limits, ParquetLake, RemoteLake};
use tidegate::sink::mongo::{self, MongoTables};
use tidegate::sink::postgres::{self, PostgresTables};
use tidegate::sink::retry::{Backoff, retry};
use tidegate::sink::sqlite::SqliteTables;
use tidegate::sink::topic::{TopicBatch, TopicFiles};
use tidegate::sink::{AnySink, Durability, SinkError};
use tidegate::storage::{self, Credentials, Location};
use tidegate::telemetry::Board;

use crate::outputs::{Outputs, Sinks};
use crate::pipeline::Pipeline;

/// Where table rows go.
#[derive(Clone, Debug)]
pub enum TableTarget {
    /// `tables.sqlite` in the output directory.
    Sqlite,
    /// A PostgreSQL database.
    Postgres(Box<postgres::Config>),
    /// A MongoDB database.
    Mongo(Box<MongoTarget>),
    /// Standard output. At least once.
    Console(ConsoleFormat),
}

impl TableTarget {
    /// What manifests call its sink.
    pub fn sink(&self) -> &'static str {
        match self {
            TableTarget::Sqlite => "tables",
            TableTarget::Postgres(_) => "postgres",
            TableTarget::Mongo(_) => "mongo",
            TableTarget::Console(_) => "console",
        }
    }
}

/// Collections of a MongoDB database.
#[derive(Clone, Debug)]
pub struct MongoTarget {
    /// The database.
    pub config: mongo::Config,
    /// The collection of the pipeline's first table; others have their table's name.
    pub collection: String,
}

/// Where lake rows go.
#[derive(Clone, Debug)]
pub enum LakeTarget {
    /// The pipeline's directory below the output directory.
    Embedded,
    /// A directory of its own, here, in S3 or in HDFS.
    At(Location),
}

impl LakeTarget {
    /// What manifests call its sink.
    pub fn sink(&self) -> String {
        match self {
            LakeTarget::Embedded => "lake".to_owned(),
            LakeTarget::At(location) => format!("lake at {location}"),
        }
    }
}

/// Where topic lines go.
#[derive(Clone, Debug)]
pub enum TopicTarget {
    /// Files of kcat lines in the output directory.
    Files,
    /// Topics of a Kafka cluster.
    Kafka(Box<KafkaTarget>),
    /// Standard output, for those that hold results. At least once.
    Console(ConsoleFormat),
}

impl TopicTarget {
    /// What manifests call its sink.
    pub fn sink(&self) -> &'static str {
        match self {
            TopicTarget::Files => "topics",
            TopicTarget::Kafka(_) => "kafka",
            TopicTarget::Console(_) => "console topics",
        }
    }
}

/// A Kafka cluster that topics are written to.
#[derive(Clone, Debug)]
pub struct KafkaTarget {
    /// The client's properties.
    pub properties: Properties,
}

/// The Parquet files of lakes and Delta tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LakeFiles {
    /// A row group has at most so many rows.
    pub row_group: usize,
    /// A file is ended once it has so many bytes; as large become those that are merged.
    pub size: usize,
    /// After so many new files of a Delta table its small ones are merged; `None`: never.
    pub merge_after: Option<usize>,
}

impl Default for LakeFiles {
    fn default() -> Self {
        let Limits { group_rows, file_bytes, .. } = Limits::default();
        LakeFiles { row_group: group_rows, size: file_bytes, merge_after: None }
    }
}

impl LakeFiles {
    fn limits(self) -> Limits {
        Limits { group_rows: self.row_group, file_bytes: self.size, ..Limits::default() }
    }

    fn merge(self) -> Option<Merge> {
        self.merge_after.map(|after_files| Merge { after_files, limits: self.limits() })
    }
}

/// All sinks of a pipeline.
#[derive(Clone, Debug)]
pub struct Targets {
    /// Get table rows.
    pub tables: Vec<TableTarget>,
    /// Get lake rows.
    pub lake: Vec<LakeTarget>,
    /// Get topic lines.
    pub topics: Vec<TopicTarget>,
    /// What becomes of Delta tables whose columns are not ours.
    pub schema: SchemaMode,
    /// What the files of lakes and Delta tables are like.
    pub files: LakeFiles,
    /// What output survives that has been acknowledged.
    pub durability: Durability,
    /// What S3 is reached with.
    pub credentials: Credentials,
    /// Whether decisions about idle partitions get topics of their own.
    pub idle: bool,
}

/// The names of a pipeline's topics, by their number; behind them those of the decisions about its idle partitions.
fn topic_names(pipeline: &dyn Pipeline, idle: bool) -> Vec<Arc<str>> {
    let mut names = pipeline.topics();
    if idle {
        names.extend(pipeline.inputs().iter().map(|input| Arc::from(idle_topic(input))));
    }
    names
}

impl Targets {
    /// The embedded sinks.
    pub fn embedded(durability: Durability) -> Self {
        Targets {
            tables: vec![TableTarget::Sqlite],
            lake: vec![LakeTarget::Embedded],
            topics: vec![TopicTarget::Files],
            schema: SchemaMode::default(),
            files: LakeFiles::default(),
            durability,
            credentials: Credentials::default(),
            idle: false,
        }
    }

    /// Opens them for `pipeline`, whose output directory is `out` and whose input has so many `partitions`, which its topics
    /// need too. One that is away is waited for until `run` is asked to stop, and its board says so.
    ///
    /// # Errors
    /// When one refuses us, or holds what is not ours.
    pub fn open(
        &self,
        out: &Path,
        pipeline: &dyn Pipeline,
        partitions: i32,
        run: &Run,
    ) -> Result<Opened, SinkError> {
        let mut opened = Opened { idle: self.idle, ..Opened::default() };
        for target in &self.tables {
            let sink = waited_for(run, target.sink(), || self.open_tables(target, out, pipeline))?;
            opened.add(target.sink(), sink, |opened| &mut opened.tables);
        }
        if let Some(dir) = pipeline.lake() {
            for target in &self.lake {
                let (delta, name) = (pipeline.delta(), target.sink());
                if delta.is_empty() {
                    let sink = waited_for(run, &name, || self.open_lake(target, out, dir, pipeline.name()))?;
                    opened.add(&name, sink, |opened| &mut opened.lake);
                    continue;
                }
                let open = |tables: &[DeltaTable]| {
                    waited_for(run, &name, || self.open_delta(target, out, dir, pipeline.name(), tables))
                };
                opened.add(&name, Box::new(open(&delta)?), |opened| &mut opened.lake);
                let tables = pipeline.delta_rows();
                let sink = DeltaRows::new(tables.clone(), open(&tables)?);
                opened.add(&format!("tables in {name}"), Box::new(sink), |opened| &mut opened.tables);
            }
        }
        for target in &self.topics {
            let sink =
                waited_for(run, target.sink(), || self.open_topics(target, out, pipeline, partitions))?;
            opened.add(target.sink(), sink, |opened| &mut opened.topics);
        }
        Ok(opened)
    }

    fn open_lake(
        &self,
        target: &LakeTarget,
        out: &Path,
        dir: &str,
        pipeline: &str,
    ) -> Result<AnySink<LakeBatch>, SinkError> {
        let limits = self.files.limits();
        let root = match target {
            LakeTarget::Embedded => out.join(dir),
            LakeTarget::At(Location::Dir(root)) => root.clone(),
            LakeTarget::At(location) => {
                let place = storage::open(location, &self.credentials).map_err(|error| error.of(pipeline))?;
                return Ok(Box::new(RemoteLake::open(place, out, pipeline)?.with_limits(limits)));
            }
        };
        Ok(Box::new(ParquetLake::open(&root, pipeline, self.durability)?.with_limits(limits)))
    }

    fn open_delta(
        &self,
        target: &LakeTarget,
        out: &Path,
        dir: &str,
        pipeline: &str,
        tables: &[DeltaTable],
    ) -> Result<DeltaTables, SinkError> {
        let (limits, merge) = (self.files.limits(), self.files.merge());
        let options = delta::Options { schema: self.schema, limits, merge, ..Default::default() };
        let tables = tables.to_vec();
        let root = match target {
            LakeTarget::Embedded => out.join(dir),
            LakeTarget::At(Location::Dir(root)) => root.clone(),
            LakeTarget::At(location) => {
                let place = storage::open(location, &self.credentials).map_err(|error| error.of(pipeline))?;
                return DeltaTables::open_remote(place, out, pipeline, tables, options);
            }
        };
        DeltaTables::open(&root, pipeline, tables, options, self.durability)
    }

    fn open_tables(
        &self,
        target: &TableTarget,
        out: &Path,
        pipeline: &dyn Pipeline,
    ) -> Result<AnySink<tidegate::sink::tables::TableBatch>, SinkError> {
        let (name, tables) = (pipeline.name(), pipeline.tables());
        Ok(match target {
            TableTarget::Sqlite => Box::new(SqliteTables::open(out, name, tables, self.durability)?),
            TableTarget::Postgres(config) => {
                let config = (**config).clone();
                Box::new(PostgresTables::open(config, out, name, tables, self.durability)?)
            }
            TableTarget::Mongo(target) => {
                let first = tables.first().map(|schema| schema.name.to_string()).unwrap_or_default();
                let names = [(&*first, &*target.collection)];
                Box::new(MongoTables::open(&target.config, out, name, tables, &names, self.durability)?)
            }
            TableTarget::Console(format) => {
                let to = std::io::stdout();
                Box::new(Console::open(out, name, tables, self.durability, *format, to)?)
            }
        })
    }

    fn open_topics(
        &self,
        target: &TopicTarget,
        out: &Path,
        pipeline: &dyn Pipeline,
        partitions: i32,
    ) -> Result<AnySink<tidegate::sink::topic::TopicBatch>, SinkError> {
        let name = pipeline.name();
        Ok(match target {
            TopicTarget::Files => {
                let topics = topic_names(pipeline, self.idle);
                let names: Vec<&str> = topics.iter().map(|name| &**name).collect();
                Box::new(TopicFiles::open(&out.join("topics"), name, &names, self.durability)?)
            }
            TopicTarget::Console(format) => {
                let topics = topic_names(pipeline, self.idle);
                let names: Vec<&str> = topics.iter().map(|name| &**name).collect();
                let to = std::io::stdout();
                Box::new(ConsoleTopics::open(out, name, &names, self.durability, *format, to)?)
            }
            TopicTarget::Kafka(settings) => {
                // Of each pipeline apart: they have generations of their own.
                let dir = out.join(".tidegate").join("kafka").join(name);
                let target = |name: &Arc<str>| TargetTopic { name: name.to_string(), partitions };
                let topics = topic_names(pipeline, self.idle).iter().map(target).collect();
                let settings = KafkaSettings::new(settings.properties.clone(), topics);
                Box::new(KafkaTopics::open(settings, &dir, name, "topics", self.durability)?)
            }
        })
    }
}

/// Opens a sink; one that is away is waited for until `run` is asked to stop.
fn waited_for<T>(
    run: &Run,
    name: &str,
    mut open: impl FnMut() -> Result<T, SinkError>,
) -> Result<T, SinkError> {
    let backoff = Backoff { seed: u64::from(std::process::id()), ..Backoff::default() };
    let tell = |error: &SinkError| {
        if error.is_retriable() {
            run.board().sink_failed(name, &error.to_string());
        }
    };
    let opened = retry(&backoff, &|| run.is_asked_to_stop(), || open().inspect_err(tell))?;
    run.board().sink_answers(name);
    Ok(opened)
}

/// The open sinks of a pipeline.
#[derive(Default)]
pub struct Opened {
    tables: Sinks<tidegate::sink::tables::TableBatch>,
    lake: Sinks<tidegate::sink::lake::LakeBatch>,
    topics: Sinks<tidegate::sink::topic::TopicBatch>,
    /// See [`Targets::idle`].
    idle: bool,
    /// The way of early rows to who commits.
    pub(crate) early: EarlyRows,
    /// All of them by name, for deciding epochs.
    all: Vec<(String, Arc<dyn Deliver>)>,
}

impl Opened {
    fn add<B: Send + 'static>(
        &mut self,
        name: &str,
        sink: AnySink<B>,
        kind: impl FnOnce(&mut Self) -> &mut Sinks<B>,
    ) {
        let sink: SharedSink<AnySink<B>> = Arc::new(Shared::new(sink));
        kind(self).push(Arc::clone(&sink));
        self.all.push((name.to_owned(), sink));
    }

    /// What the dataflow writes to.
    pub fn outputs(&self, tallies: &Arc<Tallies>) -> Outputs {
        Outputs {
            tables: self.tables.clone(),
            lake: self.lake.clone(),
            topics: self.topics.clone(),
            tallies: Arc::clone(tallies),
            early: self.early.clone(),
        }
    }

    /// Says on `board` which sinks get the rows of which stream.
    pub fn show(&self, board: &Board) {
        let kinds = [("Tables", self.tables.len()), ("Lake", self.lake.len()), ("Topics", self.topics.len())];
        let mut names = self.all.iter().map(|(name, _)| &**name);
        for (stream, sinks) in kinds {
            board.feeds(stream, names.by_ref().take(sinks));
        }
    }

    /// Writes decisions about idle partitions of `pipeline` to their topics, where those have been opened.
    pub fn idle_lines(&self, pipeline: &dyn Pipeline) -> Option<IdleLines> {
        let (first, inputs, sinks) = (pipeline.topics().len(), pipeline.inputs(), self.topics.clone());
        let write = move |epoch: u64, decisions: &[IdleDecision]| {
            for decision in decisions {
                let Some(input) = inputs.iter().position(|input| **input == *decision.partition.topic) else {
                    continue;
                };
                for sink in &sinks {
                    let mut lines = Vec::new();
                    decision.line(&mut lines);
                    let (topic, partition) = (first + input, decision.partition.number);
                    let batch = TopicBatch { topic, partition, lines, count: 1 };
                    sink.write(epoch, batch, 1)?;
                }
            }
            Ok(())
        };
        self.idle.then(|| Box::new(write) as IdleLines)
    }

    /// What decides epochs.
    pub fn deliver(&self) -> Vec<(String, Arc<dyn Deliver>)> {
        self.all.clone()
    }

    /// Ends or pauses all: see [`Sink::finish`](tidegate::sink::Sink::finish).
    ///
    /// # Errors
    /// As there.
    pub fn finish(&self) -> Result<(), SinkError> {
        self.all.iter().try_for_each(|(_, sink)| sink.finish())
    }
}

//! What a live run reads from and writes to, as it is set.

use std::path::PathBuf;
use std::time::Duration;

use tidegate::sink::Durability;
use tidegate::sink::console::ConsoleFormat;
use tidegate::sink::delta::SchemaMode;
use tidegate::sink::{mongo, postgres};
use tidegate::source::kafka::OutOfRange;
use tidegate::storage::{Credentials, Location};

use crate::graph::{EXACTLY_ONCE, Place, Sinks};
use crate::settings::Secrets;
use crate::targets::{KafkaTarget, LakeFiles, LakeTarget, MongoTarget, TableTarget, Targets, TopicTarget};

/// Where the brokers are; section `kafka`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brokers {
    /// `host:port`, with commas between; none where nothing is set.
    pub bootstrap_servers: Option<String>,
    /// A file of librdkafka's properties, `name=value` lines: how passwords and certificates are given.
    pub client_properties: Option<PathBuf>,
    /// What is done about records that retention has deleted before they were read.
    pub lost_records: OutOfRange,
    /// How often the topics are asked for new partitions.
    pub refresh: Duration,
}

impl Default for Brokers {
    fn default() -> Self {
        Brokers {
            bootstrap_servers: None,
            client_properties: None,
            lost_records: OutOfRange::default(),
            refresh: Duration::from_secs(30),
        }
    }
}

/// A kind of sink for table rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableKind {
    /// PostgreSQL.
    Postgres,
    /// MongoDB.
    Mongo,
    /// `tables.sqlite` in the data directory.
    Sqlite,
    /// Standard output, for people.
    Console,
    /// Standard output, an object a line.
    ConsoleJson,
}

/// A kind of sink for topic lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicKind {
    /// Topics of the brokers that are read from.
    Kafka,
    /// Files of kcat lines in the data directory.
    Files,
    /// Standard output, for people.
    Console,
    /// Standard output, kcat's lines.
    ConsoleJson,
}

/// The sinks of a pipeline; section `sinks` of the pipeline's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkSettings {
    /// Get table rows.
    pub tables: Vec<TableKind>,
    /// Get lake rows; `None` is the data directory.
    pub lake: Vec<Option<Location>>,
    /// Get topic lines.
    pub topics: Vec<TopicKind>,
    /// The database, if one gets rows. Its password is a secret of the environment.
    pub postgres: postgres::Config,
    /// What becomes of Delta tables whose columns are not ours; setting `schema` of the pipeline's.
    pub schema: SchemaMode,
    /// What the files of the lake are like.
    pub files: LakeFiles,
    /// The MongoDB database, if one gets rows. The connection string is a secret of the environment.
    pub mongo: MongoSettings,
}

/// Where in a MongoDB server rows go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MongoSettings {
    /// Database.
    pub database: String,
    /// The collection of the pipeline's first table; others have their table's name.
    pub collection: String,
}

impl MongoSettings {
    /// With the connection string, which only the environment says; localhost without one.
    pub fn config(&self, secrets: &Secrets) -> mongo::Config {
        let mut config = mongo::Config { database: self.database.clone(), ..mongo::Config::default() };
        if let Some(uri) = secrets.get("MONGO_URI") {
            config.uri = uri.to_owned().into();
        }
        config
    }
}

impl SinkSettings {
    /// The same for people, with what each sink promises.
    pub fn drawn(&self) -> Sinks {
        let at = |name: String, guarantee| Some(Place { name, guarantee });
        let console = || at("console".to_owned(), "at least once");
        let table = |kind: &TableKind| match kind {
            TableKind::Postgres => {
                let postgres::Config { host, port, database, .. } = &self.postgres;
                at(format!("PostgreSQL {host}:{port}/{database}"), EXACTLY_ONCE)
            }
            TableKind::Mongo => at(format!("MongoDB {}", self.mongo.database), EXACTLY_ONCE),
            TableKind::Sqlite => None,
            TableKind::Console | TableKind::ConsoleJson => console(),
        };
        let topic = |kind: &TopicKind| match kind {
            TopicKind::Kafka => at("Kafka".to_owned(), EXACTLY_ONCE),
            TopicKind::Files => None,
            TopicKind::Console | TopicKind::ConsoleJson => console(),
        };
        let lake = |place: &Option<Location>| at(place.as_ref()?.to_string(), EXACTLY_ONCE);
        Sinks {
            tables: self.tables.iter().map(table).collect(),
            lake: self.lake.iter().map(lake).collect(),
            topics: self.topics.iter().map(topic).collect(),
        }
    }

    /// What the documents of `pipeline` name.
    pub fn of(pipeline: &str) -> Self {
        let mut postgres = postgres::Config::default();
        let is_iot = pipeline.starts_with("iot");
        if is_iot {
            postgres.database = "iot_analytics".to_owned();
        }
        let mongo = MongoSettings {
            database: if is_iot { "iot_data".to_owned() } else { pipeline.to_owned() },
            collection: if is_iot { "real_time_aggregates".to_owned() } else { pipeline.to_owned() },
        };
        SinkSettings {
            tables: vec![if is_iot { TableKind::Mongo } else { TableKind::Postgres }],
            lake: vec![None],
            topics: vec![TopicKind::Kafka],
            schema: SchemaMode::default(),
            files: LakeFiles::default(),
            postgres,
            mongo,
        }
    }

    /// The sinks; `database` is the one of these settings, with its password.
    pub fn targets(&self, database: &postgres::Config, secrets: &Secrets, kafka: &KafkaTarget) -> Targets {
        let tables = self.tables.iter().map(|kind| match kind {
            TableKind::Postgres => TableTarget::Postgres(Box::new(database.clone())),
            TableKind::Mongo => TableTarget::Mongo(Box::new(MongoTarget {
                config: self.mongo.config(secrets),
                collection: self.mongo.collection.clone(),
            })),
            TableKind::Sqlite => TableTarget::Sqlite,
            TableKind::Console => TableTarget::Console(ConsoleFormat::Text),
            TableKind::ConsoleJson => TableTarget::Console(ConsoleFormat::JsonLines),
        });
        let lake = self.lake.iter().map(|place| match place {
            None => LakeTarget::Embedded,
            Some(place) => LakeTarget::At(place.clone()),
        });
        let topics = self.topics.iter().map(|kind| match kind {
            TopicKind::Kafka => TopicTarget::Kafka(Box::new(kafka.clone())),
            TopicKind::Files => TopicTarget::Files,
            TopicKind::Console => TopicTarget::Console(ConsoleFormat::Text),
            TopicKind::ConsoleJson => TopicTarget::Console(ConsoleFormat::JsonLines),
        });
        Targets {
            tables: tables.collect(),
            lake: lake.collect(),
            topics: topics.collect(),
            schema: self.schema,
            files: self.files,
            durability: Durability::Power,
            credentials: Credentials::default(),
            idle: true,
        }
    }
}

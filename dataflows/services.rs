//! What a live run reads from and writes to, as it is set.

use std::path::PathBuf;

use tidegate::sink::Durability;
use tidegate::sink::console::ConsoleFormat;
use tidegate::sink::postgres;
use tidegate::source::kafka::OutOfRange;

use crate::targets::{KafkaTarget, LakeTarget, TableTarget, Targets, TopicTarget};

/// Where the brokers are; section `kafka`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Brokers {
    /// `host:port`, with commas between; none where nothing is set.
    pub bootstrap_servers: Option<String>,
    /// A file of librdkafka's properties, `name=value` lines: how passwords and certificates are given.
    pub client_properties: Option<PathBuf>,
    /// What is done about records that retention has deleted before they were read.
    pub lost_records: OutOfRange,
}

/// A kind of sink for table rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableKind {
    /// PostgreSQL.
    Postgres,
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
}

/// The sinks of a pipeline; section `sinks` of the pipeline's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkSettings {
    /// Get table rows.
    pub tables: Vec<TableKind>,
    /// Get lake rows: `embedded` is the data directory, anything else a path.
    pub lake: Vec<String>,
    /// Get topic lines.
    pub topics: Vec<TopicKind>,
    /// The database, if one gets rows. Its password is a secret of the environment.
    pub postgres: postgres::Config,
}

impl SinkSettings {
    /// What the documents of `pipeline` name.
    pub fn of(pipeline: &str) -> Self {
        let mut postgres = postgres::Config::default();
        if pipeline == "iot" {
            postgres.database = "iot_analytics".to_owned();
        }
        SinkSettings {
            tables: vec![TableKind::Postgres],
            lake: vec!["embedded".to_owned()],
            topics: vec![TopicKind::Kafka],
            postgres,
        }
    }

    /// The sinks; `database` is the one of these settings, with its password.
    pub fn targets(&self, database: &postgres::Config, kafka: &KafkaTarget) -> Targets {
        let tables = self.tables.iter().map(|kind| match kind {
            TableKind::Postgres => TableTarget::Postgres(Box::new(database.clone())),
            TableKind::Sqlite => TableTarget::Sqlite,
            TableKind::Console => TableTarget::Console(ConsoleFormat::Text),
            TableKind::ConsoleJson => TableTarget::Console(ConsoleFormat::JsonLines),
        });
        let lake = self.lake.iter().map(|place| match &**place {
            "embedded" => LakeTarget::Embedded,
            path => LakeTarget::Dir(path.into()),
        });
        let topics = self.topics.iter().map(|kind| match kind {
            TopicKind::Kafka => TopicTarget::Kafka(Box::new(kafka.clone())),
            TopicKind::Files => TopicTarget::Files,
        });
        Targets {
            tables: tables.collect(),
            lake: lake.collect(),
            topics: topics.collect(),
            durability: Durability::Power,
            idle: true,
        }
    }
}

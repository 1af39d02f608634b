//! Audits of what a run has left: against the log, since a replay of the fixture gives what must be there, and of a whole
//! deployment as it stands.
//!
//! Columns of wall-clock time are left out of comparisons, since a live run and a replay may differ in them.

mod compare;
pub mod deployment;
mod lake;
mod tables;
mod topics;

use std::path::PathBuf;
use std::sync::Arc;

use tidegate::kafka::Properties;
use tidegate::sink::{SinkError, postgres};
use tidegate::storage::{Dir, Storage};

pub use self::compare::{Audit, Rows};
use self::tables::Tables;
use self::topics::Topics;
use crate::pipeline::{IOT_VALIDATE, Pipeline};
use crate::replay::{Options, ReplayError, Started, replay};
use crate::targets::MongoTarget;

/// What is audited.
#[derive(Clone, Debug)]
pub enum Target {
    /// `tables.sqlite` in this directory.
    Sqlite(PathBuf),
    /// A database.
    Postgres(Box<postgres::Config>),
    /// Collections of a database.
    Mongo(Box<MongoTarget>),
    /// The pipeline's lake: Parquet files, or Delta tables.
    Lake(Arc<dyn Storage>),
    /// Topics as files of kcat lines in this directory.
    Files(PathBuf),
    /// Topics of a Kafka cluster.
    Kafka(Box<Properties>),
}

/// Replays the fixture of `options` into a temporary directory and compares everything that the pipeline `name` has in
/// `targets` with what is there then.
///
/// # Errors
/// When the replay fails, or a target cannot be read.
pub fn verify(
    options: &Options,
    name: &str,
    targets: &[Target],
    started: Started<'_>,
) -> Result<Vec<Audit>, ReplayError> {
    let scratch = tempfile::tempdir().map_err(|error| SinkError::Failed {
        sink: "verify".to_owned(),
        cause: format!("cannot make a temporary directory: {error}"),
    })?;
    let options = Options { out: scratch.path().join("out"), ..options.clone() };
    replay(&options, &[name], started)?;
    let pipeline = options.pipelines.of_fixture(name, &options.fixture)?;
    let out = &options.out;
    let mut audits = Vec::new();
    for target in targets {
        match target {
            Target::Sqlite(dir) => audits.extend(tables::audit(out, &*pipeline, Tables::Sqlite(dir))?),
            Target::Postgres(config) => {
                audits.extend(tables::audit(out, &*pipeline, Tables::Postgres(config))?);
            }
            Target::Mongo(target) => audits.extend(tables::audit(out, &*pipeline, Tables::Mongo(target))?),
            Target::Lake(place) => {
                let dir = pipeline.lake().map_or_else(|| out.clone(), |dir| out.join(dir));
                let expected: Arc<dyn Storage> = Arc::new(Dir::new(&dir));
                audits.extend(lake::audit(&expected, &*pipeline, place)?);
            }
            Target::Files(dir) => {
                let topics = pipeline.topics();
                audits.extend(topics::audit(&out.join("topics"), &topics, Topics::Files(dir))?);
            }
            Target::Kafka(properties) => {
                let topics = live_topics(&options, name, &*pipeline);
                let there = Topics::Kafka(properties);
                audits.extend(topics::audit(&out.join("topics"), &topics, there)?);
            }
        }
    }
    Ok(audits)
}

/// The topics of `pipeline` that a live run writes as a replay does.
///
/// Of `iot` from its first stage on, the late records are left out: live they are those of the topic between the stages,
/// with its offsets. A fixture of that topic gives them.
fn live_topics(options: &Options, name: &str, pipeline: &dyn Pipeline) -> Vec<Arc<str>> {
    let mut topics = pipeline.topics();
    let first = options.pipelines.live(IOT_VALIDATE);
    if name == "iot" && pipeline.inputs() == first.inputs() {
        let late: Vec<String> = pipeline.inputs().iter().map(|input| format!("{input}.late")).collect();
        topics.retain(|topic| !late.iter().any(|late| **late == **topic));
    }
    topics
}

//! `tidegate verify`: audits what a run has left against the log, and a whole deployment as it stands.

mod deployment;

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{ArgGroup, Args};
use tidegate::ingest::Interleave;
use tidegate::runtime::{Pace, Run, exit_on_panic};
use tidegate::storage::{self, Location};
use tidegate_dataflows::pipeline::{IOT_VALIDATE, LIVE, Pipeline};
use tidegate_dataflows::replay::{BATCH, Options};
use tidegate_dataflows::settings::Settings;
use tidegate_dataflows::targets::MongoTarget;
use tidegate_dataflows::verify::{Audit, Rows, Target, verify};

use super::args::{Global, KafkaClient, checkpoint_place, duration};
use super::failure::Failure;
use super::http::Access;
use super::signals::Signals;
use super::ui::Ui;
use super::{kafka, places, replay, settings};

#[derive(Args, Debug)]
#[command(override_usage = "\
tidegate verify [OPTIONS] <PIPELINE>
       <--out <DIR>|--postgres|--mongo|--lake[=<URL>]|--topics|--deployment>")]
#[command(group = ArgGroup::new("target").required(true).multiple(true), after_help = "\
Examples:
  tidegate verify activity --fixture recorded --postgres --lake --topics
                                               all that a live run has written, row by row
  tidegate verify transit --fixture recorded --lake=s3://bucket/delta-lake
  tidegate verify activity --fixture recorded --out live
                                               tables, lake and topics of a run with --out live
  tidegate verify activity --deployment        without the log: topics, checkpoint and sinks as they stand")]
pub(crate) struct VerifyArgs {
    /// The pipeline.
    #[arg(value_name = "PIPELINE", value_parser = PossibleValuesParser::new(LIVE))]
    pub(crate) pipeline: String,
    /// The fixture; fixtures/ by default.
    #[arg(long, value_name = "DIR")]
    pub(crate) fixture: Option<PathBuf>,
    /// Audit what lies in this directory: tables.sqlite, the lake or the Delta tables, and topics.
    #[arg(long, value_name = "DIR", group = "target")]
    pub(crate) out: Option<PathBuf>,
    /// Audit the PostgreSQL database that the settings name for the pipeline.
    #[arg(long, group = "target")]
    pub(crate) postgres: bool,
    /// Audit the MongoDB collections that the settings name for the pipeline.
    #[arg(long, group = "target")]
    pub(crate) mongo: bool,
    /// Audit the lake or the Delta tables in this place (a directory, hdfs://HOST:PORT/PATH or s3://BUCKET/PREFIX), or in those that
    /// the settings name; in place of the lake in --out.
    #[arg(long, value_name = "URL", group = "target", num_args = 0..=1, require_equals = true)]
    #[arg(value_parser = Location::parse)]
    pub(crate) lake: Option<Option<Location>>,
    /// Audit the topics that the pipeline writes in Kafka, partition by partition and in their order.
    #[arg(long, group = "target")]
    pub(crate) topics: bool,
    /// The idle decisions of the live run that wrote them (its topics/<topic>.idle.jsonl); one file an input topic.
    #[arg(long, value_name = "FILE")]
    pub(crate) idle: Vec<PathBuf>,

    /// Look at a deployment as it stands, without the log: the input topics, the checkpoint, and the sinks that the settings
    /// name, or the embedded ones of a run with --out. Its run may be under way.
    #[arg(long, group = "target", conflicts_with_all = ["fixture", "postgres", "mongo", "topics", "idle"])]
    pub(crate) deployment: bool,
    /// Where the run's checkpoints lie; CHECKPOINT_LOCATION or else OUT.checkpoint by default.
    #[arg(long, value_name = "DIR", value_parser = checkpoint_place, requires = "deployment")]
    pub(crate) checkpoint: Option<Location>,
    /// How old the newest epoch of a deployment may be.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub(crate) fresh: Duration,
    /// How many offsets a partition of a deployment may be behind; any number by default.
    #[arg(long, value_name = "N", requires = "deployment")]
    pub(crate) max_lag: Option<u64>,
    /// Read the lake of a deployment too: each accepted record is in it once.
    #[arg(long, requires = "deployment")]
    pub(crate) deep: bool,
    /// The page of a deployment's run, which is asked whether it is well: http://HOST:PORT or https://HOST:PORT.
    #[arg(long, value_name = "URL", requires = "deployment")]
    pub(crate) web: Option<String>,
    #[command(flatten)]
    pub(crate) access: Access,

    /// The Kafka brokers; KAFKA_BOOTSTRAP_SERVERS by default.
    #[arg(long, value_name = "HOST:PORT,…")]
    pub(crate) bootstrap_servers: Option<String>,
    #[command(flatten)]
    pub(crate) client: KafkaClient,
    /// One array of objects, a table, a lake or a topic each; of a deployment one object with its checks.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Audits, and says what differs.
pub(crate) fn run(ui: &Ui, global: &Global, args: &VerifyArgs) -> Result<(), Failure> {
    if global.processes > 1 {
        return Err(
            Failure::usage("verify runs in one process").mend("leave -n out; -w gives it more workers")
        );
    }
    if args.web.is_none() && args.access.is_given() {
        return Err(Failure::usage("a token, a password and a CA file are for the page of --web")
            .mend("name the page with --web URL, or leave them out"));
    }
    let settings = settings(global)?;
    if args.deployment {
        return deployment::run(ui, args, &settings);
    }
    if args.pipeline == IOT_VALIDATE {
        return Err(Failure::usage("a fixture goes through both stages of iot")
            .mend("name iot; what iot-validate writes are the topics of it"));
    }
    let targets = targets(args, &settings)?;
    let options = Options {
        fixture: places::fixture(args.fixture.as_deref())?,
        out: PathBuf::new(),
        cluster: global.cluster(),
        pace: Pace::Max,
        batch: BATCH,
        interleave: Interleave::Aligned,
        idle: replay::idle_decisions(&args.idle)?,
        pipelines: settings.pipelines,
    };
    let signals = Signals::listen(ui, 1)?;
    exit_on_panic();
    let started = |_: &dyn Pipeline, run: &Arc<Run>, _: u64| signals.stops(run);
    let audits = verify(&options, &args.pipeline, &targets, &started).map_err(replay::failure)?;
    if args.json {
        let text = serde_json::to_string(&audits).map_err(Failure::running)?;
        ui.result(format!("{text}\n"))?;
    } else {
        ui.result(report(&audits))?;
    }
    if audits.iter().all(Audit::agrees) {
        return Ok(());
    }
    Err(Failure::running("what is there is not what the log gives")
        .mend("compare the settings and the fixture with those of the run; the rows above say where"))
}

/// What is to be audited.
fn targets(args: &VerifyArgs, settings: &Settings) -> Result<Vec<Target>, Failure> {
    let name = args.pipeline.as_str();
    let dir = settings.pipelines.called(name).lake();
    let mut targets = Vec::new();
    if let Some(out) = &args.out {
        targets.push(Target::Sqlite(out.clone()));
        if let Some(dir) = dir.filter(|_| args.lake.is_none()) {
            targets.push(lake(&Location::Dir(out.join(dir)), settings)?);
        }
        targets.push(Target::Files(out.join("topics")));
    }
    if args.postgres {
        targets.push(Target::Postgres(Box::new(settings.database_of(name))));
    }
    if args.mongo {
        let mongo = settings.sinks_of(name).mongo;
        let config = mongo.config(&settings.secrets);
        targets.push(Target::Mongo(Box::new(MongoTarget { config, collection: mongo.collection })));
    }
    if let Some(place) = &args.lake {
        let Some(dir) = dir else {
            return Err(Failure::usage(format!("{name} has no lake")).mend("leave --lake out"));
        };
        let places = match place {
            Some(place) => vec![place.clone()],
            None => {
                let set = settings.sinks_of(name).lake.into_iter();
                set.map(|place| place.unwrap_or_else(|| Location::Dir(settings.data.join(dir)))).collect()
            }
        };
        if places.is_empty() {
            return Err(Failure::usage(format!("the settings name no lake for {name}"))
                .mend(format!("name one with --lake=URL, or in {name}.sinks.lake")));
        }
        for place in places {
            targets.push(lake(&place, settings)?);
        }
    }
    if args.topics {
        let properties = kafka::brokers(args.bootstrap_servers.as_deref(), &args.client, settings)?;
        targets.push(Target::Kafka(Box::new(properties)));
    }
    Ok(targets)
}

fn lake(place: &Location, settings: &Settings) -> Result<Target, Failure> {
    let place = storage::open(place, &settings.credentials());
    place.map(Target::Lake).map_err(Failure::running)
}

fn report(audits: &[Audit]) -> String {
    let mut text = String::new();
    for audit in audits {
        let verdict = if audit.agrees() { "agrees" } else { "DIFFERS" };
        let Audit { target, name, expected, .. } = audit;
        // Writing to a string cannot fail.
        writeln!(text, "{name} ({target}): {verdict}, {expected} rows expected").unwrap_or_default();
        for (kind, Rows { count, first }) in audit.kinds().into_iter().filter(|(_, rows)| rows.count > 0) {
            writeln!(text, "  {count} {kind}, the first:").unwrap_or_default();
            first.iter().for_each(|row| writeln!(text, "    {row}").unwrap_or_default());
        }
    }
    text
}

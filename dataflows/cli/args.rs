//! The command line: what may be said, and what `--help` tells of it.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{ArgAction, ArgGroup, Args, Parser, Subcommand, ValueEnum};
use tidegate::record::Partition;
use tidegate::runtime::{Cluster, Pace};
use tidegate::source::kafka::Start;
use tidegate::storage::Location;
use tidegate_dataflows::pipeline::LIVE;
use tidegate_dataflows::record::Until;
use tidegate_dataflows::replay::{BATCH, PIPELINES};

use super::delta::DeltaCommand;
use super::doctor::DoctorArgs;
use super::health::HealthArgs;
use super::init::InitArgs;
use super::set_aside::SetAsideCommand;
use super::tap::TapArgs;
use super::top::TopArgs;
use super::verify::VerifyArgs;

const EXAMPLES: &str = "\
Examples:
  tidegate -w 8                                replay fixtures/ with 8 workers; results in out/
  tidegate replay activity --fixture DIR --out OUT -w 2
  tidegate run activity --fixture fixtures/activity --out live
                                               with checkpoints: killed and started again, it goes on
  tidegate cluster 2 run activity --fixture fixtures/activity --out live
                                               the same by two processes, started again when one dies
  tidegate record --topic user_activity --out recorded
                                               what Kafka holds now, as a fixture to replay
  tidegate generate activity --fixture demo --events 1000000
  tidegate prove activity --fixture demo --quick
  tidegate validate --config my.yaml           every fault of a configuration at once
  tidegate graph activity --format mermaid

Look at what came out:
  sqlite3 out/tables.sqlite 'SELECT * FROM page_view_counts LIMIT 5'

Exit codes: 0 done, 1 failed while running, 2 wrong usage or configuration.
Results go to standard output, progress and messages to standard error.";

/// Event-time stream pipelines: same log, same answer.
///
/// Without a command, tidegate replays the recorded fixtures in fixtures/ through every pipeline, shows how
/// far it is, writes tables, a data lake and topics to out/, and ends with a summary.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, after_help = EXAMPLES, disable_help_flag = true, disable_version_flag = true)]
#[command(max_term_width = 110, color = super::ui::color_of_usage())]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// Flags of every command.
#[derive(Args, Debug)]
pub(crate) struct Global {
    /// Worker threads in each process.
    #[arg(short, long, global = true, value_name = "N", default_value_t = 1, value_parser = at_least_1)]
    #[arg(help_heading = "Workers (timely's flags)")]
    pub(crate) workers: usize,
    /// Processes of the run; start each with its own -p.
    #[arg(short = 'n', long, global = true, value_name = "N", default_value_t = 1, value_parser = at_least_1)]
    #[arg(help_heading = "Workers (timely's flags)")]
    pub(crate) processes: usize,
    /// The number of this process, from 0; process 0 writes the results.
    #[arg(short, long, global = true, value_name = "N", default_value_t = 0)]
    #[arg(help_heading = "Workers (timely's flags)")]
    pub(crate) process: usize,
    /// One host:port a line, one line a process; without it localhost, ports from 2101.
    #[arg(short = 'h', long, global = true, value_name = "FILE")]
    #[arg(help_heading = "Workers (timely's flags)")]
    pub(crate) hostfile: Option<PathBuf>,

    /// Settings in YAML, over those of config/dev.yaml if it is there.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How messages are written; which, TIDEGATE_LOG says (error, warn, info, debug).
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// Print help.
    #[arg(long, global = true, action = ArgAction::HelpLong)]
    help: Option<bool>,
    /// Print the version.
    #[arg(long, short = 'V', action = ArgAction::Version)]
    version: Option<bool>,
}

impl Global {
    /// The workers, as timely takes them.
    pub(crate) fn cluster(&self) -> Cluster {
        Cluster {
            threads: self.workers,
            processes: self.processes,
            process: self.process,
            hosts: self.hostfile.clone(),
        }
    }
}

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Replay a recorded fixture through pipelines into embedded sinks.
    ///
    /// A replay starts afresh: it replaces what an earlier replay left in the output directory, and refuses a
    /// directory that holds anything else. Nothing of it is visible before it has reached the end.
    Replay(ReplayArgs),
    /// Run a pipeline with checkpoints, until it is stopped or its input ends.
    ///
    /// Killed at any instant and started again, also with other workers and processes, it goes on where it was: nothing is
    /// lost and nothing is repeated. SIGINT and SIGTERM end the epoch under way, leave open windows in the checkpoint,
    /// and exit with 0.
    Run(RunArgs),
    /// Start the processes of one run on this machine and watch them.
    ///
    /// When one dies, all are ended and started again from the last checkpoint.
    Cluster(ClusterArgs),
    /// Look at checkpoints.
    #[command(subcommand)]
    Checkpoint(CheckpointCommand),
    /// Record Kafka topics as a fixture of kcat lines, which a replay reads.
    ///
    /// Only committed records are recorded. The files appear when everything has been read.
    Record(RecordArgs),
    /// Make synthetic input, the same for the same seed.
    Generate(GenerateArgs),
    /// Make records of a feed: poll it, and write each of its entities to Kafka.
    #[command(subcommand)]
    Produce(ProduceCommand),
    /// Run a fixture with other workers, processes, interleavings and batch sizes, and compare the results.
    ///
    /// Prints one digest when all runs agree, or else the first difference, and exits with 1.
    Prove(ProveArgs),
    /// Check the settings of all layers: every fault at once, with its place, cause and mend.
    Validate(ValidateArgs),
    /// Audit what a run has written against the log, or look at a whole deployment; exits with 1 when something is wrong.
    ///
    /// Against the log: the fixture is replayed aside, and tables, lakes and topics are compared with it row by row; what is missing,
    /// repeated, altered or unexpected is named. With --deployment nothing is replayed: it looks whether the topics are there and
    /// nothing of them was lost, whether the checkpoint is whole and fresh, and whether each sink holds what it decides.
    Verify(VerifyArgs),
    /// Dead letters: records that could not be used, listed, shown, and put before a pipeline again.
    #[command(subcommand)]
    Dlq(SetAsideCommand),
    /// Late records: listed, shown, and put before a pipeline again.
    #[command(subcommand)]
    Late(SetAsideCommand),
    /// Look after Delta tables: their history, and files that nobody needs any more.
    #[command(subcommand)]
    Delta(DeltaCommand),
    /// Show records of a topic or a fixture, or rows of a table or a lake.
    Tap(TapArgs),
    /// Look at this machine, the settings and the services, and say what will be in a run's way.
    Doctor(DoctorArgs),
    /// Ask a run's page whether it is well; exits with 1 when it is not.
    Health(HealthArgs),
    /// Watch a run that is under way, in a terminal; q ends it.
    Top(TopArgs),
    /// Write a starting configuration, with its schema for editors, or a starting pipeline.
    Init(InitArgs),
    /// Print the JSON Schema of the configuration, for editors.
    Schema,
    /// Bring the aggregates of `iot` from MongoDB to PostgreSQL, once or again and again.
    ///
    /// Only what has changed since the last time; run again, it changes nothing. The places are those of
    /// iot.sinks, so MONGO_URI, MONGO_DATABASE, MONGO_COLLECTION, POSTGRES_HOST, POSTGRES_PORT, POSTGRES_DB,
    /// POSTGRES_USER and POSTGRES_PASSWORD.
    Sync(SyncArgs),
    /// Make the training set of the hydraulic pipeline: a row a cycle, joined with its label.
    Dataset(DatasetArgs),
    /// Merge the small files of a lake.
    ///
    /// Readers that go by the lake's manifest (`_tidegate/`), as all tidegate commands do, see each row once at any time; readers
    /// that list files may see rows twice for the moment of the swap, and never miss any. A run may write meanwhile.
    Compact(CompactArgs),
    /// Look back at the cycles of a hydraulic rig: tables and pictures, and how good its rules are.
    #[command(subcommand)]
    Cycles(CyclesCommand),
    /// Draw a pipeline, with the settings that are in effect, without starting anything.
    Graph(GraphArgs),
    /// Print a script that completes this command line in a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write all pages into a directory.
    #[command(hide = true)]
    Man {
        /// A page a command, tidegate-replay.1 and so on, in this directory.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidegate replay activity --fixture fixtures/activity --out out -w 4
  tidegate replay --speed 60x                  a minute of recorded time a second")]
pub(crate) struct ReplayArgs {
    /// The pipelines; all by default.
    #[arg(value_name = "PIPELINE", value_parser = PossibleValuesParser::new(PIPELINES))]
    pub(crate) pipelines: Vec<String>,
    /// The fixture: kcat lines and Kafka log segments, read recursively; fixtures/ by default.
    #[arg(long, value_name = "DIR")]
    pub(crate) fixture: Option<PathBuf>,
    /// Where the results go.
    #[arg(long, value_name = "DIR", default_value = "out")]
    pub(crate) out: PathBuf,
    /// How fast, by the recorded Kafka timestamps: 1x, 10x, max.
    #[arg(long, value_name = "SPEED", default_value = "max", value_parser = pace)]
    pub(crate) speed: Pace,
    /// The idle decisions of a live run (its topics/<topic>.idle.jsonl), to repeat it bit for bit; one file an input topic.
    #[arg(long, value_name = "FILE")]
    pub(crate) idle: Vec<PathBuf>,
    /// Serve the page, the metrics and the API at this ADDRESS:PORT, or off.
    #[arg(long, value_name = "ADDRESS", default_value = "off")]
    pub(crate) web: String,
    /// Records per activation, at most. Results do not depend on it.
    #[arg(long, value_name = "N", default_value_t = BATCH, value_parser = at_least_1, hide = true)]
    pub(crate) batch: usize,
    /// Read in an order drawn from this seed. Results do not depend on it.
    #[arg(long, value_name = "SEED", hide = true)]
    pub(crate) shuffle: Option<u64>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidegate run activity --fixture fixtures/activity --out live --checkpoint live-checkpoint -w 2
  tidegate checkpoint list --checkpoint live-checkpoint")]
pub(crate) struct RunArgs {
    /// The pipelines.
    #[arg(value_name = "PIPELINE", required = true, value_parser = PossibleValuesParser::new(LIVE))]
    pub(crate) pipelines: Vec<String>,
    /// A fixture in place of Kafka.
    #[arg(long, value_name = "DIR")]
    pub(crate) fixture: Option<PathBuf>,
    /// The Kafka brokers to read from; KAFKA_BOOTSTRAP_SERVERS by default.
    #[arg(long, value_name = "HOST:PORT,…", conflicts_with = "fixture")]
    pub(crate) bootstrap_servers: Option<String>,
    #[command(flatten)]
    pub(crate) client: KafkaClient,
    /// Where a first start begins: earliest, latest, a time by the records' Kafka timestamps (2026-01-01T00:00:00Z, or
    /// milliseconds), or offsets (topic-0:12,topic-1:7; partitions that are not named begin at the earliest record).
    #[arg(long, value_name = "WHERE", default_value = "earliest", value_parser = start, conflicts_with = "fixture")]
    pub(crate) start: Start,
    /// The idle decisions of a live run (its topics/<topic>.idle.jsonl), to repeat it from a fixture; one file an input topic.
    #[arg(long, value_name = "FILE", requires = "fixture")]
    pub(crate) idle: Vec<PathBuf>,
    /// Take the end of the topic, as it stands now, for the end of the input, as a back-fill does.
    #[arg(long)]
    pub(crate) until_end: bool,
    /// Embedded sinks in this directory in place of the configured ones.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Where the lake goes in place of OUT/lake: a directory, hdfs://HOST:PORT/PATH or s3://BUCKET/PREFIX.
    #[arg(long, value_name = "URL", value_parser = Location::parse)]
    pub(crate) lake: Option<Location>,
    /// Where checkpoints lie, a directory or s3://BUCKET/PREFIX; CHECKPOINT_LOCATION or else OUT.checkpoint by default.
    #[arg(long, value_name = "DIR", value_parser = checkpoint_place)]
    pub(crate) checkpoint: Option<Location>,
    /// How long an epoch lasts: how often output becomes visible, and how much is read again after a crash.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    pub(crate) epoch: Duration,
    /// Where the page, the metrics and the API are served: ADDRESS:PORT, or off; web.address of the settings by default,
    /// 127.0.0.1:4040. Process p of several is on the port plus p; a port that is taken is the next free one.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) web: Option<String>,
    /// How many checkpoints stay.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = at_least_1)]
    pub(crate) keep: usize,
    /// How fast a fixture is read, by the recorded Kafka timestamps: 1x, 10x, max.
    #[arg(long, value_name = "SPEED", default_value = "max", value_parser = pace)]
    pub(crate) speed: Pace,
    /// Records per activation, at most. Results do not depend on it.
    #[arg(long, value_name = "N", default_value_t = BATCH, value_parser = at_least_1, hide = true)]
    pub(crate) batch: usize,
    /// Read in an order drawn from this seed. Results do not depend on it.
    #[arg(long, value_name = "SEED", hide = true)]
    pub(crate) shuffle: Option<u64>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidegate cluster 2 run activity --fixture fixtures/activity --out live -w 2
  tidegate cluster 2 -n 4 -p 0 -h hosts run activity     the first two of four, on this machine
  tidegate cluster 2 -n 4 -p 2 -h hosts run activity     the others, on the next one; hosts has a line HOST:PORT a process")]
pub(crate) struct ClusterArgs {
    /// How many processes are started here: all, or those from -p on of -n, where others run on other machines.
    #[arg(value_name = "N", value_parser = at_least_1)]
    pub(crate) count: usize,
    /// How often they may be started again within a minute before the cluster gives up.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) restarts: u32,
    /// How long a process may show no sign of life before it counts as dead.
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = duration)]
    pub(crate) silence: Duration,
    /// The command of each process, without -n and -p.
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

/// What can be looked at.
#[derive(Debug, Subcommand)]
pub(crate) enum CheckpointCommand {
    /// All checkpoints, newest first.
    List(CheckpointArgs),
    /// What the newest whole one holds, or that of one epoch.
    Show(CheckpointArgs),
    /// Read every file, and say which are damaged; exits with 1 when one is.
    Verify(CheckpointArgs),
}

#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  tidegate dataset --lake out/lake/hydraulic --labels profile.txt --out dataset
  tidegate dataset --lake hdfs://localhost:9000/hydraulic_data/streaming --labels profile.txt --every 10s
  tidegate dataset --fixture fixtures/hydraulic --labels profile.txt")]
pub(crate) struct DatasetArgs {
    /// The lake: a directory, hdfs://HOST:PORT/PATH or s3://BUCKET/PREFIX [default: out/lake/hydraulic].
    #[arg(long, value_name = "URL", value_parser = Location::parse, conflicts_with = "fixture")]
    pub(crate) lake: Option<Location>,
    /// A recorded stream in place of a lake; it goes through the pipeline first.
    #[arg(long, value_name = "DIR", conflicts_with = "every")]
    pub(crate) fixture: Option<PathBuf>,
    /// The labels, profile.txt: line k, from 0, is cycle k; cooler, valve, pump leakage, accumulator, stable flag.
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Option<PathBuf>,
    /// Where training_set.parquet and training_set.csv go.
    #[arg(long, value_name = "DIR", default_value = "dataset")]
    pub(crate) out: PathBuf,
    /// In which forms.
    #[arg(long, value_name = "FORM,…", value_delimiter = ',', default_values = ["parquet", "csv"])]
    pub(crate) form: Vec<FormOfSet>,
    /// How many seconds a whole cycle has; one with fewer is marked.
    #[arg(long, value_name = "N", default_value_t = 60)]
    pub(crate) seconds: u32,
    /// Look again this often at the lake and the labels, until a signal comes; just the rows that changed are computed.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) every: Option<Duration>,
}

/// The forms of the training set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormOfSet {
    Parquet,
    Csv,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidegate compact --lake out/lake/activity
  tidegate compact --lake hdfs://localhost:9000/hydraulic_data/streaming --by day")]
pub(crate) struct CompactArgs {
    /// The lake: a directory, hdfs://HOST:PORT/PATH or s3://BUCKET/PREFIX.
    #[arg(long, value_name = "URL", value_parser = Location::parse)]
    pub(crate) lake: Location,
    /// Merge the directories below each one of this level, whose deeper levels then become columns [default: hour
    /// where directories are finer than that, else each directory by itself].
    #[arg(long, value_name = "LEVEL")]
    pub(crate) by: Option<String>,
    /// How large files become, in MiB; one with half of it stays as it is.
    #[arg(long, value_name = "MIB", default_value_t = 128)]
    pub(crate) target_mib: u64,
    /// How many rows a row group has, at most.
    #[arg(long, value_name = "N", default_value_t = 256 << 10, value_parser = at_least_1)]
    pub(crate) group_rows: usize,
    /// Take over from a compaction that is known to be dead.
    #[arg(long)]
    pub(crate) force: bool,
    /// JSON in place of text.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How cycles can be looked at.
#[derive(Debug, Subcommand)]
pub(crate) enum CyclesCommand {
    /// Two cycles side by side: the features that differ most, by the distance of their means in deviations.
    Compare {
        /// A cycle.
        a: i64,
        /// Another.
        b: i64,
        /// Just these features, as PS1_avg or pressure_mean.
        #[arg(long, value_name = "FEATURE,…", value_delimiter = ',')]
        feature: Vec<String>,
        /// How many features.
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = at_least_1)]
        most: usize,
        #[command(flatten)]
        look: Look,
    },
    /// A feature over all cycles: mean, extremes and deviation in each.
    Trend {
        /// The feature, as PS1_avg or pressure_mean.
        feature: String,
        #[command(flatten)]
        look: Look,
    },
    /// Precision and recall of the rules: the anomalies of a run against the faults that a generator has marked.
    ///
    /// Precision is the share of a rule's anomalies that lie in a fault of a sensor that the rule looks at; recall is the share
    /// of the faults marked as a rule's own that it has found.
    Score(ScoreArgs),
}

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("anomalies").required(true), after_help = "\
Examples:
  tidegate cycles score --marks fixtures/hydraulic/faults.json --out out
  tidegate cycles score --marks faults.json --postgres          after generate hydraulic --bootstrap-servers … --marks faults.json")]
pub(crate) struct ScoreArgs {
    /// The faults: faults.json of a generated fixture, or what --marks of the generator has named.
    #[arg(long, value_name = "FILE")]
    pub(crate) marks: PathBuf,
    /// The output directory of the run, with tables.sqlite.
    #[arg(long, value_name = "DIR", group = "anomalies")]
    pub(crate) out: Option<PathBuf>,
    /// The PostgreSQL database that the settings name for hydraulic.
    #[arg(long, group = "anomalies")]
    pub(crate) postgres: bool,
    /// JSON in place of text.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Look {
    /// The lake: a directory, hdfs://HOST:PORT/PATH or s3://BUCKET/PREFIX.
    #[arg(long, value_name = "URL", value_parser = Location::parse, default_value = "out/lake/hydraulic")]
    pub(crate) lake: Location,
    /// The picture's file [default: cycles-A-B.svg, trend-FEATURE.svg].
    #[arg(long, value_name = "FILE")]
    pub(crate) picture: Option<PathBuf>,
    /// One object in place of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct CheckpointArgs {
    /// Where checkpoints lie: a directory or s3://BUCKET/PREFIX.
    #[arg(long, value_name = "DIR", value_parser = checkpoint_place)]
    pub(crate) checkpoint: Location,
    /// The pipeline.
    #[arg(long, value_name = "PIPELINE", default_value = PIPELINES[0], value_parser = PossibleValuesParser::new(LIVE))]
    pub(crate) pipeline: String,
    /// The epoch, for show; the newest by default.
    #[arg(long, value_name = "N")]
    pub(crate) epoch: Option<u64>,
    /// JSON in place of text.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Default for ReplayArgs {
    fn default() -> Self {
        ReplayArgs {
            pipelines: Vec::new(),
            fixture: None,
            out: PathBuf::from("out"),
            speed: Pace::Max,
            idle: Vec::new(),
            web: "off".to_owned(),
            batch: BATCH,
            shuffle: None,
        }
    }
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidegate generate iot --fixture demo                           100,000 readings of one hour
  tidegate generate iot --bootstrap-servers localhost:9092 --rate 100 --late-every 50
  tidegate generate iot --bootstrap-servers localhost:9092 --events 10000 --fault-every 20 --marks faults.json")]
pub(crate) struct GenerateIot {
    #[command(flatten)]
    pub(crate) to: Destination,
    /// The topic; by default that of the settings. It is made where it is not there.
    #[arg(long, value_name = "TOPIC")]
    pub(crate) topic: Option<String>,
    /// How many readings.
    #[arg(long, visible_alias = "records", value_name = "N", default_value_t = 100_000)]
    pub(crate) events: u64,
    /// How many partitions [default: 4, or those of the topic].
    #[arg(long, value_name = "N")]
    pub(crate) partitions: Option<u32>,
    /// How many sensors.
    #[arg(long, value_name = "N", default_value_t = 60)]
    pub(crate) sensors: u32,
    #[command(flatten)]
    pub(crate) arrive: Span,
    /// One reading in so many is late, on average; 0: none.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) late_every: u32,
    /// One reading in so many is faulty, on average; 0: none.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) fault_every: u32,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidegate sync
  tidegate sync --every 5m")]
pub(crate) struct SyncArgs {
    /// Again and again, this long after each beginning, until a signal comes.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) every: Option<Duration>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProduceCommand {
    /// A GTFS-Realtime feed, Protobuf or its JSON form.
    ///
    /// Each entity of a new snapshot becomes a record: a FeedMessage with the snapshot's header and this entity, keyed by the entity's
    /// id. What has not changed (ETag, Last-Modified, or the same bytes) is not written again while the process lives. A feed that
    /// is away is asked again, with growing waits.
    Gtfs(ProduceGtfs),
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidegate produce gtfs --url https://example.com/vehicles.pb --every 15s
  tidegate produce gtfs --url https://example.com/vehicles.pb --header 'x-api-key: env:FEED_KEY'
  tidegate produce gtfs --url http://localhost:8000/feed.pb --once --topic dev_topic")]
pub(crate) struct ProduceGtfs {
    /// The feed's address.
    #[arg(long, value_name = "URL")]
    pub(crate) url: String,
    /// How often it is asked.
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration)]
    pub(crate) every: Duration,
    /// Until one snapshot has been written, and no longer.
    #[arg(long)]
    pub(crate) once: bool,
    /// How long an answer may take.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// A header, 'name: value'; 'name: env:VARIABLE' takes the value from the environment. May be given several times.
    #[arg(long, value_name = "HEADER")]
    pub(crate) header: Vec<String>,
    /// The topic; by default that of the settings. It is made where it is not there.
    #[arg(long, value_name = "TOPIC")]
    pub(crate) topic: Option<String>,
    /// How many partitions [default: 1, or those of the topic].
    #[arg(long, value_name = "N")]
    pub(crate) partitions: Option<u32>,
    /// Kafka brokers; KAFKA_BOOTSTRAP_SERVERS by default.
    #[arg(long, value_name = "HOST:PORT,…")]
    pub(crate) bootstrap_servers: Option<String>,
    #[command(flatten)]
    pub(crate) client: KafkaClient,
}

#[derive(Args, Debug)]
pub(crate) struct GenerateArgs {
    #[command(subcommand)]
    pub(crate) what: Generate,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Generate {
    /// A clickstream: page views, clicks and sessions of many users.
    ///
    /// About 130 bytes an event. Events come up to 30 s out of order, stragglers 3 to 10 minutes; pages are
    /// popular by the cube of a uniform number; a user's events all lie in one partition. Faults, where they are asked for, are
    /// members missing, kinds that there are not, times that cannot be read, broken JSON and wrong clocks.
    Activity(GenerateActivity),
    /// A hydraulic rig: the readings of its sensors in cycles of a minute, with faults.
    ///
    /// 43,680 readings a cycle, about 85 bytes each. Some come up to 2 s out of order, late ones 12 to 30 s. Faults of six kinds
    /// follow each other, each for the rule that is to find it; `tidegate cycles score` says how many were found.
    Hydraulic(GenerateHydraulic),
    /// A transit feed: vehicles on routes, their trips and alerts, as Protobuf and as JSON.
    ///
    /// Positions come up to 20 s after they were measured, late ones 8 to 15 minutes. Faults are entities with a wrong clock (now
    /// and then also where none are asked for), without an id or with a time that there is not, and records cut short.
    #[command(after_help = "\
Examples:
  tidegate generate transit --fixture feed --form kcat-zst          160 polls of 40 vehicles
  tidegate generate transit --bootstrap-servers localhost:9092 --events 1000 --rate 50 --fault-every 30")]
    Transit(GenerateTransit),
    /// Readings of sensors in a few cities, with faults.
    ///
    /// About 210 bytes a reading. Readings come up to 20 s out of order, late ones 2 to 8 minutes. Faults are values out
    /// of range, repeats, members missing or of the wrong type, broken JSON and wrong clocks.
    Iot(GenerateIot),
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidegate generate activity --fixture demo                      5 million events of one hour
  tidegate generate activity --fixture demo --form segments --codec lz4 --events 100000
  tidegate generate activity --fixture demo --events 3600 --interval 1s --fault-every 100
  tidegate generate activity --bootstrap-servers localhost:9092 --rate 5000 --late-every 50")]
pub(crate) struct GenerateActivity {
    #[command(flatten)]
    pub(crate) to: Destination,
    /// The topic; by default that of the settings. It is made where it is not there.
    #[arg(long, value_name = "TOPIC")]
    pub(crate) topic: Option<String>,
    /// How many events.
    #[arg(long, visible_alias = "records", value_name = "N", default_value_t = 5_000_000)]
    pub(crate) events: u64,
    /// How many partitions [default: 8, or those of the topic].
    #[arg(long, value_name = "N")]
    pub(crate) partitions: Option<u32>,
    /// How many different pages.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub(crate) pages: u32,
    /// How many different users.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub(crate) users: u32,
    #[command(flatten)]
    pub(crate) arrive: Span,
    /// One event in so many is a straggler, on average; 0: none.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) late_every: u32,
    /// One event in so many cannot be used, on average; 0: none.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) fault_every: u32,
}

/// Settings of a transit feed.
#[derive(Debug, Args)]
pub(crate) struct GenerateTransit {
    #[command(flatten)]
    pub(crate) to: Destination,
    /// The topic; by default that of the settings. It is made where it is not there.
    #[arg(long, value_name = "TOPIC")]
    pub(crate) topic: Option<String>,
    /// How many polls of the feed.
    #[arg(long, value_name = "N", default_value_t = 160)]
    pub(crate) polls: u32,
    /// How many records, in place of polls.
    #[arg(long, visible_alias = "records", value_name = "N", conflicts_with = "polls")]
    pub(crate) events: Option<u64>,
    /// The time from one poll to the next; a number alone is seconds.
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration_or_seconds)]
    pub(crate) interval: Duration,
    /// How many partitions; every second one takes whole feeds, the others an entity a record [default: 2, or those of the topic].
    #[arg(long, value_name = "N")]
    pub(crate) partitions: Option<u32>,
    /// How many vehicles.
    #[arg(long, value_name = "N", default_value_t = 40)]
    pub(crate) vehicles: u32,
    /// How many routes.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub(crate) routes: u32,
    /// When the first poll is [default: 2026-01-01T00:00:00Z; to Kafka: now, or so that the last one is now when no clock is
    /// kept].
    #[arg(long, value_name = "TIME", value_parser = instant_ms)]
    pub(crate) start: Option<i64>,
    #[command(flatten)]
    pub(crate) live: Live,
    /// One position in so many is late, on average; 0: none.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) late_every: u32,
    /// One position in so many cannot be used, on average; 0: none but the clocks that are ahead now and then.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) fault_every: u32,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidegate generate hydraulic --fixture rig                      20 cycles of the rig
  tidegate generate hydraulic --fixture rig --form segments --codec zstd --high-rate 10
  tidegate generate hydraulic --bootstrap-servers localhost:9092 --real-time --marks faults.json")]
pub(crate) struct GenerateHydraulic {
    #[command(flatten)]
    pub(crate) to: Destination,
    /// How many cycles of a minute.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) cycles: u32,
    /// How many readings, in place of cycles.
    #[arg(long, visible_alias = "records", value_name = "N", conflicts_with = "cycles")]
    pub(crate) events: Option<u64>,
    /// Readings a second of the sensors that the rig reads 100 times; a divisor of 100.
    #[arg(long, value_name = "HZ", default_value_t = 100)]
    pub(crate) high_rate: u32,
    /// When the first cycle begins, with its minute [default: 2025-11-08T14:30:00Z; to Kafka: now, or so that the last one ends
    /// now when no clock is kept].
    #[arg(long, value_name = "TIME", value_parser = instant_ms)]
    pub(crate) start: Option<i64>,
    #[command(flatten)]
    pub(crate) live: Live,
    /// Writes a record to Kafka every so long, whatever their times; a number alone is seconds.
    #[arg(long, value_name = "DURATION", conflicts_with_all = ["fixture", "real_time", "rate"])]
    #[arg(value_parser = duration_or_seconds)]
    pub(crate) interval: Option<Duration>,
    /// One reading in so many is late, on average; 0: none.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) late_every: u32,
    /// The seconds from one fault to the next, on average; 0: no faults.
    #[arg(long, value_name = "SECONDS", default_value_t = 45)]
    pub(crate) fault_every: u32,
}

/// Where generated records go.
#[derive(Args, Debug)]
pub(crate) struct Destination {
    /// Where the fixture is written; a directory that is new or empty.
    #[arg(long, value_name = "DIR")]
    pub(crate) fixture: Option<PathBuf>,
    /// Kafka brokers to write to instead, until all records are written or a signal comes.
    #[arg(long, value_name = "HOST:PORT,…", conflicts_with_all = ["fixture", "form", "codec"])]
    pub(crate) bootstrap_servers: Option<String>,
    #[command(flatten)]
    pub(crate) client: KafkaClient,
    /// The form of the fixture; ndjson is the bare payloads, for the bench of activity.
    #[arg(long, default_value = "kcat")]
    pub(crate) form: FormName,
    /// How batches of log segments are packed.
    #[arg(long, value_name = "CODEC")]
    pub(crate) codec: Option<CodecName>,
    /// The same seed makes the same bytes.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Where the faults are told, as a JSON array [default: faults.json in the fixture; to Kafka: nowhere]. A record that shows
    /// one says so itself as well, in its header `fault`.
    #[arg(long, value_name = "FILE")]
    pub(crate) marks: Option<PathBuf>,
}

/// When generated records arrive.
#[derive(Args, Debug)]
pub(crate) struct Span {
    /// When the first one arrives [default: 2026-01-01T00:00:00Z; to Kafka: now, or so that the last one arrives now
    /// when no clock is kept].
    #[arg(long, value_name = "TIME", value_parser = instant_ms)]
    pub(crate) start: Option<i64>,
    /// Over how much time they arrive [default: 1h].
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with_all = ["rate", "interval"])]
    pub(crate) span: Option<Duration>,
    /// How many arrive a second, in place of a span. Kept by the clock in Kafka.
    #[arg(long, value_name = "N", conflicts_with = "interval", value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// How long after each other they arrive, in place of a span; a number alone is seconds. Kept by the clock in Kafka.
    #[arg(long, value_name = "DURATION", value_parser = duration_or_seconds)]
    pub(crate) interval: Option<Duration>,
}

/// How fast records with times of their own go to Kafka.
#[derive(Args, Debug)]
pub(crate) struct Live {
    /// Writes each record when its time comes [default: all at once].
    #[arg(long, conflicts_with = "fixture")]
    pub(crate) real_time: bool,
    /// Writes so many records a second to Kafka, whatever their times.
    #[arg(long, value_name = "N", conflicts_with_all = ["fixture", "real_time"], value_parser = rate)]
    pub(crate) rate: Option<f64>,
}

/// The forms of generated input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormName {
    /// kcat lines.
    Kcat,
    /// kcat lines, packed by gzip.
    KcatGz,
    /// kcat lines, packed by zstd.
    KcatZst,
    /// Kafka log segments.
    Segments,
    /// p0.ndjson, p1.ndjson, …: bare payloads.
    Ndjson,
}

/// The codecs of Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CodecName {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// How Kafka is reached, beside the addresses.
#[derive(Args, Debug)]
pub(crate) struct KafkaClient {
    /// More properties of the Kafka client, by librdkafka's names: a line each, name=value. Passwords belong here.
    #[arg(long, value_name = "FILE")]
    pub(crate) client_properties: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidegate record --bootstrap-servers localhost:9092 --topic user_activity --out recorded
  tidegate record --topic a --topic b --out recorded --until 10m --packed zstd
  tidegate replay activity --fixture recorded")]
pub(crate) struct RecordArgs {
    /// Kafka brokers; KAFKA_BOOTSTRAP_SERVERS by default.
    #[arg(long, value_name = "HOST:PORT,…")]
    pub(crate) bootstrap_servers: Option<String>,
    /// A topic; may be given several times.
    #[arg(long, value_name = "TOPIC", required = true)]
    pub(crate) topic: Vec<String>,
    /// Where the fixture is written; a directory that is new or empty.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// How long: to the end that the topics have now, or for a time such as 10m.
    #[arg(long, value_name = "WHEN", default_value = "end", value_parser = until)]
    pub(crate) until: Until,
    /// From where: earliest, latest, or the first records at or after a time.
    #[arg(long, value_name = "WHERE", default_value = "earliest", value_parser = start)]
    pub(crate) from: Start,
    /// How the files are packed.
    #[arg(long, default_value = "none")]
    pub(crate) packed: PackedName,
    #[command(flatten)]
    pub(crate) client: KafkaClient,
}

/// How files of lines are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PackedName {
    None,
    Gzip,
    Zstd,
}

#[derive(Args, Debug)]
pub(crate) struct ProveArgs {
    /// The pipeline.
    #[arg(value_name = "PIPELINE", value_parser = PossibleValuesParser::new(PIPELINES))]
    pub(crate) pipeline: String,
    /// The fixture; fixtures/ by default.
    #[arg(long, value_name = "DIR")]
    pub(crate) fixture: Option<PathBuf>,
    /// Only a few runs that vary everything.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Chooses the interleavings.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// How long one run may take.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// Where the runs' outputs lie while they are compared; a directory of the system by default.
    #[arg(long, value_name = "DIR")]
    pub(crate) scratch: Option<PathBuf>,
    /// One object: the pipeline, the runs, the kills among them, and the digest.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tidegate validate --config my.yaml
  tidegate validate --connect activity --bootstrap-servers localhost:9092")]
pub(crate) struct ValidateArgs {
    /// Also try the services: the brokers and the input topics, and what the environment names besides.
    #[arg(long)]
    pub(crate) connect: bool,
    /// The pipelines whose topics are looked at; all by default.
    #[arg(value_name = "PIPELINE", value_parser = PossibleValuesParser::new(PIPELINES), requires = "connect")]
    pub(crate) pipelines: Vec<String>,
    /// Kafka brokers; KAFKA_BOOTSTRAP_SERVERS by default.
    #[arg(long, value_name = "HOST:PORT,…", requires = "connect")]
    pub(crate) bootstrap_servers: Option<String>,
    #[command(flatten)]
    pub(crate) client: KafkaClient,
    /// One object: every setting, its value, who made it, its variable; and what was found of the services. Where the
    /// settings cannot be used, their faults.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct GraphArgs {
    /// The pipeline; all by default.
    #[arg(value_name = "PIPELINE", value_parser = PossibleValuesParser::new(PIPELINES))]
    pub(crate) pipeline: Option<String>,
    /// How it is drawn.
    #[arg(long, default_value = "text")]
    pub(crate) format: FormatName,
    /// JSON in place of a drawing.
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
}

/// How a graph is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatName {
    /// A tree.
    Text,
    /// For Markdown.
    Mermaid,
    /// For Graphviz.
    Dot,
}

fn at_least_1(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it must be at least 1".to_owned()),
        Ok(n) => Ok(n),
        Err(error) => Err(error.to_string()),
    }
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write a number with a unit, such as 30s or 2m"))
}

/// As people who write `--interval 0.5` mean it.
fn duration_or_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.map_or_else(|| duration(text), Ok)
}

pub(crate) fn start(text: &str) -> Result<Start, String> {
    let offset = |part: &str| {
        let (partition, offset) = part.trim().rsplit_once(':')?;
        let (topic, number) = partition.rsplit_once('-')?;
        let offset = offset.parse().ok().filter(|offset: &i64| *offset >= 0)?;
        Some((Partition::new(topic, number.parse().ok().filter(|number| *number >= 0)?), offset))
    };
    let time = |text: &str| text.parse().ok().filter(|ms| *ms >= 0).or_else(|| instant_ms(text).ok());
    match text {
        "earliest" => Ok(Start::Earliest),
        "latest" => Ok(Start::Latest),
        _ => time(text)
            .map(Start::Timestamp)
            .or_else(|| text.split(',').map(offset).collect::<Option<_>>().map(Start::Offsets))
            .ok_or_else(|| {
                "write earliest, latest, a time such as 2026-01-01T00:00:00Z, or offsets such as topic-0:12"
                    .to_owned()
            }),
    }
}

fn instant_ms(text: &str) -> Result<i64, String> {
    let us = tidegate::time::parse(text.as_bytes());
    us.map(|us| us.div_euclid(1_000)).ok_or("write a time such as 2026-01-01T00:00:00Z".to_owned())
}

fn until(text: &str) -> Result<Until, String> {
    if text == "end" {
        return Ok(Until::End);
    }
    duration(text).map(Until::For).map_err(|error| format!("{error}, or end"))
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| rate.is_finite() && *rate > 0.0);
    rate.ok_or("write how many a second, more than 0".to_owned())
}

fn pace(text: &str) -> Result<Pace, String> {
    if text == "max" {
        return Ok(Pace::Max);
    }
    let times = text.strip_suffix('x').and_then(|times| times.parse::<f64>().ok());
    let times = times.filter(|times| times.is_finite() && *times > 0.0);
    times.map(Pace::Times).ok_or("write max, or how many times as fast as recorded: 1x, 10x, 0.5x".to_owned())
}

pub(super) fn checkpoint_place(text: &str) -> Result<Location, String> {
    match Location::parse(text)? {
        Location::Hdfs { .. } => {
            Err("checkpoints lie in a directory or in S3: HDFS has no conditional write".to_owned())
        }
        place => Ok(place),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn a_start_is_a_place_a_time_or_offsets() {
        assert_eq!(start("latest"), Ok(Start::Latest));
        assert_eq!(start("1767225600000"), Ok(Start::Timestamp(1_767_225_600_000)));
        assert_eq!(start("2026-01-01T00:00:00Z"), Ok(Start::Timestamp(1_767_225_600_000)));
        let offsets = [(Partition::new("a-b", 0), 12), (Partition::new("a-b", 3), 0)];
        assert_eq!(start("a-b-0:12, a-b-3:0"), Ok(Start::Offsets(offsets.into())));
        for bad in ["", "soon", "t-0", "t:0", "t-0:-1", "t-0:1,", "-5"] {
            assert!(start(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_interval_has_a_unit_or_is_seconds() {
        assert_eq!(duration_or_seconds("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(duration_or_seconds("250ms"), Ok(Duration::from_millis(250)));
        for bad in ["-1", "NaN", "soon", ""] {
            assert!(duration_or_seconds(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_command_is_a_replay_with_the_defaults() {
        let Ok(Cli { command: Some(Command::Replay(parsed)), .. }) =
            Cli::try_parse_from(["tidegate", "replay"])
        else {
            panic!("replay needs no argument")
        };
        assert_eq!(format!("{parsed:?}"), format!("{:?}", ReplayArgs::default()));
        assert!(Cli::try_parse_from(["tidegate", "-w", "8"]).is_ok_and(|cli| cli.command.is_none()));
    }

    #[test]
    fn timelys_flags_stand_before_and_behind_the_command() {
        for line in [
            ["tidegate", "-w", "2", "-n", "3", "-p", "1", "-h", "hosts", "replay"],
            ["tidegate", "replay", "-w", "2", "-n", "3", "-p", "1", "-h", "hosts"],
        ] {
            let cluster = Cli::try_parse_from(line).expect("parsed").global.cluster();
            let hosts = Some(PathBuf::from("hosts"));
            assert_eq!(cluster, Cluster { threads: 2, processes: 3, process: 1, hosts });
        }
    }

    #[test]
    fn speed_is_max_or_a_multiple() {
        assert_eq!(pace("max"), Ok(Pace::Max));
        assert_eq!(pace("10x"), Ok(Pace::Times(10.0)));
        assert_eq!(pace("0.5x"), Ok(Pace::Times(0.5)));
        for bad in ["10", "0x", "-1x", "infx", "NaNx", "fast", ""] {
            assert!(pace(bad).is_err(), "{bad:?}");
        }
    }
}

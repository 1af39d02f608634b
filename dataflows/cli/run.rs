//! `tidegate run`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use tidegate::checkpoint::{CheckpointError, Manifest};
use tidegate::ingest::{IdlePolicy, Interleave};
use tidegate::kafka::{Properties, describe_topics};
use tidegate::runtime::{Run, SystemClock, exit_on_panic};
use tidegate::sink::Durability;
use tidegate::source::Source;
use tidegate::source::bounded::Bounded;
use tidegate::source::kafka::{KafkaSource, Settings as KafkaSettings};
use tidegate::storage::Location;
use tidegate_dataflows::graph::Topology;
use tidegate_dataflows::pipeline::{IOT_VALIDATE, Pipeline};
use tidegate_dataflows::replay::open_source;
use tidegate_dataflows::run::{Ended, Job, Options, RunFailure, run as run_pipelines};
use tidegate_dataflows::services::{TableKind, TopicKind};
use tidegate_dataflows::settings::Settings;
use tidegate_dataflows::targets::{KafkaTarget, LakeTarget, Targets};
use tidegate_dataflows::traces::Traces;

use super::args::{Global, RunArgs};
use super::failure::Failure;
use super::progress::Progress;
use super::replay::{cluster, failure as replay_failure, idle_decisions};
use super::signals::Signals;
use super::ui::Ui;
use super::{banner, check_mongo, kafka, settings, web};

/// The environment name of the file that a supervisor watches for signs of life.
pub(crate) const HEARTBEAT: &str = "SUPERVISOR_HEARTBEAT_FILE";

/// The environment name of the supervisor's process number.
pub(crate) const SUPERVISOR: &str = "SUPERVISOR_PROCESS";

/// Runs pipelines from their checkpoints.
pub(crate) fn run(ui: &Ui, global: &Global, args: &RunArgs) -> Result<(), Failure> {
    let settings = settings(global)?;
    // Embedded sinks have their checkpoints beside them; configured ones where the settings say.
    let (out, checkpoint) = match &args.out {
        Some(out) if !settings.is_said_by_environment("checkpoint") => {
            (out.clone(), Location::Dir(beside(out)))
        }
        Some(out) => (out.clone(), settings.checkpoint.clone()),
        None => (settings.data.clone(), settings.checkpoint.clone()),
    };
    let options = Options {
        checkpoint: args.checkpoint.clone().unwrap_or(checkpoint),
        out,
        credentials: settings.credentials(),
        interval: args.epoch,
        memory_limit: settings.memory_limit,
        keep: args.keep,
        refresh: settings.kafka.refresh,
        cluster: cluster(global)?,
        pace: args.speed,
        batch: args.batch,
        interleave: args.shuffle.map_or(Interleave::Aligned, Interleave::Shuffled),
        clock: Arc::new(SystemClock),
    };
    let timeout = settings.idle_timeout.filter(|_| args.fixture.is_none());
    let idle = IdlePolicy { timeout, recorded: idle_decisions(&args.idle)? };
    let mut names: Vec<&str> = args.pipelines.iter().map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    if names.len() > 1 && global.processes > 1 {
        return Err(Failure::usage("several processes run one pipeline")
            .mend("name one pipeline, and start another run for the next, with other ports"));
    }
    if names.len() > 1 && args.lake.is_some() {
        return Err(Failure::usage("--lake is the lake of one pipeline")
            .mend("name one pipeline, or a lake for each in the settings"));
    }
    let mut jobs = Vec::new();
    for name in names {
        let pipeline = match &args.fixture {
            Some(fixture) => settings.pipelines.of_fixture(name, fixture).map_err(replay_failure)?,
            None => settings.pipelines.live(name),
        };
        if args.fixture.is_none() && (name == "iot" || name == IOT_VALIDATE) {
            same_partitions(ui, args, &settings)?;
        }
        let source = source(args, &settings, &*pipeline)?;
        let mut targets = targets(args, &settings, name)?;
        targets.credentials = options.credentials.clone();
        if let Some(lake) = &args.lake {
            targets.lake = vec![LakeTarget::At(lake.clone())];
        }
        // A fixture's partitions end and are never idle; only what was decided about them live is repeated.
        targets.idle = args.fixture.is_none() || !args.idle.is_empty();
        jobs.push(Job { pipeline, source, targets, idle: idle.clone() });
    }
    // Of several processes any may hear a signal: worker 0 stops them all.
    let signals = Signals::listen(ui, 1)?;
    exit_on_panic();
    let traces = Traces::start(&settings.traces, options.cluster.process).map_err(|error| {
        Failure::usage(error)
            .mend("name a collector that takes OTLP over HTTP: traces: {endpoint: http://localhost:4318}")
    })?;
    let page = web::start(ui, &settings.web, args.web.as_deref(), options.cluster.process)?;
    let shown: Mutex<Vec<Progress>> = Mutex::default();
    let beating = Arc::new(AtomicBool::new(true));
    let started = |pipeline: &dyn Pipeline, run: &Arc<Run>, decided: Option<&Manifest>| {
        signals.stops(run);
        let drawn = drawn(args, &settings, pipeline);
        banner::of_run(ui, pipeline, &drawn, &settings, args.out.as_deref(), &options.checkpoint);
        page.show(&drawn, run);
        if let Some(traces) = &traces {
            traces.follow(pipeline.name(), run.board());
        }
        tell_start(ui, &options, pipeline.name(), decided);
        heartbeat(run, &beating);
        let expected = run.source().partitions().iter().map(|partition| partition.records_hint).sum();
        let expected = if options.cluster.processes > 1 { 0 } else { expected };
        let progress = Progress::show(ui, pipeline.name(), run, expected);
        shown.lock().unwrap_or_else(PoisonError::into_inner).push(progress);
    };
    let ended = run_pipelines(&options, &jobs, &started);
    drop(shown);
    beating.store(false, Ordering::SeqCst);
    match ended.map_err(failure)? {
        Ended::Finished(summary) => ui.result(summary.table(&options.out)),
        Ended::Stopped(epochs) => {
            for (name, epoch) in epochs {
                ui.note(format_args!("{name} stopped after epoch {epoch}; start it again to go on"));
            }
            Ok(())
        }
        Ended::Quietly => Ok(()),
    }
}

/// The pipeline with the sinks that it has in this run.
fn drawn(args: &RunArgs, settings: &Settings, pipeline: &dyn Pipeline) -> Topology {
    if args.out.is_some() {
        return pipeline.topology();
    }
    let mut sinks = settings.sinks_of(pipeline.name());
    if let Some(lake) = &args.lake {
        sinks.lake = vec![Some(lake.clone())];
    }
    pipeline.topology().sent_to(&sinks.drawn())
}

fn source(args: &RunArgs, settings: &Settings, pipeline: &dyn Pipeline) -> Result<Arc<dyn Source>, Failure> {
    match &args.fixture {
        Some(fixture) => open_source(fixture, pipeline).map_err(replay_failure),
        None => kafka_source(args, settings, &pipeline.inputs()),
    }
}

/// The sinks of the pipeline `name`: embedded ones under `--out`, else those of the settings.
fn targets(args: &RunArgs, settings: &Settings, name: &str) -> Result<Targets, Failure> {
    let sinks = settings.sinks_of(name);
    if args.out.is_some() {
        return Ok(Targets {
            schema: sinks.schema,
            files: sinks.files,
            ..Targets::embedded(Durability::Power)
        });
    }
    if sinks.tables.contains(&TableKind::Mongo) {
        check_mongo(settings, &sinks)?;
    }
    let properties = if sinks.topics.contains(&TopicKind::Kafka) {
        brokers(args, settings)?
    } else {
        Properties::default()
    };
    Ok(sinks.targets(&settings.database_of(name), &settings.secrets, &KafkaTarget { properties }))
}

/// The two topics of `iot` have the same partitions, so that a record keeps its partition's number. Where the stage that writes
/// the second is among those that begin, it is made so: the other one asks for it before anything is written.
fn same_partitions(ui: &Ui, args: &RunArgs, settings: &Settings) -> Result<(), Failure> {
    let iot = &settings.pipelines.iot;
    let names = [&*iot.topic, &*iot.validated_topic];
    let brokers = brokers(args, settings)?;
    let found = describe_topics(&brokers, &names, kafka::TIMEOUT).map_err(kafka::failure)?;
    let validates = args.pipelines.iter().any(|name| name == IOT_VALIDATE);
    match &found[..] {
        [Some(raw), Some(validated)] if raw.partitions != validated.partitions => {
            let what = format!(
                "topic {:?} has {} partitions and topic {:?} has {}",
                raw.name, raw.partitions, validated.name, validated.partitions
            );
            Err(Failure::usage(what).mend(
                "give both as many: a reading keeps the number of its partition, so that the two stages give the rows \
                 of one dataflow",
            ))
        }
        [Some(raw), None] if validates => {
            kafka::topic_of(ui, &brokers, names[1], None, raw.partitions as u32).map(drop)
        }
        _ => Ok(()),
    }
}

/// How the brokers are reached.
fn brokers(args: &RunArgs, settings: &Settings) -> Result<Properties, Failure> {
    kafka::brokers(args.bootstrap_servers.as_deref(), &args.client, settings)
}

fn kafka_source(args: &RunArgs, settings: &Settings, topics: &[String]) -> Result<Arc<dyn Source>, Failure> {
    let topics = topics.iter().map(String::as_str);
    let out_of_range = settings.kafka.lost_records;
    let settings = KafkaSettings { out_of_range, ..KafkaSettings::new(brokers(args, settings)?, topics) };
    let source = KafkaSource::open(settings).and_then(|source| source.starting_at(&args.start));
    let source = source.map_err(kafka::failure)?;
    if args.until_end {
        let ends = source.ends().map_err(kafka::failure)?;
        return Ok(Arc::new(Bounded::new(Arc::new(source), ends)));
    }
    Ok(Arc::new(source))
}

fn beside(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".checkpoint");
    PathBuf::from(name)
}

fn tell_start(ui: &Ui, options: &Options, name: &str, decided: Option<&Manifest>) {
    let dir = options.checkpoint.join(name);
    match decided {
        None => ui.note(format_args!("{name}: no checkpoint in {dir}: starting at the beginning")),
        Some(manifest) => {
            let (epoch, read) = (manifest.epoch, manifest.counts.read);
            ui.note(format_args!("{name}: going on after epoch {epoch} in {dir}, {read} records read"));
        }
    }
}

/// A process of a cluster ends with its supervisor, also by SIGKILL: nobody would start all again when one dies, and the next
/// supervisor would be refused by their locks.
pub(super) fn end_with_supervisor() -> Result<(), Failure> {
    let Ok(supervisor) = std::env::var(SUPERVISOR) else { return Ok(()) };
    let told = set_parent_process_death_signal(Some(Signal::KILL));
    told.map_err(|error| Failure::running(format!("cannot be told of the supervisor's end: {error}")))?;
    // It may have gone before that.
    if Pid::as_raw(getppid()).to_string() == supervisor {
        return Ok(());
    }
    Err(Failure::running(format!("the supervisor, process {supervisor}, is gone")))
}

/// Touches the supervisor's file as long as the run shows life.
fn heartbeat(run: &Arc<Run>, beating: &Arc<AtomicBool>) {
    let Some(path) = std::env::var_os(HEARTBEAT) else { return };
    let (run, beating) = (Arc::clone(run), Arc::clone(beating));
    std::thread::spawn(move || {
        // The first sign comes when the processes have joined: how long they wait for one another is a matter of its own.
        let mut last = run.beats();
        while beating.load(Ordering::SeqCst) {
            let beats = run.beats();
            if std::mem::replace(&mut last, beats) != beats {
                // A supervisor that is gone has no use for it.
                drop(std::fs::write(&path, beats.to_string()));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    });
}

fn failure(error: RunFailure) -> Failure {
    match error {
        RunFailure::Replay(error) => replay_failure(error),
        RunFailure::Checkpoint(error) => {
            let usage = matches!(
                error,
                CheckpointError::OtherRun { .. }
                    | CheckpointError::TooNew { .. }
                    | CheckpointError::InUse { .. }
            );
            if usage { Failure::usage(error) } else { Failure::running(error) }
        }
        RunFailure::Failed(what) => {
            Failure::running(what).mend("what is decided stays so: mend the cause and start it again")
        }
    }
}

//! `tidegate run`.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidegate::checkpoint::{CheckpointError, Manifest};
use tidegate::ingest::Interleave;
use tidegate::runtime::{Run, exit_on_panic};
use tidegate::source::Source;
use tidegate::source::bounded::Bounded;
use tidegate::source::fixture::FixtureSource;
use tidegate::source::kafka::{KafkaSource, Settings as KafkaSettings, Start};
use tidegate_dataflows::run::{Ended, Options, RunFailure, run as run_pipeline};
use tidegate_dataflows::settings::Settings;

use super::args::{Global, RunArgs};
use super::failure::Failure;
use super::progress::Progress;
use super::replay::{cluster, failure as replay_failure};
use super::signals::Signals;
use super::ui::Ui;
use super::{kafka, settings};

/// The environment name of the file that a supervisor watches for signs of life.
pub(crate) const HEARTBEAT: &str = "SUPERVISOR_HEARTBEAT_FILE";

/// Runs a pipeline from its checkpoint.
pub(crate) fn run(ui: &Ui, global: &Global, args: &RunArgs) -> Result<(), Failure> {
    let Settings { activity, .. } = settings(global)?;
    let Some(out) = &args.out else {
        return Err(Failure::comes_later("a run into configured sinks", "give --out DIR for embedded ones"));
    };
    let options = Options {
        checkpoint: args.checkpoint.clone().unwrap_or_else(|| beside(out)),
        out: out.clone(),
        interval: args.epoch,
        keep: args.keep,
        cluster: cluster(global)?,
        pace: args.speed,
        batch: args.batch,
        interleave: args.shuffle.map_or(Interleave::Aligned, Interleave::Shuffled),
        activity,
    };
    let topic = options.activity.topic.clone();
    let source: Arc<dyn Source> = match &args.fixture {
        Some(fixture) => {
            let fixture = FixtureSource::open(fixture, &|name| name == topic);
            Arc::new(fixture.map_err(|error| replay_failure(error.into()))?)
        }
        None => kafka_source(args, &topic)?,
    };
    // Of several processes any may hear a signal: worker 0 stops them all.
    let signals = Signals::listen(ui, 1)?;
    exit_on_panic();
    let shown: RefCell<Option<Progress>> = RefCell::default();
    let beating = Arc::new(AtomicBool::new(true));
    let expected = source.partitions().iter().map(|partition| partition.records_hint).sum();
    let started = |run: &Arc<Run>, decided: Option<&Manifest>| {
        signals.stops(run);
        tell_start(ui, &options, decided);
        heartbeat(run, &beating);
        let expected = if options.cluster.processes > 1 { 0 } else { expected };
        shown.replace(Some(Progress::show(ui, "activity", run, expected)));
    };
    let ended = run_pipeline(&options, source, &started);
    shown.take();
    beating.store(false, Ordering::SeqCst);
    match ended.map_err(failure)? {
        Ended::Finished(summary) => ui.result(summary.table(&options.out)),
        Ended::Stopped(epoch) => {
            ui.note(format_args!("stopped after epoch {epoch}; start it again to go on"));
            Ok(())
        }
        Ended::Quietly => Ok(()),
    }
}

fn kafka_source(args: &RunArgs, topic: &str) -> Result<Arc<dyn Source>, Failure> {
    let servers = args.bootstrap_servers.clone().or_else(|| std::env::var("KAFKA_BOOTSTRAP_SERVERS").ok());
    let Some(servers) = servers else {
        return Err(Failure::usage("there is nothing to read from")
            .mend("name the brokers with --bootstrap-servers or KAFKA_BOOTSTRAP_SERVERS, or a recording with --fixture"));
    };
    let start = if args.start == "latest" { Start::Latest } else { Start::Earliest };
    let settings = KafkaSettings::new(kafka::properties(&servers, &args.client)?, [topic]);
    let source = KafkaSource::open(settings).and_then(|source| source.starting_at(&start));
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

fn tell_start(ui: &Ui, options: &Options, decided: Option<&Manifest>) {
    let dir = options.checkpoint.display();
    match decided {
        None => ui.note(format_args!("no checkpoint in {dir}: starting at the beginning")),
        Some(manifest) => {
            let read = manifest.counts.read;
            ui.note(format_args!("going on after epoch {} in {dir}, {read} records read", manifest.epoch));
        }
    }
}

/// Touches the supervisor's file as long as the run shows life.
fn heartbeat(run: &Arc<Run>, beating: &Arc<AtomicBool>) {
    let Some(path) = std::env::var_os(HEARTBEAT) else { return };
    let (run, beating) = (Arc::clone(run), Arc::clone(beating));
    std::thread::spawn(move || {
        let mut last = u64::MAX;
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

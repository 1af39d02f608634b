//! `tidegate record`.

use std::time::{Duration, Instant};

use tidegate::source::SourceError;
use tidegate::source::kafka::Settings;
use tidegate_dataflows::generate::{Packed, TargetError};
use tidegate_dataflows::record::{RecordError, record};

use super::args::{Global, PackedName, RecordArgs};
use super::failure::Failure;
use super::signals::Signals;
use super::ui::{Ui, grouped};
use super::{kafka, settings};

/// Records topics as a fixture.
pub(crate) fn run(ui: &Ui, global: &Global, args: &RecordArgs) -> Result<(), Failure> {
    let mut topics = args.topic.clone();
    topics.sort();
    topics.dedup();
    let brokers = kafka::brokers(args.bootstrap_servers.as_deref(), &args.client, &settings(global)?)?;
    let settings = Settings::new(brokers, topics);
    let packed = match args.packed {
        PackedName::None => Packed::Plain,
        PackedName::Gzip => Packed::Gzip,
        PackedName::Zstd => Packed::Zstd,
    };
    let signals = Signals::listen(ui, 1)?;

    let began = Instant::now();
    let mut told = began;
    let mut tell = |records: u64| {
        if told.elapsed() > Duration::from_secs(5) {
            told = Instant::now();
            ui.note(format_args!("{} records", grouped(records)));
        }
    };
    let stop = || signals.asked();
    let recorded = record(settings, &args.from, &args.out, packed, args.until, &stop, &mut tell);
    let recorded = recorded.map_err(failure)?;
    let records: u64 = recorded.iter().map(|partition| partition.records).sum();
    ui.note(format_args!(
        "{} records of {} partitions: {} ({:.1} s)",
        grouped(records),
        recorded.len(),
        args.out.display(),
        began.elapsed().as_secs_f64(),
    ));
    Ok(())
}

fn failure(error: RecordError) -> Failure {
    match error {
        RecordError::Target(cause) => target_failure(cause),
        RecordError::Source(cause) => source_failure(cause),
        RecordError::Stopped => Failure::running(error),
    }
}

/// A fixture could not be written.
pub(crate) fn target_failure(cause: TargetError) -> Failure {
    if cause.is_usage() {
        return Failure::usage(cause);
    }
    Failure::running(cause).mend("see to space and permissions; what was written is removed")
}

/// Records could not be read.
pub(crate) fn source_failure(cause: SourceError) -> Failure {
    match cause {
        SourceError::NoTopic { .. } | SourceError::Refused { .. } => Failure::usage(cause),
        cause => Failure::running(cause),
    }
}

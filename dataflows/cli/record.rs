//! `tidegate record`.

use std::time::{Duration, Instant};

use tidegate::source::SourceError;
use tidegate::source::kafka::Settings;
use tidegate_dataflows::generate::Packed;
use tidegate_dataflows::record::{RecordError, record};

use super::args::{PackedName, RecordArgs};
use super::failure::Failure;
use super::kafka;
use super::signals::Signals;
use super::ui::{Ui, grouped};

/// Records topics as a fixture.
pub(crate) fn run(ui: &Ui, args: &RecordArgs) -> Result<(), Failure> {
    let from_environment = || std::env::var("KAFKA_BOOTSTRAP_SERVERS").ok();
    let servers = args.bootstrap_servers.clone().or_else(from_environment).filter(|text| !text.is_empty());
    let servers = servers.ok_or_else(|| {
        Failure::usage("there is no broker to read from")
            .mend("name some: --bootstrap-servers HOST:PORT, or KAFKA_BOOTSTRAP_SERVERS")
    })?;
    let mut topics = args.topic.clone();
    topics.sort();
    topics.dedup();
    let settings =
        Settings::new(kafka::properties(&servers, args.client.client_properties.as_deref())?, topics);
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
    match &error {
        RecordError::Target(cause) if cause.is_usage() => Failure::usage(error),
        RecordError::Source(SourceError::NoTopic { .. } | SourceError::Refused { .. }) => {
            Failure::usage(error)
        }
        RecordError::Target(_) => {
            Failure::running(error).mend("see to space and permissions; what was written is removed")
        }
        RecordError::Source(_) | RecordError::Stopped => Failure::running(error),
    }
}

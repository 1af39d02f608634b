//! `tidegate generate`.

use std::time::{Duration, Instant};

use tidegate::source::fixture::Codec;
use tidegate_dataflows::generate::activity::{Clickstream, Spec};
use tidegate_dataflows::generate::{Form, Packed, Target, TargetError};

use super::args::{CodecName, FormName, Generate, GenerateActivity, GenerateArgs, Global};
use super::failure::Failure;
use super::settings;
use super::signals::Signals;
use super::ui::{Ui, grouped};

/// How many events are made between two looks at the clock and at signals.
const LOOK_EVERY: u64 = 1 << 14;

/// Writes a fixture of synthetic records.
pub(crate) fn run(ui: &Ui, global: &Global, args: &GenerateArgs) -> Result<(), Failure> {
    let Generate::Activity(args) = &args.what;
    if args.bootstrap_servers.is_some() {
        return Err(Failure::comes_later("--bootstrap-servers", "write a fixture: --fixture DIR"));
    }
    let Some(dir) = &args.fixture else {
        return Err(
            Failure::usage("there is nowhere to write to").mend("name a new directory: --fixture DIR")
        );
    };
    let form = form(args)?;
    let mut events = Clickstream::new(spec(args)).map_err(Failure::usage)?;
    let topic = settings(global)?.activity.topic;
    let signals = Signals::listen(ui, 1)?;

    let began = Instant::now();
    let mut told = began;
    let mut target = Target::create(dir, &topic, args.partitions, form).map_err(failure)?;
    let (mut records, mut bytes) = (0_u64, 0_u64);
    while let Some(event) = events.next_event() {
        target.write(&event).map_err(failure)?;
        records += 1;
        bytes += event.payload.len() as u64;
        if records.is_multiple_of(LOOK_EVERY) {
            if signals.asked() {
                return Err(Failure::running("stopped before the end; nothing was written"));
            }
            if told.elapsed() > Duration::from_secs(5) {
                told = Instant::now();
                ui.note(format_args!("{} of {} records", grouped(records), grouped(args.records)));
            }
        }
    }
    target.finish().map_err(failure)?;
    ui.note(format_args!(
        "{} records, {} bytes of payload, in {} partitions of {topic}: {} ({:.1} s)",
        grouped(records),
        grouped(bytes),
        args.partitions,
        dir.display(),
        began.elapsed().as_secs_f64(),
    ));
    Ok(())
}

fn form(args: &GenerateActivity) -> Result<Form, Failure> {
    let codec = match args.codec {
        None | Some(CodecName::None) => Codec::None,
        Some(CodecName::Gzip) => Codec::Gzip,
        Some(CodecName::Snappy) => Codec::Snappy,
        Some(CodecName::Lz4) => Codec::Lz4,
        Some(CodecName::Zstd) => Codec::Zstd,
    };
    if args.codec.is_some() && args.form != FormName::Segments {
        return Err(Failure::usage("--codec is for log segments only")
            .mend("add --form segments; for packed kcat lines write --form kcat-gz or kcat-zst"));
    }
    Ok(match args.form {
        FormName::Kcat => Form::Kcat(Packed::Plain),
        FormName::KcatGz => Form::Kcat(Packed::Gzip),
        FormName::KcatZst => Form::Kcat(Packed::Zstd),
        FormName::Segments => Form::Segments(codec),
        FormName::Ndjson => Form::Ndjson,
    })
}

fn spec(args: &GenerateActivity) -> Spec {
    let by_rate = args.rate.and_then(|rate| Duration::try_from_secs_f64(args.records as f64 / rate).ok());
    let by_interval = args.interval.map(|interval| {
        let nanos = interval.as_nanos().saturating_mul(u128::from(args.records));
        // Too long a span is refused with the other impossible ones.
        u64::try_from(nanos).map_or(Duration::MAX, Duration::from_nanos)
    });
    let default = Spec::default().span;
    let span = match (args.span, args.rate, by_interval) {
        (Some(span), ..) => span,
        (_, Some(_), _) => by_rate.unwrap_or(Duration::MAX),
        (_, _, by_interval) => by_interval.unwrap_or(default),
    };
    Spec {
        seed: args.seed,
        records: args.records,
        partitions: args.partitions,
        pages: args.pages,
        users: args.users,
        start_ms: args.start,
        span,
        late_every: args.late_every,
    }
}

fn failure(error: TargetError) -> Failure {
    match error.is_usage() {
        true => Failure::usage(error),
        false => Failure::running(error).mend("see to space and permissions; what was written is removed"),
    }
}

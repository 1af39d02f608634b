//! `tidegate generate`.

use std::path::Path;
use std::time::{Duration, Instant};

use tidegate::record::Partition;
use tidegate::source::fixture::Codec;
use tidegate_dataflows::generate::activity::{Clickstream, Generated, Spec};
use tidegate_dataflows::generate::hydraulic::{self, Rig};
use tidegate_dataflows::generate::{Form, Packed, Target, TargetError};

use super::args::{CodecName, FormName, Generate, GenerateActivity, GenerateArgs, GenerateHydraulic, Global};
use super::failure::Failure;
use super::settings;
use super::signals::Signals;
use super::ui::{Ui, grouped};

/// How many events are made between two looks at the clock and at signals.
const LOOK_EVERY: u64 = 1 << 14;

/// Writes a fixture of synthetic records.
pub(crate) fn run(ui: &Ui, global: &Global, args: &GenerateArgs) -> Result<(), Failure> {
    match &args.what {
        Generate::Activity(args) => activity(ui, global, args),
        Generate::Hydraulic(args) => rig(ui, global, args),
    }
}

fn activity(ui: &Ui, global: &Global, args: &GenerateActivity) -> Result<(), Failure> {
    let dir = place(args.fixture.as_deref(), args.bootstrap_servers.as_deref())?;
    let form = form(args.form, args.codec)?;
    let mut events = Clickstream::new(spec(args)).map_err(Failure::usage)?;
    let topic = settings(global)?.activity.topic;
    let mut written = Written::begin(ui, args.records)?;
    let mut target = Target::create(dir, &topic, args.partitions, form).map_err(failure)?;
    while let Some(event) = events.next_event() {
        written.write(&mut target, &event)?;
    }
    target.finish().map_err(failure)?;
    written.end(dir, &format!("{} partitions of {topic}", args.partitions));
    Ok(())
}

fn rig(ui: &Ui, global: &Global, args: &GenerateHydraulic) -> Result<(), Failure> {
    let dir = place(args.fixture.as_deref(), args.bootstrap_servers.as_deref())?;
    let form = form(args.form, args.codec)?;
    if form == Form::Ndjson {
        return Err(
            Failure::usage("bare payloads are for the bench of activity").mend("write another --form")
        );
    }
    let config = settings(global)?.hydraulic;
    let mut rig = Rig::new(hydraulic::Spec {
        seed: args.seed,
        cycles: args.cycles,
        sensors: config.sensors,
        high_rate_hz: args.high_rate,
        start_ms: args.start,
        late_every: args.late_every,
        fault_every_s: args.fault_every,
    })
    .map_err(Failure::usage)?;
    let mut written = Written::begin(ui, rig.records())?;
    let topics = config.topics();
    let partitions = topics.iter().map(|topic| Partition::new(topic, 0)).collect();
    let mut target = Target::create_of(dir, partitions, form).map_err(failure)?;
    let faults = rig.faults();
    while let Some(event) = rig.next_event() {
        written.write(&mut target, &event)?;
    }
    let marked = serde_json::to_vec_pretty(&faults).unwrap_or_default();
    target.write_beside("faults.json", &marked).map_err(failure)?;
    target.finish().map_err(failure)?;
    written
        .end(dir, &format!("{} topics, with {} faults in faults.json", config.sensors.len(), faults.len()));
    Ok(())
}

/// Where to write to.
fn place<'a>(fixture: Option<&'a Path>, servers: Option<&str>) -> Result<&'a Path, Failure> {
    if servers.is_some() {
        return Err(Failure::comes_later("--bootstrap-servers", "write a fixture: --fixture DIR"));
    }
    fixture.ok_or_else(|| {
        Failure::usage("there is nowhere to write to").mend("name a new directory: --fixture DIR")
    })
}

/// What has been written, told now and then.
struct Written<'u> {
    ui: &'u Ui,
    signals: Signals,
    began: Instant,
    told: Instant,
    all: u64,
    records: u64,
    bytes: u64,
}

impl<'u> Written<'u> {
    fn begin(ui: &'u Ui, all: u64) -> Result<Self, Failure> {
        let (signals, began) = (Signals::listen(ui, 1)?, Instant::now());
        Ok(Written { ui, signals, began, told: began, all, records: 0, bytes: 0 })
    }

    fn write(&mut self, target: &mut Target, event: &Generated<'_>) -> Result<(), Failure> {
        target.write(event).map_err(failure)?;
        self.records += 1;
        self.bytes += event.payload.len() as u64;
        if self.records.is_multiple_of(LOOK_EVERY) {
            if self.signals.asked() {
                return Err(Failure::running("stopped before the end; nothing was written"));
            }
            if self.told.elapsed() > Duration::from_secs(5) {
                self.told = Instant::now();
                self.ui.note(format_args!("{} of {} records", grouped(self.records), grouped(self.all)));
            }
        }
        Ok(())
    }

    fn end(self, dir: &Path, what: &str) {
        self.ui.note(format_args!(
            "{} records, {} bytes of payload, in {what}: {} ({:.1} s)",
            grouped(self.records),
            grouped(self.bytes),
            dir.display(),
            self.began.elapsed().as_secs_f64(),
        ));
    }
}

fn form(form: FormName, codec: Option<CodecName>) -> Result<Form, Failure> {
    let packed = match codec {
        None | Some(CodecName::None) => Codec::None,
        Some(CodecName::Gzip) => Codec::Gzip,
        Some(CodecName::Snappy) => Codec::Snappy,
        Some(CodecName::Lz4) => Codec::Lz4,
        Some(CodecName::Zstd) => Codec::Zstd,
    };
    if codec.is_some() && form != FormName::Segments {
        return Err(Failure::usage("--codec is for log segments only")
            .mend("add --form segments; for packed kcat lines write --form kcat-gz or kcat-zst"));
    }
    Ok(match form {
        FormName::Kcat => Form::Kcat(Packed::Plain),
        FormName::KcatGz => Form::Kcat(Packed::Gzip),
        FormName::KcatZst => Form::Kcat(Packed::Zstd),
        FormName::Segments => Form::Segments(packed),
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

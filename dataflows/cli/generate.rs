//! `tidegate generate`.

use std::path::Path;
use std::time::{Duration, Instant};

use tidegate::kafka::{Properties, Writer};
use tidegate::record::Partition;
use tidegate::runtime::{Clock, SystemClock};
use tidegate::source::fixture::Codec;
use tidegate_dataflows::generate::activity::{Clickstream, Generated, Spec};
use tidegate_dataflows::generate::hydraulic::{self, Rig};
use tidegate_dataflows::generate::transit::{self, Feed};
use tidegate_dataflows::generate::{Form, Packed, Target, TargetError};

use super::args::{
    CodecName, FormName, Generate, GenerateActivity, GenerateArgs, GenerateHydraulic, GenerateTransit, Global,
};
use super::failure::Failure;
use super::kafka;
use super::settings;
use super::signals::Signals;
use super::ui::{Ui, grouped};

/// How many events are made between two looks at the clock and at signals.
const LOOK_EVERY: u64 = 1 << 14;

/// How many partitions there are where nothing says so.
const PARTITIONS: u32 = 8;

/// Writes synthetic records to a fixture or to Kafka.
pub(crate) fn run(ui: &Ui, global: &Global, args: &GenerateArgs) -> Result<(), Failure> {
    match &args.what {
        Generate::Activity(args) => activity(ui, global, args),
        Generate::Hydraulic(args) => rig(ui, global, args),
        Generate::Transit(args) => feed(ui, global, args),
        Generate::Iot(args) => super::generate_iot::run(ui, global, args),
    }
}

fn activity(ui: &Ui, global: &Global, args: &GenerateActivity) -> Result<(), Failure> {
    let topic = match &args.topic {
        Some(topic) => topic.clone(),
        None => settings(global)?.pipelines.activity.topic,
    };
    match (&args.bootstrap_servers, &args.fixture) {
        (Some(servers), _) => to_kafka(ui, args, servers, &topic),
        (None, Some(dir)) => to_fixture(ui, args, dir, &topic),
        (None, None) => Err(Failure::usage("there is nowhere to write to")
            .mend("name a new directory, --fixture DIR, or brokers, --bootstrap-servers HOST:PORT")),
    }
}

fn to_fixture(ui: &Ui, args: &GenerateActivity, dir: &Path, topic: &str) -> Result<(), Failure> {
    let form = form(args.form, args.codec)?;
    let partitions = args.partitions.unwrap_or(PARTITIONS);
    let mut events = Clickstream::new(spec(args, partitions, START_MS)).map_err(Failure::usage)?;
    let signals = Signals::listen(ui, 1)?;

    let mut progress = Progress::new(ui, args.records);
    let mut target = Target::create(dir, topic, partitions, form).map_err(failure)?;
    while let Some(event) = events.next_event() {
        target.write(&event).map_err(failure)?;
        progress.add(event.payload.len());
        if progress.records.is_multiple_of(LOOK_EVERY) {
            if signals.asked() {
                return Err(Failure::running("stopped before the end; nothing was written"));
            }
            progress.tell();
        }
    }
    target.finish().map_err(failure)?;
    progress.end(topic, partitions, &dir.display());
    Ok(())
}

fn to_kafka(ui: &Ui, args: &GenerateActivity, servers: &str, topic: &str) -> Result<(), Failure> {
    let properties = kafka::properties(servers, args.client.client_properties.as_deref())?;
    // Nonsense is told before anybody is asked.
    Clickstream::new(spec(args, args.partitions.unwrap_or(PARTITIONS), START_MS)).map_err(Failure::usage)?;
    let partitions = kafka::topic_of(ui, &properties, topic, args.partitions, PARTITIONS)?;
    let pace = interval(args);
    let now_ms = SystemClock.now_us().div_euclid(1_000);
    let without_pace = spec(args, partitions, 0).span.as_millis() as i64;
    let spec =
        spec(args, partitions, if pace.is_some() { now_ms } else { now_ms.saturating_sub(without_pace) });
    let mut events = Clickstream::new(spec).map_err(Failure::usage)?;
    let progress = stream(Progress::new(ui, args.records), &mut events, pace, &properties, topic)?;
    progress.end(topic, partitions, &servers);
    Ok(())
}

/// Generated events, one after the other.
pub(super) trait Events {
    /// The next one; `None` after the last.
    fn next_event(&mut self) -> Option<Generated<'_>>;
}

impl Events for Clickstream {
    fn next_event(&mut self) -> Option<Generated<'_>> {
        Clickstream::next_event(self)
    }
}

/// Writes events to Kafka, one every `pace` where there is one, until the last or a signal.
pub(super) fn stream<'u>(
    mut progress: Progress<'u>,
    events: &mut dyn Events,
    pace: Option<Duration>,
    properties: &Properties,
    topic: &str,
) -> Result<Progress<'u>, Failure> {
    let writer = Writer::open(properties, kafka::TIMEOUT).map_err(Failure::usage)?;
    let signals = Signals::listen(progress.ui, 1)?;
    let began = Instant::now();
    while !signals.asked() {
        let due = pace.map_or(Duration::ZERO, |pace| pace.mul_f64(progress.records as f64));
        let early = due.saturating_sub(began.elapsed());
        if !early.is_zero() {
            // Short, so that a signal is heard.
            writer.poll(early.min(Duration::from_millis(100))).map_err(kafka::failure)?;
            progress.tell();
            continue;
        }
        let Some(event) = events.next_event() else { break };
        let written = writer.write(topic, event.partition, event.kafka_ms, event.key, event.payload);
        written.map_err(kafka::failure)?;
        progress.add(event.payload.len());
        if progress.records.is_multiple_of(LOOK_EVERY / 16) {
            writer.poll(Duration::ZERO).map_err(kafka::failure)?;
            progress.tell();
        }
    }
    writer.finish().map_err(kafka::failure)?;
    Ok(progress)
}

/// The time between two events, where the clock is to be kept.
fn interval(args: &GenerateActivity) -> Option<Duration> {
    let by_rate = args.rate.and_then(|rate| Duration::try_from_secs_f64(1.0 / rate).ok());
    args.interval.or(by_rate)
}

/// What has been written so far.
pub(super) struct Progress<'a> {
    ui: &'a Ui,
    of: u64,
    records: u64,
    bytes: u64,
    began: Instant,
    told: Instant,
}

impl<'a> Progress<'a> {
    pub(super) fn new(ui: &'a Ui, of: u64) -> Progress<'a> {
        let now = Instant::now();
        Progress { ui, of, records: 0, bytes: 0, began: now, told: now }
    }

    fn add(&mut self, bytes: usize) {
        self.records += 1;
        self.bytes += bytes as u64;
    }

    fn tell(&mut self) {
        if self.told.elapsed() > Duration::from_secs(5) {
            self.told = Instant::now();
            self.ui.note(format_args!("{} of {} records", grouped(self.records), grouped(self.of)));
        }
    }

    pub(super) fn end(&self, topic: &str, partitions: u32, place: &dyn std::fmt::Display) {
        self.ui.note(format_args!(
            "{} records, {} bytes of payload, in {partitions} partitions of {topic}: {place} ({:.1} s)",
            grouped(self.records),
            grouped(self.bytes),
            self.began.elapsed().as_secs_f64(),
        ));
    }
}

fn rig(ui: &Ui, global: &Global, args: &GenerateHydraulic) -> Result<(), Failure> {
    let dir = place(args.fixture.as_deref(), args.bootstrap_servers.as_deref())?;
    let form = form(args.form, args.codec)?;
    if form == Form::Ndjson {
        return Err(
            Failure::usage("bare payloads are for the bench of activity").mend("write another --form")
        );
    }
    let config = settings(global)?.pipelines.hydraulic;
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

fn feed(ui: &Ui, global: &Global, args: &GenerateTransit) -> Result<(), Failure> {
    let dir = place(args.fixture.as_deref(), args.bootstrap_servers.as_deref())?;
    let form = form(args.form, args.codec)?;
    if form == Form::Ndjson {
        return Err(
            Failure::usage("bare payloads are for the bench of activity").mend("write another --form")
        );
    }
    let topic = settings(global)?.pipelines.transit.topic;
    let mut feed = Feed::new(transit::Spec {
        seed: args.seed,
        polls: args.polls,
        every: args.interval,
        partitions: args.partitions,
        vehicles: args.vehicles,
        routes: args.routes,
        start_ms: args.start,
        late_every: args.late_every,
    })
    .map_err(Failure::usage)?;
    let mut written = Written::begin(ui, u64::from(args.polls) * u64::from(args.vehicles))?;
    let mut target = Target::create(dir, &topic, args.partitions, form).map_err(failure)?;
    while let Some(event) = feed.next_event() {
        written.write(&mut target, &event)?;
    }
    target.finish().map_err(failure)?;
    written.end(dir, &format!("{} partitions of {topic}", args.partitions));
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
pub(super) struct Written<'u> {
    ui: &'u Ui,
    signals: Signals,
    began: Instant,
    told: Instant,
    all: u64,
    records: u64,
    bytes: u64,
}

impl<'u> Written<'u> {
    pub(super) fn begin(ui: &'u Ui, all: u64) -> Result<Self, Failure> {
        let (signals, began) = (Signals::listen(ui, 1)?, Instant::now());
        Ok(Written { ui, signals, began, told: began, all, records: 0, bytes: 0 })
    }

    pub(super) fn write(&mut self, target: &mut Target, event: &Generated<'_>) -> Result<(), Failure> {
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

    pub(super) fn end(self, dir: &Path, what: &str) {
        self.ui.note(format_args!(
            "{} records, {} bytes of payload, in {what}: {} ({:.1} s)",
            grouped(self.records),
            grouped(self.bytes),
            dir.display(),
            self.began.elapsed().as_secs_f64(),
        ));
    }
}

pub(super) fn form(form: FormName, codec: Option<CodecName>) -> Result<Form, Failure> {
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

/// Where a fixture begins: 2026-01-01T00:00:00Z.
pub(super) const START_MS: i64 = 1_767_225_600_000;

fn spec(args: &GenerateActivity, partitions: u32, start_ms: i64) -> Spec {
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
        partitions,
        pages: args.pages,
        users: args.users,
        start_ms: args.start.unwrap_or(start_ms),
        span,
        late_every: args.late_every,
    }
}

pub(super) fn failure(error: TargetError) -> Failure {
    match error.is_usage() {
        true => Failure::usage(error),
        false => Failure::running(error).mend("see to space and permissions; what was written is removed"),
    }
}

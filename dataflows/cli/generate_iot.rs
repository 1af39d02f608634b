//! `tidegate generate iot`.

use std::path::Path;
use std::time::Duration;

use tidegate::runtime::{Clock, SystemClock};
use tidegate_dataflows::generate::activity::Generated;
use tidegate_dataflows::generate::iot::{Readings, Spec};
use tidegate_dataflows::generate::{Form, Target};

use super::args::{GenerateIot, Global};
use super::failure::Failure;
use super::generate::{Events, Progress, START_MS, Written, failure, form, stream};
use super::ui::Ui;
use super::{kafka, settings};

/// How many partitions there are where nothing says so.
const PARTITIONS: u32 = 4;

/// Writes readings to a fixture or to Kafka.
pub(super) fn run(ui: &Ui, global: &Global, args: &GenerateIot) -> Result<(), Failure> {
    let topic = match &args.topic {
        Some(topic) => topic.clone(),
        None => settings(global)?.pipelines.iot.topic,
    };
    match (&args.bootstrap_servers, &args.fixture) {
        (Some(servers), _) => to_kafka(ui, args, servers, &topic),
        (None, Some(dir)) => to_fixture(ui, args, dir, &topic),
        (None, None) => Err(Failure::usage("there is nowhere to write to")
            .mend("name a new directory, --fixture DIR, or brokers, --bootstrap-servers HOST:PORT")),
    }
}

impl Events for Readings {
    fn next_event(&mut self) -> Option<Generated<'_>> {
        Readings::next_event(self)
    }
}

fn to_fixture(ui: &Ui, args: &GenerateIot, dir: &Path, topic: &str) -> Result<(), Failure> {
    let form = form(args.form, args.codec)?;
    if form == Form::Ndjson {
        return Err(
            Failure::usage("bare payloads are for the bench of activity").mend("write another --form")
        );
    }
    let partitions = args.partitions.unwrap_or(PARTITIONS);
    let mut readings = Readings::new(spec(args, partitions, START_MS)).map_err(Failure::usage)?;
    let mut written = Written::begin(ui, args.records)?;
    let mut target = Target::create(dir, topic, partitions, form).map_err(failure)?;
    while let Some(reading) = readings.next_event() {
        written.write(&mut target, &reading)?;
    }
    let faults = readings.faults();
    let marked = serde_json::to_vec_pretty(faults).unwrap_or_default();
    target.write_beside("faults.json", &marked).map_err(failure)?;
    target.finish().map_err(failure)?;
    let what = format!("{partitions} partitions of {topic}, with {} faults in faults.json", faults.len());
    written.end(dir, &what);
    Ok(())
}

fn to_kafka(ui: &Ui, args: &GenerateIot, servers: &str, topic: &str) -> Result<(), Failure> {
    let properties = kafka::properties(servers, args.client.client_properties.as_deref())?;
    // Nonsense is told before anybody is asked.
    Readings::new(spec(args, args.partitions.unwrap_or(PARTITIONS), START_MS)).map_err(Failure::usage)?;
    let partitions = kafka::topic_of(ui, &properties, topic, args.partitions, PARTITIONS)?;
    let by_rate = args.rate.and_then(|rate| Duration::try_from_secs_f64(1.0 / rate).ok());
    let pace = args.interval.or(by_rate);
    let now_ms = SystemClock.now_us().div_euclid(1_000);
    let without_pace = spec(args, partitions, 0).span.as_millis() as i64;
    let start_ms = if pace.is_some() { now_ms } else { now_ms.saturating_sub(without_pace) };
    let mut readings = Readings::new(spec(args, partitions, start_ms)).map_err(Failure::usage)?;
    let progress = stream(Progress::new(ui, args.records), &mut readings, pace, &properties, topic)?;
    progress.end(topic, partitions, &servers);
    ui.note(format_args!("{} of them are faulty", readings.faults().len()));
    Ok(())
}

fn spec(args: &GenerateIot, partitions: u32, start_ms: i64) -> Spec {
    // Too long a span is refused with the other impossible ones.
    let by_rate = args
        .rate
        .map(|rate| Duration::try_from_secs_f64(args.records as f64 / rate).unwrap_or(Duration::MAX));
    let by_interval = args.interval.map(|interval| {
        let nanos = interval.as_nanos().saturating_mul(u128::from(args.records));
        u64::try_from(nanos).map_or(Duration::MAX, Duration::from_nanos)
    });
    Spec {
        seed: args.seed,
        records: args.records,
        partitions,
        sensors: args.sensors,
        start_ms: args.start.unwrap_or(start_ms),
        span: args.span.or(by_rate).or(by_interval).unwrap_or(Spec::default().span),
        late_every: args.late_every,
        fault_every: args.fault_every,
    }
}

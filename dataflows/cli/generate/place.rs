//! Where generated records go: a fixture, or Kafka, at the speed that is asked for.

use std::path::Path;
use std::time::{Duration, Instant};

use tidegate::kafka::{Properties, Writer};
use tidegate::record::{Headers, KafkaTime, Partition, Record, Value};
use tidegate::runtime::{Clock, SystemClock};
use tidegate::sink::lake::replace_file;
use tidegate::source::fixture::Codec;
use tidegate_dataflows::generate::activity::Generated;
use tidegate_dataflows::generate::{Form, Packed, Target, TargetError};

use super::super::args::{CodecName, Destination, FormName, Live};
use super::super::failure::Failure;
use super::super::kafka;
use super::super::signals::Signals;
use super::super::ui::{Ui, grouped};

/// The file in a fixture that tells what is wrong with its records on purpose.
const MARKS: &str = "faults.json";

/// How many records are made between two looks at the clock and at signals.
const LOOK_EVERY: u64 = 1 << 14;

/// Generated records, one after the other in the order of their arrival.
pub(super) trait Events {
    /// The next one; `None` after the last. Its partition is a place among those that are written to.
    fn next_event(&mut self) -> Option<Generated<'_>>;
    /// About how many there are.
    fn records(&self) -> u64;
    /// How many are taken at most.
    fn most(&self) -> u64 {
        self.records()
    }
    /// What is wrong on purpose with those so far: how much, and as JSON; `None` where nothing is.
    fn faults(&self) -> Option<(usize, Vec<u8>)>;
}

/// How fast records go to Kafka.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pace {
    /// As fast as it takes them.
    Fast,
    /// One after each such time.
    Every(Duration),
    /// Each when its Kafka timestamp comes.
    RealTime,
}

impl Live {
    /// The pace that is asked for.
    pub(super) fn pace(&self) -> Pace {
        if self.real_time { Pace::RealTime } else { Pace::of(self.rate, None) }
    }
}

impl Pace {
    /// So many a second, or one every `interval`.
    pub(super) fn of(rate: Option<f64>, interval: Option<Duration>) -> Pace {
        let by_rate = rate.and_then(|rate| Duration::try_from_secs_f64(1.0 / rate).ok());
        interval.or(by_rate).map_or(Pace::Fast, Pace::Every)
    }

    /// How long after the first record, which had the timestamp `first_ms`, this one is due.
    fn due(self, number: u64, kafka_ms: i64, first_ms: i64) -> Duration {
        match self {
            Pace::Fast => Duration::ZERO,
            Pace::Every(interval) => interval.mul_f64(number as f64),
            Pace::RealTime => Duration::from_millis(kafka_ms.saturating_sub(first_ms).max(0).unsigned_abs()),
        }
    }
}

/// Where records go, and where it is told what is wrong with them.
pub(super) struct Place<'a> {
    to: To<'a>,
    marks: Option<&'a Path>,
}

enum To<'a> {
    /// A new directory.
    Fixture(&'a Path, Form),
    /// Brokers.
    Kafka(&'a str, Properties),
}

impl<'a> Place<'a> {
    /// What the command line names; payloads alone only where they are of use, `bare`.
    pub(super) fn of(to: &'a Destination, bare: bool) -> Result<Self, Failure> {
        let marks = to.marks.as_deref();
        if let Some(path) = marks.filter(|path| path.parent().is_some_and(is_missing)) {
            return Err(Failure::usage(format!("there is no directory for {}", path.display()))
                .mend("make it, or name another --marks FILE"));
        }
        let to = match (&to.bootstrap_servers, &to.fixture) {
            (Some(servers), _) => {
                To::Kafka(servers, kafka::properties(servers, to.client.client_properties.as_deref())?)
            }
            (None, Some(_)) if to.form == FormName::Ndjson && !bare => {
                return Err(Failure::usage("bare payloads are for the bench of activity")
                    .mend("write another --form"));
            }
            (None, Some(dir)) => To::Fixture(dir, form(to.form, to.codec)?),
            (None, None) => {
                return Err(Failure::usage("there is nowhere to write to")
                    .mend("name a new directory, --fixture DIR, or brokers, --bootstrap-servers HOST:PORT"));
            }
        };
        Ok(Place { to, marks })
    }

    /// When the first record arrives where nothing says so: in a fixture at `default_ms`; in Kafka now where the clock is kept,
    /// else so that the last of `span` arrives now.
    pub(super) fn start_ms(&self, default_ms: i64, pace: Pace, span: Duration) -> i64 {
        let now_ms = SystemClock.now_us().div_euclid(1_000);
        match self.to {
            To::Fixture(..) => default_ms,
            To::Kafka(..) if pace == Pace::Fast => {
                now_ms.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX))
            }
            To::Kafka(..) => now_ms,
        }
    }

    /// The partitions of `topic`, which is made where it is not there.
    pub(super) fn partitions(
        &self,
        ui: &Ui,
        topic: &str,
        wanted: Option<u32>,
        default: u32,
    ) -> Result<Vec<Partition>, Failure> {
        let partitions = match &self.to {
            To::Fixture(..) => wanted.unwrap_or(default),
            To::Kafka(_, properties) => kafka::topic_of(ui, properties, topic, wanted, default)?,
        };
        Ok((0..partitions).map(|number| Partition::new(topic, number as i32)).collect())
    }

    /// Writes all records, to Kafka until a signal comes.
    pub(super) fn write(
        self,
        ui: &Ui,
        partitions: &[Partition],
        pace: Pace,
        events: &mut dyn Events,
    ) -> Result<(), Failure> {
        let mut progress = Progress::begin(ui, events.records())?;
        let place = match &self.to {
            To::Fixture(dir, form) => {
                to_fixture(&mut progress, dir, partitions, *form, (self.marks, events))?;
                dir.display().to_string()
            }
            To::Kafka(servers, properties) => {
                to_kafka(&mut progress, properties, partitions, pace, events)?;
                (*servers).to_owned()
            }
        };
        let mut topics: Vec<&str> = partitions.iter().map(|partition| &*partition.topic).collect();
        topics.dedup();
        let into = match topics[..] {
            [topic] => format!("{} partitions of {topic}", partitions.len()),
            _ => format!("{} topics", topics.len()),
        };
        let (faults, marked) = match events.faults() {
            None => (String::new(), b"[]".to_vec()),
            Some((faults, marked)) => {
                let told = match (self.marks, &self.to) {
                    (Some(path), _) => format!(" in {}", path.display()),
                    (None, To::Fixture(..)) => format!(" in {MARKS}"),
                    (None, To::Kafka(..)) => String::new(),
                };
                (format!(", with {faults} faults{told}"), marked)
            }
        };
        if let Some(path) = self.marks {
            replace_file(path, &marked).map_err(Failure::running)?;
        }
        progress.end(&format!("{into}{faults}"), &place);
        Ok(())
    }
}

fn is_missing(dir: &Path) -> bool {
    !dir.as_os_str().is_empty() && !dir.is_dir()
}

fn to_fixture(
    progress: &mut Progress<'_>,
    dir: &Path,
    partitions: &[Partition],
    form: Form,
    (marks, events): (Option<&Path>, &mut dyn Events),
) -> Result<(), Failure> {
    let most = events.most();
    let mut target = Target::create_of(dir, partitions.to_vec(), form).map_err(failure)?;
    while progress.records < most
        && let Some(event) = events.next_event()
    {
        target.write(&event).map_err(failure)?;
        progress.add(event.payload.len());
        if progress.records.is_multiple_of(LOOK_EVERY) {
            if progress.signals.asked() {
                return Err(Failure::running("stopped before the end; nothing was written"));
            }
            progress.tell();
        }
    }
    if let (None, Some((_, marked))) = (marks, events.faults()) {
        target.write_beside(MARKS, &marked).map_err(failure)?;
    }
    target.finish().map_err(failure)
}

fn to_kafka(
    progress: &mut Progress<'_>,
    properties: &Properties,
    partitions: &[Partition],
    pace: Pace,
    events: &mut dyn Events,
) -> Result<(), Failure> {
    let writer = Writer::open(properties, kafka::TIMEOUT).map_err(Failure::usage)?;
    let began = Instant::now();
    let (mut first_ms, most) = (None, events.most());
    'all: while progress.records < most
        && let Some(event) = events.next_event()
    {
        let first_ms = *first_ms.get_or_insert(event.kafka_ms);
        let due = pace.due(progress.records, event.kafka_ms, first_ms);
        loop {
            if progress.signals.asked() {
                break 'all;
            }
            let early = due.saturating_sub(began.elapsed());
            if early.is_zero() {
                break;
            }
            // Short, so that a signal is heard; not too short: many records a second are then due together. The client's own
            // wait would keep a processor busy, since it counts whole milliseconds and asks again for the rest of one.
            std::thread::sleep(early.clamp(Duration::from_millis(1), Duration::from_millis(100)));
            writer.poll(Duration::ZERO).map_err(kafka::failure)?;
            progress.tell();
        }
        let partition = &partitions[event.partition as usize];
        let written = match event.fault {
            None => {
                writer.write(&partition.topic, partition.number, event.kafka_ms, event.key, event.payload)
            }
            Some(fault) => {
                let record = Record {
                    offset: event.offset,
                    kafka_time: KafkaTime::Create(event.kafka_ms),
                    key: Some(event.key),
                    value: Some(Value::exact(event.payload)),
                    headers: Headers::default(),
                };
                writer.write_record(partition, &record, &|_| false, ("fault", fault))
            }
        };
        written.map_err(kafka::failure)?;
        progress.add(event.payload.len());
        if progress.records.is_multiple_of(LOOK_EVERY / 16) {
            writer.poll(Duration::ZERO).map_err(kafka::failure)?;
            progress.tell();
        }
    }
    writer.finish().map_err(kafka::failure)
}

/// What has been written so far, told now and then.
struct Progress<'u> {
    ui: &'u Ui,
    signals: Signals,
    of: u64,
    records: u64,
    bytes: u64,
    began: Instant,
    told: Instant,
}

impl<'u> Progress<'u> {
    fn begin(ui: &'u Ui, of: u64) -> Result<Self, Failure> {
        let (signals, began) = (Signals::listen(ui, 1)?, Instant::now());
        Ok(Progress { ui, signals, of, records: 0, bytes: 0, began, told: began })
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

    fn end(&self, what: &str, place: &str) {
        self.ui.note(format_args!(
            "{} records, {} bytes of payload, in {what}: {place} ({:.1} s)",
            grouped(self.records),
            grouped(self.bytes),
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

fn failure(error: TargetError) -> Failure {
    match error.is_usage() {
        true => Failure::usage(error),
        false => Failure::running(error).mend("see to space and permissions; what was written is removed"),
    }
}

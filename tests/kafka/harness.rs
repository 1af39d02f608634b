//! What the tests share: topics of their own on the broker, records in, records out.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::message::ToBytes;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tidegate::kafka::{NewTopicSpec, Properties, create_topic};
use tidegate::record::Record;
use tidegate::source::kafka::{KafkaSource, Settings, Start};
use tidegate::source::memory::OwnedRecord;
use tidegate::source::{Assignment, Reader, Source, SourceError, Visit};

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The broker, or `None` and a line that says so.
pub(crate) fn broker() -> Option<String> {
    let broker = std::env::var("TIDEGATE_TEST_KAFKA").ok();
    if broker.is_none() {
        println!("NOT TESTED: TIDEGATE_TEST_KAFKA names no broker");
    }
    broker
}

/// A name that no earlier run has used.
pub(crate) fn fresh(what: &str) -> String {
    let nanos = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    format!("tidegate-test-{what}-{nanos}")
}

/// A new topic and the settings to read it.
pub(crate) fn topic(broker: &str, what: &str, partitions: i32, options: &[(&str, &str)]) -> Settings {
    let name = fresh(what);
    let properties = Properties::new(broker);
    let spec = NewTopicSpec { name: &name, partitions, replication: Some(1), settings: options };
    assert!(create_topic(&properties, &spec, PATIENCE).unwrap());
    Settings::new(properties, [name])
}

/// A producer with some more properties.
pub(crate) fn producer(broker: &str, properties: &[(&str, &str)]) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker);
    for (name, value) in properties {
        config.set(*name, *value);
    }
    config.create().unwrap()
}

/// Hands a record to the producer, waiting while its buffer is full.
pub(crate) fn send<V: ToBytes + ?Sized>(producer: &BaseProducer, topic: &str, partition: i32, value: &V) {
    let mut record = BaseRecord::<(), V>::to(topic).partition(partition).payload(value);
    loop {
        match producer.send(record) {
            Ok(()) => return,
            Err((error, back)) => {
                assert_eq!(
                    error.rdkafka_error_code(),
                    Some(rdkafka::types::RDKafkaErrorCode::QueueFull),
                    "{error}"
                );
                record = back;
                producer.poll(Duration::from_millis(10));
            }
        }
    }
}

/// Appends numbered values to a partition.
pub(crate) fn produce(broker: &str, topic: &str, partition: i32, values: std::ops::Range<usize>) {
    let producer = producer(broker, &[("linger.ms", "20"), ("enable.idempotence", "true")]);
    for value in values {
        send(&producer, topic, partition, &value.to_string());
    }
    producer.flush(PATIENCE).unwrap();
}

/// Assignments of all partitions.
pub(crate) fn assign(offsets: &[i64]) -> Vec<Assignment> {
    offsets
        .iter()
        .enumerate()
        .map(|(partition, &from_offset)| Assignment { partition, from_offset })
        .collect()
}

/// Reads from `start` until every lane is at its end, asking the broker last.
pub(crate) fn read_all(settings: &Settings, start: &Start) -> Result<Vec<Vec<OwnedRecord>>, SourceError> {
    let source = KafkaSource::open(settings.clone())?;
    let mut reader = source.reader(&assign(&source.resolve_start(start)?))?;
    let mut all = vec![Vec::new(); reader.lanes()];
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut open = 0;
        for (lane, records) in all.iter_mut().enumerate() {
            take(&mut *reader, lane, 1_000, records)?;
            open += usize::from(!reader.status(lane).unwrap().at_end || !reader.confirm_end(lane));
        }
        if open == 0 {
            return Ok(all);
        }
        assert!(Instant::now() < deadline, "{open} partitions have not been read to their ends");
    }
}

/// Polls a lane once and keeps what it shows.
pub(crate) fn take(
    reader: &mut dyn Reader,
    lane: usize,
    budget: usize,
    into: &mut Vec<OwnedRecord>,
) -> Result<(), SourceError> {
    let mut visit = |_: usize, record: &Record<'_>| {
        into.push(OwnedRecord::from(record));
        Visit::Taken
    };
    reader.poll(lane, budget, &mut visit)?;
    std::thread::yield_now();
    Ok(())
}

/// The values of records as text.
pub(crate) fn texts(records: &[OwnedRecord]) -> Vec<String> {
    let text = |record: &OwnedRecord| String::from_utf8(record.value.clone().unwrap_or_default()).unwrap();
    records.iter().map(text).collect()
}

/// Numbers as text.
pub(crate) fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

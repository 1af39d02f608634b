//! What a record costs on the thread that polls: librdkafka's bare batch queue against the source's `poll`.
//! `TIDEGATE_TEST_KAFKA_RECORDS` says how many; it is a measurement, so that nothing depends on its outcome.

use std::ffi::CString;
use std::ptr::null_mut;
use std::time::{Duration, Instant};

use cpu_time::{ProcessTime, ThreadTime};
use rdkafka::ClientConfig;
use rdkafka::bindings as ffi;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseRecord, Producer};
use tidegate::source::kafka::KafkaSource;
use tidegate::source::{Poll, Reader, Source, Visit};

use super::harness::*;

#[test]
fn cpu_per_record() {
    let Some(broker) = broker() else { return };
    let records = std::env::var("TIDEGATE_TEST_KAFKA_RECORDS").ok().and_then(|text| text.parse().ok());
    let Some(records) = records else { return };
    let settings = topic(&broker, "measure", 1, &[]);
    let name = settings.topics[0].clone();
    let producer = producer(&broker, &[("linger.ms", "50"), ("compression.type", "none")]);
    let payload = [b'x'; 130];
    for _ in 0..records {
        let mut record =
            BaseRecord::<[u8], [u8]>::to(&name).partition(0).payload(&payload).key(b"user_12345");
        while let Err((_, back)) = producer.send(record) {
            record = back;
            producer.poll(Duration::from_millis(10));
        }
    }
    producer.flush(PATIENCE).unwrap();

    for _ in 0..3 {
        let (thread, process) = measured(|| bare(&broker, &name, records));
        println!(
            "bare queue: {} ns/record on the thread, {} in the process",
            thread / records,
            process / records
        );
        let source = KafkaSource::open(settings.clone()).unwrap();
        let mut reader = source.reader(&assign(&[0])).unwrap();
        let (thread, process) = measured(|| polled(&mut *reader, records));
        println!(
            "source:     {} ns/record on the thread, {} in the process",
            thread / records,
            process / records
        );
    }
}

fn measured(run: impl FnOnce()) -> (u64, u64) {
    let (thread, process) = (ThreadTime::now(), ProcessTime::now());
    run();
    (thread.elapsed().as_nanos() as u64, process.elapsed().as_nanos() as u64)
}

fn polled(reader: &mut dyn Reader, records: u64) {
    let (mut read, mut bytes) = (0, 0);
    let deadline = Instant::now() + 2 * PATIENCE;
    while read < records {
        let mut visit = |_: usize, record: &tidegate::record::Record<'_>| {
            read += 1;
            bytes += record.value.map_or(0, |value| value.bytes().len());
            Visit::Taken
        };
        if reader.poll(0, 1_000, &mut visit).unwrap() == Poll::Idle {
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(Instant::now() < deadline);
    }
    assert_eq!(bytes as u64, records * 130);
}

/// The same by hand: a queue, batches of 1000, and each message's length.
fn bare(broker: &str, topic: &str, records: u64) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker).set("check.crcs", "true").set("fetch.queue.backoff.ms", "10");
    let consumer: BaseConsumer = config.create().unwrap();
    let name = CString::new(topic).unwrap();
    // SAFETY: the objects are made, used and destroyed here, in this order, while the consumer lives; a message is
    // read before it is destroyed.
    unsafe {
        let rk = consumer.client().native_ptr();
        let topic = ffi::rd_kafka_topic_new(rk, name.as_ptr(), null_mut());
        let queue = ffi::rd_kafka_queue_new(rk);
        assert_eq!(ffi::rd_kafka_consume_start_queue(topic, 0, 0, queue), 0);
        let mut batch = vec![null_mut(); 1_000];
        let (mut read, mut bytes) = (0, 0);
        while read < records {
            let taken = ffi::rd_kafka_consume_batch_queue(queue, 0, batch.as_mut_ptr(), batch.len());
            let taken = usize::try_from(taken).unwrap();
            for &message in &batch[..taken] {
                read += 1;
                bytes += (*message).len;
                ffi::rd_kafka_message_destroy(message);
            }
            if taken == 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        assert_eq!(bytes as u64, records * 130);
        ffi::rd_kafka_consume_stop(topic, 0);
        ffi::rd_kafka_queue_destroy(queue);
        ffi::rd_kafka_topic_destroy(topic);
    }
}

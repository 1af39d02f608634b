//! The rival: librdkafka's batch queue, with nothing behind it.

use std::ffi::CString;
use std::ptr::null_mut;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::bindings as ffi;
use rdkafka::consumer::{BaseConsumer, Consumer};

/// As in a loop that somebody writes: batches of a thousand messages, and a nap when there is none.
const BATCH: usize = 1_000;
const NAP: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(30);

/// Reads all partitions of `topic` to their present ends and adds up the bytes; gives how many records there were.
pub(crate) fn records(servers: &str, topic: &str) -> u64 {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", servers).set("check.crcs", "true").set("fetch.queue.backoff.ms", "10");
    let consumer: BaseConsumer = client.create().expect("a client");
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("the broker answers");
    let partitions: Vec<i32> =
        metadata.topics()[0].partitions().iter().map(|partition| partition.id()).collect();
    let bounds =
        |partition: &i32| consumer.fetch_watermarks(topic, *partition, PATIENCE).expect("the broker answers");
    let wanted: i64 = partitions.iter().map(bounds).map(|(low, high)| high - low).sum();
    let name = CString::new(topic).expect("a name");
    let (mut read, mut bytes) = (0, 0);
    // SAFETY: the objects are made, used and destroyed here, in this order, while the consumer lives; a message is read before it is
    // destroyed.
    unsafe {
        let rk = consumer.client().native_ptr();
        let topic = ffi::rd_kafka_topic_new(rk, name.as_ptr(), null_mut());
        let queue = ffi::rd_kafka_queue_new(rk);
        for partition in &partitions {
            let beginning = i64::from(ffi::RD_KAFKA_OFFSET_BEGINNING);
            assert_eq!(ffi::rd_kafka_consume_start_queue(topic, *partition, beginning, queue), 0);
        }
        let mut batch = vec![null_mut(); BATCH];
        while read < wanted {
            let taken = ffi::rd_kafka_consume_batch_queue(queue, 0, batch.as_mut_ptr(), batch.len());
            let taken = usize::try_from(taken).expect("no error");
            for &message in &batch[..taken] {
                // What is no record says where a partition ends, or that something is wrong.
                read += i64::from((*message).err == ffi::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR);
                bytes += (*message).len;
                ffi::rd_kafka_message_destroy(message);
            }
            if taken == 0 {
                std::thread::sleep(NAP);
            }
        }
        for partition in &partitions {
            ffi::rd_kafka_consume_stop(topic, *partition);
        }
        ffi::rd_kafka_queue_destroy(queue);
        ffi::rd_kafka_topic_destroy(topic);
    }
    assert!(bytes > 0);
    read.unsigned_abs()
}

//! The source: transactions, retention, topics that are made again, and where to begin.

use std::time::Instant;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::Producer;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tidegate::record::Partition;
use tidegate::source::kafka::{KafkaSource, OutOfRange, Settings, Start};
use tidegate::source::{Reader, Source, SourceError};

use super::harness::*;

fn admin(broker: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", broker).create().unwrap()
}

/// Deletes the records before `offset`, as retention does.
fn delete_before(broker: &str, topic: &str, offset: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Offset(offset)).unwrap();
    let deleted = futures(admin(broker).delete_records(&list, &AdminOptions::new())).unwrap();
    deleted.elements()[0].error().unwrap();
}

/// Waits for one of the admin client's futures; librdkafka's threads complete it.
fn futures<F: std::future::Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        assert!(Instant::now() < deadline, "no answer");
        std::thread::yield_now();
    }
}

#[test]
fn aborted_transactions_are_not_seen_and_markers_do_not_hide_the_end() {
    let Some(broker) = broker() else { return };
    let settings = topic(&broker, "aborted", 1, &[]);
    let name = settings.topics[0].clone();
    let id = fresh("id");
    let producer = producer(&broker, &[("transactional.id", &id)]);
    producer.init_transactions(PATIENCE).unwrap();
    let mut expected = Vec::new();
    for round in 0..6 {
        producer.begin_transaction().unwrap();
        for n in 0..50 {
            send(&producer, &name, 0, &format!("{round}:{n}"));
        }
        if round % 2 == 0 {
            producer.commit_transaction(PATIENCE).unwrap();
            expected.extend((0..50).map(|n| format!("{round}:{n}")));
        } else {
            producer.flush(PATIENCE).unwrap();
            producer.abort_transaction(PATIENCE).unwrap();
        }
    }
    let read = read_all(&settings, &Start::Earliest).unwrap();
    assert_eq!(texts(&read[0]), expected);
    // 300 records and 6 markers.
    assert_eq!(KafkaSource::open(settings).unwrap().ends().unwrap(), [306]);
}

#[test]
fn open_transaction_is_not_the_end() {
    let Some(broker) = broker() else { return };
    let settings = topic(&broker, "open", 1, &[]);
    let name = settings.topics[0].clone();
    produce(&broker, &name, 0, 0..10);
    let id = fresh("id");
    let producer = producer(&broker, &[("transactional.id", &id)]);
    producer.init_transactions(PATIENCE).unwrap();
    producer.begin_transaction().unwrap();
    send(&producer, &name, 0, "hidden");
    producer.flush(PATIENCE).unwrap();

    let source = KafkaSource::open(settings).unwrap();
    let mut reader = source.reader(&assign(&[0])).unwrap();
    let (mut read, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    while read.len() < 10 || reader.status(0).unwrap().end != Some(11) {
        take(&mut *reader, 0, 100, &mut read).unwrap();
        assert!(Instant::now() < deadline);
    }
    assert!(!reader.status(0).unwrap().at_end, "{:?}", reader.status(0));
    assert!(!reader.confirm_end(0));
    producer.commit_transaction(PATIENCE).unwrap();
    while !reader.status(0).unwrap().at_end {
        take(&mut *reader, 0, 100, &mut read).unwrap();
        assert!(Instant::now() < deadline);
    }
    assert!(reader.confirm_end(0));
    assert_eq!(read.len(), 11);
}

#[test]
fn first_start_is_where_the_settings_say() {
    let Some(broker) = broker() else { return };
    let settings = topic(&broker, "start", 2, &[]);
    let name = settings.topics[0].clone();
    produce(&broker, &name, 0, 0..100);
    produce(&broker, &name, 1, 0..50);
    delete_before(&broker, &name, 10);
    let source = KafkaSource::open(settings.clone()).unwrap();
    assert_eq!(source.resolve_start(&Start::Earliest).unwrap(), [10, 0]);
    assert_eq!(source.resolve_start(&Start::Latest).unwrap(), [100, 50]);
    assert_eq!(source.resolve_start(&Start::Timestamp(0)).unwrap(), [10, 0]);
    assert_eq!(source.resolve_start(&Start::Timestamp(i64::MAX / 2)).unwrap(), [100, 50]);
    let at = |offset| Start::Offsets([(Partition::new(&name, 0), offset)].into());
    assert_eq!(source.resolve_start(&at(20)).unwrap(), [20, 0]);
    assert!(matches!(source.resolve_start(&at(9)), Err(SourceError::Gone { earliest: 10, .. })));
    assert!(matches!(source.resolve_start(&at(101)), Err(SourceError::Replaced { .. })));
    let skip = Settings { out_of_range: OutOfRange::Skip, ..settings };
    assert_eq!(KafkaSource::open(skip).unwrap().resolve_start(&at(9)).unwrap(), [10, 0]);
}

#[test]
fn records_that_are_gone_end_the_run_or_are_counted() {
    let Some(broker) = broker() else { return };
    let settings = topic(&broker, "gone", 1, &[]);
    let name = settings.topics[0].clone();
    produce(&broker, &name, 0, 0..100);
    delete_before(&broker, &name, 40);

    let read = |settings: &Settings| {
        let source = KafkaSource::open(settings.clone()).unwrap();
        let mut reader: Box<dyn Reader> = source.reader(&assign(&[7]))?;
        let (mut read, deadline) = (Vec::new(), Instant::now() + PATIENCE);
        while !reader.status(0).unwrap().at_end {
            take(&mut *reader, 0, 100, &mut read)?;
            assert!(Instant::now() < deadline);
        }
        Ok::<_, SourceError>((texts(&read), reader.status(0).unwrap().lost))
    };
    let error = read(&settings).expect_err("7 to 39 are gone");
    assert!(matches!(error, SourceError::Gone { position: 7, earliest: 40, .. }), "{error}");
    let skip = Settings { out_of_range: OutOfRange::Skip, ..settings };
    assert_eq!(read(&skip).unwrap(), (numbers(40..100), 33));
}

#[test]
fn topic_that_was_deleted_and_made_again_is_refused() {
    let Some(broker) = broker() else { return };
    let settings = topic(&broker, "again", 2, &[]);
    let name = settings.topics[0].clone();
    produce(&broker, &name, 0, 0..10);
    let source = KafkaSource::open(settings.clone()).unwrap();
    let ids = source.topic_ids();
    assert_eq!(ids.len(), 1, "the broker knows identities");
    assert!(source.refresh().unwrap().is_empty());
    let mut reader = source.reader(&assign(&[0, 0])).unwrap();
    let (mut read, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    while read.len() < 10 {
        take(&mut *reader, 0, 100, &mut read).unwrap();
    }

    futures(admin(&broker).delete_topics(&[&name], &AdminOptions::new())).unwrap()[0].as_ref().unwrap();
    let error = loop {
        match source.refresh() {
            Ok(_) => assert!(Instant::now() < deadline, "the deletion went unnoticed"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, SourceError::NoTopic { .. }), "{error}");
    assert!(!reader.confirm_end(0) && !reader.confirm_end(1), "what is deleted is not idle");
    drop(reader);

    let spec =
        tidegate::kafka::NewTopicSpec { name: &name, partitions: 2, replication: Some(1), settings: &[] };
    assert!(tidegate::kafka::create_topic(&settings.properties, &spec, PATIENCE).unwrap());
    produce(&broker, &name, 0, 0..20);
    let error = source.refresh().expect_err("another topic of that name");
    assert!(matches!(error, SourceError::Replaced { .. }), "{error}");
    let again = KafkaSource::open(settings).unwrap();
    assert!(again.check_topic_ids(&ids).is_err());
    again.check_topic_ids(&again.topic_ids()).unwrap();
}

#[test]
fn new_partitions_are_found() {
    let Some(broker) = broker() else { return };
    let settings = topic(&broker, "more", 1, &[]);
    let name = settings.topics[0].clone();
    let source = KafkaSource::open(settings).unwrap();
    let more = rdkafka::admin::NewPartitions::new(&name, 3);
    futures(admin(&broker).create_partitions(&[more], &AdminOptions::new())).unwrap()[0].as_ref().unwrap();
    let deadline = Instant::now() + PATIENCE;
    let found = loop {
        let found = source.refresh().unwrap();
        if !found.is_empty() {
            break found;
        }
        assert!(Instant::now() < deadline);
    };
    let ids: Vec<Partition> = found.into_iter().map(|info| info.id).collect();
    assert_eq!(ids, [Partition::new(&name, 1), Partition::new(&name, 2)]);
}

#[test]
fn missing_topic_is_named() {
    let Some(broker) = broker() else { return };
    let name = fresh("missing");
    let settings = Settings::new(tidegate::kafka::Properties::new(&broker), [name.as_str()]);
    let error = KafkaSource::open(settings).err().expect("there is none");
    assert!(matches!(&error, SourceError::NoTopic { topic, .. } if *topic == name), "{error}");
}

#[test]
fn topic_made_a_moment_ago_is_opened() {
    let Some(broker) = broker() else { return };
    for round in 0..20 {
        // Its partitions get their leaders one by one, after the answer that it was made.
        let settings = topic(&broker, &format!("young-{round}"), 12, &[]);
        let source = KafkaSource::open(settings).unwrap();
        assert_eq!(source.partitions().len(), 12);
    }
}

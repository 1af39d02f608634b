//! Plumbing, against librdkafka's mock cluster: what it cannot do (transactions, retention) is tested with a real
//! broker in `tests/kafka.rs`.

use std::time::Instant;

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};

use super::*;
use crate::record::{KafkaTime, Record};
use crate::source::memory::OwnedRecord;
use crate::source::{LaneStatus, Poll, Visit};

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster(topics: &[(&str, i32)]) -> (Cluster, Settings) {
    let cluster = MockCluster::new(1).unwrap();
    for (name, partitions) in topics {
        cluster.create_topic(name, *partitions, 1).unwrap();
    }
    let properties = Properties::new(&cluster.bootstrap_servers());
    let settings = Settings::new(properties, topics.iter().map(|(name, _)| *name));
    // The mock does not answer that question.
    (cluster, Settings { identify: false, ..settings })
}

/// Appends records to a partition; their offsets are the broker's.
fn produce(settings: &Settings, topic: &str, partition: i32, records: &[OwnedRecord]) {
    let producer: BaseProducer = settings.properties.client().create().unwrap();
    for record in records {
        let mut headers = OwnedHeaders::new();
        for (name, value) in &record.headers {
            let key = std::str::from_utf8(name).unwrap();
            headers = headers.insert(Header { key, value: value.as_deref() });
        }
        let mut message = BaseRecord::<[u8], [u8]>::to(topic).partition(partition);
        message.key = record.key.as_deref();
        message.payload = record.value.as_deref();
        message = message.timestamp(record.kafka_time.ms().unwrap_or(0));
        if !record.headers.is_empty() {
            message = message.headers(headers);
        }
        producer.send(message).map_err(|(error, _)| error).unwrap();
        producer.poll(Duration::ZERO);
    }
    producer.flush(Duration::from_secs(30)).unwrap();
}

fn values(partition: i32, offsets: std::ops::Range<i64>) -> Vec<OwnedRecord> {
    offsets
        .map(|offset| OwnedRecord {
            kafka_time: KafkaTime::Create(1_000 + offset),
            ..OwnedRecord::of_value(offset, format!("{partition}:{offset}"))
        })
        .collect()
}

/// Polls a lane until `done` says so of what has been taken and of the last poll, at most 30 s.
fn poll_until(
    reader: &mut dyn Reader,
    lane: usize,
    budget: usize,
    mut take: impl FnMut(&Record<'_>) -> Visit,
    mut done: impl FnMut(&dyn Reader, Poll) -> bool,
) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let poll = reader.poll(lane, budget, &mut |_, record| take(record)).unwrap();
        if done(reader, poll) {
            return;
        }
        assert!(Instant::now() < deadline, "nothing for 30 s: {:?}", reader.status(lane));
        if poll == Poll::Idle {
            std::thread::yield_now();
        }
    }
}

/// Everything in a lane up to its end.
fn read_to_end(reader: &mut dyn Reader, lane: usize, budget: usize) -> Vec<OwnedRecord> {
    let mut all = Vec::new();
    let take = |record: &Record<'_>| {
        all.push(OwnedRecord::from(record));
        Visit::Taken
    };
    poll_until(reader, lane, budget, take, |reader, _| reader.status(lane).unwrap().at_end);
    all
}

fn assign(offsets: &[i64]) -> Vec<Assignment> {
    offsets
        .iter()
        .enumerate()
        .map(|(partition, &from_offset)| Assignment { partition, from_offset })
        .collect()
}

#[test]
fn partitions_are_sorted_by_topic_and_number() {
    let (_cluster, settings) = cluster(&[("b", 2), ("a.x", 11), ("a", 1)]);
    let source = KafkaSource::open(settings).unwrap();
    let found: Vec<String> = source.partitions().iter().map(|info| info.id.to_string()).collect();
    let mut expected = vec!["a-0".to_owned()];
    expected.extend((0..11).map(|n| format!("a.x-{n}")));
    expected.extend(["b-0".to_owned(), "b-1".to_owned()]);
    assert_eq!(found, expected);
    assert!(source.refresh().unwrap().is_empty());
}

#[test]
fn each_lane_shows_its_partition_in_order_from_the_given_offset() {
    let (_cluster, settings) = cluster(&[("t", 3)]);
    for partition in 0..3 {
        produce(&settings, "t", partition, &values(partition, 0..2_500));
    }
    let source = KafkaSource::open(settings).unwrap();
    assert_eq!(source.ends().unwrap(), [2_500; 3]);
    let mut reader = source.reader(&assign(&[0, 1_234, 2_500])).unwrap();
    for (lane, from) in [(0, 0), (1, 1_234), (2, 2_500)] {
        assert_eq!(reader.lane_partitions(lane), [lane]);
        assert_eq!(read_to_end(&mut *reader, lane, 700), values(lane as i32, from..2_500));
        let status = reader.status(lane).unwrap();
        assert_eq!(status, LaneStatus { position: 2_500, end: Some(2_500), at_end: true, lost: 0 });
        assert!(reader.confirm_end(lane));
    }
}

#[test]
fn record_that_was_not_taken_is_shown_again() {
    let (_cluster, settings) = cluster(&[("t", 1)]);
    produce(&settings, "t", 0, &values(0, 0..300));
    let source = KafkaSource::open(settings).unwrap();
    let mut reader = source.reader(&assign(&[0])).unwrap();
    let (mut taken, mut refused) = (Vec::new(), None);
    let take = |record: &Record<'_>| {
        match refused.take() {
            // The same one, first of all.
            Some(offset) => assert_eq!(record.offset, offset),
            None if record.offset % 3 == 0 => {
                refused = Some(record.offset);
                return Visit::Stop;
            }
            None => {}
        }
        taken.push(OwnedRecord::from(record));
        Visit::Taken
    };
    poll_until(&mut *reader, 0, 7, take, |reader, _| reader.status(0).unwrap().at_end);
    assert_eq!(taken, values(0, 0..300));
}

#[test]
fn budget_is_kept() {
    let (_cluster, settings) = cluster(&[("t", 1)]);
    produce(&settings, "t", 0, &values(0, 0..100));
    let source = KafkaSource::open(settings).unwrap();
    let mut reader = source.reader(&assign(&[0])).unwrap();
    let (shown, before) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let take = |_: &Record<'_>| {
        shown.set(shown.get() + 1);
        Visit::Taken
    };
    poll_until(&mut *reader, 0, 9, take, |_, _| {
        assert!(shown.get() - before.replace(shown.get()) <= 9);
        shown.get() == 100
    });
}

#[test]
fn keys_headers_and_times_are_exact() {
    let (_cluster, settings) = cluster(&[("t", 1)]);
    let header = |name: &str, value: Option<&[u8]>| (name.as_bytes().to_vec(), value.map(<[u8]>::to_vec));
    let records = [
        OwnedRecord { key: Some(b"k".to_vec()), ..OwnedRecord::of_value(0, "v") },
        OwnedRecord { key: Some(Vec::new()), value: Some(Vec::new()), ..OwnedRecord::of_value(1, "") },
        OwnedRecord { value: None, ..OwnedRecord::of_value(2, "") },
        OwnedRecord {
            key: Some(vec![0xff, 0]),
            headers: vec![
                header("a", Some(b"1")),
                header("", None),
                header("a", Some(b"")),
                header("z", Some(&[0xff])),
            ],
            ..OwnedRecord::of_value(3, vec![0, 0xfe])
        },
        OwnedRecord::of_value(4, vec![b'x'; 100_000]),
    ];
    let records =
        records.map(|record| OwnedRecord { kafka_time: KafkaTime::Create(1_700_000_000_123), ..record });
    produce(&settings, "t", 0, &records);
    let source = KafkaSource::open(settings).unwrap();
    let mut reader = source.reader(&assign(&[0])).unwrap();
    assert_eq!(read_to_end(&mut *reader, 0, 2), records);
}

/// Values that end at every place of a page, with and without headers, each batch as it came or unpacked.
#[test]
fn headers_are_found_wherever_a_value_ends() {
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let (_cluster, settings) = cluster(&[("t", 1)]);
        let record = |offset: i64| {
            let (headers, value) = match offset % 3 {
                0 => (vec![(b"h".to_vec(), None)], vec![0; offset as usize % 700]),
                1 => (Vec::new(), vec![b'v'; offset as usize % 700]),
                _ => (Vec::new(), vec![1; 1 + offset as usize % 4096]),
            };
            OwnedRecord {
                kafka_time: KafkaTime::Create(1_000),
                headers,
                ..OwnedRecord::of_value(offset, value)
            }
        };
        // The mock keeps 5 MB.
        let records: Vec<_> = (0..3_000).map(record).collect();
        let packed = settings.properties.clone().with("compression.type", codec);
        produce(&Settings { properties: packed, ..settings.clone() }, "t", 0, &records);
        let mut reader = KafkaSource::open(settings).unwrap().reader(&assign(&[0])).unwrap();
        assert!(read_to_end(&mut *reader, 0, 1_000) == records, "{codec}");
    }
}

#[test]
fn lane_is_idle_at_its_end_and_wakes_with_the_next_record() {
    let (_cluster, settings) = cluster(&[("t", 2)]);
    produce(&settings, "t", 0, &values(0, 0..10));
    let source = KafkaSource::open(settings.clone()).unwrap();
    let mut reader = source.reader(&assign(&[0, 0])).unwrap();
    assert_eq!(read_to_end(&mut *reader, 0, 100), values(0, 0..10));
    assert_eq!(read_to_end(&mut *reader, 1, 100), []);
    assert_eq!(reader.poll(0, 100, &mut |_, _| panic!("there is nothing")).unwrap(), Poll::Idle);
    produce(&settings, "t", 0, &values(0, 10..12));
    let mut more = Vec::new();
    let take = |record: &Record<'_>| {
        more.push(OwnedRecord::from(record));
        Visit::Taken
    };
    poll_until(&mut *reader, 0, 100, take, |reader, _| reader.status(0).unwrap().position == 12);
    assert_eq!(more, values(0, 10..12));
}

#[test]
fn position_behind_the_end_is_a_log_that_was_replaced() {
    let (_cluster, settings) = cluster(&[("t", 1)]);
    produce(&settings, "t", 0, &values(0, 0..10));
    let source = KafkaSource::open(settings).unwrap();
    let error = source.reader(&assign(&[11])).err().expect("refused");
    assert!(matches!(error, SourceError::Replaced { .. }), "{error}");
    let given = Start::Offsets([(Partition::new("t", 0), 11)].into());
    assert!(matches!(source.resolve_start(&given), Err(SourceError::Replaced { .. })));
    let given = Start::Offsets([(Partition::new("t", 0), 7)].into());
    assert_eq!(source.resolve_start(&given).unwrap(), [7]);
    assert_eq!(source.resolve_start(&Start::Earliest).unwrap(), [0]);
}

#[test]
fn topic_that_was_made_again_is_told_from_its_identity() {
    let now = [TopicInfo { name: "t".to_owned(), id: Some("2".to_owned()), partitions: 1 }];
    let known = |id: &str| BTreeMap::from([("t".to_owned(), id.to_owned())]);
    same_topics(&known("2"), &now).unwrap();
    same_topics(&BTreeMap::new(), &now).unwrap();
    let error = same_topics(&known("1"), &now).expect_err("another identity");
    assert!(matches!(error, SourceError::Replaced { .. }), "{error}");
}

#[test]
fn property_that_a_promise_rests_on_cannot_be_changed() {
    let properties = Properties::new("127.0.0.1:1").with("isolation.level", "read_uncommitted");
    let error = KafkaSource::open(Settings::new(properties, ["t"])).err().expect("refused");
    assert!(error.to_string().contains("isolation.level"), "{error}");
}

#[test]
fn brokers_that_are_not_there_are_named_with_the_reason() {
    // The port was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let properties = Properties::new(&format!("127.0.0.1:{port}")).with("sasl.password", "hunter2");
    let settings = Settings { timeout: Duration::from_secs(2), ..Settings::new(properties, ["t"]) };
    let error = KafkaSource::open(settings).err().expect("nobody is there");
    assert!(matches!(error, SourceError::Unreachable { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&port.to_string()) && !text.contains("hunter2"), "{text}");
}

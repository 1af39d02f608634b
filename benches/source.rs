//! What reading costs before anything is decoded: nanoseconds a record for each form of a fixture.
//!
//! The records are the shape that the activity pipeline reads (133 bytes of JSON, a key, a timestamp), eight
//! partitions of one topic. In kcat lines each quote of the payload is escaped, which is what a reader of
//! them spends most of its time on; in segments it is the varints and the checksum. `open` is the quick look
//! that every run begins with. The visitor only adds up lengths, so that it is the reader that is measured.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tidegate::record::{Headers, KafkaTime, Partition, Record, Value};
use tidegate::source::fixture::{Codec, FixtureSource, KcatWriter, SegmentWriter};
use tidegate::source::memory::NdjsonSource;
use tidegate::source::{Assignment, Poll, Source, Visit};

/// Records of a run: enough that the caches do not hold them.
const RECORDS: u32 = 400_000;

/// Partitions of the topic.
const PARTITIONS: u32 = 8;

fn main_benches(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a folder for the fixtures");
    let mut group = criterion.benchmark_group("source");
    group.throughput(Throughput::Elements(RECORDS.into())).sample_size(10);

    for name in ["mixed.jsonl", "mixed.jsonl.gz", "mixed.jsonl.zst"] {
        let dir = dir.path().join(name);
        write_kcat(&dir, name);
        bench_dir(&mut group, name, &dir);
    }
    for codec in Codec::ALL {
        let dir = dir.path().join(format!("{codec:?}"));
        write_segments(&dir, codec);
        bench_dir(&mut group, &format!("segments {codec:?}"), &dir);
    }

    let ndjson = ndjson();
    group.bench_function("read ndjson", |bencher| bencher.iter(|| read(&ndjson, 0..PARTITIONS as usize)));
    group.finish();
}

type Group<'a> = criterion::BenchmarkGroup<'a, criterion::measurement::WallTime>;

fn bench_dir(group: &mut Group<'_>, name: &str, dir: &Path) {
    let open = || FixtureSource::open(dir, &|_| true).expect("the fixture was just written");
    group.bench_function(format!("open {name}"), |bencher| {
        bencher.iter_batched(|| (), |()| open(), BatchSize::PerIteration)
    });
    let source = open();
    group.bench_function(format!("read {name}"), |bencher| {
        bencher.iter(|| read(&source, 0..PARTITIONS as usize));
    });
    if name == "mixed.jsonl" {
        group.bench_function(format!("read one partition of {name}"), |bencher| {
            bencher.iter(|| read(&source, 3..4))
        });
    }
}

/// Reads some partitions to their end.
fn read(source: &dyn Source, partitions: std::ops::Range<usize>) -> u64 {
    let assigned: Vec<Assignment> =
        partitions.map(|partition| Assignment { partition, from_offset: 0 }).collect();
    let mut reader = source.reader(&assigned).expect("the fixture can be read");
    let mut bytes = 0;
    for lane in 0..reader.lanes() {
        let mut visit = |partition: usize, record: &Record<'_>| {
            let value = record.value.map_or(0, |value| value.bytes().len());
            bytes += (partition + value) as u64 + record.offset as u64;
            Visit::Taken
        };
        while reader.poll(lane, 1024, &mut visit).expect("the fixture is sound") != Poll::End {}
    }
    black_box(bytes)
}

/// Calls `write` with all records, in the order of a topic whose partitions take turns.
fn records(mut write: impl FnMut(&Partition, &Record<'_>)) {
    let partitions: Vec<Partition> =
        (0..PARTITIONS).map(|number| Partition::new("user_activity", number as i32)).collect();
    let kinds = ["page_view", "page_view", "click", "session_start"];
    for i in 0..RECORDS {
        let mixed = i.wrapping_mul(2_654_435_761) >> 8;
        let (user, page, kind) = (mixed % 100_000, mixed % 997, kinds[(mixed % 4) as usize]);
        let (minute, second, ms) = (i / 60_000 % 60, i / 1000 % 60, mixed % 1000);
        let value = format!(
            "{{\"event_time\":\"2026-01-01T00:{minute:02}:{second:02}.{ms:03}Z\",\"user_id\":\"user_{user}\",\
             \"page_url\":\"https://example.com/page/{page}\",\"event_type\":\"{kind}\"}}"
        );
        let key = format!("user_{user}");
        let record = Record {
            offset: i64::from(i / PARTITIONS),
            kafka_time: KafkaTime::Create(1_767_225_600_000 + i64::from(i)),
            key: Some(key.as_bytes()),
            value: Some(Value::exact(value.as_bytes())),
            headers: Headers::default(),
        };
        write(&partitions[(i % PARTITIONS) as usize], &record);
    }
}

fn write_kcat(dir: &Path, name: &str) {
    std::fs::create_dir_all(dir).expect("the folder can be made");
    let mut writer = KcatWriter::create(&dir.join(name)).expect("the file can be made");
    records(|partition, record| writer.write(partition, record).expect("the disk has room"));
    writer.finish().expect("the disk has room");
}

fn write_segments(dir: &Path, codec: Codec) {
    let mut writers: BTreeMap<Partition, SegmentWriter> = BTreeMap::new();
    records(|partition, record| {
        let writer = writers.entry(partition.clone()).or_insert_with(|| {
            SegmentWriter::create(dir, partition, 0, codec, u32::MAX).expect("the file can be made")
        });
        writer.write(record).expect("the disk has room");
    });
    writers.into_values().for_each(|writer| writer.finish().expect("the disk has room"));
}

fn ndjson() -> NdjsonSource {
    let mut partitions: BTreeMap<Partition, Vec<u8>> = BTreeMap::new();
    records(|partition, record| {
        let lines = partitions.entry(partition.clone()).or_default();
        lines.extend_from_slice(record.value.map(|value| value.bytes()).unwrap_or_default());
        lines.push(b'\n');
    });
    NdjsonSource::new(partitions)
}

criterion_group!(benches, main_benches);
criterion_main!(benches);

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::record::KafkaTime;
use crate::sink::kcat::{Line, kcat_line};
use crate::sink::trial::Trial;

const TOPICS: [&str; 3] = ["enriched", "in.late", "in.dlq"];

fn line(topic: &str, partition: i32, offset: i64) -> Vec<u8> {
    let mut out = Vec::new();
    let payload = format!("{{\"n\":{offset}}}");
    let payload = Some(payload.as_bytes());
    kcat_line(
        &mut out,
        &Line { topic, partition, offset, kafka_time: KafkaTime::None, headers: &[], key: None, payload },
    );
    out
}

fn batch(topic: usize, partition: i32, offsets: std::ops::Range<i64>) -> TopicBatch {
    let count = (offsets.end - offsets.start) as u64;
    let lines = offsets.flat_map(|offset| line(TOPICS[topic], partition, offset)).collect();
    TopicBatch { topic, partition, lines, count }
}

fn open(dir: &Path) -> TopicFiles {
    TopicFiles::open(dir, "p", &TOPICS, Durability::Process).unwrap()
}

fn run(sink: &mut TopicFiles, epoch: u64, batches: Vec<TopicBatch>) {
    for batch in batches {
        sink.write(epoch, batch).unwrap();
    }
    let staged = sink.prepare(epoch).unwrap();
    sink.commit(epoch, 1, &staged).unwrap();
}

/// The (partition, offset) of a topic's lines, as they stand.
fn places(dir: &Path, topic: &str) -> Vec<(i64, i64)> {
    let text = fs::read_to_string(dir.join(format!("{topic}.jsonl"))).unwrap();
    let place = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["topic"], topic);
        (line["partition"].as_i64().unwrap(), line["offset"].as_i64().unwrap())
    };
    text.lines().map(place).collect()
}

#[test]
fn lines_are_sorted_by_partition_and_offset_over_epochs() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = open(dir.path());
    run(&mut sink, 1, vec![batch(0, 10, 0..2), batch(0, 2, 0..3)]);
    sink.finish().unwrap();
    run(&mut sink, 2, vec![batch(0, 2, 3..5), batch(0, 0, 0..1), batch(0, 10, 2..3)]);
    run(&mut sink, 3, vec![batch(0, 2, 5..6)]);
    sink.finish().unwrap();
    let expected: Vec<_> = [(0, 0)]
        .into_iter()
        .chain((0..6).map(|offset| (2, offset)))
        .chain((0..3).map(|offset| (10, offset)))
        .collect();
    assert_eq!(places(dir.path(), "enriched"), expected);
    assert_eq!(places(dir.path(), "in.dlq"), []);
    sink.finish().unwrap();
    assert_eq!(places(dir.path(), "enriched"), expected);
}

#[test]
fn bookkeeping_is_hidden_from_fixture_readers() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = open(dir.path());
    run(&mut sink, 1, vec![batch(0, 0, 0..2)]);
    sink.finish().unwrap();
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let visible = names.iter().filter(|name| !name.to_str().unwrap().starts_with('.'));
    assert_eq!(visible.count(), TOPICS.len());
}

#[test]
fn nothing_is_visible_before_the_end_and_no_staged_file_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = open(dir.path());
    run(&mut sink, 1, vec![batch(0, 0, 0..2)]);
    assert!(!dir.path().join("enriched.jsonl").exists());
    assert_eq!(sink.committed().unwrap(), Some(1));
    assert_eq!(fs::read_dir(sink.books.root.join("staging")).unwrap().count(), 0);
}

#[test]
fn file_that_somebody_changed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = open(dir.path());
    run(&mut sink, 1, vec![batch(0, 0, 0..2)]);
    sink.finish().unwrap();
    fs::write(dir.path().join("enriched.jsonl"), "mine\n").unwrap();
    let error = sink.finish().unwrap_err().to_string();
    assert!(error.contains("enriched.jsonl") && error.contains("somebody else"), "{error}");
}

#[test]
fn damaged_staged_file_is_refused_by_another_process() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = open(dir.path());
    sink.write(1, batch(0, 0, 0..2)).unwrap();
    let staged = sink.prepare(1).unwrap();
    let path = staged_path(&sink.books.dir(&sink.books.dir_name(1)), "enriched", 0);
    let mut bytes = fs::read(&path).unwrap();
    bytes[3] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(matches!(open(dir.path()).commit(1, 1, &staged), Err(SinkError::Failed { .. })));
}

#[test]
fn what_is_not_lines_of_a_declared_topic_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = open(dir.path());
    assert!(sink.write(1, TopicBatch { topic: 3, ..batch(0, 0, 0..1) }).is_err());
    assert!(sink.write(1, TopicBatch { partition: -1, ..batch(0, 0, 0..1) }).is_err());
    assert!(sink.write(1, TopicBatch { lines: b"{}".to_vec(), ..batch(0, 0, 0..1) }).is_err());
    for name in ["", ".", "..", "a/b", "a b", "ä", &"x".repeat(250)] {
        assert!(TopicFiles::open(dir.path(), "p", &[name], Durability::Process).is_err(), "{name:?}");
    }
}

#[test]
fn lines_beyond_the_buffers_are_all_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = open(dir.path());
    let lines = line("enriched", 0, 0).repeat(40_000);
    for partition in 0..40 {
        sink.write(
            1,
            TopicBatch { topic: 0, partition, lines: lines[..lines.len() / 4].to_vec(), count: 10_000 },
        )
        .unwrap();
        sink.write(1, TopicBatch { topic: 1, partition, lines: lines.clone(), count: 40_000 }).unwrap();
    }
    run(&mut sink, 1, vec![]);
    sink.finish().unwrap();
    let len = |topic: &str| fs::metadata(dir.path().join(format!("{topic}.jsonl"))).unwrap().len();
    assert_eq!(len("enriched"), 10 * lines.len() as u64);
    assert_eq!(len("in.late"), 40 * lines.len() as u64);
    assert_eq!(sink.buffered, 0);
}

/// Epoch `e` has offsets `4e .. 4e + 4` of two partitions of the first topic, and one of the second.
fn trial_output(epoch: u64, cut: u64) -> Vec<TopicBatch> {
    let from = 4 * (epoch as i64 - 1);
    let middle = from + cut as i64 % 5;
    let mut batches =
        vec![batch(0, 1, from..middle), batch(0, 0, from..from + 4), batch(0, 1, middle..from + 4)];
    if epoch != 2 {
        batches.push(batch(1, 0, epoch as i64..epoch as i64 + 1));
    }
    batches
}

fn trial_check(dir: &Path, _: &TopicFiles, epoch: u64) {
    // A process that died may be looked at only by another that finishes.
    let mut reader = TopicFiles::open(dir, "p", &TOPICS, Durability::Process).unwrap();
    if epoch < 3 {
        return;
    }
    reader.finish().unwrap();
    let expected: Vec<_> =
        (0..2).flat_map(|partition| (0..12).map(move |offset| (partition, offset))).collect();
    assert_eq!(places(dir, "enriched"), expected);
    assert_eq!(places(dir, "in.late"), [(0, 1), (0, 3)]);
    assert_eq!(places(dir, "in.dlq"), []);
}

fn trial() -> Trial<'static, TopicFiles> {
    Trial {
        epochs: 3,
        open: &|dir, disk| TopicFiles::open_on(disk, dir, "p", &TOPICS),
        output: &trial_output,
        after_commit: &|_| Ok(()),
        finish: &|sink| sink.finish(),
        check: &trial_check,
    }
}

#[test]
fn survives_every_crash() {
    trial().survives_every_crash();
}

#[test]
fn survives_every_crash_when_each_epoch_is_finished() {
    let trial = Trial { after_commit: &|sink: &mut TopicFiles| sink.finish(), ..trial() };
    trial.survives_every_crash();
}

#[test]
fn commits_from_the_manifest_alone() {
    Trial { epochs: 1, check: &|dir, _, _| assert_eq!(places(dir, "enriched").len(), 8), ..trial() }
        .commits_from_the_manifest_alone();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_line_is_there_once_in_order_whatever_the_batches_and_epochs(
        steps in prop::collection::vec((0_usize..2, 0_i32..3, 0_i64..5, 0_u8..4), 0..40),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = open(dir.path());
        let mut next: BTreeMap<(usize, i32), i64> = BTreeMap::new();
        let mut epoch = 1;
        for (topic, partition, count, after) in steps {
            let from = next.entry((topic, partition)).or_default();
            sink.write(epoch, batch(topic, partition, *from..*from + count)).unwrap();
            *from += count;
            if after == 0 {
                run(&mut sink, epoch, vec![]);
                epoch += 1;
            }
            if after == 1 {
                sink.finish().unwrap();
            }
        }
        run(&mut sink, epoch, vec![]);
        sink.finish().unwrap();
        for (topic, name) in TOPICS.iter().enumerate() {
            let expected: Vec<_> = next
                .range((topic, 0)..(topic + 1, 0))
                .flat_map(|(&(_, partition), &end)| (0..end).map(move |offset| (i64::from(partition), offset)))
                .collect();
            prop_assert_eq!(places(dir.path(), name), expected);
        }
    }
}

//! Exactly once, against a real broker named by `TIDEGATE_TEST_KAFKA`: librdkafka's mock cluster shows aborted records,
//! keeps no offsets of transactions and fences nobody. Without a broker each test says that it was not made.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::*;
use crate::record::{KafkaTime, Record};
use crate::sink::kcat::{Line, kcat_line};
use crate::source::kafka as source;
use crate::source::memory::OwnedRecord;
use crate::source::{Assignment, Source, Visit};

const PATIENCE: Duration = Duration::from_secs(60);

/// How large a batch a narrow topic takes, in bytes: many of the records that are not too large by themselves make one that is.
const NARROW: usize = 2_000;

/// In a child process of a test: dies here without warning, if it was told to.
pub(super) fn reached(moment: &str) {
    if std::env::var("TIDEGATE_TEST_DIE_AT").is_ok_and(|at| at == moment) {
        let mut kill = Command::new("kill").args(["-9", &std::process::id().to_string()]).spawn().unwrap();
        kill.wait().unwrap();
        unreachable!("killed");
    }
}

fn broker() -> Option<String> {
    let broker = std::env::var("TIDEGATE_TEST_KAFKA").ok();
    if broker.is_none() {
        println!("NOT TESTED: TIDEGATE_TEST_KAFKA names no broker");
    }
    broker
}

/// A pipeline of its own, with a topic of two partitions.
struct Trial {
    broker: String,
    pipeline: String,
    dir: PathBuf,
    _temporary: tempfile::TempDir,
}

impl Trial {
    fn new(what: &str) -> Option<Trial> {
        let broker = broker()?;
        let nanos = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path().to_owned();
        Some(Trial { broker, pipeline: format!("{what}-{nanos}"), dir, _temporary: temporary })
    }

    fn topic(&self) -> String {
        topic(&self.pipeline)
    }

    fn sink(&self) -> KafkaTopics {
        open(&self.broker, &self.dir, &self.pipeline).unwrap()
    }

    /// The same, whose topic takes little at a time.
    fn narrow(what: &str) -> Option<Trial> {
        Trial::with(what, "max.message.bytes", &NARROW.to_string())
    }

    /// The same, whose topic has a setting.
    fn with(what: &str, setting: &str, value: &str) -> Option<Trial> {
        let trial = Trial::new(what)?;
        let (topic, settings) = (trial.topic(), [(setting, value)]);
        let spec = NewTopicSpec { name: &topic, partitions: 2, replication: Some(1), settings: &settings };
        assert!(create_topic(&Properties::new(&trial.broker), &spec, PATIENCE).unwrap());
        Some(trial)
    }

    /// What was set aside of this pipeline: the record's number, and its partition, epoch, generation and reason.
    fn aside(&self) -> Vec<(u64, String)> {
        let sink = format!("{}-topics", self.pipeline);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let mut found = Vec::new();
        for record in read(&self.broker, REFUSED_TOPIC, 1).remove(0) {
            let headers = record.headers.into_iter().map(|(name, value)| (text(name), text(value.unwrap())));
            let headers: BTreeMap<String, String> = headers.collect();
            if headers["refused-sink"] != sink {
                continue;
            }
            let number: u64 = text(record.value.unwrap()).trim_end().parse().unwrap();
            assert_eq!((&headers["refused-topic"], &*headers["own"]), (&self.topic(), "1"));
            assert_eq!(headers["refused-timestamp"], (1_700_000_000_000 + number).to_string());
            let told = ["refused-partition", "tidegate-epoch", "tidegate-generation", "refused-reason"];
            let told = told.map(|name| headers[name].split(' ').next().unwrap().to_owned());
            found.push((number, told.join(" ")));
        }
        found.sort();
        found
    }

    /// A process of its own commits the first epoch and is killed at this moment; what it had staged.
    fn killed(&self, moment: &str, more: &[(&str, &str)]) -> Staged {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sink::kafka::tests::child_commits_and_dies", "--nocapture"])
            .env("TIDEGATE_TEST_PIPELINE", &self.pipeline)
            .env("TIDEGATE_TEST_DIR", &self.dir)
            .env("TIDEGATE_TEST_DIE_AT", moment)
            .envs(more.iter().copied())
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert_eq!(child.code(), None, "at {moment:?} it was not killed: {child}");
        Staged(std::fs::read(self.dir.join("staged")).unwrap())
    }

    /// What a reader of committed records sees, by partition.
    fn visible(&self) -> Vec<Vec<OwnedRecord>> {
        read(&self.broker, &self.topic(), 2)
    }

    fn values(&self) -> Vec<Vec<String>> {
        let text = |record: OwnedRecord| String::from_utf8(record.value.unwrap()).unwrap();
        self.visible().into_iter().map(|records| records.into_iter().map(text).collect()).collect()
    }
}

/// What a reader of committed records sees of a topic, by partition.
fn read(broker: &str, topic: &str, partitions: usize) -> Vec<Vec<OwnedRecord>> {
    let settings = source::Settings::new(Properties::new(broker), [topic.to_owned()]);
    let source = source::KafkaSource::open(settings).unwrap();
    let assigned: Vec<_> =
        (0..partitions).map(|partition| Assignment { partition, from_offset: 0 }).collect();
    let mut reader = source.reader(&assigned).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut all = vec![Vec::new(); partitions];
    while !(0..partitions).all(|lane| reader.status(lane).unwrap().at_end && reader.confirm_end(lane)) {
        for (lane, records) in all.iter_mut().enumerate() {
            let mut visit = |_: usize, record: &Record<'_>| {
                records.push(OwnedRecord::from(record));
                Visit::Taken
            };
            reader.poll(lane, 1_000, &mut visit).unwrap();
        }
        assert!(Instant::now() < deadline, "the topic has no end");
        std::thread::yield_now();
    }
    all
}

fn topic(pipeline: &str) -> String {
    format!("tidegate-test-{pipeline}")
}

fn open(broker: &str, dir: &Path, pipeline: &str) -> Result<KafkaTopics, SinkError> {
    let target = TargetTopic { name: topic(pipeline), partitions: 2 };
    let mut settings = Settings::new(Properties::new(broker), vec![target]);
    settings.replication = Some(1);
    KafkaTopics::open(settings, dir, pipeline, "topics", Durability::Process)
}

/// Stages numbered records in both partitions.
fn stage(sink: &mut KafkaTopics, pipeline: &str, epoch: u64, numbers: std::ops::Range<u64>) -> Staged {
    stage_of(sink, pipeline, epoch, numbers.map(|number| (number, number.to_string(), KEY)))
}

/// Records of whose numbers some have a payload that the topic of [`Trial::narrow`] finds too large.
fn with_large(numbers: std::ops::Range<u64>, is_large: fn(u64) -> bool) -> impl Iterator<Item = Made> {
    let spaces = move |number| if is_large(number) { 4 * NARROW } else { 0 };
    numbers.map(move |number| (number, format!("{number}{}", " ".repeat(spaces(number))), KEY))
}

/// A record: its number, its payload, its key.
type Made = (u64, String, Option<&'static [u8]>);

const KEY: Option<&[u8]> = Some(b"k");

/// Stages records.
fn stage_of(
    sink: &mut KafkaTopics,
    pipeline: &str,
    epoch: u64,
    records: impl Iterator<Item = Made>,
) -> Staged {
    let topic = topic(pipeline);
    for (number, payload, key) in records {
        let partition = (number % 2) as i32;
        let line = Line {
            topic: &topic,
            partition,
            offset: 0,
            kafka_time: KafkaTime::Create(1_700_000_000_000 + number as i64),
            headers: &[("own", b"1")],
            key,
            payload: Some(payload.as_bytes()),
        };
        let mut lines = Vec::new();
        kcat_line(&mut lines, &line);
        sink.write(epoch, TopicBatch { topic: 0, partition, lines, count: 1 }).unwrap();
    }
    sink.prepare(epoch).unwrap()
}

/// What both partitions hold when each number is there once.
fn once(numbers: std::ops::Range<u64>) -> Vec<Vec<String>> {
    let of = |partition| numbers.clone().filter(|n| n % 2 == partition).map(|n| n.to_string()).collect();
    vec![of(0), of(1)]
}

#[test]
fn records_are_as_the_lines_say_and_a_second_commit_changes_nothing() {
    let Some(trial) = Trial::new("exact") else { return };
    let mut sink = trial.sink();
    assert_eq!(sink.committed().unwrap(), None);
    let staged = stage(&mut sink, &trial.pipeline, 3, 0..100);
    assert_eq!(trial.values(), vec![Vec::<String>::new(); 2]);
    sink.commit(3, 7, &staged).unwrap();
    sink.commit(3, 7, &staged).unwrap();
    assert_eq!(sink.committed().unwrap(), Some(3));
    let properties = Properties::new(&trial.broker);
    let as_others_see = |pipeline: &str| committed(&properties, pipeline, "topics", &trial.topic(), PATIENCE);
    assert_eq!(as_others_see(&trial.pipeline).unwrap(), Some(3));
    assert_eq!(as_others_see("another").unwrap(), None);
    drop(sink);
    // The next process, on a disk that knows nothing of the commit.
    std::fs::remove_file(trial.dir.join("topics/mark.json")).unwrap();
    let mut sink = trial.sink();
    sink.commit(3, 8, &staged).unwrap();
    let staged = stage(&mut sink, &trial.pipeline, 4, 100..102);
    sink.commit(4, 8, &staged).unwrap();

    assert_eq!(trial.values(), once(0..102));
    let text = |text: &str| text.as_bytes().to_vec();
    for (partition, records) in trial.visible().into_iter().enumerate() {
        for record in records {
            let number: i64 = String::from_utf8(record.value.unwrap()).unwrap().parse().unwrap();
            assert_eq!(number % 2, partition as i64);
            assert_eq!(record.kafka_time, KafkaTime::Create(1_700_000_000_000 + number));
            assert_eq!(record.key, Some(text("k")));
            let (epoch, generation) = if number < 100 { ("3", "7") } else { ("4", "8") };
            let expected = [("own", "1"), ("tidegate-epoch", epoch), ("tidegate-generation", generation)];
            assert_eq!(record.headers, expected.map(|(name, value)| (text(name), Some(text(value)))));
        }
    }
}

#[test]
fn epoch_without_output_takes_no_transaction() {
    let Some(trial) = Trial::new("empty") else { return };
    let mut sink = trial.sink();
    let staged = sink.prepare(1).unwrap();
    sink.commit(1, 1, &staged).unwrap();
    assert!(sink.live.is_none());
    assert_eq!(sink.committed().unwrap(), Some(1));
    let staged = stage(&mut sink, &trial.pipeline, 2, 0..4);
    sink.commit(2, 1, &staged).unwrap();
    assert_eq!(trial.values(), once(0..4));
}

/// The part of the process that is killed; does something only when it was told to.
#[test]
fn child_commits_and_dies() {
    let Ok(pipeline) = std::env::var("TIDEGATE_TEST_PIPELINE") else { return };
    let dir = PathBuf::from(std::env::var("TIDEGATE_TEST_DIR").unwrap());
    let mut sink = open(&broker().unwrap(), &dir, &pipeline).unwrap();
    let is_large: fn(u64) -> bool = match std::env::var("TIDEGATE_TEST_LARGE") {
        Ok(_) => |number| number == 10 || number == 501,
        Err(_) => |_| false,
    };
    let staged = stage_of(&mut sink, &pipeline, 1, with_large(0..1_000, is_large));
    std::fs::write(dir.join("staged"), &staged.0).unwrap();
    sink.commit(1, 1, &staged).unwrap();
    unreachable!("it should have been killed before");
}

#[test]
fn killed_at_any_moment_of_a_commit_each_record_is_there_once() {
    for moment in ["sent", "marked", "committed"] {
        let Some(trial) = Trial::new(moment) else { return };
        let staged = trial.killed(moment, &[]);
        let mut sink = trial.sink();
        sink.commit(1, 2, &staged).unwrap();
        sink.commit(1, 2, &staged).unwrap();
        let more = stage(&mut sink, &trial.pipeline, 2, 1_000..1_010);
        sink.commit(2, 2, &more).unwrap();
        assert_eq!(trial.values(), once(0..1_010), "killed at {moment:?}");
    }
}

/// What both partitions hold when each number is there once, but for some.
fn once_without(numbers: std::ops::Range<u64>, missing: &[&str]) -> Vec<Vec<String>> {
    let mut all = once(numbers);
    all.iter_mut().for_each(|of| of.retain(|number| !missing.contains(&number.as_str())));
    all
}

#[test]
fn records_that_a_topic_refuses_go_aside_and_do_not_hold_up_the_others() {
    let Some(trial) = Trial::narrow("refused") else { return };
    let mut sink = trial.sink();
    let large = with_large(0..400, |number| [7, 8, 300].contains(&number));
    let staged = stage_of(&mut sink, &trial.pipeline, 1, large);
    sink.commit(1, 4, &staged).unwrap();
    assert_eq!(sink.refused(), 3);
    sink.commit(1, 4, &staged).unwrap();
    let aside = [(7, 1), (8, 0), (300, 0)]
        .map(|(number, partition)| (number, format!("{partition} 1 4 MessageSizeTooLarge")));
    assert_eq!(trial.aside(), aside);
    assert_eq!(trial.values(), once_without(0..400, &["7", "8", "300"]));
    // The next epochs are as others, and the last is all of it too large.
    let staged = stage(&mut sink, &trial.pipeline, 2, 400..500);
    sink.commit(2, 4, &staged).unwrap();
    let staged = stage_of(&mut sink, &trial.pipeline, 3, with_large(500..502, |_| true));
    sink.commit(3, 4, &staged).unwrap();
    assert_eq!((sink.refused(), trial.aside().len()), (5, 5));
    assert_eq!(trial.values(), once_without(0..500, &["7", "8", "300"]));
    // Many at once: those that are as large as one that was refused are not tried.
    let staged = stage_of(&mut sink, &trial.pipeline, 4, with_large(1_000..1_400, |number| number % 4 == 0));
    sink.commit(4, 4, &staged).unwrap();
    assert_eq!((sink.refused(), trial.aside().len()), (105, 105));
    // Beyond so many the topic is what is wrong.
    let staged = stage_of(&mut sink, &trial.pipeline, 5, with_large(2_000..3_010, |_| true));
    let error = sink.commit(5, 4, &staged).unwrap_err();
    assert!(!error.is_retriable() && error.to_string().contains("more than 1000 records"), "{error}");
    assert_eq!((sink.committed().unwrap(), trial.aside().len()), (Some(4), 105));
}

#[test]
fn records_of_a_form_that_a_topic_does_not_take_go_aside_too() {
    let Some(trial) = Trial::with("keyless", "cleanup.policy", "compact") else { return };
    let mut sink = trial.sink();
    let key = |number| if [4, 77].contains(&number) { None } else { KEY };
    let records = (0..100).map(|number| (number, number.to_string(), key(number)));
    let staged = stage_of(&mut sink, &trial.pipeline, 1, records);
    sink.commit(1, 1, &staged).unwrap();
    let aside =
        [(4, 0), (77, 1)].map(|(number, partition)| (number, format!("{partition} 1 1 InvalidRecord")));
    assert_eq!((trial.aside(), sink.refused()), (aside.to_vec(), 2));
    assert_eq!(trial.values(), once_without(0..100, &["4", "77"]));
}

#[test]
fn killed_at_any_moment_what_is_refused_is_aside_once() {
    for moment in ["sent", "marked", "committed"] {
        let Some(trial) = Trial::narrow(&format!("refused-{moment}")) else { return };
        let staged = trial.killed(moment, &[("TIDEGATE_TEST_LARGE", "1")]);
        let mut sink = trial.sink();
        sink.commit(1, 2, &staged).unwrap();
        sink.commit(1, 2, &staged).unwrap();
        let numbers: Vec<u64> = trial.aside().into_iter().map(|(number, ..)| number).collect();
        assert_eq!(numbers, [10, 501], "killed at {moment:?}");
        assert_eq!(trial.values(), once_without(0..1_000, &["10", "501"]), "killed at {moment:?}");
    }
}

#[test]
fn older_run_is_fenced_whether_it_goes_on_or_starts_late() {
    let Some(trial) = Trial::new("zombie") else { return };
    let other = tempfile::tempdir().unwrap();
    let mut old = trial.sink();
    let staged = stage(&mut old, &trial.pipeline, 1, 0..10);
    old.commit(1, 1, &staged).unwrap();
    // A second machine takes over; the first does not know.
    let mut new = open(&trial.broker, other.path(), &trial.pipeline).unwrap();
    let staged = stage(&mut new, &trial.pipeline, 2, 10..20);
    new.commit(2, 2, &staged).unwrap();
    let zombie = stage(&mut old, &trial.pipeline, 2, 10..20);
    let error = old.commit(2, 1, &zombie).expect_err("fenced");
    assert!(matches!(error, SinkError::Fenced { ours: 1, newer: 2, .. }), "{error}");
    // And one that starts late does not disturb the newer one.
    let mut late = trial.sink();
    let error = late.commit(2, 1, &zombie).expect_err("fenced");
    assert!(matches!(error, SinkError::Fenced { ours: 1, newer: 2, .. }), "{error}");
    let staged = stage(&mut new, &trial.pipeline, 3, 20..30);
    new.commit(3, 2, &staged).unwrap();
    assert_eq!(trial.values(), once(0..30));
}

#[test]
fn staged_file_that_is_damaged_is_refused_and_nothing_is_sent() {
    let Some(trial) = Trial::new("damaged") else { return };
    let mut sink = trial.sink();
    let staged = stage(&mut sink, &trial.pipeline, 1, 0..10);
    let staging = trial.dir.join("topics/staging");
    let dir = std::fs::read_dir(&staging).unwrap().next().unwrap().unwrap().path();
    let whole = std::fs::read(dir.join("lines")).unwrap();
    let mut changed = whole.clone();
    changed[20] ^= 1;
    for bad in [&whole[1..], &changed] {
        std::fs::write(dir.join("lines"), bad).unwrap();
        assert!(matches!(sink.commit(1, 1, &staged), Err(SinkError::Failed { .. })));
    }
    std::fs::write(dir.join("lines"), &whole).unwrap();
    sink.commit(1, 1, &staged).unwrap();
    assert_eq!(trial.values(), once(0..10));
}

#[test]
fn missing_partitions_are_added_and_impossible_timeouts_are_told_at_once() {
    let Some(trial) = Trial::new("misfit") else { return };
    drop(trial.sink());
    let open = |partitions, change: &dyn Fn(&mut Settings)| {
        let target = TargetTopic { name: trial.topic(), partitions };
        let mut settings = Settings::new(Properties::new(&trial.broker), vec![target]);
        change(&mut settings);
        KafkaTopics::open(settings, &trial.dir, &trial.pipeline, "topics", Durability::Process)
    };
    drop(open(3, &|_| {}).expect("there were two"));
    let properties = Properties::new(&trial.broker);
    let found = describe_topics(&properties, &[&trial.topic()], Duration::from_secs(30)).unwrap();
    assert_eq!(found[0].as_ref().map(|topic| topic.partitions), Some(3));
    let error = open(2, &|settings| settings.transaction_timeout = Duration::from_secs(1)).err().unwrap();
    assert!(error.to_string().contains("transaction timeout") && !error.is_retriable(), "{error}");
    let mut sink = open(3, &|settings| settings.transaction_timeout = Duration::from_secs(3_600)).unwrap();
    let staged = stage(&mut sink, &trial.pipeline, 1, 0..2);
    let error = sink.commit(1, 1, &staged).expect_err("an hour is too long for the broker");
    assert!(error.to_string().contains("transaction.max.timeout.ms") && !error.is_retriable(), "{error}");
}

#[test]
fn broker_that_is_away_is_worth_another_try() {
    // The port was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let dir = tempfile::tempdir().unwrap();
    let target = TargetTopic { name: "t".to_owned(), partitions: 1 };
    let mut settings = Settings::new(Properties::new(&format!("127.0.0.1:{port}")), vec![target]);
    settings.timeout = Duration::from_secs(2);
    let error = KafkaTopics::open(settings, dir.path(), "p", "s", Durability::Process).err().expect("nobody");
    assert!(error.is_retriable(), "{error}");
}

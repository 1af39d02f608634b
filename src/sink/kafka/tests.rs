//! Exactly once, against a real broker named by `TIDEGATE_TEST_KAFKA`: librdkafka's mock cluster shows aborted records,
//! keeps no offsets of transactions and fences nobody. Without a broker each test says that it was not made.

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

    /// What a reader of committed records sees, by partition.
    fn visible(&self) -> Vec<Vec<OwnedRecord>> {
        let settings = source::Settings::new(Properties::new(&self.broker), [self.topic()]);
        let source = source::KafkaSource::open(settings).unwrap();
        let assigned = [0, 1].map(|partition| Assignment { partition, from_offset: 0 });
        let mut reader = source.reader(&assigned).unwrap();
        let deadline = Instant::now() + PATIENCE;
        let mut all = vec![Vec::new(), Vec::new()];
        while !(0..2).all(|lane| reader.status(lane).unwrap().at_end && reader.confirm_end(lane)) {
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

    fn values(&self) -> Vec<Vec<String>> {
        let text = |record: OwnedRecord| String::from_utf8(record.value.unwrap()).unwrap();
        self.visible().into_iter().map(|records| records.into_iter().map(text).collect()).collect()
    }
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
    let topic = topic(pipeline);
    for number in numbers {
        let payload = number.to_string();
        let partition = (number % 2) as i32;
        let line = Line {
            topic: &topic,
            partition,
            offset: 0,
            kafka_time: KafkaTime::Create(1_700_000_000_000 + number as i64),
            headers: &[("own", b"1")],
            key: Some(b"k"),
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
    let staged = stage(&mut sink, &pipeline, 1, 0..1_000);
    std::fs::write(dir.join("staged"), &staged.0).unwrap();
    sink.commit(1, 1, &staged).unwrap();
    unreachable!("it should have been killed before");
}

#[test]
fn killed_at_any_moment_of_a_commit_each_record_is_there_once() {
    for moment in ["sent", "marked", "committed"] {
        let Some(trial) = Trial::new(moment) else { return };
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sink::kafka::tests::child_commits_and_dies", "--nocapture"])
            .env("TIDEGATE_TEST_PIPELINE", &trial.pipeline)
            .env("TIDEGATE_TEST_DIR", &trial.dir)
            .env("TIDEGATE_TEST_DIE_AT", moment)
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert_eq!(child.code(), None, "at {moment:?} it was not killed: {child}");
        let staged = Staged(std::fs::read(trial.dir.join("staged")).unwrap());

        let mut sink = trial.sink();
        sink.commit(1, 2, &staged).unwrap();
        sink.commit(1, 2, &staged).unwrap();
        let more = stage(&mut sink, &trial.pipeline, 2, 1_000..1_010);
        sink.commit(2, 2, &more).unwrap();
        assert_eq!(trial.values(), once(0..1_010), "killed at {moment:?}");
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

//! Audits topics: the records of each partition, in their order, with keys, headers and timestamps.
//!
//! Offsets are left out, since a broker counts the marks of transactions too, and so are the headers that say which
//! epoch wrote a record. Decisions about idle partitions are what a replay is given, and nothing that it gives.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate::kafka::{Properties, describe_topics};
use tidegate::record::{KafkaTime, Partition, Record};
use tidegate::source::fixture::FixtureSource;
use tidegate::source::kafka::{KafkaSource, Settings};
use tidegate::source::{Assignment, Poll, Source, SourceError, Visit};

use super::compare::{Audit, Comparison, Row, Rows, push_cell};

/// The topic whose payloads end with a time of the wall clock, and how that time begins.
const ENRICHED: (&str, &str) = ("enriched_activity", ",\"processing_time\":");

/// Headers that say which epoch wrote a record.
const MARKS: [&[u8]; 2] = [b"tidegate-epoch", b"tidegate-generation"];

/// How long a question to the brokers may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long there may be nothing before it is given up.
const SILENCE: Duration = Duration::from_secs(60);
/// How long there may be nothing before the reader sleeps a little.
const NAP: Duration = Duration::from_millis(2);
/// Records taken from a partition in one call.
const BATCH: usize = 10_000;

/// Where topics are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Topics<'a> {
    /// Files of kcat lines in this directory.
    Files(&'a Path),
    /// A cluster.
    Kafka(&'a Properties),
}

/// A record as it is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    /// Kafka's timestamp; `None` where there is none.
    ms: Option<i64>,
    /// Whether the broker's clock made it.
    by_broker: bool,
    key: String,
    /// Headers and payload.
    rest: String,
}

/// The records of topics, by partition.
type Read = BTreeMap<Partition, Vec<Line>>;

/// Compares the `topics` in `there` with those in the directory `expected`.
pub(super) fn audit(
    expected: &Path,
    topics: &[Arc<str>],
    there: Topics<'_>,
) -> Result<Vec<Audit>, SourceError> {
    let mut wanted = files(expected, topics)?;
    let (target, mut found) = match there {
        Topics::Files(dir) => ("topics", files(dir, topics)?),
        Topics::Kafka(properties) => ("kafka", cluster(properties, topics)?),
    };
    let is_kafka = matches!(there, Topics::Kafka(_));
    let of_topic = |topic: &Arc<str>| {
        let wanted = split_off(&mut wanted, topic);
        let found = split_off(&mut found, topic);
        compare(target, topic, &wanted, &found, is_kafka)
    };
    Ok(topics.iter().map(of_topic).collect())
}

/// Takes the partitions of a topic out.
fn split_off(read: &mut Read, topic: &Arc<str>) -> BTreeMap<i32, Vec<Line>> {
    let all = std::mem::take(read);
    let (of_topic, others): (Read, Read) = all.into_iter().partition(|(id, _)| id.topic == *topic);
    *read = others;
    of_topic.into_iter().map(|(id, lines)| (id.number, lines)).collect()
}

fn compare(
    target: &str,
    topic: &str,
    wanted: &BTreeMap<i32, Vec<Line>>,
    found: &BTreeMap<i32, Vec<Line>>,
    is_kafka: bool,
) -> Audit {
    // A record without a time gets that of its sending, and a topic may have the broker stamp all of them.
    let timeless = wanted.values().flatten().any(|line| line.ms.is_none())
        || found.values().flatten().any(|line| line.by_broker);
    let with_times = !(is_kafka && timeless);
    let row = |partition: i32, line: &Line| {
        let mut key = String::new();
        push_cell(&mut key, "partition", Some(&partition.to_string()));
        if with_times {
            push_cell(&mut key, "ts", line.ms.map(|ms| ms.to_string()).as_deref());
        }
        key = format!("{key} {}", line.key);
        let text = format!("{key} {}", line.rest);
        Row { key: key.into(), text: text.into() }
    };
    let mut comparison = Comparison::new(target, topic, false);
    let rows = |of: &BTreeMap<i32, Vec<Line>>| {
        let rows = of.iter().flat_map(|(number, lines)| lines.iter().map(|line| row(*number, line)));
        rows.collect::<Vec<Row>>()
    };
    let (wanted, found) = (rows(wanted), rows(found));
    // Partitions come one after the other, in their order, so that the place in the list is that in the partition, as long as
    // nothing is missing and nothing too much.
    let mut misplaced = Rows::default();
    for (wanted, found) in wanted.iter().zip(&found).filter(|(wanted, found)| wanted != found) {
        misplaced.add(|| format!("{} in the place of {}", found.text, wanted.text));
    }
    wanted.into_iter().for_each(|row| comparison.expect(row));
    found.into_iter().for_each(|row| comparison.find(row));
    let mut audit = comparison.finish();
    if audit.agrees() {
        audit.misplaced = misplaced;
    }
    audit
}

/// The topics of a directory; none where there is no such directory.
fn files(dir: &Path, topics: &[Arc<str>]) -> Result<Read, SourceError> {
    let mut read = Read::new();
    if dir.is_dir() {
        let source = FixtureSource::open(dir, &|name| topics.iter().any(|topic| **topic == *name))?;
        collect(&source, None, &mut read)?;
    }
    Ok(read)
}

/// The topics of a cluster as they stand now; none of those that are not there.
fn cluster(properties: &Properties, topics: &[Arc<str>]) -> Result<Read, SourceError> {
    let mut read = Read::new();
    let names: Vec<&str> = topics.iter().map(|topic| &**topic).collect();
    let described = describe_topics(properties, &names, TIMEOUT)
        .map_err(|cause| SourceError::Unreachable { servers: properties.servers().to_owned(), cause })?;
    let there: Vec<&str> = described.iter().flatten().map(|topic| topic.name.as_str()).collect();
    if !there.is_empty() {
        let source = KafkaSource::open(Settings::new(properties.clone(), there))?;
        let ends = source.ends()?;
        collect(&source, Some(&ends), &mut read)?;
    }
    Ok(read)
}

/// Reads `source` to its end, or to `ends`, by the index of partitions.
fn collect(source: &dyn Source, ends: Option<&[i64]>, read: &mut Read) -> Result<(), SourceError> {
    let partitions = source.partitions();
    let assigned = partitions.iter().enumerate();
    let assigned: Vec<_> =
        assigned.map(|(partition, info)| Assignment { partition, from_offset: info.from_offset }).collect();
    let mut reader = source.reader(&assigned)?;
    let mut lanes: Vec<usize> = (0..reader.lanes()).collect();
    let mut heard = Instant::now();
    while !lanes.is_empty() {
        let mut idle = true;
        let mut left = Vec::with_capacity(lanes.len());
        for lane in lanes {
            let end_of = |partition: usize| ends.map_or(i64::MAX, |ends| ends[partition]);
            let mut passed = false;
            let poll = reader.poll(lane, BATCH, &mut |partition, record| {
                if record.offset >= end_of(partition) {
                    passed = true;
                    return Visit::Stop;
                }
                let id = &partitions[partition].id;
                let line = Line::of(&id.topic, record);
                match read.get_mut(id) {
                    Some(lines) => lines.push(line),
                    None => drop(read.insert(id.clone(), vec![line])),
                }
                Visit::Taken
            })?;
            // Behind the last record a transaction's marker may stand, which is never shown.
            let end = reader.lane_partitions(lane).iter().map(|partition| end_of(*partition)).max();
            let at_end =
                reader.status(lane).is_some_and(|status| end.is_some_and(|end| status.position >= end));
            idle &= poll == Poll::Idle;
            if !passed && !at_end && poll != Poll::End {
                left.push(lane);
            }
        }
        lanes = left;
        if !idle {
            heard = Instant::now();
        } else if let Some(lane) = lanes.first() {
            if heard.elapsed() > SILENCE {
                let partition = &partitions[reader.lane_partitions(*lane)[0]].id;
                let cause =
                    "nothing comes any more; a transaction may stand open there, or the brokers are away"
                        .to_owned();
                return Err(SourceError::Refused { what: format!("to show {partition} to its end"), cause });
            }
            std::thread::sleep(NAP);
        }
    }
    Ok(())
}

impl Line {
    fn of(topic: &str, record: &Record<'_>) -> Line {
        let (mut key, mut rest) = (String::new(), String::new());
        push_bytes(&mut key, "key", record.key);
        for (name, value) in record.headers.iter().filter(|(name, _)| !MARKS.contains(name)) {
            push_bytes(&mut rest, &format!("header:{}", String::from_utf8_lossy(name)), value);
        }
        let payload = record.value.map(|value| value.bytes());
        let payload =
            payload.map(|payload| if topic == ENRICHED.0 { without_time(payload) } else { payload.into() });
        push_bytes(&mut rest, "payload", payload.as_deref());
        let by_broker = matches!(record.kafka_time, KafkaTime::LogAppend(_));
        Line { ms: record.kafka_time.ms(), by_broker, key, rest }
    }
}

/// Appends a cell of bytes, which need not be text.
fn push_bytes(text: &mut String, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(std::str::from_utf8) {
        None => push_cell(text, name, None),
        Some(Ok(value)) => push_cell(text, name, Some(value)),
        Some(Err(_)) => {
            let escaped = bytes.unwrap_or_default().escape_ascii().to_string();
            push_cell(text, &format!("{name}_bytes"), Some(&escaped));
        }
    }
}

/// An event's text without the member of wall-clock time that stands last in it.
fn without_time(payload: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    let member = ENRICHED.1.as_bytes();
    let at = payload.windows(member.len()).rposition(|window| window == member);
    let value = at.and_then(|at| payload[at + member.len()..].strip_suffix(b"}"));
    // A text, or null: nothing that could hold an end of the object.
    let is_value = |value: &[u8]| {
        value == b"null"
            || matches!(value, [b'"', inner @ .., b'"'] if !inner.contains(&b'"') && !inner.contains(&b'\\'))
    };
    match (at, value) {
        (Some(at), Some(value)) if is_value(value) => [&payload[..at], b"}"].concat().into(),
        _ => payload.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(lines: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("t.jsonl"), lines.concat()).unwrap();
        dir
    }

    fn line(partition: i32, offset: i64, ms: i64, payload: &str) -> String {
        format!(
            "{{\"topic\":\"t\",\"partition\":{partition},\"offset\":{offset},\"tstype\":\"create\",\"ts\":{ms},\
             \"key\":\"k\",\"payload\":\"{payload}\"}}\n"
        )
    }

    fn differ(wanted: &[&str], found: &[&str]) -> [u64; 5] {
        let (wanted, found) = (dir(wanted), dir(found));
        let audits = audit(wanted.path(), &["t".into()], Topics::Files(found.path())).unwrap();
        assert_eq!(audits.len(), 1);
        audits[0].kinds().map(|(_, rows)| rows.count)
    }

    #[test]
    fn records_are_compared_by_partition_and_in_their_order() {
        let [a, b, c] = [line(0, 0, 5, "a"), line(0, 1, 6, "b"), line(1, 0, 7, "c")];
        assert_eq!(differ(&[&a, &b, &c], &[&a, &b, &c]), [0; 5]);
        // Offsets may have holes, where marks of transactions stand.
        assert_eq!(differ(&[&a, &b, &c], &[&a, &line(0, 9, 6, "b"), &line(1, 4, 7, "c")]), [0; 5]);
        // The two records of partition 0 have changed places.
        assert_eq!(differ(&[&a, &b, &c], &[&line(0, 0, 6, "b"), &line(0, 1, 5, "a"), &c]), [0, 0, 0, 0, 2]);
        assert_eq!(differ(&[&a, &b, &c], &[&a, &c]), [1, 0, 0, 0, 0]);
        assert_eq!(differ(&[&a, &c], &[&a, &line(0, 1, 5, "a"), &c]), [0, 1, 0, 0, 0]);
        assert_eq!(differ(&[&a, &b], &[&a, &line(0, 1, 6, "x")]), [0, 0, 1, 0, 0]);
        // Another partition is another place.
        assert_eq!(differ(&[&a], &[&line(1, 0, 5, "a")]), [1, 0, 0, 1, 0]);
    }

    #[test]
    fn topic_that_is_not_there_has_no_records() {
        let (wanted, found) = (dir(&[&line(0, 0, 5, "a")]), tempfile::tempdir().unwrap());
        let nowhere = found.path().join("nowhere");
        let audits = audit(wanted.path(), &["t".into(), "u".into()], Topics::Files(&nowhere)).unwrap();
        assert_eq!((audits[0].missing.count, audits[1].agrees()), (1, true));
    }

    #[test]
    fn times_that_the_broker_made_are_left_out() {
        let of = |ms, by_broker| Line { ms, by_broker, key: "key=k".into(), rest: "payload=p".into() };
        let one = |line: Line| BTreeMap::from([(0, vec![line])]);
        let agrees = |a, b, is_kafka| compare("kafka", "t", &one(a), &one(b), is_kafka).agrees();
        assert!(agrees(of(Some(1), false), of(Some(2), true), true));
        assert!(agrees(of(None, false), of(Some(2), false), true));
        assert!(!agrees(of(Some(1), false), of(Some(2), false), true));
        assert!(!agrees(of(Some(1), false), of(Some(2), true), false));
    }

    #[test]
    fn wall_clock_of_an_enriched_event_is_cut_off() {
        let cut = |text: &str| String::from_utf8(without_time(text.as_bytes()).into_owned()).unwrap();
        assert_eq!(cut(r#"{"a":1,"processing_time":"2024-01-28T12:00:00.000000Z"}"#), r#"{"a":1}"#);
        assert_eq!(cut(r#"{"a":1,"processing_time":null}"#), r#"{"a":1}"#);
        for whole in
            [r#"{"a":1}"#, r#"{"processing_time":"x","b":"y"}"#, r#"{"a":{"b":1,"processing_time":7}}"#]
        {
            assert_eq!(cut(whole), whole);
        }
    }
}

//! Records that a topic refuses for what they hold: larger than its `max.message.bytes`, or of a form that it does not take.
//!
//! They must not hold up the others. Kafka refuses whole batches, and a transaction in which it has refused one can only be
//! aborted. So the epoch is sent again, each time in such a way that a batch which is refused is a single record ([`Care`]).
//! That record goes to the topic `tidegate_refused` in place of its own, in the transaction of the others: exactly once, as
//! they. Headers say whose it is and why it is there:
//!
//! ```text
//! refused-sink  refused-topic  refused-partition  refused-timestamp  refused-reason     behind its own headers
//! ```
//!
//! Where very many are refused it is the topic that is wrong, and the sink fails.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryResult, NoCustomPartitioner, ProducerContext};

use super::line::Outgoing;
use super::{KafkaTopics, Settings};
use crate::kafka::{Hears, NewTopicSpec, Properties, create_topic, describe_topics, topic_settings};
use crate::sink::SinkError;
use crate::sink::staged::Description;
use crate::sink::staged_lines::StagedFile;

/// The topic of records that others refuse.
pub const REFUSED_TOPIC: &str = "tidegate_refused";

/// How large a record may be for the client, which leaves it to the topics to judge, and for [`REFUSED_TOPIC`] where it is made
/// here. The client's buffer must hold one.
const LARGEST: u64 = 48 << 20;

/// So many records of an epoch may be refused.
pub(super) const MOST: u64 = 1_000;

/// So often an epoch is sent before whoever waits for it hears of it, and may stop.
pub(super) const TRIES: usize = 10;

/// Why records were refused, by their numbers in the epoch.
pub(super) type Refusals = BTreeMap<usize, RDKafkaErrorCode>;

/// What of an epoch does not go to its own topics. It outlives a commit that fails.
#[derive(Debug, Default)]
pub(super) struct Aside {
    pub(super) epoch: u64,
    records: Refusals,
    /// By topic the size of the smallest record that it has refused for that. Kafka tells of one such record of a partition in each
    /// try; the larger ones need none. Not where records are compressed: a larger one may be a smaller batch.
    sizes: BTreeMap<String, usize>,
}

impl Aside {
    pub(super) fn of(epoch: u64) -> Aside {
        Aside { epoch, ..Aside::default() }
    }

    /// Why this record does not go to its own topic, if so.
    pub(super) fn reason(&self, number: usize, record: &Outgoing<'_>) -> Option<RDKafkaErrorCode> {
        let is_large = || self.sizes.get(&*record.topic).is_some_and(|least| record.size() >= *least);
        let known = self.records.get(&number).copied();
        known.or_else(|| is_large().then_some(RDKafkaErrorCode::MessageSizeTooLarge))
    }

    /// Takes refusals in; whether there were new ones.
    pub(super) fn take(&mut self, refused: Refusals) -> bool {
        let known = self.records.len();
        self.records.extend(refused);
        self.records.len() > known
    }

    /// Whether this record's size is what its topic refused.
    pub(super) fn is_too_large(&self, number: usize) -> bool {
        self.records.get(&number) == Some(&RDKafkaErrorCode::MessageSizeTooLarge)
    }

    pub(super) fn note_size(&mut self, record: &Outgoing<'_>) {
        let size = record.size();
        let least = self.sizes.entry(record.topic.to_string()).or_insert(size);
        *least = size.min(*least);
    }
}

/// How batches are kept apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Care {
    /// Not at all.
    #[default]
    None,
    /// Several records never make more than so many bytes: a batch that is too large for a topic that takes as many is one record.
    Sized(u64),
    /// A batch is a record.
    Alone,
}

impl Care {
    /// What it takes so that the next refusal names records, where the topics take batches of `limit` bytes; `None` where this
    /// refusal has named them already: also where the broker has said which records of a batch it is about.
    pub(super) fn after(self, refused: &Refusals, is_told_apart: bool, limit: Option<u64>) -> Option<Care> {
        let by_size = refused.values().all(|code| *code == RDKafkaErrorCode::MessageSizeTooLarge);
        match (self, limit) {
            (Care::Alone, _) => None,
            _ if is_told_apart
                && !refused.values().any(|code| *code == RDKafkaErrorCode::MessageSizeTooLarge) =>
            {
                None
            }
            (Care::Sized(bytes), Some(limit)) if by_size && bytes <= limit => None,
            (_, Some(limit)) if by_size => Some(Care::Sized(limit)),
            _ => Some(Care::Alone),
        }
    }

    /// Properties of a producer that takes such care.
    pub(super) fn of(self, properties: &Properties) -> Properties {
        let batch: u64 = properties.get("batch.size").and_then(|size| size.parse().ok()).unwrap_or(1_000_000);
        match self {
            Care::None => properties.clone(),
            Care::Sized(bytes) => properties.clone().with("batch.size", bytes.clamp(1, batch)),
            Care::Alone => properties.clone().with("batch.num.messages", 1),
        }
    }
}

/// Whether the producer sends records as they are, so that a larger one is a larger batch.
pub(super) fn sends_plain(properties: &Properties) -> bool {
    ["compression.type", "compression.codec"]
        .iter()
        .all(|name| matches!(properties.get(name), None | Some("none")))
}

/// Whether a record is refused for what it holds.
fn is_about_content(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(code, Code::MessageSizeTooLarge | Code::InvalidRecord | Code::InvalidTimestamp)
}

/// The record as it goes to [`REFUSED_TOPIC`]. Its time is that of sending: its own may be what was refused.
pub(super) fn set_aside<'a>(record: Outgoing<'a>, sink: &str, code: RDKafkaErrorCode) -> Outgoing<'a> {
    let Outgoing { topic, partition, timestamp_ms, mut headers, key, payload } = record;
    let more = [
        ("refused-sink", Some(sink.to_owned())),
        ("refused-topic", Some(topic.into_owned())),
        ("refused-partition", Some(partition.to_string())),
        ("refused-timestamp", timestamp_ms.map(|ms| ms.to_string())),
        ("refused-reason", Some(code.to_string())),
    ];
    headers.extend(more.map(|(name, value)| (name.into(), value.map(Into::into))));
    Outgoing { topic: REFUSED_TOPIC.into(), partition: 0, timestamp_ms: None, headers, key, payload }
}

/// How large a record the client takes: it is the topics that judge.
pub(super) fn largest(properties: &Properties) -> String {
    match properties.get("message.max.bytes").map(|bytes| (bytes, bytes.parse::<u64>())) {
        Some((_, Ok(bytes))) => bytes.max(LARGEST).to_string(),
        // The client says what is wrong with it.
        Some((bytes, Err(_))) => bytes.to_owned(),
        None => LARGEST.to_string(),
    }
}

/// How much the client's buffer holds, in KiB: the largest record, with what is around it.
pub(super) fn buffer_kib(properties: &Properties) -> u64 {
    let largest = largest(properties).parse().unwrap_or(LARGEST);
    (largest / 1024 + largest / 4096).max(64 << 10)
}

impl KafkaTopics {
    /// Makes the topic of what others refuse, where it is not there.
    pub(super) fn make_refused_topic(&self) -> Result<(), SinkError> {
        let Settings { properties, replication, timeout, .. } = &self.settings;
        let missing = |cause: String| {
            let says = format!(
                "a topic refuses a record, and {REFUSED_TOPIC:?}, which is to keep it, is not there: {cause}; make it, with \
                 max.message.bytes={LARGEST}, and give Write and Describe on it"
            );
            let has = |what: &str| cause.contains(what);
            let is_verdict = has("TopicAuthorizationFailed")
                || has("cannot be made") && !has("TimedOut") && !has("NotController");
            if is_verdict { self.staging.books.failed(says) } else { self.unavailable(says) }
        };
        let found = describe_topics(properties, &[REFUSED_TOPIC], *timeout).map_err(missing)?;
        if found.iter().any(Option::is_some) {
            return Ok(());
        }
        let largest = LARGEST.to_string();
        let spec = NewTopicSpec {
            name: REFUSED_TOPIC,
            partitions: 1,
            replication: *replication,
            settings: &[("max.message.bytes", &largest)],
        };
        if create_topic(properties, &spec, *timeout).map_err(missing)? {
            tracing::info!("made topic {REFUSED_TOPIC:?}");
        }
        Ok(())
    }

    /// The largest batch that every topic takes; `None` where the brokers do not tell.
    pub(super) fn batch_limit(&self) -> Option<u64> {
        let Settings { properties, topics, timeout, .. } = &self.settings;
        let limits = topics.iter().map(|topic| {
            let settings = topic_settings(properties, &topic.name, *timeout).ok()?;
            settings.get("max.message.bytes")?.parse().ok()
        });
        limits.collect::<Option<Vec<u64>>>()?.into_iter().min()
    }

    /// Remembers how large those records are that topics have found too large.
    pub(super) fn note_sizes(&mut self, staged: &Description<StagedFile>) -> Result<(), SinkError> {
        if !sends_plain(&self.producing) {
            return Ok(());
        }
        let (mut aside, mut number) = (std::mem::take(&mut self.aside), 0);
        let read = self.staging.read(staged, |line| {
            number += 1;
            if aside.is_too_large(number) {
                let record = Outgoing::parse(line)
                    .map_err(|what| self.staging.books.failed(format!("line {number}: {what}")))?;
                aside.note_size(&record);
            }
            Ok(())
        });
        self.aside = aside;
        read
    }

    /// Counts and tells what the topics have refused, now that the transaction of `epoch` has happened.
    pub(super) fn tell_refused(&mut self, epoch: u64) {
        let (of, records) = std::mem::take(&mut self.in_doubt);
        if of == epoch && records > 0 {
            tracing::warn!(
                sink = self.staging.books.sink,
                epoch,
                records,
                "topics refused records; they are in the topic {REFUSED_TOPIC}, with the reasons"
            );
            self.refused += records;
        }
    }
}

/// Hears a producer whose records have numbers, and keeps which of them were refused for what they hold.
#[derive(Debug)]
pub(super) struct HearsEach {
    pub(super) all: Hears,
    refused: Mutex<Refusals>,
    /// Whether the broker has said of a batch which of its records it is about.
    is_told_apart: AtomicBool,
}

impl HearsEach {
    pub(super) fn new(who: &str) -> HearsEach {
        HearsEach { all: Hears::new(who), refused: Mutex::default(), is_told_apart: AtomicBool::default() }
    }

    pub(super) fn is_told_apart(&self) -> bool {
        self.is_told_apart.load(Ordering::Relaxed)
    }

    pub(super) fn refused(&self) -> Refusals {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for HearsEach {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.all.log(level, facility, message);
    }

    fn stats_raw(&self, _statistics: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.all.error(error, reason);
    }
}

impl ProducerContext<NoCustomPartitioner> for HearsEach {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let code = result.as_ref().err().and_then(|(error, _)| error.rdkafka_error_code());
        // What the other records of such a batch get.
        if code == Some(RDKafkaErrorCode::InvalidDifferentRecord) {
            self.is_told_apart.store(true, Ordering::Relaxed);
        }
        if let Some(code) = code.filter(|code| is_about_content(*code)) {
            self.refused.lock().unwrap_or_else(PoisonError::into_inner).insert(number, code);
        }
        self.all.delivery(result, ());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOO_LARGE: RDKafkaErrorCode = RDKafkaErrorCode::MessageSizeTooLarge;

    #[test]
    fn care_grows_until_a_refusal_names_records() {
        let large = Refusals::from([(7, TOO_LARGE)]);
        let after = |care: Care, refused: &Refusals, limit| care.after(refused, false, limit);
        assert_eq!(after(Care::None, &large, Some(2_000)), Some(Care::Sized(2_000)));
        assert_eq!(after(Care::Sized(2_000), &large, Some(2_000)), None);
        // Somebody has lowered the limit meanwhile.
        assert_eq!(after(Care::Sized(2_000), &large, Some(1_000)), Some(Care::Sized(1_000)));
        assert_eq!(after(Care::None, &large, None), Some(Care::Alone));
        assert_eq!(after(Care::Sized(2_000), &large, None), Some(Care::Alone));
        let odd = Refusals::from([(7, TOO_LARGE), (8, RDKafkaErrorCode::InvalidRecord)]);
        assert_eq!(after(Care::Sized(2_000), &odd, Some(2_000)), Some(Care::Alone));
        assert_eq!(after(Care::Alone, &odd, Some(2_000)), None);
        // Brokers say which records of a batch are of a wrong form; of size they judge batches.
        let form = Refusals::from([(8, RDKafkaErrorCode::InvalidRecord)]);
        assert_eq!(Care::None.after(&form, true, None), None);
        assert_eq!(after(Care::None, &form, Some(2_000)), Some(Care::Alone));
        assert_eq!(Care::None.after(&large, true, Some(2_000)), Some(Care::Sized(2_000)));
    }

    #[test]
    fn what_is_as_large_as_a_refused_record_goes_aside_without_being_tried() {
        let record = |topic: &'static str, bytes: usize| Outgoing {
            topic: topic.into(),
            partition: 0,
            timestamp_ms: None,
            headers: vec![("name".into(), Some("value".into()))],
            key: Some(b"k"[..].into()),
            payload: Some(vec![b'.'; bytes].into()),
        };
        let mut aside = Aside::of(3);
        assert!(
            aside.take(Refusals::from([(7, TOO_LARGE)])) && aside.is_too_large(7) && !aside.is_too_large(8)
        );
        assert!(!aside.take(Refusals::from([(7, TOO_LARGE)])), "that is known");
        aside.note_size(&record("t", 100));
        aside.note_size(&record("t", 200));
        let reasons = [("t", 99), ("t", 100), ("other", 200)]
            .map(|(topic, bytes)| aside.reason(8, &record(topic, bytes)));
        assert_eq!(reasons, [None, Some(TOO_LARGE), None]);
        assert_eq!(aside.reason(7, &record("other", 1)), Some(TOO_LARGE));
        let set = |value: &str| sends_plain(&Properties::new("b:1").with("compression.type", value));
        assert!(sends_plain(&Properties::new("b:1")) && set("none") && !set("zstd"));
    }

    #[test]
    fn batches_are_never_made_larger() {
        let properties = Properties::new("b:1");
        let size = |care: Care, of: &Properties| care.of(of).get("batch.size").map(str::to_owned);
        assert_eq!(size(Care::None, &properties), None);
        assert_eq!(size(Care::Sized(2_000), &properties), Some("2000".to_owned()));
        assert_eq!(size(Care::Sized(3_000_000), &properties), Some("1000000".to_owned()));
        assert_eq!(size(Care::Sized(2_000), &properties.with("batch.size", 900)), Some("900".to_owned()));
    }

    #[test]
    fn what_is_set_aside_says_whose_it_was_behind_its_own_headers() {
        let record = Outgoing {
            topic: "t".into(),
            partition: 3,
            timestamp_ms: Some(12),
            headers: vec![("topic".into(), Some("own".into()))],
            key: Some(b"k"[..].into()),
            payload: None,
        };
        let aside = set_aside(record, "p-s", TOO_LARGE);
        assert_eq!((&*aside.topic, aside.partition, aside.timestamp_ms), (REFUSED_TOPIC, 0, None));
        let texts: Vec<(&str, &str)> = aside
            .headers
            .iter()
            .map(|(name, value)| (&**name, value.as_deref().unwrap_or_default()))
            .collect();
        let expected = [
            ("topic", "own"),
            ("refused-sink", "p-s"),
            ("refused-topic", "t"),
            ("refused-partition", "3"),
            ("refused-timestamp", "12"),
        ];
        assert_eq!(texts[..5], expected);
        assert_eq!(texts[5].0, "refused-reason");
    }
}

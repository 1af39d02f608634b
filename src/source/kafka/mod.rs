//! Kafka topics, live: partitions are given to workers by the engine, and each worker reads its own with a
//! client of its own.
//!
//! ```text
//! brokers ──► librdkafka's threads: fetch, check, unpack ──► a queue per partition ──► poll(lane) ──► visit(record)
//! ```
//!
//! * Records are shown where librdkafka holds them; nothing of them is copied (`native.rs`).
//! * There is no consumer group. Offsets belong to the checkpoint, so no right on groups is needed, and no
//!   rebalance can take a partition away.
//! * Only committed records are read (`isolation.level=read_committed`).
//! * An offset that is not there any more is never passed over in silence ([`OutOfRange`]).
//! * Memory is bounded by [`Settings::buffer_bytes`]: a lane that the engine holds back is fetched no further.

mod native;
mod reader;
mod start;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use self::reader::KafkaReader;
pub use self::start::Start;
use super::{Assignment, InputMark, PartitionInfo, Reader, Source, SourceError};
use crate::kafka::{Properties, TopicInfo, Watch, explain};
use crate::record::Partition;
use crate::sink::retry::{Backoff, pause};

/// What is done about records that were not read yet and are gone, by retention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OutOfRange {
    /// The run ends with [`SourceError::Gone`].
    #[default]
    Fail,
    /// Reading goes on at the earliest record; how many offsets were lost is counted and told.
    Skip,
}

/// How topics are read.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The client's properties; what is not set has a default that suits the engine.
    pub properties: Properties,
    /// The topics, each once.
    pub topics: Vec<String>,
    /// What is done about records that are gone.
    pub out_of_range: OutOfRange,
    /// How long a question to the brokers may take.
    pub timeout: Duration,
    /// How many bytes a worker's client fetches ahead, about.
    pub buffer_bytes: usize,
    /// Whether topics' identities are asked for, so that one which is deleted and made again is noticed.
    pub identify: bool,
}

impl Settings {
    /// These topics of these brokers: records that are gone end the run, questions take at most 30 s, and
    /// 64 MiB are fetched ahead.
    pub fn new(properties: Properties, topics: impl IntoIterator<Item = impl Into<String>>) -> Settings {
        Settings {
            properties,
            topics: topics.into_iter().map(Into::into).collect(),
            out_of_range: OutOfRange::default(),
            timeout: Duration::from_secs(30),
            buffer_bytes: 64 << 20,
            identify: true,
        }
    }

    /// A client that fetches for `partitions` partitions.
    fn client(&self, partitions: usize) -> Result<BaseConsumer<Watch>, SourceError> {
        if let Some((name, value)) = self.properties.contradiction(&FIXED) {
            let cause = format!("it has to be {value:?}; leave it out");
            return Err(SourceError::Refused { what: format!("the property {name:?}"), cause });
        }
        // librdkafka takes the bound per partition, and needs room for a fetch.
        let kbytes = ((self.buffer_bytes / partitions.max(1)) >> 10).clamp(1 << 10, 1 << 20);
        let mut properties = self.properties.clone().without("group.id");
        for (name, value) in FIXED {
            properties = properties.with(name, value);
        }
        for (name, value) in DEFAULTS {
            properties = properties.or(name, value);
        }
        let config = properties.or("queued.max.messages.kbytes", kbytes).client();
        config
            .create_with_context(Watch::new("kafka source"))
            .map_err(|error| SourceError::Refused { what: "the settings".to_owned(), cause: explain(&error) })
    }
}

/// What the source's promises rest on.
const FIXED: [(&str, &str); 5] = [
    ("isolation.level", "read_committed"),
    ("auto.offset.reset", "error"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("enable.partition.eof", "true"),
];

/// What suits the engine better than librdkafka's own defaults.
const DEFAULTS: [(&str, &str); 6] = [
    ("client.id", "tidegate"),
    // A flipped bit is an error, not an answer.
    ("check.crcs", "true"),
    // A lane whose buffer was full is fetched again soon; the default is a second.
    ("fetch.queue.backoff.ms", "10"),
    ("socket.keepalive.enable", "true"),
    ("reconnect.backoff.ms", "100"),
    ("reconnect.backoff.max.ms", "2000"),
];

/// Topics of a Kafka cluster.
pub struct KafkaSource {
    settings: Arc<Settings>,
    client: BaseConsumer<Watch>,
    topics: Vec<TopicInfo>,
    partitions: Vec<PartitionInfo>,
    /// Why a run without a checkpoint cannot begin where it was told to.
    no_start: Mutex<Option<SourceError>>,
}

impl KafkaSource {
    /// Finds out which partitions the topics have. A partition that has no leader yet, as those of a topic that was made a moment ago, is
    /// waited for as long as for any other answer.
    ///
    /// # Errors
    /// [`SourceError::Unreachable`], [`SourceError::Refused`] or [`SourceError::NoTopic`].
    pub fn open(settings: Settings) -> Result<KafkaSource, SourceError> {
        let client = settings.client(1)?;
        let began = Instant::now();
        let (topics, partitions) = settled(&|| began.elapsed() < settings.timeout, || {
            let topics = describe(&client, &settings)?;
            let partitions = ids(&topics).into_iter().map(|id| {
                let (earliest, end) = bounds(&client, &settings, &id)?;
                let records_hint = (end - earliest).max(0).unsigned_abs();
                Ok(PartitionInfo { id, records_hint, from_offset: earliest })
            });
            let partitions = partitions.collect::<Result<_, SourceError>>()?;
            Ok((topics, partitions))
        })?;
        let settings = Arc::new(settings);
        Ok(KafkaSource { settings, client, topics, partitions, no_start: Mutex::default() })
    }

    /// Each topic's identity, for the checkpoint; left out where the brokers know none (before Kafka 2.8).
    pub fn topic_ids(&self) -> BTreeMap<String, String> {
        let known = |topic: &TopicInfo| Some((topic.name.clone(), topic.id.clone()?));
        self.topics.iter().filter_map(known).collect()
    }

    /// Compares the topics with those of a checkpoint, as [`KafkaSource::topic_ids`] gave them.
    ///
    /// # Errors
    /// [`SourceError::Replaced`] for a topic that has another identity.
    pub fn check_topic_ids(&self, former: &BTreeMap<String, String>) -> Result<(), SourceError> {
        same_topics(former, &self.topics)
    }

    /// Where to begin, by index among the partitions.
    ///
    /// # Errors
    /// [`SourceError::Unreachable`]; for a given offset that is not there also [`SourceError::Gone`] (under
    /// [`OutOfRange::Fail`]) and [`SourceError::Replaced`].
    pub fn resolve_start(&self, start: &Start) -> Result<Vec<i64>, SourceError> {
        start.resolve(&self.client, &self.settings, &self.partitions)
    }

    /// The same source, which a run without a checkpoint begins to read at `start`. Where that cannot be, [`Source::begin`] says so:
    /// a run with a checkpoint is not concerned.
    ///
    /// # Errors
    /// As [`KafkaSource::resolve_start`], but for records that are gone or not there.
    pub fn starting_at(mut self, start: &Start) -> Result<KafkaSource, SourceError> {
        match self.resolve_start(start) {
            Ok(offsets) => {
                for (info, offset) in self.partitions.iter_mut().zip(offsets) {
                    info.from_offset = offset;
                }
            }
            Err(error @ (SourceError::Gone { .. } | SourceError::Replaced { .. })) => {
                self.no_start = Mutex::new(Some(error));
            }
            Err(error) => return Err(error),
        }
        Ok(self)
    }

    /// The offset behind each partition's last record now, by index among the partitions.
    ///
    /// # Errors
    /// [`SourceError::Unreachable`].
    pub fn ends(&self) -> Result<Vec<i64>, SourceError> {
        self.resolve_start(&Start::Latest)
    }

    /// The partitions that the topics have now and [`Source::partitions`] does not name, in their order. Only here is a topic
    /// noticed that was deleted, or deleted and made again, since librdkafka waits for it without a word.
    ///
    /// # Errors
    /// [`SourceError::NoTopic`] when a topic was deleted; [`SourceError::Replaced`] when a topic was made again since [`KafkaSource::open`], or lost partitions;
    /// otherwise as [`KafkaSource::open`]; [`SourceError::Unreachable`] is worth another try later.
    pub fn refresh(&self) -> Result<Vec<PartitionInfo>, SourceError> {
        let now = describe(&self.client, &self.settings)?;
        same_topics(&self.topic_ids(), &now)?;
        for (before, now) in self.topics.iter().zip(&now) {
            if now.partitions < before.partitions {
                let what = format!("it had {} partitions and has {}", before.partitions, now.partitions);
                return Err(SourceError::Replaced { topic: now.name.clone(), what });
            }
        }
        let known = |id: &Partition| self.partitions.iter().any(|info| info.id == *id);
        let new = ids(&now).into_iter().filter(|id| !known(id));
        Ok(new.map(|id| PartitionInfo { id, records_hint: 0, from_offset: 0 }).collect())
    }
}

impl Source for KafkaSource {
    fn resumes_by_offset(&self) -> bool {
        true
    }

    fn is_live(&self) -> bool {
        true
    }

    fn partitions(&self) -> &[PartitionInfo] {
        &self.partitions
    }

    fn mark(&self) -> InputMark {
        let starts = self.partitions.iter().map(|info| (info.id.clone(), info.from_offset)).collect();
        InputMark { topic_ids: self.topic_ids(), ends: BTreeMap::new(), starts }
    }

    fn begin(&self) -> Result<(), SourceError> {
        let why = self.no_start.lock().unwrap_or_else(PoisonError::into_inner).take();
        why.map_or(Ok(()), Err)
    }

    fn resume(&self, former: &InputMark) -> Result<(), SourceError> {
        self.check_topic_ids(&former.topic_ids)
    }

    fn grown(&self) -> Result<Option<Arc<dyn Source>>, SourceError> {
        if self.refresh()?.is_empty() {
            return Ok(None);
        }
        let source = KafkaSource::open((*self.settings).clone())?;
        Ok(Some(Arc::new(source)))
    }

    /// Asks the brokers for the ends, and reads nothing.
    fn check_ended(&self, former: &InputMark, _seen: &BTreeMap<Partition, u64>) -> Result<(), SourceError> {
        for (info, end) in self.partitions.iter().zip(self.ends()?) {
            if !former.ends.is_empty() && end > former.ends.get(&info.id).copied().unwrap_or(0) {
                return Err(SourceError::Grown { partition: info.id.clone() });
            }
        }
        Ok(())
    }

    /// Begins to read. `from_offset` is the next offset to read: use [`KafkaSource::resolve_start`] for the first
    /// start.
    ///
    /// # Errors
    /// [`SourceError::Replaced`] when a partition ends before `from_offset`; otherwise as [`KafkaSource::open`].
    fn reader(&self, assigned: &[Assignment]) -> Result<Box<dyn Reader>, SourceError> {
        let mut starts = Vec::with_capacity(assigned.len());
        for &Assignment { partition, from_offset } in assigned {
            let Some(info) = self.partitions.get(partition) else { continue };
            reader::check_position(&self.client, &self.settings, &info.id, from_offset)?;
            starts.push((partition, info.id.clone(), from_offset));
        }
        let client = self.settings.client(starts.len())?;
        Ok(Box::new(KafkaReader::start(client, Arc::clone(&self.settings), starts.into_iter())?))
    }
}

/// Asks again while brokers cannot answer and `in_time` allows it.
fn settled<T>(
    in_time: &dyn Fn() -> bool,
    ask: impl Fn() -> Result<T, SourceError>,
) -> Result<T, SourceError> {
    let longest = Duration::from_secs(1);
    let backoff = Backoff { longest, seed: u64::from(std::process::id()), ..Backoff::default() };
    let mut tries = 0;
    loop {
        tries += 1;
        match ask() {
            Err(SourceError::Unreachable { .. }) if pause(&backoff, tries, &|| !in_time()) => {}
            answer => return answer,
        }
    }
}

/// All partitions of the topics, in order.
fn ids(topics: &[TopicInfo]) -> Vec<Partition> {
    let of_topic = |topic: &TopicInfo| {
        let name: Arc<str> = topic.name.as_str().into();
        (0..topic.partitions as i32).map(move |number| Partition { topic: Arc::clone(&name), number })
    };
    let mut ids: Vec<Partition> = topics.iter().flat_map(of_topic).collect();
    ids.sort();
    ids
}

/// What the cluster says of the topics, in the order of the settings.
fn describe(client: &BaseConsumer<Watch>, settings: &Settings) -> Result<Vec<TopicInfo>, SourceError> {
    let mut topics = Vec::new();
    for name in &settings.topics {
        topics.push(TopicInfo { name: name.clone(), id: None, partitions: count(client, settings, name)? });
    }
    if settings.identify {
        identify(client, settings, &mut topics);
    }
    Ok(topics)
}

fn count(client: &BaseConsumer<Watch>, settings: &Settings, name: &str) -> Result<usize, SourceError> {
    let found = client.fetch_metadata(Some(name), settings.timeout);
    let found = found.map_err(|error| unreachable(client, settings, &error))?;
    let topic = found.topics().iter().find(|topic| topic.name() == name);
    let servers = || settings.properties.servers().to_owned();
    let Some(topic) = topic else {
        return Err(SourceError::NoTopic { topic: name.to_owned(), servers: servers() });
    };
    match topic.error().map(RDKafkaErrorCode::from) {
        None => Ok(topic.partitions().len()),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
            Err(SourceError::NoTopic { topic: name.to_owned(), servers: servers() })
        }
        Some(RDKafkaErrorCode::LeaderNotAvailable) => {
            let cause = format!("topic {name:?} has no leader yet");
            Err(SourceError::Unreachable { servers: servers(), cause })
        }
        Some(code) => Err(refused(format!("to describe topic {name:?}"), code)),
    }
}

/// Adds the topics' identities. That they are not known is no reason to stop.
fn identify(client: &BaseConsumer<Watch>, settings: &Settings, topics: &mut [TopicInfo]) {
    let names: Vec<&str> = settings.topics.iter().map(String::as_str).collect();
    let timeout = settings.timeout.min(Duration::from_secs(5));
    match crate::kafka::describe(client.client(), &names, timeout) {
        Ok(described) => {
            for (topic, described) in topics.iter_mut().zip(described) {
                topic.id = described.ok().and_then(|described| described.id);
            }
        }
        Err(error) => tracing::warn!(
            "the identities of topics are not known ({}): one that is made again may go unnoticed",
            explain(&error)
        ),
    }
}

fn same_topics(former: &BTreeMap<String, String>, now: &[TopicInfo]) -> Result<(), SourceError> {
    for topic in now {
        if let (Some(before), Some(id)) = (former.get(&topic.name), &topic.id)
            && before != id
        {
            let what = "it was deleted and made again".to_owned();
            return Err(SourceError::Replaced { topic: topic.name.clone(), what });
        }
    }
    Ok(())
}

/// The earliest offset of a partition, and the one behind its last record.
fn bounds(
    client: &BaseConsumer<Watch>,
    settings: &Settings,
    id: &Partition,
) -> Result<(i64, i64), SourceError> {
    let bounds = client.fetch_watermarks(&id.topic, id.number, settings.timeout);
    bounds.map_err(|error| unreachable(client, settings, &error))
}

/// Why `position` cannot be read, if it cannot.
fn range_error(id: &Partition, position: i64, earliest: i64, end: i64) -> Option<SourceError> {
    if position < earliest {
        return Some(SourceError::Gone { partition: id.clone(), position, earliest });
    }
    position_error(id, position, end)
}

fn position_error(id: &Partition, position: i64, end: i64) -> Option<SourceError> {
    (position > end).then(|| {
        let what = format!("it ends at offset {end}, before {position}, up to where it has been read");
        SourceError::Replaced { topic: id.to_string(), what }
    })
}

fn refused(what: String, cause: impl ToString) -> SourceError {
    SourceError::Refused { what, cause: cause.to_string() }
}

/// An answer did not come, with the reason that the client gave meanwhile.
fn unreachable(client: &BaseConsumer<Watch>, settings: &Settings, error: &KafkaError) -> SourceError {
    // What the client has to say comes when it is polled.
    while client.poll(Duration::ZERO).is_some() {}
    let cause = match client.context().reason() {
        Some(reason) => format!("{} ({reason})", explain(error)),
        None => explain(error),
    };
    SourceError::Unreachable { servers: settings.properties.servers().to_owned(), cause }
}

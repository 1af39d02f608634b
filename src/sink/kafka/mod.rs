//! Kafka topics, written exactly once: a transaction an epoch.
//!
//! ```text
//! write*   kcat lines into a local file                           nothing in Kafka
//! prepare  the file is forced; the manifest names it and its checksum
//! commit   one transaction: every line as a record, and the mark  visible to read_committed, all or nothing
//! ```
//!
//! librdkafka cannot take up a transaction after a crash, hence the local file: what a decided epoch holds is sent
//! again from it, by this process or the next one.
//!
//! The **mark** is an offset of the consumer group `tidegate-<pipeline>-<sink>`, committed in the same transaction
//! (`mark.rs`). It is read before anything is sent, so that an epoch which is in is not sent again, also when
//! nobody knows how the last commit ended. A copy stands beside the staging directory, since brokers forget the
//! offsets of a group that nobody uses (`offsets.retention.minutes`, 7 days by default): a pipeline that died between
//! a commit and its copy, and then rested that long, would send that one epoch twice.
//!
//! **Zombies**: `transactional.id` is fixed, so a new run fences every older producer. A run that is fenced ends with
//! [`SinkError::Fenced`] and does not fight back. The mark states the generation, and a run looks at it before it
//! takes over: an older one that starts late ends without having disturbed the newer.
//!
//! A record that a topic refuses for what it holds does not hold up the others (`refused.rs`).

mod line;
mod mark;
mod refused;
#[cfg(test)]
mod tests;
mod transaction;

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use self::line::Outgoing;
use self::mark::{Committed, MarkError, MarkStore, Pending};
pub use self::refused::REFUSED_TOPIC;
use self::refused::{Aside, Care, MOST, Refusals, TRIES, buffer_kib, largest, set_aside};
use self::transaction::{Transactions, Verdict, judge, judge_mark};
use super::staged::{Books, Description, Mark, Turn, turn};
use super::staged_lines::{StagedFile, Staging};
use super::topic::TopicBatch;
use super::{Disk, Durability, Sink, SinkError, Staged};
use crate::kafka::{NewTopicSpec, Properties, add_partitions, create_topic, describe_topics};

/// A topic that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetTopic {
    /// Its name, which is also what the lines say.
    pub name: String,
    /// How many partitions it needs: as many as its input. It is made with so many where it is not there.
    pub partitions: i32,
}

/// How topics are written.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The client's properties.
    pub properties: Properties,
    /// The topics, by the index that [`TopicBatch::topic`] states; at least one.
    pub topics: Vec<TargetTopic>,
    /// Copies of a topic that is made here; `None`: what the brokers do by default.
    pub replication: Option<i32>,
    /// How long a transaction may take before the brokers abort it; at most their `transaction.max.timeout.ms` (15 min
    /// by default). An epoch's output must be sent within four fifths of it.
    pub transaction_timeout: Duration,
    /// How long one call may block; less than the transaction's.
    pub timeout: Duration,
}

impl Settings {
    /// These topics of these brokers; transactions may take what `transaction.timeout.ms` of the properties says, or 60 s, calls 30 s.
    pub fn new(properties: Properties, topics: Vec<TargetTopic>) -> Settings {
        let stated = properties.get("transaction.timeout.ms").and_then(|ms| ms.parse().ok());
        Settings {
            properties,
            topics,
            replication: None,
            transaction_timeout: stated.map_or(Duration::from_secs(60), Duration::from_millis),
            timeout: Duration::from_secs(30),
        }
    }
}

/// The sink of one pipeline's topics.
///
/// Its batches are those of [`TopicFiles`](super::topic::TopicFiles): lines of kcat. A record keeps the line's topic,
/// partition, key, payload, headers and timestamp (as its create time; without one it gets the time at which it is
/// sent); offsets are Kafka's. Behind its own headers stand `tidegate-epoch` and `tidegate-generation`.
pub struct KafkaTopics {
    settings: Settings,
    /// Properties of the producer, the identity among them.
    producing: Properties,
    identity: String,
    staging: Staging,
    /// Read behind a take-over, and written.
    marks: MarkStore,
    /// Read before a take-over.
    early_marks: MarkStore,
    /// The producer, and the generation for which it took over.
    live: Option<(Transactions, u64)>,
    /// The mark as last read; of use while `live` is there.
    mark: Option<Committed>,
    /// That of the producer.
    care: Care,
    /// What is known of the epoch that is being published.
    aside: Aside,
    /// Records that the topics have refused since it was opened.
    refused: u64,
    /// Those of the transaction that was sent last, which may not be known to have happened, with its epoch.
    in_doubt: (u64, u64),
}

impl KafkaTopics {
    /// Opens the topics, and makes those that are not there.
    ///
    /// `pipeline` and `sink` name the sink, in Kafka too (`tidegate-<pipeline>-<sink>` is its transactional id and its
    /// group), so they must stay the same for ever. What is staged lies below `dir`, on this machine.
    ///
    /// # Errors
    /// [`SinkError::Unavailable`] when no broker answers; [`SinkError::Failed`] for settings that cannot work and
    /// topics with fewer partitions than are needed.
    pub fn open(
        settings: Settings,
        dir: &Path,
        pipeline: &str,
        sink: &str,
        durability: Durability,
    ) -> Result<KafkaTopics, SinkError> {
        let identity = format!("tidegate-{pipeline}-{sink}");
        let books = Books::open(Disk::new(durability), dir.join(sink), sink)?;
        let Some(first) = settings.topics.first() else {
            return Err(books.failed("there is no topic to write"));
        };
        if settings.transaction_timeout < settings.timeout {
            return Err(books.failed(format!(
                "the transaction timeout ({:?}) is shorter than that of a call ({:?}): raise the one or lower the other",
                settings.transaction_timeout, settings.timeout
            )));
        }
        if settings.topics.iter().any(|topic| topic.name == REFUSED_TOPIC) {
            return Err(
                books.failed(format!("{REFUSED_TOPIC:?} is for what other topics refuse: name another"))
            );
        }
        let fixed =
            [("transactional.id", identity.as_str()), ("enable.idempotence", "true"), ("acks", "all")];
        if let Some((name, value)) = settings.properties.contradiction(&fixed) {
            return Err(books.failed(format!("the property {name:?} has to be {value:?}; leave it out")));
        }
        let producing = settings
            .properties
            .clone()
            .with("transactional.id", &identity)
            .with("enable.idempotence", "true")
            .with("transaction.timeout.ms", settings.transaction_timeout.as_millis())
            .with("message.max.bytes", largest(&settings.properties))
            .or("client.id", "tidegate")
            .or("linger.ms", "5")
            .or("queue.buffering.max.kbytes", buffer_kib(&settings.properties))
            .or("reconnect.backoff.max.ms", "2000");
        let marks = |pending| {
            MarkStore::open(&settings.properties, &identity, &first.name, pending)
                .map_err(|cause| books.failed(cause))
        };
        let (marks, early_marks) = (marks(Pending::Wait)?, marks(Pending::Ignore)?);
        let staging = Staging::new(books, "kafka");
        let sink = KafkaTopics {
            settings,
            producing,
            identity,
            staging,
            marks,
            early_marks,
            live: None,
            mark: None,
            care: Care::None,
            aside: Aside::default(),
            refused: 0,
            in_doubt: (0, 0),
        };
        sink.make_topics()?;
        Ok(sink)
    }

    /// The last epoch that was committed, by whatever process; `None` before the first.
    ///
    /// # Errors
    /// [`SinkError::Unavailable`] when no broker answers.
    pub fn committed(&self) -> Result<Option<u64>, SinkError> {
        let local = self.staging.books.mark::<()>()?.epoch;
        Ok(self.read_mark(Pending::Ignore)?.map(|mark| mark.epoch).max(local))
    }

    fn make_topics(&self) -> Result<(), SinkError> {
        let Settings { properties, topics, replication, timeout, .. } = &self.settings;
        let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
        let found = describe_topics(properties, &names, *timeout).map_err(|cause| self.unavailable(cause))?;
        for (topic, found) in topics.iter().zip(found) {
            match found {
                Some(found) if (found.partitions as i32) < topic.partitions => {
                    // As many as its input, which may have got more.
                    let TargetTopic { name, partitions } = topic;
                    let added = add_partitions(properties, name, *partitions as usize, *timeout);
                    added.map_err(|cause| self.unavailable(cause))?;
                    tracing::info!("topic {name:?} had {} partitions and has {partitions}", found.partitions);
                }
                Some(_) => {}
                None => {
                    let spec = NewTopicSpec {
                        name: &topic.name,
                        partitions: topic.partitions,
                        replication: *replication,
                        settings: &[],
                    };
                    let made = create_topic(properties, &spec, *timeout);
                    if made.map_err(|cause| self.unavailable(cause))? {
                        tracing::info!("made topic {:?} with {} partitions", topic.name, topic.partitions);
                    }
                }
            }
        }
        Ok(())
    }

    fn unavailable(&self, cause: String) -> SinkError {
        SinkError::Unavailable { sink: self.staging.books.sink.clone(), cause }
    }

    fn lift(&self, verdict: Verdict, generation: u64) -> SinkError {
        match verdict {
            Verdict::Again(cause) => self.unavailable(cause),
            Verdict::Never(cause) => self.staging.books.failed(cause),
            Verdict::Fenced => {
                // Who did it may not have committed yet; then all that is known is that it is newer.
                let newer = self.read_mark(Pending::Ignore).ok().flatten().map_or(0, |mark| mark.generation);
                let newer = newer.max(generation.saturating_add(1));
                SinkError::Fenced { sink: self.staging.books.sink.clone(), ours: generation, newer }
            }
        }
    }

    fn read_mark(&self, pending: Pending) -> Result<Option<Committed>, SinkError> {
        let marks = match pending {
            Pending::Wait => &self.marks,
            Pending::Ignore => &self.early_marks,
        };
        marks.read(self.settings.timeout).map_err(|error| match error {
            MarkError::Kafka(error) => self.lift(judge_mark(&error), 0),
            MarkError::Foreign(found) => {
                let group = &self.identity;
                self.staging.books.failed(format!(
                    "the group {group:?} holds what this program did not write ({found}): it is the sink's own; delete \
                     what is not"
                ))
            }
        })
    }

    /// What is to be done about an epoch, by the marks in Kafka and here.
    fn turn(&self, local: &Mark<()>, epoch: u64, generation: u64) -> Result<Turn, SinkError> {
        let last = self.mark.map(|mark| mark.epoch).max(local.epoch);
        let newest = self.mark.map_or(0, |mark| mark.generation).max(local.generation);
        turn(&self.staging.books.sink, last, newest, epoch, generation)
    }

    /// Takes the identity over for `generation`, unless that has been done or a newer one is there.
    fn take_over(&mut self, local: &Mark<()>, epoch: u64, generation: u64) -> Result<(), SinkError> {
        if self.live.as_ref().is_some_and(|(_, taken)| *taken == generation) {
            return Ok(());
        }
        self.live = None;
        self.mark = self.read_mark(Pending::Ignore)?;
        self.turn(local, epoch, generation)?;
        let transactions = Transactions::take_over(&self.care.of(&self.producing), &self.settings);
        self.live = Some((transactions.map_err(|verdict| self.lift(verdict, generation))?, generation));
        // Only now is it certain how the last transaction ended.
        self.mark = self.read_mark(Pending::Wait)?;
        Ok(())
    }

    /// Publishes the epoch, in as many tries as it takes to know which records the topics refuse.
    fn publish(
        &mut self,
        local: &Mark<()>,
        mark: Committed,
        staged: &Description<StagedFile>,
    ) -> Result<(), SinkError> {
        let Committed { epoch, generation } = mark;
        if self.aside.epoch != epoch {
            self.aside = Aside::of(epoch);
        }
        for _ in 0..TRIES {
            self.take_over(local, epoch, generation)?;
            if self.turn(local, epoch, generation)? == Turn::Done {
                self.tell_refused(epoch);
                return Ok(());
            }
            let Some((transactions, _)) = self.live.take() else {
                return Err(self.unavailable("there is no producer".to_owned()));
            };
            let count = Cell::new(0);
            let sent = self.send(&transactions, mark, staged, &count);
            self.in_doubt = (epoch, count.get());
            let failure = match sent {
                Ok(()) => {
                    self.mark = Some(mark);
                    if self.care == Care::Alone {
                        // It is slow, and the next epoch may do without.
                        self.care = Care::None;
                    } else {
                        self.live = Some((transactions, generation));
                    }
                    self.tell_refused(epoch);
                    return Ok(());
                }
                Err(failure) => failure,
            };
            let refused = match failure {
                Failure::Kafka(Verdict::Never(_) | Verdict::Again(_)) => transactions.refused(),
                _ => Refusals::new(),
            };
            let error = match failure {
                Failure::Kafka(verdict) => self.lift(verdict, generation),
                Failure::Sink(error) => error,
            };
            let is_told_apart = transactions.is_told_apart();
            if transactions.abandon() {
                // What a topic refuses says less than that another run is there.
                return Err(self.lift(Verdict::Fenced, generation));
            }
            if refused.is_empty() {
                return Err(error);
            }
            if let Some(care) = self.care.after(&refused, is_told_apart, self.batch_limit()) {
                tracing::warn!(
                    "a topic refuses records: epoch {epoch} is sent again to find out which ({care:?})"
                );
                self.care = care;
                continue;
            }
            let codes: Vec<_> = refused.values().copied().collect();
            if !self.aside.take(refused) {
                // What was refused is what was set aside.
                let what = format!("{REFUSED_TOPIC} refuses a record of epoch {epoch} too");
                return Err(self.lift(judge(codes.into_iter(), &what), generation));
            }
            self.note_sizes(staged)?;
            self.make_refused_topic()?;
        }
        Err(self.unavailable(format!("topics refuse records of epoch {epoch}, again and again others")))
    }

    /// Sends the epoch in one transaction, and what goes aside, so many, to its own topic.
    fn send(
        &self,
        transactions: &Transactions,
        mark: Committed,
        staged: &Description<StagedFile>,
        count: &Cell<u64>,
    ) -> Result<(), Failure> {
        transactions.begin()?;
        let (epoch, generation) = (mark.epoch.to_string(), mark.generation.to_string());
        let mut verdict = None;
        let sink = self.identity.strip_prefix("tidegate-").unwrap_or(&self.identity);
        let mut number = 0_usize;
        let read = self.staging.read(staged, |line| {
            number += 1;
            let bad =
                |what: String| self.staging.books.failed(format!("line {number} of epoch {epoch}: {what}"));
            let mut record = Outgoing::parse(line).map_err(bad)?;
            if !self.settings.topics.iter().any(|topic| topic.name == record.topic) {
                return Err(bad(format!("{:?} is none of this sink's topics", record.topic)));
            }
            if let Some(code) = self.aside.reason(number, &record) {
                count.set(count.get() + 1);
                if count.get() > MOST {
                    return Err(self.staging.books.failed(format!(
                        "more than {MOST} records of epoch {epoch} are refused by their topics, which is no matter of single records: \
                         raise their max.message.bytes (the first: {:?}, {code})",
                        record.topic
                    )));
                }
                record = set_aside(record, sink, code);
            }
            transactions.send(number, &record, [&epoch, &generation]).map_err(|error| {
                verdict = Some(error);
                self.unavailable(String::new())
            })
        });
        if let Some(verdict) = verdict {
            return Err(verdict.into());
        }
        read.map_err(Failure::Sink)?;
        Ok(transactions.commit(&self.marks, mark)?)
    }
}

/// The last epoch with records that the sink `sink` of `pipeline` has committed, by whatever process, as Kafka knows it; `topic`
/// is the first of its topics. `None` before the first, and where the brokers have forgotten it: see above.
///
/// # Errors
/// [`SinkError::Unavailable`] when no broker answers; [`SinkError::Failed`] when they refuse, or the mark is no mark.
pub fn committed(
    properties: &Properties,
    pipeline: &str,
    sink: &str,
    topic: &str,
    timeout: Duration,
) -> Result<Option<u64>, SinkError> {
    let identity = format!("tidegate-{pipeline}-{sink}");
    let fail = |cause: String| SinkError::Failed { sink: sink.to_owned(), cause };
    let marks = MarkStore::open(properties, &identity, topic, Pending::Ignore).map_err(fail)?;
    let mark = marks.read(timeout).map_err(|error| match error {
        MarkError::Foreign(found) => fail(format!("the group {identity:?} holds {found}, which is no mark")),
        MarkError::Kafka(error) => match judge_mark(&error) {
            Verdict::Again(cause) => SinkError::Unavailable { sink: sink.to_owned(), cause },
            Verdict::Never(cause) => fail(cause),
            Verdict::Fenced => fail("a newer run has taken the group over".to_owned()),
        },
    })?;
    Ok(mark.map(|mark| mark.epoch))
}

/// Why an epoch was not published.
enum Failure {
    Kafka(Verdict),
    Sink(SinkError),
}

impl From<Verdict> for Failure {
    fn from(verdict: Verdict) -> Failure {
        Failure::Kafka(verdict)
    }
}

impl Sink for KafkaTopics {
    type Batch = TopicBatch;

    /// Stages lines. An error is final: the run starts again from its last manifest.
    fn write(&mut self, epoch: u64, batch: TopicBatch) -> Result<(), SinkError> {
        let books = &self.staging.books;
        let Some(topic) = self.settings.topics.get(batch.topic) else {
            return Err(books.failed(format!("there is no topic number {}", batch.topic)));
        };
        if !(0..topic.partitions).contains(&batch.partition) {
            let (name, number) = (&topic.name, batch.partition);
            return Err(books.failed(format!("topic {name:?} was opened without a partition {number}")));
        }
        match batch.lines.last() {
            None => Ok(()),
            Some(b'\n') => self.staging.write(epoch, &batch.lines, batch.count),
            Some(_) => Err(books.failed(format!("lines for topic {:?} end without a newline", topic.name))),
        }
    }

    fn prepare(&mut self, epoch: u64) -> Result<Staged, SinkError> {
        self.staging.prepare(epoch)
    }

    fn commit(&mut self, epoch: u64, generation: u64, staged: &Staged) -> Result<(), SinkError> {
        let description = self.staging.description(epoch, staged)?;
        let mut local = self.staging.books.mark::<()>()?;
        // Here and not only in Kafka, so that an epoch without output takes no transaction.
        self.turn(&local, epoch, generation)?;
        if !description.files.is_empty() {
            self.publish(&local, Committed { epoch, generation }, &description)?;
        }
        local.epoch = local.epoch.max(Some(epoch));
        local.generation = local.generation.max(generation);
        self.staging.books.set_mark(&local)?;
        self.staging.clear(epoch)
    }

    fn refused(&self) -> u64 {
        self.refused
    }
}

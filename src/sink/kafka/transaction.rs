//! The producer of one transactional identity, and the way from what Kafka says to what the engine does.
//!
//! A producer is trusted as long as everything goes well. After any error it is thrown away: the next one's
//! `init_transactions` ends whatever transaction was left (a commit that was under way is completed, all else is
//! aborted), and the mark that is read behind it says which of the two it was. So there is one way to recover,
//! whether the error was a timeout, a broker that died, or our own death.

use std::cell::Cell;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, PurgeConfig};

use super::Settings;
use super::line::Outgoing;
use super::mark::{Committed, MarkStore};
use super::refused::{HearsEach, Refusals};
use crate::kafka::{Properties, explain};

/// What an error means for the sink.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Another producer has taken the identity over.
    Fenced,
    /// It may go better with a new producer, later.
    Again(String),
    /// It will not, whatever the number of tries.
    Never(String),
}

/// A producer whose identity is ours.
pub(super) struct Transactions {
    producer: BaseProducer<HearsEach>,
    timeout: Duration,
    /// When the brokers give the open transaction up, and take us for a producer of before.
    ends: Cell<Instant>,
    transaction_timeout: Duration,
}

impl Transactions {
    /// Takes the identity over: older producers of it are fenced, and what they left open is ended.
    pub(super) fn take_over(properties: &Properties, settings: &Settings) -> Result<Transactions, Verdict> {
        let Settings { timeout, transaction_timeout, .. } = *settings;
        let hears = HearsEach::new("kafka sink");
        let producer: BaseProducer<HearsEach> = properties
            .client()
            .create_with_context(hears)
            .map_err(|error| Verdict::Never(explain(&error)))?;
        let ends = Cell::new(Instant::now());
        let transactions = Transactions { producer, timeout, ends, transaction_timeout };
        transactions.producer.init_transactions(timeout).map_err(|error| transactions.judge(&error))?;
        Ok(transactions)
    }

    pub(super) fn begin(&self) -> Result<(), Verdict> {
        self.ends.set(Instant::now() + self.transaction_timeout);
        self.producer.begin_transaction().map_err(|error| self.judge(&error))
    }

    /// Hands a record of this number to the producer, with two more headers; waits while its buffer is full.
    pub(super) fn send(
        &self,
        number: usize,
        record: &Outgoing<'_>,
        [epoch, generation]: [&str; 2],
    ) -> Result<(), Verdict> {
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len() + 2);
        for (name, value) in &record.headers {
            headers = headers.insert(Header { key: name, value: value.as_deref() });
        }
        headers = headers.insert(Header { key: "tidegate-epoch", value: Some(epoch) });
        headers = headers.insert(Header { key: "tidegate-generation", value: Some(generation) });
        let mut message = BaseRecord::<[u8], [u8], usize>::with_opaque_to(&record.topic, number)
            .partition(record.partition)
            .headers(headers);
        (message.key, message.payload) = (record.key.as_deref(), record.payload.as_deref());
        message.timestamp = record.timestamp_ms;
        let deadline = self.sent_by().min(Instant::now() + self.timeout);
        loop {
            match self.producer.send(message) {
                Ok(()) => return Ok(()),
                Err((error, back)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => {
                    if Instant::now() > deadline {
                        return Err(Verdict::Again("no broker takes records".to_owned()));
                    }
                    message = back;
                    self.producer.poll(Duration::from_millis(10));
                }
                Err((error, _)) => return Err(self.judge(&error)),
            }
        }
    }

    /// Commits what was sent, and the mark with it.
    pub(super) fn commit(&self, marks: &MarkStore, mark: Committed) -> Result<(), Verdict> {
        let judge = |error: KafkaError| self.judge(&error);
        self.drain()?;
        reached("sent");
        let (offsets, group) = marks.state(mark).map_err(judge)?;
        let group = group.ok_or_else(|| Verdict::Again("the mark's group is not known".to_owned()))?;
        self.producer.send_offsets_to_transaction(&offsets, &group, self.patience()).map_err(judge)?;
        reached("marked");
        self.producer.commit_transaction(self.patience()).map_err(judge)?;
        reached("committed");
        Ok(())
    }

    /// By when all records are to be delivered, so that the transaction can still be committed.
    fn sent_by(&self) -> Instant {
        self.ends.get() - self.transaction_timeout / 5
    }

    /// How long a call may take.
    fn patience(&self) -> Duration {
        self.timeout
            .min(self.ends.get().saturating_duration_since(Instant::now()))
            .max(Duration::from_secs(1))
    }

    /// Waits until every record is delivered, or one is not; as long as some are, and the transaction lasts.
    fn drain(&self) -> Result<(), Verdict> {
        let (mut left, mut deadline) = (i32::MAX, Instant::now() + self.timeout);
        loop {
            let flushed = self.producer.flush(Duration::from_millis(100));
            // Behind one that is refused nothing is sent any more.
            if let Some(error) = self.producer.context().all.undelivered() {
                return Err(self.judge(&error));
            }
            let Err(error) = flushed else { return Ok(()) };
            let now_left = self.producer.in_flight_count();
            if now_left < left {
                (left, deadline) = (now_left, Instant::now() + self.timeout);
            }
            if Instant::now() > self.sent_by() {
                let what = "the brokers have not taken an epoch's records in four fifths of transaction.timeout.ms: raise it, among the \
                            client's properties, or make epochs shorter";
                return Err(Verdict::Again(what.to_owned()));
            }
            if Instant::now() > deadline {
                return Err(self.judge(&error));
            }
        }
    }

    /// The records that were refused for what they hold, after an error.
    pub(super) fn refused(&self) -> Refusals {
        // The transaction may know of it a moment before we are told.
        let deadline = Instant::now() + Duration::from_secs(1);
        while self.producer.context().all.undelivered().is_none() && Instant::now() < deadline {
            self.producer.poll(Duration::from_millis(50));
        }
        self.producer.context().refused()
    }

    /// Whether a broker has said of a batch which of its records were refused.
    pub(super) fn is_told_apart(&self) -> bool {
        self.producer.context().is_told_apart()
    }

    /// Ends the open transaction, if it can; the next producer does it otherwise. Whether another one has taken the identity over.
    pub(super) fn abandon(self) -> bool {
        // Aborting waits for what is on its way, of which it does not hear: whoever polls has to.
        self.producer.purge(PurgeConfig::default().queue());
        if self.producer.flush(self.patience()).is_err() {
            // What is on its way may come behind the end of the transaction. A new producer makes the brokers refuse it.
            return false;
        }
        let code = match self.producer.client().fatal_error() {
            Some((code, _)) => Some(code),
            None => self.producer.abort_transaction(self.patience()).err().and_then(|error| {
                tracing::debug!(
                    "kafka sink: the transaction is left to the next producer: {}",
                    explain(&error)
                );
                error.rdkafka_error_code()
            }),
        };
        // Later it may have been the brokers, for whom the transaction took too long.
        code.is_some_and(is_fenced) && Instant::now() < self.ends.get()
    }

    fn judge(&self, error: &KafkaError) -> Verdict {
        self.producer.poll(Duration::ZERO);
        // An error of the transaction says less than the record that caused it.
        let cause = self.producer.context().all.undelivered();
        let fatal = self.producer.client().fatal_error();
        let codes = [
            error.rdkafka_error_code(),
            fatal.map(|(code, _)| code),
            cause.and_then(|c| c.rdkafka_error_code()),
        ];
        let reason = self.producer.context().all.reason();
        let said = match error {
            KafkaError::Transaction(error) => error.string(),
            other => explain(other),
        };
        judge(codes.into_iter().flatten(), &with_reason(said, reason))
    }
}

/// Where a test lets the process die.
#[cfg(not(test))]
#[inline(always)]
fn reached(_moment: &str) {}

#[cfg(test)]
use super::tests::reached;

fn with_reason(said: String, reason: Option<String>) -> String {
    match reason {
        Some(reason) if !said.contains(&reason) => format!("{said} ({reason})"),
        _ => said,
    }
}

/// Whether another producer has the identity.
fn is_fenced(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch)
}

/// What codes mean, of which the first that means something counts.
pub(super) fn judge(codes: impl Iterator<Item = RDKafkaErrorCode> + Clone, said: &str) -> Verdict {
    use RDKafkaErrorCode as Code;
    if codes.clone().any(is_fenced) {
        return Verdict::Fenced;
    }
    for code in codes {
        let never = match code {
            Code::InvalidTransactionTimeout => {
                "the transaction timeout is over the brokers' transaction.max.timeout.ms: lower one or raise the other"
            }
            Code::TransactionalIdAuthorizationFailed
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed => {
                "it takes the rights Write and Describe on the topics and on the transactional id, and Read on the group \
                 of that name"
            }
            Code::SaslAuthenticationFailed => "the credentials are refused",
            Code::MessageSizeTooLarge => {
                "a record is larger than the client or its topic takes, and than tidegate_refused does: raise message.max.bytes of the \
                 client (48 MiB), or max.message.bytes of one of the topics"
            }
            Code::InvalidRecord | Code::InvalidTimestamp => {
                "neither its topic nor tidegate_refused takes such a record"
            }
            Code::PolicyViolation => "the topic does not take such a record",
            Code::UnknownPartition | Code::UnknownTopic | Code::UnknownTopicOrPartition => {
                "the topic or one of its partitions is gone: make it again"
            }
            _ => continue,
        };
        return Verdict::Never(format!("{never} (Kafka: {said})"));
    }
    Verdict::Again(said.to_owned())
}

/// What an error of the mark's store means.
pub(super) fn judge_mark(error: &KafkaError) -> Verdict {
    judge(error.rdkafka_error_code().into_iter(), &explain(error))
}

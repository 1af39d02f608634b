//! A plain producer: records in their order, each once as long as this process lives.

use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, PurgeConfig};
use thiserror::Error;

use super::{Hears, Properties, explain};
use crate::record::{Partition, Record};

/// Why records could not be written.
#[derive(Debug, Error)]
#[error("cannot write to Kafka at {servers}: {cause}")]
pub struct WriteError {
    servers: String,
    cause: String,
}

/// Writes records, idempotently: librdkafka's own tries repeat none and change no order.
pub struct Writer {
    producer: BaseProducer<Hears>,
    servers: String,
    timeout: Duration,
}

impl Writer {
    /// A writer whose calls wait at most `timeout` for brokers.
    ///
    /// # Errors
    /// When the properties cannot work.
    pub fn open(properties: &Properties, timeout: Duration) -> Result<Writer, WriteError> {
        let servers = properties.servers().to_owned();
        let config = properties
            .clone()
            .with("enable.idempotence", "true")
            .or("client.id", "tidegate")
            .or("linger.ms", "20")
            .or("queue.buffering.max.kbytes", 64 << 10)
            .client();
        match config.create_with_context(Hears::new("kafka")) {
            Ok(producer) => Ok(Writer { producer, servers, timeout }),
            Err(error) => Err(WriteError { servers, cause: explain(&error) }),
        }
    }

    /// Hands on one record; waits while too much is under way.
    ///
    /// # Errors
    /// When a record, this or an earlier one, could not be delivered.
    pub fn write(
        &self,
        topic: &str,
        partition: i32,
        timestamp_ms: i64,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), WriteError> {
        self.send(BaseRecord::to(topic).partition(partition).timestamp(timestamp_ms).key(key).payload(value))
    }

    /// Hands on a record as it stands, with its timestamp and the headers that `keep` says yes to, and one more.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub fn write_record(
        &self,
        to: &Partition,
        record: &Record<'_>,
        keep: &dyn Fn(&[u8]) -> bool,
        more: (&str, &str),
    ) -> Result<(), WriteError> {
        let mut headers = OwnedHeaders::new();
        for (name, value) in record.headers.iter().filter(|(name, _)| keep(name)) {
            // A header's name is text by Kafka's protocol.
            if let Ok(key) = std::str::from_utf8(name) {
                headers = headers.insert(Header { key, value });
            }
        }
        headers = headers.insert(Header { key: more.0, value: Some(more.1) });
        let mut outgoing = BaseRecord::to(&to.topic).partition(to.number).headers(headers);
        outgoing.key = record.key;
        outgoing.payload = record.value.map(|value| value.bytes());
        outgoing.timestamp = record.kafka_time.ms();
        self.send(outgoing)
    }

    fn send(&self, mut record: BaseRecord<'_, [u8], [u8]>) -> Result<(), WriteError> {
        let began = Instant::now();
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((error, back)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => {
                    self.poll(Duration::from_millis(10))?;
                    if began.elapsed() > self.timeout {
                        return Err(self.fault(&error));
                    }
                    record = back;
                }
                Err((error, _)) => return Err(self.fault(&error)),
            }
        }
    }

    /// Hears about records under way, for at most `wait`. To be called now and then.
    ///
    /// # Errors
    /// When one could not be delivered.
    pub fn poll(&self, wait: Duration) -> Result<(), WriteError> {
        self.producer.poll(wait);
        self.producer.context().undelivered().map_or(Ok(()), |error| Err(self.fault(&error)))
    }

    /// Waits until all records are delivered.
    ///
    /// # Errors
    /// When one could not be, or not in time; what was not delivered is given up.
    pub fn finish(self) -> Result<(), WriteError> {
        self.flush()
    }

    /// The same, for a writer that goes on.
    ///
    /// # Errors
    /// As [`Writer::finish`].
    pub fn flush(&self) -> Result<(), WriteError> {
        let flushed = self.producer.flush(self.timeout);
        let result = self.poll(Duration::ZERO);
        if flushed.is_err() {
            self.producer.purge(PurgeConfig::default().queue().inflight());
        }
        result.and(flushed.map_err(|error| self.fault(&error)))
    }

    fn fault(&self, error: &KafkaError) -> WriteError {
        let cause = match self.producer.context().reason() {
            Some(reason) => format!("{} ({reason})", explain(error)),
            None => explain(error),
        };
        WriteError { servers: self.servers.clone(), cause }
    }
}

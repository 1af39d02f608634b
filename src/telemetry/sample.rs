//! Late and refused records, a few of the newest, for somebody who wants to see what they look like.

use std::collections::VecDeque;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::record::{Partition, Record};

/// How many of each kind are kept.
const KEPT: usize = 20;

/// How much of a payload is kept, in bytes.
const EXCERPT: usize = 240;

/// A late or refused record, as far as it is shown. All of it stands in the topic of its kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its Kafka timestamp in milliseconds.
    pub kafka_ms: Option<i64>,
    /// `late`, or the reason why it was refused.
    pub reason: String,
    /// What was wrong with it, or by how much it was late.
    pub detail: String,
    /// The beginning of its payload.
    pub payload: String,
}

impl Sample {
    pub(crate) fn of(partition: &Partition, record: &Record<'_>, reason: &str, detail: String) -> Self {
        let payload = record.value.map_or(&[][..], |value| value.bytes());
        let mut text = String::from_utf8_lossy(&payload[..payload.len().min(EXCERPT)]).into_owned();
        if payload.len() > EXCERPT {
            text.push('…');
        }
        Sample {
            topic: partition.topic.to_string(),
            partition: partition.number,
            offset: record.offset,
            kafka_ms: record.kafka_time.ms(),
            reason: reason.to_owned(),
            detail,
            payload: text,
        }
    }
}

/// The newest samples of one kind.
#[derive(Debug, Default)]
pub(super) struct Samples(Mutex<VecDeque<Sample>>);

impl Samples {
    pub(super) fn keep(&self, sample: Sample) {
        if let Ok(mut kept) = self.0.lock() {
            kept.truncate(KEPT - 1);
            kept.push_front(sample);
        }
    }

    /// The newest first.
    pub(super) fn view(&self) -> Vec<Sample> {
        self.0.lock().map(|kept| kept.iter().cloned().collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Headers, KafkaTime, Value};

    #[test]
    fn a_long_payload_is_cut_and_the_oldest_sample_goes() {
        let long = vec![b'x'; EXCERPT + 1];
        let samples = Samples::default();
        for offset in 0..30 {
            let headers = Headers::from_wire(0, &[]);
            let record = Record {
                offset,
                kafka_time: KafkaTime::None,
                key: None,
                value: Some(Value::exact(&long)),
                headers,
            };
            samples.keep(Sample::of(&Partition::new("t", 1), &record, "late", "1 ms".to_owned()));
        }
        let kept = samples.view();
        assert_eq!((kept.len(), kept[0].offset, kept[KEPT - 1].offset), (KEPT, 29, 10));
        assert_eq!(kept[0].payload.chars().count(), EXCERPT + 1);
    }
}

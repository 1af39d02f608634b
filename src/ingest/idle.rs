//! Idle partitions: what is decided about them, and how a decision is written down.
//!
//! A live partition that has been read to its end, and stays so, would hold all windows open. It is therefore
//! **released**: its capability follows the agreed minimum of the partitions that are not. When its next record is read, the
//! frontier has gone on without it, and windows may have closed that the record belongs to. The time at which its worker's
//! capability stands then becomes the partition's **floor**: no window that has closed ends after it, since the
//! frontier is never ahead of a held capability. From that record's offset on the floor judges beside the watermark.
//!
//! Which floor it is depends on clocks and on the workers. So it is a *decision*: a part of its epoch's manifest, and a
//! line of the topic `<input topic>.idle`. Given the decisions, the results are a function of the log again.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::record::{KafkaTime, Partition};
use crate::sink::kcat::{Line, kcat_line};

/// From `offset` on, a record of `partition` is judged by `floor_us` beside its partition's watermark.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IdleDecision {
    /// Which partition.
    pub partition: Partition,
    /// The offset of the first record that was read after the partition was released; where the run stopped or its input ended
    /// before there was one, the offset that it would have.
    pub offset: i64,
    /// The event time at which the frontier may have stood then, in microseconds.
    pub floor_us: i64,
    /// That record's Kafka timestamp in milliseconds, −1 where it has none or is not there.
    pub kafka_ms: i64,
    /// How many decisions about the partition came before: its offset in the topic of decisions.
    pub number: i64,
}

/// What is done about partitions that fall silent.
#[derive(Clone, Debug, Default)]
pub struct IdlePolicy {
    /// How long a partition stays at its end before it is released; `None`: for ever.
    pub timeout: Option<Duration>,
    /// Decisions of an earlier run, which this one repeats.
    pub recorded: Vec<IdleDecision>,
}

/// A decision that is still to take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) offset: i64,
    pub(super) floor_us: i64,
    /// Whether it is in a manifest of this run already.
    pub(super) decided: bool,
}

/// Decisions by partition, in the order in which they take effect: those of an earlier run, and those that this one has decided before
/// it was started again.
pub(super) fn by_partition(
    recorded: &[IdleDecision],
    decided: &[IdleDecision],
) -> BTreeMap<Partition, VecDeque<Due>> {
    let mut all: Vec<(&IdleDecision, bool)> = recorded.iter().map(|decision| (decision, false)).collect();
    all.extend(decided.iter().map(|decision| (decision, true)));
    all.sort_by_key(|(decision, decided)| {
        (&decision.partition, decision.offset, decision.floor_us, !decided)
    });
    let mut due = BTreeMap::<Partition, VecDeque<Due>>::new();
    for (&IdleDecision { ref partition, offset, floor_us, .. }, decided) in all {
        let of_partition = due.entry(partition.clone()).or_default();
        if of_partition.back().is_none_or(|last| (last.offset, last.floor_us) != (offset, floor_us)) {
            of_partition.push_back(Due { offset, floor_us, decided });
        }
    }
    due
}

/// The name of the topic that holds the decisions about the partitions of `input`.
pub fn idle_topic(input: &str) -> String {
    format!("{input}.idle")
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    topic: String,
    partition: i32,
    offset: i64,
    floor_us: i64,
}

impl IdleDecision {
    /// Appends the decision as a line of its topic.
    pub fn line(&self, out: &mut Vec<u8>) {
        let Partition { topic, number } = &self.partition;
        let payload = Payload {
            topic: topic.to_string(),
            partition: *number,
            offset: self.offset,
            floor_us: self.floor_us,
        };
        // A struct of texts and numbers always can be written.
        let payload = serde_json::to_vec(&payload).unwrap_or_default();
        let kafka_time = if self.kafka_ms < 0 { KafkaTime::None } else { KafkaTime::Create(self.kafka_ms) };
        let line = Line {
            topic: &idle_topic(topic),
            partition: *number,
            offset: self.number,
            kafka_time,
            headers: &[],
            key: None,
            payload: Some(&payload),
        };
        kcat_line(out, &line);
    }
}

/// A file of decisions that cannot be used.
#[derive(Debug, Error)]
#[error("line {line} is not a decision about an idle partition: {what}")]
pub struct BadDecision {
    line: usize,
    what: String,
}

/// Reads the lines of `<topic>.idle`, as [`IdleDecision::line`] writes them. An empty line is passed over.
///
/// # Errors
/// [`BadDecision`] for the first line that is not one.
pub fn read_decisions(text: &str) -> Result<Vec<IdleDecision>, BadDecision> {
    #[derive(Deserialize)]
    struct Kcat {
        #[serde(default = "no_time")]
        ts: i64,
        #[serde(default)]
        offset: i64,
        payload: String,
    }
    fn no_time() -> i64 {
        -1
    }
    let read = |line: &str| -> Result<IdleDecision, serde_json::Error> {
        let Kcat { ts, offset: number, payload } = serde_json::from_str(line)?;
        let Payload { topic, partition, offset, floor_us } = serde_json::from_str(&payload)?;
        Ok(IdleDecision {
            partition: Partition::new(&topic, partition),
            offset,
            floor_us,
            kafka_ms: ts.max(-1),
            number,
        })
    };
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(at, line)| read(line).map_err(|error| BadDecision { line: at + 1, what: error.to_string() }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let decision = |partition, offset, kafka_ms, number| IdleDecision {
            partition: Partition::new("a \"topic\"", partition),
            offset,
            floor_us: i64::MAX - offset,
            kafka_ms,
            number,
        };
        let all = vec![decision(0, 7, 12, 0), decision(3, 0, -1, 0), decision(0, i64::MAX, 0, 1)];
        let mut text = Vec::new();
        all.iter().for_each(|decision| decision.line(&mut text));
        assert_eq!(read_decisions(std::str::from_utf8(&text).unwrap()).unwrap(), all);
    }

    #[test]
    fn a_line_that_is_no_decision_is_named() {
        for bad in ["{}", "nonsense", r#"{"ts":1,"payload":"{\"offset\":1}"}"#] {
            let error = read_decisions(&format!("\n{bad}\n")).unwrap_err().to_string();
            assert!(error.starts_with("line 2 "), "{error}");
        }
    }
}

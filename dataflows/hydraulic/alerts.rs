//! The topic of alerts: what passes the cooldown, and what is over.

use std::sync::Arc;

use serde::Serialize;
use tidegate::digest::Digest;
use tidegate::operators::ordered::Machine;
use tidegate::record::KafkaTime;
use tidegate::sink::kcat::{Line, kcat_line};
use tidegate::time;
use tidegate::topic_lines::TopicBlock;

use super::rules::{Finding, FindingKind, Rule};
use super::sensors::SENSORS;
use super::tables::ALERTS;

/// Numbers the lines of the topic: partition 0, in the order of (event time, key), then of the cycle.
pub(super) struct AlertLines {
    topic: Arc<str>,
    rules: Vec<Rule>,
}

/// The payload of a line.
#[derive(Serialize)]
struct Payload<'a> {
    event: &'static str,
    window_start: &'a str,
    cycle: i64,
    rule: &'a str,
    severity: &'static str,
    sensor: Option<&'static str>,
    value: f64,
    limit_value: f64,
    message: &'a str,
}

impl AlertLines {
    pub(super) fn new(topic: &str, rules: Vec<Rule>) -> Self {
        AlertLines { topic: topic.into(), rules }
    }

    /// `high_pressure/PS1`, `correlation/PS5/PS6`, `pressure_spike`.
    fn record_key(&self, finding: &Finding) -> String {
        let rule = &self.rules[usize::from(finding.rule)].name;
        let subject = finding.sensor.map_or(&*finding.subject, |sensor| SENSORS[usize::from(sensor)]);
        if subject.is_empty() { rule.clone() } else { format!("{rule}/{subject}") }
    }

    fn payload(&self, finding: &Finding) -> Vec<u8> {
        let rule = &self.rules[usize::from(finding.rule)];
        let start = time::format(finding.start_us);
        let payload = Payload {
            event: match finding.kind {
                FindingKind::Detected { .. } => "alert",
                FindingKind::Resolved => "resolve",
            },
            window_start: &String::from_utf8_lossy(&start),
            cycle: finding.cycle,
            rule: &rule.name,
            severity: rule.severity.as_str(),
            sensor: finding.sensor.map(|sensor| SENSORS[usize::from(sensor)]),
            value: finding.value,
            limit_value: finding.limit,
            message: &finding.message,
        };
        // Texts and finite numbers, which JSON always writes.
        serde_json::to_vec(&payload).unwrap_or_default()
    }
}

impl Machine for AlertLines {
    /// One partition: one order.
    type Key = ();
    type Item = Finding;
    type Order = (String, i64);
    /// The next offset.
    type State = i64;
    type Output = TopicBlock;

    fn key(&self, _finding: &Finding) {}

    fn order(&self, finding: &Finding) -> (String, i64) {
        (self.record_key(finding), finding.cycle)
    }

    fn apply(
        &self,
        (): &(),
        next_offset: &mut i64,
        _time_us: i64,
        finding: Finding,
        emit: &mut dyn FnMut(TopicBlock),
    ) {
        let (key, payload) = (self.record_key(&finding), self.payload(&finding));
        let line = Line {
            topic: &self.topic,
            partition: 0,
            offset: *next_offset,
            kafka_time: finding.kafka_ms.map_or(KafkaTime::None, KafkaTime::Create),
            headers: &[],
            key: Some(key.as_bytes()),
            payload: Some(&payload),
        };
        let mut block = TopicBlock {
            topic: ALERTS as u32,
            partition: 0,
            lines: Vec::new(),
            count: 1,
            digest: Digest::default(),
        };
        let mut encoded = Vec::new();
        kcat_line(&mut block.lines, &line);
        line.encode(&mut encoded);
        block.digest.add_encoded(&encoded);
        *next_offset += 1;
        emit(block);
    }
}

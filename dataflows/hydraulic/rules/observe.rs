//! From rows to what the rules have to judge.

use serde::{Deserialize, Serialize};

use super::{Rule, RuleKind, sensors_of};
use crate::hydraulic::features::{SensorRow, SyncRow};
use crate::hydraulic::sensors::SensorSet;

/// What a rule judges in one row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::hydraulic) struct Observation {
    /// The rule's place among the rules.
    pub(super) rule: u16,
    /// The sensor or the pair; empty for a rule that looks at the whole row.
    pub(super) subject: String,
    /// What stands in column `sensor`.
    pub(super) sensor: Option<u8>,
    pub(super) start_us: i64,
    pub(super) cycle: i64,
    /// The largest Kafka timestamp of the readings that the values are made of.
    pub(super) kafka_ms: Option<i64>,
    /// The value; for a pair that of the first sensor.
    pub(super) value: f64,
    /// For a pair the value of the other sensor.
    pub(super) other: f64,
}

/// What the rules by sensor judge in `row`.
pub(in crate::hydraulic) fn of_sensor_row(rules: &[Rule], row: &SensorRow) -> Vec<Observation> {
    let looking = |rule: &Rule| rule.on && sensors_of(&rule.kind).has(row.sensor.into());
    let looking = rules.iter().enumerate().filter(|(_, rule)| looking(rule));
    looking
        .map(|(rule, _)| Observation {
            rule: rule as u16,
            subject: crate::hydraulic::SENSORS[usize::from(row.sensor)].to_owned(),
            sensor: Some(row.sensor),
            start_us: row.start_us,
            cycle: row.cycle,
            kafka_ms: row.stats.kafka_ms,
            value: row.stats.avg,
            other: 0.0,
        })
        .collect()
}

/// What thresholds and correlations judge in `row`; a value that is null is not judged.
pub(in crate::hydraulic) fn of_sync_row(rules: &[Rule], row: &SyncRow) -> Vec<Observation> {
    let derived = row.derived();
    let mut observations = Vec::new();
    for (number, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.on) {
        let mut add = |subject, sensor: Option<usize>, sensors, value, other| {
            observations.push(Observation {
                rule: number as u16,
                subject,
                sensor: sensor.map(|sensor| sensor as u8),
                start_us: row.start_us,
                cycle: row.cycle,
                kafka_ms: row.kafka_ms(sensors),
                value,
                other,
            });
        };
        match &rule.kind {
            RuleKind::Threshold { value, .. } => {
                if let Some(found) = value.value(row, &derived) {
                    add(String::new(), value.only_sensor(), value.sensors(), found, 0.0);
                }
            }
            RuleKind::Correlation { pairs, .. } => {
                for pair in pairs {
                    if let Some((x, y)) = row.stats[pair.x].zip(row.stats[pair.y]) {
                        let sensors = SensorSet::default().with(pair.x).with(pair.y);
                        add(pair.name(), None, sensors, x.avg, y.avg);
                    }
                }
            }
            _ => {}
        }
    }
    observations
}

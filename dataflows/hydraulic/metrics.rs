//! The rig's newest figures, for the dashboards that people watch.

use std::sync::Arc;

use tidegate::telemetry::{Board, Family, Kind};

use super::features::SyncRow;
use super::rules::{Finding, Rule};

const PIPELINE: &[&str] = &["pipeline"];

const fn gauge(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: Kind::Gauge, labels: PIPELINE, help }
}

const PRESSURE: Family =
    gauge("tidegate_hydraulic_pressure_mean_bar", "mean of the pressure sensors in the newest second");
const TEMPERATURE: Family = gauge(
    "tidegate_hydraulic_temperature_mean_celsius",
    "mean of the temperature sensors in the newest second",
);
const FLOW: Family =
    gauge("tidegate_hydraulic_flow_mean_liters_per_minute", "mean of the flow sensors in the newest second");
const NEWEST: Family = gauge(
    "tidegate_hydraulic_window_end_timestamp_seconds",
    "the end of the newest second, in seconds since the epoch",
);
const ANOMALIES: Family = Family {
    name: "tidegate_hydraulic_anomalies_total",
    kind: Kind::Counter,
    labels: &["pipeline", "rule", "severity"],
    help: "anomalies detected, those that a cooldown holds back included",
};

/// All of them.
pub const METRICS: &[Family] = &[PRESSURE, TEMPERATURE, FLOW, NEWEST, ANOMALIES];

/// States the figures of the newest row.
pub(super) fn newest(board: &Arc<Board>) -> impl FnMut(&SyncRow) + 'static {
    let board = Arc::clone(board);
    // Rows are spread over workers, and each sees but its own.
    move |row| {
        let derived = row.derived();
        let means = [
            (&PRESSURE, derived.pressure_mean),
            (&TEMPERATURE, derived.temperature_mean),
            (&FLOW, derived.flow_mean),
        ];
        board.set_newest((&NEWEST, row.end_us as f64 / 1e6), &means);
    }
}

/// Counts detected anomalies.
pub(super) fn detections(board: &Arc<Board>, rules: Vec<Rule>) -> impl FnMut(&Finding) + 'static {
    let board = Arc::clone(board);
    move |finding| {
        if let Some(rule) = rules.get(finding.rule as usize) {
            board.add(&ANOMALIES, &[&rule.name, rule.severity.as_str()], 1);
        }
    }
}

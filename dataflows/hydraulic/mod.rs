//! `hydraulic`: the 17 sensors of a hydraulic rig become features by the second, a row a second, and anomalies.
//!
//! ```text
//!                         ┌─► features by (cycle, sensor), 1-second tumbling ─┬─► sensor_features
//! hydraulic-PS1 ─┐        │                                                   ├─► pivot by (second, cycle)
//!       …        ├► judge ┤      ┌─────────────────────────────────────────── │ ───┘ ─► silent sensors
//! hydraulic-SE  ─┘        │      ├─► synchronized_features                    │
//!                         │      ├─► lake/hydraulic                           │
//!                         │      └─► thresholds, correlation ─┐   zscore, sudden_change, pattern
//!                         │                                   └───────┬───────┘
//!                         │                         ordered by (rule, subject) ─┬─► anomalies
//!                         │                                                     └─► hydraulic-alerts
//!                         └─► hydraulic-<sensor>.late, hydraulic-<sensor>.dlq
//! ```

mod alerts;
mod config;
mod event;
mod expression;
mod features;
mod fronts;
mod hold;
mod metrics;
mod rules;
pub mod score;
mod sensors;
mod tables;
mod topology;

use std::sync::Arc;

use tidegate::delivery::TableRows;
use tidegate::ingest::{Ingested, Settings};
use tidegate::operators::keyed_window::{CloseWindows, WindowFront};
use tidegate::operators::ordered::Ordered;
use tidegate::operators::pivot::Pivot;
use tidegate::state::StateHub;
use tidegate::tick::{Tick, micros};
use tidegate::topic_lines::TopicLines;
use tidegate::window::ClosedWindow;
use timely::dataflow::StreamVec;
use timely::dataflow::operators::vec::{Filter, Map};
use timely::dataflow::operators::{Concat, Concatenate, Inspect};

pub use config::{Config, PartitionColumn, SilentPolicy};
pub use event::{Reading, ReadingDecoder};
pub use expression::Expression;
pub use features::{Derived, SensorRow, Stats, SyncRow};
pub use metrics::METRICS;
pub use rules::{Finding, FindingKind, Pair, Rule, RuleKind, Severity, Side, default_rules};
pub use sensors::{SENSOR_COUNT, SENSORS, SensorSet, rate_hz, sensor_called};
pub use tables::{JUDGED, LAKE, TABLES, outputs, table_schemas, topics};
pub use topology::topology;

use crate::parts::Site;
use tables::{ALERTS, ANOMALIES, JUDGED_OUTPUTS, LAKE_OUTPUT, SENSOR_FEATURES, SIDE, SYNCHRONIZED};

/// A worker this far ahead of the others in event time waits for them.
const MAX_SKEW_US: i64 = 30_000_000;

/// Builds the pipeline's dataflow on one worker.
pub fn build(at: Site<'_, '_>, config: &Config) {
    let settings = Settings {
        step_us: config.windows.pane_us(),
        max_skew_us: MAX_SKEW_US.max(config.windows.size_us()),
        ..at.settings(config.delay, config.max_ahead, &[config.windows.pane_us()], config.update_every)
    };
    let names = topics(config);
    let lines = |first: usize| {
        let of_topic = |(number, input): (usize, String)| {
            let output = first + number;
            (Arc::from(input), (output as u32, Arc::clone(&names[output - ALERTS])))
        };
        TopicLines::new(config.topics().into_iter().enumerate().map(of_topic))
    };
    let side = at.side(&JUDGED_OUTPUTS, lines(SIDE), lines(SIDE + config.sensors.len()));
    let fronts = (WindowFront::new(config.windows, fronts::Readings, SENSOR_FEATURES, at.scope.peers()),);
    let decoder = ReadingDecoder::new(config.limits);
    let Ingested { streams, side } = at.ingest(settings, decoder, fronts, side);

    let [sensor_features, synchronized, anomalies] = table_schemas();
    let mut rows = Vec::new();

    // Features by (cycle, sensor), 1-second tumbling.
    let mode = at.mode(config.update_every);
    let all =
        streams.0.close_windows("SensorFeatures", config.windows, mode, at.state()).flat_map(|closed| {
            let firing = closed.firing;
            sensor_rows(closed).into_iter().map(move |row| (firing, row))
        });
    rows.push(all.clone().table_rows_fired(
        SENSOR_FEATURES as u32,
        sensor_features,
        |(firing, _)| *firing,
        |(_, row), rows| tables::sensor_features(row, rows),
    ));
    let features = all.filter(|(firing, _)| firing.is_final()).map(|(_, row)| row);

    // All sensors of a (second, cycle).
    let synced = synchronize(features.clone(), config, at.state()).inspect(metrics::newest(at.run.board()));
    rows.push(synced.clone().table_rows(SYNCHRONIZED as u32, synchronized, tables::synchronized));
    let lake = synced.clone().map(tables::lake_block(config));

    // Anomalies.
    let by_sensor = config.rules.clone();
    let by_row = config.rules.clone();
    let findings = features
        .flat_map(move |row| rules::of_sensor_row(&by_sensor, &row))
        .concat(synced.flat_map(move |row| rules::of_sync_row(&by_row, &row)))
        .ordered("Rules", rules::RuleMachine::new(config.rules.clone()), at.state());
    let detected = findings
        .clone()
        .filter(|finding| matches!(finding.kind, FindingKind::Detected { .. }))
        .inspect(metrics::detections(at.run.board(), config.rules.clone()));
    rows.push(detected.table_rows(ANOMALIES as u32, anomalies, tables::anomalies(config.rules.clone())));
    let alerts = findings.filter(|finding| finding.kind != FindingKind::Detected { alert: false }).ordered(
        "Alerts",
        alerts::AlertLines::new(&config.alert_topic, config.rules.clone()),
        at.state(),
    );

    at.deliver_tables(at.scope.concatenate(rows));
    at.deliver_lake(lake, LAKE_OUTPUT, tables::lake_batch(config));
    at.deliver_topics(alerts.concat(side), ALERTS);
}

/// The rows of a closed window.
fn sensor_rows(
    closed: ClosedWindow<<features::Window as tidegate::aggregate::Aggregate>::Output>,
) -> Vec<SensorRow> {
    let ClosedWindow { start_us, end_us, keys, values, .. } = closed;
    let rows = keys.iter().zip(values).filter_map(|((_, key), value)| {
        let (cycle, sensor) = event::of_key(key)?;
        Some(SensorRow { start_us, end_us, cycle, sensor, stats: Stats::of(value)? })
    });
    rows.collect()
}

/// The rows of `synchronized_features`, silent sensors as the policy wants them.
fn synchronize<'scope>(
    features: StreamVec<'scope, Tick, SensorRow>,
    config: &Config,
    state: &StateHub,
) -> StreamVec<'scope, Tick, SyncRow> {
    let size_us = config.windows.size_us();
    let synced = features
        .map(|row| (row.cycle, u32::from(row.sensor), row.stats))
        .pivot("SynchronizedFeatures", SENSOR_COUNT, state)
        .map(move |row| SyncRow::of(row, size_us));
    match config.silent {
        SilentPolicy::Null => synced,
        SilentPolicy::Hold(at_most) => {
            synced.ordered("HoldSilentSensors", hold::Hold { at_most_us: micros(at_most) }, state)
        }
        SilentPolicy::Drop => {
            let wanted = config.sensors;
            synced.filter(move |row| row.present.covers(wanted))
        }
    }
}

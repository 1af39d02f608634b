//! The outputs: their names, columns and keys.

use std::sync::Arc;

use tidegate::aggregate::{Aggregate, Finite};
use tidegate::ingest::Breach;
use tidegate::rows::ColumnType::{Float, Int, Text, Time};
use tidegate::rows::{Cell, RowBatch, Schema};
use tidegate::window::ClosedWindow;

use super::Stage;
use super::config::Config;
use super::fronts::Aggregates;

pub(super) const REAL_TIME_AGGREGATES: usize = 0;
pub(super) const DATA_QUALITY: usize = 1;
pub(super) const VALIDATED: usize = 2;
pub(super) const LATE: usize = 3;
pub(super) const DEAD: usize = 4;
/// How many outputs records meet.
pub const JUDGED: usize = 1;
/// The names of those.
pub(super) const JUDGED_NAMES: [&str; JUDGED] = ["real_time_aggregates"];

/// The outputs that are tables; a table's number is its output's.
pub const TABLES: usize = 2;
/// How many outputs there are.
pub const OUTPUTS: usize = 5;

/// Every output, in the order of the summary. The first is the one that records meet.
pub fn outputs(config: &Config, stage: Stage) -> [String; OUTPUTS] {
    let input = config.input(stage);
    [
        JUDGED_NAMES[0].to_owned(),
        "data_quality".to_owned(),
        config.validated_topic.clone(),
        format!("{input}.late"),
        format!("{input}.dlq"),
    ]
}

/// The schemas of the tables, in order.
pub fn table_schemas() -> [Arc<Schema>; TABLES] {
    [
        Schema::new(
            JUDGED_NAMES[0],
            &[
                ("sensor_id", Text),
                ("window_start", Time),
                ("window_end", Time),
                ("avg_temperature", Float),
                ("max_temperature", Float),
                ("min_temperature", Float),
                ("avg_humidity", Float),
                ("total_energy_consumption", Float),
                ("count", Int),
                ("location", Text),
                ("state", Text),
                ("device_type", Text),
                ("processed_at", Time),
            ],
            &["sensor_id", "window_start"],
        )
        .nullable(&["processed_at"]),
        Schema::new(
            "data_quality",
            &[("sensor_id", Text), ("rule", Text), ("count", Int)],
            &["sensor_id", "rule"],
        ),
    ]
    .map(Arc::new)
}

/// The embedded topics, by output.
pub fn topics(config: &Config, stage: Stage) -> Vec<(usize, Arc<str>)> {
    let names = outputs(config, stage);
    let made = match stage {
        Stage::Both | Stage::Validate => VALIDATED..OUTPUTS,
        Stage::Aggregates => LATE..OUTPUTS,
    };
    made.map(|output| (output, Arc::from(names[output].as_str()))).collect()
}

/// The rows of a window, processed at `wall_us`, or by Kafka's timestamps.
pub(super) fn aggregates(
    closed: ClosedWindow<<Aggregates as Aggregate>::Output>,
    wall_us: Option<i64>,
    rows: &mut RowBatch,
) {
    fn float(value: Option<f64>) -> Cell<'static> {
        value.map_or(Cell::Null, Cell::Float)
    }
    fn text(value: &Option<Vec<u8>>) -> Cell<'_> {
        value.as_deref().map_or(Cell::Null, Cell::Text)
    }
    for ((_, sensor), value) in closed.keys.iter().zip(&closed.values) {
        let ((mean, max, min), humidity, energy, count, (location, state, device), kafka_ms) = value;
        let processed_at = wall_us.or_else(|| kafka_ms.flatten().and_then(tidegate::time::from_epoch_ms));
        rows.push(&[
            Cell::Text(sensor),
            Cell::Time(closed.start_us),
            Cell::Time(closed.end_us),
            float(*mean),
            float(max.map(Finite::get)),
            float(min.map(Finite::get)),
            float(*humidity),
            float(*energy),
            Cell::Int(*count as i64),
            text(location),
            text(state),
            text(device),
            processed_at.map_or(Cell::Null, Cell::Time),
        ]);
    }
}

/// The row of a sensor's breaches of a rule.
pub(super) fn data_quality((breach, count): (Breach, isize), rows: &mut RowBatch) {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    rows.push(&[Cell::Text(&breach.subject), Cell::Text(breach.rule.as_bytes()), Cell::Int(count)]);
}

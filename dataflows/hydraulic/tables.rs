//! The outputs: their names, columns and keys.

use std::sync::Arc;

use tidegate::digest::Digest;
use tidegate::ingest::LakeBlock;
use tidegate::rows::ColumnType::{Float, Int, Text, Time};
use tidegate::rows::{Cell, ColumnDef, ColumnType, RowBatch, Schema};
use tidegate::sink::lake::{LakeBatch, partition_dir};
use tidegate::time;

use super::config::{Config, PartitionColumn};
use super::expression::{DERIVED, STATISTICS};
use super::features::{SensorRow, SyncRow};
use super::rules::{Finding, Rule};
use super::sensors::SENSORS;

pub(super) const SENSOR_FEATURES: usize = 0;
pub(super) const SYNCHRONIZED: usize = 1;
pub(super) const ANOMALIES: usize = 2;
pub(super) const LAKE_OUTPUT: usize = 3;
pub(super) const ALERTS: usize = 4;
/// The first of the topics of late records, one an input topic; those of dead letters follow.
pub(super) const SIDE: usize = 5;
/// How many outputs records meet.
pub const JUDGED: usize = 1;

/// The names of the outputs that records meet.
pub(super) const JUDGED_OUTPUTS: [&str; JUDGED] = ["sensor_features"];

/// The lake's directory under the output directory.
pub const LAKE: &str = "lake/hydraulic";

/// The outputs that are tables; a table's number is its output's.
pub const TABLES: usize = 3;

/// The names of all outputs, in the order of the summary. The first is the one that records meet.
pub fn outputs(config: &Config) -> Vec<String> {
    let tables = table_schemas();
    let tables = tables.iter().map(|schema| schema.name.to_string());
    tables.chain([LAKE.to_owned()]).chain(topics(config).iter().map(|topic| topic.to_string())).collect()
}

/// The embedded topics in the order of their outputs, from `ALERTS` on.
pub fn topics(config: &Config) -> Vec<Arc<str>> {
    let inputs = config.topics();
    let side = |end: &'static str| inputs.iter().map(move |input| format!("{input}.{end}"));
    let alerts = [config.alert_topic.clone()];
    alerts.into_iter().chain(side("late")).chain(side("dlq")).map(Arc::from).collect()
}

/// The schemas of the tables, in order.
pub fn table_schemas() -> [Arc<Schema>; TABLES] {
    let window = [("window_start", Time), ("window_end", Time), ("cycle", Int)];
    let features: Vec<_> = window
        .into_iter()
        .chain([("sensor", Text), ("avg", Float), ("min", Float), ("max", Float)])
        .chain([("std", Float), ("count", Int)])
        .collect();
    let anomalies = [
        ("window_start", Time),
        ("cycle", Int),
        ("rule", Text),
        ("severity", Text),
        ("sensor", Text),
        ("value", Float),
        ("limit_value", Float),
        ("message", Text),
    ];
    let key = ["window_start", "cycle", "sensor"];
    [
        Schema::new("sensor_features", &features, &key),
        synchronized_schema(),
        // A correlation can find several in a row, with no sensor to tell them apart.
        Schema::new("anomalies", &anomalies, &[]).nullable(&["sensor"]),
    ]
    .map(Arc::new)
}

fn synchronized_schema() -> Schema {
    let column = |name: String, kind: ColumnType, nullable| ColumnDef { name: name.into(), kind, nullable };
    let mut columns = vec![
        column("window_start".to_owned(), Time, false),
        column("window_end".to_owned(), Time, false),
        column("cycle".to_owned(), Int, false),
    ];
    for sensor in SENSORS {
        columns.extend(STATISTICS.map(|statistic| {
            let kind = if statistic == "count" { Int } else { Float };
            column(format!("{sensor}_{statistic}"), kind, true)
        }));
    }
    columns.push(column("sensors_present".to_owned(), Int, false));
    columns.extend(DERIVED.map(|name| column(name.to_owned(), Float, true)));
    Schema { name: "synchronized_features".into(), columns, key: vec![0, 2] }
}

/// The place of `cycle` among the columns of `synchronized_features`.
const CYCLE_COLUMN: usize = 2;

/// The columns of the lake's files: those of `synchronized_features`, less what stands in the path.
fn lake_schema(partition_by: &[PartitionColumn]) -> Schema {
    let mut schema = synchronized_schema();
    if partition_by.contains(&PartitionColumn::Cycle) {
        schema.columns.remove(CYCLE_COLUMN);
    }
    Schema { name: "hydraulic".into(), key: Vec::new(), ..schema }
}

/// A row of `sensor_features`.
pub(super) fn sensor_features(row: SensorRow, rows: &mut RowBatch) {
    let stats = row.stats;
    rows.push(&[
        Cell::Time(row.start_us),
        Cell::Time(row.end_us),
        Cell::Int(row.cycle),
        Cell::Text(SENSORS[usize::from(row.sensor)].as_bytes()),
        Cell::Float(stats.avg),
        Cell::Float(stats.min),
        Cell::Float(stats.max),
        Cell::Float(stats.std),
        Cell::Int(stats.count as i64),
    ]);
}

fn synchronized_cells(row: &SyncRow) -> Vec<Cell<'static>> {
    let float = |value: Option<f64>| value.map_or(Cell::Null, Cell::Float);
    let mut cells = vec![Cell::Time(row.start_us), Cell::Time(row.end_us), Cell::Int(row.cycle)];
    for stats in &row.stats {
        match stats {
            None => cells.extend([Cell::Null; STATISTICS.len()]),
            Some(stats) => cells.extend([
                Cell::Float(stats.avg),
                Cell::Float(stats.min),
                Cell::Float(stats.max),
                Cell::Float(stats.std),
                Cell::Int(stats.count as i64),
            ]),
        }
    }
    cells.push(Cell::Int(row.present.len() as i64));
    cells.extend(row.derived().columns().map(float));
    cells
}

/// A row of `synchronized_features`.
pub(super) fn synchronized(row: SyncRow, rows: &mut RowBatch) {
    rows.push(&synchronized_cells(&row));
}

/// Makes the lake's blocks: a row each, since hardly two rows share a directory.
///
/// The digest is over the row with all its columns, so that it is the table's as well.
pub(super) fn lake_block(config: &Config) -> impl Fn(SyncRow) -> LakeBlock + use<> {
    let partition_by = config.partition_by.clone();
    let schema = lake_schema(&partition_by);
    let cycle_in_path = partition_by.contains(&PartitionColumn::Cycle);
    move |row| {
        let mut cells = synchronized_cells(&row);
        let mut digest = Digest::default();
        digest.add_row(cells.iter().copied());
        if cycle_in_path {
            cells.remove(CYCLE_COLUMN);
        }
        let mut rows = schema.batch();
        rows.push(&cells);
        LakeBlock { directory: directory(&partition_by, &row), rank: 0, extras: Vec::new(), rows, digest }
    }
}

/// Makes what the lake's sink takes.
pub(super) fn lake_batch(config: &Config) -> impl Fn(LakeBlock) -> LakeBatch + use<> {
    let schema = Arc::new(lake_schema(&config.partition_by));
    move |block| LakeBatch {
        partition_dir: block.directory,
        writer_partition: 0,
        schema: Arc::clone(&schema),
        rows: block.rows,
    }
}

/// `year=2025/month=11/day=08/hour=14/minute=30/second=45/cycle=0`, of the start of the row's second.
fn directory(partition_by: &[PartitionColumn], row: &SyncRow) -> String {
    let start = time::format(row.start_us);
    let start = String::from_utf8_lossy(&start);
    let cycle = row.cycle.to_string();
    partition_dir(partition_by.iter().map(|column| {
        let value = match column {
            PartitionColumn::Year => &start[..4],
            PartitionColumn::Month => &start[5..7],
            PartitionColumn::Day => &start[8..10],
            PartitionColumn::Hour => &start[11..13],
            PartitionColumn::Minute => &start[14..16],
            PartitionColumn::Second => &start[17..19],
            PartitionColumn::Cycle => &cycle,
        };
        (column.name(), value)
    }))
}

/// Makes rows of `anomalies`.
pub(super) fn anomalies(rules: Vec<Rule>) -> impl Fn(Finding, &mut RowBatch) {
    move |found, rows| {
        let rule = &rules[usize::from(found.rule)];
        let sensor = found.sensor.map(|sensor| SENSORS[usize::from(sensor)]);
        rows.push(&[
            Cell::Time(found.start_us),
            Cell::Int(found.cycle),
            Cell::Text(rule.name.as_bytes()),
            Cell::Text(rule.severity.as_str().as_bytes()),
            sensor.map_or(Cell::Null, |sensor| Cell::Text(sensor.as_bytes())),
            Cell::Float(found.value),
            Cell::Float(found.limit),
            Cell::Text(found.message.as_bytes()),
        ]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::sensors::{SENSOR_COUNT, SensorSet};
    use super::*;

    #[test]
    fn directory_is_that_of_the_second_with_two_digits_a_level() {
        let row = SyncRow {
            start_us: 1_762_612_245_000_000,
            end_us: 1_762_612_246_000_000,
            cycle: 0,
            stats: [None; SENSOR_COUNT],
            present: SensorSet::default(),
        };
        let expected = "year=2025/month=11/day=08/hour=14/minute=30/second=45/cycle=0";
        assert_eq!(directory(&PartitionColumn::ALL, &row), expected);
        assert_eq!(directory(&[PartitionColumn::Hour], &row), "hour=14");
    }

    #[test]
    fn directories_of_the_first_and_last_second_and_of_those_around_the_epoch_are_theirs() {
        let columns =
            [PartitionColumn::Year, PartitionColumn::Month, PartitionColumn::Day, PartitionColumn::Second];
        for (start_us, expected) in [
            (time::MIN_US, "year=0001/month=01/day=01/second=00"),
            (-1_000_000, "year=1969/month=12/day=31/second=59"),
            (0, "year=1970/month=01/day=01/second=00"),
            (time::MAX_US + 1 - 1_000_000, "year=9999/month=12/day=31/second=59"),
        ] {
            let stats = [None; SENSOR_COUNT];
            let end_us = start_us + 1_000_000;
            let row = SyncRow { start_us, end_us, cycle: 0, stats, present: SensorSet::default() };
            assert_eq!(directory(&columns, &row), expected);
        }
    }

    #[test]
    fn rows_fit_their_schemas() {
        let [_, synchronized, _] = table_schemas();
        assert_eq!(synchronized.columns.len(), 3 + 17 * 5 + 1 + 7);
        let row = SyncRow {
            start_us: 0,
            end_us: 1,
            cycle: -3,
            stats: [None; SENSOR_COUNT],
            present: SensorSet::default(),
        };
        let mut rows = synchronized.batch();
        super::synchronized(row.clone(), &mut rows);
        let by_hour = Config { partition_by: vec![PartitionColumn::Hour], ..Config::default() };
        for (config, columns) in [(Config::default(), 95), (by_hour, 96)] {
            let block = lake_block(&config)(row.clone());
            assert_eq!(block.rows.columns().len(), columns);
            assert_eq!(block.digest.hex(), {
                let mut d = Digest::default();
                d.add_batch(&rows);
                d.hex()
            });
        }
    }
}

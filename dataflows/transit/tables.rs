//! The outputs: their names, columns and keys.

use std::sync::Arc;

use tidegate::aggregate::Aggregate;
use tidegate::operators::session::SessionBlock;
use tidegate::rows::ColumnType::{Float, Int, Text, Time};
use tidegate::rows::{Cell, RowBatch, Schema};
use tidegate::window::ClosedWindow;

use super::fronts::RouteActivity;

pub(super) const ROUTE_ACTIVITY: usize = 0;
pub(super) const VEHICLE_SESSIONS: usize = 1;
pub(super) const ROUTE_TOTALS: usize = 2;
/// The first of the tables that take entities as they come.
pub(super) const FEED: usize = 3;
pub(super) const LATE: usize = 7;
pub(super) const DEAD: usize = 8;
/// How many outputs records meet.
pub const JUDGED: usize = 1;
/// The names of those.
pub(super) const JUDGED_NAMES: [&str; JUDGED] = ["route_activity"];

/// The outputs that are tables; a table's number is its output's.
pub const TABLES: usize = 3;
/// How many outputs there are.
pub const OUTPUTS: usize = 9;

/// The directory of the Delta tables under the output directory.
pub const DELTA: &str = "delta";
/// The column that the tables of entities are partitioned by.
pub const DATE: &str = "event_date";

// The tables of entities, by their number in the front.
pub(super) const VEHICLE_POSITIONS: usize = 0;
pub(super) const TRIP_UPDATES: usize = 1;
pub(super) const ALERTS: usize = 2;
pub(super) const EVENTS: usize = 3;

/// Every output, in the order of the summary. The first is the one that records meet.
pub fn outputs(topic: &str) -> [String; OUTPUTS] {
    [
        "route_activity".to_owned(),
        "vehicle_sessions".to_owned(),
        "route_totals".to_owned(),
        "vehicle_positions".to_owned(),
        "trip_updates".to_owned(),
        "alerts".to_owned(),
        "events".to_owned(),
        format!("{topic}.late"),
        format!("{topic}.dlq"),
    ]
}

/// The embedded topics, by output.
pub fn topics(topic: &str) -> [(usize, Arc<str>); 2] {
    [(LATE, format!("{topic}.late").into()), (DEAD, format!("{topic}.dlq").into())]
}

/// The schemas of the tables that are made from vehicle positions, in order.
pub fn table_schemas() -> [Arc<Schema>; TABLES] {
    [
        Schema::new(
            "route_activity",
            &[
                ("window_start", Time),
                ("window_end", Time),
                ("route_id", Text),
                ("vehicles_seen", Int),
                ("observations", Int),
                ("mean_speed", Float),
            ],
            &["window_start", "route_id"],
        )
        .nullable(&["mean_speed"]),
        Schema::new(
            "vehicle_sessions",
            &[
                ("vehicle_id", Text),
                ("session_start_time", Time),
                ("session_end_time", Time),
                ("session_duration_seconds", Int),
                ("seq", Int),
                ("end_reason", Text),
                ("observations", Int),
            ],
            &["vehicle_id", "session_start_time", "seq"],
        ),
        Schema::new("route_totals", &[("route_id", Text), ("observations", Int)], &["route_id"]),
    ]
    .map(Arc::new)
}

/// The columns that every row of an entity ends with.
const ORIGIN: [(&str, tidegate::rows::ColumnType); 4] =
    [("kafka_topic", Text), ("kafka_partition", Int), ("kafka_offset", Int), ("kafka_timestamp", Time)];

/// The column that has entities with fields that nobody knows as they came: JSON as it is, the wire's bytes in base64 (RFC 4648,
/// with padding). In the first row of such an entity; null in all others.
pub(super) const ENTITY_COLUMN: &str = "entity";

/// The schemas of the tables that take entities as they come, in order; with [`ENTITY_COLUMN`] if so.
pub fn feed_schemas(keep_unknown: bool) -> [Arc<Schema>; 4] {
    let kept: &[_] = if keep_unknown { &[(ENTITY_COLUMN, Text)] } else { &[] };
    let entity = [("feed_timestamp", Time), ("event_time", Time), ("entity_id", Text)];
    let trip = [
        ("trip_id", Text),
        ("route_id", Text),
        ("direction_id", Int),
        ("start_date", Text),
        ("start_time", Text),
    ];
    let positions = [
        ("vehicle_id", Text),
        ("vehicle_label", Text),
        ("latitude", Float),
        ("longitude", Float),
        ("bearing", Float),
        ("speed", Float),
        ("stop_id", Text),
        ("current_stop_sequence", Int),
        ("current_status", Text),
        ("congestion_level", Text),
        ("occupancy_status", Text),
    ];
    let updates = [
        ("vehicle_id", Text),
        ("vehicle_label", Text),
        ("stop_sequence", Int),
        ("stop_id", Text),
        ("arrival_delay", Int),
        ("arrival_time", Time),
        ("departure_delay", Int),
        ("departure_time", Time),
        ("schedule_relationship", Text),
    ];
    let alerts = [
        ("cause", Text),
        ("effect", Text),
        ("severity_level", Text),
        ("header_text", Text),
        ("description_text", Text),
        ("active_periods", Text),
        ("informed_entities", Text),
    ];
    let schema = |name: &'static str, parts: &[&[(&'static str, tidegate::rows::ColumnType)]]| {
        let more = if name == "events" { &[] } else { kept };
        let columns: Vec<_> = parts.iter().copied().flatten().chain(&ORIGIN).chain(more).copied().collect();
        let given = ["event_time", "entity_id", "payload", "kafka_topic", "kafka_partition", "kafka_offset"];
        let absent: Vec<&str> =
            columns.iter().map(|(name, _)| *name).filter(|name| !given.contains(name)).collect();
        Arc::new(Schema::new(name, &columns, &[]).nullable(&absent))
    };
    [
        schema("vehicle_positions", &[&entity, &trip, &positions]),
        schema("trip_updates", &[&entity, &trip, &[("trip_schedule_relationship", Text)], &updates]),
        schema("alerts", &[&entity, &alerts]),
        schema("events", &[&[("event_time", Time), ("payload", Text)]]),
    ]
}

/// The rows of a closed window.
pub(super) fn route_activity(
    closed: ClosedWindow<<RouteActivity as Aggregate>::Output>,
    rows: &mut RowBatch,
) {
    for ((_, route), (vehicles, observations, speed)) in closed.keys.iter().zip(&closed.values) {
        rows.push(&[
            Cell::Time(closed.start_us),
            Cell::Time(closed.end_us),
            Cell::Text(route),
            Cell::Int(*vehicles as i64),
            Cell::Int(*observations as i64),
            speed.map_or(Cell::Null, Cell::Float),
        ]);
    }
}

/// The rows of runs that are over.
pub(super) fn vehicle_sessions(block: SessionBlock, rows: &mut RowBatch) {
    for ((_, vehicle), session) in block.keys.iter().zip(&block.sessions) {
        rows.push(&[
            Cell::Text(vehicle),
            Cell::Time(session.start_us),
            Cell::Time(session.end_us),
            Cell::Int((session.end_us - session.start_us) / 1_000_000),
            Cell::Int(session.seq.into()),
            Cell::Text(session.reason.as_str().as_bytes()),
            Cell::Int(session.events as i64),
        ]);
    }
}

/// The row of a route's total.
pub(super) fn route_totals((route, count): (Vec<u8>, isize), rows: &mut RowBatch) {
    rows.push(&[Cell::Text(&route), Cell::Int(i64::try_from(count).unwrap_or(i64::MAX))]);
}

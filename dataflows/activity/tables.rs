//! The outputs: their names, columns and keys.

use std::sync::Arc;

use tidegate::rows::ColumnType::{Bool, Int, Text, Time};
use tidegate::rows::Schema;

/// Every output, in the order of the summary. The first three are those that records meet.
pub const OUTPUTS: [&str; 8] = [
    "page_view_counts",
    "active_users",
    "user_sessions",
    "session_history",
    LAKE,
    "enriched_activity",
    "user_activity.late",
    "user_activity.dlq",
];

pub(super) const PAGE_VIEW_COUNTS: usize = 0;
pub(super) const ACTIVE_USERS: usize = 1;
pub(super) const USER_SESSIONS: usize = 2;
pub(super) const SESSION_HISTORY: usize = 3;
pub(super) const LAKE_OUTPUT: usize = 4;
pub(super) const ENRICHED: usize = 5;
pub(super) const LATE: usize = 6;
pub(super) const DEAD: usize = 7;
/// How many outputs records meet.
pub(super) const JUDGED: usize = 3;

/// The lake's directory under the output directory.
pub const LAKE: &str = "lake/activity";

/// The outputs that are tables; a table's number is its output's.
pub const TABLES: usize = 4;

/// The schemas of the tables, in order.
pub fn table_schemas() -> [Arc<Schema>; TABLES] {
    let session = [
        ("user_id", Text),
        ("session_start_time", Time),
        ("session_end_time", Time),
        ("session_duration_seconds", Int),
    ];
    let history: Vec<_> = session
        .into_iter()
        .chain([("seq", Int), ("end_reason", Text), ("events", Int), ("page_views", Int)])
        .collect();
    [
        Schema::new(
            OUTPUTS[PAGE_VIEW_COUNTS],
            &[("window_start", Time), ("window_end", Time), ("page_url", Text), ("view_count", Int)],
            &["window_start", "page_url"],
        ),
        Schema::new(
            OUTPUTS[ACTIVE_USERS],
            &[("window_start", Time), ("window_end", Time), ("active_user_count", Int)],
            &["window_start"],
        ),
        Schema::new(OUTPUTS[USER_SESSIONS], &session, &["user_id"]),
        Schema::new(OUTPUTS[SESSION_HISTORY], &history, &["user_id", "session_start_time", "seq"]),
    ]
    .map(Arc::new)
}

/// The columns that every row of the lake has.
pub fn lake_schema() -> Schema {
    Schema::new(
        "activity",
        &[
            ("event_time", Time),
            ("user_id", Text),
            ("page_url", Text),
            ("event_type", Text),
            ("late", Bool),
            ("kafka_topic", Text),
            ("kafka_partition", Int),
            ("kafka_offset", Int),
            ("kafka_timestamp", Time),
        ],
        &[],
    )
    .nullable(&["kafka_timestamp"])
}

/// The embedded topics, by output.
pub fn topics(input: &str) -> [(usize, Arc<str>); 3] {
    [
        (ENRICHED, "enriched_activity".into()),
        (LATE, format!("{input}.late").into()),
        (DEAD, format!("{input}.dlq").into()),
    ]
}

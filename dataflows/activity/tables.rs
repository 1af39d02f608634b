//! The outputs: their names, columns and keys.

use std::sync::Arc;

use tidegate::ingest::LakeBlock;
use tidegate::operators::distinct::DistinctCount;
use tidegate::operators::session::SessionBlock;
use tidegate::rows::ColumnType::{Bool, Int, Text, Time};
use tidegate::rows::{Cell, ColumnDef, RowBatch, Schema};
use tidegate::sink::lake::LakeBatch;
use tidegate::window::{ClosedWindow, Firing, WindowSpec};

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
pub const JUDGED: usize = 3;

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

/// The rows of a closed window of page views.
pub(super) fn page_views(closed: ClosedWindow<u64>, rows: &mut RowBatch) {
    for ((_, page), views) in closed.keys.iter().zip(&closed.values) {
        rows.push(&[
            Cell::Time(closed.start_us),
            Cell::Time(closed.end_us),
            Cell::Text(page),
            Cell::Int(*views as i64),
        ]);
    }
}

/// A window of active users.
#[derive(Clone, Copy)]
pub(super) struct ActiveUsers {
    start_us: i64,
    end_us: i64,
    users: u64,
    pub(super) firing: Firing,
}

impl ActiveUsers {
    /// Counted exactly.
    pub(super) fn of(spec: &WindowSpec, count: DistinctCount) -> Self {
        let DistinctCount { window, keys, firing } = count;
        ActiveUsers { start_us: spec.start(window), end_us: spec.end(window), users: keys, firing }
    }

    /// Estimated by a sketch; everybody is one group.
    pub(super) fn estimated(closed: ClosedWindow<u64>) -> Self {
        let ClosedWindow { start_us, end_us, firing, values, .. } = closed;
        ActiveUsers { start_us, end_us, users: values[0], firing }
    }
}

/// Its row.
pub(super) fn active_users(window: ActiveUsers, rows: &mut RowBatch) {
    let ActiveUsers { start_us, end_us, users, .. } = window;
    rows.push(&[Cell::Time(start_us), Cell::Time(end_us), Cell::Int(users as i64)]);
}

/// A session as the last one of its user is chosen: by (start, seq).
pub(super) type LastSession = ((i64, u32), i64);

/// Each session of a block with its user.
pub(super) fn by_user(block: SessionBlock) -> Vec<(Vec<u8>, LastSession)> {
    let sessions = block.keys.iter().zip(&block.sessions);
    sessions.map(|((_, user), s)| (user.to_vec(), ((s.start_us, s.seq), s.end_us))).collect()
}

fn whole_seconds(start_us: i64, end_us: i64) -> i64 {
    (end_us - start_us) / 1_000_000
}

/// The row of a user's last session.
pub(super) fn user_session((user, ((start_us, _), end_us)): (Vec<u8>, LastSession), rows: &mut RowBatch) {
    rows.push(&[
        Cell::Text(&user),
        Cell::Time(start_us),
        Cell::Time(end_us),
        Cell::Int(whole_seconds(start_us, end_us)),
    ]);
}

/// The rows of sessions that are over.
pub(super) fn session_history(block: SessionBlock, rows: &mut RowBatch) {
    for ((_, user), session) in block.keys.iter().zip(&block.sessions) {
        rows.push(&[
            Cell::Text(user),
            Cell::Time(session.start_us),
            Cell::Time(session.end_us),
            Cell::Int(whole_seconds(session.start_us, session.end_us)),
            Cell::Int(session.seq.into()),
            Cell::Text(session.reason.as_str().as_bytes()),
            Cell::Int(session.events as i64),
            Cell::Int(session.flagged as i64),
        ]);
    }
}

/// Makes what the lake's sink takes: the fixed columns, then those that the block has gained.
pub(super) fn lake_batch() -> impl Fn(LakeBlock) -> LakeBatch {
    let fixed = lake_schema();
    move |block| {
        let mut schema = fixed.clone();
        schema.columns.extend(block.extras.iter().map(|name| ColumnDef {
            name: format!("x_{name}").into(),
            kind: Text,
            nullable: true,
        }));
        LakeBatch {
            partition_dir: block.directory,
            // Rows of all partitions share files: a topic of 10,000 partitions must not make as many files.
            writer_partition: 0,
            schema: Arc::new(schema),
            rows: block.rows,
        }
    }
}

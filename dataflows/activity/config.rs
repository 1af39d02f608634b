//! What can be set of the pipeline.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate::decode::json::Limits;
use tidegate::window::WindowSpec;

use super::tables::{ACTIVE_USERS, PAGE_VIEW_COUNTS, USER_SESSIONS};

/// How active users are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DistinctMode {
    /// Every user is remembered.
    #[default]
    Exact,
    /// HyperLogLog with 2^14 registers: a relative standard error of 0.81 %.
    Hll,
}

/// The outputs that are computed; all of them by default. One that is off costs nothing, and has no rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection {
    /// `page_view_counts`. On by default.
    pub page_views: bool,
    /// `active_users`. On by default.
    pub active_users: bool,
    /// `user_sessions` and `session_history`. On by default.
    pub sessions: bool,
    /// `lake/activity`. On by default.
    pub lake: bool,
    /// `enriched_activity`. On by default.
    pub enriched: bool,
}

impl Selection {
    /// Whether the output of this number is computed, of those that records meet.
    pub(crate) fn computes(&self, output: usize) -> bool {
        match output {
            PAGE_VIEW_COUNTS => self.page_views,
            ACTIVE_USERS => self.active_users,
            USER_SESSIONS => self.sessions,
            _ => true,
        }
    }
}

impl Default for Selection {
    fn default() -> Self {
        Selection { page_views: true, active_users: true, sessions: true, lake: true, enriched: true }
    }
}

/// The pipeline's settings, which are section `activity` of a configuration; the defaults are the contract's.
#[derive(Clone, Debug)]
pub struct Config {
    /// The input topic; default `user_activity`. It also names the topics of late and unusable records.
    pub topic: String,
    /// How far a partition's watermark stays behind its largest event time; default 2 minutes. More makes
    /// fewer records late, and every window close that much later.
    pub delay: Duration,
    /// How far an event time may be after its record's Kafka timestamp; default 1 hour. Beyond it the record
    /// goes to the dead letters and moves no watermark.
    pub max_ahead: Duration,
    /// Sizes in bytes beyond which a record is refused; default 1 MiB a record, 2,048 a text.
    pub limits: Limits,
    /// The windows of `page_view_counts`; default 1 minute, tumbling.
    pub page_view_windows: WindowSpec,
    /// How often rows of windows that are still open are written, at the ends of epochs and within them; default `None`: each row
    /// once, when its window closes.
    pub update_every: Option<Duration>,
    /// Whether a live run writes rows of open sessions too, at the end of every epoch; default no.
    pub update_sessions: bool,
    /// The windows of `active_users`; default 5 minutes, sliding by 1. A user is counted in each window, so
    /// that state and rows grow with size / slide.
    pub active_user_windows: WindowSpec,
    /// How active users are counted; default exactly, at the cost of remembering every user of an open window.
    pub distinct: DistinctMode,
    /// The silence that ends a session; default 30 minutes. More keeps users' sessions open that much longer.
    pub session_gap: Duration,
    /// The outputs that are computed; default all.
    pub outputs: Selection,
}

impl Config {
    /// The settings that state depends on, as a text: a checkpoint of another text is not this pipeline's.
    pub fn state_schema(&self) -> String {
        let Config {
            topic,
            delay,
            max_ahead,
            limits,
            page_view_windows: views,
            active_user_windows: users,
            ..
        } = self;
        let spec = |spec: &WindowSpec| format!("{} by {} µs", spec.size_us(), spec.slide_us());
        format!(
            "topic {topic}, delay {delay:?}, max_ahead {max_ahead:?}, {limits:?}, page views {}, active users {} {:?}, \
             session gap {:?}, {:?}",
            spec(views),
            spec(users),
            self.distinct,
            self.session_gap,
            self.outputs,
        )
    }
}

const MINUTE_US: i64 = 60_000_000;

impl Default for Config {
    fn default() -> Self {
        Config {
            topic: "user_activity".to_owned(),
            delay: Duration::from_secs(120),
            max_ahead: Duration::from_secs(3600),
            limits: Limits::default(),
            page_view_windows: WindowSpec::tumbling(MINUTE_US).expect("a minute is a window"),
            update_every: None,
            update_sessions: false,
            active_user_windows: WindowSpec::sliding(5 * MINUTE_US, MINUTE_US)
                .expect("5 minutes by 1 is a window"),
            distinct: DistinctMode::Exact,
            session_gap: Duration::from_secs(1800),
            outputs: Selection::default(),
        }
    }
}

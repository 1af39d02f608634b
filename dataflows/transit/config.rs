//! What can be set of the pipeline.

use std::fmt;
use std::time::Duration;

use tidegate::decode::json::Limits;
use tidegate::decode::protobuf::described::DescribedType;
use tidegate::window::WindowSpec;

/// What a record's value is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// JSON: FeedMessages by the Protobuf JSON mapping, other objects.
    Json,
    /// FeedMessages on the wire, or messages of the configured type.
    Protobuf,
    /// JSON if the first byte that is not white space is `{`, else Protobuf.
    #[default]
    Auto,
}

/// What the number or text in `events.time_field` counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeUnit {
    /// Seconds since the epoch.
    Seconds,
    /// Milliseconds since the epoch.
    #[default]
    Milliseconds,
    /// Microseconds since the epoch.
    Microseconds,
    /// A text as contract section 6 reads times.
    Rfc3339,
}

impl TimeUnit {
    /// Its name in settings.
    pub fn as_str(self) -> &'static str {
        match self {
            TimeUnit::Seconds => "s",
            TimeUnit::Milliseconds => "ms",
            TimeUnit::Microseconds => "us",
            TimeUnit::Rfc3339 => "rfc3339",
        }
    }
}

/// The pipeline's settings, which are section `transit` of a configuration; the defaults are the contract's.
#[derive(Clone, Debug)]
pub struct Config {
    /// The input topic; default `dev_topic`. It also names the topics of late and unusable records.
    pub topic: String,
    /// What a record's value is; default: its first byte says.
    pub format: Format,
    /// The type of records that are Protobuf; default `None`: FeedMessages. Those of another type are events, as JSON objects are
    /// that are no FeedMessage.
    pub message: Option<DescribedType>,
    /// Whether the tables of entities have the column `entity`: those with fields that the schema does not name, as they came,
    /// once each; default no.
    pub keep_unknown: bool,
    /// How far a partition's watermark stays behind its largest event time; default 2 minutes. More makes
    /// fewer entities late, and every window close that much later.
    pub delay: Duration,
    /// How far an event time may be after its record's Kafka timestamp; default 1 hour. Beyond it the entity
    /// goes to the dead letters and moves no watermark.
    pub max_ahead: Duration,
    /// Sizes in bytes beyond which a record or an entity is refused; default 1 MiB a record, 2,048 an id.
    pub limits: Limits,
    /// The windows of `route_activity`; default 5 minutes, tumbling.
    pub windows: WindowSpec,
    /// How often rows of `route_activity` whose windows are still open are written, at the ends of epochs and within them; default
    /// `None`: each row once, when its window closes.
    pub update_every: Option<Duration>,
    /// Whether a live run writes rows of open vehicle sessions too, at the end of every epoch; default no.
    pub update_sessions: bool,
    /// The silence that ends a vehicle's run; default 30 minutes.
    pub session_gap: Duration,
    /// The member of other JSON objects that is their event time; default none: Kafka's timestamp.
    pub time_field: Option<String>,
    /// What that member counts; default milliseconds.
    pub time_unit: TimeUnit,
}

impl Config {
    /// The settings that state depends on, as a text: a checkpoint of another text is not this pipeline's. Rows of open windows
    /// are no part of the state.
    pub fn state_schema(&self) -> String {
        struct State<'a>(&'a Config);
        impl fmt::Debug for State<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // Each is named, so that a new setting is decided about.
                let Config {
                    topic,
                    format,
                    message,
                    delay,
                    max_ahead,
                    limits,
                    windows,
                    session_gap,
                    time_field,
                    time_unit,
                    // Of rows, which no state has.
                    keep_unknown: _,
                    update_every: _,
                    update_sessions: _,
                } = self.0;
                let mut state = f.debug_struct("Config");
                state.field("topic", topic).field("format", format);
                // Without it the text is that of versions that did not have it.
                if let Some(message) = message {
                    state.field("message", message);
                }
                state
                    .field("delay", delay)
                    .field("max_ahead", max_ahead)
                    .field("limits", limits)
                    .field("windows", windows)
                    .field("session_gap", session_gap)
                    .field("time_field", time_field)
                    .field("time_unit", time_unit)
                    .finish()
            }
        }
        format!("{:?}", State(self))
    }
}

const MINUTE_US: i64 = 60_000_000;

impl Default for Config {
    fn default() -> Self {
        Config {
            topic: "dev_topic".to_owned(),
            format: Format::default(),
            message: None,
            keep_unknown: false,
            delay: Duration::from_secs(120),
            max_ahead: Duration::from_secs(3600),
            limits: Limits::default(),
            windows: WindowSpec::tumbling(5 * MINUTE_US).expect("5 minutes are a window"),
            update_every: None,
            update_sessions: false,
            session_gap: Duration::from_secs(1800),
            time_field: None,
            time_unit: TimeUnit::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hydraulic;

    /// What a checkpoint of these settings says is never to change: it would be refused.
    #[test]
    fn state_is_of_the_same_settings_whether_open_windows_are_shown_or_not() {
        let update_every = Some(Duration::from_secs(10));
        let transit = Config::default().state_schema();
        assert_eq!(
            Config { update_every, update_sessions: true, ..Config::default() }.state_schema(),
            transit
        );
        assert_eq!(
            transit,
            "Config { topic: \"dev_topic\", format: Auto, delay: 120s, max_ahead: 3600s, \
             limits: Limits { max_record_bytes: 1048576, max_string_bytes: 2048 }, \
             windows: WindowSpec { size_us: 300000000, slide_us: 300000000, pane_us: 300000000 }, \
             session_gap: 1800s, time_field: None, time_unit: Milliseconds }",
        );
        let hydraulic = hydraulic::Config::default().state_schema();
        let updating = hydraulic::Config { update_every, ..hydraulic::Config::default() };
        assert_eq!(updating.state_schema(), hydraulic);
        let former = format!("{:?}", hydraulic::Config::default()).replace(", update_every: None", "");
        assert_eq!(hydraulic, former);
    }
}

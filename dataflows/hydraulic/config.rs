//! What can be set of the pipeline.

use std::fmt;
use std::time::Duration;

use tidegate::decode::json::Limits;
use tidegate::window::WindowSpec;

use super::rules::{Rule, default_rules};
use super::sensors::SensorSet;

/// What stands in `synchronized_features` for a sensor that has not spoken in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SilentPolicy {
    /// Null.
    #[default]
    Null,
    /// Its last features, for seconds that start at most this long after theirs; null beyond.
    Hold(Duration),
    /// Rows in which a configured sensor is silent are left out.
    Drop,
}

/// A level of the lake's directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionColumn {
    /// Four digits.
    Year,
    /// Two digits.
    Month,
    /// Two digits.
    Day,
    /// Two digits.
    Hour,
    /// Two digits.
    Minute,
    /// Two digits.
    Second,
    /// As it is; the column is then not in the files, since readers take it from the path.
    Cycle,
}

impl PartitionColumn {
    /// All of them, in order.
    pub const ALL: [PartitionColumn; 7] = [
        PartitionColumn::Year,
        PartitionColumn::Month,
        PartitionColumn::Day,
        PartitionColumn::Hour,
        PartitionColumn::Minute,
        PartitionColumn::Second,
        PartitionColumn::Cycle,
    ];

    /// The name of the level.
    pub fn name(self) -> &'static str {
        ["year", "month", "day", "hour", "minute", "second", "cycle"][self as usize]
    }
}

/// The pipeline's settings, which are section `hydraulic` of a configuration; the defaults are the contract's.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the names of the input topics begin with; the sensor's name follows. Default `hydraulic-`.
    pub topic_prefix: String,
    /// The sensors whose topics are read; default all.
    pub sensors: SensorSet,
    /// The topic of alerts; default `hydraulic-alerts`.
    pub alert_topic: String,
    /// How far a partition's watermark stays behind its largest event time; default 10 s.
    pub delay: Duration,
    /// How far an event time may be after its record's Kafka timestamp; default 1 hour.
    pub max_ahead: Duration,
    /// Sizes in bytes beyond which a record is refused; default 1 MiB a record, 2,048 a text.
    pub limits: Limits,
    /// The windows of `sensor_features`, tumbling; default 1 s.
    pub windows: WindowSpec,
    /// How often rows of `sensor_features` whose windows are still open are written, at the ends of epochs; default `None`: each
    /// row once, when its window closes. What is made of these rows is made of the final ones only.
    pub update_every: Option<Duration>,
    /// What stands for a silent sensor; default null.
    pub silent: SilentPolicy,
    /// The levels of the lake's directories; default year to second, then cycle.
    pub partition_by: Vec<PartitionColumn>,
    /// The rules, in the order of their declaration.
    pub rules: Vec<Rule>,
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
                    topic_prefix,
                    sensors,
                    alert_topic,
                    delay,
                    max_ahead,
                    limits,
                    windows,
                    silent,
                    partition_by,
                    rules,
                    update_every: _,
                } = self.0;
                f.debug_struct("Config")
                    .field("topic_prefix", topic_prefix)
                    .field("sensors", sensors)
                    .field("alert_topic", alert_topic)
                    .field("delay", delay)
                    .field("max_ahead", max_ahead)
                    .field("limits", limits)
                    .field("windows", windows)
                    .field("silent", silent)
                    .field("partition_by", partition_by)
                    .field("rules", rules)
                    .finish()
            }
        }
        format!("{:?}", State(self))
    }

    /// The input topics, in the order of the sensors.
    pub fn topics(&self) -> Vec<String> {
        let named = |sensor| format!("{}{}", self.topic_prefix, super::SENSORS[sensor]);
        self.sensors.iter().map(named).collect()
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            topic_prefix: "hydraulic-".to_owned(),
            sensors: SensorSet::ALL,
            alert_topic: "hydraulic-alerts".to_owned(),
            delay: Duration::from_secs(10),
            max_ahead: Duration::from_secs(3600),
            limits: Limits::default(),
            windows: WindowSpec::tumbling(1_000_000).expect("a second is a window"),
            update_every: None,
            silent: SilentPolicy::Null,
            partition_by: PartitionColumn::ALL.to_vec(),
            rules: default_rules(),
        }
    }
}

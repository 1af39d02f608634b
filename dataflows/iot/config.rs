//! What can be set of the pipeline.

use std::time::Duration;

use tidegate::decode::json::Limits;
use tidegate::ingest::Range;
use tidegate::window::WindowSpec;

use super::rules::Rule;

/// What a reading must be, besides well-formed; all bounds are inclusive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranges {
    /// °C; default −50 to 100.
    pub temperature: Range,
    /// %; default 0 to 100.
    pub humidity: Range,
    /// kWh; default from 0.
    pub energy: Range,
}

impl Default for Ranges {
    fn default() -> Self {
        let range = |min, max| Range::new(Some(min), max).expect("a default is a range");
        Ranges {
            temperature: range(-50.0, Some(100.0)),
            humidity: range(0.0, Some(100.0)),
            energy: range(0.0, None),
        }
    }
}

/// The pipeline's settings, which are section `iot` of a configuration; the defaults are the contract's.
#[derive(Clone, Debug)]
pub struct Config {
    /// The topic of readings as they come; default `iot_data`. It also names the topics of late and unusable
    /// records.
    pub topic: String,
    /// The topic of readings that passed validation; default `validated_iot_data`. Where the input holds it in
    /// place of `topic`, validation is behind us, and it names those topics.
    pub validated_topic: String,
    /// How far a partition's watermark stays behind its largest event time; default 1 minute. More makes fewer
    /// records late, and every window close that much later.
    pub delay: Duration,
    /// How far an event time may be after its record's Kafka timestamp; default 1 hour. Beyond it the record
    /// goes to the dead letters and moves no watermark.
    pub max_ahead: Duration,
    /// Sizes in bytes beyond which a record is refused; default 1 MiB a record, 2,048 a text.
    pub limits: Limits,
    /// The windows of `real_time_aggregates`; default 5 minutes, tumbling. They also bound how long a reading
    /// is remembered for its repeats to be known.
    pub windows: WindowSpec,
    /// How often rows of windows that are still open are written, at the ends of epochs; default every 10 s. `None`: each row
    /// once, when its window closes.
    pub update_every: Option<Duration>,
    /// The ranges that validation asks for.
    pub ranges: Ranges,
    /// What it asks for besides, in this order; default nothing.
    pub rules: Vec<Rule>,
}

const MINUTE_US: i64 = 60_000_000;

impl Default for Config {
    fn default() -> Self {
        Config {
            topic: "iot_data".to_owned(),
            validated_topic: "validated_iot_data".to_owned(),
            delay: Duration::from_secs(60),
            max_ahead: Duration::from_secs(3600),
            limits: Limits::default(),
            windows: WindowSpec::tumbling(5 * MINUTE_US).expect("5 minutes are a window"),
            update_every: Some(Duration::from_secs(10)),
            ranges: Ranges::default(),
            rules: Vec::new(),
        }
    }
}

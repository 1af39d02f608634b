//! The rules of `hydraulic` by hand: what is remembered stands in arrays by sensor, and rows are judged in the order of time.

use std::collections::VecDeque;

use serde::Serialize;
use tidegate::aggregate::{Finite, Moments};
use tidegate::delivery::OutputTally;
use tidegate::operators::baseline::{RollingMoments, RollingPairs};
use tidegate::record::KafkaTime;
use tidegate::rows::Cell;
use tidegate::sink::kcat::Line;
use tidegate::time;
use tidegate_dataflows::hydraulic::{Derived, SENSOR_COUNT, SENSORS, Stats, SyncRow};

use super::discard::{Lines, Table};

const SECOND_US: i64 = 1_000_000;
const COOLDOWN_US: i64 = 60 * SECOND_US;
const ROWS: usize = 60;
const CYCLES: usize = 10;
const PS1: usize = 0;
const PS5: usize = 4;
const PS6: usize = 5;
const TS1: usize = 9;

/// The largest change a second, by sensor.
fn change_limit(sensor: usize) -> Option<f64> {
    match sensor {
        0..=5 => Some(50.0),
        7..=12 => Some(5.0),
        _ => None,
    }
}

/// What has been told of a (rule, sensor).
#[derive(Default)]
struct Cooldown {
    alerting: bool,
    last_us: Option<i64>,
}

/// What is remembered of a sensor.
#[derive(Default)]
struct Sensor {
    rolling: RollingMoments,
    previous: Option<(i64, f64)>,
    places: Vec<VecDeque<(i64, f64)>>,
    zscore: Cooldown,
    change: Cooldown,
    pattern: Cooldown,
}

/// All that is remembered, and the alerts so far.
#[derive(Default)]
pub(super) struct Rules {
    sensors: [Sensor; SENSOR_COUNT],
    pairs: RollingPairs,
    high_pressure: Cooldown,
    high_temperature: Cooldown,
    pressure_spike: Cooldown,
    correlation: Cooldown,
    alerts: Vec<Alert>,
}

/// A line of the topic of alerts, in the order of the topic.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Alert {
    start_us: i64,
    key: String,
    cycle: i64,
    kafka_ms: Option<i64>,
    payload: Vec<u8>,
}

/// What a rule has made of a row.
struct Judged<M> {
    rule: &'static str,
    severity: &'static str,
    /// What stands in column `sensor`.
    sensor: Option<usize>,
    /// A pair, for a rule that looks at two sensors.
    pair: &'static str,
    kafka_ms: Option<i64>,
    value: f64,
    limit: f64,
    beyond: bool,
    /// What is wrong, in words, by value and limit.
    message: M,
}

impl<M> Judged<M> {
    /// What a rule by sensor has made of the sensor's average, which it is to find where the value is over the limit.
    fn of_sensor(
        sensor: usize,
        stats: &Stats,
        (rule, severity): (&'static str, &'static str),
        (value, limit): (f64, f64),
        message: M,
    ) -> Self {
        let (kafka_ms, beyond) = (stats.kafka_ms, value > limit);
        Judged { rule, severity, sensor: Some(sensor), pair: "", kafka_ms, value, limit, beyond, message }
    }
}

#[derive(Serialize)]
struct Payload<'a> {
    event: &'static str,
    window_start: &'a str,
    cycle: i64,
    rule: &'a str,
    severity: &'static str,
    sensor: Option<&'static str>,
    value: f64,
    limit_value: f64,
    message: &'a str,
}

impl Rules {
    /// Judges a row of all sensors by all rules.
    pub(super) fn judge(&mut self, row: &SyncRow, derived: &Derived, anomalies: &mut Table) {
        let mut told = Told { row, anomalies, alerts: &mut self.alerts };
        for (number, sensor) in self.sensors.iter_mut().enumerate() {
            if let Some(stats) = &row.stats[number] {
                sensor.judge(number, stats, &mut told);
            }
        }
        let stats = |sensor: usize| row.stats[sensor].as_ref();
        let newest = || row.stats[..=PS6].iter().filter_map(|stats| stats.as_ref()?.kafka_ms).max();
        for (sensor, column, rule, limit, cooldown) in [
            (PS1, "PS1_avg", "high_pressure", 300.0, &mut self.high_pressure),
            (TS1, "TS1_avg", "high_temperature", 100.0, &mut self.high_temperature),
        ] {
            if let Some(stats) = stats(sensor) {
                let judged = Judged {
                    rule,
                    severity: "critical",
                    sensor: Some(sensor),
                    pair: "",
                    kafka_ms: stats.kafka_ms,
                    value: stats.avg,
                    limit,
                    beyond: stats.avg > limit,
                    message: |value, limit| above(column, value, limit),
                };
                told.of(cooldown, judged);
            }
        }
        if let Some(value) = derived.pressure_range {
            let judged = Judged {
                rule: "pressure_spike",
                severity: "warning",
                sensor: None,
                pair: "",
                kafka_ms: newest(),
                value,
                limit: 50.0,
                beyond: value > 50.0,
                message: |value, limit| above("pressure_range", value, limit),
            };
            told.of(&mut self.pressure_spike, judged);
        }
        if let Some((x, y)) = stats(PS5).zip(stats(PS6)) {
            self.pairs.push(finite(x.avg), finite(y.avg), ROWS);
            if let Some(r) = self.pairs.correlation().filter(|_| self.pairs.len() >= ROWS) {
                let judged = Judged {
                    rule: "correlation",
                    severity: "warning",
                    sensor: None,
                    pair: "PS5/PS6",
                    kafka_ms: x.kafka_ms.max(y.kafka_ms),
                    value: r,
                    // The one that is nearer.
                    limit: if r > 0.5 { 1.0 } else { 0.0 },
                    beyond: !(0.0..=1.0).contains(&r),
                    message: |value, limit| {
                        format!("the correlation of PS5/PS6 is {value}; its limit is {limit}")
                    },
                };
                told.of(&mut self.correlation, judged);
            }
        }
    }

    /// How many alerts and ends of alerts there were, and the digest of their lines.
    pub(super) fn end(mut self, digests: bool) -> OutputTally {
        let mut lines = Lines::new(digests);
        self.alerts.sort();
        for (offset, alert) in (0..).zip(&self.alerts) {
            lines.push(&Line {
                topic: "hydraulic-alerts",
                partition: 0,
                offset,
                kafka_time: alert.kafka_ms.map_or(KafkaTime::None, KafkaTime::Create),
                headers: &[],
                key: Some(alert.key.as_bytes()),
                payload: Some(&alert.payload),
            });
        }
        lines.end()
    }
}

fn finite(value: f64) -> Finite {
    Finite::new(value).expect("averages of the generator's readings are finite")
}

fn above(what: &str, value: f64, limit: f64) -> String {
    format!("{what} is {value}; an anomaly is above {limit}")
}

impl Sensor {
    /// The three rules by sensor.
    fn judge(&mut self, number: usize, stats: &Stats, told: &mut Told<'_>) {
        let (name, average, start_us) = (SENSORS[number], stats.avg, told.row.start_us);
        let enough = self.rolling.len() >= 10;
        let against = self.rolling.mean_and_deviation().filter(|(_, deviation)| enough && *deviation > 0.0);
        self.rolling.push(finite(average), ROWS);
        if let Some((mean, deviation)) = against {
            let message = |value, limit| {
                format!(
                    "{name}_avg {average} is {value} deviations from its rolling mean; allowed are {limit}"
                )
            };
            let value = ((average - mean) / deviation).abs();
            told.of(
                &mut self.zscore,
                Judged::of_sensor(number, stats, ("zscore", "warning"), (value, 3.0), message),
            );
        }
        if let Some(limit) = change_limit(number)
            && let Some((before_us, before)) = self.previous.replace((start_us, average))
            && start_us > before_us
        {
            let message = |value, limit| {
                format!("{name}_avg changed by {value} a second to {average}; allowed are {limit}")
            };
            let value = (average - before).abs() / ((start_us - before_us) as f64 / SECOND_US as f64);
            told.of(
                &mut self.change,
                Judged::of_sensor(number, stats, ("sudden_change", "warning"), (value, limit), message),
            );
        }
        if let Some((mean, deviation)) = self.earlier(start_us, told.row.cycle, average) {
            let message = |value, limit| {
                format!(
                    "{name}_avg {average} is {value} from the same second of earlier cycles; allowed are {limit}"
                )
            };
            let (value, limit) = ((average - mean).abs(), 3.0 * deviation);
            told.of(
                &mut self.pattern,
                Judged::of_sensor(number, stats, ("pattern", "info"), (value, limit), message),
            );
        }
    }

    /// Mean and deviation of the same second of the last cycles, of which there must be five; this one's average is remembered.
    fn earlier(&mut self, start_us: i64, cycle: i64, average: f64) -> Option<(f64, f64)> {
        self.places.resize_with(60, VecDeque::new);
        let earlier = &mut self.places[start_us.div_euclid(SECOND_US).rem_euclid(60) as usize];
        let mut moments = Moments::default();
        for (_, other) in earlier.iter().rev().filter(|(other, _)| *other != cycle).take(CYCLES) {
            moments.add(finite(*other));
        }
        earlier.retain(|(other, _)| *other != cycle);
        earlier.push_back((cycle, average));
        while earlier.len() > CYCLES + 1 {
            earlier.pop_front();
        }
        moments.mean().zip(moments.deviation()).filter(|_| moments.count() >= 5)
    }
}

/// Where what is found in a row goes.
struct Told<'a> {
    row: &'a SyncRow,
    anomalies: &'a mut Table,
    alerts: &'a mut Vec<Alert>,
}

impl Told<'_> {
    fn of(&mut self, cooldown: &mut Cooldown, judged: Judged<impl Fn(f64, f64) -> String>) {
        let start_us = self.row.start_us;
        let event = cooldown.judged(start_us, judged.beyond);
        if !judged.beyond && event.is_none() {
            return;
        }
        // Never −0.0.
        let (value, limit) = (judged.value + 0.0, judged.limit + 0.0);
        let message = (judged.message)(value, limit);
        if judged.beyond {
            self.anomalies.push(&[
                Cell::Time(start_us),
                Cell::Int(self.row.cycle),
                Cell::Text(judged.rule.as_bytes()),
                Cell::Text(judged.severity.as_bytes()),
                judged.sensor.map_or(Cell::Null, |sensor| Cell::Text(SENSORS[sensor].as_bytes())),
                Cell::Float(value),
                Cell::Float(limit),
                Cell::Text(message.as_bytes()),
            ]);
        }
        let Some(event) = event else { return };
        let sensor = judged.sensor.map(|sensor| SENSORS[sensor]);
        let key = match sensor.unwrap_or(judged.pair) {
            "" => judged.rule.to_owned(),
            subject => format!("{}/{subject}", judged.rule),
        };
        let window_start = time::format(start_us);
        let payload = Payload {
            event,
            window_start: &String::from_utf8_lossy(&window_start),
            cycle: self.row.cycle,
            rule: judged.rule,
            severity: judged.severity,
            sensor,
            value,
            limit_value: limit,
            message: &if judged.beyond { message } else { format!("over: {message}") },
        };
        let payload = serde_json::to_vec(&payload).expect("texts and finite numbers are JSON");
        let (cycle, kafka_ms) = (self.row.cycle, judged.kafka_ms);
        self.alerts.push(Alert { start_us, key, cycle, kafka_ms, payload });
    }
}

impl Cooldown {
    /// What is to be told of a row: an alert, that it is over, or nothing.
    fn judged(&mut self, start_us: i64, beyond: bool) -> Option<&'static str> {
        if !beyond {
            return std::mem::take(&mut self.alerting).then_some("resolve");
        }
        if self.last_us.is_some_and(|last_us| start_us - last_us < COOLDOWN_US) {
            return None;
        }
        (self.alerting, self.last_us) = (true, Some(start_us));
        Some("alert")
    }
}

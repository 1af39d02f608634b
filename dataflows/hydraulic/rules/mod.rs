//! Rules that find anomalies in the features, as they are declared.
//!
//! ```text
//! sensor rows ─► zscore, sudden_change, pattern: an observation a (rule, sensor, row) ─┐
//! sync rows ─► thresholds: an observation a (rule, row); correlation: a (rule, pair, row)
//!                                                                                      ▼
//! ordered by (rule, subject), in (window_start, cycle) order: judge ─► cooldown ─► detection, alert, resolve
//! ```

mod cooldown;
mod machine;
mod observe;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(super) use machine::RuleMachine;
pub use machine::{Finding, FindingKind};
pub(super) use observe::{of_sensor_row, of_sync_row};

use super::expression::Expression;
use super::sensors::{FLOWS, PRESSURES, SENSOR_COUNT, SENSORS, SensorSet, TEMPERATURES};

/// How bad an anomaly is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// To be known.
    Info,
    /// To be looked at.
    Warning,
    /// To be acted on.
    Critical,
}

impl Severity {
    /// The word in tables.
    pub fn as_str(self) -> &'static str {
        ["info", "warning", "critical"][self as usize]
    }
}

/// On which side of its limit a threshold's value is an anomaly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Above.
    Above,
    /// Below.
    Below,
}

/// Two sensors, and the correlation that they should have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// One sensor.
    pub x: usize,
    /// The other.
    pub y: usize,
    /// A correlation below it is an anomaly.
    pub low: f64,
    /// A correlation above it is an anomaly.
    pub high: f64,
}

impl Pair {
    /// Its name, `PS5/PS6`.
    pub fn name(&self) -> String {
        format!("{}/{}", SENSORS[self.x], SENSORS[self.y])
    }
}

/// What a rule looks at.
#[derive(Clone, Debug, PartialEq)]
pub enum RuleKind {
    /// An expression over `synchronized_features` beyond a limit.
    Threshold {
        /// The expression.
        value: Expression,
        /// Beyond on which side.
        side: Side,
        /// The limit.
        limit: f64,
    },
    /// A sensor's average, by its distance from those before it.
    ZScore {
        /// Over how many rows before it.
        rows: usize,
        /// With fewer than these nothing is said.
        at_least: usize,
        /// The limit, in sample deviations.
        limit: f64,
    },
    /// The change of a sensor's average since its row before.
    SuddenChange {
        /// The limit by sensor, per second; `None` where there is none.
        limits: Box<[Option<f64>; SENSOR_COUNT]>,
    },
    /// A sensor's average, by its distance from those of the same second of earlier cycles.
    Pattern {
        /// Over how many cycles.
        cycles: usize,
        /// With fewer than these nothing is said.
        at_least: usize,
        /// The limit, in sample deviations.
        limit: f64,
    },
    /// Pearson's correlation of the averages of two sensors.
    Correlation {
        /// Over how many rows; with fewer nothing is said.
        rows: usize,
        /// The pairs.
        pairs: Vec<Pair>,
    },
}

/// A declared rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// Whether it is on.
    pub on: bool,
    /// How bad what it finds is.
    pub severity: Severity,
    /// After an alert, further ones of the same (rule, sensor) are held back for so long in event time.
    pub cooldown: Duration,
    /// What it looks at.
    pub kind: RuleKind,
}

/// The contract's rules.
pub fn default_rules() -> Vec<Rule> {
    let rule = |name: &str, severity, kind| {
        let (name, cooldown) = (name.to_owned(), Duration::from_secs(60));
        Rule { name, on: true, severity, cooldown, kind }
    };
    let threshold = |name: &str, severity, text: &str, limit| {
        let value = Expression::parse(text).expect("the contract's columns are columns");
        rule(name, severity, RuleKind::Threshold { value, side: Side::Above, limit })
    };
    vec![
        threshold("high_pressure", Severity::Critical, "PS1_avg", 300.0),
        threshold("high_temperature", Severity::Critical, "TS1_avg", 100.0),
        threshold("pressure_spike", Severity::Warning, "pressure_range", 50.0),
        rule("zscore", Severity::Warning, RuleKind::ZScore { rows: 60, at_least: 10, limit: 3.0 }),
        rule(
            "sudden_change",
            Severity::Warning,
            RuleKind::SuddenChange { limits: Box::new(default_changes()) },
        ),
        rule("pattern", Severity::Info, RuleKind::Pattern { cycles: 10, at_least: 5, limit: 3.0 }),
        rule("correlation", Severity::Warning, RuleKind::Correlation { rows: 60, pairs: default_pairs() }),
    ]
}

/// What no sound rig does within a second: 50 bar, 5 l/min, 5 °C.
fn default_changes() -> [Option<f64>; SENSOR_COUNT] {
    std::array::from_fn(|sensor| {
        let limits = [(PRESSURES, 50.0), (FLOWS, 5.0), (TEMPERATURES, 5.0)];
        limits.into_iter().find(|(sensors, _)| sensors.contains(&sensor)).map(|(_, limit)| limit)
    })
}

/// PS5 and PS6 measure before and behind the same cooler, and rise and fall together.
fn default_pairs() -> Vec<Pair> {
    vec![Pair { x: 4, y: 5, low: 0.0, high: 1.0 }]
}

/// The sensors that a rule by sensor looks at.
pub(super) fn sensors_of(kind: &RuleKind) -> SensorSet {
    match kind {
        RuleKind::ZScore { .. } | RuleKind::Pattern { .. } => SensorSet::ALL,
        RuleKind::SuddenChange { limits } => {
            (0..SENSOR_COUNT).filter(|sensor| limits[*sensor].is_some()).collect()
        }
        RuleKind::Threshold { .. } | RuleKind::Correlation { .. } => SensorSet::default(),
    }
}

//! Precision and recall of the rules, by faults that a generator has marked.
//!
//! A fault is found when its own rule has an anomaly in it: from the second of its first reading to its last one and, for a rule
//! that compares with rows before, as long after its end as the rule looks back, since the way back is seen too. Precision
//! is the share of a rule's anomalies that lie in a fault, whichever, of a sensor that the rule looks at there; recall is
//! the share of a rule's faults that it has found.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tidegate::time;

use super::rules::{Rule, RuleKind};
use super::sensors::{SensorSet, sensor_called};

const SECOND_US: i64 = 1_000_000;

/// A fault as `faults.json` tells it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct MarkedFault {
    /// The rule that is to find it.
    pub rule: String,
    /// The sensor that it shows in.
    pub sensor: String,
    /// Event time of its first reading.
    pub start: String,
    /// Event time before which its last reading is.
    pub end: String,
}

/// A row of `anomalies`, as far as it is scored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detected {
    /// The second, in microseconds since the epoch.
    pub window_start_us: i64,
    /// The rule.
    pub rule: String,
    /// The sensor; `None` for rules over several.
    pub sensor: Option<String>,
}

/// A mark that cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("fault {number} of the marks: {text:?} is no time")]
pub struct BadMark {
    /// Its number, from 0.
    pub number: usize,
    /// What should be a time.
    pub text: String,
}

/// How good a rule is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Score {
    /// How many anomalies it has found.
    pub anomalies: u64,
    /// How many of them lie in a fault.
    pub in_faults: u64,
    /// Their share; `None` where it has found none.
    pub precision: Option<f64>,
    /// How many faults it was to find.
    pub faults: u64,
    /// How many of them it has found.
    pub found: u64,
    /// Their share; `None` where there was none to find.
    pub recall: Option<f64>,
}

impl Score {
    fn of(anomalies: u64, in_faults: u64, faults: u64, found: u64) -> Score {
        let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
        let (precision, recall) = (share(in_faults, anomalies), share(found, faults));
        Score { anomalies, in_faults, precision, faults, found, recall }
    }
}

/// How good rules are.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scores {
    /// Each rule that has found something, or was to.
    pub rules: BTreeMap<String, Score>,
    /// All rules together.
    pub all: Score,
}

/// What a rule can be right about.
#[derive(Clone, Copy, Debug, Default)]
struct Reach {
    /// The sensors of a row that names none.
    sensors: SensorSet,
    /// How long after a fault's end.
    after_us: i64,
}

impl Reach {
    fn of(kind: &RuleKind) -> Reach {
        match kind {
            RuleKind::Threshold { value, .. } => Reach { sensors: value.sensors(), after_us: 0 },
            RuleKind::ZScore { .. } | RuleKind::SuddenChange { .. } | RuleKind::Pattern { .. } => {
                Reach { sensors: SensorSet::default(), after_us: SECOND_US }
            }
            RuleKind::Correlation { rows, pairs } => Reach {
                sensors: pairs.iter().flat_map(|pair| [pair.x, pair.y]).collect(),
                after_us: i64::try_from(*rows).unwrap_or(i64::MAX).saturating_mul(SECOND_US),
            },
        }
    }

    fn covers(self, found: &Detected, fault: &Fault) -> bool {
        let sensors = match &found.sensor {
            Some(name) => sensor_called(name).into_iter().collect(),
            None => self.sensors,
        };
        let span = fault.first_us..fault.end_us.saturating_add(self.after_us);
        fault.sensor.is_some_and(|sensor| sensors.has(sensor)) && span.contains(&found.window_start_us)
    }
}

struct Fault<'a> {
    rule: &'a str,
    sensor: Option<usize>,
    /// The second of its first reading.
    first_us: i64,
    end_us: i64,
}

impl<'a> Fault<'a> {
    fn of((number, mark): (usize, &'a MarkedFault)) -> Result<Fault<'a>, BadMark> {
        let read = |text: &str| {
            time::parse(text.as_bytes()).ok_or_else(|| BadMark { number, text: text.to_owned() })
        };
        let first_us = read(&mark.start)?.div_euclid(SECOND_US) * SECOND_US;
        Ok(Fault {
            rule: &mark.rule,
            sensor: sensor_called(&mark.sensor),
            first_us,
            end_us: read(&mark.end)?,
        })
    }
}

/// Scores what `rules` have found; a rule that is not declared there is judged by the sensors of its rows alone.
///
/// # Errors
/// When a mark has no times.
pub fn score(rules: &[Rule], marks: &[MarkedFault], found: &[Detected]) -> Result<Scores, BadMark> {
    let faults = marks.iter().enumerate().map(Fault::of).collect::<Result<Vec<Fault<'_>>, BadMark>>()?;
    let mut by_rule: BTreeMap<&str, Vec<&Detected>> = BTreeMap::new();
    for fault in &faults {
        by_rule.entry(fault.rule).or_default();
    }
    for row in found {
        by_rule.entry(&row.rule).or_default().push(row);
    }
    let (mut scores, mut sums) = (BTreeMap::new(), [0; 4]);
    for (name, own) in by_rule {
        let declared = rules.iter().find(|rule| rule.name == name);
        let reach = declared.map_or_else(Reach::default, |rule| Reach::of(&rule.kind));
        let is_right = |row: &&&Detected| faults.iter().any(|fault| reach.covers(row, fault));
        let is_found = |fault: &&&Fault<'_>| own.iter().any(|row| reach.covers(row, fault));
        let expected: Vec<&Fault<'_>> = faults.iter().filter(|fault| fault.rule == name).collect();
        let counts = [
            own.len(),
            own.iter().filter(is_right).count(),
            expected.len(),
            expected.iter().filter(is_found).count(),
        ]
        .map(|count| count as u64);
        let [anomalies, in_faults, faults, found] = counts;
        scores.insert(name.to_owned(), Score::of(anomalies, in_faults, faults, found));
        sums = std::array::from_fn(|at| sums[at] + counts[at]);
    }
    let [anomalies, in_faults, faults, found] = sums;
    Ok(Scores { rules: scores, all: Score::of(anomalies, in_faults, faults, found) })
}

#[cfg(test)]
mod tests {
    use super::super::rules::default_rules;
    use super::*;

    /// A fault between two seconds of the first hour of 2026.
    fn fault(rule: &str, sensor: &str, start: u32, end: u32) -> MarkedFault {
        let at = |second: u32| format!("2026-01-01T00:{:02}:{:02}Z", second / 60, second % 60);
        MarkedFault { rule: rule.into(), sensor: sensor.into(), start: at(start), end: at(end) }
    }

    fn row(rule: &str, sensor: &str, second: i64) -> Detected {
        let sensor = Some(sensor.to_owned()).filter(|name| !name.is_empty());
        Detected { window_start_us: 1_767_225_600_000_000 + second * SECOND_US, rule: rule.into(), sensor }
    }

    #[test]
    fn precision_and_recall_are_those_counted_by_hand() {
        let marks = [
            fault("high_pressure", "PS1", 100, 103),
            fault("high_pressure", "PS1", 200, 203),
            fault("zscore", "FS2", 300, 304),
            fault("correlation", "PS6", 400, 490),
            fault("pressure_spike", "PS2", 600, 601),
        ];
        let found = [
            // Three of four: the end is not in it, and a threshold does not look back.
            row("high_pressure", "PS1", 100),
            row("high_pressure", "PS1", 101),
            row("high_pressure", "PS1", 102),
            row("high_pressure", "PS1", 103),
            // Three of five: another sensor, and two seconds behind. The second of the surge's end is its way back.
            row("zscore", "FS2", 300),
            row("zscore", "FS2", 304),
            row("zscore", "FS1", 300),
            row("zscore", "FS2", 305),
            row("zscore", "PS1", 103),
            // Two of three: sixty rows are looked back upon.
            row("correlation", "", 400),
            row("correlation", "", 549),
            row("correlation", "", 550),
            // Both: any pressure will do, also that of the surge, which is no fault of its own.
            row("pressure_spike", "", 600),
            row("pressure_spike", "", 200),
            // None: nobody declares it, and a row without a sensor can be about any.
            row("mine", "", 100),
        ];
        let scores = score(&default_rules(), &marks, &found).unwrap();
        let expected = [
            ("correlation", Score::of(3, 2, 1, 1)),
            ("high_pressure", Score::of(4, 3, 2, 1)),
            ("mine", Score::of(1, 0, 0, 0)),
            ("pressure_spike", Score::of(2, 2, 1, 1)),
            ("zscore", Score::of(5, 3, 1, 1)),
        ];
        let expected: BTreeMap<String, Score> =
            expected.into_iter().map(|(rule, score)| (rule.to_owned(), score)).collect();
        assert_eq!(scores.rules, expected);
        let of = |rule: &str| (scores.rules[rule].precision, scores.rules[rule].recall);
        assert_eq!(of("high_pressure"), (Some(0.75), Some(0.5)));
        assert_eq!(of("zscore"), (Some(0.6), Some(1.0)));
        assert_eq!(of("mine"), (Some(0.0), None));
        assert_eq!(scores.all, Score::of(15, 10, 5, 4));
        assert_eq!(scores.all.recall, Some(0.8));
    }

    #[test]
    fn nothing_has_no_share_and_a_time_that_is_none_is_told() {
        let scores = score(&default_rules(), &[], &[]).unwrap();
        assert_eq!((scores.rules.len(), scores.all), (0, Score::default()));
        let bad = MarkedFault { end: "soon".into(), ..fault("zscore", "FS2", 1, 2) };
        let error = score(&[], &[fault("zscore", "FS2", 1, 2), bad], &[]).unwrap_err();
        assert_eq!(error, BadMark { number: 1, text: "soon".into() });
    }
}

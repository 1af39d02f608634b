//! The rules as a state machine over the observations of a (rule, subject).

use std::collections::{BTreeMap, VecDeque};
use tidegate::tick::micros;

use serde::{Deserialize, Serialize};
use tidegate::aggregate::{Finite, Moments};
use tidegate::operators::baseline::{RollingMoments, RollingPairs};
use tidegate::operators::ordered::Machine;

use super::cooldown::{Cooldown, Tell};
use super::observe::Observation;
use super::{Pair, Rule, RuleKind, Side};

const SECOND_US: i64 = 1_000_000;

/// A pattern has a place for each second of a minute.
const PLACES: i64 = 60;

/// What a rule has to say about a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is.
    pub kind: FindingKind,
    /// The rule's place among the rules.
    pub rule: u16,
    /// The sensor or the pair; empty for a rule that looks at the whole row.
    pub subject: String,
    /// The sensor; `None` for rules over several.
    pub sensor: Option<u8>,
    /// Where the row's second starts, µs.
    pub start_us: i64,
    /// The row's cycle.
    pub cycle: i64,
    /// What was compared with the limit.
    pub value: f64,
    /// The limit.
    pub limit: f64,
    /// The largest Kafka timestamp of the readings that the row's values are made of.
    pub kafka_ms: Option<i64>,
    /// What is wrong, in words.
    pub message: String,
}

/// What a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FindingKind {
    /// An anomaly.
    Detected {
        /// Whether it is an alert as well, and not held back by the cooldown.
        alert: bool,
    },
    /// The anomaly that was alerted last is over: a row was judged and is as it should be.
    Resolved,
}

/// What is remembered of a (rule, subject); a rule uses what it needs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::hydraulic) struct RuleState {
    baseline: RollingMoments,
    /// The start and the average of the row before.
    previous: Option<(i64, f64)>,
    /// For each second of the minute the cycles that had a row there last, oldest first, and their averages.
    seconds: BTreeMap<i64, VecDeque<(i64, f64)>>,
    pairs: RollingPairs,
    cooldown: Cooldown,
}

/// What was compared with which limit, and whether it is beyond.
struct Judgement {
    value: f64,
    limit: f64,
    beyond: bool,
}

/// Judges observations by the rules.
pub(in crate::hydraulic) struct RuleMachine {
    rules: Vec<Rule>,
}

impl RuleMachine {
    /// By these rules.
    pub(in crate::hydraulic) fn new(rules: Vec<Rule>) -> Self {
        RuleMachine { rules }
    }
}

impl Machine for RuleMachine {
    type Key = (String, String);
    type Item = Observation;
    type Order = i64;
    type State = RuleState;
    type Output = Finding;

    fn key(&self, seen: &Observation) -> (String, String) {
        (self.rules[usize::from(seen.rule)].name.clone(), seen.subject.clone())
    }

    fn order(&self, seen: &Observation) -> i64 {
        seen.cycle
    }

    fn apply(
        &self,
        _key: &(String, String),
        state: &mut RuleState,
        _time_us: i64,
        seen: Observation,
        emit: &mut dyn FnMut(Finding),
    ) {
        let rule = &self.rules[usize::from(seen.rule)];
        let judgement = state.judge(&rule.kind, &seen).filter(|judgement| !judgement.value.is_nan());
        let Some(Judgement { value, limit, beyond }) = judgement else { return };
        let tell = state.cooldown.judged(seen.start_us, beyond, micros(rule.cooldown));
        let kind = match (beyond, tell) {
            (true, _) => FindingKind::Detected { alert: tell == Tell::Alert },
            (false, Tell::Resolve) => FindingKind::Resolved,
            (false, _) => return,
        };
        let (value, limit) = (bounded(value), bounded(limit));
        emit(Finding {
            kind,
            rule: seen.rule,
            sensor: seen.sensor,
            start_us: seen.start_us,
            cycle: seen.cycle,
            value,
            limit,
            kafka_ms: seen.kafka_ms,
            message: message(rule, &seen, kind, value, limit),
            subject: seen.subject,
        });
    }
}

impl RuleState {
    /// Judges a row against what is remembered, and remembers it. `None` where nothing can be said.
    fn judge(&mut self, kind: &RuleKind, seen: &Observation) -> Option<Judgement> {
        let value = seen.value;
        let average = Finite::new(value)?;
        match kind {
            RuleKind::Threshold { side, limit, .. } => {
                let beyond = match side {
                    Side::Above => value > *limit,
                    Side::Below => value < *limit,
                };
                Some(Judgement { value, limit: *limit, beyond })
            }
            RuleKind::ZScore { rows, at_least, limit } => {
                let enough = self.baseline.len() >= *at_least;
                let against = self.baseline.mean_and_deviation().filter(|(_, deviation)| *deviation > 0.0);
                self.baseline.push(average, *rows);
                let (mean, deviation) = against.filter(|_| enough)?;
                let distance = ((value - mean) / deviation).abs();
                Some(Judgement { value: distance, limit: *limit, beyond: distance > *limit })
            }
            RuleKind::SuddenChange { limits } => {
                let limit = limits[usize::from(seen.sensor?)]?;
                let (before_us, before) = self.previous.replace((seen.start_us, value))?;
                let seconds = (seen.start_us - before_us) as f64 / SECOND_US as f64;
                let rate = (value - before).abs() / seconds;
                (seconds > 0.0).then_some(Judgement { value: rate, limit, beyond: rate > limit })
            }
            RuleKind::Pattern { cycles, at_least, limit } => {
                let place = seen.start_us.div_euclid(SECOND_US).rem_euclid(PLACES);
                let earlier = self.seconds.entry(place).or_default();
                let others = earlier.iter().rev().filter(|(cycle, _)| *cycle != seen.cycle).take(*cycles);
                let (mut moments, mut count) = (Moments::default(), 0);
                for other in others.filter_map(|(_, average)| Finite::new(*average)) {
                    moments.add(other);
                    count += 1;
                }
                earlier.retain(|(cycle, _)| *cycle != seen.cycle);
                earlier.push_back((seen.cycle, value));
                // One more than is looked at, since the next row's own cycle may be among them.
                while earlier.len() > cycles + 1 {
                    earlier.pop_front();
                }
                let (mean, deviation) = moments.mean().zip(moments.deviation())?;
                let (distance, limit) = ((value - mean).abs(), limit * deviation);
                (count >= *at_least).then_some(Judgement { value: distance, limit, beyond: distance > limit })
            }
            RuleKind::Correlation { rows, pairs } => {
                let Pair { low, high, .. } = *pairs.iter().find(|pair| pair.name() == seen.subject)?;
                self.pairs.push(average, Finite::new(seen.other)?, *rows);
                let r = self.pairs.correlation().filter(|_| self.pairs.len() >= *rows)?;
                // Inside, the limit that is nearer.
                let limit = if r > high || (r >= low && high - r < r - low) { high } else { low };
                Some(Judgement { value: r, limit, beyond: r > high || r < low })
            }
        }
    }
}

/// JSON has no infinity, and a value beyond `f64` is an anomaly all the same.
fn bounded(value: f64) -> f64 {
    value.clamp(f64::MIN, f64::MAX) + 0.0
}

fn message(rule: &Rule, seen: &Observation, kind: FindingKind, value: f64, limit: f64) -> String {
    let over = match kind {
        FindingKind::Detected { .. } => "",
        FindingKind::Resolved => "over: ",
    };
    let what = match &rule.kind {
        RuleKind::Threshold { value: expression, side, .. } => {
            let side = if *side == Side::Above { "above" } else { "below" };
            format!("{expression} is {value}; an anomaly is {side} {limit}")
        }
        RuleKind::ZScore { .. } => {
            format!(
                "{}_avg {} is {value} deviations from its rolling mean; allowed are {limit}",
                seen.subject, seen.value
            )
        }
        RuleKind::SuddenChange { .. } => {
            format!("{}_avg changed by {value} a second to {}; allowed are {limit}", seen.subject, seen.value)
        }
        RuleKind::Pattern { .. } => format!(
            "{}_avg {} is {value} from the same second of earlier cycles; allowed are {limit}",
            seen.subject, seen.value
        ),
        RuleKind::Correlation { .. } => {
            format!("the correlation of {} is {value}; its limit is {limit}", seen.subject)
        }
    };
    format!("{over}{what}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidegate::operators::ordered::OrderedState;

    use super::super::default_rules;
    use super::*;

    /// What a rule of the contract detects in averages of (start in s, cycle, average) of PS1: the starts.
    fn detected(rule: &str, rows: &[(i64, i64, f64)]) -> Vec<i64> {
        let rules = default_rules();
        let number = rules.iter().position(|known| known.name == rule).unwrap();
        let mut ordered = OrderedState::new(RuleMachine::new(rules));
        for &(second, cycle, value) in rows.iter().rev() {
            let start_us = second * SECOND_US;
            let seen = Observation {
                rule: number as u16,
                subject: "PS1".to_owned(),
                sensor: Some(0),
                start_us,
                cycle,
                kafka_ms: None,
                value,
                other: 0.0,
            };
            ordered.take(start_us + SECOND_US - 1, seen);
        }
        let mut found = Vec::new();
        ordered.pass(None, &mut |_, finding: Finding| {
            if let FindingKind::Detected { .. } = finding.kind {
                found.push(finding.start_us / SECOND_US);
            }
        });
        found
    }

    #[test]
    fn zscore_needs_ten_rows_that_vary() {
        let mut rows: Vec<_> = (0..10).map(|i| (i, 0, 1.0)).collect();
        rows.push((10, 0, 50.0));
        assert_eq!(detected("zscore", &rows), [0; 0], "no deviation, no score");
        let mut rows: Vec<_> = (0..10).map(|i| (i, 0, (i % 2) as f64)).collect();
        rows.extend([(10, 0, 2.0), (11, 0, 9.0)]);
        assert_eq!(detected("zscore", &rows), [11]);
        assert_eq!(detected("zscore", &rows[2..]), [0; 0], "nine rows before");
    }

    /// The mean and the sample deviation, by a loop; the deviation is 0 where nothing varies.
    fn spread(values: &[f64]) -> (f64, f64) {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let varies = values.iter().any(|value| *value != values[0]);
        (mean, if varies { (squares / (count - 1.0)).sqrt() } else { 0.0 })
    }

    proptest! {
        #[test]
        fn zscore_finds_what_a_loop_over_the_rows_before_finds(
            runs in prop::collection::vec((prop_oneof![9 => 0..40_i32, 1 => 0..4_000_i32], 1..6_usize), 0..40),
        ) {
            let run = |(tenths, times): (i32, usize)| std::iter::repeat_n(f64::from(tenths) / 10.0, times);
            let averages: Vec<f64> = runs.into_iter().flat_map(run).collect();
            let mut expected = Vec::new();
            for (second, average) in averages.iter().enumerate().skip(10) {
                let (mean, deviation) = spread(&averages[second.saturating_sub(60)..second]);
                if deviation > 0.0 {
                    let score = (average - mean).abs() / deviation;
                    // So near the limit a loop in `f64` cannot say.
                    prop_assume!((score - 3.0).abs() > 1e-9);
                    expected.extend((score > 3.0).then_some(second as i64));
                }
            }
            let rows: Vec<_> = (0..).zip(averages).map(|(second, average)| (second, 0, average)).collect();
            prop_assert_eq!(detected("zscore", &rows), expected);
        }
    }

    #[test]
    fn sudden_change_is_by_the_second_and_silent_between_equal_starts() {
        let rows = [(0, 0, 0.0), (1, 0, 50.0), (2, 0, 101.0), (2, 1, 999.0), (12, 0, 1_600.0)];
        assert_eq!(detected("sudden_change", &rows), [2, 12]);
        assert_eq!(detected("sudden_change", &[(0, 0, 0.0), (10, 0, 500.0)]), [0; 0]);
    }

    #[test]
    fn pattern_is_that_of_the_same_second_of_other_cycles() {
        let minute = |cycle: i64, value: f64| [(60 * cycle, cycle, value), (60 * cycle + 1, cycle, 100.0)];
        let mut rows: Vec<_> = (0..4).flat_map(|cycle| minute(cycle, (cycle % 2) as f64)).collect();
        rows.extend(minute(4, 30.0));
        assert_eq!(detected("pattern", &rows), [0; 0], "four cycles before");
        rows.extend(minute(5, 100.0));
        assert_eq!(detected("pattern", &rows), [300]);
    }
}

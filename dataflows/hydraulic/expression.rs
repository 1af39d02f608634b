//! Expressions over the columns of `synchronized_features`, for threshold rules: `PS1_avg`,
//! `PS1_max - PS2_max`, `abs(flow_mean / pressure_mean) * 100`.
//!
//! ```text
//! sum     = product { ("+" | "-") product }
//! product = factor { ("*" | "/") factor }
//! factor  = number | column | "(" sum ")" | "abs" "(" sum ")" | "-" factor
//! ```
//!
//! A value is null where a column in it is null, a divisor is 0, or it is beyond `f64`.

use std::fmt;

use super::features::{Derived, SyncRow};
use super::sensors::{
    COOLING, EFFICIENCY, FLOWS, PRESSURES, SENSORS, SensorSet, TEMPERATURES, sensor_called,
};

/// The statistics of a sensor, as columns are named after them.
pub(super) const STATISTICS: [&str; 5] = ["avg", "min", "max", "std", "count"];

/// The derived columns, in order.
pub(super) const DERIVED: [&str; 7] = [
    "pressure_mean",
    "temperature_mean",
    "flow_mean",
    "pressure_range",
    "pressure_variability",
    "flow_pressure_ratio",
    "efficiency_index",
];

/// Deeper nesting is not meant.
const DEPTH_MAX: usize = 32;

/// An expression, with its text.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    text: String,
    root: Node,
    sensors: SensorSet,
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Number(f64),
    Statistic { sensor: usize, statistic: usize },
    Derived(usize),
    SensorsPresent,
    Negated(Box<Node>),
    Absolute(Box<Node>),
    Binary(char, Box<Node>, Box<Node>),
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// What is wrong with it, and at which character.
    ///
    /// # Examples
    /// ```
    /// use tidegate_dataflows::hydraulic::Expression;
    /// assert_eq!(Expression::parse("abs(PS1_avg - 2) * 3").unwrap().to_string(), "abs(PS1_avg - 2) * 3");
    /// assert!(Expression::parse("PS9_avg").unwrap_err().contains("PS9_avg"));
    /// ```
    pub fn parse(text: &str) -> Result<Expression, String> {
        let mut parser = Parser { text, at: 0, depth: 0, sensors: SensorSet::default() };
        let root = parser.sum()?;
        match parser.peek() {
            None => Ok(Expression { text: text.trim().to_owned(), root, sensors: parser.sensors }),
            Some(found) => Err(format!("{found:?} is not expected at character {}", parser.at + 1)),
        }
    }

    /// The sensors that it is computed from.
    pub fn sensors(&self) -> SensorSet {
        self.sensors
    }

    /// The only sensor that it is computed from, if there is but one.
    pub fn only_sensor(&self) -> Option<usize> {
        self.sensors.iter().next().filter(|_| self.sensors.len() == 1)
    }

    /// Its value in a row; `None` for null.
    pub fn value(&self, row: &SyncRow, derived: &Derived) -> Option<f64> {
        self.root.value(row, derived).filter(|value| value.is_finite()).map(|value| value + 0.0)
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Node {
    fn value(&self, row: &SyncRow, derived: &Derived) -> Option<f64> {
        Some(match self {
            Node::Number(number) => *number,
            Node::Statistic { sensor, statistic } => {
                let stats = row.stats[*sensor]?;
                match statistic {
                    0 => stats.avg,
                    1 => stats.min,
                    2 => stats.max,
                    3 => stats.std,
                    _ => stats.count as f64,
                }
            }
            Node::Derived(column) => return derived.columns()[*column],
            Node::SensorsPresent => row.present.len() as f64,
            Node::Negated(node) => -node.value(row, derived)?,
            Node::Absolute(node) => node.value(row, derived)?.abs(),
            Node::Binary(operator, left, right) => {
                let (left, right) = (left.value(row, derived)?, right.value(row, derived)?);
                match operator {
                    '+' => left + right,
                    '-' => left - right,
                    '*' => left * right,
                    _ if right == 0.0 => return None,
                    _ => left / right,
                }
            }
        })
    }
}

impl Derived {
    /// The values in the order of [`DERIVED`].
    pub(super) fn columns(&self) -> [Option<f64>; 7] {
        [
            self.pressure_mean,
            self.temperature_mean,
            self.flow_mean,
            self.pressure_range,
            self.pressure_variability,
            self.flow_pressure_ratio,
            self.efficiency_index,
        ]
    }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
    sensors: SensorSet,
}

impl Parser<'_> {
    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        self.text[self.at..].chars().next()
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += if found { wanted.len_utf8() } else { 0 };
        found
    }

    fn binary(
        &mut self,
        operators: [char; 2],
        operand: fn(&mut Self) -> Result<Node, String>,
    ) -> Result<Node, String> {
        let mut left = operand(self)?;
        while let Some(operator) = operators.into_iter().find(|operator| self.take(*operator)) {
            let right = operand(self)?;
            left = Node::Binary(operator, Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn sum(&mut self) -> Result<Node, String> {
        self.binary(['+', '-'], |parser| parser.binary(['*', '/'], Parser::factor))
    }

    fn nested(&mut self) -> Result<Node, String> {
        let node = self.sum()?;
        if self.take(')') { Ok(node) } else { Err(format!("')' is missing at character {}", self.at + 1)) }
    }

    fn factor(&mut self) -> Result<Node, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("it is nested too deeply".to_owned());
        }
        let node = self.any_factor();
        self.depth -= 1;
        node
    }

    fn any_factor(&mut self) -> Result<Node, String> {
        if self.take('(') {
            return self.nested();
        }
        if self.take('-') {
            return Ok(Node::Negated(Box::new(self.factor()?)));
        }
        self.peek();
        let rest = &self.text[self.at..];
        let word_of =
            |legal: fn(char) -> bool| &rest[..rest.find(|char: char| !legal(char)).unwrap_or(rest.len())];
        if rest.starts_with(|char: char| char.is_ascii_digit() || char == '.') {
            let word = word_of(|char| char.is_ascii_digit() || char == '.');
            self.at += word.len();
            let number = word.parse().map_err(|_| format!("{word:?} is not a number"))?;
            return Ok(Node::Number(number));
        }
        let word = word_of(|char| char.is_ascii_alphanumeric() || char == '_');
        if word.is_empty() {
            return Err(format!("a number, a column or '(' is missing at character {}", self.at + 1));
        }
        self.at += word.len();
        if word == "abs" && self.take('(') {
            return Ok(Node::Absolute(Box::new(self.nested()?)));
        }
        self.column(word)
    }

    fn column(&mut self, word: &str) -> Result<Node, String> {
        let (node, sensors) = if word == "sensors_present" {
            (Node::SensorsPresent, SensorSet::ALL)
        } else if let Some(column) = DERIVED.iter().position(|name| *name == word) {
            (Node::Derived(column), sensors_of_derived(column))
        } else {
            let named = word.split_once('_').and_then(|(sensor, statistic)| {
                let statistic = STATISTICS.iter().position(|name| *name == statistic)?;
                Some((sensor_called(sensor)?, statistic))
            });
            let Some((sensor, statistic)) = named else {
                return Err(format!(
                    "there is no column {word:?}: there are {}_{} and so on, sensors_present, {}",
                    SENSORS[0],
                    STATISTICS[0],
                    DERIVED.join(", ")
                ));
            };
            (Node::Statistic { sensor, statistic }, SensorSet::default().with(sensor))
        };
        self.sensors = self.sensors.and(sensors);
        Ok(node)
    }
}

/// The sensors that a derived column is computed from.
fn sensors_of_derived(column: usize) -> SensorSet {
    match DERIVED[column] {
        "temperature_mean" => TEMPERATURES.collect(),
        "flow_mean" => FLOWS.collect(),
        "flow_pressure_ratio" => FLOWS.chain(PRESSURES).collect(),
        "efficiency_index" => [EFFICIENCY, COOLING].into_iter().collect(),
        _ => PRESSURES.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::features::Stats;
    use super::super::sensors::SENSOR_COUNT;
    use super::*;

    fn value(text: &str) -> Option<f64> {
        let stats = |avg| Some(Stats { avg, min: 1.0, max: 3.0, std: 0.5, count: 4, kafka_ms: None });
        let mut row = SyncRow {
            start_us: 0,
            end_us: 1,
            cycle: 0,
            stats: [None; SENSOR_COUNT],
            present: [0, 7].into_iter().collect(),
        };
        (row.stats[0], row.stats[7]) = (stats(8.0), stats(2.0));
        Expression::parse(text).unwrap().value(&row, &row.derived())
    }

    #[test]
    fn arithmetic_is_as_at_school() {
        assert_eq!(value("1 + 2 * 3 - 8 / 4"), Some(5.0));
        assert_eq!(value("(1 + 2) * -3 + abs(-4)"), Some(-5.0));
        assert_eq!(value("PS1_avg - FS1_avg * PS1_std"), Some(7.0));
        assert_eq!(value("FS1_count + sensors_present"), Some(6.0));
        assert_eq!(value("flow_pressure_ratio"), Some(0.25));
    }

    #[test]
    fn null_and_division_by_zero_are_null() {
        assert_eq!(value("PS1_avg + PS2_avg"), None);
        assert_eq!(value("temperature_mean"), None);
        assert_eq!(value("1 / (PS1_avg - 8)"), None);
    }

    #[test]
    fn sensors_are_those_that_it_is_computed_from() {
        let of = |text: &str| Expression::parse(text).unwrap();
        assert_eq!(of("PS1_avg * PS1_max").only_sensor(), Some(0));
        assert_eq!(of("pressure_range").only_sensor(), None);
        assert_eq!(of("pressure_range").sensors().len(), 6);
        assert_eq!(of("1").sensors().len(), 0);
    }

    #[test]
    fn broken_expressions_are_refused() {
        for text in ["", "1 +", "(1", "1)", "PS1", "PS1_median", "PS7_avg", "1..2", "abs", "$", "1 2", "ä"] {
            assert!(Expression::parse(text).is_err(), "{text:?}");
        }
        assert!(Expression::parse(&"(".repeat(10_000)).is_err());
        assert!(Expression::parse(&"-".repeat(10_000)).is_err());
    }
}

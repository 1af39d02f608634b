//! `profile.txt`: the condition of the rig in each cycle.

use serde::{Deserialize, Serialize};

/// What the rig's condition was in a cycle, as `profile.txt` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Label {
    /// How well the cooler works, in percent.
    pub cooler: i64,
    /// How well the valve switches, in percent.
    pub valve: i64,
    /// The internal leakage of the pump: 0 none, 1 weak, 2 severe.
    pub pump_leakage: i64,
    /// The pressure of the hydraulic accumulator, in bar.
    pub accumulator: i64,
    /// 0 when conditions were stable, 1 when they may not have been.
    pub stable_flag: i64,
}

/// The names of a label's columns.
pub const LABELS: [&str; 5] = ["cooler", "valve", "pump_leakage", "accumulator", "stable_flag"];

impl Label {
    /// Its values, as [`LABELS`] names them.
    pub fn values(&self) -> [i64; 5] {
        [self.cooler, self.valve, self.pump_leakage, self.accumulator, self.stable_flag]
    }
}

/// A line that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Which, from 1, as editors count.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

/// Labels by cycle, and the lines that are none.
pub type Read = (Vec<(i64, Label)>, Vec<BadLine>);

/// Reads `profile.txt`: line k, from 0, is cycle k. A line that cannot be read leaves its cycle without a label.
///
/// # Examples
/// ```
/// use tidegate_dataflows::dataset::parse_labels;
/// let (labels, bad) = parse_labels("3\t100\t0\t130\t1\nx\n");
/// assert_eq!(labels[0].1.accumulator, 130);
/// assert_eq!(bad[0].line, 2);
/// ```
pub fn parse_labels(text: &str) -> Read {
    let (mut labels, mut bad) = (Vec::new(), Vec::new());
    for (at, line) in text.lines().enumerate() {
        match parse_line(line) {
            Ok(label) => labels.push((at as i64, label)),
            Err(what) => bad.push(BadLine { line: at + 1, what }),
        }
    }
    (labels, bad)
}

fn parse_line(line: &str) -> Result<Label, String> {
    // Tabs, as the file has them; some copies are padded with spaces.
    let fields: Vec<&str> = line.split_whitespace().collect();
    let number = |field: &&str| field.parse::<i64>().map_err(|_| format!("{field:?} is not a whole number"));
    let values: Vec<i64> = fields.iter().map(number).collect::<Result<_, _>>()?;
    let [cooler, valve, pump_leakage, accumulator, stable_flag] = values[..] else {
        return Err(format!("{} values in place of {} ({})", values.len(), LABELS.len(), LABELS.join(", ")));
    };
    Ok(Label { cooler, valve, pump_leakage, accumulator, stable_flag })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_number_is_the_cycle_and_bad_lines_are_told() {
        let text = "3\t100\t0\t130\t1\r\n\n20\t73\t2\t90\n 3 90 1 115 0 \n";
        let (labels, bad) = parse_labels(text);
        let cycles: Vec<_> = labels.iter().map(|(cycle, _)| *cycle).collect();
        assert_eq!(cycles, [0, 3]);
        assert_eq!(labels[1].1.values(), [3, 90, 1, 115, 0]);
        assert_eq!(bad.iter().map(|bad| bad.line).collect::<Vec<_>>(), [2, 3]);
        assert!(bad[1].what.contains("4 values in place of 5"));
    }
}

//! How good the rules were on a run: its anomalies, read back, and the scores as a table.

use std::path::Path;

use tidegate::sink::{SinkError, postgres, sqlite};
use tidegate::time;

use super::aligned;
use crate::hydraulic::score::{Detected, Score, Scores};
use crate::hydraulic::table_schemas;

/// Where a run has written its anomalies.
#[derive(Clone, Copy, Debug)]
pub enum Anomalies<'a> {
    /// `tables.sqlite` in this directory.
    Sqlite(&'a Path),
    /// A database.
    Postgres(&'a postgres::Config),
}

/// Reads the table `anomalies`.
///
/// # Errors
/// When it is not there or cannot be read.
pub fn read_anomalies(place: Anomalies<'_>) -> Result<Vec<Detected>, SinkError> {
    let [.., schema] = table_schemas();
    let column = |name: &str| schema.columns.iter().position(|column| *column.name == *name);
    let columns = [column("window_start"), column("rule"), column("sensor")];
    let mut found = Vec::new();
    let mut row = |mut cells: Vec<Option<String>>| {
        let [start, rule, sensor] = columns.map(|at| cells.get_mut(at?)?.take());
        // Both are there in every row.
        if let (Some(start), Some(rule)) = (start.and_then(|text| time::parse(text.as_bytes())), rule) {
            found.push(Detected { window_start_us: start, rule, sensor });
        }
    };
    match place {
        Anomalies::Sqlite(out) => sqlite::read_rows(out, &schema, &mut row)?,
        Anomalies::Postgres(config) => postgres::read_rows(config, &schema, &mut row)?,
    }
    Ok(found)
}

/// The scores for a terminal, a row a rule and one for all.
pub fn score_table(scores: &Scores) -> String {
    let share = |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{share:.3}"));
    let row = |name: &str, score: &Score| {
        let Score { anomalies, in_faults, precision, faults, found, recall } = score;
        let [anomalies, in_faults, faults, found] = [anomalies, in_faults, faults, found].map(u64::to_string);
        [name.to_owned(), anomalies, in_faults, share(*precision), faults, found, share(*recall)]
    };
    let rows = scores.rules.iter().map(|(name, score)| row(name, score));
    let header = ["rule", "anomalies", "in faults", "precision", "faults", "found", "recall"];
    aligned(&header, rows.chain([row("all", &scores.all)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_have_three_digits_and_none_is_a_dash() {
        let score = |anomalies, precision| Score { anomalies, precision, ..Score::default() };
        let scores =
            Scores { rules: [("zscore".to_owned(), score(3, Some(2.0 / 3.0)))].into(), all: score(3, None) };
        let expected = "rule    anomalies  in faults  precision  faults  found  recall\n\
                        zscore          3          0      0.667       0      0       -\n\
                        all             3          0          -       0      0       -\n";
        assert_eq!(score_table(&scores), expected);
    }
}

//! The training set of `hydraulic`: a row a cycle, its features summed up over its seconds, beside its condition.
//!
//! ```text
//! lake (local, S3, HDFS) ─► feed ─┐
//!                                 ├─► relation (differential) ─► rows by cycle ─► training_set.parquet, training_set.csv
//! profile.txt ─► labels ──────────┘
//! ```
//!
//! Columns: `cycle`, `start_time`, `seconds` (how many there are), `complete` (whether that is a whole cycle), then for
//! each feature of `synchronized_features` its `_mean`, `_min`, `_max` and `_std` over the seconds where it is not null
//! (null where it is in all), then the label's five. A cycle that lacks seconds or a label is there, and says so.

mod feed;
mod labels;
mod output;
mod relation;

use std::collections::BTreeMap;
use std::path::Path;

pub use feed::{Feed, FeedError, features};
pub use labels::{BadLine, LABELS, Label, Read, parse_labels};
pub use output::{Form, schema, write};
pub use relation::{Changes, STATISTICS, Second, Step, TrainingRow, maintain};

/// The training set as it stands.
#[derive(Clone, Debug, Default)]
pub struct TrainingSet {
    rows: BTreeMap<i64, TrainingRow>,
}

/// What a step did to the training set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Rows that are new.
    pub added: usize,
    /// Rows that are other than before.
    pub changed: usize,
    /// Rows that are gone.
    pub removed: usize,
}

impl Touched {
    /// Whether nothing has happened.
    pub fn is_nothing(&self) -> bool {
        *self == Touched::default()
    }
}

impl TrainingSet {
    /// Takes in what a step of [`maintain`] has changed.
    pub fn apply(&mut self, changes: Changes) -> Touched {
        let mut by_cycle: BTreeMap<i64, (Option<TrainingRow>, bool)> = BTreeMap::new();
        for (row, diff) in changes {
            let entry = by_cycle.entry(row.cycle).or_default();
            if diff > 0 {
                entry.0 = Some(row);
            } else {
                entry.1 = true;
            }
        }
        let mut touched = Touched::default();
        for (cycle, (new, replaces)) in by_cycle {
            match (new, replaces) {
                (Some(row), false) => {
                    touched.added += 1;
                    self.rows.insert(cycle, row);
                }
                (Some(row), true) => {
                    touched.changed += 1;
                    self.rows.insert(cycle, row);
                }
                (None, _) => {
                    touched.removed += 1;
                    self.rows.remove(&cycle);
                }
            }
        }
        touched
    }

    /// The rows by cycle.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &TrainingRow> {
        self.rows.values()
    }

    /// How many cycles have fewer seconds than `whole`.
    pub fn incomplete(&self, whole: u32) -> usize {
        self.rows().filter(|row| row.seconds < whole).count()
    }

    /// How many cycles have no label.
    pub fn unlabelled(&self) -> usize {
        self.rows().filter(|row| row.label.is_none()).count()
    }
}

/// Reads a label file.
///
/// # Errors
/// When it cannot be read.
pub fn read_labels(path: &Path) -> Result<Read, FeedError> {
    let text = std::fs::read(path).map_err(|cause| FeedError::Labels { path: path.to_owned(), cause })?;
    Ok(parse_labels(&String::from_utf8_lossy(&text)))
}

/// What to put in and take out so that `to` stands where `from` stood.
pub fn label_changes(from: &[(i64, Label)], to: &[(i64, Label)]) -> Vec<(i64, Label, isize)> {
    let (from, to): (BTreeMap<_, _>, BTreeMap<_, _>) =
        (from.iter().copied().collect(), to.iter().copied().collect());
    let out = from.iter().filter(|(cycle, label)| to.get(cycle) != Some(label));
    let into = to.iter().filter(|(cycle, label)| from.get(cycle) != Some(label));
    let out = out.map(|(&cycle, &label)| (cycle, label, -1));
    out.chain(into.map(|(&cycle, &label)| (cycle, label, 1))).collect()
}

#[cfg(test)]
mod tests;
